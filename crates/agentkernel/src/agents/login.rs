//! Hides what of a user's own logs an agent in, and what the sandbox has in its place.

use super::adapter::{Adapter, Credential};
use crate::{
    SecretSource, SecretUse,
    config::{ConfigError, Document, HostFacts, Secrets},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use egress::Rule;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What logs an agent in: one variable, or the fields of one file that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A variable of the user's, or a secret of this name that is recorded.
    Variable {
        /// What the adapter says of it.
        credential: Credential,
        /// Where its value comes from.
        source: SecretSource,
    },
    /// A file of his.
    File {
        /// Where it is.
        path: PathBuf,
        /// What the adapter says of those of its fields that are there.
        credentials: Vec<Credential>,
    },
}

/// What a sandbox has of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lent {
    /// What egress puts in, for whom.
    pub secrets: Vec<SecretUse>,
    /// Files that the agent reads, by their paths below the home directory, with placeholders in them.
    pub files: Vec<(PathBuf, String)>,
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { credential, source: SecretSource::Store } => write!(f, "secret {}", credential.variable),
            Self::Variable { credential, .. } => f.write_str(&credential.variable),
            Self::File { credentials, .. } => f.write_str(&place(&credentials[0])),
        }
    }
}

/// Where a credential is, in words.
fn place(credential: &Credential) -> String {
    match credential.variable.is_empty() {
        true => format!("~/{}", credential.file.display()),
        false => credential.variable.clone(),
    }
}

/// Where what logs an agent in may be, in words, the one that is taken first before the others.
#[must_use]
pub fn accepted(adapter: &Adapter) -> Vec<String> {
    let mut places: Vec<String> = adapter.credentials.iter().map(place).collect();
    places.dedup();
    places
}

/// The first of an agent's credentials that is there.
///
/// # Errors
/// If a file or a recorded secret can't be read.
pub fn find(adapter: &Adapter, host: &HostFacts) -> Result<Option<Login>, ConfigError> {
    let secrets = Secrets::of(host);
    let mut seen: Vec<&Path> = Vec::new();
    for credential in &adapter.credentials {
        if !credential.variable.is_empty() {
            let name = &credential.variable;
            let set = host.var(name).is_some_and(|value| !value.is_empty());
            let source = match secrets.find(name)? {
                Some(_) => SecretSource::Store,
                None if set => SecretSource::Env(name.clone()),
                None => continue,
            };
            return Ok(Some(Login::Variable { credential: credential.clone(), source }));
        }
        if seen.contains(&credential.file.as_path()) {
            continue;
        }
        seen.push(&credential.file);
        let path = host.own_home().join(&credential.file);
        let Some(document) = Document::read(&path)? else { continue };
        let there = |other: &&Credential| other.file == credential.file && document.text(&other.field).is_some();
        let credentials: Vec<Credential> = adapter.credentials.iter().filter(there).cloned().collect();
        if !credentials.is_empty() {
            return Ok(Some(Login::File { path, credentials }));
        }
    }
    Ok(None)
}

impl Lent {
    /// What must be allowed for it: the hosts that it goes to, over TLS.
    #[must_use]
    pub fn allow(&self) -> Vec<Rule> {
        let hosts = self.secrets.iter().flat_map(|secret| &secret.hosts);
        // What is a secret's host is one of a rule too.
        let mut rules: Vec<Rule> = hosts.filter_map(|host| Rule::parse(&format!("{host}:443")).ok()).collect();
        rules.dedup();
        rules
    }
}

impl Login {
    /// What a sandbox has of it: no value that counts, but what `placeholder` says for its name.
    ///
    /// # Errors
    /// If the file can't be read any more.
    pub fn lend(&self, placeholder: impl Fn(&str) -> String) -> Result<Lent, ConfigError> {
        match self {
            Self::Variable { credential, source } => {
                let Credential { variable: name, env, hosts, .. } = credential.clone();
                let placeholder = placeholder(&name);
                let env = Some(if env.is_empty() { name.clone() } else { env });
                let secret = SecretUse { name, source: source.clone(), hosts, placeholder, env, file: None };
                Ok(Lent { secrets: vec![secret], files: Vec::new() })
            }
            Self::File { path, credentials } => {
                let gone = || ConfigError::Io { path: path.clone(), source: std::io::ErrorKind::NotFound.into() };
                let mut document = Document::read(path)?.ok_or_else(gone)?;
                let mut secrets = Vec::new();
                for Credential { field, hosts, jwt, .. } in credentials {
                    let Some(value) = document.text(field) else { continue };
                    let name = field.join("_");
                    let random = placeholder(&name);
                    let placeholder = if *jwt { unsigned(value, &random) } else { random };
                    let source = SecretSource::Field { file: path.clone(), keys: field.clone() };
                    document.put(field, placeholder.clone());
                    let hosts = hosts.clone();
                    secrets.push(SecretUse { name, source, hosts, placeholder, env: None, file: None });
                }
                let file = credentials.first().map(|credential| credential.file.clone()).unwrap_or_default();
                Ok(Lent { secrets, files: vec![(file, document.written())] })
            }
        }
    }
}

/// A token that says the same as this one, and proves nothing (RFC 7519). What is no such token says nothing either.
fn unsigned(token: &str, random: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    match parts[..] {
        [head, claims, _] => format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(random)),
        _ => random.to_owned(),
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
