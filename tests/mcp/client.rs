//! A small client of MCP, which says exactly what it is told to say.

use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};
use support::World;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client with its server.
pub struct Client {
    pub server: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    answers: BTreeMap<u64, Value>,
    notifications: Vec<Value>,
    /// What it answers to the server's requests, by their method.
    says: BTreeMap<String, VecDeque<Value>>,
    asked: Vec<Value>,
}

impl Client {
    /// Starts a server and greets it.
    pub fn new(world: &World, capabilities: Value) -> Self {
        Self::of(&mut world.agentkernel(["mcp"]), capabilities)
    }

    /// The same with a server of another environment.
    pub fn of(server: &mut Command, capabilities: Value) -> Self {
        let client = Self::silent(server);
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"}});
        let answer = client.request("initialize", hello);
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25", "{answer}");
        client.notify("notifications/initialized", json!({}));
        client
    }

    /// Starts one and says nothing.
    pub fn silent(command: &mut Command) -> Self {
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
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
    pub fn line(&self, bytes: &[u8]) {
        let mut input = self.input.as_ref().unwrap();
        input.write_all(bytes).and_then(|()| input.write_all(b"\n")).unwrap();
    }

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
    #[track_caller]
    pub fn request(&self, method: &str, params: Value) -> Value {
        self.answer(self.ask(method, params))
    }

    /// Has the next request of the server's with this method answered so.
    pub fn say(&self, method: &str, result: Value) {
        self.state.borrow_mut().says.entry(method.to_owned()).or_default().push_back(result);
    }

    /// Waits for an answer.
    #[track_caller]
    pub fn answer(&self, id: u64) -> Value {
        loop {
            if let Some(answer) = self.state.borrow_mut().answers.remove(&id) {
                return answer;
            }
            self.turn();
        }
    }

    /// Waits for a notification.
    #[track_caller]
    pub fn notified(&self, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            if let Some(found) = self.state.borrow().notifications.iter().find(|it| is(it)) {
                return found.clone();
            }
            self.turn();
        }
    }

    /// What the server has asked.
    pub fn asked(&self) -> Vec<Value> {
        self.state.borrow().asked.clone()
    }

    #[track_caller]
    fn turn(&self) {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        // Standard output is the protocol's alone.
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        let reply = {
            let mut state = self.state.borrow_mut();
            match (message.get("id").cloned(), message["method"].as_str()) {
                (Some(id), Some(method)) => {
                    state.asked.push(message.clone());
                    let says = state.says.get_mut(method).and_then(VecDeque::pop_front);
                    says.map(|result| json!({"jsonrpc": "2.0", "id": id, "result": result}))
                }
                (Some(id), None) => {
                    if let Some(id) = id.as_u64() {
                        state.answers.insert(id, message);
                    }
                    None
                }
                _ => {
                    state.notifications.push(message);
                    None
                }
            }
        };
        if let Some(reply) = reply {
            self.line(reply.to_string().as_bytes());
        }
    }

    /// The result of a tool.
    #[track_caller]
    pub fn tool(&self, name: &str, arguments: Value) -> Value {
        let answer = self.request("tools/call", json!({"name": name, "arguments": arguments}));
        answer.get("result").unwrap_or_else(|| panic!("{name}: {answer}")).clone()
    }

    /// What a tool gives back when all is well.
    #[track_caller]
    pub fn done(&self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments);
        assert_ne!(result["isError"], true, "{name}: {result}");
        // Whoever reads no structure reads the same.
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"], "{name}");
        text
    }

    /// What a tool says when it refuses.
    #[track_caller]
    pub fn refused(&self, name: &str, arguments: Value) -> String {
        let result = self.tool(name, arguments);
        assert_eq!(result["isError"], true, "{name}: {result}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }

    /// Goes, as clients do, and waits for the server's end.
    pub fn leave(mut self) {
        drop(self.input.take());
        assert!(self.server.wait().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
