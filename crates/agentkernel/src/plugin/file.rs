//! Hides how files that others keep are read and replaced: whole or not at all, in the place that a link leads to, with
//! their owner and mode, and only if they are still what was read. A file is exchanged for the new one, and what came out is looked
//! at: whoever puts another in its place at that moment gets it back.

use super::PluginError;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

/// How often a directory is tried that another one holds, and how long is waited in between.
const ROUNDS: u32 = 50;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// The longest file that is changed.
const MAX_LEN: u64 = 1 << 20;

/// The file that a path means, by links on the way and at its end; below `limit`, if that is said. It need not be there.
pub(super) fn resolve(path: &Path, limit: Option<&Path>) -> Result<PathBuf, PluginError> {
    let failed = |source| PluginError::Io { verb: "open", path: path.into(), source };
    if let Some(place) = kept_place(path) {
        return Err(PluginError::Kept(place.into()));
    }
    let mut missing = Vec::new();
    let mut known = path;
    let real = loop {
        match std::fs::canonicalize(known) {
            Ok(real) => break real,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            Err(_) if known.symlink_metadata().is_ok() => return Err(PluginError::Dangling(known.into())),
            Err(error) => match (known.parent(), known.file_name()) {
                (Some(parent), Some(name)) => {
                    missing.push(name.to_owned());
                    known = parent;
                }
                _ => return Err(failed(error)),
            },
        }
    };
    let real = missing.iter().rev().fold(real, |path, name| path.join(name));
    match limit {
        Some(limit) if !real.starts_with(std::fs::canonicalize(limit).map_err(failed)?) => {
            Err(PluginError::Outside { path: path.into(), real })
        }
        _ => Ok(real),
    }
}

/// What keeps the place of a file that is missing, or of a directory on the way to it, while a sandbox runs there.
fn kept_place(path: &Path) -> Option<&Path> {
    let (place, found) = path.ancestors().find_map(|path| Some((path, path.metadata().ok()?)))?;
    found.file_type().is_socket().then_some(place)
}

/// What is in a file; `None` if there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, PluginError> {
    match crate::config::read_own(path, MAX_LEN) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| PluginError::Encoding(path.into())),
        Err(error) if error.kind() == ErrorKind::NotFound || kept_place(path).is_some() => Ok(None),
        Err(source) => Err(PluginError::Io { verb: "read", path: path.into(), source }),
    }
}

/// Makes the directory of a file. Adds those that it made, the outermost first.
pub(super) fn make_parents(path: &Path, made: &mut Vec<PathBuf>) -> Result<(), PluginError> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.symlink_metadata().is_err()).collect();
    for dir in missing.into_iter().rev() {
        match fs::mkdir(dir, Mode::from_raw_mode(0o777)) {
            Ok(()) => made.push(dir.to_owned()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(PluginError::io("create", dir, errno)),
        }
    }
    Ok(())
}

/// Removes what somebody left beside a file who was killed while it was replaced.
pub(super) fn clear(path: &Path) -> Result<(), PluginError> {
    let Some(left) = path.file_name().map(|name| path.with_file_name(temporary(name))) else { return Ok(()) };
    if left.symlink_metadata().is_err() {
        return Ok(());
    }
    let (dir, _) = lock(path)?;
    remove_left(&dir, left.file_name().unwrap_or_default()).map_err(|error| PluginError::io("remove", left, error))
}

/// The directory of a file, held for one of us alone, and its name there.
fn lock(path: &Path) -> Result<(OwnedFd, &OsStr), PluginError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(PluginError::io("open", path, Errno::INVAL));
    };
    Ok((held(parent)?, name))
}

/// A directory, held for one of us alone: others of us wait, and what the file's own program does meanwhile is seen. A sandbox
/// that runs in it holds it, too, and is not waited for: what is replaced on the host, it could write to.
pub(super) fn held(dir: &Path) -> Result<OwnedFd, PluginError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = fs::open(dir, flags, Mode::empty()).map_err(|errno| PluginError::io("open", dir, errno))?;
    for _ in 0..ROUNDS {
        match fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(held),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(errno) => return Err(PluginError::io("lock", dir, errno)),
        }
    }
    Err(PluginError::Held(dir.to_owned()))
}

