//! Hides what init is told about its sandbox, and what `inspect` is told about its walls.

use super::{
    ids::{COUNT, Ids},
    masks::{Cover, Masks},
};
use crate::{Spec, Workspace};
use std::path::Path;
use wire::{
    OsBytes,
    link::{Setup, Wall},
};

/// Where the image is writable all of it is, and so is `/` itself: Landlock knows trees only. It still forbids to make
/// device nodes; what is read-only in there is so by its mount (docs/decisions).
const WRITABLE: &[&str] = &["/"];
/// What is writable when the image is not.
const WRITABLE_ALWAYS: &[&str] = &["/dev", "/proc", "/run", "/tmp", "/var/tmp"];

/// What programs may write to, as far as Landlock is asked.
pub fn writable(spec: &Spec) -> Vec<OsBytes> {
    let text = |path: &Path| OsBytes::from(path);
    let base = if spec.read_only { WRITABLE_ALWAYS } else { WRITABLE };
    let mut writable: Vec<OsBytes> = base.iter().map(|path| text(Path::new(path))).collect();
    if spec.read_only {
        writable.push(text(&spec.identity.home));
        match &spec.workspace {
            Workspace::None => {}
            Workspace::Direct { path, .. } | Workspace::Overlay { path } => writable.push(text(path)),
        }
        writable.extend(spec.all_mounts().filter(|mount| !mount.read_only).map(|mount| text(&mount.target)));
        writable.extend(spec.tmpfs.iter().map(|tmpfs| text(&tmpfs.target)));
        writable.extend(spec.image.volumes().map(text));
    }
    writable
}

pub fn setup(spec: &Spec, ids: &Ids, masks: &Masks) -> Setup {
    Setup {
        capture: true,
        agent: spec.network.lent_keys.is_some(),
        ids: match *ids {
            Ids::One { uid, gid } if uid.0 == gid.0 => vec![(uid.0, 1)],
            Ids::One { uid, gid } => vec![(uid.0, 1), (gid.0, 1)],
            Ids::Range { .. } => vec![(0, COUNT)],
        },
        writable: writable(spec),
        rlimits: spec.limits.rlimits.clone(),
        protected: masks.places(spec),
        log_refused: spec.log_refused,
        build: spec.build.is_some(),
        // The kernel tells of its end.
        heartbeat_ms: None,
        // Stage has done it.
        prepare: None,
    }
}

/// The walls that stage has raised, and tested: that no namespace is the host's, and that every protected path is covered.
pub fn list(spec: &Spec, ids: &Ids, masks: &Masks) -> Vec<Wall> {
    let wall = |name: &str, detail: String| Wall { name: name.into(), holds: true, detail };
    let mut walls = vec![
        wall(
            "user namespace",
            match *ids {
                Ids::One { uid, gid } => {
                    format!("user {} is {} outside, group {} is {}; no other id exists", uid.0, uid.1, gid.0, gid.1)
                }
                Ids::Range { base } => format!("ids 0 to {} are {base} to {} outside", COUNT - 1, base + (COUNT - 1)),
            },
        ),
        wall("mount namespace", format!("own root over image {}", spec.image)),
        wall("pid namespace", "init is process 1; no process outside is visible".into()),
        wall("network namespace", "lo only; every address is local".into()),
        wall("ipc namespace", "own System V IPC and message queues".into()),
        wall("uts namespace", format!("host name {}", spec.hostname)),
        wall("cgroup namespace", "own cgroup root".into()),
    ];
    walls.extend(limits(spec));
    if let Workspace::Direct { .. } = spec.workspace {
        walls.push(protected(masks));
    }
    walls
}

/// That every protected path is covered.
pub fn protected(masks: &Masks) -> Wall {
    let kept = masks.paths.values().filter(|cover| **cover == Cover::Passage).count();
    let read_only = masks.paths.len() - kept;
    let detail = format!("{read_only} paths of the project read-only, {kept} directories on the way kept in place");
    Wall { name: "protected paths".into(), holds: true, detail }
}

/// Which limits a cgroup enforces. Each was read back when it was set.
pub fn limits(spec: &Spec) -> Option<Wall> {
    let limits = &spec.limits;
    let named = [
        limits.cpu_milli.map(|milli| format!("{}.{:03} processors", milli / 1000, milli % 1000)),
        limits.memory.map(|bytes| format!("{bytes} bytes of memory")),
        limits.pids.map(|count| format!("{count} processes")),
        limits.disk.filter(|_| !spec.is_on_disk()).map(|bytes| format!("{bytes} bytes of files")),
    ];
    let detail = named.into_iter().flatten().collect::<Vec<_>>().join(", ");
    // Where none was asked for, there is none that could fall.
    (!detail.is_empty()).then(|| Wall { name: "limits".into(), holds: true, detail })
}
