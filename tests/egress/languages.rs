//! What is spoken on a port that a rule names: any protocol, whoever begins and whoever waits.

use crate::ground::Ground;
use std::{
    io::{Read as _, Write as _},
    sync::{Arc, Mutex},
};
use support::internet::{WEB, WEB_V4};

/// Says a word, and hears it again before the other side is ended.
const SPEAK: &str = r#"
def speak(word, port=7000):
    with socket.create_connection((WEB, port), 30) as connection:
        connection.settimeout(20)
        connection.sendall(word)
        data = b""
        while len(data) < len(word):
            part = connection.recv(65536)
            assert part, (word, data)
            data += part
        assert data == word, (word, data)
"#;

fn echo(mut stream: std::net::TcpStream) {
    let mut copy = stream.try_clone().unwrap();
    let _ = std::io::copy(&mut stream, &mut copy);
}

/// A server that says this first, hears all that it is told, and answers at the end. What all its clients have said.
fn hearing(ground: &Ground, first: &'static [u8]) -> Arc<Mutex<Vec<u8>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    ground.internet.serve(&format!("{WEB_V4}:7000"), move |mut stream| {
        let _ = stream.write_all(first);
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            hears.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
        let _ = stream.write_all(b"answer");
    });
    heard
}

#[test]
fn who_waits_for_an_answer_gets_it() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), echo);
        let script = r#"
words = [
    b"x", b"ruok", b"JDWP-Handshake", b"hello world", b"GET x", b"get /k\r\n", b"SCAN /tmp/x\n",
    b"SELECT * FROM t;\n", b"003agit-upload-pack /p.git\0host=git.example.com\0", b"\x16\0\0\0\x01", b"\x16",
    b"LIST /", b"CONNECT db\n", b"a" * 200, b"word " * 10000, b"word\n" * 20000, b"\0" * 100000, b"word " * 20000, b"a" * 100000, b"\x80\0\x01\x03",
]
for word in words:
    speak(word)
# In pieces, with answers between.
with socket.create_connection((WEB, 7000), 30) as connection:
    connection.settimeout(20)
    for piece in b"JDWP-", b"Handshake", b"\0\0\0\x0b\0\0", b"rest" * 1000:
        connection.sendall(piece)
        assert connection.recv(65536, socket.MSG_WAITALL if len(piece) < 100 else 0)[:5] == piece[:5]
"#;
        let options = ["--allow", "www.example.com:7000"];
        let _ = ground.attack(&options, &format!("{SPEAK}\n{script}"));
        let _ = ground.attack(&["--net", "open"], &format!("{SPEAK}\n{script}"));
    }
}

/// However much it is that has no end of a line.
#[test]
fn a_long_line_is_heard_to_its_end() {
    for ground in Ground::all() {
        let heard = hearing(&ground, b"");
        let script = r#"
for word in b"word " * 1000000, b"a" * 1000000:
    with socket.create_connection((WEB, 7000), 30) as connection:
        connection.settimeout(60)
        connection.sendall(word)
        connection.shutdown(socket.SHUT_WR)
        assert hear(connection) == b"answer"
"#;
        let _ = ground.attack(&["--allow", "www.example.com:7000"], script);
        let heard = heard.lock().unwrap();
        assert!(*heard == [b"word ".repeat(1_000_000), vec![b'a'; 1_000_000]].concat(), "{}", heard.len());
    }
}

/// A request that is begun so slowly that it is passed on for something else is not a way around what is read of requests.
#[test]
fn a_slow_request_goes_no_further() {
    for ground in Ground::all() {
        let heard = hearing(&ground, b"");
        let script = r#"
for beginning, rest in [(b"GET x HT", b"TP/1.1\r\nHost: hidden\r\n\r\n"), (b"\x16", b"\x03\1\0\x05hidden")]:
    with socket.create_connection((WEB, 7000), 30) as connection:
        connection.sendall(beginning)
        time.sleep(1)
        connection.sendall(rest)
        assert hear(connection) == b""
"#;
        let _ = ground.attack(&["--allow", "www.example.com:7000", "--name", "slow"], script);
        let heard = heard.lock().unwrap();
        assert!(heard.starts_with(b"GET x HT") && !heard.windows(6).any(|word| word == b"hidden"), "{heard:?}");
        ground.told("bad-request");
        ground.told("bad-tls");
        assert!(!ground.internet.requests().iter().any(|line| line.contains(WEB)));
    }
}

/// Whatever some server takes for a request or for TLS is read, or goes no further.
#[test]
fn what_a_server_could_read_in_it_goes_no_further() {
    for ground in Ground::all() {
        let heard = hearing(&ground, b"");
        let script = r#"
rest = b"Host: hidden.example.com\r\n\r\n"
alert = b"\x15\x03\x01\0\x02\x01\x5a"
for beginning in [
    b"GET /\n" + rest, b"GET / RTSP/1.0\r\n" + rest, b"\x1cGET\xa0/ HTTP/1.1\r\n" + rest,
    b"\r\n" * 40000 + b"GET / HTTP/1.1\r\n" + rest, b"A" * 70 + b" / HTTP/1.1\r\n" + rest,
    b"A" * 80000 + b" / HTTP/1.1\r\n" + rest, b"FETCH " + b"a" * 40000 + b" HTTP/1.1\r\n" + rest,
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n" + rest, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0" + rest,
    alert + rest, b"\x14\x03\x03\0\x01\x01" + rest, b"\x80\x2e\x01\x03\x01\0\x15\0\0\0\x10" + rest,
]:
    with socket.create_connection((WEB, 7000), 30) as connection:
        try:
            connection.sendall(beginning)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = hear(connection)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (beginning[:50], answer)
"#;
        let _ = ground.attack(&["--allow", "www.example.com:7000", "--name", "guess"], script);
        let heard = heard.lock().unwrap();
        assert!(!heard.windows(6).any(|word| word == b"hidden"), "{heard:?}");
        ground.told("bad-request");
        ground.told("bad-tls");
    }
}

