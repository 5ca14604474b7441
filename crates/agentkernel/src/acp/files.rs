//! What the agent wants of files, one after the other. Hides where each is done: in the sandbox, as its own programs would, or
//! by the editor, which has what is not saved yet.

use super::{
    message::{Answer, Fault},
    protocol::{FileCall, Protocol, Wish},
    trail::Trail,
};
use crate::{
    Spec, Workspace,
    client::{self, Client, ClientError, Outcome},
    config::{self, ExecOverrides, HostFacts},
};
use serde_json::json;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use wire::{Channel, Exit, Failure, Stdio};

/// The most bytes of a file that are read.
const MOST: usize = 16 << 20;
/// How long one may take.
const TIME: Duration = Duration::from_secs(60);
/// How often the editor is asked again whose answer may be of another file.
const AGAIN: u32 = 2;

/// The one that is under way.
#[derive(Debug)]
pub(super) struct Work {
    call: FileCall,
    end: Instant,
    again: u32,
    place: Place,
}

/// Where it is done.
#[derive(Debug)]
enum Place {
    /// In the sandbox, by a program.
    Sandbox(Inside),
    /// By the editor, once a change of what leads there would be seen.
    Soon(Trail),
    /// By the editor, who is asked.
    Editor(Trail),
}

#[derive(Debug)]
struct Inside {
    program: u32,
    input: Vec<u8>,
    sent: usize,
    ended: bool,
    output: Vec<u8>,
    errors: Vec<u8>,
}

/// What is worked with.
pub(super) struct Desk<'a> {
    pub(super) client: &'a mut Client,
    pub(super) protocol: &'a mut Protocol,
    pub(super) spec: &'a Spec,
    pub(super) host: &'a HostFacts,
}

impl Work {
    /// Begins the next one, if there is any.
    pub(super) fn next(desk: &mut Desk<'_>) -> Result<Option<Self>, ClientError> {
        let Some(call) = desk.protocol.next_file() else { return Ok(None) };
        let end = Instant::now() + TIME;
        Self::begin(desk, call, end, 0)
    }

