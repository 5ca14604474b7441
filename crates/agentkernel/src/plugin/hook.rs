//! The hook that agents ask before they use a tool: hides which tools run commands, and what those become.

use serde_json::{Value, json};

/// Tools whose `command` is none of a shell: it names what the agent does itself.
const HARMLESS: [&str; 2] = ["Skill", "SlashCommand"];
/// Tools whose `command` no shell of a sandbox reads.
const FOREIGN: [&str; 1] = ["PowerShell"];
/// How tools of servers begin, which run where their servers do.
const SERVERS: &str = "mcp__";

/// What an agent is told that wants to use a tool: where that has a command, the same in a sandbox, with all else as it was;
/// `None` if there is none. Which tools have one is not known beforehand, for agents get new ones. Whether it may run
/// is decided by whoever decides that without us.
#[must_use]
pub fn answer(asked: &Value, program: &str) -> Option<Value> {
    let tool = asked.get("tool_name").and_then(Value::as_str).unwrap_or_default();
    let input = asked.get("tool_input")?.as_object()?;
    let command = input.get("command")?.as_str()?;
    let event = asked.get("hook_event_name")?;
    if HARMLESS.contains(&tool) || tool.starts_with(SERVERS) {
        return None;
    }
    if FOREIGN.contains(&tool) {
        let reason = format!("Commands of {tool} can't be run in a sandbox. Use a tool whose commands a shell reads.");
        let told = json!({ "hookEventName": event, "permissionDecision": "deny", "permissionDecisionReason": reason });
        return Some(json!({ "hookSpecificOutput": told }));
    }
    let mut input = input.clone();
    let word = wire::shell_word;
    input.insert("command".into(), format!("{} run -- sh -c {}", word(program), word(command)).into());
    Some(json!({ "hookSpecificOutput": { "hookEventName": event, "updatedInput": input } }))
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
