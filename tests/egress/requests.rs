//! Attacks by HTTP: requests that mean another host than the one that was dialled, or that programs read differently.
//!
//! The site that is meant is on the same server: only egress stands between.

use crate::ground::Ground;
use support::internet::{HIDDEN, SHARED, WEB};

/// Sends each request to the allowed site; none may be answered by another.
const SEND_ALL: &str = r#"
works()
for request in requests:
    if isinstance(request, str):
        request = request.encode()
    answer = ask(WEB, port, request, end=True)
    assert b"Hello from hidden" not in answer, (request, answer)
works()
"#;

/// Requests without a host go to the server's default, `_`.
fn send_all(ground: &Ground, port: u16, requests: &str) {
    let script = format!("port = {port}\nrequests = [\n{}\n]\n{SEND_ALL}", requests.trim());
    let _ = ground.attack(&["--allow", WEB], &script);
    ground.only(&[WEB, "_"]);
}

#[test]
fn another_host_in_the_request() {
    for ground in Ground::all() {
        let requests = r##"
            get(HIDDEN),
            get("HIDDEN.example.net"),
            get(HIDDEN + "."),
            get(HIDDEN + ":80"),
            get("%68idden.example.net"),
            get(SHARED),
        "##;
        send_all(&ground, 80, requests);
        ground.told("host-mismatch");
    }
}

#[test]
fn the_same_host_written_otherwise_is_allowed() {
    for ground in Ground::all() {
        let script = r#"
for host in WEB.upper(), "wWw.eXample.com", WEB + ".", WEB + ":80":
    answer = ask(host.split(":")[0], 80, get(host))
    assert b"Hello from www" in answer, (host, answer)
"#;
        let _ = ground.attack(&["--allow", "WWW.example.COM."], script);
        ground.only(&[WEB]);
    }
}

#[test]
fn several_hosts_in_the_request() {
    for ground in Ground::all() {
        let requests = r##"
            get(WEB, lines=["Host: " + HIDDEN]),
            get(HIDDEN, lines=["Host: " + WEB]),
            get(WEB, lines=["Host: " + WEB]),
            get(WEB, lines=["host: " + HIDDEN]),
            get(WEB + ", " + HIDDEN),
            get(WEB + " " + HIDDEN),
            get(WEB + "\t" + HIDDEN),
            get(WEB + "@" + HIDDEN),
            get(HIDDEN + "#" + WEB),
            get(HIDDEN + "/" + WEB),
            get(WEB + "\0." + HIDDEN),
            get(WEB + "\0"),
            get(HIDDEN + "\0" + WEB),
        "##;
        send_all(&ground, 80, requests);
        ground.told("bad-request");
    }
}

#[test]
fn a_host_that_programs_read_differently() {
    for ground in Ground::all() {
        let requests = r##"
            "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\nHost: " + HIDDEN + "\nConnection: close\n\n",
            "GET /hello HTTP/1.1\r\nHost: " + WEB + "\nHost: " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nHost: " + WEB + "\rHost: " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nHost : " + HIDDEN + "\r\nHost: " + WEB + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\n Host: " + HIDDEN + "\r\nHost: " + WEB + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nHost: " + WEB + "\r\n " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nHost:\r\n " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nHost:\x0b" + HIDDEN + "\r\nHost: " + WEB + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.1\r\nX-\0: y\r\nHost: " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET /hello HTTP/1.0\r\nHost: " + HIDDEN + "\r\n\r\n",
            "GET /hello HTTP/3.1\r\nHost: " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET /hello\r\n",
            "\r\n\r\nGET /hello HTTP/1.1\r\nHost: " + HIDDEN + "\r\nConnection: close\r\n\r\n",
            "GET  /hello  HTTP/1.1\r\nHost: " + HIDDEN + "\r\nConnection: close\r\n\r\n",
        "##;
        send_all(&ground, 80, requests);
        ground.told("bad-request");
    }
}

