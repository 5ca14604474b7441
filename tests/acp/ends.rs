//! How sessions end, and that nothing is left of them.

use crate::scene::{Scene, does, prompt};
use serde_json::json;
use std::{process::Command, time::Duration};
use support::{eventually, may_limit, rpc};

fn nothing_is_left(scene: &Scene) {
    eventually("nothing is left", || scene.world.leftovers().is_empty());
}

/// What is told when the agent ends while it is waited for, and how the command ends. The task hears of both requests.
#[track_caller]
fn ends(scene: &Scene, arguments: &[&str], task: &str, words: &str, status: i32) {
    let mut editor = scene.editor(arguments);
    let (first, second) = (editor.ask("session/prompt", prompt(task)), editor.ask("session/list", json!({})));
    for id in [first, second] {
        let answer = editor.answer(id);
        let error = &answer["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.contains(words)), "{answer}");
        assert_eq!((&error["code"], &error["data"]["exitStatus"]), (&json!(-32603), &json!(status)));
    }
    assert_eq!(editor.server.wait().unwrap().code(), Some(status));
    let _ = editor.close();
    nothing_is_left(scene);
}

#[test]
fn an_agent_that_ends_answers_everything() {
    for scene in Scene::all() {
        ends(&scene, &[], "hear(); line('{\"jsonrpc\": '); os._exit(3)", "The agent exited with status 3", 3);
        ends(&scene, &[], "hear(); os.kill(os.getpid(), 9)", "The agent was killed by signal 9", 137);
        ends(&scene, &["--timeout", "3s"], "hear()\nwhile True: pass", "its time limit was reached", 124);
        if may_limit(scene.world.who()) {
            let task = "hear(); os.write(2, b'x'); much = [bytearray(1 << 20) for _ in range(2000)]";
            ends(&scene, &["--memory", "200M"], task, "its memory limit was reached", 137);
        }
    }
}

#[test]
fn a_sandbox_that_is_taken_away_answers_everything() {
    let Some(scene) = Scene::new() else { return };
    let editor = scene.editor(&["--name", "box"]);
    let turn = editor.ask("session/prompt", prompt("tell('session/update', begun=1); hear()"));
    editor.notified(|it| it["params"]["begun"] == 1);
    let _ = scene.world.agentkernel(["rm", "-f", "box"]).output().unwrap();
    let answer = editor.answer(turn);
    assert!(answer["error"]["message"].is_string(), "{answer}");
    nothing_is_left(&scene);
}

#[test]
fn an_editor_that_goes_leaves_nothing() {
    for scene in Scene::all() {
        for task in [
            "tell('session/update', begun=1); hear()",
            // It hears nothing of that, and of signals neither.
            "import signal, time, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(['sh', '-c', \"trap '' TERM; sleep 12345; sleep 12345\"])
tell('session/update', begun=1)
while True: time.sleep(1000)",
        ] {
            for signal in [None, Some("TERM"), Some("INT"), Some("HUP"), Some("KILL")] {
                let mut editor = scene.editor(&[]);
                editor.ask("session/prompt", prompt(task));
                editor.notified(|it| it["params"]["begun"] == 1);
                if let Some(signal) = signal {
                    let kill = ["-s", signal, &editor.server.id().to_string()];
                    assert!(Command::new("kill").args(kill).status().unwrap().success());
                    assert_eq!(editor.server.wait().unwrap().success(), signal != "KILL");
                } else {
                    assert!(editor.close().success());
                }
                nothing_is_left(&scene);
            }
        }
    }
}

/// What was said before the editor went still reaches the agent, and what it says of that the editor.
#[test]
fn an_editor_that_says_all_at_once_is_answered() {
    let Some(scene) = Scene::new() else { return };
    let mut editor = scene.editor(&[]);
    let turn = editor.ask("session/prompt", prompt("open('done', 'w').write('x')"));
    assert!(editor.close().success());
    assert_eq!(scene.read("done"), "x");
    assert_eq!(editor.answer(turn)["result"]["stopReason"], "end_turn");
    // In the middle of a line.
    let mut editor = rpc::Client::new(&mut scene.command(&[]));
    editor.part(b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"meth");
    std::thread::sleep(Duration::from_millis(500));
    assert!(editor.close().success());
    nothing_is_left(&scene);
}

#[test]
fn two_editors_of_one_project_have_two_sandboxes() {
    let Some(scene) = Scene::new() else { return };
    let editors = [scene.editor(&[]), scene.editor(&[])];
    for editor in &editors {
        assert_eq!(does(editor, "result = os.path.exists('/tmp/own'); open('/tmp/own', 'w')"), false);
    }
    editors.into_iter().for_each(rpc::Client::leave);
    nothing_is_left(&scene);
}
