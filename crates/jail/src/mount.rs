//! Hides the new mount API: file systems and binds are made detached, changed, and attached by descriptor.
//!
//! No function takes a path: sources and targets are descriptors that the caller has opened and verified, so that
//! nothing can be swapped in between (CVE-2024-42472 and its kin).

use crate::sys;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    },
};
use std::{ffi::CStr, io};

pub use rustix::mount::MountAttrFlags as Attr;

/// The longest value of a parameter: fsconfig(2) takes 256 bytes with the NUL.
const LONGEST_VALUE: usize = 255;

/// A file system could not be made.
#[derive(Debug, thiserror::Error)]
#[error("Cannot {step} {kind}{log}")]
pub struct Error {
    step: &'static str,
    kind: String,
    log: String,
    #[source]
    source: io::Error,
}

impl Error {
    /// The kernel's answer.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// A parameter of a file system: `name=value`, or a flag.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    /// With a value.
    Value(&'a str, &'a str),
    /// Without one.
    Flag(&'a str),
}

/// A new file system, mounted nowhere yet.
///
/// # Errors
/// [`Error`], with what the kernel's log of the attempt says.
pub fn new(kind: &'static str, params: &[Param<'_>], attrs: MountAttrFlags) -> Result<OwnedFd, Error> {
    let fail = |step, context: Option<&OwnedFd>, errno: rustix::io::Errno| Error {
        step,
        kind: kind.into(),
        log: context.map(log).unwrap_or_default(),
        source: errno.into(),
    };
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| fail("open", None, e))?;
    for param in params {
        match param {
            Param::Value(name, value) => rustix::mount::fsconfig_set_string(&context, *name, *value),
            Param::Flag(name) => rustix::mount::fsconfig_set_flag(&context, *name),
        }
        .map_err(|e| fail("configure", Some(&context), e))?;
    }
    rustix::mount::fsconfig_create(&context).map_err(|e| fail("make", Some(&context), e))?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attrs).map_err(|e| fail("mount", Some(&context), e))
}

/// What the kernel says about the last failure, one line.
fn log(context: &OwnedFd) -> String {
    let mut text = String::new();
    let mut buffer = [0u8; 256];
    while let Ok(n @ 1..) = rustix::io::read(context, &mut buffer) {
        // "e overlay: message": the first byte is the level.
        let line = String::from_utf8_lossy(&buffer[..n]);
        let line = line.trim_end().trim_start_matches("e ").trim_start_matches("w ");
        text.push_str(if text.is_empty() { ": " } else { "; " });
        text.extend(line.escape_debug());
    }
    text
}

/// So many layers every kernel stacks; more of them from 6.5 on.
pub const STACKED: usize = 50;

/// The layers of an overlay file system.
#[derive(Debug)]
pub struct Overlay<'a> {
    /// Read-only layers, the topmost first.
    pub lower: &'a [BorrowedFd<'a>],
    /// The directory that takes what is written.
    pub upper: BorrowedFd<'a>,
    /// An empty directory of the same file system as `upper`.
    pub work: BorrowedFd<'a>,
}

/// A new overlay file system, mounted nowhere yet. It keeps its marks in `user.` attributes, as it must where the
/// mounter is no host administrator.
///
/// All layers must be mounted in the caller's mount namespace, and /proc too: layers are named by their numbers in
/// /proc/self/fd, because a path may hold the characters that separate layers. A value is limited to 255 bytes, which is room
/// for some 80 layers; kernels from 6.5 on take each by itself, and up to 500. The working directory is changed meanwhile.
///
/// # Errors
/// [`Error`].
pub fn overlay(layers: &Overlay<'_>, attrs: MountAttrFlags) -> Result<OwnedFd, Error> {
    let failed = |errno: rustix::io::Errno| Error {
        step: "name the layers of",
        kind: "overlay".into(),
        log: String::new(),
        source: errno.into(),
    };
    let path = |fd: &BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let (upper, work) = (path(&layers.upper), path(&layers.work));
    let numbers: Vec<String> = layers.lower.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    let joined = numbers.join(":");
    let mut params = vec![Param::Value("source", "overlay")];
    if joined.len() <= LONGEST_VALUE {
        params.push(Param::Value("lowerdir", &joined));
    } else {
        params.extend(numbers.iter().map(|number| Param::Value("lowerdir+", number)));
    }
    params.extend([Param::Value("upperdir", &upper), Param::Value("workdir", &work), Param::Flag("userxattr")]);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let before = rustix::fs::open(".", flags, Mode::empty()).map_err(failed)?;
    rustix::process::chdir("/proc/self/fd").map_err(failed)?;
    let made = new("overlay", &params, attrs);
    rustix::process::fchdir(before).map_err(failed)?;
    made
}

