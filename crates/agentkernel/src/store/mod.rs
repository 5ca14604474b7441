//! State on disk: one directory per sandbox, locks, atomic records, garbage collection. Hides every file name, every
//! rename and every lock behind [`Store`] and [`Entry`].
//!
//! ```text
//! version              the layout's format
//! sandboxes/<id>/      mode 0700: spec.json state.json lock sock log log.1 name root/ order-<token>
//! sandboxes/.rm-<id>/  a sandbox that is being removed
//! names/<name>         symbolic link whose text is the id
//! trust/<digest>       a project's file that the user has accepted
//! cache/               things that can be made again
//! images/              what the room `image` keeps
//! checkpoints/         what the room `workspace` keeps
//! agents/              the same, for agents
//! audit.jsonl          what all of them reached, or tried to; audit.jsonl.1 and on are older
//! ```
//!
//! A sandbox's supervisor holds an exclusive flock(2) on `lock`: that, and nothing else, is what "running" means.
//! Work on a sandbox that is not running holds a shared one, for microseconds. A name is valid if both links agree:
//! `names/<name>` says the id and `sandboxes/<id>/name` says the name; the second is the one that a rename replaces,
//! in one step.

mod audit;
mod entry;
mod error;
mod fold;
mod log;
mod names;
mod order;
mod record;
mod sweep;
mod tail;
mod tree;
mod trust;

pub use audit::{AuditEvent, AuditReader, AuditRecord, AuditWriter, Subject, Verdict};
pub use entry::{Entry, Lock, State};
pub use error::StoreError;
pub use log::{LogData, LogReader, LogRecord, LogWriter, Tail};
pub use sweep::{Sweeping, Swept};

/// Records of other rooms, which survive a power cut.
pub(crate) mod durable {
    use super::{
        StoreError,
        record::{self, Durable},
    };
    use rustix::fd::BorrowedFd;
    use serde::{Serialize, de::DeserializeOwned};
    use std::path::Path;

    /// Replaces a record, which is whole if this fails.
    pub(crate) fn write<T: Serialize>(
        dir: BorrowedFd<'_>,
        path: &Path,
        name: &str,
        record: &T,
    ) -> Result<(), StoreError> {
        record::write(dir, path, name, record, Durable::Yes)
    }

    /// A record; `None` if there is none.
    pub(crate) fn read<T: DeserializeOwned>(
        dir: BorrowedFd<'_>,
        path: &Path,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        record::read(dir, path, name)
    }
}

/// Removes everything in a directory.
pub(crate) fn empty_tree(top: BorrowedFd<'_>) -> rustix::io::Result<()> {
    tree::empty(top, c"", u64::MAX)
}

/// The same, if that is no more than so many entries; `TOOBIG`: there are more, or somebody makes new ones meanwhile.
pub(crate) fn empty_small_tree(top: BorrowedFd<'_>, most: u64) -> rustix::io::Result<()> {
    tree::empty(top, c"", most)
}

use crate::{Name, Place, SandboxId, Spec};
use record::Durable;
use rustix::{
    fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Dir, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The state of one user's sandboxes.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    root: OwnedFd,
    sandboxes: OwnedFd,
    names: OwnedFd,
}

/// One sandbox in a [list](Store::list), as it was when it was read.
#[derive(Debug)]
pub struct Listed {
    /// Which one.
    pub id: SandboxId,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// What it is; an error if its record is damaged.
    pub spec: Result<Spec, StoreError>,
    /// How it is; an error if its record is damaged.
    pub state: Result<State, StoreError>,
}

