//! Messages of the control socket, between a client and a supervisor.
//!
//! The client opens odd streams, one per request; the supervisor opens none. Streams that carry an exec or an
//! archive use the link's own reports.

use crate::{
    ExecSpec, Exit, Failure,
    link::{Get, Put, Usage, Wall},
};
use serde::{Deserialize, Serialize};

/// What a client opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    /// Runs a program. Answered by [`Exec`](crate::link::ExecReport) reports wrapped in [`Report::Exec`].
    Exec {
        /// What to run.
        spec: ExecSpec,
        /// The client wants neither input nor output: it leaves after [`ExecReport::Started`](crate::link::ExecReport::Started), and the output goes to the log.
        detach: bool,
        /// The program is killed, with its process group, when this client leaves it or goes, in whatever way.
        tied: bool,
    },
    /// Joins a running exec: what no client has received yet, then what comes.
    Attach {
        /// Which one; 0 is the sandbox's main command.
        exec: u32,
        /// Whether this client sends input.
        stdin: bool,
        /// Whether it takes output. If nobody does, that waits for the next one who will.
        output: bool,
    },
    /// Sends a tar archive into the sandbox. Answered by [`Report::Files`].
    Put(Put),
    /// Fetches a tar archive from the sandbox. Answered by [`Report::Files`] after the data.
    Get(Get),
    /// A question with one answer.
    Call(Call),
}

/// A request with one [`Report`] as its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Ends the sandbox: SIGTERM, SIGKILL after the grace. Answered by [`Report::Stopped`] once every process is gone.
    Stop {
        /// Milliseconds between the two signals.
        grace_ms: u32,
    },
    /// Sends a signal to an exec's process group. Answered by [`Report::Done`], or [`Report::Stopped`] if that was the
    /// main command, and has ended.
    Signal {
        /// Which exec; 0 is the main command.
        exec: u32,
        /// The signal's number.
        signal: u8,
    },
    /// Lets the sandbox reach something, as `--allow` says it. Answered by [`Report::Done`] when it holds.
    Allow {
        /// `HOST[:PORT]`.
        rule: String,
        /// The user's limits as they are now, encoded: egress's type, which is none of this crate's.
        limits: Vec<u8>,
    },
    /// Keeps the sandbox from something, and ends connections to it. Answered by [`Report::Done`] when it holds.
    Deny {
        /// `HOST[:PORT]`.
        rule: String,
        /// As for [`Allow`](Self::Allow).
        limits: Vec<u8>,
    },
    /// Takes back a rule that denies. Answered by [`Report::Done`] when it holds.
    Undeny {
        /// `HOST[:PORT]`, as it was written for [`Deny`](Self::Deny).
        rule: String,
        /// As for [`Allow`](Self::Allow).
        limits: Vec<u8>,
    },
    /// Makes a port of the sandbox one of this host's loopback address. Answered by [`Report::Done`].
    Publish {
        /// The port in the sandbox.
        inside: u16,
        /// The port on the host.
        outside: u16,
    },
    /// Takes a port of the sandbox from this host's loopback address. Answered by [`Report::Done`] when nobody listens on it any
    /// more.
    Withdraw {
        /// The port in the sandbox.
        inside: u16,
        /// The port on the host.
        outside: u16,
    },
    /// Answered by [`Report::Status`].
    Status,
    /// Answered by [`Report::Usage`].
    Usage,
    /// Answered by [`Report::Stopped`] when the sandbox has ended.
    Wait,
    /// What happens from now on. Answered by [`Report::Done`] when everything that follows will be told, then by data on
    /// standard output, a JSON object on each line, and by [`Report::Stopped`] when the sandbox has ended. Whoever does not read
    /// misses some, and is told how many.
    Events,
    /// The sandbox has another name in the store. Answered by [`Report::Done`] when it is told by that everywhere.
    Renamed,
    /// The sandbox ends when this client goes, in whatever way. Not answered; to close the stream takes it back.
    Tie,
}

/// Client to supervisor, on the stream of an exec or an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// For the exec itself.
    Exec(crate::link::ExecControl),
    /// Leave it running: the client goes away on purpose.
    Detach,
}

/// Supervisor to client, on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Done; there is nothing to say.
    Done,
    /// About the exec, with its number in this sandbox.
    Exec {
        /// The number that `attach` and `kill` take.
        exec: u32,
        /// What happened.
        report: crate::link::ExecReport,
    },
    /// Something that the user should know of the exec, in one line, before its last report.
    Notice(String),
    /// Why the sandbox was lost, in one line, before how it or the exec has ended.
    Lost(String),
    /// How a transfer of files ended.
    Files(crate::link::FilesReport),
    /// The sandbox has ended.
    Stopped(Exit),
    /// See [`Call::Status`].
    Status(Status),
    /// See [`Call::Usage`].
    Usage(Usage),
    /// The request was refused, or failed.
    Failed(Failure),
}

/// A running sandbox, as its supervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Process id of the supervisor, on the host.
    pub supervisor_pid: u32,
    /// Process id of init on the host; 0 where the backend has none there.
    pub init_pid: u32,
    /// Seconds since the start.
    pub uptime: u64,
    /// Every wall and whether it holds, from the backend and from init.
    pub walls: Vec<Wall>,
    /// Every exec that is running.
    pub execs: Vec<ExecStatus>,
    /// Connections refused since the start, as `host:port`, the newest last; at most 64.
    pub refused: Vec<String>,
    /// Ports of the sandbox, with those of the host's loopback address that they are.
    pub ports: Vec<(u16, u16)>,
    /// Rules of the sandbox's own that deny, as [`Call::Deny`] takes them.
    pub denied: Vec<String>,
    /// Processes that the kernel killed since the start because the memory limit was reached.
    pub oom_kills: u64,
}

/// One running exec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStatus {
    /// Its number in this sandbox; 0 is the main command.
    pub exec: u32,
    /// Its process id inside the sandbox.
    pub pid: u32,
    /// The command, for people.
    pub command: String,
    /// Clients attached to it.
    pub clients: u32,
    /// Whether it has a terminal.
    pub terminal: bool,
}