#[test]
fn another_host_in_the_target() {
    for ground in Ground::all() {
        let requests = r##"
            get(WEB, "http://" + HIDDEN + "/hello"),
            get(HIDDEN, "http://" + WEB + "/hello"),
            get(HIDDEN, "http://" + HIDDEN + "/hello"),
            get(WEB, "HTTP://" + HIDDEN + "/hello"),
            get(WEB, "http://" + WEB + "@" + HIDDEN + "/hello"),
            get(WEB, "http://" + HIDDEN + "\\@" + WEB + "/hello"),
            get(WEB, "http://" + HIDDEN + "#@" + WEB + "/hello"),
            get(WEB, "https://" + HIDDEN + "/hello"),
            get(WEB, "http:/" + HIDDEN + "/hello"),
            get(WEB, "ftp://" + HIDDEN + "/hello"),
        "##;
        send_all(&ground, 80, requests);
        ground.told("host-mismatch");
    }
}

#[test]
fn a_tunnel_in_the_request() {
    for ground in Ground::all() {
        let requests = r##"
            f"CONNECT {HIDDEN}:443 HTTP/1.1\r\nHost: {HIDDEN}:443\r\n\r\n",
            f"CONNECT {HIDDEN}:443 HTTP/1.1\r\nHost: {WEB}\r\n\r\n",
            f"CONNECT {WEB}:80 HTTP/1.1\r\nHost: {WEB}\r\n\r\n" + get(HIDDEN).decode(),
            f"CONNECT {WEB}@{HIDDEN}:443 HTTP/1.1\r\nHost: {WEB}\r\n\r\n",
            f"connect {HIDDEN}:443 HTTP/1.1\r\nHost: {WEB}\r\n\r\n",
        "##;
        send_all(&ground, 80, requests);
        ground.told("tunnel");
        assert!(!ground.internet.requests().iter().any(|line| line.to_lowercase().contains("connect")));
    }
}

#[test]
fn a_second_request_for_another_host() {
    for ground in Ground::all() {
        let requests = r##"
            f"GET /hello HTTP/1.1\r\nHost: {WEB}\r\n\r\n" + get(HIDDEN).decode(),
            f"POST /live/head HTTP/1.1\r\nHost: {WEB}\r\nContent-Length: 2\r\n\r\nab" + get(HIDDEN).decode(),
            f"GET /hello HTTP/1.1\r\nHost: {WEB}\r\nConnection: close\r\n\r\n" + get(HIDDEN).decode(),
            f"HEAD /hello HTTP/1.1\r\nHost: {WEB}\r\n\r\n" + get(HIDDEN).decode(),
        "##;
        send_all(&ground, 80, requests);
        ground.told("host-mismatch");
    }
}

#[test]
fn a_request_smuggled_in_a_body() {
    for ground in Ground::all() {
        let requests = r##"
            *(f"POST /live/head HTTP/1.1\r\nHost: {WEB}\r\n{framing}\r\n\r\n0\r\n\r\n" + get(HIDDEN).decode() for framing in [
                "Content-Length: 5\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: chunked\r\nContent-Length: 200",
                "Content-Length: 5\r\nContent-Length: 200",
                "Content-Length: 200\r\nContent-Length: 5",
                "Content-Length: 5, 200",
                "Content-Length: +5",
                "Content-Length: 0x5",
                "Content-Length: -1",
                "Content-Length : 5",
                "Content-Length: 5\0",
                "Content-Length: 18446744073709551621",
                "Transfer-Encoding: xchunked",
                "Transfer-Encoding: chunked, identity",
                "Transfer-Encoding: identity, chunked",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
                "Transfer-Encoding : chunked",
                "Transfer-Encoding:\x0bchunked",
                "Transfer-Encoding:\r\n chunked",
                "X: y\nTransfer-Encoding: chunked",
            ]),
            f"POST /live/head HTTP/1.0\r\nHost: {WEB}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get(HIDDEN).decode(),
            *(f"POST /live/head HTTP/1.1\r\nHost: {WEB}\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}" + get(HIDDEN).decode() for chunk in [
                "0x1\r\na\r\n0\r\n\r\n", "-1\r\n\r\n", "1 \r\na\r\n0\r\n\r\n", "1\na\n0\n\n", "1\r\nabc\r\n0\r\n\r\n",
                "FFFFFFFFFFFFFFFFF\r\n", "1;a=\"\n\"\r\na\r\n0\r\n\r\n", "0\r\nX : y\r\n\r\n",
            ]),
        "##;
        // Refused, or read as a request of its own: that is for another host, and refused as well.
        send_all(&ground, 80, requests);
        ground.told("bad-request");
    }
}

