//! Attacks a sandbox of this host with every known class of escape, and tells which walls held.
//!
//! Each case is first made outside, where it should succeed, so that a wall is never credited for an attempt that
//! couldn't work; then inside. Canaries on the host say what an attempt reached, whatever the attempt itself says.

use serde::{Deserialize, Serialize};
use std::{
    error::Error,
    net::SocketAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};
use wire::Exit;

mod host;
mod report;

#[cfg(test)]
#[path = "attest_tests.rs"]
mod tests;

pub use report::{CaseReport, Control, Report, Verdict};

/// What the probe is called in a sandbox.
const PROBE: &str = "agentkernel-probe";

/// An error of whoever runs the sandbox.
pub type SandboxError = Box<dyn Error + Send + Sync>;

/// The sandbox under attack, as its owner sees it.
pub trait Sandbox {
    /// Makes an executable file of `bytes` in the sandbox, and gives its path there.
    ///
    /// # Errors
    /// If it can't be made.
    fn put(&mut self, name: &str, bytes: &[u8]) -> Result<PathBuf, SandboxError>;

    /// Runs a program in the sandbox, without standard input, to its end.
    ///
    /// # Errors
    /// If it can't be started.
    fn run(&mut self, argv: &[String]) -> Result<Ran, SandboxError>;

    /// Starts a program in the sandbox that runs as long as that does.
    ///
    /// # Errors
    /// If it can't be started.
    fn start(&mut self, argv: &[String]) -> Result<(), SandboxError>;
}

/// How a program in the sandbox ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its end.
    pub exit: Exit,
    /// Its standard output.
    pub stdout: Vec<u8>,
}

/// What to attack with, and what the sandbox is supposed to hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan<'a> {
    /// The probe: a static program for this machine.
    pub probe: &'a [u8],
    /// Why the sandbox has no limits, if it has none. The bombs are skipped then, and skipping is no success.
    pub unlimited: Option<&'a str>,
    /// The sandbox's memory limit in bytes.
    pub memory: Option<u64>,
    /// Its limit of processes and threads.
    pub pids: Option<u64>,
    /// The bytes that it may write outside its workspace.
    pub disk: Option<u64>,
    /// Where the sandboxes' own state lies on the host.
    pub state: Option<&'a Path>,
    /// The only cases to run, by name or class; all if it is empty.
    pub only: &'a [String],
}

/// How far the attack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Attempts made, outside and inside.
    pub made: usize,
    /// Attempts altogether.
    pub all: usize,
}

