//! What others publish, brought once and kept for the runs that follow.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The folder that a command has filled, below one that outlives the run (`CARGO_TARGET_TMPDIR`). Tests that ask for
/// the same at once wait for the first, and none sees a folder half full; another command has another folder.
///
/// `None` if it could not be filled, which is counted and named as `what`.
pub fn fetched(below: &str, what: &str, fetch: &mut Command) -> Option<PathBuf> {
    let mut hash = DefaultHasher::new();
    (fetch.get_program(), fetch.get_args().collect::<Vec<_>>()).hash(&mut hash);
    let folder = Path::new(below).join(format!("fetched-{:016x}", hash.finish()));
    let why = match fill(&folder, fetch) {
        Ok(None) => return Some(folder),
        Ok(Some(output)) => format!("it could not be fetched ({})", output.status),
        Err(error) => format!("{} could not fetch it: {error}", fetch.get_program().display()),
    };
    super::skipped(what, &why);
    None
}

/// The official client of the Agent Client Protocol for TypeScript, and terminals for it beside it.
///
/// # Panics
/// If those can't be written.
#[must_use]
pub fn acp_client(below: &str) -> Option<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "@agentclientprotocol/sdk@2.4.0"]);
    let folder = fetched(below, "the client of ACP (npm)", &mut npm)?;
    // Others may be reading it.
    let part = folder.join(format!("terminals-{}", std::process::id()));
    fs::write(&part, include_str!("terminals.mjs")).unwrap();
    fs::rename(part, folder.join("terminals.mjs")).unwrap();
    Some(folder)
}

/// What the command said, if it failed.
fn fill(folder: &Path, fetch: &mut Command) -> io::Result<Option<Output>> {
    fs::create_dir_all(folder.parent().unwrap())?;
    let lock = fs::File::create(folder.with_extension("lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if folder.exists() {
        return Ok(None);
    }
    let part = folder.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir(&part)?;
    let output = fetch.current_dir(&part).output()?;
    if !output.status.success() {
        return Ok(Some(output));
    }
    fs::rename(&part, folder)?;
    Ok(None)
}
