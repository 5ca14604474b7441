//! /proc, /sys and cgroupfs: knobs that act on the whole machine, and windows into the kernel.
//!
//! Knobs are opened for writing and never written: the permission is checked at open(2).

use crate::case::{Case, Class::ProcSys, Control, Outcome, Skip, missing, opened, words, worst};
use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    path::{Path, PathBuf},
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "core-pattern",
        ProcSys,
        "a crash makes the host run a program of the sandbox's choice",
        "core(5)",
        Control::HostRoot,
        |_| Ok(writable(&["/proc/sys/kernel/core_pattern"])),
    ),
    Case::new(
        "usermode-helpers",
        ProcSys,
        "the host runs a program of the sandbox's choice as modprobe or for events",
        "CVE-2022-0492",
        Control::HostRoot,
        |_| {
            Ok(writable(&[
                "/proc/sys/kernel/modprobe",
                "/proc/sys/kernel/hotplug",
                "/sys/kernel/uevent_helper",
                "/proc/sys/kernel/poweroff_cmd",
                "/proc/sys/kernel/usermodehelper/bset",
            ]))
        },
    ),
    Case::new(
        "binfmt-misc",
        ProcSys,
        "an interpreter can be registered for programs of the host",
        "CVE-2025-31133",
        Control::HostRoot,
        |_| Ok(writable(&["/proc/sys/fs/binfmt_misc/register", "/proc/sys/fs/binfmt_misc/status"])),
    ),
    Case::new(
        "sysrq",
        ProcSys,
        "the machine can be restarted through /proc/sysrq-trigger",
        "CVE-2025-52881",
        Control::HostRoot,
        |_| Ok(writable(&["/proc/sysrq-trigger", "/proc/sys/kernel/sysrq"])),
    ),
    Case::new(
        "pressure-triggers",
        ProcSys,
        "the host's pressure stall information can be given triggers",
        "kernel: Documentation/accounting/psi.rst",
        Control::HostRoot,
        |_| Ok(writable(&["/proc/pressure/cpu", "/proc/pressure/io", "/proc/pressure/memory"])),
    ),
    Case::new(
        "sysctl-write",
        ProcSys,
        "settings of the whole kernel can be changed",
        "sysctl(8)",
        Control::HostRoot,
        |_| {
            Ok(writable(&[
                "/proc/sys/kernel/randomize_va_space",
                "/proc/sys/kernel/kptr_restrict",
                "/proc/sys/vm/drop_caches",
                "/proc/sys/vm/overcommit_memory",
                "/proc/sys/fs/protected_symlinks",
                "/proc/sys/fs/file-max",
                "/proc/sys/kernel/panic",
                "/proc/sys/kernel/threads-max",
            ]))
        },
    ),
    Case::new(
        "sysctl-namespaced",
        ProcSys,
        "settings of the sandbox's own namespaces can be changed from inside",
        "namespaces(7)",
        Control::HostRoot,
        |_| {
            Ok(writable(&[
                "/proc/sys/net/ipv4/ip_forward",
                "/proc/sys/kernel/hostname",
                "/proc/sys/kernel/ns_last_pid",
                "/proc/sys/user/max_user_namespaces",
                "/proc/sys/kernel/shmmax",
            ]))
        },
    ),
    Case::new(
        "proc-machine-files",
        ProcSys,
        "interrupts, ports and buses can be set through /proc",
        "CVE-2018-10892",
        Control::HostRoot,
        |_| {
            Ok(writable(&[
                "/proc/irq/default_smp_affinity",
                "/proc/mtrr",
                "/proc/acpi/wakeup",
                "/proc/scsi/scsi",
                "/proc/kpageflags",
                "/proc/timer_stats",
                "/proc/latency_stats",
            ])
            .or_first_pci())
        },
    ),
    Case::new("kernel-core", ProcSys, "the kernel's memory can be read", "proc_kcore(5)", Control::HostRoot, |_| {
        // A mask can be opened.
        Ok(non_empty(&["/proc/kcore", "/proc/vmcore"]))
    }),
    Case::new(
        "kernel-pointers",
        ProcSys,
        "kernel addresses are visible",
        "proc_kallsyms(5)",
        Control::HostRoot,
        |_| Ok(pointers()),
    ),
    Case::new("kernel-log-file", ProcSys, "the kernel's log can be opened", "proc_kmsg(5)", Control::HostRoot, |_| {
        Ok(readable(&["/proc/kmsg"]))
    }),
    Case::new("proc-keys", ProcSys, "/proc/keys lists keys of the caller", "proc_keys(5)", Control::Host, |_| {
        Ok(non_empty(&["/proc/keys", "/proc/key-users"]))
    }),
    Case::new(
        "proc-host-load",
        ProcSys,
        "timers, schedulers and page tables of the whole machine can be read",
        "CVE-2017-5753",
        Control::HostRoot,
        |_| {
            Ok(non_empty(&[
                "/proc/timer_list",
                "/proc/sched_debug",
                "/proc/slabinfo",
                "/proc/vmallocinfo",
                "/proc/pagetypeinfo",
            ]))
        },
    ),
    Case::new("firmware", ProcSys, "firmware tables can be read through /sys", "CVE-2018-10892", Control::Host, |_| {
        Ok(non_empty_dirs(&["/sys/firmware", "/proc/acpi"]))
    }),
    Case::new(
        "sysfs-write",
        ProcSys,
        "devices and power can be set through /sys",
        "sysfs(5)",
        Control::HostRoot,
        |_| {
            Ok(writable(&[
                "/sys/power/state",
                "/sys/power/disk",
                "/sys/kernel/mm/ksm/run",
                "/sys/kernel/mm/transparent_hugepage/enabled",
                "/sys/kernel/uevent_seqnum",
                "/sys/kernel/profiling",
                "/sys/bus/pci/rescan",
                "/sys/kernel/rcu_expedited",
            ]))
        },
    ),
    Case::new(
        "sysfs-devices",
        ProcSys,
        "the host's disks and cards are listed in /sys",
        "sysfs(5)",
        Control::Host,
        |_| Ok(non_empty_dirs(&["/sys/block", "/sys/bus/pci/devices", "/sys/class/tty"])),
    ),
    Case::new(
        "debug-file-systems",
        ProcSys,
        "debugfs, tracefs, securityfs or bpffs can be used",
        "CVE-2017-1000405",
        Control::HostRoot,
        |_| Ok(debug_file_systems()),
    ),
    Case::new(
        "cgroup-move",
        ProcSys,
        "processes can be moved to another cgroup, out of the limits",
        "cgroups(7)",
        Control::HostRoot,
        |_| cgroup_files(&["cgroup.procs", "tasks", "cgroup.subtree_control"]),
    ),
    Case::new(
        "cgroup-release-agent",
        ProcSys,
        "the host runs a program of the sandbox's choice when a cgroup empties",
        "CVE-2022-0492",
        Control::HostRoot,
        |_| cgroup_files(&["release_agent", "notify_on_release", "cgroup.kill"]),
    ),
    Case::new(
        "cgroup-limits",
        ProcSys,
        "the sandbox's own limits can be raised",
        "cgroups(7)",
        Control::HostRoot,
        |_| {
            cgroup_files(&[
                "memory.max",
                "pids.max",
                "cpu.max",
                "memory.limit_in_bytes",
                "cpu.cfs_quota_us",
                "devices.allow",
                "cpu.shares",
                "cgroup.max.depth",
            ])
        },
    ),
    Case::new(
        "cgroup-path",
        ProcSys,
        "the place in the host's cgroup tree is visible",
        "cgroup_namespaces(7)",
        Control::None("a caller may sit at the root itself"),
        |_| cgroup_path(),
    ),
];

