//! Backends: each makes a machine whose PID 1 is our init, and gives one byte stream to it. All else is the
//! supervisor's, written once.

pub use crate::Place;
use crate::{SandboxId, Spec};
use rustix::fd::OwnedFd;
use serde::Serialize;
use wire::link::{Setup, Wall};

pub mod docker;
pub mod native;

/// A place where machines can be made.
pub trait Backend {
    /// Its name, as `ps` and `--backend` say it.
    fn name(&self) -> &'static str;

    /// Tries what this host lets it do, wall by wall, and leaves nothing behind.
    ///
    /// The calling process must have one thread.
    fn probe(&self, place: &Place) -> Vec<Finding>;

    /// Makes the machine and starts init in it. On an error nothing is left behind. Its programs trust `authority`, a
    /// certificate in PEM, if there is one.
    ///
    /// The calling process must have one thread: the native backend clones it.
    ///
    /// # Errors
    /// [`LaunchError`], in words for the user.
    fn launch(&self, spec: &Spec, place: &Place, authority: Option<&str>) -> Result<Launched, LaunchError>;

    /// Removes what a machine that no longer runs has left on the host: for `gc`, after its supervisor died without
    /// [`Machine::release`]. The sandbox's files and, if `keep`, its range of ids stay. Idempotent.
    ///
    /// # Errors
    /// If something could not be removed.
    fn release_leftovers(&self, place: &Place, keep: bool) -> std::io::Result<()>;

    /// Removes what is in the cache for no sandbox that runs or exists, and for no start to come; names it, and with
    /// `dry_run` does no more.
    ///
    /// # Errors
    /// If something could not be removed.
    fn sweep(
        &self,
        cache: &OwnedFd,
        exists: &dyn Fn(&SandboxId) -> bool,
        dry_run: bool,
    ) -> std::io::Result<Vec<String>>;
}

/// What a host can do for one wall or one option.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, shared with errors and `inspect`.
    pub name: &'static str,
    /// Whether it works.
    pub state: State,
    /// How it works, or why it does not; one line.
    pub detail: String,
    /// What the user can do about it, one line; empty if nothing needs doing or nothing is known.
    pub hint: String,
}

impl Finding {
    fn works(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Works, detail: detail.into(), hint: String::new() }
    }
}

/// Whether something works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Works,
    /// It does not, and a sandbox starts without it: hardening, or an option that is refused.
    Missing,
    /// It does not, and without it no sandbox starts.
    Fails,
}

/// A machine that has started, and what the supervisor needs to run it.
pub struct Launched {
    /// The machine itself.
    pub machine: Box<dyn Machine>,
    /// The byte stream to init: a non-blocking socket.
    pub link: OwnedFd,
    /// Where init hands over connections to the outside ([`wire::flow`]): a non-blocking socket.
    pub flows: OwnedFd,
    /// What init must be told first.
    pub setup: Setup,
    /// The walls that the backend raised, for `inspect`.
    pub walls: Vec<Wall>,
}

/// A running machine.
pub trait Machine {
    /// Process id of init on the host; 0 if it has none there.
    fn pid(&self) -> u32;

    /// Becomes readable when the machine is gone: a pidfd, where there is one.
    fn gone(&self) -> rustix::fd::BorrowedFd<'_>;

    /// Ends every process in it, at once. Harmless if it is gone.
    ///
    /// # Errors
    /// If the machine could not be told.
    fn kill(&self) -> std::io::Result<()>;

    /// Whether nobody is left in it but init. After [`kill`](Self::kill), nobody comes then. `false` if that cannot be
    /// known.
    fn is_deserted(&self) -> bool;

    /// Makes sure that nothing runs in it any more, once it is [`gone`](Self::gone). Says why it was lost, if it ended
    /// because what carries it did: one line.
    fn settle(&mut self) -> Option<String>;

    /// Removes what others see of it where its user works: placeholders. Once it is deserted or settled. Idempotent.
    ///
    /// # Errors
    /// If something could not be removed; [`release`](Self::release) will try again.
    fn withdraw(&mut self) -> std::io::Result<()>;

    /// How many times the kernel killed a process for lack of memory so far.
    fn oom_kills(&self) -> u64;

    /// Memory, processor time and processes, where the host counts them better than init does.
    fn usage(&self) -> Option<wire::link::Usage>;

    /// Removes what is left on the host once the machine is [settled](Self::settle): cgroups, id ranges. Idempotent.
    ///
    /// # Errors
    /// If something could not be removed; `gc` will try again.
    fn release(&mut self) -> std::io::Result<()>;
}

/// A machine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{wall}: {cause}")]
pub struct LaunchError {
    /// The wall or step that failed, by its name in `doctor`.
    pub wall: String,
    /// The cause, one line.
    pub cause: String,
    /// What the user can do about it, one line; empty if nothing is known.
    pub hint: String,
}

/// The backend of a kind.
#[must_use]
pub fn select(kind: crate::BackendKind) -> Box<dyn Backend> {
    match kind {
        crate::BackendKind::Native => Box::new(native::Native { init: crate::guest::INIT }),
        crate::BackendKind::Docker => Box::new(docker::Docker { init: crate::guest::INIT }),
    }
}