/// Refuses a file that is not to be written, as its mode or its file system says.
pub(super) fn check_writable(path: &Path) -> Result<(), PluginError> {
    match fs::accessat(CWD, path, fs::Access::WRITE_OK, AtFlags::EACCESS) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::ROFS)) => {
            Err(PluginError::ReadOnly { path: path.into(), source: errno.into() })
        }
        Err(errno) => Err(PluginError::io("write", path, errno)),
    }
}

/// Replaces what is in a file, or takes the file away; `false`: it is not any more what it was.
pub(super) fn replace(path: &Path, before: Option<&str>, after: Option<&str>) -> Result<bool, PluginError> {
    match Replacing::prepare(path, before, after)? {
        Some(replacing) => replacing.finish(),
        None => Ok(false),
    }
}

/// A file that is to be replaced, while its directory is held.
struct Replacing<'a> {
    path: &'a Path,
    dir: OwnedFd,
    name: &'a OsStr,
    temporary: OsString,
    /// What is to be replaced; none: it is not there.
    before: Option<Found>,
    /// What the file beside it is that takes its place; none: it is to go.
    new: Option<Identity>,
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
}

impl<'a> Replacing<'a> {
    /// Writes what takes a file's place; `None`: the file is not any more what it was.
    fn prepare(path: &'a Path, before: Option<&str>, after: Option<&str>) -> Result<Option<Self>, PluginError> {
        let (dir, name) = lock(path)?;
        // A wall of a sandbox stands on what keeps a place.
        if kept_place(path).is_some() {
            return Ok(None);
        }
        let found = find(&dir, name).map_err(|error| PluginError::io("read", path, error))?;
        if found.as_ref().map(|(found, _)| &found.bytes[..]) != before.map(str::as_bytes) {
            return Ok(None);
        }
        let (found, stat) = found.unzip();
        let temporary = temporary(name);
        let new = match after {
            Some(text) => put(&dir, &temporary, text, Mode::from_raw_mode(0o666), stat.as_ref()).map(Some),
            None => remove_left(&dir, &temporary).map(|()| None),
        };
        let verb = if after.is_some() { "write" } else { "remove" };
        let new = new.map_err(|error| PluginError::io(verb, path, error))?;
        Ok(Some(Self { path, dir, name, temporary, before: found, new }))
    }

    /// Puts it in place; `false`: the file was not any more what it was, and stays what it is.
    fn finish(self) -> Result<bool, PluginError> {
        let done = match (&self.before, self.new) {
            (Some(before), Some(new)) => self.exchange(before, new),
            (None, Some(_)) => self.create(),
            (Some(before), None) => self.take(before),
            (None, None) => Ok(true),
        };
        // What is not ours has its place again by now, unless that failed.
        let is_of_no_use = done.is_ok() || self.identity(&self.temporary).ok() == self.new;
        let left = if is_of_no_use { remove_left(&self.dir, &self.temporary) } else { Ok(()) };
        let verb = if self.new.is_some() { "write" } else { "remove" };
        let done = done.map_err(|errno| PluginError::io(verb, self.path, errno))?;
        if done {
            left.map_err(|error| PluginError::io("remove", self.path.with_file_name(&self.temporary), error))?;
            // It is done, whether that is on the disk by now or not.
            let _ = fs::fsync(&self.dir);
        }
        Ok(done)
    }