impl Outcome {
    /// The PCI configuration files, whose names differ from host to host, if nothing was found before.
    fn or_first_pci(self) -> Self {
        let bus = fs::read_dir("/proc/bus/pci").ok().and_then(|mut bus| {
            bus.find_map(|entry| {
                let path = entry.ok()?.path();
                fs::read_dir(path).ok()?.next()?.ok().map(|entry| entry.path())
            })
        });
        worst([self].into_iter().chain(bus.map(|path| write_open(&path))))
    }
}

fn write_open(path: &Path) -> Outcome {
    // A directory that can't be seen at all is as good as missing.
    opened(OpenOptions::new().write(true).open(path), &path.display().to_string())
}

fn writable(paths: &[&str]) -> Outcome {
    worst(paths.iter().map(|path| write_open(Path::new(path))))
}

fn readable(paths: &[&str]) -> Outcome {
    worst(paths.iter().map(|path| opened(File::open(path), path)))
}

/// A file that opens but is empty is masked.
fn non_empty(paths: &[&str]) -> Outcome {
    worst(paths.iter().map(|path| {
        let mut start = [0u8; 64];
        match File::open(path).and_then(|mut file| file.read(&mut start)) {
            Ok(0) => Outcome::Held(format!("{path} is empty")),
            Ok(_) => Outcome::Escaped(format!("read {path}")),
            Err(error) if missing(&error) => Outcome::Absent(format!("{path}: {}", words(&error))),
            Err(error) => Outcome::Held(format!("{path}: {}", words(&error))),
        }
    }))
}

