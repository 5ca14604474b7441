//! Where control groups are on this host, and where ours go.

use super::{Controller, DIRECTORY, LEAF, read};
use rustix::{fd::OwnedFd, fs::Mode};
use std::{ffi::OsString, fs, io, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// A hierarchy of this host.
pub(super) struct Hierarchy {
    /// Version 2; otherwise 1.
    pub(super) unified: bool,
    /// Version 1: controllers, and named ones; version 2: nothing.
    options: String,
    pub(super) mount_point: PathBuf,
    /// What of the hierarchy is at the mount point.
    pub(super) root: String,
}

impl Hierarchy {
    fn open(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(&self.mount_point, DIRECTORY, Mode::empty())?)
    }
}

pub(super) fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The cgroup mounts in a mountinfo (proc_pid_mountinfo(5)).
pub(super) fn parse(mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mut found = Vec::new();
    for line in mountinfo.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let Some(dash) = fields.iter().position(|field| *field == b"-") else { continue };
        let (Some(root), Some(mount_point)) = (fields.get(3), fields.get(4)) else { continue };
        let unified = match fields.get(dash + 1) {
            Some(&b"cgroup2") => true,
            Some(&b"cgroup") => false,
            _ => continue,
        };
        let options = fields.get(dash + 3).copied().unwrap_or_default();
        found.push(Hierarchy {
            unified,
            options: String::from_utf8_lossy(options).into_owned(),
            mount_point: PathBuf::from(OsString::from_vec(unescape(mount_point))),
            root: String::from_utf8_lossy(root).into_owned(),
        });
    }
    found
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [byte, tail @ ..] = rest {
        let code = tail.get(..3).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    plain
}

/// The hierarchy that has a controller: a controller is in one only.
pub(super) fn find(hierarchies: &[Hierarchy], controller: Controller) -> Option<&Hierarchy> {
    let v1 = |h: &&Hierarchy| !h.unified && h.options.split(',').any(|option| option == controller.name());
    let v2 = |h: &&Hierarchy| {
        let available = || read(&h.open()?, "cgroup.controllers");
        h.unified && available().is_ok_and(|text| text.split_whitespace().any(|word| word == controller.name()))
    };
    hierarchies.iter().find(v1).or_else(|| hierarchies.iter().find(v2))
}

/// Where a new group goes.
pub(super) struct Place {
    /// The hierarchy's mount point: the one place that is found by its path.
    pub(super) top: OwnedFd,
    /// The group that is there already and given to us, below the top, and its whole path.
    pub(super) below: PathBuf,
    pub(super) given: PathBuf,
    /// One of our own that all groups of this user are in.
    pub(super) ours: Option<&'static str>,
    /// The new group's whole path, to be remembered.
    pub(super) path: PathBuf,
}

pub(super) fn place(hierarchy: &Hierarchy, name: &str) -> io::Result<Place> {
    let top = hierarchy.open()?;
    if rustix::process::geteuid().is_root() {
        let (ours, given) = ("agentkernel", hierarchy.mount_point.clone());
        return Ok(Place { top, below: ".".into(), path: given.join(ours).join(name), given, ours: Some(ours) });
    }
    let own = own_path(hierarchy, &fs::read_to_string("/proc/self/cgroup")?).ok_or(io::ErrorKind::NotFound)?;
    // A second sandbox of the same caller: the leaf's parent is the delegated group.
    let own = if own.file_name().is_some_and(|name| name == LEAF) { own.parent().unwrap_or(&own).into() } else { own };
    let below = match own.strip_prefix(&hierarchy.mount_point) {
        Ok(below) if below.as_os_str().is_empty() => ".".into(),
        Ok(below) => below.to_owned(),
        Err(_) => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(Place { top, below, path: own.join(format!("agentkernel-{name}")), given: own, ours: None })
}

/// Where the calling process is in a hierarchy, by /proc/self/cgroup.
pub(super) fn own_path(hierarchy: &Hierarchy, cgroups: &str) -> Option<PathBuf> {
    let options: Vec<&str> = hierarchy.options.split(',').collect();
    let path = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let same = if hierarchy.unified {
            controllers.is_empty()
        } else {
            !controllers.is_empty() && controllers.split(',').all(|controller| options.contains(&controller))
        };
        same.then_some(path)
    })?;
    // The mount shows what is below its root.
    let below = path.strip_prefix(hierarchy.root.trim_end_matches('/')).unwrap_or(path);
    Some(hierarchy.mount_point.join(below.trim_start_matches('/')))
}
