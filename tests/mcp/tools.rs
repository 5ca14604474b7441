//! Every tool, by a client that behaves.

use crate::client::Client;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};
use support::{
    Who, World,
    engine::{Engine, Kind},
    eventually, pack, stdout,
};

fn nothing_is_left(world: &World) {
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn a_command_runs_in_a_sandbox_that_is_gone_afterwards() {
    for who in Who::all() {
        let world = World::new(who);
        let client = Client::new(&world, json!({}));
        let done =
            client.done("run", json!({"command": "echo out; echo err >&2; id -u > made; exit 3", "env": {"A": "b"}}));
        assert_eq!((&done["status"], &done["stdout"], &done["stderr"]), (&json!(3), &json!("out\n"), &json!("err\n")));
        assert!(world.project().join("made").is_file());
        let done = client.done("run", json!({"command": ["printf", "%s", "$HOME a"], "workspace": "overlay"}));
        assert_eq!(done["stdout"], "$HOME a");
        let done = client.done(
            "run",
            json!({"command": "echo $A; cat; touch other", "env": {"A": "b"}, "input": "typed",
            "workspace": "overlay"}),
        );
        assert_eq!(done["stdout"], "b\ntyped");
        assert!(!world.project().join("other").exists());
        let done = client.done("run", json!({"command": "sleep 1000", "timeout_seconds": 1}));
        assert_eq!(done["status"], 124, "{done}");
        assert_eq!(client.done("run", json!({"command": "no-such-program"}))["status"], 127);
        // What was not begun has no status.
        client.done("create", json!({"name": "box"}));
        for (program, words) in [
            (json!({"command": ["no-such-program"]}), "no-such-program"),
            (json!({"command": ["/etc/passwd"]}), "/etc/passwd"),
            (json!({"command": [""]}), "empty string"),
            (json!({"command": []}), "empty"),
            (json!({"command": "true", "workdir": "/nonexist"}), "/nonexist"),
            (json!({"command": "true", "workdir": ".."}), ".."),
        ] {
            let told = client.refused("run", program.clone());
            assert!(told.contains(words), "{program}: {told}");
            let mut inside = program;
            inside["sandbox"] = json!("box");
            for background in [false, true] {
                inside["background"] = json!(background);
                let told = client.refused("exec", inside.clone());
                assert!(told.contains(words), "{inside}: {told}");
            }
        }
        client.done("rm", json!({"sandbox": "box", "force": true}));
        let done = client.done("run", json!({"command": "seq 100000", "max_output_bytes": 1000}));
        let text = done["stdout"].as_str().unwrap();
        assert!(text.len() < 1100 && text.starts_with("1\n") && text.ends_with("\n100000\n"), "{text}");
        assert_eq!(done["omitted_bytes"], done["output_bytes"].as_u64().unwrap() - 1000);
        client.leave();
        nothing_is_left(&world);
    }
}

#[test]
fn a_sandbox_that_stays() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    let made = client.done("create", json!({"name": "box", "workspace": "overlay"}));
    assert_eq!((&made["name"], &made["status"], &made["kept"]), (&json!("box"), &json!("running"), &json!(true)));
    assert_eq!(made["project"], world.project().to_str().unwrap());
    client.done("exec", json!({"sandbox": "box", "command": "echo 1 > ~/kept"}));
    assert_eq!(client.done("stop", json!({"sandbox": "box"}))["status"], "exited");
    assert!(client.refused("exec", json!({"sandbox": "box", "command": "true"})).contains("'start'"));
    assert_eq!(client.done("start", json!({"sandbox": "box"}))["status"], "running");
    let done = client.done("exec", json!({"sandbox": "box", "command": "cat ~/kept; echo $A", "env": {"A": "b"}}));
    assert_eq!(done["stdout"], "1\nb\n");
    assert_eq!(client.done("list", json!({}))["sandboxes"].as_array().unwrap().len(), 1);
    // It outlives its client, and another finds it.
    client.leave();
    let client = Client::new(&world, json!({}));
    assert!(client.refused("rm", json!({"sandbox": "box"})).contains("'force'"));
    assert_eq!(client.done("rm", json!({"sandbox": "box", "force": true}))["removed"], made["id"]);
    assert_eq!(client.done("list", json!({})), json!({"sandboxes": []}));
    client.leave();
    nothing_is_left(&world);
}

