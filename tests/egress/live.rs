//! What is changed while a sandbox runs, and what is told of it.

use crate::{
    ground::{Ground, PRELUDE},
    kept::{BOX, Kept},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};
use support::{
    eventually,
    internet::{HIDDEN, SHARED, WEB, WEB_V4},
    told,
};

/// Says over and over whether a connection that was made before lives.
const CHATTER: &str = r#"
import threading
connection = socket.create_connection((WEB, 7000))
connection.sendall(b"\0")
assert connection.recv(1) == b"\0"
print("connected")
connection.settimeout(60)
try:
    print("ended", connection.recv(1))
except ConnectionResetError:
    print("reset")
"#;

#[test]
fn rules_of_a_running_sandbox() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), echo);
        let kept = Kept::new(&ground, &["--workspace", "none"]);
        let refused = "assert b'Hello' not in ask(WEB, 80, get(WEB))";
        let _ = kept.works(refused);
        ground.told("network-none");
        let init = kept.init();
        let _ = ground.agentkernel(&["net", "allow", BOX, WEB, "www.example.com:7000"]);
        let _ = kept.works("works()");
        // One that is open ends when it is denied: by its name, and by its address.
        for denied in ["www.example.com:7000", "93.184.215.14:7000", "93.184.215.0/24"] {
            let mut talk = kept.talk(CHATTER);
            assert_eq!(talk.line(), "connected");
            let _ = ground.agentkernel(&["net", "deny", BOX, denied]);
            assert_eq!(talk.line(), "reset", "{denied}");
            talk.end();
            ground.told("revoked");
            let _ = kept.works("assert ask(WEB, 7000, b'\\0') == b''");
            let _ = ground.agentkernel(&["net", "allow", BOX, denied]);
        }
        assert_eq!(kept.init(), init, "it was restarted");
        // What was changed holds after a restart.
        let _ = ground.agentkernel(&["net", "deny", BOX, HIDDEN]);
        let _ = ground.agentkernel(&["restart", BOX]);
        let _ = kept.works("works()\nassert b'Hello' not in ask(HIDDEN, 80, get(HIDDEN))");
        ground.told("denied");
        let _ = ground.agentkernel(&["stop", "-t", "1", BOX]);
        let _ = ground.agentkernel(&["net", "deny", BOX, WEB]);
        let _ = ground.agentkernel(&["start", BOX]);
        let _ = kept.works(refused);
        let _ = ground.agentkernel(&["net", "allow", BOX, WEB]);
        let _ = kept.works("works()");
    }
}

fn echo(mut stream: std::net::TcpStream) {
    let mut copy = stream.try_clone().unwrap();
    let _ = std::io::copy(&mut stream, &mut copy);
}

/// The user's own limits from now on.
pub fn limit(ground: &Ground, network: &str) {
    let folder = ground.world.home().join(".config/agentkernel");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.toml"), format!("[network]\n{network}")).unwrap();
    let own = format!("chown -R --reference={0} {0}/.config", ground.world.home().display());
    assert!(std::process::Command::new("sh").args(["-c", &own]).status().unwrap().success());
}

/// What the user forbids everywhere no sandbox is given, from the start or later.
#[test]
fn the_users_own_limits() {
    for ground in Ground::all() {
        limit(&ground, "mode = 'allow'\nallow = ['www.example.com']\n");
        let output = ground.run(&["--allow", HIDDEN], "");
        assert!(!output.status.success() && told(&output).contains("beyond your own limits"), "{}", told(&output));
        let kept = Kept::new(&ground, &["--allow", "*", "--workspace", "none"]);
        let script = "works()\nanswer = ask(HIDDEN, 80, get(HIDDEN))\nassert b' 403 ' in answer and b'Hello' not in answer, answer";
        let _ = kept.works(script);
        ground.told("ceiling");
        let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, HIDDEN]).output().unwrap();
        assert!(told(&output).contains("is still refused"), "{}", told(&output));
        let _ = kept.works(script);
        for rule in ["*.example.net", "10.0.0.0/8:22"] {
            let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, rule]).output().unwrap();
            let words = format!("All of '{rule}' is still refused by your own limits: ");
            assert!(output.status.code() == Some(1) && told(&output).contains(&words), "{}", told(&output));
        }
        // What is left in part is no failure, and told.
        for (rule, said) in [("www.example.com:*", true), ("*", true), ("www.example.com:80", false)] {
            let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, rule]).output().unwrap();
            let words = format!(
                "A part of '{rule}' is still refused by your own limits: no rule allows it\n  hint: They stand in "
            );
            assert!(output.status.success() && told(&output).contains(&words) == said, "{}", told(&output));
            assert_eq!(output.stderr.is_empty(), !said);
        }
        let _ = kept.works(script);
        ground.only(&[WEB]);
    }
}

