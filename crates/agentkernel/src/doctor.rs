//! What this host can do: looks at the machine, and asks every backend to try itself.

use crate::{BackendKind, Place, backend};
use serde::Serialize;

pub use backend::{Finding, State};

/// The machine.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's architecture.
    pub arch: String,
    /// Who asks.
    pub uid: u32,
    /// What is special about it, in words: a container, WSL.
    pub notes: Vec<&'static str>,
}

/// One backend on this host.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// Its name.
    pub name: &'static str,
    /// Whether a sandbox can be made with it.
    pub works: bool,
    /// What was tried.
    pub findings: Vec<Finding>,
}

/// Looks at the machine.
#[must_use]
pub fn host() -> Host {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy().into_owned();
    let exists = |path| rustix::fs::stat(path).is_ok();
    let notes = [
        // Both generations of WSL name their maker in the release.
        (kernel.to_ascii_lowercase().contains("microsoft"), "WSL"),
        // What Docker, podman and systemd-nspawn leave in a container.
        (
            exists("/.dockerenv") || exists("/run/.containerenv") || exists("/run/host/container-manager"),
            "in a container",
        ),
    ];
    Host {
        arch: uname.machine().to_string_lossy().into_owned(),
        uid: rustix::process::geteuid().as_raw(),
        notes: notes.into_iter().filter_map(|(is, note)| is.then_some(note)).collect(),
        kernel,
    }
}

/// Lets every backend try itself. The calling process must have one thread.
#[must_use]
pub fn backends(place: &Place) -> Vec<Examined> {
    [BackendKind::Native, BackendKind::Docker]
        .map(|kind| {
            let backend = backend::select(kind);
            let findings = backend.probe(place);
            let works = findings.iter().all(|finding| finding.state != State::Fails);
            Examined { name: backend.name(), works, findings }
        })
        .into()
}

/// Whether this user could have virtual machines: `/dev/kvm` can be opened. No backend makes any yet.
#[must_use]
pub fn kvm() -> Finding {
    use rustix::fs::{Mode, OFlags, open};
    let (state, detail, hint) = match open("/dev/kvm", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => (State::Works, "/dev/kvm can be opened".into(), ""),
        Err(rustix::io::Errno::ACCESS) => {
            (State::Missing, "/dev/kvm is not this user's".into(), "Join the group that owns it, mostly 'kvm'")
        }
        Err(error) => (State::Missing, format!("/dev/kvm cannot be opened: {error}"), ""),
    };
    Finding { name: "kvm", state, detail, hint: hint.into() }
}
