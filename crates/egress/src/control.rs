//! What a supervisor and its egress say to each other. The supervisor is the trusted side; what egress says of itself
//! is shown and recorded, and decides nothing.

use crate::{Policy, Reason, Secret, Target, rule::Pattern, ssh::LentKeys};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// Everything that egress is to know: told as a whole at its start and at every change.
#[derive(Clone, Serialize, Deserialize)]
pub struct Config {
    /// The sandbox's name or id, for commands in messages.
    pub sandbox: String,
    /// What may be reached.
    pub policy: Policy,
    /// What is put in on the way.
    pub secrets: Vec<SecretGrant>,
    /// What keys of the user's ssh-agent may be used for.
    pub lent_keys: LentKeys,
    /// Logins that are renewed here.
    pub logins: Vec<Login>,
    /// Who vouches for servers whose requests are read; none: no request inside of TLS is read.
    pub authority: Option<AuthorityKey>,
    /// How names are looked up.
    pub resolver: Resolver,
    /// Bytes per second in both directions together; none: no limit.
    pub bandwidth: Option<u64>,
    /// Connections per second that may be begun; none: no limit.
    pub connections: Option<u64>,
    /// Tokens of models that may be used; none: no limit.
    pub max_tokens: Option<u64>,
    /// How many of them were used before this egress was started.
    pub used_tokens: u64,
    /// Ports of the sandbox on this host's loopback address.
    pub ports: Vec<Published>,
}

/// A secret, and where it may go.
#[derive(Clone, Serialize, Deserialize)]
pub struct SecretGrant {
    /// What the user calls it.
    pub name: String,
    /// What the sandbox has in its place: at least 128 random bits.
    pub placeholder: String,
    /// What is put in.
    pub value: Secret,
    /// For which hosts.
    pub hosts: Vec<Pattern>,
}

/// A login whose access token is renewed when its time is over (OAuth 2.0, RFC 6749, 6). The token itself is one of the
/// secrets; what renews it is told when it is to be used, and not before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// What the user calls it.
    pub name: String,
    /// What the sandbox has in place of its tokens.
    pub placeholders: Placeholders,
    /// Who renews it, and how it is asked.
    pub endpoint: TokenEndpoint,
    /// What the tokens are for, if that is said.
    pub scope: Option<String>,
    /// When the access token expires, in milliseconds since 1970; none: nobody knows.
    pub expires_ms: Option<u64>,
    /// What a human does when it is not renewed any more, in words.
    pub remedy: String,
}

/// What a sandbox has in place of a login's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placeholders {
    /// Of the access token: that of one of the secrets.
    pub access: String,
    /// Of the refresh token.
    pub refresh: String,
    /// Of the token that says who has logged in, if there is one.
    pub id: Option<String>,
}

/// Who renews a login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEndpoint {
    /// Its server.
    pub target: Target,
    /// Its path there.
    pub path: String,
    /// How requests are written.
    pub encoding: Encoding,
    /// What a request says besides the refresh token.
    pub parameters: Vec<(String, String)>,
}

/// How the body of a request is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As the standard has it: `application/x-www-form-urlencoded`.
    #[default]
    Form,
    /// `application/json`.
    Json,
}

/// What a login has become. Each is visible ASCII, and no longer than [`MAX_TOKEN`].
#[derive(Clone, Serialize, Deserialize)]
pub struct Tokens {
    /// Its access token.
    pub access: Secret,
    /// Its refresh token, if that is another one now.
    pub refresh: Option<Secret>,
    /// Who has logged in, if that is told.
    pub id: Option<Secret>,
    /// When the access token expires, in milliseconds since 1970; none: nobody knows.
    pub expires_ms: Option<u64>,
}

/// The longest token, in bytes: three of them are less than a frame.
pub const MAX_TOKEN: usize = 16 << 10;

