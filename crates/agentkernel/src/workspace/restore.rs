//! Hides how a project becomes again what it was: what is as it was is not touched.

use super::{
    WorkspaceError,
    checkpoint::{Checkpoints, Taken, copy, same},
    manifest::{Content, Entry, Manifest, Seen, Summary},
    tree::{self, Step},
};
use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};
use serde::Serialize;
use std::{fs::File, io};
use wire::OsBytes;

/// What happens to a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// From the project's directory.
    pub path: OsBytes,
    /// What.
    pub what: What,
    /// Why it did not happen.
    pub error: Option<String>,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is there again, or has its contents again.
    Restored,
    /// It was not there before.
    Removed,
    /// It has its mode or owner again.
    Mode,
}

/// A project is again what it was.
#[derive(Debug)]
pub struct Restored {
    /// What it is again.
    pub to: Summary,
    /// What leads back; none if nothing was to be done, or was to be done only in words.
    pub back: Option<Taken>,
    /// What was done, in the order of the paths.
    pub changes: Vec<Change>,
}

/// The name of a file that is being written.
const TEMPORARY: &str = ".agentkernel-undo";

impl Checkpoints {
    /// Those that `undo` means, the last first; after an `undo` those before the one that it went back to.
    fn undoable(&self) -> Result<Vec<u32>, WorkspaceError> {
        let list = self.list()?;
        let before = list.last().and_then(|last| last.undo_to).unwrap_or(u32::MAX);
        let undoable = list.iter().rev().filter(|one| one.undo_to.is_none() && one.number < before);
        Ok(undoable.map(|one| one.number).collect())
    }

    /// Makes the project what it was, after a checkpoint of what it is, unless `and_back` is false; or only tells what would
    /// be done. Without a number it is made what it was at the last one; if it is that still, an older one has to be named, from
    /// whose time there may be more than what a run has done.
    ///
    /// # Errors
    /// [`WorkspaceError`], if nothing was done; what failed on the way is in the changes.
    pub fn restore(&self, number: Option<u32>, dry_run: bool, and_back: bool) -> Result<Restored, WorkspaceError> {
        let held = self.hold()?;
        let meant = number.map_or_else(|| self.undoable(), |number| Ok(vec![number]))?;
        let mut same: Option<Summary> = None;
        for number in meant {
            let manifest = self.manifest(number)?;
            let planned = Restoring::new(self, &manifest, true)?.all()?;
            if planned.is_empty() {
                same.get_or_insert(manifest.summary);
                continue;
            }
            let to = manifest.summary.clone();
            if let Some(same) = same {
                return Err(WorkspaceError::Unchanged { last: same.before, number, before: to.before });
            }
            if dry_run {
                return Ok(Restored { to, back: None, changes: planned });
            }
            let back = if and_back { Some(self.take_held(&held, "undo", Some(number))?) } else { None };
            let changes = Restoring::new(self, &manifest, false)?.all()?;
            return Ok(Restored { to, back, changes });
        }
        let to = same.ok_or(WorkspaceError::Nothing)?;
        Ok(Restored { to, back: None, changes: Vec::new() })
    }
}

struct Restoring<'a> {
    checkpoints: &'a Checkpoints,
    manifest: &'a Manifest,
    root: OwnedFd,
    device: u64,
    dry_run: bool,
    changes: Vec<Change>,
}

