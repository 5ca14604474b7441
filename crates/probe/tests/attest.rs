//! The probe and its runner against a sandbox without any wall, and against namespaces alone: what should escape
//! does, what should be proved is, and nothing is left behind.

#![allow(clippy::disallowed_methods)] // tests start programs

use agentkernel::attest::{AttestError, Control, Plan, Ran, Report, Sandbox, SandboxError, Verdict, attest};
use std::{
    env, fs,
    net::SocketAddr,
    ops::ControlFlow,
    os::unix::{fs::PermissionsExt, process::CommandExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};
use wire::Exit;

const MIB: u64 = 1 << 20;

/// Runs programs behind `prefix`, or just so if it is empty.
struct Prefixed {
    prefix: Vec<String>,
    dir: tempfile::TempDir,
    started: Vec<Child>,
}

impl Drop for Prefixed {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Sandbox for Prefixed {
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, SandboxError> {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn run(&mut self, argv: &[String]) -> Result<Ran, SandboxError> {
        let argv: Vec<&String> = self.prefix.iter().chain(argv).collect();
        let output = Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        let exit = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => Exit::Code(code as u8),
            (None, Some(signal)) => Exit::Signal(signal as u8),
            (None, None) => Exit::Lost,
        };
        Ok(Ran { exit, stdout: output.stdout })
    }

    fn start(&mut self, argv: &[String]) -> Result<(), SandboxError> {
        let argv: Vec<&String> = self.prefix.iter().chain(argv).collect();
        let child = Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        self.started.push(child);
        Ok(())
    }
}

fn probe() -> Vec<u8> {
    let path = env::var_os("PROBE_UNDER_TEST").unwrap_or_else(|| env!("CARGO_BIN_EXE_probe").into());
    fs::read(path).expect("the probe is built")
}

/// One attack at a time: the bombs of one would be the other's shortage.
static ATTACK: Mutex<()> = Mutex::new(());

fn run(prefix: impl Fn(&Path, &Path) -> Vec<String>, only: &[String]) -> Report {
    let bytes = probe();
    let plan =
        Plan { probe: &bytes, memory: Some(64 * MIB), pids: Some(64), disk: Some(16 * MIB), only, ..Plan::default() };
    let mut workspace = PathBuf::new();
    let open = |work: &Path, _: &[SocketAddr]| {
        workspace = work.to_owned();
        let dir = tempfile::tempdir()?;
        Ok(Prefixed { prefix: prefix(work, dir.path()), dir, started: Vec::new() })
    };
    let report = attest(&plan, open, |_| ControlFlow::Continue(())).expect("the attack can be made");
    assert!(workspace.is_absolute() && !workspace.exists(), "{} was left behind", workspace.display());
    report
}

/// Every control of a kind that this host can show must be proved; a wrong expectation of an attempt is a bug here.
/// Runs a test again in namespaces of its own and says so, if it is root's: attacks that succeed shall not reach the
/// machine on which the tests run.
fn runs_apart(test: &str) -> bool {
    const APART: &str = "PROBE_TEST_APART";
    if !rustix::process::geteuid().is_root() || env::var_os(APART).is_some() {
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["--propagation", "private"]).arg(env::current_exe().expect("a path"));
    let output = command.args(["--exact", test, "--nocapture"]).env(APART, "1").output().expect("unshare runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(output.status.success(), "{text}");
    print!("{text}");
    true
}

#[test]
fn without_walls_everything_escapes_that_can() {
    if runs_apart("without_walls_everything_escapes_that_can") {
        return;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("a mount table");
    let report = run(|_, _| Vec::new(), &[]);
    if let Some(path) = env::var_os("PROBE_REPORT") {
        fs::write(path, report.to_json().expect("JSON")).expect("written");
    }
    print!("{report}");
    assert_eq!(mounts, fs::read_to_string("/proc/self/mountinfo").expect("a mount table"));
    let failed: Vec<_> = report.cases.iter().filter(|case| matches!(case.control, Control::Failed(_))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    // Attempts that change what they are made in are refused in the host's own namespaces, and only those.
    for case in &report.cases {
        let refused = case.result == Verdict::Skipped;
        // Where `/` is a part of a file system only, there is no whole to be found.
        let part = case.detail == "the runner gave no 'root_device'";
        // Where it has no address and no name, there is nothing to send requests to.
        let nowhere =
            case.detail.contains("neither an address nor a name") || case.detail.contains("has no name of this");
        assert!(!refused || part || nowhere || case.detail.contains("act on the host itself"), "{case:?}");
    }
    for name in ["mount-tmpfs", "mount-umount", "mount-remount", "init-ptrace", "namespaces-join-init", "reboot"] {
        let case = report.cases.iter().find(|case| case.name == name).expect("it is in the table");
        assert_eq!(case.result, Verdict::Skipped, "{case:?}");
    }
    // What the same attempt did as a control on the host, it must do as an attack on the host.
    for name in [
        "host-file-read",
        "neighbour-project",
        "git-hook-create",
        "git-directory-swap",
        "sandbox-config-replace",
        "process-visibility",
        "process-environment",
        "process-signal",
        "namespaces-shared",
        "socket-abstract",
        "socket-path",
        "loopback-tcp4",
        "loopback-udp",
        "loopback-bind",
        "working-directory-climb",
        "no-new-privs",
        "memory-bomb",
        "fork-bomb",
    ] {
        let case = report.cases.iter().find(|case| case.name == name).expect("it is in the table");
        assert_eq!((case.control.clone(), case.result), (Control::Proved, Verdict::Escaped), "{case:?}");
    }
    assert_eq!(report.status(), 1);
}

#[test]
fn an_ordinary_user_proves_as_much() {
    let own = rustix::process::geteuid();
    if !own.is_root() {
        // Then the test above has shown it.
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let (copy, probe_copy) = (dir.path().join("test"), dir.path().join("probe"));
    fs::copy(env::current_exe().expect("a path"), &copy).expect("copied");
    fs::write(&probe_copy, probe()).expect("copied");
    let mut command = Command::new(copy);
    command.args(["--exact", "without_walls_everything_escapes_that_can", "--nocapture"]);
    command
        .env_clear()
        .env("PROBE_UNDER_TEST", &probe_copy)
        .env("HOME", "/nonexistent")
        .env("A_SECRET_OF", "the caller");
    if let Some(path) = env::var_os("PROBE_REPORT_USER") {
        command.env("PROBE_REPORT", path);
    }
    let _alone = ATTACK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let output = command.current_dir("/").uid(61_234).gid(61_234).output().expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("walls held: "), "{text}");
}

/// Namespaces and an empty root (which pass on whatever descriptors the test itself inherited) hold what they can, and the report tells so.
#[test]
fn plain_bwrap_holds_files_processes_and_network() {
    if !Path::new("/usr/bin/bwrap").exists() {
        eprintln!("SKIPPED: /usr/bin/bwrap is not installed");
        return;
    }
    let only = env::var_os("PROBE_REPORT_BWRAP").is_none().then(|| {
        [
            "host-file-read",
            "neighbour-project",
            "process-visibility",
            "process-signal",
            "loopback-tcp4",
            "socket-abstract",
            "namespaces-shared",
            "write-usr",
            "git-hook-create",
            "seccomp-mode",
        ]
        .map(str::to_owned)
        .to_vec()
    });
    let report = run(bwrap, &only.unwrap_or_default());
    if let Some(path) = env::var_os("PROBE_REPORT_BWRAP") {
        fs::write(path, report.to_json().expect("JSON")).expect("written");
    }
    let result = |name: &str| report.cases.iter().find(|case| case.name == name).expect("it is in the table");
    for name in [
        "host-file-read",
        "neighbour-project",
        "process-visibility",
        "process-signal",
        "loopback-tcp4",
        "socket-abstract",
        "namespaces-shared",
        "write-usr",
    ] {
        assert_eq!(result(name).result, Verdict::Held, "{:?}", result(name));
    }
    // bwrap alone protects nothing in the workspace and brings no filter.
    for name in ["git-hook-create", "seccomp-mode"] {
        assert_eq!(result(name).result, Verdict::Escaped, "{:?}", result(name));
    }
}

fn bwrap(workspace: &Path, tools: &Path) -> Vec<String> {
    let (workspace, tools) = (workspace.display().to_string(), tools.display().to_string());
    let words = "/usr/bin/bwrap --unshare-all --new-session --die-with-parent --clearenv --setenv HOME /tmp --cap-drop ALL \
        --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp";
    let mut argv: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    for word in ["--bind", &workspace, &workspace, "--ro-bind", &tools, &tools, "--chdir", &workspace, "--"] {
        argv.push(word.to_owned());
    }
    argv
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let bytes = probe();
    let only = ["no-such-case".to_owned()];
    let plan = Plan { probe: &bytes, only: &only, ..Plan::default() };
    let never = |_: &Path, _: &[SocketAddr]| -> Result<Prefixed, SandboxError> { panic!("there is nothing to run") };
    assert!(
        matches!(attest(&plan, never, |_| ControlFlow::Continue(())), Err(AttestError::Case(name)) if name == "no-such-case")
    );
    let plan = Plan { probe: b"#!/nonexistent\n", ..Plan::default() };
    let never = |_: &Path, _: &[SocketAddr]| -> Result<Prefixed, SandboxError> { panic!("there is nothing to run") };
    assert!(matches!(attest(&plan, never, |_| ControlFlow::Continue(())), Err(AttestError::Probe(_))));
    let only = ["host-file-read".to_owned()];
    let plan = Plan { probe: &bytes, only: &only, ..Plan::default() };
    let mut planted = PathBuf::new();
    let refused = |work: &Path, _: &[SocketAddr]| -> Result<Prefixed, SandboxError> {
        planted = work.to_owned();
        Err("no sandbox today".into())
    };
    assert!(matches!(attest(&plan, refused, |_| ControlFlow::Continue(())), Err(AttestError::Open(_))));
    assert!(planted.is_absolute() && !planted.exists(), "{} was left behind", planted.display());
}
