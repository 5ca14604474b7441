//! Hides how a checkpoint is taken: what has not changed since the last one is not copied again.

use super::{
    WorkspaceError,
    manifest::{Content, Entry, Manifest, Seen, Summary, summary},
    tree::{self, Lost, Step},
};
use crate::store::{self, Store, durable};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufReader, BufWriter},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wire::OsBytes;

/// The most bytes that a checkpoint may have.
pub const LIMIT: u64 = 4 << 30;
/// The most entries that it may have.
pub(super) const MOST: usize = 2_000_000;
/// Checkpoints of a project that are kept.
const KEPT: usize = 10;
const FILES: &str = "files";
const LOCK: &str = "lock";
const PROJECT: &str = "project";
const TEMPORARY: &str = ".new";
/// A change so short before may be followed by another of the same time.
const TOO_LATE: Duration = Duration::from_secs(2);

/// The checkpoints of one project.
#[derive(Debug)]
pub struct Checkpoints {
    pub(super) project: PathBuf,
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    pub(super) files: OwnedFd,
}

/// A checkpoint that was taken.
#[derive(Debug)]
pub struct Taken {
    /// What it is.
    pub summary: Summary,
    /// What could not be read, and is not in it.
    pub unread: Vec<PathBuf>,
}

/// Held by whoever takes a checkpoint or goes back to one.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code)] OwnedFd);

impl From<Lost> for WorkspaceError {
    /// The path is filled in by whoever knows it.
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::TooMany => Self::TooMany(PathBuf::new()),
            Lost::Failed(errno) => Self::Io { action: "read", path: PathBuf::new(), source: errno.into() },
        }
    }
}

impl Checkpoints {
    /// Those of the project in this directory.
    ///
    /// # Errors
    /// If the state can't be used.
    pub fn open(store: &Store, project: &Path) -> Result<Self, WorkspaceError> {
        let (dir, path) = store.checkpoints(&store::key(project))?;
        let files = store::subdirectory(dir.as_fd(), &path, FILES)?;
        if durable::read::<OsBytes>(dir.as_fd(), &path, PROJECT)?.is_none() {
            durable::write(dir.as_fd(), &path, PROJECT, &OsBytes::from(project))?;
        }
        Ok(Self { project: project.to_owned(), path, dir, files })
    }

