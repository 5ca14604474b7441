//! Hides how protected paths are kept as they are: what stage must cover, and how one that does not exist is kept
//! from being made.
//!
//! What is missing gets a placeholder on the host, which is covered like everything else: an empty directory. Git
//! neither shows nor commits one, and rmdir(2) cannot remove anything of the user's. Only for [`COMMON`], which git
//! itself reads, it is a file that says what git takes for granted without it. A placeholder is known by its time of
//! modification, so one that anybody used is a placeholder no more. Which ones a sandbox has is written to the file
//! `masks` of its directory before they are made.
//!
//! To remove a directory detaches what is mounted on it in every mount namespace, so each sandbox holds a shared lock
//! (flock(2)) on each directory or placeholder that it covers, and only who gets an exclusive one removes it.

use super::{
    super::{LaunchError, Place},
    failure::{self, Context as _},
    plan::{self, Role},
};
use crate::{Spec, Workspace};
use jail::fd::open_beneath;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

const WALL: &str = "protected paths";
/// The file that remembers them: the project's path and each placeholder's below it, each ended by a NUL.
const RECORD: &str = "masks";
/// The time of modification of a placeholder, in seconds: a morning in 1970 that nothing else has.
const MARK: i64 = 0x616b;
/// Where a worktree's directory says, by a path from there, which directory has the repository's configuration.
const COMMON: &str = ".git/commondir";
/// That directory itself.
const COMMON_HERE: &[u8] = b".\n";
/// How often a project is looked at that changes under our eyes, and how long a lock is waited for in all.
const ROUNDS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// What is to be covered.
#[derive(Debug, Default)]
pub struct Masks {
    /// Paths below the project that all exist, what is in a directory after it, and whether each becomes read-only. A
    /// directory on the way to one stays writable, but a mount on it keeps it where it is: the kernel does not care
    /// what is mounted below something that is renamed.
    pub paths: BTreeMap<PathBuf, bool>,
    /// Locks on those that are directories or placeholders.
    pub held: Vec<OwnedFd>,
}

/// Where a protected path ends for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Nothing is there.
    Missing,
    /// A placeholder.
    Placeholder,
    /// A directory.
    Directory,
    /// A file or link: itself protected, or where a directory on the way should be (`.git` of a worktree).
    Other,
}

/// Something changed while it was looked at: once more.
struct Again;

/// Makes the placeholders.
pub fn prepare(spec: &Spec, place: &Place) -> Result<Masks, LaunchError> {
    let Workspace::Direct { path, protected } = &spec.workspace else { return Ok(Masks::default()) };
    release(place).wall(WALL, "Cannot remove an earlier start's placeholders", "")?;
    let project = plan::open_source(&Role::Workspace, path)?;
    for _ in 0..ROUNDS {
        match attempt(&project, path, protected, place)? {
            Ok(masks) => return Ok(masks),
            Err(Again) => std::thread::sleep(PAUSE),
        }
    }
    let cause = format!("{} changes too fast, or somebody holds a lock in it", path.display());
    Err(failure::new(WALL, cause, "Try again, or use `--workspace overlay`"))
}

fn attempt(
    project: &OwnedFd,
    path: &Path,
    protected: &[PathBuf],
    place: &Place,
) -> Result<Result<Masks, Again>, LaunchError> {
    let mut ends = BTreeMap::new();
    for path in protected {
        let (path, end) = locate(project, path).wall(WALL, format_args!("Cannot examine {}", path.display()), "")?;
        ends.insert(path, end);
    }
    let ours: Vec<&Path> = ends
        .iter()
        .filter(|(_, end)| matches!(end, End::Missing | End::Placeholder))
        .map(|(path, _)| path.as_path())
        .collect();
    if !ours.is_empty() {
        remember(place, path, &ours).wall(WALL, "Cannot note placeholders", "")?;
    }
    let mut masks = Masks::default();
    for (path, end) in ends {
        let tried = format_args!("Cannot keep {} from being made", path.display());
        let hint = "Make it yourself, name it with `--unprotect`, or use `--workspace overlay`";
        let parent = open_beneath(project, parent(&path), OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        let (Ok(parent), Some(name)) = (parent, path.file_name()) else { return Ok(Err(Again)) };
        if end == End::Missing {
            match make(project, &parent, name, path == Path::new(COMMON)) {
                Ok(Some(fd)) => masks.held.push(fd),
                Ok(None) => continue,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(Err(Again)),
                result => drop(result.wall(WALL, tried, hint)?),
            }
        } else if end != End::Other {
            match hold(&parent, name) {
                Ok(fd) => masks.held.extend(fd),
                Err(Again) => return Ok(Err(Again)),
            }
        }
        let directories = path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty());
        for directory in directories {
            masks.paths.entry(directory.to_owned()).or_insert(false);
        }
        masks.paths.insert(path, true);
    }
    Ok(Ok(masks))
}

