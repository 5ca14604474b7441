//! Hides how a process is split, turned into another program, and stripped of what it inherited.
//!
//! Everything here is for processes with one thread; where that matters it is checked.

use crate::sys;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    process::{Pid, PidfdFlags, Resource, Rlimit, Signal},
    thread::{Gid, Uid},
};
use std::{
    ffi::{CStr, CString},
    io,
    os::unix::fs::{FileExt as _, MetadataExt},
};

/// The side on which [`fork`] returns.
#[derive(Debug)]
pub enum Fork {
    /// The caller; the child's process id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// fork(2), for a process with one thread. The child may go on as any program does.
///
/// # Errors
/// As fork(2); [`io::ErrorKind::ResourceBusy`] if there are other threads.
pub fn fork() -> io::Result<Fork> {
    Ok(match sys::process::fork()? {
        sys::process::Side::Child => Fork::Child,
        sys::process::Side::Parent(pid) => {
            Fork::Parent(Pid::from_raw(pid).ok_or(io::Error::from_raw_os_error(libc::ESRCH))?)
        }
    })
}

/// Fails if the process has more than one thread: a fork of it would copy locks whose owners it does not copy.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] if there are other threads; any other if /proc cannot tell.
pub fn require_single_thread() -> io::Result<()> {
    // A directory has two links and one more for each directory in it; here that is one for each thread.
    match std::fs::metadata("/proc/self/task")?.nlink() {
        3 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EBUSY)),
    }
}

/// Makes the calling process a daemon as far as it can itself: a new session without a terminal, `/` as working
/// directory, the usual umask of 022, /dev/null as standard input, output and error. Call it in the child of a [`fork`].
///
/// # Errors
/// As setsid(2), chdir(2), open(2), dup2(2).
pub fn daemonize() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    set_stdio_null()
}

