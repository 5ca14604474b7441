//! Agents as data: hides where the adapters of agents lie, what stands in them, and where their packages come from.

mod adapter;
mod npm;

pub use adapter::{Adapter, AdapterError, Package};
pub use npm::{RegistryUnknown, registry};

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Adapters that come with the program.
const EMBEDDED: [&str; 6] = [
    include_str!("data/claude.toml"),
    include_str!("data/codex.toml"),
    include_str!("data/copilot.toml"),
    include_str!("data/gemini.toml"),
    include_str!("data/opencode.toml"),
    include_str!("data/qwen.toml"),
];

/// All adapters of a user: his own in `dir`, and those that come with the program and have not the name of one of his, in the
/// order of their names.
///
/// # Errors
/// [`AdapterError`] of the first of his that is not one.
pub fn all(dir: &Path) -> Result<Vec<Adapter>, AdapterError> {
    let mut found = own(dir)?;
    for text in EMBEDDED {
        let adapter = Adapter::parse(text, Path::new("(built in)"))?;
        if !found.iter().any(|own: &Adapter| own.name == adapter.name) {
            found.push(adapter);
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The user's own: `NAME.toml`.
fn own(dir: &Path) -> Result<Vec<Adapter>, AdapterError> {
    let failed = |source| AdapterError::Io { path: dir.into(), source };
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.iter().map(|path| Adapter::read(path)).collect()
}

/// The one that is meant: by its name, or by the path of its file.
///
/// # Errors
/// [`AdapterError`]
pub fn find(text: &str, dir: &Path) -> Result<Adapter, AdapterError> {
    if text.contains('/') {
        return Adapter::read(&PathBuf::from(text));
    }
    let all = all(dir)?;
    let names: Vec<String> = all.iter().map(|adapter| adapter.name.clone()).collect();
    let found = all.into_iter().find(|adapter| adapter.name == text);
    found.ok_or_else(|| AdapterError::Unknown { name: text.into(), names })
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
