//! Hides what belongs to agentkernel's own configuration on the host: a sandbox that reads it has the user's secrets, and
//! one that writes it, or chooses where a link in it leads, sets its own limits.

use super::{ConfigError, HostFacts, UserConfig};
use crate::{
    Image, Spec,
    walk::{Links, WalkError, Writable},
};
use std::{
    fs::{DirEntry, read_dir},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Refuses a place with something of it, be it only what one of its links leads to, or leads through.
pub(super) fn refuse(place: &Path, host: &HostFacts) -> Result<(), ConfigError> {
    let own = UserConfig::dir(host);
    if let Some(real) = meets(&own, place)? {
        let cause = format!("{} holds agentkernel's own configuration, and secrets", place.display());
        return Err(ConfigError::value(cause, format!("Name something that has nothing of {} in it", real.display())));
    }
    let (mut links, mut dirs) = (Vec::new(), vec![own]);
    // What it reads lies in it, or in a directory in it.
    for _ in 0..2 {
        for entry in std::mem::take(&mut dirs).iter().flat_map(entries) {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                links.push(path.clone());
            }
            dirs.push(path);
        }
    }
    for link in links {
        if let Some(real) = meets(&link, place)? {
            let (place, link) = (place.display(), link.display());
            let cause = format!("{place} holds agentkernel's own configuration: {link} leads to {}", real.display());
            let hint = format!("A sandbox could lift your limits there: put a copy in the place of {link}");
            return Err(ConfigError::value(cause, hint));
        }
    }
    Ok(())
}

/// Refuses a sandbox that was made before a link was laid to what it writes.
///
/// # Errors
/// In words, if it is to be refused.
pub fn check_own(spec: &Spec, host: &HostFacts) -> Result<(), ConfigError> {
    let mounts = spec.mounts.iter().map(|mount| mount.source.as_path());
    let image = match &spec.image {
        Image::Dir(dir) => Some(dir.as_path()),
        _ => None,
    };
    spec.workspace.path().into_iter().chain(mounts).chain(image).try_for_each(|place| refuse(place, host))
}

fn entries(dir: &PathBuf) -> impl Iterator<Item = DirEntry> + use<> {
    read_dir(dir).into_iter().flatten().flatten()
}

/// Where a path of ours leads, if that lies in a place, around it, or is decided there.
fn meets(path: &Path, place: &Path) -> Result<Option<PathBuf>, ConfigError> {
    let walked = Writable::of(&[place.to_owned()], Links::Followed).entry(path, true);
    let (real, passes) = match walked {
        Ok(entry) => (entry.path().map_err(|error| ConfigError::io(path, error))?, entry.passes),
        // Nothing is there yet.
        Err(WalkError::Io(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            (path.to_owned(), false)
        }
        Err(WalkError::Io(error)) => return Err(ConfigError::io(path, error)),
        Err(error) => return Err(ConfigError::value(format!("{}: {error}", path.display()), "")),
    };
    Ok((passes || real.starts_with(place) || place.starts_with(&real)).then_some(real))
}
