//! Who the caller is to git, in variables: a sandbox has none of his configuration, and some agents let git read none.

use super::{ConfigError, HostFacts, git};
use egress::ssh::Key;
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// How many files are looked at in all, those that are included too: one may include itself.
const MOST: usize = 64;
/// What git knows of somebody, and the ends of the variables that say it.
const KEYS: [(&str, &str); 2] = [("name", "NAME"), ("email", "EMAIL")];
/// As whom git writes, by the beginnings of these.
const ROLES: [&str; 2] = ["GIT_AUTHOR", "GIT_COMMITTER"];

/// The variables by which git knows the caller: as they are set, else as his own configuration says. What the project's
/// repository says of it itself is left out, which is seen in the sandbox; so are includes that hold under conditions.
#[must_use]
pub fn git_identity(project: &Path, host: &HostFacts) -> Vec<(String, String)> {
    let (home, own) = (host.own_home(), own_files(host));
    let repository = git::of_repository(git::top(project));
    let mut identity = Vec::new();
    for (key, end) in KEYS {
        let said = said(&own, ("user", key), &home).filter(|_| said(&repository, ("user", key), &home).is_none());
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

/// The key with which git signs for the caller: SSH's, since no other can be lent.
///
/// # Errors
/// If there is none.
pub(super) fn signing_key(project: &Path, host: &HostFacts) -> Result<Key, ConfigError> {
    const HINT: &str = "git config --global gpg.format ssh; git config --global user.signingKey ~/.ssh/id_ed25519.pub";
    let (home, mut files) = (host.own_home(), own_files(host));
    files.extend(git::of_repository(git::top(project)));
    match said(&files, ("gpg", "format"), &home).as_deref() {
        Some("ssh") => {}
        other => {
            let cause = format!("Git signs with {} and not with ssh", other.unwrap_or("openpgp"));
            return Err(ConfigError::value(cause, HINT));
        }
    }
    let Some(said) = said(&files, ("user", "signingkey"), &home) else {
        return Err(ConfigError::value("Git has no key to sign with: user.signingKey is not set", HINT));
    };
    let written = said.strip_prefix("key::").unwrap_or(&said);
    if let Ok(key) = written.parse() {
        return Ok(key);
    }
    let path = Path::new(written).strip_prefix("~").map_or_else(|_| PathBuf::from(written), |rest| home.join(rest));
    // Where it names the private key, the public one lies beside it.
    let mut beside = path.clone().into_os_string();
    beside.push(".pub");
    let read = |path: &Path| String::from_utf8(git::read(path)?).ok()?.parse().ok();
    [path.as_path(), Path::new(&beside)].into_iter().find_map(read).ok_or_else(|| {
        ConfigError::value(format!("There is no public key of SSH at {}, git's user.signingKey", path.display()), HINT)
    })
}

/// The variables that make git sign with a key that only the agent has.
pub(super) fn signing(key: &Key) -> Vec<(String, String)> {
    let said = [
        ("gpg.format", "ssh".to_owned()),
        ("user.signingKey", format!("key::{key}")),
        ("commit.gpgSign", "true".into()),
    ];
    let numbered = said.into_iter().enumerate().flat_map(|(number, (key, value))| {
        [(format!("GIT_CONFIG_KEY_{number}"), key.to_owned()), (format!("GIT_CONFIG_VALUE_{number}"), value)]
    });
    [("GIT_CONFIG_COUNT".to_owned(), "3".to_owned())].into_iter().chain(numbered).collect()
}

/// The system's files of git's configuration, and the caller's. The later one counts.
fn own_files(host: &HostFacts) -> Vec<PathBuf> {
    let home = host.own_home();
    let config = host.var("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.unwrap_or_else(|| home.join(".config"));
    git::SYSTEM.map(PathBuf::from).into_iter().chain([config.join("git/config"), home.join(".gitconfig")]).collect()
}

/// What the last of these files says that says anything.
fn said(files: &[PathBuf], key: (&str, &str), home: &Path) -> Option<String> {
    let mut left = MOST;
    files.iter().rev().find_map(|file| in_file(file, key, home, &mut left))
}

fn in_file(file: &Path, key: (&str, &str), home: &Path, left: &mut usize) -> Option<String> {
    *left = left.checked_sub(1)?;
    let text = git::read(file)?;
    let mut found = None;
    for (section, name, value) in git::variables(&text) {
        match (section.as_slice(), name.as_slice()) {
            (section, name) if section == key.0.as_bytes() && name == key.1.as_bytes() => {
                found = String::from_utf8(value).ok()
            }
            (b"include", b"path") => {
                let path = Path::new(OsStr::from_bytes(&value));
                let above = file.parent().unwrap_or(file);
                let path = path.strip_prefix("~").map_or_else(|_| above.join(path), |rest| home.join(rest));
                found = in_file(&path, key, home, left).or(found);
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[path = "git_identity_tests.rs"]
mod tests;
