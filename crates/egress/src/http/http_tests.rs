//! What real clients and servers do.

use super::*;
use crate::testing::{Body, body, carried, one, passage, run, serve, text, two};
use ::http::{HeaderMap, HeaderValue, Request, Response, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    sync::mpsc,
    task::spawn_local,
};

/// A body that is sent piece by piece, and its sender.
fn stream() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    struct Pieces(mpsc::Receiver<Frame<Bytes>>);
    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            self.0.poll_recv(cx).map(|frame| frame.map(Ok))
        }
    }
    let (sender, pieces) = mpsc::channel(1);
    (sender, Pieces(pieces).boxed_unsync())
}

fn get(uri: &str) -> Request<Body> {
    Request::get(uri).header("host", "a.org").body(body("")).unwrap()
}

#[test]
fn one_connection_carries_many_requests() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |request| async move {
            let path = request.uri().path().to_owned();
            Response::new(body(path + &text(request.into_body()).await))
        });
        let mut client = one(client).await;
        for number in 0..20 {
            let request = Request::post(format!("/{number}")).header("host", "a.org").body(body("x")).unwrap();
            client.ready().await.unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(text(response.into_body()).await, format!("/{number}x"));
        }
        assert_eq!(*log.requests.borrow(), 20);
    });
}

#[test]
fn http_2_carries_many_requests_at_once_with_trailers() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::Two, passage);
        serve(server, Version::Two, |request| async move {
            assert_eq!(request.uri().authority().unwrap(), "a.org");
            assert!(request.headers().get(header::HOST).is_none());
            assert_eq!(request.headers()[header::TE], "trailers");
            let collected = request.into_body().collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["x-end"], "1");
            let (sender, body) = stream();
            spawn_local(async move {
                sender.send(Frame::data(collected.to_bytes())).await.unwrap();
                let trailers: HeaderMap =
                    [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
                sender.send(Frame::trailers(trailers)).await.unwrap();
            });
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        });
        let client = two(client).await;
        let calls = (0..50).map(|number| {
            let mut client = client.clone();
            spawn_local(async move {
                let (sender, body) = stream();
                let request = Request::post("http://a.org/x").header("te", "trailers").body(body).unwrap();
                let response = client.send_request(request);
                let sending = async {
                    sender.send(Frame::data(Bytes::from(number.to_string()))).await.unwrap();
                    let trailers: HeaderMap = [("x-end".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
                    sender.send(Frame::trailers(trailers)).await.unwrap();
                    drop(sender);
                };
                let (response, ()) = tokio::join!(response, sending);
                let collected = response.unwrap().into_body().collect().await.unwrap();
                assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
                assert_eq!(collected.to_bytes(), number.to_string());
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        assert_eq!(*log.requests.borrow(), 50);
    });
}

#[test]
fn http_2_is_for_the_target_only() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::Two, passage);
        serve(server, Version::Two, |_| async { Response::new(body("ok")) });
        let mut client = two(client).await;
        let mut status = async |uri: &str, host: &[&str], method: Method| {
            let mut request = Request::builder().method(method).uri(uri);
            for host in host {
                request = request.header("host", *host);
            }
            client.ready().await.unwrap();
            client.send_request(request.body(body("")).unwrap()).await.map_or(0, |response| response.status().as_u16())
        };
        assert_eq!(status("http://a.org/", &[], Method::GET).await, 200);
        assert_eq!(status("http://A.org:80/", &["a.org"], Method::GET).await, 200);
        assert_eq!(status("http://b.org/", &[], Method::GET).await, 403);
        assert_eq!(status("http://a.org/", &["b.org"], Method::GET).await, 403);
        assert_eq!(status("http://a.org/", &["a.org", "b.org"], Method::GET).await, 400);
        assert_eq!(status("https://a.org/", &[], Method::GET).await, 400);
        assert_eq!(status("http://x@a.org/", &[], Method::GET).await, 400);
        assert_eq!(status("a.org:80", &[], Method::CONNECT).await, 403);
        let expected = [
            Reason::HostMismatch,
            Reason::HostMismatch,
            Reason::BadRequest,
            Reason::BadRequest,
            Reason::BadRequest,
            Reason::Tunnel,
        ];
        assert_eq!(log.reasons(), expected);
    });
}

