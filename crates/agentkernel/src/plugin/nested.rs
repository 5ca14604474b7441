//! Skills and commands of subdirectories, which Claude Code takes as well, and in which it runs what stands there as `` !`command` ``
//! itself, on the host: hides how those are found that a sandbox can write.

use crate::config::{HostFacts, Project, protect::BUILT_IN};
use std::path::{Path, PathBuf};

/// Where an agent has them.
const OWN: &str = ".claude";
const PARTS: [&str; 2] = ["skills", "commands"];
/// The most entries that are looked at.
const MOST: usize = 2_000_000;

/// The first of such directories in the project of a working directory, below the project's own, which is protected, as are those that
/// its configuration names; `None` if there is none.
///
/// # Errors
/// Why it is not known, in words.
pub(super) fn open_to_sandboxes(host: &HostFacts, cwd: Option<&Path>) -> Result<Option<PathBuf>, String> {
    let mut host = host.clone();
    if let Some(cwd) = cwd {
        host.cwd = cwd.canonicalize().map_err(|error| format!("{}: {error}", cwd.display()))?;
    }
    let project = Project::find(&host).map_err(|error| wire::cause(&error))?;
    let protected = project.file.as_ref().map(|file| file.protect()).unwrap_or_default();
    let (mut dirs, mut seen) = (vec![PathBuf::new()], 0);
    while let Some(below) = dirs.pop() {
        // What can't be read here, the agent can't read either.
        for entry in std::fs::read_dir(project.dir.join(&below)).into_iter().flatten().flatten() {
            seen += 1;
            if seen > MOST {
                return Err(format!("{} has more in it than is looked at", project.dir.display()));
            }
            let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
            let path = below.join(&name);
            let always = BUILT_IN.iter().map(Path::new);
            let mut protected = always.chain(protected.iter().map(PathBuf::as_path));
            if !(kind.is_dir() || name == OWN) || protected.any(|protected| path.starts_with(protected)) {
                continue;
            }
            // What a link leads to in the project is found there, but what is called so may be one itself.
            let is_own = below.as_os_str().is_empty();
            if name == OWN && !is_own && PARTS.iter().any(|part| entry.path().join(part).is_dir()) {
                return Ok(Some(path));
            }
            if kind.is_dir() {
                dirs.push(path);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "nested_tests.rs"]
mod tests;
