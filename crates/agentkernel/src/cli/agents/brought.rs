//! Hides what of the user's own comes along with an agent: where it is, and that nothing of it logs in.

use super::super::Failure;
use crate::{
    agents::{Adapter, Form, servers, without_credentials},
    config::HostFacts,
    workspace::AgentHome,
};
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// The longest settings that are read, in bytes: an agent's own state, which may be among them, has some hundred kilobytes.
const MAX: u64 = 32 << 20;

/// What comes along.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Where it is, and where it goes below the home directory.
    pub(super) places: Vec<(PathBuf, PathBuf)>,
    /// The same of copies.
    pub(super) copies: Vec<(PathBuf, PathBuf)>,
    /// MCP servers that the agent is given as an argument, in JSON.
    pub(super) servers: Option<String>,
    /// What was left out of it: file, and keys in it.
    pub(super) left_out: Vec<String>,
}

impl Brought {
    /// Of an agent's user.
    pub(super) fn of(adapter: &Adapter, home: &AgentHome, host: &HostFacts, project: &Path) -> Result<Self, Failure> {
        let own = host.own_home();
        let crate::agents::Home { config, memory, skills, state } = &adapter.home;
        let mut all = Self::default();
        for below in config.iter().chain(memory).chain(skills) {
            let is_kept = state.iter().any(|place| below.starts_with(place));
            // Where they are is for the user to say, by links too; what leads nowhere, or to all, does not come along.
            let there = std::fs::canonicalize(own.join(below)).ok().filter(|path| !own.starts_with(path));
            let kind =
                there.as_ref().and_then(|path| path.metadata().ok()).filter(|meta| meta.is_dir() || meta.is_file());
            let Some((path, is_directory)) = there.zip(kind.map(|kind| kind.is_dir())) else {
                if is_kept {
                    home.uncover(below);
                }
                continue;
            };
            if is_kept {
                home.cover(below, is_directory)?;
            }
            if !is_directory && config.contains(below) {
                all.settings(adapter, home, path, below)?;
            } else {
                all.places.push((path, below.clone()));
            }
        }
        all.servers(adapter, &own, project);
        Ok(all)
    }

    /// Settings come along as they are, or as a copy without what logs in; an empty one, if nobody can tell what does.
    fn settings(&mut self, adapter: &Adapter, home: &AgentHome, path: PathBuf, below: &Path) -> Result<(), Failure> {
        let form = match path.extension().and_then(|end| end.to_str()) {
            Some("json" | "jsonc") => Some(Form::Json),
            Some("toml") => Some(Form::Toml),
            _ => None,
        };
        let reference = adapter.mcp.as_ref().map_or("", |mcp| &mcp.reference);
        let looked_at = form.map(|form| read(&path).and_then(|text| without_credentials(&text, form, reference)));
        let text = match looked_at {
            Some(Ok(settings)) if !settings.left_out.is_empty() => {
                let named = settings.left_out.iter().map(|keys| format!("{keys} in ~/{}", below.display()));
                self.left_out.extend(named);
                settings.text
            }
            None | Some(Ok(_)) => {
                self.places.push((path, below.to_owned()));
                return Ok(());
            }
            Some(Err(cause)) => {
                self.left_out.push(format!("~/{} ({cause})", below.display()));
                String::new()
            }
        };
        self.copies.push((home.copy(below, &text)?, below.to_owned()));
        Ok(())
    }

    /// MCP servers of a file that does not come along itself.
    fn servers(&mut self, adapter: &Adapter, own: &Path, project: &Path) {
        let Some(mcp) = adapter.mcp.as_ref().filter(|mcp| !mcp.argument.is_empty()) else { return };
        let Ok(text) = read(&own.join(&mcp.file)) else { return };
        let project = project.to_string_lossy();
        let local: Vec<String> = mcp.local.iter().map(|key| key.replace("{workspace}", &project)).collect();
        match servers(&text, &mcp.key, &local)
            .map(|found| found.map(|found| without_credentials(&found, Form::Json, &mcp.reference)).transpose())
        {
            Ok(Ok(Some(found))) => {
                let named = found.left_out.iter().map(|keys| format!("{keys} in ~/{}", mcp.file.display()));
                self.left_out.extend(named);
                self.servers = Some(found.text);
            }
            Ok(Ok(None)) => {}
            Ok(Err(cause)) | Err(cause) => {
                self.left_out.push(format!("MCP servers of ~/{} ({cause})", mcp.file.display()));
            }
        }
    }
}

/// The text of a regular file.
fn read(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    if !path.metadata().map_err(failed)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX + 1).read_to_string(&mut text)).map_err(failed)?;
    if text.len() as u64 > MAX { Err("it is too long".to_owned()) } else { Ok(text) }
}
