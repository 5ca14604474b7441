//! Names and connections for the outside.

use crate::driver::{Driver, Place, assert_contains, assert_same, exec, noise, setup, with_stdin};
use wire::{
    ExecSpec,
    link::{Flow, FlowReply},
};

fn start() -> Driver {
    let mut setup = setup(Place::OneId);
    setup.capture = true;
    let (init, walls) = Driver::with(Place::OneId, setup);
    assert!(walls.iter().any(|wall| wall.name == "capture" && wall.holds), "{walls:?}");
    init
}

fn python(script: &str) -> ExecSpec {
    exec(&["python3", "-c", script])
}

/// Waits for the next flow and gives its stream.
#[track_caller]
fn flow(init: &mut Driver, after: u32) -> (u32, Flow) {
    let mut found = None;
    init.until("a flow", |init| {
        found = init
            .streams
            .iter()
            .find(|&(&id, stream)| id > after && id % 2 == 0 && stream.flow.is_some())
            .map(|(&id, s)| (id, s.flow.clone().unwrap()));
        found.is_some()
    });
    found.unwrap()
}

fn refuse(message: &str) -> FlowReply {
    FlowReply::Refused { reason: "network-none".into(), message: message.into() }
}

/// A client of plain sockets: asks our DNS by hand, because the host's resolv.conf is not the sandbox's.
const CLIENT: &str = "
import socket, struct, sys
def ask(name, kind=1, tcp=False):
    q = struct.pack('>6H', 7, 256, 1, 0, 0, 0)
    q += b''.join(bytes([len(l)]) + l.encode() for l in name.split('.')) + b'\\0' + struct.pack('>2H', kind, 1)
    if tcp:
        s = socket.create_connection(('127.0.0.1', 53), 5)
        s.sendall(struct.pack('>H', len(q)) + q)
        n, = struct.unpack('>H', s.recv(2, socket.MSG_WAITALL)); return s.recv(n, socket.MSG_WAITALL)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    s.sendto(q, ('127.0.0.1', 53)); return s.recv(512)
def look(name, **k):
    r = ask(name, **k); return socket.inet_ntoa(r[-4:]) if r[7] else None
";

#[test]
fn names_over_udp_and_tcp() {
    let mut init = start();
    let script = format!(
        "{CLIENT}
a, b = look('a.example'), look('b.example')
print(a, b, look('A.Example', tcp=True) == a, look('a.example', kind=28), look('localhost'))
s = socket.create_connection(('127.0.0.1', 53), 5); s.sendall(b'\\0\\x05hello'); print(s.recv(10))
"
    );
    let output = init.run(python(&script));
    assert_eq!(output.text(), "198.18.0.1 198.18.0.2 True None 127.0.0.1\nb''\n", "{output:?}");
}

#[test]
fn http_is_refused_in_words() {
    let mut init = start();
    let script = format!(
        "{CLIENT}
s = socket.create_connection((look('www.example.com'), 80), 5)
s.sendall(b'GET / HTTP/1.1\\r\\nHost: www.example.com\\r\\n\\r\\n')
r = b''
while True:
    d = s.recv(4096)
    if not d: break
    r += d
print(r.decode())
"
    );
    let id = init.exec(python(&script));
    let (stream, asked) = flow(&mut init, 0);
    assert_eq!(asked, Flow { host: "www.example.com".into(), port: 80 });
    init.reply(stream, &refuse("Refused by the policy net = none"));
    let output = init.finish(id);
    assert_eq!(output.code(), 0, "{output:?}");
    assert!(output.text().starts_with("HTTP/1.1 403 Forbidden\r\n"), "{output:?}");
    assert_contains(output.text(), "Connection: close");
    assert_contains(output.text(), "\r\n\r\nRefused by the policy net = none\n");
}

#[test]
fn anything_else_is_reset() {
    let mut init = start();
    for (send, port, host) in
        [("b'\\x16\\x03\\x01'", 443, "203.0.113.9"), ("b''", 22, "2001:db8::9"), ("b'SSH-2.0-x'", 22, "203.0.113.9")]
    {
        let script = format!(
            "
import socket
try:
    s = socket.create_connection(('{host}', {port}), 5)
    s.sendall({send})
    print('got', s.recv(10))
except ConnectionResetError: print('reset')
"
        );
        let id = init.exec(python(&script));
        let (stream, asked) = flow(&mut init, 0);
        assert_eq!(asked, Flow { host: host.into(), port });
        init.reply(stream, &refuse("no"));
        assert_eq!(init.finish(id).text(), "reset\n");
        init.streams.remove(&stream);
    }
}

