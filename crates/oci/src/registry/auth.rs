//! Hides how registries are logged in to: what they ask for, and the tokens that are got for it and used until they
//! expire (the distribution specification's token authentication).

use super::{
    Client,
    connect::Answer,
    error::{RegistryError, words},
    url::{Origin, Url, encoded},
};
use crate::{Credentials, text::shown};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The longest answer of a token server.
const MAX_TOKEN: u64 = 256 << 10;
/// How long a token is good if its server does not say.
const USUAL: u64 = 60;
/// How long a token is used at most, whatever its server says.
const LONGEST: u64 = 24 * 3600;
/// How much earlier it is not used any more: it takes a while to get there.
const EARLIER: Duration = Duration::from_secs(2);

/// What a registry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password.
    Basic,
    /// A token.
    Bearer {
        /// Where it is to be had.
        realm: String,
        /// For whom it is.
        service: Option<String>,
        /// What it must allow.
        scopes: Vec<String>,
    },
}

/// What is known about logging in, by registry and what is to be done there.
#[derive(Default)]
pub(super) struct Logins {
    known: Mutex<HashMap<Key, Known>>,
    /// One at a time: whoever else needs the same token waits for it.
    fetching: tokio::sync::Mutex<()>,
}

/// The host of a registry and the scopes that are needed.
type Key = (String, Vec<String>);

#[derive(Clone)]
struct Known {
    header: HeaderValue,
    until: Option<Instant>,
    challenge: Challenge,
}

