//! The only way that anything talks to a supervisor: requests and answers over its control socket.
//!
//! Everything blocks: a client has one thing to wait for. Front ends that have more run it on a thread.

mod capture;
mod events;
mod exchange;
mod files;
mod launch;
mod names;
mod network;
mod reach;
mod recording;
mod scripts;
mod session;
mod terminal;
mod watch;

pub use crate::supervisor::Lendings;
pub use capture::{Captured, Interrupts};
pub use events::Events;
pub use exchange::Told;
pub use files::{CopyError, Local, fetch, put_program, send};
pub use launch::{LaunchFailure, Withholding, launch, start, withhold_descriptors};
pub use names::{RenameError, rename};
pub use network::{Limits, NetworkChange, change_network, denied, published};
pub use reach::{Found, end, end_supervisor, find, find_settled};
pub use recording::{Happened, Recorder as SessionRecording, Recording, RecordingError};
pub use scripts::{MISSING, READ_LINES, WRITE};
pub use session::{Outcome, Session, caller, tell};
pub use terminal::{Stdio, ask_hidden, input_is_directory, is_terminal, window_size};
pub use watch::{Seen, Watch, Watched};

use crate::{
    SandboxId,
    connection::{Connection, ConnectionError, Filled, Incoming},
    store::{Entry, Lock, Store, StoreError, Swept},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};
use wire::{
    Exit, Failure, api,
    frame::HelloError,
    mux::{MuxError, Side},
};

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The sandbox is not running, or its record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The supervisor belongs to another build.
    #[error("The sandbox was started by another version of agentkernel")]
    Version(#[source] HelloError),
    /// The connection failed.
    #[error("Connection to the sandbox's supervisor failed")]
    Connection(#[source] ConnectionError),
    /// The supervisor closed the connection before it answered.
    #[error("The sandbox's supervisor went away")]
    Gone,
    /// The supervisor said no.
    #[error(transparent)]
    Refused(#[from] Failure),
    /// The supervisor's answer is not one to the question.
    #[error("The supervisor's answer makes no sense")]
    Nonsense,
    /// The supervisor did not answer in time.
    #[error("The sandbox's supervisor does not answer")]
    Late,
    /// The sandbox has ended, and not all that happened before was told.
    #[error("The sandbox has ended, and its last events are missing: they came faster than they were read")]
    Missed,
    /// Its supervisor goes on, or cannot be told from other processes.
    #[error("Sandbox {id} does not end")]
    Endless {
        /// Which one.
        id: SandboxId,
        /// Where its lock is.
        path: PathBuf,
    },
    /// The caller was told to end meanwhile.
    #[error("Interrupted")]
    Interrupted,
    /// Standard input or output failed.
    #[error("Standard input or output failed")]
    Stdio(#[source] io::Error),
}

impl ClientError {
    /// What the user can do about it, in one line; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Refused(failure) => failure.hint.clone(),
            Self::Store(error) => error.hint(),
            Self::Version(_) => {
                "Stop it with the version that started it, or end it: 'agentkernel kill' works across versions".into()
            }
            Self::Late => "'agentkernel rm -f' ends and removes it; 'agentkernel kill' only ends it".into(),
            Self::Endless { path, .. } => {
                format!("'fuser {}/lock' names the process that holds it: end that", path.display())
            }
            _ => String::new(),
        }
    }
}

impl From<ConnectionError> for ClientError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::Protocol(MuxError::Hello(error)) => Self::Version(error),
            other => Self::Connection(other),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Gone,
            _ => Self::Connection(error.into()),
        }
    }
}

impl From<Errno> for ClientError {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// A connection to one sandbox's supervisor.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    /// When to give up; none: never.
    end: Option<Instant>,
}

