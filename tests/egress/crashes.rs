//! Processes that are killed, stopped, or cannot be started: nobody takes half of something for the whole, nothing passes
//! that may not, and what comes next works.

use crate::{
    ground::Ground,
    kept::{BOX, Kept, descriptors, signal},
};
use rustix::process::Signal;
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};
use support::{
    Who, eventually,
    internet::{HIDDEN, OWN, WEB, WEB_V4},
    told,
};

/// Downloads that have begun and do not end by themselves, in every way that egress carries them.
const DOWNLOADS: &str = r#"
plain = socket.create_connection((WEB, 80))
plain.sendall(get(WEB, "/own/endless"))
raw = socket.create_connection((WEB, 7000))
raw.sendall(b"\0")
plain_tls = socket.create_connection((WEB, 443))
# Python takes a reset for an end that TLS does not have.
tls = ssl.create_default_context().wrap_socket(plain_tls, server_hostname=WEB, suppress_ragged_eofs=False)
tls.sendall(get(WEB, "/own/endless"))
for one in plain, raw, tls:
    one.settimeout(60)
    data = b""
    while b"part" not in data:
        data += one.recv(4096)
print("begun")
for one in plain, raw, tls:
    try:
        while one.recv(65536):
            pass
    except (ConnectionResetError, ssl.SSLEOFError):
        continue
    raise AssertionError(("an end of file", one))
print("all reset")
"#;

/// How an answer of HTTP begins.
const HEAD: &str = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n";

/// Sends some, and then nothing, until the other side has gone.
fn endless(mut stream: TcpStream, beginning: &str) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(format!("{beginning}part").as_bytes());
    let _ = stream.read(&mut [0]);
}

fn serve_endless(ground: &Ground) {
    ground.internet.serve(OWN, |stream| endless(stream, HEAD));
    ground.internet.serve(&format!("{WEB_V4}:7000"), |stream| endless(stream, ""));
}

const ALLOW: [&str; 4] = ["--allow", WEB, "--allow", "www.example.com:7000"];

#[test]
fn of_egress() {
    for ground in Ground::all() {
        serve_endless(&ground);
        let kept = Kept::new(&ground, &ALLOW);
        let _ = kept.works("works()");
        let supervisor = kept.supervisor();
        let before = descriptors(supervisor);
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", kept.running_egress())).unwrap();
        let memory: Vec<&str> = limits.lines().find(|line| line.starts_with("Max data")).unwrap().split(' ').collect();
        assert!(memory.iter().filter(|word| **word == "536870912").count() == 2, "{limits}");
        for round in 1..=2 {
            let egress = kept.running_egress();
            let mut talk = kept.talk(DOWNLOADS);
            assert_eq!(talk.line(), "begun");
            signal(egress, Signal::KILL);
            assert_eq!(talk.line(), "all reset");
            talk.end();
            let lost = || ground.log(&[]).iter().filter(|event| event["reason"] == "lost").count();
            eventually("they are on record", || lost() == 3 * round);
            // What comes next works, and what may not still may not.
            let _ = kept.works("works()\nassert b'Hello' not in ask(HIDDEN, 80, get(HIDDEN))");
            assert_ne!(kept.running_egress(), egress);
        }
        // One that is killed again and again, while programs go on trying.
        let mut talk = kept.talk(
            r#"
print("begins")
for _ in range(150):
    assert b"Hello" not in ask(HIDDEN, 80, get(HIDDEN))
    ask(WEB, 80, get(WEB))
print("good")
"#,
        );
        assert_eq!(talk.line(), "begins");
        for _ in 0..2 {
            eventually("it runs", || kept.egress().is_some());
            signal(kept.running_egress(), Signal::KILL);
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(talk.line(), "good");
        talk.end();
        let _ = kept.works("works()");
        ground.only(&[WEB]);
        eventually("nothing is left open", || descriptors(supervisor) <= before);
        let names: Vec<String> = ground.world.processes().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names.iter().filter(|name| *name == "ak-egress").count(), 1, "{names:?}");
    }
}

/// Who was asked for a name has heard of it: that is on record, though nothing was connected when egress was killed.
#[test]
fn of_egress_before_it_has_connected() {
    for ground in Ground::all() {
        ground.internet.name("never.example.com", &[WEB_V4]);
        ground.internet.slow_name("never.example.com", None);
        let kept = Kept::new(&ground, &["--allow", "*.example.com", "--workspace", "none"]);
        // What has ended before is not lost.
        let _ = kept.works(
            "works()\nassert b'no-such-host' in ask('no.example.com', 80, get('no.example.com'))\n\
             assert b'Hello' not in ask(HIDDEN, 80, get(HIDDEN))",
        );
        let mut talk =
            kept.talk("assert ask('never.example.com', 80, get('never.example.com')) == b''\nprint('reset')");
        eventually("the name is asked for", || {
            ground.internet.queries().iter().any(|query| query.name == "never.example.com")
        });
        signal(kept.running_egress(), Signal::KILL);
        assert_eq!(talk.line(), "reset");
        talk.end();
        let _ = kept.works("works()");
        let log = ground.log(&[]);
        let lost: Vec<_> = log.iter().filter(|event| event["reason"] == "lost").map(|event| &event["host"]).collect();
        assert_eq!(lost, ["never.example.com"], "{log:#?}");
    }
}

