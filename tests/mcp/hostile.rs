//! What clients should not do, and what happens to them.

use crate::client::Client;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::symlink,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use support::{Who, World, eventually, stdout};

/// What runs in a sandbox.
fn inside(world: &World) -> String {
    stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]))
}

/// A server that was greeted, and what is said to it; nobody reads what it answers.
fn greeted(world: &World) -> (Child, ChildStdin) {
    let mut server = world.agentkernel(["mcp"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = server.stdin.take().unwrap();
    let hello =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    for message in [
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    ] {
        writeln!(input, "{message}").unwrap();
    }
    (server, input)
}

fn nothing_is_left(world: &World) {
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn what_is_no_message_is_told_so() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    let deep = "[".repeat(100_000);
    for (line, code) in [
        (&b"{"[..], -32700),
        (b"\xff\xfe\x00", -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}", -32700),
        (deep.as_bytes(), -32700),
        (b"null", -32600),
        (b"[]", -32600),
        (b"[1,2,3]", -32600),
        (b"{}", -32600),
        (b"\"text\"", -32600),
        (br#"{"jsonrpc":"2.0","id":{"a":1},"method":"tools/list"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1006}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":905,"id":906,"method":"ping"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":905,"method":"ping","method":"tools/list"}"#, -32600),
    ] {
        client.line(line);
        let answer = client.complaint();
        let shown = String::from_utf8_lossy(&line[..line.len().min(80)]);
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(code)), "{shown}: {answer}");
    }
    // What can be told from others is answered by its id.
    for (line, code, words) in [
        (r#"{"jsonrpc":"1.0","id":1000,"method":"tools/list"}"#, -32600, "JSON-RPC 2.0"),
        (r#"{"jsonrpc":"2.0","id":1001,"method":7}"#, -32600, "JSON-RPC 2.0"),
        (r#"{"jsonrpc":"2.0","id":1040,"method":"ping","result":{}}"#, -32600, "it is an answer as well"),
        (r#"{"jsonrpc":"2.0","id":1041,"method":"ping","error":{"code":1,"message":""}}"#, -32600, "an answer as well"),
        (r#"{"jsonrpc":"2.0","id":1002,"method":"no/such/method"}"#, -32601, "no method 'no/such/method'"),
        (r#"{"jsonrpc":"2.0","id":1003,"method":"tools/call","params":[]}"#, -32602, "no object"),
        (r#"{"jsonrpc":"2.0","id":1004,"method":"tools/call","params":{"name":7}}"#, -32602, "expected a string"),
        (
            r#"{"jsonrpc":"2.0","id":1005,"method":"tools/call","params":{"name":"run","arguments":[]}}"#,
            -32602,
            "expected a map",
        ),
        (r#"{"jsonrpc":"2.0","id":1006,"method":"tools/call"}"#, -32602, "There are none"),
        (r#"{"jsonrpc":"2.0","id":1007,"method":"prompts/get","params":{}}"#, -32602, "missing field `name`"),
        (r#"{"jsonrpc":"2.0","id":1008,"method":"resources/read","params":{"uri":[]}}"#, -32602, "resources/read"),
        (r#"{"jsonrpc":"2.0","id":1009,"method":"tools/list","params":[]}"#, -32602, "no object"),
        (r#"{"jsonrpc":"2.0","id":1010,"method":"tools/list","params":{"_meta":7}}"#, -32602, "_meta"),
        (r#"{"jsonrpc":"2.0","id":1011,"method":"ping","params":7}"#, -32602, "no object"),
        (r#"{"jsonrpc":"2.0","id":1012,"method":"no/such/method","params":7}"#, -32601, "no method 'no/such/method'"),
        // Of two values, nobody knows which one is meant.
        (
            r#"{"jsonrpc":"2.0","id":1013,"method":"tools/call","params":{"name":"list","name":"rm","arguments":{}}}"#,
            -32600,
            "'name' stands there twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1014,"method":"tools/call","params":{"name":"run","arguments":{"command":"a","comm\u0061nd":"b"}}}"#,
            -32600,
            "'command' stands there twice",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1015,"method":"tools/call","params":{"name":"run","arguments":{"command":"a","env":{"A":"1","A":"2"}}}}"#,
            -32600,
            "'A' stands there twice",
        ),
    ] {
        client.line(line.as_bytes());
        let id = serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap();
        let error = client.answer(id)["error"].clone();
        let told = error["message"].as_str().unwrap();
        assert!(error["code"] == code && told.contains(words), "{line}: {error}");
    }
    // These are not answered.
    for line in [
        "",
        " \t\r",
        r#"{"jsonrpc":"2.0","id":1020,"result":{}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","method":"no/such/notification","params":7}"#,
    ] {
        client.line(line.as_bytes());
    }
    // A mark of Unicode's and a carriage return are no part of one.
    client.line("\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1030,\"method\":\"ping\"}\r".as_bytes());
    assert_eq!(client.answer(1030)["result"], json!({}));
    let tools = client.request("tools/list", json!({}));
    assert!(tools["result"]["tools"].as_array().unwrap().len() > 10);
    assert!(client.notifications().is_empty() && !client.has_complaint());
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn what_is_said_before_hello_ends_nothing() {
    let world = World::new(Who::Me);
    let client = Client::silent(&mut world.agentkernel(["mcp"]));
    for line in [
        r#"{"jsonrpc":"2.0","method":"nope"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#,
    ] {
        client.line(line.as_bytes());
    }
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "half of a character: \u{fffd}", "version": "1"}});
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).to_string();
    // As JavaScript writes what it has cut within one.
    client.line(line.replace('\u{fffd}', "\\ud83d").as_bytes());
    assert_eq!(client.answer(1)["result"]["protocolVersion"], "2025-11-25");
    client.leave();
}

#[test]
fn an_id_that_is_in_use_asks_nothing_more() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    let call = |id: &str, name: &str| {
        let command = format!("echo {name} >> /tmp/ran; until [ -e /tmp/go ]; do sleep 0.1; done; echo {name}");
        let params = json!({"name": "exec", "arguments": {"sandbox": "box", "command": command}});
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
    };
    client.line(call("5000", "first").as_bytes());
    client.line(call("5000", "second").as_bytes());
    let refused = client.complaint();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&Value::Null, &json!(-32600)), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("5000"), "{refused}");
    // A text is another id than a number.
    client.line(call("\"5000\"", "text").as_bytes());
    client.done(
        "exec",
        json!({"sandbox": "box", "command": "until [ $(wc -l < /tmp/ran) = 2 ]; do sleep 0.1; done; touch /tmp/go"}),
    );
    assert_eq!(client.answer(5000)["result"]["structuredContent"]["stdout"], "first\n");
    let text = client.complaint();
    assert_eq!((&text["id"], &text["result"]["structuredContent"]["stdout"]), (&json!("5000"), &json!("text\n")));
    // An answer frees it, and so does being cancelled.
    client.line(call("5000", "again").as_bytes());
    assert_eq!(client.answer(5000)["result"]["structuredContent"]["stdout"], "again\n");
    client.done("exec", json!({"sandbox": "box", "command": "rm /tmp/go"}));
    client.line(call("5001", "gone").as_bytes());
    client.notify("notifications/cancelled", json!({"requestId": 5001}));
    eventually("it is ended", || !inside(&world).contains("gone"));
    client.line(br#"{"jsonrpc":"2.0","id":5001,"method":"ping"}"#);
    assert_eq!(client.answer(5001)["result"], json!({}));
    assert!(!client.has_complaint());
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn large_messages() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box", "workspace": "overlay"}));
    let long = "0123456789".repeat(1 << 20);
    let written = client.done("write_file", json!({"sandbox": "box", "path": "long", "text": long}));
    assert_eq!(written["written_bytes"], 10 << 20);
    let counted = client.done("exec", json!({"sandbox": "box", "command": "wc -c < long"}));
    assert_eq!(counted["stdout"].as_str().unwrap().trim(), (10 << 20).to_string());
    // What no message may have is not kept, and the next is heard.
    client.line("x".repeat(40 << 20).as_bytes());
    let refused = client.complaint();
    assert!(refused["error"]["message"].as_str().unwrap().contains("more than 16 MiB"), "{refused}");
    let words = client.refused("exec", json!({"sandbox": "box", "command": ["echo", long]}));
    assert!(words.contains("too large") || words.contains("too long"), "{}", &words[..words.len().min(200)]);
    assert!(support::resident(client.server.id()) < 400 << 20);
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn a_cancelled_program_is_ended() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    for command in
        ["echo begun; sleep 12345", "trap '' TERM; echo begun; sleep 12345; sleep 12345", "echo begun; yes 12345"]
    {
        let arguments = json!({"sandbox": "box", "command": command});
        let id = client
            .ask("tools/call", json!({"name": "exec", "arguments": arguments, "_meta": {"progressToken": command}}));
        client.notified(|it| it["params"]["progressToken"] == *command);
        client.notify("notifications/cancelled", json!({"requestId": id, "reason": "test"}));
        eventually(command, || !inside(&world).contains("12345"));
    }
    // A sandbox of its own goes with it.
    let arguments = json!({"command": "echo begun; sleep 12345"});
    let id =
        client.ask("tools/call", json!({"name": "run", "arguments": arguments, "_meta": {"progressToken": "run"}}));
    client.notified(|it| it["params"]["progressToken"] == "run");
    client.notify("notifications/cancelled", json!({"requestId": id}));
    eventually("it is gone", || stdout(&mut world.agentkernel(["ps", "-aq"])).lines().count() == 1);
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

/// Who asks for progress and reads nothing can cancel all the same.
#[test]
fn a_program_is_ended_whose_progress_nobody_reads() {
    let world = World::new(Who::Me);
    let (mut server, mut input) = greeted(&world);
    let mut say = |message: Value| writeln!(input, "{message}").unwrap();
    // More than a pipe holds.
    (2..12).for_each(|id| say(json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"})));
    let arguments = json!({"command": "echo begun; touch begun; sleep 12345"});
    let run = json!({"name": "run", "arguments": arguments, "_meta": {"progressToken": "run"}});
    say(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": run}));
    eventually("it runs", || world.project().join("begun").exists());
    // It is being told by then.
    std::thread::sleep(Duration::from_secs(1));
    say(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}));
    eventually("it is gone", || stdout(&mut world.agentkernel(["ps", "-aq"])).is_empty());
    drop(input);
    assert!(server.wait().unwrap().success());
    nothing_is_left(&world);
}

/// Whoever cancels a call hears of nothing that it has made.
#[test]
fn a_cancelled_call_takes_back_what_it_made() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    let cancelled = |name: &str, arguments: Value, pause: u64| {
        let id = client.ask("tools/call", json!({"name": name, "arguments": arguments}));
        // How far it is by then depends on this: that is what it is for.
        std::thread::sleep(Duration::from_millis(pause));
        client.notify("notifications/cancelled", json!({"requestId": id}));
        id
    };
    let calls: Vec<(u64, u64)> = (0..=33)
        .step_by(3)
        .map(|pause| {
            let create = cancelled("create", json!({}), pause);
            let exec = json!({"sandbox": "box", "command": "exec sleep 12345", "background": true});
            (create, cancelled("exec", exec, pause))
        })
        .collect();
    client.done("list", json!({}));
    // What was done before the word came was answered.
    let (creates, execs): (Vec<u64>, Vec<u64>) = calls.into_iter().unzip();
    let told = |calls: Vec<u64>| calls.into_iter().filter_map(|id| client.answered(id)).collect::<Vec<_>>();
    let (creates, execs) = (told(creates), told(execs));
    assert!(creates.len() < 12 && execs.len() < 12, "none was cancelled");
    eventually("only what was told of is there", || {
        let listed = client.done("list", json!({}));
        let there = listed["sandboxes"].as_array().unwrap().len();
        (there, inside(&world).matches("sleep 12345").count()) == (1 + creates.len(), execs.len())
    });
    for made in creates {
        client.done("rm", json!({"sandbox": made["result"]["structuredContent"]["id"], "force": true}));
    }
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn a_hundred_commands_in_the_background() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    let call =
        json!({"name": "exec", "arguments": {"sandbox": "box", "command": "exec sleep 12345", "background": true}});
    let calls: Vec<u64> = (0..100).map(|_| client.ask("tools/call", call.clone())).collect();
    let answers: Vec<Value> = calls.into_iter().map(|id| client.answer(id)["result"].clone()).collect();
    let (begun, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["isError"] != true);
    assert_eq!((begun.len(), refused.len()), (64, 36));
    assert!(refused.iter().all(|it| it.to_string().contains("64 commands are running in the background")));
    assert_eq!(inside(&world).matches("12345").count(), 64);
    // One less is one more.
    client.done("stop_exec", json!({"id": begun[0]["structuredContent"]["id"]}));
    client.done("exec", call["arguments"].clone());
    assert!(client.refused("exec", call["arguments"].clone()).contains("64 commands"));
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

/// It hangs up, and has never read what it was told, or can read no more.
#[test]
fn a_client_that_reads_nothing() {
    for (gone, most) in [(false, 15), (true, 3)] {
        let world = World::new(Who::Me);
        let (mut server, mut input) = greeted(&world);
        let mut say = |message: Value| writeln!(input, "{message}").unwrap();
        let run = json!({"name": "run", "arguments": {"command": "sleep 12345"}});
        say(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": run}));
        eventually("it runs", || stdout(&mut world.agentkernel(["ps", "-q"])).lines().count() == 1);
        // More than a pipe holds.
        (2..12).for_each(|id| say(json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"})));
        drop(input);
        if gone {
            drop(server.stdout.take());
        }
        let began = Instant::now();
        while server.try_wait().unwrap().is_none() {
            if began.elapsed() > Duration::from_secs(most) {
                let _ = server.kill();
                panic!("it waits for somebody who reads");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(server.wait().unwrap().success());
        nothing_is_left(&world);
    }
}

/// As many calls as a client can think of: some are told so.
#[test]
fn more_calls_than_there_may_be() {
    let world = World::new(Who::Me);
    let (mut server, mut input) = greeted(&world);
    let mut say = |message: Value| writeln!(input, "{message}").unwrap();
    let run = json!({"name": "run", "arguments": {"command": "sleep 12345"}});
    (1..1101).for_each(|id| say(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": run})));
    let output = BufReader::new(server.stdout.take().unwrap());
    let refused = output.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let refused: Vec<Value> = refused.filter(|answer| answer["error"].is_object()).take(76).collect();
    for answer in &refused {
        assert!(
            answer["error"]["message"].as_str().unwrap().starts_with("1024 requests have no answer yet"),
            "{answer}"
        );
        assert!(answer["id"].as_u64().unwrap() > 1024, "{answer}");
    }
    drop(input);
    assert!(server.wait().unwrap().success());
    nothing_is_left(&world);
}

/// It asks and asks, and listens late: it is not heard meanwhile, and nothing is lost.
#[test]
fn a_client_that_listens_late() {
    const ALL: usize = 200_000;
    let world = World::new(Who::Me);
    let (mut server, mut input) = greeted(&world);
    let output = BufReader::new(server.stdout.take().unwrap());
    let said = Arc::new(AtomicUsize::new(0));
    let counted = said.clone();
    let asks = std::thread::spawn(move || {
        for id in 1..=ALL {
            writeln!(input, "{}", json!({"jsonrpc": "2.0", "id": id, "method": "ping"})).unwrap();
            counted.store(id, Ordering::Relaxed);
        }
        input
    });
    let mut before = None;
    while before != Some(said.load(Ordering::Relaxed)) {
        before = Some(said.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(before.unwrap() < ALL, "it is heard while it does not listen");
    let mut answered = vec![false; ALL + 1];
    for line in output.lines().take(ALL + 1) {
        let answer: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let id = usize::try_from(answer["id"].as_u64().unwrap()).unwrap();
        assert!(!std::mem::replace(&mut answered[id], true), "{answer}");
    }
    assert!(answered.iter().all(|one| *one));
    let most = support::most_resident(server.id());
    assert!(most < 400 << 20, "{most} bytes");
    drop(asks.join().unwrap());
    assert!(server.wait().unwrap().success());
    nothing_is_left(&world);
}

#[test]
fn a_client_that_vanishes_leaves_nothing_running() {
    for (who, kill) in Who::all().into_iter().flat_map(|who| [(who, false), (who, true)]) {
        let world = World::new(who);
        let client = Client::new(&world, json!({}));
        client.done("create", json!({"name": "box"}));
        for (name, arguments) in [
            ("run", json!({"command": "echo begun; sleep 12345"})),
            ("exec", json!({"sandbox": "box", "command": "echo begun; sleep 12345"})),
        ] {
            let call = json!({"name": name, "arguments": arguments, "_meta": {"progressToken": name}});
            client.ask("tools/call", call);
            client.notified(|it| it["params"]["progressToken"] == name);
        }
        client.done("exec", json!({"sandbox": "box", "command": "sleep 12345", "background": true}));
        if kill {
            // The server too: there is nobody left who could tidy up.
            let pid = client.server.id().to_string();
            assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
            drop(client);
        } else {
            client.leave();
        }
        eventually("programs are ended", || !inside(&world).contains("12345"));
        // What was made to stay stays, and nothing else.
        eventually("it is alone", || stdout(&mut world.agentkernel(["ps", "-aq"])).lines().count() == 1);
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        nothing_is_left(&world);
    }
}

/// As the kernel may do it when memory is short: a client starts a server that has ended anew, not one that only refuses.
#[test]
fn without_its_helper_a_server_ends() {
    for arguments in [&["mcp"][..], &["mcp", "--http", "127.0.0.1:0"]] {
        let world = World::new(Who::Me);
        let mut server = world.agentkernel(arguments);
        let server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", server.id());
        let child = || std::fs::read_to_string(&children).unwrap().trim().to_owned();
        eventually("it has a helper", || !child().is_empty());
        assert!(Command::new("kill").args(["-KILL", &child()]).status().unwrap().success());
        // Its standard input stays open meanwhile.
        let mut server = server;
        eventually("it ends", || server.try_wait().unwrap().is_some());
        let output = server.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("was killed"), "{arguments:?}: {said}");
    }
}

#[test]
fn fifty_calls_at_once() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({"roots": {}}));
    client.say("roots/list", json!({"roots": []}));
    client.done("create", json!({"name": "box"}));
    let call = |at: u32| {
        let command = format!("echo {at}");
        let (name, arguments) = match at % 5 {
            0 => ("run", json!({"command": command})),
            1 => ("list", json!({})),
            2 => ("write_file", json!({"sandbox": "box", "path": format!("/tmp/{at}"), "text": command})),
            _ => ("exec", json!({"sandbox": "box", "command": command})),
        };
        client.ask("tools/call", json!({"name": name, "arguments": arguments}))
    };
    let calls: Vec<(u32, u64)> = (0..50).map(|at| (at, call(at))).collect();
    for (at, id) in calls {
        let answer = client.answer(id);
        let result = &answer["result"];
        assert_ne!(result["isError"], true, "{at}: {answer}");
        if let Some(output) = result["structuredContent"]["stdout"].as_str() {
            assert_eq!(output, format!("{at}\n"));
        }
    }
    assert_eq!(client.asked().len(), 1, "roots are asked for once");
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

/// The protocol's later revision: no greeting, each request says who asks, and a server asks by its answers.
#[test]
fn a_client_of_the_latest_revision() {
    let world = World::new(Who::Me);
    let client = Client::silent(&mut world.agentkernel(["mcp"]));
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}, "roots": {}},
    });
    let ask = |method: &str, mut params: Value| {
        params["_meta"] = meta.clone();
        client.request(method, params)
    };
    let found = ask("server/discover", json!({}));
    assert_eq!(
        found["result"]["serverInfo"]["name"]
            .as_str()
            .or(found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"].as_str()),
        Some("agentkernel"),
        "{found}"
    );
    let call = |name: &str, arguments: Value, answers: Value| {
        let mut params = json!({"name": name, "arguments": arguments});
        if answers.is_object() {
            params["inputResponses"] = answers;
        }
        ask("tools/call", params)["result"].clone()
    };
    let create = json!({"name": "box"});
    let asked = call("create", create.clone(), Value::Null);
    assert_eq!(
        (&asked["resultType"], &asked["inputRequests"]["roots"]["method"]),
        (&json!("input_required"), &json!("roots/list"))
    );
    let roots = json!({"roots": {"roots": [{"uri": format!("file://{}", world.project().display())}]}});
    assert_eq!(call("create", create, roots)["structuredContent"]["name"], "box");
    let allow = json!({"sandbox": "box", "rule": "example.com"});
    let asked = call("net_allow", allow.clone(), Value::Null);
    let key = |asked: &Value| asked["inputRequests"].as_object().unwrap().keys().next().unwrap().clone();
    let question = key(&asked);
    assert!(question.starts_with("agentkernel net allow box example.com ("), "{question}");
    assert_eq!(asked["inputRequests"][&question]["method"], "elicitation/create", "{asked}");
    let no = call("net_allow", allow.clone(), json!({&question: {"action": "decline"}}));
    assert_eq!(no["isError"], true, "{no}");
    let agreed = json!({&question: {"action": "accept", "content": {"allow": true}}});
    // It is an answer to that question, and to no other.
    let other = call("net_allow", json!({"sandbox": "box", "rule": "example.org"}), agreed.clone());
    assert_eq!(other["resultType"], "input_required", "{other}");
    let yes = call("net_allow", allow.clone(), agreed.clone());
    assert_eq!(yes["structuredContent"]["rule"], "example.com", "{yes}");
    // Nor is it one about another sandbox of this name.
    call("rm", json!({"sandbox": "box", "force": true}), Value::Null);
    call("create", json!({"name": "box"}), Value::Null);
    let other = call("net_allow", allow, agreed);
    assert!(other["resultType"] == "input_required" && key(&other) != question, "{other}");
    // Without a greeting, too, a call can be cancelled.
    let long = json!({"sandbox": "box", "command": "sleep 12345"});
    let id = client.ask("tools/call", json!({"name": "exec", "arguments": long, "_meta": meta}));
    eventually("it runs", || inside(&world).contains("sleep 12345"));
    client.notify("notifications/cancelled", json!({"requestId": id}));
    eventually("it is ended", || !inside(&world).contains("sleep 12345"));
    call("rm", json!({"sandbox": "box", "force": true}), Value::Null);
    client.leave();
    nothing_is_left(&world);
}

/// A server that is started below a project's top is bound to that directory, not to what a sandbox lays in its place.
#[test]
fn what_takes_a_roots_place_is_not_worked_in() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(
            world.command("sh").args(["-ec", "git init -q . && mkdir sub ~/victim && echo secret > ~/victim/key"]),
        );
        let mut server = world.agentkernel(["mcp"]);
        server.current_dir(world.project().join("sub"));
        let client = Client::of(&mut server, json!({}));
        let run = |command: &str| client.tool("run", json!({ "command": command }))["structuredContent"].to_string();
        let victim = world.home().join("victim");
        let lay = format!("cd .. && mv sub x && ln -s {} sub; pwd", victim.display());
        let _ = run(&lay);
        assert!(!run("cat key; echo x > new").contains("secret"), "{who:?}");
        // Nor if another one has laid it.
        fs::rename(world.project().join("sub"), world.project().join("x")).unwrap();
        symlink(&victim, world.project().join("sub")).unwrap();
        let refused = client.refused("run", json!({"command": "cat key; echo x > new"}));
        assert!(refused.contains("is another directory now"), "{refused}");
        assert!(!victim.join("new").exists());
        client.leave();
    }
}

/// A client that works below the top is not undone by what was made at the top.
#[test]
fn what_is_obeyed_in_every_root_is_protected() {
    let world = World::new(Who::Me);
    let _ = stdout(world.command("sh").args(["-ec", "git init -q . && mkdir sub"]));
    let top = world.project();
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sleep", "600"]));
    let mut server = world.agentkernel(["mcp"]);
    server.current_dir(top.join("sub"));
    let client = Client::of(&mut server, json!({"roots": {}}));
    let roots = json!({"roots": [{"uri": format!("file://{}/sub", top.display())}, {"uri": format!("file://{}", top.display())}]});
    client.say("roots/list", roots);
    let write = "(mkdir -p sub/.claude; echo made > sub/.claude/settings.json; cat sub/.claude/settings.json) 2> /dev/null; true";
    let ended = client.done("run", json!({"command": write, "root": top}));
    assert_eq!(ended["stdout"], "", "{ended}");
    for (tool, arguments) in [
        ("exec", json!({"sandbox": "box", "command": write})),
        ("write_file", json!({"sandbox": "box", "path": "sub/.claude/settings.json", "text": "{}"})),
        ("start", json!({"sandbox": "box"})),
    ] {
        let refused = client.refused(tool, arguments);
        assert!(refused.contains("could write what is obeyed in sub"), "{tool}: {refused}");
    }
    let made = client.done("create", json!({"root": top}));
    let ended = client.done("exec", json!({"sandbox": made["id"], "command": write}));
    assert_eq!(ended["stdout"], "", "{ended}");
    assert_eq!(fs::read_dir(top.join("sub/.claude")).map(Iterator::count).unwrap_or(0), 0);
    client.leave();
}
