//! Real agents and an editor that is played by the official client of the Agent Client Protocol.

use super::{
    real::{CLAUDE, CODEX, COPILOT, GEMINI, OPENCODE, QWEN},
    scene::{Agent, KEY, Scene, install},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use support::{acp_client, eventually, internet::Internet, stdout, told};

fn client() -> Option<PathBuf> {
    let folder = acp_client(env!("CARGO_TARGET_TMPDIR"))?;
    fs::write(folder.join("editor.mjs"), include_str!("editor.mjs")).unwrap();
    Some(folder)
}

/// An editor that prompts an agent, and what it saw of each prompt.
fn edits(scene: &Scene<'_>, folder: &std::path::Path, arguments: &[&str], plan: &Value) -> Vec<Value> {
    let mut node = scene.command("node".as_ref());
    node.arg(folder.join("editor.mjs"));
    let command = format!("exec {} {}", scene.acp(), arguments.join(" "));
    let output = node.args([&command, scene.world.project().to_str().unwrap(), &plan.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}: {}", scene.maker(), told(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn gemini_cli_in_an_editor() {
    works(&GEMINI, Ways { asks: true });
}

#[test]
fn opencode_in_an_editor() {
    works(&OPENCODE, Ways { asks: true });
}

#[test]
fn claude_code_in_an_editor() {
    works(&CLAUDE, Ways { asks: true });
}

#[test]
fn codex_in_an_editor() {
    works(&CODEX, Ways { asks: false });
}

#[test]
fn qwen_code_in_an_editor() {
    works(&QWEN, Ways { asks: true });
}

#[test]
fn copilot_cli_in_an_editor() {
    works(&COPILOT, Ways { asks: true });
}

/// What an agent does with an editor.
struct Ways {
    asks: bool,
}

/// It edits a file, asks before it does, is refused, is broken off, and goes on later.
fn works(agent: &Agent, Ways { asks }: Ways) {
    let Some(folder) = client() else { return };
    let Some(world) = install(&[agent]) else { return };
    if ["claude", "codex"].contains(&agent.name) {
        let _ = stdout(&mut world.agentkernel(["agents", "install", "-q", &format!("{}-acp", agent.name)]));
    }
    let Some(internet) = Internet::new() else { return };
    if !internet.models(KEY) {
        return;
    }
    let scene = Scene::of(world, agent, &internet);
    scene.write("notes.txt", "an old word\n");
    // What others are told as an argument.
    scene.write("../home/.config/opencode/opencode.json", r#"{"model": "anthropic/claude-sonnet-4-5"}"#);
    let at = |name: &str| scene.file(name).to_str().unwrap().to_owned();
    let task = format!(
        "mock:write {} written by it\nmock:run sed -i s/old/new/ notes.txt; id -u > id.txt; env > env.txt\nmock:say all is done",
        at("written.txt")
    );
    let plan = json!({"prompts": [
        {"text": task, "permission": "allow_once"},
        {"text": "mock:run echo begun > begun.txt; sleep 12345; echo x > last.txt", "permission": "allow_once", "cancel": 8000},
    ]});
    let seen = edits(&scene, &folder, &[], &plan);
    let maker = scene.maker();
    assert_eq!(seen[1]["stopReason"], "end_turn", "{maker}: {seen:#?}");
    assert!(seen[1]["text"].as_str().unwrap().contains("all is done"), "{maker}: {seen:#?}");
    assert_eq!(scene.read("written.txt").trim(), "written by it", "{maker}");
    assert_eq!(scene.read("notes.txt"), "an new word\n", "{maker}: {seen:#?}");
    assert_ne!(scene.read("id.txt").trim(), "0", "{maker}");
    assert!(!scene.read("env.txt").contains(KEY), "{maker}");
    if asks {
        assert!(seen[1]["permissions"].as_array().unwrap().len() >= 2, "{maker}: {seen:#?}");
        // What they do next, refused, is not the same with all.
        let refused = format!("mock:write {} x\nmock:say so be it", at("refused.txt"));
        let plan = json!({"prompts": [{"text": refused, "permission": "reject_once"}]});
        let seen = edits(&scene, &folder, &[], &plan);
        assert!(!seen[1]["permissions"].as_array().unwrap().is_empty(), "{maker}: {seen:#?}");
        assert_eq!(scene.read_if_there("refused.txt"), None, "{maker}");
    }
    // What it writes goes through the sandbox, and never to the editor.
    assert!(seen[1..3].iter().all(|turn| turn["writes"] == json!([])), "{maker}: {seen:#?}");
    assert_eq!(seen[2]["stopReason"], "cancelled", "{maker}: {seen:#?}");
    assert_eq!((scene.read("begun.txt").as_str(), scene.read_if_there("last.txt")), ("begun\n", None), "{maker}");
    assert_eq!(seen[3], json!({"status": 0, "signal": null}), "{maker}");
    eventually("nothing is left", || scene.world.leftovers().is_empty());
    // The session is there in the next sandbox, and nobody is asked who said so.
    assert_eq!(seen[0]["canLoad"], true, "{maker}: {seen:#?}");
    // Gemini CLI empties the file of a session that it loads in the minute in which it began, which the file is named after.
    let earlier = "cd ~/state/agents/*/gemini/home/.gemini/tmp/*/chats && for file in session-*; do mv $file session-2026-01-01T00-00-${file##*-}; done";
    if agent.name == "gemini" {
        scene.sh(earlier);
    }
    let session = &seen[0]["sessionId"];
    let plan = json!({"load": session, "prompts": [{"text": "mock:say done again", "permission": "reject_once"}]});
    let seen = edits(&scene, &folder, if agent.name == "claude" { &[] } else { &["--unattended"] }, &plan);
    // Some tell what was said before only after they have said that they will.
    let text = format!("{}{}", seen[0]["replayed"], seen[1]["text"]);
    assert!(text.contains("all is done"), "{maker}: {seen:#?}");
    assert_eq!((&seen[1]["stopReason"], &seen[1]["permissions"]), (&json!("end_turn"), &json!([])), "{maker}");
}
