//! Clients that others wrote, from the registries: the SDKs for TypeScript and Python, and the inspector.

use crate::http::Served;
use serde_json::{Value, json};
use std::{collections::BTreeSet, env, ffi::OsStr, fs, path::PathBuf, process::Command};
use support::{Who, World, eventually, fetched, free_port, stdout, told};

const TYPESCRIPT: [&str; 2] = ["@modelcontextprotocol/sdk@1.32.2", "@modelcontextprotocol/inspector@2.12.0"];
const PYTHON: &str = "mcp@2.3.0";

/// Packages of others.
pub fn packages(name: &str, fetch: &mut Command) -> Option<PathBuf> {
    fetched(env!("CARGO_TARGET_TMPDIR"), &format!("clients of MCP ({name})"), fetch)
}

fn typescript() -> Option<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).args(TYPESCRIPT);
    packages("npm", &mut npm)
}

/// Every tool, in an order that makes sense, with what is to be in its result. A human agrees to all.
fn calls(port: u16) -> Vec<(&'static str, Value, Value)> {
    let of = |mut arguments: Value| {
        arguments["sandbox"] = json!("box");
        arguments
    };
    let change = json!({"command": "echo hello; echo after > file", "checkpoint": true});
    let published = json!({"ports": [{"inside": 8000, "outside": format!("127.0.0.1:{port}")}]});
    vec![
        ("run", change, json!({"stdout": "hello\n", "status": 0})),
        ("checkpoints", json!({}), json!({})),
        ("undo", json!({"dry_run": true}), json!({"dry_run": true, "checkpoint": 1, "back": null})),
        ("undo", json!({}), json!({"dry_run": false, "checkpoint": 1, "back": 2})),
        ("create", json!({"name": "box", "workspace": "overlay"}), json!({"name": "box", "status": "running"})),
        ("list", json!({}), json!({})),
        ("write_file", of(json!({"path": "a", "text": "needle\n"})), json!({"written_bytes": 7})),
        ("read_file", of(json!({"path": "a"})), json!({"text": "needle\n", "more": false})),
        ("list_files", of(json!({})), json!({"files": ["a", "file"]})),
        ("search_files", of(json!({"pattern": "need"})), json!({"more": false})),
        ("exec", of(json!({"command": "cat a file"})), json!({"stdout": "needle\nbefore"})),
        ("exec", of(json!({"command": "echo on; sleep 1000", "background": true})), json!({"id": "exec-1"})),
        ("read_output", json!({"id": "", "wait_seconds": 30}), json!({"output": "on\n", "running": true})),
        ("stop_exec", json!({"id": ""}), json!({"running": false})),
        ("net_check", of(json!({"target": "example.com"})), json!({"allowed": false})),
        ("net_allow", of(json!({"rule": "example.com"})), json!({"rule": "example.com"})),
        ("net_check", of(json!({"target": "example.com"})), json!({"allowed": true})),
        ("net_log", of(json!({})), json!({"more": false})),
        ("ports", of(json!({"publish": format!("8000:{port}")})), published),
        ("stop", of(json!({})), json!({"status": "exited"})),
        ("start", of(json!({})), json!({"status": "running"})),
        ("rm", of(json!({"force": true})), json!({})),
        ("list", json!({}), json!({"sandboxes": []})),
        // For its resources.
        ("create", json!({"name": "box"}), json!({"network": "none"})),
    ]
}

/// Whether a client that says what came back, line by line, has called every tool and got what there is.
fn drives_every_tool(world: &World, server: &OsStr, client: &mut Command) {
    let file = world.project().join("file");
    fs::write(&file, "before").unwrap();
    let calls = calls(free_port());
    let given: Vec<Value> = calls.iter().map(|(name, arguments, _)| json!([name, arguments])).collect();
    let output =
        client.args([server, world.project().as_os_str()]).arg(Value::from(given).to_string()).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tools: BTreeSet<&str> = lines[0].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for ((name, _, wanted), line) in calls.iter().zip(&lines[1..]) {
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&line[key], value, "{name}: {line}");
        }
    }
    assert_eq!(tools, calls.iter().map(|(name, ..)| *name).collect(), "what is there, and what was called");
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    let rest = &lines[1 + calls.len()..];
    assert_eq!(rest[0], json!(["box/log", "box/policy"]));
    assert_eq!(rest[1], "mode none\n");
    assert_eq!(rest[2], json!(["do_safely", "explain_denials"]));
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

