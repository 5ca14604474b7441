//! The server over HTTP, on a loopback address, for whoever has the token.

use super::server::Server;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
};
use sha2::{Digest as _, Sha256};
use std::{convert::Infallible, fmt, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// The path that clients name.
pub const PATH: &str = "/mcp";
/// The longest message of a client, as on standard input.
const LONGEST: usize = 16 << 20;
/// The longest head of a request.
const MAX_HEAD: usize = 64 << 10;
/// How long a client may take for it.
const HEAD: Duration = Duration::from_secs(10);
/// Connections that are served at once; the others wait.
const AT_ONCE: usize = 256;
/// How long a session in which nothing happens stays. A call may be silent for long.
const IDLE: Duration = Duration::from_secs(6 * 60 * 60);
/// Before the next connection is taken, when there is nothing to take it with.
const PAUSE: Duration = Duration::from_millis(100);
/// The fewest characters of a token.
const LEAST: usize = 16;

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Service = StreamableHttpService<Server, LocalSessionManager>;

/// What lets a client in. It is not shown.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// One that nobody knows.
    ///
    /// # Errors
    /// If the system has no randomness yet.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// One that somebody has chosen: letters, digits and signs that need no quoting in a header, and enough of them.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        // RFC 6750, 2.1: what a bearer token is made of.
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        (text.len() >= LEAST && text.as_bytes().iter().all(fits)).then(|| Self(text.to_owned()))
    }

    /// For whoever is to know it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a request has it. How long that takes does not depend on how much of it is right.
    fn is_in(&self, request: &Request<Incoming>) -> bool {
        let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, token)) = given.to_str().ok().and_then(|text| text.split_once(' ')) else { return false };
        let same = Sha256::digest(token.trim_start_matches(' ')) == Sha256::digest(&self.0);
        scheme.eq_ignore_ascii_case("bearer") && same
    }
}

/// Serves clients that have the token, for as long as the process lives. They are all one client to the server: what one
/// leaves running another can read and end.
pub(super) async fn serve(listener: TcpListener, token: Token, server: Server) {
    let address = listener.local_addr().ok();
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.keep_alive = Some(IDLE);
    // Whoever has rebound a name to this address names a host that is not ours, and a browser always tells where a page is
    // from: none is let in.
    let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter();
    let hosts = hosts.chain(address.map(|address| address.ip().to_string()));
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(hosts)
        .enforce_origin_validation()
        .with_max_request_body_bytes(LONGEST);
    let service: Service = StreamableHttpService::new(move || Ok(server.clone()), Arc::new(sessions), config);
    let free = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(one) = free.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (service, token) = (service.clone(), token.clone());
                tokio::spawn(async move {
                    converse(stream, service, token).await;
                    drop(one);
                });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(stream: TcpStream, service: Service, token: Token) {
    let answer = service_fn(move |request| {
        let (service, token) = (service.clone(), token.clone());
        async move { Ok::<_, Infallible>(answer(request, &service, &token).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    // Whoever breaks it off knows.
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

async fn answer(request: Request<Incoming>, service: &Service, token: &Token) -> Answer {
    if !token.is_in(&request) {
        let mut refused = says(StatusCode::UNAUTHORIZED, "A token is needed: Authorization: Bearer TOKEN\n");
        refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        return refused;
    }
    if request.uri().path() != PATH {
        return says(StatusCode::NOT_FOUND, "The server is at /mcp\n");
    }
    service.handle(request).await
}

fn says(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    answer
}

/// Whether an address is this machine's alone.
#[must_use]
pub fn is_local(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
