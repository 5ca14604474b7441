//! Limits: bytes per second, and tokens of models.

use crate::{
    ground::Ground,
    kept::{Kept, signal},
};
use rustix::process::Signal;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::{
    eventually,
    internet::{OWN, WEB, WEB_V4},
};

/// Bytes per second.
const RATE: u64 = 2 << 20;

/// A rate holds however bytes are carried, and whichever way: nobody is faster, beyond the second that the bucket holds;
/// nor much slower.
#[test]
fn bandwidth() {
    // Whoever is held to it, it is the same.
    for ground in Ground::all().into_iter().take(1) {
        ground.internet.big_file(WEB, RATE);
        // Tells how much it has got.
        let sink = |mut stream: TcpStream| {
            let mut copy = stream.try_clone().unwrap();
            let mut first = [0; 2];
            if copy.read_exact(&mut first).is_err() {
                return;
            }
            if first == *b"\0d" {
                let _ = std::io::copy(&mut std::io::repeat(b'x').take(RATE), &mut stream);
                return;
            }
            let count = std::io::copy(&mut copy, &mut std::io::sink()).unwrap_or(0);
            let _ = write!(stream, "{count}");
        };
        ground.internet.serve(&format!("{WEB_V4}:7000"), sink);
        ground.internet.serve(OWN, |stream| {
            let mut reader = BufReader::new(&stream);
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            for line in head.lines() {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.parse().unwrap_or(0);
                }
            }
            let count = std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).unwrap_or(0);
            let count = count.to_string();
            let _ = write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}", count.len());
        });
        let text = "[network]\nbandwidth = '2M'\nallow = ['www.example.com:7000', 'www.example.com:8443', \
                    { host = 'www.example.com', methods = ['GET', 'POST'] }]\n";
        fs::write(ground.world.project().join("agentkernel.toml"), text).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let kept = Kept::new(&ground, &["--workspace", "none"]);
        let script = r#"
size = 2 << 20
rate = 2 << 20
def raw_down():
    return len(ask(WEB, 7000, b"\0d"))
def raw_up():
    return int(ask(WEB, 7000, b"\0u" + b"x" * size, end=True))
def curl(*arguments):
    return subprocess.run(["curl", "-sSf", *arguments], capture_output=True, timeout=60).stdout
open("/tmp/big", "wb").truncate(size)
ways = {
    "spliced, down": raw_down,
    "spliced, up": raw_up,
    "spliced TLS, down": lambda: len(curl("https://www.example.com:8443/big")),
    "clear, down": lambda: len(curl("http://www.example.com/big")),
    "clear, up": lambda: int(curl("-T", "/tmp/big", "-X", "POST", "http://www.example.com/own")),
    "read, down": lambda: len(curl("https://www.example.com/big")),
    "read, up": lambda: int(curl("--http1.1", "-T", "/tmp/big", "-X", "POST", "https://www.example.com/own")),
    "read by HTTP/2, up": lambda: int(curl("--http2", "-T", "/tmp/big", "-X", "POST", "https://www.example.com/own")),
}
started, passed = time.monotonic(), 0
for name, way in ways.items():
    begin = time.monotonic()
    count = way()
    assert count == size, (name, count)
    passed += count
    took = time.monotonic() - begin
    print(f"{name}: {count / took / rate:.3f} of the rate")
    # All that has passed since the start, of which a second's worth was saved up before.
    most = rate * (time.monotonic() - started + 1)
    assert passed < most * 1.1, (name, passed / most)
    if passed > 2 * rate:
        assert passed > most * 0.5, (name, passed / most)
whole = passed / (rate * (time.monotonic() - started + 1))
print(f"all: {whole:.3f} of what may pass")
"#;
        eprintln!("{}", kept.works(script));
    }
}

