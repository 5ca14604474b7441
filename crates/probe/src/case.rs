//! What an escape attempt is: its place in the table, what it may answer, and how it is shown to work at all.

use crate::context::Context;
use rustix::io::Errno;

/// What an attempt found. `Err(Skip)` stands beside it: the attempt could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The wall has a hole; what was reached.
    Escaped(String),
    /// The wall stood; how it answered.
    Held(String),
    /// What would be attacked does not exist here. Inside a sandbox that is as good as a wall; outside, it means
    /// that this host can't prove the attempt.
    Absent(String),
    /// It was done, and only somebody outside can see whether it had an effect there.
    Tried(String),
}

/// The attempt could not be made, and so proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip(pub String);

/// How a case is shown to be able to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The same attempt on the host, as the caller, must escape.
    Host,
    /// The same attempt on the host must escape if the caller is root there.
    HostRoot,
    /// The same attempt must escape as root of fresh namespaces that have no further walls.
    Namespace,
    /// The same attempt must escape in the sandbox beside, which has what is attacked.
    Neighbour,
    /// The same attempt on the host must escape after the probe has leaked a descriptor of `/` to itself.
    Leak,
    /// It is not shown, for this reason.
    None(&'static str),
}

impl Control {
    /// Its name in `list --json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::HostRoot => "host-root",
            Self::Namespace => "namespace",
            Self::Neighbour => "neighbour",
            Self::Leak => "leak",
            Self::None(_) => "none",
        }
    }
}

/// What kind of wall a case attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Files of the host and of its people.
    Files,
    /// What stays read-only in the workspace.
    Protected,
    /// Other processes, init first.
    Processes,
    /// Capabilities, ids, no_new_privs.
    Privileges,
    /// New and foreign namespaces.
    Namespaces,
    /// Mounts and roots.
    Mounts,
    /// Dangerous parts of the system call interface.
    Kernel,
    /// Ways round the system call filter.
    Filter,
    /// /proc, /sys and cgroupfs.
    ProcSys,
    /// Device nodes.
    Devices,
    /// Inherited descriptors and directories.
    Descriptors,
    /// Terminals.
    Terminal,
    /// Sockets, memory and queues shared with the host.
    Ipc,
    /// The network.
    Network,
    /// Memory, processes and disk without end.
    Resources,
}

impl Class {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Protected => "protected",
            Self::Processes => "processes",
            Self::Privileges => "privileges",
            Self::Namespaces => "namespaces",
            Self::Mounts => "mounts",
            Self::Kernel => "kernel",
            Self::Filter => "filter",
            Self::ProcSys => "proc-sys",
            Self::Devices => "devices",
            Self::Descriptors => "descriptors",
            Self::Terminal => "terminal",
            Self::Ipc => "ipc",
            Self::Network => "network",
            Self::Resources => "resources",
        }
    }
}

/// Makes one attempt. Harmless where it succeeds: it touches canaries only.
pub type Attempt = fn(&Context) -> Result<Outcome, Skip>;

/// One escape attempt.
pub struct Case {
    /// Its stable name: kebab-case.
    pub name: &'static str,
    /// The kind of wall.
    pub class: Class,
    /// What it would mean if it succeeded, one line.
    pub means: &'static str,
    /// A CVE, a man page or a kernel document.
    pub reference: &'static str,
    /// How it is shown to be able to fail.
    pub control: Control,
    /// Whether the kernel may kill the whole exec as its way of holding.
    pub may_die: bool,
    /// The attempt itself.
    pub attempt: Attempt,
}

impl Case {
    /// A case that is expected to live.
    #[must_use]
    pub const fn new(
        name: &'static str,
        class: Class,
        means: &'static str,
        reference: &'static str,
        control: Control,
        attempt: Attempt,
    ) -> Self {
        Self { name, class, means, reference, control, may_die: false, attempt }
    }

    /// The same, but a kill of the exec counts as held.
    #[must_use]
    pub const fn may_die(mut self) -> Self {
        self.may_die = true;
        self
    }
}

/// The answer of an attempt that succeeds by getting `what` done.
pub fn done<T>(result: Result<T, Errno>, what: &str) -> Outcome {
    match result {
        Ok(_) => Outcome::Escaped(what.to_owned()),
        Err(Errno::NOSYS) => Outcome::Absent("ENOSYS".to_owned()),
        Err(errno) => Outcome::Held(said(errno)),
    }
}

/// The answer of an attempt made with arguments that can never work: the kernel checks the permission first, so
/// every error but "not permitted" means that the permission was there.
pub fn permitted<T>(result: Result<T, Errno>, what: &str) -> Outcome {
    match result {
        Err(Errno::NOSYS) => Outcome::Absent("ENOSYS".to_owned()),
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => Outcome::Held(said(errno)),
        Err(errno) => Outcome::Escaped(format!("{what}: permitted, it failed only later ({})", said(errno))),
        Ok(_) => Outcome::Escaped(what.to_owned()),
    }
}

/// The answer of an attempt that only has to open something.
pub fn opened(result: std::io::Result<std::fs::File>, what: &str) -> Outcome {
    match result {
        Ok(_) => Outcome::Escaped(format!("opened {what}")),
        Err(error) if missing(&error) => Outcome::Absent(format!("{what}: {}", words(&error))),
        Err(error) => Outcome::Held(format!("{what}: {}", words(&error))),
    }
}

/// The worst answer of several attempts: an escape, else a wall, else nothing to attack.
pub fn worst(outcomes: impl IntoIterator<Item = Outcome>) -> Outcome {
    let mut held = None;
    let mut absent = None;
    for outcome in outcomes {
        match outcome {
            Outcome::Escaped(_) | Outcome::Tried(_) => return outcome,
            Outcome::Held(_) => held = held.or(Some(outcome)),
            Outcome::Absent(_) => absent = absent.or(Some(outcome)),
        }
    }
    held.or(absent).unwrap_or_else(|| Outcome::Absent("nothing to attack".to_owned()))
}

/// Whether an error says that the thing isn't there, or that its driver isn't.
pub fn missing(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO | libc::ENODEV | libc::ENOTDIR | libc::ENOSYS))
}

/// An error without Rust's "(os error N)".
pub fn words(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| said(Errno::from_raw_os_error(code)))
}

/// An errno in words.
pub fn said(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
