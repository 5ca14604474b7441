//! What its user has Claude Code deny, or ask about, by the commands as the model wrote them: hides where such rules
//! stand, and how they are compared. They are compared rather too often than too seldom.

use crate::config::{self, HostFacts};
use serde_json::Value;
use std::{
    io::ErrorKind,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

/// Where whoever runs the computer writes them.
pub(super) const MANAGED: &str = "/etc/claude-code";
/// The longest file of settings.
const MAX_FILE: u64 = 16 << 20;

/// Tools whose rules are about files that are written.
const WRITERS: [&str; 4] = ["Edit", "Write", "MultiEdit", "NotebookEdit"];
/// Commands that write no files.
const READERS: [&str; 14] =
    ["cat", "cd", "cut", "diff", "echo", "file", "grep", "head", "jq", "ls", "rg", "stat", "tail", "wc"];

/// What the rules say of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is not to be run, for this reason.
    Deny(String),
    /// A human is to be asked, for this reason.
    Ask(String),
}

/// What the rules that hold in a directory say of a command of a tool; `None` if nothing.
pub(super) fn verdict(host: &HostFacts, cwd: Option<&Path>, tool: &str, command: &str) -> Option<Verdict> {
    let mut ask = None;
    for path in files(host, cwd) {
        match permissions(&path) {
            Ok(None) => {}
            Ok(Some(permissions)) => {
                if let Some(rule) = matching(&permissions["deny"], tool, command) {
                    return Some(Verdict::Deny(told("denies", rule, &path)));
                }
                let asks = matching(&permissions["ask"], tool, command);
                ask = ask.or(asks.map(|rule| told("asks about", rule, &path)));
            }
            // What it denies is not known.
            Err(cause) => {
                ask.get_or_insert(format!("The rules in {} can't be read: {cause}", path.display()));
            }
        }
    }
    ask.map(Verdict::Ask)
}

/// The rules that allow something there.
pub(super) fn allowed(host: &HostFacts, cwd: Option<&Path>) -> Vec<String> {
    let lists =
        files(host, cwd).into_iter().filter_map(|path| permissions(&path).ok()??.get("allow")?.as_array().cloned());
    lists.flatten().filter_map(|rule| rule.as_str().map(str::to_owned)).collect()
}

fn told(verb: &str, rule: &str, path: &Path) -> String {
    format!("{} {verb} this by the rule {rule}", path.display())
}

/// The settings of whoever runs the computer.
pub(super) fn managed() -> Vec<PathBuf> {
    let managed = Path::new(MANAGED);
    let mut files = vec![managed.join("managed-settings.json")];
    let parts = std::fs::read_dir(managed.join("managed-settings.d")).into_iter().flatten().flatten();
    files.extend(parts.map(|part| part.path()).filter(|path| path.extension().is_some_and(|end| end == "json")));
    files.sort();
    files
}

/// The files that Claude Code may take rules from there.
fn files(host: &HostFacts, cwd: Option<&Path>) -> Vec<PathBuf> {
    let mut files = managed();
    // A project can set the variable.
    let homes = [Some(host.own_home().join(".claude")), host.var("CLAUDE_CONFIG_DIR").map(PathBuf::from)];
    files.extend(homes.into_iter().flatten().map(|home| home.join("settings.json")));
    let project = host.var("CLAUDE_PROJECT_DIR").map(Path::new);
    for dir in cwd.into_iter().chain(project).flat_map(Path::ancestors) {
        for name in ["settings.json", "settings.local.json"] {
            files.push(dir.join(".claude").join(name));
        }
    }
    files.sort();
    files.dedup();
    files
}

/// What a file says of permissions; `None` if there is none.
fn permissions(path: &Path) -> Result<Option<Value>, String> {
    let Some(settings) = settings(path)? else { return Ok(None) };
    let lists = ["deny", "ask"].map(|name| &settings["permissions"][name]);
    let is_list = |list: &Value| list.as_array().is_some_and(|rules| rules.iter().all(Value::is_string));
    match lists.into_iter().all(|list| list.is_null() || is_list(list)) {
        true => Ok(settings.get("permissions").cloned()),
        false => Err("its rules are no lists of texts".to_owned()),
    }
}

