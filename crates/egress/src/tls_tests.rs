use super::*;
use crate::{
    Authority,
    control::AuthorityKey,
    first::Version,
    testing::{Body, Log, PLACEHOLDER, VALUE, body, one, passage, run, serve, text, two},
};
use ::http::{Request, Response, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::rc::Rc;
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    task::{JoinHandle, spawn_local},
};
use tokio_rustls::{TlsAcceptor, client::TlsStream};

/// The client's side of a connection, the server's, and how it ends.
struct Sides {
    client: DuplexStream,
    server: DuplexStream,
    carrying: JoinHandle<Result<(), Denial>>,
    log: Rc<Log>,
    /// The authority of the sandbox, and that of the world.
    inside: AuthorityKey,
    outside: AuthorityKey,
}

fn sides(target: &str, secret_for: &[&str]) -> Sides {
    let (passage, log) = passage(target, secret_for);
    sides_of(passage, log)
}

fn sides_of(passage: Passage, log: Rc<Log>) -> Sides {
    let (inside, outside) = (Authority::generate().unwrap(), Authority::generate().unwrap());
    let (client, near) = duplex(64 * 1024);
    let (far, server) = duplex(64 * 1024);
    let authority = Authority::load(&inside).unwrap();
    let roots = Roots::only(outside.certificate.as_bytes()).unwrap();
    let carrying = spawn_local(async move { intercept(near, far, &authority, &roots, passage).await });
    Sides { client, server, carrying, log, inside, outside }
}

/// Finishes the server's handshake as this host, with these protocols in its order, and serves the protocol chosen.
fn upstream<F>(
    server: DuplexStream,
    key: &AuthorityKey,
    host: &str,
    protocols: &[&str],
    answer: impl Fn(Request<hyper::body::Incoming>) -> F + Clone + 'static,
) where
    F: Future<Output = Response<Body>> + 'static,
{
    let authority = Authority::load(key).unwrap();
    let mut config = (*authority.server(&Host::parse(host).unwrap(), None).unwrap()).clone();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    spawn_local(async move {
        let Ok(io) = TlsAcceptor::from(Arc::new(config)).accept(server).await else { return };
        let version = if io.get_ref().1.alpn_protocol() == Some(b"h2") { Version::Two } else { Version::One };
        serve(io, version, answer);
    });
}

async fn connect(
    client: DuplexStream,
    key: &AuthorityKey,
    host: &str,
    protocols: &[&str],
) -> io::Result<TlsStream<DuplexStream>> {
    let protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let connector = Roots::only(key.certificate.as_bytes()).unwrap().connector(protocols);
    connector.connect(ServerName::try_from(host.to_owned()).unwrap(), client).await
}

fn get(uri: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body("")).unwrap()
}

/// Answers with the request's headers.
async fn echo(request: Request<hyper::body::Incoming>) -> Response<Body> {
    let mut text = String::new();
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    Response::new(body(format!("{} {}\n{text}", request.method(), request.uri().path_and_query().unwrap())))
}

