//! Hides how a process is cloned into new namespaces, and how its ids are mapped.

use crate::sys;
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    process::Pid,
    thread::UnshareFlags,
};
use std::{
    ffi::{CStr, CString},
    io,
};

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

    /// All but the network's, for a child that makes that one itself ([`enter_network`]).
    #[must_use]
    pub const fn all_but_network() -> Self {
        Self(Self::all().0 & !Self::NET.0)
    }

    /// As clone(2) takes them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// Which namespaces a process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity([CString; KINDS.len()]);

/// As /proc/PID/ns calls them.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

impl Identity {
    /// Those of the calling thread, by the /proc that it sees.
    ///
    /// # Errors
    /// As openat(2) and readlinkat(2).
    pub fn own() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open("/proc/thread-self/ns", flags, Mode::empty())?;
        let mut own = Self(Default::default());
        for (kind, identity) in KINDS.iter().zip(&mut own.0) {
            // The link's text has the number of the namespace; to follow it costs several times as much.
            *identity = rustix::fs::readlinkat(&dir, *kind, Vec::with_capacity(32))?;
        }
        Ok(own)
    }

    /// The names of those that both processes are in.
    pub fn shared(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let pairs: Vec<bool> = self.0.iter().zip(&other.0).map(|(own, other)| own == other).collect();
        KINDS.into_iter().zip(pairs).filter_map(|(kind, same)| same.then_some(kind))
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

/// Moves the calling process into a new network namespace of its user namespace. It takes the kernel longer to make
/// than all the others together, so it pays to do it while somebody else works.
///
/// # Errors
/// As unshare(2).
pub fn enter_network() -> io::Result<()> {
    sys::process::unshare_network()
}

/// Moves the calling process into a new cgroup namespace, whose root is the cgroup that it is in.
///
/// # Errors
/// As unshare(2).
pub fn enter_cgroup() -> io::Result<()> {
    sys::process::unshare_cgroup()
}

/// Writes the id maps of a process in a new user namespace: lines of `inside outside count`, as in
/// user_namespaces(7). For a caller with `CAP_SETUID` and `CAP_SETGID` over the outer namespace.
///
/// # Errors
/// As write(2) on /proc/PID/uid_map and gid_map.
pub fn write_maps(pid: Pid, uids: &str, gids: &str) -> io::Result<()> {
    let dir = proc_of(pid)?;
    write_once(&dir, c"uid_map", uids)?;
    write_once(&dir, c"gid_map", gids)
}

/// Maps one user and one group id of the calling process, which has just been cloned into a new user namespace, to
/// the ids that it has outside. Needs no privilege; gives up setgroups(2) for that.
///
/// # Errors
/// As write(2) on /proc/self/uid_map and gid_map.
pub fn map_self(uid: (u32, u32), gid: (u32, u32)) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open("/proc/self", flags, Mode::empty())?;
    write_once(&dir, c"setgroups", "deny")?;
    write_once(&dir, c"uid_map", &format!("{} {} 1", uid.0, uid.1))?;
    write_once(&dir, c"gid_map", &format!("{} {} 1", gid.0, gid.1))
}

/// The user namespace of a child that has not been waited for.
///
/// # Errors
/// As open(2).
pub fn user_of(pid: Pid) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(proc_of(pid)?, c"ns/user", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A user namespace with these maps and no process: good for mapping the owners of a mount. A short-lived child makes
/// it, because there is no other way before Linux has one.
///
/// # Errors
/// As [`clone`] and [`write_maps`].
pub fn user_with_maps(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    let (wait, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    match clone(Namespaces::USER, None)? {
        Clone::Child => {
            drop(release);
            // Ends when the parent closes its side, or dies.
            let _ = rustix::io::read(&wait, &mut [0u8; 1]);
            crate::process::exit_now(0)
        }
        Clone::Parent(pid, _) => {
            let namespace = write_maps(pid, uids, gids).and_then(|()| user_of(pid));
            drop(release);
            rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()))?;
            namespace
        }
    }
}

fn proc_of(pid: Pid) -> io::Result<OwnedFd> {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// These files take one write(2).
fn write_once(dir: &OwnedFd, name: &CStr, text: &str) -> io::Result<()> {
    let file = rustix::fs::openat(dir, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}
