//! What the protocol's messages mean here: which of them are passed on, what is changed in them, and who answers. Hides that
//! the ids of both sides must be kept apart from what they never were given for.

use super::{
    message::{self, Answer, Fault, Id, Message},
    place::Place,
    terminals::{self, TerminalCall, Terminals},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::{Path, PathBuf},
};

/// The version of the protocol whose messages these are.
const VERSION: u64 = 1;
/// The most requests of one side that wait for their answers.
const MOST: usize = 1024;
/// What an editor can do, and an agent may be told of. The rest it would do on the host, or for itself alone.
const CAPABILITIES: [&str; 5] = ["fs", "session", "plan", "elicitation", "subagents"];
/// In what an editor can do: it runs the agent's command of its own to log in.
const OWN_LOGIN: &str = "terminal-auth";
const INITIALIZE: &str = "initialize";
/// What is wrong with some that an agent would have shown.
const FOREIGN: &str = "It shows a terminal that the editor has not given this session";
const READ: &str = "fs/read_text_file";
const WRITE: &str = "fs/write_text_file";

/// What an agent wants of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileCall {
    pub(super) id: Id,
    pub(super) path: PathBuf,
    pub(super) wish: Wish,
    params: Map<String, Value>,
}

/// What of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// So many lines of it, from this one on.
    Read { line: u64, limit: u64 },
    /// That this is all that it has.
    Write(String),
}

impl FileCall {
    fn of(id: Id, method: &str, mut params: Map<String, Value>) -> Result<Self, Fault> {
        let invalid = |message: &str| Fault::new(Fault::PARAMS, message);
        let path = params.get("path").and_then(Value::as_str).ok_or_else(|| invalid("'path' is missing"))?;
        if !path.starts_with('/') || path.contains('\0') {
            return Err(invalid("'path' is an absolute path"));
        }
        let path = PathBuf::from(path);
        let wish = if method == READ {
            let number = |name: &str| match params.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(value) => value.as_u64().map(Some).ok_or_else(|| invalid("'line' and 'limit' are numbers")),
            };
            Wish::Read { line: number("line")?.unwrap_or(1).max(1), limit: number("limit")?.unwrap_or(u32::MAX.into()) }
        } else {
            match params.remove("content") {
                Some(Value::String(content)) => Wish::Write(content),
                _ => return Err(invalid("'content' is missing")),
            }
        };
        Ok(Self { id, path, wish, params })
    }

    /// How much is held for it.
    fn size(&self) -> usize {
        match &self.wish {
            Wish::Read { .. } => 1024,
            Wish::Write(content) => 1024 + content.len(),
        }
    }
}

/// Who answers a request of the agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answerer {
    /// The editor.
    Editor,
    /// The editor, and what it says of a terminal is noted.
    Terminal,
    /// We do.
    Us,
    /// We do, and the editor is asked what.
    Both,
    /// We have, and the editor is still to answer what it was asked: what it says then is nobody's, and no answer to another
    /// request of this id.
    Late,
}

/// A request of the editor's.
#[derive(Debug)]
struct Request {
    method: String,
    /// Where the session is to be that it is about, if it says so.
    cwd: Option<String>,
}

/// Between an editor and an agent.
#[derive(Debug)]
pub(super) struct Protocol {
    /// The project; none: there is none in the sandbox.
    project: Option<PathBuf>,
    /// What else of the host is in the sandbox where it is on the host.
    mounts: Vec<PathBuf>,
    /// Whether the editor reads files.
    pub(super) editor_reads: bool,
    /// The editor's requests.
    editors: BTreeMap<Id, Request>,
    /// The agent's.
    agents: BTreeMap<Id, Answerer>,
    /// What is to be said to the agent, and to the editor.
    pub(super) to_agent: VecDeque<u8>,
    pub(super) to_editor: VecDeque<u8>,
    /// What the agent wants of files, the oldest first, and how much is held for that.
    files: VecDeque<FileCall>,
    held: usize,
    terminals: Terminals,
    /// It was told that some were left out that are not the agent's.
    knows_foreign: bool,
    /// What humans are told, by the line.
    pub(super) notes: Vec<String>,
}

