//! What is told of requests over HTTP/2 that end before they should.

use crate::{
    Reason,
    http::Version,
    testing::{body, carried, passage, run, serve, two},
};
use ::http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_local,
};

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field of a head that is in no table: its name, and its value.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// What the library refuses before anybody here has seen it.
#[test]
fn unreadable_requests_of_http_2_are_told() {
    // GET, http, and /, as in the static table; and the authority.
    let good = [&[0x82, 0x86, 0x84][..], &field(":authority", "a.org")].concat();
    let after = |more: Vec<u8>| [&good[..], &more].concat();
    for (heads, told) in [
        (vec![good.clone()], 0),
        (vec![vec![0x86, 0x84]], 1),
        (vec![after(field("x", "y")), after(field("X-Upper", "y"))], 1),
        (vec![after(field("connection", "close")), good.clone(), after(field(":status", "200"))], 2),
        (vec![after(field(":authority", "b.org"))], 1),
        (vec![[&[0x82, 0x86, 0x84][..], &field(":authority", "b.org:x")].concat()], 1),
        // Of which no table has anything: the whole connection is done for.
        (vec![vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff]], 1),
    ] {
        run(async {
            let (passage, log) = passage("a.org:80", &[]);
            let (mut client, server) = carried(Version::Two, passage);
            serve(server, Version::Two, |_| async { Response::new(body("ok")) });
            client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            client.write_all(&frame(4, 0, 0, &[])).await.unwrap();
            for (number, head) in heads.iter().enumerate() {
                client.write_all(&frame(1, 5, 2 * number as u32 + 1, head)).await.unwrap();
            }
            let mut seen = Vec::new();
            let patience = std::time::Duration::from_millis(500);
            while tokio::time::timeout(patience, client.read_buf(&mut seen)).await.is_ok_and(|read| read.unwrap() > 0) {
            }
            drop(client);
            tokio::time::sleep(patience / 5).await;
            assert_eq!(log.reasons(), vec![Reason::BadRequest; told], "{heads:?}");
        });
    }
}

/// Whoever has the answer may leave out the rest of its request, as curl does: nothing was refused.
#[test]
fn what_ends_early_once_it_is_answered_is_not_told_as_unreadable() {
    for answered in [true, false] {
        run(async {
            let (passage, log) = passage("a.org:80", &[]);
            let (mut client, server) = carried(Version::Two, passage);
            serve(server, Version::Two, move |_| async move {
                if !answered {
                    std::future::pending::<()>().await;
                }
                Response::new(body("no"))
            });
            let head =
                [&[0x83, 0x86, 0x84][..], &field(":authority", "a.org"), &field("content-length", "10")].concat();
            client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            client.write_all(&[frame(4, 0, 0, &[]), frame(1, 4, 1, &head)].concat()).await.unwrap();
            let (mut seen, patience) = (Vec::new(), std::time::Duration::from_millis(300));
            let mut hear = async || {
                while tokio::time::timeout(patience, client.read_buf(&mut seen))
                    .await
                    .is_ok_and(|read| read.unwrap() > 0)
                {}
                seen.windows(2).any(|two| two == b"no")
            };
            assert_eq!(hear().await, answered);
            client.write_all(&frame(0, 1, 1, b"abc")).await.unwrap();
            while tokio::time::timeout(patience, client.read_buf(&mut seen)).await.is_ok_and(|read| read.unwrap() > 0) {
            }
            assert_eq!(log.reasons().contains(&Reason::BadRequest), !answered, "{:?}", log.refused.borrow());
        });
    }
}

/// Whoever stops sending when he reads that he is refused gets to read why: the head does not come alone.
#[test]
fn an_early_refusal_comes_with_its_body() {
    run(async {
        let (passage, log) = passage("a.org:80", &[]);
        let (mut client, mut server) = carried(Version::Two, passage);
        let patience = std::time::Duration::from_millis(300);
        spawn_local(async move {
            server.write_all(&[frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat()).await.unwrap();
            let mut seen = Vec::new();
            while tokio::time::timeout(patience, server.read_buf(&mut seen)).await.is_ok() {}
            server.write_all(&frame(1, 4, 1, b"\x48\x03401")).await.unwrap();
            tokio::time::sleep(patience).await;
            server.write_all(&frame(0, 1, 1, b"no")).await.unwrap();
            std::future::pending::<()>().await
        });
        let head = [&[0x83, 0x86, 0x84][..], &field(":authority", "a.org"), &field("content-length", "10")].concat();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        client.write_all(&[frame(4, 0, 0, &[]), frame(1, 4, 1, &head)].concat()).await.unwrap();
        let mut seen = Vec::new();
        // The head of the answer is the first such frame.
        let is_told = |seen: &[u8]| {
            let mut left = seen;
            while let [a, b, c, kind, _, _, _, _, stream, rest @ ..] = left {
                if (*kind, *stream) == (1, 1) {
                    return true;
                }
                left = rest.get(usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)..).unwrap_or_default();
            }
            false
        };
        while !is_told(&seen) {
            assert!(client.read_buf(&mut seen).await.unwrap() > 0);
        }
        client.write_all(&frame(0, 1, 1, b"abc")).await.unwrap();
        while tokio::time::timeout(patience, client.read_buf(&mut seen)).await.is_ok_and(|read| read.unwrap() > 0) {}
        assert!(seen.windows(2).any(|two| two == b"no"), "{seen:?}");
        assert_eq!(log.reasons(), []);
    });
}

/// What the server breaks off is no fault of the request's.
#[test]
fn what_the_server_resets_is_not_told_as_unreadable() {
    for answered in [false, true] {
        run(async {
            let (passage, log) = passage("a.org:80", &[]);
            let (client, mut server) = carried(Version::Two, passage);
            spawn_local(async move {
                server.write_all(&[frame(4, 0, 0, &[]), frame(4, 1, 0, &[])].concat()).await.unwrap();
                // The request is there once nothing more comes.
                let (mut seen, patience) = (Vec::new(), std::time::Duration::from_millis(300));
                while tokio::time::timeout(patience, server.read_buf(&mut seen)).await.is_ok() {}
                if answered {
                    server.write_all(&frame(1, 4, 1, &[0x88])).await.unwrap();
                }
                server.write_all(&frame(3, 0, 1, &[0, 0, 0, 1])).await.unwrap();
                std::future::pending::<()>().await
            });
            let request = Request::get("http://a.org/").body(body("")).unwrap();
            if let Ok(response) = two(client).await.send_request(request).await {
                let _ = response.into_body().collect().await;
            }
            assert!(!log.reasons().contains(&Reason::BadRequest), "{answered}: {:?}", log.refused.borrow());
        });
    }
}