/// Only what makes a sandbox asks what is in the file.
#[test]
fn a_mistake_in_the_file_keeps_nothing_running() {
    let world = World::new(Who::Me);
    // One that is there: while a sandbox runs, none can be made.
    fs::write(world.project().join("agentkernel.toml"), "").unwrap();
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    let left = client.done("exec", json!({"sandbox": "box", "command": "echo begun; sleep 12345", "background": true}));
    fs::write(world.project().join("agentkernel.toml"), "xx[[").unwrap();
    assert!(client.refused("run", json!({"command": "true"})).contains("agentkernel.toml:1:3"));
    assert_eq!(client.done("list", json!({}))["sandboxes"].as_array().unwrap().len(), 1);
    assert_eq!(client.done("exec", json!({"sandbox": "box", "command": "echo 1"}))["stdout"], "1\n");
    let read = client.done("read_output", json!({"id": left["id"], "wait_seconds": 30}));
    assert_eq!(read["output"], "begun\n");
    assert_eq!(client.done("stop_exec", json!({"id": left["id"]}))["running"], false);
    client.done("net_log", json!({"sandbox": "box"}));
    client.done("checkpoints", json!({}));
    client.done("stop", json!({"sandbox": "box"}));
    client.done("rm", json!({"sandbox": "box"}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn files() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box", "workspace": "overlay"}));
    let of = |mut arguments: Value| {
        arguments["sandbox"] = json!("box");
        arguments
    };
    let text = "first\nsecond: ä€\n-third\n";
    client.done("write_file", of(json!({"path": "a b/-c", "text": text})));
    assert!(!world.project().join("a b").exists());
    assert_eq!(client.done("read_file", of(json!({"path": "a b/-c"})))["text"], text);
    let part = client.done("read_file", of(json!({"path": "a b/-c", "offset": 6, "limit": 6})));
    assert_eq!((&part["text"], &part["more"], &part["size"]), (&json!("second"), &json!(true), &json!(text.len())));
    client.done("write_file", of(json!({"path": "/tmp/binary", "base64": "AP/+"})));
    let binary = client.done("read_file", of(json!({"path": "/tmp/binary"})));
    assert_eq!((&binary["base64"], &binary["text"]), (&json!("AP/+"), &Value::Null));
    assert!(client.refused("read_file", of(json!({"path": "none"}))).contains("There is no"));
    assert!(client.refused("read_file", of(json!({"path": "a b"}))).contains("is a directory"));
    client.done("exec", json!({"sandbox": "box", "command": "mkfifo /tmp/fifo && ln -s /tmp/fifo /tmp/to-it"}));
    for path in ["/tmp/fifo", "/tmp/to-it", "/dev/zero"] {
        assert!(client.refused("read_file", of(json!({"path": path}))).contains("is no regular file"));
        assert!(client.refused("write_file", of(json!({"path": path, "text": "x"}))).contains("is no regular file"));
    }
    let long = "x".repeat(3 << 20);
    client.done("write_file", of(json!({"path": "long", "text": long})));
    let read = client.done("read_file", of(json!({"path": "long", "limit": 4_000_000})));
    assert_eq!((&read["read_bytes"], &read["size"], &read["more"]), (&json!(1 << 20), &json!(3 << 20), &json!(true)));
    assert_eq!(client.done("list_files", of(json!({}))), json!({"files": ["a b/", "long"], "more": false}));
    let deep = client.done("list_files", of(json!({"depth": 2, "limit": 2})));
    assert_eq!(deep, json!({"files": ["a b/", "a b/-c"], "more": true}));
    let found =
        client.done("search_files", of(json!({"pattern": "^-?(third|FIRST)", "extended": true, "ignore_case": true})));
    let lines: Vec<_> = found["matches"].as_array().unwrap().iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 3], "{found}");
    let found = client.done("search_files", of(json!({"pattern": "-third", "literal": true, "limit": 1})));
    assert_eq!(found["matches"][0]["text"], "-third");
    for path in ["", ".", "./", "a b/.", "./a b"] {
        let found = client.done("search_files", of(json!({"pattern": "-third", "path": path})));
        let file = world.project().canonicalize().unwrap().join("a b/-c");
        assert_eq!(found["matches"][0]["path"], json!(file), "{path}");
    }
    strange_names(&client);
    what_may_not_be_read(&client);
    client.done("rm", of(json!({"force": true})));
    client.leave();
    nothing_is_left(&world);
}

