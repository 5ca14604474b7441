//! Hides what only the first process of a pid namespace may do: take the descriptors that it was started with, and
//! signal everybody.

use crate::sys;
use rustix::{
    fd::{OwnedFd, RawFd},
    process::Pid,
};
use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

/// Takes a descriptor that the program was started with. Once for each number: nobody else can own it then.
///
/// # Errors
/// `EBADF` if it is not open; `EBUSY` if it was taken before, or for standard input, output and error, which belong to
/// `std`, and for numbers beyond 63, which no program is started with.
pub fn take_fd(fd: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let bit = if (3..64).contains(&fd) { 1 << fd } else { 0 };
    if bit == 0 || TAKEN.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    sys::pid1::own(fd)
}

/// Sends a signal to every other process of this pid namespace.
///
/// # Errors
/// `EPERM` unless the caller is the first process of its namespace: elsewhere it would reach strangers. Otherwise as
/// kill(2); that there is no other process is no error.
pub fn signal_everyone(signal: i32) -> io::Result<()> {
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    sys::pid1::kill(-1, signal)
}

/// Sends a signal, real-time ones included, to a process group. That it is gone is no error.
///
/// # Errors
/// As kill(2): `EINVAL` if there is no such signal.
pub fn signal_group(group: Pid, signal: i32) -> io::Result<()> {
    match group.as_raw_nonzero().get() {
        // -1 would mean everybody.
        1 => Err(io::Error::from_raw_os_error(libc::EPERM)),
        group => sys::pid1::kill(-group, signal),
    }
}

/// Does something with another user id for files, so that what it makes belongs to that user. Needs `CAP_SETUID`.
/// The process is not dumpable afterwards.
///
/// # Errors
/// `EPERM` if the id could not be changed, or not be changed back: then the process should end.
pub fn as_file_user<T>(uid: u32, make: impl FnOnce() -> T) -> io::Result<T> {
    with_file_ids(uid, None, make)
}

/// Does something as a process of this user and group may, whose /proc is open to it then. Needs `CAP_SETUID` and
/// `CAP_SETGID`. The process is not dumpable afterwards.
///
/// # Errors
/// As [`as_file_user`].
pub fn as_peer<T>(uid: u32, gid: u32, make: impl FnOnce() -> T) -> io::Result<T> {
    with_file_ids(uid, Some(gid), make)
}

fn with_file_ids<T>(uid: u32, gid: Option<u32>, make: impl FnOnce() -> T) -> io::Result<T> {
    // They report no error; asked for an impossible id, they tell which one holds.
    let held = |held: bool| if held { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) };
    let change_user = |uid: u32| {
        sys::pid1::setfsuid(uid);
        held(sys::pid1::setfsuid(u32::MAX) == uid)
    };
    let change_group = |gid: u32| {
        sys::pid1::setfsgid(gid);
        held(sys::pid1::setfsgid(u32::MAX) == gid)
    };
    let (own_user, own_group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let death_signal = rustix::process::parent_process_death_signal()?;
    gid.map_or(Ok(()), change_group)?;
    change_user(uid)?;
    let result = make();
    change_user(own_user)?;
    gid.map_or(Ok(()), |_| change_group(own_group))?;
    // A change of ids makes a process as dumpable as fs.suid_dumpable says, and forgets the signal.
    crate::process::set_dumpable(false)?;
    rustix::process::set_parent_process_death_signal(death_signal)?;
    Ok(result)
}

/// Makes the allocator give large blocks, and free memory at the heap's end, back to the kernel at once. Left alone,
/// glibc keeps megabytes after a burst, which a process that mostly waits should not.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    sys::pid1::limit_malloc(64 * 1024);
}
