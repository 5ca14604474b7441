use super::*;

/// A computer of somebody without rules.
fn host() -> HostFacts {
    let mut host = HostFacts::read().unwrap();
    host.env = vec![("HOME".into(), "/nowhere".into())];
    host
}

fn answer(asked: &Value, program: &str, host: &HostFacts) -> Option<Value> {
    super::answer(asked, program, host).unwrap()
}

fn asked(tool: &str) -> Value {
    json!({ "hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": { "command": "ls" } })
}

#[test]
fn a_command_is_run_in_a_sandbox_and_nothing_is_decided() {
    let asked = json!({
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": { "command": "echo 'a b'; rm -rf \"$X\"", "timeout": 5, "run_in_background": true },
    });
    let told = answer(&asked, "agentkernel", &host()).unwrap();
    assert_eq!(
        told,
        json!({ "hookSpecificOutput": { "hookEventName": "PreToolUse", "updatedInput": {
            "command": r#"agentkernel run --die-with-client --shell -- 'echo '\''a b'\''; rm -rf "$X"'"#,
            "timeout": 5,
            "run_in_background": true,
        } } })
    );
    let read = json!({ "hook_event_name": "PreToolUse", "tool_name": "Read", "tool_input": { "path": "x" } });
    assert_eq!(super::answer(&read, "ak", &host()), Ok(None));
}

#[test]
fn what_is_not_understood_is_no_leave() {
    for tool in ["Bash", "Monitor", "PowerShell"] {
        for input in [json!({ "cmd": "ls" }), json!({ "command": ["ls"] }), json!(null), json!("ls")] {
            let asked = json!({ "hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": input });
            let said = super::answer(&asked, "ak", &host()).unwrap_err();
            assert_eq!(said, format!("The question about {tool} has no text as 'command'"));
        }
    }
    for asked in [
        json!(null),
        json!([]),
        json!({ "tool_name": "Bash", "tool_input": { "command": "ls" } }),
        json!({ "hook_event_name": "BeforeTool", "tool_name": "Bash", "tool_input": { "command": "ls" } }),
        json!({ "hook_event_name": "PreToolUse", "tool_input": { "command": "ls" } }),
        json!({ "hook_event_name": "PreToolUse", "tool_name": "Skill", "tool_input": "x" }),
    ] {
        assert!(super::answer(&asked, "ak", &host()).is_err(), "{asked}");
    }
}

#[test]
fn whatever_tool_has_a_command_is_asked_about() {
    for tool in ["Bash", "Monitor", "BashOfNextYear", ""] {
        let told = answer(&asked(tool), "ak", &host()).unwrap();
        assert_eq!(
            told["hookSpecificOutput"]["updatedInput"]["command"], "ak run --die-with-client --shell -- ls",
            "{tool}"
        );
    }
    assert_eq!(answer(&asked("mcp__agentkernel__run"), "ak", &host()), None);
    for tool in ["Skill", "SlashCommand"] {
        let told = answer(&asked(tool), "ak", &host()).unwrap();
        assert_eq!(told["hookSpecificOutput"]["permissionDecision"], "ask", "{tool}");
        assert_eq!(told["hookSpecificOutput"].get("updatedInput"), None, "{tool}");
    }
    let told = answer(&asked("PowerShell"), "ak", &host()).unwrap();
    assert_eq!(told["hookSpecificOutput"]["permissionDecision"], "deny", "{told}");
}

#[test]
fn no_command_is_run_where_a_link_was_laid_or_beside_where_it_was_started() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
    for dir in ["p/.git/refs", "p/sub/deep", "p/other/.git/refs"] {
        std::fs::create_dir_all(path(dir)).unwrap();
    }
    std::os::unix::fs::symlink(path("p/sub"), path("p/link")).unwrap();
    let verdict = |session: &str, cwd: &str| {
        let mut host = host();
        host.env.push(("CLAUDE_PROJECT_DIR".into(), path(session).into()));
        let asked = json!({ "hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": { "command": "ls" }, "cwd": path(cwd) });
        let told = answer(&asked, "ak", &host).unwrap()["hookSpecificOutput"].clone();
        assert_eq!(told.get("updatedInput").is_some(), told.get("permissionDecision").is_none(), "{told}");
        told["permissionDecisionReason"].as_str().unwrap_or_default().to_owned()
    };
    for (session, cwd) in
        [("p", "p"), ("p", "p/sub"), ("p/sub", "p/sub"), ("p/sub", "p/sub/deep"), ("p/sub", "p/other")]
    {
        assert_eq!(verdict(session, cwd), "", "{session} {cwd}");
    }
    assert!(verdict("p", "p/link").contains("is a link now"));
    assert!(verdict("p/link", "p/sub").contains("is a link now"));
    for (session, cwd) in [("p/sub", "p"), ("p/sub/deep", "p/sub"), ("p/other", "p"), ("p/sub", "")] {
        assert!(verdict(session, cwd).contains("Claude Code was started in"), "{session} {cwd}");
    }
}
