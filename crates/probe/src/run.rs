//! Runs one attempt in a child of its own, inside a sandbox or as a control, and tells what it answered.

use crate::{
    case::{Case, Class, Control, Outcome, Skip, said, words},
    context::Context,
    json,
    sys::{self, End},
    syscall,
};
use std::{
    fs::{self, File},
    io::Write,
    time::Duration,
};

/// How long an attempt may take: in an emulated machine, twenty times as long as elsewhere.
const LIMIT: Duration = Duration::from_secs(60);

/// What an attempt answered, or why it couldn't be made.
pub type Answer = Result<Outcome, Skip>;

/// The word of an answer, and its detail.
#[must_use]
pub fn told(answer: &Answer) -> (&'static str, &str) {
    match answer {
        Ok(Outcome::Escaped(detail)) => ("escaped", detail),
        Ok(Outcome::Held(detail)) => ("held", detail),
        Ok(Outcome::Absent(detail)) => ("absent", detail),
        Ok(Outcome::Tried(detail)) => ("tried", detail),
        Err(Skip(detail)) => ("skipped", detail),
    }
}

/// The exit status of an answer.
#[must_use]
pub fn status(answer: &Answer) -> u8 {
    match answer {
        Ok(Outcome::Held(_) | Outcome::Absent(_)) => 0,
        Ok(Outcome::Escaped(_)) => 10,
        Err(_) => 20,
        Ok(Outcome::Tried(_)) => 30,
    }
}

/// One line for a machine.
#[must_use]
pub fn line(case: &Case, answer: &Answer) -> String {
    let (word, detail) = told(answer);
    json::object(&[
        ("name", json::string(case.name)),
        ("class", json::string(case.class.name())),
        ("result", json::string(word)),
        ("detail", json::string(detail)),
    ])
}

/// Makes the attempt where this process is: in a sandbox, that is. An attempt that is proved in namespaces of its own
/// may change what it is made in, so it is refused where that is the host itself.
pub fn inside(case: &Case, ctx: &Context) -> Answer {
    if case.control == Control::Namespace {
        apart(ctx)?;
    }
    in_child(case, |pipe| {
        if case.class == Class::Mounts && case.control == Control::Namespace {
            // So that a mount that goes through doesn't decide the cases after it. Where this is refused, the attempt
            // has only the sandbox's own table to act on.
            let _ = syscall!(libc::SYS_unshare, libc::CLONE_NEWNS)
                .and_then(|_| syscall!(libc::SYS_mount, c"none", c"/", 0, libc::MS_REC | libc::MS_PRIVATE, 0));
        }
        write(pipe, &(case.attempt)(ctx))
    })
}

/// Whether this process has a mount, process and user namespace of its own. Without word of the host's, nobody knows.
fn apart(ctx: &Context) -> Result<(), Skip> {
    for kind in ["mnt", "pid", "user"] {
        let host = ctx.need(&format!("ns_{kind}"))?;
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).map_err(|error| Skip(words(&error)))?;
        if own.to_str() == Some(host) {
            return Err(Skip(format!("it would act on the host itself, whose {kind} namespace this is")));
        }
    }
    Ok(())
}

fn unguarded(case: &Case, ctx: &Context) -> Answer {
    in_child(case, |pipe| write(pipe, &(case.attempt)(ctx)))
}

/// Makes it the way its control says.
pub fn control(case: &Case, ctx: &Context) -> Answer {
    match case.control {
        Control::None(reason) => Err(Skip(reason.to_owned())),
        Control::Neighbour => Err(Skip("needs a sandbox beside".to_owned())),
        Control::HostRoot if !rustix::process::geteuid().is_root() => Err(Skip("needs root outside".to_owned())),
        Control::Host | Control::HostRoot => unguarded(case, ctx),
        Control::Namespace => in_child(case, |pipe| match enter() {
            Ok(true) => write(pipe, &(case.attempt)(ctx)),
            Ok(false) => 0,
            Err(skip) => write(pipe, &Err(skip)),
        }),
        Control::Leak => in_child(case, |pipe| write(pipe, &leaking(case, ctx))),
    }
}

fn leaking(case: &Case, ctx: &Context) -> Answer {
    let root = File::open("/").map_err(|error| Skip(words(&error)))?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&root);
    let with = ctx.with_leak(fd);
    (case.attempt)(&with)
}

fn in_child(case: &Case, f: impl FnOnce(&mut File) -> u8) -> Answer {
    match sys::in_child(LIMIT, f) {
        Ok((text, end)) => read(text.trim_end_matches('\n')).unwrap_or_else(|| match end {
            End::Signal(libc::SIGSYS) => Ok(Outcome::Held("killed by the filter".to_owned())),
            End::Signal(libc::SIGKILL) if case.may_die => Ok(Outcome::Held("killed by the kernel".to_owned())),
            End::Signal(signal) => Err(Skip(format!("killed by signal {signal}"))),
            End::Late => Err(Skip(format!("not done after {} s", LIMIT.as_secs()))),
            End::Code(code) => Err(Skip(format!("ended with status {code} and without an answer"))),
        }),
        Err(errno) => Err(Skip(format!("no child can be made: {}", said(errno)))),
    }
}

fn write(pipe: &mut File, answer: &Answer) -> u8 {
    let (word, detail) = told(answer);
    // One write: the reader takes the first line for the whole.
    let line = format!("{word} {}\n", detail.replace('\n', " "));
    match pipe.write_all(line.as_bytes()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn read(line: &str) -> Option<Answer> {
    let (word, detail) = line.split_once(' ')?;
    let detail = detail.to_owned();
    Some(match word {
        "escaped" => Ok(Outcome::Escaped(detail)),
        "held" => Ok(Outcome::Held(detail)),
        "absent" => Ok(Outcome::Absent(detail)),
        "tried" => Ok(Outcome::Tried(detail)),
        "skipped" => Err(Skip(detail)),
        _ => return None,
    })
}

/// Goes on as the second process of fresh namespaces, as root there, with a /proc of their own. `false` in the
/// processes that only wait for it.
fn enter() -> Result<bool, Skip> {
    let refused = |errno| Skip(format!("the host refuses user namespaces: {}", said(errno)));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    syscall!(libc::SYS_unshare, flags).map_err(refused)?;
    let maps = [("setgroups", "deny".to_owned()), ("uid_map", format!("0 {uid} 1")), ("gid_map", format!("0 {gid} 1"))];
    for (file, text) in maps {
        fs::write(format!("/proc/self/{file}"), text).map_err(|error| Skip(format!("{file}: {}", words(&error))))?;
    }
    // The first child is the new init, the second the attempt.
    for _ in 0..2 {
        let child = sys::fork().map_err(refused)?;
        if child != 0 {
            let _ = sys::wait(child);
            return Ok(false);
        }
        if std::process::id() == 1 {
            let fresh = syscall!(libc::SYS_mount, c"none", c"/", 0, libc::MS_REC | libc::MS_PRIVATE, 0)
                .and_then(|_| syscall!(libc::SYS_mount, c"proc", c"/proc", c"proc", 0, 0));
            fresh.map_err(|errno| Skip(format!("no fresh /proc: {}", said(errno))))?;
        }
    }
    Ok(true)
}
