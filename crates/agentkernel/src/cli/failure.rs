//! What goes wrong, as the user reads it: one line with the cause, one with the hint, and the exit status.

use super::table::printable;
use crate::{
    client::{ClientError, CopyError, RenameError},
    config::ConfigError,
    image::ImageError,
    store::StoreError,
    workspace::WorkspaceError,
};
use std::{error::Error, fmt};

/// agentkernel itself failed in `run` or `exec` (Docker's convention).
pub(super) const OWN: u8 = 125;
/// Any other command failed.
pub(super) const FAILED: u8 = 1;

/// A command failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: u8,
    pub(super) cause: String,
    /// A line of a file that is to blame, with its number.
    pub(super) line: Option<(usize, String)>,
    pub(super) hint: String,
}

impl Failure {
    pub(super) fn new(cause: impl Into<String>) -> Self {
        Self { status: FAILED, cause: cause.into(), line: None, hint: String::new() }
    }

    pub(super) fn line(mut self, number: usize, text: impl Into<String>) -> Self {
        self.line = Some((number, text.into()));
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Another hint, beside what is said already.
    pub(super) fn also(mut self, hint: &str) -> Self {
        if !self.hint.is_empty() {
            self.hint.push_str("; ");
        }
        self.hint.push_str(hint);
        self
    }

    pub(super) fn status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// Cause and hint on one line.
    pub(super) fn one_line(&self) -> String {
        if self.hint.is_empty() { self.cause.clone() } else { format!("{} ({})", self.cause, self.hint) }
    }

    /// An error and its sources on one line.
    pub(super) fn chain(error: &dyn Error) -> Self {
        Self::new(wire::cause(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agentkernel: {}", printable(&self.cause))?;
        if let Some((number, text)) = &self.line {
            write!(f, "\n{number:>5} | {}", printable(text))?;
        }
        if !self.hint.is_empty() {
            write!(f, "\n  hint: {}", printable(&self.hint))?;
        }
        Ok(())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

impl From<ImageError> for Failure {
    fn from(error: ImageError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

impl From<WorkspaceError> for Failure {
    fn from(error: WorkspaceError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

impl From<RenameError> for Failure {
    fn from(error: RenameError) -> Self {
        match error {
            RenameError::Store(error) => error.into(),
            RenameError::Untold(ref source) => Self::chain(&error).hint(source.hint()),
        }
    }
}

/// As other front ends tell it.
impl From<Failure> for wire::Failure {
    fn from(failure: Failure) -> Self {
        let cause = match &failure.line {
            Some((number, text)) => format!("{}: line {number}: {text}", failure.cause),
            None => failure.cause,
        };
        Self { cause, hint: failure.hint }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Client(error) => error.into(),
            CopyError::Special { .. } => Self::chain(&error)
                .hint("Name a file or a directory, or '-' for a tar archive on standard output, as docker cp has it"),
            CopyError::Pack { ref source, .. } => Self::chain(&error).hint(source.hint()),
            CopyError::Sandbox(ref failure) => Self::chain(&error).hint(failure.hint.clone()),
            other => Self::chain(&other),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::chain(&error)
    }
}