    fn begin(desk: &mut Desk<'_>, call: FileCall, end: Instant, again: u32) -> Result<Option<Self>, ClientError> {
        if let (Wish::Read { .. }, Some(workspace)) = (&call.wish, shared(desk, &call.path))
            && let Some(trail) = Trail::to(&call.path, &workspace)
        {
            return Ok(Some(Self { call, end, again, place: Place::Soon(trail) }));
        }
        let path = call.path.clone().into_os_string();
        let (script, arguments, input) = match &call.wish {
            Wish::Write(content) => (client::WRITE, Vec::new(), content.clone().into_bytes()),
            Wish::Read { line, limit } => {
                (client::READ_LINES, vec![line.to_string(), limit.to_string(), (MOST + 1).to_string()], Vec::new())
            }
        };
        let command = ["sh".into(), "-c".into(), script.into(), "sh".into(), path];
        let request = ExecOverrides {
            env: Vec::new(),
            env_files: Vec::new(),
            workdir: None,
            user: None,
            stdio: Stdio::Pipes { stdin: matches!(call.wish, Wish::Write(_)) },
            command: command.into_iter().chain(arguments.into_iter().map(OsString::from)).collect(),
        };
        let refused = |cause: String| ClientError::Refused(Failure { cause, hint: String::new() });
        let begun = config::resolve_exec(request, desk.spec, None, desk.host)
            .map_err(|error| refused(wire::cause(&error)))
            .and_then(|exec| desk.client.begin(exec));
        match begun {
            Ok(program) => {
                let ended = !matches!(call.wish, Wish::Write(_));
                let inside = Inside { program, input, sent: 0, ended, output: Vec::new(), errors: Vec::new() };
                Ok(Some(Self { call, end, again, place: Place::Sandbox(inside) }))
            }
            Err(ClientError::Refused(failure)) => {
                desk.protocol.answer(&call.id, Err(Fault::new(Fault::INTERNAL, failure.cause)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Does what can be done now. `None`: it is over.
    pub(super) fn go_on(mut self, desk: &mut Desk<'_>) -> Option<Self> {
        if self.end <= Instant::now() {
            if let Place::Sandbox(inside) = &self.place {
                desk.client.kill_program(inside.program);
            }
            let fault = Fault::new(Fault::INTERNAL, format!("This takes more than {} seconds", TIME.as_secs()));
            desk.protocol.answer(&self.call.id, Err(fault));
            return None;
        }
        match &mut self.place {
            Place::Sandbox(inside) => {
                inside.sent += desk.client.input(inside.program, &inside.input[inside.sent..]);
                if inside.sent == inside.input.len() && !std::mem::replace(&mut inside.ended, true) {
                    desk.client.end_input(inside.program);
                }
            }
            Place::Soon(trail) if trail.left().is_zero() => {
                desk.protocol.ask_editor(&self.call);
                self.place = Place::Editor(trail.clone());
            }
            Place::Soon(_) | Place::Editor(_) => {}
        }
        Some(self)
    }

    /// How long nothing can be done if nothing happens.
    pub(super) fn patience(&self) -> Duration {
        let left = self.end.saturating_duration_since(Instant::now());
        match &self.place {
            // The clock that is waited for goes in ticks: before the next there is nothing to see.
            Place::Soon(trail) => left.min(trail.left().max(Duration::from_millis(1))),
            Place::Sandbox(_) | Place::Editor(_) => left,
        }
    }

    /// Whether it is done by this program.
    pub(super) fn is_by(&self, program: u32) -> bool {
        matches!(&self.place, Place::Sandbox(inside) if inside.program == program)
    }

    /// Takes what the program has written.
    pub(super) fn written(&mut self, channel: Channel, bytes: &[u8]) {
        if let Place::Sandbox(inside) = &mut self.place {
            let (kept, most) = match channel {
                Channel::Stderr => (&mut inside.errors, 4096),
                _ => (&mut inside.output, MOST + 1),
            };
            kept.extend_from_slice(&bytes[..bytes.len().min(most - kept.len())]);
        }
    }

    /// The program has ended.
    pub(super) fn ended(self, outcome: Result<Outcome, Failure>, protocol: &mut Protocol) {
        let Place::Sandbox(inside) = self.place else { return };
        let internal = |message: String| Err(Fault::new(Fault::INTERNAL, message));
        let errors = String::from_utf8_lossy(&inside.errors).trim().to_owned();
        let path = self.call.path.display();
        let answer = match (outcome, self.call.wish) {
            (Ok(Outcome::Exited(Exit::Code(0))), Wish::Write(_)) => Ok(json!({})),
            (Ok(Outcome::Exited(Exit::Code(0))), Wish::Read { .. }) if inside.output.len() > MOST => {
                internal(format!("{path} has more than {} MiB: read it by lines", MOST >> 20))
            }
            (Ok(Outcome::Exited(Exit::Code(0))), Wish::Read { .. }) => match String::from_utf8(inside.output) {
                Ok(content) => Ok(json!({"content": content})),
                Err(_) => internal(format!("{path} is no text")),
            },
            // As editors have it: of what is not there they have an empty one, to be filled. Agents look so whether it is there,
            // and Gemini CLI takes an error for a failure of another kind.
            (Ok(Outcome::Exited(Exit::Code(client::MISSING))), Wish::Read { .. }) => Ok(json!({"content": ""})),
            (Ok(Outcome::Failed { cause, .. }), _) => internal(format!(
                "{cause}. Files are read and written by 'sh' and its common tools, which the sandbox's image must have"
            )),
            (Err(failure), _) => internal(failure.cause),
            (Ok(_), _) => internal(format!("In the sandbox: {errors}")),
        };
        protocol.answer(&self.call.id, answer);
    }

    /// The editor has answered. `None`: it is over.
    pub(super) fn answered(self, answer: &Answer, desk: &mut Desk<'_>) -> Result<Option<Self>, ClientError> {
        let Place::Editor(before) = &self.place else { return Ok(Some(self)) };
        // What leads to the file now, and led there before, led there meanwhile.
        let same = shared(desk, &self.call.path)
            .is_some_and(|workspace| Trail::to(&self.call.path, &workspace).as_ref() == Some(before));
        if same {
            desk.protocol.pass_on(&self.call.id, answer);
            return Ok(None);
        }
        if self.again == AGAIN {
            let message = format!("{} was changed while it was read", self.call.path.display());
            desk.protocol.answer(&self.call.id, Err(Fault::new(Fault::INTERNAL, message)));
            return Ok(None);
        }
        Self::begin(desk, self.call, self.end, self.again + 1)
    }
}

/// The workspace in which a file is the same one to the sandbox and to the editor, if that may be asked.
fn shared(desk: &Desk<'_>, path: &Path) -> Option<PathBuf> {
    let spec = desk.spec;
    let covered = spec.is_mounted(path) || spec.tmpfs.iter().any(|tmpfs| path.starts_with(&tmpfs.target));
    match &spec.workspace {
        Workspace::Direct { path: workspace, .. } if desk.protocol.editor_reads && !covered => Some(workspace.clone()),
        _ => None,
    }
}
