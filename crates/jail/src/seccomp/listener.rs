//! Hides how a process hears which calls of others would change something by path: seccomp_unotify(2).
//!
//! No wall can be made of it: the caller can change its memory until the kernel reads it once more, and a call that is let
//! go is made as it would have been.

use super::WATCHED_CALLS;
use crate::sys;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    process::Pid,
};
use std::io;

/// Paths are at most so long, with their NUL: `PATH_MAX` of `linux/limits.h`.
const PATH_MAX: usize = 4096;

/// The other end of [`install_watched`](super::install_watched). Readable when somebody waits; hung up when nobody is
/// left who could. Closed before that, it makes the calls fail with `ENOSYS`.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A call that is told of.
pub(super) struct Call {
    pub number: u32,
    pub name: &'static str,
    /// Which arguments are its paths, each with the one that is the directory where it begins, if the call has such.
    pub paths: &'static [(Option<u8>, u8)],
    /// Which one is the flags of open(2), if it has such.
    pub flags: Option<u8>,
}

/// A call that waits.
#[derive(Debug)]
pub struct Notice {
    id: u64,
    /// Who called: a thread, by its number here.
    pub caller: Pid,
    /// The call's name in the kernel's table.
    pub call: &'static str,
    /// Its paths.
    pub paths: Vec<Place>,
    /// The flags of open(2), if it has such.
    pub flags: Option<OFlags>,
}

/// Where a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The caller's descriptor of the directory in which it begins; none: its working directory.
    pub dir: Option<i32>,
    /// In the caller's memory.
    address: u64,
}

impl Listener {
    /// As it came over a socket, or from the call.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        let _ = sys::seccomp::wake_in_turns(fd.as_fd()); // faster where the kernel knows it
        Self(fd)
    }

    /// The next one that waits; to be called when the descriptor is readable, since it waits for one. `None`: it is gone.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn next(&self) -> io::Result<Option<Notice>> {
        let notice = match sys::seccomp::receive(self.0.as_fd()) {
            Ok(notice) => notice,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = notice.data.nr.cast_unsigned();
        let call = WATCHED_CALLS.iter().find(|call| call.number == number);
        let (call, places, flags) = call.map_or(("", &[][..], None), |call| (call.name, call.paths, call.flags));
        let argument = |index: u8| notice.data.args.get(usize::from(index)).copied().unwrap_or_default();
        // A descriptor is an int for the kernel, whatever the upper half says.
        let dir = |index: u8| Some(argument(index) as i32).filter(|&fd| fd != libc::AT_FDCWD);
        let place = |&(at, path): &(Option<u8>, u8)| Place { dir: at.and_then(dir), address: argument(path) };
        let caller = Pid::from_raw(notice.pid.cast_signed());
        let Some(caller) = caller else {
            // In no pid namespace that is seen from here, which cannot be for a descendant.
            self.go_on(notice.id)?;
            return Ok(None);
        };
        let flags = flags.map(|index| OFlags::from_bits_retain(argument(index) as u32));
        Ok(Some(Notice { id: notice.id, caller, call, paths: places.iter().map(place).collect(), flags }))
    }

    /// Whether who called waits still, so that what was read of its /proc was its own.
    #[must_use]
    pub fn waits(&self, notice: &Notice) -> bool {
        sys::seccomp::is_waiting(self.0.as_fd(), notice.id)
    }

    /// Lets a call be made. No error if who called is gone.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn let_go(&self, notice: &Notice) -> io::Result<()> {
        self.go_on(notice.id)
    }

    /// Answers a call with an error: it is not made. No error if who called is gone.
    ///
    /// # Errors
    /// As ioctl(2).
    pub fn refuse(&self, notice: &Notice, errno: rustix::io::Errno) -> io::Result<()> {
        Self::unless_gone(sys::seccomp::refuse(self.0.as_fd(), notice.id, errno.raw_os_error()))
    }

    fn go_on(&self, id: u64) -> io::Result<()> {
        Self::unless_gone(sys::seccomp::go_on(self.0.as_fd(), id))
    }

    fn unless_gone(result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Notice {
    /// The memory of who called, to read the paths from ([`Place::path`]).
    ///
    /// # Errors
    /// As open(2): `EACCES` if the caller may not trace it.
    pub fn memory(&self) -> io::Result<OwnedFd> {
        let path = format!("/proc/{}/mem", self.caller.as_raw_nonzero());
        Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }
}

impl Place {
    /// The path, without its NUL. Empty if there is none that the kernel would take.
    #[must_use]
    pub fn path(self, memory: &OwnedFd) -> Vec<u8> {
        let mut bytes = vec![0; PATH_MAX];
        let length = rustix::io::pread(memory, &mut bytes[..], self.address).unwrap_or_default();
        bytes.truncate(length);
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or_default();
        bytes.truncate(end);
        bytes
    }

    /// The name in /proc of the directory in which the path begins, if it is relative.
    #[must_use]
    pub fn begins(self, caller: Pid) -> String {
        let caller = caller.as_raw_nonzero();
        match self.dir {
            Some(fd) => format!("/proc/{caller}/fd/{fd}"),
            None => format!("/proc/{caller}/cwd"),
        }
    }
}
