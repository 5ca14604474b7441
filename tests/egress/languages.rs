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

#[test]
fn who_waits_for_an_answer_gets_it() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), echo);
        let script = r#"
words = [
    b"x", b"ruok", b"JDWP-Handshake", b"hello world", b"GET /", b"GET /x\r\n", b"get /k\r\n", b"SCAN /tmp/x\n",
    b"SELECT * FROM t;\n", b"003agit-upload-pack /p.git\0host=git.example.com\0", b"\x16\0\0\0\x01", b"\x16",
    b"LIST /", b"CONNECT db\n", b"a" * 200, b"word " * 20000, b"\0" * 100000,
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

/// A request that is begun so slowly that it is passed on for something else is not a way around what is read of requests.
#[test]
fn a_slow_request_goes_no_further() {
    for ground in Ground::all() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        ground.internet.serve(&format!("{WEB_V4}:7000"), move |mut stream| {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                hears.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
            let _ = stream.write_all(b"answer");
        });
        let script = r#"
for beginning, rest in [(b"GET / HT", b"TP/1.1\r\nHost: hidden\r\n\r\n"), (b"\x16", b"\x03\1\0\x05hidden")]:
    with socket.create_connection((WEB, 7000), 30) as connection:
        connection.sendall(beginning)
        time.sleep(1)
        connection.sendall(rest)
        assert hear(connection) == b""
"#;
        let _ = ground.attack(&["--allow", "www.example.com:7000", "--name", "slow"], script);
        let heard = heard.lock().unwrap();
        assert!(heard.starts_with(b"GET / HT") && !heard.windows(6).any(|word| word == b"hidden"), "{heard:?}");
        ground.told("bad-request");
        assert!(!ground.internet.requests().iter().any(|line| line.contains(WEB)));
    }
}
