//! A Docker engine of the test's own: what our builder is compared with.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{internet::installed, skipped, told};

/// Kills the engine when it is dropped.
pub struct Engine {
    folder: tempfile::TempDir,
    child: Child,
}

impl Engine {
    /// Starts one; `None`, with a word of why, where there can be none.
    pub fn start() -> Option<Self> {
        let skip = |cause: &str| {
            skipped("the comparison with Docker", cause);
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("only root can start an engine");
        }
        if !["dockerd", "docker", "curl"].into_iter().all(installed) {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("ak-").tempdir_in("/tmp").unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let place = |name: &str| folder.path().join(name).display().to_string();
        let child = Command::new("dockerd")
            .args(["--data-root", &place("data"), "--exec-root", &place("exec"), "--pidfile", &place("pid")])
            .args(["--host", &format!("unix://{}", place("sock"))])
            // It changes nothing of this machine's network.
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args(["--storage-driver", "overlay2"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut engine = Self { folder, child };
        let end = Instant::now() + Duration::from_secs(60);
        while engine.api(&["/_ping"]).is_none_or(|answer| answer != b"OK") {
            if Instant::now() > end || engine.child.try_wait().unwrap().is_some() {
                let log = std::fs::read_to_string(engine.folder.path().join("log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default().to_owned();
                return skip(&format!("the engine does not start: {last}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(engine)
    }

    /// Asks it something with curl; `None` if it says no.
    fn api(&self, arguments: &[&str]) -> Option<Vec<u8>> {
        let (path, options) = arguments.split_last().unwrap();
        let mut command = Command::new("curl");
        command.args(["--silent", "--fail-with-body", "--unix-socket"]).arg(self.folder.path().join("sock"));
        let output = command.args(options).arg(format!("http://engine{path}")).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    fn post(&self, body: &Path, path: &str) -> String {
        let body = format!("@{}", body.display());
        let options = ["-X", "POST", "-H", "Content-Type: application/x-tar", "--data-binary", &body, path];
        let answer = self.api(&options).unwrap_or_else(|| panic!("POST {path}"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Takes in what `docker save` wrote.
    pub fn load(&self, archive: &Path) {
        let answer = self.post(archive, "/images/load");
        assert!(!answer.contains("\"error\""), "{answer}");
    }

    /// Builds an image with the builder that is in the engine itself.
    pub fn build(&self, context: &Path, dockerfile: &str, tag: &str) {
        let socket = self.folder.path().join("sock");
        let mut docker = Command::new("docker");
        docker.current_dir(context).env("DOCKER_BUILDKIT", "0").env("DOCKER_CONFIG", self.folder.path());
        docker.args(["--host", &format!("unix://{}", socket.display()), "build", "--network", "none"]);
        let output = docker.args(["-t", tag, "-f", dockerfile, "."]).output().unwrap();
        assert!(output.status.success(), "{dockerfile}: {}", told(&output));
    }

    /// Forgets an image.
    pub fn remove(&self, image: &str) {
        assert!(self.api(&["-X", "DELETE", &format!("/images/{image}")]).is_some(), "{image}");
    }

    /// Writes an image as `docker save` does.
    pub fn save(&self, image: &str, to: &Path) {
        let path = to.display().to_string();
        assert!(self.api(&["-o", &path, &format!("/images/{image}/get")]).is_some(), "{image}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It ends what it has started.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
