//! What is read differently by different programs: by raw bytes, as no library would send them.

use super::*;
use crate::{
    Requests,
    testing::{PLACEHOLDER, VALUE, late, only, passage, raw},
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What comes of a request to a.org:80: what the server got, the status, and why it was refused.
fn outcome(request: &str) -> (String, u16, Option<Reason>) {
    let (passage, log) = passage("a.org:80", &[]);
    let (server, client) = raw(passage, request.as_bytes(), OK);
    let status = client.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let reason = log.reasons().first().copied();
    (server, status, reason)
}

#[test]
fn a_request_is_written_anew() {
    let (server, status, reason) =
        outcome("GET /a?b=c HTTP/1.1\r\nHost: A.org\r\nX-Odd-CASE:  x \r\nAccept: */*\r\n\r\n");
    assert_eq!(server, "GET /a?b=c HTTP/1.1\r\nHost: A.org\r\nX-Odd-CASE: x\r\nAccept: */*\r\n\r\n");
    assert_eq!((status, reason), (200, None));
}

#[test]
fn every_spelling_of_the_same_host_passes() {
    for host in ["a.org", "A.ORG", "a.org.", "a.org:80"] {
        let (server, status, reason) = outcome(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((status, reason), (200, None), "{host}");
        assert!(server.contains(&format!("Host: {host}\r\n")));
    }
    let (server, status, _) = outcome("GET http://a.org/x?y HTTP/1.1\r\nHost: a.org\r\n\r\n");
    assert_eq!((server.as_str(), status), ("GET /x?y HTTP/1.1\r\nHost: a.org\r\n\r\n", 200));
    let (server, ..) = outcome("OPTIONS * HTTP/1.1\r\nHost: a.org\r\n\r\n");
    assert!(server.starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn a_request_for_another_host_is_refused() {
    for (request, reason) in [
        ("GET / HTTP/1.1\r\nHost: b.org\r\n\r\n", Reason::HostMismatch),
        ("GET / HTTP/1.1\r\nHost: a.org:81\r\n\r\n", Reason::HostMismatch),
        ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", Reason::HostMismatch),
        ("GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", Reason::HostMismatch),
        ("GET http://b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::HostMismatch),
        ("GET http://a.org/ HTTP/1.1\r\nHost: b.org\r\n\r\n", Reason::HostMismatch),
        ("GET http://b.org/ HTTP/1.1\r\nHost: b.org\r\n\r\n", Reason::HostMismatch),
        ("GET / HTTP/1.0\r\nHost: b.org\r\n\r\n", Reason::HostMismatch),
        ("GET https://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::BadRequest),
        ("GET http://a.org@b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::BadRequest),
        ("GET http://a.org:x@a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a.org\r\nHost: b.org\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a.org\r\nhost: a.org\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a.org, b.org\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: a.org/b\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: x@a.org\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost: \u{e4}.org\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\n\r\n", Reason::BadRequest),
        ("GET / HTTP/1.1\r\nConnection: host\r\n\r\n", Reason::BadRequest),
        ("GET a.org HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::BadRequest),
        ("GET a.org:80 HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::BadRequest),
        ("GET * HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::BadRequest),
        ("CONNECT a.org:80 HTTP/1.1\r\nHost: a.org\r\n\r\n", Reason::Tunnel),
        ("CONNECT b.org:443 HTTP/1.1\r\nHost: b.org:443\r\n\r\n", Reason::Tunnel),
    ] {
        let (server, status, why) = outcome(request);
        let expected = if reason == Reason::BadRequest { 400 } else { 403 };
        assert_eq!((server.as_str(), status, why), ("", expected, Some(reason)), "{request}");
    }
}

#[test]
fn http_1_0_works_without_a_host() {
    let (server, status, _) = outcome("GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(server, "GET /x HTTP/1.1\r\nhost: a.org\r\n\r\n");
    assert_eq!(status, 200);
    // With the port where it is not the scheme's own.
    for (target, tls, expected) in [
        ("a.org:443", true, "a.org"),
        ("a.org:443", false, "a.org:443"),
        ("a.org:80", true, "a.org:80"),
        ("a.org:8080", false, "a.org:8080"),
        ("[2001:db8::1]:80", false, "[2001:db8::1]"),
    ] {
        let request = ::http::Request::get("/x").version(::http::Version::HTTP_10).body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        let target = Target::parse(target, None).unwrap();
        head::check(&parts, &target, tls).unwrap();
        head::rewrite(&mut parts, &target, tls);
        assert_eq!(parts.headers["host"], expected, "{target} {tls}");
    }
}

#[test]
fn a_body_that_cannot_be_read_goes_no_further() {
    let head = "POST /x HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("5;{}\r\n", "x".repeat(20_000));
    for body in
        ["ZZ\r\n", " 5 \r\n", "5\r\nhelloXX", "FFFFFFFFFFFFFFFFF\r\n", "5;a\nb\r\n", &extension, "0\r\nx y: z\r\n\r\n"]
    {
        let hidden = "GET /hidden HTTP/1.1\r\nHost: a.org\r\n\r\n";
        let (passage, log) = passage("a.org:80", &[]);
        // This server answers nothing before it has the body.
        let (server, client) = raw(passage, format!("{head}{body}{hidden}").as_bytes(), b"");
        assert!(client.starts_with("HTTP/1.1 400 "), "{body}: {client}");
        assert!(client.contains("x-agentkernel-reason: bad-request\r\n"), "{body}: {client}");
        assert!(client.contains("the request is malformed (its body cannot be read: "), "{body}: {client}");
        assert!(!client.contains("x y"), "{body}: {client}");
        assert_eq!(log.reasons(), [Reason::BadRequest], "{body}");
        assert!(!server.contains("hidden") && !server.contains("0\r\n\r\n"), "{body}: {server}");
        // Once its answer is on its way, that ends.
        let (passage, log) = self::passage("a.org:80", &[]);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok";
        let (server, client) = late(passage, head.as_bytes(), answer, format!("{body}{hidden}").as_bytes());
        assert!(client.ends_with("\r\n\r\nok"), "{body}: {client}");
        assert_eq!(log.reasons(), [Reason::BadRequest], "{body}");
        assert!(!server.contains("hidden") && !server.contains("0\r\n\r\n"), "{body}: {server}");
    }
}

#[test]
fn what_cannot_be_read_never_reaches_the_server() {
    for request in [
        "GET / HTTP/1.1\r\nHost : a.org\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.org\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.org\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.org\r\nX: a\rb\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a.org\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.org\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.org\r\nX Y: z\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a.org\r\n\r\n",
        "GET / HTTP/1.1 x\r\nHost: a.org\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 1, 2\r\n\r\nxx",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nxx",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a.org\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 0x1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: -1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "NOT HTTP\r\n\r\n",
    ] {
        let (server, status, why) = outcome(request);
        assert_eq!(why, Some(Reason::BadRequest), "{request:?} {status} {server:?}");
        assert_eq!(server, "", "{request:?}");
        assert!(status == 400 || status == 0, "{request:?} {status}");
    }
}

#[test]
fn nothing_follows_a_request_with_two_lengths() {
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a.org\r\n\r\n");
    // Those before it are answered.
    let body = "POST /body HTTP/1.1\r\nHost: a.org\r\nContent-Length: 3\r\n\r\nabc";
    let two = "POST /two HTTP/1.1\r\nHost: a.org\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let request = [&one("/1"), body, &one("/2"), two, &one("/hidden")].concat();
    let (passage, log) = passage("a.org:80", &[]);
    let (server, client) = raw(passage, request.as_bytes(), OK);
    assert!(server.contains("/body") && server.contains("/2") && !server.contains("/two"), "{server}");
    assert!(!server.contains("/hidden"), "{server}");
    let statuses: Vec<_> = client.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "200", "400"]);
    assert!(client.contains("(it has two lengths) [bad-request]"), "{client}");
    assert_eq!(log.refused.borrow()[0].1, "POST /two");
}

#[test]
fn what_cannot_be_read_is_answered_in_words() {
    let long = format!("GET / HTTP/1.1\r\nHost: a.org\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a.org\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost : a.org\r\n\r\n", "400 Bad Request"),
        ("NOT HTTP\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
        (&many, "431 Request Header Fields Too Large"),
    ] {
        // Alone, and after another one.
        for first in ["", "GET /1 HTTP/1.1\r\nHost: a.org\r\n\r\n"] {
            let (passage, log) = passage("a.org:80", &[]);
            let (server, client) = raw(passage, [first, request].concat().as_bytes(), OK);
            assert_eq!(server, first);
            assert_eq!(log.reasons(), [Reason::BadRequest]);
            let start = client.rfind("HTTP/1.1 ").unwrap();
            let (head, words) = client[start..].split_once("\r\n\r\n").unwrap();
            assert!(client[..start].ends_with(if first.is_empty() { "" } else { "\r\n\r\nok" }), "{client}");
            assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
            assert!(head.contains("\r\nx-agentkernel-reason: bad-request\r\nconnection: close\r\n"), "{head}");
            assert!(head.ends_with(&format!("\r\ncontent-length: {}", words.len())), "{head}");
            let cause = &log.refused.borrow()[0].0.detail;
            assert!(words.contains(&format!("the request is malformed ({cause}) [bad-request].\n")), "{words}");
        }
    }
}

#[test]
fn a_server_may_refuse_without_words() {
    let wordless = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (passage, log) = passage("a.org:80", &[]);
    let request = b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\nNOT HTTP\r\n\r\n";
    let (_, client) = raw(passage, request, wordless.as_bytes());
    assert_eq!((client.as_str(), log.reasons()), (wordless, vec![]));
}

#[test]
fn what_has_one_meaning_here_has_it_for_the_server_too() {
    // Lines that end in a line feed alone, and empty ones before the first.
    let (server, status, _) = outcome("\r\n\nGET / HTTP/1.1\nHost: a.org\nX: y\n\n");
    assert_eq!((server.as_str(), status), ("GET / HTTP/1.1\r\nHost: a.org\r\nX: y\r\n\r\n", 200));
    // Chunks: extensions and leading zeros are not passed on.
    let (server, ..) =
        outcome("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: CHUNKED\r\n\r\n0002;a=b\r\nhi\r\n0\r\n\r\n");
    assert!(server.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{server}");
    // What a fragment could hide.
    let (server, ..) = outcome("GET /a#/../b HTTP/1.1\r\nHost: a.org\r\n\r\n");
    assert!(server.starts_with("GET /a HTTP/1.1\r\n"), "{server}");
}

#[test]
fn a_bad_chunk_ends_the_connection() {
    for chunks in [
        "2\nhi\r\n0\r\n\r\n",
        "2\r\nhiX\r\n0\r\n\r\n",
        "-2\r\nhi\r\n",
        "2 2\r\nhi\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}GET /hidden");
        let (server, ..) = outcome(&request);
        assert!(!server.contains("hidden") && !server.ends_with("0\r\n\r\n"), "{chunks:?} {server:?}");
    }
}

#[test]
fn a_body_is_never_a_request() {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: b.org\r\n\r\n";
    let (passage, log) = passage("a.org:80", &[]);
    let request = format!("GET / HTTP/1.1\r\nHost: a.org\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len());
    let (server, _) = raw(passage, request.as_bytes(), OK);
    assert!(server.contains(&format!("Content-Length: {}\r\n", hidden.len())), "{server}");
    assert_eq!(*log.requests.borrow(), 1);
}

#[test]
fn the_second_request_is_judged_as_the_first() {
    let (passage, log) = passage("a.org:80", &[]);
    let request = "GET /1 HTTP/1.1\r\nHost: a.org\r\n\r\nGET /2 HTTP/1.1\r\nHost: b.org\r\n\r\n\
                   GET /3 HTTP/1.1\r\nHost: a.org\r\n\r\n";
    let (server, client) = raw(passage, request.as_bytes(), OK);
    assert!(server.contains("/1") && !server.contains("/2") && server.contains("/3"), "{server}");
    let statuses: Vec<_> = client.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "403", "200"]);
    assert_eq!(*log.requests.borrow(), 3);
    assert_eq!(log.refused.borrow()[0].1, "GET /2");
}

#[test]
fn what_is_for_one_hop_stays_here() {
    let (server, ..) = outcome(
        "GET / HTTP/1.1\r\nHost: a.org\r\nConnection: keep-alive, X-Own, host, content-length\r\nX-Own: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: x\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX: y\r\n\r\n",
    );
    assert_eq!(server, "GET / HTTP/1.1\r\nHost: a.org\r\nX: y\r\n\r\n");
    let (server, ..) = outcome("GET / HTTP/1.1\r\nHost: a.org\r\nConnection: TE\r\nTE: trailers, gzip\r\n\r\n");
    assert!(server.to_ascii_lowercase().contains("te: trailers\r\n"), "{server}");
    // Only a WebSocket is asked for.
    for upgrade in ["h2c", "websocket, h2c", "TLS/1.2", "HTTP/2.0"] {
        let (server, ..) =
            outcome(&format!("GET / HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"));
        assert_eq!(server, "GET / HTTP/1.1\r\nHost: a.org\r\n\r\n", "{upgrade}");
    }
}

#[test]
fn a_long_head_is_refused() {
    let long = format!("GET / HTTP/1.1\r\nHost: a.org\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
    assert_eq!(outcome(&long), (String::new(), 431, Some(Reason::BadRequest)));
    let many = format!("GET / HTTP/1.1\r\nHost: a.org\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
    assert_eq!(outcome(&many), (String::new(), 431, Some(Reason::BadRequest)));
    let fits = format!("GET / HTTP/1.1\r\nHost: a.org\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS - 1));
    assert_eq!(outcome(&fits).1, 200);
    let fits = format!("GET / HTTP/1.1\r\nHost: a.org\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD - 100));
    assert_eq!(outcome(&fits).1, 200);
}

#[test]
fn a_refusal_says_what_and_why() {
    let (passage, log) = passage("a.org:80", &[]);
    let passage = only(passage, &["GET"], &["/repos/"]);
    let request =
        b"POST /other?token=x HTTP/1.1\r\nHost: a.org\r\nContent-Length: 2\r\n\r\nhiGET /repos/x HTTP/1.1\r\n\
                    Host: a.org\r\n\r\n";
    let (server, client) = raw(passage, request, OK);
    assert!(server.starts_with("GET /repos/x ") && !server.contains("POST"), "{server}");
    let (first, second) = client.split_once("HTTP/1.1 200 OK").unwrap();
    assert!(second.ends_with("ok"));
    assert!(first.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{first}");
    assert!(first.contains("content-type: text/plain; charset=utf-8\r\n"));
    assert!(first.contains("x-agentkernel-reason: request-not-allowed\r\n"));
    assert!(first.contains("a.org:80 refused: no rule allows this request (POST /other)"), "{first}");
    assert!(first.contains("Allowed is: GET on /repos/.\n"), "{first}");
    assert!(first.contains("agentkernel net allow box a.org:80\n"));
    assert!(!client.contains("token=x"));
    assert_eq!(log.refused.borrow()[0].1, "POST /other");
    assert!(!client.to_ascii_lowercase().contains("\r\ndate:"));
}

/// What the sandbox's own rules can change is told apart from what only the user's configuration can.
#[test]
fn a_refusal_by_the_users_limits_says_so() {
    let get = || Requests { methods: vec!["GET".into()], paths: Vec::new() };
    let post = || Requests { methods: vec!["POST".into()], paths: vec!["/v1".into()] };
    let both_of = || Requests { methods: vec!["POST".into(), "GET".into()], paths: Vec::new() };
    let limits = "Allowed is: by the user's own configuration, GET on every path.\n";
    let both = "Allowed is: nothing: by the sandbox's own rules POST on /v1, by the user's own configuration only GET on every path.\n";
    let some = "Allowed is: POST on /v1, and of that, by the user's own configuration, only POST, GET on every path.\n";
    for (requests, request, header, reason, allowed) in [
        (vec![vec![get()]], "POST /x", "", Reason::Ceiling, limits),
        (vec![vec![post()], vec![get()]], "POST /v1", "", Reason::Ceiling, both),
        (vec![vec![post()], vec![get()]], "DELETE /x", "", Reason::Ceiling, both),
        (vec![vec![post()], vec![get()]], "GET /v1", "", Reason::RequestNotAllowed, both),
        (vec![vec![post()], vec![both_of()]], "DELETE /x", "", Reason::Ceiling, some),
        (vec![vec![get()]], "GET /x", "X-Original-URL: /admin\r\n", Reason::Ceiling, ""),
    ] {
        let (mut passage, log) = passage("a.org:80", &[]);
        (passage.grant.requests, passage.grant.limited) = (requests, true);
        let request = format!("{request} HTTP/1.1\r\nHost: a.org\r\n{header}Content-Length: 0\r\n\r\n");
        let (server, client) = raw(passage, request.as_bytes(), OK);
        assert_eq!((server.as_str(), log.reasons()), ("", vec![reason]), "{request}");
        assert!(client.contains(allowed), "{client}");
        let own = client.contains("agentkernel net allow box a.org:80\n");
        let file = client.contains("limits: [network] in ${XDG_CONFIG_HOME:-~/.config}/agentkernel/config.toml\n");
        assert_eq!((own, file), (reason != Reason::Ceiling, reason == Reason::Ceiling), "{client}");
    }
}

#[test]
fn what_a_refusal_shows_of_a_request_is_short_and_printable() {
    let (passage, log) = passage("a.org:80", &[]);
    let passage = only(passage, &["PUT"], &[]);
    let path = "/\u{e4}\u{1b}".replace('\u{1b}', "%1b") + &"x".repeat(1000);
    raw(passage, format!("GET {path} HTTP/1.1\r\nHost: a.org\r\n\r\n").as_bytes(), OK);
    let line = &log.refused.borrow()[0].1;
    assert!(line.len() <= 200 && line.starts_with("GET /") && !line.contains(char::is_control), "{line}");
}

#[test]
fn no_placeholder_goes_anywhere_in_clear() {
    for request in [
        format!("GET / HTTP/1.1\r\nHost: a.org\r\nX: {PLACEHOLDER}\r\n\r\n"),
        format!("GET /?{PLACEHOLDER} HTTP/1.1\r\nHost: a.org\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a.org\r\n{PLACEHOLDER}: x\r\n\r\n"),
    ] {
        // TLS would not help one that is not for this host.
        for (host, reason) in [("a.org", Reason::SecretInClear), ("b.org", Reason::SecretElsewhere)] {
            let (passage, log) = passage("a.org:80", &[host]);
            let (server, client) = raw(passage, request.as_bytes(), OK);
            assert_eq!((server.as_str(), log.reasons()), ("", vec![reason]), "{request}");
            assert!(client.contains("(KEY)") && !client.contains(VALUE), "{client}");
        }
    }
}

#[test]
fn an_answer_is_written_anew() {
    let answer = |request: &str, response: &[u8]| {
        let (passage, log) = passage("a.org:80", &[]);
        let (_, client) = raw(passage, request.as_bytes(), response);
        (client, log.reasons())
    };
    let get = "GET / HTTP/1.1\r\nHost: a.org\r\n\r\n";
    let (client, _) = answer(
        get,
        b"HTTP/1.1 404 Nothing Here\r\nX-Odd-CASE: y\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                                    Content-Length: 2\r\n\r\nok",
    );
    assert_eq!(client, "HTTP/1.1 404 Nothing Here\r\nX-Odd-CASE: y\r\nContent-Length: 2\r\n\r\nok");
    let (client, _) = answer(get, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    assert!(client.to_ascii_lowercase().contains("transfer-encoding: chunked\r\n") && client.contains("2\r\nok\r\n0"));
    // An answer before the last, 204, 304, and the answer to HEAD.
    let (client, _) = answer(get, b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client, "HTTP/1.1 204 No Content\r\n\r\n");
    let (client, _) = answer(get, b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
    assert_eq!(client, "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
    let head = "HEAD / HTTP/1.1\r\nHost: a.org\r\n\r\n";
    let (client, _) = answer(head, b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    assert_eq!(client, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    // Both ways to tell a length: the client gets the one that holds.
    let (client, _) =
        answer(get, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    assert!(!client.contains("Content-Length") && client.ends_with("2\r\nok\r\n0\r\n\r\n"), "{client}");
    for nonsense in [&b"220 mail.example.org ESMTP\r\n\r\n"[..], b"HTTP/1.1 101 Switching Protocols\r\n\r\n"] {
        let (client, reasons) = answer(get, nonsense);
        assert!(client.starts_with("HTTP/1.1 502 "), "{client}");
        assert_eq!(reasons, [Reason::Unreachable]);
    }
}

#[test]
fn answers_are_read_as_curl_reads_them() {
    let answer = |head: &str| {
        let (passage, log) = passage("a.org:80", &[]);
        let response = format!("HTTP/1.1 200 OK\r\n{head}\r\nok");
        let (_, client) =
            raw(passage, b"GET / HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n", response.as_bytes());
        (client, log.reasons())
    };
    for (odd, plain) in [
        ("X : y\r\n", "X: y\r\n"),
        ("X: a\r\n\t b\r\n", "X: a b\r\n"),
        ("No header at all\r\nX\u{1}: y\r\nZ: z\r\n", "Z: z\r\n"),
        (&"X: y\r\n".repeat(300), &"X: y\r\n".repeat(300)),
    ] {
        let (client, reasons) = answer(&format!("Content-Length: 2\r\n{odd}"));
        assert_eq!(reasons, []);
        assert!(client.starts_with("HTTP/1.1 200 OK\r\n") && client.ends_with("\r\n\r\nok"), "{client}");
        assert!(client.contains(plain), "{client}");
        let rest = client.replace(plain, "");
        assert!(!rest.contains("X") && !rest.contains("No header"), "{client}");
    }
    // What tells a length is read by all programs alike, or by none.
    for head in [
        "Content-Length : 2\r\n",
        "Content-Length:\r\n 2\r\n",
        "Content-Length: 2\r\n 0\r\n",
        "X: y\r\n Content-Length: 2\r\n",
        "Content-Length: 2\r\nTransfer-Encoding : chunked\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n , x\r\n",
        "Content-Length\u{1}: 2\r\nContent-Length\t: 3\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2 3\r\n",
    ] {
        let (client, reasons) = answer(head);
        assert_eq!(reasons, [Reason::Unreachable], "{head:?}");
        assert!(client.starts_with("HTTP/1.1 502 "), "{head:?} {client}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    /// Whatever a client says, in pieces of requests or in any bytes, no other host ever stands in what is sent on.
    #[test]
    fn nothing_gets_by(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..14), rest: Vec<u8>) {
        let said = [b"GET / HTTP/1.1\r\nHost: a.org\r\n", pieces.concat().as_bytes(), &rest].concat();
        let target = crate::Target::parse("a.org:80", None).unwrap();
        let got = crate::fuzzing::passed(&said, &target).unwrap();
        let got = String::from_utf8_lossy(&got).to_ascii_lowercase();
        let (head, _) = got.split_once("\r\n\r\n").unwrap_or_default();
        let hosts: Vec<_> = head.split("\r\n").filter(|line| line.starts_with("host")).collect();
        proptest::prop_assert!(hosts.is_empty() || hosts == ["host: a.org"], "{}", got);
        proptest::prop_assert!(!(head.contains("content-length") && head.contains("transfer-encoding")), "{}", got);
        proptest::prop_assert!(head.matches("content-length").count() < 2, "{}", got);
    }
}

const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\0",
    ":",
    "Host: b.org\r\n",
    "Host: a.org\r\n",
    "Host : b.org\r\n",
    " Host: b.org\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5, 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Connection: close\r\n",
    "Connection: host\r\n",
    "Connection: content-length, transfer-encoding\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "0\r\n\r\n",
    "5\r\nabcde\r\n",
    "GET / HTTP/1.1\r\nHost: b.org\r\n\r\n",
    "GET http://b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
];

/// Some servers take the method and the path of a request from its headers (of frameworks, and of IIS).
#[test]
fn restricted_requests_do_not_become_others_by_a_header() {
    for header in [
        "X-HTTP-Method-Override: DELETE",
        "x-http-method: PUT",
        "X-Method-Override: PUT",
        "X-Original-URL: /admin",
        "X-Rewrite-Url: /admin",
        "X-Original-URI: /admin",
        "X-Forwarded-Uri: /admin",
        "X-Forwarded-Prefix: /admin",
        // Behind CGI these are the same.
        "X_HTTP_Method_Override: DELETE",
        "X_Original-Url: /admin",
        "X-Forwarded-Host: b.org",
        "X-Forwarded-Host: a.org, b.org",
        "X-Forwarded-Host: a.org@b.org",
        "X_Forwarded_Host: b.org",
        "X-Original-Host: b.org:80",
        "Forwarded: for=192.0.2.1;host=b.org",
        "Forwarded: host=a.org, for=\"[2001:db8::1]\"; Host=\"b.org:80\"",
    ] {
        let request = format!("GET /repos/x HTTP/1.1\r\nHost: a.org\r\n{header}\r\n\r\n");
        let (restricted, log) = passage("a.org:80", &[]);
        let (server, client) = raw(only(restricted, &["GET"], &["/repos/"]), request.as_bytes(), OK);
        assert_eq!((server.as_str(), log.reasons()), ("", vec![Reason::RequestNotAllowed]), "{header}");
        assert!(client.starts_with("HTTP/1.1 403"), "{client}");
        // Where every request is allowed, they are the server's business.
        let (free, _) = passage("a.org:80", &[]);
        assert!(raw(free, request.as_bytes(), OK).0.contains(header), "{header}");
    }
    // What says the same is no other.
    for header in
        ["X-Forwarded-Host: a.org", "X-Forwarded-Host: A.org:8080, a.org.", "Forwarded: for=192.0.2.1;host=\"a.org\""]
    {
        let request = format!("GET /repos/x HTTP/1.1\r\nHost: a.org\r\n{header}\r\n\r\n");
        let (restricted, _) = passage("a.org:80", &[]);
        let restricted = only(restricted, &["GET"], &["/repos/"]);
        assert!(raw(restricted, request.as_bytes(), OK).0.contains(header), "{header}");
    }
}
