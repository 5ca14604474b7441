//! A failure as it crosses a process boundary: the cause, and what to do about it.

use serde::{Deserialize, Serialize};

/// What went wrong, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// What went wrong, one line.
    pub cause: String,
    /// What the user can do about it, one line; empty if nothing is known.
    pub hint: String,
}

impl From<String> for Failure {
    /// A cause without a hint.
    fn from(cause: String) -> Self {
        Self { cause, hint: String::new() }
    }
}

impl Failure {
    /// An exec that no [`open`](crate::mux::Mux::open) can carry.
    #[must_use]
    pub fn too_large() -> Self {
        Self {
            cause: "The command and its environment are too large".into(),
            hint: format!("Together they may have {} bytes", crate::mux::MAX_OPEN),
        }
    }
}
