//! Device nodes: those of the host, new ones, and false ones. Opened, never read or written.

use crate::{
    case::{Case, Class::Devices, Control, Outcome, Skip, done, opened, said, words, worst},
    context::Context,
    syscall,
};
use std::{
    ffi::CString,
    fs::{self, OpenOptions},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "device-memory",
        Devices,
        "the machine's memory or ports can be opened",
        "mem(4)",
        Control::HostRoot,
        |_| Ok(open(&["/dev/mem", "/dev/kmem", "/dev/port", "/dev/nvram", "/dev/cpu/0/msr"])),
    ),
    Case::new(
        "device-kernel-log",
        Devices,
        "the kernel's log can be opened as a device",
        "syslog(2)",
        Control::HostRoot,
        |_| Ok(open(&["/dev/kmsg"])),
    ),
    Case::new("device-disks", Devices, "a disk of the host can be opened", "sd(4)", Control::HostRoot, |_| Ok(disks())),
    Case::new(
        "device-virtualisation",
        Devices,
        "the hypervisor's devices can be opened",
        "CVE-2021-29657",
        Control::HostRoot,
        |_| {
            Ok(open(&[
                "/dev/kvm",
                "/dev/vhost-net",
                "/dev/vhost-vsock",
                "/dev/vsock",
                "/dev/net/tun",
                "/dev/vfio/vfio",
            ]))
        },
    ),
    Case::new(
        "device-fuse-loop",
        Devices,
        "file systems can be made of files",
        "CVE-2022-0185",
        Control::HostRoot,
        |_| {
            Ok(open(&[
                "/dev/fuse",
                "/dev/loop-control",
                "/dev/mapper/control",
                "/dev/btrfs-control",
                "/dev/autofs",
                "/dev/cuse",
            ]))
        },
    ),
    Case::new("device-input", Devices, "keys can be seen or typed", "CVE-2017-5226", Control::HostRoot, |_| {
        Ok(open(&[
            "/dev/uinput",
            "/dev/input/event0",
            "/dev/input/mice",
            "/dev/uhid",
            "/dev/tty0",
            "/dev/tty1",
            "/dev/ttyS0",
            "/dev/vcs",
        ]))
    }),
    Case::new(
        "device-graphics-sound",
        Devices,
        "screens, cards, cameras or microphones can be opened",
        "CVE-2022-20186",
        Control::HostRoot,
        |_| {
            Ok(open(&[
                "/dev/dri/card0",
                "/dev/dri/renderD128",
                "/dev/fb0",
                "/dev/video0",
                "/dev/snd/controlC0",
                "/dev/nvidiactl",
            ]))
        },
    ),
    Case::new(
        "device-userfaultfd",
        Devices,
        "the userfaultfd device goes round the filter",
        "userfaultfd(2)",
        Control::HostRoot,
        |_| Ok(open(&["/dev/userfaultfd", "/dev/vga_arbiter", "/dev/hwrng", "/dev/cpu_dma_latency"])),
    ),
    Case::new(
        "device-unexpected",
        Devices,
        "/dev has a device that programs don't need",
        "null(4)",
        Control::Host,
        |_| Ok(unexpected(Path::new("/dev"), 0)),
    ),
    Case::new(
        "device-false",
        Devices,
        "/dev/null or its like is something else",
        "CVE-2025-31133",
        Control::None("a host has the real ones"),
        |_| Ok(false_devices()),
    ),
    Case::new(
        "device-make-block",
        Devices,
        "a disk's node can be made",
        "mknod(2)",
        Control::HostRoot,
        // 240 to 254 are for experiments, so that the number of no real disk is used.
        |ctx| make(ctx, libc::S_IFBLK, libc::makedev(240, 1)),
    ),
    Case::new(
        "device-make-char",
        Devices,
        "a character device's node can be made",
        "mknod(2)",
        Control::HostRoot,
        |ctx| make(ctx, libc::S_IFCHR, libc::makedev(1, 1)),
    ),
    Case::new(
        "device-mounts",
        Devices,
        "a device node on a writable mount would work",
        "mount(8)",
        Control::Host,
        |_| mounts(),
    ),
];

fn open_one(path: &Path) -> Outcome {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    opened(file, &path.display().to_string())
}

fn open(paths: &[&str]) -> Outcome {
    worst(paths.iter().map(|path| open_one(Path::new(path))))
}

/// Every block device in /dev.
fn disks() -> Outcome {
    let nodes = fs::read_dir("/dev").into_iter().flatten().flatten();
    let blocks = nodes.filter(|node| node.file_type().is_ok_and(|kind| kind.is_block_device()));
    worst(blocks.map(|node| open_one(&node.path())))
}

/// Character devices that every container has: (major, minor). 136 to 143 are pseudo terminals.
fn expected(device: u64) -> bool {
    let (major, minor) = (libc::major(device), libc::minor(device));
    matches!((major, minor), (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2) | (136..=143, _))
}

fn unexpected(dir: &Path, depth: u32) -> Outcome {
    let nodes: Vec<PathBuf> = fs::read_dir(dir).into_iter().flatten().flatten().map(|node| node.path()).collect();
    let found = nodes.into_iter().map(|path| match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() && depth < 4 => unexpected(&path, depth + 1),
        Ok(meta)
            if meta.file_type().is_block_device() || meta.file_type().is_char_device() && !expected(meta.rdev()) =>
        {
            Outcome::Escaped(format!("{} is there", path.display()))
        }
        _ => Outcome::Held("null, zero, full, random, urandom, tty, ptmx and terminals".to_owned()),
    });
    worst(found)
}

fn false_devices() -> Outcome {
    let wanted = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
    worst(wanted.map(|(name, minor)| match fs::metadata(format!("/dev/{name}")) {
        Ok(meta) if meta.file_type().is_char_device() && meta.rdev() == libc::makedev(1, minor) => {
            Outcome::Held("all are real".to_owned())
        }
        Ok(_) => Outcome::Escaped(format!("/dev/{name} is something else")),
        Err(error) => Outcome::Absent(format!("/dev/{name}: {}", words(&error))),
    }))
}

fn make(ctx: &Context, kind: u32, device: u64) -> Result<Outcome, Skip> {
    let path = ctx.scratch("node")?;
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Skip("a path with a NUL".to_owned()))?;
    let made = syscall!(libc::SYS_mknodat, libc::AT_FDCWD, name.as_c_str(), kind | 0o600, device);
    let _ = fs::remove_file(&path);
    Ok(match made {
        // The overlay's whiteout is the one device that anybody may make; this is none.
        Err(errno) => Outcome::Held(said(errno)),
        Ok(_) => done(made, "made a device node"),
    })
}

fn mounts() -> Result<Outcome, Skip> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Skip(words(&error)))?;
    // Only a file system on which nodes can be made matters: /dev itself, devpts, proc and the like have their own.
    let open = table.lines().filter_map(|line| line.split_once(" - ")).find(|(mount, kind)| {
        let options = mount.split(' ').nth(5).unwrap_or("");
        let stores =
            ["ext", "xfs", "btrfs", "tmpfs", "overlay", "f2fs", "zfs"].iter().any(|name| kind.starts_with(name));
        stores && options.split(',').any(|option| option == "rw") && !options.split(',').any(|option| option == "nodev")
    });
    Ok(match open {
        Some((mount, _)) => {
            Outcome::Escaped(format!("{} is writable and lacks nodev", mount.split(' ').nth(4).unwrap_or("?")))
        }
        None => Outcome::Held("every writable mount is nodev".to_owned()),
    })
}
