//! Hides how a wall is tested: each function tries what the walls must not let through, and the kernel's answer says
//! whether they stand.
//!
//! A caller for whom one of them succeeds is no longer what it was, and must end.

use crate::sys;
use rustix::fd::{AsFd, BorrowedFd};
use std::io;

/// Makes a user namespace: the way to every capability.
///
/// # Errors
/// As unshare(2).
pub fn user_namespace() -> io::Result<()> {
    sys::attempt::unshare_user()
}

/// Types a character into a terminal (CVE-2017-5226). Asked of any other file, a kernel that gets that far says
/// `ENOTTY`.
///
/// # Errors
/// As ioctl_tty(2).
pub fn terminal_input(terminal: impl AsFd) -> io::Result<()> {
    sys::attempt::tiocsti(terminal.as_fd(), 0)
}

/// The same with a request number whose upper 32 bits are set, which the kernel ignores and a careless filter does
/// not (CVE-2019-10063).
///
/// # Errors
/// As ioctl_tty(2).
pub fn terminal_input_high_bits(terminal: BorrowedFd<'_>) -> io::Result<()> {
    sys::attempt::tiocsti(terminal, 1 << 32)
}

/// Asks for the session keyring.
///
/// # Errors
/// As keyctl(2).
pub fn keyring() -> io::Result<()> {
    sys::attempt::session_keyring()
}

/// Makes an io_uring: the way around system call filters.
///
/// # Errors
/// As io_uring_setup(2).
pub fn io_uring() -> io::Result<()> {
    sys::attempt::io_uring_setup()
}

/// Gives a file a set-user-id mode. The descriptor is a bad one: a kernel that gets that far says `EBADF`.
///
/// # Errors
/// As fchmod(2).
pub fn set_user_id() -> io::Result<()> {
    sys::attempt::fchmod_nothing(0o4755)
}

/// The same for set-group-id.
///
/// # Errors
/// As fchmod(2).
pub fn set_group_id() -> io::Result<()> {
    sys::attempt::fchmod_nothing(0o2755)
}
