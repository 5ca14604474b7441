//! What is spoken inside of TLS that is read, since tokens are counted or a secret is for the host: requests, and on a port
//! that a rule names, any protocol.

use crate::ground::Ground;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::Duration,
};
use support::{
    eventually,
    internet::{CACHE, WEB, WEB_V4, installed},
};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Lets a function answer inside of TLS, as [`WEB`].
fn secured(ground: &Ground, port: u16, answer: impl Fn(Tls) + Clone + Send + 'static) {
    let file = |ending: &str| ground.internet.path("nginx").join(format!("{WEB}.{ending}"));
    let (certificate, key) = (CertificateDer::from_pem_file(file("pem")), PrivateKeyDer::from_pem_file(file("key")));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.unwrap()], key.unwrap())
        .unwrap();
    let config = Arc::new(config);
    ground.internet.serve(&format!("{WEB_V4}:{port}"), move |stream| {
        answer(StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream));
    });
}

/// What has TLS read: a limit of tokens, or a secret whose pattern the host matches.
fn read(ground: &Ground) -> [[&'static str; 2]; 2] {
    ground.secret("WEB", "the-value-of-it", "*.example.com");
    ground.secret("CACHE", "the-value-of-it", "*.example.org");
    [["--max-tokens", "30"], ["--secret", "WEB"]]
}

/// That nothing was refused, no request was counted, and all connections are told to have ended: what they carried.
fn carried(ground: &Ground) -> [u64; 2] {
    let ended = |event: &&Value| event["event"] == "closed";
    let opened = |event: &&Value| event["event"] == "opened";
    eventually("all is told", || {
        let log = ground.log(&[]);
        log.iter().filter(ended).count() == log.iter().filter(opened).count()
    });
    let log = ground.log(&[]);
    assert!(!log.iter().any(|event| event["event"] == "refused"), "{log:#?}");
    assert!(!log.iter().filter(ended).any(|event| event["requests"].as_u64() != Some(0)), "{log:#?}");
    ["sent", "received"].map(|way| log.iter().filter_map(|event| event[way].as_u64()).sum())
}

#[test]
fn redis() {
    if !["redis-server", "redis-cli"].into_iter().all(installed) {
        return;
    }
    for ground in Ground::all() {
        ground.internet.redis();
        let script = r#"
HOST = "cache.example.org"
def redis(*words, said=None):
    command = ["redis-cli", "--tls", "--sni", HOST, "-h", HOST, "-p", "6380", *words]
    return subprocess.run(command, input=said, capture_output=True, check=True, timeout=60).stdout
assert redis("ping") == b"PONG\n"
assert redis("echo", "GET / HTTP/1.1") == b"GET / HTTP/1.1\n"
big = bytes(range(1, 10)) * 1_000_000
assert redis("-x", "set", "big", said=big) == b"OK\n"
assert redis("--raw", "get", "big") == big + b"\n"
many = b"".join(b"set k%d v\r\n" % number for number in range(10_000))
assert b"errors: 0, replies: 10000" in redis("--pipe", said=many)
"#;
        ground.outside(script);
        let rule = format!("{CACHE}:6380");
        let [tokens, _] = read(&ground);
        for options in [tokens, ["--secret", "CACHE"]] {
            let _ = ground.attack(&[&["--allow", &rule], &options[..]].concat(), script);
        }
        let totals = carried(&ground);
        assert!(totals.iter().all(|&total| total > 18_000_000), "{totals:?}");
    }
}

/// Says what a server of mail does, which begins.
fn mail(mut tls: Tls) {
    // Whoever is not heard is gone.
    let _ = tls.write_all(b"* OK IMAP4rev1 ready\r\n").and_then(|()| tls.flush());
    let mut reader = BufReader::new(tls);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 0) {
        let mut words = line.split_whitespace();
        let (tag, word) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let more = match word {
            "CAPABILITY" => "* CAPABILITY IMAP4rev1\r\n",
            "LOGOUT" => "* BYE\r\n",
            _ => "",
        };
        let _ = write!(reader.get_mut(), "{more}{tag} OK done\r\n");
        line.clear();
    }
}

