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
