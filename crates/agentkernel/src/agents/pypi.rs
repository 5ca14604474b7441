//! Hides how the index of Python's packages is found, and what logs in there: pip's own configuration says, or pip itself.

use super::{
    packages::{self, Registry, RegistryUnknown},
    program,
};
use oci::credentials::{Credentials, Secret};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The sections that count for whoever installs, the first before the other.
const SECTIONS: [&str; 2] = ["install", "global"];
/// What stands before the address in what pip says of itself.
const SAID: [&str; 2] = ["--index-url", "(default"];

/// The index that pip would use. What a project says does not count.
///
/// # Errors
/// [`RegistryUnknown`]
pub fn index() -> Result<Registry, RegistryUnknown> {
    let set = env::var("PIP_INDEX_URL").ok().filter(|set| !set.is_empty());
    let found = set.or_else(|| value(&files())).or_else(ask);
    registry(found.as_deref())
}

/// A registry of this address, which may have in it who logs in there.
fn registry(found: Option<&str>) -> Result<Registry, RegistryUnknown> {
    let address = packages::address("pip", found)?;
    // There is a slash at its end.
    let (scheme, rest) = address.split_once("://").unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or_default();
    let Some((login, host)) = host.rsplit_once('@') else {
        return Ok(Registry { address, credentials: Credentials::None });
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let credentials = Credentials::Basic { user: user.to_owned(), password: Secret::new(password.to_owned()) };
    Ok(Registry { address: format!("{scheme}://{host}/{path}"), credentials })
}

/// What pip reads, the more important before the others (pip's `configuration.py`).
fn files() -> Vec<String> {
    let of = |variable: &str| env::var_os(variable).filter(|set| !set.is_empty()).map(PathBuf::from);
    let home = of("HOME");
    let named = of("PIP_CONFIG_FILE");
    let mut places: Vec<PathBuf> = named.iter().cloned().collect();
    // Whoever names a file has no other of his own; and none at all if it is no file.
    if !named.as_ref().is_some_and(|named| named.try_exists().unwrap_or(true)) {
        places.extend(
            of("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config"))).map(|dir| dir.join("pip/pip.conf")),
        );
        places.extend(home.map(|home| home.join(".pip/pip.conf")));
    }
    if named.as_deref() != Some(Path::new("/dev/null")) {
        places.extend(["/etc/pip.conf", "/etc/xdg/pip/pip.conf"].map(PathBuf::from));
    }
    places.iter().filter_map(|path| packages::read(path)).collect()
}

/// The address that files name.
fn value(files: &[String]) -> Option<String> {
    SECTIONS.iter().find_map(|section| files.iter().find_map(|text| in_section(text, section)))
}

/// The last value in a section of a file, as Python's `configparser` reads it.
fn in_section(text: &str, section: &str) -> Option<String> {
    let mut here = false;
    let mut found = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            here = name == section;
        } else if let Some((name, value)) = line.split_once(['=', ':']).filter(|_| here) {
            let name = name.trim().to_ascii_lowercase().replace('_', "-");
            if name == "index-url" && !value.trim().is_empty() {
                found = Some(value.trim().to_owned());
            }
        }
    }
    found
}

/// What pip itself says, if it is there: which address it would use if it is not told another.
fn ask() -> Option<String> {
    ["pip3", "pip"].iter().find_map(|name| told(&program::answer(name, &["install", "--help"])?))
}

fn told(help: &str) -> Option<String> {
    let rest = SAID.iter().try_fold(help, |rest, word| rest.split_once(word).map(|(_, rest)| rest))?;
    let address = rest.split_whitespace().next()?.trim_end_matches(['.', ')']);
    Some(address.to_owned())
}

#[cfg(test)]
#[path = "pypi_tests.rs"]
mod tests;