/// What a file of settings says; `None` if there is none.
pub(super) fn settings(path: &Path) -> Result<Option<Value>, String> {
    let bytes = match config::read_own(path, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        // What keeps the place of a file that is missing, while a sandbox runs there.
        Err(_) if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    Ok(Some(crate::edit::json_value(&text).ok_or("it is no JSON")?))
}

/// The first of these rules that is about a command.
fn matching<'a>(rules: &'a Value, tool: &str, command: &str) -> Option<&'a str> {
    let forms = |text: &str| [spaced(text), spaced(&spaced(text).replace(['\'', '"', '\\'], ""))];
    let commands = forms(command);
    let mut rules = rules.as_array()?.iter().filter_map(Value::as_str);
    rules.find(|rule| {
        let (name, pattern) = match rule.trim().split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
            None => (rule.trim(), None),
        };
        let mut pairs = forms(pattern.unwrap_or("*")).into_iter().zip(&commands);
        match (name, pattern) {
            // Commands read and write files too.
            ("Read", Some(path)) => commands.iter().any(|command| mentions(path, command)),
            (name, Some(path)) if WRITERS.contains(&name) => {
                commands.iter().any(|command| mentions(path, command) && !only_reads(command))
            }
            (name, _) => (name == "Bash" || name == tool) && pairs.any(|(pattern, command)| is_in(&pattern, command)),
        }
    })
}

/// Whether a command names a file that a pattern is about, by what of the pattern's path stands for itself: its last name, or
/// the longest part of that. What only a shell or a program finds out, such as `cat *`, is not seen.
fn mentions(pattern: &str, command: &str) -> bool {
    let mut parts = pattern.split('/').rev().filter(|part| !matches!(*part, "" | "." | "~" | "**" | "*"));
    let Some(last) = parts.next() else { return false };
    let piece = last.split(['*', '?', '[']).max_by_key(|piece| piece.len()).unwrap_or_default();
    let whole = piece == last;
    piece.len() > 1
        && command.match_indices(piece).any(|(at, _)| {
            let (before, after) = (&command[..at], &command[at + piece.len()..]);
            !whole || (!before.ends_with(is_of_word) && !after.starts_with(is_of_word))
        })
}

/// Whether nothing in a command is known to write.
fn only_reads(command: &str) -> bool {
    let mut parts = command.split([';', '|', '&', '\n']).map(str::trim).filter(|part| !part.is_empty());
    !command.contains(['>', '`']) && parts.all(|part| READERS.contains(&part.split(' ').next().unwrap_or_default()))
}

/// A command with one blank where there are more, and each line of the shell's on one.
fn spaced(text: &str) -> String {
    let text = text.replace("\\\n", "");
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a command, or a part of it that begins a word, is as a pattern says: `words`, `words:*` and `words *` what begins with
/// them, and `*` anything in between.
fn is_in(pattern: &str, command: &str) -> bool {
    let prefix = pattern.strip_suffix(":*").or_else(|| pattern.strip_suffix(" *"));
    let mut parts = prefix.unwrap_or(pattern).split('*');
    let first = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let starts = (0..=command.len()).filter_map(|at| command.split_at_checked(at));
    for (_, from) in starts.filter(|(before, _)| begins_word(before)) {
        let Some(rest) = from.strip_prefix(first) else { continue };
        if !parts.is_empty() {
            // What is not behind the first place is not behind those that follow.
            return parts.iter().try_fold(rest, |rest, part| rest.split_once(part).map(|(_, rest)| rest)).is_some();
        }
        let ends = match prefix {
            Some(_) => !rest.starts_with(is_of_word),
            None => {
                let next = rest.trim_start_matches(' ');
                // `2>&1` is no word of the command.
                let is_redirection =
                    next.trim_start_matches(|digit: char| digit.is_ascii_digit()).starts_with(['<', '>']);
                is_redirection || !next.starts_with(|next: char| is_of_word(next) || "-./$~=".contains(next))
            }
        };
        if ends || first.is_empty() {
            return true;
        }
    }
    false
}

fn begins_word(before: &str) -> bool {
    !before.ends_with(|letter: char| is_of_word(letter) || letter == '.')
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
