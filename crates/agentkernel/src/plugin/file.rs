//! Hides how files that others keep are found and read, and written beside where they belong.

use super::PluginError;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Stat, Uid},
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
pub(super) const MAX_LEN: u64 = 1 << 20;

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
pub(super) fn kept_place(path: &Path) -> Option<&Path> {
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

/// Whether a file was written to a moment ago.
pub(super) fn is_fresh(path: &Path) -> bool {
    const MOMENT: std::time::Duration = std::time::Duration::from_secs(1);
    let written = path.metadata().and_then(|stat| stat.modified()).ok();
    written.and_then(|written| written.elapsed().ok()).is_some_and(|age| age < MOMENT)
}

/// Makes the directory of a file. Adds those that it made, the outermost first.
pub(super) fn make_parents(path: &Path, made: &mut Vec<PathBuf>) -> Result<(), PluginError> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| dir.symlink_metadata().is_err()).collect();
    for dir in missing.into_iter().rev() {
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { continue };
        // Its links were followed before, to where it may lead.
        let (flags, how) = (OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, ResolveFlags::NO_SYMLINKS);
        let parent = fs::openat2(CWD, parent, flags, Mode::empty(), how);
        match parent.and_then(|parent| fs::mkdirat(parent, name, Mode::from_raw_mode(0o777))) {
            Ok(()) => made.push(dir.to_owned()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(PluginError::io("create", dir, errno)),
        }
    }
    Ok(())
}

/// A directory, held for one of us alone: others of us wait, and what the file's own program does meanwhile is seen. A sandbox
/// that runs in it holds it, too, and is not waited for: what is replaced on the host, it could write to.
pub(super) fn held(dir: &Path, how: ResolveFlags) -> Result<OwnedFd, PluginError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let held = fs::openat2(CWD, dir, flags, Mode::empty(), how).map_err(|errno| PluginError::io("open", dir, errno))?;
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

/// Removes what is beside a file under this name.
pub(super) fn remove_left(dir: &OwnedFd, temporary: &OsStr) -> io::Result<()> {
    match fs::unlinkat(dir, temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Writes a file of ours that nobody else may read.
pub(super) fn keep(dir: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let temporary = temporary(name.as_ref());
    put(dir, &temporary, text.as_bytes(), Mode::RUSR | Mode::WUSR, None)?;
    let renamed = fs::renameat(dir, &temporary, dir, name);
    if renamed.is_err() {
        // The first error is the one that counts.
        let _ = remove_left(dir, &temporary);
    }
    Ok(renamed?)
}

/// Writes a file beside the one that it is for, onto the disk.
pub(super) fn put(dir: &OwnedFd, temporary: &OsStr, bytes: &[u8], mode: Mode, like: Option<&Stat>) -> io::Result<Stat> {
    // Whoever left one was killed: the directory is locked.
    remove_left(dir, temporary)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Not for others before it has its owner.
    let first = if like.is_some() { Mode::RUSR | Mode::WUSR } else { mode };
    let mut file = File::from(fs::openat(dir, temporary, flags, first)?);
    let mut written = || -> io::Result<Stat> {
        file.write_all(bytes)?;
        if let Some(stat) = like {
            own_like(&file, stat)?;
        }
        fs::fsync(&file)?;
        Ok(fs::fstat(&file)?)
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

/// What a file is called that lies beside another one while that is replaced.
pub(super) fn temporary(name: &OsStr) -> OsString {
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
