//! Hides how a process is cloned into new namespaces, and how its ids are mapped.

use crate::sys;
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    process::Pid,
    thread::UnshareFlags,
};
use std::io;

/// Namespaces, as flags of clone(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// User.
    pub const USER: Self = Self(UnshareFlags::NEWUSER.bits() as u64);
    /// Mount.
    pub const MOUNT: Self = Self(UnshareFlags::NEWNS.bits() as u64);
    /// Process ids.
    pub const PID: Self = Self(UnshareFlags::NEWPID.bits() as u64);
    /// Network.
    pub const NET: Self = Self(UnshareFlags::NEWNET.bits() as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(UnshareFlags::NEWIPC.bits() as u64);
    /// Host name.
    pub const UTS: Self = Self(UnshareFlags::NEWUTS.bits() as u64);
    /// Cgroup root.
    pub const CGROUP: Self = Self(UnshareFlags::NEWCGROUP.bits() as u64);

    /// All seven.
    #[must_use]
    pub const fn all() -> Self {
        Self(Self::USER.0 | Self::MOUNT.0 | Self::PID.0 | Self::NET.0 | Self::IPC.0 | Self::UTS.0 | Self::CGROUP.0)
    }

    /// As clone(2) takes them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// The side on which [`clone`] returns.
#[derive(Debug)]
pub enum Clone {
    /// The caller: the child's process id, and its pidfd.
    Parent(Pid, OwnedFd),
    /// The new process, in the new namespaces.
    Child,
}

/// Splits the process like fork(2), the child in new namespaces, all its signal handlers cleared. With `cgroup`, the
/// child begins in that cgroup (version 2).
///
/// # Errors
/// As clone3(2); [`io::ErrorKind::ResourceBusy`] if the process has other threads.
pub fn clone(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Clone> {
    Ok(match sys::process::clone_namespaces(namespaces.bits(), cgroup)? {
        sys::process::Side::Child => Clone::Child,
        sys::process::Side::Parent((pid, pidfd)) => {
            Clone::Parent(Pid::from_raw(pid).ok_or(io::Error::from_raw_os_error(libc::ESRCH))?, pidfd)
        }
    })
}