#[test]
fn http_2_has_the_same_limits() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::Two, passage);
        serve(server, Version::Two, |_| async { Response::new(body("ok")) });
        let mut client = two(client).await;
        let mut many = Request::get("http://a.org/");
        for number in 0..=MAX_HEADERS {
            many = many.header(format!("x-{number}"), "y");
        }
        let response = client.send_request(many.body(body("")).unwrap()).await.unwrap();
        assert_eq!(response.status(), 431);
        assert_eq!(log.reasons(), [Reason::BadRequest]);
        let long = Request::get("http://a.org/").header("x", "y".repeat(70_000)).body(body("")).unwrap();
        let response = client.send_request(long).await.unwrap();
        assert_eq!(response.status(), 431);
        let words = text(response.into_body()).await;
        assert!(words.contains("its head is too long"), "{words}");
        assert_eq!(log.reasons(), [Reason::BadRequest; 2]);
    });
}

#[test]
fn an_event_arrives_while_the_server_holds_the_next_back() {
    for version in [Version::One, Version::Two] {
        run(async {
            let (passage, _) = passage("a.org:80", &[]);
            let (client, server) = carried(version, passage);
            let (events, answer) = stream();
            let answer = Rc::new(Cell::new(Some(answer)));
            serve(server, version, move |_| {
                let answer = answer.take().unwrap();
                async { Response::builder().header("content-type", "text/event-stream").body(answer).unwrap() }
            });
            let response = match version {
                Version::One => one(client).await.send_request(get("/")).await,
                Version::Two => {
                    two(client).await.send_request(Request::get("http://a.org/").body(body("")).unwrap()).await
                }
            };
            let mut received = response.unwrap().into_body();
            for number in 0..3 {
                let event = format!("data: {number}\n\n");
                events.send(Frame::data(Bytes::from(event.clone()))).await.unwrap();
                let frame = received.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), event);
            }
            drop(events);
            let rest = received.collect().await.unwrap().to_bytes();
            assert!(rest.is_empty());
        });
    }
}

#[test]
fn a_slow_reader_holds_the_server_back() {
    for version in [Version::One, Version::Two] {
        run(async {
            let (passage, _) = passage("a.org:80", &[]);
            let (client, server) = carried(version, passage);
            let sent = Rc::new(Cell::new(0u64));
            let counter = sent.clone();
            const SIZE: u64 = 256 * 1024 * 1024;
            serve(server, version, move |_| {
                let counter = counter.clone();
                async move {
                    let (sender, body) = stream();
                    spawn_local(async move {
                        let piece = Bytes::from(vec![7; 64 * 1024]);
                        while counter.get() < SIZE && sender.send(Frame::data(piece.clone())).await.is_ok() {
                            counter.set(counter.get() + piece.len() as u64);
                        }
                    });
                    Response::new(body)
                }
            });
            let response = match version {
                Version::One => one(client).await.send_request(get("/")).await,
                Version::Two => {
                    two(client).await.send_request(Request::get("http://a.org/").body(body("")).unwrap()).await
                }
            };
            let mut received = response.unwrap().into_body();
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
            let mut got = 0u64;
            let mut most = sent.get();
            while let Some(frame) = received.frame().await {
                got += frame.unwrap().into_data().unwrap().len() as u64;
                most = most.max(sent.get() - got);
            }
            assert_eq!(got, SIZE);
            // All that is ever between the two: buffers and windows of four connections.
            assert!(most < 16 * 1024 * 1024, "{most}");
        });
    }
}

#[test]
fn a_long_upload_passes_and_comes_back() {
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |request| async move { Response::new(request.into_body().boxed_unsync()) });
        let (sender, upload) = stream();
        let request = Request::post("/").header("host", "a.org").body(upload).unwrap();
        let mut client = one(client).await;
        let response = client.send_request(request);
        let sending = spawn_local(async move {
            for _ in 0..256 {
                sender.send(Frame::data(Bytes::from(vec![1; 64 * 1024]))).await.unwrap();
            }
        });
        let mut received = response.await.unwrap().into_body();
        let mut got = 0;
        while let Some(frame) = received.frame().await {
            got += frame.unwrap().into_data().unwrap().len();
        }
        sending.await.unwrap();
        assert_eq!(got, 256 * 64 * 1024);
    });
}

