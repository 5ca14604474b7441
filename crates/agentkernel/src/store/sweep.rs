//! Garbage collection: what a killed process left behind, found by the locks that nobody holds any more.

use super::{Entry, Lock, SANDBOXES, State, Store, StoreError, entry, record};
use crate::{Name, Place, SandboxId};
use rustix::{
    fd::AsFd,
    fs::{AtFlags, Dir, unlinkat},
};
use std::io;

/// Begins the name of a directory whose sandbox is being removed.
pub(super) const REMOVED: &str = ".rm-";

/// One thing that a sweep found.
#[derive(Debug)]
pub struct Swept {
    /// What it was.
    pub what: Sweeping,
    /// The sandbox it was about.
    pub id: SandboxId,
    /// Why it is still there; `None` if it is gone (or would be, in a dry run).
    pub error: Option<StoreError>,
}

/// What a sweep does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sweeping {
    /// Removes an ephemeral sandbox whose supervisor died.
    Ephemeral,
    /// Removes what a killed `create` left.
    HalfMade,
    /// Finishes a removal that was interrupted.
    Removal,
    /// Records that a kept sandbox was lost; its files stay.
    Lost,
    /// Removes a name that no sandbox has any more.
    Name(Name),
}

/// Releases what a dead sandbox's backend may have left on the host: cgroups, id ranges.
type Release<'a> = &'a mut dyn FnMut(&Entry, &Place) -> io::Result<()>;

impl Store {
    /// Clears what killed processes left. Sandboxes that run, and kept ones' files, are not touched. `release` is
    /// called for every sandbox that does not run, before anything else is done to it; if it fails, the sandbox
    /// stays for the next sweep. A dry run only tells.
    ///
    /// # Errors
    /// If the state directory can't be read. What goes wrong with one sandbox is told in its [`Swept::error`].
    pub fn sweep(&self, dry_run: bool, release: Release<'_>) -> Result<Vec<Swept>, StoreError> {
        // One sweep at a time: the shared locks below keep starts out, not other sweeps.
        let _lock = self.lock_directory(SANDBOXES)?;
        let mut found = Vec::new();
        for directory in self.directory_names(self.sandboxes.as_fd(), SANDBOXES)? {
            let removed = directory.strip_prefix(REMOVED);
            let Ok(id) = SandboxId::try_from(removed.unwrap_or(&directory).to_owned()) else { continue };
            let mut what = None;
            let done = match (self.raw(&directory, &id), removed) {
                (Ok(None), _) => continue,
                (Err(error), _) => Err(error),
                (Ok(Some(entry)), Some(_)) => self.sweep_removed(&entry, &directory, dry_run, release, &mut what),
                (Ok(Some(entry)), None) => self.sweep_entry(entry, dry_run, release, &mut what),
            };
            let error = match done {
                // Someone else was quicker.
                Err(StoreError::NotFound { .. }) => continue,
                other => other.err(),
            };
            match (what, error) {
                (None, None) => {}
                (what, error) => found.push(Swept { what: what.unwrap_or(Sweeping::Removal), id, error }),
            }
        }
        self.sweep_names(dry_run, &mut found)?;
        Ok(found)
    }

    fn sweep_removed(
        &self,
        entry: &Entry,
        directory: &str,
        dry_run: bool,
        release: Release<'_>,
        what: &mut Option<Sweeping>,
    ) -> Result<(), StoreError> {
        let Some(_lock) = entry.make_lock()? else { return Ok(()) };
        *what = Some(Sweeping::Removal);
        if dry_run {
            return Ok(());
        }
        // It may have been hidden before its end was over.
        self.release(entry, release)?;
        self.finish_removal(entry, directory)
    }

