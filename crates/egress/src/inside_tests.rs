use super::*;
use crate::{
    Authority, Host,
    testing::{Log, PLACEHOLDER, VALUE, body, hello, one, only, passage, run, serve, text, two},
    tls::Roots,
};
use ::http::{Request, Response};
use rustls::pki_types::ServerName;
use std::{rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex},
    task::{JoinHandle, spawn_local},
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

/// A program and a server, each inside of TLS, and what carries it between them.
struct Carried {
    program: client::TlsStream<DuplexStream>,
    server: server::TlsStream<DuplexStream>,
    carrying: JoinHandle<Result<(), Denial>>,
    log: Rc<Log>,
}

/// Two ends of a connection inside of TLS.
async fn secured(protocol: Option<&[u8]>) -> (client::TlsStream<DuplexStream>, server::TlsStream<DuplexStream>) {
    let key = Authority::generate().unwrap();
    let config = Authority::load(&key).unwrap().server(&Host::parse("a.org").unwrap(), protocol).unwrap();
    let connector = Roots::only(key.certificate.as_bytes()).unwrap();
    let connector = connector.connector(protocol.map(<[u8]>::to_vec).into_iter().collect());
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from("a.org").unwrap();
    let (near, far) = tokio::join!(connector.connect(name, near), TlsAcceptor::from(config).accept(far));
    (near.unwrap(), far.unwrap())
}

async fn carried_as(protocol: Option<&[u8]>, passage: Passage, log: Rc<Log>) -> Carried {
    let ((program, client), (server, end)) = tokio::join!(secured(protocol), secured(protocol));
    let carrying = spawn_local(carry(client, server, passage));
    Carried { program, server: end, carrying, log }
}

/// Where any protocol may be spoken.
async fn carried() -> Carried {
    let (mut passage, log) = passage("a.org:6380", &["a.org"]);
    passage.grant.any_protocol = true;
    carried_as(None, passage, log).await
}

/// Where only requests may be made: of the web's protocols, and of any but these requests.
async fn restricted() -> [Carried; 2] {
    let ((web, log), (passage, other)) = (passage("a.org:443", &[]), passage("a.org:6380", &[]));
    let mut some = only(passage, &["GET"], &[]);
    some.grant.any_protocol = true;
    [carried_as(None, web, log).await, carried_as(None, some, other).await]
}

/// What comes until the end, and whether that was taken leave for.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    if let Err(error) = &end {
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
    (bytes, end.is_ok())
}

/// Bytes none of which is where another could be.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

#[test]
fn what_is_no_http_is_passed_on() {
    for words in [
        &b"*1\r\n$4\r\nPING\r\n"[..],
        b"PING\r\n",
        b"x",
        b"JDWP-Handshake",
        b"GET x",
        b"LIST /",
        b"SELECT * FROM t;\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x16\0\0\0\x01",
        &bytes(100_000),
    ] {
        run(async {
            let Carried { mut program, mut server, carrying, log } = carried().await;
            program.write_all(words).await.unwrap();
            program.flush().await.unwrap();
            let mut heard = vec![0; words.len()];
            server.read_exact(&mut heard).await.unwrap();
            assert!(heard == words, "{}", words.escape_ascii());
            server.write_all(b"+PONG\r\n").await.unwrap();
            server.shutdown().await.unwrap();
            assert_eq!(rest(&mut program).await, (b"+PONG\r\n".to_vec(), true));
            program.shutdown().await.unwrap();
            carrying.await.unwrap().unwrap();
            assert_eq!((log.reasons().len(), *log.requests.borrow(), log.broken.get()), (0, 0, false));
        });
    }
}