impl Protocol {
    /// In a project.
    pub(super) fn new(project: Option<&Path>, mounts: &[PathBuf]) -> Self {
        Self {
            project: project.map(Path::to_owned),
            mounts: mounts.to_vec(),
            editor_reads: false,
            editors: BTreeMap::new(),
            agents: BTreeMap::new(),
            to_agent: VecDeque::new(),
            to_editor: VecDeque::new(),
            files: VecDeque::new(),
            held: 0,
            terminals: Terminals::new(Err("there is no sandbox".into())),
            knows_foreign: false,
            notes: Vec::new(),
        }
    }

    /// Where an editor's terminals begin that show what is in the sandbox; else why there are none.
    pub(super) fn with_terminals(self, place: Result<Place, String>) -> Self {
        Self { terminals: Terminals::new(place), ..self }
    }

    /// Whether there is room for what follows from one more message.
    pub(super) fn has_room(&self) -> bool {
        /// Who does not take what is there is not asked for more.
        const ROOM: usize = 1 << 20;
        self.to_agent.len() < ROOM && self.to_editor.len() < ROOM && self.held + self.terminals.held() < ROOM
    }

    /// What the agent wants of a file next.
    pub(super) fn next_file(&mut self) -> Option<FileCall> {
        let call = self.files.pop_front()?;
        self.held -= call.size();
        Some(call)
    }

    /// Whether the agent wants anything of a file.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Takes a line of the editor's. Gives what it said of a file that it was asked for.
    pub(super) fn hear_editor(&mut self, line: &[u8]) -> Option<Answer> {
        match Message::of(line) {
            Ok(Message::Request { id, method, params }) => {
                if self.editors.contains_key(&id) || self.editors.len() >= MOST {
                    let fault = Fault::new(Fault::INVALID, "This id is in use, or too many are");
                    self.to_editor.extend(message::complaint(&fault));
                    return None;
                }
                match self.for_agent(&method, params) {
                    Ok(params) => {
                        self.to_agent.extend(message::request(&id, &method, &params));
                        let text = |name: &str| params.get(name).and_then(Value::as_str).map(str::to_owned);
                        let cwd = text("cwd").filter(|_| method.starts_with("session/"));
                        // What is called already may be gone on with before that is answered.
                        if let (Some(cwd), Some(session), "session/load" | "session/resume") =
                            (&cwd, text("sessionId"), &*method)
                        {
                            self.terminals.begin_session(&session, cwd);
                        }
                        self.editors.insert(id, Request { method, cwd });
                    }
                    Err(fault) => self.to_editor.extend(message::refusal(&id, &fault)),
                }
            }
            Ok(Message::Notification { method, params }) => {
                self.to_agent.extend(message::notification(&method, &params));
            }
            Ok(Message::Response { id, answer }) => match self.agents.get(&id) {
                Some(Answerer::Editor) => {
                    self.agents.remove(&id);
                    self.to_agent.extend(message::response(&id, &answer));
                }
                Some(Answerer::Terminal) => {
                    self.agents.remove(&id);
                    let answer = self.terminals.answered(&id, answer);
                    self.to_agent.extend(message::response(&id, &answer));
                }
                Some(Answerer::Both) => {
                    self.agents.insert(id, Answerer::Us);
                    return Some(answer);
                }
                Some(Answerer::Late) => drop(self.agents.remove(&id)),
                Some(Answerer::Us) | None => {}
            },
            Ok(Message::Complaint(_)) => {}
            Err(fault) => self.to_editor.extend(message::complaint(&fault)),
        }
        None
    }

