//! Terminals: input typed for the caller, and the caller's own terminal.
//!
//! The ioctls are made on a terminal of the probe's own. What counts is whether they reach the kernel's terminal
//! driver at all: where the caller's terminal is inherited, a filter is the only wall on kernels before 6.2.

use crate::{
    case::{Case, Class::Terminal, Control, Outcome, Skip, done, said},
    context::Context,
    syscall,
};
use rustix::{
    io::Errno,
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
};
use std::{
    fs::{self, File, OpenOptions},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "terminal-input",
        Terminal,
        "input can be typed into the caller's terminal",
        "CVE-2017-5226",
        Control::Host,
        |_| reach(libc::TIOCSTI),
    ),
    Case::new(
        "terminal-input-high-bits",
        Terminal,
        "the same, with bits set that only the filter compares",
        "CVE-2019-10063",
        Control::Host,
        |_| reach(1 << 32 | libc::TIOCSTI),
    ),
    Case::new(
        "terminal-linux-paste",
        Terminal,
        "the console's selection can be pasted as input",
        "CVE-2023-1523",
        Control::Host,
        |_| reach(libc::TIOCLINUX),
    ),
    Case::new(
        "terminal-linux-paste-high-bits",
        Terminal,
        "the same, with bits set that only the filter compares",
        "CVE-2023-1523",
        Control::Host,
        |_| reach(1 << 32 | libc::TIOCLINUX),
    ),
    Case::new(
        "terminal-of-caller",
        Terminal,
        "the caller's terminal is the sandbox's",
        "CVE-2017-5226",
        Control::Host,
        of_caller,
    ),
    Case::new("terminal-list", Terminal, "the host's pseudo terminals are visible", "devpts(5)", Control::Host, devpts),
];

/// A terminal of our own, made the controlling one.
fn own_terminal() -> Result<(OwnedFd, File), Skip> {
    let fail = |errno| Skip(format!("no terminal can be made: {}", said(errno)));
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(fail)?;
    unlockpt(&master).map_err(fail)?;
    let name = ptsname(&master, Vec::new()).map_err(fail)?;
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(name.to_string_lossy().as_ref())
        .map_err(|error| fail(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    // A leader of a process group can't make a session; a child can. The caller is a fresh child in its own group.
    match crate::sys::fork().map_err(fail)? {
        0 => {}
        child => crate::sys::exit(crate::sys::wait(child)),
    }
    rustix::process::setsid().map_err(fail)?;
    rustix::process::ioctl_tiocsctty(&slave).map_err(fail)?;
    Ok((master, slave))
}

/// EIO is the driver's own refusal since 6.2, and ENOTTY its answer where the terminal is no console: both say that
/// the request got that far.
fn reach(request: u64) -> Result<Outcome, Skip> {
    let (_master, slave) = own_terminal()?;
    let byte = [0u8; 1];
    Ok(match syscall!(libc::SYS_ioctl, slave.as_raw_fd(), request, &byte) {
        Err(errno @ (Errno::IO | Errno::NOTTY | Errno::INVAL)) => {
            Outcome::Escaped(format!("the request reached the terminal driver ({})", said(errno)))
        }
        other => done(other, "the request was carried out"),
    })
}

fn of_caller(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(host): Option<u64> = ctx.get("devpts").and_then(|text| text.parse().ok()) else {
        return Ok(Outcome::Absent("the host has no devpts".to_owned()));
    };
    let mine = |path: &str| fs::metadata(path).is_ok_and(|meta| meta.dev() == host);
    for fd in 0..3 {
        if mine(&format!("/proc/self/fd/{fd}")) {
            return Ok(Outcome::Escaped(format!("descriptor {fd} is a terminal of the host")));
        }
    }
    // /dev/tty itself lies elsewhere; what stands behind it is told by the number in /proc/self/stat.
    match OpenOptions::new().read(true).custom_flags(libc::O_NOCTTY).open("/dev/tty") {
        Ok(_) if host_tty(ctx) => Ok(Outcome::Escaped("/dev/tty is the caller's".to_owned())),
        Ok(_) => Ok(Outcome::Held("a terminal of its own".to_owned())),
        Err(_) if ctx.control => Ok(Outcome::Absent("the caller has no terminal".to_owned())),
        Err(_) => Ok(Outcome::Held("no terminal".to_owned())),
    }
}

/// Whether our controlling terminal has the caller's number and isn't in a devpts of our own.
fn host_tty(ctx: &Context) -> bool {
    let own_instance = fs::metadata("/dev/pts").is_ok_and(|meta| ctx.get("devpts") != Some(&meta.dev().to_string()));
    !own_instance && crate::plant::tty_number().is_some_and(|number| ctx.get("tty") == Some(&number))
}

fn devpts(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(host) = ctx.get("devpts") else {
        return Ok(Outcome::Absent("the host has no devpts".to_owned()));
    };
    Ok(match fs::metadata("/dev/pts") {
        Ok(meta) if meta.dev().to_string() == host => Outcome::Escaped("/dev/pts is the host's".to_owned()),
        Ok(_) => Outcome::Held("/dev/pts is the sandbox's own".to_owned()),
        Err(_) => Outcome::Held("there is no /dev/pts".to_owned()),
    })
}
