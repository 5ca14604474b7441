//! Hides how files that others keep are replaced: whole or not at all, in the place that a link leads to, with their owner and
//! mode, and only if they are still what was read. A file is exchanged for the new one, and what came out is looked at: whoever
//! puts another in its place at that moment gets it back. It is looked at again when all is done, as whoever had it open may have
//! written to it since.

use super::{PluginError, file};
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

/// How often a file is looked at that is empty, and was not before.
const ROUNDS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Files that are replaced one after the other. What was there lies beside each until all are done.
#[derive(Default)]
pub(super) struct Replacer {
    /// Their directories.
    held: Vec<(PathBuf, Rc<OwnedFd>)>,
    done: Vec<Replacing>,
}

impl Replacer {
    /// Removes what somebody left beside a file who was killed while it was replaced.
    pub(super) fn clear(&mut self, path: &Path) -> Result<(), PluginError> {
        let Some(left) = path.file_name().map(|name| path.with_file_name(file::temporary(name))) else { return Ok(()) };
        if left.symlink_metadata().is_err() {
            return Ok(());
        }
        let (dir, _) = self.hold(path)?;
        file::remove_left(&dir, left.file_name().unwrap_or_default())
            .map_err(|error| PluginError::io("remove", left, error))
    }

    /// Replaces what is in a file, or takes the file away; `false`: it is not any more what it was.
    pub(super) fn replace(
        &mut self,
        path: &Path,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<bool, PluginError> {
        // Whoever has just emptied it is about to write. Nobody else waits for that.
        let is_empty = || path.metadata().is_ok_and(|stat| stat.len() == 0) && file::is_fresh(path);
        for _ in 0..ROUNDS {
            if before != Some("") || !is_empty() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let Some(mut replacing) = self.prepare(path, before, after)? else { return Ok(false) };
        let done = replacing.put()?;
        if done {
            self.done.push(replacing);
        }
        Ok(done)
    }

    /// Waits, and forgets what was there. If somebody has written to one of them meanwhile, that is in its place again: gives
    /// which.
    pub(super) fn settle(self, pause: Duration) -> Result<Option<PathBuf>, PluginError> {
        if self.done.iter().any(|one| one.beside) {
            std::thread::sleep(pause);
        }
        let (mut written, mut failed) = (None, None);
        for one in self.done {
            match one.settle() {
                Ok(true) => {}
                Ok(false) => written = Some(one.path),
                // The first error is the one that counts.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(written), Err)
    }

    /// Puts back what was there; `false`: something newer is there now.
    pub(super) fn take_back(self) -> bool {
        self.done.iter().rev().filter(|one| one.take_back()).count() == self.done.len()
    }

    /// Writes what takes a file's place; `None`: the file is not any more what it was.
    fn prepare(
        &mut self,
        path: &Path,
        before: Option<&str>,
        after: Option<&str>,
    ) -> Result<Option<Replacing>, PluginError> {
        let (dir, name) = self.hold(path)?;
        // A wall of a sandbox stands on what keeps a place.
        if file::kept_place(path).is_some() {
            return Ok(None);
        }
        let found = find(&dir, name).map_err(|error| PluginError::io("read", path, error))?;
        if found.as_ref().map(|(found, _)| &found.bytes[..]) != before.map(str::as_bytes) {
            return Ok(None);
        }
        let (found, stat) = found.unzip();
        let temporary = file::temporary(name);
        let new = match after {
            Some(text) => file::put(&dir, &temporary, text.as_bytes(), Mode::from_raw_mode(0o666), stat.as_ref())
                .map(|stat| Some(Found { identity: Identity::of(&stat), bytes: text.into() })),
            None => file::remove_left(&dir, &temporary).map(|()| None),
        };
        let verb = if after.is_some() { "write" } else { "remove" };
        let new = new.map_err(|error| PluginError::io(verb, path, error))?;
        let (path, name) = (path.to_owned(), name.to_owned());
        Ok(Some(Replacing { path, dir, name, temporary, before: found, new, beside: false }))
    }

    /// The directory of a file, held for one of us alone, and the file's name there.
    fn hold<'a>(&mut self, path: &'a Path) -> Result<(Rc<OwnedFd>, &'a OsStr), PluginError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(PluginError::io("open", path, Errno::INVAL));
        };
        if let Some((_, held)) = self.held.iter().find(|(dir, _)| dir == parent) {
            return Ok((held.clone(), name));
        }
        // Its links were followed before, to where it may lead: one that came since leads elsewhere.
        let held = Rc::new(file::held(parent, ResolveFlags::NO_SYMLINKS)?);
        self.held.push((parent.to_owned(), held.clone()));
        Ok((held, name))
    }
}

/// A file that is replaced, while its directory is held.
struct Replacing {
    path: PathBuf,
    dir: Rc<OwnedFd>,
    name: OsString,
    /// The name beside it: of what takes its place, and then of what was there.
    temporary: OsString,
    /// What is to be replaced; none: it is not there.
    before: Option<Found>,
    /// What takes its place; none: it is to go.
    new: Option<Found>,
    /// What was there lies beside it.
    beside: bool,
}

/// A file as it was found.
#[derive(PartialEq)]
struct Found {
    identity: Identity,
    bytes: Vec<u8>,
}

/// Which file it is, whose, and with which mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    dev: u64,
    ino: u64,
    mode: u32,
    owner: (u32, u32),
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino, mode: stat.st_mode, owner: (stat.st_uid, stat.st_gid) }
    }

    /// Which file it is, whoever may use it by now.
    fn file(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

impl Replacing {
    /// Puts the new one in place; `false`: the file was not any more what it was, and stays what it is.
    fn put(&mut self) -> Result<bool, PluginError> {
        let put = match (&self.before, &self.new) {
            (Some(before), Some(new)) => self.exchange(before, new),
            (None, Some(_)) => self.create(),
            (Some(before), None) => self.take(before),
            (None, None) => Ok(true),
        };
        self.beside = matches!(put, Ok(true)) && self.before.is_some() && self.identity(&self.temporary).is_ok();
        // What is not ours has its place again by now, unless that failed.
        let is_of_no_use =
            put.is_ok() || self.identity(&self.temporary).ok() == self.new.as_ref().map(|new| new.identity);
        if is_of_no_use && !self.beside {
            // The first error is the one that counts.
            let _ = file::remove_left(&self.dir, &self.temporary);
        }
        if matches!(put, Ok(true)) {
            // It is done, whether that is on the disk by now or not.
            let _ = fs::fsync(&*self.dir);
        }
        put.map_err(|errno| self.failed(errno))
    }

    /// Forgets what was there; `false`: somebody has written to it, and it is in its place again, or has put another one there.
    fn settle(&self) -> Result<bool, PluginError> {
        let is_there = self.new.as_ref().is_none_or(|new| self.is_still(&self.name, new));
        let Some(before) = self.before.as_ref().filter(|_| self.beside) else { return Ok(is_there) };
        let is_still = self.is_still(&self.temporary, before);
        match &self.new {
            _ if is_still => Ok(()),
            Some(new) => self.give_back(new.identity),
            // If something has the place by now, it is newer.
            None => self.create().map(drop),
        }
        .map_err(|errno| self.failed(errno))?;
        file::remove_left(&self.dir, &self.temporary)
            .map_err(|error| PluginError::io("remove", self.path.with_file_name(&self.temporary), error))?;
        Ok(is_still && is_there)
    }

    /// Puts back what was there; `false`: something newer is there now.
    fn take_back(&self) -> bool {
        let back = match (&self.before, &self.new) {
            (Some(before), Some(new)) if self.beside => self.exchange(new, before),
            (None, Some(new)) => self.take(new),
            (Some(_), None) if self.beside => self.create(),
            // What was there is gone, where a file system can't exchange files.
            (Some(before), Some(new)) => self.lay_beside(before).and_then(|()| self.exchange(new, before)),
            (Some(_), None) | (None, None) => Ok(true),
        };
        if back.is_ok() {
            // The error for which it is taken back is the one that counts.
            let _ = file::remove_left(&self.dir, &self.temporary);
        }
        back.unwrap_or(false)
    }

    /// Writes what was there beside what is there now.
    fn lay_beside(&self, before: &Found) -> Result<(), Errno> {
        let like = fs::statat(&*self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let written = file::put(&self.dir, &self.temporary, &before.bytes, Mode::empty(), Some(&like));
        written.map(drop).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Puts what is beside a file in its place; `false`: the file was not this one, and stays what it is.
    fn exchange(&self, out: &Found, into: &Found) -> Result<bool, Errno> {
        match self.swap() {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) if is_unknown(errno) => {
                // Nothing better is there.
                return match self.is_still(&self.name, out) {
                    true => fs::renameat(&*self.dir, &self.temporary, &*self.dir, &self.name).map(|()| true),
                    false => Ok(false),
                };
            }
            Err(errno) => return Err(errno),
        }
        if self.is_still(&self.temporary, out) {
            return Ok(true);
        }
        // Another one was put there meanwhile.
        self.give_back(into.identity).map(|()| false)
    }

    /// Gives its place back to what is beside the file that has it. If one more is put there just then, that is the newer one, and
    /// so on.
    fn give_back(&self, mut last: Identity) -> Result<(), Errno> {
        loop {
            let other = self.identity(&self.temporary)?;
            match self.swap() {
                Ok(()) => {}
                // Somebody took away what was there last.
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            }
            if self.identity(&self.temporary)?.file() == last.file() {
                return Ok(());
            }
            last = other;
        }
    }

    /// Puts what is beside a file in its place, where nothing is; `false`: something is.
    fn create(&self) -> Result<bool, Errno> {
        match self.rename_to_nothing() {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) if is_unknown(errno) => {
                match fs::linkat(&*self.dir, &self.temporary, &*self.dir, &self.name, AtFlags::empty()) {
                    Ok(()) => Ok(true),
                    Err(Errno::EXIST) => Ok(false),
                    // No second names either.
                    Err(_) => match fs::statat(&*self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
                        Err(Errno::NOENT) => {
                            fs::renameat(&*self.dir, &self.temporary, &*self.dir, &self.name).map(|()| true)
                        }
                        _ => Ok(false),
                    },
                }
            }
            Err(errno) => Err(errno),
        }
    }

    /// Takes a file away, to beside it; `false`: it was not this one, and stays what it is.
    fn take(&self, out: &Found) -> Result<bool, Errno> {
        match fs::renameat(&*self.dir, &self.name, &*self.dir, &self.temporary) {
            Err(Errno::NOENT) => return Ok(false),
            moved => moved?,
        }
        if self.is_still(&self.temporary, out) {
            return Ok(true);
        }
        // If something has the place by now, it is newer.
        self.create().map(|_| false)
    }

    fn swap(&self) -> Result<(), Errno> {
        fs::renameat_with(&*self.dir, &self.temporary, &*self.dir, &self.name, RenameFlags::EXCHANGE)
    }

    fn rename_to_nothing(&self) -> Result<(), Errno> {
        fs::renameat_with(&*self.dir, &self.temporary, &*self.dir, &self.name, RenameFlags::NOREPLACE)
    }

    fn identity(&self, name: &OsStr) -> Result<Identity, Errno> {
        fs::statat(&*self.dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Identity::of(&stat))
    }

    fn is_still(&self, name: &OsStr, before: &Found) -> bool {
        matches!(find(&self.dir, name), Ok(Some((found, _))) if found == *before)
    }

    fn failed(&self, errno: Errno) -> PluginError {
        PluginError::io(if self.new.is_some() { "write" } else { "remove" }, &self.path, errno)
    }
}

/// Whether a file system does not know such a change of names.
fn is_unknown(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// The file of this name; `None`: there is none, or it is something else.
fn find(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<(Found, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let stat = fs::fstat(&file)?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::from(file).take(file::MAX_LEN + 1).read_to_end(&mut bytes)?;
    Ok(Some((Found { identity: Identity::of(&stat), bytes }, stat)))
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;
