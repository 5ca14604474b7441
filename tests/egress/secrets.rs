//! Secrets: servers get them, and nothing inside of a sandbox, or beside it, ever has them.

use crate::{
    ground::Ground,
    kept::{BOX, Kept},
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::MetadataExt as _,
    process::Command,
    sync::{Arc, Mutex},
};
use support::{
    Who, World,
    internet::{HIDDEN, OWN, SHARED, WEB, installed},
    told,
};

/// Each is somewhere else when a sandbox starts: recorded, in the environment, in a file.
const RECORDED: &str = "recorded-Zx41qwPq8Lmv0T";
/// `user:` and it in base64.
const USER_AND_RECORDED: &str = "dXNlcjpyZWNvcmRlZC1aeDQxcXdQcThMbXYwVA==";
const NAMED: &str = "named-aY73nbTr5Kwe9D";
const FILED: &str = "filed-oP29vcXz6Hgf1S";

/// Requests that a server has had: their heads, by path.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeMap<String, String>>>);

impl Heard {
    /// Serves what is below `/own`.
    fn serve(&self, ground: &Ground) {
        let heard = self.0.clone();
        ground.internet.serve(OWN, move |stream| {
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            heard.lock().unwrap().insert(path, head);
            let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        });
    }

    fn head(&self, path: &str) -> String {
        let heard = self.0.lock().unwrap();
        heard.get(path).unwrap_or_else(|| panic!("{path} was not asked for: {:?}", heard.keys())).clone()
    }
}

/// Records the secrets and lets the project have them.
fn record(ground: &Ground) {
    ground.secret("RECORDED", RECORDED, WEB);
    let file = ground.world.home().join("filed");
    fs::write(&file, FILED).unwrap();
    own(&ground.world);
    let text = format!(
        "[secrets]\nNAMED = ['{WEB}']\n\
         FILED = {{ hosts = ['{WEB}'], file = '/run/secrets/filed', from = 'file:{}' }}\n\
         [network]\nallow = ['{WEB}', '{SHARED}', '{HIDDEN}']\n",
        file.display()
    );
    fs::write(ground.world.project().join("agentkernel.toml"), text).unwrap();
    let _ = ground.agentkernel(&["trust"]);
}

