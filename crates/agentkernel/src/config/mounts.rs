//! Host paths that a sandbox is given: they exist, they are what they seem, and they are not the system's own.

use super::{
    ConfigError,
    follow::{Refusal, follow},
    forms::quoted,
};
use crate::{Mount, walk::Links};
use rustix::fs::FileType;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Resolves the source of a mount: absolute, and without links in it. A link in the last place is refused rather
/// than followed: whoever can change it would choose what is mounted. One on the way may lead out of none of the places
/// where sandboxes write; and in them nowhere, if the mount can be written: there it could lead to what is protected.
pub(super) fn source(mount: &Mount, base: &Path, places: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    let source = &mount.source;
    let links = if mount.read_only { Links::Inside } else { Links::Refused };
    let what = format!("Mount source {}", quoted(source.as_os_str()));
    let refused = |cause: String, hint: String| ConfigError::value(format!("{what} {cause}"), hint);
    // Collected anew, for a slash at the end would follow a link.
    let named: PathBuf = base.join(source).components().collect();
    let wrong = |refusal| match refusal {
        Refusal::Io(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            refused("doesn't exist".into(), "Nothing is made for a mount: create it first".into())
        }
        refusal => refusal.at(&named),
    };
    let entry = follow(&named, false, &what, places, links).map_err(wrong)?;
    let (path, kind) = entry.path().and_then(|path| Ok((path, entry.kind()?))).map_err(Refusal::Io).map_err(wrong)?;
    if kind == FileType::Symlink {
        let to = entry.target().map_err(|error| ConfigError::io(&path, error))?;
        let to = quoted(&to);
        return Err(refused(format!("is a symbolic link to {to}"), "Mount what it points to".into()));
    }
    if path == Path::new("/") || ["/proc", "/sys", "/dev"].iter().any(|place| path.starts_with(place)) {
        return Err(refused("belongs to the system".into(), "Mount the directory that is needed, not all".into()));
    }
    if !matches!(kind, FileType::Directory | FileType::RegularFile | FileType::Socket) {
        return Err(refused("is neither a directory, a file nor a socket".into(), String::new()));
    }
    Ok(path)
}

/// Resolves the directory of an image.
pub(super) fn image(dir: &Path, base: &Path, places: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    let path = base.join(dir);
    let what = quoted(dir.as_os_str());
    let wrong = |refusal| match refusal {
        Refusal::Io(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            ConfigError::value(format!("Image {what} doesn't exist"), "Name the directory that it was unpacked to")
        }
        refusal => refusal.at(&path),
    };
    let entry = follow(&path, true, &format!("Image {what}"), places, Links::Inside).map_err(wrong)?;
    let (real, kind) = entry.path().and_then(|real| Ok((real, entry.kind()?))).map_err(Refusal::Io).map_err(wrong)?;
    if real == Path::new("/") {
        let hint = "Use the image 'host', which leaves out what is yours";
        return Err(ConfigError::value(format!("Image directory {what} is the root directory"), hint));
    }
    match kind {
        FileType::Directory => Ok(real),
        _ => Err(ConfigError::value(format!("Image {what} is not a directory"), "Unpack it first")),
    }
}

/// What mounts let a sandbox write to on the host.
pub(super) fn writable(mounts: &[Mount]) -> impl Iterator<Item = &Path> {
    mounts.iter().filter(|mount| !mount.read_only).map(|mount| mount.source.as_path())
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
