//! Making processes, turning them into programs, and the per-process switches.

use super::check;
use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// The side on which a fork returns.
pub enum Side<T> {
    /// The caller, with what it learns about the child.
    Parent(T),
    /// The new process.
    Child,
}

/// fork(2).
///
/// # Errors
/// As fork(2); and `EBUSY` if the caller has other threads, because their locks would never be released in the child.
pub fn fork() -> io::Result<Side<i32>> {
    crate::process::require_single_thread()?;
    // SAFETY: the process has one thread, so no lock is held by somebody who does not exist in the child, and the
    // child may go on as any program does.
    match check(libc::c_long::from(unsafe { libc::fork() }))? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(pid as i32)),
    }
}

/// `struct clone_args` of clone3(2), with all fields known to Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// clone3(2) as a fork with namespaces: `CLONE_PIDFD` is added, signal handlers are cleared, the child ends with
/// SIGCHLD. With `cgroup`, the child begins in that cgroup (v2).
///
/// # Errors
/// As clone3(2); and `EBUSY` if the caller has other threads.
pub fn clone_namespaces(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side<(i32, OwnedFd)>> {
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // Only namespaces may be asked for: a flag like CLONE_VM would make this function unsound.
    let known = crate::namespace::Namespaces::all().bits();
    if namespaces & !known != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    crate::process::require_single_thread()?;
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the size we name. Neither CLONE_VM nor a stack is given, so the child
    // runs on its own copy of our memory, like after fork; the process has one thread, so no lock is lost. libc's
    // cached thread id is stale in the child; it is used by pthread functions on other threads only, and there are none.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), size_of::<CloneArgs>()) })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor that is ours.
    Ok(Side::Parent((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// `unshare(CLONE_NEWNET)`.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: this flag changes what the process sees of the network, and touches no memory or descriptor of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into()).map(drop)
}

/// `unshare(CLONE_NEWCGROUP)`.
pub fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: this flag changes what the process sees of cgroups, and touches no memory or descriptor of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into()).map(drop)
}

/// execveat(2). Returns only on failure.
pub fn execveat(dir: RawFd, path: &CStr, argv: &[CString], env: &[CString], flags: i32) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: path is NUL-terminated; argv and env are NULL-terminated arrays of NUL-terminated strings, all alive
    // until the call returns, which it does only if it failed.
    unsafe { libc::syscall(libc::SYS_execveat, dir, path.as_ptr(), argv.as_ptr(), env.as_ptr(), flags) };
    io::Error::last_os_error()
}

/// prctl(2) with integer arguments only.
pub fn prctl(option: i32, argument: libc::c_ulong) -> io::Result<i32> {
    // Options whose argument is a pointer must not come through here.
    debug_assert!(matches!(option, libc::PR_SET_DUMPABLE | libc::PR_SET_PDEATHSIG | libc::PR_SET_KEEPCAPS));
    // SAFETY: the options above take an integer and touch no memory of ours.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into()).map(|value| value as i32)
}

/// `keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)`: a new anonymous session keyring.
pub fn join_new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory of ours is touched.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>()) })
        .map(drop)
}

/// Drops every supplementary group or sets them; raw, because libc's would signal threads that we do not have.
pub fn setgroups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `groups`, which the kernel only reads.
    check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) }).map(drop)
}

/// setfsuid(2) and setfsgid(2), for this thread. There is no error: what counts afterwards is returned.
pub fn set_fs_ids(uid: u32, gid: u32) -> (u32, u32) {
    // No such id: the question what it is.
    const ASK: u32 = u32::MAX;
    // SAFETY: these calls change whom the kernel takes this thread for when it uses files, and touch no memory.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsuid(ASK) as u32, libc::setfsgid(ASK) as u32)
    }
}

/// _exit(2).
pub fn exit_now(status: i32) -> ! {
    // SAFETY: it does not return and touches no memory of ours.
    unsafe { libc::_exit(status) }
}
