//! A client of JSON-RPC over lines, which says exactly what it is told to say.

use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a client answers to a request, if it does.
type Says = Box<dyn FnMut(&Value) -> Option<Value>>;

/// A client with its server.
pub struct Client {
    /// The server.
    pub server: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    answers: BTreeMap<u64, Value>,
    /// Answers to what was no request.
    complaints: Vec<Value>,
    notifications: Vec<Value>,
    /// What it answers to the server's requests, by their method.
    says: BTreeMap<String, VecDeque<Value>>,
    does: BTreeMap<String, Says>,
    asked: Vec<Value>,
}

impl Client {
    /// Starts one and says nothing.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn new(command: &mut Command) -> Self {
        Self::telling(command, Stdio::inherit())
    }

    /// The same, with what it tells humans going there.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn telling(command: &mut Command, errors: impl Into<Stdio>) -> Self {
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let output = server.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                if line.is_err() || sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let input = server.stdin.take();
        Self { server, input, lines, state: RefCell::default() }
    }

    /// Sends bytes as they are, and a line's end.
    ///
    /// # Panics
    /// If nobody takes them.
    pub fn line(&self, bytes: &[u8]) {
        let mut input = self.input.as_ref().unwrap();
        input.write_all(bytes).and_then(|()| input.write_all(b"\n")).unwrap();
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// If nobody takes them.
    pub fn part(&self, bytes: &[u8]) {
        self.input.as_ref().unwrap().write_all(bytes).unwrap();
    }

    /// Sends a notification.
    pub fn notify(&self, method: &str, params: Value) {
        self.line(json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string().as_bytes());
    }

    /// Sends a request and gives its number.
    pub fn ask(&self, method: &str, params: Value) -> u64 {
        let id = {
            let mut state = self.state.borrow_mut();
            state.next += 1;
            state.next
        };
        self.line(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string().as_bytes());
        id
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.answer(self.ask(method, params))
    }

    /// Has the next request of the server's with this method answered so.
    pub fn say(&self, method: &str, result: Value) {
        self.state.borrow_mut().says.entry(method.to_owned()).or_default().push_back(result);
    }

    /// Has requests of the server's with this method answered by what this gives, a whole response or a result.
    pub fn does(&self, method: &str, says: impl FnMut(&Value) -> Option<Value> + 'static) {
        self.state.borrow_mut().does.insert(method.to_owned(), Box::new(says));
    }

    /// Waits for an answer.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn answer(&self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.state.borrow_mut().answers.remove(&id) {
                return answer;
            }
            self.turn();
        }
    }

    /// The answer, if one has come so far.
    #[must_use]
    pub fn answered(&self, id: u64) -> Option<Value> {
        self.state.borrow_mut().answers.remove(&id)
    }

    /// Waits for a notification, of those that came before too.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn notified(&self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(found) = self.state.borrow().notifications.iter().find(|it| is(it)) {
                return found.clone();
            }
            self.turn();
        }
    }

    /// Waits for an answer to what was no request, or to none that could be told from others.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn complaint(&self) -> Value {
        loop {
            if let Some(found) = self.state.borrow_mut().complaints.pop() {
                return found;
            }
            self.turn();
        }
    }

    /// Whether such an answer has come that nobody waited for.
    #[must_use]
    pub fn has_complaint(&self) -> bool {
        !self.state.borrow().complaints.is_empty()
    }

    /// What it has told so far.
    #[must_use]
    pub fn notifications(&self) -> Vec<Value> {
        self.state.borrow().notifications.clone()
    }

    /// What the server has asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Value> {
        self.state.borrow().asked.clone()
    }

    /// Waits for a message, and answers it, if it is to be.
    #[track_caller]
    fn turn(&self) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        // Standard output is the protocol's alone.
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        let mut state = self.state.borrow_mut();
        match (message.get("id").cloned(), message["method"].as_str()) {
            (Some(id), Some(method)) => {
                let method = method.to_owned();
                state.asked.push(message.clone());
                let said = state.says.get_mut(&method).and_then(VecDeque::pop_front);
                let mut does = state.does.remove(&method);
                // It may look at what has come.
                drop(state);
                let said = said.or_else(|| does.as_mut().and_then(|does| does(&message)));
                if let Some(does) = does {
                    self.state.borrow_mut().does.insert(method, does);
                }
                if let Some(said) = said {
                    let reply = match said.get("error") {
                        Some(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
                        None => json!({"jsonrpc": "2.0", "id": id, "result": said}),
                    };
                    self.line(reply.to_string().as_bytes());
                }
            }
            (Some(id), None) => {
                if let Some(id) = id.as_u64() {
                    state.answers.insert(id, message);
                } else {
                    state.complaints.push(message);
                }
            }
            _ => state.notifications.push(message),
        }
    }

    /// Says that nothing more follows, and gives how the server ended.
    ///
    /// # Panics
    /// If it can't be waited for.
    pub fn close(&mut self) -> ExitStatus {
        drop(self.input.take());
        self.server.wait().unwrap()
    }

    /// Goes, as clients do, and waits for the server's end.
    ///
    /// # Panics
    /// If that is a failure.
    pub fn leave(mut self) {
        let status = self.close();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
