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
    /// Nothing needs to be there.
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
            let found = match rustix::fs::openat(&dir, &name, flags, Mode::empty()) {
                Err(Errno::NOENT) if stop => return Ok((dir, Some(name))),
                found => found?,
            };
            let stat = rustix::fs::fstat(&found)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink if self.has(&dir)? => return Err(WalkError::Link { name: name.into() }),
                FileType::Symlink if foreign(&stat, &rustix::fs::fstat(&dir)?) => {
                    return Err(WalkError::Foreign { name: name.into() });
                }
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
        let errno = |path: &str| match free.directory(&at(path)) {
            Err(WalkError::Io(error)) => Errno::from_io_error(&error),
            _ => None,
        };
        assert_eq!((errno("loop"), errno("away/file/x")), (Some(Errno::LOOP), Some(Errno::NOTDIR)));
    }

    #[test]
    fn a_link_may_lead_to_what_is_not_there_yet() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir(at("away")).unwrap();
        std::os::unix::fs::symlink("away/new", at("link")).unwrap();
        std::os::unix::fs::symlink("missing/new", at("nowhere")).unwrap();
        let free = Writable::of(&[]);
        let (found, name) = free.entry(&at("link"), true).unwrap();
        assert_eq!(identity(&rustix::fs::fstat(&found).unwrap()), identity(&rustix::fs::stat(at("away")).unwrap()));
        assert_eq!(name, "new");
        assert!(matches!(free.entry(&at("nowhere"), true), Err(WalkError::Io(_))));
    }

    #[test]
    fn a_strangers_link_in_a_directory_of_everybodys() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can make one
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir(at("tmp")).unwrap();
        fs::write(at("file"), "").unwrap();
        let link = at("tmp/link");
        std::os::unix::fs::symlink("../file", &link).unwrap();
        let follow = || Writable::of(&[]).entry(&link, true);
        for (mode, owner, followed) in
            [(0o1777, 0, true), (0o1777, 4321, false), (0o777, 4321, true), (0o1775, 4321, true)]
        {
            rustix::fs::chmod(at("tmp"), Mode::from_raw_mode(mode)).unwrap();
            std::os::unix::fs::lchown(&link, Some(owner), None).unwrap();
            assert_eq!(matches!(follow(), Err(WalkError::Foreign { .. })), !followed, "{mode:o} {owner}");
            assert_eq!(follow().is_ok(), followed, "{mode:o} {owner}");
        }
    }
}
