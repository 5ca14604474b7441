//! Hides where an agent keeps, for one project, what it writes for its next run, and how files get there beside it: a
//! sandbox may write there at any time, so all is reached by descriptors, through no link.

use super::{WorkspaceError, tree};
use crate::store::{self, Store, durable};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};
use wire::OsBytes;

/// Has the directories of one agent, each below a directory of its name.
const HOME: &str = "home";
const PROJECT: &str = "project";
/// The most bytes that are looked at of a file of the agent's.
const LONGEST: u64 = 1 << 20;
const SEED: &str = "seed";
const EMPTY: &str = "nothing";
/// Has what stands in the place of files of the user's.
const COPIES: &str = "copies";
/// The most entries of a directory that lies in the way of a file, or of another kind of directory, which is removed then.
const MOST: u64 = 100_000;
/// How often that is done before a sandbox that runs, and puts it there again, has its way.
const ATTEMPTS: u32 = 3;
/// The time of modification of a mount point that was made here, in seconds.
const MARK: i64 = archive::PLACEHOLDER;
/// Nothing on the way may be a link.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// What one agent keeps for one project.
#[derive(Debug)]
pub struct AgentHome {
    agent: String,
    path: PathBuf,
    dir: OwnedFd,
    home: OwnedFd,
    /// Whose the project is, if that is somebody else than the caller: what is kept is his too.
    owner: Option<(u32, u32)>,
    seed: Vec<u8>,
}

impl AgentHome {
    /// What this agent keeps for the project in this directory.
    ///
    /// # Errors
    /// If the state can't be used.
    pub fn open(store: &Store, project: &Path, agent: &str) -> Result<Self, WorkspaceError> {
        let (all, path) = store.kept_by_agents(&store::key(project))?;
        if durable::read::<OsBytes>(all.as_fd(), &path, PROJECT)?.is_none() {
            durable::write(all.as_fd(), &path, PROJECT, &OsBytes::from(project))?;
        }
        let dir = store::subdirectory(all.as_fd(), &path, agent)?;
        let path = path.join(agent);
        let seed = seed(&dir, &path)?;
        let home = store::subdirectory(dir.as_fd(), &path, HOME)?;
        let path = path.join(HOME);
        let us = rustix::process::geteuid().as_raw();
        let owner = fs::stat(project).ok().map(|stat| (stat.st_uid, stat.st_gid));
        let owner = owner.filter(|(uid, _)| us == 0 && *uid != 0);
        Ok(Self { agent: agent.to_owned(), path, dir, home, owner, seed })
    }

    /// What stands for a secret of this name in every sandbox of this agent in this project: what it keeps may have it in it.
    #[must_use]
    pub fn placeholder(&self, name: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(&self.seed);
        hash.update(name);
        let digits: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("agentkernel-{name}-{digits}")
    }