/// What the test has put into the home is its user's.
fn own(world: &World) {
    let home = world.home();
    let script = format!("chown -R --reference={0} {0}", home.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

/// Every way to send a secret: what must be installed, the command, and what the server must see. `PATH` is the path.
fn clients() -> Vec<(&'static str, &'static str, String)> {
    let bearer = |value: &str| format!("authorization: bearer {value}");
    vec![
        (
            "curl",
            "curl -sSf --http1.1 -H \"Authorization: Bearer $RECORDED\" https://www.example.comPATH",
            bearer(RECORDED),
        ),
        (
            "curl",
            "curl -sSf --http2 -H \"x-api-key: $NAMED\" https://www.example.comPATH",
            format!("x-api-key: {NAMED}"),
        ),
        (
            "curl",
            "curl -sSf -u \"user:$RECORDED\" https://www.example.comPATH",
            format!("authorization: basic {USER_AND_RECORDED}"),
        ),
        (
            "curl",
            "curl -sSf -H \"x-api-key: $(cat /run/secrets/filed)\" https://www.example.comPATH",
            format!("x-api-key: {FILED}"),
        ),
        (
            "wget",
            "wget -q -O - --header \"Authorization: Bearer $RECORDED\" https://www.example.comPATH",
            bearer(RECORDED),
        ),
        (
            "python3",
            "python3 -c \"import os, urllib.request as r; print(r.urlopen(r.Request('https://www.example.comPATH', \
             headers={'x-api-key': os.environ['RECORDED']})).read())\"",
            format!("x-api-key: {RECORDED}"),
        ),
        (
            "node",
            "node -e \"fetch('https://www.example.comPATH', {headers: {authorization: 'Bearer ' + process.env.NAMED}})\
             .then(r => r.text()).then(t => console.log(t))\"",
            bearer(NAMED),
        ),
        (
            "git",
            "git -c http.extraHeader=\"Authorization: Bearer $RECORDED\" ls-remote https://www.example.comPATH || \
             echo not a repository",
            bearer(RECORDED),
        ),
        (
            "git",
            "printf '#!/bin/sh\\necho \"$RECORDED\"\\n' > /tmp/askpass && chmod +x /tmp/askpass && \
             git ls-remote https://user@www.example.comPATH; echo asked",
            String::new(),
        ),
    ]
}

/// What stays in the sandbox: it has sent every secret, and knows what it has.
const HOLDER: &str = r#"
import base64
context = ssl.create_default_context()
tls = context.wrap_socket(socket.create_connection((WEB, 443)), server_hostname=WEB)
held = [os.environ["RECORDED"], os.environ["NAMED"], open("/run/secrets/filed").read()]
basic = base64.b64encode(b"user:" + held[0].encode()).decode()
request = get(WEB, "/own/held", ["X-Api-Key: " + value for value in held] + ["Authorization: Basic " + basic])
tls.sendall(request)
answer = hear(tls)
assert b" 200 " in answer, answer
print(*held, flush=True)
time.sleep(600)
"#;

#[test]
fn a_value_is_found_nowhere() {
    for ground in Ground::all() {
        let heard = Heard::default();
        heard.serve(&ground);
        record(&ground);
        let kept = Kept::with(&ground, &["--secret", "RECORDED"], |command| {
            command.env("NAMED", NAMED);
        });
        let mut holder = kept.talk(HOLDER);
        let placeholders: Vec<String> = holder.line().split(' ').map(str::to_owned).collect();
        let real = heard.head("/own/held").to_ascii_lowercase();
        for value in [RECORDED, NAMED, FILED] {
            assert!(real.contains(&format!("x-api-key: {value}").to_ascii_lowercase()), "{real}");
        }
        let basic = format!("authorization: basic {USER_AND_RECORDED}").to_ascii_lowercase();
        assert!(real.contains(&basic), "{real}");
        for (placeholder, name) in placeholders.iter().zip(["RECORDED", "NAMED", "FILED"]) {
            assert!(
                placeholder.starts_with(&format!("agentkernel-{name}-")) && placeholder.len() > 40,
                "{placeholder}"
            );
        }
        let mut used = 0;
        for (number, (program, command, expected)) in clients().into_iter().enumerate() {
            if !installed(program) {
                continue;
            }
            let path = format!("/own/{number}");
            let script = command.replace("PATH", &path);
            let words = ["exec", "--env", "GIT_ASKPASS=/tmp/askpass", BOX, "timeout", "60", "sh", "-c", &script];
            let output = ground.internet.agentkernel(&ground.world, &words).output().unwrap();
            assert!(output.status.success(), "{command}: {}\n{:#?}", told(&output), ground.log(&[]));
            if !expected.is_empty() {
                let at = if program == "git" { format!("{path}/info/refs?service=git-upload-pack") } else { path };
                let head = heard.head(&at);
                let lines = head.lines().map(|line| match line.split_once(": ") {
                    Some((name, value)) => format!("{}: {}", name.to_lowercase(), scheme_in_lower_case(value)),
                    None => line.to_owned(),
                });
                assert!(lines.into_iter().any(|line| line == expected), "{command}: {expected}: {head}");
                used += 1;
            }
        }
        assert!(used > 3);
        not_recorded(&ground, &placeholders);
        nowhere_inside(&kept);
        nowhere_outside(&kept);
        drop(holder);
    }
}

/// A service of the host is a host like others for secrets: they are put in where they are for it, over TLS, and kept back
/// everywhere else.
#[test]
fn a_service_is_no_way_around() {
    for ground in Ground::all() {
        let heard = Heard::default();
        heard.serve(&ground);
        record(&ground);
        fs::remove_file(ground.world.project().join("agentkernel.toml")).unwrap();
        let open = ["--open", "www.example.com:443", "--open", "www.example.com:80", "--open", "hidden.example.net:80"];
        let script = r#"
value = os.environ["RECORDED"]
context = ssl.create_default_context()
tls = context.wrap_socket(socket.create_connection((WEB, 443)), server_hostname=WEB)
tls.sendall(get(WEB, "/own/service", ["X-Api-Key: " + value]))
assert b" 200 " in hear(tls)
for host, reason in (WEB, b"secret-in-clear"), (HIDDEN, b"secret-elsewhere"):
    answer = ask(host, 80, get(host, "/own/clear", ["X-Api-Key: " + value]))
    assert b" 403 " in answer and reason in answer, answer
    assert b"Hello from" in ask(host, 80, get(host))
"#;
        let _ = ground.attack(&[&["--secret", "RECORDED"][..], &open].concat(), script);
        assert!(heard.head("/own/service").contains(RECORDED));
        assert!(!heard.0.lock().unwrap().contains_key("/own/clear"));
        // Without anything to be put in, what is spoken there is its own business.
        let other = "assert b'Hello from hidden' in ask(WEB, 80, get(HIDDEN))";
        let _ = ground.attack(&["--open", "www.example.com:80"], other);
    }
}

/// `Bearer` and `Basic` may be written in either case.
fn scheme_in_lower_case(value: &str) -> String {
    value.split_once(' ').map_or_else(|| value.to_owned(), |(scheme, rest)| format!("{} {rest}", scheme.to_lowercase()))
}

fn values(bytes: &[u8]) -> bool {
    [RECORDED, NAMED, FILED, USER_AND_RECORDED]
        .iter()
        .any(|value| bytes.windows(value.len()).any(|window| window == value.as_bytes()))
}

/// Whether one of the values is in the memory of a process.
fn in_memory(pid: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(mut memory) = fs::File::open(format!("/proc/{pid}/mem")) else { return false };
    // What has no writable memory has nothing of its own.
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        let mut bytes = Vec::new();
        memory.seek(SeekFrom::Start(from)).is_ok() && {
            let _ = (&mut memory).take((to - from).min(256 << 20)).read_to_end(&mut bytes);
            memchr(&bytes)
        }
    })
}

