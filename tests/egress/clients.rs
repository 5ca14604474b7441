//! Real clients: each reaches its server if a policy names the host, and is refused, at once and in the log, if none does.
//! No proxy variable is set anywhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use support::{
    NOBODY, Who, World,
    internet::{CRATES, DEBIAN, GIT, INDEX, Internet, NPM, WEB, installed},
    stdout, told,
};

/// One way to reach a server.
struct Client {
    /// What must be installed.
    needs: &'static [&'static str],
    /// Starts the server, and puts what the client needs into the project. Not, counted and named, if it cannot.
    prepare: fn(&Internet, &Path) -> Option<()>,
    /// What the client is told. `RUST` stands for where Rust is.
    script: &'static str,
    /// The rule that it needs.
    rule: &'static str,
    /// What it says if all is well.
    says: &'static str,
}

fn web(internet: &Internet, _: &Path) -> Option<()> {
    internet.nginx(&[WEB]);
    Some(())
}

/// OpenSSH and PostgreSQL want their users to have names.
fn has_a_name() -> Option<()> {
    let named = Command::new("id").arg("-un").output().is_ok_and(|output| output.status.success());
    if !named {
        support::skipped("a server of OpenSSH or PostgreSQL", "this user has no name");
    }
    named.then_some(())
}

/// Ends what does not end by itself: then a client was not refused, but left waiting.
const PATIENCE: &str = "60";
/// How timeout(1) says so.
const LEFT_WAITING: i32 = 124;

/// What every client must do.
fn works_if_allowed(client: &Client) {
    if !client.needs.iter().all(|program| installed(program)) {
        return;
    }
    let (mut rust, mut mount) = (None, Vec::new());
    if client.script.contains("RUST") {
        rust = toolchain();
        let Some(rust) = &rust else { return support::skipped("cargo in a sandbox", "there is no rustc") };
        mount.extend(["--mount".to_owned(), format!("{}:/opt/rust:ro", rust.display())]);
    }
    for who in Who::all() {
        if who == Who::Nobody && rust.is_some() {
            support::skipped("cargo in a sandbox, as an ordinary user", "the toolchain is in another user's home");
            continue;
        }
        let Some(internet) = Internet::new() else { return };
        let world = World::new(who);
        if (client.prepare)(&internet, &world.project()).is_none() {
            return;
        }
        if who == Who::Nobody {
            let owner = format!("{NOBODY}:{NOBODY}");
            let _ = stdout(Command::new("chown").arg("-R").arg(owner).arg(world.project()));
        } else {
            // The test itself is no better than its servers: without any sandbox, all is well.
            let script = client.script.replace("RUST", &rust.as_deref().unwrap_or(Path::new("")).to_string_lossy());
            let output = internet.command(&world, "sh").args(["-c", &script]).output().unwrap();
            assert!(says(&output, client.says), "without a sandbox: {}", told(&output));
        }
        let script = client.script.replace("RUST", "/opt/rust");
        let run = |options: &[&str]| {
            let mut arguments = [&["run"], options].concat();
            arguments.extend(mount.iter().map(String::as_str));
            arguments.extend(["--", "timeout", PATIENCE, "sh", "-c", &script]);
            internet.agentkernel(&world, &arguments).output().unwrap()
        };
        let output = run(&["--allow", client.rule]);
        assert!(says(&output, client.says), "{who:?}: {}", told(&output));

        let output = run(&["--allow", "elsewhere.example.com"]);
        assert!(!output.status.success() && !says(&output, client.says), "{who:?}: {}", told(&output));
        assert_ne!(output.status.code(), Some(LEFT_WAITING), "{who:?}: {}", told(&output));
        let denied = stdout(&mut internet.agentkernel(&world, &["net", "log", "--denied", "--json"]));
        let host = client.rule.split(':').next().unwrap();
        let named = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["host"] == host && event["event"] == "refused" && event["reason"] == "not-allowed"
        };
        assert!(denied.lines().any(named), "{denied}");
        if host == client.rule {
            // Its requests are read, and it trusts whoever reads them.
            let text = format!("[network]\nallow = [{{ host = '{host}', methods = ['GET', 'HEAD', 'POST'] }}]\n");
            fs::write(world.project().join("agentkernel.toml"), text).unwrap();
            let _ = stdout(&mut internet.agentkernel(&world, &["trust"]));
            let output = run(&["--name", "read"]);
            assert!(says(&output, client.says), "{who:?}, read: {}", told(&output));
            let log = stdout(&mut internet.agentkernel(&world, &["net", "log", "--json", "read"]));
            let counts = log.lines().filter_map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["requests"].as_u64()
            });
            assert!(counts.sum::<u64>() > 0, "{log}");
        }
    }
}

fn says(output: &Output, what: &str) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains(what)
}

/// Where Rust is.
fn toolchain() -> Option<PathBuf> {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    Some(String::from_utf8(sysroot.stdout).unwrap().trim().into())
}

macro_rules! clients {
    ($($name:ident { $($field:ident: $value:expr,)* })*) => {
        $(#[test]
        fn $name() {
            works_if_allowed(&Client { $($field: $value,)* });
        })*
    };
}

