//! The extension of VS Code: its types, its tests, and whether it can be packaged.

use crate::run;
use anyhow::Result;
use std::process::Command;

/// The oldest Node.js that the packager runs on.
const NODE: u32 = 20;

/// Checks it; gives why that can't be done here.
pub fn main() -> Result<Option<String>> {
    let version = run::capture(run::command("node").arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE) {
        return Ok(Some(format!("there is no Node.js {NODE} or newer")));
    }
    if let Err(error) = run::run(npm().args(["ci", "--loglevel", "error"])) {
        return Ok(Some(format!("what it is checked with could not be fetched: {error}")));
    }
    run::run(npm().args(["run", "check"]))?;
    run::run(npm().args(["test"]))?;
    let package = run::target().join("agentkernel.vsix");
    run::run(npm().args(["run", "package", "--", "--out"]).arg(package))?;
    Ok(None)
}

fn npm() -> Command {
    let mut npm = run::command("npm");
    npm.current_dir(run::root().join("editors/vscode"));
    npm
}
