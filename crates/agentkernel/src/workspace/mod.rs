//! Hides how a project's files are kept before somebody changes them, and brought back; and what agents keep for it.
//!
//! ```text
//! checkpoints/<digest of the project's path>/
//!   project     the path, for people who look
//!   lock        whoever takes a checkpoint or goes back to one holds it
//!   <number>    a checkpoint: a line of JSON about it, and one for each entry of the tree
//!   files/<n>   contents, each shared by checkpoints in a row that found the file unchanged
//! agents/<digest of the project's path>/
//!   project     the path, for people who look
//!   <agent>/    what one agent keeps: `seed`, from which placeholders are made, and `home`
//! ```

mod checkpoint;
mod home;
mod manifest;
mod restore;
mod tree;

pub use checkpoint::{Checkpoints, LIMIT, Taken};
pub use home::AgentHome;
pub use manifest::Summary;
pub use restore::{Change, Restored, What};

use crate::store::StoreError;
use checkpoint::MOST;
use std::{io, path::PathBuf};

/// A failure with a checkpoint, or with what agents keep.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// A system call failed.
    #[error("Can't {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The same with what an agent keeps, where its sandboxes may have put something in the way.
    #[error("Can't {action} {}", path.display())]
    Kept {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Whose it is.
        agent: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The state can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The project has more bytes than a checkpoint may.
    #[error("{} has more than {} GiB", .0.display(), LIMIT >> 30)]
    TooLarge(PathBuf),
    /// The project has more entries than a checkpoint may.
    #[error("{} has more than {MOST} entries", .0.display())]
    TooMany(PathBuf),
    /// There is no checkpoint of this number.
    #[error("This project has no checkpoint {0}")]
    Missing(u32),
    /// There is nothing to go back to.
    #[error("This project has no checkpoint to go back to")]
    Nothing,
    /// What the last run did is nothing, and it is not said that what was there before an older one is meant.
    #[error("Nothing has changed since '{last}'")]
    Unchanged {
        /// What the last checkpoint was taken before.
        last: String,
        /// One from which the files differ.
        number: u32,
        /// What that was taken before.
        before: String,
    },
    /// The record of a checkpoint is not one.
    #[error("Checkpoint {0} is damaged")]
    Damaged(u32),
}

impl WorkspaceError {
    /// What its user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) => error.hint(),
            Self::Kept { agent, .. } => {
                format!(
                    "'agentkernel agents forget {agent}' forgets what it keeps for this project, so that it begins anew"
                )
            }
            Self::Missing(_) => "'agentkernel undo --list' shows those that there are".into(),
            Self::Nothing => {
                "Runs of agents keep one before they begin, and others do if 'checkpoint' is asked for".into()
            }
            Self::Unchanged { number, before, .. } => format!(
                "Checkpoint {number} ('agentkernel undo {number}') is from before '{before}', without all that was changed since, by yourself too"
            ),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
#[path = "workspace_tests.rs"]
mod tests;