/// A certificate authority that lives as long as a sandbox, in memory.
#[derive(Clone, Serialize, Deserialize)]
pub struct AuthorityKey {
    /// Its certificate, PEM.
    pub certificate: String,
    /// Its private key, PKCS #8 DER.
    pub key: Secret,
}

/// What resolv.conf(5) and hosts(5) say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Servers that are asked in turn.
    #[serde(with = "as_text")]
    pub servers: Vec<SocketAddr>,
    /// Names with addresses of their own.
    pub hosts: Vec<(String, IpAddr)>,
}

/// Addresses of sockets as they are written: serde leaves out by which interface a link-local one is reached.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::net::SocketAddr;

    pub(super) fn serialize<S: Serializer>(servers: &[SocketAddr], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(servers.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
        let written = Vec::<String>::deserialize(deserializer)?;
        written.iter().map(|server| server.parse().map_err(D::Error::custom)).collect()
    }
}

/// A port of the sandbox that the host has as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// In the sandbox, on its loopback address.
    pub inside: u16,
    /// On the host, on its loopback address; never 0.
    pub outside: u16,
}

impl fmt::Display for Published {
    /// As it is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { inside, outside } if inside == outside => write!(f, "{inside}"),
            Self { inside, outside } => write!(f, "{inside}:{outside}"),
        }
    }
}

/// Supervisor to egress: the payload of a stream that it opens.
#[derive(Clone, Serialize, Deserialize)]
pub enum Order {
    /// From now on this holds; connections that it does not allow are ended. Answered by one [`Answer`].
    Configure(Box<Config>),
    /// The answer to [`Event::Renewal`] with [`Renewal::Begin`] for the login of this number.
    Leave(u32, Leave),
}

/// Whether a login may be renewed.
#[derive(Clone, Serialize, Deserialize)]
pub enum Leave {
    /// It may, with this refresh token, and nobody else does so until it is told how that ended.
    Renew(Secret),
    /// Somebody else has renewed it.
    Renewed(Tokens),
    /// It may not: why, in words.
    Refused(String),
}

/// The answer to an [`Order`], after which the stream is closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// It was done but for this, in words.
    Failed(String),
}

/// Egress to supervisor, as a message.
#[derive(Clone, Serialize, Deserialize)]
pub enum Event {
    /// Something happened to a flow.
    Flow(FlowEvent),
    /// So many tokens of models were used since the last time.
    Tokens(u64),
    /// No server that is asked for names answers: there may be others by now.
    StaleResolver,
    /// The login of this number is to be renewed, or was.
    Renewal(u32, Renewal),
}

/// How it goes with the renewal of a login.
#[derive(Clone, Serialize, Deserialize)]
pub enum Renewal {
    /// It is time, or its server does not take the access token any more. Answered by a [`Leave`].
    Begin,
    /// These are its tokens now.
    Done(Tokens),
    /// It is what it was.
    Failed,
}

/// What happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowEvent {
    /// Its number, unique in the life of one egress.
    pub flow: u64,
    /// Where it goes.
    pub target: Target,
    /// What happened.
    pub what: What,
}

/// What happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It is allowed, and its name is about to be looked up. One of the others follows.
    Begun,
    /// It was allowed, and is connected.
    Opened {
        /// The rule that allowed it.
        rule: String,
        /// Where to.
        address: SocketAddr,
    },
    /// It, or one request of it, was refused, or failed.
    Refused {
        /// Why.
        reason: Reason,
        /// The rest of the cause, in words; may be empty.
        detail: String,
        /// `GET /path`, if it was one request.
        request: Option<String>,
    },
    /// It is over.
    Closed(Totals),
}

/// What a flow has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Bytes from the sandbox.
    pub sent: u64,
    /// Bytes to the sandbox.
    pub received: u64,
    /// Requests that were read, if any were.
    pub requests: u64,
    /// Tokens of models that their answers told of.
    pub tokens: u64,
    /// How long it lasted, in milliseconds.
    pub duration_ms: u64,
}
