//! The hook that agents ask before they run a command: hides how they ask, and what the command becomes.

use serde_json::{Value, json};

/// What an agent is told that wants to run a command with its shell tool: the same command in a sandbox, with all else as
/// it was; `None` if it asks about something else. Whether it may run is decided by whoever decides that without us.
#[must_use]
pub fn rewritten(asked: &Value, program: &str) -> Option<Value> {
    let input = asked.get("tool_input")?.as_object()?;
    let command = input.get("command")?.as_str()?;
    let mut input = input.clone();
    let word = wire::shell_word;
    input.insert("command".into(), format!("{} run -- sh -c {}", word(program), word(command)).into());
    let event = asked.get("hook_event_name")?;
    Some(json!({ "hookSpecificOutput": { "hookEventName": event, "updatedInput": input } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_run_in_a_sandbox_and_nothing_is_decided() {
        let asked = json!({
            "hook_event_name": "PreToolUse",
            "tool_name": "Bash",
            "tool_input": { "command": "echo 'a b'; rm -rf \"$X\"", "timeout": 5, "run_in_background": true },
        });
        let told = rewritten(&asked, "agentkernel").unwrap();
        assert_eq!(
            told,
            json!({ "hookSpecificOutput": { "hookEventName": "PreToolUse", "updatedInput": {
                "command": r#"agentkernel run -- sh -c 'echo '\''a b'\''; rm -rf "$X"'"#,
                "timeout": 5,
                "run_in_background": true,
            } } })
        );
        assert!(rewritten(&json!({ "hook_event_name": "PreToolUse", "tool_input": { "path": "x" } }), "ak").is_none());
        assert!(rewritten(&json!([]), "ak").is_none());
    }
}
