//! Hides how signals are turned into something that poll(2) can wait for.

use crate::sys::signal::{self, SigSet, read_signal};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    process::Signal,
};
use std::io;

/// Blocks every signal in the calling thread. [`crate::process::reset_signals`] undoes it in a child.
///
/// # Errors
/// As sigprocmask(2).
pub fn block_all() -> io::Result<()> {
    SigSet::full().apply(libc::SIG_BLOCK)
}

/// Ignores a signal, in this process and what it forks. [`crate::process::reset_signals`] undoes it in a child.
///
/// # Errors
/// As sigaction(2).
pub fn ignore(signal: Signal) -> io::Result<()> {
    signal::ignore(signal.as_raw())
}

/// Signals as records that can be read. Non-blocking, close-on-exec.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// One signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it; 0 if that process is outside this pid namespace.
    pub sender: u32,
}

impl SignalFd {
    /// Blocks these signals and takes them from now on.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in signals {
            set.add(signal.as_raw())?;
        }
        set.apply(libc::SIG_BLOCK)?;
        Ok(Self(set.fd()?))
    }

    /// The next signal, or none.
    ///
    /// # Errors
    /// As read(2).
    pub fn read(&self) -> io::Result<Option<Received>> {
        Ok(read_signal(self.0.as_fd())?.map(|(signal, sender)| Received { signal, sender }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