#[test]
fn other_ports_and_loopback() {
    let mut init = start();
    // A program may have any other port, on every address, and its own clients reach it. What nobody listens on is
    // refused at once; what only init listens on is reset on loopback, without asking anybody.
    let script = "
import socket
for p in (8080, 3000, 5432):
    l = socket.socket(); l.bind(('0.0.0.0', p)); l.listen(); socket.create_connection(('127.0.0.1', p), 5); print('bound')
try: socket.create_connection(('203.0.113.9', 8081), 5); print('connected')
except ConnectionRefusedError: print('refused')
for a in ('127.0.0.1', '::1'):
    try:
        s = socket.create_connection((a, 80), 5)
        print('got', s.recv(10))
    except ConnectionResetError: print('reset')
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('203.0.113.9', 443)); s.send(b'x'); s.settimeout(5)
try: s.recv(10); print('answered')
except ConnectionRefusedError: print('refused')
";
    let output = init.run(python(script));
    assert_eq!(output.text(), "bound\nbound\nbound\nrefused\nreset\nreset\nrefused\n", "{output:?}");
    assert!(init.streams.is_empty());
}

#[test]
fn an_accepted_flow_carries_bytes_both_ways() {
    let mut init = start();
    let bytes = noise(8 << 20);
    let script = format!(
        "{CLIENT}
import threading
s = socket.create_connection((look('data.example'), 443), 5); s.settimeout(30)
data = sys.stdin.buffer.read()
def send():
    s.sendall(data); s.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
while True:
    d = s.recv(65536)
    if not d: break
    sys.stdout.buffer.write(d)
"
    );
    let id = init.exec(with_stdin(python(&script)));
    init.input(id, &bytes);
    init.eof(id);
    let (stream, _) = flow(&mut init, 0);
    init.reply(stream, &FlowReply::Accepted);
    init.until("all that was sent", |init| !init.stream(stream).ended.is_empty());
    assert_same(&init.stream(stream).stdout.clone(), &bytes);
    // Its half is closed; ours still talks.
    init.input(stream, &bytes);
    init.eof(stream);
    let output = init.finish(id);
    assert_same(&output.stdout, &bytes);
    init.until("the end of the flow", |init| init.stream(stream).closed);
}

#[test]
fn a_flow_that_breaks_off_is_reset() {
    let mut init = start();
    let script = "
import socket
try:
    s = socket.create_connection(('203.0.113.9', 443), 5)
    print('got', s.recv(10))
except ConnectionResetError: print('reset')
";
    let id = init.exec(python(script));
    let (stream, _) = flow(&mut init, 0);
    init.reply(stream, &FlowReply::Accepted);
    init.close(stream);
    let output = init.finish(id);
    assert_eq!(output.text(), "reset\n", "{output:?}");
}

#[test]
fn flows_are_bounded() {
    let mut init = start();
    let script = "
import socket, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
s = []
reset = 0
for n in range(1100):
    try:
        c = socket.create_connection(('203.0.113.9', 443), 5); s.append(c)
        c.setblocking(False)
    except ConnectionResetError: reset += 1
import time; time.sleep(1)
for c in s:
    try: c.recv(1)
    except BlockingIOError: pass
    except ConnectionResetError: reset += 1
print(reset)
";
    let id = init.exec(python(script));
    assert_eq!(init.finish(id).text(), "76\n");
    assert_eq!(init.streams.len(), 1024);
    // Their programs are gone, but might only have closed their half: the answer shows it.
    for id in init.streams.keys().copied().collect::<Vec<_>>() {
        init.reply(id, &refuse("no"));
    }
    init.until("all flows to end", |init| init.streams.values().all(|stream| stream.closed));
    // There is room again.
    init.streams.clear();
    init.exec(python("import socket; socket.create_connection(('203.0.113.9', 443), 5).recv(1)"));
    let (stream, _) = flow(&mut init, 0);
    init.reply(stream, &refuse("no"));
}
