//! The seccomp policy as data: what every program in a sandbox is denied. Read by the build script.

use super::compile::Answer;
use Test::{Has, Is, IsNot, Lacks};
use std::{collections::BTreeMap, error::Error};

/// A system call that is denied if one of its rules matches, or always if it has none.
pub struct Deny {
    /// Its name in the kernel's table.
    pub call: &'static str,
    /// Architectures that have no such call.
    pub unless_absent_on: &'static [&'static str],
    /// A rule matches if all of its tests do.
    pub rules: &'static [&'static [Test]],
}

/// A test of one argument, by its index. Only the low 32 bits count, as for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Equal.
    Is(u8, u32),
    /// Not equal.
    IsNot(u8, u32),
    /// All of these bits are set.
    Has(u8, u32),
    /// None of these bits is set.
    Lacks(u8, u32),
}

/// Known calls that answer ENOSYS as if the kernel were older, so that programs take their older way.
///
/// `clone3` has its flags behind a pointer, where no filter can see them; libcs fall back to `clone`.
pub const ABSENT: &[&str] = &["clone3"];

/// The same, but for programs only and not for init, which opens by `openat2` what an archive names.
///
/// `openat2` has the mode of what it makes behind a pointer. Programs fall back to `openat`.
pub const ABSENT_FOR_PROGRAMS: &[&str] = &["openat2"];

const fn always(call: &'static str) -> Deny {
    Deny { call, unless_absent_on: &[], rules: &[] }
}

const fn x86_only(call: &'static str) -> Deny {
    Deny { call, unless_absent_on: &["aarch64"], rules: &[] }
}

