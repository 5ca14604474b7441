//! Hides how files that others keep are read and replaced: whole or not at all, in the place that a link leads to, with
//! their owner and mode, and only if they are still what was read.

use super::PluginError;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, Write as _},
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
    match fs::unlinkat(&dir, left.file_name().unwrap_or_default(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(PluginError::io("remove", left, errno)),
    }
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

/// Replaces what is in a file, or takes the file away; `false`: it is not any more what it was.
pub(super) fn replace(path: &Path, before: Option<&str>, after: Option<&str>) -> Result<bool, PluginError> {
    let (dir, name) = lock(path)?;
    // A wall of a sandbox stands on what keeps a place.
    if kept_place(path).is_some() || read(path)?.as_deref() != before {
        return Ok(false);
    }
    match after {
        Some(text) => write(&dir, name, text).map_err(|error| PluginError::io("write", path, error))?,
        None => {
            for name in [&temporary(name), name] {
                match fs::unlinkat(&dir, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(PluginError::io("remove", path, errno)),
                }
            }
        }
    }
    // It is done, whether that is on the disk by now or not.
    let _ = fs::fsync(&dir);
    Ok(true)
}

/// Writes a file of ours that nobody else may read.
pub(super) fn keep(dir: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let temporary = temporary(name.as_ref());
    put(dir, &temporary, name.as_ref(), text, Mode::RUSR | Mode::WUSR, None)
}

fn write(dir: &OwnedFd, name: &OsStr, text: &str) -> io::Result<()> {
    let stat = match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Some(stat),
        Err(Errno::NOENT) => None,
        Err(errno) => return Err(errno.into()),
    };
    put(dir, &temporary(name), name, text, Mode::from_raw_mode(0o666), stat)
}

fn put(dir: &OwnedFd, temporary: &OsStr, name: &OsStr, text: &str, mode: Mode, like: Option<Stat>) -> io::Result<()> {
    // Whoever left one was killed: the directory is locked.
    match fs::unlinkat(dir, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Not for others before it has its owner.
    let first = if like.is_some() { Mode::RUSR | Mode::WUSR } else { mode };
    let mut file = File::from(fs::openat(dir, temporary, flags, first)?);
    let mut written = || -> io::Result<()> {
        file.write_all(text.as_bytes())?;
        if let Some(stat) = like {
            own_like(&file, &stat)?;
        }
        fs::fsync(&file)?;
        Ok(fs::renameat(dir, temporary, dir, name)?)
    };
    let written = written();
    if written.is_err() {
        // The first error is the one that counts.
        let _ = fs::unlinkat(dir, temporary, AtFlags::empty());
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
