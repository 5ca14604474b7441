//! `policy`: from what a command reaches to what it should be allowed to reach.

use super::{
    Failure, Status,
    args::SandboxArgs,
    failure::OWN,
    print, report,
    run::{Course, Run},
};
use crate::{
    SandboxId,
    config::{self, FILE_NAME, HostFacts, Project},
    store::{AuditEvent, Store},
};
use clap::{Args, Subcommand};
use egress::{Host, Mode, Target};
use std::{collections::BTreeSet, ffi::OsString, path::PathBuf};

/// From what a command reaches to a policy that allows just that.
#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Run a command with the network open, and print what it reached as a patch of agentkernel.toml
    Learn(Learn),
}

impl Policy {
    pub(super) fn run(self) -> Status {
        let PolicyCommand::Learn(learn) = self.command;
        learn.run()
    }
}

#[derive(Debug, Args)]
struct Learn {
    #[command(flatten)]
    sandbox: SandboxArgs,
    /// Write the patch to this file: what the command itself prints goes to standard output as well
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Learn {
    fn run(mut self) -> Status {
        let mode = self.sandbox.network.open_up();
        if mode == Some(Mode::None) {
            let failure = Failure::new("Nothing can be learned with the network mode 'none'").hint("Leave --net out");
            return Err(failure.status(OWN));
        }
        let mut course = Course::default();
        let result = Run::once(self.sandbox, self.command).follow(&mut course);
        let Some(id) = &course.id else { return result };
        let (reached, refused) = seen(id)?;
        if !refused.is_empty() {
            let names: Vec<String> = refused.iter().map(ToString::to_string).collect();
            report(
                &Failure::new(format!("Not reached, though the network was open: {}", names.join(", ")))
                    .hint("'agentkernel net log --denied' tells why; what must be named can be added by hand"),
            );
        }
        let project = Project::find(&HostFacts::read()?)?;
        let patch = config::learned(project.text(), &reached.into_iter().collect::<Vec<_>>());
        if patch.is_empty() {
            let words = format!("It reached nothing that {FILE_NAME} does not allow already");
            report(&Failure::new(words));
        } else {
            match &self.output {
                Some(path) => std::fs::write(path, patch)
                    .map_err(|error| Failure::new(format!("Can't write {}: {error}", path.display())))?,
                None => print(&patch)?,
            }
        }
        result
    }
}

/// What a sandbox reached, and what it was refused and never reached.
fn seen(id: &SandboxId) -> Result<(BTreeSet<Target>, BTreeSet<Target>), Failure> {
    let (mut reached, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let mut reader = Store::open()?.audit_reader()?;
    while let Some(record) = reader.next_record()? {
        let Ok(host) = Host::parse(&record.host) else { continue };
        let target = Target { host, port: record.port };
        match record.event {
            _ if record.sandbox != *id => {}
            AuditEvent::Opened { .. } => {
                reached.insert(target);
            }
            AuditEvent::Refused { denied: true, request: None, .. } => {
                refused.insert(target);
            }
            _ => {}
        }
    }
    refused.retain(|target| !reached.contains(target));
    Ok((reached, refused))
}
