//! `stop`, `restart`, `rm`, `kill`, `wait`.

use super::{Failure, Status, for_each, print, run};
use crate::{
    client::{self, Client, ClientError, Found},
    config::{parse_duration, parse_signal},
    store::{State, Store, StoreError},
};
use clap::Args;
use rustix::process::Signal;
use std::time::Duration;
use wire::Exit;

/// Stop running sandboxes.
#[derive(Debug, Args)]
pub(super) struct Stop {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Time between SIGTERM and SIGKILL (plain numbers are seconds)
    #[arg(short = 't', long, value_name = "DURATION", value_parser = grace, default_value = "10s", allow_hyphen_values = true)]
    time: Duration,
}

impl Stop {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            client::end(&entry, self.time, false)?;
            print(&format!("{reference}\n"))
        })
    }
}

/// Stop and start running sandboxes.
#[derive(Debug, Args)]
pub(super) struct Restart {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Time between SIGTERM and SIGKILL (plain numbers are seconds)
    #[arg(short = 't', long, value_name = "DURATION", value_parser = grace, default_value = "10s", allow_hyphen_values = true)]
    time: Duration,
}

impl Restart {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            let spec = entry.spec()?;
            if !spec.keep {
                return Err(Failure::new(format!("Sandbox {reference} is ephemeral: it ends when it stops"))
                    .hint("Make it with --keep to restart it"));
            }
            // Before it is stopped, for it may not be to be had.
            let ready = run::ready(spec)?;
            let Some(lock) = client::end(&entry, self.time, false)? else {
                return Err(Failure::new(format!("Sandbox {reference} is being removed")));
            };
            run::start_kept(Store::open()?, entry, lock, ready)?;
            print(&format!("{reference}\n"))
        })
    }
}

/// Remove sandboxes and their files.
#[derive(Debug, Args)]
pub(super) struct Rm {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Stop running ones first, without grace
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            let lock = if self.force {
                client::end(&entry, Duration::ZERO, true)?
            } else {
                match client::find_settled(&entry) {
                    Ok(Found::Idle(lock)) => Some(lock),
                    Ok(Found::Running(_)) => {
                        return Err(Failure::new(format!("Sandbox {reference} is running"))
                            .hint(format!("'agentkernel rm -f {reference}' stops it first")));
                    }
                    Err(ClientError::Store(StoreError::NotFound { .. })) => None,
                    Err(error) => return Err(error.into()),
                }
            };
            // Without, somebody else has removed it: an ephemeral one's supervisor does.
            if let Some(lock) = lock {
                client::remove(&store, entry, lock)?;
            }
            print(&format!("{reference}\n"))
        })
    }
}

/// Send a signal to running sandboxes.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", value_parser = parse_signal, default_value = "KILL")]
    signal: u8,
    /// Send it to this exec instead of the main command
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    exec: u32,
}

impl Kill {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            let whole = self.exec == 0 && self.signal == 9;
            match Client::connect(&entry).and_then(|mut client| client.signal(self.exec, self.signal)) {
                Ok(()) => {}
                // Another version's supervisor still knows what a signal is; one that hangs obeys only this.
                Err(ClientError::Version(_)) if whole => client::end_supervisor(&entry, Signal::TERM)?,
                Err(ClientError::Late) if whole => client::end_supervisor(&entry, Signal::KILL)?,
                Err(error) => return Err(run::too_late(error, &entry, reference)),
            }
            print(&format!("{reference}\n"))
        })
    }
}

/// Wait until sandboxes end and print their exit statuses.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
}

impl Wait {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            let waited = Client::connect(&entry).and_then(|mut client| client.wait());
            let exit = match waited {
                Ok((exit, lost)) => {
                    if let Some(why) = lost {
                        client::tell(&format_args!("agentkernel: {why}"));
                    }
                    exit
                }
                Err(ClientError::Gone | ClientError::Store(StoreError::NotRunning { .. })) => match entry.state()? {
                    State::Exited { exit, .. } => exit,
                    State::Created => return Err(run::never_started(reference)),
                    State::Running { .. } => Exit::Lost,
                },
                Err(error) => return Err(error.into()),
            };
            print(&format!("{}\n", exit.status()))
        })
    }
}

/// A duration, plain numbers being seconds.
fn grace(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => parse_duration(text).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_grace_is_seconds() {
        assert_eq!(grace("3"), Ok(Duration::from_secs(3)));
        assert_eq!(grace("1m"), Ok(Duration::from_secs(60)));
        assert!(grace("soon").is_err());
    }
}