const MAIL: &str = r#"
import imaplib
def mail():
    with imaplib.IMAP4_SSL(WEB, 993, ssl_context=ssl.create_default_context(), timeout=30) as mail:
        assert mail.login("me", "GET / HTTP/1.1")[0] == "OK"
        return mail.welcome
"#;

#[test]
fn a_server_that_begins() {
    for ground in Ground::all() {
        secured(&ground, 993, mail);
        let script = format!("{MAIL}\nassert mail() == b'* OK IMAP4rev1 ready'");
        ground.outside(&script);
        for options in read(&ground) {
            let _ = ground.attack(&[&["--allow", "www.example.com:993"], &options[..]].concat(), &script);
        }
        let _ = carried(&ground);
    }
}

/// A client inside of TLS that sees how its server ends.
const CLIENT: &str = r#"
def connect(port):
    plain = socket.create_connection((WEB, port), 30)
    context = ssl.create_default_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context.wrap_socket(plain, server_hostname=WEB, suppress_ragged_eofs=False)

def end(tls):
    "All that comes, and how it ends."
    data = b""
    try:
        while part := tls.recv(65536):
            data += part
        return data, "leave"
    except (ssl.SSLError, ConnectionResetError) as error:
        # Of an end without leave OpenSSL has words of its own; what else fails is the connection.
        bare = getattr(error, "reason", None) == "UNEXPECTED_EOF_WHILE_READING"
        return data, "none" if bare else "reset"
"#;

/// Each side may end while the other goes on, by taking leave in TLS; without that, the other sees that there was none.
#[test]
fn how_each_side_ends() {
    for ground in Ground::all() {
        // Hears all, and says how many bytes that was.
        secured(&ground, 7000, |mut tls| {
            let heard = std::io::copy(&mut tls, &mut std::io::sink());
            let words = heard.map_or_else(|error| error.kind().to_string(), |count| count.to_string());
            let _ = tls.write_all(words.as_bytes());
            tls.conn.send_close_notify();
            let _ = tls.flush();
        });
        // Says much, and ends as it is asked to.
        secured(&ground, 7001, |mut tls| {
            let mut how = [0; 4];
            if tls.read_exact(&mut how).is_err() {
                return;
            }
            let _ = tls.write_all(&vec![b'x'; 5_000_000]);
            match &how {
                b"bye\n" => tls.conn.send_close_notify(),
                b"cut\n" => {
                    // So that it is not taken back what was said.
                    std::thread::sleep(Duration::from_secs(1));
                    let _ = rustix::net::sockopt::set_socket_linger(&tls.sock, Some(Duration::ZERO));
                    return;
                }
                _ => {}
            }
            let _ = tls.flush();
            let _ = tls.sock.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut tls.sock, &mut std::io::sink());
        });
        let script = format!(
            r#"{CLIENT}
def half(leave):
    "What is answered when all was said, with leave taken or without."
    context, into, out = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname=WEB)
    said, todo = b"", [tls.do_handshake, lambda: tls.write(b"\0" * 5_000_000)] + [tls.unwrap] * leave
    with socket.create_connection((WEB, 7000), 30) as plain:
        while True:
            try:
                while todo:
                    todo[0]()
                    todo.pop(0)
                while part := tls.read(65536):
                    said += part
                return said
            except ssl.SSLZeroReturnError:
                return said
            except ssl.SSLWantReadError:
                # All of the leave that is its own.
                if todo == [tls.unwrap]:
                    todo.pop()
                if flight := out.read():
                    plain.sendall(flight)
                if not todo and not leave:
                    plain.shutdown(socket.SHUT_WR)
                    leave = True
                part = plain.recv(65536)
                into.write(part) if part else into.write_eof()
assert half(True) == b"5000000"
assert half(False) == b"unexpected end of file"
for how, ends in (b"bye\n", "leave"), (b"hup\n", "none"), (b"cut\n", "reset"):
    tls = connect(7001)
    tls.sendall(how)
    data, ended = end(tls)
    assert (len(data), ended) == (5_000_000, ends), (how, len(data), ended)
"#
        );
        ground.outside(&script);
        let options = ["--allow", "www.example.com:7000-7001", "--max-tokens", "30"];
        let _ = ground.attack(&options, &script);
        let totals = carried(&ground);
        assert!(totals[0] > 10_000_000 && totals[1] > 15_000_000, "{totals:?}");
    }
}

