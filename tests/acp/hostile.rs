//! What an agent should not do, and an editor need not.

use crate::scene::{Scene, does, prompt};
use serde_json::{Value, json};
use support::rpc;

#[test]
fn the_editor_is_asked_for_nothing_that_it_would_do_on_the_host() {
    for scene in Scene::all() {
        let editor = scene.editor(&[]);
        let result = does(
            &editor,
            r#"
tries = ["terminal/write", "terminal/new", "_zed/anything", "mcp/connect", "session/new", "fs/delete"]
result = [ask(method, sessionId="s", command="touch", args=["/tmp/made"])["error"]["code"] for method in tries]
# Hidden in a batch, behind another method of the same message, or in an answer.
line('[{"jsonrpc":"2.0","id":"b","method":"_zed/run","params":{"command":"id"}}]\n')
line('{"jsonrpc":"2.0","id":"c","method":"_zed/run","method":"session/request_permission","params":{}}\n')
line('{"jsonrpc":"2.0","id":"d","result":{},"method":"_zed/run"}\n')
line('{"jsonrpc":"2.0","id":1,"result":{"forged":true},"x":{"method":"_zed/run"}}\n')
result.append(answer("d")["error"]["code"])
tell("_its/own", a=1)
tell("terminal/create", a=1)
"#,
        );
        assert_eq!(result, json!(vec![-32601; 7]));
        editor.notified(|it| it["method"] == "_its/own");
        let asked: Vec<Value> = editor.asked().into_iter().map(|it| it["method"].clone()).collect();
        assert_eq!(asked, ["session/request_permission"]);
        let heard = editor.notifications();
        assert!(heard.iter().all(|it| it["method"] == "_its/own"), "{heard:?}");
        // An id that is in use asks nothing more, and what was not asked has no answer.
        let result = does(
            &editor,
            r#"
same = {"jsonrpc": "2.0", "id": "same", "method": "session/request_permission", "params": {}}
say(same)
say(same)
say({"jsonrpc": "2.0", "id": 999, "result": {"forged": True}})
result = wait(lambda message: message.get("id", 0) is None)["error"]["code"]
"#,
        );
        assert_eq!(result, -32600);
        assert_eq!(editor.asked().len(), 2);
        editor.leave();
    }
}

#[test]
fn what_is_no_message_and_what_is_too_long_is_survived() {
    let Some(scene) = Scene::new() else { return };
    let editor = scene.editor(&[]);
    let result = does(
        &editor,
        r#"
for text in ["", "{", "null", "[]", "7", "{}", '"text"', "x" * 100, "[" * 100000, '{"id": {}}', '{"jsonrpc": "2.0", "id": 1.5, "method": "m"}',
             '{"jsonrpc": "2.0", "method": "session/update", "params": [1]}', "\x1b[31m log of an agent \x07"]:
    line(text + "\n")
line(b"\xff\xfe\x00\n")
for _ in range(40): line(b"x" * (1 << 20))
line(b"\n")
tell("session/update", text="\ud83d half")
result = "alive"
"#,
    );
    assert_eq!(result, "alive");
    editor.notified(|it| it["params"]["text"] == "\u{fffd} half");
    assert!(support::resident(editor.server.id()) < 300 << 20);
    for line in [&b"{"[..], b"\xff", b"[]", b"7", "[".repeat(100_000).as_bytes(), "x".repeat(40 << 20).as_bytes()] {
        editor.line(line);
        let code = editor.complaint()["error"]["code"].as_i64().unwrap();
        assert!([-32700, -32600].contains(&code), "{code}");
    }
    // A large one that is none too many.
    let text = format!("result = len({:?})", "0123456789".repeat(2 << 20));
    assert_eq!(does(&editor, &text), 20 << 20);
    let large = does(&editor, "result = 'x' * (20 << 20)");
    assert_eq!(large.as_str().unwrap().len(), 20 << 20);
    editor.leave();
    support::eventually("nothing is left", || scene.world.leftovers().is_empty());
}

/// Neither side makes us keep what the other does not take.
#[test]
fn each_side_is_as_slow_as_the_other() {
    let Some(scene) = Scene::new() else { return };
    let editor = scene.editor(&[]);
    let text = "chunk = 'x' * (1 << 20)
for at in range(30): tell('session/update', at=at, text=chunk)
for at in range(20000): send('terminal/write', text='x' * 1000)
tell('session/update', at='end')";
    // The client takes what comes, but the answers to the agent wait for it, and it does not take them.
    let _ = editor.ask("session/prompt", prompt(text));
    editor.notified(|it| it["params"]["at"] == 29);
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(support::resident(editor.server.id()) < 100 << 20, "{}", support::resident(editor.server.id()));
    drop(editor);
    support::eventually("nothing is left", || scene.world.leftovers().is_empty());
    // An editor that takes nothing.
    let mut command = scene.command(&[]);
    let mut stuck = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let message = |id: u32, method: &str, params: Value| {
        format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
    };
    let mut input = stuck.stdin.take().unwrap();
    let task = "for at in range(200): tell('session/update', text='x' * (1 << 20))";
    let all = message(0, "initialize", json!({"protocolVersion": 1})) + &message(1, "session/prompt", prompt(task));
    std::io::Write::write_all(&mut input, all.as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(support::resident(stuck.id()) < 100 << 20, "{}", support::resident(stuck.id()));
    drop(input);
    let _ = stuck.wait().unwrap();
    support::eventually("nothing is left", || scene.world.leftovers().is_empty());
    let _ = rpc::Client::new(&mut scene.command(&[])).close();
}
