//! The server over HTTP: who is let in, and what is left of whoever goes.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use support::{Who, World, eventually, stdout, told};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that serves.
pub struct Served {
    child: Child,
    pub url: String,
    pub token: String,
}

impl Served {
    /// One of the project, on any port.
    pub fn new(world: &World) -> Self {
        let mut server = world.agentkernel(["mcp", "--http", "127.0.0.1:0"]);
        let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let url = lines.next().unwrap();
        let token = lines.next().unwrap().strip_prefix("Authorization: Bearer ").unwrap().to_owned();
        Self { child, url, token }
    }

    fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a head and a body as they are, and gives all that comes back.
    fn says(&self, head: &str, body: &[u8]) -> String {
        let mut stream = self.connect();
        // Whoever is refused may not be heard to the end.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The head of a request of somebody who has the token.
    fn head(&self, length: usize, more: &str) -> String {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n",
            self.host(),
            self.token
        )
    }

    /// Sends a message, and gives the answer's head and the last message in it.
    fn message(&self, message: &Value, more: &str) -> (String, Value) {
        let body = message.to_string();
        let answer = self.says(&self.head(body.len(), more), body.as_bytes());
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let data = rest.lines().filter_map(|line| line.strip_prefix("data: ")).rfind(|data| !data.is_empty());
        let found = data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
        (head.to_owned(), found)
    }

    /// Greets it, and gives the header that names the session.
    fn greet(&self) -> String {
        self.greet_as(&json!({}))
    }

    fn greet_as(&self, capabilities: &Value) -> String {
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"}}});
        let (head, answer) = self.message(&hello, "");
        assert_eq!(answer["result"]["serverInfo"]["name"], "agentkernel", "{head}");
        let session = head.lines().find(|line| line.starts_with("mcp-session-id: ")).unwrap();
        let session = format!("{session}\r\nMCP-Protocol-Version: 2025-11-25\r\n");
        let (head, _) = self.message(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), &session);
        assert!(head.starts_with("HTTP/1.1 202"), "{head}");
        session
    }

    fn call(session: &str, served: &Self, tool: &str, arguments: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments}});
        served.message(&call, session).1
    }
}

/// The process that makes workers, held up: what is called is not done while this is there.
struct HeldUp(String);

impl HeldUp {
    fn new(served: &Served) -> Self {
        let server = served.child.id();
        let helper = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        let helper = helper.trim().to_owned();
        assert!(Command::new("kill").args(["-STOP", &helper]).status().unwrap().success());
        Self(helper)
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-CONT", &self.0]).status();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nobody_without_the_token_nor_from_elsewhere_is_let_in() {
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
    let good = served.head(hello.len(), "");
    for (from, to, status) in [
        (format!("Bearer {}", served.token), "Bearer wrong".to_owned(), "401"),
        (format!("Bearer {}", served.token), format!("Basic {}", served.token), "401"),
        (format!("Bearer {}", served.token), format!("Bearer {}x", served.token), "401"),
        (format!("Authorization: Bearer {}\r\n", served.token), String::new(), "401"),
        ("Accept:".to_owned(), "Authorization: Bearer x\r\nAccept:".to_owned(), "401"),
        // A name that was bound to this address, and a page of a browser.
        (format!("Host: {}", served.host()), "Host: evil.example".to_owned(), "403"),
        ("Accept:".to_owned(), "Origin: http://evil.example\r\nAccept:".to_owned(), "403"),
        ("Accept:".to_owned(), format!("Origin: http://{}\r\nAccept:", served.host()), "403"),
        ("/mcp".to_owned(), "/other".to_owned(), "404"),
        ("POST".to_owned(), "OPTIONS".to_owned(), "405"),
    ] {
        let head = good.replacen(&from, &to, 1);
        assert_ne!(head, good);
        let answer = served.says(&head, hello.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}\n{answer}");
        assert!(!answer.contains("agentkernel runs") && !answer.contains(&served.token), "{answer}");
    }
    served.greet();
    for (address, words) in
        [("0.0.0.0:0", "open to other machines"), ("[::]:0", "open to other machines"), ("nonsense", "write it as")]
    {
        let output = world.agentkernel(["mcp", "--http", address]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains(words), "{}", told(&output));
    }
    let output = world.agentkernel(["mcp", "--http", served.host()]).output().unwrap();
    assert!(told(&output).contains("Can't listen on") && told(&output).contains("hint:"), "{}", told(&output));
    let mut weak = world.agentkernel(["mcp", "--http"]);
    let output = weak.env("AGENTKERNEL_MCP_TOKEN", "short").output().unwrap();
    assert!(told(&output).contains("is no token") && !told(&output).contains("short"), "{}", told(&output));
}

#[test]
fn what_is_no_message_is_survived() {
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    let deep = "[".repeat(100_000);
    for body in
        [&b"{"[..], b"\xff\xfe", b"", b"null", b"[]", br#"{"jsonrpc":"2.0","id":1,"method":7}"#, deep.as_bytes()]
    {
        let answer = served.says(&served.head(body.len(), ""), body);
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"code\":-32700"), "{answer}");
    }
    let twice = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run","arguments":{"command":"a","command":"b"}}}"#;
    let answer = served.says(&served.head(twice.len(), ""), twice);
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("'command' stands there twice"), "{answer}");
    let other = served.head(2, "").replace("application/json\r\nAccept", "text/plain\r\nAccept");
    assert!(served.says(&other, b"{}").starts_with("HTTP/1.1 415"));
    // More than may come, said beforehand and not.
    let huge = vec![b' '; 17 << 20];
    let answer = served.says(&served.head(huge.len(), ""), &huge);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    for nonsense in
        ["GET\r\n\r\n", "\x16\x03\x01\x02", &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000))]
    {
        let answer = served.says(nonsense, b"\r\n\r\n");
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let session = served.greet();
    for (method, params, code, words) in [
        ("tools/call", json!({"name": "run", "arguments": []}), -32602, "expected a map"),
        ("tools/call", Value::Null, -32602, "There are none"),
        ("no/such/method", json!({}), -32601, "no method 'no/such/method'"),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        let error = served.message(&message, &session).1["error"].clone();
        assert!(error["code"] == code && error["message"].as_str().unwrap().contains(words), "{message}: {error}");
    }
}

