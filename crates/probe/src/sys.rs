//! The system calls that no safe library offers: raw numbers, raw clones, 32-bit entry. The one place with `unsafe`.

use rustix::io::Errno;
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

/// An argument of a system call.
pub enum Arg<'a> {
    /// A number. Where the kernel takes it for an address it must lie in the first page, which is never mapped:
    /// the call then fails with EFAULT and touches nothing.
    Num(u64),
    /// Bytes that the kernel reads.
    In(&'a [u8]),
    /// Bytes that the kernel may write.
    Out(&'a mut [u8]),
}

/// An address that is never mapped.
pub const NOWHERE: u64 = 8;

impl From<u64> for Arg<'_> {
    fn from(number: u64) -> Self {
        Self::Num(number)
    }
}

impl From<i32> for Arg<'_> {
    fn from(number: i32) -> Self {
        // Sign extension is what a C caller's `int` gets.
        Self::Num(i64::from(number) as u64)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::In(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Arg<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::In(bytes)
    }
}

impl<'a> From<&'a std::ffi::CStr> for Arg<'a> {
    fn from(text: &'a std::ffi::CStr) -> Self {
        Self::In(text.to_bytes_with_nul())
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self::Out(bytes)
    }
}

/// Makes system call `nr`. Buffers must be as large as the call expects; calls that change the caller's own memory
/// map or return twice go through the other functions here.
///
/// # Errors
/// What the kernel says.
pub fn call<const N: usize>(nr: i64, args: [Arg<'_>; N]) -> Result<u64, Errno> {
    let mut raw = [0u64; 6];
    for (slot, arg) in raw.iter_mut().zip(args) {
        *slot = match arg {
            Arg::Num(number) => number,
            Arg::In(bytes) => bytes.as_ptr() as u64,
            Arg::Out(bytes) => bytes.as_mut_ptr() as u64,
        };
    }
    // SAFETY: pointers are to live slices of the size that the call expects, and numbers are no addresses of
    // mapped memory, by the contract above; the cases of this crate are the only callers.
    let result = unsafe { libc::syscall(nr as libc::c_long, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) };
    if result < 0 { Err(last_errno()) } else { Ok(result as u64) }
}

/// The same through the macro-free form that the cases read best.
#[macro_export]
macro_rules! syscall {
    ($nr:expr $(, $arg:expr)* $(,)?) => { $crate::sys::call($nr as i64, [$($crate::sys::Arg::from($arg)),*]) };
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Takes over a descriptor number that a raw call has just returned.
#[must_use]
pub fn own(fd: u64) -> OwnedFd {
    // SAFETY: a system call has just made this descriptor, and nothing else knows of it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It did not end in time and was killed.
    Late,
}

/// Runs `f` in a forked child, in a process group of its own, and gives what it wrote and how it ended. The whole
/// group is killed at the end. Must be called in a process with one thread.
///
/// # Errors
/// If no child could be made.
pub fn in_child(limit: Duration, f: impl FnOnce(&mut File) -> u8) -> Result<(String, End), Errno> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so the child may use everything.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => {
            drop(read);
            let _ = rustix::process::setpgid(None, None);
            let code = f(&mut File::from(write));
            exit(code)
        }
        pid => {
            drop(write);
            // Both sides do it, so that neither can be too early.
            // SAFETY: plain calls without memory.
            unsafe { libc::setpgid(pid, pid) };
            let (text, late) = read_until(File::from(read), Instant::now() + limit);
            let mut status = 0;
            // SAFETY: `status` is a live integer; the child is ours and not yet waited for, so its group id is ours.
            unsafe {
                if late {
                    libc::kill(-pid, libc::SIGKILL);
                }
                while libc::waitpid(pid, &raw mut status, 0) < 0 && last_errno() == Errno::INTR {}
                // Members that outlived their leader keep the group's id in use.
                libc::kill(-pid, libc::SIGKILL);
            }
            let end = if late {
                End::Late
            } else if libc::WIFSIGNALED(status) {
                End::Signal(libc::WTERMSIG(status))
            } else {
                End::Code(libc::WEXITSTATUS(status))
            };
            Ok((text, end))
        }
    }
}

