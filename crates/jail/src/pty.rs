//! Hides how a terminal is made so that a hostile /dev cannot hand us another file.

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags},
    pty::OpenptFlags,
};
use std::io;

/// `DEVPTS_SUPER_MAGIC` of statfs(2).
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// A terminal: the controlling side, and the side for programs.
#[derive(Debug)]
pub struct Pair {
    /// For the one that shows and types.
    pub controller: OwnedFd,
    /// For the program.
    pub user: OwnedFd,
}

/// A new terminal of the devpts instance at /dev/pts. Both sides are close-on-exec and no controlling terminal.
///
/// The multiplexer is opened inside /dev/pts and verified by its file system (CVE-2025-52565 was a false one); the
/// other side comes from the first by `TIOCGPTPEER`, not by a path.
///
/// # Errors
/// As open(2) and ioctl_tty(2); [`io::ErrorKind::InvalidData`] if /dev/pts is no devpts.
pub fn open_pair() -> io::Result<Pair> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let controller = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty())?;
    if rustix::fs::fstatfs(&controller)?.f_type as u64 != DEVPTS_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "/dev/pts is not a devpts"));
    }
    rustix::pty::unlockpt(&controller)?;
    let user =
        rustix::pty::ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok(Pair { controller, user })
}
