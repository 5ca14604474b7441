//! `man`, `version`: what is made from the command line itself.

use super::{Cli, Failure, Status, print, print_json};
use clap::{Args, CommandFactory};

/// Print the manual page (`agentkernel man | man -l -`).
#[derive(Debug, Args)]
pub(super) struct Man {
    /// The page of one command
    command: Vec<String>,
}

impl Man {
    pub(super) fn run(self) -> Status {
        let mut cli = Cli::command();
        cli.build();
        let name = self.command.join(" ");
        let command = self.command.iter().try_fold(cli, |command, name| command.find_subcommand(name).cloned());
        let command = command
            .ok_or_else(|| Failure::new(format!("No command '{name}'")).hint("'agentkernel help' lists them"))?;
        let command = match &self.command[..] {
            [] => command,
            names => command.name(format!("agentkernel-{}", names.join("-"))).version(env!("CARGO_PKG_VERSION")),
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        // Of commands it makes references to pages that nobody has installed.
        let lines = String::from_utf8_lossy(&page);
        let lines =
            lines.lines().map(|line| match line.strip_prefix("agentkernel\\-").and_then(|l| l.strip_suffix("(1)")) {
                Some(command) => format!("agentkernel {}\n", command.replace("\\-", " ")),
                None => format!("{line}\n"),
            });
        print(&lines.collect::<String>())?;
        Ok(0)
    }
}

/// Print the version.
#[derive(Debug, Args)]
pub(super) struct Version {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Facts {
    version: &'static str,
    protocol: u16,
    arch: &'static str,
}

impl Version {
    pub(super) fn run(self) -> Status {
        let facts =
            Facts { version: env!("CARGO_PKG_VERSION"), protocol: wire::PROTOCOL, arch: std::env::consts::ARCH };
        if self.json {
            print_json(&facts)?;
        } else {
            print(&format!("agentkernel {} (protocol {}, {})\n", facts.version, facts.protocol, facts.arch))?;
        }
        Ok(0)
    }
}
