//! Urgent data of TCP: it comes as a part of the stream, and so does what is behind it.

use crate::{ground::Ground, kept::Kept};
use rustix::net::SendFlags;
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};
use support::internet::{WEB, WEB_V4};

/// What a program says with an urgent byte in it: first words that tell nothing yet, and the body of a request.
const FIRST: &[u8] = b"\0abc!def";
const BODY: &str = "abc!def";

/// What both sides say, with an urgent byte after each part: several at once, and some in a while.
const SAID: [&str; 5] = ["", "answer", "after", "", "at last"];
const HEARD: &[u8] = b"!answer!after!!at last!";

const SPEECH: &str = r#"
def say(connection):
    for part in b"", b"answer", b"after", b"", b"at last":
        connection.sendall(part)
        connection.send(b"!", socket.MSG_OOB)
        if part == b"after":
            time.sleep(0.3)
    connection.shutdown(socket.SHUT_WR)
def heard(connection):
    data = hear(connection)
    assert data == b"!answer!after!!at last!", data
"#;

/// Answers who has said all of it.
fn serve(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    if heard != HEARD {
        let _ = stream.write_all(&heard);
        return;
    }
    for part in SAID {
        let _ = stream.write_all(part.as_bytes());
        let _ = rustix::net::send(&stream, b"!", SendFlags::OOB | SendFlags::NOSIGNAL);
        if part == "after" {
            thread::sleep(Duration::from_millis(300));
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut heard);
}

#[test]
fn urgent_data_and_what_is_behind_it() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), serve);
        let kept = Kept::new(&ground, &["--allow", &format!("{WEB}:7000"), "-p", "3000:8003", "--workspace", "none"]);
        let client = |host: &str, port: u16| {
            format!(
                "{SPEECH}\nwith socket.create_connection(({host:?}, {port}), 30) as one:\n    say(one)\n    heard(one)"
            )
        };
        let _ = kept.works(&client(WEB, 7000));
        // By a port of the sandbox.
        let mut server = kept.talk(&format!(
            "{SPEECH}\nserver = socket.create_server(('127.0.0.1', 3000))\nprint('ready')\n\
             client = server.accept()[0]\nheard(client)\nsay(client)\nhear(client)"
        ));
        assert_eq!(server.line(), "ready");
        ground.outside(&client("127.0.0.1", 8003));
        server.end();
    }
}

/// Answers once so much is said, and waits for the other side to end.
fn answer(mut stream: TcpStream, said: usize) {
    let mut heard = vec![0; said];
    if stream.read_exact(&mut heard).is_ok() {
        let _ = stream.write_all(&heard);
    }
    let _ = stream.read_to_end(&mut heard);
}

/// A server of HTTP that gives a body back.
fn echo(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let mut bytes = [0; 512];
    while !heard.ends_with(BODY.as_bytes()) {
        match stream.read(&mut bytes) {
            Ok(count @ 1..) => heard.extend_from_slice(&bytes[..count]),
            _ => return,
        }
    }
    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len()).as_bytes());
    let _ = stream.read_to_end(&mut heard);
}

/// Where bytes are read, and not spliced, what is behind an urgent one is read as well, though nothing follows.
#[test]
fn what_is_behind_urgent_data_where_it_is_read() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), |stream| answer(stream, FIRST.len()));
        ground.internet.serve(&format!("{WEB_V4}:7001"), echo);
        let kept = Kept::new(&ground, &["--allow", &format!("{WEB}:7000-7001"), "--workspace", "none"]);
        let script = r#"
def at_once(connection, *parts):
    "All of it is there when the first of it is read."
    for part in parts:
        connection.send(part, socket.MSG_OOB if part == b"!" else 0)
def heard(connection, end):
    data = b""
    while not data.endswith(end):
        part = connection.recv(999)
        assert part, data
        data += part
    return data
for _ in range(20):
    with socket.create_connection((WEB, 7000), 30) as one:
        at_once(one, b"\0abc", b"!", b"def")
        assert heard(one, b"def") == b"\0abc!def"
    with socket.create_connection((WEB, 7001), 30) as one:
        head = b"POST / HTTP/1.1\r\nHost: %s:7001\r\nContent-Length: 7\r\n\r\n" % WEB.encode()
        at_once(one, head, b"abc", b"!", b"def")
        assert heard(one, b"abc!def").startswith(b"HTTP/1.1 200")
"#;
        let _ = kept.works(script);
    }
}
