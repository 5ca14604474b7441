//! Attacks on what lies beside a sandbox: the host's services, other sandboxes, and ways around TCP.

use crate::ground::Ground;
use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};
use support::internet::{HIDDEN, WEB};

#[test]
fn the_hosts_own_ports() {
    for ground in Ground::all() {
        let canaries = ["127.0.0.1:9999", "127.0.0.1:9998", "[::1]:9999"].map(|address| ground.canary(address));
        let script = r#"
for host in "127.0.0.1", "localhost", "::1", "127.0.1.1", socket.gethostname(), "0.0.0.0", "host.agentkernel.internal", "::ffff:127.0.0.1", "host.docker.internal":
    assert b"canary" not in ask(host, 9999, get("x")), host
"#;
        for options in [["--net", "open"], ["--allow", "*:*"], ["--allow", "localhost:9999"]] {
            let _ = ground.attack(&options, script);
        }
        assert_eq!(canaries.each_ref().map(super::ground::Canary::count), [0, 0, 0]);
        // The one that was given, and no other.
        let script = r#"
assert b"canary" in ask("host.agentkernel.internal", 9999, get("host.agentkernel.internal:9999"))
assert b"canary" not in ask("host.agentkernel.internal", 9998, get("host.agentkernel.internal:9998"))
assert b"canary" not in ask("127.0.0.1", 9999, get("127.0.0.1:9999"))
"#;
        let _ = ground.attack(&["--open", "localhost:9999"], script);
        let [given, other, _] = canaries;
        assert_eq!((given.count(), other.count()), (1, 0));
    }
}