    fn sweep_entry(
        &self,
        entry: Entry,
        dry_run: bool,
        release: Release<'_>,
        what: &mut Option<Sweeping>,
    ) -> Result<(), StoreError> {
        // `Entry::get` would hide half-made ones.
        let spec = match entry.spec() {
            Ok(spec) => spec,
            Err(StoreError::Damaged { .. }) if self.get(entry.id())?.is_none() => {
                // A dry run must not make the lock that shows it half-made: who makes it holds it at once.
                let lock = if dry_run { entry.look() } else { entry.make_lock() };
                return match lock {
                    Ok(None) => Ok(()),
                    Err(StoreError::NotFound { .. }) if dry_run => {
                        *what = Some(Sweeping::HalfMade);
                        Ok(())
                    }
                    Err(error) => Err(error),
                    // Between our two looks it may have been finished, and let go.
                    Ok(Some(_)) if self.get(entry.id())?.is_some() => Ok(()),
                    Ok(Some(lock)) => {
                        *what = Some(Sweeping::HalfMade);
                        if dry_run { Ok(()) } else { self.remove(entry, lock) }
                    }
                };
            }
            // Damaged or newer: not ours to judge. `ps` shows it, `rm` removes it.
            Err(_) => return Ok(()),
        };
        if spec.keep {
            self.sweep_kept(&entry, dry_run, release, what)
        } else {
            self.sweep_ephemeral(entry, dry_run, release, what)
        }
    }

    fn sweep_ephemeral(
        &self,
        entry: Entry,
        dry_run: bool,
        release: Release<'_>,
        what: &mut Option<Sweeping>,
    ) -> Result<(), StoreError> {
        let lock = if dry_run { entry.look()? } else { entry.try_lock()? };
        let Some(lock) = lock else { return Ok(()) };
        *what = Some(Sweeping::Ephemeral);
        if dry_run {
            return Ok(());
        }
        self.release(&entry, release)?;
        self.remove(entry, lock)
    }

    fn sweep_kept(
        &self,
        entry: &Entry,
        dry_run: bool,
        release: Release<'_>,
        what: &mut Option<Sweeping>,
    ) -> Result<(), StoreError> {
        // Shared: a `start` that comes now waits a moment instead of being told that the sandbox runs.
        let Some(lock) = entry.look()? else { return Ok(()) };
        let state = entry.recorded()?;
        let lost = matches!(state, State::Running { .. });
        if lost {
            *what = Some(Sweeping::Lost);
        }
        if dry_run {
            return Ok(());
        }
        self.release(entry, release)?;
        if lost {
            entry.write_state(&lock, &state.lost())?;
        }
        remove_temporaries(entry, &lock)
    }

    fn release(&self, entry: &Entry, release: Release<'_>) -> Result<(), StoreError> {
        let failed = |source| StoreError::Release { id: entry.id().clone(), path: entry.path().into(), source };
        release(entry, &self.place(entry)?).map_err(failed)
    }

    fn sweep_names(&self, dry_run: bool, found: &mut Vec<Swept>) -> Result<(), StoreError> {
        let _lock = self.lock_names()?;
        for name in self.all_names()? {
            let Some(id) = self.holder(&name)? else { continue };
            if self.has_name(&id, &name)? {
                continue;
            }
            let error = if dry_run { None } else { self.unlink_any(&name).err() };
            found.push(Swept { what: Sweeping::Name(name), id, error });
        }
        Ok(())
    }
}

/// Removes records that were being written when their writer was killed.
fn remove_temporaries(entry: &Entry, _lock: &Lock) -> Result<(), StoreError> {
    let remove = || {
        for file in Dir::read_from(entry.dir())? {
            let file = file?;
            let name = file.file_name().to_bytes();
            // A rename takes place under the lock of the names, not under this one, and uses one name over and over.
            if name.starts_with(record::TEMPORARY.as_bytes()) && name != entry::TEMPORARY_NAME.as_bytes() {
                unlinkat(entry.dir(), file.file_name(), AtFlags::empty())?;
            }
        }
        Ok(())
    };
    remove().map_err(|errno: rustix::io::Errno| StoreError::io("sweep", entry.path(), errno))
}