    /// A directory below the home directory, which is there from now on: its path on the host.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn directory(&self, below: &Path) -> Result<PathBuf, WorkspaceError> {
        self.make(below)?;
        Ok(self.path.join(below))
    }

    /// A file that says nothing, and that nobody may write to: its path on the host.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn empty(&self) -> Result<PathBuf, WorkspaceError> {
        let path = self.path.with_file_name(EMPTY);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let said = archive::SAYS_NOTHING.as_bytes();
        let made = fs::openat(&self.dir, EMPTY, flags, Mode::RUSR | Mode::RGRP | Mode::ROTH);
        let mark = Timespec { tv_sec: MARK, tv_nsec: 0 };
        let times = Timestamps { last_access: mark, last_modification: mark };
        let written = made.and_then(|file| {
            rustix::io::pwrite(&file, said, 0)?;
            fs::futimens(&file, &times)
        });
        match written {
            // Its owner may not write to it either.
            Ok(_) | Err(Errno::ACCESS) => Ok(path),
            Err(errno) => Err(WorkspaceError::Io { action: "make", path, source: errno.into() }),
        }
    }

    /// The text of a file; `None`: there is none that can be read, or it is longer than any of ours.
    #[must_use]
    pub fn read(&self, below: &Path) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat2(&self.home, below, flags, Mode::empty(), BENEATH).ok()?;
        let mut text = String::new();
        File::from(file).take(LONGEST + 1).read_to_string(&mut text).ok()?;
        Some(text).filter(|text| text.len() as u64 <= LONGEST)
    }

    /// Whether there is a file that is not empty.
    #[must_use]
    pub fn has(&self, below: &Path) -> bool {
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        self.kind(below).is_some_and(|stat| is_file(&stat) && stat.st_size > 0)
    }

    /// What is there, which may be a link itself.
    fn kind(&self, below: &Path) -> Option<Stat> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat2(&self.home, below, flags, Mode::empty(), BENEATH).and_then(fs::fstat).ok()
    }

    /// Whether there is anything that says something: no empty file, nor a directory without anything but these.
    #[must_use]
    pub fn says(&self, below: &Path, but: &[PathBuf]) -> bool {
        let counts = |name: &Vec<u8>| !but.contains(&below.join(OsStr::from_bytes(name)));
        match tree::open(self.home.as_fd(), below.as_os_str().as_bytes(), false) {
            Ok(dir) => tree::list(dir.as_fd()).map_or(true, |names| names.iter().any(counts)),
            Err(Errno::ACCESS | Errno::LOOP) => true,
            // A link says what it leads to.
            Err(Errno::NOTDIR) => self
                .kind(below)
                .is_none_or(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_size > 0),
            Err(_) => false,
        }
    }

    /// Writes a file, in one step, in the place of whatever is there.
    ///
    /// # Errors
    /// If it can't be written; what was there before is there still.
    pub fn write(&self, below: &Path, text: &str) -> Result<(), WorkspaceError> {
        let Some(name) = below.file_name() else {
            return Err(self.failed("write", below, io::ErrorKind::InvalidInput.into()));
        };
        let parent = self.make(below.parent().unwrap_or(Path::new("")))?;
        self.write_in(&parent, name, below, text)
    }

    /// Removes a file that has something in it which stands for one of these secrets: what logged in once and does not now.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn withdraw(&self, below: &Path, names: &[String]) -> Result<(), WorkspaceError> {
        // What the agent has made of it may be no text; then it is the agent's own.
        let Some(text) = self.read(below) else { return Ok(()) };
        let stands_for = |name: &String| {
            let placeholder = self.placeholder(name);
            text.contains(&placeholder) || text.contains(&URL_SAFE_NO_PAD.encode(&placeholder))
        };
        if !names.iter().any(stands_for) {
            return Ok(());
        }
        let failed = |errno: Errno| self.failed("remove", below, errno.into());
        let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else { return Ok(()) };
        let parent = self.make(parent)?;
        fs::unlinkat(&parent, name, AtFlags::empty()).map_err(failed)
    }

    /// Writes a file that the sandbox gets in the place of one of the user's, where it cannot write: its path on the host.
    ///
    /// # Errors
    /// If it can't be written; what was there before is there still.
    pub fn copy(&self, below: &Path, text: &str) -> Result<PathBuf, WorkspaceError> {
        let path = self.path.with_file_name(COPIES);
        let copies = store::subdirectory(self.dir.as_fd(), &path, COPIES)?;
        let name = escaped(below);
        let same = fs::openat(&copies, &name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .is_ok_and(|copy| io::read_to_string(File::from(copy)).is_ok_and(|copied| copied == text));
        if same {
            return Ok(path.join(name));
        }
        self.write_in(&copies, &name, below, text)?;
        Ok(path.join(name))
    }

    fn write_in(&self, parent: &OwnedFd, name: &OsStr, below: &Path, text: &str) -> Result<(), WorkspaceError> {
        let failed = |error: io::Error| self.failed("write", below, error);
        let temporary = temporary().map_err(failed)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || {
            let mut file = File::from(fs::openat(parent, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
            self.give(&file)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            for _ in 0..ATTEMPTS {
                match fs::renameat(parent, &temporary, parent, name) {
                    Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => clear(parent, name)?,
                    renamed => return Ok(renamed?),
                }
            }
            Err(Errno::ISDIR.into())
        };
        write().map_err(|error: io::Error| {
            // The first error counts.
            let _ = fs::unlinkat(parent, &temporary, AtFlags::empty());
            failed(error)
        })
    }

    /// Makes the place where something of the user's is mounted, read-only: an empty file, or an empty directory, unless there is
    /// one. What is there of another kind is replaced.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn cover(&self, below: &Path, directory: bool) -> Result<(), WorkspaceError> {
        let failed = |error: io::Error| self.failed("make a mount point of", below, error);
        let Some(name) = below.file_name() else { return Err(failed(io::ErrorKind::InvalidInput.into())) };
        let parent = self.make(below.parent().unwrap_or(Path::new("")))?;
        let wanted = if directory { FileType::Directory } else { FileType::RegularFile };
        let there = || fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        // A link would lead elsewhere in the sandbox.
        if let Ok(stat) = there()
            && FileType::from_raw_mode(stat.st_mode) != wanted
        {
            clear(&parent, name).map_err(failed)?;
        }
        let made = match directory {
            true => fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)),
            false => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
            }
        };
        match made {
            Ok(()) => {
                let own = fs::openat2(
                    &parent,
                    name,
                    OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                    BENEATH,
                );
                own.map_err(io::Error::from).and_then(|own| self.give(&own)).map_err(failed)?;
                let mark = Timespec { tv_sec: MARK, tv_nsec: 0 };
                let times = Timestamps { last_access: mark, last_modification: mark };
                fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed(errno.into()))
            }
            Err(Errno::EXIST) => {
                let kind = there().map(|stat| FileType::from_raw_mode(stat.st_mode));
                match kind.map_err(|errno| failed(errno.into()))? == wanted {
                    true => Ok(()),
                    false => Err(failed(io::ErrorKind::AlreadyExists.into())),
                }
            }
            Err(errno) => Err(failed(errno.into())),
        }
    }

    /// Takes the place away again, if it is still as it was made: the user has nothing to mount there any more.
    pub fn uncover(&self, below: &Path) {
        let Some(name) = below.file_name() else { return };
        let parent = below.parent().filter(|parent| !parent.as_os_str().is_empty());
        let Ok(parent) = self.open_dir(parent.unwrap_or(Path::new("."))) else { return };
        let Ok(stat) = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return };
        // What is in use in another sandbox would be lost there, and is only what the user has given up; what can't be
        // removed is empty.
        let _ = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_size == 0 && stat.st_mtime == MARK => {
                fs::unlinkat(&parent, name, AtFlags::empty())
            }
            FileType::Directory if stat.st_mtime == MARK => fs::unlinkat(&parent, name, AtFlags::REMOVEDIR),
            _ => Ok(()),
        };
    }

    /// Forgets all of it.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn forget(&self) -> Result<(), WorkspaceError> {
        let failed =
            |errno: Errno| WorkspaceError::Io { action: "empty", path: self.path.clone(), source: errno.into() };
        store::empty_tree(self.home.as_fd()).map_err(failed)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        tree::list(self.home.as_fd()).is_ok_and(|names| names.is_empty())
    }

    /// Opens a directory below the home directory, and makes it and those above it, in the place of whatever else is there, of
    /// whatever mode.
    fn make(&self, below: &Path) -> Result<OwnedFd, WorkspaceError> {
        let failed = |error: io::Error| self.failed("make", below, error);
        let mut dir = self.home.try_clone().map_err(failed)?;
        for name in below {
            dir = self.make_one(&dir, name).map_err(failed)?;
        }
        Ok(dir)
    }

    fn make_one(&self, parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
        for _ in 0..ATTEMPTS {
            let made = match fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(errno) => return Err(errno.into()),
            };
            match tree::open(parent.as_fd(), name.as_bytes(), true) {
                Ok(dir) => {
                    if made {
                        self.give(&dir)?;
                    }
                    return Ok(dir);
                }
                Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => clear(parent, name)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::NOTDIR.into())
    }

    fn open_dir(&self, below: &Path) -> Result<OwnedFd, Errno> {
        fs::openat2(&self.home, below, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), BENEATH)
    }

    fn give(&self, fd: &impl rustix::fd::AsFd) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)?)
    }

    fn failed(&self, action: &'static str, below: &Path, source: io::Error) -> WorkspaceError {
        WorkspaceError::Kept { action, path: self.path.join(below), agent: self.agent.clone(), source }
    }
}