/// The attack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The probe doesn't run on the host.
    #[error("The probe can't be run on this host")]
    Probe(#[source] std::io::Error),
    /// The probe said something unexpected.
    #[error("The probe's answer '{0}' makes no sense")]
    Answer(String),
    /// Canaries could not be planted.
    #[error("The canaries can't be planted: {0}")]
    Plant(String),
    /// A case was asked for that doesn't exist.
    #[error("There is no case or class '{0}'")]
    Case(String),
    /// The caller wanted no more of it.
    #[error("Interrupted")]
    Interrupted,
    /// The sandbox could not be made.
    #[error("The sandbox can't be made")]
    Open(#[source] SandboxError),
    /// The probe could not be put into it.
    #[error("The probe can't be put into the sandbox")]
    Put(#[source] SandboxError),
}

/// A line of the probe's table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Case {
    /// Its stable name.
    pub name: String,
    /// The kind of wall.
    pub class: String,
    /// What it would mean if it escaped.
    pub means: String,
    /// A CVE, a manual page or a rule of this project.
    pub reference: String,
    control: String,
    reason: String,
    may_die: bool,
}

/// A line of the probe's answers.
#[derive(Debug, Deserialize)]
struct Answer {
    name: String,
    result: Word,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Escaped,
    Held,
    Absent,
    Tried,
    Skipped,
}

/// The cases of a probe, those in `only` if it is not empty.
///
/// # Errors
/// [`AttestError`] if the probe can't be run, or has no such case.
pub fn cases(probe: &[u8], only: &[String]) -> Result<Vec<Case>, AttestError> {
    chosen(&host::Probe::new(probe)?, only)
}

fn chosen(probe: &host::Probe, only: &[String]) -> Result<Vec<Case>, AttestError> {
    let mut cases = probe.list()?;
    let is = |case: &Case, word: &String| case.name == *word || case.class == *word;
    if let Some(unknown) = only.iter().find(|word| !cases.iter().any(|case| is(case, word))) {
        return Err(AttestError::Case(unknown.clone()));
    }
    cases.retain(|case| only.is_empty() || only.iter().any(|word| is(case, word)));
    Ok(cases)
}

/// Attacks the sandbox that `open` makes with the given directory as its workspace (direct, writable, with its
/// protected paths). It may reach what is public, and of this host these services and nothing else. Where
/// sandboxes are to be attacked from each other, it is asked for one more. `progress` hears of every attempt and may end it all. Whatever was planted on the host is
/// gone afterwards, however this ends.
///
/// # Errors
/// [`AttestError`] if the attack as a whole could not be made. Single cases that could not are in the report.
pub fn attest<S: Sandbox>(
    plan: &Plan<'_>,
    mut open: impl FnMut(&Path, &[SocketAddr]) -> Result<S, SandboxError>,
    mut progress: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<Report, AttestError> {
    let probe = host::Probe::new(plan.probe)?;
    let cases = chosen(&probe, plan.only)?;
    let mut at = Progress { made: 0, all: 2 * cases.len() };
    let mut step = || {
        let flow = progress(at);
        at.made += 1;
        if flow.is_break() { Err(AttestError::Interrupted) } else { Ok(()) }
    };

    let mut canaries = probe.plant(plan)?;
    // All controls come first: what they disturb is put right before the sandbox looks at it.
    let mut controls = Vec::new();
    let mut neighbour = None;
    for case in &cases {
        step()?;
        controls.push(if case.control == "neighbour" {
            let (sandbox, inside) = match &mut neighbour {
                Some(neighbour) => neighbour,
                None => neighbour.insert(beside(plan, &canaries, &mut open)?),
            };
            control_beside(sandbox, inside, &mut canaries, case)?
        } else {
            control(&probe, &mut canaries, case)?
        });
    }
    let mut sandbox = open(canaries.workspace(), &canaries.services()).map_err(AttestError::Open)?;
    let inside = sandbox.put(PROBE, plan.probe).map_err(AttestError::Put)?;
    let mut report = Report::default();
    for (case, control) in cases.into_iter().zip(controls) {
        step()?;
        let (result, detail) = attempt(&mut sandbox, &inside, &mut canaries, &case)?;
        let Case { name, class, means, reference, .. } = case;
        report.cases.push(CaseReport { name, class, means, reference, control, result, detail });
    }
    // One that was interrupted is no result.
    step()?;
    Ok(report)
}

/// Another sandbox, in which the probe listens.
fn beside<S: Sandbox>(
    plan: &Plan<'_>,
    canaries: &host::Canaries,
    open: &mut impl FnMut(&Path, &[SocketAddr]) -> Result<S, SandboxError>,
) -> Result<(S, PathBuf), AttestError> {
    let workspace = canaries.workspace().with_file_name("beside");
    let mut sandbox = open(&workspace, &[]).map_err(AttestError::Open)?;
    let inside = sandbox.put(PROBE, plan.probe).map_err(AttestError::Put)?;
    let listen = [inside.to_string_lossy().into_owned(), "listen".into()].into_iter().chain(canaries.arguments());
    sandbox.start(&listen.collect::<Vec<_>>()).map_err(AttestError::Put)?;
    Ok((sandbox, inside))
}

/// The same attempt where it has what it attacks, as soon as that is there.
fn control_beside<S: Sandbox>(
    sandbox: &mut S,
    probe: &Path,
    canaries: &mut host::Canaries,
    case: &Case,
) -> Result<Control, AttestError> {
    let mut last = String::new();
    for _ in 0..100 {
        match attempt(sandbox, probe, canaries, case)? {
            (Verdict::Escaped, _) => return Ok(Control::Proved),
            (_, detail) => last = detail,
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(Control::Failed(last))
}

fn control(probe: &host::Probe, canaries: &mut host::Canaries, case: &Case) -> Result<Control, AttestError> {
    if case.control == "none" {
        return Ok(Control::NotRun(case.reason.clone()));
    }
    let answer = probe.control(case, canaries)?;
    let disturbed = canaries.disturbed()?;
    Ok(match answer.result {
        _ if !disturbed.is_empty() => Control::Proved,
        Word::Escaped => Control::Proved,
        Word::Tried => Control::Failed(format!("{}, to no effect", answer.detail)),
        Word::Held => Control::Failed(answer.detail),
        Word::Absent | Word::Skipped => Control::NotRun(answer.detail),
    })
}

fn attempt<S: Sandbox>(
    sandbox: &mut S,
    probe: &Path,
    canaries: &mut host::Canaries,
    case: &Case,
) -> Result<(Verdict, String), AttestError> {
    let mut argv = vec![probe.to_string_lossy().into_owned(), "run".into(), case.name.clone(), "--json".into()];
    argv.extend(canaries.arguments());
    let ran = sandbox.run(&argv);
    // What the host sees outranks what the probe says: it may have lost its voice on the way out.
    let disturbed = canaries.disturbed()?;
    if !disturbed.is_empty() {
        return Ok((Verdict::Escaped, disturbed.join("; ")));
    }
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return Ok((Verdict::Skipped, format!("it can't be run in the sandbox: {error}"))),
    };
    let answer = host::answer(&ran.stdout, &case.name);
    Ok(match answer {
        Some(Answer { result, detail, .. }) => match result {
            Word::Escaped => (Verdict::Escaped, detail),
            Word::Held | Word::Absent => (Verdict::Held, detail),
            Word::Tried => (Verdict::Held, format!("{detail}, to no effect outside")),
            Word::Skipped => (Verdict::Skipped, detail),
        },
        None if case.may_die && matches!(ran.exit, Exit::Oom | Exit::Signal(9) | Exit::Code(137)) => {
            (Verdict::Held, format!("{}", ran.exit))
        }
        None => (Verdict::Skipped, format!("no answer: {}", ran.exit)),
    })
}
