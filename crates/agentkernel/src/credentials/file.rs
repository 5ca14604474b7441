//! Hides how such a file is read and replaced by whoever holds it: by descriptors, whole or not at all, and with room
//! that was there before.

use super::Document;
use egress::Secret;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// The longest file.
const MAX_LEN: u64 = 1 << 20;
/// How much longer it may have become when it is written.
const ROOM: usize = 64 << 10;

/// A file with a login could not be read or replaced.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused it.
    #[error("Cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There are links on the way to it, which could lead elsewhere by now.
    #[error("{} is reached by a symbolic link", .0.display())]
    Link(PathBuf),
    /// It is not the user's own.
    #[error("{} belongs to user {owner}", path.display())]
    Owner {
        /// The file, or its directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Everybody may replace it.
    #[error("{} can be written to by everybody", .0.display())]
    Open(PathBuf),
    /// It is no file of JSON.
    #[error("{} is no file of JSON", .0.display())]
    Shape(PathBuf),
}

/// A file that nobody else of ours renews meanwhile. Others may write to it, as the program whose file it is does.
pub struct Held {
    path: PathBuf,
    /// Its directory, which is locked.
    dir: OwnedFd,
    name: OsString,
    /// Where it is written to, with room for it.
    reserved: Option<File>,
}

impl Held {
    /// Holds a file, by a path without links in it; `None`: somebody else does.
    ///
    /// # Errors
    /// [`FileError`]; there may be no such file.
    pub fn try_hold(path: &Path) -> Result<Option<Self>, FileError> {
        let (dir, name) = open_dir(path)?;
        match fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(io("lock the directory of", path, errno)),
        }
        Ok(Some(Self { path: path.into(), dir, name, reserved: None }))
    }

    /// What is in it now.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(&self) -> Result<Document, FileError> {
        Ok(read_in(&self.dir, &self.name, &self.path)?.0)
    }

    /// Sees to it that there is room to replace it.
    ///
    /// # Errors
    /// [`FileError::Io`], if there is none.
    pub fn reserve(&mut self) -> Result<(), FileError> {
        let length = self.read()?.written().len() + ROOM;
        let temporary = self.temporary();
        let reserve = || {
            match fs::unlinkat(&self.dir, &temporary, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(fs::openat(&self.dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(&vec![0; length])?;
            fs::fsync(&file)?;
            Ok(file)
        };
        match reserve() {
            Ok(file) => {
                self.reserved = Some(file);
                Ok(())
            }
            Err(source) => {
                let _ = fs::unlinkat(&self.dir, &temporary, AtFlags::empty());
                Err(FileError::Io { verb: "make room for", path: self.path.clone(), source })
            }
        }
    }

    /// Replaces it. Whatever happens meanwhile, it is the one or the other.
    ///
    /// # Errors
    /// [`FileError`]; it is what it was then, and this may be tried again.
    pub fn write(&mut self, document: &Document) -> Result<(), FileError> {
        if self.reserved.is_none() {
            self.reserve()?;
        }
        let (_, stat) = read_in(&self.dir, &self.name, &self.path)?;
        let temporary = self.temporary();
        let Some(file) = &mut self.reserved else { return Ok(()) };
        let mut write = || -> io::Result<()> {
            file.rewind()?;
            file.write_all(document.written().as_bytes())?;
            fs::ftruncate(file.as_fd(), document.written().len() as u64)?;
            let mut mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            // A group that the user is not in any more gets nothing.
            if fs::fchown(file.as_fd(), None, Some(Gid::from_raw(stat.st_gid))).is_err() {
                mode -= Mode::RWXG;
            }
            fs::fchmod(file.as_fd(), mode)?;
            fs::fsync(file.as_fd())?;
            Ok(fs::renameat(&self.dir, &temporary, &self.dir, &self.name)?)
        };
        write().map_err(|error| io("write", &self.path, error))?;
        self.reserved = None;
        // It has been replaced, whether that is on the disk by now or not.
        let _ = fs::fsync(&self.dir);
        Ok(())
    }

    fn temporary(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(".agentkernel");
        name
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.reserved.take().is_some() {
            let _ = fs::unlinkat(&self.dir, self.temporary(), AtFlags::empty());
        }
    }
}

impl Document {
    /// What is in a file, by a path without links in it.
    ///
    /// # Errors
    /// [`FileError`]; there may be no such file.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let (dir, name) = open_dir(path)?;
        Ok(read_in(&dir, &name, path)?.0)
    }
}

fn io(verb: &'static str, path: &Path, error: impl Into<io::Error>) -> FileError {
    FileError::Io { verb, path: path.into(), source: error.into() }
}

/// Opens the directory of a file, which nobody else may have put there.
fn open_dir(path: &Path) -> Result<(OwnedFd, OsString), FileError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io("open", path, Errno::INVAL));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let dir = match fs::openat2(CWD, parent, flags, Mode::empty(), resolve) {
        Ok(dir) => dir,
        Err(Errno::LOOP) => return Err(FileError::Link(path.into())),
        Err(errno) => return Err(io("open", parent, errno)),
    };
    let stat = fs::fstat(&dir).map_err(|errno| io("open", parent, errno))?;
    own(&stat, parent)?;
    if stat.st_mode & 0o002 != 0 {
        return Err(FileError::Open(parent.into()));
    }
    Ok((dir, name.to_owned()))
}

fn own(stat: &Stat, path: &Path) -> Result<(), FileError> {
    let own = rustix::process::geteuid().as_raw();
    match stat.st_uid {
        owner if owner == own => Ok(()),
        owner => Err(FileError::Owner { path: path.into(), owner }),
    }
}

fn read_in(dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<(Document, Stat), FileError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP) => return Err(FileError::Link(path.into())),
        Err(errno) => return Err(io("open", path, errno)),
    };
    let stat = fs::fstat(&file).map_err(|errno| io("open", path, errno))?;
    own(&stat, path)?;
    let shape = || FileError::Shape(path.into());
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(shape());
    }
    // At once, so that no part of it stays where a buffer was before it grew.
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(MAX_LEN as usize) + 64);
    let read = File::from(file).take(MAX_LEN + 1).read_to_end(&mut bytes);
    let text = Secret::new(bytes);
    read.map_err(|error| io("read", path, error))?;
    if text.expose().len() as u64 > MAX_LEN {
        return Err(shape());
    }
    Ok((Document::parse(text).map_err(|_| shape())?, stat))
}