/// As [`values`], fast enough for much memory: by a dash, which each of them has, or the sign with which base64 ends.
fn memchr(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        b'-' => values(&bytes[at.saturating_sub(8)..bytes.len().min(at + 24)]),
        b'=' => bytes[..=at].ends_with(USER_AND_RECORDED.as_bytes()),
        _ => false,
    })
}

/// A recording has what was shown, which is what stands in for the values.
fn not_recorded(ground: &Ground, placeholders: &[String]) {
    let script =
        "env; cat /run/secrets/filed; curl -sSv -u \"user:$RECORDED\" https://www.example.com/own/recorded 2>&1";
    let _ = ground.agentkernel(&["exec", "--record", "cast", BOX, "sh", "-c", script]);
    let cast = fs::read(ground.world.project().join("cast")).unwrap();
    assert!(!values(&cast));
    let text = String::from_utf8(cast).unwrap();
    assert!(placeholders.iter().all(|placeholder| text.contains(placeholder)), "{text}");
    assert!(text.contains("uthorization: Basic "), "{text}");
}

fn nowhere_inside(kept: &Kept) {
    let privileged = rustix::process::getuid().is_root();
    let processes = kept.processes();
    assert!(processes.len() >= 2 || !privileged, "{processes:?}");
    for pid in processes {
        for file in ["environ", "cmdline"] {
            assert!(!values(&fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()), "{pid} {file}");
        }
        if privileged {
            assert!(!in_memory(pid), "the memory of {pid}");
        }
    }
    // From inside: what begins with these, and is not the script that looks for it.
    let script = r#"
needles = [bytes(reversed(part)) for part in (b"T0vmL8qPqw14xZ-dedrocer", b"D9ewK5rTbn37Ya-deman", b"S1fgH6zXcv92Po-delif", b"==AVwYXbMhTcQdXcxQDea1CZlRmcvNWZypjclNXd")]
own = str(os.getpid())
seen = 0
for top in "/etc", "/run", "/tmp", "/var/tmp", "/dev/shm", "/proc", os.environ["HOME"], os.getcwd():
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in (own, "self", "thread-self") and not (folder.startswith("/proc") and name in ("task", "map_files", "fd"))]
        for name in files:
            path = os.path.join(folder, name)
            if top == "/proc" and name in ("kmsg", "trace_pipe", "clear_refs", "mem", "pagemap", "kcore", "kpagecount", "kpageflags", "kpagecgroup"):
                continue
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                data = os.read(descriptor, 1 << 24)
                os.close(descriptor)
            except OSError:
                continue
            seen += 1
            for needle in needles:
                assert needle not in data, path