/// A directory that can't be read is not an empty one.
fn what_may_not_be_read(client: &Client) {
    let make =
        "mkdir -p /tmp/dir/shut; echo hidden | tee /tmp/dir/shut/file > /tmp/dir/secret; echo hidden > /tmp/dir/open
        chmod 111 /tmp/dir/shut; chmod 0 /tmp/dir/secret";
    client.done("exec", json!({"sandbox": "box", "command": make}));
    let words = client.refused("list_files", json!({"sandbox": "box", "path": "/tmp/dir/shut"}));
    assert!(words.contains("/tmp/dir/shut can't be read"), "{words}");
    let words =
        client.refused("search_files", json!({"sandbox": "box", "path": "/tmp/dir/secret", "pattern": "hidden"}));
    assert!(words.contains("/tmp/dir/secret can't be read"), "{words}");
    let unread = |told: &Value| told["unread"].as_array().unwrap().iter().map(ToString::to_string).collect::<String>();
    let listed = client.done("list_files", json!({"sandbox": "box", "path": "/tmp/dir", "depth": 3}));
    assert_eq!((&listed["files"], &listed["more"]), (&json!(["open", "secret", "shut/"]), &json!(false)));
    assert!(unread(&listed).contains("shut") && unread(&listed).contains("Permission denied"), "{listed}");
    let found = client.done("search_files", json!({"sandbox": "box", "path": "/tmp/dir", "pattern": "hidden"}));
    let paths: Vec<_> = found["matches"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/tmp/dir/open"], "{found}");
    assert!(unread(&found).contains("shut") && unread(&found).contains("secret"), "{found}");
    // Of what is cut, that is all that is told.
    let many = "mkdir /tmp/many; cd /tmp/many; yes hidden | head -c 4000000 > long";
    client.done("exec", json!({"sandbox": "box", "command": many}));
    let found = client.done("search_files", json!({"sandbox": "box", "path": "/tmp/many", "pattern": "hidden"}));
    assert_eq!((&found["more"], &found["unread"]), (&json!(true), &Value::Null));
}

/// Files whose names look like what grep says, and patterns that are none.
fn strange_names(client: &Client) {
    let search = |pattern: &str, extended| json!({"sandbox": "box", "path": "/tmp/strange", "pattern": pattern, "extended": extended});
    for name in ["a:7:b", "two\nlines"] {
        let file = json!({"sandbox": "box", "path": format!("/tmp/strange/{name}"), "text": "no\n9:needle:\n"});
        client.done("write_file", file);
    }
    let found = client.done("search_files", search("needle", false));
    let mut matches = found["matches"].as_array().unwrap().clone();
    matches.sort_by_key(|it| it["path"].as_str().unwrap().to_owned());
    let wanted = |name: &str| json!({"path": format!("/tmp/strange/{name}"), "line": 2, "text": "9:needle:"});
    assert_eq!(matches, [wanted("a:7:b"), wanted("two\nlines")]);
    let words = client.refused("search_files", search("(", true));
    assert!(words.contains("grep: "), "{words}");
    assert_eq!(client.done("search_files", search("(", false))["matches"], json!([]));
}

#[test]
fn what_is_left_running_is_read_and_ended() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    let command = "echo one; read -r line < go; echo two; sleep 1000";
    client.done("exec", json!({"sandbox": "box", "command": "mkfifo go"}));
    let id = client.done("exec", json!({"sandbox": "box", "command": command, "background": true}))["id"].clone();
    let first = client.done("read_output", json!({"id": id, "wait_seconds": 30}));
    assert_eq!((&first["output"], &first["running"]), (&json!("one\n"), &json!(true)));
    client.done("exec", json!({"sandbox": "box", "command": "echo > go"}));
    let more = client.done("read_output", json!({"id": id, "offset": first["next"], "wait_seconds": 30}));
    assert_eq!(more["output"], "two\n");
    let ended = client.done("stop_exec", json!({"id": id}));
    assert_eq!((&ended["running"], &ended["ended"]["status"]), (&json!(false), &json!(143)), "{ended}");
    assert!(client.refused("read_output", json!({"id": "exec-9"})).contains("no background command"));
    // One that has ended by itself says how.
    let id = client.done("exec", json!({"sandbox": "box", "command": "exit 5", "background": true}))["id"].clone();
    let ended = client.done("read_output", json!({"id": id, "wait_seconds": 30}));
    assert_eq!(ended["ended"]["status"], 5, "{ended}");
    // One that has not ends with its client.
    client.done("exec", json!({"sandbox": "box", "command": "exec sleep 12345", "background": true}));
    client.leave();
    let left =
        || stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]));
    eventually("it is ended", || !left().contains("sleep 12345"));
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    nothing_is_left(&world);
}

