//! Attacks by TLS: handshakes for another server than the one that was dialled, however they are cut into pieces.

use crate::ground::Ground;
use support::internet::{HIDDEN, WEB, installed};

/// What makes handshakes, and the ways to cut their first flight.
pub const TOOLS: &str = r#"
def secure(host, port, name, request, cut=lambda data: [data], protocols=["http/1.1"]):
    "What is answered inside of TLS; nothing if there is no answer. The first flight is sent in pieces."
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=name)
    data, first = b"", True
    try:
        connection = socket.create_connection((host, port), 30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        todo = [session.do_handshake, lambda: session.write(request)]
        while True:
            try:
                if todo:
                    todo[0]()
                    todo.pop(0)
                else:
                    part = session.read(65536)
                    if not part:
                        return data
                    data += part
            except ssl.SSLWantReadError:
                flight = outgoing.read()
                pieces = cut(flight) if first else [flight]
                first = False
                for piece in pieces:
                    connection.sendall(piece)
                    if 1 < len(pieces) < 1000:
                        time.sleep(0.001)
                part = connection.recv(65536)
                incoming.write(part) if part else incoming.write_eof()
    except ssl.SSLError:
        return data
    except OSError as error:
        assert not isinstance(error, TimeoutError), "left waiting"
        return data

def in_records(size):
    "The same handshake, in records of so many bytes."
    def cut(data):
        length = struct.unpack(">H", data[3:5])[0]
        body = data[5:5 + length]
        parts = [body[at:at + size] for at in range(0, len(body), size)]
        return [b"".join(data[:3] + struct.pack(">H", len(part)) + part for part in parts) + data[5 + length:]]
    return cut

CUTS = {
    "whole": lambda data: [data],
    "bytes": lambda data: [data[at:at + 1] for at in range(len(data))],
    "after the record's head": lambda data: [data[:5], data[5:]],
    "in the record's head": lambda data: [data[:3], data[3:]],
    "in the name": lambda data: [data[:data.find(b"example") + 3], data[data.find(b"example") + 3:]],
    "small records": in_records(7),
    "records that cut the name": lambda data: in_records(data.find(b"example") - 2)(data),
    "small records in small pieces": lambda data: (lambda one: [one[at:at + 11] for at in range(0, len(one), 11)])(in_records(16)(data)[0]),
}
# More than two kilobytes; more than a record.
MANY = ["http/1.1"] + ["protocol-%020d" % n for n in range(150)]
TOO_MANY = ["http/1.1"] + ["protocol-%020d" % n for n in range(1500)]
"#;

fn attack(ground: &Ground, options: &[&str], script: &str) {
    let _ = ground.attack(options, &format!("{TOOLS}\n{script}"));
}

#[test]
fn a_handshake_in_pieces() {
    for ground in Ground::all() {
        let script = r#"
for how, cut in CUTS.items():
    for protocols in ["http/1.1"], MANY:
        # Thousands of single bytes take long.
        if how == "bytes" and protocols is MANY:
            continue
        answer = secure(WEB, 443, WEB, get(WEB), cut, protocols)
        assert b"Hello from www" in answer, (how, len(protocols), answer)
        answer = secure(WEB, 443, HIDDEN, get(HIDDEN), cut, protocols)
        assert answer == b"", (how, len(protocols), answer)
    if how != "bytes":
        assert b"Hello from hidden" not in secure(WEB, 443, HIDDEN, get(HIDDEN), cut, TOO_MANY), how
"#;
        attack(&ground, &["--allow", WEB], script);
        ground.only(&[WEB]);
        ground.told("sni-mismatch");
    }
}

#[test]
fn a_handshake_for_another_server() {
    for ground in Ground::all() {
        let script = r#"
for name in HIDDEN, SHARED, "example.com", "www.example.com.hidden.example.net", "x" + WEB, "www.example.co":
    for port in 443, 80:
        assert secure(WEB, port, name, get(name)) == b"", (name, port)
assert b"Hello from www" in secure(WEB, 443, WEB.upper(), get(WEB))
"#;
        attack(&ground, &["--allow", WEB], script);
        ground.only(&[WEB]);
        ground.told("sni-mismatch");
        // Allowed by name is not allowed under another one.
        attack(&ground, &["--allow", WEB, "--allow", HIDDEN], "assert secure(WEB, 443, HIDDEN, get(HIDDEN)) == b''");
        ground.only(&[WEB]);
    }
}

#[test]
fn a_handshake_without_a_server() {
    for ground in Ground::all() {
        let script =
            "assert secure(WEB, 443, None, get(HIDDEN)) == b'' == secure(WEB, 443, '93.184.215.14', get(HIDDEN))";
        attack(&ground, &["--allow", WEB], script);
        ground.only(&[WEB]);
        ground.told("sni-missing");
        // Whoever dials an address need not name a server, but may not name one.
        let script = "
address = '93.184.215.14'
assert b'HTTP/1.1 421' in secure(address, 443, None, get(address))
assert secure(address, 443, HIDDEN, get(HIDDEN)) == b''
assert secure(address, 443, WEB, get(WEB)) == b''";
        attack(&ground, &["--allow", "93.184.215.14"], script);
        ground.only(&["_"]);
        // Where all is open nobody named the address, which could be that of a name that is denied.
        let to = |answer: &str| format!("assert secure('93.184.215.14', 443, None, get('x')){answer}");
        attack(&ground, &["--net", "open"], &to(".startswith(b'HTTP/1.1 ')"));
        attack(&ground, &["--net", "open", "--deny", HIDDEN, "--name", "open"], &to(" == b''"));
        assert!(ground.log(&["open"]).iter().any(|event| event["reason"] == "unnamed-address"));
        let clear = "assert b'Hello' not in ask('93.184.215.14', 80, get(HIDDEN)) + ask('93.184.215.14', 80, get('x'))";
        attack(&ground, &["--net", "open", "--deny", HIDDEN], clear);
    }
}

#[test]
fn a_handshake_that_servers_read_differently() {
    for ground in Ground::all() {
        let script = r#"
def another_extension(kind, content):
    "Adds an extension to a ClientHello, at its end."
    def change(data):
        at = 5 + 4 + 2 + 32
        at += 1 + data[at]
        at += 2 + struct.unpack(">H", data[at:at + 2])[0]
        at += 1 + data[at]
        extra = struct.pack(">HH", kind, len(content)) + content
        extensions = data[at + 2:] + extra
        body = data[9:at] + struct.pack(">H", len(extensions)) + extensions
        return data[:3] + struct.pack(">H", len(body) + 4) + b"\1\0" + struct.pack(">H", len(body)) + body
    return change

def names(*names):
    entries = b"".join(b"\0" + struct.pack(">H", len(name)) + name for name in names)
    return struct.pack(">H", len(entries)) + entries

def reply(change, name=WEB):
    "Whatever comes back for a first flight, after which nothing more is sent."
    context, outgoing = ssl.create_default_context(), ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return ask(WEB, 443, change(outgoing.read()), end=True)

SERVER_HELLO = b"\x16\x03\x03"
assert reply(lambda data: data).startswith(SERVER_HELLO)
changes = {
    "two names": another_extension(0, names(HIDDEN.encode())),
    "no name": lambda data: data.replace(WEB.encode(), b"\0" * len(WEB)),
    "NUL": lambda data: data.replace(WEB.encode(), b"www.example\0com"),
    "a dot at the end": lambda data: data.replace(WEB.encode(), b"www.example.co."),
    "a star": lambda data: data.replace(WEB.encode(), b"*ww.example.com"),
    "not ASCII": lambda data: data.replace(WEB.encode(), "ⓦ.example.com".encode()[:15].ljust(15, b"x")),
    "a wrong length": lambda data: data.replace(b"\0\x0f" + WEB.encode(), b"\0\x1f" + WEB.encode()),
    "another version": lambda data: b"\x16\x04\x01" + data[3:],
    "a warning first": lambda data: b"\x15\x03\x01\0\2\1\x70" + data,
    "not a ClientHello": lambda data: data[:5] + b"\2" + data[6:],
    "an empty record first": lambda data: b"\x16\x03\x01\0\0" + data,
}
for how, change in changes.items():
    assert not reply(change).startswith(SERVER_HELLO), how
    assert not reply(change, HIDDEN).startswith(SERVER_HELLO), how
# Of SSLv2, from before there were names of servers.
assert not ask(WEB, 443, b"\x80\x2e\1\3\1\0\x15\0\0\0\x10" + bytes(37)).startswith(SERVER_HELLO)
"#;
        attack(&ground, &["--allow", WEB], script);
        ground.only(&[WEB]);
    }
}

#[test]
fn another_host_inside_of_tls_that_is_read() {
    for ground in Ground::all() {
        let rules = format!("[network]\nallow = [{{ host = \"{WEB}\", methods = [\"GET\"], paths = [\"/hello\"] }}]\n");
        std::fs::write(ground.world.project().join("agentkernel.toml"), rules).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let script = r#"
def curl(*arguments, path="/hello"):
    command = ["curl", "-sS", *arguments, "https://www.example.com" + path]
    return subprocess.run(command, capture_output=True, timeout=60)

for version in "--http1.1", "--http2":
    result = curl(version)
    assert b"Hello from www" in result.stdout, result
    for host in HIDDEN, SHARED, WEB + "@" + HIDDEN, HIDDEN + ":443":
        result = curl(version, "-H", "Host: " + host)
        assert b"Hello" not in result.stdout, (version, host, result)
    for arguments in ["-X", "POST"], ["-X", "PUT"], ["-X", "DELETE"], ["-I"], ["-X", "CONNECT"], ["-d", "x"], ["-X", "GET\tX"]:
        result = curl(version, *arguments)
        assert b"Hello" not in result.stdout, (version, arguments, result)
    for path in "/live/head", "/hello/../live/head", "/hello/%2e%2e/live/head", "//live/head", "/HELLO", "/hello%2f..%2flive/head":
        result = curl(version, "--path-as-is", path=path)
        assert b" HTTP/1." not in result.stdout, (version, path, result)
    result = curl(version, "--path-as-is", path="/hello%2fx")
    assert b"could read as another one" in result.stdout, (version, result)
    # Whoever is refused is told so, however much he still has to say, and also if he wants to hear nothing but the head.
    for size in 0, 10**6, 2 * 10**6, 20 * 10**6:
        open("/tmp/large", "wb").truncate(size)
        result = curl(version, "-X", "POST", "--data-binary", "@/tmp/large")
        assert result.returncode == 0 and b"request" in result.stdout, (version, size, result)
    result = curl(version, "-I")
    assert result.returncode == 0 and b" 403" in result.stdout.splitlines()[0], (version, result)
    assert b"x-agentkernel-reason: request-not-allowed" in result.stdout, (version, result)
    result = curl(version)
    assert b"Hello from www" in result.stdout, result
"#;
        attack(&ground, &[], script);
        ground.only(&[WEB]);
        assert!(ground.internet.requests().iter().all(|line| line.contains(" GET /hello ")));
        ground.told("host-mismatch");
        ground.told("request-not-allowed");
        // Nothing goes around that: not without TLS, nor with a protocol that cannot be read.
        let script = r#"
assert b" 403 " in ask(WEB, 80, get(WEB, "/live/head"))
assert b"Hello from www" in ask(WEB, 80, get(WEB))
assert ask(WEB, 443, b"SSH-2.0-x\r\n", end=True)[:3] != b"SSH"
# Who trusts nobody is told as that.
try:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(socket.create_connection((WEB, 443)), server_hostname=WEB)
    raise SystemExit("it was trusted")
except ssl.SSLError:
    pass
"#;
        attack(&ground, &[], script);
        assert!(ground.internet.requests().iter().all(|line| line.starts_with(WEB) && line.contains(" GET /hello ")));
        ground.told("authority-untrusted");
    }
}

/// After another protocol's own word for it: PostgreSQL's SSLRequest, by its own client.
#[test]
fn a_handshake_that_begins_later() {
    if !installed("psql") || !installed("pg_ctlcluster") {
        return;
    }
    for ground in Ground::all() {
        ground.internet.postgres();
        let script = r#"
def psql(name):
    "By this name, at the address of the other one."
    address = socket.gethostbyname("db.example.org")
    where = f"host={name} hostaddr={address} user=postgres sslmode=require connect_timeout=20"
    query = "select 'encrypted ' || ssl from pg_stat_ssl where pid = pg_backend_pid()"
    return subprocess.run(["psql", where, "-Atc", query], env={**os.environ, "PGPASSWORD": "secret"}, capture_output=True)

result = psql("db.example.org")
assert b"encrypted t" in result.stdout, result
result = psql(HIDDEN)
assert result.returncode != 0 and b"encrypted" not in result.stdout, result
# However slowly it comes.
context, outgoing = ssl.create_default_context(), ssl.MemoryBIO()
for name, answered in ("db.example.org", True), (HIDDEN, False):
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        flight = outgoing.read()
    with socket.create_connection(("db.example.org", 5432), 30) as connection:
        connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")
        assert connection.recv(1) == b"S"
        try:
            for at in range(0, len(flight), 100):
                time.sleep(0.3)
                connection.sendall(flight[at:at + 100])
            answer = connection.recv(3)
        except OSError:
            answer = b""
        assert answer == (b"\x16\x03\x03" if answered else b""), (name, answer)
"#;
        attack(&ground, &["--allow", "db.example.org:5432", "--name", "later"], script);
        ground.told("sni-mismatch");
    }
}
