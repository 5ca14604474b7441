//! Hides connections: addresses, TLS, which version of HTTP is spoken, and which connection is used again.

use super::{
    error::RegistryError,
    settings::{Settings, Timeouts, is_loopback},
    url::Origin,
};
use crate::{
    reference::{DEFAULT_ENDPOINT, DEFAULT_REGISTRY},
    text::shown,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

/// The body of a request.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The longest head of an answer; hyper may read as much again before it counts.
const MAX_HEAD: usize = 64 << 10;
/// How many fields it has at most.
const MAX_FIELDS: usize = 128;
/// How much of a stream, and of all of them, may be on the way with HTTP/2: enough for a fast line across an ocean.
const WINDOWS: (u32, u32) = (4 << 20, 16 << 20);
/// How many connections to a host are kept for later.
const MAX_IDLE: usize = 8;
/// For one of several addresses.
const ONE_ADDRESS: Duration = Duration::from_secs(5);

/// A connection on which a request can be sent.
enum Connection {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Connection {
    /// The same; if it carries several requests at once, others may use it too.
    fn shared(self, pool: &Pool, origin: &Origin) -> Self {
        if let Self::Two(sender) = &self {
            pool.keep(origin, Self::Two(sender.clone()));
        }
        self
    }
}

/// All connections of a client.
pub(super) struct Pool {
    settings: Arc<Settings>,
    roots: RootCertStore,
    configs: Mutex<HashMap<String, Arc<ClientConfig>>>,
    idle: Mutex<HashMap<Origin, Vec<Connection>>>,
    /// Where those that somebody leads to are, as it was when that was allowed: nobody looks them up again.
    led: Mutex<HashMap<Origin, Vec<IpAddr>>>,
    /// Whether all connections to a host have led to this machine itself.
    here: Mutex<HashMap<Origin, bool>>,
    /// Of which registry one is the token server.
    token_servers: Mutex<HashMap<Origin, Origin>>,
    /// Who speaks TLS of those that need not.
    spoken: tokio::sync::Mutex<HashMap<String, bool>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_link_local(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Whether an address is this machine's in every network.
fn is_here(address: &IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// A connection, clear or not.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static> Stream for T {}

impl Pool {
    pub fn new(settings: Arc<Settings>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(settings.roots.iter().map(|der| CertificateDer::from_slice(der)));
        Self {
            settings,
            roots,
            configs: Mutex::default(),
            idle: Mutex::default(),
            led: Mutex::default(),
            here: Mutex::default(),
            token_servers: Mutex::default(),
            spoken: tokio::sync::Mutex::default(),
        }
    }

    /// Whom `HOST[:PORT]` of a registry is, and whether TLS is spoken there, which is tried where it need not be.
    pub async fn origin(&self, authority: &str) -> Result<Origin, RegistryError> {
        let origin = |https| {
            Origin::new(https, authority)
                .ok_or_else(|| RegistryError::Settings(format!("'{}' is not a host", shown(authority))))
        };
        let secure = origin(true)?;
        if !is_loopback(&secure.host) {
            return Ok(secure);
        }
        // One at a time: whoever else wants to know waits for the same answer.
        let mut spoken = self.spoken.lock().await;
        if let Some(https) = spoken.get(authority).copied() {
            return origin(https);
        }
        let https = match self.dial(&secure).await {
            Ok(connection) => {
                self.keep(&secure, connection);
                true
            }
            Err(RegistryError::Tls { .. }) => false,
            // Nobody at the usual port of TLS says nothing about that of HTTP.
            Err(RegistryError::Connect { .. }) if origin(false)?.port != secure.port => false,
            Err(error) => return Err(error),
        };
        spoken.insert(authority.to_owned(), https);
        origin(https)
    }

    /// Refuses what a registry must not lead to: addresses of one link, where clouds keep what logs their machines in, and from
    /// elsewhere this machine itself. What is connected to are the addresses that were allowed here.
    pub async fn may_lead(&self, from: &Origin, to: &Origin) -> Result<(), RegistryError> {
        let found = self.look_up(to).await?;
        let what = if found.iter().any(is_link_local) {
            "an address of one link"
        } else if found.iter().any(is_here) && !self.is_here(from) {
            "this machine itself"
        } else {
            locked(&self.led).insert(to.clone(), found);
            return Ok(());
        };
        let whither = format!("to {}, {what}", shown(&to.authority()));
        Err(RegistryError::Redirect { host: from.authority(), whither })
    }

    async fn look_up(&self, origin: &Origin) -> Result<Vec<IpAddr>, RegistryError> {
        let found = self.settings.resolver.look_up(&origin.host).await;
        found.map_err(|source| RegistryError::Lookup { host: shown(&origin.host), source })
    }

    /// Whether somebody who has answered is on this machine: by where he was reached, whatever his name means by now.
    fn is_here(&self, origin: &Origin) -> bool {
        locked(&self.here).get(origin).copied().unwrap_or(false)
    }

    /// Notes where a host was reached.
    fn reached(&self, origin: &Origin, address: &IpAddr) {
        let now = is_here(address);
        locked(&self.here).entry(origin.clone()).and_modify(|here| *here &= now).or_insert(now);
    }

    /// Trusts those who may vouch for a registry to vouch for its token server, too, of which nothing is set.
    pub fn trust_for(&self, registry: &Origin, token_server: &Origin) {
        locked(&self.token_servers).insert(token_server.clone(), registry.clone());
    }

    /// The certificates of those who may vouch for a host besides the roots, in DER.
    fn authorities(&self, origin: &Origin) -> &[Vec<u8>] {
        let registries = &self.settings.registries;
        // What is set for a registry holds where it answers, too.
        let default = |name: &str| if name == DEFAULT_ENDPOINT { registries.get(DEFAULT_REGISTRY) } else { None };
        let known = |origin: &Origin| {
            let (authority, with_port) = (origin.authority(), format!("{}:{}", origin.host, origin.port));
            registries.get(&authority).or_else(|| registries.get(&with_port)).or_else(|| default(&authority))
        };
        let registry = || known(locked(&self.token_servers).get(origin)?);
        known(origin).or_else(registry).map(|registry| registry.authorities.as_slice()).unwrap_or_default()
    }

    /// Sends a request and waits for the head of the answer; the body of the request may take as long as it gets on.
    pub async fn send(
        &self,
        origin: &Origin,
        mut request: Request<Body>,
        patience: Duration,
    ) -> Result<Answer, RegistryError> {
        let mut connection = match self.take(origin).await {
            Some(connection) => connection,
            None => self.dial(origin).await?.shared(self, origin),
        };
        if let (Connection::One(_), Some(path)) = (&connection, request.uri().path_and_query()) {
            // The whole address is for proxies (RFC 9112, 3.2).
            *request.uri_mut() = Uri::from(path.clone());
        }
        let sent = async {
            match &mut connection {
                Connection::One(sender) => sender.send_request(request).await,
                Connection::Two(sender) => sender.send_request(request).await,
            }
        };
        let response = match timeout(patience, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.forget(origin, broken(origin, &error))),
            Err(_) => return Err(self.forget(origin, timed_out(origin, patience))),
        };
        Ok(Answer::new(origin.clone(), response, connection, self.settings.timeouts))
    }

    /// A connection that is free, if there is one that still stands.
    async fn take(&self, origin: &Origin) -> Option<Connection> {
        // Lets those that the other side has closed meanwhile say so.
        tokio::task::yield_now().await;
        loop {
            let found = locked(&self.idle).get_mut(origin).and_then(Vec::pop)?;
            let ready = match found {
                Connection::One(mut sender) => sender.ready().await.is_ok().then_some(Connection::One(sender)),
                Connection::Two(mut sender) => sender.ready().await.is_ok().then_some(Connection::Two(sender)),
            };
            if let Some(connection) = ready {
                return Some(connection.shared(self, origin));
            }
        }
    }

    /// Keeps a connection for the next request.
    fn keep(&self, origin: &Origin, connection: Connection) {
        let mut idle = locked(&self.idle);
        let kept = idle.entry(origin.clone()).or_default();
        let is_two = |connection: &Connection| matches!(connection, Connection::Two(_));
        if kept.len() < MAX_IDLE && !(is_two(&connection) && kept.iter().any(is_two)) {
            kept.push(connection);
        }
    }

    /// Uses none of the connections to a host again, of which one has failed: the next try begins with a new one, also if
    /// the old one is only silent.
    fn forget(&self, origin: &Origin, error: RegistryError) -> RegistryError {
        locked(&self.idle).remove(origin);
        error
    }

    async fn dial(&self, origin: &Origin) -> Result<Connection, RegistryError> {
        let patience = self.settings.timeouts.connect;
        let until = Instant::now() + patience;
        let late = |_| timed_out(origin, patience);
        let tcp = timeout_at(until, self.connect(origin, until)).await.map_err(late)??;
        // Requests are small and waited for.
        let _ = tcp.set_nodelay(true);
        if !origin.https {
            return one(origin, tcp).await;
        }
        let host = origin.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| RegistryError::NoSuchHost(shown(&origin.host)))?;
        let connector = TlsConnector::from(self.config(origin)?);
        let tls = timeout_at(until, connector.connect(name, tcp)).await.map_err(late)?;
        let tls = tls.map_err(|error| tls_failed(origin, &error))?;
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") { two(origin, tls).await } else { one(origin, tls).await }
    }

    async fn connect(&self, origin: &Origin, until: Instant) -> Result<TcpStream, RegistryError> {
        let led = locked(&self.led).get(origin).cloned();
        let found = match led {
            Some(found) => found,
            None => self.look_up(origin).await?,
        };
        let mut last = None;
        for (index, address) in found.iter().enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            // The last one may take all of what is left.
            let patience = if index + 1 == found.len() { left } else { left.min(ONE_ADDRESS) };
            match timeout(patience, TcpStream::connect(SocketAddr::new(*address, origin.port))).await {
                Ok(Ok(stream)) => {
                    self.reached(origin, address);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(match last {
            Some(source) => RegistryError::Connect { host: origin.authority(), source },
            None => RegistryError::NoSuchHost(shown(&origin.host)),
        })
    }

    /// How TLS is spoken with a host.
    fn config(&self, origin: &Origin) -> Result<Arc<ClientConfig>, RegistryError> {
        let key = origin.authority();
        if let Some(config) = locked(&self.configs).get(&key) {
            return Ok(config.clone());
        }
        let mut config = super::trust::config(&self.roots, &self.settings, self.authorities(origin))
            .map_err(RegistryError::Settings)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        locked(&self.configs).insert(key, config.clone());
        Ok(config)
    }
}

async fn one(origin: &Origin, stream: impl Stream) -> Result<Connection, RegistryError> {
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(origin, &error))?;
    // Why it ends is told to whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection::One(sender))
}

async fn two(origin: &Origin, stream: impl Stream) -> Result<Connection, RegistryError> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| broken(origin, &error))?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection::Two(sender))
}

fn timed_out(origin: &Origin, patience: Duration) -> RegistryError {
    RegistryError::TimedOut { host: origin.authority(), seconds: patience.as_secs() }
}

/// Why a connection can carry nothing more.
fn broken(origin: &Origin, error: &hyper::Error) -> RegistryError {
    let host = origin.authority();
    // What is inside says more than hyper's own word.
    let inner = std::error::Error::source(error).map(ToString::to_string);
    let why = shown(&inner.unwrap_or_else(|| error.to_string()));
    if error.is_parse() || error.is_user() {
        return RegistryError::Protocol { host, why: shown(&error.to_string()) };
    }
    RegistryError::Broken { host, why }
}

fn tls_failed(origin: &Origin, error: &io::Error) -> RegistryError {
    let host = origin.authority();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) if super::trust::is_unknown(why) => {
            RegistryError::UnknownAuthority(host)
        }
        Some(rustls::Error::InvalidCertificate(why)) => {
            RegistryError::Certificate { host, why: shown(&why.to_string()) }
        }
        Some(rustls::Error::InvalidMessage(_)) => RegistryError::Tls { host, why: "no TLS is spoken there".to_owned() },
        Some(why) => RegistryError::Tls { host, why: shown(&why.to_string()) },
        None if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            RegistryError::Tls { host, why: "the connection was closed".to_owned() }
        }
        None => RegistryError::Broken { host, why: shown(&error.to_string()) },
    }
}

