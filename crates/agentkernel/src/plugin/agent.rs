//! What each agent gets, as data: hides where the descriptions lie and what their placeholders mean.

use super::{Edit, PluginError, Scope, file, off::Switches};
use crate::{config::HostFacts, edit::Fault};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Descriptions, by the names of agents.
const EMBEDDED: [(&str, &str); 8] = [
    ("claude", include_str!("data/claude.toml")),
    ("codex", include_str!("data/codex.toml")),
    ("gemini", include_str!("data/gemini.toml")),
    ("opencode", include_str!("data/opencode.toml")),
    ("vscode", include_str!("data/vscode.toml")),
    ("zed", include_str!("data/zed.toml")),
    ("jetbrains", include_str!("data/jetbrains.toml")),
    ("neovim", include_str!("data/neovim.toml")),
];

/// What they give to agents.
const TEXTS: [(&str, &str); 11] = [
    ("skill.md", include_str!("data/skill.md")),
    ("section.md", include_str!("data/section.md")),
    ("sandbox-run.md", include_str!("data/sandbox-run.md")),
    ("sandbox-denials.md", include_str!("data/sandbox-denials.md")),
    ("claude/marketplace.json", include_str!("data/claude/marketplace.json")),
    ("claude/plugin.json", include_str!("data/claude/plugin.json")),
    ("claude/mcp.json", include_str!("data/claude/mcp.json")),
    ("gemini/extension.json", include_str!("data/gemini/extension.json")),
    ("gemini/context.md", include_str!("data/gemini/context.md")),
    ("opencode/plugin.js", include_str!("data/opencode/plugin.js")),
    ("vscode/program.json", include_str!("data/vscode/program.json")),
];

/// The extension of VS Code, by the names of its files.
macro_rules! extension {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../editors/vscode/", $name)))),*]
    };
}

/// What is given as it is.
const FILES: [(&str, &str); 15] = extension![
    "LICENSE",
    "README.md",
    "package.json",
    "schema.json",
    "src/commands.js",
    "src/config.js",
    "src/extension.js",
    "src/program.js",
    "src/records.js",
    "src/sandboxes.js",
    "src/schema.js",
    "src/stream.js",
    "src/terminals.js",
    "src/toml.js",
    "src/tree.js",
];

/// The names of all that can get a plugin.
#[must_use]
pub fn names() -> Vec<&'static str> {
    EMBEDDED.iter().map(|(name, _)| *name).collect()
}

/// An agent, or an editor with one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// What it is called on the command line.
    #[serde(skip)]
    pub name: &'static str,
    /// What its makers call it.
    pub title: String,
    /// What its user has to know.
    note: String,
    /// The same, in a project.
    project_note: Option<String>,
    /// Programs that are there if it is.
    programs: Vec<String>,
    /// Where it keeps what is the user's: the first whose variable is set.
    home: Vec<String>,
    /// Whether it is several that are alike: each of these directories that is there is meant, or the first.
    #[serde(default)]
    family: bool,
    /// What turns off the hook that it gets.
    pub(super) switches: Option<Switches>,
    user: Vec<Part>,
    /// None: its plugins are the user's alone.
    #[serde(default)]
    project: Vec<Part>,
}

/// What it gets in one file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Where: the first that is there, or the last.
    file: Vec<String>,
    /// Whether it is left out where the file is not there.
    #[serde(default)]
    if_there: bool,
    /// Whether the agent takes nothing of a file of JSON with comments or trailing commas in it.
    #[serde(default)]
    strict: bool,
    /// The whole file.
    text: Option<String>,
    /// Whether all files of the extension lie below it, as they are.
    #[serde(default)]
    tree: bool,
    /// A section of it.
    section: Option<String>,
    /// A value of it.
    value: Option<Value>,
    #[serde(default)]
    key: Vec<String>,
    /// Whether it is one of a list.
    #[serde(default)]
    list: bool,
    /// Where in it stands what tells it from all others of the list.
    known_by: Option<String>,
    /// What of its text stands in another one as well that has its place in the list.
    mark: Option<String>,
    /// Tables in it that the agent writes there by itself.
    #[serde(default)]
    added: Vec<String>,
}

