//! The system calls that neither `std` nor `rustix` offers as safe functions, one safe wrapper each.
//!
//! This is the only place in the crate with `unsafe`.

pub mod attempt;
pub mod fd;
pub mod landlock;
pub mod mount;
pub mod net;
pub mod pid1;
pub mod process;
pub mod seccomp;
pub mod signal;

use std::io;

/// The result of a raw system call as `std` knows it.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Bytes in a page of memory.
pub fn page_size() -> u64 {
    // SAFETY: sysconf touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}
