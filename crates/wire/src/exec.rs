//! One process tree in a sandbox: what to run, and how it ended.

use crate::OsBytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What to run in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The program, looked up in the `PATH` of [`env`](Self::env) unless it has a slash, and its arguments.
    pub argv: Vec<OsBytes>,
    /// The whole environment, as `NAME=value` entries. Nothing is inherited.
    pub env: Vec<OsBytes>,
    /// The working directory, absolute, as the sandbox sees it.
    pub cwd: OsBytes,
    /// Who runs it.
    pub user: User,
    /// What its descriptors 0, 1 and 2 are.
    pub stdio: Stdio,
    /// Programs without which it is not begun, looked up in the same way.
    #[serde(default)]
    pub needs: Vec<OsBytes>,
}

/// The identity of a process, as ids inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids. Must be empty where the sandbox maps one id only.
    pub groups: Vec<u32>,
}

/// What descriptors 0, 1 and 2 of an exec are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Three pipes; standard input is at its end from the start unless `stdin`.
    Pipes {
        /// Whether the client will send standard input.
        stdin: bool,
    },
    /// One terminal of the sandbox's own devpts. All output comes on [`Channel::Stdout`].
    Terminal {
        /// Its size at the start.
        size: WinSize,
    },
}

/// The size of a terminal, in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WinSize {
    /// Lines.
    pub rows: u16,
    /// Columns.
    pub cols: u16,
}

impl Default for WinSize {
    fn default() -> Self {
        Self { rows: 24, cols: 80 }
    }
}

/// A limit of setrlimit(2), soft and hard alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Which one.
    pub kind: RlimitKind,
    /// The value in the kind's own unit (bytes, processes, descriptors).
    pub value: u64,
}

/// The limits that agentkernel sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RlimitKind {
    /// `RLIMIT_CORE`, bytes.
    Core,
    /// `RLIMIT_FSIZE`, bytes.
    Fsize,
    /// `RLIMIT_NOFILE`, descriptors.
    Nofile,
    /// `RLIMIT_NPROC`, processes of this user in this user namespace.
    Nproc,
}

/// A byte channel of a stream. A stream has one direction per channel: [`Stdin`](Self::Stdin) flows from the side
/// that opened the stream, the others flow towards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Channel {
    /// Towards the program: standard input, an archive to unpack.
    Stdin = 0,
    /// From the program: standard output, an archive.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

impl TryFrom<u8> for Channel {
    type Error = u8;

    fn try_from(byte: u8) -> Result<Self, u8> {
        match byte {
            0 => Ok(Self::Stdin),
            1 => Ok(Self::Stdout),
            2 => Ok(Self::Stderr),
            other => Err(other),
        }
    }
}

/// How an exec, or a whole sandbox, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It exited by itself with this status.
    Code(u8),
    /// A signal of this number ended it.
    Signal(u8),
    /// The kernel killed it because the sandbox's memory limit was reached.
    Oom,
    /// It was killed because its time was up.
    Deadline,
    /// Nobody knows: the supervisor, the machine or the host died first.
    Lost,
}

impl Exit {
    /// The status that a command line reports for it, by Docker's and timeout(1)'s conventions: the command's own,
    /// 128 + n for signal n, 137 for out of memory, 124 for the deadline, 125 when nobody knows.
    #[must_use]
    pub fn status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
            Self::Oom => 137,
            Self::Deadline => 124,
            Self::Lost => 125,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with status {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
            Self::Oom => f.write_str("killed: out of memory"),
            Self::Deadline => f.write_str("killed: time is up"),
            Self::Lost => f.write_str("lost"),
        }
    }
}
