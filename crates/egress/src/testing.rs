//! What the tests of this crate share: a sandbox's side and a server's side of one connection, in one process.

use crate::{
    Budget, Denial, Grant, Pattern, Reason, Requests, Secret, Secrets, Target,
    control::SecretGrant,
    first::Version,
    http::{Passage, Report, clear},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    rc::Rc,
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::{LocalSet, spawn_local},
};

pub const PLACEHOLDER: &str = "ak-0123456789abcdef0123456789abcdef";
pub const VALUE: &str = "the-real-value";

/// What was told.
#[derive(Default)]
pub struct Log {
    pub refused: RefCell<Vec<(Denial, String)>>,
    pub requests: RefCell<u32>,
    pub tokens: RefCell<u64>,
    pub broken: Cell<bool>,
}

impl Log {
    pub fn reasons(&self) -> Vec<Reason> {
        self.refused.borrow().iter().map(|(denial, _)| denial.reason).collect()
    }
}

impl Report for Log {
    fn request(&self) {
        *self.requests.borrow_mut() += 1;
    }

    fn refused(&self, denial: &Denial, request: &str) {
        self.refused.borrow_mut().push((denial.clone(), request.to_owned()));
    }

    fn tokens(&self, tokens: u64) {
        *self.tokens.borrow_mut() += tokens;
    }

    fn broken(&self) {
        self.broken.set(true);
    }
}

/// A passage to this target with one secret for these hosts, and what is told of it.
pub fn passage(target: &str, secret_for: &[&str]) -> (Passage, Rc<Log>) {
    let log = Rc::new(Log::default());
    let secret = SecretGrant {
        name: "KEY".to_owned(),
        placeholder: PLACEHOLDER.to_owned(),
        value: Secret::new(VALUE.as_bytes().to_vec()),
        hosts: secret_for.iter().map(|host| Pattern::parse(host).unwrap()).collect(),
    };
    let passage = Passage {
        target: Target::parse(target, None).unwrap(),
        grant: Grant {
            rule: "a rule".to_owned(),
            service: false,
            named: true,
            any_protocol: false,
            requests: Vec::new(),
            limited: false,
            web_by_limits: false,
        },
        secrets: Rc::new(Secrets::new(&[secret])),
        logins: None,
        budget: Rc::new(Budget::default()),
        room: crate::room::Room::default(),
        sandbox: "box".into(),
        report: log.clone(),
    };
    (passage, log)
}

/// The same for these requests only.
pub fn only(mut passage: Passage, methods: &[&str], paths: &[&str]) -> Passage {
    let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect();
    passage.grant.requests = vec![vec![Requests { methods: owned(methods), paths: owned(paths) }]];
    passage
}

/// What a real client sends first; an address is no name that it could say.
pub fn hello(name: &str, protocols: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Runs a test that spawns tasks.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(std::time::Duration::from_secs(120), test).await.expect("the test hangs")
    })
}

pub type Body = UnsyncBoxBody<Bytes, hyper::Error>;

pub fn body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

pub async fn text(body: Incoming) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Serves on one connection.
pub fn serve<F>(
    io: impl crate::http::Stream,
    version: Version,
    answer: impl Fn(Request<Incoming>) -> F + Clone + 'static,
) where
    F: Future<Output = Response<Body>> + 'static,
{
    spawn_local(async move {
        let service = service_fn(move |request| {
            let response = answer(request);
            async move { Ok::<_, Infallible>(response.await) }
        });
        let io = TokioIo::new(io);
        // How a connection ends is told by what its client sees.
        let _ = match version {
            Version::One => {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades().await
            }
            Version::Two => hyper::server::conn::http2::Builder::new(Local).serve_connection(io, service).await,
        };
    });
}

/// Spawns here.
#[derive(Clone)]
pub struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move { drop(future.await) });
    }
}

/// The client's end of a connection that [`clear`] carries to a server, and the server's.
pub fn carried(version: Version, passage: Passage) -> (DuplexStream, DuplexStream) {
    let (client, near) = duplex(64 * 1024);
    let (far, server) = duplex(64 * 1024);
    spawn_local(async move { clear(near, far, version, passage).await });
    (client, server)
}

/// A client of HTTP/1.
pub async fn one(io: impl crate::http::Stream) -> hyper::client::conn::http1::SendRequest<Body> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    spawn_local(connection.with_upgrades());
    sender
}

/// A client of HTTP/2.
pub async fn two(io: impl crate::http::Stream) -> hyper::client::conn::http2::SendRequest<Body> {
    let (sender, connection) = hyper::client::conn::http2::handshake(Local, TokioIo::new(io)).await.unwrap();
    spawn_local(connection);
    sender
}

/// What a server got and a client got, if a client says this and closes its side, and the server answers every head so.
pub fn raw(passage: Passage, request: &[u8], response: &[u8]) -> (String, String) {
    run(async {
        let (mut client, mut server) = carried(Version::One, passage);
        let response = response.to_vec();
        let serving = spawn_local(async move {
            let mut seen = Vec::new();
            let mut answered = 0;
            while server.read_buf(&mut seen).await.is_ok_and(|count| count > 0) {
                let heads = seen.windows(4).filter(|window| window == b"\r\n\r\n").count();
                while answered < heads {
                    answered += 1;
                    let _ = server.write_all(&response).await;
                }
            }
            seen
        });
        client.write_all(request).await.unwrap();
        client.shutdown().await.unwrap();
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (lossy(serving.await.unwrap()), lossy(seen))
    })
}

/// What a server got and a client got, if the client says more once it has this answer to the beginning of its request.
pub fn late(passage: Passage, request: &[u8], answer: &[u8], more: &[u8]) -> (String, String) {
    run(async {
        let (mut client, mut server) = carried(Version::One, passage);
        client.write_all(request).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            assert!(server.read_buf(&mut got).await.unwrap() > 0);
        }
        server.write_all(answer).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(&answer[answer.len() - 4..]) {
            assert!(client.read_buf(&mut seen).await.unwrap() > 0);
        }
        client.write_all(more).await.unwrap();
        client.shutdown().await.unwrap();
        let (got_all, seen_all) = tokio::join!(server.read_to_end(&mut got), client.read_to_end(&mut seen));
        got_all.unwrap();
        seen_all.unwrap();
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (lossy(got), lossy(seen))
    })
}
