//! Hides where a path of the host leads. Who works in a sandbox can lay links in what it writes to: such a link may lead
//! anywhere there, and nowhere else.

use super::{ConfigError, forms::quoted};
use crate::{Mount, Spec, Workspace};
use rustix::{
    fd::OwnedFd,
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

/// How many links there may be on a path, as for the kernel.
const LINKS: u32 = 40;

/// A path, followed to its end.
#[derive(Debug)]
pub(crate) struct Followed {
    /// The same without links. One of the kernel's own, below /proc, stays as it is.
    pub(crate) real: PathBuf,
    /// The directories in which its names were looked up, and those of the links on the way, all without links; and whether
    /// the name was a link's.
    passed: Vec<(PathBuf, bool)>,
}

impl Followed {
    /// Whether a name in this directory, or below it, decides where the path leads.
    pub(crate) fn passes(&self, place: &Path) -> bool {
        self.passed.iter().any(|(dir, _)| dir.starts_with(place))
    }

    /// Whether a link there does.
    fn is_led(&self, place: &Path) -> bool {
        self.passed.iter().any(|(dir, is_link)| *is_link && dir.starts_with(place))
    }

    /// Refuses a path that goes through a place where sandboxes write and leads out of it again.
    pub(crate) fn stays_in(&self, what: &str, places: &[PathBuf]) -> Result<(), ConfigError> {
        let Some(place) = places.iter().find(|place| self.is_led(place) && !self.real.starts_with(place)) else {
            return Ok(());
        };
        let (place, real) = (quoted(place.as_os_str()), quoted(self.real.as_os_str()));
        let cause = format!("{what} leads out of {place} by a link, to {real}");
        Err(ConfigError::value(cause, format!("A sandbox could lay such a link; if it is yours, name {real} itself")))
    }
}

/// Follows an absolute path.
///
/// # Errors
/// If there is nothing, or too many links.
pub(crate) fn follow(path: &Path) -> io::Result<Followed> {
    let (mut real, mut passed, mut links) = (PathBuf::from("/"), Vec::new(), 0);
    let parts =
        |path: &Path| -> Vec<OsString> { path.components().rev().map(|part| part.as_os_str().to_owned()).collect() };
    let mut left = parts(path);
    while let Some(part) = left.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => real = "/".into(),
            Some(Component::ParentDir) => {
                real.pop();
            }
            Some(Component::Normal(name)) => {
                let next = real.join(name);
                if real.starts_with("/proc") {
                    // What is there leads where its text does not say.
                    std::fs::metadata(&next)?;
                    real = next;
                    continue;
                }
                let is_link = std::fs::symlink_metadata(&next)?.is_symlink();
                passed.push((real.clone(), is_link));
                if is_link {
                    links += 1;
                    if links > LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    left.extend(parts(&std::fs::read_link(&next)?));
                } else {
                    real = next;
                }
            }
            _ => {}
        }
    }
    Ok(Followed { real, passed })
}

/// What a sandbox writes to on the host by its mounts.
pub(super) fn writable(mounts: &[Mount]) -> Vec<PathBuf> {
    mounts.iter().filter(|mount| !mount.read_only).map(|mount| mount.source.clone()).collect()
}

/// Where a sandbox, and others of its project, write on the host.
pub(crate) fn places(spec: &Spec) -> Vec<PathBuf> {
    let project = match &spec.workspace {
        Workspace::None => None,
        Workspace::Direct { path, .. } | Workspace::Overlay { path } => Some(path.clone()),
    };
    project.into_iter().chain(writable(&spec.mounts)).collect()
}

/// Opens a file for reading, by a path that leads out of none of these places. `what` it is, in words.
///
/// # Errors
/// The system's as they are; [`Refusal::Out`] if it leads out of one.
pub(super) fn open(path: &Path, what: &str, places: &[PathBuf]) -> Result<OwnedFd, Refusal> {
    let followed = follow(path)?;
    followed.stays_in(what, places).map_err(Refusal::Out)?;
    // What was a link's place a moment ago may be one now: none is followed any more.
    let resolve = if followed.real.starts_with("/proc") { ResolveFlags::empty() } else { ResolveFlags::NO_SYMLINKS };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fs::openat2(fs::CWD, &followed.real, flags, Mode::empty(), resolve).map_err(|errno| Refusal::Io(errno.into()))
}

/// Why something was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    Io(io::Error),
    Out(ConfigError),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
