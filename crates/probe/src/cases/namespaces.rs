//! New namespaces, which open kernel code meant for root, and those of the host.

use crate::{
    case::{Case, Class::Namespaces, Control, Outcome, Skip, done, said, words, worst},
    context::Context,
    sys::{clone_and_end, clone3_and_end, own},
    syscall,
};
use std::{fs, os::fd::AsRawFd};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "userns-unshare",
        Namespaces,
        "a user namespace can be made, and root's kernel code reached",
        "CVE-2022-0185",
        Control::Host,
        |_| Ok(done(syscall!(libc::SYS_unshare, libc::CLONE_NEWUSER), "unshared")),
    ),
    Case::new("userns-clone", Namespaces, "the same by clone", "CVE-2023-32233", Control::Host, |_| {
        Ok(done(clone_and_end(libc::CLONE_NEWUSER as u64), "cloned"))
    }),
    Case::new(
        "userns-clone3",
        Namespaces,
        "the same by clone3, whose flags a filter can't see",
        "clone(2)",
        Control::Host,
        |_| Ok(done(clone3_and_end(libc::CLONE_NEWUSER as u64), "cloned")),
    ),
    Case::new(
        "userns-unshare-high-bits",
        Namespaces,
        "the filter compares 64 bits where the kernel reads fewer",
        "CVE-2019-10063",
        Control::None("the kernel itself refuses unknown bits in most places"),
        |_| Ok(done(syscall!(libc::SYS_unshare, libc::CLONE_NEWUSER as u64 | 1 << 40), "unshared")),
    ),
    Case::new(
        "namespaces-unshare",
        Namespaces,
        "mount, net, pid, ipc, uts, cgroup or time namespaces can be made",
        "unshare(2)",
        Control::Namespace,
        |_| {
            Ok(worst(
                KINDS
                    .iter()
                    .filter(|kind| kind.0 != "user")
                    .map(|(name, flag)| done(syscall!(libc::SYS_unshare, *flag), name)),
            ))
        },
    ),
    Case::new(
        "namespaces-join-init",
        Namespaces,
        "init's namespaces can be joined",
        "setns(2)",
        Control::Namespace,
        |_| join_init(),
    ),
    Case::new(
        "namespaces-join-pidfd",
        Namespaces,
        "init's namespaces can be joined through a pidfd",
        "setns(2)",
        Control::Namespace,
        |_| join_pidfd(),
    ),
    Case::new(
        "namespaces-shared",
        Namespaces,
        "a namespace of the host is used inside",
        "namespaces(7)",
        Control::Host,
        shared,
    ),
];

const KINDS: &[(&str, i32)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    // CLONE_NEWTIME, Linux 5.6.
    ("time", 0x80),
];

fn join_init() -> Result<Outcome, Skip> {
    Ok(worst(["uts", "net", "ipc", "cgroup", "mnt"].map(|kind| match fs::File::open(format!("/proc/1/ns/{kind}")) {
        Ok(file) => done(syscall!(libc::SYS_setns, file.as_raw_fd(), 0), kind),
        Err(error) => Outcome::Held(words(&error)),
    })))
}

fn join_pidfd() -> Result<Outcome, Skip> {
    let fd = match syscall!(libc::SYS_pidfd_open, 1, 0) {
        Ok(fd) => own(fd),
        Err(errno) => return Ok(Outcome::Held(said(errno))),
    };
    Ok(done(syscall!(libc::SYS_setns, fd.as_raw_fd(), libc::CLONE_NEWUTS), "joined init's uts namespace"))
}

/// Namespace inode numbers are unique in one kernel. Time is left out: sharing it gives nothing away.
fn shared(ctx: &Context) -> Result<Outcome, Skip> {
    let mut shared = Vec::new();
    for (kind, _) in KINDS.iter().filter(|kind| kind.0 != "time") {
        let Some(host) = ctx.get(&format!("ns_{kind}")) else { continue };
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).map_err(|error| Skip(words(&error)))?;
        if own.to_str() == Some(host) {
            shared.push(*kind);
        }
    }
    Ok(if shared.is_empty() {
        Outcome::Held("all are the sandbox's own".to_owned())
    } else {
        Outcome::Escaped(format!("shared with the host: {}", shared.join(" ")))
    })
}