#[test]
fn output_is_told_as_it_comes() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    client.done("exec", json!({"sandbox": "box", "command": "mkfifo go"}));
    let arguments = json!({"sandbox": "box", "command": "echo begun; read -r line < go; echo ended"});
    let id = client.ask("tools/call", json!({"name": "exec", "arguments": arguments, "_meta": {"progressToken": "p"}}));
    let told = client.notified(|it| it["method"] == "notifications/progress");
    assert_eq!((&told["params"]["message"], &told["params"]["progressToken"]), (&json!("begun\n"), &json!("p")));
    client.done("exec", json!({"sandbox": "box", "command": "echo > go"}));
    assert_eq!(client.answer(id)["result"]["structuredContent"]["stdout"], "begun\nended\n");
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn a_client_is_bound_to_its_roots() {
    let world = World::new(Who::Me);
    let other = world.home().join("other project");
    fs::create_dir(&other).unwrap();
    let _ = stdout(&mut world.agentkernel(["create", "--name", "mine"]));
    let _ = stdout(world.agentkernel(["create", "--name", "other"]).current_dir(&other));
    let _ = stdout(&mut world.agentkernel(["create", "--name", "nobodys", "--workspace", "none"]));
    let names = |client: &Client| {
        let listed = client.done("list", json!({}));
        let names = listed["sandboxes"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned());
        // Those that are made within one tick of the kernel's clock have no order.
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    let client = Client::new(&world, json!({}));
    assert_eq!(names(&client), ["mine"]);
    for (tool, arguments) in [
        ("exec", json!({"command": "true"})),
        ("start", json!({})),
        ("stop", json!({})),
        ("rm", json!({"force": true})),
        ("read_file", json!({"path": "/etc/passwd"})),
        ("write_file", json!({"path": "x", "text": ""})),
        ("list_files", json!({})),
        ("search_files", json!({"pattern": "x"})),
        ("ports", json!({})),
        ("net_log", json!({})),
        ("net_check", json!({"target": "example.com"})),
        ("net_allow", json!({"rule": "example.com"})),
    ] {
        for sandbox in ["other", "nobodys", "none"] {
            let mut arguments = arguments.clone();
            arguments["sandbox"] = json!(sandbox);
            let words = client.refused(tool, arguments);
            assert!(words.starts_with(&format!("There is no sandbox '{sandbox}' in this project")), "{tool}: {words}");
        }
    }
    let uri = json!({"uri": "agentkernel://sandbox/other/policy"});
    assert!(client.request("resources/read", uri.clone())["error"]["message"].as_str().unwrap().contains("no sandbox"));
    assert!(client.refused("run", json!({"command": "true", "root": other})).contains("is not a root"));
    client.leave();
    // What the client says its roots are, and says anew.
    let client = Client::new(&world, json!({"roots": {"listChanged": true}}));
    let root = format!("file://{}", other.display()).replace(' ', "%20");
    client.say("roots/list", json!({"roots": [{"uri": root}]}));
    assert_eq!(names(&client), ["other"]);
    let done = client.done("run", json!({"command": "pwd"}));
    assert_eq!(done["stdout"], format!("{}\n", other.display()));
    let policy = client.request("resources/read", uri);
    assert_eq!(policy["result"]["contents"][0]["text"], "mode none\n");
    // What was left running for another project is not read any more, and for this one still is.
    let left = json!({"sandbox": "other", "command": "echo secret; sleep 1000", "background": true});
    client.done("start", json!({"sandbox": "other"}));
    let id = json!({"id": client.done("exec", left)["id"], "wait_seconds": 30});
    assert_eq!(client.done("read_output", id.clone())["output"], "secret\n");
    client.notify("notifications/roots/list_changed", json!({}));
    client.say("roots/list", json!({"roots": [{"uri": format!("file://{}", world.project().display())}]}));
    assert_eq!(names(&client), ["mine"]);
    assert!(client.refused("read_output", id.clone()).contains("no background command"));
    assert!(client.refused("stop_exec", json!({"id": id["id"]})).contains("no background command"));
    client.notify("notifications/roots/list_changed", json!({}));
    client
        .say("roots/list", json!({"roots": [{"uri": root}, {"uri": format!("file://{}", world.project().display())}]}));
    assert_eq!(names(&client), ["mine", "other"]);
    assert_eq!(client.done("read_output", id)["output"], "secret\n");
    client.leave();
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "mine", "other", "nobodys"]));
    nothing_is_left(&world);
}

