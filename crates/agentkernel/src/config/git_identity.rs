//! Who the caller is to git, in variables: a sandbox has none of his configuration, and some agents let git read none.

use super::{HostFacts, git};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// How deep files may include each other.
const DEEPEST: usize = 8;
/// What git knows of somebody, and the ends of the variables that say it.
const KEYS: [(&str, &str); 2] = [("name", "NAME"), ("email", "EMAIL")];
/// As whom git writes, by the beginnings of these.
const ROLES: [&str; 2] = ["GIT_AUTHOR", "GIT_COMMITTER"];

/// The variables by which git knows the caller: as they are set, else as his own configuration says. What the project's
/// repository says of it itself is left out, which is seen in the sandbox; so are includes that hold under conditions.
#[must_use]
pub fn git_identity(project: &Path, host: &HostFacts) -> Vec<(String, String)> {
    let home = host.own_home();
    let config = host.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.unwrap_or_else(|| home.join(".config"));
    // The later one counts.
    let own = git::SYSTEM.map(PathBuf::from).into_iter().chain([config.join("git/config"), home.join(".gitconfig")]);
    let own: Vec<PathBuf> = own.collect();
    let repository = git::of_repository(git::top(project));
    let mut identity = Vec::new();
    for (key, end) in KEYS {
        let said = said(&own, key, &home).filter(|_| said(&repository, key, &home).is_none());
        for role in ROLES {
            let variable = format!("{role}_{end}");
            let set = host.var(&variable).and_then(OsStr::to_str).map(str::to_owned);
            if let Some(value) = set.or_else(|| said.clone()).filter(|value| !value.trim().is_empty()) {
                identity.push((variable, value));
            }
        }
    }
    identity
}

/// What the last of these files says that says anything.
fn said(files: &[PathBuf], key: &str, home: &Path) -> Option<String> {
    files.iter().rev().find_map(|file| in_file(file, key, home, DEEPEST))
}

fn in_file(file: &Path, key: &str, home: &Path, depth: usize) -> Option<String> {
    let text = git::read(file)?;
    let mut found = None;
    for (section, name, value) in git::variables(&text) {
        match (section.as_slice(), name.as_slice()) {
            (b"user", name) if name == key.as_bytes() => found = String::from_utf8(value).ok(),
            (b"include", b"path") if depth > 0 => {
                let path = Path::new(OsStr::from_bytes(&value));
                let above = file.parent().unwrap_or(file);
                let path = path.strip_prefix("~").map_or_else(|_| above.join(path), |rest| home.join(rest));
                found = in_file(&path, key, home, depth - 1).or(found);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[path = "git_identity_tests.rs"]
mod tests;
