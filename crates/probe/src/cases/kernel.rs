//! Parts of the system call interface that have let people out, or that only the host's administrator needs.
//!
//! Whatever would harm the host is called with arguments that can't work, chosen so that the kernel looks at the
//! permission first: "not permitted" is the wall, any other error is its absence.

use crate::{
    case::{Case, Class::Kernel, Control, Outcome, Skip, done, permitted, said},
    context::Context,
    sys::{NOWHERE, own},
    syscall,
};
use rustix::io::Errno;
use std::fs;

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "io-uring",
        Kernel,
        "io_uring can be used, which does what the filter forbids",
        "CVE-2024-0582",
        Control::Host,
        io_uring,
    ),
    Case::new("bpf", Kernel, "bpf objects can be made", "CVE-2021-3490", Control::HostRoot, |_| Ok(bpf_map())),
    Case::new(
        "userfaultfd",
        Kernel,
        "page faults can be held up to win races in the kernel",
        "CVE-2021-22555",
        Control::Host,
        |_| Ok(userfaultfd()),
    ),
    Case::new("perf-events", Kernel, "performance counters can be opened", "CVE-2013-2094", Control::Host, perf),
    Case::new(
        "kernel-module-load",
        Kernel,
        "a kernel module can be loaded",
        "finit_module(2)",
        Control::HostRoot,
        // No such descriptor: EBADF comes after the permission.
        |_| Ok(permitted(syscall!(libc::SYS_finit_module, -1, c"", 0), "finit_module")),
    ),
    Case::new(
        "kernel-module-unload",
        Kernel,
        "a kernel module can be unloaded",
        "delete_module(2)",
        Control::HostRoot,
        |_| Ok(permitted(syscall!(libc::SYS_delete_module, c"no-such-module", libc::O_NONBLOCK), "delete_module")),
    ),
    Case::new(
        "kexec",
        Kernel,
        "another kernel can be started",
        "kexec_load(2)",
        Control::HostRoot,
        // Seventeen segments are one more than allowed: EINVAL comes after the permission.
        |_| Ok(permitted(syscall!(libc::SYS_kexec_load, 0, 17, NOWHERE, 0), "kexec_load")),
    ),
    Case::new(
        "reboot",
        Kernel,
        "the machine can be restarted",
        "reboot(2)",
        Control::Namespace,
        // The magic numbers are wrong: EINVAL comes after the permission.
        |_| Ok(permitted(syscall!(libc::SYS_reboot, 0, 0, 0, 0), "reboot")),
    ),
    Case::new("clock-set", Kernel, "the clock can be set", "settimeofday(2)", Control::HostRoot, |_| Ok(clock_set())),
    Case::new("clock-adjust", Kernel, "the clock can be slewed", "adjtimex(2)", Control::HostRoot, |_| {
        Ok(clock_adjust())
    }),
    Case::new(
        "hostname",
        Kernel,
        "the host name can be set",
        "sethostname(2)",
        Control::Namespace,
        // No such address: EFAULT comes after the permission.
        |_| Ok(permitted(syscall!(libc::SYS_sethostname, NOWHERE, 4), "sethostname")),
    ),
    Case::new("domainname", Kernel, "the domain name can be set", "setdomainname(2)", Control::Namespace, |_| {
        Ok(permitted(syscall!(libc::SYS_setdomainname, NOWHERE, 4), "setdomainname"))
    }),
    Case::new("swap", Kernel, "swap space can be added", "swapon(2)", Control::HostRoot, |_| {
        Ok(permitted(syscall!(libc::SYS_swapon, c"/nonexistent", 0), "swapon"))
    }),
    Case::new(
        "accounting",
        Kernel,
        "the kernel can be made to write a file for every process",
        "acct(2)",
        Control::HostRoot,
        |_| Ok(permitted(syscall!(libc::SYS_acct, c"/nonexistent"), "acct")),
    ),
    Case::new("kernel-log", Kernel, "the kernel's log can be read", "syslog(2)", Control::Host, kernel_log),
    Case::new(
        "file-notify-all",
        Kernel,
        "accesses of whole mounts can be watched and held up",
        "fanotify_init(2)",
        // FAN_CLASS_CONTENT needs CAP_SYS_ADMIN of the host.
        Control::HostRoot,
        |_| Ok(done(syscall!(libc::SYS_fanotify_init, 4, 0), "fanotify_init")),
    ),
    Case::new(
        "keyring-canary",
        Kernel,
        "the caller's keys are visible: keyrings know no namespaces",
        "keyrings(7)",
        Control::Host,
        key_of_caller,
    ),
    Case::new(
        "keyring-session",
        Kernel,
        "the caller's session keyring can be had",
        "session-keyring(7)",
        Control::Host,
        // KEYCTL_GET_KEYRING_ID of KEY_SPEC_USER_KEYRING.
        |_| Ok(done(syscall!(libc::SYS_keyctl, 0, -4, 0, 0, 0), "has the user keyring")),
    ),
    Case::new(
        "keyring-add",
        Kernel,
        "keys can be made",
        "CVE-2016-0728",
        Control::Host,
        // KEY_SPEC_PROCESS_KEYRING: it goes with the process.
        |_| Ok(done(syscall!(libc::SYS_add_key, c"user", c"agentkernel-probe", b"x", 1, -2), "made a key")),
    ),
    Case::new(
        "keyring-join",
        Kernel,
        "a new session keyring can be joined",
        "CVE-2016-0728",
        Control::Host,
        // KEYCTL_JOIN_SESSION_KEYRING, anonymous.
        |_| Ok(done(syscall!(libc::SYS_keyctl, 1, 0, 0, 0, 0), "joined a keyring")),
    ),
    Case::new(
        "keyring-request",
        Kernel,
        "keys can be asked for, and the host's helper be run",
        "request_key(2)",
        Control::Host,
        |_| Ok(request_key()),
    ),
    Case::new("io-ports", Kernel, "the machine's ports can be written", "ioperm(2)", Control::HostRoot, io_ports),
    Case::new(
        "personality",
        Kernel,
        "address space protections can be switched off",
        "personality(2)",
        Control::Host,
        // READ_IMPLIES_EXEC: readable memory becomes executable in every later program.
        |_| Ok(done(syscall!(libc::SYS_personality, 0x040_0000), "set READ_IMPLIES_EXEC")),
    ),
];

