//! The one way to a sandbox's supervisor: through a start or an end that is under way, and past one that hangs.

use super::{Client, ClientError, timespec};
use crate::store::{Entry, Lock, State, StoreError};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::sockopt::socket_peercred,
    process::Signal,
};
use std::time::{Duration, Instant};

/// How long a start, or the end of a sandbox that was told to end, may take.
pub(super) const SETTLE: Duration = Duration::from_secs(20);
/// How long a supervisor may take to greet: it does so before anything else, whatever keeps its sandbox busy.
const GREETING: Duration = Duration::from_secs(10);

/// How a sandbox is.
#[derive(Debug)]
pub enum Found {
    /// It runs, or is about to end.
    Running(Client),
    /// It does not, and nobody can start or remove it as long as this lock is held.
    Idle(Lock),
}

impl Client {
    /// Connects to a running sandbox; to one that is being started, once it runs.
    ///
    /// # Errors
    /// [`ClientError::Store`] with `NotRunning` if it does not run; [`ClientError::Late`] if its supervisor hangs. One that
    /// has greeted may take as long as it likes for its answers.
    pub fn connect(entry: &Entry) -> Result<Self, ClientError> {
        connected(entry, GREETING)
    }

    /// The same, with so much time for the supervisor to greet, and as much again for all its answers.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_within(entry: &Entry, patience: Duration) -> Result<Self, ClientError> {
        let client = connected(entry, patience)?;
        Ok(Self { end: Some(Instant::now() + patience), ..client })
    }
}

/// Finds out how a sandbox is, by way of its supervisor or its lock; waits until a start or an end is over.
///
/// # Errors
/// [`ClientError::Store`] with `NotFound` if it has been removed; [`ClientError::Late`] if its supervisor hangs.
pub fn find(entry: &Entry) -> Result<Found, ClientError> {
    reach(entry, GREETING, Entry::try_lock)
}

/// The same, but waits as well for a sandbox that has ended while its last clients still take their leave.
///
/// # Errors
/// As [`find`].
pub fn find_settled(entry: &Entry) -> Result<Found, ClientError> {
    loop {
        match find(entry)? {
            Found::Running(mut client) if matches!(entry.state(), Ok(State::Exited { .. })) => {
                client.end = Some(Instant::now() + SETTLE);
                match client.wait() {
                    Ok(_) | Err(ClientError::Gone) => {}
                    Err(error) => return Err(error),
                }
            }
            found => return Ok(found),
        }
    }
}

/// Ends a supervisor by signal, and the sandbox with it: one that hangs, or belongs to another version.
///
/// # Errors
/// [`ClientError::Endless`] if it goes on, or cannot be told from other processes.
pub fn end_supervisor(entry: &Entry, signal: Signal) -> Result<(), ClientError> {
    let endless = || ClientError::Endless { id: entry.id().clone(), path: entry.path().into() };
    let socket = match entry.connect() {
        Ok(socket) => socket,
        // It hangs before it has a socket, or has ended by itself.
        Err(StoreError::NotRunning { .. }) => {
            return match entry.look() {
                Ok(None) => Err(endless()),
                Ok(Some(_)) | Err(StoreError::NotFound { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    let pidfd = match jail::process::pidfd(socket_peercred(&socket)?.pid) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => return Ok(()),
        other => other?,
    };
    // Its end of the connection is open still, so it lives, and its number was nobody else's when it was looked up.
    if poll(&mut [PollFd::new(&socket, PollFlags::empty())], Some(&timespec(Duration::ZERO)))? > 0 {
        return Ok(());
    }
    jail::process::signal_pidfd(&pidfd, signal)?;
    match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timespec(SETTLE)))? {
        0 => Err(endless()),
        _ => Ok(()),
    }
}

/// Ends a sandbox, and keeps others from starting it again; `None` if it has been removed. Docker's way: stopping what is
/// stopped is no failure.
///
/// A supervisor that hangs is ended with it if `force`; and in any case one that does not get its sandbox to run.
///
/// # Errors
/// [`ClientError`]
pub fn end(entry: &Entry, grace: Duration, force: bool) -> Result<Option<Lock>, ClientError> {
    loop {
        let stopped = match find(entry) {
            Ok(Found::Idle(lock)) => return Ok(Some(lock)),
            Ok(Found::Running(mut client)) => client.stop(grace).map(drop),
            Err(error) => Err(error),
        };
        match stopped {
            // Its supervisor is about to let go, if nobody has started it again by then.
            Ok(()) | Err(ClientError::Gone) => {}
            Err(ClientError::Store(StoreError::NotFound { .. })) => return Ok(None),
            Err(ClientError::Version(_)) => end_supervisor(entry, Signal::TERM)?,
            // A start is over only when it is on record that it runs.
            Err(ClientError::Late) if force || !matches!(entry.state(), Ok(State::Running { .. })) => {
                end_supervisor(entry, Signal::KILL)?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn connected(entry: &Entry, greeting: Duration) -> Result<Client, ClientError> {
    match reach(entry, greeting, Entry::look)? {
        Found::Running(client) => Ok(client),
        Found::Idle(_) => Err(StoreError::NotRunning { id: entry.id().clone() }.into()),
    }
}

fn reach(
    entry: &Entry,
    greeting: Duration,
    lock: fn(&Entry) -> Result<Option<Lock>, StoreError>,
) -> Result<Found, ClientError> {
    let end = Instant::now() + SETTLE;
    loop {
        match entry.connect() {
            Ok(socket) => match greeted(Client::over(socket.into())?, greeting) {
                // It was about to end, and had no eyes for us.
                Err(ClientError::Gone) => {}
                other => return other.map(Found::Running),
            },
            Err(StoreError::NotRunning { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(lock) = lock(entry)? {
            return Ok(Found::Idle(lock));
        }
        if Instant::now() > end {
            return Err(ClientError::Late);
        }
        // A lock cannot be polled for; the wait is the setup or the teardown of a few namespaces.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the supervisor's first word.
fn greeted(mut client: Client, patience: Duration) -> Result<Client, ClientError> {
    client.end = Some(Instant::now() + patience);
    client.turn(None)?;
    client.end = None;
    Ok(client)
}