/// Where a name is denied, an address could be that name's.
#[test]
fn limits_about_names_and_flags_about_addresses() {
    for ground in Ground::all() {
        limit(&ground, "mode = 'open'\ndeny = ['hidden.example.net']\n");
        let why = "an address must be named, which could be one of 'hidden.example.net'\n  hint: They stand in ";
        let output = ground.run(&["--allow", "93.184.215.16"], "");
        let words = format!("`--allow 93.184.215.16` is beyond your own limits: {why}");
        assert!(output.status.code() == Some(125) && told(&output).contains(&words), "{}", told(&output));
        let kept = Kept::new(&ground, &["--allow", WEB, "--workspace", "none"]);
        let network = "93.184.215.0/24";
        let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, network]).output().unwrap();
        let words = format!("All of '{network}' is still refused by your own limits: {why}");
        assert!(output.status.code() == Some(1) && told(&output).contains(&words), "{}", told(&output));
        let _ = kept.works(&format!("works()\nassert b' 403 ' in ask('{WEB_V4}', 80, get('{WEB_V4}'))"));
        ground.told("ceiling");
        limit(&ground, "mode = 'open'\n");
        let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, network]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
        let _ = kept.works(&format!("assert b' 403 ' not in ask('{WEB_V4}', 80, get('{WEB_V4}'))"));
    }
}

/// Requests that the user's limits refuse are told so, and `net allow` does not claim to lift them.
#[test]
fn the_users_own_limits_of_requests() {
    for ground in Ground::all() {
        limit(&ground, "allow = [{ host = 'www.example.com', methods = ['GET'] }]\n");
        let kept = Kept::new(&ground, &["--allow", WEB, "--workspace", "none"]);
        let script = "works()\nprint(ask(WEB, 80, get(WEB).replace(b'GET', b'POST')).decode())";
        let answer = kept.works(script);
        for words in ["X-Agentkernel-Reason: ceiling", "GET on every path", "/agentkernel/config.toml"] {
            assert!(answer.to_lowercase().contains(&words.to_lowercase()), "{answer}");
        }
        assert!(!answer.contains("net allow"), "{answer}");
        let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, WEB]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let file = ground.world.home().join(".config/agentkernel/config.toml");
        for words in ["of requests there are only GET on every path", file.to_str().unwrap()] {
            assert!(told(&output).contains(words), "{}", told(&output));
        }
        let check = ["net", "check", WEB, "--allow", WEB, "--no-lookup"];
        assert!(ground.agentkernel(&check).contains("these requests only, by your own limits: GET on every path\n"));
    }
}

/// A sandbox that began before there were such limits reads no requests inside of TLS, and refuses them all there: that is
/// said, and what helps.
#[test]
fn limits_of_requests_that_come_later() {
    for ground in Ground::all() {
        ground.internet.serve(&format!("{WEB_V4}:7000"), echo);
        let seven = "www.example.com:7000";
        let kept = Kept::new(&ground, &["--allow", HIDDEN, "--allow", seven, "--workspace", "none"]);
        let mut talk = kept.talk(CHATTER);
        assert_eq!(talk.line(), "connected");
        let restricted = ["www.example.com", seven].map(|host| format!("{{ host = '{host}', methods = ['GET'] }}"));
        limit(&ground, &format!("allow = ['hidden.example.net', {}]\n", restricted.join(", ")));
        let output = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, WEB]).output().unwrap();
        let words = format!("refuses all of them there, until 'agentkernel restart {BOX}'");
        assert!(output.status.success() && told(&output).contains(&words), "{}", told(&output));
        // What is open could still ask for anything.
        assert_eq!(talk.line(), "reset");
        talk.end();
        ground.told("revoked");
        let fetch = "assert (subprocess.run(['curl', '-sSf', f'https://{WEB}/hello'], timeout=60).returncode == 0)";
        let _ = kept.works(&format!("works()\n{fetch} == False"));
        ground.told("request-not-allowed");
        let _ = ground.agentkernel(&["restart", BOX]);
        let _ = kept.works(&format!("{fetch} == True"));
    }
}

