//! What can be wrong with a configuration, in words for the user.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A mistake in a file.
    #[error("{}:{line}:{column}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The character in the line, from 1.
        column: usize,
        /// What is wrong, one line.
        cause: String,
        /// What to do, one line; may be empty.
        hint: String,
    },
    /// A value that can't be used.
    #[error("{cause}")]
    Value {
        /// Which, and what is wrong with it, one line.
        cause: String,
        /// What to do, one line; may be empty.
        hint: String,
    },
    /// A project asks for more than any project gets.
    #[error("{} asks for more than a project gets by itself: {}", path.display(), asks.join("; "))]
    Untrusted {
        /// The project's file.
        path: PathBuf,
        /// For what it asks, with the keys that do.
        asks: Vec<String>,
    },
    /// A system call failed.
    #[error("Can't read {}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl ConfigError {
    pub(super) fn value(cause: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Value { cause: cause.into(), hint: hint.into() }
    }

    pub(super) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }

    /// What the user can do about it, one line; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::File { hint, .. } | Self::Value { hint, .. } => hint.clone(),
            Self::Untrusted { .. } => "Read the file; if you agree, `agentkernel trust` accepts it as it is".into(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "Look for a mistake in the path: a relative one begins where you are".into(),
                io::ErrorKind::PermissionDenied => "Make it readable for you".into(),
                _ => String::new(),
            },
        }
    }
}
