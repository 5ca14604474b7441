//! What tests of attacks stand on: three sites on one server, a user's world, and a Python that attacks from inside.

use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::{
    Who, World,
    internet::{HIDDEN, Internet, SHARED, WEB, installed},
    stdout, told,
};

/// An internet with the sites [`WEB`], [`HIDDEN`] and [`SHARED`], and somebody who has sandboxes.
pub struct Ground {
    pub internet: Internet,
    pub world: World,
}

/// How many connections something has had.
#[derive(Clone, Default)]
pub struct Canary(Arc<AtomicUsize>);

impl Canary {
    pub fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What attacks begin with.
pub const PRELUDE: &str = r#"
import os, socket, ssl, struct, subprocess, sys, time

WEB, HIDDEN, SHARED = "www.example.com", "hidden.example.net", "shared.example.com"

def hear(connection):
    "All that comes until the end, however that comes."
    data = b""
    connection.settimeout(30)
    try:
        while part := connection.recv(65536):
            data += part
    except OSError as error:
        assert not isinstance(error, TimeoutError), (data, "left waiting")
    return data

def ask(host, port, request, end=False):
    "What is answered to these bytes, and perhaps no more of them; nothing if there is no connection."
    try:
        with socket.create_connection((host, port), 30) as connection:
            connection.sendall(request)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return hear(connection)
    except OSError as error:
        assert not isinstance(error, TimeoutError), (host, port, "left waiting")
        return b""

def get(host, path="/hello", lines=()):
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "Connection: close", "", ""]).encode()

def lookup(labels, kind=1, server="127.0.0.1", tcp=False):
    "The code, the number of records and the address of an answer about a name, which is made of bytes."
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    packet = struct.pack(">HHHHHH", 1, 0x100, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1)
    if tcp:
        with socket.create_connection((server, 53), 10) as connection:
            connection.sendall(struct.pack(">H", len(packet)) + packet)
            answer = connection.recv(4096)[2:]
    else:
        with socket.socket(type=socket.SOCK_DGRAM) as connection:
            connection.settimeout(10)
            connection.connect((server, 53))
            connection.send(packet)
            answer = connection.recv(4096)
    count = struct.unpack(">H", answer[6:8])[0]
    return answer[3] & 15, count, socket.inet_ntoa(answer[-4:]) if count and kind == 1 else None

def works():
    "That it is not refused because nothing works."
    answer = ask(WEB, 80, get(WEB))
    assert b"Hello from " + WEB.encode() in answer, answer
"#;

impl Ground {
    /// One for each user that the tests can be; none, counted and named, where there can be none.
    pub fn all() -> Vec<Self> {
        if !["nginx", "python3"].into_iter().all(installed) {
            return Vec::new();
        }
        let ground = |who| {
            let internet = Internet::new()?;
            internet.nginx(&[WEB, HIDDEN, SHARED]);
            Some(Self { internet, world: World::new(who) })
        };
        Who::all().into_iter().filter_map(ground).collect()
    }

    /// A sandbox with these options runs a Python script, which must end well.
    #[track_caller]
    pub fn attack(&self, options: &[&str], script: &str) -> String {
        let output = self.run(options, script);
        assert!(output.status.success(), "{}\n{:#?}", told(&output), self.log(&[]));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same script without any sandbox, which must end well.
    #[track_caller]
    pub fn outside(&self, script: &str) {
        let script = format!("{PRELUDE}\n{script}");
        let _ = stdout(self.internet.command(&self.world, "python3").args(["-c", &script]));
    }

    pub fn run(&self, options: &[&str], script: &str) -> Output {
        let script = format!("{PRELUDE}\n{script}");
        let command = ["--", "timeout", "70", "python3", "-c", &script];
        self.internet.agentkernel(&self.world, &[&["run"], options, &command].concat()).output().unwrap()
    }

    /// What `agentkernel` says, which must succeed.
    #[track_caller]
    pub fn agentkernel(&self, arguments: &[&str]) -> String {
        stdout(&mut self.internet.agentkernel(&self.world, arguments))
    }

    /// Records a secret for a host.
    #[track_caller]
    pub fn secret(&self, name: &str, value: &str, host: &str) {
        let mut set = self.internet.agentkernel(&self.world, &["secret", "set", name, "--stdin", "--host", host]);
        let mut set = set.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        set.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
        assert!(set.wait().unwrap().success());
    }

    /// What happened to connections.
    #[track_caller]
    pub fn log(&self, options: &[&str]) -> Vec<Value> {
        let text = self.agentkernel(&[&["net", "log", "--json"], options].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// That one denial at least has this reason.
    #[track_caller]
    pub fn told(&self, reason: &str) {
        let log = self.log(&[]);
        assert!(log.iter().any(|event| event["event"] == "refused" && event["reason"] == reason), "{reason}: {log:#?}");
    }

    /// That no site but these has been asked for anything.
    #[track_caller]
    pub fn only(&self, sites: &[&str]) {
        let requests = self.internet.requests();
        let strange = requests.iter().find(|line| !sites.iter().any(|site| line.starts_with(&format!("{site} "))));
        assert_eq!(strange, None, "{requests:#?}");
    }

    /// Listens, at whichever address, and says "canary" to whoever comes.
    pub fn canary(&self, address: &str) -> Canary {
        let canary = Canary::default();
        let count = canary.clone();
        self.internet.serve(address, move |mut stream| {
            count.0.fetch_add(1, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ncanary");
        });
        canary
    }
}
