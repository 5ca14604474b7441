//! `create`, `list`, `start`, `stop`, `rm`: sandboxes that stay.

use super::{MadeOf, Worker, of_client, of_store};
use crate::{
    Name, Spec,
    client::{self, ClientError, Found},
    config::Overrides,
    mcp::frames::{self, Word},
    store::{Entry, Lock, State, Store, StoreError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wire::{Exit, Failure};

/// How long programs may take for their end.
const GRACE: Duration = Duration::from_secs(10);

/// What `create` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Create {
    /// What it is called; without, it gets a name.
    #[serde(default)]
    name: Option<String>,
    #[serde(flatten)]
    made: MadeOf,
}

/// What names a sandbox.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Named {
    /// Name or id of a sandbox of this project.
    pub(super) sandbox: String,
}

/// What `rm` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Rm {
    /// Name or id of a sandbox of this project.
    sandbox: String,
    /// End it first if it runs.
    #[serde(default)]
    force: bool,
}

/// A sandbox.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Sandbox {
    id: String,
    name: Option<String>,
    /// "created", "running", "exited" or "lost".
    status: &'static str,
    /// The project that it is for: what binds it to this client.
    project: String,
    /// How it sees that: "direct" or "overlay".
    workspace: &'static str,
    image: String,
    /// What it may reach: "none", "allow" (what is allowed) or "open".
    network: String,
    /// Whether its files stay when it ends.
    kept: bool,
}

/// Sandboxes.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Sandboxes {
    sandboxes: Vec<Sandbox>,
}

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Removed {
    /// The sandbox that is gone.
    removed: String,
}

impl Sandbox {
    fn of(spec: &Spec, state: Option<&State>) -> Self {
        Self {
            id: spec.id.to_string(),
            name: spec.name.clone().map(String::from),
            status: match state {
                Some(State::Created) => "created",
                Some(State::Running { .. }) => "running",
                Some(State::Exited { exit: Exit::Lost, .. }) | None => "lost",
                Some(State::Exited { .. }) => "exited",
            },
            project: spec.project().map_or_else(String::new, |dir| dir.display().to_string()),
            workspace: match &spec.workspace {
                crate::Workspace::None => "none",
                crate::Workspace::Direct { .. } => "direct",
                crate::Workspace::Overlay { .. } => "overlay",
            },
            image: spec.image.to_string(),
            network: spec.network.policy.rules.mode.to_string(),
            kept: spec.keep,
        }
    }
}

impl Worker<'_> {
    /// Makes a sandbox of the project that this process is in, which must be one of the client's; after a checkpoint, if it
    /// is said before what.
    pub(super) fn make(&self, overrides: &Overrides, before: Option<&str>) -> Result<(Spec, Entry, Lock), Failure> {
        let (spec, entry, lock) = self.starter.make(&self.store, overrides)?;
        let fit = if !self.is_ours(&spec) {
            Err(Failure {
                cause: "The project's agentkernel.toml keeps the project out of its sandboxes".into(),
                hint: "Say with 'workspace' how this one sees it".into(),
            })
        } else if let Some(before) = before {
            self.starter.checkpoint(&self.store, &spec, before)
        } else {
            Ok(())
        };
        match fit {
            Ok(()) => Ok((spec, entry, lock)),
            Err(failure) => {
                // There is nothing in it yet.
                self.store.remove(entry, lock).map_err(of_store)?;
                Err(failure)
            }
        }
    }

    pub(super) fn create(&self, Create { name, made }: Create) -> Result<Sandbox, Failure> {
        self.enter(made.root.as_deref())?;
        let mut overrides = made.overrides(&self.roots)?;
        overrides.name = name.map(Name::try_from).transpose().map_err(Failure::from)?;
        overrides.keep = Some(true);
        let (spec, entry, lock) = self.make(&overrides, made.checkpoint.then_some("create"))?;
        let same = self.store.find(spec.id.as_str()).map_err(of_store)?;
        let started = self.starter.start(Store::open().map_err(of_store)?, entry, lock, spec.clone());
        let told = started.and_then(|()| {
            let sandbox = Sandbox::of(&spec, same.state().ok().as_ref());
            self.hand_over(&sandbox).map(|()| sandbox)
        });
        // It is not left to somebody who does not know of it: who has cancelled the call, say.
        if told.is_err()
            && let Ok(Some(lock)) = client::end(&same, Duration::ZERO, true)
        {
            let _ = client::remove(&self.store, same, lock);
        }
        told
    }

    /// Tells the server what was made, and waits for its word that the client hears of it.
    fn hand_over(&self, made: &Sandbox) -> Result<(), Failure> {
        let made = serde_json::to_value(made).map_err(|error| Failure::from(error.to_string()))?;
        let heard = frames::send(self.server, &Word::Made(made)).and_then(|()| frames::receive(self.server));
        heard.map_err(|error| Failure::from(format!("The call was cancelled: {error}")))
    }

    pub(super) fn list(&self) -> Result<Sandboxes, Failure> {
        let listed = self.store.list().map_err(of_store)?;
        let ours = listed.into_iter().filter_map(|listed| Some((listed.spec.ok()?, listed.state.ok())));
        let ours = ours.filter(|(spec, _)| self.is_ours(spec));
        Ok(Sandboxes { sandboxes: ours.map(|(spec, state)| Sandbox::of(&spec, state.as_ref())).collect() })
    }

    pub(super) fn start(&self, Named { sandbox }: Named) -> Result<Sandbox, Failure> {
        let (entry, spec) = self.find(&sandbox)?;
        self.protects_roots(&spec)?;
        if let Found::Idle(lock) = client::find_settled(&entry).map_err(of_client)? {
            let same = self.store.find(spec.id.as_str()).map_err(of_store)?;
            self.starter.start(Store::open().map_err(of_store)?, same, lock, spec.clone())?;
        }
        Ok(Sandbox::of(&spec, entry.state().ok().as_ref()))
    }

    pub(super) fn stop(&self, Named { sandbox }: Named) -> Result<Sandbox, Failure> {
        let (entry, spec) = self.find(&sandbox)?;
        let lock = client::end(&entry, GRACE, false).map_err(of_client)?;
        let state = entry.state().ok();
        drop(lock);
        Ok(Sandbox::of(&spec, state.as_ref()))
    }

    pub(super) fn rm(&self, Rm { sandbox, force }: Rm) -> Result<Removed, Failure> {
        let (entry, spec) = self.find(&sandbox)?;
        let lock = if force {
            client::end(&entry, Duration::ZERO, true).map_err(of_client)?
        } else {
            match client::find_settled(&entry) {
                Ok(Found::Idle(lock)) => Some(lock),
                Ok(Found::Running(_)) => {
                    return Err(Failure {
                        cause: format!("Sandbox {sandbox} runs"),
                        hint: "'stop' ends it, and 'force' does so here".into(),
                    });
                }
                Err(ClientError::Store(StoreError::NotFound { .. })) => None,
                Err(error) => return Err(of_client(error)),
            }
        };
        // Without, somebody else has removed it.
        if let Some(lock) = lock {
            client::remove(&self.store, entry, lock).map_err(of_store)?;
        }
        Ok(Removed { removed: spec.id.to_string() })
    }
}
