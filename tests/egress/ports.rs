//! Ports of a sandbox on the host.

use crate::{
    ground::Ground,
    kept::{BOX, Kept, signal},
};
use rustix::process::Signal;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Output, Stdio},
};
use support::{eventually, internet::WEB, told};

/// Servers in a sandbox that say which they are: by IPv4 and by IPv6.
const SERVERS: &str = r#"
import threading
def serve(family, address, port):
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, port))
    server.listen()
    def answer(client):
        data = b""
        while part := client.recv(65536):
            data += part
        client.sendall(b"%d got %d" % (port, len(data)))
        client.close()
    def accept():
        while True:
            threading.Thread(target=answer, args=[server.accept()[0]], daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
serve(socket.AF_INET, "127.0.0.1", 3000)
serve(socket.AF_INET6, "::1", 3001)
serve(socket.AF_INET, "127.0.0.1", 3002)
print("ready")
time.sleep(600)
"#;

/// What a client of the host hears at one of its ports: it sends, ends its side, and reads on.
fn ask(ground: &Ground, address: &str, port: u16) -> Output {
    let script = format!(
        "import socket\nc = socket.create_connection(('{address}', {port}), 20)\nc.sendall(b'x' * 100000)\n\
         c.shutdown(socket.SHUT_WR)\ndata = b''\nwhile part := c.recv(99): data += part\nprint(data.decode())"
    );
    ground.internet.command(&ground.world, "python3").args(["-c", &script]).output().unwrap()
}

#[track_caller]
fn answers(ground: &Ground, address: &str, port: u16, inside: u16) {
    let output = ask(ground, address, port);
    let expected = format!("{inside} got 100000\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{address}:{port}: {}", told(&output));
}

fn silent(ground: &Ground, port: u16) -> bool {
    let output = ask(ground, "127.0.0.1", port);
    !output.status.success() && told(&output).contains("ConnectionRefused")
}

/// What comes and goes by a port is held to the sandbox's rate, beyond the second's worth that is saved up.
#[test]
fn the_rate_of_a_port() {
    for ground in Ground::all().into_iter().take(1) {
        let kept = Kept::new(&ground, &["-p", "3000:8003", "--bandwidth", "1M", "--workspace", "none"]);
        let mut server = kept.talk(
            r#"
server = socket.create_server(("127.0.0.1", 3000))
print("ready")
client = server.accept()[0]
size = len(client.recv(4 << 20, socket.MSG_WAITALL))
client.sendall(b"x" * size)
client.close()
"#,
        );
        assert_eq!(server.line(), "ready");
        let script = r#"
client = socket.create_connection(("127.0.0.1", 8003), 30)
begin = time.monotonic()
client.sendall(b"x" * (4 << 20))
size = 0
while part := client.recv(65536):
    size += len(part)
took = time.monotonic() - begin
assert size == 4 << 20, size
assert took > 0.9 * (8 - 1), took
"#;
        ground.outside(script);
    }
}

#[test]
fn ports_of_a_sandbox() {
    for ground in Ground::all() {
        let busy = ground.internet.listen("127.0.0.1:8010");
        let busy_v6 = ground.internet.listen("[::1]:8011");
        // One that is busy: told in words, at once, and there is no sandbox.
        for port in ["3000:8010", "3000:8011"] {
            let output = ground.run(&["-p", port], "print('ran')");
            let text = told(&output);
            let outside = port.split(':').nth(1).unwrap();
            assert!(!output.status.success() && !text.contains("ran"), "{text}");
            assert!(
                text.contains(&format!("Port {outside} of this host can't be had: something else listens on it")),
                "{text}"
            );
            assert!(text.contains("hint: "), "{text}");
        }
        fs::write(ground.world.project().join("agentkernel.toml"), "[network]\nports = ['3002:8004']\n").unwrap();
        let _ = ground.agentkernel(&["trust"]);
        // Nothing may be reached, and yet it can be.
        let kept = Kept::new(&ground, &["-p", "3000:8003", "-p", "3001"]);
        let mut servers = kept.talk(SERVERS);
        assert_eq!(servers.line(), "ready");
        let all = |also: &[(u16, u16)]| {
            for (outside, inside) in [&[(8003, 3000), (3001, 3001), (8004, 3002)], also].concat() {
                answers(&ground, "127.0.0.1", outside, inside);
                answers(&ground, "::1", outside, inside);
            }
        };
        all(&[]);
        let said = ground.agentkernel(&["port", BOX, "3000:8005"]);
        assert_eq!(said, "127.0.0.1:8005 -> box:3000\n");
        all(&[(8005, 3000)]);
        // One that is taken back is nobody's any more, and the others are still there.
        let _ = ground.agentkernel(&["port", BOX, "3000:8007"]);
        answers(&ground, "127.0.0.1", 8007, 3000);
        let _ = ground.agentkernel(&["port", BOX, "--rm", "3000:8007"]);
        assert!(silent(&ground, 8007));
        all(&[(8005, 3000)]);
        let listed = ["127.0.0.1:3001 -> box:3001", "127.0.0.1:8003 -> box:3000", "127.0.0.1:8004 -> box:3002"];
        let mut found: Vec<String> = ground.agentkernel(&["port", BOX]).lines().map(str::to_owned).collect();
        found.sort();
        assert_eq!(found, [&listed[..], &["127.0.0.1:8005 -> box:3000"]].concat());
        for port in ["3001:8007", "3001:8008"] {
            let _ = ground.agentkernel(&["port", BOX, port]);
        }
        // The sandbox's alone: all that it is on the host.
        let _ = ground.agentkernel(&["port", BOX, "--rm", "3001"]);
        assert!([3001, 8007, 8008].into_iter().all(|port| silent(&ground, port)));
        let _ = ground.agentkernel(&["port", BOX, "3001"]);
        all(&[(8005, 3000)]);
        let output = ground.internet.agentkernel(&ground.world, &["port", BOX, "--rm", "3000:8007"]).output().unwrap();
        assert!(told(&output).contains("The sandbox has no port 3000:8007"), "{}", told(&output));
        // Where nobody listens inside: as if nobody listened.
        let _ = ground.agentkernel(&["port", BOX, "3999:8006"]);
        assert_eq!(ask(&ground, "127.0.0.1", 8006).stdout, b"");
        // Others on the network of this host have no part in it.
        assert!(!ask(&ground, "127.0.0.2", 8003).status.success());
        let output = ground.internet.agentkernel(&ground.world, &["port", BOX, "3000:8010"]).output().unwrap();
        let text = told(&output);
        assert!(!output.status.success() && text.contains("Port 8010 of this host can't be had"), "{text}");
        let record: serde_json::Value = serde_json::from_str(&ground.agentkernel(&["inspect", BOX])).unwrap();
        let ports = record[0]["spec"]["network"]["ports"].to_string();
        assert!(
            ports.contains("8005") && !ports.contains("8010"),
            "a port that it does not have is on record: {ports}"
        );
        all(&[(8005, 3000)]);
        let egress = kept.running_egress();
        signal(egress, Signal::KILL);
        eventually("they are back", || !silent(&ground, 8003) && kept.egress().is_some_and(|pid| pid != egress));
        all(&[(8005, 3000)]);
        drop(servers);
        // A restart keeps those that were added, though one could not be had.
        let _ = ground.agentkernel(&["restart", BOX]);
        let mut servers = kept.talk(SERVERS);
        assert_eq!(servers.line(), "ready");
        all(&[(8005, 3000)]);
        let _ = kept.works("assert ask(WEB, 80, get(WEB)) != b'Hello'");
        assert!(ground.internet.requests().is_empty());
        drop(servers);
        let _ = ground.agentkernel(&["stop", "-t", "1", BOX]);
        // The list of one that is stopped can be changed too.
        let some = ["port", BOX, "--rm", "3000:8005", "4444", "3999"];
        let output = ground.internet.agentkernel(&ground.world, &some).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains("The sandbox has no port 4444"), "{}", told(&output));
        found = ground.agentkernel(&["port", BOX]).lines().map(str::to_owned).collect();
        found.sort();
        assert_eq!(found, listed);
        for port in [8003, 3001, 8004, 8005] {
            assert!(silent(&ground, port), "{port}");
        }
        // A start that fails for one changes nothing.
        let state = || ground.agentkernel(&["inspect", BOX, "--format", "{{json .State}}"]);
        let before = state();
        let _ = ground.agentkernel(&["port", BOX, "3000:8010"]);
        let output = ground.internet.agentkernel(&ground.world, &["start", BOX]).output().unwrap();
        let text = told(&output);
        assert!(!output.status.success() && text.contains("Port 8010 of this host can't be had"), "{text}");
        assert_eq!(state(), before);
        drop((busy, busy_v6));
    }
}

