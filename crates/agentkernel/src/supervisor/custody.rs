//! The sandbox's place in the store, as long as its supervisor holds it: the lock, the records, the log.

use crate::{
    Name,
    store::{AuditWriter, Entry, Lock, LogWriter, State, Store, StoreError},
};
use egress::{Policy, control::Published};
use std::os::unix::net::UnixListener;

/// What of the store is a supervisor's until the sandbox has ended.
pub(super) struct Custody {
    store: Store,
    held: Option<(Entry, Lock)>,
    keep: bool,
    /// Something of it is left outside, which `gc` finds by its record.
    owing: bool,
}

impl Custody {
    pub(super) fn new(store: Store, entry: Entry, lock: Lock, keep: bool) -> Self {
        Self { store, held: Some((entry, lock)), keep, owing: false }
    }

    /// Lets others start the sandbox again, or removes one that is not kept.
    pub(super) fn end(&mut self) {
        if let Some((entry, lock)) = self.held.take() {
            if self.keep || self.owing {
                drop(lock);
            } else {
                // What cannot be removed now is left to `gc`: nobody is there to be told.
                let _ = self.store.remove(entry, lock);
            }
        }
    }

    /// Keeps its record, even if it is not kept itself: not all of it could be removed.
    pub(super) fn owe(&mut self) {
        self.owing = true;
    }

    pub(super) fn place(&self) -> Result<crate::backend::Place, StoreError> {
        let (entry, _) = self.held()?;
        self.store.place(entry)
    }

    pub(super) fn listen(&self) -> Result<UnixListener, StoreError> {
        let (entry, lock) = self.held()?;
        entry.listen(lock)
    }

    /// How it was before it is started.
    pub(super) fn state_before(&self) -> Result<State, StoreError> {
        let (entry, lock) = self.held()?;
        entry.state_before(lock)
    }

    pub(super) fn write_state(&self, state: &State) -> Result<(), StoreError> {
        let (entry, lock) = self.held()?;
        entry.write_state(lock, state)
    }

    pub(super) fn log_writer(&self) -> Result<LogWriter, StoreError> {
        let (entry, lock) = self.held()?;
        entry.log_writer(lock)
    }

    /// Where it is told what was reached.
    pub(super) fn audit(&self) -> Result<AuditWriter, StoreError> {
        self.store.audit_writer()
    }

    /// Puts on record what it may reach from now on.
    pub(super) fn change_network(&self, policy: Policy, ports: Vec<Published>) -> Result<(), StoreError> {
        let (entry, lock) = self.held()?;
        let mut spec = entry.spec()?;
        (spec.network.policy, spec.network.ports) = (policy, ports);
        entry.write_spec(lock, &spec)
    }

    /// Its present name.
    pub(super) fn name(&self) -> Result<Option<Name>, StoreError> {
        let (entry, _) = self.held()?;
        entry.name()
    }

    /// Lets nobody see it any more, and lets others have its name.
    pub(super) fn hide(&self) -> Result<(), StoreError> {
        let (entry, lock) = self.held()?;
        self.store.hide(entry, lock)
    }

    fn held(&self) -> Result<&(Entry, Lock), StoreError> {
        // After its end the sandbox is another's, or nobody's.
        self.held.as_ref().ok_or_else(|| StoreError::NotFound { reference: String::new(), nearest: None })
    }
}
