//! Hides the ways in which talking to a registry fails: each is told in words, with what can be done about it.

use crate::{Digest, Platform, manifest::ManifestError, text::shown};
use http::StatusCode;
use serde::Deserialize;
use std::{io, time::Duration};

/// Why something did not come from a registry, or did not get there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// TLS cannot be spoken at all, or a header of our own is none.
    #[error("The settings cannot be used: {0}")]
    Settings(String),
    /// The name of the host has no addresses.
    #[error("There is no host '{0}'")]
    NoSuchHost(String),
    /// Nobody knows whether it has.
    #[error("The address of '{host}' cannot be looked up")]
    Lookup {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers there.
    #[error("'{host}' cannot be reached")]
    Connect {
        /// Which host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its certificate is of nobody that is trusted.
    #[error("The certificate of '{0}' is of an authority that is not trusted")]
    UnknownAuthority(String),
    /// Its certificate is for another host, or no longer valid.
    #[error("The certificate of '{host}' is not valid: {why}")]
    Certificate {
        /// Which host.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// No TLS is spoken there, or not so that we understand it.
    #[error("TLS with '{host}' failed: {why}")]
    Tls {
        /// Which host.
        host: String,
        /// What happened.
        why: String,
    },
    /// Too long without an answer.
    #[error("'{host}' has not answered for {seconds} seconds")]
    TimedOut {
        /// Which host.
        host: String,
        /// How long.
        seconds: u64,
    },
    /// The connection ended too early.
    #[error("The connection to '{host}' broke: {why}")]
    Broken {
        /// Which host.
        host: String,
        /// What happened.
        why: String,
    },
    /// What came is no answer of a registry.
    #[error("'{host}' does not answer as a registry does: {why}")]
    Protocol {
        /// Which host.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody may do this without logging in, or not with this login.
    #[error("'{host}' wants a login{}", behind(.said))]
    Unauthorized {
        /// The registry.
        host: String,
        /// The registry's own words, which may be none.
        said: String,
        /// Whether there was one.
        logged_in: bool,
    },
    /// This login may not do this.
    #[error("'{host}' does not allow it{}", behind(.said))]
    Denied {
        /// The registry.
        host: String,
        /// The registry's own words, which may be none.
        said: String,
        /// Whether there was a login.
        logged_in: bool,
    },
    /// There is no such thing.
    #[error("'{host}' has no {what}{}", behind(.said))]
    NotFound {
        /// The registry.
        host: String,
        /// What was asked for.
        what: String,
        /// The registry's own words, which may be none.
        said: String,
    },
    /// Too much was asked for.
    #[error("'{host}' allows no more requests for now{}", behind(.said))]
    RateLimited {
        /// The registry.
        host: String,
        /// How long it wants us to wait.
        wait: Option<Duration>,
        /// The registry's own words, which may be none.
        said: String,
        /// Whether there was a login.
        logged_in: bool,
    },
    /// Another answer than one that we can use.
    #[error("'{host}' answers {status}{}", behind(.said))]
    Status {
        /// The registry.
        host: String,
        /// The answer.
        status: StatusCode,
        /// How long it wants us to wait.
        wait: Option<Duration>,
        /// The registry's own words, which may be none.
        said: String,
    },
    /// It leads elsewhere in a way that is not followed.
    #[error("'{host}' leads {whither}, which is not followed")]
    Redirect {
        /// The registry.
        host: String,
        /// Where, and why not.
        whither: String,
    },
    /// What is asked for logins is not to be trusted with them, or not understood.
    #[error("The login at '{host}' failed: {why}")]
    Login {
        /// The registry.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// More than anything like it has.
    #[error("'{host}' sends more than {limit} bytes for {what}")]
    TooLarge {
        /// The registry.
        host: String,
        /// For what.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// Other contents than those that were asked for.
    #[error("What came from '{host}' is {found}, not {expected}")]
    Digest {
        /// The registry.
        host: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// More bytes, or fewer, than were asked for.
    #[error("'{host}' has {found} bytes of {digest}, not {expected}")]
    Size {
        /// The registry.
        host: String,
        /// What was asked for.
        digest: Digest,
        /// How many bytes it has.
        expected: u64,
        /// How many the registry would send.
        found: u64,
    },
    /// The image is not for this platform.
    #[error("The image is not there for {wanted}, but for {}", list(.there))]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        there: Vec<Platform>,
    },
    /// An index leads to an index and so on.
    #[error("The index leads to too many others")]
    TooDeep,
    /// The manifest cannot be used.
    #[error("The image cannot be used")]
    Manifest(#[from] ManifestError),
    /// What came cannot be put where it belongs.
    #[error("What came cannot be written")]
    Write(#[source] io::Error),
    /// What goes to the registry cannot be read.
    #[error("What is to be pushed cannot be read")]
    Read(#[source] io::Error),
    /// What is to be pushed is not what it was called.
    #[error("What is to be pushed has changed: it is not {0}")]
    Changed(Digest),
}

/// A registry's own words behind ours.
fn behind(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

fn list(platforms: &[Platform]) -> String {
    let shown: Vec<String> = platforms.iter().take(16).map(ToString::to_string).collect();
    match platforms.len() {
        0 => "nothing that runs".to_owned(),
        1..=16 => shown.join(", "),
        more => format!("{} and {} others", shown.join(", "), more - 16),
    }
}

impl RegistryError {
    /// What the user can do about it; empty if that is plain.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unauthorized { host, logged_in: false, .. } | Self::Denied { host, logged_in: false, .. } => {
                format!("Check the image's name; if it is private, log in: agentkernel image login {host}")
            }
            Self::Unauthorized { host, logged_in: true, .. } => {
                format!("The login is wrong, or no longer valid: agentkernel image login {host}")
            }
            Self::Denied { logged_in: true, .. } => {
                "Check the image's name, and what this login may do there".to_owned()
            }
            Self::NotFound { .. } => "Check the image's name and its tag".to_owned(),
            Self::RateLimited { host, logged_in: false, .. } => {
                format!("Wait for a while, or log in, which allows more: agentkernel image login {host}")
            }
            Self::RateLimited { logged_in: true, .. } => "Wait for a while, or use a mirror".to_owned(),
            Self::UnknownAuthority(host) => {
                format!(
                    "If you know who runs '{host}', put its authority's certificate into ~/.docker/certs.d/{host}/ca.crt"
                )
            }
            Self::Certificate { .. } => "Check the name of the registry and this machine's clock".to_owned(),
            Self::Tls { .. } => "Only a registry on a loopback address may speak without TLS".to_owned(),
            Self::NoSuchHost(_) => "Check the name of the registry".to_owned(),
            Self::Platform { .. } => {
                "`--platform` of `image pull` and `image build` takes one of those; it does not run here".to_owned()
            }
            Self::Digest { .. } | Self::Size { .. } => {
                "Somebody or something on the way changes what the registry sends; nothing of it was used".to_owned()
            }
            _ => String::new(),
        }
    }

    /// Whether it may work the next time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Lookup { .. } | Self::Connect { .. } | Self::TimedOut { .. } | Self::Broken { .. } => true,
            Self::RateLimited { .. } => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// How long the server wants us to wait.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { wait, .. } | Self::Status { wait, .. } => *wait,
            _ => None,
        }
    }

    /// Whether no other mirror would make it better.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Write(_) | Self::Read(_) | Self::Settings(_) | Self::Changed(_))
    }
}

/// The words of a registry in the body of an error: its codes and messages, or nothing if it is none of those.
pub(super) fn words(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Entry>,
        // What token servers say (RFC 6749, 5.2), and some of those before registries.
        #[serde(default)]
        details: Option<String>,
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        error_description: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return String::new() };
    let words: Vec<String> = body
        .errors
        .iter()
        .take(3)
        .map(|entry| [entry.code.as_str(), entry.message.as_str()])
        .map(|parts| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "))
        .filter(|words| !words.is_empty())
        .collect();
    let other =
        [body.details, body.message, body.error_description].into_iter().flatten().find(|text| !text.is_empty());
    let text = if words.is_empty() { other.unwrap_or_default() } else { words.join("; ") };
    crate::text::cut(text.trim(), 300)
}

/// A host as it may be shown.
pub(super) fn host(text: &str) -> String {
    shown(text)
}