/// Somebody takes a port between two egresses: that is told, and it is had again once it is free.
#[test]
fn a_port_that_was_taken() {
    for ground in Ground::all().into_iter().take(1) {
        let kept = Kept::new(&ground, &["-p", "3000:8003", "-p", "3001:8004", "--workspace", "none"]);
        let mut servers = kept.talk(SERVERS);
        assert_eq!(servers.line(), "ready");
        answers(&ground, "127.0.0.1", 8003, 3000);
        signal(kept.supervisor(), Signal::STOP);
        signal(kept.running_egress(), Signal::KILL);
        eventually("the port is free", || silent(&ground, 8003));
        let script = "import socket, sys\nserver = socket.create_server(('127.0.0.1', 8003))\nprint('ready', flush=True)\n\
                      sys.stdin.read()";
        let mut command = ground.internet.command(&ground.world, "python3");
        let command = command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut taken = command.spawn().unwrap();
        let _ = BufReader::new(taken.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
        signal(kept.supervisor(), Signal::CONT);
        let words = "Port 8003 of this host can't be had";
        let is_it =
            |event: &serde_json::Value| event["port"] == 8003 && event["cause"].as_str().unwrap().contains(words);
        eventually("it is told", || ground.log(&[]).iter().any(is_it));
        answers(&ground, "127.0.0.1", 8004, 3001);
        drop(taken.stdin.take());
        assert!(taken.wait().unwrap().success());
        eventually("it is had again", || !silent(&ground, 8003));
        answers(&ground, "127.0.0.1", 8003, 3000);
    }
}

#[test]
fn a_port_beside_what_is_allowed() {
    for ground in Ground::all() {
        let kept = Kept::new(&ground, &["--allow", WEB, "-p", "3000:8003", "--workspace", "none"]);
        let mut servers = kept.talk(SERVERS);
        assert_eq!(servers.line(), "ready");
        let _ = kept.works("works()");
        answers(&ground, "127.0.0.1", 8003, 3000);
        drop(servers);
    }
}
