//! The server over HTTP, on a loopback address, for whoever has the token.

use super::{
    delivery::{self, Delivery, Resumed},
    server::Server,
    stdio::LONGEST,
    token::Token,
};
use crate::json::{self, Unique};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService,
    session::{SessionManager as _, local::LocalSessionManager},
};
use serde_json::json;
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::AbortHandle,
};

/// The path that clients name.
pub const PATH: &str = "/mcp";
/// The longest head of a request.
const MAX_HEAD: usize = 64 << 10;
/// How long a client may take for it.
const HEAD: Duration = Duration::from_secs(10);
/// Connections that are served at once. Those that have not shown the token make room for others, the oldest first.
const AT_ONCE: usize = 256;
/// How long a session in which nothing happens stays. A call may be silent for long.
const IDLE: Duration = Duration::from_secs(6 * 60 * 60);
/// The most sessions. Clients that end without a word leave theirs: one more takes the place of the one that was not heard of for longest.
const SESSIONS: usize = 256;
/// Before the next connection is taken, when there is nothing to take it with.
const PAUSE: Duration = Duration::from_millis(100);

/// How the type of a message's body begins.
const JSON: &[u8] = b"application/json";

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Service = StreamableHttpService<Server, LocalSessionManager>;

/// What every connection is served with.
struct All {
    service: Service,
    server: Server,
    token: Token,
    resumed: Arc<Resumed>,
    sessions: Arc<LocalSessionManager>,
    strangers: Strangers,
    heard: Mutex<Heard>,
}

/// Sessions, the one that was not heard of for longest first.
#[derive(Default)]
struct Heard(VecDeque<header::HeaderValue>);

impl Heard {
    fn of(&mut self, session: &header::HeaderValue) {
        self.0.retain(|other| other != session);
        self.0.push_back(session.clone());
        if self.0.len() > 2 * SESSIONS {
            // It has ended by itself.
            self.0.pop_front();
        }
    }
}

/// Connections that have not shown the token, by their numbers.
#[derive(Default)]
struct Strangers(Mutex<BTreeMap<u64, AbortHandle>>);

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, AbortHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    let each = server.clone();
    let sessions = Arc::new(sessions);
    let service: Service = StreamableHttpService::new(move || Ok(each.clone()), sessions.clone(), config);
    let strangers = Strangers::default();
    let heard = Mutex::default();
    let all = Arc::new(All { service, server, token, resumed: Arc::default(), sessions, strangers, heard });
    let free = Arc::new(Semaphore::new(AT_ONCE));
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if free.available_permits() == 0
            && let Some((_, oldest)) = all.strangers.lock().pop_first()
        {
            oldest.abort();
        }
        let Ok(one) = free.clone().acquire_owned().await else { return };
        // It does not begin before it is on the list, for it is begun by this task's thread.
        let task = tokio::spawn({
            let all = all.clone();
            async move {
                converse(stream, all.clone(), number).await;
                all.strangers.lock().remove(&number);
                drop(one);
            }
        });
        all.strangers.lock().insert(number, task.abort_handle());
    }
}

async fn converse(stream: TcpStream, all: Arc<All>, number: u64) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let all = all.clone();
        async move {
            if all.token.is_in(request.headers()) {
                all.strangers.lock().remove(&number);
            }
            Ok::<_, Infallible>(all.answer(request).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    // Whoever breaks it off knows.
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

impl All {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if !self.token.is_in(request.headers()) {
            let mut refused = says(StatusCode::UNAUTHORIZED, "A token is needed: Authorization: Bearer TOKEN\n");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            return refused;
        }
        if request.uri().path() != PATH {
            return says(StatusCode::NOT_FOUND, "The server is at /mcp\n");
        }
        let session = delivery::session(request.headers()).cloned();
        let ends = request.method() == Method::DELETE;
        match &session {
            Some(session) if self.has(session).await => self.heard().of(session),
            Some(_) if ends => return says(StatusCode::NOT_FOUND, "There is no such session\n"),
            Some(_) => {}
            None => self.make_room().await,
        }
        let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(JSON));
        let mut request = match whole(request).await {
            Ok(request) => request,
            Err(refused) => return refused,
        };
        let carrier = Delivery::of(&mut request, &self.resumed);
        let answer = self.service.handle(request).await.map(|body| carrier.with(body).boxed());
        if let Some(begun) = delivery::session(answer.headers()).filter(|_| session.is_none()) {
            self.heard().of(begun);
        }
        if let Some(session) = session.filter(|_| ends && answer.status().is_success()) {
            self.server.end_session(session);
            // It is done, not only taken.
            return says(StatusCode::NO_CONTENT, "");
        }
        if is_json && answer.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // What the body is said to be it may be; what is in it is no message.
            return no_message(-32700, "The body is no message of JSON-RPC");
        }
        answer
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn has(&self, session: &header::HeaderValue) -> bool {
        match session.to_str() {
            Ok(id) => self.sessions.has_session(&id.into()).await.unwrap_or(true),
            Err(_) => false,
        }
    }

    /// Ends the session that was not heard of for longest, if there are too many.
    async fn make_room(&self) {
        while self.sessions.sessions.read().await.len() >= SESSIONS {
            let Some(oldest) = self.heard().0.pop_front() else { return };
            if let Ok(id) = oldest.to_str() {
                // One that has ended is none that is in the way.
                let _ = self.sessions.close_session(&id.into()).await;
            }
            self.server.end_session(oldest);
        }
    }
}

/// A request with all of its body, in which no name stands twice.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Answer> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(says(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long\n"));
        }
        Err(_) => return Err(says(StatusCode::BAD_REQUEST, "The body does not end\n")),
    };
    match json::parse::<Unique>(&body) {
        Err(error) if error.is_data() => {
            Err(no_message(-32600, &format!("That is no request of JSON-RPC 2.0: {error}")))
        }
        // What is no JSON is told by those who read it.
        _ => Ok(Request::from_parts(head, Full::new(body))),
    }
}

/// The answer to a body that is none.
fn no_message(code: i32, cause: &str) -> Answer {
    let error = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": cause}});
    let mut refused = says(StatusCode::BAD_REQUEST, error.to_string());
    refused.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    refused
}

fn says(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed());
    *answer.status_mut() = status;
    answer
}

/// Whether an address is this machine's alone.
#[must_use]
pub fn is_local(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
