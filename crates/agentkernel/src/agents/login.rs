//! Hides what of a user's own logs an agent in, and what the sandbox has in its place.

use super::{
    adapter::{Adapter, Credential, Plain, Renewal},
    detect::plain_addresses,
};
use crate::{
    LoginUse, SecretSource, SecretUse,
    config::{self, ConfigError, HostFacts, Recorded, Secrets},
    credentials::Document,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use egress::{
    Requests, Rule,
    control::{Login as Renewed, Placeholders, TokenEndpoint},
    token_expiry,
};
use http::Uri;
use serde_json::Value;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// How long what the sandbox has says that it is valid, so that the agent renews nothing by itself, in seconds: less than
/// timers of JavaScript can hold.
const VALID: u64 = 20 * 24 * 60 * 60;
/// The same where a token itself says it, which can't be changed later.
const TOKEN_VALID: u64 = 10 * 365 * 24 * 60 * 60;

/// What logs an agent in: one variable, or the fields of one file that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A variable of the user's, or a secret of this name that is recorded.
    Variable {
        /// What the adapter says of it.
        credential: Credential,
        /// Where its value comes from.
        source: SecretSource,
        /// The variable that a recorded secret is taken from, if that is not set.
        unset: Option<String>,
    },
    /// A file of his.
    File {
        /// Where it is.
        path: PathBuf,
        /// What the adapter says of those of its fields that are there.
        credentials: Vec<Credential>,
        /// What it says of how they are renewed.
        renewals: Vec<Renewal>,
        /// What it says of what stands beside them.
        plain: Vec<Plain>,
        /// What a human does when they are not any more.
        remedy: String,
    },
}

/// What a sandbox has of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lent {
    /// What egress puts in, for whom.
    pub secrets: Vec<SecretUse>,
    /// Those of them that egress renews.
    pub logins: Vec<LoginUse>,
    /// Files that the agent reads, by their paths below the home directory, with placeholders in them.
    pub files: Vec<(PathBuf, String)>,
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable { credential, source: SecretSource::Store, unset } => {
                write!(f, "secret {}", credential.variable)?;
                unset.as_ref().map_or(Ok(()), |unset| write!(f, " ({unset} is not set)"))
            }
            login => f.write_str(&login.place()),
        }
    }
}

/// A host that something logs in to, where the adapter knows others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which.
    pub host: String,
    /// The user's variable that says so.
    pub address: String,
    /// The variable in which the agent takes it.
    pub secret: String,
    /// Arguments of `run` by which the agent goes there, the last, as a shell has them.
    pub given: String,
}

