//! Hides how a path is made and opened beneath a sandbox's root, whatever links an image has put there.

use super::{
    super::LaunchError,
    failure::{self, Context as _},
};
use jail::fd::open_in_root;
use rustix::{
    fd::OwnedFd,
    fs::{FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use std::path::{Component, Path, PathBuf};

const WALL: &str = "mounts";

/// The sandbox's root while it is built.
#[derive(Debug)]
pub struct Root {
    /// Its directory.
    pub fd: OwnedFd,
    /// Who gets the directories that are made: `None` is the one who makes them.
    pub owner: Option<(u32, u32)>,
    /// What helps where something else is in a directory's place; empty if nothing is known.
    pub hint: String,
}

impl Root {
    /// Opens a directory, and makes it and its parents first where they are missing.
    ///
    /// # Errors
    /// If a part of the path is no directory, or cannot be made.
    pub fn directory(&self, path: impl AsRef<Path>, mode: u32) -> Result<OwnedFd, LaunchError> {
        self.directory_of(self.owner, path.as_ref(), mode)
    }

    /// The same, of which what is made is root's, as engines have it of what an image says.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn roots_directory(&self, path: &Path) -> Result<OwnedFd, LaunchError> {
        self.directory_of(None, path, 0o755)
    }

    fn directory_of(&self, owner: Option<(u32, u32)>, path: &Path, mode: u32) -> Result<OwnedFd, LaunchError> {
        let tried = || format!("Cannot make the directory {} in the sandbox", path.display());
        match open_in_root(&self.fd, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => return Ok(fd),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).wall(WALL, tried(), &self.hint),
        }
        // Every prefix is resolved from the root again, because any part may be a link in the image.
        let mut prefix = PathBuf::from("/");
        let mut parent = open_in_root(&self.fd, &prefix, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).wall(
            WALL,
            tried(),
            &self.hint,
        )?;
        for component in path.components() {
            let name = match component {
                Component::RootDir => continue,
                Component::Normal(name) => name,
                _ => return Err(failure::new(WALL, format!("{} is no plain absolute path", path.display()), "")),
            };
            prefix.push(name);
            // The mode is meant as it is said, and of the last alone: /var/tmp is everybody's, and /var is not.
            let mode = if prefix == path { mode } else { 0o755 };
            let umask = rustix::process::umask(Mode::empty());
            let made = rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode));
            rustix::process::umask(umask);
            let made = match made {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error).wall(WALL, tried(), &self.hint),
            };
            parent = open_in_root(&self.fd, &prefix, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).wall(
                WALL,
                tried(),
                &self.hint,
            )?;
            if let (true, Some((uid, gid))) = (made, owner) {
                let flags = rustix::fs::AtFlags::EMPTY_PATH;
                rustix::fs::chownat(&parent, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags).wall(
                    WALL,
                    tried(),
                    "",
                )?;
            }
        }
        Ok(parent)
    }

    /// Opens a directory right below the root, and makes it where it is missing: for what init itself relies on, which
    /// no link may lead elsewhere.
    ///
    /// # Errors
    /// If it is no directory, or cannot be made.
    pub fn own(&self, name: &str, mode: u32) -> Result<OwnedFd, LaunchError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(error) => return Err(error).wall(WALL, format_args!("Cannot make /{name} in the sandbox"), ""),
        }
        let hint = if self.hint.is_empty() { "It must be a directory, or missing" } else { &self.hint };
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).wall(
            WALL,
            format_args!("Cannot open /{name} of the image"),
            hint,
        )
    }

    /// Opens what a mount is to cover: a directory for a directory, an empty file for anything else. Made where it is
    /// missing.
    ///
    /// # Errors
    /// As [`directory`](Self::directory); if what is there is of the other kind; for the root and the kernel's own
    /// file systems.
    pub fn target(&self, path: &Path, source: &OwnedFd) -> Result<OwnedFd, LaunchError> {
        if path.parent().is_none() || ["/dev", "/proc", "/sys"].iter().any(|kernel| path.starts_with(kernel)) {
            let cause = format!("Nothing can be mounted at {}", path.display());
            return Err(failure::new(
                WALL,
                cause,
                "Choose another place: /, /dev, /proc and /sys are the sandbox's own",
            ));
        }
        let tried = || format!("Cannot make the mount point {} in the sandbox", path.display());
        let stat = rustix::fs::fstat(source).wall(WALL, tried(), "")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let target = self.directory(path, 0o755)?;
            let place = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
            if place(&target).wall(WALL, tried(), "")? == place(&self.fd).wall(WALL, tried(), "")? {
                let cause = format!("Nothing can be mounted at {}: it leads to the root", path.display());
                return Err(failure::new(WALL, cause, "Choose another place"));
            }
            return Ok(target);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failure::new(WALL, format!("{} is no plain absolute path", path.display()), ""));
        };
        let parent = self.directory(parent, 0o755)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).wall(WALL, tried(), ""),
        }
        let target = open_in_root(&self.fd, path, OFlags::PATH, Mode::empty()).wall(WALL, tried(), "")?;
        let stat = rustix::fs::fstat(&target).wall(WALL, tried(), "")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(failure::new(
                WALL,
                format!("{} is a directory in the sandbox, its source is none", path.display()),
                "",
            ));
        }
        Ok(target)
    }
}