/// What `f` answers in a child that a dangerous call may kill: `Ok(code)` or the signal that ended it.
///
/// # Errors
/// If no child could be made, or it didn't end in twenty seconds.
pub fn survives(f: impl FnOnce() -> u8) -> Result<End, Errno> {
    in_child(Duration::from_secs(20), |pipe| {
        let code = f();
        let _ = pipe.write_all(&[code]);
        code
    })
    .map(|(_, end)| end)
}

/// Ends this process at once, without unwinding or flushing.
pub fn exit(code: u8) -> ! {
    // SAFETY: never returns.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Reads to the end or the deadline; whether the deadline came first. Survivors of a dead child may hold the pipe,
/// so the first full line is the end too.
fn read_until(mut pipe: File, deadline: Instant) -> (String, bool) {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return (String::from_utf8_lossy(&bytes).into_owned(), true);
        }
        let mut fds = [rustix::event::PollFd::new(&pipe, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match rustix::event::poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => continue,
            _ => {}
        }
        match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => return (String::from_utf8_lossy(&bytes).into_owned(), false),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
        if bytes.last() == Some(&b'\n') {
            return (String::from_utf8_lossy(&bytes).into_owned(), false);
        }
    }
}

/// clone(2) without a new stack, which is fork(2) with flags. The child ends at once.
///
/// # Errors
/// What the kernel says.
pub fn clone_and_end(flags: u64) -> Result<(), Errno> {
    // SAFETY: with a null stack and no CLONE_VM the call is a fork; all pointer arguments are null.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD as u64, 0, 0, 0, 0) };
    reap(pid)
}

/// clone3(2), likewise.
///
/// # Errors
/// What the kernel says.
pub fn clone3_and_end(flags: u64) -> Result<(), Errno> {
    // struct clone_args, first revision: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls.
    let args = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    // SAFETY: the structure lives across the call, its size is given, and it asks for a plain fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    reap(pid)
}

fn reap(pid: libc::c_long) -> Result<(), Errno> {
    match pid {
        -1 => Err(last_errno()),
        0 => exit(0),
        pid => {
            // SAFETY: a null status pointer is allowed.
            unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), libc::__WALL) };
            Ok(())
        }
    }
}

/// Forks `count` children that sleep, and gives how many there were. The caller's group is killed later.
#[must_use]
pub fn fork_sleepers(count: u64) -> u64 {
    for made in 0..count {
        // SAFETY: this process has one thread; the child does nothing but sleep.
        match unsafe { libc::fork() } {
            -1 => return made,
            0 => loop {
                // SAFETY: no memory is involved.
                unsafe { libc::pause() };
            },
            _ => {}
        }
    }
    count
}

/// Forks; 0 in the child. The caller has one thread.
///
/// # Errors
/// What the kernel says.
pub fn fork() -> Result<i32, Errno> {
    // SAFETY: by the contract above the child may use everything.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        pid => Ok(pid),
    }
}

/// Waits for a child and gives its exit status; 255 if a signal ended it.
#[must_use]
pub fn wait(pid: i32) -> u8 {
    let mut status = 0;
    // SAFETY: `status` is a live integer.
    unsafe { while libc::waitpid(pid, &raw mut status, 0) < 0 && last_errno() == Errno::INTR {} }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) as u8 } else { 255 }
}

/// Makes a system call through the 32-bit gate. Without 32-bit support in the kernel it kills the caller.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn int80(nr: u32, first: u32) -> i32 {
    let result: i32;
    // SAFETY: int 0x80 keeps all registers but eax (and r8 to r11 on old kernels); rbx can't be named as an operand,
    // so it is swapped in and out.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) u64::from(first) => _,
            inlateout("eax") nr => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            options(nostack),
        );
    }
    result
}
