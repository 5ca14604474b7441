//! Mounts and roots: the old mount calls, the new ones, and the ways out of a root directory.

use crate::{
    case::{Case, Class::Mounts, Control, Outcome, Skip, done, permitted, said, words, worst},
    context::Context,
    sys::own,
    syscall,
};
use std::{
    ffi::CString,
    fs,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "mount-tmpfs",
        Mounts,
        "something can be mounted by the old call",
        "mount(2)",
        Control::Namespace,
        |_| Ok(done(syscall!(libc::SYS_mount, c"none", c"/tmp", c"tmpfs", 0, 0), "mounted a tmpfs on /tmp")),
    ),
    Case::new(
        "mount-proc",
        Mounts,
        "a fresh /proc without masks can be mounted",
        "proc(5)",
        Control::Namespace,
        |_| Ok(done(syscall!(libc::SYS_mount, c"proc", c"/tmp", c"proc", 0, 0), "mounted a proc on /tmp")),
    ),
    Case::new(
        "mount-bind",
        Mounts,
        "a mask can be undone by a bind mount",
        "CVE-2025-31133",
        Control::Namespace,
        |_| {
            Ok(done(
                syscall!(libc::SYS_mount, c"/usr", c"/tmp", c"none", libc::MS_BIND | libc::MS_REC, 0),
                "bound /usr on /tmp",
            ))
        },
    ),
    Case::new(
        "mount-remount",
        Mounts,
        "a read-only mount can be made writable",
        "mount(2)",
        Control::Namespace,
        remount,
    ),
    Case::new(
        "mount-umount",
        Mounts,
        "a mount that masks something can be taken off",
        "umount(2)",
        Control::Namespace,
        umount,
    ),
    Case::new(
        "mount-fsopen",
        Mounts,
        "the new mount calls pass a filter that knows only the old",
        "CVE-2021-41133",
        Control::Namespace,
        |_| Ok(done(syscall!(libc::SYS_fsopen, c"tmpfs", 0), "fsopen made a file system context")),
    ),
    Case::new(
        "mount-open-tree",
        Mounts,
        "a detached copy of the mount tree can be made",
        "CVE-2021-41133",
        Control::Namespace,
        |_| {
            Ok(done(
                syscall!(libc::SYS_open_tree, libc::AT_FDCWD, c"/", libc::OPEN_TREE_CLONE | AT_RECURSIVE),
                "open_tree cloned /",
            ))
        },
    ),
    Case::new(
        "mount-move",
        Mounts,
        "a mount can be moved by the new call",
        "move_mount(2)",
        Control::Namespace,
        // Nothing is mounted at this descriptor pair; the permission is checked first.
        |_| Ok(permitted(syscall!(libc::SYS_move_mount, -1, c"", -1, c"", 0), "move_mount")),
    ),
    Case::new(
        "mount-fspick",
        Mounts,
        "a mounted file system can be reconfigured",
        "fspick(2)",
        Control::Namespace,
        |_| Ok(permitted(syscall!(libc::SYS_fspick, libc::AT_FDCWD, c"/nonexistent", 0), "fspick")),
    ),
    Case::new(
        "mount-cgroup",
        Mounts,
        "a writable cgroup file system can be mounted",
        "CVE-2022-0492",
        Control::Namespace,
        |_| {
            Ok(worst([c"cgroup2", c"cgroup"].map(|kind| {
                done(syscall!(libc::SYS_mount, c"none", c"/tmp", kind, 0, 0), "mounted a cgroup file system")
            })))
        },
    ),
    Case::new(
        "mount-propagation",
        Mounts,
        "a mount made inside appears outside",
        "mount_namespaces(7)",
        Control::HostRoot,
        propagation,
    ),
    Case::new("pivot-root", Mounts, "the root directory can be changed", "pivot_root(2)", Control::Namespace, |_| {
        Ok(permitted(syscall!(libc::SYS_pivot_root, c"/nonexistent", c"/nonexistent"), "pivot_root"))
    }),
    Case::new(
        "chroot",
        Mounts,
        "chroot is allowed, the first half of its own escape",
        "chroot(2)",
        Control::Namespace,
        |_| Ok(done(syscall!(libc::SYS_chroot, c"/"), "chroot to /")),
    ),
    Case::new(
        "chroot-fchdir",
        Mounts,
        "a directory descriptor leads out of the root",
        "chroot(2)",
        Control::Host,
        climb,
    ),
    Case::new(
        "file-handle-open",
        Mounts,
        "files outside can be opened by guessed handles",
        "CVE-2014-3519",
        Control::HostRoot,
        by_handle,
    ),
    Case::new(
        "root-mount-hidden",
        Mounts,
        "the host's whole root file system is mounted, if hidden",
        "CVE-2019-14271",
        Control::Host,
        hidden_root,
    ),
    Case::new(
        "mount-table-paths",
        Mounts,
        "the mount table names host directories beside the workspace",
        "proc_pid_mountinfo(5)",
        Control::None("outside nothing of this kind is mounted"),
        table_paths,
    ),
    Case::new(
        "symlink-mount-source",
        Mounts,
        "the workspace was swapped for a link, and the link's target is mounted",
        "CVE-2024-42472",
        Control::Host,
        workspace_is_itself,
    ),
];

