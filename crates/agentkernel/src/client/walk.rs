//! Paths of the host that a user names and a sandbox can change: walked one name at a time, and through no symbolic
//! link that the sandbox could have made.

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
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
pub(super) enum WalkError {
    /// The system's word.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A link in a directory that the sandbox can write.
    #[error("'{}' is a symbolic link where the sandbox can change it: name the place that it leads to", name.display())]
    Link {
        /// Its name.
        name: PathBuf,
    },
}

impl From<Errno> for WalkError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl WalkError {
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io(error) => Errno::from_io_error(error),
            Self::Link { .. } => None,
        }
    }
}

/// Directories of the host that a sandbox can write.
pub(super) struct Writable(Vec<(u64, u64)>);

impl Writable {
    pub(super) fn of(dirs: &[PathBuf]) -> Self {
        Self(dirs.iter().filter_map(|dir| rustix::fs::stat(dir).ok()).map(|stat| identity(&stat)).collect())
    }

    /// Whether a directory is one of them, or lies in one.
    fn has(&self, dir: &OwnedFd) -> io::Result<bool> {
        if self.0.is_empty() {
            return Ok(false);
        }
        let mut at = dir.try_clone()?;
        loop {
            let here = identity(&rustix::fs::fstat(&at)?);
            if self.0.contains(&here) {
                return Ok(true);
            }
            at = rustix::fs::openat(&at, "..", DIRECTORY, Mode::empty())?;
            if identity(&rustix::fs::fstat(&at)?) == here {
                return Ok(false);
            }
        }
    }

    /// Opens a directory, for reading.
    pub(super) fn directory(&self, path: &Path) -> Result<OwnedFd, WalkError> {
        let (dir, _) = self.walk(path, None)?;
        Ok(rustix::fs::openat(&dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Opens the directory of an entry and gives its name there; a symbolic link in the last place is followed or not.
    pub(super) fn entry(&self, path: &Path, follow: bool) -> Result<(OwnedFd, OsString), WalkError> {
        self.walk(path, Some(follow)).map(|(dir, name)| (dir, name.unwrap_or_else(|| ".".into())))
    }

    /// With `last` the walk stops before the last name, which is the path's own; or a link's, if it is to be followed.
    fn walk(&self, path: &Path, last: Option<bool>) -> Result<(OwnedFd, Option<OsString>), WalkError> {
        let mut dir = rustix::fs::openat(CWD, ".", DIRECTORY, Mode::empty())?;
        let mut rest: Vec<OsString> = parts(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == "/" || name == ".." {
                dir = rustix::fs::openat(&dir, &name, DIRECTORY, Mode::empty())?;
                continue;
            }
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let stop = rest.is_empty() && last.is_some();
            if stop && last == Some(false) {
                return Ok((dir, Some(name)));
            }
            let found = rustix::fs::openat(&dir, &name, flags, Mode::empty())?;
            match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
                FileType::Symlink if self.has(&dir)? => return Err(WalkError::Link { name: name.into() }),
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    rest.extend(parts(Path::new(&target(found.as_fd())?)));
                }
                _ if stop => return Ok((dir, Some(name))),
                FileType::Directory => dir = found,
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok((dir, None))
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn target(link: impl AsFd) -> io::Result<OsString> {
    Ok(OsString::from_vec(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes()))
}

/// The names of a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir));
    parts.map(Component::as_os_str).map(OsStr::to_owned).rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn links_are_followed_where_nobody_else_can_make_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("work/sub")).unwrap();
        fs::create_dir(at("away")).unwrap();
        fs::write(at("away/file"), "x").unwrap();
        std::os::unix::fs::symlink(at("work"), at("to-work")).unwrap();
        std::os::unix::fs::symlink("../away", at("work/out")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let same = |fd: &OwnedFd, path: &str| {
            identity(&rustix::fs::fstat(fd).unwrap()) == identity(&rustix::fs::stat(at(path)).unwrap())
        };
        let free = Writable::of(&[]);
        let wary = Writable::of(&[at("work")]);
        assert!(same(&free.directory(&at("to-work/out")).unwrap(), "away"));
        assert!(same(&wary.directory(&at("to-work/sub")).unwrap(), "work/sub"));
        assert!(same(&wary.directory(&at("work/sub/../../away")).unwrap(), "away"));
        for path in ["work/out", "to-work/out", "away/../work/sub/../out"] {
            assert!(matches!(wary.directory(&at(path)), Err(WalkError::Link { .. })), "{path}");
        }
        assert!(matches!(wary.entry(&at("work/out/file"), false), Err(WalkError::Link { .. })));
        assert!(matches!(wary.entry(&at("work/out"), true), Err(WalkError::Link { .. })));
        let (dir_fd, name) = wary.entry(&at("work/out"), false).unwrap();
        assert!(same(&dir_fd, "work") && name == "out");
        let (dir_fd, name) = free.entry(&at("work/out/file"), true).unwrap();
        assert!(same(&dir_fd, "away") && name == "file");
        assert_eq!(free.directory(&at("loop")).unwrap_err().errno(), Some(Errno::LOOP));
        assert_eq!(free.directory(&at("away/file/x")).unwrap_err().errno(), Some(Errno::NOTDIR));
    }
}