#[test]
fn a_websocket_passes_both_ways_until_both_end() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |mut request| async move {
            assert_eq!(request.headers()[header::UPGRADE], "websocket");
            assert_eq!(request.headers()["sec-websocket-key"], "dGhlIHNhbXBsZSBub25jZQ==");
            let upgrade = hyper::upgrade::on(&mut request);
            spawn_local(async move {
                let mut io = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                let (mut near, mut far) = tokio::io::duplex(64);
                spawn_local(async move { copy_bidirectional(&mut io, &mut near).await });
                let mut bytes = [0; 11];
                far.read_exact(&mut bytes).await.unwrap();
                far.write_all(&bytes).await.unwrap();
                // The client has closed its side, and still gets this.
                assert_eq!(far.read(&mut bytes).await.unwrap(), 0);
                far.write_all(b"bye").await.unwrap();
            });
            Response::builder()
                .status(101)
                .header("upgrade", "websocket")
                .header("connection", "upgrade")
                .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                .body(body(""))
                .unwrap()
        });
        let request = Request::get("/ws")
            .header("host", "a.org")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(body(""))
            .unwrap();
        let response = one(client).await.send_request(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers()["sec-websocket-accept"].to_str().unwrap()),
            (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        // Clients compare the whole of it.
        let connection: Vec<_> = response.headers().get_all(header::CONNECTION).iter().collect();
        assert_eq!(connection, ["Upgrade"]);
        let mut io = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let hello = b"\x81\x85\0\0\0\0hello";
        io.write_all(hello).await.unwrap();
        let mut bytes = [0; 11];
        io.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, hello);
        io.shutdown().await.unwrap();
        let mut rest = String::new();
        io.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "bye");
        assert!(log.reasons().is_empty());
    });
}

#[test]
fn a_refused_websocket_goes_on_as_http() {
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |_| async { Response::builder().status(426).body(body("no")).unwrap() });
        let mut client = one(client).await;
        for _ in 0..2 {
            let mut request = get("/");
            request.headers_mut().insert("connection", "upgrade".parse().unwrap());
            request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
            client.ready().await.unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status(), 426);
            assert_eq!(text(response.into_body()).await, "no");
        }
    });
}

#[test]
fn a_client_that_waits_for_leave_gets_it_or_the_refusal() {
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (mut client, server) = carried(Version::One, passage);
        serve(server, Version::One, |request| async { Response::new(body(text(request.into_body()).await)) });
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        let mut bytes = [0; 25];
        client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hi").await.unwrap();
        client.shutdown().await.unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200 OK") && rest.ends_with("\r\n\r\nhi"), "{rest}");
    });
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (mut client, _server) = carried(Version::One, passage);
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: b.org\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            .await
            .unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 403 "), "{rest}");
    });
}

#[test]
fn a_long_refused_upload_gets_its_answer() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, _server) = carried(Version::One, passage);
        let (mut reading, mut writing) = tokio::io::split(client);
        spawn_local(async move {
            writing.write_all(b"POST / HTTP/1.1\r\nHost: b.org\r\nContent-Length: 4000000\r\n\r\n").await.unwrap();
            let _ = writing.write_all(&vec![0; 4_000_000]).await;
        });
        let mut rest = String::new();
        reading.read_to_string(&mut rest).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 403 "), "{rest}");
        assert_eq!(log.reasons(), [Reason::HostMismatch]);
    });
}