#[test]
fn nothing_is_opened_without_a_human() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    client.done("create", json!({"name": "box"}));
    let allow = json!({"sandbox": "box", "rule": "example.com"});
    let words = client.refused("net_allow", allow.clone());
    assert!(words.contains("A human can type: agentkernel net allow box example.com"), "{words}");
    let words = client.refused("ports", json!({"sandbox": "box", "publish": "8000:18000"}));
    assert!(words.contains("A human can type: agentkernel port box 8000:18000"), "{words}");
    let words = client.refused("ports", json!({"sandbox": "box", "publish": 8000}));
    assert!(words.contains("A human can type: agentkernel port box 8000"), "{words}");
    let words = client.refused("ports", json!({"sandbox": "box", "publish": [8000]}));
    assert!(words.contains("'publish' is a text, PORT or PORT:HOSTPORT"), "{words}");
    let words = client.refused("run", json!({"command": 5}));
    assert!(words.contains("called so: 'command' is a text, or a list of texts"), "{words}");
    let check = json!({"target": "example.com", "sandbox": "box"});
    let checked = client.done("net_check", check.clone());
    assert_eq!((&checked["allowed"], &checked["reason"]), (&json!(false), &json!("network-none")), "{checked}");
    assert_eq!(client.done("net_check", json!({"target": "example.com"}))["allowed"], false);
    client.leave();
    let client = Client::new(&world, json!({"elicitation": {}}));
    for no in [
        json!({"action": "decline"}),
        json!({"action": "accept", "content": {"allow": false}}),
        json!({"action": "accept"}),
    ] {
        client.say("elicitation/create", no);
        assert!(client.refused("net_allow", allow.clone()).contains("did not agree"));
        assert_eq!(client.done("net_check", check.clone())["allowed"], false);
    }
    client.say("elicitation/create", json!({"action": "accept", "content": {"allow": true}}));
    assert_eq!(client.done("net_allow", allow)["rule"], "example.com");
    assert!(client.asked().last().unwrap()["params"]["message"].as_str().unwrap().contains("reach example.com"));
    assert_eq!(client.done("net_check", check)["allowed"], true);
    assert_eq!(client.done("net_log", json!({"sandbox": "box"})), json!({"records": [], "more": false}));
    assert_eq!(client.done("ports", json!({"sandbox": "box"})), json!({"ports": []}));
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn a_human_is_told_how_much_a_rule_lets_in() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({"elicitation": {}}));
    client.done("create", json!({"name": "box"}));
    let check = |target: &str| client.done("net_check", json!({"sandbox": "box", "target": target}));
    let asked = |rule: &str| {
        client.say("elicitation/create", json!({"action": "accept", "content": {"allow": true}}));
        client.done("net_allow", json!({"sandbox": "box", "rule": rule}));
        client.asked().last().unwrap()["params"]["message"].as_str().unwrap().to_owned()
    };
    // What is the sandbox itself, or nobody, nobody is asked about.
    for rule in ["localhost", "127.0.0.1", "127.0.0.0/8", "[::1]:80", "host.agentkernel.internal", "224.0.0.1"] {
        let words = client.refused("net_allow", json!({"sandbox": "box", "rule": rule}));
        assert!(words.contains(&format!("'{rule}' would allow nothing: ")), "{words}");
    }
    assert!(client.asked().is_empty());
    for (rule, wide) in [
        ("example.com", ""),
        ("93.184.215.14:443", ""),
        ("example.com:*", " It is allowed on every port."),
        ("*.example.com", " That is every name below example.com."),
        ("*", " That is every host with a public address."),
        ("0.0.0.0/0", " That is every public address in 0.0.0.0/0."),
        ("93.184.0.0/16", " That is every public address in 93.184.0.0/16."),
        ("10.0.0.0/8", " That is every address in 10.0.0.0/8, of the local network."),
        ("192.168.1.1", " That is 192.168.1.1, of the local network."),
        (
            "169.254.169.254",
            " That is 169.254.169.254, where a cloud tells this machine its secrets: its metadata service.",
        ),
        // A name that is allowed can have it.
        ("127.0.0.1", " That is 127.0.0.1, of this machine itself, for names that are allowed and lead there."),
    ] {
        assert_eq!(asked(rule), format!("Let sandbox box reach {rule} from now on?{wide}"));
    }
    // By itself it is the sandbox, whatever is allowed.
    for target in ["127.0.0.1", "127.0.0.1:80", "localhost:80", "[::1]:80"] {
        let checked = check(target);
        assert_eq!(checked["allowed"], false, "{checked}");
        assert!(checked["cause"].as_str().unwrap().contains("this is the sandbox itself"), "{checked}");
        assert!(checked["help"].as_str().unwrap().contains("host.agentkernel.internal"), "{checked}");
    }
    assert_eq!(check("93.184.215.14")["allowed"], true);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    client.say("elicitation/create", json!({"action": "accept", "content": {"allow": true}}));
    client.done("net_allow", json!({"sandbox": "box", "rule": format!("127.0.0.1:{port}")}));
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let tried = client.done("exec", json!({"sandbox": "box", "command": ["bash", "-c", connect]}));
    assert!(tried["status"] == 1 && tried["stderr"].as_str().unwrap().contains("refused"), "{tried}");
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn a_human_agrees_for_one_sandbox_and_not_for_the_next_of_its_name() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({"elicitation": {}}));
    for (tool, more) in [("net_allow", json!({"rule": "example.com"})), ("ports", json!({"publish": "8000:18000"}))] {
        client.done("create", json!({"name": "box"}));
        let mut arguments = json!({"sandbox": "box"});
        arguments.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        let questions = client.asked().len();
        let call = client.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        for _ in 0..100 {
            client.done("list", json!({}));
            if client.asked().len() > questions {
                break;
            }
        }
        client.done("rm", json!({"sandbox": "box", "force": true}));
        client.done("create", json!({"name": "box"}));
        let question = client.asked().pop().unwrap()["id"].clone();
        let yes = json!({"jsonrpc": "2.0", "id": question, "result": {"action": "accept", "content": {"allow": true}}});
        client.line(yes.to_string().as_bytes());
        let answer = client.answer(call);
        assert!(answer["result"].to_string().contains("something else now"), "{tool}: {answer}");
        assert_eq!(client.done("ports", json!({"sandbox": "box"})), json!({"ports": []}));
        assert_eq!(client.done("net_check", json!({"sandbox": "box", "target": "example.com"}))["allowed"], false);
        client.done("rm", json!({"sandbox": "box", "force": true}));
    }
    client.leave();
    nothing_is_left(&world);
}