#[test]
fn of_the_supervisor() {
    for ground in Ground::all() {
        serve_endless(&ground);
        let kept = Kept::new(&ground, &ALLOW);
        let mut talk = kept.talk(DOWNLOADS);
        assert_eq!(talk.line(), "begun");
        let egress = kept.running_egress();
        signal(kept.supervisor(), Signal::KILL);
        eventually("egress follows", || !Path::new(&format!("/proc/{egress}/cmdline")).exists());
        drop(talk);
        eventually("nothing runs", || ground.world.processes().is_empty());
        let _ = ground.agentkernel(&["start", BOX]);
        let _ = kept.works("works()");
    }
}

#[test]
fn of_what_is_stopped() {
    for ground in Ground::all() {
        let kept = Kept::new(&ground, &ALLOW);
        let _ = kept.works("works()");
        let egress = kept.running_egress();
        signal(egress, Signal::STOP);
        // Everybody waits, and nobody else does its work.
        let mut talk = kept.talk(
            "print('asks')\nassert b'Hello from www' in ask(WEB, 80, get(WEB))\n\
             assert b'Hello' not in ask(HIDDEN, 80, get(HIDDEN))\nprint('answered')",
        );
        assert_eq!(talk.line(), "asks");
        let asked = ground.internet.requests().len();
        assert!(ground.agentkernel(&["exec", BOX, "echo", "on"]).contains("on"));
        thread::sleep(Duration::from_millis(300));
        assert_eq!(ground.internet.requests().len(), asked);
        signal(egress, Signal::CONT);
        assert_eq!(talk.line(), "answered");
        talk.end();
        // One that is stopped holds up no end.
        signal(egress, Signal::STOP);
        let _ = ground.agentkernel(&["stop", "-t", "1", BOX]);
        eventually("egress is gone", || ground.world.processes().is_empty());
    }
}

