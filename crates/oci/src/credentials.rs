//! Hides where Docker keeps what logs in to registries: its file, or a helper of its own for each.
//!
//! Everything here is a function of bytes. The file is read, and a helper started, by the caller.

use crate::{Reference, text::shown};
use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// The longest file, and the longest answer of a helper.
const MAX_BYTES: usize = 1 << 20;
/// What Docker's file and its helpers call the registry that is meant where none is named.
const DEFAULT_SERVER: &str = "https://index.docker.io/v1/";
/// The user for whom a helper gives an identity token instead of a password.
const TOKEN_USER: &str = "<token>";
/// What a helper says if it knows nothing of a registry (docker-credential-helpers, credentials/error.go).
const UNKNOWN: [&str; 2] = ["credentials not found", "no credentials"];

/// A text that is not shown by accident, and overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What logs in to a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: what is public.
    #[default]
    None,
    /// A user and a password, or what a registry takes for one.
    Basic {
        /// Who.
        user: String,
        /// With which password.
        password: Secret,
    },
    /// What a token server gave at a login, and takes instead of a password.
    IdentityToken(Secret),
    /// A token that goes to the registry as it is.
    RegistryToken(Secret),
}

/// Why credentials cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// More than anything like it has.
    #[error("It has {0} bytes, of which {MAX_BYTES} are allowed")]
    TooLarge(usize),
    /// Not JSON, or not of this shape. What it is quotes nothing: it may hold passwords.
    #[error("It is not as it should be, at line {line}, column {column}")]
    Json {
        /// In which line.
        line: usize,
        /// Where in it.
        column: usize,
    },
    /// A user and a password that are not written as such.
    #[error("The login for '{0}' is not a user and a password in base64")]
    Auth(String),
    /// A helper that would be another program than one of Docker's helpers.
    #[error("'{0}' is not the name of a credential helper")]
    Helper(String),
    /// What a helper says instead of credentials.
    #[error("The credential helper says: {0}")]
    Refused(String),
}

/// Docker's `config.json`, or Podman's `auth.json`.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// Nothing: what is there is no login.
    logins: BTreeMap<String, Option<Credentials>>,
    helpers: BTreeMap<String, Option<String>>,
    store: Option<String>,
}

/// What logs in to one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// These, or nothing.
    Credentials(Credentials),
    /// The entry of this name is there, and no login: [`CredentialsError::Auth`]. It stands in the way of no other registry.
    Broken(String),
    /// A helper knows: `docker-credential-NAME get`, with the server on its standard input.
    Helper {
        /// Its name, letters, digits, `.`, `_` and `-` only.
        name: String,
        /// What it is asked for.
        server: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Written {
    auths: Option<BTreeMap<String, Login>>,
    cred_helpers: Option<BTreeMap<String, String>>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Login {
    auth: Option<Zeroizing<String>>,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    identitytoken: Option<Zeroizing<String>>,
    registrytoken: Option<Zeroizing<String>>,
}

impl DockerConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// [`CredentialsError`] if it is none, or has something in it that cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, CredentialsError> {
        let written: Written = from_json(bytes)?;
        let mut config = Self::default();
        for (server, login) in written.auths.unwrap_or_default() {
            let login = login.read();
            config.logins.insert(server, login);
        }
        for (server, helper) in written.cred_helpers.unwrap_or_default() {
            let helper = Some(helper).filter(|helper| !helper.is_empty());
            config.helpers.insert(server, helper.map(helper_name).transpose()?);
        }
        config.store = written.creds_store.filter(|store| !store.is_empty()).map(helper_name).transpose()?;
        Ok(config)
    }

    /// What logs in where this image is. As Docker has it, a helper for the registry comes before one for all, and that
    /// before the file; as Podman has it, an entry for a part of a registry before one for all of it.
    #[must_use]
    pub fn find(&self, reference: &Reference) -> Found {
        let registry = reference.registry();
        let server = server(reference);
        let helper = |name: &String| Found::Helper { name: name.clone(), server: server.to_owned() };
        let is_for = |key: &str| key == server || host_of(key) == registry;
        let own = self.helpers.iter().find(|(key, _)| is_for(key)).map(|(_, name)| name);
        // Without a name the file is meant, and no helper for all.
        if let Some(name) = own.unwrap_or(&self.store) {
            return helper(name);
        }
        let name = reference.name();
        let mut part = name.as_str();
        loop {
            match self.logins.get(part) {
                None | Some(Some(Credentials::None)) => {}
                Some(Some(login)) => return Found::Credentials(login.clone()),
                Some(None) => return Found::Broken(shown(part)),
            }
            match part.rsplit_once('/') {
                Some((shorter, _)) => part = shorter,
                None => break,
            }
        }
        let login = self.logins.get_key_value(server).or_else(|| {
            // A part of a registry is not the registry.
            let whole = |key: &str| {
                let path = without_scheme(key).split_once('/').map_or("", |(_, path)| path);
                matches!(path.trim_end_matches('/'), "" | "v1" | "v2")
            };
            self.logins.iter().find(|(key, _)| whole(key) && is_for(key))
        });
        match login {
            Some((_, Some(login))) => Found::Credentials(login.clone()),
            Some((key, None)) => Found::Broken(shown(key)),
            None => Found::Credentials(Credentials::None),
        }
    }
}

