//! Hides the cgroups of a sandbox, and how they are found again after a crash: their paths are written to the file
//! `cgroups` of the sandbox's directory before they are made.

use super::super::{LaunchError, Place};
use crate::Spec;
use jail::cgroup::{self, Cgroup, Limits};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

/// Makes the cgroups that a sandbox's limits need; none if it has no limits that need one.
pub fn make(spec: &Spec, place: &Place) -> Result<Option<Cgroup>, LaunchError> {
    let limits = Limits { cpu_milli: spec.limits.cpu_milli, memory: spec.limits.memory, pids: spec.limits.pids };
    if limits.is_empty() {
        return Ok(None);
    }
    match Cgroup::make(spec.id.as_str(), &limits, |path| remember(&place.dir, path)) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(error) => {
            Err(LaunchError { hint: error.hint.into(), ..super::failure::new("limits", error.to_string(), "") })
        }
    }
}

/// Removes every cgroup that a sandbox remembers, and the memory of them. Idempotent.
pub fn release(place: &Place) -> io::Result<()> {
    let file = match jail::fd::open_beneath(&place.dir, "cgroups", OFlags::RDONLY, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    let mut text = Vec::new();
    File::from(file).take(64 << 10).read_to_end(&mut text)?;
    for path in text.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        cgroup::remove(Path::new(OsStr::from_bytes(path)))?;
    }
    match rustix::fs::unlinkat(&place.dir, "cgroups", AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn remember(dir: &OwnedFd, path: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND;
    let fd = jail::fd::open_beneath(dir, "cgroups", flags, Mode::RUSR | Mode::WUSR)?;
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(0);
    File::from(fd).write_all(&line)
}
