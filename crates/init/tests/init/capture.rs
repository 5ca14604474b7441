//! Names and connections for the outside.

use crate::driver::{Driver, Place, assert_same, exec, noise, setup, with_stdin};
use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
};
use wire::{
    ExecSpec,
    flow::{Dial, Flow, Handed},
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

/// Connects, and says how that ended.
fn reset_at(host: &str, port: u16) -> String {
    format!(
        "try: print('got', socket.create_connection(({host}, {port}), 5).recv(1))
except ConnectionResetError: print('reset')"
    )
}

#[test]
fn a_connection_is_handed_over_with_where_it_goes() {
    let mut init = start();
    let script = format!("{CLIENT}\n{}", reset_at("look('WWW.Example.com')", 80));
    let id = init.exec(python(&script));
    let (flow, socket) = init.flow();
    assert_eq!(flow, Flow { host: "www.example.com".into(), port: 80 });
    // Whoever lets go of it without a word resets it: nobody takes half of something for the whole.
    drop(socket);
    assert_eq!(init.finish(id).text(), "reset\n");
    for (host, port) in [("203.0.113.9", 443), ("203.0.113.9", 22), ("2001:db8::9", 22), ("198.18.77.77", 80)] {
        let id = init.exec(python(&format!("import socket\n{}", reset_at(&format!("'{host}'"), port))));
        let (flow, socket) = init.flow();
        assert_eq!(flow, Flow { host: host.into(), port });
        drop(socket);
        assert_eq!(init.finish(id).text(), "reset\n");
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
    let mut waiting = [rustix::event::PollFd::new(&init.flows, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut waiting, Some(&now)), Ok(0), "nothing was handed over");
}

#[test]
fn what_is_handed_over_carries_bytes_both_ways() {
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
    let (_, mut socket) = init.flow();
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        socket.read_to_end(&mut received).unwrap();
        (socket, received)
    });
    init.until("all that was sent", |_| reader.is_finished());
    let (mut socket, received) = reader.join().unwrap();
    assert_same(&received, &bytes);
    // Its half is closed; ours still talks.
    let answer = bytes.clone();
    let writer = std::thread::spawn(move || {
        socket.write_all(&answer).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        socket
    });
    let output = init.finish(id);
    assert_same(&output.stdout, &bytes);
    writer.join().unwrap();
}

#[test]
fn connections_wait_for_who_takes_them_and_are_bounded() {
    // All that are handed over are held at once.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let mut init = start();
    let script = "
import socket, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
s = []
reset = 0
for n in range(2000):
    try:
        c = socket.create_connection(('203.0.113.9', 443), 5); s.append(c)
        c.setblocking(False)
    except ConnectionResetError: reset += 1
import time; time.sleep(1)
for c in s:
    try: c.recv(1)
    except BlockingIOError: pass
    except ConnectionResetError: reset += 1
print(reset, flush=True)
sys.stdin.read()
";
    let id = init.exec(with_stdin(python(script)));
    init.until("the count", |init| !init.stream(id).stdout.is_empty());
    let reset: usize = String::from_utf8_lossy(&init.stream(id).stdout).trim().parse().unwrap();
    // Some wait in the socket, as many as may in init, and the others in the kernel: nobody is turned away.
    assert_eq!(reset, 0);
    let unshare = init.child.id();
    let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
    let held = std::fs::read_dir(format!("/proc/{}/fd", children.trim())).unwrap().count();
    assert!((1024..1024 + 64).contains(&held), "{held}");
    let sockets: Vec<_> = (0..2000).map(|_| init.flow().1).collect();
    // There is room again.
    let late = init.exec(python(&format!("import socket\n{}", reset_at("'203.0.113.9'", 80))));
    let (flow, socket) = init.flow();
    assert_eq!(flow.port, 80);
    drop((sockets, socket));
    init.eof(id);
    assert_eq!(init.finish(id).code(), 0);
    assert_eq!(init.finish(late).code(), 0);
}

#[test]
fn ports_inside_are_dialled() {
    let mut init = start();
    let script = "
import socket
l = socket.create_server(('127.0.0.1', 3000)); m = socket.create_server(('::1', 3001), family=socket.AF_INET6)
print('ready', flush=True)
for s in (l, m):
    c, _ = s.accept(); c.sendall(c.recv(100).upper()); c.close()
";
    let id = init.exec(python(script));
    init.until("the servers", |init| !init.stream(id).stdout.is_empty());
    for (request, port, v6) in [(7, 3000, false), (8, 3001, true)] {
        init.dial(Dial { request, port, v6 });
        let (handed, socket) = init.handed();
        assert_eq!(handed, Handed::Dialled { request });
        let mut socket = socket.unwrap();
        socket.write_all(b"hello").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
    }
    assert_eq!(init.finish(id).code(), 0);
    // Nobody listens: the socket tells, or init does.
    init.dial(Dial { request: 9, port: 3999, v6: false });
    match init.handed() {
        (Handed::Dialled { request: 9 }, Some(mut socket)) => assert!(socket.write_all(b"x").is_err()),
        (Handed::NotDialled { request: 9, errno: 111 }, None) => {}
        other => panic!("{other:?}"),
    }
}