clients! {
    curl_without_tls {
        needs: &["nginx", "curl"],
        prepare: web,
        script: "curl -sSf http://www.example.com/hello",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    curl_with_tls {
        needs: &["nginx", "curl"],
        prepare: web,
        script: "curl -sSf --http1.1 https://www.example.com/hello",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    curl_with_http_2 {
        needs: &["nginx", "curl"],
        prepare: web,
        script: "curl -sSf --http2 -w '%{http_version}' https://www.example.com/hello",
        rule: WEB,
        says: "Hello from www.example.com\n2",
    }
    curl_at_another_port {
        needs: &["nginx", "curl"],
        prepare: web,
        script: "curl -sSf https://www.example.com:8443/hello",
        rule: "www.example.com:8443",
        says: "Hello from www.example.com",
    }
    curl_with_events {
        needs: &["nginx", "curl"],
        prepare: web,
        script: "curl -sSfN https://www.example.com/live/events",
        rule: WEB,
        says: "event 2",
    }
    wget {
        needs: &["nginx", "wget"],
        prepare: web,
        script: "wget -q -t 1 -O - https://www.example.com/hello",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    wget_with_ipv4_only {
        needs: &["nginx", "wget"],
        prepare: web,
        // It looks first whether there is any IPv4 here (AI_ADDRCONFIG).
        script: "wget -4 -q -t 1 -O - https://www.example.com/hello",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    web_socket {
        needs: &["nginx", "python3"],
        prepare: |internet, project| {
            fs::write(project.join("client.py"), WEB_SOCKET).unwrap();
            web(internet, project)
        },
        script: "python3 client.py",
        rule: WEB,
        says: "b'hello'",
    }
    git_with_https {
        needs: &["nginx", "git"],
        prepare: |internet, _| {
            internet.nginx(&[GIT]);
            internet.repository_on(GIT);
            Some(())
        },
        script: "rm -rf clone; git clone -q https://git.example.org/hello.git clone && cat clone/hello",
        rule: GIT,
        says: "Hello from git.example.org",
    }
    git_with_ssh {
        needs: &["sshd", "ssh", "git"],
        prepare: |internet, project| {
            has_a_name()?;
            internet.sshd(project);
            Some(())
        },
        script: "rm -rf clone; export GIT_SSH_COMMAND='ssh -F /dev/null -i id -o UserKnownHostsFile=known_hosts'; \
                 git clone -q git@git.example.org:hello.git clone && cat clone/hello",
        rule: "git.example.org:22",
        says: "Hello from git.example.org",
    }
    node {
        needs: &["nginx", "node"],
        prepare: web,
        script: "export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; \
                 node -e \"fetch('https://www.example.com/hello').then(r => r.text()).then(t => console.log(t))\"",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    python_requests {
        needs: &["nginx", "python3"],
        prepare: |internet, project| module("requests").and_then(|()| web(internet, project)),
        script: "python3 -c \"import requests; print(requests.get('https://www.example.com/hello').text)\"",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    python_aiohttp {
        needs: &["nginx", "python3"],
        prepare: |internet, project| {
            fs::write(project.join("client.py"), AIOHTTP).unwrap();
            module("aiohttp").and_then(|()| web(internet, project))
        },
        script: "python3 client.py",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    web_socket_of_aiohttp {
        needs: &["nginx", "python3", "openssl"],
        prepare: |internet, project| {
            fs::write(project.join("client.py"), AIOHTTP_WEB_SOCKET).unwrap();
            module("aiohttp").and_then(|()| web(internet, project))
        },
        script: "python3 client.py",
        rule: WEB,
        says: "told: hello",
    }
    web_socket_of_node {
        needs: &["nginx", "node", "openssl"],
        prepare: |internet, project| {
            let known = Command::new("node").args(["--experimental-websocket", "-e", "new WebSocket('ws://127.0.0.1:1').onerror = () => {}"]).output();
            if !known.is_ok_and(|output| output.status.success()) {
                support::skipped("a test with a WebSocket of Node", "this one has none");
                return None;
            }
            web(internet, project)
        },
        script: "export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt; \
                 node --experimental-websocket -e \"const w = new WebSocket('wss://www.example.com/live/chat'); \
                 w.onopen = () => w.send('hello'); w.onerror = e => { console.log(e.message); process.exit(1) }; \
                 w.onmessage = m => { console.log('told: ' + m.data); process.exit(0) }\"",
        rule: WEB,
        says: "told: hello",
    }
    go {
        needs: &["nginx", "go"],
        prepare: |internet, project| {
            fs::copy(go_client()?, project.join("client")).unwrap();
            web(internet, project)
        },
        script: "./client",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    java {
        needs: &["nginx", "javac", "java"],
        prepare: |internet, project| {
            internet.trust_in_java();
            fs::write(project.join("Client.java"), JAVA).unwrap();
            web(internet, project)
        },
        script: "java Client.java",
        rule: WEB,
        says: "Hello from www.example.com",
    }
    npm {
        needs: &["nginx", "npm"],
        prepare: |internet, project| {
            internet.npm(project);
            internet.nginx(&[NPM]);
            Some(())
        },
        script: "rm -rf .npm node_modules package*.json; \
                 npm install hello-package && node -p \"require('hello-package')\"",
        rule: NPM,
        says: "hello from npm",
    }
    pip {
        needs: &["nginx", "python3", "pip3"],
        prepare: |internet, project| {
            internet.python_index(project);
            internet.nginx(&[INDEX]);
            Some(())
        },
        script: "rm -rf lib; PIP_CONFIG_FILE=pip.conf python3 -m pip install --target lib hello-package && \
                 PYTHONPATH=lib python3 -m hello_package",
        rule: INDEX,
        says: "hello from python",
    }
    cargo {
        needs: &["nginx"],
        prepare: |internet, project| {
            internet.crates(project);
            internet.nginx(&[CRATES]);
            Some(())
        },
        script: "rm -rf home Cargo.lock; export CARGO_HOME=$PWD/home PATH=RUST/bin:$PATH; \
                 cargo fetch && find home -name '*.crate'",
        rule: CRATES,
        says: "hello-package-1.0.0.crate",
    }
    apt {
        needs: &["nginx", "apt-get", "dpkg-deb"],
        prepare: |internet, project| {
            internet.debian(project);
            internet.nginx(&[DEBIAN]);
            Some(())
        },
        script: "rm -f *.deb apt/lists/*_*; export APT_CONFIG=apt.conf; \
                 apt-get -o APT::Update::Error-Mode=any update && apt-get download hello-package && ls *.deb",
        rule: DEBIAN,
        says: "hello-package_1.0_all.deb",
    }
    psql {
        needs: &["psql", "pg_ctlcluster"],
        prepare: |internet, _| {
            has_a_name()?;
            internet.postgres();
            Some(())
        },
        script: "PGPASSWORD=secret psql -h db.example.org -U postgres -Atc \"select 'hello from ' || 'postgres'\"",
        rule: "db.example.org:5432",
        says: "hello from postgres",
    }
    redis {
        needs: &["redis-server", "redis-cli"],
        prepare: |internet, _| {
            internet.redis();
            Some(())
        },
        script: "redis-cli -h cache.example.org echo 'hello from redis'",
        rule: "cache.example.org:6379",
        says: "hello from redis",
    }
}

/// Whether Debian's Python has a module.
fn module(name: &str) -> Option<()> {
    let found = Command::new("/usr/bin/python3").args(["-c", &format!("import {name}")]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        support::skipped(&format!("a test with {name} of Python"), "it is not installed");
        return None;
    }
    Some(())
}

/// A client in Go, without the C library: it looks names up in its own way.
fn go_client() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let client = folder.join("client");
    if fs::create_dir_all(&folder).is_err() {
        support::skipped("a test with go", "there is no place to build its client in");
        return None;
    }
    if !client.is_file() {
        fs::write(folder.join("client.go"), GO).unwrap();
        let mut go = Command::new("go");
        go.args(["build", "-o", "client", "client.go"]).current_dir(&folder);
        go.env("CGO_ENABLED", "0").env("GOCACHE", folder.join("cache")).env("GO111MODULE", "off");
        let _ = stdout(&mut go);
    }
    Some(client)
}

const GO: &str = r#"package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	response, err := http.Get("https://www.example.com/hello")
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	io.Copy(os.Stdout, response.Body)
}
"#;

const JAVA: &str = r#"import java.net.URI;
import java.net.http.*;

class Client {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create("https://www.example.com/hello")).build();
        var body = HttpResponse.BodyHandlers.ofString();
        System.out.println(HttpClient.newHttpClient().send(request, body).body());
    }
}
"#;

const AIOHTTP: &str = r#"import aiohttp, asyncio

async def main():
    async with aiohttp.ClientSession() as session:
        async with session.get("https://www.example.com/hello") as response:
            print(await response.text())

asyncio.run(main())
"#;

const AIOHTTP_WEB_SOCKET: &str = r#"import aiohttp, asyncio

async def main():
    async with aiohttp.ClientSession() as session:
        for scheme in "wss", "ws":
            async with session.ws_connect(scheme + "://www.example.com/live/chat") as socket:
                await socket.send_str("hello")
                print("told:", (await socket.receive(30)).data)

asyncio.run(main())
"#;

const WEB_SOCKET: &str = r#"import socket, ssl

plain = socket.create_connection(("www.example.com", 443))
tls = ssl.create_default_context().wrap_socket(plain, server_hostname="www.example.com")
tls.sendall(b"GET /live/chat HTTP/1.1\r\nHost: www.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
head = b""
while b"\r\n\r\n" not in head:
    head += tls.recv(1)
assert b" 101 " in head and b"\r\nconnection: upgrade\r\n" in head.lower(), head
tls.sendall(b"\x81\x85\0\0\0\0hello")
assert tls.recv(2) == b"\x81\x05"
print(tls.recv(5))
"#;