/// A copy of the mount at `source` (and with `recursive` of those below it), mounted nowhere yet: a bind mount. It
/// shares the propagation of its source until [`set`] or [`map_ids`], one of which must come before it is attached.
///
/// # Errors
/// As open_tree(2).
pub fn copy(source: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(source, c"", flags)?)
}

/// Sets attributes of a mount, and with `recursive` of those below it. Never clears any. Makes them private too, so
/// that nothing mounted there is seen elsewhere, and the other way round.
///
/// # Errors
/// As mount_setattr(2).
pub fn set(mount: impl AsFd, recursive: bool, attrs: MountAttrFlags) -> io::Result<()> {
    sys::mount::mount_setattr(mount.as_fd(), recursive, attrs.bits().into(), None)
}

/// Maps the owners of files through a user namespace (`MOUNT_ATTR_IDMAP`): what is `n` on disk appears as the id
/// that `n` is outside of it. For a mount that was never attached. Makes it private, as [`set`] does.
///
/// # Errors
/// As mount_setattr(2): `EINVAL` if the file system cannot.
pub fn map_ids(mount: impl AsFd, recursive: bool, userns: impl AsFd) -> io::Result<()> {
    let idmap = MountAttrFlags::MOUNT_ATTR_IDMAP.bits().into();
    sys::mount::mount_setattr(mount.as_fd(), recursive, idmap, Some(userns.as_fd()))
}

/// Attaches a mount at a directory or file. The mount's descriptor stays good: it is its root from now on.
///
/// # Errors
/// As move_mount(2).
pub fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mount, c"", target, c"", flags)?)
}

/// Attaches a mount at an entry of a directory, which must not be a symbolic link.
///
/// # Errors
/// As move_mount(2).
pub fn attach_at(mount: impl AsFd, dir: impl AsFd, name: &CStr) -> io::Result<()> {
    Ok(rustix::mount::move_mount(mount, c"", dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Cuts the mounts of this namespace off from the host's: what is mounted here is not seen there. Mounts of the host
/// still go away here when they go away there, so that nothing keeps a host file system busy.
///
/// # Errors
/// As mount(2).
pub fn isolate() -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Makes an attached mount the root and working directory of this process, and detaches everything that was mounted
/// before outside of it.
///
/// # Errors
/// As pivot_root(2), umount2(2), chdir(2); [`io::ErrorKind::ResourceBusy`] if the old root is still there afterwards.
pub fn become_root(root: impl AsFd) -> io::Result<()> {
    let wanted = rustix::fs::fstat(&root)?;
    rustix::process::fchdir(root)?;
    // Both names the same: the old root ends up mounted over the new one, and needs no directory in it.
    rustix::process::pivot_root(".", ".")?;
    // What was mounted over the old root lies there as well, and "." names the topmost. Going up from the root leads
    // into whatever still lies over it, so that shows when all is gone.
    for _ in 0..8 {
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        let up = rustix::fs::stat("/..")?;
        if (up.st_dev, up.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(rustix::process::chdir("/")?);
        }
    }
    Err(rustix::io::Errno::BUSY.into())
}
