//! What leads to a file of the workspace on the host. Hides how it is known that it led there all the while.
//!
//! The sandbox's programs can change the workspace at any time, and the editor follows links. Each step is therefore opened
//! without following any, and noted by what changes whenever an entry of a directory does: the time of its last change,
//! which nobody can set. The clock of those goes in ticks, so that a second change within one is not seen: whoever looks
//! waits until the next.

use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2},
    time::{ClockId, clock_gettime},
};
use std::{
    path::{Component, Path},
    time::Duration,
};

/// The longest time that is waited for a tick of a file system's clock. Those of some are as long as a second or two.
const LONGEST_TICK: Duration = Duration::from_secs(3);

/// Every step to a file, from the workspace on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trail(Vec<Step>);

/// A directory, or the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    device: u64,
    inode: u64,
    /// When it was changed last: seconds and nanoseconds.
    changed: (i64, i64),
}

impl Trail {
    /// The one to a path in a workspace; `None` if it is no plain way to a plain file that every program of ours may read,
    /// in the sandbox too.
    pub(super) fn to(path: &Path, workspace: &Path) -> Option<Self> {
        let mut names = Vec::new();
        for part in path.strip_prefix(workspace).ok()?.components() {
            let Component::Normal(name) = part else { return None };
            names.push(name);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What is mounted in it need not be so in the sandbox.
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let open = |dir: BorrowedFd<'_>, name: &Path, resolve| -> Option<(OwnedFd, Stat)> {
            let opened = openat2(dir, name, flags, Mode::empty(), resolve).ok()?;
            let stat = fstat(&opened).ok()?;
            Some((opened, stat))
        };
        let (mut dir, stat) = open(CWD, workspace, ResolveFlags::NO_MAGICLINKS)?;
        let mut steps = vec![step(&stat, FileType::Directory)?];
        let (last, directories) = names.split_last()?;
        for name in directories {
            let (next, stat) = open(dir.as_fd(), Path::new(name), inside)?;
            steps.push(step(&stat, FileType::Directory)?);
            dir = next;
        }
        let (_, stat) = open(dir.as_fd(), Path::new(last), inside)?;
        steps.push(step(&stat, FileType::RegularFile)?);
        let trail = Self(steps);
        (trail.left() <= LONGEST_TICK).then_some(trail)
    }

    /// How long it is until any further change of it would be seen.
    pub(super) fn left(&self) -> Duration {
        let newest = self.0.iter().map(|step| step.changed).max().unwrap_or_default();
        let now = clock_gettime(ClockId::RealtimeCoarse);
        // One that counts whole seconds, or two at a time, has no smaller parts.
        let whole = newest.1 == 0;
        let tick = if whole { 2_000_000_000 } else { 0 };
        let left = i128::from(newest.0 - now.tv_sec) * 1_000_000_000 + i128::from(newest.1 - now.tv_nsec) + tick;
        match u64::try_from(left) {
            Ok(left) => Duration::from_nanos(left.saturating_add(1)),
            Err(_) if left < 0 => Duration::ZERO,
            Err(_) => Duration::MAX,
        }
    }
}

/// A step, if it is of this kind, and our own or everybody's to read: a program in the sandbox may be in fewer groups than we
/// are.
fn step(stat: &Stat, kind: FileType) -> Option<Step> {
    let readable = stat.st_uid == rustix::process::geteuid().as_raw() || stat.st_mode & 0o004 != 0;
    (FileType::from_raw_mode(stat.st_mode) == kind && readable).then(|| Step {
        device: stat.st_dev,
        inode: stat.st_ino,
        changed: (stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or_default()),
    })
}

#[cfg(test)]
#[path = "trail_tests.rs"]
mod tests;
