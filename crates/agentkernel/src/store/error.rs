//! What can go wrong with the state on disk, in words for the user.

use crate::SandboxId;
use rustix::io::Errno;
use std::{io, path::PathBuf};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("Can't {action} {path}")]
    Io {
        /// What was attempted, as a verb: "open", "write".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What a sandbox has outside of its directory can't be cleared.
    #[error("Sandbox {id} can't be cleared away, and stays on record")]
    Release {
        /// Which one.
        id: SandboxId,
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state directory belongs to another user.
    #[error("State directory {path} belongs to user {owner}, not to user {us}")]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// This process's user id.
        us: u32,
    },
    /// Other users may write to the state directory.
    #[error("State directory {path} is open to others (mode {mode:04o})")]
    Mode {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// `AGENTKERNEL_STATE_DIR` can't be what was meant.
    #[error("AGENTKERNEL_STATE_DIR is {}, which is no absolute path", crate::config::quoted(.0.as_os_str()))]
    RelativePlace(PathBuf),
    /// None of the variables that tell where the state belongs is set.
    #[error("No place for the state: neither AGENTKERNEL_STATE_DIR, XDG_STATE_HOME nor HOME is an absolute path")]
    NoPlace,
    /// The name belongs to another sandbox.
    #[error("Name '{name}' belongs to sandbox {id}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: SandboxId,
    },
    /// The id belongs to another sandbox.
    #[error("Sandbox {id} exists")]
    Exists {
        /// The id.
        id: SandboxId,
    },
    /// No sandbox has this name, id or prefix.
    #[error("No sandbox '{}'", reference.escape_debug())]
    NotFound {
        /// What was asked for.
        reference: String,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// More than one sandbox's id begins so.
    #[error("'{reference}' fits {} sandboxes: {}", candidates.len(), candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        reference: String,
        /// The ids that begin so.
        candidates: Vec<String>,
    },
    /// No supervisor answers.
    #[error("Sandbox {id} is not running")]
    NotRunning {
        /// Which one.
        id: SandboxId,
    },
    /// A record or the whole directory was written by another version.
    #[error("{path} has format {found}; this version reads {ours}")]
    Format {
        /// The record.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The one that is understood.
        ours: u64,
    },
    /// A record that can't be read.
    #[error("{path} is damaged: {cause}")]
    Damaged {
        /// The record.
        path: PathBuf,
        /// In which way.
        cause: String,
    },
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// What the user can do about it, one line; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Release { path, source, .. } if source.kind() == io::ErrorKind::NotConnected => format!(
                "Do it again when its engine answers; if that is gone for good, remove {}/engine first",
                path.display()
            ),
            Self::Io { source, .. } | Self::Release { source, .. } => match source
                .raw_os_error()
                .map(Errno::from_raw_os_error)
            {
                Some(Errno::NOSPC | Errno::DQUOT) => {
                    "Free some space there, or set AGENTKERNEL_STATE_DIR to a directory that has it".into()
                }
                Some(Errno::FBIG) => "Raise the limit on the size of files: `ulimit -f unlimited`".into(),
                Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => {
                    "Make it writable for you, or set AGENTKERNEL_STATE_DIR to a directory that is".into()
                }
                Some(Errno::NOTDIR | Errno::EXIST | Errno::LOOP | Errno::NAMETOOLONG) => {
                    "Set AGENTKERNEL_STATE_DIR to a directory, or to a path where one can be made".into()
                }
                Some(Errno::XDEV | Errno::BUSY) => "Unmount what is mounted below it, then run `agentkernel gc`".into(),
                _ => String::new(),
            },
            Self::Owner { .. } => {
                "Run as its owner, or set AGENTKERNEL_STATE_DIR to a directory of your own (sudo: use `sudo -H`)".into()
            }
            Self::Mode { path, .. } => format!(
                "Make sure that nobody changed it, then `chmod 700 {}`",
                wire::shell_word(&path.to_string_lossy())
            ),
            Self::RelativePlace(_) => "Set it to an absolute path, or unset it".into(),
            Self::NoPlace => "Set AGENTKERNEL_STATE_DIR to an absolute path".into(),
            Self::NameTaken { name, .. } => format!("Choose another name, or `agentkernel rm {name}` first"),
            Self::NotFound { nearest: Some(name), .. } => format!("Did you mean '{name}'?"),
            Self::NotFound { .. } => "`agentkernel ps -a` lists them".into(),
            Self::Ambiguous { .. } => "Give more digits, or the name".into(),
            Self::NotRunning { id } => format!("`agentkernel start {id}` starts it"),
            Self::Format { .. } => "Use the version of agentkernel that wrote it".into(),
            Self::Damaged { path, .. } => match path.parent().and_then(|dir| dir.file_name()) {
                Some(id) => format!("`agentkernel rm {}` removes the sandbox and its files", id.display()),
                None => String::new(),
            },
            Self::Exists { .. } => String::new(),
        }
    }
}
