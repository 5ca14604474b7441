//! The event stream: what happens to a running sandbox, one JSON object per line. Its lines about connections and
//! refused changes are those of the audit log.

use crate::{SandboxId, store::AuditRecord};
use serde::{Deserialize, Serialize};
use wire::Exit;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventRecord {
    /// About the sandbox or a command in it.
    Life(LifeRecord),
    /// About a connection, or a change that was refused.
    Audit(AuditRecord),
}

/// What happened to a sandbox or a command in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeRecord {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Which sandbox.
    pub sandbox: SandboxId,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: LifeEvent,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LifeEvent {
    /// A command runs.
    ExecStarted {
        /// Its number in the sandbox; 0 is the main command.
        exec: u32,
        /// Its process id inside.
        pid: u32,
        /// The command, for people.
        command: String,
    },
    /// A command could not be started.
    ExecFailed {
        /// Its number.
        exec: u32,
        /// The cause, in words.
        cause: String,
    },
    /// A command has ended.
    ExecEnded {
        /// Its number.
        exec: u32,
        /// How.
        exit: Exit,
        /// The exit status that stands for that.
        status: u8,
    },
    /// Changes of protected paths are refused, and not on record: the kernel does not let anybody hear of them.
    Unheard {
        /// The cause, in words.
        cause: String,
    },
    /// The sandbox is about to end, because what it runs on was lost.
    Lost {
        /// What happened, in words.
        cause: String,
    },
    /// The sandbox has ended: the last event.
    Stopped {
        /// How.
        exit: Exit,
        /// The exit status that stands for that.
        status: u8,
    },
    /// So many events are missing here: this client was too slow for them.
    Skipped {
        /// How many.
        count: u64,
    },
}
