//! Other processes: those of the host, and init, which holds the other end of the link.

use crate::{
    case::{Case, Class::Processes, Control, Outcome, Skip, done, opened, permitted, said, words, worst},
    context::Context,
    sys::{NOWHERE, own},
    syscall,
};
use rustix::io::Errno;
use std::{
    fs::{self, OpenOptions},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::PathBuf,
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "process-visibility",
        Processes,
        "processes of the host are visible in /proc",
        "pid_namespaces(7)",
        Control::Host,
        |ctx| scan(ctx, "comm", "comm"),
    ),
    Case::new(
        "process-environment",
        Processes,
        "the environment of a host process can be read",
        "proc_pid_environ(5)",
        Control::Host,
        |ctx| scan(ctx, "environ", "token"),
    ),
    Case::new("process-signal", Processes, "a signal reaches a process of the host", "kill(2)", Control::Host, signal),
    Case::new(
        "process-pidfd",
        Processes,
        "a pidfd of a host process can be had by its host number",
        "pidfd_open(2)",
        Control::Host,
        host_pidfd,
    ),
    Case::new(
        "init-ptrace",
        Processes,
        "init can be traced and made to do anything",
        "ptrace(2)",
        Control::Namespace,
        |_| Ok(done(syscall!(libc::SYS_ptrace, PTRACE_SEIZE, 1, 0, 0), "attached to init")),
    ),
    Case::new("init-memory", Processes, "init's memory can be opened", "proc_pid_mem(5)", Control::Namespace, |_| {
        Ok(opened(OpenOptions::new().read(true).write(true).open("/proc/1/mem"), "/proc/1/mem"))
    }),
    Case::new(
        "init-memory-readv",
        Processes,
        "init's memory can be read",
        "process_vm_readv(2)",
        Control::Namespace,
        memory_readv,
    ),
    Case::new(
        "init-priority",
        Processes,
        "init can be made to wait for every other program",
        "setpriority(2)",
        Control::Namespace,
        // As low as can be: whoever began lower already may not go up.
        |_| Ok(done(syscall!(libc::SYS_setpriority, libc::PRIO_PROCESS, 1, 19), "lowered init's priority")),
    ),
    Case::new(
        "init-scheduler",
        Processes,
        "init can be made to run on idle processors only",
        "sched_setscheduler(2)",
        Control::Namespace,
        |_| {
            // `struct sched_param`, of the one policy that wants no right.
            let priority = [0u8; 4];
            Ok(done(syscall!(libc::SYS_sched_setscheduler, 1, libc::SCHED_IDLE, &priority), "init is idle"))
        },
    ),
    Case::new(
        "init-binary-read",
        Processes,
        "init's binary can be opened through /proc/1/exe",
        "CVE-2019-5736",
        Control::Namespace,
        |_| Ok(opened(fs::File::open("/proc/1/exe"), "/proc/1/exe")),
    ),
    Case::new(
        "init-binary-overwrite",
        Processes,
        "init's binary can be overwritten for the next sandbox",
        "CVE-2019-5736",
        Control::Namespace,
        |_| Ok(overwrite(fs::File::open("/proc/1/exe"))),
    ),
    Case::new(
        "own-binary-overwrite",
        Processes,
        "a program of the sandbox's image can be overwritten on the host",
        "CVE-2019-5736",
        Control::None("the probe's own file is the sandbox's to write"),
        shell_overwrite,
    ),
    Case::new(
        "init-root",
        Processes,
        "init's root or working directory can be entered",
        "proc_pid_root(5)",
        Control::Namespace,
        |_| {
            Ok(worst(["root", "cwd"].map(|link| {
                let path = format!("/proc/1/{link}");
                opened(fs::File::open(&path), &path)
            })))
        },
    ),
    Case::new(
        "init-environment",
        Processes,
        "init's environment can be read",
        "proc_pid_environ(5)",
        Control::Namespace,
        |_| Ok(opened(fs::File::open("/proc/1/environ"), "/proc/1/environ")),
    ),
    Case::new(
        "init-descriptors",
        Processes,
        "init's descriptors, the link among them, can be listed",
        "proc_pid_fd(5)",
        Control::Namespace,
        |_| {
            Ok(match fs::read_dir("/proc/1/fd") {
                Ok(_) => Outcome::Escaped("listed /proc/1/fd".to_owned()),
                Err(error) => Outcome::Held(words(&error)),
            })
        },
    ),
    Case::new(
        "init-descriptor-theft",
        Processes,
        "a descriptor of init can be taken",
        "pidfd_getfd(2)",
        Control::Namespace,
        |_| steal(),
    ),
    Case::new(
        "init-compare",
        Processes,
        "kernel pointers of init can be ordered",
        "kcmp(2)",
        Control::Namespace,
        |_| Ok(done(syscall!(libc::SYS_kcmp, 1, std::process::id() as i32, 0, 0, 0), "compared with init")),
    ),
    Case::new(
        "init-maps",
        Processes,
        "init's address space layout can be read",
        "proc_pid_maps(5)",
        Control::Namespace,
        |_| {
            Ok(match fs::read("/proc/1/maps") {
                Ok(maps) if maps.is_empty() => Outcome::Held("empty".to_owned()),
                Ok(_) => Outcome::Escaped("read /proc/1/maps".to_owned()),
                Err(error) => Outcome::Held(words(&error)),
            })
        },
    ),
];

