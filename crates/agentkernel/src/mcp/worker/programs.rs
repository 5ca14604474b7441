//! `run` and `exec`: programs.

use super::{MadeOf, Worker, kept::Kept, of_client, of_config, of_store, variables};
use crate::{
    Spec,
    client::{self, Client, Outcome, Seen, Watch},
    config::{self, ExecOverrides, HostFacts},
    mcp::frames::{self, Word},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    num::NonZeroU32,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};
use wire::{Channel, Exit, Failure, Stdio};

/// Bytes of each of both outputs that are given back where nothing is said, and at most.
const OUTPUT: (u32, u32) = (64 << 10, 1 << 20);
/// How long a program may take where nothing is said and somebody waits for it.
const TIME: Duration = Duration::from_secs(600);

/// What `run` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Run {
    #[serde(flatten)]
    made: MadeOf,
    #[serde(flatten)]
    program: Program,
}

/// What `exec` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Exec {
    /// Name or id of a running sandbox of this project.
    sandbox: String,
    /// Environment variables.
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(flatten)]
    program: Program,
    /// Leave it running and give back an id at once, for 'read_output' and 'stop_exec'. It ends with this session.
    #[serde(default)]
    pub(in crate::mcp) background: bool,
}

/// A program and what it is given.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Program {
    /// A line for the shell, or a list: the program and its arguments.
    pub(in crate::mcp) command: Command,
    /// The directory to work in. Without, the project's.
    #[serde(default)]
    workdir: Option<PathBuf>,
    /// Its standard input. Without, it has none.
    #[serde(default)]
    input: String,
    /// When it is ended at the latest, in seconds: 600 if nothing is said, and never in the background.
    #[serde(default)]
    timeout_seconds: Option<NonZeroU32>,
    /// Bytes that are given back of each of its outputs: 65536 if nothing is said, at most 1048576. Of more, the beginning
    /// and the end.
    #[serde(default)]
    max_output_bytes: Option<u32>,
}

/// A command as it may be written.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "'command' is a text, or a list of texts")]
pub(in crate::mcp) enum Command {
    Line(String),
    Words(Vec<String>),
}

impl Command {
    /// The program and its arguments.
    fn words(&self) -> Vec<OsString> {
        match self {
            Self::Line(line) => ["sh", "-c", line].map(OsString::from).to_vec(),
            Self::Words(words) => words.iter().map(OsString::from).collect(),
        }
    }

    /// As people read it.
    pub(in crate::mcp) fn text(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Words(words) => words.iter().map(|word| wire::shell_word(word)).collect::<Vec<_>>().join(" "),
        }
    }
}

/// How a program ended.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Ended {
    /// Its exit status as a shell has it: what it ended with, or 124 if its time was up, 125 if the sandbox was lost, 128 + N
    /// if signal N ended it, 137 if it had too little memory. A line for the shell has 127 if the shell finds no such program,
    /// and 126 if it can't execute it. What could not be begun has none: it is an error.
    pub(in crate::mcp) status: u8,
    /// Why it ended, if its status does not say all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::mcp) reason: Option<String>,
    /// Standard output.
    stdout: String,
    /// Standard error.
    stderr: String,
    /// How many bytes there were of both.
    output_bytes: u64,
    /// How many of them are left out.
    omitted_bytes: u64,
    /// What the sandbox says of it, such as connections that were refused and what helps.
    notices: Vec<String>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
}

/// One program, as the sandbox's other tools run it.
pub(super) struct Inner<'a> {
    pub(super) command: Vec<OsString>,
    pub(super) env: Vec<config::EnvVar>,
    pub(super) workdir: Option<PathBuf>,
    pub(super) input: &'a [u8],
    pub(super) limit: Option<Duration>,
}

