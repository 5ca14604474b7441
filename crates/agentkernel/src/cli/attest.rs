//! `attest`: the probe's attacks on a sandbox as `run` makes it, on this host.

use super::{
    Failure, Status, print, print_json,
    table::{printable, render},
    throwaway::{MadeOf, Throwaway},
};
use crate::{
    attest::{self, AttestError, Plan, Progress, Ran, Sandbox, SandboxError},
    client::{self, Interrupts},
    config::NetworkOverrides,
    guest,
    store::Store,
};
use clap::Args;
use egress::{Mode, Rule, Target};
use std::{
    io::Write,
    net::SocketAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
};
use wire::OsBytes;

const MIB: u64 = 1 << 20;
/// The limits of the sandbox under attack: the bombs go a little beyond them, inside and outside.
const MEMORY: u64 = 96 * MIB;
const PIDS: u64 = 64;
const DISK: u64 = 32 * MIB;

/// An answer of the probe is one line.
const ANSWER: usize = 64 << 10;

/// Attack a sandbox with every known escape and tell which walls hold.
///
/// Each attempt is first made outside, on canaries, to show that it can succeed; then in a sandbox like those of
/// 'run'. The exit status is 0 if every wall held, 1 if one fell, 2 if none fell but some attempts could not be made.
#[derive(Debug, Args)]
pub(super) struct Attest {
    /// Print the cases and attack nothing
    #[arg(long)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    made: MadeOf,
    /// Only these, by name or class
    #[arg(value_name = "CASE|CLASS")]
    only: Vec<String>,
}

impl Attest {
    pub(super) fn run(self) -> Status {
        if self.list {
            return self.list();
        }
        let interrupts = Interrupts::hold()?;
        let store = Store::open()?;
        let cases = attest::cases(guest::PROBE, &self.only).map_err(|error| failure(&error, &interrupts))?;
        // Only the bombs need limits.
        let bombs = cases.iter().any(|case| case.class == "resources");
        let unlimited = if bombs { refused_limits(&self.made)? } else { Some("no bomb was asked for".to_owned()) };
        let (memory, pids) = if unlimited.is_none() { (Some(MEMORY), Some(PIDS)) } else { (None, None) };
        let disk = self.made.has_disk_limit().then_some(DISK);
        let plan = Plan {
            probe: guest::PROBE,
            unlimited: unlimited.as_deref(),
            memory,
            pids,
            disk,
            state: Some(store.path()),
            only: &self.only,
        };
        let open = |workspace: &Path, services: &[SocketAddr]| {
            // The canaries go when their keeper's pipe ends, so nobody else may hold it.
            client::withhold_descriptors();
            let sandbox = Throwaway::start(&self.made, Some(workspace), memory, pids, disk, open_to(services));
            sandbox
                .map(|sandbox| Attacked { sandbox, interrupts: &interrupts })
                .map_err(|failure| failure.one_line().into())
        };
        let shown = client::is_terminal().error;
        let report = attest::attest(&plan, open, |at| {
            if shown {
                show(at);
            }
            if interrupts.came() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let report = report.map_err(|error| failure(&error, &interrupts))?;
        if self.json {
            let text = report.to_json().map_err(|error| Failure::chain(&error))?;
            print(&(text + "\n"))?;
        } else {
            print(&report.to_string().lines().map(|line| printable(line) + "\n").collect::<String>())?;
        }
        Ok(report.status())
    }

    fn list(&self) -> Status {
        let cases = attest::cases(guest::PROBE, &self.only).map_err(|error| Failure::chain(&error))?;
        if self.json {
            print_json(&cases)?;
        } else {
            let rows: Vec<_> = cases.into_iter().map(|case| vec![case.name, case.class, case.means]).collect();
            print(&render(&["CASE", "CLASS", "WOULD MEAN"], &rows))?;
        }
        Ok(0)
    }
}

fn failure(error: &AttestError, interrupts: &Interrupts) -> Failure {
    let failure = Failure::chain(error);
    match error {
        AttestError::Interrupted => {
            failure.status(128 + interrupts.take().and_then(|n| u8::try_from(n).ok()).unwrap_or(2))
        }
        AttestError::Case(_) => failure.hint("'agentkernel attest --list' prints them all"),
        _ => failure,
    }
}

fn show(at: Progress) {
    let half = at.all / 2;
    let (made, where_) = if at.made < half { (at.made, "outside") } else { (at.made - half, "in a sandbox") };
    let _ = write!(std::io::stderr(), "\r\x1b[K{made} of {half} attacks {where_}");
}

/// Why no sandbox with limits can be made here; `None` if one can. Also the first to notice if none can be made at all.
fn refused_limits(made: &MadeOf) -> Result<Option<String>, Failure> {
    let start = |memory, pids| {
        client::withhold_descriptors();
        let disk = made.has_disk_limit().then_some(DISK);
        Throwaway::start(made, None, memory, pids, disk, NetworkOverrides::default()).map(drop)
    };
    let Err(refused) = start(Some(MEMORY), Some(PIDS)) else { return Ok(None) };
    start(None, None).map(|()| Some(refused.one_line()))
}

/// As much of the network as a policy can give, and of this host these services: what stands then stands always.
fn open_to(services: &[SocketAddr]) -> NetworkOverrides {
    let rule = |service: &SocketAddr| Rule::exactly(&Target { host: service.ip().into(), port: service.port() });
    NetworkOverrides {
        mode: Some(Mode::Open),
        allow: services.iter().map(rule).collect(),
        ..NetworkOverrides::default()
    }
}

/// The sandbox under attack.
struct Attacked<'a> {
    sandbox: Throwaway,
    interrupts: &'a Interrupts,
}

impl Sandbox for Attacked<'_> {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, SandboxError> {
        let user = self.sandbox.user();
        client::put_program(&mut self.sandbox.client, bytes, OsBytes(b"/tmp".to_vec()), name, user)?;
        Ok(Path::new("/tmp").join(name))
    }

    fn run(&mut self, argv: &[String]) -> Result<Ran, SandboxError> {
        let captured = self.sandbox.client.capture(self.sandbox.exec(argv), ANSWER, Some(self.interrupts))?;
        Ok(Ran { exit: captured.exit, stdout: captured.stdout })
    }

    fn start(&mut self, argv: &[String]) -> Result<(), SandboxError> {
        Ok(self.sandbox.client.start(self.sandbox.exec(argv))?)
    }
}
