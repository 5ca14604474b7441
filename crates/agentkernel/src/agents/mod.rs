//! Agents as data: hides where the adapters of agents lie, what stands in them, and where their packages come from.

mod adapter;
mod calls;
mod detect;
mod hooks;
mod line;
pub mod login;
mod npm;
mod packages;
mod preset;
mod program;
mod pypi;
mod schema;
mod settings;
mod yaml;

pub use adapter::{
    Adapter, Beneath, Credential, Elsewhere, Home, Libc, Mcp, Mode, Needs, NotFor, Package, Plain, Preset, Reached,
    Renewal, Switch, Template, Unset, Wheel, Wish, integrity, is_version,
};
pub use hooks::{Guard, fetched, guards};
pub use line::{Ask, CannotError, FirstFile, Output, Session, Way, only_tells};
pub use npm::registry;
pub use packages::{Registry, RegistryUnknown};
pub use preset::{Given, preset, unset, without_empty};
pub use pypi::index;
pub use schema::reference;
pub use settings::{Form, Settings, servers, without_credentials};

use crate::{
    config::{self, ConfigError, HostFacts, Project, ProjectFile, UserConfig},
    walk::{Links, Writable},
};
use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Adapters that come with the program, by the names of agents.
const EMBEDDED: [(&str, &str); 12] = [
    ("aider", include_str!("data/aider.toml")),
    ("amp", include_str!("data/amp.toml")),
    ("claude", include_str!("data/claude.toml")),
    ("claude-acp", include_str!("data/claude-acp.toml")),
    ("codex", include_str!("data/codex.toml")),
    ("codex-acp", include_str!("data/codex-acp.toml")),
    ("copilot", include_str!("data/copilot.toml")),
    ("crush", include_str!("data/crush.toml")),
    ("gemini", include_str!("data/gemini.toml")),
    ("opencode", include_str!("data/opencode.toml")),
    ("qwen", include_str!("data/qwen.toml")),
    ("shell", include_str!("data/shell.toml")),
];

/// Where a project has adapters of its own.
const OF_PROJECT: &str = ".agentkernel/agents";

/// An adapter, and where it is from.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says.
    pub adapter: Adapter,
    /// Its text.
    pub text: String,
    /// Its file in the project, which the user may not trust.
    pub of_project: Option<ProjectFile>,
}

/// An agent that nobody knows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Nobody knows an agent of this name.
    #[error("No agent is called {}", config::quoted(.name.as_ref()))]
    Unknown {
        /// Which.
        name: String,
        /// Those that are known.
        names: Vec<String>,
    },
    /// An adapter is not one, or can't be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl AgentError {
    /// What its user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Config(error) => error.hint(),
            Self::Unknown { name, names } => match nearest(name, names) {
                Some(near) => format!("Did you mean '{near}'? 'agentkernel agents' lists them"),
                None => format!("Known are {}; './FILE.toml' names a file of yours", names.join(", ")),
            },
        }
    }
}

/// Adapters: those of the project before the user's own, and these before those that come with the program.
#[derive(Clone, Debug)]
pub struct Adapters {
    project_dir: PathBuf,
    project: PathBuf,
    user: PathBuf,
    host: HostFacts,
}

impl Adapters {
    /// Those of the caller, in this project.
    #[must_use]
    pub fn of(host: &HostFacts, project: &Project) -> Self {
        let user = UserConfig::dir(host).join("agents");
        Self { project_dir: project.dir.clone(), project: project.dir.join(OF_PROJECT), user, host: host.clone() }
    }

    /// The names of all.
    ///
    /// # Errors
    /// If a folder can't be read.
    pub fn names(&self) -> Result<BTreeSet<String>, ConfigError> {
        let mut names: BTreeSet<String> = EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect();
        names.extend(in_folder(&self.user)?);
        names.extend(in_folder(&self.project)?);
        Ok(names)
    }

    /// Those of the project, for whoever is to trust them.
    ///
    /// # Errors
    /// If one can't be read or is none.
    pub fn of_project(&self) -> Result<Vec<ProjectFile>, AgentError> {
        let found = in_folder(&self.project)?.into_iter().map(|name| Ok(self.find(&name)?.of_project));
        Ok(found.collect::<Result<Vec<_>, AgentError>>()?.into_iter().flatten().collect())
    }