/// Follows a path through directories to its end, or to where it goes on no further.
fn locate(project: &OwnedFd, path: &Path) -> io::Result<(PathBuf, End)> {
    let mut below = None;
    let mut here = PathBuf::new();
    for name in path {
        here.push(name);
        let dir = below.as_ref().unwrap_or(project);
        let stat = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok((here, End::Missing)),
            result => result?,
        };
        if is_placeholder(&stat, &here) {
            return Ok((here, End::Placeholder));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok((here, End::Other));
        }
        if here.as_path() != path {
            below = Some(open_beneath(dir, name, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?);
        }
    }
    Ok((here, End::Directory))
}

/// Makes a placeholder that belongs to whom the project belongs to, and locks it. `None` if nobody in a sandbox could
/// make anything there either.
fn make(project: &OwnedFd, parent: &OwnedFd, name: &OsStr, common: bool) -> io::Result<Option<OwnedFd>> {
    let made = if common {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644));
        file.and_then(|file| rustix::io::write(file, COMMON_HERE)).map(drop)
    } else {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
    };
    match made {
        Ok(()) => {}
        Err(Errno::ROFS) => return Ok(None),
        // The sandbox's user has no more rights than the caller; but an owner could give himself what is missing.
        Err(Errno::ACCESS) if rustix::fs::fstat(parent)?.st_uid != rustix::process::geteuid().as_raw() => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    let fd = open(parent, name)?;
    let _ = lock(&fd, FlockOperation::NonBlockingLockShared);
    if rustix::process::geteuid().is_root() {
        let owner = rustix::fs::fstat(project)?;
        rustix::fs::fchown(&fd, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))?;
    }
    let mark = Timespec { tv_sec: MARK, tv_nsec: 0 };
    rustix::fs::futimens(&fd, &Timestamps { last_access: mark, last_modification: mark })?;
    Ok(Some(fd))
}

/// Locks a directory or placeholder, and makes sure that it still is where it was. `None` if it cannot be opened for that; then it
/// is no placeholder.
fn hold(parent: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>, Again> {
    let fd = match open(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        result => result.map_err(|_| Again)?,
    };
    if lock(&fd, FlockOperation::NonBlockingLockShared) == Lock::Taken {
        return Err(Again);
    }
    let (held, there) = (rustix::fs::fstat(&fd), rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW));
    match (held, there) {
        (Ok(held), Ok(there)) if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino) => Ok(Some(fd)),
        _ => Err(Again),
    }
}

/// Removes the placeholders that a sandbox remembers and nobody uses, and the memory of them. Idempotent. What
/// [`Masks`] holds must have been let go.
pub fn release(place: &Place) -> io::Result<()> {
    let file = match open_beneath(&place.dir, RECORD, OFlags::RDONLY, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    let mut text = Vec::new();
    File::from(file).take(1 << 20).read_to_end(&mut text)?;
    // What has no end was not written to the end; nothing was made then.
    let mut paths = text.split_inclusive(|byte| *byte == 0).filter_map(|path| path.strip_suffix(b"\0"));
    let mut paths = paths.by_ref().map(|path| Path::new(OsStr::from_bytes(path)));
    if let Some(project) = paths.next()
        && let Ok(project) = plan::open_path(project)
    {
        let mut paths: Vec<&Path> = paths.collect();
        // Sorted by whoever wrote it: what is in a directory comes after it.
        paths.reverse();
        for path in paths {
            remove(&project, path)?;
        }
    }
    match rustix::fs::unlinkat(&place.dir, RECORD, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes one placeholder; leaves what is none, is used, or cannot be reached any more.
fn remove(project: &OwnedFd, path: &Path) -> io::Result<()> {
    let parent = open_beneath(project, parent(path), OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
    let (Ok(parent), Some(name)) = (parent, path.file_name()) else { return Ok(()) };
    let Ok(fd) = open(&parent, name) else { return Ok(()) };
    let stat = rustix::fs::fstat(&fd)?;
    if !is_placeholder(&stat, path) || lock(&fd, FlockOperation::NonBlockingLockExclusive) != Lock::Held {
        return Ok(());
    }
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(&parent, name, flags) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Not written to the disk at once: this is for a process that dies, and a machine that dies most likely loses the
/// placeholders with it.
fn remember(place: &Place, project: &Path, paths: &[&Path]) -> io::Result<()> {
    let mut text = Vec::new();
    for path in [&project].into_iter().chain(paths) {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(0);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    File::from(open_beneath(&place.dir, RECORD, flags, Mode::RUSR | Mode::WUSR)?).write_all(&text)
}

/// What became of the wish for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    Held,
    /// Somebody else has one.
    Taken,
    /// This file system has none for directories. Then nobody gets an exclusive one, and nothing is removed.
    Unknown,
}

fn lock(fd: &OwnedFd, operation: FlockOperation) -> Lock {
    match rustix::fs::flock(fd, operation) {
        Ok(()) => Lock::Held,
        Err(Errno::WOULDBLOCK) => Lock::Taken,
        Err(_) => Lock::Unknown,
    }
}

fn is_placeholder(stat: &Stat, path: &Path) -> bool {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => true,
        FileType::RegularFile => path == Path::new(COMMON) && stat.st_size == COMMON_HERE.len() as i64,
        _ => false,
    };
    kind && stat.st_mtime == MARK
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn open(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty())
}
