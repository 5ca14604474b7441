//! What every end-to-end test needs: the binary under test, a project of its own, another user to be, and a count
//! of what a sandbox may leave behind.
//!
//! A failure in here is a failure of the test that called it, so these functions panic with the cause.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

pub mod disk;
pub mod engine;
mod fetched;
pub mod internet;
mod packed;
pub mod rpc;
pub mod screen;
mod ssh_agent;

pub use fetched::{acp_client, fetched};
pub use packed::pack;
pub use ssh_agent::SshAgent;

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Who runs the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Whoever runs the tests.
    Me,
    /// An ordinary user without an entry in /etc/passwd. Needs root to become.
    Nobody,
}

/// Where programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The ids of [`Who::Nobody`]: nobody's on a common machine, and outside every subordinate range.
pub const NOBODY: u32 = 47_110;

impl Who {
    /// Everyone that this process can be: itself, and an ordinary user if it is root. With `AGENTKERNEL_TEST_ALONE`, only
    /// itself: somebody else runs the tests as an ordinary user.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let both = rustix::process::getuid().is_root() && env::var_os("AGENTKERNEL_TEST_ALONE").is_none();
        if both { vec![Self::Me, Self::Nobody] } else { vec![Self::Me] }
    }
}

/// One user's world on the host: a project directory, a home, and the state of agentkernel, all removed at the end.
pub struct World {
    who: Who,
    folder: TempDir,
}

impl World {
    /// An empty one.
    #[must_use]
    pub fn new(who: Who) -> Self {
        let folder = tempfile::Builder::new().prefix("ak-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for (name, mode) in [("home", 0o700), ("project", 0o755), ("run", 0o700)] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            if who == Who::Nobody {
                std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        Self { who, folder }
    }

    /// Whose it is.
    #[must_use]
    pub fn who(&self) -> Who {
        self.who
    }

    /// The project directory, where commands run.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// The user's home directory.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Where agentkernel keeps its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("home/state")
    }

    /// The binary under test, where this user may run it.
    ///
    /// # Panics
    /// If there is none: `cargo build` makes it.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        let place = self.folder.path().join("agentkernel");
        if !place.is_file() {
            let built = binary();
            // A copy where the build lies on another file system; by another process, because a descriptor for writing
            // would go to whatever another thread starts meanwhile, and the copy could not be executed (ETXTBSY).
            if fs::hard_link(&built, &place).is_err() {
                assert!(Command::new("cp").args([&built, &place]).status().unwrap().success());
            }
        }
        place
    }

    /// `agentkernel` with these arguments: in the project, with a small environment and no standard input.
    #[must_use]
    pub fn agentkernel<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let mut command = self.command(self.binary());
        command.args(arguments);
        command
    }

    /// Another program as the same user in the same place.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.anybody(program);
        if self.who == Who::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// The same, as whoever runs the tests.
    fn anybody(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.project())
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.folder.path().join("run"))
            .env("AGENTKERNEL_STATE_DIR", self.state())
            .env("LANG", "C.UTF-8");
        command
    }
}

/// The binary under test: `AGENTKERNEL_BIN`, or what cargo built beside the tests.
fn binary() -> PathBuf {
    let built = env::var_os("AGENTKERNEL_BIN").map_or_else(|| beside_us("agentkernel"), PathBuf::from);
    assert!(built.is_file(), "no binary at {}: run cargo build, or set AGENTKERNEL_BIN", built.display());
    built
}

/// Test programs lie in `target/.../debug/deps`, binaries one above.
fn beside_us(name: &str) -> PathBuf {
    let us = env::current_exe().unwrap();
    us.parent().and_then(Path::parent).unwrap_or(&us).join(name)
}

/// Whether this user may make cgroups with limits: root may, and whoever the group of this process is delegated to
/// (cgroup version 2).
///
/// # Panics
/// If /proc cannot be read.
#[must_use]
pub fn may_limit(who: Who) -> bool {
    if rustix::process::getuid().is_root() {
        return who == Who::Me;
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    own.lines().filter_map(|line| line.strip_prefix("0::/")).any(|path| {
        let file = Path::new("/sys/fs/cgroup").join(path).join("cgroup.procs");
        rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok()
    })
}

/// How often to do what a test does a great many times: so often, or `AGENTKERNEL_TEST_SCALE` times less where the
/// machine is emulated. At least once.
///
/// # Panics
/// If the variable is no number above zero.
#[must_use]
pub fn scaled(count: u32) -> u32 {
    let scale = env::var("AGENTKERNEL_TEST_SCALE").map_or(1, |text| text.parse().unwrap());
    (count / scale).max(1)
}

/// Standard output as text, of a command that must succeed.
///
/// # Panics
/// With both outputs if it does not.
#[must_use]
#[track_caller]
pub fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", told(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until something is so. Whoever waits has no event to wait for: it happens in another process.
///
/// # Panics
/// If it is not so after ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..400 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("not within ten seconds: {what}");
}

