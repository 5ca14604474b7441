use super::*;
use crate::{
    Budget,
    first::Version,
    testing::{Log, carried, passage, run},
};
use tokio::{io::DuplexStream, task::spawn_local};

const DONE: &str =
    r#"{"type":"response.completed","response":{"usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15}}}"#;
const TEXT: u8 = 1;

fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = match payload.len() {
        length @ 0..126 => vec![first, bit | length as u8],
        length @ 126..65_536 => [&[first, bit | 126], &(length as u16).to_be_bytes()[..]].concat(),
        length => [&[first, bit | 127], &(length as u64).to_be_bytes()[..]].concat(),
    };
    frame.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A whole message of a server's.
fn said(payload: &str) -> Vec<u8> {
    frame(0x80 | TEXT, None, payload.as_bytes())
}

/// One of a client's.
fn asked(payload: &str) -> Vec<u8> {
    frame(0x80 | TEXT, Some([1, 2, 3, 4]), payload.as_bytes())
}

fn messages(bytes: &[u8], piece: usize) -> Vec<String> {
    let (mut messages, mut all) = (Messages::default(), Vec::new());
    for piece in bytes.chunks(piece) {
        let read = messages.read(piece, |message| {
            all.push(String::from_utf8_lossy(message).into_owned());
            false
        });
        assert_eq!(read, piece.len());
    }
    assert!(messages.frames.is_between());
    all
}

#[test]
fn messages_are_read_in_whatever_frames_and_pieces() {
    let (middle, long) = ("m".repeat(300), "l".repeat(70_000));
    let all = [
        said("one"),
        said(""),
        frame(TEXT, None, b"t"),
        frame(0, None, b""),
        // Control frames come between.
        frame(0x89, None, b"ping"),
        frame(0, None, b"w"),
        frame(0x80, None, b"o"),
        said(&middle),
        frame(0x82, None, long.as_bytes()),
        // Compressed by an extension, in both of its frames; and masked.
        frame(0x40 | TEXT, None, b"x"),
        frame(0x80, None, b"y"),
        frame(0x80 | TEXT, Some([1, 2, 3, 4]), b"z"),
        said("last"),
        frame(0x88, None, b"\x03\xe8"),
    ]
    .concat();
    for piece in [1, 2, 5, 1000, 1 << 20] {
        assert_eq!(messages(&all, piece), ["one", "", "two", &middle, &long, "last"], "{piece}");
    }
}

#[test]
fn a_message_that_is_too_long_is_passed_over() {
    let part = vec![b' '; MAX / 2 + 1];
    let long = [frame(TEXT, None, &part), frame(0, None, &part), frame(0x80, None, b"end"), said("next")].concat();
    assert_eq!(messages(&long, 1 << 16), ["next"]);
    // A length that nobody has room for.
    let mut frames = Messages::default();
    let most = [&[0x81, 127][..], &[255; 8], b"abc"].concat();
    assert_eq!(frames.read(&most, |_| true), most.len());
    assert_eq!(frames.message, b"abc");
}

#[test]
fn reading_stops_behind_the_message_that_ends_it() {
    let (first, second) = (said("one"), said("two"));
    let mut messages = Messages::default();
    assert_eq!(messages.read(&[first.clone(), second].concat(), |_| true), first.len());
}

#[test]
fn what_a_farewell_says_fits() {
    let (passage, _) = passage("a.org:80", &[]);
    let denial = Denial::new(Reason::TokenLimit, &passage.target);
    let short = farewell(&denial.clone().because("30 of 20 used"));
    let words = b"\x03\xf0agentkernel: the sandbox has used up its tokens (30 of 20 used) [token-limit]";
    assert_eq!(short, frame(0x88, None, words));
    let long = farewell(&denial.because("\u{e4}".repeat(100)));
    assert!(long.len() <= 2 + 125 && usize::from(long[1]) == long.len() - 2);
    assert!(std::str::from_utf8(&long[4..]).is_ok());
}