    /// The one that is meant: by its name, or by the path of its file.
    ///
    /// # Errors
    /// [`AgentError`]
    pub fn find(&self, text: &str) -> Result<Found, AgentError> {
        if text.contains('/') {
            let path = self.host.cwd.join(text);
            let missing = || ConfigError::Io { path: text.into(), source: rustix::io::Errno::NOENT.into() };
            let written = config::read_by_path(&path)?.ok_or_else(missing)?;
            // What runs in the project may have written it, or put a link to it there.
            let of_project = || Some(ProjectFile::other(self.in_project(Path::new(text))?, written.clone()));
            return Ok(Found::new(Path::new(text), written.clone(), of_project())?);
        }
        let file = format!("{text}.toml");
        let in_project = self.project.join(&file);
        // What can't be a name is not looked for: it might lead elsewhere.
        if is_name(text) {
            if let Some(written) = config::read_of_project(&in_project)? {
                let own = ProjectFile::other(in_project.clone(), written.clone());
                return Ok(Found::new(&in_project, written, Some(own))?.called(text, &in_project)?);
            }
            let path = self.user.join(&file);
            if let Some(written) = config::read_of_user(&path, self.host.uid)? {
                return Ok(Found::new(&path, written, None)?.called(text, &path)?);
            }
        }
        if let Some((_, written)) = EMBEDDED.iter().find(|(name, _)| *name == text) {
            return Ok(Found::new(Path::new(&file), (*written).to_owned(), None)?);
        }
        Err(AgentError::Unknown { name: text.to_owned(), names: self.names()?.into_iter().collect() })
    }

    /// A file's path without links, if it lies in the project, or if a name in the project leads to it.
    fn in_project(&self, path: &Path) -> Option<PathBuf> {
        let project = self.project_dir.canonicalize().ok()?;
        // Where the caller stands decides nothing.
        let path = self.host.cwd.canonicalize().ok()?.join(path);
        let entry = Writable::of(std::slice::from_ref(&project), Links::Followed).entry(&path, true).ok()?;
        let real = entry.path().ok()?;
        (entry.passes || real.starts_with(&project)).then_some(real)
    }
}

impl Found {
    fn new(path: &Path, text: String, of_project: Option<ProjectFile>) -> Result<Self, ConfigError> {
        Ok(Self { adapter: Adapter::parse(path, &text)?, text, of_project })
    }

    /// Itself, if it has the name of its file.
    fn called(self, name: &str, path: &Path) -> Result<Self, ConfigError> {
        if self.adapter.name == name {
            return Ok(self);
        }
        let cause = format!("{}: `name` is '{}'", path.display(), self.adapter.name);
        let hint = format!("Call the file '{}.toml', or the agent '{name}'", self.adapter.name);
        Err(ConfigError::Value { cause, hint })
    }
}

/// The name that is most like what was typed, if any is: also as its makers call the package, or the product.
#[must_use]
pub fn nearest<'a>(typed: &str, names: &'a [String]) -> Option<&'a str> {
    const ENDS: [&str; 4] = ["-ai", "-agent", "-cli", "-code"];
    let short = || ENDS.iter().find_map(|end| typed.strip_suffix(end));
    let named = |short: &str| names.iter().map(String::as_str).find(|name| *name == short);
    short().and_then(named).or_else(|| config::nearest(typed, names.iter().map(String::as_str)))
}

/// Whether an agent can be called this.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The names of adapters in a folder.
fn in_folder(folder: &Path) -> Result<Vec<String>, ConfigError> {
    let failed = |source| ConfigError::Io { path: folder.into(), source };
    let entries = match std::fs::read_dir(folder) {
        // A sandbox puts a socket in the place of a folder that there is not.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        names.extend(
            name.to_str().and_then(|name| name.strip_suffix(".toml")).filter(|name| is_name(name)).map(str::to_owned),
        );
    }
    Ok(names)
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
