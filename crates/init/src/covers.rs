//! Hides whether what is protected still is. A mount goes with the file or directory that it is on when that is removed
//! or replaced, and from outside anybody can do so: what is there then is as writable as the rest of the project.

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags},
};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};
use wire::link::Covered;

/// What is protected.
pub struct Covers(Vec<Cover>);

struct Cover {
    path: PathBuf,
    /// Whether nothing can be written there; otherwise it is only kept in place.
    read_only: bool,
    /// Whether it was so at the start. A mount of the user's may lie over it, and old kernels do not tell.
    held: bool,
}

/// What is said of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is none of those that are protected.
    Open,
    /// Nothing can be written there, or could when that was looked at.
    ReadOnly,
    /// It is on the way to such a one, and kept in place.
    Kept,
}

impl Covers {
    /// Looks at each as it is now.
    pub fn new(protected: &[Covered]) -> Self {
        let cover = |Covered { path, read_only }: &Covered| {
            let path = PathBuf::from(OsStr::from_bytes(&path.0));
            let held = holds(&path, *read_only);
            Cover { path, read_only: *read_only, held }
        };
        Self(protected.iter().map(cover).collect())
    }

    /// One that was protected, and is not any more.
    pub fn lost(&self) -> Option<&Path> {
        self.0.iter().find(|cover| cover.held && !holds(&cover.path, cover.read_only)).map(|cover| &*cover.path)
    }

    /// The read-only one that is around a path.
    pub fn around(&self, path: &Path) -> Option<&Path> {
        let around = self.0.iter().filter(|cover| cover.read_only && cover.held && path.starts_with(&cover.path));
        around.max_by_key(|cover| cover.path.as_os_str().len()).map(|cover| &*cover.path)
    }

    /// What a path without links is.
    pub fn place(&self, path: &Path) -> Place {
        let around = self.0.iter().filter(|cover| path.starts_with(&cover.path));
        match around.max_by_key(|cover| cover.path.as_os_str().len()) {
            Some(cover) if cover.read_only && cover.held => Place::ReadOnly,
            Some(cover) if cover.held && cover.path == path => Place::Kept,
            _ => Place::Open,
        }
    }
}

fn holds(path: &Path, read_only: bool) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty());
    fd.is_ok_and(|fd| is_mounted(&fd) && (!read_only || is_read_only(&fd)))
}

/// Whether the file system there is mounted read-only.
pub fn is_read_only(fd: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(fd).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether something is mounted right there, which can be neither removed nor renamed.
pub fn is_mounted(fd: impl AsFd) -> bool {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
