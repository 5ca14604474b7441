//! Hides /proc and /dev: what of the kernel and its devices a sandbox sees.

use super::{
    super::LaunchError,
    failure::{self, Context as _},
    root::Root,
};
use jail::mount::{self, Attr, Param};
use rustix::{
    fd::OwnedFd,
    fs::{Dev, FileType, Mode, OFlags},
    io::Errno,
};

/// Devices with their numbers. Each is bound from the host after it was found to be the one that its name says
/// (CVE-2025-31133 was a false /dev/null).
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// How many terminals a sandbox may have: all that there are on the host come from one supply.
const TERMINALS: &str = "256";

/// Parts of /proc that are not about processes and can be written: read-only, whoever asks.
pub const PROC_READ_ONLY: &[&str] = &["sys", "sysrq-trigger", "irq", "bus", "fs", "pressure"];

/// Parts of /proc that tell of the host's memory, keys, timers, locks and hardware: hidden. Files that only host root can
/// open (kmsg, kpage*, vmallocinfo, slabinfo) need no mask: host root is never mapped into a sandbox. `kcore` gets one
/// all the same, because it is all memory.
pub const PROC_HIDDEN: &[&str] = &[
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "acpi",
    "asound",
    "scsi",
    "interrupts",
    "locks",
];

const QUIET: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NODEV).union(Attr::MOUNT_ATTR_NOEXEC);

/// A fresh /proc of the sandbox's own pid namespace, mounted nowhere yet.
pub fn new_proc() -> Result<OwnedFd, LaunchError> {
    let proc = mount::new("proc", &[], QUIET);
    let denied = proc.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::PERM.raw_os_error()));
    let hint = if denied {
        "Something is mounted over parts of the host's own /proc, as in a container. Give the container an unmasked /proc (Docker: --security-opt systempaths=unconfined)"
    } else {
        ""
    };
    proc.wall("proc", "Cannot mount /proc", hint)
}

/// Own terminals, mounted nowhere yet.
pub fn new_terminals() -> Result<OwnedFd, LaunchError> {
    let pts = [
        Param::Flag("newinstance"),
        Param::Value("ptmxmode", "0666"),
        Param::Value("mode", "620"),
        Param::Value("max", TERMINALS),
    ];
    let attrs = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC;
    mount::new("devpts", &pts, attrs).wall("dev", "Cannot mount /dev/pts", "")
}

/// The sandbox's /proc, attached; still without masks.
pub fn proc(root: &Root) -> Result<OwnedFd, LaunchError> {
    let proc = new_proc()?;
    let target = root.own("proc", 0o555)?;
    mount::attach(&proc, &target).wall("proc", "Cannot attach /proc", "")?;
    Ok(proc)
}

/// Covers what programs must not write or read. `null` is a character device, `empty` an empty
/// directory, both on attached mounts.
pub fn mask_proc(proc: &OwnedFd, null: &OwnedFd, empty: &OwnedFd) -> Result<(), LaunchError> {
    const WALL: &str = "proc";
    let open = |name: &str| match rustix::fs::openat(
        proc,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error).wall(WALL, format_args!("Cannot open /proc/{name}"), ""),
    };
    for name in PROC_READ_ONLY {
        let Some(target) = open(name)? else { continue };
        let tried = format_args!("Cannot make /proc/{name} read-only");
        let copy = mount::copy(&target, false).wall(WALL, tried, "")?;
        mount::set(&copy, false, Attr::MOUNT_ATTR_RDONLY | QUIET).wall(WALL, tried, "")?;
        mount::attach(&copy, &target).wall(WALL, tried, "")?;
    }
    for name in PROC_HIDDEN {
        let Some(target) = open(name)? else { continue };
        let tried = format_args!("Cannot hide /proc/{name}");
        let stat = rustix::fs::fstat(&target).wall(WALL, tried, "")?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            mount::copy(empty, false)
        } else {
            mount::copy(null, false)
        };
        let cover = cover.wall(WALL, tried, "")?;
        mount::set(&cover, false, Attr::MOUNT_ATTR_RDONLY | Attr::MOUNT_ATTR_NOEXEC).wall(WALL, tried, "")?;
        mount::attach(&cover, &target).wall(WALL, tried, "")?;
    }
    Ok(())
}

/// A minimal /dev with its own terminals. Returns the null device's descriptor.
pub fn dev(root: &Root, shm_size: &str) -> Result<OwnedFd, LaunchError> {
    const WALL: &str = "dev";
    let attrs = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC;
    let params = [Param::Value("size", "64k"), Param::Value("mode", "755")];
    let dev = mount::new("tmpfs", &params, attrs).wall(WALL, "Cannot mount /dev", "")?;
    mount::attach(&dev, root.own("dev", 0o755)?).wall(WALL, "Cannot attach /dev", "")?;

    let mut null = None;
    for &(name, major, minor) in DEVICES {
        let tried = format_args!("Cannot bring in /dev/{name}");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let device = rustix::fs::open(format!("/dev/{name}"), flags, Mode::empty()).wall(WALL, tried, "")?;
        let stat = rustix::fs::fstat(&device).wall(WALL, tried, "")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice
            || stat.st_rdev != rustix::fs::makedev(major, minor) as Dev
        {
            return Err(failure::new(WALL, format!("/dev/{name} of the host is not that device"), ""));
        }
        let copy = mount::copy(&device, false).wall(WALL, tried, "")?;
        mount::set(&copy, false, Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NOEXEC).wall(WALL, tried, "")?;
        let target = file(&dev, name).wall(WALL, tried, "")?;
        mount::attach(&copy, &target).wall(WALL, tried, "")?;
        null.get_or_insert(copy);
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(*target, &dev, *name).wall(WALL, format_args!("Cannot make /dev/{name}"), "")?;
    }

    let pts = new_terminals()?;
    let shm = [Param::Value("size", shm_size), Param::Value("mode", "1777")];
    let attrs = Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV;
    let shm = mount::new("tmpfs", &shm, attrs).wall(WALL, "Cannot mount /dev/shm", "")?;
    for (name, mount) in [("pts", pts), ("shm", shm)] {
        let tried = format_args!("Cannot attach /dev/{name}");
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).wall(WALL, tried, "")?;
        let target =
            rustix::fs::openat(&dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).wall(WALL, tried, "")?;
        mount::attach(&mount, &target).wall(WALL, tried, "")?;
    }
    mount::set(&dev, false, Attr::MOUNT_ATTR_RDONLY).wall(WALL, "Cannot make /dev read-only", "")?;
    null.ok_or_else(|| failure::new(WALL, "There is no /dev/null", ""))
}

fn file(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o444))?;
    rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