/// The head of an answer, and its body as it comes.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub origin: Origin,
    body: Incoming,
    /// Given back when nothing more comes.
    connection: Option<Connection>,
    timeouts: Timeouts,
    /// How long it was waited for the body since its speed was looked at last, and how much has come since.
    waited: Duration,
    came: u64,
}

impl Answer {
    fn new(origin: Origin, response: Response<Incoming>, connection: Connection, timeouts: Timeouts) -> Self {
        let (head, body) = response.into_parts();
        let connection = matches!(connection, Connection::One(_)).then_some(connection);
        let (status, headers) = (head.status, head.headers);
        Self { status, headers, origin, body, connection, timeouts, waited: Duration::ZERO, came: 0 }
    }

    /// A field, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next bytes of the body, none at its end.
    pub async fn chunk(&mut self, pool: &Pool) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let stall = self.timeouts.stall;
            let begin = Instant::now();
            let Ok(frame) = timeout(stall, self.body.frame()).await else {
                return Err(pool.forget(&self.origin, timed_out(&self.origin, stall)));
            };
            self.waited += begin.elapsed();
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            self.came += data.map_or(0, |data| data.len() as u64);
            if self.waited >= self.timeouts.window {
                if self.came < self.timeouts.least {
                    let why = format!("{} bytes came in {} seconds", self.came, self.waited.as_secs());
                    return Err(pool.forget(&self.origin, RegistryError::Broken { host: self.origin.authority(), why }));
                }
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(pool.forget(&self.origin, broken(&self.origin, &error))),
                None => {
                    if let Some(connection) = self.connection.take() {
                        pool.keep(&self.origin, connection);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// The whole body, if it is not longer than allowed.
    pub async fn bytes(mut self, pool: &Pool, what: &'static str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let too_large = |host: &Origin| RegistryError::TooLarge { host: host.authority(), what, limit };
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(pool).await? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_large(&self.origin));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