/// TLS that begins later there is held to the host as it is elsewhere.
#[test]
fn tls_that_begins_later_is_for_the_host() {
    for (name, passes) in [("a.org", true), ("b.org", false)] {
        for pieces in [1, 2] {
            run(async {
                let Carried { mut program, mut server, carrying, log } = carried().await;
                let (words, hello) = (&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], hello(name, &[]));
                program.write_all(words).await.unwrap();
                let mut heard = vec![0; words.len()];
                if pieces == 2 {
                    program.flush().await.unwrap();
                    server.read_exact(&mut heard).await.unwrap();
                }
                program.write_all(&hello).await.unwrap();
                program.shutdown().await.unwrap();
                let (rest, _) = rest(&mut server).await;
                drop(server);
                let result = carrying.await.unwrap();
                assert_eq!(result.err().map(|denial| denial.reason), (!passes).then_some(Reason::SniMismatch));
                assert_eq!((rest.ends_with(&hello), log.broken.get()), (passes, !passes));
            });
        }
    }
}

#[test]
fn a_server_that_begins_is_heard() {
    run(async {
        let Carried { mut program, mut server, carrying, .. } = carried().await;
        server.write_all(b"* OK ready\r\n").await.unwrap();
        let mut heard = [0; 12];
        program.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"* OK ready\r\n");
        // It is no request where a server has begun.
        program.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        program.shutdown().await.unwrap();
        assert_eq!(rest(&mut server).await, (b"GET / HTTP/1.1\r\n".to_vec(), true));
        server.shutdown().await.unwrap();
        carrying.await.unwrap().unwrap();
    });
}

#[test]
fn much_passes_both_ways_at_once() {
    run(async {
        let Carried { program, server, carrying, .. } = carried().await;
        let ((mut from_server, mut to_server), (mut from_program, mut to_program)) = (split(program), split(server));
        let (up, down) = ([&b"\0"[..], &bytes(5_000_001)].concat(), bytes(3_000_003));
        let (sent, answered) = (up.clone(), down.clone());
        spawn_local(async move { to_server.write_all(&sent).await.and(to_server.shutdown().await) });
        spawn_local(async move { to_program.write_all(&answered).await.and(to_program.shutdown().await) });
        let (one, two) = tokio::join!(rest(&mut from_program), rest(&mut from_server));
        assert!(one == (up, true) && two == (down, true));
        carrying.await.unwrap().unwrap();
    });
}

#[test]
fn each_side_may_end_while_the_other_goes_on() {
    for (bare, program_first) in [(false, true), (true, true), (false, false), (true, false)] {
        run(async {
            let Carried { program, server, carrying, log } = carried().await;
            let (program, server) = (TlsStream::from(program), TlsStream::from(server));
            let (mut first, mut second) = if program_first { (program, server) } else { (server, program) };
            first.write_all(b"\0that is all").await.unwrap();
            first.flush().await.unwrap();
            // Without leave, the connection itself is closed.
            if bare { first.get_mut().0.shutdown().await } else { first.shutdown().await }.unwrap();
            assert_eq!(rest(&mut second).await, (b"\0that is all".to_vec(), !bare));
            for _ in 0..3 {
                second.write_all(b"and ").await.unwrap();
                second.flush().await.unwrap();
                let mut heard = [0; 4];
                first.read_exact(&mut heard).await.unwrap();
                assert_eq!(&heard, b"and ");
            }
            assert!(!carrying.is_finished());
            second.write_all(b"so on").await.unwrap();
            second.shutdown().await.unwrap();
            assert_eq!(rest(&mut first).await, (b"so on".to_vec(), true));
            carrying.await.unwrap().unwrap();
            assert!(log.reasons().is_empty() && !log.broken.get());
        });
    }
}

#[test]
fn requests_are_read_though_nobody_has_said_that_there_are_any() {
    for version in [Version::One, Version::Two] {
        run(async {
            let Carried { program, server, carrying, log } = carried().await;
            let answer = |request: Request<hyper::body::Incoming>| async move {
                let key = request.headers().get("key").unwrap().to_str().unwrap().to_owned();
                Response::new(body(key))
            };
            serve(server, version, answer);
            let request = |uri| Request::get(uri).header("host", "a.org:6380").header("key", PLACEHOLDER);
            let response = match version {
                Version::One => one(program).await.send_request(request("/").body(body("")).unwrap()).await,
                Version::Two => {
                    two(program).await.send_request(request("https://a.org:6380/").body(body("")).unwrap()).await
                }
            };
            assert_eq!(text(response.unwrap().into_body()).await, VALUE);
            carrying.await.unwrap().unwrap();
            assert_eq!(*log.requests.borrow(), 1);
        });
    }
}

