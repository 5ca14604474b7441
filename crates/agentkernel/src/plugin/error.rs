//! What goes wrong when a plugin is installed or removed.

use super::agent;
use crate::{
    config::{self, ConfigError},
    store::StoreError,
};
use std::{io, path::PathBuf};

/// A plugin could not be installed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is none for an agent of this name.
    #[error("There is no plugin for {}", config::quoted(.0.as_ref()))]
    Unknown(String),
    /// It has none for projects.
    #[error("{0} has no plugin for a project alone")]
    UserOnly(String),
    /// No sandbox could work there.
    #[error("{} can't be a workspace: {reason}", path.display())]
    NoProject {
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file can't be changed.
    #[error("{}:{line}:{column}: {cause}", path.display())]
    Fault {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: usize,
        /// In characters, from 1 on.
        column: usize,
        /// Why.
        cause: String,
    },
    /// The system refused something.
    #[error("Cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file is not to be written, as its mode says.
    #[error("{} is read-only", path.display())]
    ReadOnly {
        /// Which.
        path: PathBuf,
        /// What the system says of it.
        #[source]
        source: io::Error,
    },
    /// A link leads to nothing.
    #[error("{} is a symbolic link to nothing", .0.display())]
    Dangling(PathBuf),
    /// A project's file is elsewhere.
    #[error("{} leads out of the project, to {}", path.display(), real.display())]
    Outside {
        /// What was meant.
        path: PathBuf,
        /// What it is.
        real: PathBuf,
    },
    /// It is not there, and a sandbox that runs keeps its place, so that nothing inside can make it.
    #[error("A sandbox that runs keeps the place of {}", .0.display())]
    Kept(PathBuf),
    /// A sandbox works in that directory: what is replaced there meanwhile is not protected in it any more.
    #[error("A sandbox runs in {}", .0.display())]
    Held(PathBuf),
    /// It is no text.
    #[error("{} is not UTF-8", .0.display())]
    Encoding(PathBuf),
    /// It can't be written into a configuration.
    #[error("The path {} is not UTF-8", .0.display())]
    Path(PathBuf),
    /// Somebody else writes to it all the time.
    #[error("{} changes whenever it is to be replaced", .0.display())]
    Busy(PathBuf),
    /// A description of ours is wrong.
    #[error("The description of {name} is broken: {cause}")]
    Broken {
        /// Of which agent.
        name: &'static str,
        /// How.
        cause: String,
    },
    /// The state can't be used.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl PluginError {
    pub(super) fn io(verb: &'static str, path: impl Into<PathBuf>, error: impl Into<io::Error>) -> Self {
        Self::Io { verb, path: path.into(), source: error.into() }
    }

    /// What its user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(name) => match config::nearest(name, agent::names()) {
                Some(near) => format!("Did you mean '{near}'?"),
                None => format!("There are {}", agent::names().join(", ")),
            },
            Self::UserOnly(_) => "Install it with --user".into(),
            Self::NoProject { .. } => "Go to a project's directory, or install with --user".into(),
            Self::Fault { .. } => "Mend the file first; nothing was changed in it".into(),
            Self::ReadOnly { .. } => "If it may be changed, make it writable first (`chmod u+w`)".into(),
            Self::Dangling(_) => "Remove it, or put back what it leads to".into(),
            Self::Outside { .. } => "Make it a file of the project, or install with --user".into(),
            Self::Kept(_) | Self::Held(_) => {
                "End the sandboxes of this project first ('agentkernel ps' lists them), or install with --user".into()
            }
            Self::Encoding(_) => "Save it as UTF-8; nothing was changed in it".into(),
            Self::Busy(_) => "End the programs that write to it, and try again".into(),
            Self::State(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Io { .. } | Self::Path(_) | Self::Broken { .. } => String::new(),
        }
    }
}