/// Makes room: removes whatever has this name, if that is not too much.
fn clear(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match tree::remove_small(dir.as_fd(), name.as_bytes(), MOST) {
        Err(Errno::TOOBIG) => Err(io::Error::other(format!("there is a directory with more than {MOST} entries"))),
        Err(errno) => Err(errno.into()),
        Ok(()) => Ok(()),
    }
}

/// A path as the name of one file.
fn escaped(path: &Path) -> std::ffi::OsString {
    // Longer names there are not.
    if path.as_os_str().len() > 80 {
        return Sha256::digest(path.as_os_str().as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into();
    }
    let bytes = path.as_os_str().as_bytes().iter().flat_map(|byte| match byte {
        b'/' => b"%2F".to_vec(),
        b'%' => b"%25".to_vec(),
        byte => vec![*byte],
    });
    std::os::unix::ffi::OsStringExt::from_vec(bytes.collect())
}

/// What placeholders are made from: at random, once.
fn seed(dir: &OwnedFd, path: &Path) -> Result<Vec<u8>, WorkspaceError> {
    let read = || durable::read::<OsBytes>(dir.as_fd(), path, SEED);
    if let Some(OsBytes(seed)) = read()?.filter(|OsBytes(seed)| seed.len() == 64) {
        return Ok(seed);
    }
    let random = |source| WorkspaceError::Io { action: "make", path: path.join(SEED), source };
    let seed = digits(32).map_err(random)?.into_bytes();
    durable::write(dir.as_fd(), path, SEED, &OsBytes(seed))?;
    // Of two that are made at once the later one counts, for both if they look now.
    Ok(read()?.map(|OsBytes(seed)| seed).unwrap_or_default())
}

fn temporary() -> io::Result<std::ffi::OsString> {
    Ok(OsStr::from_bytes(format!(".agentkernel-{}", digits(8)?).as_bytes()).to_owned())
}

fn digits(bytes: usize) -> io::Result<String> {
    let mut random = vec![0; bytes];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
#[path = "home_tests.rs"]
mod tests;
