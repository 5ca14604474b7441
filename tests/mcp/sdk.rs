//! Clients that others wrote, from the registries: the SDKs for TypeScript and Python, and the inspector.

use crate::http::Served;
use serde_json::{Value, json};
use std::{env, ffi::OsStr, fs, path::PathBuf, process::Command};
use support::{Who, World, eventually, fetched, stdout, told};

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

/// Every tool, in an order that makes sense, with what is to be in its result.
fn calls() -> Vec<(&'static str, Value, Value)> {
    let of = |mut arguments: Value| {
        arguments["sandbox"] = json!("box");
        arguments
    };
    vec![
        ("run", json!({"command": ["echo", "hello"], "checkpoint": true}), json!({"stdout": "hello\n", "status": 0})),
        ("create", json!({"name": "box", "workspace": "overlay"}), json!({"name": "box", "status": "running"})),
        ("list", json!({}), json!({})),
        ("write_file", of(json!({"path": "a", "text": "needle\n"})), json!({"written_bytes": 7})),
        ("read_file", of(json!({"path": "a"})), json!({"text": "needle\n", "more": false})),
        ("list_files", of(json!({})), json!({"files": ["a"]})),
        ("search_files", of(json!({"pattern": "need"})), json!({"more": false})),
        ("exec", of(json!({"command": "cat a"})), json!({"stdout": "needle\n"})),
        ("exec", of(json!({"command": "echo on; sleep 1000", "background": true})), json!({"id": "exec-1"})),
        ("read_output", json!({"id": "", "wait_seconds": 30}), json!({"output": "on\n", "running": true})),
        ("stop_exec", json!({"id": ""}), json!({"running": false})),
        ("net_check", json!({"target": "example.com"}), json!({"allowed": false})),
        ("net_allow", of(json!({"rule": "example.com"})), json!({"rule": "example.com"})),
        ("net_log", of(json!({})), json!({"more": false})),
        ("checkpoints", json!({}), json!({})),
        ("undo", json!({"dry_run": true}), json!({"dry_run": true, "changes": []})),
        ("ports", of(json!({})), json!({"ports": []})),
        ("stop", of(json!({})), json!({"status": "exited"})),
        ("start", of(json!({})), json!({"status": "running"})),
    ]
}

/// Whether a client that says what came back, line by line, has called every tool and got what there is.
fn drives_every_tool(world: &World, server: &OsStr, client: &mut Command) {
    let calls = calls();
    let given: Vec<Value> = calls.iter().map(|(name, arguments, _)| json!([name, arguments])).collect();
    let output =
        client.args([server, world.project().as_os_str()]).arg(Value::from(given).to_string()).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut tools: Vec<&str> = lines[0].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for ((name, _, wanted), line) in calls.iter().zip(&lines[1..]) {
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&line[key], value, "{name}: {line}");
        }
        tools.retain(|tool| tool != name);
    }
    assert_eq!(tools, ["rm"], "tools that were not called");
    let rest = &lines[1 + calls.len()..];
    assert_eq!(rest[0], json!(["box/log", "box/policy"]));
    assert_eq!(rest[1], "mode allow\nallow example.com\n");
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
fn the_inspector_calls_a_tool() {
    let Some(folder) = typescript() else { return };
    let world = World::new(Who::Me);
    let inspect = |arguments: &[&str]| {
        let mut inspector = world.command("node");
        inspector.arg(folder.join("node_modules/.bin/mcp-inspector")).arg("--cli").arg(world.binary());
        stdout(inspector.env("AGENTKERNEL_STATE_DIR", world.state()).arg("mcp").args(arguments))
    };
    let tools: Value = serde_json::from_str(&inspect(&["--method", "tools/list"])).unwrap();
    assert!(tools["tools"].as_array().unwrap().iter().any(|tool| tool["name"] == "run"), "{tools}");
    let call = ["--method", "tools/call", "--tool-name", "run", "--tool-arg", "command=echo hello"];
    let done: Value = serde_json::from_str(&inspect(&call)).unwrap();
    assert_eq!(done["structuredContent"]["stdout"], "hello\n", "{done}");
    eventually("nothing is left", || world.leftovers().is_empty());
}