const fn x86_when(call: &'static str, rules: &'static [&'static [Test]]) -> Deny {
    Deny { call, unless_absent_on: &["aarch64"], rules }
}

const fn when(call: &'static str, rules: &'static [&'static [Test]]) -> Deny {
    Deny { call, unless_absent_on: &[], rules }
}

/// New namespaces bring capabilities in them, and those bring most of the kernel's attack surface.
const NAMESPACE_FLAGS: &[&[Test]] = &[
    &[Has(0, 0x0002_0000)], // CLONE_NEWNS
    &[Has(0, 0x0200_0000)], // CLONE_NEWCGROUP
    &[Has(0, 0x0400_0000)], // CLONE_NEWUTS
    &[Has(0, 0x0800_0000)], // CLONE_NEWIPC
    &[Has(0, 0x1000_0000)], // CLONE_NEWUSER
    &[Has(0, 0x2000_0000)], // CLONE_NEWPID
    &[Has(0, 0x4000_0000)], // CLONE_NEWNET
];

const UNSHARE_FLAGS: &[&[Test]] = &[
    &[Has(0, 0x0000_0080)], // CLONE_NEWTIME; in clone(2) this bit belongs to the exit signal
    &[Has(0, 0x0002_0000)],
    &[Has(0, 0x0200_0000)],
    &[Has(0, 0x0400_0000)],
    &[Has(0, 0x0800_0000)],
    &[Has(0, 0x1000_0000)],
    &[Has(0, 0x2000_0000)],
    &[Has(0, 0x4000_0000)],
];

const S_IFCHR: u32 = 0o20_000;
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const O_CREAT: u32 = 0o100;
/// Without the bit of `O_DIRECTORY`, which `O_TMPFILE` has as well.
const O_TMPFILE: u32 = 0o20_000_000;

const PRIO_USER: u32 = 2;
const IOPRIO_WHO_USER: u32 = 3;
const F_SETLEASE: u32 = 1024;
/// Since Linux 6.19.
const F_SETDELEG: u32 = 1024 + 16;

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_ICMPV6: u32 = 58;
const IPPROTO_MPTCP: u32 = 262;
/// The bit that `SOCK_RDM`, 4, `SOCK_SEQPACKET`, 5, and `SOCK_DCCP`, 6, have.
const TYPE_MIDDLE: u32 = 4;
/// The highest bit of a type, which only `SOCK_PACKET`, 10, has.
const TYPE_HIGH: u32 = 8;

/// What is denied. Everything else that the table knows is allowed.
///
/// ptrace(2) is allowed: debuggers, strace and sanitizers are daily tools, the pid namespace ends at the sandbox, no
/// process in it has more rights than another, and init cannot be traced because it is not dumpable.
pub const DENIED: &[Deny] = &[
    // Mounts and roots: the old calls, the new ones (CVE-2021-41133), and all that move the root.
    always("mount"),
    always("umount2"),
    always("pivot_root"),
    always("chroot"),
    always("open_tree"),
    always("open_tree_attr"),
    always("move_mount"),
    always("fsopen"),
    always("fsconfig"),
    always("fsmount"),
    always("fspick"),
    always("mount_setattr"),
    // Namespaces.
    when("clone", NAMESPACE_FLAGS),
    when("unshare", UNSHARE_FLAGS),
    always("setns"),
    // Large kernel interfaces with a history, which no build or agent needs.
    always("bpf"),
    always("userfaultfd"),
    always("io_uring_setup"),
    always("io_uring_enter"),
    always("io_uring_register"),
    always("perf_event_open"),
    always("fanotify_init"),
    always("fanotify_mark"),
    always("memfd_secret"),
    // Keyrings are not namespaced by anything that a sandbox has.
    always("keyctl"),
    always("add_key"),
    always("request_key"),
    // Other processes' memory, beyond what ptrace gives to a debugger.
    always("process_vm_readv"),
    always("process_vm_writev"),
    always("kcmp"),
    // Files by handle: past every mount (the "shocker" escape).
    always("open_by_handle_at"),
    always("name_to_handle_at"),
    // The machine itself.
    always("kexec_load"),
    always("kexec_file_load"),
    always("init_module"),
    always("finit_module"),
    always("delete_module"),
    always("reboot"),
    always("swapon"),
    always("swapoff"),
    always("quotactl"),
    always("quotactl_fd"),
    always("acct"),
    always("syslog"),
    always("sethostname"),
    always("setdomainname"),
    always("settimeofday"),
    always("clock_settime"),
    always("vhangup"),
    x86_only("iopl"),
    x86_only("ioperm"),
    x86_only("modify_ldt"),
    x86_only("sysfs"),
    x86_only("ustat"),
    // Limits and priorities of init, process 1: whoever has its user id could take its descriptors and its time away.
    when("prlimit64", &[&[Is(0, 1)]]),
    when("sched_setaffinity", &[&[Is(0, 1)]]),
    when("sched_setattr", &[&[Is(0, 1)]]),
    when("sched_setparam", &[&[Is(0, 1)]]),
    when("sched_setscheduler", &[&[Is(0, 1)]]),
    // Those of a group, if it is init's, and those of a user, who may be init's.
    when("setpriority", &[&[IsNot(0, PRIO_USER), Is(1, 1)], &[Is(0, PRIO_USER)]]),
    when("ioprio_set", &[&[IsNot(0, IOPRIO_WHO_USER), Is(1, 1)], &[Is(0, IOPRIO_WHO_USER)]]),
    // A lease holds up whoever opens the file, outside too, for /proc/sys/fs/lease-break-time: 45 seconds, again and again.
    when("fcntl", &[&[Is(1, F_SETLEASE)], &[Is(1, F_SETDELEG)]]),
    // Execution domains: only Linux, 32-bit Linux, the 2.6 version number, a fixed layout (debuggers), and the query.
    when(
        "personality",
        &[&[
            IsNot(0, 0),
            IsNot(0, 0x0000_0008),
            IsNot(0, 0x0002_0000),
            IsNot(0, 0x0002_0008),
            IsNot(0, 0x0004_0000),
            IsNot(0, 0xffff_ffff),
        ]],
    ),
    // Typing into a terminal (CVE-2017-5226): TIOCSTI, TIOCLINUX.
    when("ioctl", &[&[Is(1, 0x5412)], &[Is(1, 0x541c)]]),
    // Socket families: local, IPv4, IPv6, and netlink's route protocol.
    when(
        "socket",
        &[
            &[IsNot(0, AF_UNIX), IsNot(0, AF_INET), IsNot(0, AF_INET6), IsNot(0, AF_NETLINK)],
            &[Is(0, AF_NETLINK), IsNot(2, 0)],
            // Of the internet's transports TCP, UDP, the echoes of ICMP, and MPTCP: others (SCTP, DCCP, SMC, UDP-Lite) are
            // modules that the kernel loads when they are asked for, and nothing catches what they carry.
            &[
                IsNot(0, AF_UNIX),
                IsNot(2, 0),
                IsNot(2, IPPROTO_ICMP),
                IsNot(2, IPPROTO_TCP),
                IsNot(2, IPPROTO_UDP),
                IsNot(2, IPPROTO_ICMPV6),
                IsNot(2, IPPROTO_MPTCP),
            ],
            // Types beyond streams, datagrams and raw sockets, which need a capability.
            &[IsNot(0, AF_UNIX), Has(1, TYPE_MIDDLE)],
            &[IsNot(0, AF_UNIX), Has(1, TYPE_HIGH)],
        ],
    ),
    when("socketpair", &[&[IsNot(0, AF_UNIX)]]),
    // The set-user-id and set-group-id bits: a file in the workspace belongs to the project's owner outside, and would
    // run there as that user. A directory's set-group-id bit is harmless, but chmod(2) does not say what it is asked
    // for. mkdir(2) takes no such bit from its mode; what it inherits from the parent is left to it.
    x86_when("chmod", &[&[Has(1, S_ISUID)], &[Has(1, S_ISGID)]]),
    when("fchmod", &[&[Has(1, S_ISUID)], &[Has(1, S_ISGID)]]),
    when("fchmodat", &[&[Has(2, S_ISUID)], &[Has(2, S_ISGID)]]),
    when("fchmodat2", &[&[Has(2, S_ISUID)], &[Has(2, S_ISGID)]]),
    x86_when("mknod", &[&[Has(1, S_ISUID)], &[Has(1, S_ISGID)]]),
    when("mknodat", &[&[Has(2, S_ISUID)], &[Has(2, S_ISGID)]]),
    x86_when("creat", &[&[Has(1, S_ISUID)], &[Has(1, S_ISGID)]]),
    // Without a flag that makes a file, the mode may hold anything.
    x86_when(
        "open",
        &[
            &[Has(2, S_ISUID), Has(1, O_CREAT)],
            &[Has(2, S_ISGID), Has(1, O_CREAT)],
            &[Has(2, S_ISUID), Has(1, O_TMPFILE)],
            &[Has(2, S_ISGID), Has(1, O_TMPFILE)],
        ],
    ),
    when(
        "openat",
        &[
            &[Has(3, S_ISUID), Has(2, O_CREAT)],
            &[Has(3, S_ISGID), Has(2, O_CREAT)],
            &[Has(3, S_ISUID), Has(2, O_TMPFILE)],
            &[Has(3, S_ISGID), Has(2, O_TMPFILE)],
        ],
    ),
];

/// What of that is not denied in a build, which makes the files of an image: set-id bits, because nothing of the host's is
/// written to there; and other roots, in which package managers run the scripts of packages.
pub const GRANTED_TO_BUILDS: &[&str] =
    &["chroot", "chmod", "fchmod", "fchmodat", "fchmodat2", "mknod", "mknodat", "creat", "open", "openat"];

/// A system call that is allowed if one of its rules matches, or always if it has none.
pub struct Allow {
    /// Its name in the kernel's table.
    pub call: &'static str,
    /// A rule matches if all of its tests do.
    pub rules: &'static [&'static [Test]],
}

const fn allow(call: &'static str) -> Allow {
    Allow { call, rules: &[] }
}

const PROT_EXEC: u32 = 4;
const FIONBIO: u32 = 0x5421;
// The type is the low four bits.
const SOCK_STREAM: u32 = 1;
const OTHER_THAN_STREAM: u32 = 0b1110;
const SOCK_DGRAM: u32 = 2;
const OTHER_THAN_DGRAM: u32 = 0b1101;

/// What every process may do that is jailed by a list: memory, time, its own signals, its end. No page becomes code.
const COMMON: &[Allow] = &[
    allow("read"),
    allow("write"),
    allow("readv"),
    allow("writev"),
    allow("close"),
    allow("fcntl"),
    allow("ppoll"),
    allow("brk"),
    Allow { call: "mmap", rules: &[&[Lacks(2, PROT_EXEC)]] },
    Allow { call: "mprotect", rules: &[&[Lacks(2, PROT_EXEC)]] },
    allow("munmap"),
    allow("mremap"),
    allow("madvise"),
    allow("futex"),
    allow("clock_gettime"),
    allow("clock_nanosleep"),
    allow("nanosleep"),
    allow("restart_syscall"),
    allow("sched_yield"),
    allow("getrandom"),
    allow("getpid"),
    allow("gettid"),
    allow("rt_sigaction"),
    allow("rt_sigprocmask"),
    allow("rt_sigreturn"),
    allow("sigaltstack"),
    allow("exit"),
    allow("exit_group"),
];

/// All that egress may do: sockets of the internet, and the descriptors that it holds. Nothing is opened, executed,
/// traced, signalled or split off.
const EGRESS: &[Allow] = &[
    allow("splice"),
    allow("pipe2"),
    Allow { call: "ioctl", rules: &[&[Is(1, FIONBIO)]] },
    // Streams and datagrams of the internet, and no raw sockets.
    Allow {
        call: "socket",
        rules: &[
            &[Is(0, AF_INET), Has(1, SOCK_STREAM), Lacks(1, OTHER_THAN_STREAM), Is(2, 0)],
            &[Is(0, AF_INET), Has(1, SOCK_DGRAM), Lacks(1, OTHER_THAN_DGRAM), Is(2, 0)],
            &[Is(0, AF_INET6), Has(1, SOCK_STREAM), Lacks(1, OTHER_THAN_STREAM), Is(2, 0)],
            &[Is(0, AF_INET6), Has(1, SOCK_DGRAM), Lacks(1, OTHER_THAN_DGRAM), Is(2, 0)],
        ],
    },
    allow("connect"),
    allow("bind"),
    allow("listen"),
    allow("accept4"),
    allow("shutdown"),
    allow("sendto"),
    allow("recvfrom"),
    allow("sendmsg"),
    allow("recvmsg"),
    allow("getsockopt"),
    allow("setsockopt"),
    allow("getsockname"),
    allow("getpeername"),
    allow("epoll_create1"),
    allow("epoll_ctl"),
    allow("epoll_pwait"),
    allow("epoll_pwait2"),
    allow("eventfd2"),
];

/// What somebody may do beside that who fetches into files that are open.
const FETCH: &[Allow] = &[allow("lseek"), allow("ftruncate"), allow("fstat"), allow("statx")];

/// All that who unpacks or packs may do: make files, and read them, where Landlock, or its root, lets it. No socket, no program, no other process; and
/// no device but the one that overlayfs takes for a whiteout. Modes, owners and attributes are set by descriptor: Landlock
/// does not judge those calls, so a path would reach everywhere. Only links, which have no descriptor, get theirs by name.
const UNPACK: &[Allow] = &[
    allow("pread64"),
    allow("lseek"),
    allow("fstat"),
    allow("newfstatat"),
    allow("statx"),
    allow("getdents64"),
    allow("readlinkat"),
    allow("openat"),
    allow("openat2"),
    allow("mkdirat"),
    // Both kinds of devices have this bit, and nothing else that is made so.
    Allow { call: "mknodat", rules: &[&[Lacks(2, S_IFCHR)], &[Is(3, 0)]] },
    allow("symlinkat"),
    allow("linkat"),
    allow("unlinkat"),
    allow("renameat"),
    allow("ftruncate"),
    allow("fchmod"),
    allow("fchown"),
    allow("fchownat"),
    allow("utimensat"),
    allow("flistxattr"),
    allow("fgetxattr"),
    allow("fsetxattr"),
];

/// The same, where the architecture has such a call.
const WHERE_THERE: &[&str] = &["epoll_wait", "poll"];

/// The processes that are jailed by a list: everything else is `EPERM`.
pub const LISTS: &[(&str, &[&[Allow]])] = &[
    ("EGRESS", &[COMMON, EGRESS]),
    ("PARSE", &[COMMON]),
    ("UNPACK", &[COMMON, UNPACK]),
    ("FETCH", &[COMMON, EGRESS, FETCH]),
];

/// `SECCOMP_RET_ALLOW`.
pub const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` with `EPERM`.
pub const EPERM: u32 = 0x0005_0000 | 1;
const ENOSYS: u32 = 0x0005_0000 | 38;
/// `SECCOMP_RET_USER_NOTIF`.
const TELL: u32 = 0x7fc0_0000;

/// The same with `EAFNOSUPPORT`: what a kernel says that has no such socket.
const NO_FAMILY: u32 = 0x0005_0000 | 97;

/// What numbers are answered that the table does not know: new calls, and those of the x32 ABI.
pub const UNKNOWN: u32 = ENOSYS;

/// The policy by numbers, for an architecture with this table; or that of a build, in which some of it is granted.
///
/// # Errors
/// A call that the policy names is not in the table.
pub fn answers<'a>(
    arch: &str,
    numbers: &BTreeMap<&str, u32>,
    build: bool,
) -> Result<BTreeMap<u32, Answer<'a>>, Box<dyn Error>> {
    let mut answers: BTreeMap<u32, Answer<'_>> =
        numbers.values().map(|&number| (number, Answer::Always(ALLOW))).collect();
    for call in ABSENT {
        answers.insert(*numbers.get(call).ok_or(*call)?, Answer::Always(ENOSYS));
    }
    for &Deny { call, unless_absent_on, rules } in DENIED {
        if build && GRANTED_TO_BUILDS.contains(&call) {
            continue;
        }
        // What makes users gives up if it may not tell the audit, and does without where there is none.
        let matched = if build && call == "socket" { NO_FAMILY } else { EPERM };
        let Some(&number) = numbers.get(call) else {
            if unless_absent_on.contains(&arch) {
                continue;
            }
            return Err(format!("The table of {arch} lacks {call}").into());
        };
        let answer = match rules {
            [] => Answer::Always(EPERM),
            rules => Answer::If { rules, matched, otherwise: ALLOW },
        };
        if answers.insert(number, answer) != Some(Answer::Always(ALLOW)) {
            return Err(format!("{call} has two answers").into());
        }
    }
    Ok(answers)
}

/// What programs are answered on top of that.
///
/// # Errors
/// A call that the policy names is not in the table.
pub fn answers_for_programs<'a>(numbers: &BTreeMap<&str, u32>) -> Result<BTreeMap<u32, Answer<'a>>, Box<dyn Error>> {
    ABSENT_FOR_PROGRAMS.iter().map(|call| Ok((*numbers.get(call).ok_or(*call)?, Answer::Always(ENOSYS)))).collect()
}

/// A call that changes what a path leads to.
pub struct Watch {
    /// Its name in the kernel's table.
    pub call: &'static str,
    /// Architectures that have no such call.
    pub unless_absent_on: &'static [&'static str],
    /// When it does, as for [`Deny`].
    pub rules: &'static [&'static [Test]],
    /// Which arguments are its paths, each with the one that is the directory where it begins, if the call has such.
    pub paths: &'static [(Option<u8>, u8)],
    /// Which argument is the flags of open(2), if it has such.
    pub flags: Option<u8>,
}

const fn watch(call: &'static str, paths: &'static [(Option<u8>, u8)]) -> Watch {
    Watch { call, unless_absent_on: &[], rules: &[], paths, flags: None }
}

const fn watch_x86(call: &'static str, paths: &'static [(Option<u8>, u8)]) -> Watch {
    Watch { call, unless_absent_on: &["aarch64"], rules: &[], paths, flags: None }
}

const O_WRONLY: u32 = 0o1;
const O_RDWR: u32 = 0o2;
const O_TRUNC: u32 = 0o1000;

/// The calls that write, make, remove or rename by path. Those by descriptor need one that was opened to write; owners,
/// modes and times change nothing that is read. `openat2` is [absent](ABSENT_FOR_PROGRAMS), and `io_uring` denied.
pub const WATCHED: &[Watch] = &[
    Watch {
        rules: &[&[Has(1, O_WRONLY)], &[Has(1, O_RDWR)], &[Has(1, O_CREAT)], &[Has(1, O_TRUNC)]],
        flags: Some(1),
        ..watch_x86("open", &[(None, 0)])
    },
    Watch {
        rules: &[&[Has(2, O_WRONLY)], &[Has(2, O_RDWR)], &[Has(2, O_CREAT)], &[Has(2, O_TRUNC)]],
        flags: Some(2),
        ..watch("openat", &[(Some(0), 1)])
    },
    watch_x86("creat", &[(None, 0)]),
    watch("truncate", &[(None, 0)]),
    watch_x86("mkdir", &[(None, 0)]),
    watch("mkdirat", &[(Some(0), 1)]),
    watch_x86("mknod", &[(None, 0)]),
    watch("mknodat", &[(Some(0), 1)]),
    watch_x86("symlink", &[(None, 1)]),
    watch("symlinkat", &[(Some(1), 2)]),
    watch_x86("link", &[(None, 0), (None, 1)]),
    watch("linkat", &[(Some(0), 1), (Some(2), 3)]),
    watch_x86("unlink", &[(None, 0)]),
    watch_x86("rmdir", &[(None, 0)]),
    watch("unlinkat", &[(Some(0), 1)]),
    watch_x86("rename", &[(None, 0), (None, 1)]),
    watch("renameat", &[(Some(0), 1), (Some(2), 3)]),
    watch("renameat2", &[(Some(0), 1), (Some(2), 3)]),
];

/// Those of them that this table has, with their numbers.
///
/// # Errors
/// A call that the policy names is not in the table.
pub fn watched(arch: &str, numbers: &BTreeMap<&str, u32>) -> Result<Vec<(u32, &'static Watch)>, Box<dyn Error>> {
    let there = |watch: &&Watch| !watch.unless_absent_on.contains(&arch);
    let number = |watch: &'static Watch| Ok((*numbers.get(watch.call).ok_or(watch.call)?, watch));
    WATCHED.iter().filter(there).map(number).collect()
}

/// What programs are answered whose changes are told to a listener.
///
/// # Errors
/// A call that the policy names is not in the table.
pub fn answers_for_watched<'a>(
    arch: &str,
    numbers: &BTreeMap<&str, u32>,
) -> Result<BTreeMap<u32, Answer<'a>>, Box<dyn Error>> {
    let mut answers = answers_for_programs(numbers)?;
    for (number, watch) in watched(arch, numbers)? {
        let answer = match watch.rules {
            [] => Answer::Always(TELL),
            rules => Answer::If { rules, matched: TELL, otherwise: ALLOW },
        };
        if answers.insert(number, answer).is_some() {
            return Err(format!("{} has two answers", watch.call).into());
        }
    }
    Ok(answers)
}

/// What a process is answered that is jailed by a list; everything else is `EPERM`.
///
/// # Errors
/// A call that the policy names is not in the table.
pub fn answers_for_list<'a>(
    arch: &str,
    numbers: &BTreeMap<&str, u32>,
    lists: &[&'a [Allow]],
) -> Result<BTreeMap<u32, Answer<'a>>, Box<dyn Error>> {
    let mut answers = BTreeMap::new();
    for &Allow { call, rules } in lists.iter().copied().flatten() {
        let number = *numbers.get(call).ok_or_else(|| format!("The table of {arch} lacks {call}"))?;
        let answer = match rules {
            [] => Answer::Always(ALLOW),
            rules => Answer::If { rules, matched: ALLOW, otherwise: EPERM },
        };
        if answers.insert(number, answer).is_some() {
            return Err(format!("{call} has two answers").into());
        }
    }
    answers.extend(WHERE_THERE.iter().filter_map(|call| Some((*numbers.get(call)?, Answer::Always(ALLOW)))));
    Ok(answers)
}

/// A table of system calls: `number name` lines, `#` begins a comment line.
///
/// # Errors
/// A line is neither.
pub fn parse(text: &str) -> Result<BTreeMap<&str, u32>, Box<dyn Error>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (number, name) = line.split_once(' ').ok_or_else(|| format!("Not a table line: {line}"))?;
            Ok((name, number.parse()?))
        })
        .collect()
}

/// The kernel's name for an architecture's convention of calls: `AUDIT_ARCH_*` of `linux/audit.h`.
///
/// # Errors
/// There is no policy for it.
pub fn audit_arch(arch: &str) -> Result<u32, Box<dyn Error>> {
    match arch {
        "x86_64" => Ok(0xc000_003e),
        "aarch64" => Ok(0xc000_00b7),
        _ => Err(format!("No seccomp policy for {arch}").into()),
    }
}
