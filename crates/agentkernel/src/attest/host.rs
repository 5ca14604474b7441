//! The outside of an attack: the probe run on the host, and the canaries that one of its processes keeps.

use super::{Answer, AttestError, Case, Plan};
use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, Mode, OFlags},
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The variable in which the canaries' token is given to the process that keeps them.
const TOKEN: &str = "AGENTKERNEL_CANARY";

/// The probe, in memory: nothing of it is left behind.
pub(super) struct Probe {
    file: OwnedFd,
}

impl Probe {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, AttestError> {
        let memory = rustix::fs::memfd_create("agentkernel-probe", MemfdFlags::CLOEXEC).map_err(probe)?;
        let mut memory = std::fs::File::from(memory);
        memory.write_all(bytes).map_err(AttestError::Probe)?;
        // A file that is open for writing can't be executed, so it is opened again and the first one closed.
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(probe)?;
        Ok(Self { file })
    }

    #[allow(clippy::disallowed_methods)] // the attacks on the host are programs of their own, on purpose
    fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        // Out of the terminal's foreground group: what it makes it must take away, even if the runner is interrupted.
        command.arg0("agentkernel-probe").process_group(0);
        command
    }

    fn output(&self, args: &[String], input: Stdio) -> Result<Vec<u8>, AttestError> {
        let output = self.command().args(args).stdin(input).stderr(Stdio::null()).output();
        output.map(|output| output.stdout).map_err(AttestError::Probe)
    }

    /// The table of cases.
    pub(super) fn list(&self) -> Result<Vec<Case>, AttestError> {
        let table = self.output(&["list".to_owned(), "--json".to_owned()], Stdio::null())?;
        let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).map_err(|_| unclear(line))).collect()
    }

    /// Makes one attempt outside, the way its control says.
    pub(super) fn control(&self, case: &Case, canaries: &Canaries) -> Result<Answer, AttestError> {
        let mut args = vec!["control".to_owned(), case.name.clone(), "--json".to_owned()];
        args.extend(canaries.arguments());
        // The attempt holds the canaries' input, which it can't read: if this process is killed, they outlive the attempt, and
        // take away what that has made.
        let input = canaries.input.as_ref().map(|input| input.as_fd().try_clone_to_owned());
        let input = input.transpose().map_err(AttestError::Probe)?.map_or_else(Stdio::null, Stdio::from);
        let output = self.output(&args, input)?;
        answer(&output, &case.name).ok_or_else(|| unclear(&output))
    }

    /// Plants the canaries.
    pub(super) fn plant(&self, plan: &Plan<'_>) -> Result<Canaries, AttestError> {
        let mut random = [0u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(probe)?;
        let token = random.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let mut command = self.command();
        command.arg("plant").env(TOKEN, token);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(AttestError::Probe)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(AttestError::Plant("its pipes are missing".to_owned()));
        };
        let mut canaries =
            Canaries { child, input: Some(input), output: BufReader::new(output), params: BTreeMap::new() };
        let line = canaries.line()?;
        canaries.params = serde_json::from_str(&line).map_err(|_| unclear(line.as_bytes()))?;
        let limits = [("limit_memory", plan.memory), ("limit_pids", plan.pids), ("limit_disk", plan.disk)];
        for (key, limit) in limits {
            canaries.params.extend(limit.map(|limit| (key.to_owned(), limit.to_string())));
        }
        canaries.params.extend(plan.unlimited.map(|why| ("unlimited".to_owned(), why.to_owned())));
        canaries.params.extend(plan.state.map(|state| ("state".to_owned(), state.display().to_string())));
        Ok(canaries)
    }
}

fn probe(errno: rustix::io::Errno) -> AttestError {
    AttestError::Probe(errno.into())
}

fn unclear(bytes: &[u8]) -> AttestError {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    AttestError::Answer(text.escape_debug().to_string())
}

/// The answer about `name` in what a probe wrote. Output of the sandbox is anybody's: only one line that is exactly
/// an answer about this case counts.
pub(super) fn answer(output: &[u8], name: &str) -> Option<Answer> {
    let mut lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let answer: Answer = serde_json::from_slice(lines.next()?).ok()?;
    (answer.name == name && lines.next().is_none()).then_some(answer)
}

/// What an escape would reach. Gone when this is dropped, or when this process and the attempts that it makes outside have
/// ended in any way.
pub(super) struct Canaries {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    params: BTreeMap<String, String>,
}

impl Canaries {
    /// The planted project.
    pub(super) fn workspace(&self) -> &Path {
        self.params.get("workspace").map_or(Path::new("/nonexistent"), Path::new)
    }

    /// Those that the sandbox may reach.
    pub(super) fn services(&self) -> Vec<SocketAddr> {
        let keys = ["requests_host", "requests_named"];
        keys.iter().filter_map(|key| self.params.get(*key)?.parse().ok()).collect()
    }

    /// Everything that the probe must know, as arguments.
    pub(super) fn arguments(&self) -> impl Iterator<Item = String> {
        self.params.iter().map(|(key, value)| format!("{key}={value}"))
    }

    /// What was disturbed since the last time.
    pub(super) fn disturbed(&mut self) -> Result<Vec<String>, AttestError> {
        if let Some(input) = &mut self.input {
            input.write_all(b"check\n").map_err(|error| AttestError::Plant(error.to_string()))?;
        }
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|_| unclear(line.as_bytes()))
    }

    fn line(&mut self) -> Result<String, AttestError> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(0) => {
                let mut why = String::new();
                if let Some(errors) = &mut self.child.stderr {
                    let _: io::Result<usize> = errors.read_to_string(&mut why);
                }
                Err(AttestError::Plant(why.trim().trim_start_matches("probe: ").to_owned()))
            }
            Ok(_) => Ok(line),
            Err(error) => Err(AttestError::Plant(error.to_string())),
        }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        // The end of its input makes it tidy up.
        self.input = None;
        let _ = self.child.wait();
    }
}