/// What is denied ends, though egress does not obey: it is ended with all that it carries, and the next one obeys.
#[test]
fn of_one_that_does_not_obey() {
    for ground in Ground::all() {
        serve_endless(&ground);
        let kept = Kept::new(&ground, &ALLOW);
        let mut talk = kept.talk(DOWNLOADS);
        assert_eq!(talk.line(), "begun");
        let egress = kept.running_egress();
        signal(egress, Signal::STOP);
        let output = ground.internet.agentkernel(&ground.world, &["net", "deny", BOX, WEB]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let words = "Egress ended before it had done this\n  hint: The change holds from its next start on";
        assert!(told(&output).contains(words), "{}", told(&output));
        assert_eq!(talk.line(), "all reset");
        talk.end();
        let _ = kept.works("assert b'Hello' not in ask(WEB, 80, get(WEB))");
        ground.told("denied");
        assert_ne!(kept.running_egress(), egress);
    }
}

/// One that died before it had obeyed: the next one is not ended for that.
#[test]
fn of_one_that_was_to_obey() {
    // Whoever waits, it is the same.
    for ground in Ground::all().into_iter().take(1) {
        let kept = Kept::new(&ground, &ALLOW);
        let _ = kept.works("works()");
        let egress = kept.running_egress();
        signal(egress, Signal::STOP);
        let mut deny = ground.internet.agentkernel(&ground.world, &["net", "deny", BOX, HIDDEN]);
        let deny = deny.stderr(Stdio::piped()).spawn().unwrap();
        thread::sleep(Duration::from_millis(500));
        signal(egress, Signal::KILL);
        let output = deny.wait_with_output().unwrap();
        assert!(told(&output).contains("Egress ended before it had done this"), "{}", told(&output));
        let _ = kept.works("works()");
        let healthy = kept.running_egress();
        // Longer than the patience with the one before.
        thread::sleep(Duration::from_secs(6));
        let _ = kept.works("works()");
        assert_eq!(kept.running_egress(), healthy);
    }
}

/// No process can be made for it: programs are refused rather than left waiting, and that is on record; once there can
/// be one, all works.
#[test]
fn of_one_that_cannot_be_started() {
    let ordinary = |ground: &Ground| ground.world.who() == Who::Nobody || !rustix::process::getuid().is_root();
    for ground in Ground::all().into_iter().filter(ordinary) {
        let kept = Kept::new(&ground, &["--allow", WEB, "--workspace", "none"]);
        let supervisor = kept.supervisor();
        let limit = |most: &str| {
            let mut prlimit = ground.world.command("prlimit");
            prlimit.args(["--pid", &supervisor.to_string(), &format!("--nproc={most}:")]);
            assert!(prlimit.status().unwrap().success());
        };
        limit("1");
        let output = kept.python("assert b'Hello' not in ask(WEB, 80, get(WEB))");
        assert!(output.status.success(), "{}", told(&output));
        eventually("it is on record", || ground.log(&[]).iter().any(|event| event["reason"] == "lost"));
        limit("4096");
        eventually("it works again", || kept.python("works()").status.success());
    }
}

/// What a server breaks off is broken off for its client as well, however it is carried.
#[test]
fn of_a_server() {
    for ground in Ground::all() {
        let breaks_off = |mut stream: TcpStream, beginning: &str| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(format!("{beginning}part").as_bytes());
            thread::sleep(Duration::from_millis(300));
            let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
        };
        for (port, beginning) in [(7000, ""), (8081, HEAD)] {
            ground.internet.serve(&format!("{WEB_V4}:{port}"), move |stream| breaks_off(stream, beginning));
        }
        // Half-close in both directions.
        ground.internet.serve(&format!("{WEB_V4}:7001"), |mut stream| {
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = write!(stream, "{} bytes", all.len());
        });
        ground.internet.serve(&format!("{WEB_V4}:7002"), |mut stream| {
            let _ = stream.write_all(b"begin");
            let _ = stream.shutdown(Shutdown::Write);
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            if all == b"late" {
                drop(TcpStream::connect("127.0.0.1:1"));
            }
        });
        let script = r#"
for port, request in (7000, b"\0"), (8081, get(WEB)):
    connection = socket.create_connection((WEB, port))
    connection.settimeout(60)
    connection.sendall(request)
    data = b""
    try:
        while part := connection.recv(4096):
            data += part
        raise AssertionError((port, data, "an end of file"))
    except ConnectionResetError:
        assert b"part" in data, data
# A server that is not there, and one that never answers.
assert b" 502 " in ask(WEB, 8082, get(WEB)), ask(WEB, 8082, get(WEB))
assert ask(WEB, 7003, b"\0") == b""
silent = socket.create_connection((WEB, 80))
silent.sendall(get(WEB, "/live/never"))
silent.settimeout(0.5)
try:
    raise AssertionError(silent.recv(9))
except TimeoutError:
    pass
silent.close()
# A client that has no more to say, and one whose server has no more to say.
assert ask(WEB, 7001, b"\0" * 1000000, end=True) == b"1000000 bytes"
connection = socket.create_connection((WEB, 7002))
assert hear(connection) == b"begin"
connection.sendall(b"late")
connection.shutdown(socket.SHUT_WR)
works()
"#;
        let allow = ["7000", "7001", "7002", "7003", "8081", "8082", "80"].map(|port| format!("{WEB}:{port}"));
        let options: Vec<&str> = allow.iter().flat_map(|rule| ["--allow", rule]).collect();
        let _ = ground.attack(&options, script);
        ground.told("unreachable");
    }
}

/// Names whose server says nothing, says it late, says no; and a host whose resolv.conf changes.
#[test]
fn of_the_name_server() {
    // Whoever asks, it is the same.
    for ground in Ground::all().into_iter().take(1) {
        for (name, time) in [("late.example.com", Some(Duration::from_secs(1))), ("never.example.com", None)] {
            ground.internet.name(name, &[WEB_V4]);
            ground.internet.slow_name(name, time);
        }
        let kept = Kept::new(&ground, &["--allow", "*.example.com", "--workspace", "none"]);
        let _ = kept.works(
            r#"
answer = ask("late.example.com", 80, get("late.example.com"))
assert b" 421 " in answer, answer
answer = ask("no.example.com", 80, get("no.example.com"))
assert b" 502 " in answer and b"no-such-host" in answer, answer
works()
"#,
        );
        // Another server from now on: the one of before says nothing any more.
        ground.internet.serve_names("127.0.0.3");
        let answers = "assert b' 421 ' in ask('moved.example.com', 80, get('moved.example.com'))";
        ground.internet.name("moved.example.com", &[WEB_V4]);
        let _ = kept.works(answers);
        // A server that never answers holds up nobody else.
        let _ = kept.works(
            r#"
import threading
answers = []
one = threading.Thread(target=lambda: answers.append(ask("never.example.com", 80, get("never.example.com"))))
one.start()
works()
assert not answers
one.join()
assert b" 502 " in answers[0] and b"lookup-failed" in answers[0], answers
"#,
        );
        ground.only(&[WEB, "_"]);
    }
}
