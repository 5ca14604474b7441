//! `rename` and `trust`.

use super::{Failure, Status, print};
use crate::{Name, config, store::Store};
use clap::Args;

/// Give a sandbox another name.
#[derive(Debug, Args)]
pub(super) struct Rename {
    /// Name, id or prefix of an id
    sandbox: String,
    /// The new name
    name: String,
}

impl Rename {
    pub(super) fn run(self) -> Status {
        let name = Name::try_from(self.name).map_err(Failure::new)?;
        let store = Store::open()?;
        let entry = store.find(&self.sandbox)?;
        store.rename(&entry, &name)?;
        Ok(0)
    }
}

/// Accept this project's agentkernel.toml, as it is now.
#[derive(Debug, Args)]
pub(super) struct Trust {}

impl Trust {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let path = config::trust_current(&store)?;
        print(&format!("Trusted {} until it changes\n", path.display()))?;
        Ok(0)
    }
}