#[test]
fn abstract_and_other_sockets_of_the_host() {
    for ground in Ground::all() {
        let listen = r#"
import os, socket
places = ["\0agentkernel-test-service", os.environ["XDG_RUNTIME_DIR"] + "/service", os.environ["HOME"] + "/service"]
sockets = [socket.socket(socket.AF_UNIX) for _ in places]
for one, place in zip(sockets, places):
    one.bind(place)
    one.listen()
print("listening", *map(ascii, places), flush=True)
while True:
    sockets[0].accept()
"#;
        let mut service = ground.internet.command(&ground.world, "python3");
        let mut service = service.args(["-c", listen]).stdout(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(service.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let places = line.strip_prefix("listening ").unwrap().replace("' '", "', '");
        let script = format!(
            r#"
for place in {places}:
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET:
        try:
            socket.socket(socket.AF_UNIX, kind).connect(place)
        except OSError:
            continue
        raise AssertionError(place)
"#
        );
        let reached = format!("import socket\nfor place in {places}: socket.socket(socket.AF_UNIX).connect(place)");
        let _ = support::stdout(ground.internet.command(&ground.world, "python3").args(["-c", &reached]));
        let _ = ground.attack(&["--net", "open"], &script);
        service.kill().unwrap();
        service.wait().unwrap();
    }
}

#[test]
fn another_sandbox() {
    for ground in Ground::all() {
        let serve = r#"
import socket, socketserver, threading
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"canary")
class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass
threading.Thread(target=Unix("\0agentkernel-test-sandbox", Answer).serve_forever).start()
server = socketserver.ThreadingTCPServer(("0.0.0.0", 9000), Answer)
print("listening", flush=True)
server.serve_forever()
"#;
        let common = ["--workspace", "none", "--net", "open"];
        let other = [&["run", "-d", "--name", "other"], &common[..], &["--", "python3", "-c", serve]].concat();
        let _ = ground.agentkernel(&other);
        support::eventually("the other sandbox listens", || {
            ground.agentkernel(&["logs", "other"]).contains("listening")
        });
        let inside = "import socket; print(socket.create_connection(('127.0.0.1', 9000)).recv(9))";
        assert!(ground.agentkernel(&["exec", "other", "python3", "-c", inside]).contains("canary"));
        let name = ground.agentkernel(&["exec", "other", "hostname"]);
        let script = format!(
            r#"
for host in "127.0.0.1", "localhost", "{}", "other", "198.18.0.1", "198.18.0.2", "10.0.0.1", "8.8.8.8", "host.agentkernel.internal":
    assert b"canary" not in ask(host, 9000, b""), host
try:
    socket.socket(socket.AF_UNIX).connect("\0agentkernel-test-sandbox")
except OSError:
    pass
else:
    raise AssertionError("abstract")
"#,
            name.trim()
        );
        let _ = ground.attack(&common, &script);
        let _ = ground.agentkernel(&["rm", "-f", "other"]);
    }
}

#[test]
fn datagrams() {
    for ground in Ground::all() {
        let canaries = ["93.184.215.14:443", "8.8.8.8:53", "127.0.0.1:123", "[2001:4860:4860::8888]:443"]
            .map(|address| ground.internet.datagrams(address));
        let script = r#"
for host, port in (WEB, 443), ("93.184.215.14", 443), ("8.8.8.8", 53), ("127.0.0.1", 123), ("10.0.0.1", 9), ("255.255.255.255", 9), ("224.0.0.251", 5353), ("2001:4860:4860::8888", 443), ("ff02::1", 9):
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    for protocol in socket.IPPROTO_UDP, 136:
        try:
            connection = socket.socket(family, kind, protocol)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            connection.settimeout(10)
            connection.connect(address)
            connection.send(b"data")
            # Refused at once, so that programs fall back to TCP.
            if (host, port) == (WEB, 443):
                try:
                    connection.recv(9)
                except TimeoutError:
                    raise AssertionError("not refused")
        except OSError:
            pass
works()
"#;
        for options in [["--net", "open"], ["--allow", "*:*"]] {
            let _ = ground.attack(&options, script);
        }
        for canary in canaries {
            canary.set_nonblocking(true).unwrap();
            assert!(canary.recv(&mut [0; 9]).is_err());
        }
    }
}

#[test]
fn sockets_that_go_around_tcp() {
    for ground in Ground::all() {
        let canary = ground.canary("8.8.8.8:81");
        let script = r#"
packet = 0x300
for family, kind, protocol in [
    (socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET, socket.SOCK_RAW, 6), (socket.AF_INET, socket.SOCK_RAW, 255),
    (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_PACKET, socket.SOCK_RAW, packet), (socket.AF_PACKET, socket.SOCK_DGRAM, packet),
    (socket.AF_VSOCK, socket.SOCK_STREAM, 0), (38, socket.SOCK_SEQPACKET, 0), (socket.AF_TIPC, socket.SOCK_STREAM, 0),
    (socket.AF_CAN, socket.SOCK_RAW, 1), (21, socket.SOCK_SEQPACKET, 0), (31, socket.SOCK_STREAM, 3), (44, socket.SOCK_RAW, 0),
    (socket.AF_INET, socket.SOCK_STREAM, 132), (socket.AF_INET, socket.SOCK_SEQPACKET, 132), (socket.AF_INET, 6, 33),
]:
    try:
        socket.socket(family, kind, protocol)
    except OSError:
        continue
    raise AssertionError((family, kind, protocol))

# What is TCP after all, is judged like TCP.
def send(options):
    for protocol in 0, 262:
        try:
            one = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
            one.settimeout(20)
            for option in options:
                one.setsockopt(*option)
            one.sendto(b"GET / HTTP/1.1\r\nHost: 8.8.8.8:81\r\n\r\n", socket.MSG_FASTOPEN, ("8.8.8.8", 81))
            assert b"canary" not in one.recv(99)
        except TimeoutError:
            raise AssertionError("left waiting")
        except OSError:
            pass
send([])
send([(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")])
send([(socket.SOL_SOCKET, socket.SO_MARK, 1)])
send([(socket.IPPROTO_IP, 19, 1)])
for command in ["ip", "link", "add", "d0", "type", "dummy"], ["ip", "route", "add", "8.8.8.8", "dev", "lo"], ["ip", "netns", "add", "x"], ["unshare", "-Urn", "true"]:
    try:
        assert subprocess.run(command, capture_output=True, timeout=20).returncode != 0, command
    except FileNotFoundError:
        pass
assert [name for _, name in socket.if_nameindex()] == ["lo"]
works()
"#;
        let _ = ground.attack(&["--allow", WEB], script);
        assert_eq!(canary.count(), 0);
    }
}

#[test]
fn a_relay_through_another_process() {
    for ground in Ground::all() {
        let create = ["create", "--name", "box", "--allow", WEB, "--workspace", "none"];
        let _ = ground.agentkernel(&create);
        let _ = ground.agentkernel(&["start", "box"]);
        // A daemon of one command serves another, which cannot tell the difference.
        let relay = r#"
import os, socket, sys
if os.fork():
    sys.exit()
os.setsid()
if os.fork():
    sys.exit()
null = os.open("/dev/null", os.O_RDWR)
for fd in 0, 1, 2:
    os.dup2(null, fd)
server = socket.create_server(("127.0.0.1", 7000))
while True:
    client, _ = server.accept()
    host = client.recv(99).decode()
    try:
        upstream = socket.create_connection((host, 80))
        upstream.sendall(b"GET /hello HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n")
        while part := upstream.recv(4096):
            client.sendall(part)
    except OSError:
        pass
    client.close()
"#;
        let _ = ground.agentkernel(&["exec", "box", "python3", "-c", relay]);
        let ask = |host: &str| {
            let ask = format!(
                "import socket, time\nfor _ in range(100):\n try: s = socket.create_connection(('127.0.0.1', 7000)); break\n \
                 except OSError: time.sleep(0.1)\ns.sendall(b'{host}'); data = b''\nwhile part := s.recv(4096): data += part\nprint(data)"
            );
            ground.agentkernel(&["exec", "box", "python3", "-c", &ask])
        };
        assert!(ask(WEB).contains("Hello from www"));
        assert!(!ask(HIDDEN).contains("Hello"));
        assert!(!ask("93.184.215.14").contains("Hello"));
        ground.only(&[WEB]);
        ground.told("not-allowed");
        let _ = ground.agentkernel(&["rm", "-f", "box"]);
    }
}

#[test]
fn no_variable_names_a_proxy() {
    for ground in Ground::all() {
        let script = "print([name for name in os.environ if 'proxy' in name.lower()])\nworks()";
        assert_eq!(ground.attack(&["--allow", WEB], script).trim(), "[]");
    }
}
