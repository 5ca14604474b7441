//! Hides nothing: everything that a client is told, since it looks at no file and no variable itself.

use crate::Credentials;
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

/// Everything that a client goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificates of those who may vouch for any server, in DER. What is no certificate is left out.
    pub roots: Vec<Vec<u8>>,
    /// What is special about a registry or a mirror, by `HOST[:PORT]` as [`crate::Reference::registry`] has it.
    pub registries: BTreeMap<String, Registry>,
    /// How names become addresses.
    pub resolver: Resolver,
    /// What the client calls itself.
    pub user_agent: String,
    /// How long it waits.
    pub timeouts: Timeouts,
    /// How often it tries again.
    pub retries: Retries,
    /// How many blobs travel at once.
    pub parallel: usize,
    /// Blobs of more bytes are pushed in parts of so many, if some; else each in one request.
    pub chunk: Option<u32>,
}

impl Settings {
    /// The usual: nobody is trusted, nothing special about any registry.
    #[must_use]
    pub fn new(resolver: Resolver) -> Self {
        Self {
            roots: Vec::new(),
            registries: BTreeMap::new(),
            resolver,
            user_agent: concat!("agentkernel/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            parallel: 4,
            chunk: None,
        }
    }
}

/// What is special about a registry or a mirror. Each needs TLS with a certificate of an authority that is trusted; only a
/// loopback address that speaks none is spoken to in clear: nobody is in between.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// What logs in.
    pub credentials: Credentials,
    /// The certificates of those who may vouch for it besides the roots, in DER.
    pub authorities: Vec<Vec<u8>>,
    /// Where else its images are, asked in this order before it is itself. Nothing is pushed there.
    pub mirrors: Vec<Mirror>,
}

/// Another registry that has the images of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its `HOST[:PORT]`.
    pub host: String,
    /// What stands before a repository's name there, such as `proxy/hub`; may be empty.
    pub prefix: String,
}

/// How long a client waits.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, with TLS.
    pub connect: Duration,
    /// For the head of an answer.
    pub answer: Duration,
    /// For the next byte.
    pub stall: Duration,
    /// For `least` bytes: who sends fewer has broken off, however steadily.
    pub window: Duration,
    /// The fewest bytes that come in such a time.
    pub least: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            window: Duration::from_secs(60),
            least: 60 << 10,
        }
    }
}

/// How often a client tries again what may work the next time.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// How often in a row without getting on.
    pub count: u32,
    /// How long it waits before the first, twice as long before each other.
    pub pause: Duration,
    /// How long at most, by its own reckoning.
    pub longest: Duration,
    /// How long at most if the server asks for it. If it asks for more, it is not tried again.
    pub obeyed: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            count: 5,
            pause: Duration::from_millis(300),
            longest: Duration::from_secs(10),
            obeyed: Duration::from_secs(90),
        }
    }
}

/// The addresses of a host, sooner or later.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// How names become addresses. Addresses and `localhost` need no name server and are not asked for.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(&str) -> Lookup + Send + Sync>);

impl Resolver {
    /// Asks this function. No address at all means that there is no such host.
    pub fn new(look_up: impl Fn(&str) -> Lookup + Send + Sync + 'static) -> Self {
        Self(Arc::new(look_up))
    }

    /// Knows these and no others.
    #[must_use]
    pub fn fixed(hosts: BTreeMap<String, Vec<IpAddr>>) -> Self {
        Self::new(move |name| {
            let found = hosts.get(name).cloned().unwrap_or_default();
            Box::pin(std::future::ready(Ok(found)))
        })
    }

    /// The addresses of a host in lower case, an IPv6 address in brackets.
    pub(super) async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(address) = address(host) {
            return Ok(vec![address]);
        }
        // Whatever a file or a server says (RFC 6761, 6.3).
        if is_localhost(host) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        (self.0)(host).await
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// A host that is an address.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether a host is this machine, without asking anybody.
pub(super) fn is_loopback(host: &str) -> bool {
    is_localhost(host) || address(host).is_some_and(|address| address.to_canonical().is_loopback())
}
