//! `rename` and `trust`.

use super::{Failure, Status, policy, print, table::printable};
use crate::{
    Name,
    agents::Adapters,
    client,
    config::{FILE_NAME, HostFacts, Project, ProjectFile},
    store::Store,
};
use clap::Args;

/// Give a sandbox another name.
#[derive(Debug, Args)]
pub(super) struct Rename {
    /// Name, id or prefix of an id
    sandbox: String,
    /// The new name
    #[arg(value_parser = |text: &str| Name::try_from(text.to_owned()))]
    name: Name,
}

impl Rename {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let entry = store.find(&self.sandbox)?;
        client::rename(&store, &entry, &self.name)?;
        Ok(0)
    }
}

/// Accept this project's agentkernel.toml and the adapters of agents in .agentkernel/agents, as they are now.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// Take it back
    #[arg(long)]
    revoke: bool,
    /// Adapters of agents that lie elsewhere in the project: './my-agent.toml'; these alone
    #[arg(value_name = "FILE")]
    files: Vec<String>,
}

impl Trust {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let host = HostFacts::read()?;
        let project = Project::find(&host)?;
        let held = policy::held(&project)?;
        let adapters = Adapters::of(&host, &project);
        let files: Vec<ProjectFile> = if self.files.is_empty() {
            project.file.into_iter().chain(adapters.of_project()?).collect()
        } else {
            let named = |file: &String| {
                let path = if file.contains('/') { file.clone() } else { format!("./{file}") };
                let found = adapters.find(&path)?.of_project;
                found.ok_or_else(|| Failure::new(format!("{path} is not in the project: it needs no trust")))
            };
            self.files.iter().map(named).collect::<Result<_, Failure>>()?
        };
        if files.is_empty() {
            let cause = format!("There is no {FILE_NAME} in {}", project.dir.display());
            return Err(match held {
                Some(hint) => Failure::new(format!("{cause}: a sandbox that runs keeps it from being made")).hint(hint),
                None => Failure::new(cause),
            });
        }
        for file in &files {
            let path = printable(&file.path.to_string_lossy());
            if self.revoke {
                let was = store.distrust(file)?;
                let word = if was { "No longer trusted" } else { "Was not trusted" };
                print(&format!("{word}: {path}\n"))?;
            } else {
                store.trust(file)?;
                print(&format!("Trusted as it is now: {path}\n"))?;
            }
        }
        Ok(0)
    }
}
