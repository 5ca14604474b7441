//! What can go wrong with images, in words for the user.

use crate::store::StoreError;
use oci::{Digest, manifest::ManifestError};
use std::{error::Error, io, iter};
use wire::Failure;

/// A failure of the store of images, or of where they come from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The state on disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There can be no process to work on it.
    #[error("Can't start a process for the image")]
    Worker(#[source] io::Error),
    /// The process that worked on it ended without an answer.
    #[error("The process that worked on the image ended {}", how(*signal))]
    Died {
        /// The signal that ended it; none: it could not raise its walls.
        signal: Option<i32>,
    },
    /// The image is not what it should be.
    #[error(transparent)]
    Refused(Failure),
    /// A document of it is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Contents are others than those that were named.
    #[error("{what} is not what its digest {digest} says")]
    Digest {
        /// Which contents.
        what: String,
        /// What they were to be.
        digest: Digest,
    },
    /// No image has this name.
    #[error("No image '{name}' is in the store")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Several images have digests that begin so.
    #[error("The digests of several images begin with {digits}")]
    Ambiguous {
        /// The digits.
        digits: String,
    },
    /// An image that was named by its digest has several names.
    #[error("The image has several names: {names}")]
    Named {
        /// The names.
        names: String,
    },
    /// More than the user lets images take.
    #[error("Images would take {}, of which {} are allowed", mebibytes(*.wanted), mebibytes(*.quota))]
    Quota {
        /// How many bytes they may take.
        quota: u64,
        /// How many they would.
        wanted: u64,
    },
    /// What was named as source is none.
    #[error("No image can be read from {path}: {cause}")]
    Source {
        /// The path.
        path: String,
        /// Why.
        cause: String,
    },
}

impl ImageError {
    /// What the user can do about it, one line; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Store(error) => error.hint(),
            Self::Refused(failure) => failure.hint.clone(),
            Self::NotFound { name } => format!(
                "`agentkernel image pull {name}` brings it from its registry; `agentkernel image list` shows those there are"
            ),
            Self::Ambiguous { .. } => "Name more of its digits: `agentkernel image list -q` shows them all".into(),
            Self::Named { .. } => "Name those that are to be taken away".into(),
            Self::Digest { .. } => "Get it again: it was damaged on its way, or is not what was meant".into(),
            Self::Died { signal: None } => "`agentkernel doctor` tells which walls this host has".into(),
            Self::Source { .. } => {
                "Name an OCI layout, or an archive that `docker save`, `podman save` or `skopeo copy` has written"
                    .into()
            }
            Self::Quota { .. } => {
                "`agentkernel image prune --all` removes those that no sandbox is made of; `quota` in [images] of your config.toml \
                 sets how much is allowed"
                    .into()
            }
            Self::Died { .. } | Self::Worker(_) | Self::Manifest(_) => String::new(),
        }
    }
}

/// What an error of a worker says, with what can be done where the disk is full.
pub(super) fn told(error: &(dyn Error + 'static)) -> Failure {
    let chain = iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    let hint = chain.filter_map(<dyn Error>::downcast_ref).map(room).find(|hint| !hint.is_empty());
    Failure { cause: wire::cause(error), hint: hint.unwrap_or_default().to_owned() }
}

/// What can be done where a disk is full; empty for every other error.
pub(super) fn room(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "`agentkernel image prune` and `gc` free what nobody uses; or set AGENTKERNEL_STATE_DIR to a directory that has more room"
        }
        _ => "",
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn how(signal: Option<i32>) -> String {
    signal.map_or_else(|| "before it had begun".to_owned(), |signal| format!("by signal {signal}"))
}
