//! Paths of the host that a user names and a sandbox can change: walked one name at a time, and by no symbolic link that
//! the sandbox could have made to where it could not go itself.

use rustix::{
    fd::{AsFd, AsRawFd as _, OwnedFd},
    fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC, Stat},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

/// Symbolic links in one path, as many as the kernel follows.
const MOST_LINKS: u32 = 40;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    /// The system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A link in a directory that the sandbox can write.
    #[error("'{}' is a symbolic link where the sandbox can change it: name the place that it leads to", name.display())]
    Link {
        /// Its name.
        name: PathBuf,
    },
    /// A link in such a directory that leads out of it.
    #[error("a symbolic link in '{}', where sandboxes can make one, leads out of it to '{}'", place.display(), real.display())]
    Out {
        /// The directory.
        place: PathBuf,
        /// Where it leads.
        real: PathBuf,
    },
    /// A link where everybody can make one, and somebody else has. The kernel does not follow those either
    /// (`fs.protected_symlinks`).
    #[error("'{}' is another user's symbolic link where everybody can make one: name the place that it leads to", name.display())]
    Foreign {
        /// Its name.
        name: PathBuf,
    },
}

impl From<Errno> for WalkError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// What becomes of symbolic links that a sandbox could have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// None is followed.
    Refused,
    /// They may lead anywhere in the directory that the sandbox can write, and not out of it.
    Inside,
    /// They are followed: whoever asks wants to know whether the path goes through there.
    Followed,
}

/// Directories of the host that a sandbox can write.
pub(crate) struct Writable {
    places: Vec<(PathBuf, (u64, u64))>,
    links: Links,
}

/// What a path was walked to: an entry of a directory, or `.` for that itself. Nothing needs to be there.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The directory.
    pub(crate) dir: OwnedFd,
    /// The name in it.
    pub(crate) name: OsString,
    /// Whether the kernel itself follows it, to what has no name: an open file of a process.
    is_open_file: bool,
    /// Whether a name in a directory that the sandbox can write decides where the path leads.
    pub(crate) passes: bool,
}

impl Entry {
    /// Its path without links.
    ///
    /// # Errors
    /// As readlink(2).
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        let dir = rustix::fs::readlink(format!("/proc/self/fd/{}", self.dir.as_raw_fd()), Vec::new())?;
        let dir = PathBuf::from(OsString::from_vec(dir.into_bytes()));
        Ok(if self.name == "." { dir } else { dir.join(&self.name) })
    }

    /// What it is; a symbolic link is one.
    ///
    /// # Errors
    /// As stat(2).
    pub(crate) fn kind(&self) -> io::Result<FileType> {
        let flags = if self.is_open_file { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        Ok(FileType::from_raw_mode(rustix::fs::statat(&self.dir, &self.name, flags)?.st_mode))
    }

    /// Where it leads, if it is a symbolic link.
    ///
    /// # Errors
    /// As readlink(2).
    pub(crate) fn target(&self) -> io::Result<OsString> {
        Ok(OsString::from_vec(rustix::fs::readlinkat(&self.dir, &self.name, Vec::new())?.into_bytes()))
    }

    /// Opens it for reading, and waits for nobody.
    ///
    /// # Errors
    /// As open(2).
    pub(crate) fn open(&self) -> io::Result<OwnedFd> {
        let links = if self.is_open_file { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | links;
        Ok(rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty())?)
    }
}

impl Writable {
    pub(crate) fn of(dirs: &[PathBuf], links: Links) -> Self {
        let known = |dir: &PathBuf| Some((dir.clone(), identity(&rustix::fs::stat(dir).ok()?)));
        Self { places: dirs.iter().filter_map(known).collect(), links }
    }

    /// Which of them a directory is, or lies in.
    fn around(&self, dir: &OwnedFd) -> io::Result<BTreeSet<usize>> {
        let mut found = BTreeSet::new();
        if self.places.is_empty() {
            return Ok(found);
        }
        let mut at = dir.try_clone()?;
        loop {
            let here = identity(&rustix::fs::fstat(&at)?);
            found.extend(self.places.iter().enumerate().filter(|(_, (_, id))| *id == here).map(|(index, _)| index));
            at = rustix::fs::openat(&at, "..", DIRECTORY, Mode::empty())?;
            if identity(&rustix::fs::fstat(&at)?) == here {
                return Ok(found);
            }
        }
    }

