//! A virtual machine for tests: a stock Debian 12 cloud kernel with cgroup v2, software-emulated by qemu.
//!
//! The disk and the kernel are built once from Debian's own packages and kept below `target/vm`. Every run starts
//! from that same disk (writes go to a snapshot), unpacks a tar of the files it was given, runs the command as root
//! or as an ordinary user with a delegated cgroup, and brings the exit status home over the console.

use crate::run;
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Child, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

mod disk;
pub mod suites;

#[derive(clap::Args)]
pub struct Arguments {
    /// A file or directory to bring along; it lies in /t, which is the working directory
    #[arg(long, value_name = "PATH")]
    copy: Vec<PathBuf>,
    /// Who runs the command
    #[arg(long, value_enum, default_value = "root")]
    r#as: Who,
    /// Seconds without a line of output until a run is given up; it is tried once more then
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// The command, and what it is given
    #[arg(required = true, last = true)]
    command: Vec<String>,
    /// A path at which /t appears too: the one that the files know themselves by
    #[arg(long, value_name = "PATH")]
    alias: Option<PathBuf>,
    /// Begins each line that the machine prints
    #[arg(skip)]
    prefix: String,
}

/// Who runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Who {
    /// uid 0
    Root,
    /// uid 1000, in a cgroup that is delegated to it
    User,
    /// uid 1000, in a cgroup that belongs to root
    Plain,
}

/// The status when this machine cannot run the other one: the caller counts it as skipped.
pub const SKIPPED: u8 = 77;

pub fn main(arguments: &Arguments) -> Result<ExitCode> {
    Ok(ExitCode::from(match prepare() {
        Ok(disk) => boot(arguments, &disk)?,
        Err(cause) => {
            eprintln!("SKIPPED: {cause}");
            SKIPPED
        }
    }))
}

