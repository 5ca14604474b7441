//! Settings of Claude Code's that turn off the hook, though it is there: hides where they stand, and what they are called.

use super::{Scope, rules};
use crate::config::HostFacts;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What turns it off.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switches {
    /// In any settings.
    any: Vec<String>,
    /// In those of whoever runs the computer.
    managed: Vec<String>,
}

/// Why an agent does not ask the hook that it has.
#[derive(Debug, PartialEq, Eq)]
pub struct Off {
    /// The settings that say so.
    pub path: PathBuf,
    /// How they do.
    pub cause: String,
    /// Whether they are for whoever runs the computer to change.
    pub managed: bool,
}

impl Off {
    /// What its user can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self.managed {
            true => "Whoever runs this computer can change that",
            false => "Change that, and its hook is asked from its next start on",
        }
    }
}

/// The first settings that turn off the hook for their user, or in a project too; `home` is where the user's are.
pub(super) fn find(switches: &Switches, host: &HostFacts, home: &Path, scope: &Scope) -> Option<Off> {
    let managed = rules::managed().into_iter().map(|path| (path, &switches.managed, true));
    // Of a project, it reads those where it is started.
    let dirs = match scope {
        Scope::User => Vec::new(),
        Scope::Project(dir) => vec![dir.join(".claude"), host.cwd.join(".claude")],
    };
    let own = dirs.iter().flat_map(|dir| ["settings.json", "settings.local.json"].map(|name| dir.join(name)));
    let own = std::iter::once(home.join("settings.json")).chain(own).map(|path| (path, &switches.any, false));
    managed.chain(own).find_map(|(path, switches, managed)| {
        let cause = match rules::settings(&path) {
            Ok(None) => return None,
            Ok(Some(settings)) => {
                let name = switches.iter().find(|name| is_on(&settings[name.as_str()]))?;
                format!("'{name}' in {} turns off its hook", path.display())
            }
            Err(cause) => format!("{} can't be read ({cause}), and may turn off its hook", path.display()),
        };
        Some(Off { path, cause, managed })
    })
}

/// What of settings is of another kind than Claude Code has it, so that it loads nothing of them: what people write most. It says
/// so itself at its start, of all.
pub(super) fn not_loaded(settings: &Value) -> Option<String> {
    let is_texts = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let permissions = settings.get("permissions");
    let of = |key: &str| permissions.and_then(|permissions| permissions.get(key));
    let kinds = [
        ("cleanupPeriodDays", settings.get("cleanupPeriodDays").is_none_or(Value::is_number)),
        ("env", settings.get("env").is_none_or(Value::is_object)),
        ("model", settings.get("model").is_none_or(Value::is_string)),
        ("permissions", permissions.is_none_or(Value::is_object)),
        ("permissions.additionalDirectories", of("additionalDirectories").is_none_or(is_texts)),
        ("permissions.allow", of("allow").is_none_or(is_texts)),
        ("permissions.ask", of("ask").is_none_or(is_texts)),
        ("permissions.deny", of("deny").is_none_or(is_texts)),
        ("permissions.defaultMode", of("defaultMode").is_none_or(Value::is_string)),
    ];
    if let Some((key, _)) = kinds.iter().find(|(_, is_one)| !is_one) {
        return Some(format!("`{key}` is of another kind than it has"));
    }
    let hooks = settings.get("hooks").and_then(Value::as_object).into_iter().flatten();
    let no_hook = |hook: &Value| !hook.get("hooks").is_some_and(Value::is_array);
    let mut broken = hooks.filter(|(_, list)| list.as_array().is_some_and(|list| list.iter().any(no_hook)));
    broken.next().map(|(event, _)| format!("`hooks.{event}` has an entry without a list `hooks`"))
}

/// Whether a switch is on: for all, or for hooks among others.
fn is_on(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(kinds) => kinds.iter().any(|kind| kind == "hooks"),
        _ => true,
    }
}

#[cfg(test)]
#[path = "off_tests.rs"]
mod tests;