    /// Opens a directory, for reading.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, WalkError> {
        let entry = self.walk(path, None)?;
        Ok(rustix::fs::openat(&entry.dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Opens the directory of an entry and gives its name there; a symbolic link in the last place is followed or not.
    pub(crate) fn entry(&self, path: &Path, follow: bool) -> Result<Entry, WalkError> {
        self.walk(path, Some(follow))
    }

    /// With `last` the walk stops before the last name, which is the path's own; or a link's, if it is to be followed.
    fn walk(&self, path: &Path, last: Option<bool>) -> Result<Entry, WalkError> {
        let dir = rustix::fs::openat(CWD, ".", DIRECTORY, Mode::empty())?;
        let mut at = Entry { dir, name: ".".into(), is_open_file: false, passes: false };
        let mut rest: Vec<OsString> = parts(path);
        let (mut links, mut led) = (0, BTreeSet::new());
        while let Some(name) = rest.pop() {
            if name == "/" || name == ".." {
                at.dir = rustix::fs::openat(&at.dir, &name, DIRECTORY, Mode::empty())?;
                continue;
            }
            let around = self.around(&at.dir)?;
            at.passes |= !around.is_empty();
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let stop = rest.is_empty() && last.is_some();
            if stop && last == Some(false) {
                return self.settle(Entry { name, ..at }, &led, None);
            }
            let found = match rustix::fs::openat(&at.dir, &name, flags, Mode::empty()) {
                Err(Errno::NOENT) if stop => return self.settle(Entry { name, ..at }, &led, None),
                found => found?,
            };
            let stat = rustix::fs::fstat(&found)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if self.links == Links::Refused && !around.is_empty() => {
                    return Err(WalkError::Link { name: name.into() });
                }
                FileType::Symlink if foreign(&stat, &rustix::fs::fstat(&at.dir)?) => {
                    return Err(WalkError::Foreign { name: name.into() });
                }
                // A copy replaces what has a name.
                FileType::Symlink if self.links != Links::Refused && is_open_file(&at.dir, &name)? => {
                    if stop {
                        return self.settle(Entry { name, is_open_file: true, ..at }, &led, None);
                    }
                    at.dir = rustix::fs::openat(&at.dir, &name, DIRECTORY, Mode::empty())?;
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    led.extend(around);
                    rest.extend(parts(Path::new(&target(found.as_fd())?)));
                }
                FileType::Directory if stop => return self.settle(Entry { name, ..at }, &led, Some(&found)),
                _ if stop => return self.settle(Entry { name, ..at }, &led, None),
                FileType::Directory => at.dir = found,
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        self.settle(at, &led, None)
    }

    /// The end of a walk, if no link led out of a place that it lies in. `own` is what is there if that is a directory.
    fn settle(&self, end: Entry, led: &BTreeSet<usize>, own: Option<&OwnedFd>) -> Result<Entry, WalkError> {
        if self.links == Links::Inside && !led.is_empty() {
            let around = self.around(own.unwrap_or(&end.dir))?;
            if let Some(&left) = led.difference(&around).next() {
                let place = self.places.get(left).map(|(path, _)| path.clone()).unwrap_or_default();
                return Err(WalkError::Out { place, real: end.path()? });
            }
        }
        Ok(end)
    }
}

/// Whether a link is the kernel's own to what a process has open, which may have no name.
fn is_open_file(dir: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    let is_number = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    Ok(is_number && rustix::fs::fstatfs(dir)?.f_type == PROC_SUPER_MAGIC)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Whether a link is neither ours nor the directory's owner's, in a directory where everybody can make one.
fn foreign(link: &Stat, dir: &Stat) -> bool {
    let open = Mode::SVTX | Mode::WOTH;
    Mode::from_raw_mode(dir.st_mode).contains(open)
        && link.st_uid != rustix::process::geteuid().as_raw()
        && link.st_uid != dir.st_uid
}

fn target(link: impl AsFd) -> io::Result<OsString> {
    Ok(OsString::from_vec(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes()))
}

/// The names of a path, the last one first.
pub(crate) fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    parts.map(Component::as_os_str).map(OsStr::to_owned).rev().collect()
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