#[test]
fn another_protocol_on_a_port_of_the_web() {
    for ground in Ground::all() {
        let requests = r##"
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
            f"GET /hello HTTP/1.1\r\nHost: {WEB}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "SSH-2.0-OpenSSH_9.2\r\n",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x05\x01\0",
            b"\x04\x01\0\x50" + bytes(4) + b"\0" + HIDDEN.encode() + b"\0",
        "##;
        send_all(&ground, 80, requests);
        ground.told("not-http");
    }
}

#[test]
fn another_authority_in_http_2_without_tls() {
    for ground in Ground::all() {
        let script = r#"
def curl(*arguments):
    command = ["curl", "-sS", "--http2-prior-knowledge", *arguments, "http://www.example.com:8080/hello"]
    return subprocess.run(command, capture_output=True, timeout=60).stdout

assert b"Hello from www" in curl(), curl()
for host in HIDDEN, SHARED, WEB + "@" + HIDDEN:
    answer = curl("-H", "Host: " + host)
    assert b"Hello" not in answer, (host, answer)
"#;
        let _ = ground.attack(&["--allow", "www.example.com:8080"], script);
        ground.only(&[WEB]);
        ground.told("host-mismatch");
    }
}

#[test]
fn http_in_clear_on_the_port_of_tls() {
    for ground in Ground::all() {
        send_all(&ground, 443, "get(HIDDEN), get(WEB, 'http://' + HIDDEN + '/hello'),");
        ground.told("host-mismatch");
    }
}

#[test]
fn a_head_that_never_ends() {
    for ground in Ground::all() {
        let requests = r##"
            get(WEB, lines=["X: " + "x" * 70000]),
            get(WEB, lines=["X%d: x" % n for n in range(20000)]),
            get(WEB, "/" + "x" * 300000),
            "x" * 300000,
        "##;
        send_all(&ground, 80, requests);
    }
}

#[test]
fn a_slow_client_keeps_nobody_waiting() {
    for ground in Ground::all() {
        let script = r#"
slow = []
for part in b"", b"G", get(WEB)[:-2], b"\x16\x03\x01":
    connection = socket.create_connection((WEB, 80))
    connection.sendall(part)
    slow.append(connection)
works()
# Not closed, and good for what is missing.
slow[2].sendall(b"\r\n")
assert b"Hello from www" in hear(slow[2])
"#;
        let _ = ground.attack(&["--allow", WEB], script);
    }
}

#[test]
fn a_redirect_to_a_denied_host() {
    for ground in Ground::all() {
        let script = r#"
for path in "/to-another-host", "/to-the-metadata":
    for scheme in "http", "https":
        curl = subprocess.run(["curl", "-sSfL", f"{scheme}://{WEB}{path}"], capture_output=True, timeout=60)
        assert curl.returncode != 0 and curl.stdout == b"", curl
works()
"#;
        let metadata = ground.canary("169.254.169.254:80");
        let _ = ground.attack(&["--allow", WEB], script);
        ground.only(&[WEB]);
        assert_eq!(metadata.count(), 0);
        let log = ground.log(&["--denied"]);
        for host in [HIDDEN, "169.254.169.254"] {
            assert!(log.iter().any(|event| event["host"] == host), "{log:#?}");
        }
        // It is the policy that keeps it from there.
        let follow =
            format!("assert b'hidden' in subprocess.check_output(['curl', '-sSfL', 'https://{WEB}/to-another-host'])");
        let _ = ground.attack(&["--allow", WEB, "--allow", HIDDEN], &follow);
        ground.only(&[WEB, HIDDEN]);
    }
}