#[test]
fn both_sides_speak_what_the_server_has_chosen() {
    for (client, server, chosen) in [
        (&["h2", "http/1.1"][..], &["h2", "http/1.1"][..], Some("h2")),
        (&["h2", "http/1.1"], &["http/1.1"], Some("http/1.1")),
        (&["http/1.1"], &["h2", "http/1.1"], Some("http/1.1")),
        (&["x", "h2"], &["x", "h2"], Some("h2")),
        (&["h2", "http/1.1"], &[], None),
        (&[], &["h2", "http/1.1"], None),
    ] {
        run(async {
            let sides = sides("a.org:443", &[]);
            upstream(sides.server, &sides.outside, "a.org", server, echo);
            let io = connect(sides.client, &sides.inside, "a.org", client).await.unwrap();
            assert_eq!(io.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
            let response = match chosen {
                Some("h2") => two(io).await.send_request(get("https://a.org/x?y", &[])).await,
                _ => one(io).await.send_request(get("/x?y", &[("host", "a.org")])).await,
            };
            assert!(text(response.unwrap().into_body()).await.starts_with("GET /x?y\n"));
            sides.carrying.await.unwrap().unwrap();
            assert!(sides.log.reasons().is_empty());
        });
    }
}

#[test]
fn secrets_go_in_over_tls() {
    for protocol in ["h2", "http/1.1"] {
        run(async {
            let sides = sides("a.org:443", &["a.org"]);
            upstream(sides.server, &sides.outside, "a.org", &[protocol], echo);
            let io = connect(sides.client, &sides.inside, "a.org", &[protocol]).await.unwrap();
            let basic = format!("Basic {}", STANDARD.encode(format!("me:{PLACEHOLDER}")));
            let headers = [("x-api-key", PLACEHOLDER), ("authorization", &basic), ("host", "a.org")];
            let uri = format!("https://a.org/?in-the-open={PLACEHOLDER}");
            let response = match protocol {
                "h2" => two(io).await.send_request(get(&uri, &headers)).await,
                _ => one(io).await.send_request(get(&uri, &headers)).await,
            };
            let echoed = text(response.unwrap().into_body()).await;
            assert!(echoed.contains(&format!("x-api-key: {VALUE}\n")), "{echoed}");
            assert!(echoed.contains(&STANDARD.encode(format!("me:{VALUE}"))), "{echoed}");
            assert!(echoed.starts_with(&format!("GET /?in-the-open={PLACEHOLDER}\n")), "{echoed}");
        });
    }
}

#[test]
fn secrets_go_nowhere_else() {
    run(async {
        let sides = sides("b.org:443", &["a.org"]);
        upstream(sides.server, &sides.outside, "b.org", &[], echo);
        let io = connect(sides.client, &sides.inside, "b.org", &[]).await.unwrap();
        let mut client = one(io).await;
        for (uri, name, value) in
            [("/", "x", PLACEHOLDER), (&format!("/{PLACEHOLDER}"), "x", "y"), ("/", PLACEHOLDER, "x")]
        {
            client.ready().await.unwrap();
            let response = client.send_request(get(uri, &[("host", "b.org"), (name, value)])).await.unwrap();
            assert_eq!(response.status(), 403);
            assert_eq!(response.headers()["x-agentkernel-reason"], "secret-elsewhere");
            let words = text(response.into_body()).await;
            assert!(words.contains("(KEY)") && !words.contains(VALUE), "{words}");
        }
        assert_eq!(sides.log.reasons(), [Reason::SecretElsewhere; 3]);
        assert!(!format!("{:?}", sides.log.refused).contains(VALUE));
    });
}

#[test]
fn trace_never_carries_a_secret() {
    run(async {
        let sides = sides("a.org:443", &["a.org"]);
        upstream(sides.server, &sides.outside, "a.org", &[], echo);
        let io = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap();
        let mut client = one(io).await;
        for (value, status) in [(PLACEHOLDER, 403), ("nothing", 200)] {
            let mut request = get("/", &[("host", "a.org"), ("x", value)]);
            *request.method_mut() = ::http::Method::TRACE;
            client.ready().await.unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status(), status);
            text(response.into_body()).await;
        }
    });
}

