//! Hides how what is asked of an agent becomes its command line, its variables and its first files.

use super::adapter::Adapter;
use std::path::{Path, PathBuf};

/// In which way an agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It talks to a person.
    Interactive,
    /// It does one task and ends.
    Headless,
    /// It speaks the Agent Client Protocol.
    Acp,
}

/// With which session it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session<'a> {
    /// It begins one.
    #[default]
    New,
    /// The last.
    Last,
    /// The one of this name.
    Named(&'a str),
}

/// How it tells what it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// In words.
    #[default]
    Text,
    /// In JSON, at its end.
    Json,
    /// In JSON, as it happens.
    StreamJson,
}

/// What is asked of an agent.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// In which way.
    pub way: Way,
    /// With which session.
    pub session: Session<'a>,
    /// Whether it asks nobody before it acts.
    pub unattended: bool,
    /// Whether it tells its makers what it does.
    pub telemetry: bool,
    /// Whether it replaces itself.
    pub updates: bool,
    /// With which model.
    pub model: Option<&'a str>,
    /// How it tells.
    pub output: Output,
    /// The task.
    pub prompt: Option<&'a str>,
    /// Further arguments of the agent's own.
    pub arguments: &'a [String],
}

/// An agent can't be asked that, as far as its adapter says.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{title} can't {what}")]
pub struct CannotError {
    title: String,
    what: String,
    /// What to do about it, one line.
    pub hint: String,
}

impl Adapter {
    /// The command line for this.
    ///
    /// # Errors
    /// If it can't be asked that.
    pub fn command_line(&self, ask: &Ask<'_>) -> Result<Vec<String>, CannotError> {
        let (mode, table, what) = match ask.way {
            Way::Interactive => (&self.interactive, "interactive", "talk to a person"),
            Way::Headless => (&self.headless, "headless", "do a task by itself"),
            Way::Acp => (&self.acp, "acp", "speak the Agent Client Protocol"),
        };
        let cannot = |key: &str, what: &str| CannotError {
            title: self.title.clone(),
            what: what.to_owned(),
            hint: format!("Its adapter has no {key}: 'agentkernel agents show {}' prints it", self.name),
        };
        let mode = mode.as_ref().ok_or_else(|| cannot(&format!("[{table}]"), what))?;
        let mut line = self.command.clone();
        let mut add =
            |arguments: &[String], asked: &str| line.extend(arguments.iter().map(|it| it.replace("{}", asked)));
        let some = |arguments: &Vec<String>, key: &str, what: &str| match arguments.is_empty() {
            true => Err(cannot(&format!("`{key}` in [{table}]"), what)),
            false => Ok(arguments.clone()),
        };
        if !ask.telemetry {
            add(&self.no_telemetry.arguments, "");
        }
        if !ask.updates {
            add(&self.no_updates.arguments, "");
        }
        add(&mode.arguments, "");
        match ask.session {
            Session::New => {}
            Session::Last => add(&some(&mode.continued, "continue", "go on with its last session")?, ""),
            Session::Named(name) => add(&some(&mode.resume, "resume", "go on with a session that is named")?, name),
        }
        add(if ask.unattended { &mode.unattended } else { &mode.attended }, "");
        if let Some(model) = ask.model {
            add(&some(&mode.model, "model", "be told which model to use")?, model);
        }
        match ask.output {
            Output::Text => {}
            Output::Json => add(&some(&mode.json, "json", "answer in JSON")?, ""),
            Output::StreamJson => add(&some(&mode.stream_json, "stream_json", "tell in JSON what happens")?, ""),
        }
        ask.arguments.iter().for_each(|argument| add(&["{}".to_owned()], argument));
        if let Some(prompt) = ask.prompt {
            add(&some(&mode.prompt, "prompt", "be given a task there")?, prompt);
        }
        Ok(line)
    }

    /// Its variables for this; of two with the same name the later counts.
    #[must_use]
    pub fn variables(&self, ask: &Ask<'_>) -> Vec<(String, String)> {
        let telemetry = (!ask.telemetry).then_some(&self.no_telemetry.environment);
        let updates = (!ask.updates).then_some(&self.no_updates.environment);
        [Some(&self.environment), telemetry, updates].into_iter().flatten().flatten().cloned().collect()
    }

    /// Its first files, by their paths below the home directory: `{workspace}` in them is this directory, as it stands in a
    /// string of JSON, and `{last20 VARIABLE}` the end of what `value` says of that variable.
    #[must_use]
    pub fn first_files(&self, workspace: &Path, value: impl Fn(&str) -> Option<String>) -> Vec<(PathBuf, String)> {
        let workspace = serde_json::Value::from(workspace.to_string_lossy()).to_string();
        let workspace = workspace.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
        let fill = |text: &str| {
            let mut filled = String::new();
            let mut parts = text.split("{last20 ");
            filled.push_str(&parts.next().unwrap_or_default().replace("{workspace}", workspace));
            for part in parts {
                let (name, rest) = part.split_once('}').unwrap_or((part, ""));
                let value = value(name).unwrap_or_default();
                let begin = value.char_indices().rev().nth(19).map_or(0, |(at, _)| at);
                filled.push_str(&value[begin..]);
                filled.push_str(&rest.replace("{workspace}", workspace));
            }
            filled
        };
        self.files.iter().map(|file| (file.path.clone(), fill(&file.text))).collect()
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