#[test]
fn the_answer_to_a_denied_request_says_what_helps() {
    for ground in Ground::all() {
        ground.secret("KEY", "a-value", WEB);
        let script = format!(
            r#"
def told(answer, reason, *words):
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 403 ") and f"[{{reason}}].\n" in body, answer
    for word in words:
        assert word in body, (word, body)
told(ask('{SHARED}', 80, get('{SHARED}')), "not-allowed", '{SHARED}', " agentkernel net allow ")
told(ask('near.{WEB}', 80, get('near.{WEB}')), "not-allowed", "Allowed is: {WEB}.\n")
told(ask('{HIDDEN}', 80, get('{HIDDEN}')), "denied", " allow all that it is about: agentkernel net allow ", " '*.example.net'")
told(ask(WEB, 80, get('{SHARED}')), "host-mismatch", "Connect to the host that is meant")
told(ask(WEB, 80, get(WEB, lines=["X-Key: " + os.environ["KEY"]])), "secret-in-clear", "Use TLS: https://" + WEB)
told(ask(WEB, 80, get(WEB).replace(b"GET /hello", f"CONNECT {{WEB}}:443".encode())), "tunnel", "Connect to the host itself")
"#
        );
        let _ = ground.attack(&["--allow", WEB, "--deny", "*.example.net", "--secret", "KEY"], &script);
    }
}

/// Nobody is told of a command that the user's limits would refuse.
#[test]
fn the_answer_to_what_limits_refuse_as_well_says_so() {
    for ground in Ground::all() {
        crate::live::limit(&ground, "mode = 'allow'\nallow = ['www.example.com']\ndeny = ['*.example.net']\n");
        let script = format!(
            r#"
for host, reason in ('{SHARED}', "not-allowed"), ('10.0.0.1', "not-allowed"), ('{HIDDEN}', "denied"):
    body = ask(host, 80, get(host)).decode()
    assert f"[{{reason}}].\n" in body and "net allow" not in body and "--allow" not in body, body
    assert "the user's own limits" in body and "/agentkernel/config.toml" in body, body
"#
        );
        let _ = ground.attack(&["--allow", WEB], &script);
    }
}

/// Whoever sends what cannot be read is told in words, and so is who looks at the log.
#[test]
fn what_cannot_be_read_is_answered_in_words() {
    for ground in Ground::all() {
        let script = r#"
head = f"POST /live/head HTTP/1.1\r\nHost: {WEB}\r\n"
chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
for request, status in (
    (head + "X: " + "x" * 70_000 + "\r\n\r\n", b"431"),
    (head + "X : y\r\n\r\n", b"400"),
    (head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    (chunked + "ZZ\r\n", b"400"),
    (chunked + " 5 \r\n", b"400"),
    (chunked + "FFFFFFFFFFFFFFFFF\r\n", b"400"),
    (chunked + "5;a\nb\r\nhello\r\n", b"400"),
    (chunked + "5;" + "x" * 20_000 + "\r\nhello\r\n", b"400"),
    (chunked + "5\r\nhelloXX", b"400"),
):
    answer = ask(WEB, 80, request.encode())
    start, _, words = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 " + status), answer
    assert b"\r\nx-agentkernel-reason: bad-request\r\n" in start, answer
    words = words.splitlines()
    assert b"the request is malformed (" in words[0] and words[0].endswith(b") [bad-request]."), answer
    assert words[1:] == [b"Correct the client: no rule allows such requests"], answer
"#;
        let _ = ground.attack(&["--allow", WEB], script);
        // What could be read of the last one may have got there.
        ground.only(&[WEB]);
        assert!(ground.internet.requests().len() <= 1);
        let told = ground.log(&[]).iter().filter(|event| event["reason"] == "bad-request").count();
        assert_eq!(told, 9);
    }
}
