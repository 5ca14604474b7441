//! `acp`: an agent in a sandbox for an editor, by the Agent Client Protocol.

use super::{
    Failure, Status,
    agents::{AskArgs, CommonArgs, Wanted},
    args::SandboxArgs,
    exec::Exec,
    failure::OWN,
    report,
    run::{self, Beginning, Course},
};
use crate::{
    Spec,
    acp::{self, End, Order, Terminals},
    client::{self, Client},
    config::{HostFacts, WorkspaceMode},
    store::{Store, StoreError},
};
use clap::Args;
use rustix::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

/// Let an editor work with an agent in a new sandbox of this project, by the Agent Client Protocol.
///
/// The editor starts this in the project's directory, in the place of the agent, and speaks to it on standard input and
/// output. The sandbox is that of 'agentkernel run AGENT', and ends with the editor. The agent asks before it acts, where it
/// knows how to, and the editor asks you. What it runs in the editor's terminals runs in the sandbox.
#[derive(Debug, Args)]
pub(super) struct Acp {
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    common: CommonArgs,
    /// Have it ask nobody before it acts: the sandbox is the permission
    #[arg(long)]
    unattended: bool,
    /// The name of an agent, or the path of its adapter: './my-agent.toml'
    #[arg(value_name = "AGENT")]
    agent: String,
    /// Arguments that are passed on to the agent
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

impl Acp {
    pub(super) fn run(self) -> Status {
        // Standard output is the protocol's alone: whatever else is written there goes to standard error.
        let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3).map_err(std::io::Error::from)?;
        rustix::stdio::dup2_stdout(rustix::stdio::stderr()).map_err(std::io::Error::from)?;
        crate::client::withhold_descriptors();
        let result = self.begin();
        if let Err(failure) = &result {
            acp::refuse(output.as_fd(), &failure.one_line());
        }
        let (mut client, spec, terminals) = result.map_err(|failure| failure.status(OWN))?;
        relay(&mut client, &spec, terminals, output)
    }

    fn begin(self) -> Result<(Client, Spec, Terminals), Failure> {
        if self.sandbox.workspace == Some(WorkspaceMode::None) {
            return Err(Failure::new("An editor's agent works in the project, and '--workspace none' leaves that out")
                .hint("Leave it out, or use '--workspace overlay'"));
        }
        let agent = Wanted::of(&self.agent, self.arguments)?;
        let mut overrides = self.sandbox.overrides(Vec::new());
        overrides.keep = Some(false);
        overrides.stdin = true;
        let ask = AskArgs::of_editor(self.common, self.unattended);
        let (mut client, spec) = Beginning { overrides, agent: Some((&agent, ask)), renew: false, checkpoint: false }
            .begin(&mut Course::default())?;
        // Not every agent ends with its input.
        client.tie()?;
        let terminals = Terminals::of(&Store::open()?, &spec);
        Ok((client, spec, terminals))
    }
}

/// Run in the sandbox what its agent wants in a terminal of the editor's, which starts this.
#[derive(Debug, Args)]
pub(super) struct AcpTerminal {
    /// The state directory
    state: PathBuf,
    /// The sandbox's id
    id: String,
    /// What the order is taken by
    token: String,
}

impl AcpTerminal {
    pub(super) fn run(self) -> Status {
        let ours = |failure: Failure| failure.status(OWN);
        let gone =
            || ours(Failure::new("There is nothing to run in this terminal: its agent is gone, or it was run already"));
        let caller = client::caller();
        let store = Store::look_at(&self.state).map_err(|error| ours(error.into()))?.ok_or_else(gone)?;
        let entry = match store.find(&self.id) {
            Err(StoreError::NotFound { .. }) => return Err(gone()),
            found => found.map_err(|error| ours(error.into()))?,
        };
        let order: Order = entry.take_order(&self.token).map_err(|error| ours(error.into()))?.ok_or_else(gone)?;
        Exec::of_order(self.id, order)?.run_in(&store, caller)
    }
}

fn relay(client: &mut Client, spec: &Spec, terminals: Terminals, output: OwnedFd) -> Status {
    let host = HostFacts::read()?;
    match acp::serve(client, spec, &host, terminals, output) {
        Ok(End::Agent(outcome)) => run::conclude(Ok(outcome)),
        Ok(End::Editor) => Ok(0),
        Err(error) => {
            report(&Failure::from(error));
            Ok(OWN)
        }
    }
}
