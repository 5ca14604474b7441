//! Records: small JSON files that are replaced whole, so that a reader sees the old one or the new one.

use super::StoreError;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{Read, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

/// The format of every record. A record of another one is refused, never guessed at.
pub(super) const FORMAT: u64 = 1;

/// No record is larger; a file that is has not been written by us.
const MAX_LEN: u64 = 4 << 20;

/// Begins the name of a record that is being written.
pub(super) const TEMPORARY: &str = ".new-";

#[derive(Serialize)]
struct Written<'a, T> {
    format: u64,
    record: &'a T,
}

#[derive(Deserialize)]
struct Read_<T> {
    record: T,
}

#[derive(Deserialize)]
struct Header {
    format: u64,
}

/// Whether a record must survive a power cut once [`write`] has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    Yes,
    No,
}

/// Replaces the record `name` in `dir`. On an error the old one is whole. `path` is `dir`'s, for messages.
pub(super) fn write<T: Serialize>(
    dir: BorrowedFd<'_>,
    path: &Path,
    name: &str,
    record: &T,
    durable: Durable,
) -> Result<(), StoreError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let failed = |error: std::io::Error| StoreError::io("write", path.join(name), error);
    let mut bytes = serde_json::to_vec(&Written { format: FORMAT, record }).map_err(|error| failed(error.into()))?;
    bytes.push(b'\n');
    // Two processes may write at once (two `gc`s): each has a name of its own.
    let pid = rustix::process::getpid().as_raw_nonzero();
    let temporary = format!("{TEMPORARY}{pid}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(dir, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
    let mut file = File::from(file);
    let written = file
        .write_all(&bytes)
        .and_then(|()| if durable == Durable::Yes { Ok(fs::fsync(&file)?) } else { Ok(()) })
        .and_then(|()| Ok(fs::renameat(dir, &temporary, dir, name)?));
    if let Err(error) = written {
        // The error that counts is the first one; what is left over goes with the next sweep.
        let _ = fs::unlinkat(dir, &temporary, AtFlags::empty());
        return Err(failed(error));
    }
    if durable == Durable::Yes {
        sync(dir, path)?;
    }
    Ok(())
}

/// Makes the record `name` in `dir`, where there must be none. It is whole once this has returned, and not before.
pub(super) fn create<T: Serialize>(dir: BorrowedFd<'_>, path: &Path, name: &str, record: &T) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::io("write", path.join(name), error);
    let mut bytes = serde_json::to_vec(&Written { format: FORMAT, record }).map_err(|error| failed(error.into()))?;
    bytes.push(b'\n');
    if bytes.len() as u64 > MAX_LEN {
        return Err(failed(Errno::FBIG.into()));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
    let written = File::from(file).write_all(&bytes);
    written.map_err(|error| {
        // The error that counts is the first one.
        let _ = fs::unlinkat(dir, name, AtFlags::empty());
        failed(error)
    })
}

/// Writes over the record `name` in `dir`, for want of room for another one. It is short: only a machine that dies at
/// this moment can leave it damaged.
pub(super) fn overwrite<T: Serialize>(
    dir: BorrowedFd<'_>,
    path: &Path,
    name: &str,
    record: &T,
) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::io("write", path.join(name), error);
    let mut bytes = serde_json::to_vec(&Written { format: FORMAT, record }).map_err(|error| failed(error.into()))?;
    bytes.push(b'\n');
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir, name, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?);
    // At once, so that no reader sees a half; blanks after a record do not count.
    let length = file.metadata().map_err(failed)?.len() as usize;
    bytes.resize(bytes.len().max(length.min(MAX_LEN as usize)), b'\n');
    file.write_all_at(&bytes, 0).map_err(failed)
}

/// Makes the names in `dir` survive a power cut.
pub(super) fn sync(dir: BorrowedFd<'_>, path: &Path) -> Result<(), StoreError> {
    fs::fsync(dir).map_err(|errno| StoreError::io("write", path, errno))
}

/// The record `name` in `dir`; `None` if there is none.
pub(super) fn read<T: DeserializeOwned>(dir: BorrowedFd<'_>, path: &Path, name: &str) -> Result<Option<T>, StoreError> {
    let path = path.join(name);
    let file = match open(dir, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(StoreError::io("read", path, errno)),
    };
    // Most records fit at once.
    let mut bytes = Vec::with_capacity(8 << 10);
    File::from(file)
        .take(MAX_LEN + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| StoreError::io("read", path.as_path(), error))?;
    if bytes.len() as u64 > MAX_LEN {
        return Err(StoreError::Damaged { path, cause: "too long".into() });
    }
    // The format comes first: a newer record may not look like ours at all.
    let format = match serde_json::from_slice::<Header>(&bytes) {
        Ok(header) => header.format,
        Err(error) => return Err(StoreError::Damaged { path, cause: error.to_string() }),
    };
    if format != FORMAT {
        return Err(StoreError::Format { path, found: format, ours: FORMAT });
    }
    match serde_json::from_slice::<Read_<T>>(&bytes) {
        Ok(read) => Ok(Some(read.record)),
        Err(error) => Err(StoreError::Damaged { path, cause: error.to_string() }),
    }
}

fn open(dir: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    // Non-blocking, lest something that is not a file (a fifo) hangs us.
    fs::openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}