const SANDBOXES: &str = "sandboxes";
const NAMES: &str = "names";
const CACHE: &str = "cache";
const IMAGES: &str = "images";
const CHECKPOINTS: &str = "checkpoints";
const AGENTS: &str = "agents";
const PLUGINS: &str = "plugins";
const VERSION: &str = "version";
const SPEC: &str = "spec.json";
const STATE: &str = "state.json";
const LOCK: &str = "lock";
const NAME: &str = "name";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Store {
    /// Opens this user's state, and makes what is missing: at `$AGENTKERNEL_STATE_DIR`, else for root at
    /// /var/lib/agentkernel, else at `$XDG_STATE_HOME/agentkernel`, else at `~/.local/state/agentkernel`.
    ///
    /// # Errors
    /// If `$AGENTKERNEL_STATE_DIR` is not absolute, or the state can't be read, is another user's, is open to others, or was written by a newer version.
    pub fn open() -> Result<Self, StoreError> {
        Self::at(&own_path()?)
    }

    /// The same, if there is any: nothing is made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look() -> Result<Option<Self>, StoreError> {
        Self::look_at(&own_path()?)
    }

    /// The same at `path`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look_at(path: &Path) -> Result<Option<Self>, StoreError> {
        // What has no version is an empty directory, or none.
        if path.join(VERSION).symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        Self::at(path).map(Some)
    }

    /// Opens the state at `path`, and makes what is missing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn at(path: &Path) -> Result<Self, StoreError> {
        let open = || fs::open(path, DIRECTORY, Mode::empty());
        let root = match open() {
            Err(Errno::NOENT) => {
                let mut builder = std::fs::DirBuilder::new();
                builder.recursive(true).mode(0o700);
                builder.create(path).map_err(|error| StoreError::io("create", path, error))?;
                open()
            }
            other => other,
        }
        .map_err(|errno| StoreError::io("open", path, errno))?;
        check_owner(&root, path)?;
        check_version(root.as_fd(), path)?;
        let sandboxes = subdirectory(root.as_fd(), path, SANDBOXES)?;
        let names = subdirectory(root.as_fd(), path, NAMES)?;
        Ok(Self { path: path.into(), root, sandboxes, names })
    }

    /// Where the state is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends to the audit log.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn audit_writer(&self) -> Result<AuditWriter, StoreError> {
        Ok(AuditWriter::new(self.root.try_clone().map_err(|error| StoreError::io("open", &self.path, error))?))
    }

    /// Reads the audit log.
    ///
    /// # Errors
    /// If it can't be opened.
    pub fn audit_reader(&self) -> Result<AuditReader, StoreError> {
        let root = self.root.try_clone().map_err(|error| StoreError::io("open", &self.path, error))?;
        AuditReader::new(root, self.path.clone())
    }

    /// What a backend gets to see of a sandbox's state.
    ///
    /// # Errors
    /// If the cache can't be opened.
    pub fn place(&self, entry: &Entry) -> Result<Place, StoreError> {
        let dir = rustix::io::fcntl_dupfd_cloexec(entry.dir(), 3);
        let dir = dir.map_err(|errno| StoreError::io("open", entry.path(), errno))?;
        Ok(Place { dir, cache: subdirectory(self.root.as_fd(), &self.path, CACHE)? })
    }

    /// Where images are, and its path.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) fn images(&self) -> Result<(OwnedFd, PathBuf), StoreError> {
        Ok((subdirectory(self.root.as_fd(), &self.path, IMAGES)?, self.path.join(IMAGES)))
    }

    /// Where it is on record what plugins changed, and its path.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) fn plugins(&self) -> Result<(OwnedFd, PathBuf), StoreError> {
        Ok((subdirectory(self.root.as_fd(), &self.path, PLUGINS)?, self.path.join(PLUGINS)))
    }

    /// The same, if there is anything on record: nothing is made.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) fn find_plugins(&self) -> Result<Option<(OwnedFd, PathBuf)>, StoreError> {
        let is_there = self.path.join(PLUGINS).symlink_metadata().is_ok();
        is_there.then(|| self.plugins()).transpose()
    }

    /// Where the checkpoints of one project are, and its path.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) fn checkpoints(&self, project: &str) -> Result<(OwnedFd, PathBuf), StoreError> {
        self.of_project(CHECKPOINTS, project)
    }

    /// Where what agents keep for one project is, and its path.
    ///
    /// # Errors
    /// If it can't be opened.
    pub(crate) fn kept_by_agents(&self, project: &str) -> Result<(OwnedFd, PathBuf), StoreError> {
        self.of_project(AGENTS, project)
    }

    fn of_project(&self, kind: &str, project: &str) -> Result<(OwnedFd, PathBuf), StoreError> {
        let path = self.path.join(kind);
        let all = subdirectory(self.root.as_fd(), &self.path, kind)?;
        Ok((subdirectory(all.as_fd(), &path, project)?, path.join(project)))
    }

    /// What a backend gets to see that is about no sandbox.
    ///
    /// # Errors
    /// If the cache can't be opened.
    pub fn shared(&self) -> Result<Place, StoreError> {
        let cache = subdirectory(self.root.as_fd(), &self.path, CACHE)?;
        let dir = cache.try_clone().map_err(|error| StoreError::io("open", &self.path, error))?;
        Ok(Place { dir, cache })
    }

    /// Makes a sandbox's directory and claims its name. It comes locked, so that no sweep takes it for a dead one
    /// before it runs; let go of the lock if it shall not run now.
    ///
    /// A kill at any moment leaves either all of it or what a [`sweep`](Self::sweep) clears.
    ///
    /// # Errors
    /// [`NameTaken`](StoreError::NameTaken), [`Exists`](StoreError::Exists), or the system's.
    pub fn create(&self, spec: &Spec) -> Result<(Entry, Lock), StoreError> {
        let (entry, lock) = self.claim_id(spec)?;
        match self.fill(&entry, &lock, spec) {
            Ok(()) => Ok((entry, lock)),
            Err(error) => {
                // The first error counts; what this can't remove, a sweep will.
                let _ = self.remove(entry, lock);
                Err(error)
            }
        }
    }

    /// Makes the directory and its lock.
    fn claim_id(&self, spec: &Spec) -> Result<(Entry, Lock), StoreError> {
        let id = spec.id.as_str();
        let path = self.path.join(SANDBOXES).join(id);
        let mut swept = 0;
        loop {
            match fs::mkdirat(&self.sandboxes, id, Mode::RWXU) {
                Ok(()) => match self.raw(id, &spec.id)? {
                    None => {}
                    Some(entry) => match entry.make_lock() {
                        Ok(Some(lock)) => {
                            return Ok((Entry::new(spec.id.clone(), path, entry.into_dir(), Some(spec.keep)), lock));
                        }
                        Ok(None) | Err(StoreError::NotFound { .. }) => {}
                        Err(error) => return Err(error),
                    },
                },
                Err(Errno::EXIST) if swept == 0 => return Err(StoreError::Exists { id: spec.id.clone() }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(StoreError::io("create", path, errno)),
            }
            // A sweep came between the directory and its lock and took it for half-made: it is removing it.
            swept += 1;
            if swept > 1000 {
                return Err(StoreError::Exists { id: spec.id.clone() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn fill(&self, entry: &Entry, lock: &Lock, spec: &Spec) -> Result<(), StoreError> {
        if let Some(name) = &spec.name {
            entry.set_name(name)?;
            self.claim(name, &spec.id)?;
        }
        // Last: an entry without it is half-made.
        entry.write_spec(lock, spec)?;
        if spec.keep {
            record::sync(self.names.as_fd(), &self.path.join(NAMES))?;
            record::sync(self.sandboxes.as_fd(), &self.path.join(SANDBOXES))?;
        }
        Ok(())
    }

    /// The sandbox with this id, this name, or the only one whose id begins so. A name wins over a prefix.
    ///
    /// # Errors
    /// [`NotFound`](StoreError::NotFound), [`Ambiguous`](StoreError::Ambiguous), or the system's.
    pub fn find(&self, reference: &str) -> Result<Entry, StoreError> {
        // No name has the form of an id.
        if let Ok(id) = SandboxId::try_from(reference.to_owned()) {
            return self.get(&id)?.ok_or_else(|| self.not_found(reference));
        }
        if let Ok(name) = Name::try_from(reference.to_owned())
            && let Some(entry) = self.named(&name)?
        {
            return Ok(entry);
        }
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let mut fitting = if !reference.is_empty() && reference.bytes().all(hex) { self.ids()? } else { Vec::new() };
        fitting.retain(|id| id.as_str().starts_with(reference));
        let mut entries = Vec::new();
        for id in fitting {
            entries.extend(self.get(&id)?);
        }
        if entries.len() > 1 {
            let mut candidates: Vec<String> = entries.iter().map(|entry| entry.id().to_string()).collect();
            candidates.sort();
            return Err(StoreError::Ambiguous { reference: reference.into(), candidates });
        }
        entries.pop().ok_or_else(|| self.not_found(reference))
    }

    /// The sandbox with this id; `None` if there is none or it is half-made.
    ///
    /// # Errors
    /// The system's.
    pub fn get(&self, id: &SandboxId) -> Result<Option<Entry>, StoreError> {
        let Some(entry) = self.raw(id.as_str(), id)? else { return Ok(None) };
        match fs::statat(entry.dir(), SPEC, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(Some(entry)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StoreError::io("open", entry.path(), errno)),
        }
    }

    /// Whether anything of a sandbox is there, whatever state it is in; also if that cannot be found out.
    #[must_use]
    pub fn has(&self, id: &SandboxId) -> bool {
        let there = |directory: &str| !matches!(self.raw(directory, id), Ok(None));
        there(id.as_str()) || there(&format!("{}{id}", sweep::REMOVED))
    }

    /// Opens a directory in `sandboxes/`, whatever is in it.
    fn raw(&self, directory: &str, id: &SandboxId) -> Result<Option<Entry>, StoreError> {
        let path = self.path.join(SANDBOXES).join(directory);
        match fs::openat(&self.sandboxes, directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(dir) => Ok(Some(Entry::new(id.clone(), path, dir, None))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StoreError::io("open", path, errno)),
        }
    }

    fn not_found(&self, reference: &str) -> StoreError {
        let nearest = self
            .all_names()
            .ok()
            .and_then(|names| crate::config::nearest(reference, names.iter().map(Name::as_str)).map(str::to_owned));
        StoreError::NotFound { reference: reference.into(), nearest }
    }

    /// Every sandbox, the oldest first. A damaged one is listed as such; one that is being made is not listed.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut list = Vec::new();
        for id in self.ids()? {
            // One that can't be opened hides the others as little as one that can't be parsed.
            match self.get(&id) {
                Ok(None) => {}
                Ok(Some(entry)) => {
                    let (spec, state) = (entry.spec(), entry.state());
                    list.push(Listed { id, created_ms: entry.created_ms(), spec, state });
                }
                Err(error) => {
                    let state = Err(StoreError::NotFound { reference: id.to_string(), nearest: None });
                    list.push(Listed { id, created_ms: 0, spec: Err(error), state });
                }
            }
        }
        list.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        Ok(list)
    }

    /// The ids that have a directory, in no order.
    fn ids(&self) -> Result<Vec<SandboxId>, StoreError> {
        let names = self.directory_names(self.sandboxes.as_fd(), SANDBOXES)?;
        Ok(names.into_iter().filter_map(|name| SandboxId::try_from(name).ok()).collect())
    }

    /// The names of what is in a directory of ours. What is not UTF-8 is not ours.
    fn directory_names(&self, dir: BorrowedFd<'_>, name: &str) -> Result<Vec<String>, StoreError> {
        let read = || {
            let mut names = Vec::new();
            for entry in Dir::read_from(dir)? {
                names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
            }
            Ok(names)
        };
        read().map_err(|errno: Errno| StoreError::io("read", self.path.join(name), errno))
    }

    /// Removes a sandbox and all its files. From the first step on nobody sees it any more; if the rest is
    /// interrupted, a [`sweep`](Self::sweep) goes on with it. The backend must have released it.
    ///
    /// # Errors
    /// The system's; something is mounted in its files, or they belong to another user.
    pub fn remove(&self, entry: Entry, lock: Lock) -> Result<(), StoreError> {
        let hidden = self.hidden(&entry)?;
        // Ephemeral ones are not worth the disk's time: a power cut takes them anyway, by the next sweep.
        if entry.durable() == Durable::Yes {
            record::sync(self.sandboxes.as_fd(), &self.path.join(SANDBOXES))?;
        }
        self.finish_removal(&entry, &hidden)?;
        drop(lock);
        Ok(())
    }

    /// The first step of a removal, for a sandbox that has ended and is about to be removed: nobody sees it any more, and
    /// others may have its name.
    ///
    /// # Errors
    /// The system's; [`remove`](Self::remove) will try again.
    pub fn hide(&self, entry: &Entry, _lock: &Lock) -> Result<(), StoreError> {
        self.give_up_name(entry)?;
        self.hidden(entry).map(drop)
    }

    /// Renames its directory, unless that was done before, and gives the new name.
    fn hidden(&self, entry: &Entry) -> Result<String, StoreError> {
        let hidden = format!("{}{}", sweep::REMOVED, entry.id());
        match fs::renameat(&self.sandboxes, entry.id().as_str(), &self.sandboxes, &hidden) {
            Ok(()) => Ok(hidden),
            Err(Errno::NOENT) if fs::statat(&self.sandboxes, &hidden, AtFlags::SYMLINK_NOFOLLOW).is_ok() => Ok(hidden),
            Err(errno) => Err(StoreError::io("remove", entry.path(), errno)),
        }
    }

    fn give_up_name(&self, entry: &Entry) -> Result<(), StoreError> {
        match entry.name()? {
            Some(name) => self.release_name(&name, entry.id()),
            None => Ok(()),
        }
    }

    /// The rest of a removal, for one whose directory is called `hidden` by now.
    fn finish_removal(&self, entry: &Entry, hidden: &str) -> Result<(), StoreError> {
        let failed = |errno| StoreError::io("remove", self.path.join(SANDBOXES).join(hidden), errno);
        self.give_up_name(entry)?;
        tree::empty(entry.dir(), c"lock", u64::MAX).map_err(failed)?;
        // The lock goes last: as long as it is there, whoever holds it is seen to.
        for (dir, name, flags) in
            [(entry.dir(), LOCK, AtFlags::empty()), (self.sandboxes.as_fd(), hidden, AtFlags::REMOVEDIR)]
        {
            match fs::unlinkat(dir, name, flags) {
                // Not empty: a sweep has made a lock to finish the same removal, and will.
                Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }
}

/// What a project is called where something is kept for it: a digest of its path.
pub(crate) fn key(project: &Path) -> String {
    let digest = Sha256::digest(project.as_os_str().as_encoded_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Where this user's state is.
fn own_path() -> Result<PathBuf, StoreError> {
    if let Some(path) = std::env::var_os("AGENTKERNEL_STATE_DIR").map(PathBuf::from) {
        // Other state than the one that was meant would be a surprise; the base directory specification wants a
        // relative `XDG_STATE_HOME` ignored.
        return if path.is_absolute() { Ok(path) } else { Err(StoreError::RelativePlace(path)) };
    }
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/agentkernel".into());
    }
    let path = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    Ok(path.ok_or(StoreError::NoPlace)?.join("agentkernel"))
}

/// Opens a directory of the state, and makes it if it is missing.
pub(crate) fn subdirectory(root: BorrowedFd<'_>, path: &Path, name: &str) -> Result<OwnedFd, StoreError> {
    let open = || fs::openat(root, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    let dir = match open() {
        Err(Errno::NOENT) => {
            match fs::mkdirat(root, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(StoreError::io("create", path.join(name), errno)),
            }
            open()
        }
        other => other,
    };
    let dir = dir.map_err(|errno| StoreError::io("open", path.join(name), errno))?;
    check_owner(&dir, &path.join(name))?;
    Ok(dir)
}

/// Refuses a directory that somebody else could write.
fn check_owner(dir: &OwnedFd, path: &Path) -> Result<(), StoreError> {
    let stat = fs::fstat(dir).map_err(|errno| StoreError::io("open", path, errno))?;
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != us {
        return Err(StoreError::Owner { path: path.into(), owner: stat.st_uid, us });
    }
    if Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH) {
        return Err(StoreError::Mode { path: path.into(), mode: stat.st_mode & 0o7777 });
    }
    Ok(())
}

/// Refuses a layout that we don't know; writes ours down where there is none yet.
fn check_version(root: BorrowedFd<'_>, path: &Path) -> Result<(), StoreError> {
    match record::read::<()>(root, path, VERSION)? {
        Some(()) => Ok(()),
        None => record::write(root, path, VERSION, &(), Durable::No),
    }
}

/// The path by which the kernel knows an open descriptor of this process: short, whatever the file's own path is.
fn magic_link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