impl Client {
    /// Takes a connected socket.
    ///
    /// # Errors
    /// If its flags cannot be changed.
    pub fn over(socket: OwnedFd) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::new(socket, Side::Odd)?, end: None })
    }

    /// Has the sandbox end when this client goes, in whatever way.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn tie(&mut self) -> Result<(), ClientError> {
        self.open(&api::Open::Call(api::Call::Tie)).map(drop)
    }

    /// Opens a stream with a request.
    fn open(&mut self, open: &api::Open) -> Result<u32, ClientError> {
        let payload = wire::encode_open(open).map_err(|_| Failure::too_large())?;
        Ok(self.connection.mux.open(&payload))
    }

    /// Waits for the next event.
    fn next(&mut self) -> Result<Incoming, ClientError> {
        self.next_unless(None)
    }

    /// The same, unless the caller is told to end meanwhile: `end` can be read then.
    fn next_unless(&mut self, end: Option<BorrowedFd<'_>>) -> Result<Incoming, ClientError> {
        loop {
            if let Some(incoming) = self.connection.next()? {
                return Ok(incoming);
            }
            self.turn(end)?;
        }
    }

    /// Sends what is queued until something comes.
    fn turn(&mut self, end: Option<BorrowedFd<'_>>) -> Result<(), ClientError> {
        loop {
            let flushed = self.connection.flush();
            let mut flags = PollFlags::IN;
            match flushed {
                Ok(true) => {}
                Ok(false) => flags |= PollFlags::OUT,
                // What the supervisor said before it went is still to be read.
                Err(_) => {}
            }
            let mut fds = vec![PollFd::new(&self.connection, flags)];
            fds.extend(end.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
            let left = self.end.map(|end| end.saturating_duration_since(Instant::now()));
            match poll(&mut fds, left.map(timespec).as_ref()) {
                Ok(0) => return Err(ClientError::Late),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
                return Err(ClientError::Interrupted);
            }
            match self.connection.fill()? {
                Filled::Some => return Ok(()),
                Filled::Nothing => {}
                Filled::End => return Err(ClientError::Gone),
            }
        }
    }

    /// Asks one question and waits for its answer.
    fn call(&mut self, call: api::Call) -> Result<api::Report, ClientError> {
        let asked = self.ask(call)?;
        self.answer(asked)
    }

    fn ask(&mut self, call: api::Call) -> Result<u32, ClientError> {
        self.open(&api::Open::Call(call))
    }

    fn answer(&mut self, asked: u32) -> Result<api::Report, ClientError> {
        self.hear_out(asked).map(|(report, _)| report)
    }

    /// The answer, and why the sandbox was lost, if that is told before.
    fn hear_out(&mut self, asked: u32) -> Result<(api::Report, Option<String>), ClientError> {
        let mut lost = None;
        loop {
            match self.next()? {
                Incoming::Control(stream, payload) if stream == asked => {
                    let report = wire::decode(&payload);
                    if let Ok(api::Report::Lost(why)) = report {
                        lost = Some(why);
                        continue;
                    }
                    self.connection.mux.close(stream);
                    return match report {
                        Ok(api::Report::Failed(failure)) => Err(failure.into()),
                        Ok(report) => Ok((report, lost)),
                        Err(_) => Err(ClientError::Nonsense),
                    };
                }
                Incoming::Closed(stream) if stream == asked => return Err(ClientError::Gone),
                _ => {}
            }
        }
    }

    /// What the supervisor knows of the sandbox.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn status(&mut self) -> Result<api::Status, ClientError> {
        match self.call(api::Call::Status)? {
            api::Report::Status(status) => Ok(status),
            _ => Err(ClientError::Nonsense),
        }
    }

    /// What the sandbox's processes use.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn usage(&mut self) -> Result<wire::link::Usage, ClientError> {
        match self.call(api::Call::Usage)? {
            api::Report::Usage(usage) => Ok(usage),
            _ => Err(ClientError::Nonsense),
        }
    }

    /// Waits for the end of the sandbox: how it ended, and why, in one line, if it was lost and that is known.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn wait(&mut self) -> Result<(Exit, Option<String>), ClientError> {
        self.ended(api::Call::Wait)
    }

    /// Ends the sandbox and waits until every process of it is gone.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Late`] if that takes much longer than the grace.
    pub fn stop(&mut self, grace: Duration) -> Result<Exit, ClientError> {
        self.end = Instant::now().checked_add(grace.saturating_add(reach::SETTLE));
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.ended(api::Call::Stop { grace_ms }).map(|(exit, _)| exit)
    }

    /// Sends a signal to an exec; 0 is the main command.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn signal(&mut self, exec: u32, signal: u8) -> Result<(), ClientError> {
        match self.call(api::Call::Signal { exec, signal })? {
            api::Report::Done => Ok(()),
            // It has only last words left.
            api::Report::Stopped(_) => Err(ClientError::Gone),
            _ => Err(ClientError::Nonsense),
        }
    }

    fn ended(&mut self, call: api::Call) -> Result<(Exit, Option<String>), ClientError> {
        let asked = self.ask(call)?;
        match self.hear_out(asked)? {
            (api::Report::Stopped(exit), lost) => Ok((exit, lost)),
            _ => Err(ClientError::Nonsense),
        }
    }
}

/// Clears what killed processes left behind: dead sandboxes, and what their backends left on the host.
///
/// # Errors
/// [`StoreError`] if the state cannot be read; what goes wrong with one sandbox is told with it.
pub fn sweep(store: &Store, dry_run: bool) -> Result<Vec<Swept>, StoreError> {
    store.sweep(dry_run, &mut |entry, place| {
        let keep = entry.spec().is_ok_and(|spec| spec.keep);
        crate::supervisor::release_leftovers(entry, place, keep)
    })
}

/// Removes from the cache what no sandbox needs any more, and names it; with `dry_run`, only names it.
///
/// # Errors
/// [`StoreError`] if something could not be removed.
pub fn sweep_cache(store: &Store, dry_run: bool) -> Result<Vec<String>, StoreError> {
    let place = store.shared()?;
    crate::supervisor::sweep_cache(&place.cache, &|id| store.has(id), dry_run).map_err(|source| StoreError::Io {
        action: "clear",
        path: "the cache".into(),
        source,
    })
}

/// What the programs of a kept sandbox have written, once it has ended: an overlay's upper directory; and the id on the
/// host that is the sandbox's 0, if it has a range.
///
/// # Errors
/// [`StoreError`] if it cannot be opened.
pub fn written(store: &Store, entry: &Entry) -> Result<(OwnedFd, Option<u32>), StoreError> {
    crate::supervisor::written(&store.place(entry)?).map_err(|source| StoreError::Io {
        action: "open",
        path: entry.path().into(),
        source,
    })
}

/// Removes a sandbox that does not run, with its files and whatever it has on the host or in an engine.
///
/// # Errors
/// [`StoreError`]; with [`Release`](StoreError::Release) all its records are there still, else what is left is found by
/// [`sweep`].
pub fn remove(store: &Store, entry: Entry, lock: Lock) -> Result<(), StoreError> {
    let released = crate::supervisor::release_leftovers(&entry, &store.place(&entry)?, false);
    released.map_err(|source| StoreError::Release { id: entry.id().clone(), path: entry.path().into(), source })?;
    store.remove(entry, lock)
}

/// A time for poll(2).
pub(crate) fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: span.subsec_nanos().into() }
}
