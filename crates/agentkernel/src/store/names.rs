//! Names: who has which, decided by the kernel. symlinkat(2) makes a claim unique; a lock on the directory orders
//! everything that takes one away.

use super::{DIRECTORY, Entry, NAMES, Store, StoreError, record};
use crate::{Name, SandboxId};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, AtFlags, FlockOperation, Mode},
    io::Errno,
};

/// A lock on a directory of ours; let go of when dropped.
pub(super) struct DirectoryLock {
    _dir: OwnedFd,
}

impl Store {
    /// Gives the sandbox another name, in one step: before it only the old name finds it, after it only the new one.
    /// A running sandbox keeps its host name.
    ///
    /// # Errors
    /// [`NameTaken`](StoreError::NameTaken), or the system's.
    pub fn rename(&self, entry: &Entry, to: &Name) -> Result<(), StoreError> {
        let _lock = self.lock_names()?;
        let from = entry.name()?;
        if from.as_ref() == Some(to) {
            return Ok(());
        }
        self.claim_locked(to, entry.id())?;
        if let Err(error) = entry.set_name(to) {
            // The claim is worth nothing without it, and a sweep would say the same.
            let _ = fs::unlinkat(&self.names, to.as_str(), AtFlags::empty());
            return Err(error);
        }
        if let Some(from) = from {
            self.unlink_name(&from, entry.id())?;
        }
        if entry.durable() == record::Durable::Yes {
            record::sync(entry.dir(), entry.path())?;
            record::sync(self.names.as_fd(), &self.path.join(NAMES))?;
        }
        Ok(())
    }

    /// Claims `name` for `id`, whose own name link must say so already.
    pub(super) fn claim(&self, name: &Name, id: &SandboxId) -> Result<(), StoreError> {
        match fs::symlinkat(id.as_str(), &self.names, name.as_str()) {
            Err(Errno::EXIST) => {
                let _lock = self.lock_names()?;
                self.claim_locked(name, id)
            }
            other => other.map_err(|errno| self.name_error("claim", name, errno)),
        }
    }

    fn claim_locked(&self, name: &Name, id: &SandboxId) -> Result<(), StoreError> {
        loop {
            match fs::symlinkat(id.as_str(), &self.names, name.as_str()) {
                Err(Errno::EXIST) => {}
                other => return other.map_err(|errno| self.name_error("claim", name, errno)),
            }
            match self.holder(name)? {
                Some(holder) if holder == *id => return Ok(()),
                Some(holder) if self.has_name(&holder, name)? => {
                    return Err(StoreError::NameTaken { name: name.to_string(), id: holder });
                }
                // Left behind by a removal or a rename that was interrupted.
                _ => self.unlink_any(name)?,
            }
        }
    }

    /// Takes `name` away from `id`, if it is still its own.
    pub(super) fn release_name(&self, name: &Name, id: &SandboxId) -> Result<(), StoreError> {
        let _lock = self.lock_names()?;
        self.unlink_name(name, id)
    }

    fn unlink_name(&self, name: &Name, id: &SandboxId) -> Result<(), StoreError> {
        if self.holder(name)?.as_ref() == Some(id) { self.unlink_any(name) } else { Ok(()) }
    }

    /// The caller holds the lock.
    pub(super) fn unlink_any(&self, name: &Name) -> Result<(), StoreError> {
        match fs::unlinkat(&self.names, name.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.name_error("remove", name, errno)),
        }
    }

    /// The sandbox that has this name.
    pub(super) fn named(&self, name: &Name) -> Result<Option<Entry>, StoreError> {
        let Some(id) = self.holder(name)? else { return Ok(None) };
        let Some(entry) = self.get(&id)? else { return Ok(None) };
        Ok((entry.name()?.as_ref() == Some(name)).then_some(entry))
    }

    /// Whether this sandbox, finished or half-made, says that the name is its own.
    pub(super) fn has_name(&self, id: &SandboxId, name: &Name) -> Result<bool, StoreError> {
        let Some(entry) = self.raw(id.as_str(), id)? else { return Ok(false) };
        Ok(entry.name()?.as_ref() == Some(name))
    }

    /// Whom the claim names, valid or stale.
    pub(super) fn holder(&self, name: &Name) -> Result<Option<SandboxId>, StoreError> {
        match fs::readlinkat(&self.names, name.as_str(), Vec::new()) {
            Ok(id) => Ok(id.into_string().ok().and_then(|id| SandboxId::try_from(id).ok())),
            // Not a link: not ours, and nobody's name.
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(self.name_error("read", name, errno)),
        }
    }

    /// Every name that is claimed, valid or stale.
    pub(super) fn all_names(&self) -> Result<Vec<Name>, StoreError> {
        let names = self.directory_names(self.names.as_fd(), NAMES)?;
        Ok(names.into_iter().filter_map(|name| Name::try_from(name).ok()).collect())
    }

    pub(super) fn lock_names(&self) -> Result<DirectoryLock, StoreError> {
        self.lock_directory(NAMES)
    }

    /// Waits until nobody else has this directory of ours locked, and locks it.
    pub(super) fn lock_directory(&self, name: &str) -> Result<DirectoryLock, StoreError> {
        // A description of its own: threads of one process exclude each other as well.
        let failed = |errno| StoreError::io("lock", self.path.join(name), errno);
        let dir = fs::openat(&self.root, name, DIRECTORY, Mode::empty()).map_err(failed)?;
        rustix::io::retry_on_intr(|| fs::flock(&dir, FlockOperation::LockExclusive)).map_err(failed)?;
        Ok(DirectoryLock { _dir: dir })
    }

    fn name_error(&self, action: &'static str, name: &Name, errno: Errno) -> StoreError {
        StoreError::io(action, self.path.join(NAMES).join(name.as_str()), errno)
    }
}
