//! Hides how a layer of an OCI image becomes a directory that overlayfs can stack, and an overlay's upper directory a
//! layer. The format is that of <https://github.com/opencontainers/image-spec/blob/main/layer.md>, uncompressed.

mod pack;
mod sparse;
mod tree;
mod unpack;
mod xattr;

pub use pack::{PackLayerOptions, PackOwners, pack};
pub use unpack::{LayerOptions, LayerSummary, Owners, unpack};

use crate::reader::Time;
use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};

/// What a name begins with that stands for the removal of what comes behind it.
const WHITEOUT: &[u8] = b".wh.";
/// What names begin with that aufs keeps for itself.
const AUFS: &[u8] = b".wh..wh.";
/// The name of what says that a directory hides all that layers below have there.
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
/// The attribute by which overlayfs knows such a directory, if it is mounted with `userxattr`.
const OPAQUE: &str = "user.overlay.opaque";
/// The largest number of a user or group: a sandbox has a range of them.
const MAX_ID: u64 = 65535;

fn times((seconds, nanoseconds): Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
    }
}

#[cfg(test)]
#[path = "refused_tests.rs"]
mod refused;
#[cfg(test)]
#[path = "pack_tests.rs"]
mod round;
#[cfg(test)]
#[path = "scene_tests.rs"]
mod scene;
#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "witness_tests.rs"]
mod witness;
