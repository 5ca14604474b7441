//! Hides how a tree is walked while others change it, and in which order.

use crate::pack::{PackError, read};
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{Dir, Mode, OFlags, PROC_SUPER_MAGIC, Stat},
    io::Errno,
};
use std::ffi::{CStr, CString};

/// File systems that show the kernel's state (linux/magic.h): proc, sysfs, devpts, cgroup and cgroup2.
const KERNELS: [u64; 5] = [PROC_SUPER_MAGIC as u64, 0x6265_6572, 0x1cd1, 0x27_e0eb, 0x6367_7270];

/// A directory that is being packed.
pub(crate) struct Level {
    pub dir: OwnedFd,
    /// Its file system.
    pub device: u64,
    /// Its name in the archive, with a slash at the end unless it has none.
    pub prefix: Vec<u8>,
    /// What is in it and not packed yet, the next one last.
    pub names: Vec<CString>,
}

/// Calls `each` with everything below a directory, which gives back directories whose contents come next. Order is by
/// the bytes of names.
pub(crate) fn all(
    top: Option<Level>,
    mut each: impl FnMut(&Level, &CStr, Vec<u8>) -> Result<Option<Level>, PackError>,
) -> Result<(), PackError> {
    let mut levels: Vec<Level> = top.into_iter().collect();
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let path = [&level.prefix, name.as_bytes()].concat();
        let below = each(level, &name, path)?;
        levels.extend(below);
    }
    Ok(())
}

/// Opens a directory: itself, its attributes, and the names in it, the last one first; no names if it is a file system of
/// the kernel's that is mounted on something of the device `above`.
pub(crate) fn list(
    dir: BorrowedFd<'_>,
    name: &CStr,
    above: Option<u64>,
) -> rustix::io::Result<(OwnedFd, Stat, Option<Vec<CString>>)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&dir)?;
    let mut names = Vec::new();
    if above.is_some_and(|device| device != stat.st_dev) && is_kernels(&dir)? {
        return Ok((dir, stat, None));
    }
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    // The same tree gives the same archive.
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok((dir, stat, Some(names)))
}

/// Opens a file, which may have become something else since it was looked at.
pub(crate) fn open(dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(OwnedFd, Stat), PackError> {
    // NONBLOCK: a fifo would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|error| read("open", path)(error.into()))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| read("examine", path)(error.into()))?;
    Ok((file, stat))
}

/// Whether a directory shows the kernel's state: such a tree has no end, or none that it is worth to wait for.
fn is_kernels(dir: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(KERNELS.contains(&(rustix::fs::fstatfs(dir)?.f_type as u64)))
}

/// Whether something is gone, or something else by now: somebody is at work in the tree.
pub(crate) fn is_gone(error: &PackError) -> bool {
    let PackError::Read { source, .. } = error else { return false };
    matches!(Errno::from_io_error(source), Some(Errno::NOENT | Errno::LOOP | Errno::NOTDIR))
}