/// Nor in its trailers.
#[test]
fn no_trailer_of_trace_carries_a_secret() {
    run(async {
        let sides = sides("a.org:443", &["a.org"]);
        upstream(sides.server, &sides.outside, "a.org", &[], echo);
        let mut io = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap();
        let head =
            "TRACE / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\nConnection: close\r\n\r\n";
        io.write_all(format!("{head}0\r\nx: {PLACEHOLDER}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = io.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains(VALUE), "{answer}");
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("request-not-allowed"), "{answer}");
    });
}

#[test]
fn a_request_inside_of_tls_is_for_the_same_host() {
    run(async {
        let sides = sides("a.org:8443", &[]);
        upstream(sides.server, &sides.outside, "a.org", &[], echo);
        let io = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap();
        let mut client = one(io).await;
        for (uri, host, status) in [
            ("/", "a.org", 200),
            ("/", "a.org:8443", 200),
            ("https://a.org:8443/", "a.org:8443", 200),
            ("/", "a.org:443", 403),
            ("/", "b.org", 403),
            ("http://a.org/", "a.org", 400),
        ] {
            client.ready().await.unwrap();
            let response = client.send_request(get(uri, &[(header::HOST.as_str(), host)])).await.unwrap();
            assert_eq!(response.status(), status, "{uri} {host}");
            text(response.into_body()).await;
        }
    });
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    for (own, host) in [(true, "a.org"), (false, "b.org")] {
        run(async {
            let sides = sides("a.org:443", &[]);
            // By an authority that nobody knows, or for another name.
            let key = if own { Authority::generate().unwrap() } else { sides.outside };
            upstream(sides.server, &key, host, &[], echo);
            let error = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap_err();
            assert!(error.to_string().contains("CertificateUnknown"), "{error}");
            let denial = sides.carrying.await.unwrap().unwrap_err();
            assert_eq!(denial.reason, Reason::BadCertificate);
            assert!(denial.detail.starts_with("invalid peer certificate"), "{}", denial.detail);
        });
    }
}

#[test]
fn a_server_without_tls_is_told() {
    run(async {
        let sides = sides("a.org:443", &[]);
        serve(sides.server, Version::One, echo);
        connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap_err();
        assert_eq!(sides.carrying.await.unwrap().unwrap_err().reason, Reason::Unreachable);
    });
}

#[test]
fn a_client_without_tls_or_trust_is_told() {
    run(async {
        let sides = sides("a.org:443", &[]);
        one(sides.client).await.send_request(get("/", &[("host", "a.org")])).await.unwrap_err();
        assert_eq!(sides.carrying.await.unwrap().unwrap_err().reason, Reason::BadTls);
    });
    // It knows nobody, or another sandbox's authority.
    for known in [false, true] {
        run(async {
            let sides = sides("a.org:443", &[]);
            upstream(sides.server, &sides.outside, "a.org", &[], echo);
            let outside = if known { sides.outside.certificate.as_bytes() } else { b"" };
            let connector = Roots::only(outside).unwrap().connector(Vec::new());
            connector.connect(ServerName::try_from("a.org").unwrap(), sides.client).await.unwrap_err();
            let denial = sides.carrying.await.unwrap().unwrap_err();
            assert_eq!(denial.reason, Reason::AuthorityUntrusted);
            assert!(denial.detail.contains("it has ended the handshake: received fatal alert"), "{}", denial.detail);
        });
    }
    // Or it goes without a word, once it has seen the certificate.
    run(async {
        let mut sides = sides("a.org:443", &[]);
        upstream(sides.server, &sides.outside, "a.org", &[], echo);
        let mut hello = rustls::ClientConnection::new(
            Roots::only(sides.inside.certificate.as_bytes()).unwrap().config.into(),
            ServerName::try_from("a.org").unwrap(),
        )
        .unwrap();
        let mut bytes = Vec::new();
        hello.write_tls(&mut bytes).unwrap();
        sides.client.write_all(&bytes).await.unwrap();
        sides.client.read_u8().await.unwrap();
        drop(sides.client);
        assert_eq!(sides.carrying.await.unwrap().unwrap_err().reason, Reason::AuthorityUntrusted);
    });
}

#[test]
fn what_is_no_http_inside_of_tls_is_told() {
    run(async {
        let sides = sides("a.org:443", &[]);
        upstream(sides.server, &sides.outside, "a.org", &[], echo);
        let mut io = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap();
        io.write_all(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        assert_eq!(io.read_to_string(&mut answer).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!((&*answer, sides.log.broken.get()), ("", true));
        assert_eq!(sides.carrying.await.unwrap().unwrap_err().reason, Reason::NotHttp);
    });
}

#[test]
fn any_protocol_is_agreed_on_where_any_may_be_spoken() {
    run(async {
        let (mut passage, log) = passage("a.org:6697", &[]);
        passage.grant.any_protocol = true;
        let sides = sides_of(passage, log);
        // But none that is HTTP and can't be read.
        let all = ["spdy/3.1", "http/1.0", "h2-14", "irc"];
        upstream(sides.server, &sides.outside, "a.org", &all, echo);
        let io = connect(sides.client, &sides.inside, "a.org", &all).await.unwrap();
        assert_eq!(io.get_ref().1.alpn_protocol(), Some(&b"irc"[..]));
    });
}

/// As curl, Python and Node see it when nobody is between.
#[test]
fn a_server_that_goes_without_taking_leave_has_ended() {
    for (head, whole) in [
        ("HTTP/1.0 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n", false),
    ] {
        run(async {
            let sides = sides("a.org:443", &[]);
            let authority = Authority::load(&sides.outside).unwrap();
            let config = authority.server(&Host::parse("a.org").unwrap(), None).unwrap();
            let server = sides.server;
            spawn_local(async move {
                let mut io = TlsAcceptor::from(config).accept(server).await.unwrap();
                io.read_exact(&mut [0; 16]).await.unwrap();
                io.write_all(format!("{head}hello").as_bytes()).await.unwrap();
                io.flush().await.unwrap();
                // Dropped as it is: no close_notify.
            });
            let io = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap();
            let response = one(io).await.send_request(get("/", &[("host", "a.org")])).await.unwrap();
            let mut body = response.into_body();
            let mut seen = Vec::new();
            let mut ended = true;
            while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
                match frame {
                    Ok(frame) => seen.extend_from_slice(frame.data_ref().unwrap()),
                    Err(_) => ended = false,
                }
            }
            assert_eq!((seen.as_slice(), ended), (&b"hello"[..], whole), "{head}");
        });
    }
}

#[test]
fn a_client_that_goes_takes_its_request_back() {
    run(async {
        let sides = sides("a.org:443", &[]);
        let (gone, told) = tokio::sync::oneshot::channel::<()>();
        let gone = Rc::new(std::cell::Cell::new(Some(gone)));
        upstream(sides.server, &sides.outside, "a.org", &["http/1.1"], move |_| {
            let gone = gone.take();
            async move {
                // Dropped with the connection.
                let _gone = gone;
                std::future::pending().await
            }
        });
        let mut io = connect(sides.client, &sides.inside, "a.org", &[]).await.unwrap();
        io.write_all(b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\n").await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // It says that it has closed its side, and could still read.
        io.shutdown().await.unwrap();
        // Not only when a client has been silent for too long.
        tokio::time::timeout(Duration::from_secs(30), told).await.unwrap().unwrap_err();
    });
}

#[test]
fn roots_are_read_from_pem() {
    let key = Authority::generate().unwrap();
    let twice = [key.certificate.as_bytes(), Authority::generate().unwrap().certificate.as_bytes()].concat();
    assert_eq!(Roots::only(&twice).unwrap().count(), 2);
    assert_eq!(Roots::only(b"nothing").unwrap().count(), 0);
    assert!(Roots::load().is_ok());
}