impl Login {
    /// Where it is: one of what is [`accepted`].
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Variable { credential, .. } => place(credential),
            Self::File { credentials, .. } => credentials.first().map(place).unwrap_or_default(),
        }
    }

    /// Where the user's variable is for, if its hosts are others.
    #[must_use]
    pub fn elsewhere(&self, host: &HostFacts) -> Option<Elsewhere> {
        let Self::Variable { credential, source: SecretSource::Env(_), .. } = self else { return None };
        let Credential { variable, env, address, address_arguments, hosts, .. } = credential;
        let said = host.var(address).filter(|said| !address.is_empty() && !said.is_empty())?.to_string_lossy();
        let uri: Option<Uri> = said.trim().parse().ok();
        // What is no address is not theirs either.
        let named =
            uri.and_then(|uri| uri.host().map(str::to_ascii_lowercase)).unwrap_or_else(|| said.clone().into_owned());
        let is_its = hosts.iter().any(|pattern| pattern.to_string() == named);
        let given = match address_arguments.as_slice() {
            [] => format!("-e {address}"),
            arguments => {
                // Who reads it may be another.
                let plain = plain_addresses(said.trim()).into_iter().next().unwrap_or_else(|| said.trim().to_owned());
                let words: Vec<_> = arguments.iter().map(|it| wire::shell_word(&it.replace("{}", &plain))).collect();
                format!("-- {}", words.join(" "))
            }
        };
        let secret = if env.is_empty() { variable } else { env }.clone();
        (!is_its).then(|| Elsewhere { host: named, address: address.clone(), secret, given })
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

/// The first of an agent's credentials that is there; all, the first before the others, if it works with several services.
///
/// # Errors
/// If a file or a recorded secret can't be read.
pub fn find(adapter: &Adapter, host: &HostFacts) -> Result<Vec<Login>, ConfigError> {
    let secrets = Secrets::of(host);
    let mut found = Vec::new();
    let mut seen: Vec<&Path> = Vec::new();
    for credential in &adapter.credentials {
        if !found.is_empty() && !adapter.every_login {
            break;
        }
        if !credential.variable.is_empty() {
            let name = &credential.variable;
            let set = host.var(name).is_some_and(|value| !value.is_empty());
            let (source, unset) = match secrets.find(name)? {
                Some(Recorded { source: SecretSource::Env(from), .. }) => {
                    (SecretSource::Store, host.var(&from).is_none().then_some(from))
                }
                Some(_) => (SecretSource::Store, None),
                None if set => (SecretSource::Env(name.clone()), None),
                None => continue,
            };
            found.push(Login::Variable { credential: credential.clone(), source, unset });
            continue;
        }
        if seen.contains(&credential.file.as_path()) {
            continue;
        }
        seen.push(&credential.file);
        let path = adapter.outside(host, &host.own_home(), &credential.file);
        let Some(document) = config::read_document(&path)? else { continue };
        let there = |other: &&Credential| other.file == credential.file && document.text(&other.field).is_some();
        let credentials: Vec<Credential> = adapter.credentials.iter().filter(there).cloned().collect();
        if !credentials.is_empty() {
            let renewed = |renewal: &&Renewal| {
                renewal.file == credential.file
                    && credentials.iter().any(|credential| credential.field == renewal.fields.access)
            };
            let renewals = adapter.renewals.iter().filter(renewed).cloned().collect();
            let plain = adapter.plain.iter().filter(|plain| plain.file == credential.file).cloned().collect();
            found.push(Login::File { path, credentials, renewals, plain, remedy: remedy(adapter) });
        }
    }
    Ok(found)
}

/// Services that a file of several is about, and that nothing of is lent, with the file; for an agent that works with several.
#[must_use]
pub fn not_lent(adapter: &Adapter, host: &HostFacts) -> Option<(PathBuf, Vec<String>)> {
    let of_files = adapter.credentials.iter().filter(|credential| credential.field.len() > 1 && adapter.every_login);
    let mut files: Vec<&Path> = of_files.map(|credential| credential.file.as_path()).collect();
    files.dedup();
    files.into_iter().find_map(|file| {
        let document = config::read_document(&adapter.outside(host, &host.own_home(), file)).ok()??;
        let is_lent = |service: &String| {
            let mut known =
                adapter.credentials.iter().filter(|it| it.file == file && it.field.first() == Some(service));
            known.any(|credential| document.text(&credential.field).is_some())
        };
        let services: Vec<String> = document.tables().into_iter().filter(|service| !is_lent(service)).collect();
        (!services.is_empty()).then(|| (file.to_owned(), services))
    })
}

/// The services of such files that are lent.
#[must_use]
pub fn services(adapter: &Adapter) -> Vec<&str> {
    let fields = adapter.credentials.iter().filter(|credential| credential.field.len() > 1);
    let mut services: Vec<&str> =
        fields.filter_map(|credential| credential.field.first()).map(String::as_str).collect();
    services.sort_unstable();
    services.dedup();
    services
}

/// The first of its variables that the user has set in settings of the agent's own, and where: it stays outside.
#[must_use]
pub fn in_settings(adapter: &Adapter, host: &HostFacts) -> Option<(PathBuf, String)> {
    adapter.home.config.iter().find_map(|below| {
        let document = config::read_document(&adapter.outside(host, &host.own_home(), below)).ok()??;
        let has = |credential: &&Credential| {
            !credential.variable.is_empty() && document.text(&["env".to_owned(), credential.variable.clone()]).is_some()
        };
        adapter.credentials.iter().find(has).map(|credential| (below.clone(), credential.variable.clone()))
    })
}

/// What a human does to log in, in words.
#[must_use]
pub fn remedy(adapter: &Adapter) -> String {
    let Adapter { name, login, .. } = adapter;
    match login.is_empty() {
        true => format!("log in with a key by `agentkernel agents login {name}`"),
        false => format!("log in with `{login}` on the host, or with a key by `agentkernel agents login {name}`"),
    }
}

impl Lent {
    /// What a sandbox has of several logins.
    ///
    /// # Errors
    /// If a file can't be read any more.
    pub fn of(logins: &[Login], placeholder: impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        logins.iter().try_fold(Self::default(), |mut lent, login| {
            let Self { secrets, logins, files } = login.lend(&placeholder)?;
            lent.secrets.extend(secrets);
            lent.logins.extend(logins);
            lent.files.extend(files);
            Ok(lent)
        })
    }

    /// What must be allowed for it: the hosts that it goes to, over TLS; and of those that renew it nothing else.
    #[must_use]
    pub fn allow(&self) -> Vec<Rule> {
        let hosts = self.secrets.iter().flat_map(|secret| &secret.hosts);
        // What is a secret's host is one of a rule too.
        let mut rules: Vec<Rule> = hosts.filter_map(|host| Rule::parse(&format!("{host}:443")).ok()).collect();
        for LoginUse { login: Renewed { endpoint: TokenEndpoint { target, path, .. }, .. }, .. } in &self.logins {
            let requests = Requests { methods: vec!["POST".to_owned()], paths: vec![path.clone()] };
            rules.extend(Rule::parse(&target.to_string()).map(|rule| Rule { requests, ..rule }));
        }
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
            Self::Variable { credential, source, .. } => {
                let Credential { variable: name, env, hosts, .. } = credential.clone();
                let placeholder = placeholder(&name);
                let env = Some(if env.is_empty() { name.clone() } else { env });
                let secret = SecretUse { name, source: source.clone(), hosts, placeholder, env, file: None };
                Ok(Lent { secrets: vec![secret], ..Lent::default() })
            }
            Self::File { path, credentials, renewals, plain, remedy } => {
                lend_file(path, credentials, renewals, plain, remedy, placeholder)
            }
        }
    }

    /// When it expires, in milliseconds since 1970, and whether it is renewed by then; `None` if that is not known.
    ///
    /// # Errors
    /// If its file can't be read any more.
    pub fn valid_until(&self) -> Result<Option<(u64, bool)>, ConfigError> {
        let Self::File { path, credentials, renewals, .. } = self else { return Ok(None) };
        let Some(document) = config::read_document(path)? else { return Ok(None) };
        let renewal = renewals.first();
        let told = renewal.and_then(|renewal| document.number(&renewal.fields.expires));
        let field = renewal.map(|renewal| &renewal.fields.access).or(credentials.first().map(|it| &it.field));
        let says = || token_expiry(document.text(field?)?.as_bytes());
        let renewed = renewal.is_some_and(|renewal| document.text(&renewal.fields.refresh).is_some());
        Ok(told.or_else(says).map(|time| (time, renewed)))
    }
}

