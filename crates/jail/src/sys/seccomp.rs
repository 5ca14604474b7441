//! Handing a filter to the kernel.

use super::check;
use rustix::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::io;

/// Since Linux 5.19: who is heard already is interrupted by the signals that kill, and by no other.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// `SECCOMP_IOCTL_NOTIF_*` of `linux/seccomp.h`.
const RECV: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// Since Linux 6.6: the two take turns on one processor, which saves waking another.
const SYNC_WAKE_UP: u64 = 1;

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`, for the calling thread.
pub fn set_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    set(program, 0).map(drop)
}

/// The same with `SECCOMP_FILTER_FLAG_NEW_LISTENER`. The listener is close-on-exec.
pub fn set_filter_with_listener(program: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let fd = set(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV)?;
    // SAFETY: with that flag the call's answer is a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn set(program: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` describes a live array of `len` instructions; the kernel copies and verifies it and does not
    // write to it in spite of the pointer's type.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
}

/// `SECCOMP_IOCTL_NOTIF_RECV`. Waits if there is nothing; `ENOENT` if who called is gone.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<libc::seccomp_notif> {
    // SAFETY: the structure is made of integers only, and the kernel wants it zeroed.
    let mut notice: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one such structure, whose size is part of the number, to a live one of ours.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), RECV as _, &raw mut notice) }))?;
    Ok(notice)
}

/// `SECCOMP_IOCTL_NOTIF_SEND` with `SECCOMP_USER_NOTIF_FLAG_CONTINUE`: the call is made.
pub fn go_on(listener: BorrowedFd<'_>, id: u64) -> io::Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: 0, flags })
}

/// `SECCOMP_IOCTL_NOTIF_SEND` with an error: the call is not made.
pub fn refuse(listener: BorrowedFd<'_>, id: u64, errno: i32) -> io::Result<()> {
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: -errno, flags: 0 })
}

fn send(listener: BorrowedFd<'_>, answer: libc::seccomp_notif_resp) -> io::Result<()> {
    // SAFETY: the kernel reads one such structure, whose size is part of the number, from a live one of ours.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw const answer) })).map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: whether who called still waits.
pub fn is_waiting(listener: BorrowedFd<'_>, id: u64) -> bool {
    // SAFETY: the kernel reads one number from a live one of ours.
    unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID as _, &raw const id) == 0 }
}

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS`.
pub fn wake_in_turns(listener: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the argument is a number.
    check(libc::c_long::from(unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) })).map(drop)
}

/// Makes a system call for its answer alone; for tests of the filter, with arguments that the kernel would refuse.
#[cfg(test)]
pub fn probe<const N: usize>(number: i64, arguments: [u64; N]) -> io::Result<i64> {
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: the tests pass numbers and null pointers only, so the kernel has nothing of ours to touch.
    check(unsafe { libc::syscall(number, argument(0), argument(1), argument(2), argument(3), 0, 0) })
}