impl Worker<'_> {
    pub(super) fn run(&self, Run { made, program }: Run) -> Result<Ended, Failure> {
        self.enter(made.root.as_deref())?;
        let mut overrides = made.overrides(&self.roots)?;
        overrides.keep = Some(false);
        // It waits for the end of its input, which is held open from here: however this process ends, it ends.
        overrides.stdin = true;
        overrides.entrypoint = Some(OsString::new());
        overrides.command = ["sh", "-c", "read -r line"].map(OsString::from).to_vec();
        let before = made.checkpoint.then(|| program.command.text());
        let (spec, entry, lock) = self.make(&overrides, before.as_deref())?;
        let same = self.store.find(spec.id.as_str()).map_err(of_store)?;
        let store = crate::store::Store::open().map_err(of_store)?;
        let mut client = self.starter.launch(store, entry, lock, spec.clone())?;
        let ended =
            client.hold_main().map_err(of_client).and_then(|()| self.program(&mut client, &spec, program, vec![]));
        // If it can't be asked to end, the end of its input ends it.
        let _ = client.stop(Duration::ZERO);
        let _ = client::find(&same);
        ended
    }

    pub(super) fn exec(&self, Exec { sandbox, env, program, background }: Exec) -> Result<Ended, Failure> {
        let (mut client, spec) = self.connect(&sandbox)?;
        self.protects_roots(&spec)?;
        let mut program = program;
        if background {
            // What nobody waits for has the time that it takes.
            program.timeout_seconds = program.timeout_seconds.or(Some(NonZeroU32::MAX));
        }
        self.program(&mut client, &spec, program, variables(&env)?)
    }

    fn program(
        &self,
        client: &mut Client,
        spec: &Spec,
        program: Program,
        env: Vec<config::EnvVar>,
    ) -> Result<Ended, Failure> {
        let Program { command, workdir, input, timeout_seconds, max_output_bytes } = program;
        let most = max_output_bytes.unwrap_or(OUTPUT.0).min(OUTPUT.1) as usize;
        let limit = timeout_seconds.map_or(TIME, |seconds| Duration::from_secs(seconds.get().into()));
        let inner = Inner { command: command.words(), env, workdir, input: input.as_bytes(), limit: Some(limit) };
        let began = Instant::now();
        let (watched, stdout, stderr) = self.watch(client, spec, inner, most)?;
        let (status, reason) = match watched.outcome {
            Outcome::Exited(exit) => (exit.status(), reason(exit, limit)),
            Outcome::Lost { why } => (Exit::Lost.status(), Some(why)),
            Outcome::Failed { cause, .. } => return Err(Failure::from(cause)),
            Outcome::Detached { .. } => (0, None),
        };
        Ok(Ended {
            status,
            reason,
            stdout: stdout.text(),
            stderr: stderr.text(),
            output_bytes: stdout.total() + stderr.total(),
            omitted_bytes: stdout.missing() + stderr.missing(),
            notices: watched.notices,
            duration_ms: began.elapsed().as_millis() as u64,
        })
    }

    /// Runs a program to its end; the server is told of its output, if it wants that.
    pub(super) fn watch(
        &self,
        client: &mut Client,
        spec: &Spec,
        inner: Inner<'_>,
        most: usize,
    ) -> Result<(client::Watched, Kept, Kept), Failure> {
        let Inner { command, env, workdir, input, limit } = inner;
        if command.is_empty() {
            return Err(Failure::from("The command is empty".to_owned()));
        }
        let request = ExecOverrides {
            env,
            env_files: Vec::new(),
            workdir,
            user: None,
            stdio: Stdio::Pipes { stdin: !input.is_empty() },
            command,
        };
        let host = HostFacts::read().map_err(of_config)?;
        let exec = config::resolve_exec(request, spec, None, &host).map_err(of_config)?;
        let (mut stdout, mut stderr) = (Kept::new(most), Kept::new(most));
        let mut text = [Text::default(), Text::default()];
        let mut see = |seen: Seen<'_>| {
            let word = match seen {
                Seen::Started => Word::Started(spec.project().map(Into::into)),
                Seen::Output(channel, bytes) => {
                    let (kept, text) = match channel {
                        Channel::Stderr => (&mut stderr, &mut text[1]),
                        _ => (&mut stdout, &mut text[0]),
                    };
                    kept.push(bytes);
                    Word::Output(text.take(bytes))
                }
            };
            if self.follow {
                // If the server is gone, the program is ended for that.
                let _ = frames::send(self.server, &word);
            }
        };
        let watch = Watch { input, limit, leash: self.server.as_fd() };
        let watched = client.watch(exec, watch, &mut see).map_err(of_client)?;
        Ok((watched, stdout, stderr))
    }
}

/// What an exit status alone does not say.
fn reason(exit: Exit, limit: Duration) -> Option<String> {
    match exit {
        Exit::Deadline => Some(format!("It was ended after {} seconds: its time was up", limit.as_secs())),
        Exit::Oom => Some("The kernel killed it: the sandbox's memory limit was reached".into()),
        Exit::Lost => Some("The sandbox was lost: its supervisor or its machine died".into()),
        Exit::Signal(signal) => Some(format!("Signal {signal} ended it")),
        Exit::Code(_) => None,
    }
}

/// Bytes as they come, as text: a character that is not whole yet waits for its rest.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Text {
    fn take(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let begun = match self.0.utf8_chunks().last() {
            // A character has four bytes at most.
            Some(last) if last.invalid().len() < 4 && self.0.ends_with(last.invalid()) => {
                std::str::from_utf8(last.invalid())
                    .map_or_else(|error| if error.error_len().is_none() { last.invalid().len() } else { 0 }, |_| 0)
            }
            _ => 0,
        };
        let rest = self.0.split_off(self.0.len() - begun);
        let whole = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&whole).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn characters_are_not_torn() {
        let mut text = Text::default();
        let told: String = "aä€😀z".bytes().map(|byte| text.take(&[byte])).collect();
        assert_eq!(told, "aä€😀z");
        assert_eq!(text.take(b"\xff\xfe!"), "\u{fffd}\u{fffd}!");
        assert_eq!(text.take(b"\xf0"), "");
        assert_eq!(text.take(b"x"), "\u{fffd}x");
    }
}
