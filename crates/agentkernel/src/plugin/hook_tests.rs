use super::*;

/// A computer of somebody without rules.
fn host() -> HostFacts {
    let mut host = HostFacts::read().unwrap();
    host.env = vec![("HOME".into(), "/nowhere".into())];
    host
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
    assert!(
        answer(&json!({ "hook_event_name": "PreToolUse", "tool_input": { "path": "x" } }), "ak", &host()).is_none()
    );
    assert!(answer(&json!([]), "ak", &host()).is_none());
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