/// Files and all, in a container of an image that has busybox, and an entrypoint that nothing can run.
#[test]
fn containers() {
    let Some(engine) = Engine::new(Kind::Docker) else { return };
    let world = World::new(Who::Me);
    let script = "mkdir bin tmp; chmod 1777 tmp; for name in $(/bin/busybox --list); do ln -s busybox bin/$name; done; \
                  rm bin/busybox; cp /bin/busybox bin";
    engine.load(&pack(&world, "box", r#"["PATH=/bin"]"#, script));
    fs::write(world.project().join("agentkernel.toml"), "[sandbox]\nbackend = \"docker\"\nimage = \"box:1\"\n")
        .unwrap();
    let _ = stdout(&mut world.agentkernel(["trust"]));
    let client = Client::of(world.agentkernel(["mcp"]).env("DOCKER_HOST", engine.host()), json!({}));
    let done =
        client.done("run", json!({"command": "readlink -f /bin/ls; cat", "input": "typed", "workspace": "overlay"}));
    assert_eq!(done["stdout"], "/bin/busybox\ntyped", "{done}");
    client.done("create", json!({"name": "box", "workspace": "overlay"}));
    client.done("write_file", json!({"sandbox": "box", "path": "/tmp/c/d/a", "text": "one\ntwo\n"}));
    let read = client.done("read_file", json!({"sandbox": "box", "path": "/tmp/c/d/a", "offset": 4}));
    assert_eq!((&read["text"], &read["size"]), (&json!("two\n"), &json!(8)));
    let listed = client.done("list_files", json!({"sandbox": "box", "path": "/tmp/c", "depth": 2}));
    assert_eq!(listed["files"], json!(["d/", "d/a"]));
    let found = client.done("search_files", json!({"sandbox": "box", "path": "/tmp/c", "pattern": "^t"}));
    assert_eq!(found["matches"], json!([{"path": "/tmp/c/d/a", "line": 2, "text": "two"}]));
    strange_names(&client);
    what_may_not_be_read(&client);
    let id = client.ask(
        "tools/call",
        json!({"name": "exec", "arguments": {"sandbox": "box", "command": "echo on; sleep 12345"}, "_meta": {"progressToken": 1}}),
    );
    client.notified(|it| it["params"]["progressToken"] == 1);
    client.notify("notifications/cancelled", json!({"requestId": id}));
    let running = || client.done("exec", json!({"sandbox": "box", "command": "cat /proc/[0-9]*/cmdline"})).to_string();
    eventually("it is ended", || !running().contains("12345\\"));
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    eventually("no container is left", || engine.containers().is_empty());
    nothing_is_left(&world);
}

#[test]
fn what_was_done_to_the_project_is_undone() {
    let world = World::new(Who::Me);
    let file = world.project().join("file");
    fs::write(&file, "before").unwrap();
    let client = Client::new(&world, json!({}));
    for arguments in [json!({}), json!({"dry_run": true})] {
        let words = client.refused("undo", arguments);
        assert!(
            words.contains("no checkpoint to go back to") && words.contains("if 'checkpoint' is asked for"),
            "{words}"
        );
        assert!(!words.contains("--no-checkpoint"), "{words}");
    }
    client.done("run", json!({"command": "echo after > file; touch new", "checkpoint": true}));
    let kept = client.done("checkpoints", json!({}));
    assert_eq!(kept["checkpoints"].as_array().unwrap().len(), 1, "{kept}");
    assert_eq!(kept["checkpoints"][0]["before"], "echo after > file; touch new");
    let told = client.done("undo", json!({"dry_run": true}));
    let whats: Vec<_> = told["changes"].as_array().unwrap().iter().map(|it| it["what"].clone()).collect();
    assert!(whats.contains(&json!("restored")) && whats.contains(&json!("removed")), "{told}");
    assert!(client.refused("undo", json!({})).contains("A human can type: agentkernel undo 1"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "after\n");
    client.leave();
    let client = Client::new(&world, json!({"elicitation": {"form": {}}}));
    client.say("elicitation/create", json!({"action": "cancel"}));
    assert!(client.refused("undo", json!({})).contains("did not agree"));
    // What keeps it from being done, a model can see to, and nobody is asked before.
    client.done("create", json!({"name": "box"}));
    // What keeps places there is no file, and what only is as old is one.
    let old = "mkdir d; echo {} > e; ln -s e l; touch -hd @0 d e l";
    client.done("exec", json!({"sandbox": "box", "command": old}));
    assert_eq!(client.done("list_files", json!({"sandbox": "box"}))["files"], json!(["d/", "e", "file", "l", "new"]));
    client.done("exec", json!({"sandbox": "box", "command": "rm -r d e l"}));
    let questions = client.asked().len();
    let words = client.refused("undo", json!({}));
    assert!(words.contains("Stop it first: 'stop' with 'sandbox'"), "{words}");
    assert_eq!(client.asked().len(), questions);
    client.done("undo", json!({"dry_run": true}));
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.say("elicitation/create", json!({"action": "accept", "content": {"allow": true}}));
    let done = client.done("undo", json!({}));
    assert_eq!((&done["checkpoint"], &done["back"]), (&json!(1), &json!(2)), "{done}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    assert!(!world.project().join("new").exists());
    // What a human was asked is not what it would be by then.
    client.done("run", json!({"command": "echo again > file", "checkpoint": true}));
    let questions = client.asked().len();
    let undo = client.ask("tools/call", json!({"name": "undo", "arguments": {}}));
    for _ in 0..100 {
        client.done("list", json!({}));
        if client.asked().len() > questions {
            break;
        }
    }
    client.done("run", json!({"command": "echo later > file", "checkpoint": true}));
    let question = client.asked().pop().unwrap()["id"].clone();
    let yes = json!({"jsonrpc": "2.0", "id": question, "result": {"action": "accept", "content": {"allow": true}}});
    client.line(yes.to_string().as_bytes());
    assert!(client.answer(undo)["result"]["content"][0]["text"].as_str().unwrap().contains("something else now"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "later\n");
    assert!(
        client
            .refused("run", json!({"command": "true", "checkpoint": true, "workspace": "overlay"}))
            .contains("no use")
    );
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn what_a_model_may_not_choose() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    for (arguments, words) in [
        (json!({"command": "true", "network": "open"}), "does not take 'network'"),
        (json!({"command": "true", "image": "dir:/"}), "can't be chosen"),
        (json!({"command": "true", "workspace": "none"}), "unknown variant"),
        (json!({"command": "true", "env": {"A=B": "c"}}), "not the name of a variable"),
        (json!({"command": []}), "empty"),
        (json!({}), "missing field"),
    ] {
        let told = client.refused("run", arguments.clone());
        assert!(told.contains(words), "{arguments}: {told}");
    }
    // A project that asks for more than its user has agreed to is not started.
    fs::write(world.project().join("agentkernel.toml"), "[network]\nmode = \"open\"\n").unwrap();
    let told = client.refused("run", json!({"command": "true"}));
    assert!(told.contains("agentkernel trust"), "{told}");
    assert_eq!(client.request("tools/call", json!({"name": "none"}))["error"]["code"], -32602);
    client.leave();
    nothing_is_left(&world);
}

#[test]
fn resources_and_prompts() {
    let world = World::new(Who::Me);
    let client = Client::new(&world, json!({}));
    let id = client.done("create", json!({"name": "box"}))["id"].as_str().unwrap().to_owned();
    client.done("exec", json!({"sandbox": "box", "command": "printf hi > '/tmp/a b'"}));
    let listed = client.request("resources/list", json!({}));
    let uris: Vec<_> = listed["result"]["resources"].as_array().unwrap().iter().map(|it| it["uri"].clone()).collect();
    assert_eq!(
        uris,
        [json!(format!("agentkernel://sandbox/{id}/log")), json!(format!("agentkernel://sandbox/{id}/policy"))]
    );
    let read = |uri: String| client.request("resources/read", json!({"uri": uri}));
    for uri in &uris {
        assert!(read(uri.as_str().unwrap().to_owned())["result"]["contents"][0]["text"].is_string());
    }
    let file = read("agentkernel://sandbox/box/files/tmp/a%20b".into());
    assert_eq!(file["result"]["contents"][0]["text"], "hi");
    assert!(read("agentkernel://sandbox/box/else".into())["error"].is_object());
    assert_eq!(
        client.request("resources/templates/list", json!({}))["result"]["resourceTemplates"].as_array().unwrap().len(),
        3
    );
    let prompts = client.request("prompts/list", json!({}));
    for prompt in prompts["result"]["prompts"].as_array().unwrap() {
        let argument = prompt["arguments"][0]["name"].as_str().unwrap();
        let wanted = json!({"name": prompt["name"], "arguments": {argument: "WORD"}});
        let got = client.request("prompts/get", wanted);
        assert!(got["result"]["messages"][0]["content"]["text"].as_str().unwrap().contains("WORD"), "{got}");
    }
    client.done("rm", json!({"sandbox": "box", "force": true}));
    client.leave();
    nothing_is_left(&world);
}
