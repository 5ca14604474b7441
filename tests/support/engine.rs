//! A container engine of a test's own: Debian's dockerd or podman with its own data and socket, which ends with the test.

use crate::{PATH, eventually, internet::installed, skipped};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// What podman is told of itself. Its locks would be those of every podman of this machine, crun refuses a host with both
/// versions of cgroups, and the limits that it takes for granted may be more than this process may have.
fn podman() -> String {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(1 << 20);
    format!(
        "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\nruntime = \"runc\"\n\
         [containers]\ndefault_ulimits = [\"nofile={files}:{files}\", \"nproc=8192:8192\"]\n"
    )
}

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Debian's dockerd.
    Docker,
    /// Debian's podman, by the socket that speaks as dockerd does.
    Podman,
}

impl Kind {
    /// The program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Docker => "dockerd",
            Self::Podman => "podman",
        }
    }

    /// What it and its witness need.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Docker => &["dockerd", "containerd", "runc", "docker", "setpriv"],
            Self::Podman => &["podman", "conmon", "runc", "docker", "setpriv"],
        }
    }
}

/// An engine, which ends when it is dropped.
pub struct Engine {
    kind: Kind,
    options: &'static [&'static str],
    folder: TempDir,
    service: Child,
}

impl Engine {
    /// Starts one. `None`, counted and named, if there can be none here.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn new(kind: Kind) -> Option<Self> {
        Self::with(kind, &[])
    }

    /// Starts one with further options of its command.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn with(kind: Kind, options: &'static [&'static str]) -> Option<Self> {
        let what = format!("a test with {}", kind.program());
        if !rustix::process::getuid().is_root() {
            skipped(&what, "only root can start it");
            return None;
        }
        if !kind.programs().iter().copied().all(installed) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("ak-engine-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("containers.conf"), podman()).unwrap();
        let service = serve(kind, options, &folder);
        let mut engine = Self { kind, options, folder, service };
        eventually("the engine answers, or has ended", || {
            engine.docker(&["version"]).output().unwrap().status.success()
                || engine.service.try_wait().unwrap().is_some()
        });
        if let Some(status) = engine.service.try_wait().unwrap() {
            let log = fs::read_to_string(engine.folder.path().join("log")).unwrap();
            let last = log.lines().last().unwrap_or_default();
            skipped(&what, &format!("it does not start here ({status}: {last})"));
            return None;
        }
        engine.open();
        Some(engine)
    }

    /// For ordinary users too: a test's engine has nothing that is worth a secret.
    fn open(&self) {
        fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    }

    /// Sends a signal to it, not to what it has started.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.service.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Kills it, and nothing that it has started.
    ///
    /// # Panics
    /// If it has ended.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.service.wait();
    }

    /// Starts one that was killed again.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn revive(&mut self) {
        let _ = fs::remove_file(self.folder.path().join("pid"));
        self.service = serve(self.kind, self.options, &self.folder);
        // It first sees to what it finds running, one after the other.
        let answers = (0..600).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            self.docker(&["version"]).output().unwrap().status.success()
        });
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(answers, "the engine does not come back: {}", log());
        self.open();
    }

    /// Which it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Where it is, for DOCKER_HOST.
    #[must_use]
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Docker's own client: the witness, of both.
    #[must_use]
    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host()]).args(arguments);
        command.env_clear().env("PATH", PATH).env("HOME", self.folder.path()).stdin(Stdio::null());
        command
    }

    /// What it says, which must succeed.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    #[must_use]
    pub fn says(&self, arguments: &[&str]) -> String {
        crate::stdout(&mut self.docker(arguments))
    }

    /// Makes an image of an archive of `docker save`.
    ///
    /// # Panics
    /// If it cannot.
    pub fn load(&self, archive: &Path) {
        let _ = self.says(&["load", "-q", "-i", archive.to_str().unwrap()]);
    }

    /// The volumes that single sandboxes have left.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        let all = self.says(&["volume", "ls", "-q"]);
        all.lines().filter(|name| !name.starts_with("agentkernel-init-")).map(str::to_owned).collect()
    }

    /// Its containers, the ended ones too, by their names.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        self.says(&["ps", "-a", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }
}

/// Starts the engine, which ends with this thread, however that ends.
fn serve(kind: Kind, options: &[&str], folder: &TempDir) -> Child {
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let log = fs::File::options().create(true).append(true).open(path("log")).unwrap();
    let socket = format!("unix://{}", path("socket"));
    let mut service = Command::new("setpriv");
    service.args(["--pdeathsig", "TERM", kind.program()]);
    match kind {
        Kind::Docker => service
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &socket, "--bridge", "none"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"]),
        Kind::Podman => service
            .args(["--root", &path("data"), "--runroot", &path("run"), "--tmpdir", &path("exec")])
            .args(["--storage-driver", "overlay", "--network-config-dir", &path("networks")])
            .args(["system", "service", "--time", "0", &socket]),
    };
    service
        .args(options)
        // Where conmon notes that memory ran out.
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", folder.path())
        .env("CONTAINERS_CONF", path("containers.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !std::thread::panicking() || self.service.try_wait().unwrap().is_none() {
            // One that was stopped.
            let _ = Pid::from_raw(self.service.id().cast_signed()).map(|pid| kill_process(pid, Signal::CONT));
        } else {
            // What a killed one had started ends only with another one.
            self.revive();
        }
        if self.kind == Kind::Podman {
            // Its containers would outlive it.
            for id in String::from_utf8_lossy(&self.docker(&["ps", "-aq"]).output().unwrap().stdout).lines() {
                let _ = self.docker(&["rm", "-f", id]).output();
            }
        }
        if let Some(pid) = Pid::from_raw(self.service.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.service.wait();
        // What it has mounted and not unmounted.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        // The last one first: what is mounted on another.
        let places: Vec<&str> = places.filter(|place| place.starts_with(&folder)).collect();
        for place in places.iter().rev() {
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}