/// What an agent gets in one file.
pub(super) struct Target {
    pub(super) path: PathBuf,
    pub(super) edit: Edit,
    /// Whether the file is not made for it.
    pub(super) if_there: bool,
    /// Whether the agent takes nothing of a file with comments or trailing commas in it.
    pub(super) strict: bool,
}

impl Agent {
    /// Of a file with more in it than it reads.
    pub(super) fn takes_nothing(&self, mut fault: Fault) -> Fault {
        fault.cause = format!("{}, with which {} takes nothing of it", fault.cause, self.title);
        fault
    }

    /// The one of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> Result<Self, PluginError> {
        let Some((name, text)) = EMBEDDED.iter().find(|(known, _)| *known == name) else {
            return Err(PluginError::Unknown(name.to_owned()));
        };
        let agent: Self = toml_edit::de::from_str(text)
            .map_err(|error| PluginError::Broken { name, cause: error.message().replace('\n', " ") })?;
        Ok(Self { name, ..agent })
    }

    /// What its user has to know of it.
    #[must_use]
    pub fn note(&self, scope: &Scope) -> &str {
        match (scope, &self.project_note) {
            (Scope::Project(_), Some(note)) => note,
            _ => &self.note,
        }
    }

    /// Whether there is a plugin of it for them.
    #[must_use]
    pub fn has(&self, scope: &Scope) -> bool {
        !self.of(scope).is_empty()
    }

    fn of(&self, scope: &Scope) -> &[Part] {
        match scope {
            Scope::User => &self.user,
            Scope::Project(_) => &self.project,
        }
    }

    /// Whether the user seems to have it.
    pub(super) fn is_here(&self, host: &HostFacts) -> bool {
        let on_path = |program: &String| find_program(host, program).is_some();
        self.programs.iter().any(on_path) || self.homes(host).iter().any(|home| home.is_dir())
    }

    /// Where it keeps what is the user's.
    pub(super) fn homes(&self, host: &HostFacts) -> Vec<PathBuf> {
        let mut homes = self.home.iter().filter_map(|home| {
            let (first, rest) = home.split_once('/').unwrap_or((home, ""));
            let base = match first.strip_prefix('$') {
                Some(variable) => host.var(variable).map(PathBuf::from).filter(|path| path.is_absolute())?,
                None => host.own_home(),
            };
            Some(if rest.is_empty() { base } else { base.join(rest) })
        });
        let first = homes.next();
        let there = || first.iter().cloned().chain(homes).filter(|home| home.is_dir()).collect::<Vec<_>>();
        match if self.family { there() } else { Vec::new() } {
            homes if homes.is_empty() => first.into_iter().collect(),
            homes => homes,
        }
    }

    /// What it gets, by the paths of files.
    pub(super) fn parts(&self, host: &HostFacts, scope: &Scope) -> Result<Vec<Target>, PluginError> {
        let mut homes = self.homes(host);
        if homes.is_empty() {
            homes.push(PathBuf::new());
        }
        if let Scope::Project(_) = scope {
            homes.truncate(1);
        }
        let mut parts = Vec::new();
        for home in homes {
            let words = Words::new(self, host, scope, home)?;
            for part in self.of(scope) {
                part.add(&words, &mut parts)?;
            }
        }
        Ok(parts)
    }
}

impl Part {
    /// Adds what it is to others.
    fn add(&self, words: &Words, parts: &mut Vec<Target>) -> Result<(), PluginError> {
        let (path, if_there, strict) = (self.path(words), self.if_there, self.strict);
        if self.tree {
            let file = |(name, text): (&str, &str)| Target {
                path: path.join(name),
                edit: Edit::File { text: text.to_owned() },
                if_there,
                strict,
            };
            parts.extend(FILES.map(file));
        } else {
            parts.push(Target { path, edit: self.edit(words)?, if_there, strict });
        }
        Ok(())
    }

