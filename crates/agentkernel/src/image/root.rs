//! Reads files of an image as a sandbox would see them.

use super::{ImageError, Images, Record};
use oci::Digest;
use rustix::fd::OwnedFd;

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;

impl Images {
    /// A file of the image, by its path from the root, links followed; `None` if it has none such, or one that is no file.
    ///
    /// # Errors
    /// If a layer is not there, or can't be read.
    pub fn read_file(&self, record: &Record, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        let layers: Vec<Digest> = record.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        self.view(&layers)?.read(path.as_bytes(), LONGEST).map_err(|errno| self.failed("read", path, errno))
    }

    /// Whether an image has anything in a directory of this path, or anything else there.
    ///
    /// # Errors
    /// If a layer is not there, or can't be read.
    pub fn has_in(&self, record: &Record, path: &str) -> Result<bool, ImageError> {
        let layers: Vec<Digest> = record.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let view = self.view(&layers)?;
        let has = view.look(path.trim_matches('/').as_bytes()).and_then(|found| match found {
            None => Ok(false),
            Some(found) if found.is_dir() => Ok(!view.list(path.trim_matches('/').as_bytes(), &found)?.is_empty()),
            Some(_) => Ok(true),
        });
        has.map_err(|errno| self.failed("read", path, errno))
    }
}

/// Whether overlayfs looks no further down for what is in this directory. Of the top of a layer overlayfs does not ask:
/// whoever mounts it leaves the layers below out.
#[must_use]
pub fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0; 4];
    matches!(rustix::fs::fgetxattr(dir, "user.overlay.opaque", &mut value), Ok(1) if value[0] == b'y')
}