print(seen)
for pid in filter(str.isdigit, os.listdir("/proc")):
    if pid == own:
        continue
    try:
        memory = open(f"/proc/{pid}/mem", "rb", 0)
        maps = [line.split() for line in open(f"/proc/{pid}/maps")]
    except OSError:
        continue
    for line in maps:
        start, end = (int(part, 16) for part in line[0].split("-"))
        if "w" in line[1]:
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            for needle in needles:
                assert needle not in data, line
"#;
    let seen: u32 = kept.works(script).trim().parse().unwrap();
    assert!(seen > 100, "only {seen} files could be read");
}

fn nowhere_outside(kept: &Kept) {
    let Ground { world, .. } = kept.ground;
    for words in [
        &["inspect", BOX][..],
        &["ps", "-a"],
        &["ps", "--json"],
        &["logs", BOX],
        &["net", "log"],
        &["secret", "list", "--json"],
    ] {
        assert!(!values(kept.ground.agentkernel(words).as_bytes()), "{words:?}");
    }
    // The state of sandboxes, their logs and the audit log. Where the user has recorded it is elsewhere.
    let mut folders = vec![world.state(), world.project()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => {
                    assert!(!values(&fs::read(entry.path()).unwrap_or_default()), "{}", entry.path().display());
                }
                _ => {}
            }
        }
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!values(&line), "{}", String::from_utf8_lossy(&line));
    }
    for pid in [kept.supervisor(), kept.running_egress()] {
        assert!(!values(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()), "{pid}");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        if rustix::process::getuid().is_root() {
            // The search finds it where it must be.
            assert!(in_memory(pid), "{pid}");
        }
        if world.who() == Who::Nobody || !rustix::process::getuid().is_root() {
            // The kernel gives the files of what cannot be read to root.
            assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).unwrap().uid(), 0);
            for file in ["mem", "environ", "maps"] {
                let mut read = world.command("head");
                let output = read.args(["-c", "1"]).arg(format!("/proc/{pid}/{file}")).output().unwrap();
                assert!(!output.status.success() && told(&output).contains("Permission denied"), "{}", told(&output));
            }
        }
    }
}

#[test]
fn a_placeholder_that_goes_astray() {
    for ground in Ground::all() {
        let heard = Heard::default();
        heard.serve(&ground);
        let text = format!(
            "[secrets]\nFIRST = ['{WEB}']\nSECOND = ['{SHARED}']\n[network]\nallow = ['{WEB}', '{SHARED}', '{HIDDEN}']\n"
        );
        fs::write(ground.world.project().join("agentkernel.toml"), text).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let run = |script: &str| {
            let script = format!("{}\n{script}", crate::ground::PRELUDE);
            let words = ["run", "--", "timeout", "70", "python3", "-c", &script];
            let mut command = ground.internet.agentkernel(&ground.world, &words);
            let output = command.env("FIRST", RECORDED).env("SECOND", NAMED).output().unwrap();
            assert!(output.status.success(), "{}\n{:#?}", told(&output), ground.log(&[]));
            String::from_utf8(output.stdout).unwrap()
        };
        let script = r#"
first, second = os.environ["FIRST"], os.environ["SECOND"]
def secure(host, path, *lines):
    tls = ssl.create_default_context().wrap_socket(socket.create_connection((host, 443)), server_hostname=host)
    tls.sendall(get(host, path, lines))
    return hear(tls), tls
def issuer(host):
    with ssl.create_default_context().wrap_socket(socket.create_connection((host, 443)), server_hostname=host) as tls:
        return str(tls.getpeercert()["issuer"])
assert b" 200 " in secure(WEB, "/own/1", "X-Api-Key: " + first)[0]
assert b" 200 " in secure(SHARED, "/own/2", "X-Api-Key: " + second)[0]
for host, line, path in (SHARED, "X-Api-Key: " + first, "/own/3"), (WEB, "Authorization: Bearer " + second, "/own/3"), (SHARED, "X: y", "/own/3?key=" + first):
    answer = secure(host, path, line)[0]
    assert b" 403 " in answer and b"secret-elsewhere" in answer, answer
for host, reason in (WEB, b"secret-in-clear"), (SHARED, b"secret-elsewhere"), (HIDDEN, b"secret-elsewhere"):
    answer = ask(host, 80, get(host, "/own/3", ["X-Api-Key: " + first]))
    assert b" 403 " in answer and reason in answer, answer
# Who has no secret is not read, and shows its own certificate.
assert "test's internet" in issuer(HIDDEN), issuer(HIDDEN)
assert "test's internet" not in issuer(WEB), issuer(WEB)
print(first, second)
"#;
        let first = run(script);
        assert!(heard.head("/own/1").contains(RECORDED) && heard.head("/own/2").contains(NAMED));
        assert!(!heard.0.lock().unwrap().contains_key("/own/3"));
        ground.told("secret-elsewhere");
        ground.told("secret-in-clear");
        // Another sandbox has others, and those of the first mean nothing to it.
        let second = run("print(os.environ['FIRST'], os.environ['SECOND'])");
        assert!(first.split_whitespace().all(|placeholder| !second.contains(placeholder)), "{first}{second}");
    }
}

