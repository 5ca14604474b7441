//! Host paths that a sandbox is given: they exist, they are what they seem, and they are not the system's own.

use super::{
    ConfigError,
    follow::{Followed, follow},
    forms::quoted,
};
use std::{
    fs::Metadata,
    io::{self, ErrorKind},
    os::unix::fs::FileTypeExt,
    path::{Component, Path, PathBuf},
};

/// Resolves the source of a mount: absolute, and without links in it. A link in the last place is refused rather
/// than followed: whoever can change it would choose what is mounted. One on the way may lead out of none of the places
/// where sandboxes write.
pub(super) fn source(source: &Path, base: &Path, places: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    let what = format!("Mount source {}", quoted(source.as_os_str()));
    let refused = |cause: String, hint: String| ConfigError::value(format!("{what} {cause}"), hint);
    let (followed, metadata) = resolve(source, base).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            refused("doesn't exist".into(), "Nothing is made for a mount: create it first".into())
        }
        _ => ConfigError::io(&base.join(source), error),
    })?;
    followed.stays_in(&what, places)?;
    let (path, kind) = (followed.real, metadata.file_type());
    if kind.is_symlink() {
        let to = std::fs::read_link(&path).map_err(|error| ConfigError::io(&path, error))?;
        let to = quoted(to.as_os_str());
        return Err(refused(format!("is a symbolic link to {to}"), "Mount what it points to".into()));
    }
    if path == Path::new("/") || ["/proc", "/sys", "/dev"].iter().any(|place| path.starts_with(place)) {
        return Err(refused("belongs to the system".into(), "Mount the directory that is needed, not all".into()));
    }
    if kind.is_block_device() || kind.is_char_device() || kind.is_fifo() {
        return Err(refused("is neither a directory, a file nor a socket".into(), String::new()));
    }
    Ok(path)
}

/// Resolves the directory of an image.
pub(super) fn image(dir: &Path, base: &Path, places: &[PathBuf]) -> Result<PathBuf, ConfigError> {
    let path = base.join(dir);
    let what = quoted(dir.as_os_str());
    let followed = follow(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            ConfigError::value(format!("Image {what} doesn't exist"), "Name the directory that it was unpacked to")
        }
        _ => ConfigError::io(&path, error),
    })?;
    followed.stays_in(&format!("Image {what}"), places)?;
    let real = followed.real;
    if real == Path::new("/") {
        let hint = "Use the image 'host', which leaves out what is yours";
        return Err(ConfigError::value(format!("Image directory {what} is the root directory"), hint));
    }
    match std::fs::metadata(&real) {
        Ok(metadata) if metadata.is_dir() => Ok(real),
        Ok(_) => Err(ConfigError::value(format!("Image {what} is not a directory"), "Unpack it first")),
        Err(error) => Err(ConfigError::io(&path, error)),
    }
}

/// The path with every link resolved but one in the last place, and what is there.
fn resolve(path: &Path, base: &Path) -> io::Result<(Followed, Metadata)> {
    // Collected anew, for a slash at the end would follow a link.
    let path: PathBuf = base.join(path).components().collect();
    let followed = match (path.components().next_back(), path.parent()) {
        (Some(Component::Normal(name)), Some(parent)) => {
            let mut followed = follow(parent)?;
            followed.real.push(name);
            followed
        }
        _ => follow(&path)?,
    };
    let metadata = std::fs::symlink_metadata(&followed.real)?;
    Ok((followed, metadata))
}

#[cfg(test)]
#[path = "mounts_tests.rs"]
mod tests;
