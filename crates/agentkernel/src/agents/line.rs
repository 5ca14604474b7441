//! Hides how what is asked of an agent becomes its command line, its variables and its first files.

use super::adapter::{Adapter, Mode, Template};
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
    /// The project's directory.
    pub workspace: &'a Path,
    /// MCP servers that it is given as an argument, in JSON.
    pub servers: Option<&'a str>,
    /// Further arguments of the agent's own.
    pub arguments: &'a [String],
}

/// A file that an agent finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstFile {
    /// Where, below the home directory.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
    /// Whether it is about what logs in, and so another one when that is.
    pub of_login: bool,
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
        let (table, what) = match ask.way {
            Way::Interactive => ("interactive", "talk to a person"),
            Way::Headless => ("headless", "do a task by itself"),
            Way::Acp => ("acp", "speak the Agent Client Protocol"),
        };
        let cannot = |key: &str, what: &str| CannotError {
            title: self.title.clone(),
            what: what.to_owned(),
            hint: format!("Its adapter has no {key}: 'agentkernel agents show {}' prints it", self.name),
        };
        let mode = self.mode(ask.way).ok_or_else(|| cannot(&format!("[{table}]"), what))?;
        // With a person there it may ask in any case.
        if ask.way == Way::Acp && ask.unattended && mode.unattended.is_empty() && !mode.knows_attendance() {
            return Err(cannot("`unattended` in [acp]", "be told to ask nobody in an editor"));
        }
        let workspace = escaped(ask.workspace);
        let own = mode.command.is_empty();
        let mut line = if own { &self.command } else { &mode.command }.clone();
        let filled = |text: &str, asked: &str| {
            // What is filled in is not looked at again.
            let parts: Vec<String> = text.split("{}").map(|part| part.replace("{workspace}", &workspace)).collect();
            parts.join(asked)
        };
        let mut add = |arguments: &[String], asked: &str| line.extend(arguments.iter().map(|it| filled(it, asked)));
        let some = |arguments: &Vec<String>, key: &str, what: &str| match arguments.is_empty() {
            true => Err(cannot(&format!("`{key}` in [{table}]"), what)),
            false => Ok(arguments.clone()),
        };
        if own && !ask.telemetry {
            add(&self.no_telemetry.arguments, "");
        }
        if own && !ask.updates {
            add(&self.no_updates.arguments, "");
        }
        if let (Some(servers), Some(mcp), true) = (ask.servers, &self.mcp, own) {
            add(&mcp.argument, servers);
        }
        add(&mode.arguments, "");
        match ask.session {
            Session::New => {}
            Session::Last => add(&some(&mode.continued, "continue", "go on with its last session")?, ""),
            Session::Named(name) => add(&some(&mode.resume, "resume", "go on with a session that is named")?, name),
        }
        if !only_tells(ask.arguments) {
            add(if ask.unattended { &mode.unattended } else { &mode.attended }, "");
        }
        if let Some(model) = ask.model {
            add(&some(&mode.model, "model", "be told which model to use")?, model);
        }
        match ask.output {
            Output::Text => {}
            Output::Json => add(&some(&mode.json, "json", "answer in JSON")?, ""),
            Output::StreamJson => add(&some(&mode.stream_json, "stream_json", "tell in JSON what happens")?, ""),
        }
        // As they are, whatever is in them.
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
        let attended = self.mode(ask.way).map(|mode| match ask.unattended {
            true => &mode.unattended_environment,
            false => &mode.attended_environment,
        });
        [Some(&self.environment), telemetry, updates, attended].into_iter().flatten().flatten().cloned().collect()
    }

    /// How it runs in a way, if it does.
    #[must_use]
    pub fn mode(&self, way: Way) -> Option<&Mode> {
        match way {
            Way::Interactive => self.interactive.as_ref(),
            Way::Headless => self.headless.as_ref(),
            Way::Acp => self.acp.as_ref(),
        }
    }

    /// Its first files, by their paths below the home directory: `{workspace}` in them is this directory, as it stands in a
    /// string of JSON, `{value VARIABLE}` what `value` says of that variable, and `{last20 VARIABLE}` the end of that. Those
    /// that depend on a variable only if `has` says that it is there.
    #[must_use]
    pub fn first_files(
        &self,
        workspace: &Path,
        value: impl Fn(&str) -> Option<String>,
        has: impl Fn(&str) -> bool,
    ) -> Vec<FirstFile> {
        let workspace = escaped(workspace);
        let said = |word: &str| match word.split_once(' ') {
            None if word == "workspace" => Some(workspace.clone()),
            Some(("value", name)) => Some(value(name).unwrap_or_default()),
            Some(("last20", name)) => Some(last(&value(name).unwrap_or_default(), 20)),
            _ => None,
        };
        let there = self.files.iter().filter(|file| file.variable.is_empty() || has(&file.variable));
        let file = |file: &Template| FirstFile {
            path: file.path.clone(),
            text: filled(&file.text, said),
            of_login: !file.variable.is_empty(),
        };
        there.map(file).collect()
    }
}

impl Mode {
    /// Whether it asks only where it is told to.
    fn knows_attendance(&self) -> bool {
        !self.attended.is_empty() || !self.attended_environment.is_empty() || !self.unattended_environment.is_empty()
    }
}

/// Whether arguments of an agent's own have it say what it is and do nothing, which needs no login and leaves nothing to ask.
#[must_use]
pub fn only_tells(arguments: &[String]) -> bool {
    matches!(arguments, [only] if only == "--version" || only == "--help")
}

/// A text with something in the place of each word in braces that means something; all others are meant as they are.
fn filled(text: &str, said: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let word = behind.split_once('}').and_then(|(word, after)| Some((said(word)?, after)));
        match word {
            Some((said, after)) => {
                filled.push_str(&said);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = behind;
            }
        }
    }
    filled + rest
}

/// A path as it stands in a string of JSON, and in one of TOML.
fn escaped(path: &Path) -> String {
    let quoted = serde_json::Value::from(path.to_string_lossy()).to_string();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// The last characters of a text.
fn last(text: &str, count: usize) -> String {
    let begin = text.char_indices().rev().nth(count - 1).map_or(0, |(at, _)| at);
    text[begin..].to_owned()
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