/// The same over standard input and output, and over HTTP.
fn drives_both(client: impl Fn(&World) -> Command) {
    let world = World::new(Who::Me);
    drives_every_tool(&world, world.binary().as_os_str(), &mut client(&world));
    eventually("nothing is left", || world.leftovers().is_empty());
    let world = World::new(Who::Me);
    let served = Served::new(&world);
    drives_every_tool(&world, served.url.as_ref(), client(&world).env("TOKEN", &served.token));
    drop(served);
    eventually("nothing is left of the server either", || world.leftovers().is_empty());
}

#[test]
fn the_typescript_sdk_drives_every_tool() {
    let Some(folder) = typescript() else { return };
    let script = folder.join("sdk.mjs");
    fs::write(&script, include_str!("sdk.mjs")).unwrap();
    drives_both(|world| {
        let mut node = world.command("node");
        node.arg(&script);
        node
    });
}

#[test]
fn the_python_sdk_drives_every_tool() {
    let mut pip = Command::new("pip3");
    pip.args(["install", "-q", "--target", ".", &PYTHON.replace('@', "==")]);
    let Some(folder) = packages("PyPI", &mut pip) else { return };
    // The one that pip3 is of, which may not be the system's.
    let path = env::var_os("PATH").unwrap();
    drives_both(|world| {
        let mut python = world.command("python3");
        python.env("PYTHONPATH", &folder).env("PATH", &path).args(["-c", include_str!("sdk.py")]);
        python
    });
}

#[test]
fn the_inspector_calls_every_tool() {
    let Some(folder) = typescript() else { return };
    let world = World::new(Who::Me);
    let inspect = |arguments: &[&str]| -> Value {
        let mut inspector = world.command("node");
        // It hands on little of its own environment.
        let state = format!("AGENTKERNEL_STATE_DIR={}", world.state().display());
        inspector.arg(folder.join("node_modules/.bin/mcp-inspector")).args(["--cli", "-e", &state]).arg(world.binary());
        let output = inspector.arg("mcp").args(arguments).output().unwrap();
        // Its status is a failure when the tool refuses.
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
    };
    // It asks no human, and each call is a session of its own, in which nothing was left running.
    let asks = "A human must agree to this";
    let calls: [(&str, &[&str], &str); 20] = [
        ("run", &["command=echo hello", "timeout_seconds=60", "checkpoint=true"], r#""stdout":"hello\n""#),
        ("create", &["name=box", "workspace=overlay"], r#""status":"running""#),
        ("list", &[], r#""name":"box""#),
        ("write_file", &["sandbox=box", "path=a", "text=needle"], r#""written_bytes":6"#),
        ("read_file", &["sandbox=box", "path=a", "limit=3"], r#""text":"nee""#),
        ("list_files", &["sandbox=box"], r#""files":["a"]"#),
        ("search_files", &["sandbox=box", "pattern=need"], r#""text":"needle""#),
        ("exec", &["sandbox=box", "command=cat a"], r#""stdout":"needle""#),
        ("read_output", &["id=exec-1", "wait_seconds=1"], "There is no background command"),
        ("stop_exec", &["id=exec-1"], "There is no background command"),
        ("net_check", &["target=example.com"], r#""allowed":false"#),
        ("net_allow", &["sandbox=box", "rule=example.com"], asks),
        ("net_log", &["sandbox=box"], r#""records":[]"#),
        ("ports", &["sandbox=box"], r#""ports":[]"#),
        ("ports", &["sandbox=box", "publish=8000:18000"], asks),
        ("checkpoints", &[], r#""before":"echo hello""#),
        ("undo", &["dry_run=true"], r#""changes":[]"#),
        ("stop", &["sandbox=box"], r#""status":"exited""#),
        ("start", &["sandbox=box"], r#""status":"running""#),
        ("rm", &["sandbox=box", "force=true"], r#""removed""#),
    ];
    let listed = inspect(&["--method", "tools/list"]);
    let tools: BTreeSet<&str> =
        listed["tools"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(tools, calls.iter().map(|(name, ..)| *name).collect(), "what is there, and what is called");
    for (name, given, wanted) in calls {
        let given = given.iter().flat_map(|given| ["--tool-arg", given]);
        let call: Vec<&str> = ["--method", "tools/call", "--tool-name", name].into_iter().chain(given).collect();
        let done = inspect(&call);
        let text = done["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(wanted), "{name}: {done}");
    }
    eventually("nothing is left", || world.leftovers().is_empty());
}