#[test]
fn the_clients_connection_ends_with_the_servers() {
    for last in ["Connection: close\r\n", ""] {
        run(async {
            let (passage, log) = passage("a.org:80", &[]);
            let (mut client, mut server) = carried(Version::One, passage);
            client.write_all(b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\n").await.unwrap();
            let mut head = [0; 16];
            server.read_exact(&mut head).await.unwrap();
            server.write_all(format!("HTTP/1.1 200 OK\r\n{last}Content-Length: 2\r\n\r\nok").as_bytes()).await.unwrap();
            server.shutdown().await.unwrap();
            let mut all = String::new();
            // Before a client that says nothing more would be left.
            tokio::time::timeout(HEAD_TIME / 2, client.read_to_string(&mut all)).await.unwrap().unwrap();
            assert!(all.ends_with("\r\n\r\nok"), "{all}");
            assert!(log.reasons().is_empty());
        });
    }
}

#[test]
fn a_client_is_told_that_its_connection_ends_before_it_does() {
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (mut client, mut server) = carried(Version::One, passage);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\n").await.unwrap();
        server.read_exact(&mut [0; 16]).await.unwrap();
        server.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nok").await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\nok") {
            client.read_buf(&mut head).await.unwrap();
        }
        assert!(String::from_utf8(head).unwrap().to_ascii_lowercase().contains("\r\nconnection: close\r\n"));
    });
}

#[test]
fn a_connection_goes_on_after_a_refusal_whose_body_comes_late() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (mut client, server) = carried(Version::One, passage);
        serve(server, Version::One, |_| async { Response::new(body("ok")) });
        client.write_all(b"POST /1 HTTP/1.1\r\nHost: b.org\r\nContent-Length: 2\r\n\r\n").await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        client.write_all(b"hiGET /2 HTTP/1.1\r\nHost: a.org\r\n\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert!(all.starts_with("HTTP/1.1 403 ") && all.ends_with("\r\n\r\nok"), "{all}");
        assert_eq!(*log.requests.borrow(), 2);
    });
}

/// However much of it is still to come, and also if nobody wants a body.
#[test]
fn a_request_of_http_2_is_refused_in_words() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::Two, passage);
        serve(server, Version::Two, |_| async { Response::new(body("ok")) });
        let mut client = two(client).await;
        for size in [0, 1 << 16, 1 << 20, 3 << 20, 40 << 20] {
            let (sender, body) = stream();
            let sending = spawn_local(async move {
                let piece = Bytes::from(vec![7; 1 << 14]);
                for _ in 0..size >> 14 {
                    if sender.send(Frame::data(piece.clone())).await.is_err() {
                        break;
                    }
                }
            });
            client.ready().await.unwrap();
            let response = client.send_request(Request::post("http://b.org/").body(body).unwrap()).await.unwrap();
            assert_eq!(
                (response.status(), response.headers().contains_key("x-agentkernel-reason")),
                (403.try_into().unwrap(), true)
            );
            let text = text(response.into_body()).await;
            assert!(text.contains("b.org"), "{size}: {text}");
            sending.abort();
        }
        let request = Request::head("http://b.org/").body(body("")).unwrap();
        let response = client.send_request(request).await.unwrap();
        assert_eq!(
            (response.status(), response.into_body().collect().await.unwrap().to_bytes().len()),
            (403.try_into().unwrap(), 0)
        );
        // The connection goes on.
        let response = client.send_request(Request::get("http://a.org/").body(body("")).unwrap()).await.unwrap();
        assert_eq!(text(response.into_body()).await, "ok");
        assert_eq!(log.reasons().len(), 6);
    });
}

#[test]
fn a_server_that_hangs_up_at_once_is_told() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, mut server) = carried(Version::One, passage);
        spawn_local(async move { server.read_exact(&mut [0; 24]).await });
        assert_eq!(one(client).await.send_request(get("/")).await.unwrap().status(), 502);
        assert_eq!(log.reasons(), [Reason::Unreachable]);
    });
    // In HTTP/2 a client is told that the connection ends, and what was not answered.
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (client, mut server) = carried(Version::Two, passage);
        spawn_local(async move { server.read_exact(&mut [0; 24]).await });
        let request = Request::get("http://a.org/").body(body("")).unwrap();
        let answer = two(client).await.send_request(request).await;
        assert!(answer.is_err_and(|error| error.is_closed() || error.to_string().contains("http2")));
    });
}

