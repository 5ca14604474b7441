//! What an editor asks of an agent, and an agent of an editor.

use crate::scene::{Scene, does, prompt};
use serde_json::json;
use support::{Who, World, rpc, told};

#[test]
fn a_session_with_its_questions() {
    for scene in Scene::all() {
        let editor = rpc::Client::new(&mut scene.command(&["--model", "m", "--", "-x"]));
        let capabilities = json!({"fs": {"readTextFile": true}, "terminal": true, "plan": {}});
        let hello = json!({"protocolVersion": 2, "clientCapabilities": capabilities, "clientInfo": {"name": "test"}});
        let hello = editor.request("initialize", hello)["result"].clone();
        assert_eq!(hello["arguments"], json!(["--acp", "--ask", "--model=m", "-x"]));
        let heard = &hello["agentCapabilities"]["heard"];
        assert_eq!(heard["clientInfo"]["name"], "test");
        let fs = json!({"readTextFile": true, "writeTextFile": false});
        assert_eq!(heard["clientCapabilities"], json!({"fs": fs, "terminal": true, "plan": {}}));
        // One session in the project, another below it, none outside.
        scene.sh("mkdir sub; ln -s . itself", &[]);
        for (cwd, real) in [("", ""), ("sub", "sub"), ("itself/sub", "sub")] {
            let servers = json!([{"name": "x", "command": "y", "args": [], "env": []}]);
            let session = editor.request("session/new", json!({"cwd": scene.path(cwd), "mcpServers": servers}));
            let heard = &session["result"]["heard"];
            let real = scene.at(real).to_str().unwrap().trim_end_matches('/').to_owned();
            assert_eq!((&heard["cwd"], &heard["mcpServers"]), (&json!(real), &servers), "{session}");
        }
        for cwd in ["..", "../home", "/"] {
            let session = editor.request("session/new", json!({"cwd": scene.path(cwd), "mcpServers": []}));
            let words = session["error"]["message"].as_str().unwrap();
            assert!(words.contains("is not in the sandbox: its project is"), "{session}");
        }
        for cwd in ["relative", ""] {
            let session = editor.request("session/new", json!({"cwd": cwd, "mcpServers": []}));
            assert!(session["error"]["message"].as_str().unwrap().contains("absolute path"), "{session}");
        }
        // What happens is told, in order, and a question is answered.
        editor.say("session/request_permission", json!({"outcome": {"outcome": "selected", "optionId": "yes"}}));
        let result = does(
            &editor,
            r#"
for at in range(100): tell("session/update", sessionId="s", update={"sessionUpdate": "agent_message_chunk", "at": at, "text": "ä\n"})
result = [ask("session/request_permission", sessionId="s", options=[{"optionId": "yes"}])["result"], os.getuid(), os.getcwd()]
"#,
        );
        assert_eq!(result[0]["outcome"]["optionId"], "yes");
        assert_ne!(result[1], 0);
        assert_eq!(result[2], scene.path("").trim_end_matches('/'));
        assert_eq!(editor.asked()[0]["params"]["options"], json!([{"optionId": "yes"}]));
        let updates = editor.notifications();
        let order: Vec<u64> = updates.iter().filter_map(|it| it["params"]["update"]["at"].as_u64()).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert_eq!(updates[0]["params"]["update"]["text"], "ä\n");
        // A turn is taken back, while something is asked.
        let turn = editor.ask(
            "session/prompt",
            prompt("tell('session/update', begun=1); result = [wait(lambda m: m.get('method') == 'session/cancel')['params'], 'cancelled']"),
        );
        editor.notified(|it| it["params"]["begun"] == 1);
        editor.notify("session/cancel", json!({"sessionId": "s"}));
        assert_eq!(editor.answer(turn)["result"]["result"], json!([{"sessionId": "s"}, "cancelled"]));
        // What the agent does itself is done in the sandbox.
        let result = does(&editor, "open('by-it', 'w').write('x'); result = os.path.exists('/proc/1/root/etc/shadow')");
        assert_eq!((result, scene.read("by-it").as_str()), (json!(false), "x"));
        editor.leave();
        support::eventually("nothing is left", || scene.world.leftovers().is_empty());
        let editor = rpc::Client::new(&mut scene.command(&["--unattended"]));
        let hello = editor.request("initialize", json!({"protocolVersion": 1}));
        assert_eq!(hello["result"]["arguments"], json!(["--acp", "--yes"]));
    }
}

#[test]
fn what_can_t_be_begun_is_told_to_editor_and_human() {
    let world = World::new(Who::Me);
    for (arguments, words) in [
        (&["none"][..], "No agent is called 'none'"),
        (&["shell"], "can't speak the Agent Client Protocol"),
        (&["gemini"], "Nothing logs Gemini CLI in"),
        (&["gemini", "--no-login", "--workspace", "none"], "works in the project"),
    ] {
        let mut command = world.agentkernel([&["acp"], arguments].concat());
        let editor = rpc::Client::new(&mut command);
        let answer = editor.request("initialize", json!({"protocolVersion": 1}));
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{arguments:?}: {message}");
        let output = world.agentkernel([&["acp"], arguments].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        assert!(output.stdout.is_empty() && told(&output).contains(words), "{}", told(&output));
    }
}