/// A hello that comes in pieces is read when all of it is there, however long that takes.
#[test]
fn a_hello_in_pieces_is_waited_for() {
    for ground in Ground::all() {
        let script = r#"
import ssl
def shake(name):
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(inside, outside, server_hostname=name)
    with socket.create_connection((WEB, 443), 30) as connection:
        while True:
            try:
                tls.do_handshake()
                return True
            except ssl.SSLWantReadError:
                said = outside.read()
                for piece in said[:2], said[2:50], said[50:]:
                    connection.sendall(piece)
                    time.sleep(0.3)
                data = connection.recv(65536)
                if not data:
                    return False
                inside.write(data)
def refused(name):
    try:
        return not shake(name)
    except OSError:
        return True
assert shake(WEB)
assert refused(HIDDEN)
"#;
        let _ = ground.attack(&["--allow", "www.example.com:443", "--name", "pieces"], script);
        ground.told("sni-mismatch");
        ground.only(&[WEB]);
    }
}

/// A server of HTTP/2 may speak first: what its client says then is read all the same.
#[test]
fn settings_that_come_first_hide_no_request() {
    for ground in Ground::all() {
        let heard = hearing(&ground, &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
        let script = r#"
# What it speaks is told by its first bytes; here it is not even one that may be there.
for words in [b"GET / HTTP/1.1\r\nHost: hidden.example.com\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nhidden hidden"]:
    with socket.create_connection((WEB, 7000), 30) as connection:
        time.sleep(1)
        connection.sendall(words)
        hear(connection)
"#;
        let _ = ground.attack(&["--allow", "www.example.com:7000", "--name", "first"], script);
        let heard = heard.lock().unwrap();
        assert!(!heard.windows(6).any(|word| word == b"hidden"), "{heard:?}");
    }
}

/// What is not known for a request or for TLS is told by what the server answers: it gets no further then.
#[test]
fn an_answer_tells_what_the_server_heard() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), |mut stream| {
            let mut bytes = [0; 4096];
            let Ok(count) = stream.read(&mut bytes) else { return };
            let answer: &[u8] = match &bytes[..count] {
                [0x16 | 0x15, ..] => b"\x16\x03\x03\0\x02\x02\0hidden",
                [b'+', ..] => b"+OK 200 hidden\r\n",
                [b'M', ..] => b"MRCP/2.0 183 1 200 hidden\r\n",
                _ => b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden",
            };
            // However it comes.
            for piece in answer.chunks(3) {
                let _ = stream.write_all(piece);
            }
            let _ = stream.read(&mut bytes);
        });
        let script = r#"
def answer(words, more=b""):
    with socket.create_connection((WEB, 7000), 30) as connection:
        connection.settimeout(20)
        connection.sendall(words)
        time.sleep(0.3)
        try:
            connection.sendall(more)
            return connection.recv(65536)
        except ConnectionResetError:
            return b""
for words in [
    b'"GET" / HTTP/1.1\r\nHost: hidden\r\n\r\n', b"G@T / HTTP/1.1\r\n", b"G\xc9T / HTTP/1.1\r\n",
    b"XGET /\0x HTTP/1.1\r\n\r\n", b"XGET /f FOO/1.1\r\n\r\n", b"get /f X\r\n\r\n", b'{"a":1} /f X\r\n\r\n',
    b"\x16\x04\x01\0\x05hello", b"\x16\x00\x01\0\x05\x01\0\0\x01\0", b"\x15\x01\0\0\x02\x01\x5a\x16\x03\x01",
]:
    assert answer(words) == b"", words
    assert answer(words, b"GET / HTTP/1.1\r\nHost: hidden\r\n\r\n") == b"", words
assert answer(b"+GET k\r\n") == b"+OK 200 hidden\r\n"
assert answer(b"MRCP/2.0 1 DEFINE 1\r\n") == b"MRCP/2.0 183 1 200 hidden\r\n"
# Whatever stands before a request: to some servers it is a part of the method.
for first in [*range(9), *range(0x0e, 0x14), 0x19, 0x1a, 0x1b, 0x7f, 0x80, 0xff]:
    words = bytes([first]) + b"GET / HTTP/1.1\r\nHost: hidden\r\n\r\n"
    assert answer(words) == b"", words
assert answer(b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: hidden\r\n\r\n") == b""
# As nginx asks uWSGI.
assert answer(b"\0\x05\0\0hello") == b""
"#;
        let _ = ground.attack(&["--allow", "www.example.com:7000", "--name", "heard"], script);
        ground.told("bad-request");
        ground.told("bad-tls");
    }
}
