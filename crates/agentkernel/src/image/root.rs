//! Reads files of an image as a sandbox would see them: the topmost layer that has one decides.

use super::{ImageError, Images, Record, layer_name, open};
use rustix::{
    fd::OwnedFd,
    fs::{self, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{fs::File, io::Read as _};

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;

impl Images {
    /// A file of the image, by its path from the root; `None` if it has none such, or one that is no file. No link is
    /// followed.
    ///
    /// # Errors
    /// If a layer is not there, or can't be read.
    pub fn read_file(&self, record: &Record, path: &str) -> Result<Option<Vec<u8>>, ImageError> {
        for layer in record.layers.iter().rev() {
            let name = layer_name(&layer.diff_id);
            let failed = |errno: Errno| self.failed("read", format!("../cache/{name}/{path}"), errno);
            let root = open(&self.cache, &name).map_err(failed)?;
            match find(&root, path).map_err(failed)? {
                Found::File(file) => {
                    let mut bytes = Vec::new();
                    let read = File::from(file).take(LONGEST).read_to_end(&mut bytes);
                    read.map_err(|error| self.failed("read", format!("../cache/{name}/{path}"), error))?;
                    return Ok(Some(bytes));
                }
                Found::Gone => return Ok(None),
                Found::Below => {}
            }
        }
        Ok(None)
    }
}

enum Found {
    File(OwnedFd),
    /// This layer hides whatever lies below it.
    Gone,
    /// What lies below decides.
    Below,
}

fn find(root: &OwnedFd, path: &str) -> rustix::io::Result<Found> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let at = |path: &str| fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve);
    let mut end = 0;
    if is_opaque_at(root, ".") && at(path).is_err_and(|errno| errno == Errno::NOENT) {
        return Ok(Found::Gone);
    }
    loop {
        end = path[end..].find('/').map_or(path.len(), |slash| end + slash);
        let part = match at(&path[..end]) {
            Ok(part) => part,
            Err(Errno::NOENT) => return Ok(Found::Below),
            // A link, or a file where a directory should be.
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Found::Gone),
            Err(errno) => return Err(errno),
        };
        let kind = FileType::from_raw_mode(fs::fstat(&part)?.st_mode);
        match kind {
            FileType::RegularFile if end == path.len() => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                return fs::openat2(root, path, flags, Mode::empty(), resolve).map(Found::File);
            }
            FileType::Directory if end < path.len() => {}
            // A whiteout too.
            _ => return Ok(Found::Gone),
        }
        if is_opaque_at(root, &path[..end]) && at(path).is_err_and(|errno| errno == Errno::NOENT) {
            return Ok(Found::Gone);
        }
        end += 1;
    }
}

/// Whether overlayfs looks no further down for what is in this directory.
fn is_opaque_at(root: &OwnedFd, path: &str) -> bool {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fs::openat2(root, path, flags, Mode::empty(), resolve).is_ok_and(|dir| is_opaque(&dir))
}

/// The same, of an open one. Of the top of a layer overlayfs does not ask: whoever mounts it leaves the layers below out.
#[must_use]
pub fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0; 4];
    matches!(fs::fgetxattr(dir, "user.overlay.opaque", &mut value), Ok(1) if value[0] == b'y')
}