#[test]
fn dropping_it_ends_both_sides() {
    for version in [Version::One, Version::Two] {
        run(async {
            let (passage, _) = passage("a.org:80", &[]);
            let (client, near) = tokio::io::duplex(64 * 1024);
            let (far, server) = tokio::io::duplex(64 * 1024);
            let carrying = spawn_local(clear(near, far, version, passage));
            let (held, ended) = tokio::sync::oneshot::channel::<()>();
            let held = Rc::new(Cell::new(Some(held)));
            serve(server, version, move |_| {
                let held = held.take();
                async move {
                    // Dropped with the connection.
                    let _held = held;
                    std::future::pending().await
                }
            });
            let response = spawn_local(async move {
                match version {
                    Version::One => one(client).await.send_request(get("/")).await,
                    Version::Two => {
                        two(client).await.send_request(Request::get("http://a.org/").body(body("")).unwrap()).await
                    }
                }
            });
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            carrying.abort();
            response.await.unwrap().unwrap_err();
            ended.await.unwrap_err();
        });
    }
}

#[test]
fn tokens_are_counted_and_end() {
    run(async {
        let (mut passage, log) = passage("a.org:80", &[]);
        passage.budget = Rc::new(crate::Budget::new(Some(20), 0));
        let budget = passage.budget.clone();
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |_| async move {
            let answer = r#"{"usage":{"input_tokens":10,"output_tokens":5}}"#;
            Response::builder().header("content-type", "application/json").body(body(answer)).unwrap()
        });
        let mut client = one(client).await;
        let mut status = async || {
            let mut request = get("/v1/messages");
            request.headers_mut().insert(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
            client.ready().await.unwrap();
            let response = client.send_request(request).await.unwrap();
            (response.status().as_u16(), text(response.into_body()).await)
        };
        assert_eq!(status().await.0, 200);
        assert_eq!((budget.spent(), *log.tokens.borrow()), (15, 15));
        assert_eq!(status().await.0, 200);
        let (status, words) = status().await;
        assert_eq!(status, 403);
        assert!(words.contains("used up its tokens (30 of 20 used) [token-limit]"), "{words}");
        assert_eq!(log.reasons(), [Reason::TokenLimit]);
    });
}

#[test]
fn an_answer_that_ends_like_a_refusal_waits_for_nothing() {
    const ENDS_SO: &str = "So:\n\nHTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |_| async move { Response::new(body(ENDS_SO)) });
        let mut client = one(client).await;
        for _ in 0..2 {
            let response = client.send_request(get("/")).await.unwrap();
            assert_eq!(text(response.into_body()).await, ENDS_SO);
            client.ready().await.unwrap();
        }
        assert_eq!(log.reasons(), vec![]);
    });
}

/// Trailers are headers: nothing that stands in for a secret goes elsewhere in them, nor anywhere in clear.
#[test]
fn trailers_hide_no_secret() {
    for version in [Version::One, Version::Two] {
        run(async {
            let (passage, log) = passage("a.org:80", &["a.org"]);
            let (client, server) = carried(version, passage);
            serve(server, version, |request| async move {
                let _ = request.into_body().collect().await.map(|all| assert_eq!(all.trailers(), None));
                Response::new(body("end"))
            });
            let (sender, body) = stream();
            let request = Request::post("http://a.org/x").header("host", "a.org").header("trailer", "x-end");
            let request = request.body(body).unwrap();
            let sending = async {
                sender.send(Frame::data(Bytes::from("data"))).await.unwrap();
                let trailers = [("x-end".parse().unwrap(), crate::testing::PLACEHOLDER.parse().unwrap())];
                sender.send(Frame::trailers(trailers.into_iter().collect())).await.unwrap();
            };
            let answer = async {
                match version {
                    Version::One => one(client).await.send_request(request).await.map(|response| response.status()),
                    Version::Two => two(client).await.send_request(request).await.map(|response| response.status()),
                }
            };
            let (answer, ()) = tokio::join!(answer, sending);
            assert_eq!(answer.unwrap(), StatusCode::FORBIDDEN);
            assert_eq!(log.reasons(), [Reason::SecretInClear]);
        });
    }
}

