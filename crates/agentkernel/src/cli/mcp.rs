//! `mcp`: sandboxes for a model that works on this host, by the Model Context Protocol.

use super::{Failure, Status, run, undo};
use crate::{
    Spec,
    client::Client,
    config::{HostFacts, Overrides, Project},
    mcp::{self, Starter},
    store::{Entry, Lock, Store},
    workspace::Restored,
};
use clap::Args;
use std::path::Path;

/// Serve agents on this host, by the Model Context Protocol: they run what is risky in sandboxes.
///
/// An agent or editor starts this and speaks to it on standard input and output. It sees sandboxes of the client's roots
/// only, or of the directory that it is started in.
#[derive(Debug, Args)]
pub(super) struct Mcp {}

impl Mcp {
    pub(super) fn run(self) -> Status {
        mcp::serve(&Ours).map(|()| 0).map_err(Failure::from)
    }
}

/// Sandboxes as the commands make them.
struct Ours;

impl Starter for Ours {
    fn project(&self, store: &Store, host: &HostFacts) -> Result<Project, wire::Failure> {
        Ok(run::project(store, host, false)?)
    }

    fn make(&self, store: &Store, overrides: &Overrides) -> Result<(Spec, Entry, Lock), wire::Failure> {
        Ok(run::make(overrides, None, false, store)?)
    }

    fn launch(&self, store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<Client, wire::Failure> {
        Ok(run::launch(store, entry, lock, spec)?)
    }

    fn start(&self, store: Store, entry: Entry, lock: Lock, spec: Spec) -> Result<(), wire::Failure> {
        Ok(run::start_kept(store, entry, lock, spec)?)
    }

    fn checkpoint(&self, store: &Store, spec: &Spec) -> Result<(), wire::Failure> {
        Ok(undo::take(store, spec, "Leave `checkpoint` out")?)
    }

    fn undo(
        &self,
        store: &Store,
        project: &Path,
        number: Option<u32>,
        dry_run: bool,
    ) -> Result<Restored, wire::Failure> {
        Ok(undo::go_back(store, project, number, dry_run, true)?)
    }
}
