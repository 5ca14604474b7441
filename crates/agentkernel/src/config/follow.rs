//! Where a path of the host leads that may go through what sandboxes write: a link that one of them has laid there leads
//! nowhere else.

use super::{ConfigError, forms::quoted};
use crate::walk::{Entry, Links, WalkError, Writable};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a path leads nowhere.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The system's word.
    Io(io::Error),
    /// It leads where nobody may be led.
    Link(ConfigError),
}

impl Refusal {
    /// The error of something that must be there.
    pub(crate) fn at(self, path: &Path) -> ConfigError {
        match self {
            Self::Io(error) => ConfigError::io(path, error),
            Self::Link(error) => error,
        }
    }
}

/// Walks an absolute path, by links in these places as they may be followed there; one in the last place is followed or not.
/// `what` it is, in words.
///
/// # Errors
/// [`Refusal`]; that nothing is there is none.
pub(crate) fn follow(path: &Path, last: bool, what: &str, places: &[PathBuf], links: Links) -> Result<Entry, Refusal> {
    Writable::of(places, links).entry(path, last).map_err(|error| match error {
        WalkError::Io(error) => Refusal::Io(error),
        WalkError::Out { place, real } => {
            let (place, real) = (quoted(place.as_os_str()), quoted(real.as_os_str()));
            let cause = format!("{what} leads out of {place} by a link, to {real}");
            let hint = format!("A sandbox could lay such a link; if it is yours, name {real} itself");
            Refusal::Link(ConfigError::value(cause, hint))
        }
        error @ WalkError::Link { .. } => {
            let hint = "A sandbox could lay such a link, to what is protected; `:ro` may follow it";
            Refusal::Link(ConfigError::value(format!("{what}: {error}"), hint))
        }
        error => Refusal::Link(ConfigError::value(format!("{what}: {error}"), "")),
    })
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