fn lend_file(
    path: &Path,
    credentials: &[Credential],
    renewals: &[Renewal],
    plain: &[Plain],
    remedy: &str,
    placeholder: impl Fn(&str) -> String,
) -> Result<Lent, ConfigError> {
    let io = |source| ConfigError::Io { path: path.into(), source };
    // Where links lead now is where it is renewed, wherever they lead then.
    let real = path.canonicalize().map_err(io)?;
    let gone = || io(rustix::io::Errno::NOENT.into());
    let mut document = config::read_document(&real)?.ok_or_else(gone)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut secrets = Vec::new();
    // What the sandbox sees of it: nothing that nobody has named, which might be another login.
    let mut shown: Vec<&[String]> = Vec::new();
    let mut below = None;
    let replaced = |document: &mut Document, field: &[String], jwt: bool| {
        let value = document.text(field)?;
        let random = placeholder(&field.join("_"));
        let placeholder = if jwt { unsigned(&value, &random, now) } else { random };
        document.put(field, &Value::from(placeholder.as_str()));
        Some(placeholder)
    };
    for Credential { file, field, hosts, jwt, env, .. } in credentials {
        let Some(placeholder) = replaced(&mut document, field, *jwt) else { continue };
        let env = Some(env.clone()).filter(|env| !env.is_empty());
        if env.is_none() {
            shown.push(field);
            below = Some(file.clone());
        }
        let source = SecretSource::Field { file: real.clone(), keys: field.clone() };
        let (name, hosts) = (field.join("_"), hosts.clone());
        secrets.push(SecretUse { name, source, hosts, placeholder, env, file: None });
    }
    let mut logins = Vec::new();
    for Renewal { file, fields, scope, endpoint, encoding, parameters } in renewals {
        shown.extend([&fields.expires[..], &fields.renewed, scope]);
        // It is among them by its place.
        let is_access =
            |secret: &&SecretUse| matches!(&secret.source, SecretSource::Field { keys, .. } if *keys == fields.access);
        let (Some(access), Some((target, place))) = (secrets.iter().find(is_access), endpoint) else { continue };
        let access = access.placeholder.clone();
        let id = replaced(&mut document, &fields.id, true);
        shown.extend(id.is_some().then_some(&fields.id[..]));
        let Some(refresh) = replaced(&mut document, &fields.refresh, false) else { continue };
        shown.push(&fields.refresh);
        let scope = document.words(scope);
        document.put(&fields.expires, &Value::from((now + VALID) * 1000));
        document.put(&fields.renewed, &Value::from(wire::rfc3339(now as i64)));
        let login = Renewed {
            name: format!("the login of ~/{}", file.display()),
            placeholders: Placeholders { access, refresh, id },
            endpoint: TokenEndpoint {
                target: target.clone(),
                path: place.clone(),
                encoding: *encoding,
                parameters: parameters.clone(),
            },
            scope,
            expires_ms: None,
            remedy: remedy.to_owned(),
        };
        logins.push(LoginUse { login, file: real.clone(), fields: fields.clone() });
    }
    // Beside a placeholder, or above one: another login's kind is of no use without it.
    let beside = |field: &&[String]| {
        let place = field.split_last().map_or(field as &[String], |(_, place)| place);
        credentials.iter().any(|credential| credential.field.starts_with(place))
    };
    shown.extend(plain.iter().map(|plain| &plain.field[..]).filter(beside));
    let mut inside = Value::Object(serde_json::Map::new());
    for field in shown {
        if let Some(value) = document.value(field) {
            place_in(&mut inside, field, value);
        }
    }
    Ok(Lent { secrets, logins, files: below.map(|below| (below, inside.to_string())).into_iter().collect() })
}

/// Puts a value where these keys lead, with the objects on the way.
fn place_in(object: &mut Value, keys: &[String], value: Value) {
    let Some((last, way)) = keys.split_last() else { return };
    let mut object = object;
    for key in way {
        if !object[key.as_str()].is_object() {
            object[key.as_str()] = Value::Object(serde_json::Map::new());
        }
        object = &mut object[key.as_str()];
    }
    object[last.as_str()] = value;
}

/// A token that says the same as this one, but that it is valid for years, and proves nothing (RFC 7519). What is no such
/// token says nothing either.
fn unsigned(token: &str, random: &str, now: u64) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, _] = parts[..] else { return random.to_owned() };
    let read = || serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok();
    let claims = match read() {
        Some(mut told) if told.get("exp").is_some() => {
            told["exp"] = (now + TOKEN_VALID).into();
            URL_SAFE_NO_PAD.encode(told.to_string())
        }
        _ => claims.to_owned(),
    };
    format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(random))
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