impl Logins {
    fn locked(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// What to send with a request to a registry that has asked for it before.
    pub(super) async fn authorization(
        &self,
        host: &str,
        origin: &Origin,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let key = (host.to_owned(), scopes.to_vec());
        let Some(known) = self.logins.locked().get(&key).cloned() else { return Ok(None) };
        if known.until.is_none_or(|until| Instant::now() < until) {
            return Ok(Some(known.header));
        }
        self.log_in(host, origin, scopes, known.challenge, Some(&known.header)).await.map(Some)
    }

    /// Makes known what logs in to a server that does not ask for it, but hides what needs it.
    pub(super) fn introduce(&self, host: &str) -> Result<(), RegistryError> {
        let (header, challenge) = match self.credentials(host) {
            Credentials::RegistryToken(token) => {
                let challenge = Challenge::Bearer { realm: String::new(), service: None, scopes: Vec::new() };
                (bearer(host, token.expose())?, challenge)
            }
            Credentials::Basic { user, password } => (basic(host, user, password.expose())?, Challenge::Basic),
            Credentials::IdentityToken(_) | Credentials::None => return Ok(()),
        };
        let known = Known { header, until: None, challenge };
        self.logins.locked().insert((host.to_owned(), Vec::new()), known);
        Ok(())
    }

    /// Gets what the registry asks for. `used` has not been good enough.
    pub(super) async fn log_in(
        &self,
        host: &str,
        origin: &Origin,
        scopes: &[String],
        challenge: Challenge,
        used: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let key = (host.to_owned(), scopes.to_vec());
        let _only = self.logins.fetching.lock().await;
        let meanwhile = self.logins.locked().get(&key).cloned();
        if let Some(known) = meanwhile
            && Some(&known.header) != used
            && known.until.is_none_or(|until| Instant::now() < until)
        {
            return Ok(known.header);
        }
        let (header, until) = match (&challenge, self.credentials(host)) {
            (_, Credentials::RegistryToken(token)) => (bearer(host, token.expose())?, None),
            (Challenge::Basic, Credentials::Basic { user, password }) => (basic(host, user, password.expose())?, None),
            (Challenge::Basic, Credentials::IdentityToken(_)) => {
                let why = "it wants a password, and there is only an identity token".to_owned();
                return Err(RegistryError::Login { host: host.to_owned(), why });
            }
            (Challenge::Basic, Credentials::None) => {
                return Err(RegistryError::Unauthorized {
                    host: host.to_owned(),
                    said: String::new(),
                    logged_in: false,
                });
            }
            (Challenge::Bearer { realm, service, scopes: asked }, credentials) => {
                let scopes = union(scopes, asked);
                let (token, lifetime) =
                    self.token(host, origin, realm, service.as_deref(), &scopes, credentials).await?;
                let lifetime = lifetime.saturating_sub(EARLIER.min(lifetime / 4));
                (bearer(host, &token)?, Some(Instant::now() + lifetime))
            }
        };
        self.logins.locked().insert(key, Known { header: header.clone(), until, challenge });
        Ok(header)
    }

    /// A token, and how long it is good.
    async fn token(
        &self,
        host: &str,
        origin: &Origin,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
        credentials: &Credentials,
    ) -> Result<(Zeroizing<String>, Duration), RegistryError> {
        let failed = |why: String| RegistryError::Login { host: host.to_owned(), why };
        let mut url = Url::parse(realm).ok_or_else(|| failed(format!("'{}' is no token server", shown(realm))))?;
        // What logs in goes over no line that anybody can listen at, unless the registry itself is on such a line.
        if !url.origin.https && origin.https {
            return Err(failed(format!("its token server {} speaks no TLS", url.shown())));
        }
        if url.origin != *origin {
            self.pool.may_lead(origin, &url.origin).await?;
        }
        self.pool.trust_for(origin, &url.origin);
        let (mut method, mut body, mut headers) = (Method::GET, Bytes::new(), HeaderMap::new());
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Credentials::IdentityToken(token) = credentials {
            // The token server's dialect of OAuth 2.
            method = Method::POST;
            let mut form = Zeroizing::new(format!(
                "grant_type=refresh_token&client_id=agentkernel&refresh_token={}",
                encoded(token.expose())
            ));
            for (name, value) in [("service", service.unwrap_or_default()), ("scope", &scopes.join(" "))] {
                form.push_str(&format!("&{name}={}", encoded(value)));
            }
            body = Bytes::copy_from_slice(form.as_bytes());
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        } else {
            if let Some(service) = service {
                url = url.with("service", service);
            }
            for scope in scopes {
                url = url.with("scope", scope);
            }
            if let Credentials::Basic { user, password } = credentials {
                url = url.with("account", user);
                headers.insert(header::AUTHORIZATION, basic(host, user, password.expose())?);
            }
        }
        // Whoever needs the token tries again from the beginning.
        let answer = self.ask_for_token(host, &url, &method, &headers, &body).await?;
        read_token(&answer).ok_or_else(|| failed("the token server's answer has no token".to_owned()))
    }

    async fn ask_for_token(
        &self,
        host: &str,
        url: &Url,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Zeroizing<Vec<u8>>, RegistryError> {
        let answer = self.send(url, method, headers, super::full(body)).await?;
        let status = answer.status;
        if status.is_success() {
            return answer.bytes(&self.pool, "a token", MAX_TOKEN).await.map(Zeroizing::new);
        }
        if status.is_redirection() {
            let whither = "from the token server elsewhere".to_owned();
            return Err(RegistryError::Redirect { host: host.to_owned(), whither });
        }
        if status.as_u16() == 400 {
            let body = answer.bytes(&self.pool, "an error", super::MAX_ERROR).await.unwrap_or_default();
            let why = format!("the token server answers {status} {}", words(&body)).trim_end().to_owned();
            return Err(RegistryError::Login { host: host.to_owned(), why });
        }
        Err(self.failed_at(host, "a token", answer).await)
    }

    /// What logs in to a host.
    pub(super) fn credentials(&self, host: &str) -> &Credentials {
        self.settings.registries.get(host).map_or(&Credentials::None, |registry| &registry.credentials)
    }
}

/// Our scopes, and what else the registry asks for.
fn union(own: &[String], asked: &[String]) -> Vec<String> {
    // `repository:NAME:pull`: the last part is what is to be done.
    let resource = |scope: &str| scope.rsplit_once(':').map_or(scope, |(resource, _)| resource).to_owned();
    let mut scopes = own.to_vec();
    for scope in asked {
        if !own.iter().any(|known| resource(known) == resource(scope)) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

fn read_token(answer: &[u8]) -> Option<(Zeroizing<String>, Duration)> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<Zeroizing<String>>,
        access_token: Option<Zeroizing<String>>,
        expires_in: Option<f64>,
    }
    let token: Token = serde_json::from_slice(answer).ok()?;
    let seconds = token.expires_in.map_or(USUAL, |seconds| seconds as u64).min(LONGEST);
    let token = token.token.filter(|token| !token.is_empty()).or(token.access_token)?;
    (!token.is_empty()).then_some((token, Duration::from_secs(seconds)))
}

fn sensitive(host: &str, text: &str) -> Result<HeaderValue, RegistryError> {
    let wrong =
        |_| RegistryError::Login { host: host.to_owned(), why: "what logs in is no text of one line".to_owned() };
    let mut value = HeaderValue::from_str(text).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic(host: &str, user: &str, password: &str) -> Result<HeaderValue, RegistryError> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    sensitive(host, &Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
}

fn bearer(host: &str, token: &str) -> Result<HeaderValue, RegistryError> {
    sensitive(host, &Zeroizing::new(format!("Bearer {token}")))
}

/// What an answer 401 asks for; tokens before passwords.
pub(super) fn challenge(answer: &Answer) -> Option<Challenge> {
    let mut found = None;
    for value in answer.headers.get_all(header::WWW_AUTHENTICATE) {
        for challenge in value.to_str().map(parse).unwrap_or_default() {
            if found.is_none() || matches!(challenge, Challenge::Bearer { .. }) {
                found = Some(challenge);
            }
        }
    }
    found
}

/// The challenges of a `WWW-Authenticate` (RFC 9110, 11.6.1) that we can answer.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scheme = String::new();
    let mut parameters: HashMap<String, String> = HashMap::new();
    let mut finish = |scheme: &str, parameters: &mut HashMap<String, String>| {
        if scheme.eq_ignore_ascii_case("basic") {
            challenges.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameters.remove("realm")
        {
            let scope = parameters.remove("scope").unwrap_or_default();
            let scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
            challenges.push(Challenge::Bearer { realm, service: parameters.remove("service"), scopes });
        }
        parameters.clear();
    };
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        if end == 0 {
            break;
        }
        let (word, behind) = rest.split_at(end);
        let value = behind.trim_start_matches([' ', '\t']);
        if let Some(value) = value.strip_prefix('=').filter(|_| !scheme.is_empty()) {
            let (value, behind) = value_of(value.trim_start_matches([' ', '\t']));
            parameters.entry(word.to_ascii_lowercase()).or_insert(value);
            rest = behind;
        } else {
            finish(&scheme, &mut parameters);
            scheme = word.to_owned();
            rest = behind;
        }
    }
    finish(&scheme, &mut parameters);
    challenges
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A word, or a text in quotes, and what is behind it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
