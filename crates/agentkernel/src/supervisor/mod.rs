//! One process per sandbox, outside it: it holds the machine, the link to init and the sandbox's lock, and serves
//! clients on the control socket. It outlives them; when it dies, the machine dies with it.
//!
//! One thread, one epoll loop. From the sandbox it parses nothing but frames (`wire`), within credit.

mod audit;
mod client;
mod custody;
mod deadline;
mod egress;
mod events;
mod exec;
mod logins;
mod output;
mod refusals;
mod relay;
mod requests;
mod ring;
mod server;
mod verdict;

use crate::{
    BackendKind, Spec,
    backend::{self, LaunchError, Launched, Machine, Place},
    connection::Connection,
    store::{Entry, Lock, Store, StoreError},
};
use ::egress::control::{AuthorityKey, SecretGrant};
use audit::Audit;
use custody::Custody;
use egress::Egress;
use rustix::{fd::OwnedFd, process::Resource};
use server::Server;
use std::{io, path::PathBuf};
use wire::{Exit, Failure, api, mux::Side};

/// What a supervisor takes over from the client that started it.
pub struct Inheritance {
    /// Where the sandbox is recorded.
    pub store: Store,
    /// Its record.
    pub entry: Entry,
    /// The lock that says that it runs.
    pub lock: Lock,
    /// What to start.
    pub spec: Spec,
    /// What of the user's it may use.
    pub lendings: Lendings,
    /// A connection to the client, over which the outcome of the start is told.
    pub client: OwnedFd,
}

/// What of the user's own a sandbox may use and never has.
#[derive(Clone, Default)]
pub struct Lendings {
    /// What is put in on the way to some hosts.
    pub secrets: Vec<SecretGrant>,
    /// Where the user's ssh-agent listens.
    pub agent: Option<PathBuf>,
}

/// Runs a sandbox to its end. The calling process has one thread and is the supervisor from here on.
pub fn run(inheritance: Inheritance) -> Exit {
    let Inheritance { store, entry, lock, spec, lendings, client } = inheritance;
    let mut client = Some(client);
    let mut custody = Custody::new(store, entry, lock, spec.keep);
    let outcome = serve(&mut custody, &spec, lendings, &mut client);
    // A start that failed leaves the sandbox as it was before; by the time that it is told, so that the caller may try
    // again at once.
    custody.end();
    outcome.unwrap_or_else(|failure| {
        if let Some(client) = client {
            tell_failure(client, failure);
        }
        Exit::Code(125)
    })
}

/// Starts a sandbox and serves it until it ends. If it does not start, its machine is gone again, and the client, who
/// has been taken otherwise, is still to be told.
fn serve(
    custody: &mut Custody,
    spec: &Spec,
    lendings: Lendings,
    client: &mut Option<OwnedFd>,
) -> Result<Exit, Failure> {
    let place = custody.place().map_err(|error| describe(&error))?;
    let before = custody.state_before().map_err(|error| describe(&error))?;
    let authority = authority(spec)?;
    let certificate = authority.as_ref().map(|key| key.certificate.as_str());
    // Who comes meanwhile waits, and can end a start that takes too long.
    let listener = custody.listen().map_err(|error| describe(&error))?;
    // The machine first: it is cloned from this process, which should hold as little as possible by then.
    let launched = backend::select(spec.backend).launch(spec, &place, certificate).map_err(|error| {
        let LaunchError { hint, .. } = &error;
        Failure { cause: wire::cause(&error), hint: hint.clone() }
    })?;
    let Launched { mut machine, link, flows, setup, walls } = launched;
    // After the machine, whose programs have the limit of the user's own: clients, execs, and in a container flows that wait.
    let _ = jail::process::raise_rlimit(Resource::Nofile);
    let egress = Egress::new(spec, lendings, authority, flows);
    let audit = Audit::new(custody.audit().ok());
    let failed = |error: io::Error| Failure { cause: format!("Cannot serve it: {error}"), hint: String::new() };
    // From now on no other process of this user reads what this one holds, nor does a core file. Before, its fork had to be
    // prepared through /proc.
    let server = jail::process::set_dumpable(false).map_err(failed).and_then(|()| {
        let mut server =
            Server::new(custody, spec, &mut *machine, listener.into(), link, egress, audit, walls).map_err(failed)?;
        // On record before init is told anything.
        server.record_start().map_err(|error| describe(&error))?;
        server.set_up(setup)?;
        server.publish_first()?;
        client.take().map_or(Ok(()), |client| server.admit(client)).map_err(failed)?;
        Ok(server)
    });
    let failure = match server {
        Ok(server) => return Ok(server.serve()),
        Err(failure) => failure,
    };
    end(&mut *machine, custody);
    if spec.keep {
        // Otherwise the record that it runs would be taken for a run that was lost.
        let _ = custody.write_state(&before);
    }
    Err(failure)
}

