//! Splits a sandbox's supervisor off from the calling process.
//!
//! The supervisor is forked, not executed: the caller has one thread, and half a millisecond of every start would go
//! into loading the same program again (docs/decisions).

use super::{Client, ClientError};
use crate::{
    Spec,
    connection::Connection,
    engine,
    store::{Entry, Lock, Store},
    supervisor::{self, Inheritance, Lendings},
};
use jail::process::Fork;
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use std::{
    collections::BTreeSet,
    io,
    os::fd::RawFd,
    sync::{Mutex, PoisonError},
};
use wire::{api, mux::Side};

/// The supervisor could not be split off.
#[derive(Debug, thiserror::Error)]
#[error("Cannot start the sandbox's supervisor")]
pub struct LaunchFailure(#[from] io::Error);

/// The descriptors that no supervisor gets.
static WITHHELD: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Keeps what is open now from every supervisor that this process starts later. Called before it opens any of its
/// own, since a supervisor must not hold its caller's pipes open; and again by whoever has opened pipes that must end
/// with this process.
pub fn withhold_descriptors() {
    *WITHHELD.lock().unwrap_or_else(PoisonError::into_inner) = open_descriptors();
}

/// Keeps what is open now, too, from every supervisor that this process starts as long as this lives: for one that is not
/// the last.
#[derive(Debug)]
pub struct Withholding(BTreeSet<RawFd>);

impl Withholding {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        let mut withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
        Self(std::mem::replace(&mut *withheld, open_descriptors()))
    }
}

impl Drop for Withholding {
    fn drop(&mut self) {
        *WITHHELD.lock().unwrap_or_else(PoisonError::into_inner) = std::mem::take(&mut self.0);
    }
}

/// What is open now, beyond the standard descriptors.
fn open_descriptors() -> BTreeSet<RawFd> {
    let listed = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut open: BTreeSet<RawFd> = numbers.filter(|&number| number > 2).collect();
    // The listing had a descriptor of its own, which is closed by now.
    open.retain(|number| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    open
}

/// Closes what is withheld.
fn close_withheld() -> io::Result<()> {
    let withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
    if withheld.is_empty() {
        return Ok(());
    }
    let ours: Vec<RawFd> = open_descriptors().difference(&withheld).copied().collect();
    jail::process::close_fds_from(3, &ours)
}

/// Starts a sandbox that is recorded and locked. The outcome of the start comes as the answer to the first request
/// over the connection.
///
/// # Errors
/// [`LaunchFailure`] if there is not even a supervisor; the lock is free again then.
pub fn launch(store: Store, entry: Entry, lock: Lock, spec: Spec, lendings: Lendings) -> Result<Client, LaunchFailure> {
    split(pair(), store, entry, lock, spec, lendings)
}

/// The same, and waits until the sandbox runs. Whoever ends it at once does not come between.
///
/// # Errors
/// As [`launch`]; [`ClientError`] if the start failed.
pub fn start(
    store: Store,
    entry: Entry,
    lock: Lock,
    spec: Spec,
    lendings: Lendings,
) -> Result<Result<(), ClientError>, LaunchFailure> {
    let mut asked = None;
    let pair = pair().and_then(|(mut client, theirs)| {
        asked = Some(client.ask(api::Call::Status));
        // The question waits for the supervisor, who sees it before any other.
        client.connection.flush()?;
        Ok((client, theirs))
    });
    let mut client = split(pair, store, entry, lock, spec, lendings)?;
    Ok(asked.unwrap_or(Err(ClientError::Gone)).and_then(|asked| client.answer(asked)).map(drop))
}

fn pair() -> io::Result<(Client, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    Ok((Client { connection: Connection::new(ours, Side::Odd)?, end: None }, theirs))
}

/// A sandbox that is not kept is gone again if there is no supervisor.
fn split(
    pair: io::Result<(Client, OwnedFd)>,
    store: Store,
    entry: Entry,
    lock: Lock,
    spec: Spec,
    lendings: Lendings,
) -> Result<Client, LaunchFailure> {
    engine::keep_environment();
    match pair.and_then(|pair| Ok((pair, jail::process::fork()?))) {
        // The lock stays held: it belongs to the open file, which the child has too.
        Ok(((client, _), Fork::Parent(_))) => Ok(client),
        Ok(((client, theirs), Fork::Child)) => {
            drop(client);
            // Everybody may see the arguments of a process. If they stay, nothing else is worse for it.
            let _ = jail::process::forget_arguments(&format!("ak[{} supervisor]", spec.id));
            if close_withheld().and_then(|()| jail::process::daemonize()).is_ok() {
                supervisor::run(Inheritance { store, entry, lock, spec, lendings, client: theirs });
            }
            std::process::exit(0);
        }
        Err(error) => {
            if !spec.keep {
                // What cannot be removed now is left to `gc`.
                let _ = store.remove(entry, lock);
            }
            Err(error.into())
        }
    }
}
