//! `agents update`: hides that the old version stays until the new one has answered.

use super::super::{
    Failure, Status, for_each,
    throwaway::{MadeOf, Throwaway},
};
use super::install::{LATEST, Workshop, reference};
use super::{find, forget, installed, parts};
use crate::{agents::Adapter, config::NetworkOverrides};
use clap::Args;
use std::time::Duration;
use wire::Exit;

/// How long an agent may take to say its version.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much of what it says is kept.
const ANSWER: usize = 4096;

#[derive(Debug, Args)]
pub(super) struct Update {
    /// Tell nothing but mistakes
    #[arg(short, long)]
    quiet: bool,
    /// Names of agents, with '@VERSION' that version; without any, all that are installed
    #[arg(value_name = "AGENT")]
    agents: Vec<String>,
}

impl Update {
    pub(super) fn run(self) -> Status {
        let workshop = Workshop::open(self.quiet)?;
        let mut agents = self.agents;
        if agents.is_empty() {
            let tags = workshop.images.tags()?;
            agents = tags.iter().filter_map(|tag| Some(Adapter::of_image(&tag.reference)?.0.to_owned())).collect();
            agents.dedup();
        }
        let status = for_each(&agents, |text| {
            let (name, version) = parts(text);
            let adapter = find(&workshop.store, &workshop.adapters, name)?;
            let adapter = workshop.at(&adapter, version.unwrap_or(LATEST))?;
            let version = adapter.version.clone();
            let (_, used) = installed(&workshop.images.tags()?, name);
            if used.as_ref() == Some(&version) {
                return workshop.tell(&format!("{name} {version} is the newest\n"));
            }
            let (record, new) = workshop.install(&adapter)?;
            if let Err(failure) = answers(&adapter) {
                if new {
                    forget(&workshop.images, name, |there| there == version)?;
                }
                return Err(failure);
            }
            workshop.images.tag(&reference(adapter.used())?, &record.manifest)?;
            let Some(old) = used else { return workshop.tell(&format!("{name} {version}\n")) };
            forget(&workshop.images, name, |there| there == old)?;
            workshop.tell(&format!("{name} {version}, was {old}\n"))
        })?;
        workshop.images.prune(&workshop.store, false, false)?;
        Ok(status)
    }
}

/// Whether an agent says its version, in a sandbox of its own that reaches nothing.
fn answers(adapter: &Adapter) -> Result<(), Failure> {
    let Adapter { title, version, .. } = adapter;
    let layers = vec![reference(adapter.reference(version))?];
    let made = MadeOf { layers, timeout: Some(PATIENCE), ..MadeOf::default() };
    // Not every user may limit memory.
    let mut sandbox = Throwaway::start(&made, None, None, None, None, NetworkOverrides::default())?;
    let argv = [adapter.command.as_slice(), &["--version".to_owned()]].concat();
    let exec = sandbox.exec(&argv);
    let refused = |why: String| {
        Failure::new(format!("{title} {version} does not answer `--version`: {why}"))
            .hint("The version that was there is still used")
    };
    let captured = sandbox.client.capture(exec, ANSWER, None).map_err(|error| refused(wire::cause(&error)))?;
    match captured.exit {
        Exit::Code(0) => Ok(()),
        exit => Err(refused(format!("it ends with status {}", exit.status()))),
    }
}