/// What denies is taken back by the very rule, and by nothing else.
#[test]
fn a_rule_that_is_taken_back() {
    for ground in Ground::all() {
        let kept = Kept::new(&ground, &["--allow", WEB, "--workspace", "none"]);
        let _ = ground.agentkernel(&["net", "deny", BOX, "*"]);
        let refused = "answer = ask(WEB, 80, get(WEB))\nassert b' 403 ' in answer, answer";
        let _ = kept.works(refused);
        let allow = |rule| ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, rule]).output().unwrap();
        let output = allow("www.example.com:7777");
        let hint = format!("`agentkernel net allow {BOX} '*'` takes back that rule");
        assert!(output.status.code() == Some(1) && told(&output).contains(&hint), "{}", told(&output));
        let _ = kept.works(refused);
        let output = allow("*");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
        let _ = kept.works("works()");
        limit(&ground, "deny = ['www.example.com']\n");
        let output = allow("www.example.com:7777");
        let hint = ".config/agentkernel/config.toml: [network]";
        assert!(output.status.code() == Some(1) && told(&output).contains(hint), "{}", told(&output));
    }
}

/// So is what denies a service of the host, which is said by the name that it was opened by.
#[test]
fn a_service_that_is_taken_away_and_given_back() {
    for ground in Ground::all() {
        ground.internet.serve("127.0.0.1:7777", |mut stream| drop(stream.write_all(b"served")));
        let kept = Kept::new(&ground, &["--open", "localhost:7777", "--workspace", "none"]);
        let served = r#"
with socket.create_connection(("host.agentkernel.internal", 7777), 30) as connection:
    assert hear(connection) == b"served"
"#;
        let refused = r#"
try:
    with socket.create_connection(("host.agentkernel.internal", 7777), 30) as connection:
        assert b"served" not in hear(connection)
except OSError:
    pass
"#;
        let _ = kept.works(served);
        let _ = ground.agentkernel(&["net", "deny", BOX, "localhost:7777"]);
        let _ = kept.works(refused);
        let allow = |rule| ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, rule]).output().unwrap();
        let output = allow("localhost:7777");
        let said = "'localhost:7777' is a service of the host, and reached as host.agentkernel.internal:7777";
        assert!(output.status.success() && told(&output).contains(said), "{}", told(&output));
        let _ = kept.works(served);
        // Nothing was opened there.
        let output = allow("localhost:7778");
        assert!(output.status.code() == Some(1) && told(&output).contains("allows nothing"), "{}", told(&output));
    }
}

/// They hold for sandboxes of before too, from the next change or start on.
#[test]
fn limits_that_change() {
    for ground in Ground::all() {
        let (both, one) = (
            "works()\nassert b'Hello' in ask(HIDDEN, 80, get(HIDDEN))",
            "works()\nassert b' 403 ' in ask(HIDDEN, 80, get(HIDDEN))",
        );
        let kept = Kept::new(&ground, &["--allow", WEB, "--allow", HIDDEN, "--workspace", "none"]);
        let _ = kept.works(both);
        limit(&ground, "allow = ['www.example.com']\n");
        let _ = ground.agentkernel(&["net", "deny", BOX, SHARED]);
        let _ = kept.works(one);
        ground.told("ceiling");
        limit(&ground, "");
        let _ = ground.agentkernel(&["net", "deny", BOX, SHARED]);
        let _ = kept.works(both);
        for start in ["restart", "start"] {
            limit(&ground, "allow = ['www.example.com']\n");
            let _ = ground.agentkernel(&[start, BOX]);
            let _ = kept.works(one);
            let again = ground.internet.agentkernel(&ground.world, &["net", "allow", BOX, HIDDEN]).output().unwrap();
            assert_eq!(again.status.code(), Some(1), "{}", told(&again));
            assert!(told(&again).contains("is still refused"), "{}", told(&again));
            limit(&ground, "");
            let _ = ground.agentkernel(&["stop", "-t", "1", BOX]);
            let _ = ground.agentkernel(&["start", BOX]);
            let _ = kept.works(both);
            let _ = ground.agentkernel(&["stop", "-t", "1", BOX]);
        }
    }
}