#[test]
fn only_what_can_be_read_is_asked_for() {
    for (wanted, asked) in [
        (&["gzip, deflate, br, zstd"][..], "gzip, deflate"),
        (&["gzip;q=1.0, x-gzip, identity;q=0.5"], "gzip;q=1.0, x-gzip, identity;q=0.5"),
        (&["br;q=1", "GZIP", "*;q=0.1"], "GZIP"),
        (&["br, zstd"], "identity"),
        (&["br, \u{fc}"], "identity"),
        (&["gzip, br;q=1\u{fc}"], "gzip"),
        // Written so that some servers read another coding in it.
        (&["gzip;br", "gzip;q=1;br, deflate ; Q=0.25"], "deflate ; Q=0.25"),
        (&["gzip;q=2, gzip;q=0.1234, gzip;q=br, gzip; zstd"], "identity"),
        (&["gzip\tbr", "gzip br, deflate;q=0."], "deflate;q=0."),
        (&[""], "identity"),
    ] {
        run(async {
            let (passage, _) = passage("a.org:80", &[]);
            let (client, server) = carried(Version::One, passage);
            serve(server, Version::One, |request| async move {
                let all = request.headers().get_all(header::ACCEPT_ENCODING).iter();
                let all: Vec<_> = all.map(|value| value.to_str().unwrap().to_owned()).collect();
                Response::new(body(all.join("|")))
            });
            let mut request = get("/");
            for wanted in wanted {
                request
                    .headers_mut()
                    .append(header::ACCEPT_ENCODING, HeaderValue::from_bytes(wanted.as_bytes()).unwrap());
            }
            let response = one(client).await.send_request(request).await.unwrap();
            assert_eq!(text(response.into_body()).await, asked, "{wanted:?}");
        });
    }
}

#[test]
fn other_characters_are_not_asked_for() {
    run(async {
        let (passage, _) = passage("a.org:80", &[]);
        let (client, server) = carried(Version::One, passage);
        serve(server, Version::One, |request| async move {
            let named = |name| request.headers().get_all(name).iter().map(|value| value.to_str().unwrap());
            let all: Vec<_> = named(header::ACCEPT_CHARSET).chain(named(header::ACCEPT)).collect();
            Response::new(body(all.join("|")))
        });
        let mut request = get("/");
        for (name, value) in [
            (header::ACCEPT_CHARSET, "utf-16"),
            (header::ACCEPT, "application/json; Charset=utf-16;q=0.5, text/*;charset=\"utf-16\";q=0.1"),
            (header::ACCEPT, "*/*;q=0.1"),
        ] {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let response = one(client).await.send_request(request).await.unwrap();
        assert_eq!(text(response.into_body()).await, "application/json;q=0.5, text/*;q=0.1|*/*;q=0.1");
    });
}

#[test]
fn compressed_answers_are_counted_and_pass_as_they_are() {
    // {"usage":{"input_tokens":10,"output_tokens":5}}, and what is no gzip.
    let answer = r#"{"usage":{"input_tokens":10,"output_tokens":5}}"#;
    let mut coded = Vec::with_capacity(1024);
    let mut stream = flate2::Compress::new_gzip(flate2::Compression::default(), 15);
    stream.compress_vec(answer.as_bytes(), &mut coded, flate2::FlushCompress::Finish).unwrap();
    for (coding, answer, tokens) in [("gzip", coded.clone(), 15), ("br", coded, 0), ("gzip", answer.into(), 0)] {
        run(async {
            let (passage, log) = passage("a.org:80", &[]);
            let (client, server) = carried(Version::One, passage);
            let own = answer.clone();
            serve(server, Version::One, move |_| {
                let answer = own.clone();
                async move {
                    let response = Response::builder().header("content-type", "application/json");
                    response.header("content-encoding", coding).body(body(answer)).unwrap()
                }
            });
            let mut client = one(client).await;
            let response = client.send_request(get("/")).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), answer);
            client.ready().await.unwrap();
            assert_eq!(*log.tokens.borrow(), tokens, "{coding}");
        });
    }
}