/// A server may answer before it has been told all, and refuse the rest.
#[test]
fn early_answers() {
    for ground in Ground::all() {
        let text = format!("[network]\nallow = [{{ host = '{WEB}', paths = ['/no'] }}]\n");
        fs::write(ground.world.project().join("agentkernel.toml"), text).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let script = r#"
for size in 1000, 300000, 3000000, 40000000:
    open("big", "w").write("x" * size)
    for version in "--http1.1", "--http2":
        for scheme in "https", "http":
            for turn in range(3):
                asked = ["curl", "-sS", "-w", " %{http_code}", version, "--data-binary", "@big", f"{scheme}://www.example.com/no"]
                answer = subprocess.run(asked, capture_output=True, timeout=60, text=True)
                assert answer.stdout == "no\n 401", (size, version, scheme, turn, answer)
"#;
        let _ = ground.attack(&[], script);
    }
}

/// Some requests only: the others are answered in words.
#[test]
fn restricted_requests() {
    for ground in Ground::all() {
        let heard = Heard::default();
        heard.serve(&ground);
        let text = format!(
            "[network]\nallow = [{{ host = '{WEB}', methods = ['GET', 'HEAD'], paths = ['/own/', '/hello'] }}]\n"
        );
        fs::write(ground.world.project().join("agentkernel.toml"), text).unwrap();
        let _ = ground.agentkernel(&["trust"]);
        let script = r#"
open("big", "w").write("x" * 200000)
def curl(*arguments):
    return subprocess.run(["curl", "-sS", "-w", " %{http_code}", *arguments], capture_output=True, timeout=60, text=True).stdout
for version in "--http1.1", "--http2":
    for scheme in "https", "http":
        site = f"{scheme}://www.example.com"
        for allowed in [site + "/hello"], [site + "/own/x?y=z"], ["-I", site + "/hello"]:
            answer = curl(version, *allowed)
            assert answer.endswith(" 200"), (version, allowed, answer)
        for denied in [site + "/"], [site + "/helloo"], ["-d", "x", site + "/own/y"], ["--path-as-is", site + "/own/../big"], [site + "/own/%2e%2e/big"], ["-X", "DELETE", site + "/own/y"], ["-X", "get", site + "/hello"]:
            answer = curl(version, *denied)
            assert answer.endswith(" 403"), (version, denied, answer)
        # Also to who has not sent all of it yet.
        assert curl(version, "-d", "@big", site + "/own/y").endswith(" 403")
        answer = curl(version, "-d", "x", site + "/own/y")
        assert "request-not-allowed" in curl(version, "-i", "-d", "x", site + "/own/y")
        for words in "www.example.com", "no rule allows this request":
            assert words in answer, (words, answer)
"#;
        let _ = ground.attack(&[], script);
        assert_eq!(heard.0.lock().unwrap().keys().collect::<Vec<_>>(), ["/own/x?y=z"]);
        let log = ground.log(&["--denied"]);
        assert!(log.iter().any(|event| event["request"] == "POST /own/y"), "{log:#?}");
    }
}