fn sysctl(path: &str) -> i64 {
    fs::read_to_string(format!("/proc/sys/{path}")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A wall of the host itself: then the caller can't prove the case either.
fn unless_host(ctx: &Context, restricted: bool, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Held(why) if ctx.control && restricted => {
            Outcome::Absent(format!("the host forbids it to all ({why})"))
        }
        other => other,
    }
}

fn io_uring(ctx: &Context) -> Result<Outcome, Skip> {
    // struct io_uring_params.
    let mut params = [0u8; 120];
    let made = syscall!(libc::SYS_io_uring_setup, 1, params.as_mut_slice()).map(own);
    Ok(unless_host(ctx, sysctl("kernel/io_uring_disabled") != 0, done(made, "made a ring")))
}

fn bpf_map() -> Outcome {
    // union bpf_attr for BPF_MAP_CREATE: type (BPF_MAP_TYPE_ARRAY), key size, value size, entries.
    let mut attr = [2u32, 4, 4, 1].map(u32::to_ne_bytes).concat();
    attr.resize(64, 0);
    done(syscall!(libc::SYS_bpf, 0, attr.as_slice(), attr.len() as u64).map(own), "made a map")
}

fn userfaultfd() -> Outcome {
    // UFFD_USER_MODE_ONLY: what an ordinary user may have.
    done(syscall!(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1).map(own), "has a userfaultfd")
}

fn perf(ctx: &Context) -> Result<Outcome, Skip> {
    // struct perf_event_attr, first revision of 64 bytes: type PERF_TYPE_SOFTWARE, size, config
    // PERF_COUNT_SW_CPU_CLOCK (0), and at byte 40 the flags exclude_kernel (5) and exclude_hv (6).
    let mut attr = [0u8; 64];
    attr[0..4].copy_from_slice(&1u32.to_ne_bytes());
    attr[4..8].copy_from_slice(&64u32.to_ne_bytes());
    attr[40..48].copy_from_slice(&(0b110_0000u64).to_ne_bytes());
    let fd = syscall!(libc::SYS_perf_event_open, attr.as_slice(), 0, -1, -1, 0).map(own);
    Ok(unless_host(ctx, sysctl("kernel/perf_event_paranoid") > 2, done(fd, "opened a counter")))
}

/// A time zone beyond fifteen hours: EINVAL comes after the permission. (A time out of range would come before.)
fn clock_set() -> Outcome {
    let zone = [99_999i32, 0].map(i32::to_ne_bytes).concat();
    permitted(syscall!(libc::SYS_settimeofday, 0, zone.as_slice()), "settimeofday")
}

/// A tick of zero: EINVAL comes after the permission.
fn clock_adjust() -> Outcome {
    let mut timex = [0u8; size_of::<libc::timex>()];
    timex[0..4].copy_from_slice(&libc::ADJ_TICK.to_ne_bytes());
    permitted(syscall!(libc::SYS_adjtimex, timex.as_mut_slice()), "adjtimex")
}

/// `SYSLOG_ACTION_READ_ALL` of one byte, and the device.
fn kernel_log(ctx: &Context) -> Result<Outcome, Skip> {
    let mut byte = [0u8; 1];
    let read = done(syscall!(libc::SYS_syslog, 3, byte.as_mut_slice(), 1), "read the kernel's log");
    let root = rustix::process::geteuid().is_root();
    Ok(unless_host(ctx, sysctl("kernel/dmesg_restrict") != 0 && !root, read))
}

fn key_of_caller(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(serial) = ctx.get("key").and_then(|text| text.parse::<i32>().ok()) else {
        return Ok(Outcome::Absent("this kernel has no keyrings".to_owned()));
    };
    // KEYCTL_DESCRIBE into nothing gives the length.
    let described = syscall!(libc::SYS_keyctl, 6, serial, 0, 0, 0);
    let listed = fs::read_to_string("/proc/keys").unwrap_or_default().contains(ctx.need("comm")?);
    Ok(match described {
        _ if listed => Outcome::Escaped("/proc/keys lists the caller's key".to_owned()),
        Ok(_) => Outcome::Escaped("described the caller's key".to_owned()),
        Err(errno) => Outcome::Held(said(errno)),
    })
}

/// ENOKEY says that the keyrings were searched. Without callout information no helper is started.
fn request_key() -> Outcome {
    match syscall!(libc::SYS_request_key, c"user", c"agentkernel-no-such-key", 0, 0) {
        Err(errno @ (Errno::NOKEY | Errno::KEYEXPIRED | Errno::KEYREVOKED)) => {
            Outcome::Escaped(format!("searched the keyrings ({})", said(errno)))
        }
        other => done(other, "got a key"),
    }
}

#[cfg(target_arch = "x86_64")]
fn io_ports(_: &Context) -> Result<Outcome, Skip> {
    // Port 0x80 shows POST codes and does nothing; it isn't even written.
    Ok(done(syscall!(libc::SYS_ioperm, 0x80, 1, 1), "may write a port"))
}

#[cfg(not(target_arch = "x86_64"))]
fn io_ports(_: &Context) -> Result<Outcome, Skip> {
    Ok(Outcome::Absent("this architecture has no ports".to_owned()))
}