/// What helpers and the file call the registry of an image.
pub fn server(reference: &Reference) -> &str {
    if reference.registry() == reference.endpoint() { reference.registry() } else { DEFAULT_SERVER }
}

impl Login {
    /// `None` if it is no login.
    fn read(self) -> Option<Credentials> {
        let filled = |text: Option<Zeroizing<String>>| text.filter(|text| !text.is_empty()).map(Secret);
        if let Some(token) = filled(self.identitytoken) {
            return Some(Credentials::IdentityToken(token));
        }
        if let Some(token) = filled(self.registrytoken) {
            return Some(Credentials::RegistryToken(token));
        }
        if let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) {
            // Written with padding by Docker, without by some others.
            let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let decoded = GeneralPurpose::new(&STANDARD, lenient).decode(auth.trim().as_bytes());
            let decoded = Zeroizing::new(decoded.ok()?);
            let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
            // Old versions of Docker filled up with NULs.
            return Some(basic(user, password.trim_end_matches('\0')));
        }
        Some(match (self.username, self.password) {
            (Some(user), Some(password)) if !user.is_empty() => basic(&user, &password),
            _ => Credentials::None,
        })
    }
}

fn basic(user: &str, password: &str) -> Credentials {
    let password = Secret::new(password.to_owned());
    if user == TOKEN_USER {
        return Credentials::IdentityToken(password);
    }
    Credentials::Basic { user: user.to_owned(), password }
}

/// Reads what `docker-credential-NAME get` has written to its standard output; `success` is whether it exited with 0.
///
/// # Errors
/// [`CredentialsError`] if it has failed for another reason than that it knows nothing, or if its answer is none.
pub fn helper_answer(success: bool, output: &[u8]) -> Result<Credentials, CredentialsError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: Zeroizing<String>,
    }
    if !success {
        let text = String::from_utf8_lossy(&output[..output.len().min(MAX_BYTES)]);
        let lower = text.to_lowercase();
        if UNKNOWN.iter().any(|unknown| lower.contains(unknown)) {
            return Ok(Credentials::None);
        }
        return Err(CredentialsError::Refused(shown(text.trim())));
    }
    let answer: Answer = from_json(output)?;
    Ok(basic(&answer.username, &answer.secret))
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CredentialsError> {
    if bytes.len() > MAX_BYTES {
        return Err(CredentialsError::TooLarge(bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| CredentialsError::Json { line: error.line(), column: error.column() })
}

/// The name of a program behind `docker-credential-`: nothing that leads to another directory, or is an option.
fn helper_name(name: String) -> Result<String, CredentialsError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        return Err(CredentialsError::Helper(shown(&name)));
    }
    Ok(name)
}

fn without_scheme(key: &str) -> &str {
    key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key)
}

/// The host in a key, which may be an address of the web.
fn host_of(key: &str) -> &str {
    without_scheme(key).split('/').next().unwrap_or_default()
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