    /// All of them, the oldest first. Damaged ones are left out.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn list(&self) -> Result<Vec<Summary>, WorkspaceError> {
        let mut list = Vec::new();
        for number in self.numbers()? {
            let Some(file) = self.record(number)? else { continue };
            let read = summary(&mut BufReader::new(file));
            list.extend(read.map_err(|error| self.failed("read", &number.to_string(), error))?);
        }
        Ok(list)
    }

    /// Takes one of the project as it is now.
    ///
    /// # Errors
    /// [`WorkspaceError`]; there is none then.
    pub fn take(&self, before: &str) -> Result<Taken, WorkspaceError> {
        let held = self.hold()?;
        self.take_held(&held, before, None)
    }

    pub(super) fn take_held(&self, _: &Held, before: &str, undo_to: Option<u32>) -> Result<Taken, WorkspaceError> {
        let numbers = self.numbers()?;
        let last = numbers.last().copied();
        // One that is damaged is of no use, and no obstacle.
        let known = last.and_then(|number| self.manifest(number).ok());
        // Files that it may have are not written over.
        let next = match (&known, last) {
            (Some(known), _) => known.summary.next,
            (None, Some(_)) => self.highest()? + 1,
            (None, None) => 0,
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let summary = Summary::new(last.unwrap_or(0) + 1, time.as_millis() as u64, before, undo_to);
        let (kept, known) = known.map(|known| (known.summary, known.entries)).unzip();
        let known = known.unwrap_or_default();
        let mut taking = Taking { checkpoints: self, known, time, next, made: next..next, unread: Vec::new() };
        let taken = taking.tree(summary).and_then(|manifest| {
            // Nothing has changed: the last one says it all, and another would push an old one out.
            if let Some(kept) = kept.filter(|kept| kept.undo_to.or(undo_to).is_none())
                && manifest.is_as(&taking.known)
            {
                return Ok(kept);
            }
            self.put(&manifest)?;
            Ok(manifest.summary)
        });
        match taken {
            Ok(summary) => {
                let unread = taking.unread;
                // What is not removed now is with the next.
                let _ = self.prune();
                Ok(Taken { summary, unread })
            }
            Err(error) => {
                for number in taking.made {
                    let _ = fs::unlinkat(&self.files, number.to_string(), AtFlags::empty());
                }
                Err(match error {
                    WorkspaceError::TooMany(_) => WorkspaceError::TooMany(self.project.clone()),
                    WorkspaceError::Io { action, path, source } if path.as_os_str().is_empty() => {
                        WorkspaceError::Io { action, path: self.project.clone(), source }
                    }
                    error => error,
                })
            }
        }
    }

    /// Forgets all of them.
    ///
    /// # Errors
    /// If they can't be removed.
    pub fn forget(&self) -> Result<(), WorkspaceError> {
        let _held = self.hold()?;
        // First what refers to the files.
        for number in self.numbers()?.into_iter().rev() {
            let removed = fs::unlinkat(&self.dir, number.to_string(), AtFlags::empty());
            removed.map_err(|errno| self.failed("remove", &number.to_string(), errno))?;
        }
        store::empty_tree(self.files.as_fd()).map_err(|errno| self.failed("empty", FILES, errno))
    }

    pub(super) fn hold(&self) -> Result<Held, WorkspaceError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(&self.dir, LOCK, flags, Mode::RUSR | Mode::WUSR);
        let lock = lock.map_err(|errno| self.failed("open", LOCK, errno))?;
        rustix::io::retry_on_intr(|| fs::flock(&lock, FlockOperation::LockExclusive))
            .map_err(|errno| self.failed("lock", LOCK, errno))?;
        Ok(Held(lock))
    }

    fn numbers(&self) -> Result<Vec<u32>, WorkspaceError> {
        let names = tree::list(self.dir.as_fd()).map_err(|errno| self.failed("read", "", errno))?;
        let number = |name: Vec<u8>| String::from_utf8(name).ok()?.parse().ok();
        let mut numbers: Vec<u32> = names.into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The highest number of a file that is kept.
    fn highest(&self) -> Result<u64, WorkspaceError> {
        let names = tree::list(self.files.as_fd()).map_err(|errno| self.failed("read", FILES, errno))?;
        Ok(names.into_iter().filter_map(|name| String::from_utf8(name).ok()?.parse().ok()).max().unwrap_or(0))
    }

    fn record(&self, number: u32) -> Result<Option<File>, WorkspaceError> {
        match tree::file(self.dir.as_fd(), number.to_string().as_bytes()) {
            Ok(fd) => Ok(Some(fd.into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", &number.to_string(), errno)),
        }
    }

    pub(super) fn manifest(&self, number: u32) -> Result<Manifest, WorkspaceError> {
        let file = self.record(number)?.ok_or(WorkspaceError::Missing(number))?;
        let read = Manifest::read(BufReader::new(file));
        read.map_err(|error| self.failed("read", &number.to_string(), error))?.ok_or(WorkspaceError::Damaged(number))
    }

    /// Whoever is killed before this has ended leaves no checkpoint.
    fn put(&self, manifest: &Manifest) -> Result<(), WorkspaceError> {
        let name = manifest.summary.number.to_string();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || {
            let file = File::from(fs::openat(&self.dir, TEMPORARY, flags, Mode::RUSR | Mode::WUSR)?);
            manifest.write(BufWriter::new(&file))?;
            fs::renameat(&self.dir, TEMPORARY, &self.dir, &name)?;
            Ok(())
        };
        write().map_err(|error: io::Error| {
            let _ = fs::unlinkat(&self.dir, TEMPORARY, AtFlags::empty());
            self.failed("write", &name, error)
        })
    }

    /// Removes the oldest ones. A file that one keeps and the next does not, no later one does.
    fn prune(&self) -> Result<(), WorkspaceError> {
        let numbers = self.numbers()?;
        let kept = |manifest: &Manifest| -> HashSet<u64> {
            let of = |entry: &Entry| if let Content::File { kept, .. } = entry.what { Some(kept) } else { None };
            manifest.entries.values().filter_map(of).collect()
        };
        for pair in numbers[..(numbers.len() + 1).saturating_sub(KEPT)].windows(2) {
            let [old, next] = *pair else { continue };
            let (old_files, next_files) = (self.manifest(old).ok(), self.manifest(next)?);
            let removed = fs::unlinkat(&self.dir, old.to_string(), AtFlags::empty());
            removed.map_err(|errno| self.failed("remove", &old.to_string(), errno))?;
            let next_files = kept(&next_files);
            for number in old_files.iter().flat_map(kept).filter(|number| !next_files.contains(number)) {
                let _ = fs::unlinkat(&self.files, number.to_string(), AtFlags::empty());
            }
        }
        Ok(())
    }

    pub(super) fn failed(&self, action: &'static str, name: &str, error: impl Into<io::Error>) -> WorkspaceError {
        WorkspaceError::Io { action, path: self.path.join(name), source: error.into() }
    }

    pub(super) fn failed_at(&self, action: &'static str, path: &[u8], error: impl Into<io::Error>) -> WorkspaceError {
        let path = self.project.join(OsBytes(path.to_vec()).as_path());
        WorkspaceError::Io { action, path, source: error.into() }
    }
}

/// One that is being taken.
struct Taking<'a> {
    checkpoints: &'a Checkpoints,
    known: BTreeMap<Vec<u8>, Entry>,
    time: Duration,
    next: u64,
    /// What was kept for it.
    made: std::ops::Range<u64>,
    unread: Vec<PathBuf>,
}

impl Taking<'_> {
    fn tree(&mut self, mut summary: Summary) -> Result<Manifest, WorkspaceError> {
        let project = &self.checkpoints.project;
        let root = fs::open(project, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| self.checkpoints.failed_at("open", b"", errno))?;
        let device = fs::fstat(&root).map_err(|errno| self.checkpoints.failed_at("examine", b"", errno))?.st_dev;
        let (mut entries, mut unread) = (BTreeMap::new(), Vec::new());
        let visit = |step: Step<'_>| -> Result<bool, WorkspaceError> {
            let here = step.stat.st_dev == device;
            let what = match step.kind() {
                FileType::Directory if here => Some(Content::Directory {}),
                FileType::Symlink => match fs::readlinkat(step.dir, step.name, Vec::new()) {
                    Ok(target) => Some(Content::Link { target: OsBytes(target.into_bytes()) }),
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(false),
                    Err(errno) => return Err(self.checkpoints.failed_at("read", step.path, errno)),
                },
                FileType::RegularFile if here => self.file(&step, &mut summary)?,
                _ => Some(Content::Other {}),
            };
            let goes_in = matches!(what, Some(Content::Directory {}));
            if let Some(what) = what {
                entries.insert(step.path.to_vec(), Entry::of(&step.stat, what));
            }
            Ok(goes_in)
        };
        tree::walk(root.as_fd(), MOST, false, visit, |path| unread.push(path.to_vec()))?;
        for path in unread {
            // What is in there nobody knows.
            self.unread.push(OsBytes(path.clone()).into());
            entries.entry(path).and_modify(|entry| entry.what = Content::Other {});
        }
        summary.next = self.next;
        Ok(Manifest { summary, entries })
    }

    /// `None`: it is gone.
    fn file(&mut self, step: &Step<'_>, summary: &mut Summary) -> Result<Option<Content>, WorkspaceError> {
        let size = step.stat.st_size as u64;
        summary.files += 1;
        summary.bytes = summary.bytes.saturating_add(size);
        if summary.bytes > LIMIT {
            return Err(WorkspaceError::TooLarge(self.checkpoints.project.clone()));
        }
        let seen = Seen::of(&step.stat);
        if let Some(Entry { what: Content::File { size: before, kept, seen: Some(known) }, .. }) =
            self.known.get(step.path)
            && (*before, known) == (size, &seen)
        {
            return Ok(Some(Content::File { size, kept: *kept, seen: Some(seen) }));
        }
        let failed = |action, errno: Errno| self.checkpoints.failed_at(action, step.path, errno);
        let source = match tree::file(step.dir, step.name) {
            Ok(source) => source,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                self.unread.push(OsBytes(step.path.to_vec()).into());
                return Ok(Some(Content::Other {}));
            }
            Err(errno) => return Err(failed("open", errno)),
        };
        let stat = fs::fstat(&source).map_err(|errno| failed("examine", errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Some(Content::Other {}));
        }
        let kept = self.next;
        let copied = self.keep(&source.into(), kept);
        let size = copied.map_err(|error| self.checkpoints.failed_at("keep", step.path, error))?;
        let settled = self.is_settled(&stat) && Seen::of(&stat) == seen;
        Ok(Some(Content::File { size, kept, seen: settled.then_some(seen) }))
    }

    /// Whether whatever changes a file from now on gives it another time.
    fn is_settled(&self, stat: &Stat) -> bool {
        let changed = Duration::new(u64::try_from(stat.st_ctime).unwrap_or(0), stat.st_ctime_nsec as u32);
        changed + TOO_LATE < self.time
    }

    fn keep(&mut self, source: &File, number: u64) -> io::Result<u64> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = number.to_string();
        let kept = File::from(fs::openat(&self.checkpoints.files, name, flags, Mode::RUSR | Mode::WUSR)?);
        self.next += 1;
        self.made.end = self.next;
        copy(source, &kept)
    }
}

/// Copies a file, sharing its blocks where the file system can.
pub(super) fn copy(source: &File, target: &File) -> io::Result<u64> {
    if fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(target.metadata()?.len());
    }
    io::copy(&mut &*source, &mut &*target)
}

/// Whether two files have the same contents.
pub(super) fn same(one: &File, other: &File) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    loop {
        let count = one.read_at(&mut a, at)?;
        if count == 0 {
            return Ok(other.read_at(&mut b[..1], at)? == 0);
        }
        match other.read_exact_at(&mut b[..count], at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        if a[..count] != b[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
}