/// Makes the machine's disk where there is none, or says why this host cannot run the machine.
fn prepare() -> Result<disk::Disk, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the virtual machine is of x86_64 only".into());
    }
    let mut needs = vec![("qemu-system-x86_64", "qemu-system-x86"), ("setpriv", "util-linux"), ("tar", "tar")];
    if !disk::is_ready() {
        if !run::is_root() {
            return Err("building the virtual machine's disk needs root".into());
        }
        needs.extend([("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("dpkg-deb", "dpkg")]);
    }
    let missing = run::need(&needs);
    if !missing.is_empty() {
        return Err(format!("the virtual machine needs {}", missing.join(", ")));
    }
    disk::prepare().map_err(|error| format!("the virtual machine's disk cannot be made: {error:#}"))
}

/// Runs the command in the machine and gives its status.
fn boot(arguments: &Arguments, disk: &disk::Disk) -> Result<u8> {
    let folder = tempfile::Builder::new().prefix("job-").tempdir_in(run::target().join("vm"))?;
    let payload = payload(arguments, folder.path())?;
    attempts(arguments, disk, &payload)
}

/// A machine that hangs gets a second chance: emulators do, now and then.
fn attempts(arguments: &Arguments, disk: &disk::Disk, payload: &Path) -> Result<u8> {
    for attempt in 1..=2 {
        let start = Instant::now();
        if let Some(status) = machine(arguments, disk, payload)? {
            eprintln!("{}vm: status {status} after {:.1} s", arguments.prefix, start.elapsed().as_secs_f32());
            return Ok(status);
        }
        eprintln!("{}vm: no exit status (attempt {attempt}: it hung or crashed)", arguments.prefix);
    }
    bail!("The virtual machine never reported a status")
}

/// A tar with the files to bring along and the script that runs the command.
fn payload(arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
    let files = folder.join("t");
    fs::create_dir_all(&files)?;
    for path in &arguments.copy {
        run::run(run::command("cp").args(["-a", "-L"]).arg(path).arg(&files))?;
    }
    let (script, who) = (folder.join("job"), arguments.r#as);
    let words: Vec<String> = arguments.command.iter().map(|word| quoted(word)).collect();
    let user = "setpriv --reuid 1000 --regid 1000 --init-groups --reset-env";
    let (cgroup, prefix) = match who {
        Who::Root => ("system.slice/job.scope", "env HOME=/root"),
        Who::User => ("user.slice/user-1000.slice/user@1000.service/app.slice/job.scope", user),
        Who::Plain => ("user.slice/user-1000.slice/session-1.scope", user),
    };
    let text = format!(
        "cd /sys/fs/cgroup && mkdir -p {cgroup} && echo $$ > {cgroup}/cgroup.procs || exit 125\n{delegate}\n{alias}\nchown -R {owner} /t\ncd /t\nexec {prefix} {words}\n",
        delegate = if who == Who::User {
            format!(
                "chown 1000:1000 {cgroup} {cgroup}/cgroup.procs {cgroup}/cgroup.subtree_control {cgroup}/cgroup.threads"
            )
        } else {
            String::new()
        },
        alias = arguments.alias.as_ref().map_or(String::new(), |path| alias(path)),
        owner = if who == Who::Root { "0:0" } else { "1000:1000" },
        words = words.join(" "),
    );
    fs::write(&script, text)?;
    let tar = folder.join("payload.tar");
    run::run(run::command("tar").arg("-C").arg(folder).arg("-cf").arg(&tar).args([
        "--owner=0",
        "--group=0",
        "t",
        "job",
    ]))?;
    Ok(tar)
}

/// Makes /t appear at another absolute path too, and that path passable for everybody.
fn alias(path: &Path) -> String {
    let folders = path.ancestors().skip(1).filter(|folder| folder.parent().is_some());
    let folders: Vec<String> = folders.map(|folder| quoted(&folder.to_string_lossy())).collect();
    let (folders, path) = (folders.join(" "), quoted(&path.to_string_lossy()));
    format!("mkdir -p {folders} && chmod a+x {folders} && ln -s /t {path} || exit 125")
}

/// One word for the guest's shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Boots, shows what the command prints, and gives its status; none if the machine never told one.
fn machine(arguments: &Arguments, disk: &disk::Disk, payload: &Path) -> Result<Option<u8>> {
    let drive = |path: &Path, id: &str| {
        format!(
            "file={},format=raw,if=none,snapshot=on,cache=unsafe,id={id}",
            path.display().to_string().replace(',', ",,")
        )
    };
    // Whatever ends us, no machine is left behind.
    let mut qemu = run::command("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
        .args(["-M", "q35", "-accel", "tcg", "-cpu", "EPYC", "-smp", "1", "-m", &arguments.memory.to_string()])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(&disk.kernel)
        .arg("-initrd")
        .arg(&disk.initramfs)
        .args(["-append", "console=ttyS0 quiet loglevel=1 reboot=t panic=-1 tsc=reliable mitigations=off"])
        .args(["-drive", &drive(&disk.root, "root"), "-device", "virtio-blk-pci,drive=root"])
        .args(["-drive", &drive(payload, "job"), "-device", "virtio-blk-pci,drive=job"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = qemu.spawn().context("Cannot start qemu")?;
    let lines = lines(&mut child);
    let mut complaints = child.stderr.take();
    let mut status = None;
    let outcome = loop {
        match lines.recv_timeout(Duration::from_secs(arguments.timeout)) {
            Ok(line) => match line.strip_prefix(b"\x01vm exit ") {
                Some(number) => status = std::str::from_utf8(number).ok().and_then(|text| text.trim().parse().ok()),
                // The kernel's last words.
                None if status.is_some() => {}
                None => {
                    let line = [arguments.prefix.as_bytes(), &line, b"\n"].concat();
                    // Nobody reads us any more: the status still counts.
                    let _ = std::io::stdout().lock().write_all(&line);
                }
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !outcome {
        child.kill().context("Cannot end qemu")?;
    }
    child.wait().context("Cannot wait for qemu")?;
    if status.is_none()
        && let Some(stderr) = complaints.as_mut()
    {
        let said = std::io::read_to_string(stderr).unwrap_or_default();
        for line in said.lines().filter(|line| !line.contains("TCG doesn't support")) {
            eprintln!("{}qemu: {line}", arguments.prefix);
        }
    }
    Ok(status)
}

/// The console's lines as they come, from a thread of its own so that waiting for one can end.
fn lines(child: &mut Child) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = OsStr::from_bytes(&line).as_bytes();
                let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1);
                if sender.send(text[..end].to_vec()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    receiver
}