fn non_empty_dirs(paths: &[&str]) -> Outcome {
    worst(paths.iter().map(|path| match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Outcome::Escaped(format!("listed {path}")),
        Ok(false) => Outcome::Absent(format!("{path} is empty")),
        Err(error) if missing(&error) => Outcome::Absent(format!("{path}: {}", words(&error))),
        Err(error) => Outcome::Held(format!("{path}: {}", words(&error))),
    }))
}

/// Addresses that aren't zero.
fn pointers() -> Outcome {
    worst(["/proc/kallsyms", "/proc/modules"].map(|path| {
        let mut text = String::new();
        match File::open(path).and_then(|file| file.take(65_536).read_to_string(&mut text)) {
            Ok(_) => {
                // kallsyms has the address first, modules last as 0x...
                let shown = text.lines().flat_map(|line| line.split(' ')).any(|word| {
                    let digits = word.trim_start_matches("0x");
                    digits.len() == 16
                        && digits.bytes().all(|b| b.is_ascii_hexdigit())
                        && digits.bytes().any(|b| b != b'0')
                });
                if shown {
                    Outcome::Escaped(format!("{path} shows addresses"))
                } else {
                    Outcome::Held(format!("{path} shows zeros"))
                }
            }
            Err(error) if missing(&error) => Outcome::Absent(words(&error)),
            Err(error) => Outcome::Held(words(&error)),
        }
    }))
}

/// By the file systems' own files, since an empty mount point is nothing.
fn debug_file_systems() -> Outcome {
    non_empty_dirs(&[
        "/sys/kernel/debug",
        "/sys/kernel/tracing",
        "/sys/kernel/security",
        "/sys/fs/bpf",
        "/sys/fs/pstore",
    ])
}

fn cgroup_mounts() -> Result<Vec<PathBuf>, Skip> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Skip(words(&error)))?;
    let mounts = table.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup").then(|| PathBuf::from(mount.split(' ').nth(4).unwrap_or("/")))
    });
    Ok(mounts.collect())
}

/// The files of every visible cgroup mount: at its top, and where the process itself is.
fn cgroup_files(names: &[&str]) -> Result<Outcome, Skip> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let places: Vec<_> =
        own.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(|path| path.trim_start_matches('/')).collect();
    let mut outcomes = Vec::new();
    for mount in cgroup_mounts()? {
        // One level down, since the root cgroup has no limits.
        let below =
            fs::read_dir(&mount).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
        let dirs = places.iter().map(|place| mount.join(place)).chain(below.take(16));
        for dir in std::iter::once(mount.clone()).chain(dirs) {
            outcomes.extend(names.iter().map(|name| write_open(&dir.join(name))));
        }
    }
    Ok(worst(outcomes))
}

fn cgroup_path() -> Result<Outcome, Skip> {
    let text = fs::read_to_string("/proc/self/cgroup").map_err(|error| Skip(words(&error)))?;
    let deep = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find(|path| *path != "/");
    Ok(match deep {
        Some(path) => Outcome::Escaped(format!("/proc/self/cgroup says {path}")),
        None => Outcome::Held("the sandbox sees itself at the root".to_owned()),
    })
}
