//! Descriptors: ranges of them, and locking a memory file.

use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// close_range(2) from `first` to `last`, both included.
pub fn close_range(first: u32, last: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: close_range takes three integers and touches no memory of ours. What closing means for those who
    // still hold these descriptors is the documented business of the callers.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// memfd_create(2) with flags that `rustix` has no name for.
pub fn memfd(name: &std::ffi::CStr, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it. It fits an int.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// dup2(2), also onto itself: there it takes close-on-exec away.
pub fn place(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: both calls take integers and touch no memory of ours. Who loses `number` is the documented business of
    // the callers.
    check(unsafe { if fd == number { libc::fcntl(fd, libc::F_SETFD, 0) } else { libc::dup2(fd, number) } }.into())
        .map(drop)
}
