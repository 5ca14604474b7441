//! What a supervisor and its egress say to each other. The supervisor is the trusted side; what egress says of itself
//! is shown and recorded, and decides nothing.

use crate::{Policy, Reason, Secret, Target, rule::Pattern};
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Something happened to a flow.
    Flow(FlowEvent),
    /// So many tokens of models were used since the last time.
    Tokens(u64),
    /// No server that is asked for names answers: there may be others by now.
    StaleResolver,
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
