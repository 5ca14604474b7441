//! The hook that agents ask before they use a tool: hides which tools run commands, and what those become.

use super::{
    rules::{self, Verdict},
    skills,
};
use crate::config::{HostFacts, Project};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Tools whose `command` is none of a shell: it names a skill or a command of the agent's own.
const SKILLS: [&str; 2] = ["Skill", "SlashCommand"];
/// Tools that run commands: a question about one of them that has no command is not understood.
const SHELLS: [&str; 3] = ["Bash", "Monitor", "PowerShell"];
/// What is asked before a tool is used.
const EVENT: &str = "PreToolUse";
/// Tools whose `command` no shell of a sandbox reads.
const FOREIGN: [&str; 1] = ["PowerShell"];
/// How tools of servers begin, which run where their servers do.
const SERVERS: &str = "mcp__";

/// What an agent is told that wants to use a tool: where that has a command, the same in a sandbox, with all else as it was;
/// `None` if there is none. Which tools have one is not known beforehand, for agents get new ones. Whether it may run
/// is decided by whoever decides that without us; but what rules deny, or ask about, they would not know in the new command.
///
/// # Errors
/// If the question is not understood: the tool must not be used then.
pub fn answer(asked: &Value, program: &str, host: &HostFacts) -> Result<Option<Value>, String> {
    if asked.get("hook_event_name").and_then(Value::as_str) != Some(EVENT) {
        return Err(format!("This is no question of {EVENT}"));
    }
    let Some(tool) = asked.get("tool_name").and_then(Value::as_str) else {
        return Err("The question names no tool".to_owned());
    };
    let input = asked.get("tool_input").and_then(Value::as_object);
    let command = input.and_then(|input| input.get("command"));
    if !command.is_some_and(Value::is_string) && SHELLS.contains(&tool) {
        return Err(format!("The question about {tool} has no text as 'command'"));
    }
    if input.is_none() && SKILLS.contains(&tool) {
        return Err(format!("The question about {tool} names none"));
    }
    let cwd = asked.get("cwd").and_then(Value::as_str).map(Path::new);
    Ok(input.and_then(|input| change(tool, input, cwd, program, host)))
}

/// What is told about a tool with this input.
fn change(
    tool: &str,
    input: &Map<String, Value>,
    cwd: Option<&Path>,
    program: &str,
    host: &HostFacts,
) -> Option<Value> {
    let mut told = json!({ "hookEventName": EVENT });
    if SKILLS.contains(&tool) {
        let said = input.get("skill").or(input.get("command")).and_then(Value::as_str).unwrap_or_default();
        // All of it is a name: a directory may have blanks in its own.
        let name = said.strip_prefix('/').unwrap_or(said);
        told["permissionDecision"] = "ask".into();
        told["permissionDecisionReason"] = skills::doubt(host, cwd, name)?.into();
        return Some(json!({ "hookSpecificOutput": told }));
    }
    let command = input.get("command")?.as_str()?;
    if tool.starts_with(SERVERS) {
        return None;
    }
    let verdict = match (FOREIGN.contains(&tool), cwd.and_then(|cwd| elsewhere(host, cwd))) {
        (true, _) => Some(Verdict::Deny(format!("Commands of {tool} can't be run in a sandbox: use another tool"))),
        (false, Some(why)) => Some(Verdict::Deny(why)),
        (false, None) => rules::verdict(host, cwd, tool, command),
    };
    if !matches!(verdict, Some(Verdict::Deny(_))) {
        let mut input = input.clone();
        let word = wire::shell_word;
        input.insert(
            "command".into(),
            format!("{} run --die-with-client --shell -- {}", word(program), word(command)).into(),
        );
        told["updatedInput"] = input.into();
    }
    if let Some(verdict) = verdict {
        let (decision, reason) = match verdict {
            Verdict::Deny(reason) => ("deny", reason),
            Verdict::Ask(reason) => ("ask", reason),
        };
        told["permissionDecision"] = decision.into();
        told["permissionDecisionReason"] = reason.into();
    }
    Some(json!({ "hookSpecificOutput": told }))
}

/// Why a command can't be run in a directory: a sandbox may have laid something in its place; or it is not where Claude Code was
/// started, which such a command could change then.
fn elsewhere(host: &HostFacts, cwd: &Path) -> Option<String> {
    let session = host.var("CLAUDE_PROJECT_DIR").map(Path::new);
    // Both were without links when it was started.
    for dir in [Some(cwd), session].into_iter().flatten() {
        if let Some(real) = dir.canonicalize().ok().filter(|real| real != dir) {
            return Some(format!(
                "{} is a link now, to {}: ask the human who has laid it",
                dir.display(),
                real.display()
            ));
        }
    }
    let session = session?;
    let project = Project::find_dir(&HostFacts { cwd: cwd.to_path_buf(), ..host.clone() }).ok()?;
    let is_open = !cwd.starts_with(session) && session.starts_with(&project);
    is_open.then(|| {
        let (started, there) = (session.display(), cwd.display());
        format!("Claude Code was started in {started}, and a command in {there} could change what it obeys: go back there first")
    })
}

#[cfg(test)]
#[path = "hook_tests.rs"]
mod tests;
