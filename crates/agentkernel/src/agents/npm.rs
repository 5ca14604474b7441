//! Hides how the registry of npm's packages is found, and what logs in there: its own configuration says, or npm itself.

use super::{
    packages::{self, Registry, RegistryUnknown},
    program,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci::credentials::{Credentials, Secret};
use std::{env, path::PathBuf};

/// Where everybody's configuration is.
const GLOBAL: [&str; 3] = ["/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"];

/// The registry that npm would use for a package. What a project says does not count.
///
/// # Errors
/// [`RegistryUnknown`]
pub fn registry(package: &str) -> Result<Registry, RegistryUnknown> {
    let files = files();
    let variable = |name: &str| env::var(name).ok();
    let named =
        |(name, _): &(std::ffi::OsString, _)| name.to_string_lossy().eq_ignore_ascii_case("npm_config_registry");
    let set = env::vars_os().find(named).and_then(|(_, value)| value.into_string().ok());
    let found = address(package, set, &files, variable).or_else(ask);
    let address = packages::address("npm", found.as_deref())?;
    let credentials = credentials(&address, &files, variable);
    Ok(Registry { address, credentials })
}

/// What is set: for the package's scope, in the environment, for all.
fn address(
    package: &str,
    set: Option<String>,
    files: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let in_files = |key: &str| Some(expanded(&files.iter().find_map(|text| value(text, key))?, &variable));
    let of_scope = package.split_once('/').and_then(|(scope, _)| in_files(&format!("{scope}:registry")));
    of_scope.or(set).or_else(|| in_files("registry"))
}

/// What logs in to a registry: npm looks for it by the address without its scheme, and then by what that begins with, up to
/// the host (npm-registry-fetch).
fn credentials(address: &str, files: &[String], variable: impl Fn(&str) -> Option<String>) -> Credentials {
    let Some((_, place)) = address.split_once(':') else { return Credentials::None };
    let mut place = place;
    loop {
        let of = |key: &str| {
            let found = files.iter().find_map(|text| value(text, &format!("{place}:{key}")))?;
            Some(expanded(&found, &variable))
        };
        if let Some(token) = of("_authToken") {
            return Credentials::RegistryToken(Secret::new(token));
        }
        let both = of("_auth").and_then(|both| {
            decoded(&both)?.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
        });
        let apart = || Some((of("username")?, decoded(&of("_password")?)?));
        if let Some((user, password)) = both.or_else(apart) {
            return Credentials::Basic { user, password: Secret::new(password) };
        }
        // `//host/path/` is below `//host/`, and that below nothing.
        match place.trim_end_matches('/').rsplit_once('/') {
            Some((above, _)) if above.len() > 2 => place = &place[..=above.len()],
            _ => return Credentials::None,
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// A value with `${NAME}` in it. What is not set stays as it is, as with npm.
fn expanded(text: &str, variable: impl Fn(&str) -> Option<String>) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else { break };
        filled.push_str(before);
        filled.push_str(&variable(name).unwrap_or_else(|| format!("${{{name}}}")));
        rest = after;
    }
    filled + rest
}

/// The user's configuration, and then everybody's.
fn files() -> Vec<String> {
    let set = env::vars_os().find(|(name, _)| name.to_string_lossy().eq_ignore_ascii_case("npm_config_userconfig"));
    let own =
        set.map(|(_, path)| PathBuf::from(path)).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".npmrc")));
    own.into_iter().chain(GLOBAL.map(PathBuf::from)).filter_map(|path| packages::read(&path)).collect()
}

/// The last value of a key (npmrc(5)).
fn value(text: &str, key: &str) -> Option<String> {
    let line = |line: &str| {
        // The value may have more of them: base64 ends with some.
        let (name, value) = line.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        (name.trim() == key && !value.is_empty()).then(|| value.to_owned())
    };
    text.lines().filter_map(line).next_back()
}

/// What npm itself says, if it is there.
fn ask() -> Option<String> {
    let answer = program::answer("npm", &["config", "get", "registry"])?;
    let answer = answer.trim();
    (!answer.contains(char::is_whitespace)).then(|| answer.to_owned())
}

#[cfg(test)]
#[path = "npm_tests.rs"]
mod tests;