    /// What a request of the editor's becomes for the agent.
    fn for_agent(&mut self, method: &str, mut params: Map<String, Value>) -> Result<Map<String, Value>, Fault> {
        if method == INITIALIZE {
            if params.get("protocolVersion").and_then(Value::as_u64).is_some_and(|version| version > VERSION) {
                params.insert("protocolVersion".into(), VERSION.into());
            }
            let told = params.remove("clientCapabilities").unwrap_or_default();
            let can = |name: &str| told["fs"][name] == Value::Bool(true);
            self.editor_reads = can("readTextFile");
            let mut capabilities = json!({});
            for name in CAPABILITIES {
                if let Some(capability) = told.get(name) {
                    capabilities[name] = capability.clone();
                }
            }
            capabilities["fs"] = json!({"readTextFile": self.editor_reads, "writeTextFile": can("writeTextFile")});
            // What runs in one runs in the sandbox.
            let offered = self.terminals.offer(&told).unwrap_or_else(|why| {
                self.notes.push(why);
                false
            });
            capabilities["terminal"] = offered.into();
            if let Some(Value::Object(mut meta)) = told.get("_meta").cloned() {
                meta.remove(OWN_LOGIN);
                capabilities["_meta"] = meta.into();
            }
            params.insert("clientCapabilities".into(), capabilities);
        } else if method.starts_with("session/") && method != "session/list" {
            if let Some(cwd) = params.get("cwd").and_then(Value::as_str) {
                let place = self.place(cwd)?;
                params.insert("cwd".into(), place);
            }
            if let Some(Value::Array(further)) = params.get("additionalDirectories") {
                let places = further.iter().filter_map(Value::as_str).map(|place| self.place(place));
                let places = places.collect::<Result<Vec<_>, _>>()?;
                params.insert("additionalDirectories".into(), places.into());
            }
        }
        Ok(params)
    }

    /// Where in the sandbox a directory of the host is.
    fn place(&self, directory: &str) -> Result<Value, Fault> {
        if !directory.starts_with('/') {
            return Err(Fault::new(Fault::PARAMS, "A directory is named by its absolute path"));
        }
        let real = fs::canonicalize(directory).unwrap_or_else(|_| directory.into());
        let mut inside = self.project.iter().chain(&self.mounts);
        match real.to_str() {
            Some(real) if inside.any(|place| Path::new(real).starts_with(place)) => Ok(real.into()),
            _ => {
                let project = self.project.as_deref().unwrap_or(Path::new("none")).display();
                let message = format!(
                    "{directory} is not in the sandbox: its project is {project}. Start 'agentkernel acp' in the project's directory, or give it --mount {directory}:{directory}"
                );
                Err(Fault::new(Fault::PARAMS, message))
            }
        }
    }

    /// Takes a line of the agent's.
    pub(super) fn hear_agent(&mut self, line: &[u8]) {
        match Message::of(line) {
            Ok(Message::Request { id, method, mut params }) => {
                if self.agents.contains_key(&id) || self.agents.len() >= MOST {
                    let fault = Fault::new(Fault::INVALID, "This id is in use, or too many are");
                    self.to_agent.extend(message::complaint(&fault));
                    return;
                }
                let fault = match method.as_str() {
                    READ | WRITE => match FileCall::of(id.clone(), &method, params) {
                        Ok(call) => {
                            self.held += call.size();
                            self.files.push_back(call);
                            self.agents.insert(id, Answerer::Us);
                            return;
                        }
                        Err(fault) => fault,
                    },
                    "session/request_permission" | "elicitation/create" => {
                        self.leave_out_terminals(&mut params, "toolCall");
                        self.to_editor.extend(message::request(&id, &method, &params));
                        self.agents.insert(id, Answerer::Editor);
                        return;
                    }
                    _ if self.terminals.are_meant(&method) => match self.terminals.take(&id, &method, params) {
                        Ok(Some(asked)) => {
                            self.to_editor.extend(message::request(&id, &method, &asked));
                            self.agents.insert(id, Answerer::Terminal);
                            return;
                        }
                        Ok(None) => {
                            self.agents.insert(id, Answerer::Us);
                            return;
                        }
                        Err(fault) => fault,
                    },
                    _ => Fault::new(Fault::METHOD, format!("No editor does '{method}' for an agent in a sandbox")),
                };
                self.to_agent.extend(message::refusal(&id, &fault));
            }
            Ok(Message::Notification { method, mut params }) => {
                if method == "session/update" {
                    self.leave_out_terminals(&mut params, "update");
                }
                let is_known =
                    ["session/update", "elicitation/complete", "$/cancel_request"].contains(&method.as_str());
                if is_known || method.starts_with('_') {
                    self.to_editor.extend(message::notification(&method, &params));
                }
            }
            // What nobody has asked for is no answer.
            Ok(Message::Response { id, answer }) => {
                if let Some(Request { method, cwd }) = self.editors.remove(&id) {
                    if let (Some(cwd), Ok(result)) = (cwd, &answer)
                        && let Some(session) = result.get("sessionId").and_then(Value::as_str)
                    {
                        self.terminals.begin_session(session, &cwd);
                    }
                    let answer = if method == INITIALIZE { answer.map(without_commands) } else { answer };
                    self.to_editor.extend(message::response(&id, &answer));
                }
            }
            Ok(Message::Complaint(error)) => self.notes.push(format!("The agent complains: {error}")),
            Err(fault) => self.notes.push(format!("The agent wrote what is no message: {}", fault.message)),
        }
    }