#[test]
fn what_was_agreed_on_is_spoken() {
    run(async {
        let (mut passage, log) = passage("a.org:6380", &[]);
        passage.grant.any_protocol = true;
        let Carried { mut program, log, .. } = carried_as(Some(b"http/1.1"), passage, log).await;
        program.write_all(b"PING\r\n\r\n").await.unwrap();
        assert!(rest(&mut program).await.0.starts_with(b"HTTP/1.1 400 "));
        assert_eq!(log.reasons(), [Reason::BadRequest]);
    });
}

#[test]
fn what_only_the_server_takes_for_a_request_gets_no_answer() {
    for (words, answer, reason) in [
        (&b"\"GET\" / x\r\n\r\n"[..], &b"HTTP/1.1 200 OK\r\n\r\nhidden"[..], Reason::BadRequest),
        (b"\x16\0\x01\0\x05\x01\0\0\x01\0", b"\x16\x03\x03\0\x02\x02\0hidden", Reason::BadTls),
    ] {
        run(async {
            let Carried { mut program, mut server, carrying, log } = carried().await;
            program.write_all(words).await.unwrap();
            server.read_exact(&mut vec![0; words.len()]).await.unwrap();
            // However it comes.
            for piece in answer.chunks(4) {
                // Whoever hears enough listens no more.
                let _ = server.write_all(piece).await.and(server.flush().await);
                sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(rest(&mut program).await, (Vec::new(), false));
            assert_eq!(carrying.await.unwrap().unwrap_err().reason, reason);
            assert!(log.broken.get());
        });
    }
}

#[test]
fn a_slow_request_goes_no_further() {
    run(async {
        let Carried { mut program, mut server, carrying, .. } = carried().await;
        program.write_all(b"GET x HT").await.unwrap();
        let mut heard = [0; 8];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"GET x HT");
        program.write_all(b"TP/1.1\r\nHost: hidden\r\n\r\n").await.unwrap();
        assert_eq!(carrying.await.unwrap().unwrap_err().reason, Reason::BadRequest);
        assert_eq!(rest(&mut server).await, (Vec::new(), false));
    });
}

#[test]
fn tls_inside_of_tls_goes_no_further() {
    for begin in [&b"\x14\x03\x03\0\x01\x01"[..], b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10", &hello("b.org", &[])] {
        run(async {
            let Carried { mut program, mut server, carrying, .. } = carried().await;
            program.write_all(begin).await.unwrap();
            let denial = carrying.await.unwrap().unwrap_err();
            assert_eq!((denial.reason, denial.lift), (Reason::BadTls, Lift::Never));
            assert_eq!(rest(&mut server).await, (Vec::new(), false));
        });
    }
}

#[test]
fn where_only_requests_may_be_made_nothing_else_is() {
    run(async {
        for Carried { mut program, mut server, carrying, log } in restricted().await {
            program.write_all(b"*1\r\n$4\r\nPING\r\n").await.unwrap();
            let denial = carrying.await.unwrap().unwrap_err();
            assert_eq!((denial.reason, log.broken.get()), (Reason::NotHttp, true));
            assert!(denial.cause().contains("inside of TLS"), "{}", denial.cause());
            assert_eq!(rest(&mut program).await, (Vec::new(), false));
            assert_eq!(rest(&mut server).await, (Vec::new(), false));
        }
        for Carried { mut program, mut server, carrying, log } in restricted().await {
            server.write_all(b"* OK ready\r\n").await.unwrap();
            assert_eq!(rest(&mut program).await, (Vec::new(), false));
            assert_eq!(carrying.await.unwrap().unwrap_err().reason, Reason::NotHttp);
            assert!(log.broken.get());
        }
        // Who only goes is refused nothing.
        for Carried { mut program, mut server, carrying, log } in restricted().await {
            server.shutdown().await.unwrap();
            assert_eq!(rest(&mut program).await, (Vec::new(), true));
            carrying.await.unwrap().unwrap();
            assert!(log.reasons().is_empty() && !log.broken.get());
        }
    });
}