impl<'a> Restoring<'a> {
    fn new(checkpoints: &'a Checkpoints, manifest: &'a Manifest, dry_run: bool) -> Result<Self, WorkspaceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(&checkpoints.project, flags, Mode::empty());
        let root = root.map_err(|errno| checkpoints.failed_at("open", b"", errno))?;
        let device = fs::fstat(&root).map_err(|errno| checkpoints.failed_at("examine", b"", errno))?.st_dev;
        Ok(Self { checkpoints, manifest, root, device, dry_run, changes: Vec::new() })
    }

    fn all(&mut self) -> Result<Vec<Change>, WorkspaceError> {
        self.clear()?;
        for (path, entry) in &self.manifest.entries {
            let (what, result) = match &entry.what {
                Content::Other {} => continue,
                Content::Directory {} => self.directory(path, entry),
                Content::Link { target } => self.link(path, entry, target),
                Content::File { size, kept, seen } => self.file(path, entry, *size, *kept, seen.as_ref()),
            };
            self.tell(path, what, result);
        }
        if !self.dry_run {
            // Whatever was made in one has changed its time, and its mode may forbid to make anything.
            for (path, entry) in self.manifest.entries.iter().rev() {
                if entry.what == (Content::Directory {}) {
                    let settled = tree::open(self.root.as_fd(), path, false).and_then(|dir| attributes(&dir, entry));
                    if let Err(errno) = settled {
                        self.tell(path, Some(What::Mode), Err(errno.into()));
                    }
                }
            }
        }
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_by(|one, other| one.path.0.cmp(&other.path.0));
        changes.dedup();
        Ok(changes)
    }

    fn tell(&mut self, path: &[u8], what: Option<What>, result: io::Result<()>) {
        let error = result.err().map(|error| error.to_string());
        let what = what.or(error.as_ref().map(|_| What::Restored));
        self.changes.extend(what.map(|what| Change { path: OsBytes(path.to_vec()), what, error }));
    }

    /// Removes what was not there, or was something else.
    fn clear(&mut self) -> Result<(), WorkspaceError> {
        let (manifest, dry_run, device) = (self.manifest, self.dry_run, self.device);
        let mut removed = Vec::new();
        let visit = |step: Step<'_>| -> Result<bool, WorkspaceError> {
            let special = !matches!(step.kind(), FileType::Directory | FileType::RegularFile | FileType::Symlink)
                || step.stat.st_dev != device;
            match manifest.entries.get(step.path) {
                // Nothing is known of what is in it.
                Some(Entry { what: Content::Other {}, .. }) => return Ok(false),
                Some(entry) if entry.is_like(step.kind()) => return Ok(true),
                None if special => return Ok(false),
                _ => {}
            }
            let result = if dry_run { Ok(()) } else { tree::remove(step.dir, step.name) };
            // What comes in its place is told instead.
            if result.is_err() || !manifest.entries.contains_key(step.path) {
                removed.push((step.path.to_vec(), result));
            }
            Ok(false)
        };
        let mut unread = Vec::new();
        tree::walk(self.root.as_fd(), usize::MAX, !dry_run, visit, |path| unread.push(path.to_vec()))?;
        for (path, result) in removed {
            self.tell(&path, Some(What::Removed), result.map_err(io::Error::from));
        }
        if !dry_run {
            for path in unread {
                self.tell(&path, Some(What::Mode), Err(io::ErrorKind::PermissionDenied.into()));
            }
        }
        Ok(())
    }

    /// The directory that a path is in.
    fn parent<'b>(&self, path: &'b [u8]) -> io::Result<(OwnedFd, &'b [u8])> {
        let (parent, name) = tree::split(path);
        Ok((tree::open(self.root.as_fd(), parent, !self.dry_run)?, name))
    }

    /// What has the name now.
    fn stat(&self, path: &[u8]) -> io::Result<Option<fs::Stat>> {
        let (parent, name) = tree::split(path);
        match tree::open(self.root.as_fd(), parent, !self.dry_run) {
            Ok(dir) => match fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Ok(Some(stat)),
                Err(Errno::NOENT) => Ok(None),
                Err(errno) => Err(errno.into()),
            },
            // In words alone, what it is in is not made.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) if self.dry_run => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn directory(&self, path: &[u8], entry: &Entry) -> (Option<What>, io::Result<()>) {
        match self.stat(path) {
            Ok(Some(stat)) if entry.is_like(FileType::from_raw_mode(stat.st_mode)) => {
                (differs(entry, &stat).then_some(What::Mode), Ok(()))
            }
            Ok(_) if self.dry_run => (Some(What::Restored), Ok(())),
            Ok(_) => {
                let made = self.parent(path).and_then(|(dir, name)| Ok(fs::mkdirat(&dir, name, Mode::RWXU)?));
                (Some(What::Restored), made)
            }
            Err(error) => (Some(What::Restored), Err(error)),
        }
    }

    fn link(&self, path: &[u8], entry: &Entry, target: &OsBytes) -> (Option<What>, io::Result<()>) {
        let is_so = || -> io::Result<bool> {
            let Some(stat) = self.stat(path)? else { return Ok(false) };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(false);
            }
            let (dir, name) = self.parent(path)?;
            Ok(fs::readlinkat(&dir, name, Vec::new())?.as_bytes() == target.0)
        };
        match is_so() {
            Ok(true) => (None, Ok(())),
            Ok(false) if self.dry_run => (Some(What::Restored), Ok(())),
            Ok(false) => {
                let make = || -> io::Result<()> {
                    let (dir, name) = self.parent(path)?;
                    tree::remove(dir.as_fd(), name)?;
                    fs::symlinkat(&*target.0, &dir, name)?;
                    if rustix::process::geteuid().is_root() {
                        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
                        fs::chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                    }
                    Ok(())
                };
                (Some(What::Restored), make())
            }
            Err(error) => (Some(What::Restored), Err(error)),
        }
    }

    fn file(
        &self,
        path: &[u8],
        entry: &Entry,
        size: u64,
        kept: u64,
        seen: Option<&Seen>,
    ) -> (Option<What>, io::Result<()>) {
        let stat = match self.stat(path) {
            Ok(stat) => stat,
            Err(error) => return (Some(What::Restored), Err(error)),
        };
        let stat = stat.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if let Some(stat) = &stat
            && (stat.st_size as u64, Some(&Seen::of(stat))) == (size, seen)
        {
            return (None, Ok(()));
        }
        let source = || -> io::Result<File> {
            let source = File::from(tree::file(self.checkpoints.files.as_fd(), kept.to_string().as_bytes())?);
            let whole = source.metadata()?.len() == size;
            if whole { Ok(source) } else { Err(io::Error::other("What was kept of it is damaged")) }
        };
        let source = match source() {
            Ok(source) => source,
            Err(error) => return (Some(What::Restored), Err(error)),
        };
        let unchanged = || -> io::Result<Option<OwnedFd>> {
            let Some(_) = stat.as_ref().filter(|stat| stat.st_size as u64 == size) else { return Ok(None) };
            let (dir, name) = self.parent(path)?;
            // One that its owner may not read is written anew.
            let Ok(file) = tree::file(dir.as_fd(), name) else { return Ok(None) };
            let file = File::from(file);
            Ok(if same(&file, &source)? { Some(file.into()) } else { None })
        };
        match (unchanged(), &stat) {
            (Ok(Some(file)), Some(stat)) => {
                let what = differs(entry, stat).then_some(What::Mode);
                (what, if self.dry_run { Ok(()) } else { attributes(&file, entry).map_err(Into::into) })
            }
            (Err(error), _) => (Some(What::Restored), Err(error)),
            _ if self.dry_run => (Some(What::Restored), Ok(())),
            _ => (Some(What::Restored), self.write(path, entry, &source)),
        }
    }

    /// Whole under another name first, so that there is the old or the new one, whatever goes wrong.
    fn write(&self, path: &[u8], entry: &Entry, source: &File) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        let beside = |dir: BorrowedFd<'_>| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            fs::openat(dir, TEMPORARY, flags, Mode::RUSR | Mode::WUSR)
        };
        let file = match beside(dir.as_fd()) {
            // Of one who was killed over it.
            Err(Errno::EXIST) => {
                tree::remove(dir.as_fd(), TEMPORARY.as_bytes())?;
                beside(dir.as_fd())?
            }
            file => file?,
        };
        let file = File::from(file);
        let written = copy(source, &file).and_then(|_| {
            attributes(file.as_fd(), entry)?;
            Ok(fs::renameat(&dir, TEMPORARY, &dir, name)?)
        });
        if written.is_err() {
            let _ = fs::unlinkat(&dir, TEMPORARY, AtFlags::empty());
        }
        written
    }
}

/// Whether mode or owner are other ones.
fn differs(entry: &Entry, stat: &fs::Stat) -> bool {
    let owner = rustix::process::geteuid().is_root() && (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid);
    stat.st_mode & 0o7777 != entry.mode || owner
}

/// Gives a file or directory its owner, mode and time.
fn attributes(fd: impl rustix::fd::AsFd, entry: &Entry) -> rustix::io::Result<()> {
    if rustix::process::geteuid().is_root() {
        fs::fchown(&fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    fs::fchmod(&fd, Mode::from_raw_mode(entry.mode))?;
    let (tv_sec, nanos) = entry.mtime;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec, tv_nsec: nanos.into() },
    };
    fs::futimens(fd, &times)
}