/// A WebSocket through a passage with this limit: client, server, what is told, and what the server was asked with.
async fn opened(limit: Option<u64>) -> (DuplexStream, DuplexStream, Rc<Log>, Rc<Budget>, String) {
    let (mut passage, log) = passage("a.org:80", &[]);
    passage.budget = Rc::new(Budget::new(limit, 0));
    let budget = passage.budget.clone();
    let (mut client, mut server) = carried(Version::One, passage);
    let request = "GET /v1/responses HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
                   Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let seen = head(&mut server).await;
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    server.write_all(answer.as_bytes()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    (client, server, log, budget, seen)
}

async fn head(io: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn exactly(io: &mut DuplexStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expected);
}

/// What comes until the end.
async fn rest(io: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    io.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[test]
fn tokens_are_counted_and_end_the_conversation() {
    run(async {
        let (mut client, mut server, log, budget, seen) = opened(Some(20)).await;
        // Nothing is agreed on that would make messages unreadable.
        assert!(!seen.to_ascii_lowercase().contains("extensions") && seen.contains("Sec-WebSocket-Protocol"), "{seen}");
        for spent in [15, 30] {
            client.write_all(&asked("a question")).await.unwrap();
            exactly(&mut server, &asked("a question")).await;
            // What is begun comes at once, and as it was said.
            let delta = [said(r#"{"type":"response.output_text.delta"}"#), said(DONE)[..9].to_vec()].concat();
            server.write_all(&delta).await.unwrap();
            exactly(&mut client, &delta).await;
            assert_eq!(budget.spent(), spent - 15);
            server.write_all(&said(DONE)[9..]).await.unwrap();
            exactly(&mut client, &said(DONE)[9..]).await;
            assert_eq!((budget.spent(), *log.tokens.borrow()), (spent, spent));
        }
        let told = b"\x03\xf0agentkernel: the sandbox has used up its tokens (30 of 20 used) [token-limit]";
        assert_eq!(rest(&mut client).await, frame(0x88, None, told));
        assert_eq!(rest(&mut server).await, LEAVE_TAKEN);
        assert_eq!(log.reasons(), [Reason::TokenLimit]);
        assert_eq!(log.refused.borrow()[0].1, "GET /v1/responses");
    });
}

#[test]
fn what_others_have_spent_ends_it_with_the_next_question() {
    run(async {
        let (mut client, mut server, log, budget, _) = opened(Some(20)).await;
        let delta = said("delta");
        server.write_all(&delta[..3]).await.unwrap();
        exactly(&mut client, &delta[..3]).await;
        spend_message(br#"{"usage":{"total_tokens":20}}"#, &budget, &crate::Host::parse("b.org").unwrap());
        // What is answered goes on, and nobody asks for anything by a pong.
        let pong = frame(0x8a, Some([9, 8, 7, 6]), b"ping");
        client.write_all(&pong).await.unwrap();
        exactly(&mut server, &pong).await;
        client.write_all(&asked("another")).await.unwrap();
        // The frame that the server has begun ends before the client is told.
        server.write_all(&delta[3..]).await.unwrap();
        let told = rest(&mut client).await;
        assert!(told.starts_with(&delta[3..]), "{told:?}");
        let words = b"\x03\xf0agentkernel: the sandbox has used up its tokens (20 of 20 used) [token-limit]";
        assert_eq!(told[delta.len() - 3..], frame(0x88, None, words));
        assert_eq!(rest(&mut server).await, LEAVE_TAKEN);
        assert_eq!(log.reasons(), [Reason::TokenLimit]);
    });
}

/// A request, a frame without a mask, one of an extension, of an unknown kind, and a control frame that is none.
#[test]
fn nothing_but_frames_passes() {
    let long = frame(0x89, Some([1, 2, 3, 4]), &[0; 126]);
    let no_frames: [&[u8]; 6] = [
        b"GET /admin HTTP/1.1\r\nHost: b.org\r\n\r\n",
        &said("none"),
        &frame(0xc1, Some([1, 2, 3, 4]), b"x"),
        &frame(0x83, Some([1, 2, 3, 4]), b"x"),
        &frame(0x09, Some([1, 2, 3, 4]), b"x"),
        &long,
    ];
    for foreign in no_frames {
        for piece in [1, 3, 1000] {
            run(async {
                let (mut client, mut server, log, ..) = opened(None).await;
                client.write_all(&asked("a question")).await.unwrap();
                exactly(&mut server, &asked("a question")).await;
                let foreign = foreign.to_vec();
                spawn_local(async move {
                    for piece in foreign.chunks(piece) {
                        // It is refused meanwhile.
                        let _ = client.write_all(piece).await;
                        tokio::task::yield_now().await;
                    }
                    rest(&mut client).await
                });
                let heard = rest(&mut server).await;
                assert!(heard.len() < 3 || heard == LEAVE_TAKEN, "{heard:?}");
                assert_eq!(log.reasons(), [Reason::BadRequest]);
            });
        }
    }
}

/// What anybody could answer is no answer to the key, and without a key nothing is asked for.
#[test]
fn a_server_must_know_that_it_speaks_to_a_websocket() {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    let wrong = "Sec-WebSocket-Accept: t3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for (asked, said, status) in [
        (key.to_owned(), accept.to_owned(), "101"),
        (key.to_owned(), String::new(), "502"),
        (key.to_owned(), wrong.to_owned(), "502"),
        (key.to_owned(), accept.repeat(2), "502"),
        (String::new(), accept.to_owned(), "502"),
        (key.repeat(2), accept.to_owned(), "502"),
        ("Sec-WebSocket-Key: x\r\n".to_owned(), accept.to_owned(), "502"),
    ] {
        run(async {
            let (passage, _) = passage("a.org:80", &[]);
            let (mut client, mut server) = carried(Version::One, passage);
            let begin = "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            client.write_all(format!("{begin}{asked}\r\n").as_bytes()).await.unwrap();
            let asks = head(&mut server).await.to_ascii_lowercase().contains("upgrade: websocket");
            assert_eq!(asks, asked == key);
            let answer = format!("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{said}\r\n");
            server.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(head(&mut client).await.split(' ').nth(1), Some(status), "{asked}{said}");
        });
    }
}

#[test]
fn without_a_limit_it_only_counts() {
    run(async {
        let (mut client, mut server, log, budget, _) = opened(None).await;
        let all = said(DONE).repeat(3);
        server.write_all(&all).await.unwrap();
        exactly(&mut client, &all).await;
        assert_eq!((budget.spent(), *log.tokens.borrow()), (45, 45));
        client.write_all(&asked("more")).await.unwrap();
        exactly(&mut server, &asked("more")).await;
        let ending = spawn_local(async move { rest(&mut server).await });
        client.shutdown().await.unwrap();
        assert_eq!(ending.await.unwrap(), b"");
        assert_eq!(rest(&mut client).await, b"");
        assert!(log.reasons().is_empty());
    });
}

proptest::proptest! {
    #[test]
    fn nonsense_does_no_harm(bytes: Vec<u8>, piece in 1..20usize) {
        let mut messages = Messages::default();
        for piece in bytes.chunks(piece) {
            proptest::prop_assert_eq!(messages.read(piece, |_| false), piece.len());
            proptest::prop_assert!(messages.message.len() <= bytes.len());
        }
    }
}
