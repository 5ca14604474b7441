//! What an editor is told to run in a terminal, whatever it is that runs there: hides how nothing of that is an agent's.
//!
//! Editors hand a command to a shell of the host, some of them as words with blanks between them. So these words are ours, and
//! have no sign that any shell reads as anything but itself.

use serde_json::{Map, Value, json};

/// The command of ours that an editor is given.
pub const COMMAND: &str = "acp-terminal";

/// Where an editor's terminals begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    program: String,
    state: String,
    sandbox: String,
    cwd: String,
}

impl Place {
    /// That of our program, for a sandbox of this state, in this directory of the host.
    ///
    /// # Errors
    /// Why terminals can't begin so.
    pub(super) fn of(program: &str, state: &str, sandbox: &str, cwd: &str) -> Result<Self, String> {
        for path in [program, state] {
            if !path.starts_with('/') || !is_plain(path) {
                return Err(format!("the path {path} has signs that shells read as others"));
            }
        }
        Ok(Self {
            program: program.to_owned(),
            state: state.to_owned(),
            sandbox: sandbox.to_owned(),
            cwd: cwd.to_owned(),
        })
    }

    /// What an editor is asked for.
    pub(super) fn request(&self, session: &str, token: &str, limit: Option<u64>) -> Map<String, Value> {
        let mut params = Map::new();
        params.insert("sessionId".into(), session.into());
        params.insert("command".into(), self.program.as_str().into());
        params.insert("args".into(), json!([COMMAND, self.state, self.sandbox, token]));
        params.insert("env".into(), json!([]));
        params.insert("cwd".into(), self.cwd.as_str().into());
        if let Some(limit) = limit {
            params.insert("outputByteLimit".into(), limit.into());
        }
        params
    }
}

/// Whether every shell reads a text as itself.
pub(super) fn is_plain(text: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    text.bytes().all(is_sign) && !text.is_empty() && !text.starts_with(['-', '+'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_runs_our_words_alone() {
        let place = Place::of("/usr/bin/agentkernel", "/home/u/.local/state/ak", "0a1b", "/srv/my project").unwrap();
        assert_eq!(
            Value::from(place.request("s", "00ff", Some(7))),
            json!({"sessionId": "s", "command": "/usr/bin/agentkernel", "args": ["acp-terminal", "/home/u/.local/state/ak", "0a1b", "00ff"],
                "env": [], "cwd": "/srv/my project", "outputByteLimit": 7})
        );
        assert!(!place.request("s", "00ff", None).contains_key("outputByteLimit"));
        for sign in " \t\n'\"\\$`;&|<>(){}[]*?!#~^%=@,:ä\u{a0}".chars() {
            let path = format!("/opt/a{sign}b/agentkernel");
            assert!(Place::of(&path, "/s", "0", "/").is_err_and(|why| why.contains(&path)), "{sign:?}");
            assert!(Place::of("/p", &path, "0", "/").is_err(), "{sign:?}");
        }
        for wrong in ["", "agentkernel", "./agentkernel", "-c", "/usr/bin/agentkernel (deleted)"] {
            assert!(Place::of(wrong, "/s", "0", "/").is_err(), "{wrong}");
        }
    }
}
