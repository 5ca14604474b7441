//! Hides how the directories of a layer are made, found again, and given what the layer says about them once everything
//! is in them.

use super::{
    OPAQUE, times,
    xattr::{Xattrs, set_xattrs},
};
use crate::{
    UnpackError,
    reader::{Time, components, refused},
    unpack::Reason,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags},
    io::Errno,
};
use std::{collections::BTreeMap, io, rc::Rc};

/// What is known of a directory that the layer has made.
pub(super) struct Directory {
    pub mode: u32,
    pub owner: Option<(u32, u32)>,
    pub mtime: Time,
    pub xattrs: Xattrs,
}

/// Bytes of directories' names and attributes that are remembered until the end.
const MAX_REMEMBERED: u64 = 256 << 20;
/// Bytes of one path that the kernel takes, less than `PATH_MAX`.
const MAX_PATH: usize = 4000;
/// Only what it is and where: enough to make things in it.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

/// The directories of one layer. Paths are names with one slash between them; that of the layer itself is empty.
///
/// Nobody but the layer makes anything here, so a path that is known leads to a directory that the layer has made.
pub(super) struct Tree {
    root: OwnedFd,
    /// What is known, and whether it hides what layers below have there.
    dirs: BTreeMap<Vec<u8>, (Directory, bool)>,
    remembered: u64,
    max_entries: u64,
    /// What directories get that the layer only implies.
    owner: Option<(u32, u32)>,
    implied: i64,
    /// The last directory that something went into: the next entry most likely goes there too.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

impl Tree {
    /// # Errors
    /// [`Reason::NotEmpty`] if there is anything in it.
    pub fn new(
        root: BorrowedFd<'_>,
        max_entries: u64,
        owner: Option<(u32, u32)>,
        implied: i64,
    ) -> Result<Self, Reason> {
        let root = open(root, b".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Dir::read_from(&root).map_err(|error| Reason::Io("read the directory", error.into()))?;
        while let Some(entry) = names.read() {
            let entry = entry.map_err(|error| Reason::Io("read the directory", error.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(Reason::NotEmpty);
            }
        }
        let mut tree = Self { root, dirs: BTreeMap::new(), remembered: 0, max_entries, owner, implied, last: None };
        tree.remember(b"", false)?;
        Ok(tree)
    }

    pub fn contains(&self, path: &[u8]) -> bool {
        self.dirs.contains_key(path)
    }

    /// A descriptor of a directory, which is made where it is missing.
    pub fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Reason> {
        if let Some((last, dir)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(dir));
        }
        let dir = Rc::new(if self.contains(path) { self.find(path, PLACE)? } else { self.make(path)? });
        // The old name's memory serves for the new one.
        let mut name = self.last.take().map(|(name, _)| name).unwrap_or_default();
        name.clear();
        name.extend_from_slice(path);
        self.last = Some((name, Rc::clone(&dir)));
        Ok(dir)
    }

    /// A descriptor of a directory that is known.
    fn find(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Reason> {
        let mut dir: Option<OwnedFd> = None;
        let mut rest = path;
        while rest.len() > MAX_PATH {
            // A name has 255 bytes at most, so there is a slash.
            let cut = rest[..MAX_PATH].iter().rposition(|&byte| byte == b'/').unwrap_or(MAX_PATH);
            dir = Some(open(dir.as_ref().unwrap_or(&self.root), &rest[..cut], PLACE)?);
            rest = &rest[cut + 1..];
        }
        open(dir.as_ref().unwrap_or(&self.root), if rest.is_empty() { b"." } else { rest }, flags)
    }

    /// Makes a directory that is only implied, and those on the way that are missing.
    fn make(&mut self, path: &[u8]) -> Result<OwnedFd, Reason> {
        let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let known = slashes.map(|at| &path[..at]).find(|path| self.contains(path)).unwrap_or_default();
        let mut dir = self.find(known, PLACE)?;
        let mut end = known.len();
        for name in components(&path[known.len()..]) {
            end += name.len() + usize::from(end > 0);
            self.make_one(dir.as_fd(), &path[..end], name, false)?;
            dir = open(&dir, name, PLACE)?;
        }
        Ok(dir)
    }

    /// Makes one directory that is not known. What stands there gives way if it only hides what is below, or if it may.
    fn make_one(&mut self, parent: BorrowedFd<'_>, path: &[u8], name: &[u8], replace: bool) -> Result<(), Reason> {
        // The owner may always enter and write until everything is in it.
        let make = || rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700));
        let made = match make() {
            Err(Errno::EXIST) => {
                if !replace && !is_whiteout(&examine(parent, name)?) {
                    return Err(Reason::NotDirectory);
                }
                rustix::fs::unlinkat(parent, name, AtFlags::empty()).and_then(|()| make()).map(|()| true)
            }
            result => result.map(|()| false),
        };
        // What gave way has hidden what layers below have there.
        let opaque = made.map_err(|error| Reason::Io("make the directory", error.into()))?;
        self.remember(path, opaque)
    }

    fn remember(&mut self, path: &[u8], opaque: bool) -> Result<(), Reason> {
        if self.dirs.len() as u64 > self.max_entries {
            return Err(Reason::TooMany(self.max_entries));
        }
        self.add_remembered(path.len())?;
        let implied = Directory { mode: 0o755, owner: self.owner, mtime: (self.implied, 0), xattrs: vec![] };
        self.dirs.insert(path.to_vec(), (implied, opaque));
        Ok(())
    }