#[test]
fn those_who_say_nothing_make_room() {
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    let mut silent: Vec<_> = (0..300).map(|_| served.connect()).collect();
    let _ = served.greet();
    // The oldest are gone for it, and it has not waited until all were.
    assert!(matches!(silent[0].read(&mut [0]), Ok(0) | Err(_)));
    let newest = silent.last_mut().unwrap();
    newest.set_nonblocking(true).unwrap();
    assert_eq!(newest.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let kept = &mut silent[200];
    kept.set_nonblocking(true).unwrap();
    assert_eq!(kept.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// Nobody is left to answer it.
#[test]
fn a_session_that_ends_ends_its_question() {
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    let session = served.greet_as(&json!({"elicitation": {}}));
    let _ = Served::call(&session, &served, "create", json!({"name": "box", "workspace": "overlay"}));
    let call = json!({"jsonrpc": "2.0", "id": 8, "method": "tools/call",
        "params": {"name": "net_allow", "arguments": {"sandbox": "box", "rule": "example.com"}}});
    let body = call.to_string();
    let mut stream = served.connect();
    stream.write_all((served.head(body.len(), &session) + &body).as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("elicitation/create")), "it asks");
    let delete = || served.says(&served.head(0, &session).replacen("POST", "DELETE", 1), b"");
    let answer = delete();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let answer = delete();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let ended = Instant::now();
    assert!(!lines.any(|line| line.contains("\"result\"")), "it has ended");
    assert!(ended.elapsed() < Duration::from_secs(4), "{:?}", ended.elapsed());
    drop(served);
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    eventually("nothing is left", || world.leftovers().is_empty());
}

/// Whoever has gone hears of nothing that was made meanwhile, and whoever comes back does.
#[test]
fn what_a_client_never_hears_of_is_taken_back() {
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    let session = served.greet();
    let create = |name: &str| {
        let made = Served::call(&session, &served, "create", json!({"name": name, "workspace": "overlay"}));
        assert_eq!(made["result"]["structuredContent"]["name"], name, "{made}");
    };
    create("box");
    // Loses its connection as soon as the answer has begun, and gives the mark by which it can go on reading.
    let begun = |name: &str, arguments: Value| {
        let call = json!({"jsonrpc": "2.0", "id": name, "method": "tools/call",
            "params": {"name": name, "arguments": arguments}});
        let body = call.to_string();
        let mut stream = served.connect();
        stream.write_all((served.head(body.len(), &session) + &body).as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix("id: ").or(line.strip_prefix("id:")).map(str::to_owned)).unwrap()
    };
    let names = || stdout(&mut world.agentkernel(["ps", "-a", "--format", "{{.Name}}"]));
    let inside =
        || stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]));
    {
        let _held = HeldUp::new(&served);
        begun("create", json!({"name": "unheard", "workspace": "overlay"}));
        begun("exec", json!({"sandbox": "box", "command": "exec sleep 12345", "background": true}));
        // The server is to see that it is gone.
        std::thread::sleep(Duration::from_millis(500));
    }
    // These come after.
    create("later");
    let _ = Served::call(&session, &served, "exec", json!({"sandbox": "box", "command": "sleep 2"}));
    assert!(!inside().contains("12345"));
    eventually("it is taken back", || !names().contains("unheard"));
    let held = HeldUp::new(&served);
    let mark = begun("create", json!({"name": "heard", "workspace": "overlay"}));
    let mut stream = served.connect();
    let head = served.head(0, &session).replacen("POST", "GET", 1);
    let head = head.replacen("Accept:", &format!("Last-Event-ID: {mark}\r\nAccept:"), 1);
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    drop(held);
    assert!(lines.any(|line| line.contains("\"result\"") && line.contains("heard")));
    create("last");
    assert!(names().contains("heard"), "{}", names());
    drop(served);
    for name in ["box", "later", "heard", "last"] {
        let _ = stdout(&mut world.agentkernel(["rm", "-f", name]));
    }
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn clients_come_and_go_and_nothing_is_left() {
    for who in Who::all() {
        let world = World::new(who);
        let served = Served::new(&world);
        let one = served.greet();
        let done = Served::call(&one, &served, "run", json!({"command": ["sh", "-c", "pwd; echo hello"]}));
        let told = done["result"]["structuredContent"]["stdout"].as_str().unwrap().to_owned();
        assert_eq!(told, format!("{}\nhello\n", world.project().display()), "{done}");
        let _ = Served::call(&one, &served, "create", json!({"name": "box", "workspace": "overlay"}));
        // What one leaves running, another one reads.
        let background = json!({"sandbox": "box", "command": "echo on; sleep 1000", "background": true});
        let begun = Served::call(&one, &served, "exec", background);
        let id = begun["result"]["structuredContent"]["id"].clone();
        let two = served.greet();
        let read = Served::call(&two, &served, "read_output", json!({"id": id, "wait_seconds": 30}));
        assert_eq!(read["result"]["structuredContent"]["output"], "on\n", "{read}");
        // It asks no client for its roots: each would have others.
        assert_eq!(Served::call(&two, &served, "list", json!({}))["result"]["isError"], false);
        // Whoever ends its session ends what is called in it, and nothing else.
        let running = || stdout(&mut world.agentkernel(["ps", "-q"])).lines().count();
        std::thread::scope(|scope| {
            let call = scope.spawn(|| Served::call(&two, &served, "run", json!({"command": ["sleep", "1000"]})));
            eventually("it runs", || running() == 2);
            let head = served.head(0, &two).replacen("POST", "DELETE", 1);
            let answer = served.says(&head, b"");
            assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
            let ended = Instant::now();
            assert_eq!(call.join().unwrap()["result"], Value::Null);
            eventually("it is gone", || running() == 1);
            assert!(ended.elapsed() < Duration::from_secs(4), "{:?}", ended.elapsed());
        });
        drop(served);
        let sleeps =
            || stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]));
        eventually("what was left running ends with the server", || !sleeps().contains("sleep 1000"));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Clients that end without a word: one more takes the place of whoever was not heard of for longest.
#[test]
fn sessions_that_nobody_ends_make_room() {
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    let (first, second) = (served.greet(), served.greet());
    let lists = |session: &str| {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
        served.says(&served.head(body.len(), session), body.as_bytes())
    };
    for _ in 0..254 {
        served.greet();
    }
    assert!(lists(&first).starts_with("HTTP/1.1 200 "));
    let one_more = served.greet();
    assert!(lists(&second).starts_with("HTTP/1.1 404 "), "{}", lists(&second));
    for session in [&first, &one_more] {
        assert!(lists(session).starts_with("HTTP/1.1 200 "));
    }
}
