//! Descriptors from before `main`, kill(2), setfsuid(2) and setfsgid(2) as they are, and glibc's allocator.

use super::check;
use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

/// Owns a descriptor that the process was started with. The caller lets this happen once only.
pub fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD touches no memory; a number that is not open is answered with EBADF.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    // SAFETY: the descriptor is open, is not one of std's three, and `jail::pid1::take_fd` calls this once for
    // each number, before which no code of ours has seen it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// kill(2). That nobody is there to be signalled is no error.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: two integers; no memory of ours is touched.
    match check(unsafe { libc::kill(pid, signal) }.into()) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        result => result.map(drop),
    }
}

/// setfsuid(2): the id before.
pub fn setfsuid(uid: u32) -> u32 {
    // SAFETY: an integer; no memory of ours is touched.
    unsafe { libc::syscall(libc::SYS_setfsuid, uid) as u32 }
}

/// setfsgid(2): the id before.
pub fn setfsgid(gid: u32) -> u32 {
    // SAFETY: an integer; no memory of ours is touched.
    unsafe { libc::syscall(libc::SYS_setfsgid, gid) as u32 }
}

/// Sets glibc's thresholds for mapping and for trimming, in bytes, which also stops it from raising them.
#[cfg(target_env = "gnu")]
pub fn limit_malloc(threshold: i32) {
    // SAFETY: two integers; mallopt takes the allocator's lock itself and changes no block that exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, threshold);
        libc::mallopt(libc::M_TRIM_THRESHOLD, threshold);
    }
}