/// linux/fcntl.h; libc has it as a signed constant of another type.
const AT_RECURSIVE: u32 = 0x8000;

impl From<u32> for crate::sys::Arg<'_> {
    fn from(number: u32) -> Self {
        Self::Num(u64::from(number))
    }
}

fn mount_points() -> Result<Vec<CString>, Skip> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Skip(words(&error)))?;
    Ok(table.lines().filter_map(|line| CString::new(unescape(line.split(' ').nth(4)?)).ok()).collect())
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &str) -> Vec<u8> {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if bytes[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// By both calls. Flags of `/` are set to what they are wherever that is possible.
fn remount(_: &Context) -> Result<Outcome, Skip> {
    // struct mount_attr: attr_set, attr_clr (MOUNT_ATTR_RDONLY), propagation, userns_fd.
    let attr = [0u64, 1, 0, 0].map(u64::to_ne_bytes).concat();
    let new = done(
        syscall!(libc::SYS_mount_setattr, libc::AT_FDCWD, c"/", 0, attr.as_slice(), attr.len() as u64),
        "mount_setattr took read-only from /",
    );
    let old =
        done(syscall!(libc::SYS_mount, 0, c"/", 0, libc::MS_REMOUNT | libc::MS_BIND, 0), "remounted / read-write");
    Ok(worst([new, old]))
}

fn umount(_: &Context) -> Result<Outcome, Skip> {
    // The last mounted comes off first.
    Ok(worst(mount_points()?.iter().rev().map(|point| {
        done(
            syscall!(libc::SYS_umount2, point.as_c_str(), libc::MNT_DETACH),
            &format!("unmounted {}", point.to_string_lossy()),
        )
    })))
}

/// Without privilege a user namespace is the way to it, as an attacker would go. The runner looks at its own table.
fn propagation(ctx: &Context) -> Result<Outcome, Skip> {
    let (dir, name) = (ctx.need("mount_dir")?, ctx.need("plant_name")?);
    let (name, dir) = (
        CString::new(name),
        CString::new(if ctx.control { Path::new(dir) } else { ctx.workspace()? }.as_os_str().as_encoded_bytes()),
    );
    let (Ok(name), Ok(dir)) = (name, dir) else { return Err(Skip("a parameter with a NUL".to_owned())) };
    let mount = || syscall!(libc::SYS_mount, name.as_c_str(), dir.as_c_str(), c"tmpfs", 0, c"size=4k");
    let mut made = mount();
    if made.is_err() && syscall!(libc::SYS_unshare, libc::CLONE_NEWUSER | libc::CLONE_NEWNS).is_ok() {
        made = mount();
    }
    Ok(match made {
        Ok(_) => Outcome::Tried("mounted a tmpfs".to_owned()),
        Err(errno) => Outcome::Held(said(errno)),
    })
}

/// Goes up from every directory that can be had, and looks for the canary from there.
fn climb(ctx: &Context) -> Result<Outcome, Skip> {
    let mut starts: Vec<OwnedFd> = Vec::new();
    for path in ["/", "/proc/self/root", "/proc/self/cwd", "/proc/thread-self/root", "."]
        .into_iter()
        .map(Path::new)
        .chain([ctx.workspace()?])
    {
        if let Ok(dir) = fs::File::open(path) {
            starts.push(dir.into());
        }
    }
    Ok(worst(starts.iter().map(|start| from_top(ctx, start.as_raw_fd())).collect::<Result<Vec<_>, _>>()?))
}

/// Whether the canary can be read through a directory descriptor, by way of its topmost parent.
pub fn from_top(ctx: &Context, dir: i32) -> Result<Outcome, Skip> {
    let (canary, token) = (ctx.need("canary")?, ctx.token()?);
    let path = CString::new(format!("{}{}", "../".repeat(64), canary.trim_start_matches('/')))
        .map_err(|_| Skip("a path with a NUL".to_owned()))?;
    let fd = match syscall!(libc::SYS_openat, dir, path.as_c_str(), libc::O_RDONLY | libc::O_CLOEXEC) {
        Ok(fd) => own(fd),
        Err(errno) => return Ok(Outcome::Held(said(errno))),
    };
    let text = std::io::read_to_string(fs::File::from(fd)).unwrap_or_default();
    Ok(if text.contains(token) {
        Outcome::Escaped("read the canary through ..".to_owned())
    } else {
        Outcome::Held("another file of that name".to_owned())
    })
}

/// A handle of inode 2, which most file systems have as their root. ESTALE says that the permission was there.
fn by_handle(ctx: &Context) -> Result<Outcome, Skip> {
    let dir = fs::File::open(ctx.workspace()?).map_err(|error| Skip(words(&error)))?;
    // struct file_handle: handle_bytes, handle_type (FILEID_INO32_GEN), then inode and generation.
    let handle = [8u32, 1, 2, 0].map(u32::to_ne_bytes).concat();
    Ok(permitted(
        syscall!(libc::SYS_open_by_handle_at, dir.as_raw_fd(), handle.as_slice(), libc::O_RDONLY),
        "open_by_handle_at",
    ))
}

fn hidden_root(ctx: &Context) -> Result<Outcome, Skip> {
    let root = ctx.need("root_device")?;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Skip(words(&error)))?;
    let found = table
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.len() > 4 && fields[2] == root && fields[3] == "/");
    Ok(match found {
        Some(fields) => Outcome::Escaped(format!("{root} is mounted whole at {}", fields[4])),
        None => Outcome::Held("it is nowhere mounted whole".to_owned()),
    })
}

fn table_paths(ctx: &Context) -> Result<Outcome, Skip> {
    let (plant, workspace) = (ctx.need("plant_dir")?, ctx.need("workspace")?);
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|error| Skip(words(&error)))?;
    let leak = table
        .lines()
        .map(|line| line.replace(workspace, ""))
        .find(|line| line.contains(plant) || ctx.get("state").is_some_and(|state| line.contains(state)));
    Ok(match leak {
        Some(line) => Outcome::Escaped(format!("mountinfo says: {line}")),
        None => Outcome::Held("it names only the workspace".to_owned()),
    })
}

/// The runner has put a link to the directory of the canary into the workspace: nothing may be mounted there.
fn workspace_is_itself(ctx: &Context) -> Result<Outcome, Skip> {
    let through = ctx.workspace()?.join("link-out/canary");
    Ok(match fs::read_to_string(through) {
        Ok(text) if text.contains(ctx.token()?) => {
            Outcome::Escaped("read the canary through the runner's link".to_owned())
        }
        Ok(_) => Outcome::Held("another file of that name".to_owned()),
        Err(error) => Outcome::Held(words(&error)),
    })
}