    fn path(&self, words: &Words) -> PathBuf {
        let paths: Vec<PathBuf> = self.file.iter().map(|file| words.fill(file).into()).collect();
        let there = paths.iter().find(|path| path.symlink_metadata().is_ok());
        there.or(paths.last()).cloned().unwrap_or_default()
    }

    fn edit(&self, words: &Words) -> Result<Edit, PluginError> {
        let text = |name: &String| {
            let found = TEXTS.iter().find(|(known, _)| known == name).map(|(_, text)| *text);
            found.ok_or_else(|| PluginError::Broken { name: words.name, cause: format!("there is no text {name}") })
        };
        Ok(match (&self.text, &self.section, &self.value) {
            (Some(name), None, None) => Edit::File { text: words.fill_text(name, text(name)?) },
            (None, Some(name), None) => Edit::Section { text: words.fill_text(name, text(name)?) },
            (None, None, Some(value)) => {
                let (key, value) = (self.key.clone(), words.fill_value(value));
                let (known_by, mark) = (self.known_by.clone(), self.mark.clone());
                match self.file.iter().all(|file| file.ends_with(".toml")) {
                    true => Edit::Toml { key, value, added: self.added.clone() },
                    false => Edit::Json { key, value, list: self.list, known_by, mark },
                }
            }
            _ => {
                let cause = format!("{}: what it gets is not clear", self.file.join(", "));
                return Err(PluginError::Broken { name: words.name, cause });
            }
        })
    }
}

/// What stands in the place of words in braces.
struct Words {
    name: &'static str,
    words: Vec<(&'static str, String)>,
}

impl Words {
    fn new(agent: &Agent, host: &HostFacts, scope: &Scope, home: PathBuf) -> Result<Self, PluginError> {
        let variable = |name: &str| host.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = variable("XDG_DATA_HOME").unwrap_or_else(|| host.own_home().join(".local/share"));
        let project = match scope {
            Scope::Project(dir) => dir.clone(),
            Scope::User => PathBuf::new(),
        };
        let text = |path: PathBuf| path.into_os_string().into_string().map_err(|path| PluginError::Path(path.into()));
        let command = match scope {
            // Others have the program elsewhere.
            Scope::Project(_) => PROGRAM.to_owned(),
            Scope::User => text(program(host)?)?,
        };
        let words = vec![
            ("{home}", text(home)?),
            ("{user}", text(host.own_home())?),
            ("{data}", text(data.join(PROGRAM))?),
            ("{project}", text(project)?),
            ("{shell command}", wire::shell_word(&command)),
            ("{command}", command),
            ("{version}", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        Ok(Self { name: agent.name, words })
    }

    fn fill(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    /// In JSON and JavaScript, what is put in stands between quotes.
    fn fill_text(&self, name: &str, text: &str) -> String {
        if name.ends_with(".md") {
            return self.fill(text);
        }
        self.words.iter().fold(text.to_owned(), |text, (word, value)| {
            let quoted = Value::from(value.as_str()).to_string();
            text.replace(word, &quoted[1..quoted.len() - 1])
        })
    }

    fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::from(self.fill(text)),
            Value::Array(list) => list.iter().map(|value| self.fill_value(value)).collect(),
            Value::Object(map) => map.iter().map(|(name, value)| (self.fill(name), self.fill_value(value))).collect(),
            other => other.clone(),
        }
    }
}

/// What our own program is called.
pub(super) const PROGRAM: &str = "agentkernel";

/// How agents call this program: by its name if they find it by that, else by its path.
fn program(host: &HostFacts) -> Result<PathBuf, PluginError> {
    let failed = |source| PluginError::Io { verb: "find", path: "/proc/self/exe".into(), source };
    let own = std::env::current_exe().and_then(std::fs::canonicalize).map_err(failed)?;
    match find_program(host, PROGRAM) {
        Some(found) if std::fs::canonicalize(&found).is_ok_and(|found| found == own) => Ok(PROGRAM.into()),
        _ => Ok(own),
    }
}

fn find_program(host: &HostFacts, name: &str) -> Option<PathBuf> {
    let path = host.var("PATH")?;
    let mut places = std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(Path::new(name)));
    places.find(|place| file::is_program(place))
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