/// `PTRACE_SEIZE`, which stops nothing by itself.
const PTRACE_SEIZE: i32 = 0x4206;

/// Looks in every process's `file` for the canary named by parameter `key`.
fn scan(ctx: &Context, file: &str, key: &str) -> Result<Outcome, Skip> {
    let wanted = ctx.need(key)?;
    let me = std::process::id().to_string();
    let entries = fs::read_dir("/proc").map_err(|error| Skip(words(&error)))?;
    let mut seen = 0;
    for pid in entries.flatten().map(|entry| entry.file_name()).filter_map(|name| name.into_string().ok()) {
        // Our own arguments hold the canary too; environ and comm do not, but the parent is as innocent.
        if pid == me || !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        seen += 1;
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if text.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
            return Ok(Outcome::Escaped(format!("found the host's canary process as {pid}")));
        }
    }
    Ok(Outcome::Held(format!("{seen} other processes, none of them the host's")))
}

/// SIGURG, which is ignored unless somebody waits for it: the canary process does. By number, and inside a sandbox
/// to everybody within reach as well.
fn signal(ctx: &Context) -> Result<Outcome, Skip> {
    let pid: i32 = ctx.number("pid")?;
    let by_number = syscall!(libc::SYS_kill, pid, libc::SIGURG);
    // Never on the host: everybody there is within reach.
    let host = ctx.need("ns_pid")?;
    let shared = fs::read_link("/proc/self/ns/pid").map_or(true, |own| own.to_str() == Some(host));
    let to_all = if ctx.control || shared { Err(Errno::SRCH) } else { syscall!(libc::SYS_kill, -1, libc::SIGURG) };
    Ok(match (by_number, to_all) {
        (Err(errno), Err(_)) => Outcome::Held(said(errno)),
        _ => Outcome::Tried("a signal was sent".to_owned()),
    })
}

/// The number may be another process's inside, so the name decides.
fn host_pidfd(ctx: &Context) -> Result<Outcome, Skip> {
    let (pid, comm): (i32, _) = (ctx.number("pid")?, ctx.need("comm")?);
    Ok(match syscall!(libc::SYS_pidfd_open, pid, 0) {
        Ok(fd) => {
            let _fd = own(fd);
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if name.trim_end() == comm {
                Outcome::Escaped(format!("has a pidfd of host process {pid}"))
            } else {
                Outcome::Held("a process of the sandbox has that number".to_owned())
            }
        }
        Err(errno) => Outcome::Held(said(errno)),
    })
}

/// The remote address is never mapped: EFAULT says that the permission was there.
fn memory_readv(_: &Context) -> Result<Outcome, Skip> {
    let mut byte = [0u8; 1];
    let local = [byte.as_mut_ptr() as u64, 1].map(u64::to_ne_bytes).concat();
    let remote = [NOWHERE, 1].map(u64::to_ne_bytes).concat();
    let read = syscall!(libc::SYS_process_vm_readv, 1, local.as_slice(), 1, remote.as_slice(), 1, 0);
    Ok(permitted(read, "reading init's memory"))
}

/// ETXTBSY says that only the running process is in the way: once it ends, the write goes through.
fn overwrite(file: std::io::Result<fs::File>) -> Outcome {
    let file = match file {
        Ok(file) => file,
        Err(error) => return Outcome::Held(words(&error)),
    };
    match OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()))
    {
        Ok(_) => Outcome::Escaped("opened it for writing".to_owned()),
        Err(error) if error.raw_os_error() == Some(libc::ETXTBSY) => {
            Outcome::Escaped("only busy now: it can be written once it ends".to_owned())
        }
        Err(error) => Outcome::Held(words(&error)),
    }
}

/// The shell, if it is the host's own file. In a sandbox with layers a write makes a copy, so nothing is written.
fn shell_overwrite(ctx: &Context) -> Result<Outcome, Skip> {
    let Some((path, print)) = ctx.get("print_shell").and_then(crate::print::parse) else {
        return Ok(Outcome::Absent("the host has no /bin/sh".to_owned()));
    };
    let path: PathBuf = fs::canonicalize(path).map_err(|error| Skip(words(&error)))?;
    // A write through an overlay reaches its upper layer, and a private copy is nobody's loss.
    if rustix::fs::statfs(&path).is_ok_and(|fs| fs.f_type == OVERLAYFS_MAGIC) {
        return Ok(Outcome::Held("copy on write".to_owned()));
    }
    let file = fs::File::open(&path);
    if !file.as_ref().is_ok_and(|file| crate::print::of(file) == Some(print)) {
        return Ok(Outcome::Held("another file".to_owned()));
    }
    Ok(overwrite(file))
}

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAYFS_MAGIC: rustix::fs::FsWord = 0x794c_7630;

fn steal() -> Result<Outcome, Skip> {
    let fd = match syscall!(libc::SYS_pidfd_open, 1, 0) {
        Ok(fd) => own(fd),
        Err(errno) => return Ok(done::<()>(Err(errno), "")),
    };
    // Descriptor 0 may be closed in init: EBADF says that the permission was there.
    Ok(permitted(syscall!(libc::SYS_pidfd_getfd, fd.as_raw_fd(), 0, 0), "taking init's descriptor 0"))
}
