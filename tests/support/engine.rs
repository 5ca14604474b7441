//! A container engine of a test's own: Debian's dockerd with its own data and socket, which ends with the test.

use crate::{PATH, eventually, internet::installed, skipped};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// An engine, which ends when it is dropped.
pub struct Engine {
    folder: TempDir,
    dockerd: Child,
}

impl Engine {
    /// Starts one. `None`, counted and named, if there can be none here.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !rustix::process::getuid().is_root() {
            skipped("a test with dockerd", "only root can start it");
            return None;
        }
        if !["dockerd", "containerd", "runc", "docker", "setpriv"].into_iter().all(installed) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("ak-engine-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let log = fs::File::create(path("log")).unwrap();
        // It ends with this thread, however that ends.
        let dockerd = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd"])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &format!("unix://{}", path("socket")), "--bridge", "none"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-masq=false"])
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut engine = Self { folder, dockerd };
        eventually("dockerd answers, or has ended", || {
            engine.docker(&["version"]).output().unwrap().status.success()
                || engine.dockerd.try_wait().unwrap().is_some()
        });
        if let Some(status) = engine.dockerd.try_wait().unwrap() {
            let log = fs::read_to_string(engine.folder.path().join("log")).unwrap();
            let last = log.lines().last().unwrap_or_default();
            skipped("a test with dockerd", &format!("it does not start here ({status}: {last})"));
            return None;
        }
        // For ordinary users too: a test's engine has nothing that is worth a secret.
        fs::set_permissions(engine.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        Some(engine)
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

    /// Docker's own client: the witness.
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

    /// Its containers, the ended ones too, by their names.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        self.says(&["ps", "-a", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.dockerd.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.dockerd.wait();
        // What it has mounted and not unmounted.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.folder.path().to_string_lossy().into_owned();
        for place in mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|place| place.starts_with(&folder))
        {
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}