/// A port of loopback that nobody listens on, for a server that wants to be told one: of those that the kernel gives to
/// nobody else, and where no other test looks.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let mine = u16::try_from(std::process::id() % 1000).unwrap() * 20;
    let mut ports = (mine..mine + 20).map(|at| 10_000 + at);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Says that a part of a test cannot run here, and why: aloud, and in the file that `cargo xtask ci` counts them from.
///
/// # Panics
/// If that file cannot be written.
pub fn skipped(what: &str, why: &str) {
    eprintln!("SKIPPED: {what}: {why}");
    if let Some(file) = env::var_os("AGENTKERNEL_SKIPPED") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        // One write, so that lines of tests that run side by side stay whole.
        file.write_all(format!("{what}: {why}\n").as_bytes()).unwrap();
    }
}

/// Bytes of memory that a process has resident for itself: without pages of files, such as those of a large unoptimised program.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn resident(pid: u32) -> u64 {
    memory(pid, "RssAnon:") + memory(pid, "RssShmem:")
}

/// The most that it ever had.
///
/// # Panics
/// If there is no such process.
#[must_use]
pub fn most_resident(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A finished command, for the message of a failed assertion.
#[must_use]
pub fn told(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\nstdout: {}\nstderr: {}", output.status, text(&output.stdout), text(&output.stderr))
}

/// A number in the JSON of `inspect`.
///
/// # Panics
/// If there is no such number.
#[must_use]
pub fn inspected(world: &World, sandbox: &str, name: &str) -> u32 {
    let json = stdout(&mut world.agentkernel(["inspect", sandbox]));
    let at = json.find(&format!("\"{name}\": ")).unwrap_or_else(|| panic!("no {name} in {json}"));
    let rest = &json[at + name.len() + 4..];
    rest[..rest.find([',', '\n', '}']).unwrap()].trim().parse().unwrap()
}

impl World {
    /// What this world's sandboxes have left on the host: processes, mounts, cgroups, directories of sandboxes. Empty
    /// when all is well.
    ///
    /// # Panics
    /// If /proc cannot be read.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = Vec::new();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        found.extend(mounts.lines().filter(|line| line.contains(&folder)).map(|line| format!("mount {line}")));
        let sandboxes: Vec<String> = fs::read_dir(self.state().join("sandboxes"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        found.extend(sandboxes.iter().map(|id| format!("sandbox {id}")));
        found.extend(self.processes().into_iter().map(|(pid, name)| format!("process {pid} {name}")));
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            // A group may vanish while we look.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = entry.path();
                    let name = entry.file_name().to_string_lossy().into_owned();
                    let id = name.strip_prefix("agentkernel-").unwrap_or(&name);
                    let under_ours =
                        path.components().any(|part| part.as_os_str().to_string_lossy().contains("agentkernel"));
                    // Other tests have groups too; one without a directory of state behind it would be nobody's.
                    if under_ours && id.len() == 12 && self.owns(id) {
                        found.push(format!("cgroup {}", path.display()));
                    }
                    folders.push(path);
                }
            }
        }
        found
    }

    /// Processes of this world's sandboxes: supervisors, and the inits that are their children or orphans.
    #[must_use]
    pub fn processes(&self) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let exe = fs::read_link(entry.path().join("exe")).unwrap_or_default();
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
            // Which program it is only root sees, for those that hold secrets: they are known by what they call themselves.
            let title = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let id = title.strip_prefix("ak[").and_then(|rest| rest.split(' ').next());
            if exe.starts_with(self.folder.path()) || id.is_some_and(|id| self.owns(id)) {
                found.push((pid, name));
            }
        }
        let supervisors: BTreeSet<u32> = found.iter().map(|(pid, _)| *pid).collect();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            if parent.is_some_and(|parent| supervisors.contains(&parent)) && !supervisors.contains(&pid) {
                found.push((pid, "init".into()));
            }
        }
        found
    }

    fn owns(&self, id: &str) -> bool {
        self.state().join("sandboxes").join(id).is_dir()
    }
}