    fn exchange(&self, before: &Found, new: Identity) -> Result<bool, Errno> {
        match self.swap() {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) if is_unknown(errno) => {
                // Nothing better is there.
                return match self.is_still(self.name, before) {
                    true => fs::renameat(&self.dir, &self.temporary, &self.dir, self.name).map(|()| true),
                    false => Ok(false),
                };
            }
            Err(errno) => return Err(errno),
        }
        if self.is_still(&self.temporary, before) {
            return Ok(true);
        }
        // Another one was put there meanwhile, and has to get its place again. If one more is put there just then, that is the
        // newer one, and so on.
        let mut last = new;
        loop {
            let other = self.identity(&self.temporary)?;
            match self.swap() {
                Ok(()) => {}
                // Somebody took away what was there last.
                Err(Errno::NOENT) => return Ok(false),
                Err(errno) => return Err(errno),
            }
            if self.identity(&self.temporary)? == last {
                return Ok(false);
            }
            last = other;
        }
    }

    fn create(&self) -> Result<bool, Errno> {
        match self.rename_to_nothing() {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) if is_unknown(errno) => {
                match fs::linkat(&self.dir, &self.temporary, &self.dir, self.name, AtFlags::empty()) {
                    Ok(()) => Ok(true),
                    Err(Errno::EXIST) => Ok(false),
                    // No second names either.
                    Err(_) => match fs::statat(&self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW) {
                        Err(Errno::NOENT) => {
                            fs::renameat(&self.dir, &self.temporary, &self.dir, self.name).map(|()| true)
                        }
                        _ => Ok(false),
                    },
                }
            }
            Err(errno) => Err(errno),
        }
    }

    fn take(&self, before: &Found) -> Result<bool, Errno> {
        match fs::renameat(&self.dir, self.name, &self.dir, &self.temporary) {
            Err(Errno::NOENT) => return Ok(false),
            moved => moved?,
        }
        if self.is_still(&self.temporary, before) {
            return Ok(true);
        }
        // If something has the place by now, it is newer.
        match self.create() {
            Ok(_) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn swap(&self) -> Result<(), Errno> {
        fs::renameat_with(&self.dir, &self.temporary, &self.dir, self.name, RenameFlags::EXCHANGE)
    }

    fn rename_to_nothing(&self) -> Result<(), Errno> {
        fs::renameat_with(&self.dir, &self.temporary, &self.dir, self.name, RenameFlags::NOREPLACE)
    }

    fn identity(&self, name: &OsStr) -> Result<Identity, Errno> {
        fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Identity::of(&stat))
    }

    fn is_still(&self, name: &OsStr, before: &Found) -> bool {
        matches!(find(&self.dir, name), Ok(Some((found, _))) if found == *before)
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
    File::from(file).take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    Ok(Some((Found { identity: Identity::of(&stat), bytes }, stat)))
}

fn remove_left(dir: &OwnedFd, temporary: &OsStr) -> io::Result<()> {
    match fs::unlinkat(dir, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes a file of ours that nobody else may read.
pub(super) fn keep(dir: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let temporary = temporary(name.as_ref());
    put(dir, &temporary, text, Mode::RUSR | Mode::WUSR, None)?;
    let renamed = fs::renameat(dir, &temporary, dir, name);
    if renamed.is_err() {
        // The first error is the one that counts.
        let _ = remove_left(dir, &temporary);
    }
    Ok(renamed?)
}

/// Writes a file beside the one that it is for, onto the disk.
fn put(dir: &OwnedFd, temporary: &OsStr, text: &str, mode: Mode, like: Option<&Stat>) -> io::Result<Identity> {
    // Whoever left one was killed: the directory is locked.
    remove_left(dir, temporary)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Not for others before it has its owner.
    let first = if like.is_some() { Mode::RUSR | Mode::WUSR } else { mode };
    let mut file = File::from(fs::openat(dir, temporary, flags, first)?);
    let mut written = || -> io::Result<Identity> {
        file.write_all(text.as_bytes())?;
        if let Some(stat) = like {
            own_like(&file, stat)?;
        }
        fs::fsync(&file)?;
        Ok(Identity::of(&fs::fstat(&file)?))
    };
    let written = written();
    if written.is_err() {
        // The first error is the one that counts.
        let _ = remove_left(dir, temporary);
    }
    written
}

fn own_like(file: &File, stat: &Stat) -> io::Result<()> {
    let mut mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        fs::fchown(file.as_fd(), Some(Uid::from_raw(stat.st_uid)), None)?;
    }
    // A group that the user is not in any more gets nothing.
    if fs::fchown(file.as_fd(), None, Some(Gid::from_raw(stat.st_gid))).is_err() {
        mode -= Mode::RWXG;
    }
    Ok(fs::fchmod(file.as_fd(), mode)?)
}

fn temporary(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".agentkernel");
    temporary
}

/// Removes what is kept in the state under this name.
pub(super) fn forget(dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// What is kept in the state under this name.
pub(super) fn kept(dir: &OwnedFd, name: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    io::read_to_string(File::from(fs::openat(dir, name, flags, Mode::empty())?))
}

/// Whether there is something that can be run by this name.
pub(super) fn is_program(path: &Path) -> bool {
    path.is_file() && fs::accessat(CWD, path, fs::Access::EXEC_OK, AtFlags::empty()).is_ok()
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
