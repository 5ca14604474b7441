//! Services of models, which say what a test wants them to: every agent takes one for its own.

use super::Internet;
use std::fs;

/// Each with its address.
const SERVICES: [(&str, &str); 3] = [
    ("api.anthropic.com", "160.79.104.10"),
    ("api.openai.com", "162.159.140.245"),
    ("generativelanguage.googleapis.com", "142.250.74.10"),
];

/// The program that plays them: a script of Python's, whose beginning says what it can be told to do.
pub const MODEL_SERVER: &str = include_str!("model_server.py");

impl Internet {
    /// Starts the services, which take this key and no other. `false`, counted and named, if Python is not installed.
    ///
    /// # Panics
    /// If one does not listen.
    #[must_use]
    pub fn models(&self, key: &str) -> bool {
        if !super::installed("python3") {
            return false;
        }
        let folder = self.path("models");
        fs::create_dir_all(&folder).unwrap();
        let script = folder.join("server.py");
        fs::write(&script, MODEL_SERVER).unwrap();
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
