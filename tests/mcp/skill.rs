//! What the skill says of denials, held against what programs in a sandbox see.

use crate::client::Client;
use serde_json::{Value, json};
use std::fs;
use support::{Who, World, eventually};

const SKILL: &str = include_str!("../../crates/agentkernel/src/plugin/data/skill.md");

/// Paths that it names.
pub const PROTECTED: [&str; 7] =
    [".git/hooks", ".git/config", ".envrc", ".vscode", ".claude/settings.json", ".mcp.json", "agentkernel.toml"];

/// What a command writes, all of it.
fn seen(client: &Client, command: &str) -> (Value, String) {
    let done = client.done("run", json!({"command": command}));
    let text = format!("{}{}", done["stdout"].as_str().unwrap(), done["stderr"].as_str().unwrap());
    (done, text)
}

/// Words of the skill, which breaks lines where it likes.
#[track_caller]
fn says(words: &str) {
    let skill = SKILL.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(skill.contains(words), "the skill does not say: {words}");
}

#[test]
fn what_is_refused_is_told_as_the_skill_says() {
    for who in Who::all() {
        let world = World::new(who);
        let client = Client::new(&world, json!({}));
        let host = "packages.example.com";
        says("Names resolve all the same, to addresses such as 198.18.0.1");
        let (_, text) = seen(&client, &format!("getent hosts {host}"));
        assert!(text.starts_with("198.18.0."), "{text}");
        says("HTTP gets `403 Forbidden` with the reason as its text, which `curl` without `-f` takes for success");
        let (done, text) = seen(&client, &format!("curl -sSi http://{host}/"));
        assert_eq!(done["status"], 0, "{done}");
        assert!(text.starts_with("HTTP/1.1 403 Forbidden") && text.contains("the network mode is 'none'"), "{text}");
        assert_ne!(seen(&client, &format!("curl -sSf http://{host}/")).0["status"], 0);
        says("anything else, such as HTTPS and SSH, gets \"Connection reset by peer\"");
        let (https, text) = seen(&client, &format!("curl -sS https://{host}/"));
        assert!(text.contains("Connection reset by peer"), "{text}");
        let (_, text) = seen(&client, &format!("bash -c 'exec 3<>/dev/tcp/{host}/22 && cat <&3'"));
        assert!(text.contains("Connection reset by peer"), "{text}");
        let notice = https["notices"][0].as_str().unwrap();
        says(&format!("agentkernel: {notice} `net_log` lists"));
        says("If there were several, the line begins \"Connections from the sandbox were refused, because\"");
        let (several, _) = seen(&client, &format!("curl -sS https://{host}/; curl -sS https://www.{host}/"));
        let notice = several["notices"][0].as_str().unwrap();
        assert!(notice.starts_with("Connections from the sandbox were refused, because"), "{notice}");
        let check = client.done("net_check", json!({"target": host}));
        assert!(check["allowed"] == false && check["help"].is_string(), "{check}");
        let (_, text) = seen(&client, "ls -A ~");
        says("the home directory is an empty one");
        assert_eq!(text, "");
        client.leave();
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn what_stays_as_it_is_stays_so_as_the_skill_says() {
    for who in Who::all() {
        let world = World::new(who);
        let client = Client::new(&world, json!({}));
        let quoted = |words: &str| says(&format!("\"{words}\""));
        let refused = |command: &str, words: &str| {
            let (done, text) = seen(&client, command);
            assert_ne!(done["status"], 0, "{command}: {text}");
            assert!(text.contains(words), "{command}: {text}");
            quoted(words);
        };
        for path in PROTECTED {
            says(&format!("`{path}`"));
        }
        // None of them is there, and none can be made.
        for file in [".envrc", "agentkernel.toml"] {
            refused(&format!("echo x > {file}"), "Permission denied");
        }
        for file in [".mcp.json", ".claude/settings.json", ".vscode/tasks.json", ".git/config"] {
            refused(&format!("echo x > {file}"), "Directory nonexistent");
        }
        for dir in [".claude", ".vscode", ".git"] {
            refused(&format!("mkdir {dir}"), "File exists");
        }
        refused("git init", "Not a directory");
        refused("echo x > made && cp made .mcp.json", "not writing through dangling symlink");
        // All are.
        let script = "git init -q . && mkdir -p .vscode .claude .git/hooks && \
                      touch .envrc .mcp.json .claude/settings.json agentkernel.toml";
        assert!(world.command("sh").args(["-c", script]).status().unwrap().success());
        for file in [
            ".envrc",
            "agentkernel.toml",
            ".mcp.json",
            ".claude/settings.json",
            ".vscode/tasks.json",
            ".git/config",
            ".git/hooks/pre-commit",
        ] {
            refused(&format!("echo x > {file}"), "Read-only file system");
        }
        for command in ["git config a.b c", "rm .envrc", "mv .mcp.json x", "rm -r .vscode"] {
            refused(command, "Device or resource busy");
        }
        assert_eq!(fs::read_to_string(world.project().join(".mcp.json")).unwrap(), "");
        client.leave();
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