/// A model's service: each answer has used ten tokens of input and ten of output.
fn model(stream: &TcpStream, asked: &AtomicUsize) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
    let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let _ = reader.read_exact(&mut vec![0; length.unwrap_or(0)]);
    let path = head.split(' ').nth(1).unwrap_or_default();
    asked.fetch_add(1, Ordering::SeqCst);
    let json = |body: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let events = |events: &[&str]| {
        let body: String = events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect();
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n{body}")
    };
    let answer = match path {
        "/own/v1/messages" => json(r#"{"type":"message","usage":{"input_tokens":10,"output_tokens":10}}"#),
        "/own/v1/messages?stream" => events(&[
            r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#,
            r#"{"type":"content_block_delta","delta":{"text":"usage"}}"#,
            r#"{"type":"message_delta","usage":{"output_tokens":10}}"#,
        ]),
        "/own/v1/chat/completions" => {
            json(r#"{"usage":{"prompt_tokens":10,"completion_tokens":10,"total_tokens":20}}"#)
        }
        "/own/v1/responses?stream" => events(&[
            r#"{"type":"response.created","response":{"usage":null}}"#,
            r#"{"type":"response.completed","response":{"usage":{"input_tokens":10,"output_tokens":10,"total_tokens":20}}}"#,
        ]),
        "/own/v1/models/m:generateContent" => {
            json(r#"{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":10,"totalTokenCount":20}}"#)
        }
        _ => json("{}"),
    };
    let mut stream = stream;
    let _ = stream.write_all(answer.as_bytes());
}

#[test]
fn tokens() {
    for ground in Ground::all() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        ground.internet.serve(OWN, move |stream| model(&stream, &count));
        let text = "[secrets]\nKEY = ['www.example.com']\n[network]\nallow = ['www.example.com']\n";
        fs::write(ground.world.project().join("agentkernel.toml"), text).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let options = ["--max-tokens", "90", "--workspace", "none"];
        let kept = Kept::with(&ground, &options, |command| {
            command.env("KEY", "value-of-the-key");
        });
        let curl = |path: &str| {
            let url = format!("https://www.example.com/own/v1/{path}");
            let script = format!(
                "print(subprocess.check_output(['curl', '-sS', '-w', '%{{http_code}}', '-d', '{{}}', '-H', \
                 'x-api-key: ' + os.environ['KEY'], '{url}'], text=True, timeout=60))"
            );
            kept.works(&script)
        };
        for (number, path) in ["messages", "messages?stream", "chat/completions"].iter().enumerate() {
            assert!(curl(path).trim_end().ends_with("200"), "{path}");
            assert_eq!(asked.load(Ordering::SeqCst), number + 1);
        }
        // What was used is not forgotten with an egress; what a connection has carried is told when that ends.
        let told = || ground.log(&[]).iter().filter_map(|event| event["tokens"].as_u64()).sum::<u64>();
        eventually("all are on record", || told() == 60);
        let egress = kept.running_egress();
        signal(egress, Signal::KILL);
        eventually("it is gone", || kept.egress() != Some(egress));
        for path in ["responses?stream", "models/m:generateContent"] {
            assert!(curl(path).trim_end().ends_with("200"), "{path}");
        }
        // A hundred of ninety are used: no more is asked.
        for path in ["messages", "chat/completions", "models/m:generateContent"] {
            let answer = curl(path);
            assert!(answer.trim_end().ends_with("403") && answer.contains("100 of 90 used"), "{path}: {answer}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 5);
        ground.told("token-limit");
        eventually("all are on record", || told() == 100);
        // Nor by a change of something else, nor by another egress, which knows what was used before it.
        let egress = kept.running_egress();
        signal(egress, Signal::KILL);
        eventually("it is gone", || kept.egress() != Some(egress));
        assert!(curl("messages").contains("100 of 90 used"));
        let _ = ground.agentkernel(&["net", "allow", crate::kept::BOX, "shared.example.com"]);
        assert!(curl("messages").trim_end().ends_with("403"));
    }
}

/// Tokens are counted where there is no secret as well: all TLS is read for that, also where any protocol may be spoken
/// and nobody says before that it is HTTP.
#[test]
fn tokens_without_a_secret() {
    for (port, option) in [(443, "--alpn"), (8443, "--alpn"), (8443, "--no-alpn")] {
        for ground in Ground::all() {
            let asked = Arc::new(AtomicUsize::new(0));
            let count = asked.clone();
            ground.internet.serve(OWN, move |stream| model(&stream, &count));
            let script = format!(
                r#"
def model():
    command = ["curl", "-sS", "{option}", "-w", "%{{http_code}}", "-d", "{{}}", "https://{WEB}:{port}/own/v1/messages"]
    return subprocess.check_output(command, text=True, timeout=60)
for expected in "200", "200", "403", "403":
    answer = model()
    assert answer.endswith(expected), (expected, answer)
"#
            );
            let rule = if port == 443 { WEB.to_owned() } else { format!("{WEB}:{port}") };
            let _ = ground.attack(&["--allow", &rule, "--max-tokens", "30"], &script);
            assert_eq!(asked.load(Ordering::SeqCst), 2);
            ground.told("token-limit");
        }
    }
}

/// What a WebSocket tells is counted as well: Codex asks models by one.
#[test]
fn tokens_of_a_websocket() {
    for ground in Ground::all() {
        let script = r#"
import ssl
def frame(text, mask=b""):
    return bytes([0x81, len(mask) << 5 | len(text)]) + mask + text.encode()
# The server says what it is told: so it says what a server would.
done = '{"type":"response.completed","response":{"usage":{"total_tokens":20}}}'
plain = socket.create_connection((WEB, 443), 30)
tls = ssl.create_default_context().wrap_socket(plain, server_hostname=WEB)
tls.sendall(f"GET /live/chat HTTP/1.1\r\nHost: {WEB}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
stream = tls.makefile("rb")
assert b" 101 " in stream.readline()
while stream.readline() != b"\r\n":
    pass
for _ in range(2):
    tls.sendall(frame(done, bytes(4)))
    assert stream.read(len(done) + 2) == frame(done)
rest = stream.read()
assert rest[0] == 0x88 and rest[1] == len(rest) - 2 and rest[2:4] == b"\x03\xf0", rest
assert rest.endswith(b"used up its tokens (40 of 30 used) [token-limit]"), rest
"#;
        let _ = ground.attack(&["--allow", WEB, "--max-tokens", "30"], script);
        ground.told("token-limit");
        eventually("it is on record", || ground.log(&[]).iter().any(|event| event["tokens"] == 40));
    }
}
