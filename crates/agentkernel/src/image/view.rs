//! Hides how layers are read as an overlay of them would show them: the topmost that has a name decides. No link leads out
//! of them.

use super::{ImageError, Images, layer_name, open, root};
use oci::Digest;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::{self, Errno},
};
use std::{collections::BTreeMap, fs::File, io::Read as _};

/// The most links on one way.
const MAX_LINKS: usize = 40;
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Layers, seen from above; or one directory.
#[derive(Debug)]
pub(super) struct View {
    /// The topmost first.
    layers: Vec<OwnedFd>,
}

/// What a name in a view is.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub stat: Stat,
    /// The layers that have it: of a directory all that are merged, of anything else one.
    layers: Vec<usize>,
}

impl Found {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    pub fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }
}

impl Images {
    /// Unpacked layers, given the lowest first.
    pub(super) fn view(&self, layers: &[Digest]) -> Result<View, ImageError> {
        let opened = layers.iter().rev().map(|layer| {
            let name = layer_name(layer);
            open(&self.cache, &name).map_err(|errno| self.failed("open", format!("../cache/{name}"), errno))
        });
        Ok(View { layers: opened.collect::<Result<_, _>>()? })
    }
}

impl View {
    /// Directories, given the topmost first.
    pub fn of(dirs: &[BorrowedFd<'_>]) -> io::Result<Self> {
        let copies = dirs.iter().map(|dir| io::fcntl_dupfd_cloexec(dir, 0));
        Ok(Self { layers: copies.collect::<Result<_, _>>()? })
    }

    /// One directory as it is.
    pub fn directory(dir: OwnedFd) -> Self {
        Self { layers: vec![dir] }
    }

    /// Nothing at all.
    pub fn nothing() -> Self {
        Self { layers: Vec::new() }
    }

    /// What a path is, relative to the root and none of whose parts but the last is a link. `None`: there is none such.
    pub fn look(&self, path: &[u8]) -> io::Result<Option<Found>> {
        let mut found: Option<Found> = None;
        for (index, layer) in self.layers.iter().enumerate() {
            let (stat, hides) = self.peek(layer, path)?;
            match stat {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    found.get_or_insert(Found { stat, layers: Vec::new() }).layers.push(index);
                }
                // A whiteout is nothing, and hides what lies below.
                Some(stat) if found.is_none() && !self.is_whiteout(&stat) => {
                    return Ok(Some(Found { stat, layers: vec![index] }));
                }
                Some(_) => break,
                None => {}
            }
            if hides {
                break;
            }
        }
        Ok(found)
    }

    /// What one layer has at a path, and whether it hides what lies below.
    fn peek(&self, layer: &OwnedFd, path: &[u8]) -> io::Result<(Option<Stat>, bool)> {
        let at = |path: &[u8]| match fs::openat2(
            layer,
            shown(path),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
            RESOLVE,
        ) {
            Ok(fd) => fs::fstat(fd).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        };
        if self.layers.len() == 1 {
            return match at(path) {
                Err(Errno::LOOP | Errno::NOTDIR) => Ok((None, true)),
                found => Ok((found?, true)),
            };
        }
        let mut hides = is_opaque(layer, b"");
        for end in path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at) {
            let prefix = &path[..end];
            match at(prefix)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    hides = hides || is_opaque(layer, prefix);
                }
                Some(_) => return Ok((None, true)),
                None => return Ok((None, hides)),
            }
        }
        let stat = at(path)?;
        let is_dir = stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        Ok((stat, hides || (is_dir && is_opaque(layer, path))))
    }

    /// Of a directory of the host, everything is itself.
    fn is_whiteout(&self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
    }

    /// Follows links, with `last` also in the last place: the real path, and what it is. Of what is not there, the path is
    /// as it would be made.
    pub fn resolve(&self, path: &[u8], last: bool) -> io::Result<(Vec<u8>, Option<Found>)> {
        let parts = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).rev().collect::<Vec<_>>();
        let (mut left, mut real, mut links) = (parts(path), Vec::new(), 0);
        let mut found = self.look(b"")?;
        while let Some(part) = left.pop() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    let end = real.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    real.truncate(end);
                    found = self.look(&real)?;
                    continue;
                }
                _ => {}
            }
            let next = join(&real, &part);
            // Below what is not there, nothing is.
            let there = if found.as_ref().is_some_and(Found::is_dir) { self.look(&next)? } else { None };
            match there {
                Some(link) if link.kind() == FileType::Symlink && (last || !left.iter().all(Vec::is_empty)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = self.link(&next, &link)?;
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    left.extend(parts(&target));
                    found = self.look(&real)?;
                }
                there => {
                    if found.as_ref().is_some_and(|found| !found.is_dir()) {
                        return Err(Errno::NOTDIR);
                    }
                    (real, found) = (next, there);
                }
            }
        }
        Ok((real, found))
    }

    fn layer(&self, found: &Found) -> io::Result<&OwnedFd> {
        found.layers.first().and_then(|index| self.layers.get(*index)).ok_or(Errno::NOENT)
    }

    /// Opens a file or a directory: of one that is merged, the topmost.
    pub fn open(&self, path: &[u8], found: &Found) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
        fs::openat2(self.layer(found)?, shown(path), flags, Mode::empty(), RESOLVE)
    }

    /// Where a link leads.
    pub fn link(&self, path: &[u8], found: &Found) -> io::Result<Vec<u8>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat2(self.layer(found)?, shown(path), flags, Mode::empty(), RESOLVE)?;
        Ok(fs::readlinkat(fd, "", Vec::new())?.into_bytes())
    }

    /// The names in a directory, in the order of their bytes.
    pub fn list(&self, path: &[u8], found: &Found) -> io::Result<Vec<Vec<u8>>> {
        let mut names: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for layer in found.layers.iter().filter_map(|index| self.layers.get(*index)) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let dir = fs::openat2(layer, shown(path), flags, Mode::empty(), RESOLVE)?;
            for entry in fs::Dir::read_from(&dir)? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") || names.contains_key(name.to_bytes()) {
                    continue;
                }
                let gone = entry.file_type() == FileType::CharacterDevice
                    && self.is_whiteout(&fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
                names.insert(name.to_bytes().to_vec(), !gone);
            }
        }
        Ok(names.into_iter().filter_map(|(name, there)| there.then_some(name)).collect())
    }

    /// The beginning of a file, links followed; `None` if there is none.
    pub fn read(&self, path: &[u8], most: u64) -> io::Result<Option<Vec<u8>>> {
        let (real, found) = match self.resolve(path, true) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            resolved => resolved?,
        };
        let Some(found) = found.filter(|found| found.kind() == FileType::RegularFile) else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = File::from(self.open(&real, &found)?).take(most).read_to_end(&mut bytes);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Some(bytes))
    }
}

/// A path and a name in it.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn shown(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Whether overlayfs looks no further down for what is in this directory.
pub(super) fn is_opaque(layer: impl AsFd, path: &[u8]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat2(layer, shown(path), flags, Mode::empty(), RESOLVE).is_ok_and(|dir| root::is_opaque(&dir))
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
