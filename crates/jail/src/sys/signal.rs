//! Signal masks, dispositions and signalfd(2).

use super::check;
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// A set of signals.
pub struct SigSet(libc::sigset_t);

impl SigSet {
    /// No signal.
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initializes the set that it is given.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Every signal that can be blocked.
    pub fn full() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initializes the set that it is given.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Adds one.
    pub fn add(&mut self, signal: i32) -> io::Result<()> {
        // SAFETY: the set is initialized; a bad number is answered with EINVAL.
        check(unsafe { libc::sigaddset(&mut self.0, signal) }.into()).map(drop)
    }

    /// Changes the calling thread's mask; `how` is `SIG_BLOCK`, `SIG_UNBLOCK` or `SIG_SETMASK`.
    pub fn apply(&self, how: i32) -> io::Result<()> {
        // SAFETY: the set is initialized and only read; the old mask is not asked for.
        match unsafe { libc::pthread_sigmask(how, &self.0, ptr::null_mut()) } {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// A non-blocking, close-on-exec signalfd(2) for this set.
    pub fn fd(&self) -> io::Result<OwnedFd> {
        // SAFETY: -1 asks for a new descriptor; the set is initialized and only read.
        let fd = check(unsafe { libc::signalfd(-1, &self.0, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) }.into())?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }
}

/// Reads one record from a signalfd: the signal's number and its sender's process id. `None` if there is none.
pub fn read_signal(fd: BorrowedFd<'_>) -> io::Result<Option<(i32, u32)>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    // SAFETY: the buffer is as long as we say; the kernel writes whole records or nothing.
    let read = unsafe { libc::read(fd.as_raw_fd(), info.as_mut_ptr().cast(), size_of_val(&info)) };
    match check(read as libc::c_long) {
        Ok(n) if n as usize == size_of_val(&info) => {
            // SAFETY: a whole record was written.
            let info = unsafe { info.assume_init() };
            Ok(Some((info.ssi_signo as i32, info.ssi_pid)))
        }
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ignores a signal from now on.
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: SIG_IGN installs no code of ours; a bad number is answered with SIG_ERR.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives every signal its default action.
pub fn default_actions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code of ours. KILL, STOP and libc's own signals are refused, which is right.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
