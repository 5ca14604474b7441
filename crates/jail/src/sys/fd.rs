//! Descriptors: ranges of them, and locking a memory file.

use super::check;
use std::{
    io,
    os::fd::{FromRawFd, OwnedFd, RawFd},
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
