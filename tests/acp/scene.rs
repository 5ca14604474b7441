//! An editor and its agent, which does what it is prompted.

use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};
use support::{Who, World, internet::installed, rpc, stdout};

/// What the editor can do.
const CAPABILITIES: &str = r#"{"fs": {"readTextFile": true, "writeTextFile": true}, "terminal": true}"#;

/// A user with an agent of his own.
pub struct Scene {
    pub world: World,
}

impl Scene {
    /// One for everybody that may run tests; none, counted and named, where there is no Python.
    pub fn all() -> Vec<Self> {
        if !installed("python3") {
            return Vec::new();
        }
        Who::all().into_iter().map(Self::of).collect()
    }

    /// Whoever runs the tests.
    pub fn new() -> Option<Self> {
        installed("python3").then(|| Self::of(Who::Me))
    }

    fn of(who: Who) -> Self {
        let scene = Self { world: World::new(who) };
        let adapter = format!(
            "name = 'mine'\ntitle = 'Mine'\nversion = '1.0'\ncommand = ['/usr/bin/python3', '-uc', {:?}]\n
[interactive]\n[acp]\narguments = ['--acp']\nunattended = ['--yes']\nattended = ['--ask']\nmodel = ['--model={{}}']\n",
            include_str!("agent.py")
        );
        scene.write("../home/.config/agentkernel/agents/mine.toml", &adapter);
        scene
    }

    /// Writes a file below the project, as its user.
    pub fn write(&self, name: &str, text: &str) {
        self.sh("mkdir -p \"$(dirname \"$1\")\" && printf %s \"$2\" > \"$1\"", &[name, text]);
    }

    /// Runs a script in the project, as its user.
    pub fn sh(&self, script: &str, arguments: &[&str]) {
        let _ = stdout(self.world.command("sh").args(["-ec", script, "sh"]).args(arguments));
    }

    /// Where something of the project is.
    pub fn at(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.world.project()).unwrap().join(name)
    }

    /// The same as text.
    pub fn path(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// `agentkernel acp mine`
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.world.agentkernel([&["acp", "mine"], arguments].concat())
    }

    /// An editor that has greeted its agent and begun a session.
    #[track_caller]
    pub fn editor(&self, arguments: &[&str]) -> rpc::Client {
        let editor = rpc::Client::new(&mut self.command(arguments));
        let capabilities: Value = serde_json::from_str(CAPABILITIES).unwrap();
        let hello = editor.request("initialize", json!({"protocolVersion": 1, "clientCapabilities": capabilities}));
        assert_eq!(hello["result"]["protocolVersion"], 1, "{hello}");
        let session = editor.request("session/new", json!({"cwd": self.path(""), "mcpServers": []}));
        assert_eq!(session["result"]["sessionId"], "s", "{session}");
        editor
    }
}

/// Prompts the agent, and gives what came of that.
#[track_caller]
pub fn does(editor: &rpc::Client, task: &str) -> Value {
    let answer = editor.request("session/prompt", prompt(task));
    assert_eq!(answer["result"]["stopReason"], "end_turn", "{answer}");
    answer["result"]["result"].clone()
}

pub fn prompt(task: &str) -> Value {
    json!({"sessionId": "s", "prompt": [{"type": "text", "text": task}]})
}