/// Writing to whoever is gone ends that connection, and nobody else's: SIGPIPE once ended egress itself.
#[test]
fn who_is_gone_is_written_to_in_vain() {
    for ground in Ground::all() {
        // Says more than anybody hears, in pieces, and hears one line.
        secured(&ground, 7000, |mut tls| while tls.write_all(&[b'x'; 4096]).and_then(|()| tls.flush()).is_ok() {});
        secured(&ground, 7001, |mut tls| {
            let mut line = [0; 5];
            let _ = tls.read_exact(&mut line).and_then(|()| tls.write_all(&line));
        });
        let script = format!(
            r#"{CLIENT}
import struct
other = connect(7001)
for hard in [0, 1] * 25:
    tls = connect(7000)
    tls.recv(1)
    tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", hard, 0))
    tls.close()
other.sendall(b"still")
assert end(other)[0] == b"still"
"#
        );
        ground.outside(&script);
        let _ = ground.attack(&["--allow", "www.example.com:7000-7001", "--max-tokens", "30"], &script);
        let _ = carried(&ground);
    }
}

/// Where only requests may be made, nothing else is said, and that is told.
#[test]
fn only_requests() {
    for ground in Ground::all() {
        secured(&ground, 993, mail);
        let rules =
            format!("[network]\nallow = ['{WEB}', {{ host = '{WEB}:993', methods = ['GET'] }}]\nmax_tokens = 30\n");
        fs::write(ground.world.project().join("agentkernel.toml"), rules).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let script = format!(
            r#"{CLIENT}
{MAIL}
tls = connect(443)
tls.sendall(b"*1\r\n$4\r\nPING\r\n")
ended = end(tls)
assert ended == (b"", "reset"), ended
try:
    mail()
    raise SystemExit("it was heard")
except (OSError, imaplib.IMAP4.abort):
    pass
tls = connect(443)
tls.sendall(get(WEB))
assert b"Hello from www" in end(tls)[0]
"#
        );
        let _ = ground.attack(&[], &script);
        let log = ground.log(&[]);
        for port in [443, 993] {
            let mut refused = log.iter().filter(|event| event["event"] == "refused" && event["port"] == port);
            assert!(refused.next().is_some_and(|event| event["reason"] == "not-http"), "{log:#?}");
            assert_eq!(refused.next(), None, "{log:#?}");
        }
    }
}

/// What only some server takes for a request is not answered, and one that comes too late to be read goes no further.
#[test]
fn what_a_server_could_read_in_it() {
    for ground in Ground::all() {
        secured(&ground, 7000, |mut tls| {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = tls.read(&mut bytes) {
                if bytes[..count].ends_with(b"\n") {
                    let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden");
                }
            }
        });
        let script = format!(
            r#"{CLIENT}
def answer(*words):
    tls = connect(7000)
    try:
        for word in words:
            tls.sendall(word)
            time.sleep(1)
        return end(tls)
    except OSError:
        return b"", "reset"
for words in [b'"GET" / HTTP/1.1\r\nHost: hidden\r\n\r\n'], [b"G@T / X\r\n"], [b"GET x HT", b"TP/1.1\r\nHost: x\r\n\r\n"]:
    answered = answer(*words)
    assert answered == (b"", "reset"), (words, answered)
"#
        );
        let _ = ground.attack(&["--allow", "www.example.com:7000", "--max-tokens", "30"], &script);
        let log = ground.log(&[]);
        let refused: Vec<_> = log.iter().filter(|event| event["event"] == "refused").collect();
        assert!(refused.len() == 3 && refused.iter().all(|event| event["reason"] == "bad-request"), "{log:#?}");
    }
}