/// An authority for a sandbox that needs one. It lives as long as the sandbox, in this process and its egress.
fn authority(spec: &Spec) -> Result<Option<AuthorityKey>, Failure> {
    if !spec.network.needs_authority() {
        return Ok(None);
    }
    let key = ::egress::Authority::generate();
    key.map(Some).map_err(|error| Failure { cause: wire::cause(&error), hint: String::new() })
}

/// Ends a machine that nobody is served from, and removes what it has left on the host.
fn end(machine: &mut dyn Machine, custody: &mut Custody) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let _ = machine.kill();
    let limit = Timespec { tv_sec: 2, tv_nsec: 0 };
    let _ = poll(&mut [PollFd::from_borrowed_fd(machine.gone(), PollFlags::IN)], Some(&limit));
    // What cannot be removed now is left to `gc`.
    if machine.release().is_err() {
        custody.owe();
    }
}

/// Removes what a sandbox that no longer runs has left on the host: cgroups and, unless `keep`, its range of ids.
///
/// # Errors
/// If something could not be removed.
pub fn release_leftovers(entry: &Entry, place: &Place, keep: bool) -> io::Result<()> {
    let kinds = match entry.spec() {
        Ok(spec) => vec![spec.backend],
        // Whose a damaged record was, nobody knows; each removes only what it has made.
        Err(_) => vec![BackendKind::Native, BackendKind::Docker],
    };
    kinds.into_iter().try_for_each(|kind| backend::select(kind).release_leftovers(place, keep))
}

/// What the programs of a kept sandbox have written, once it has ended: an overlay's upper directory; and the id on the
/// host that is the sandbox's 0, if it has a range.
///
/// # Errors
/// If it cannot be opened.
pub fn written(place: &Place) -> io::Result<(OwnedFd, Option<u32>)> {
    backend::native::written(place)
}

/// Removes from the cache what no backend needs any more, and names it.
///
/// # Errors
/// If something could not be removed.
pub fn sweep_cache(
    cache: &OwnedFd,
    exists: &dyn Fn(&crate::SandboxId) -> bool,
    dry_run: bool,
) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    for kind in [BackendKind::Native, BackendKind::Docker] {
        swept.extend(backend::select(kind).sweep(cache, exists, dry_run)?);
    }
    Ok(swept)
}

fn describe(error: &StoreError) -> Failure {
    Failure { cause: wire::cause(error), hint: error.hint() }
}

/// Answers the first client's first request with the failure, then lets it go.
fn tell_failure(client: OwnedFd, failure: Failure) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let Ok(mut connection) = Connection::new(client, Side::Even) else { return };
    let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
    loop {
        match connection.next() {
            Ok(Some(crate::connection::Incoming::Opened(stream, _))) => {
                connection.control(stream, &api::Report::Failed(failure));
                connection.mux.close(stream);
                let _ = connection.flush();
                return;
            }
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(_) => return,
        }
        if !matches!(poll(&mut [PollFd::new(&connection, PollFlags::IN)], Some(&limit)), Ok(count) if count > 0) {
            return;
        }
        if !matches!(connection.fill(), Ok(crate::connection::Filled::Some)) {
            return;
        }
    }
}
