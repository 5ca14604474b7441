//! Hides where init's program lies on the host, so that all sandboxes share its pages and none can change it.
//!
//! It is a file in the cache, written once for each version and executed through a read-only mount of its own. A
//! sealed memory file is as safe, but is filled anew at each start and is memory of its own for each sandbox; it serves
//! where the cache's file system forbids execution.

use super::cache;
use crate::guest::Program;
use jail::fd::sealed_memfd;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{AtFlags, FileType, Mode, OFlags, StatVfsMountFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Write as _},
};

/// Everybody may execute it, because root's sandboxes run it as an id that owns nothing here. Nobody may read it: who
/// may not read a program may not trace it either, whatever else he may in the sandbox. Where the file's owner is not
/// mapped in, the kernel counts the process to the host's user namespace (would_dump() in fs/exec.c).
const MODE: u32 = 0o111;

/// Where it lies.
#[derive(Debug)]
pub enum Location {
    /// A file in the cache.
    Cache(OwnedFd),
    /// A sealed memory file.
    Memory(OwnedFd),
}

impl Location {
    /// Another descriptor for the same.
    pub fn again(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Cache(file) => Self::Cache(file.try_clone()?),
            Self::Memory(file) => Self::Memory(file.try_clone()?),
        })
    }
}

/// Finds the program, and puts it there first if it is missing.
pub fn prepare(cache: &OwnedFd, program: &Program) -> io::Result<Location> {
    if rustix::fs::fstatvfs(cache)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        let file = sealed_memfd(c"init", program.bytes)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE))?;
        return Ok(Location::Memory(file));
    }
    let name = name(program);
    let open = || -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(cache, name.as_str(), flags, Mode::empty()) {
            Ok(file) => Ok(is_whole(&file, program)?.then_some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    if let Some(file) = open()? {
        return Ok(Location::Cache(file));
    }
    publish(cache, &name, program)?;
    open()?.map(Location::Cache).ok_or_else(|| io::Error::other("The cached program was changed meanwhile"))
}

/// Its name in the cache.
pub fn name(program: &Program) -> String {
    format!("init-{}", program.id)
}

/// Whether this is what [`publish`] makes. Its contents are not read again: nobody but the cache's owner can be here.
fn is_whole(file: &OwnedFd, program: &Program) -> io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o7777 == MODE
        && stat.st_uid == rustix::process::geteuid().as_raw()
        && u64::try_from(stat.st_size).is_ok_and(|size| size == program.bytes.len() as u64))
}

/// Writes the whole file before it has its name, so that it is there or is not, whatever happens.
fn publish(cache: &OwnedFd, name: &str, program: &Program) -> io::Result<()> {
    let temporary = cache::temporary(name)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(cache, temporary.as_str(), flags, Mode::RWXU)?;
    let written = cache::hold_new(&file)
        .and_then(|()| File::from(file.as_fd().try_clone_to_owned()?).write_all(program.bytes))
        .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(MODE))?))
        .and_then(|()| Ok(rustix::fs::fsync(&file)?))
        // A descriptor that is open for writing would make the execution fail (ETXTBSY).
        .map(|()| drop(file))
        .and_then(|()| Ok(rustix::fs::renameat(cache, temporary.as_str(), cache, name)?));
    if written.is_err() {
        // The first error is the one to report.
        let _ = rustix::fs::unlinkat(cache, temporary.as_str(), AtFlags::empty());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    const PROGRAM: Program = Program { id: "test", bytes: b"#!/bin/sh\n" };

    fn cached(cache: &OwnedFd) -> OwnedFd {
        match prepare(cache, &PROGRAM).unwrap() {
            Location::Cache(file) => file,
            Location::Memory(_) => panic!("the cache of the tests cannot execute"),
        }
    }

    #[test]
    fn one_file_serves_all_and_a_damaged_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = OwnedFd::from(fs::File::open(folder.path()).unwrap());
        let inode = |file: &OwnedFd| rustix::fs::fstat(file).unwrap().st_ino;
        let first = cached(&cache);
        assert_eq!(inode(&first), inode(&cached(&cache)));
        let path = folder.path().join("init-test");
        for damage in [MODE, 0o755] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            if damage == MODE {
                fs::write(&path, b"#!").unwrap();
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(damage)).unwrap();
            assert_ne!(inode(&first), inode(&cached(&cache)));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), PROGRAM.bytes);
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE)).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
