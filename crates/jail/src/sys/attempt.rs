//! System calls that are made in the hope that they fail.

use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// unshare(2) of the user namespace.
pub fn unshare_user() -> io::Result<()> {
    // SAFETY: CLONE_NEWUSER changes credentials only; descriptors and memory stay as they are.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()).map(drop)
}

/// `TIOCSTI` of <asm-generic/ioctls.h>; libc gives it another type on each target.
const TIOCSTI: u64 = 0x5412;

/// `ioctl(TIOCSTI)` with one byte, and with these bits added to the request.
pub fn tiocsti(fd: BorrowedFd<'_>, bits: u64) -> io::Result<()> {
    let byte = 0u8;
    // Raw, because libc's wrapper would cut the request to 32 bits on the way.
    let request = TIOCSTI | bits;
    // SAFETY: the kernel reads one byte through the pointer, which lives until the call returns.
    check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), request, &raw const byte) }).map(drop)
}

/// `keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0)`.
pub fn session_keyring() -> io::Result<()> {
    const KEYCTL_GET_KEYRING_ID: libc::c_int = 0;
    const KEY_SPEC_SESSION_KEYRING: libc::c_int = -3;
    // SAFETY: three integers; no memory of ours is touched.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0) }).map(drop)
}

/// io_uring_setup(2) with one entry. What it may make is closed at once.
pub fn io_uring_setup() -> io::Result<()> {
    use std::os::fd::{FromRawFd, OwnedFd};
    // `struct io_uring_params` has 120 bytes, all of which may be zero on the way in.
    let mut params = [0u64; 15];
    // SAFETY: the buffer has the size of the structure that the kernel reads and writes.
    let fd = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

/// fchmod(2) of no descriptor.
pub fn fchmod_nothing(mode: libc::mode_t) -> io::Result<()> {
    // SAFETY: two integers; -1 is nobody's descriptor.
    check(unsafe { libc::fchmod(-1, mode) }.into()).map(drop)
}