/// Makes three descriptors this process's standard input, output and error.
///
/// # Errors
/// As dup2(2).
pub fn set_stdio(stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> io::Result<()> {
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

/// For root: as long as it lives, this thread makes and changes files as somebody else, without root's capabilities
/// for files (capabilities(7)). In a directory that is another's, names may come to mean another file at any time.
#[derive(Debug)]
pub struct FileOwner(());

impl FileOwner {
    /// # Errors
    /// `EPERM` if the caller is not root.
    pub fn assume(uid: u32, gid: u32) -> io::Result<Self> {
        let guard = Self(());
        if sys::process::set_fs_ids(uid, gid) == (uid, gid) {
            Ok(guard)
        } else {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        }
    }
}

impl Drop for FileOwner {
    fn drop(&mut self) {
        sys::process::set_fs_ids(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    }
}

/// Removes the arguments and the environment from what other processes can see of this one: both may hold secrets,
/// and a process that was forked keeps those of the program that it was. Nothing may read either afterwards.
///
/// # Errors
/// If /proc is not as proc_pid_stat(5) says.
pub fn forget_arguments(name: &str) -> io::Result<()> {
    const ARG_START: usize = 48;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the name, in parentheses, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
    let missing = || io::Error::from(io::ErrorKind::InvalidData);
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem")?;
    for start in [ARG_START, ARG_START + 2] {
        let (start, end) = field(start).zip(field(start + 1)).ok_or_else(missing)?;
        let mut text = vec![0; end.saturating_sub(start) as usize];
        if start == field(ARG_START).unwrap_or_default() {
            let shown = name.len().min(text.len().saturating_sub(1));
            text[..shown].copy_from_slice(&name.as_bytes()[..shown]);
        }
        memory.write_all_at(&text, start)?;
    }
    Ok(())
}

/// A program to execute.
#[derive(Clone, Copy, Debug)]
pub enum Program<'a> {
    /// By path, as the process sees it.
    Path(&'a CStr),
    /// By an open file: a sealed memory file, say.
    Fd(BorrowedFd<'a>),
}

/// Becomes another program (execveat(2)). Descriptors without close-on-exec stay open. Returns only on failure.
#[must_use]
pub fn exec(program: Program<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    match program {
        Program::Path(path) => sys::process::execveat(libc::AT_FDCWD, path, argv, env, 0),
        Program::Fd(fd) => sys::process::execveat(fd.as_raw_fd(), c"", argv, env, libc::AT_EMPTY_PATH),
    }
}

/// Marks every descriptor from `first` on as close-on-exec, but for those in `except`. The safe way to let nothing
/// leak into a program: nobody's descriptor is closed behind its owner's back.
///
/// # Errors
/// As close_range(2).
pub fn close_on_exec_from(first: RawFd, except: &[RawFd]) -> io::Result<()> {
    gaps(first, except, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on, but for those in `except`.
///
/// Whoever still holds one of them will get `EBADF`, or worse, a stranger that took its number. For a process that
/// has just been forked and whose inherited descriptors have no owner that will be dropped.
///
/// # Errors
/// As close_range(2).
pub fn close_fds_from(first: RawFd, except: &[RawFd]) -> io::Result<()> {
    gaps(first, except, 0)
}

fn gaps(first: RawFd, except: &[RawFd], flags: libc::c_uint) -> io::Result<()> {
    let mut next = u32::try_from(first).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    let mut except: Vec<u32> = except.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    except.sort_unstable();
    for keep in except {
        if keep > next {
            sys::fd::close_range(next, keep - 1, flags)?;
        }
        next = next.max(keep + 1);
    }
    sys::fd::close_range(next, u32::MAX, flags)
}

/// Becomes this user: groups, group id, user id, in that order, real, effective and saved alike.
///
/// With `groups` empty and one mapped id, setgroups(2) is refused by the kernel and there is nothing to drop; that
/// is no error.
///
/// # Errors
/// As setgroups(2), setresgid(2), setresuid(2).
pub fn set_ids(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    match sys::process::setgroups(groups) {
        Err(error) if groups.is_empty() && error.raw_os_error() == Some(libc::EPERM) => {}
        result => result?,
    }
    let (gid, uid) = (Gid::from_raw(gid), Uid::from_raw(uid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// A new session, and a new process group, with this process as leader of both; no controlling terminal.
///
/// # Errors
/// As setsid(2).
pub fn setsid() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Makes a terminal the controlling terminal of the calling session leader.
///
/// # Errors
/// As `ioctl(TIOCSCTTY)`.
pub fn set_controlling_tty(tty: impl AsFd) -> io::Result<()> {
    rustix::process::ioctl_tiocsctty(tty)?;
    Ok(())
}

/// A new, empty, anonymous session keyring, so that the caller's keys are out of reach. A kernel without keyrings
/// has none to hide: that is no error.
///
/// # Errors
/// As keyctl(2).
pub fn new_session_keyring() -> io::Result<()> {
    match sys::process::join_new_session_keyring() {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        result => result,
    }
}

/// Sets a limit, soft and hard alike.
///
/// # Errors
/// As setrlimit(2).
pub fn set_rlimit(resource: Resource, value: u64) -> io::Result<()> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    Ok(())
}

/// Raises a soft limit to the hard one.
///
/// # Errors
/// As setrlimit(2).
pub fn raise_rlimit(resource: Resource) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    rustix::process::setrlimit(resource, Rlimit { current: maximum, maximum })?;
    Ok(())
}

/// From now on no execve(2) of this process or its children gives rights that it does not have already.
///
/// # Errors
/// As `prctl(PR_SET_NO_NEW_PRIVS)`.
pub fn set_no_new_privs() -> io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Whether processes of the same user may trace this one and read its /proc entries. execve(2) turns it on again.
///
/// # Errors
/// As `prctl(PR_SET_DUMPABLE)`.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    sys::process::prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable)).map(drop)
}

/// Names the calling thread as `ps` shows it; what is beyond 15 bytes is cut off.
///
/// # Errors
/// If the name has a NUL.
pub fn set_name(name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    rustix::thread::set_name(&name)?;
    Ok(())
}

/// The signal that this process gets when its parent dies. Lost when it changes its ids.
///
/// # Errors
/// As `prctl(PR_SET_PDEATHSIG)`.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    Ok(())
}

/// Every signal its default action, none blocked: what a program may expect of the one that starts it.
///
/// # Errors
/// As sigprocmask(2).
pub fn reset_signals() -> io::Result<()> {
    sys::signal::default_actions();
    sys::signal::SigSet::empty().apply(libc::SIG_SETMASK)
}

/// A descriptor for a process: becomes readable when it ends, and names no other process ever.
///
/// # Errors
/// As pidfd_open(2).
pub fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Sends a signal by pidfd. `false` if the process has ended.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn signal_pidfd(pidfd: impl AsFd, signal: Signal) -> io::Result<bool> {
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Ends the process at once: no destructor, no exit handler, no buffer flushed. For a forked child that never became
/// another program, whose buffers are copies of its parent's.
pub fn exit_now(status: i32) -> ! {
    sys::process::exit_now(status)
}

/// Makes a directory the root and the working directory of this process. It keeps in only who has neither the capability
/// to do it again, nor a descriptor of a directory outside.
///
/// # Errors
/// As fchdir(2) and chroot(2).
pub fn chroot(dir: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(dir)?;
    Ok(rustix::process::chroot(".")?)
}

/// Makes /dev/null the standard input, output and error.
///
/// # Errors
/// As open(2) and dup2(2).
pub fn set_stdio_null() -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    set_stdio(null.as_fd(), null.as_fd(), null.as_fd())
}

/// Puts a duplicate of a descriptor at a fixed number, without close-on-exec, for the next program. What had that
/// number is closed; it must not be needed any more.
///
/// # Errors
/// As dup3(2) and fcntl(2).
pub fn place_fd(fd: impl AsFd, number: RawFd) -> io::Result<()> {
    sys::fd::place(fd.as_fd(), number)
}
