//! Splits a sandbox's supervisor off from the calling process.
//!
//! The supervisor is forked, not executed: the caller has one thread, and half a millisecond of every start would go
//! into loading the same program again (docs/decisions).

use super::{Client, ClientError};
use crate::{
    Spec,
    store::{Entry, Lock, Store},
    supervisor::{self, Inheritance},
};
use jail::process::Fork;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;

/// The supervisor could not be split off.
#[derive(Debug, thiserror::Error)]
#[error("Cannot start the sandbox's supervisor")]
pub struct LaunchFailure(#[from] io::Error);

/// Starts a sandbox that is recorded and locked. The outcome of the start comes as the answer to the first request
/// over the connection.
///
/// # Errors
/// [`ClientError`] or [`LaunchFailure`] if there is not even a supervisor; the lock is free again then.
pub fn launch(
    store: Store,
    entry: Entry,
    lock: Lock,
    spec: Spec,
) -> Result<Result<Client, ClientError>, LaunchFailure> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(io::Error::from)?;
    match jail::process::fork()? {
        Fork::Parent(_) => {
            // The lock stays held: it belongs to the open file, which the child has too.
            drop(lock);
            Ok(Client::over(ours))
        }
        Fork::Child => {
            drop(ours);
            let inheritance = Inheritance { store, entry, lock, spec, client: theirs };
            if jail::process::daemonize().is_ok() {
                supervisor::run(inheritance);
            }
            std::process::exit(0);
        }
    }
}