#[test]
fn the_log() {
    for ground in Ground::all() {
        let mut follow = ground.internet.agentkernel(&ground.world, &["net", "log", "-f", "--json"]);
        let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
        let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
        let _ = ground.attack(&["--name", "first", "--allow", WEB], "works()");
        let (opened, closed) = (next(), next());
        assert_eq!(
            (&opened["event"], &opened["name"], &opened["host"]),
            (&"opened".into(), &"first".into(), &WEB.into())
        );
        assert_eq!(opened["rule"], WEB);
        assert_eq!(opened["address"], format!("{WEB_V4}:80"));
        assert_eq!((&closed["event"], &closed["requests"]), (&"closed".into(), &1.into()));
        assert!(closed["sent"].as_u64() > Some(40) && closed["received"].as_u64() > Some(100), "{closed}");
        let _ = ground.attack(&["--name", "second", "--allow", WEB], "ask(HIDDEN, 80, get(HIDDEN))");
        let refused = next();
        assert_eq!((&refused["event"], &refused["name"]), (&"refused".into(), &"second".into()));
        let _ = follow.kill();
        let _ = follow.wait();
        // Both are gone, and on record.
        assert_eq!(ground.agentkernel(&["ps", "-aq"]), "");
        assert_eq!(ground.log(&["first"]).len(), 2);
        assert_eq!(ground.log(&["--denied", "first"]).len(), 0);
        assert_eq!(ground.log(&["--denied"]), ground.log(&["second"]));
        let id = refused["sandbox"].as_str().unwrap();
        assert_eq!(ground.log(&[id]), std::slice::from_ref(&refused));
        // A name wins over ids that begin so, and several such ids are no answer.
        let _ = ground.attack(&["--name", &id[..3], "--allow", WEB], "works()");
        assert!(ground.log(&[&id[..3]]).iter().all(|event| event["name"] == id[..3]));
        assert_eq!(ground.log(&[&id[..4]]), std::slice::from_ref(&refused));
        let table = ground.agentkernel(&["net", "log", "second"]);
        for words in ["second", "denied", "hidden.example.net:80", "not-allowed: no rule allows it"] {
            assert!(table.contains(words), "{table}");
        }
        let output = ground.internet.agentkernel(&ground.world, &["net", "log", "third"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    }
}

/// Whatever comes too fast for a record of each is there in sum, and what is refused hides nothing that is allowed.
#[test]
fn the_log_of_a_flood() {
    // Whose it is makes no difference, and it takes a while.
    for ground in Ground::all().into_iter().take(1) {
        ground.internet.serve(&format!("{WEB_V4}:7001"), |mut stream| {
            let _ = stream.write_all(b"hello");
        });
        let script = r#"
from concurrent.futures import ThreadPoolExecutor
def once(port):
    try:
        with socket.create_connection((WEB, port), 60) as one:
            return one.recv(99)
    except OSError:
        return b""
with ThreadPoolExecutor(8) as pool:
    assert set(pool.map(once, [7002] * 2000)) == {b""}
    assert once(7001) == b"hello"
    assert set(pool.map(once, [7001] * 2999)) == {b"hello"}
works()
"#;
        let _ = ground.attack(&["--name", "flood", "--allow", WEB, "--allow", "www.example.com:7001"], script);
        let sum = |port: u16| {
            let sums = ground.log(&["--summary", "flood"]);
            sums.into_iter().find(|sum| sum["port"] == port).unwrap()
        };
        eventually("the last are closed", || sum(7001)["received"] == 15_000);
        assert_eq!((&sum(7001)["allowed"], &sum(7002)["denied"]), (&3000.into(), &2000.into()));
        assert_eq!(sum(80)["allowed"], 1);
        let log = ground.log(&["flood"]);
        let first = log.iter().position(|record| record["event"] == "opened" && record["port"] == 7001).unwrap();
        assert!(log[..first].iter().all(|record| record["port"] == 7002 && record["event"] != "missing"));
        let folded =
            |verdict: &str| log.iter().any(|record| record["event"] == "folded" && record["verdict"] == verdict);
        assert!(folded("allowed") && folded("denied"));
        let table = ground.agentkernel(&["net", "log", "flood"]);
        assert!(table.contains(" more denied: not-allowed") && table.contains(" more allowed"), "{table}");
        assert!(ground.agentkernel(&["net", "log", "--denied", "flood"]).contains(" more denied: not-allowed"));
    }
}

/// Whoever connects faster than anybody can tell of waits: there is no connection of which nothing is told.
#[test]
fn a_flood_of_connections_at_once() {
    for ground in Ground::all().into_iter().take(1) {
        let script = r#"
import resource, select
def many():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    place = socket.gethostbyname("hidden.example.net"), 7002
    waiting = {}
    for _ in range(700):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(place)
        waiting[one.fileno()] = one
    poll = select.poll()
    for number in waiting:
        poll.register(number, select.POLLIN)
    while waiting:
        ready = poll.poll(60_000)
        assert ready, len(waiting)
        for number, _ in ready:
            poll.unregister(number)
            waiting.pop(number).close()
    os._exit(0)
children = []
for _ in range(4):
    if (child := os.fork()) == 0:
        many()
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"#;
        let _ = ground.attack(&["--name", "flood", "--allow", WEB], script);
        let sums = ground.log(&["--summary", "flood"]);
        assert_eq!(sums.iter().map(|sum| sum["denied"].as_u64().unwrap()).sum::<u64>(), 2800, "{sums:#?}");
    }
}

/// Every connection that began has its end on record, though the sandbox ends at the same moment.
#[test]
fn the_end_of_what_a_sandbox_takes_along() {
    for ground in Ground::all() {
        for round in 0..5 {
            let name = format!("round{round}");
            let script = "a = socket.create_connection((WEB, 80)); a.sendall(get(WEB)); assert a.recv(9)\n\
                          b = socket.create_connection((WEB, 80)); b.sendall(get(WEB)); assert b.recv(9); os._exit(0)";
            let _ = ground.attack(&["--name", &name, "--allow", WEB], script);
            let log = ground.log(&[&name]);
            let count = |event: &str| log.iter().filter(|record| record["event"] == event).count();
            assert_eq!((count("opened"), count("closed")), (2, 2), "{log:#?}");
        }
    }
}

/// What was asked for and not connected yet is on record all the same: its name has gone out.
#[test]
fn what_was_never_connected() {
    for ground in Ground::all() {
        ground.internet.slow_name(HIDDEN, None);
        let script = "connection = socket.create_connection((HIDDEN, 80)); connection.sendall(get(HIDDEN))\n\
                      time.sleep(0.3); os._exit(0)";
        let _ = ground.attack(&["--name", "asked", "--allow", HIDDEN], script);
        let log = ground.log(&["asked"]);
        assert!(log.len() == 1 && log[0]["reason"] == "lost" && log[0]["denied"] == false, "{log:#?}");
        assert_eq!(log[0]["cause"], "the sandbox ended before it was connected");
        let output = ground.internet.agentkernel(
            &ground.world,
            &["policy", "learn", "--", "timeout", "1", "curl", "-s", "http://hidden.example.net/"],
        );
        let output = { output }.output().unwrap();
        assert!(told(&output).contains("+    \"hidden.example.net:80\","), "{}", told(&output));
    }
}

/// The program ends in the moment in which it is refused, and `run` tells nevertheless.
#[test]
fn the_notice_at_the_end() {
    for ground in Ground::all() {
        let script = "connection = socket.create_connection((HIDDEN, 25))\n\
                      try: connection.recv(1)\nexcept OSError: pass\nos._exit(0)";
        for _ in 0..10 {
            let output = ground.run(&["--allow", WEB], script);
            let expected = "A connection from the sandbox to hidden.example.net:25 was refused: no rule allows it";
            assert!(told(&output).contains(expected), "{}", told(&output));
        }
        // What could not be reached was not refused.
        let output = ground.run(&["--allow", "www.example.com:25"], &script.replace("HIDDEN", "WEB"));
        assert!(!told(&output).contains("refused"), "{}", told(&output));
        let unreachable = || ground.log(&[]).iter().any(|event| event["reason"] == "unreachable");
        eventually("it is on record", unreachable);
    }
}

/// What is neither TLS nor HTTP passes ports of the web only where a rule names them, and the patch does.
#[test]
fn a_policy_for_another_protocol_on_a_port_of_the_web() {
    for ground in Ground::all() {
        let script = "works()\nanswer = ask(WEB, 443, b'SSH-2.0-OpenSSH_9.9\\r\\n\\r\\n')";
        let program = format!("{PRELUDE}\n{script}\nprint(answer, file=sys.stderr)");
        let learn = ["policy", "learn", "--", "python3", "-c", &program];
        let output = ground.internet.agentkernel(&ground.world, &learn).output().unwrap();
        let (patch, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && words.contains("b''\n"), "{}", told(&output));
        let expected = "Refused, as neither TLS nor HTTP was spoken: www.example.com:443\n  hint: ";
        assert!(words.contains(expected) && words.contains("learn --allow www.example.com:443'"), "{words}");
        let rules: Vec<_> = patch.lines().filter_map(|line| line.strip_prefix("+    \"")).collect();
        assert_eq!(rules, ["www.example.com:80\",", "www.example.com:443\","], "{patch}");
        let flags = ["--allow", "www.example.com:80", "--allow", "www.example.com:443"];
        // It gets there, where it is taken for a bad request, and the answer to that is nobody's.
        let _ = ground.attack(&flags, &format!("{script}\nassert answer == b'', answer"));
        ground.told("bad-request");
        // Not where the user's limits have no such rule.
        limit(&ground, "allow = ['www.example.com']\n");
        let output = ground.internet.agentkernel(&ground.world, &learn).output().unwrap();
        let expected = "Refused by your own limits: what is neither TLS nor HTTP at www.example.com:443\n";
        assert!(told(&output).contains(expected), "{}", told(&output));
    }
}