    /// What is told of a call of a tool shows no terminals but the agent's. That there are others is told once: some agents tell
    /// of their own to editors that show none of these.
    fn leave_out_terminals(&mut self, params: &mut Map<String, Value>, call: &str) {
        let session = params.get("sessionId").cloned();
        let is_left_out = params.get_mut(call).is_some_and(|call| self.terminals.leave_out(session.as_ref(), call));
        if is_left_out && !std::mem::replace(&mut self.knows_foreign, true) {
            self.notes.push(format!("What the agent told is left out: {FOREIGN}"));
        }
    }

    /// What the agent wants run in a terminal next.
    pub(super) fn next_terminal(&mut self) -> Option<TerminalCall> {
        self.terminals.next()
    }

    /// Asks the editor for a terminal, in which that is run which has this token.
    pub(super) fn ask_for_terminal(&mut self, call: TerminalCall, token: String) {
        let id = call.id.clone();
        if let Some(params) = self.terminals.ask(call, token) {
            self.to_editor.extend(message::request(&id, terminals::CREATE, &params));
            self.agents.insert(id, Answerer::Terminal);
        }
    }

    /// Tokens of what is not to be run any more.
    pub(super) fn spent_tokens(&mut self) -> Vec<String> {
        self.terminals.take_spent()
    }

    /// Asks the editor what a file has that the agent wants.
    pub(super) fn ask_editor(&mut self, call: &FileCall) {
        self.agents.insert(call.id.clone(), Answerer::Both);
        self.to_editor.extend(message::request(&call.id, READ, &call.params));
    }

    /// Answers the agent.
    pub(super) fn answer(&mut self, id: &Id, answer: Result<Value, Fault>) {
        match self.agents.get_mut(id) {
            Some(answerer @ Answerer::Both) => *answerer = Answerer::Late,
            _ => drop(self.agents.remove(id)),
        }
        self.to_agent.extend(match answer {
            Ok(result) => message::response(id, &Ok(result)),
            Err(fault) => message::refusal(id, &fault),
        });
    }

    /// The same with what the editor has said.
    pub(super) fn pass_on(&mut self, id: &Id, answer: &Answer) {
        self.agents.remove(id);
        self.to_agent.extend(message::response(id, answer));
    }

    /// A line of the editor's was too long.
    pub(super) fn too_long_of_editor(&mut self) {
        let fault = Fault::new(Fault::INVALID, too_long());
        self.to_editor.extend(message::complaint(&fault));
    }

    /// A line of the agent's was.
    pub(super) fn too_long_of_agent(&mut self) {
        self.notes.push(format!("The agent: {}", too_long()));
        self.to_agent.extend(message::complaint(&Fault::new(Fault::INVALID, too_long())));
    }

    /// Answers what the editor waits for: why there is no agent any more, and how it ended.
    pub(super) fn farewell(&mut self, why: &str, status: Option<u8>) {
        let data = status.map(|status| json!({"exitStatus": status}));
        let fault = Fault { code: Fault::INTERNAL, message: why.to_owned(), data };
        for id in std::mem::take(&mut self.editors).into_keys() {
            self.to_editor.extend(message::refusal(&id, &fault));
        }
    }

    /// The agent is no more: there is nothing to tell it, and it wants nothing.
    pub(super) fn forget_agent(&mut self) {
        self.to_agent.clear();
        self.files.clear();
        self.terminals.forget();
        self.held = 0;
    }
}

fn too_long() -> String {
    format!("A message has more than {} MiB, and is left out", super::LONGEST >> 20)
}

/// What an agent says of itself, without ways to log in for which the editor would run a command that the agent names.
fn without_commands(mut result: Value) -> Value {
    if let Some(Value::Array(methods)) = result.get_mut("authMethods") {
        methods.retain(|method| matches!(method.get("type").map(Value::as_str), None | Some(Some("agent"))));
        for method in methods.iter_mut().filter_map(Value::as_object_mut) {
            method.remove("_meta");
        }
    }
    result
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
