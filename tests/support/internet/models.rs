//! Services of models, which say what a test wants them to: every agent takes one for its own.

use super::Internet;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Each with its address.
const SERVICES: [(&str, &str); 3] = [
    ("api.anthropic.com", "160.79.104.10"),
    ("api.openai.com", "162.159.140.245"),
    ("generativelanguage.googleapis.com", "142.250.74.10"),
];

/// The program that plays them: a script of Python's, named by `AGENTKERNEL_MODEL_SERVER`, or beside this project. `None`,
/// counted and named, if it is not there.
#[must_use]
pub fn model_server() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/mock-llm/mock_llm.py");
    let program = env::var_os("AGENTKERNEL_MODEL_SERVER").map_or(beside, PathBuf::from);
    if program.is_file() {
        return Some(program);
    }
    crate::skipped("a test with models", &format!("there is no {}", program.display()));
    None
}

impl Internet {
    /// Starts the services, which take this key and no other. `false`, counted and named, if there can be none here.
    ///
    /// # Panics
    /// If one does not listen.
    #[must_use]
    pub fn models(&self, key: &str) -> bool {
        let Some(program) = model_server() else { return false };
        let folder = self.path("models");
        fs::create_dir_all(&folder).unwrap();
        let script = folder.join("server.py");
        fs::copy(program, &script).unwrap();
        for (name, address) in SERVICES {
            self.authority.certify(name, &folder);
            self.name(name, &[address]);
            let file = |end: &str| folder.join(format!("{name}.{end}")).to_str().unwrap().to_owned();
            let files = [file("jsonl"), file("pem"), file("key")];
            let own = ["--log", &files[0], "--tls-cert", &files[1], "--tls-key", &files[2]];
            let command =
                ["python3", script.to_str().unwrap(), "--host", address, "--port", "443", "--require-key", key];
            self.start(None, &[&command[..], &own].concat(), &format!("{address}:443"));
        }
        true
    }

    /// What the services were asked so far.
    ///
    /// # Panics
    /// If a line is no JSON.
    #[must_use]
    pub fn asked(&self) -> Vec<serde_json::Value> {
        let log = |(name, _): &(&str, &str)| fs::read_to_string(self.path(&format!("models/{name}.jsonl")));
        let lines: String = SERVICES.iter().filter_map(|service| log(service).ok()).collect();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
