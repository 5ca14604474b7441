//! The system call filter itself, and ways round it: other entries, other number spaces, high bits.

use crate::{
    case::{Case, Class::Filter, Control, Outcome, Skip, done, said},
    cases::privileges::posture,
    context::Context,
    sys::{End, survives},
    syscall,
};
use rustix::io::Errno;

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new("seccomp-mode", Filter, "no system call filter is in force", "seccomp(2)", Control::Host, |ctx| {
        posture(ctx, "Seccomp", "2")
    }),
    Case::new(
        "unknown-syscalls",
        Filter,
        "a system call that the filter doesn't know goes through",
        "CVE-2021-41133",
        Control::None("no kernel has these numbers"),
        |_| Ok(unknown()),
    ),
    Case::new(
        "x32-syscalls",
        Filter,
        "the x32 numbers of forbidden calls go through",
        "seccomp(2)",
        Control::Host,
        x32,
    ),
    Case::new("ia32-syscalls", Filter, "the 32-bit entry goes round the filter", "seccomp(2)", Control::Host, ia32),
    Case::new(
        "filter-tsync",
        Filter,
        "the process can't be made to lose its filter by a second one",
        "seccomp(2)",
        Control::None("an allow-all filter never widens another"),
        |_| Ok(allow_all()),
    ),
    Case::new(
        "syscall-number-high-bits",
        Filter,
        "the high half of the number register is believed by one side only",
        "CVE-2019-10063",
        Control::Host,
        |_| Ok(high_number()),
    ),
];

/// Numbers beyond every table of today, and negative ones: all must fail.
fn unknown() -> Outcome {
    for number in [600i64, 700, 1023, 4095, 0x3fff_ffff, -2, -1000] {
        if let Ok(end) = survives(|| u8::from(syscall!(number, 0, 0, 0).is_ok()))
            && end == End::Code(1)
        {
            return Outcome::Escaped(format!("system call {number} succeeded"));
        }
    }
    Outcome::Held("none succeeded".to_owned())
}

const DENIED: u8 = 10;
const ABSENT: u8 = 11;

fn code(errno: Errno) -> u8 {
    if errno == Errno::NOSYS { ABSENT } else { DENIED }
}

fn told(end: Result<End, Errno>) -> Result<Outcome, Skip> {
    Ok(match end {
        Ok(End::Code(0)) => Outcome::Escaped("made a user namespace".to_owned()),
        Ok(End::Code(code)) if code == i32::from(DENIED) => Outcome::Held("denied".to_owned()),
        Ok(End::Code(_)) => Outcome::Absent("not known to this kernel or filter".to_owned()),
        Ok(End::Signal(libc::SIGSYS)) => Outcome::Held("killed by the filter".to_owned()),
        Ok(End::Signal(_)) => Outcome::Absent("this kernel has no such entry".to_owned()),
        Ok(End::Late) => return Err(Skip("it did not end".to_owned())),
        Err(errno) => return Err(Skip(said(errno))),
    })
}

#[cfg(target_arch = "x86_64")]
fn x32(_: &Context) -> Result<Outcome, Skip> {
    const X32_BIT: i64 = 0x4000_0000;
    told(survives(|| match syscall!(X32_BIT + libc::SYS_unshare, libc::CLONE_NEWUSER) {
        Ok(_) => 0,
        Err(errno) => code(errno),
    }))
}

#[cfg(target_arch = "x86_64")]
fn ia32(_: &Context) -> Result<Outcome, Skip> {
    // unshare in the i386 table.
    const UNSHARE: u32 = 310;
    told(survives(|| match crate::sys::int80(UNSHARE, libc::CLONE_NEWUSER as u32) {
        0 => 0,
        error => code(Errno::from_raw_os_error(-error)),
    }))
}

#[cfg(not(target_arch = "x86_64"))]
fn x32(_: &Context) -> Result<Outcome, Skip> {
    Ok(Outcome::Absent("this architecture has one table".to_owned()))
}

#[cfg(not(target_arch = "x86_64"))]
fn ia32(_: &Context) -> Result<Outcome, Skip> {
    // A 64-bit program can't enter the 32-bit table of this architecture.
    Ok(Outcome::Absent("this architecture has no such gate".to_owned()))
}

/// Puts a filter that allows all on top, then does what is forbidden.
fn allow_all() -> Outcome {
    // struct sock_filter: BPF_RET | BPF_K with SECCOMP_RET_ALLOW; struct sock_fprog: length, padding, pointer.
    let mut filter = [0u8; 8];
    filter[0..2].copy_from_slice(&6u16.to_ne_bytes());
    filter[4..8].copy_from_slice(&0x7fff_0000u32.to_ne_bytes());
    let mut program = [0u8; 16];
    program[0..2].copy_from_slice(&1u16.to_ne_bytes());
    program[8..16].copy_from_slice(&(filter.as_ptr() as u64).to_ne_bytes());
    // Without no_new_privs or capabilities the kernel refuses; then there is nothing to test.
    if let Err(errno) = syscall!(libc::SYS_seccomp, 1, 0, program.as_slice()) {
        return Outcome::Held(said(errno));
    }
    done(syscall!(libc::SYS_keyctl, 0, -4, 0, 0, 0), "a forbidden call went through after it")
}

/// The same forbidden call with bit 32 of its number set.
fn high_number() -> Outcome {
    match survives(|| match syscall!(libc::SYS_keyctl | 1 << 32, 0, -4, 0, 0, 0) {
        Ok(_) => 0,
        Err(errno) => code(errno),
    }) {
        Ok(End::Code(0)) => Outcome::Escaped("keyctl went through".to_owned()),
        Ok(_) => Outcome::Held("it did not go through".to_owned()),
        Err(errno) => Outcome::Held(said(errno)),
    }
}
