//! `stop`, `restart`, `rm`, `kill`, `wait`.

use super::{Failure, Status, for_each, print, run};
use crate::{
    client::{self, Client, ClientError},
    config::parse_duration,
    store::{Entry, Lock, State, Store, StoreError},
};
use clap::Args;
use std::time::{Duration, Instant};
use wire::Exit;

/// How long a supervisor may take to let go once its sandbox has ended.
const SETTLE: Duration = Duration::from_secs(20);

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
            settle(&entry, self.time)?;
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
            settle(&entry, self.time)?;
            run::start_kept(Store::open()?, entry, spec)?;
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
            let lock = match entry.try_lock()? {
                Some(lock) => lock,
                None if self.force => {
                    match stop(&entry, Duration::ZERO) {
                        Ok(_) | Err(ClientError::Store(StoreError::NotRunning { .. }) | ClientError::Gone) => {}
                        Err(error) => return Err(error.into()),
                    }
                    match store.find(reference) {
                        // An ephemeral one removes itself.
                        Err(StoreError::NotFound { .. }) => return print(&format!("{reference}\n")),
                        _ => match lock_when_free(&entry)? {
                            Some(lock) => lock,
                            // It was about to.
                            None => return print(&format!("{reference}\n")),
                        },
                    }
                }
                // It has ended, and its supervisor is about to let go.
                None if matches!(entry.state(), Ok(State::Exited { .. })) => match lock_when_free(&entry)? {
                    Some(lock) => lock,
                    None => return print(&format!("{reference}\n")),
                },
                None => {
                    return Err(Failure::new(format!("Sandbox {reference} is running"))
                        .hint(format!("'agentkernel rm -f {reference}' stops it first")));
                }
            };
            match client::remove(&store, entry, lock) {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
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
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal, default_value = "KILL")]
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
            match Client::connect(&entry).and_then(|mut client| client.signal(self.exec, self.signal)) {
                Ok(()) => {}
                // Another version's supervisor still knows what a signal is.
                Err(ClientError::Version(_)) if self.exec == 0 && self.signal == 9 => end_supervisor(&entry)?,
                Err(error) => return Err(error.into()),
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
            let exit = match Client::connect(&entry).and_then(|mut client| client.wait()) {
                Ok(exit) => exit,
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

/// Ends a sandbox: every process of it is gone, its supervisor perhaps not yet.
fn stop(entry: &Entry, grace: Duration) -> Result<Exit, ClientError> {
    match Client::connect(entry).and_then(|mut client| client.stop(grace)) {
        Err(ClientError::Version(_)) => {
            end_supervisor(entry).map_err(|_| ClientError::Gone)?;
            Ok(Exit::Lost)
        }
        other => other,
    }
}

/// Ends a sandbox and waits for its supervisor to let go of it: it may be started or removed at once, whatever became of
/// its record. Docker's way: stopping what is stopped is no failure.
fn settle(entry: &Entry, grace: Duration) -> Result<(), Failure> {
    match stop(entry, grace) {
        // It may just be about to end by itself.
        Ok(_) | Err(ClientError::Gone | ClientError::Store(StoreError::NotRunning { .. })) => {
            lock_when_free(entry).map(drop)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks a supervisor of any version to end its sandbox, by signal.
fn end_supervisor(entry: &Entry) -> Result<(), Failure> {
    let State::Running { supervisor_pid, .. } = entry.state()? else { return Ok(()) };
    let pid = i32::try_from(supervisor_pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|errno| Failure::chain(&std::io::Error::from(errno)))?;
    }
    lock_when_free(entry).map(drop)
}

/// Takes the lock of a sandbox whose supervisor is about to let go; `None` if it has removed the sandbox.
pub(super) fn lock_when_free(entry: &Entry) -> Result<Option<Lock>, Failure> {
    let end = Instant::now() + SETTLE;
    loop {
        match entry.try_lock() {
            Ok(Some(lock)) => return Ok(Some(lock)),
            Ok(None) => {}
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > end {
            return Err(Failure::new(format!("Sandbox {} does not end", entry.id()))
                .hint("Look for its supervisor with 'agentkernel inspect' and end that process"));
        }
        // A lock cannot be polled for; the wait is the teardown of a few namespaces.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A duration, plain numbers being seconds.
fn grace(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => parse_duration(text).map_err(|error| error.to_string()),
    }
}

/// A signal by name, with or without `SIG`, or by number.
fn signal(text: &str) -> Result<u8, String> {
    const NAMES: [(&str, u8); 20] = [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ILL", 4),
        ("TRAP", 5),
        ("ABRT", 6),
        ("BUS", 7),
        ("FPE", 8),
        ("KILL", 9),
        ("USR1", 10),
        ("SEGV", 11),
        ("USR2", 12),
        ("PIPE", 13),
        ("ALRM", 14),
        ("TERM", 15),
        ("CHLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("WINCH", 28),
    ];
    if let Ok(number) = text.parse::<u8>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err("signals are 1 to 64".into()) };
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, number)| *number)
        .ok_or_else(|| "no such signal; give a name such as TERM, or a number".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_names_or_numbers() {
        assert_eq!(signal("sigterm"), Ok(15));
        assert_eq!(signal("KILL"), Ok(9));
        assert_eq!(signal("10"), Ok(10));
        assert!(signal("0").is_err() && signal("65").is_err() && signal("NOPE").is_err());
    }

    #[test]
    fn a_plain_grace_is_seconds() {
        assert_eq!(grace("3"), Ok(Duration::from_secs(3)));
        assert_eq!(grace("1m"), Ok(Duration::from_secs(60)));
        assert!(grace("soon").is_err());
    }
}