    fn add_remembered(&mut self, bytes: usize) -> Result<(), Reason> {
        self.remembered += bytes as u64;
        if self.remembered > MAX_REMEMBERED { Err(Reason::TooLarge(MAX_REMEMBERED)) } else { Ok(()) }
    }

    /// Makes a directory, if the layer has not made it before, and remembers what it is to become.
    pub fn directory(&mut self, path: &[u8], directory: Directory) -> Result<(), Reason> {
        if !self.contains(path) {
            let (parent, name) = split(path);
            let parent = self.open(parent)?;
            self.make_one(parent.as_fd(), path, name, true)?;
        }
        self.add_remembered(directory.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        if let Some((known, _)) = self.dirs.get_mut(path) {
            *known = directory;
        }
        Ok(())
    }

    /// Makes a directory hide what layers below have there; it is made where it is missing.
    pub fn hide(&mut self, path: &[u8]) -> Result<(), Reason> {
        if !self.contains(path) {
            self.open(path)?;
        }
        if let Some((_, opaque)) = self.dirs.get_mut(path) {
            *opaque = true;
        }
        Ok(())
    }

    /// Frees a name for what comes later in the layer.
    pub fn clear(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<(), Reason> {
        let failed = |error: Errno| Reason::Io("replace what is there", error.into());
        let name = split(path).1;
        if !self.contains(path) {
            return rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(failed);
        }
        self.last = None;
        let below = [path, b"/"].concat();
        let inner = self.dirs.range(below.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&below));
        let all: Vec<Vec<u8>> = std::iter::once(path.to_vec()).chain(inner.cloned()).collect();
        // What is in a directory comes after it, so the deepest are emptied first.
        for path in all.iter().rev() {
            let dir = self.find(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
            for entry in Dir::read_from(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR),
                    result => result,
                }
                .map_err(failed)?;
            }
            if let Some((directory, _)) = self.dirs.remove(path) {
                let xattrs: usize = directory.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
                self.remembered -= (path.len() + xattrs) as u64;
            }
        }
        rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(failed)
    }

    /// Gives directories what the layer says about them, the deepest first: one that may not be entered comes after what
    /// is in it, and making something in one changes its time. Says whether the layer hides all that is below it.
    pub fn settle(mut self) -> Result<bool, UnpackError> {
        self.last = None;
        let opaque = self.dirs.get(&b""[..]).is_some_and(|(_, opaque)| *opaque);
        while let Some((path, (mut directory, opaque))) = self.dirs.pop_last() {
            if path.is_empty() {
                // The layer itself stays one that can be looked into and removed, whatever it says.
                directory.mode |= 0o700;
            }
            let name = if path.is_empty() { &b"."[..] } else { &path };
            self.settle_one(&path, &directory, opaque).map_err(refused(name))?;
        }
        Ok(opaque)
    }

    fn settle_one(&self, path: &[u8], directory: &Directory, opaque: bool) -> Result<(), Reason> {
        let dir = self.find(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        if opaque {
            rustix::fs::fsetxattr(&dir, OPAQUE, b"y", XattrFlags::empty())
                .map_err(|error| Reason::Io("make the directory opaque", error.into()))?;
        }
        finish(&dir, directory, None)
    }
}

/// What a new file is without being told: all that are made for one layer are the same, since directories get what makes
/// a difference only in the end.
#[derive(Clone, Copy)]
pub(super) struct Natural {
    pub owner: (u32, u32),
    /// The permissions that the umask leaves.
    pub mask: u32,
}

impl Natural {
    /// Of a file that was made with all permissions.
    pub fn of(file: &OwnedFd) -> Result<Self, Reason> {
        let stat = rustix::fs::fstat(file).map_err(|error| Reason::Io("examine the file", error.into()))?;
        Ok(Self { owner: (stat.st_uid, stat.st_gid), mask: stat.st_mode & 0o777 })
    }
}

/// Gives a file or directory what its entry says about it; without what it has by itself, if that is known. The order
/// matters: only its owner may set attributes of users, and another owner takes capabilities and set-id bits away.
pub(super) fn finish(file: &OwnedFd, said: &Directory, natural: Option<Natural>) -> Result<(), Reason> {
    set_xattrs(file, &said.xattrs, |name| name.starts_with(b"user."))?;
    if let Some((uid, gid)) = said.owner
        && natural.is_none_or(|natural| natural.owner != (uid, gid))
    {
        rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(|error| Reason::Io("give it to its owner", error.into()))?;
    }
    set_xattrs(file, &said.xattrs, |name| !name.starts_with(b"user."))?;
    if natural.is_none_or(|natural| said.mode & !natural.mask != 0) {
        rustix::fs::fchmod(file, Mode::from_raw_mode(said.mode))
            .map_err(|error| Reason::Io("set the mode", error.into()))?;
    }
    rustix::fs::futimens(file, &times(said.mtime)).map_err(|error| Reason::Io("set the time", error.into()))
}

/// A path without its last name, and this name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn examine(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Reason> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| Reason::Io("examine what is there", error.into()))
}

/// Whether it is what overlayfs takes for a file that was removed.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn open(dir: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Reason> {
    jail::fd::open_beneath(dir, path, flags, Mode::empty()).map_err(|error: io::Error| {
        match Errno::from_io_error(&error) {
            Some(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Reason::NotDirectory,
            _ => Reason::Io("open the directory", error),
        }
    })
}
