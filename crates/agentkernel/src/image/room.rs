//! How much room images take, and whether that is as much as they may.

use super::{
    ImageError, Images,
    build::{CACHE, LENT},
    names, open,
};
use crate::Lent;
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use serde::Serialize;
use std::{collections::BTreeSet, ffi::CString, path::Path};

impl Images {
    /// The bytes that all contents take on disk: as they travel, also what has come in part, and unpacked, with what builds
    /// keep beside it.
    ///
    /// # Errors
    /// If something can't be read.
    pub fn usage(&self) -> Result<Usage, ImageError> {
        let mut usage = Usage::default();
        for (dir, place) in [(&self.blobs, "blobs"), (&self.work, "work")] {
            usage.travelling += tree_usage(dir).map_err(|errno| self.failed("read", place, errno))?;
        }
        let is_ours = |name: &&String| ["layer-", CACHE, LENT].iter().any(|ours| name.starts_with(ours));
        for name in names(&self.cache, Path::new("cache"))?.iter().filter(is_ours) {
            let failed = |errno: Errno| self.failed("read", Path::new("../cache").join(name), errno);
            usage.unpacked += match open(&self.cache, name).and_then(|layer| tree_usage(&layer)) {
                // Given its name, or given up, just now.
                Err(Errno::NOENT) => 0,
                bytes => bytes.map_err(failed)?,
            };
        }
        Ok(usage)
    }

    /// How many bytes there may be; `None`: as many as there is room for.
    #[must_use]
    pub fn quota(&self) -> Option<u64> {
        self.quota
    }

    /// Refuses so many more bytes than there are, if that would be more than there may be.
    pub(super) fn check_room(&self, more: u64) -> Result<(), ImageError> {
        let Some(quota) = self.quota else { return Ok(()) };
        within(quota, self.usage()?.total().saturating_add(more))
    }

    /// The room that a command of a build has which is lent this; `None`: as much as there is.
    pub(super) fn room(&self, lent: &[Lent]) -> Result<Option<Room>, ImageError> {
        let Some(quota) = self.quota else { return Ok(None) };
        let (mut others, mut caches) = (self.usage()?.total(), Vec::new());
        for name in lent.iter().filter_map(|lent| lent.source.split('/').next()).filter(|name| name.starts_with(CACHE))
        {
            let cache = open(&self.cache, name);
            let cache = cache.map_err(|errno| self.failed("open", Path::new("../cache").join(name), errno))?;
            others = others.saturating_sub(tree_usage(&cache).unwrap_or_default());
            caches.push(cache);
        }
        Ok(Some(Room { quota, others, caches }))
    }
}

/// How many bytes contents take on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// As they travel.
    pub travelling: u64,
    /// Unpacked.
    pub unpacked: u64,
}

impl Usage {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.travelling.saturating_add(self.unpacked)
    }
}

/// The room that a command of a build has.
#[derive(Debug)]
pub struct Room {
    quota: u64,
    /// What all takes that the command can't write to.
    others: u64,
    /// The caches that it writes to.
    caches: Vec<OwnedFd>,
}

impl Room {
    /// Refuses what a command has written, if with that there is more than there may be.
    ///
    /// # Errors
    /// [`ImageError::Quota`]
    pub fn check(&self, written: &OwnedFd) -> Result<(), ImageError> {
        // What can't be read, as it changes just now, is seen the next time.
        let bytes = |tree: &OwnedFd| tree_usage(tree).unwrap_or_default();
        within(self.quota, self.caches.iter().chain([written]).map(bytes).fold(self.others, u64::saturating_add))
    }
}

fn within(quota: u64, wanted: u64) -> Result<(), ImageError> {
    if wanted > quota { Err(ImageError::Quota { quota, wanted }) } else { Ok(()) }
}

/// The bytes that a tree takes on disk; of a file with several names once. What is too deep to be named is left out, and what
/// vanishes meanwhile.
fn tree_usage(root: &OwnedFd) -> rustix::io::Result<u64> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let (mut bytes, mut seen, mut left) = (0, BTreeSet::new(), vec![CString::from(c".")]);
    while let Some(path) = left.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match fs::openat2(root, &path, flags, Mode::empty(), resolve) {
            Ok(dir) => dir,
            Err(Errno::ACCESS | Errno::NAMETOOLONG | Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        for entry in fs::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                let joined = [path.to_bytes(), b"/", name.to_bytes()].concat();
                left.extend(CString::new(joined));
            } else if stat.st_nlink > 1 && !seen.insert(stat.st_ino) {
                continue;
            }
            bytes += stat.st_blocks as u64 * 512;
        }
    }
    Ok(bytes)
}
