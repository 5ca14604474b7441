//! Hides what of a user's own a hook in an agent's settings runs, and which hooks are guards: without them, an agent does what its
//! user would have it asked about. And which servers of MCP are fetched first.

use super::{detect::words, settings::Form};
use crate::edit;
use serde_json::Value;
use std::path::{Component, Path, PathBuf};
use toml_edit::{DocumentMut, Item};

/// What agents call a hook that is asked before a tool is used.
const GUARDS: [&str; 3] = ["PreToolUse", "BeforeTool", "PermissionRequest"];
/// How deep commands are looked at that stand in others as one word.
const DEPTH: usize = 4;

/// A guard of a user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What the agent calls it.
    pub event: String,
    /// Its command, or the address that is asked.
    pub command: String,
    /// It is an address.
    pub is_address: bool,
    /// What its command names of the user's: below his home directory, or as it is named outside.
    pub files: Vec<PathBuf>,
    /// Words of it that a program may be called.
    pub programs: Vec<String>,
}

/// The guards that settings name; `own` is the user's home directory, and each of `named` a variable of the agent's and the directory
/// that it names, below the home directory.
#[must_use]
pub fn guards(text: &str, form: Form, own: &Path, named: &[(&str, &Path)]) -> Vec<Guard> {
    let settings = read(text, form);
    let hooks = settings.as_ref().and_then(|settings| settings.get("hooks")?.as_object()).into_iter().flatten();
    let guards = hooks.filter(|(event, _)| GUARDS.contains(&event.as_str()));
    guards
        .flat_map(|(event, value)| {
            let mut found = Vec::new();
            commands(value, &mut found);
            found.into_iter().map(|(command, is_address)| Guard {
                event: event.clone(),
                command: command.to_owned(),
                is_address,
                files: if is_address { Vec::new() } else { files(command, own, named, DEPTH) },
                programs: if is_address { Vec::new() } else { programs(command, DEPTH) },
            })
        })
        .collect()
}

/// The commands that are somewhere in hooks, and addresses.
fn commands<'a>(value: &'a Value, found: &mut Vec<(&'a str, bool)>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| commands(value, found)),
        Value::Object(values) => {
            for (key, value) in values {
                match value.as_str().filter(|_| key == "command" || key == "url") {
                    Some(command) => found.push((command, key == "url")),
                    None => commands(value, found),
                }
            }
        }
        _ => {}
    }
}

/// What a command names below a home directory.
fn files(command: &str, own: &Path, named: &[(&str, &Path)], depth: usize) -> Vec<PathBuf> {
    let below = |word: &str| {
        let path = beneath(word, named).or_else(|| Path::new(word).strip_prefix(own).ok().map(Path::to_owned))?;
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let is_outside = Path::new(word).is_absolute();
        (is_plain && path != Path::new("")).then(|| if is_outside { PathBuf::from(word) } else { path })
    };
    let is_command = |word: &str| depth > 0 && word != command && word.contains(char::is_whitespace);
    let of = |word: String| match below(&word) {
        Some(path) => vec![path],
        None if is_command(&word) => files(&word, own, named, depth - 1),
        None => Vec::new(),
    };
    words(command).into_iter().flat_map(of).collect()
}

/// The words of a command that could be what programs are called which are looked for.
fn programs(command: &str, depth: usize) -> Vec<String> {
    let is_plain = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte));
    let of = |word: String| match () {
        () if is_plain(&word) && !word.starts_with(['-', '.']) => vec![word],
        () if depth > 0 && word != command && word.contains(char::is_whitespace) => programs(&word, depth - 1),
        () => Vec::new(),
    };
    words(command).into_iter().flat_map(of).collect()
}

/// What a word names below the home directory by `~`, or by a variable, also as a variable's value.
fn beneath(word: &str, named: &[(&str, &Path)]) -> Option<PathBuf> {
    let value =
        word.split_once('=').filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    let word = value.map_or(word, |(_, value)| value);
    if let Some(rest) = word.strip_prefix("~/") {
        return Some(rest.into());
    }
    let text = word.strip_prefix('$')?;
    let (name, rest) = match text.strip_prefix('{') {
        // Behind the name may stand what is taken where it is not set.
        Some(text) => {
            let mut open = 1;
            let end = text.find(|letter: char| {
                open += i32::from(letter == '{') - i32::from(letter == '}');
                open == 0
            })?;
            let name = text[..end].split([':', '-']).next().unwrap_or_default();
            (name, text[end + 1..].strip_prefix('/')?)
        }
        None => text.split_once('/')?,
    };
    let variables = [("HOME", Path::new(""))];
    let (_, dir) = variables.iter().chain(named).find(|(variable, _)| *variable == name)?;
    Some(dir.join(rest))
}

/// Programs that fetch what they are to run.
const FETCHERS: [&str; 4] = ["bunx", "npx", "pnpx", "uvx"];

/// The servers of MCP below a key of settings that are fetched before they run, each with the program that does it.
#[must_use]
pub fn fetched(text: &str, form: Form, key: &str) -> Vec<String> {
    let settings = read(text, form);
    let servers = settings.as_ref().and_then(|settings| settings.get(key)?.as_object()).into_iter().flatten();
    let fetched = servers.filter_map(|(name, server)| {
        let command = server.get("command")?;
        let program = command.as_str().or_else(|| command.get(0)?.as_str())?.rsplit('/').next()?;
        FETCHERS.contains(&program).then(|| format!("{key}.{name} ({program})"))
    });
    fetched.collect()
}

fn read(text: &str, form: Form) -> Option<Value> {
    match form {
        Form::Json => edit::json_value(text),
        Form::Toml => text.parse::<DocumentMut>().ok().map(|document| of_toml(document.as_item())),
        Form::Variables | Form::FrontMatter | Form::Calls => None,
    }
}

/// What is in TOML, as far as hooks and servers have such.
fn of_toml(item: &Item) -> Value {
    if let Some(table) = item.as_table_like() {
        return table.iter().map(|(key, item)| (key.to_owned(), of_toml(item))).collect();
    }
    if let Some(tables) = item.as_array_of_tables() {
        return tables.iter().map(|table| of_toml(&Item::Table(table.clone()))).collect();
    }
    if let Some(list) = item.as_array() {
        return list.iter().map(|value| of_toml(&Item::Value(value.clone()))).collect();
    }
    item.as_str().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_fetched_are_named() {
        let json = r#"{"servers": {"a": {"command": "npx", "args": ["-y", "x"]}, "b": {"command": ["/usr/bin/uvx", "y"]}, "c": {"command": "node"},
            "d": {"url": "https://x.example"}, "e": 1}}"#;
        assert_eq!(fetched(json, Form::Json, "servers"), ["servers.a (npx)", "servers.b (uvx)"]);
        assert_eq!(fetched("[s.a]\ncommand = 'bunx'\n", Form::Toml, "s"), ["s.a (bunx)"]);
        assert!(fetched("{", Form::Json, "s").is_empty() && fetched("[]", Form::Json, "s").is_empty());
    }

    #[test]
    fn guards_name_what_they_run() {
        let json = r#"{ // mine
            "hooks": {
                "PreToolUse": [{"matcher": "Bash", "hooks": [
                    {"type": "command", "command": "\"$HOME\"/.claude/a.sh --x ~/b/c.json"},
                    {"type": "command", "command": "bash -c 'python3 ${HOME}/d.py; /home/me/e'"},
                    {"type": "command", "command": "\"$CLAUDE_CONFIG_DIR/h.sh\" ${CLAUDE_CONFIG_DIR:-${HOME}/.claude}/i $OTHER/j $x ${y/z}"},
                    {"type": "http", "url": "https://x.example"}]}],
                "Stop": [{"hooks": [{"type": "command", "command": "~/f.sh"}]}]
            } }"#;
        let variables = [("CLAUDE_CONFIG_DIR", Path::new(".claude"))];
        let of = |text: &str, form| guards(text, form, Path::new("/home/me"), &variables);
        let named = |text: &str, form| -> Vec<(String, Vec<PathBuf>)> {
            of(text, form).into_iter().map(|guard| (guard.event, guard.files)).collect()
        };
        let guard = |files: &[&str]| ("PreToolUse".to_owned(), files.iter().map(PathBuf::from).collect::<Vec<_>>());
        let expected = [
            guard(&[".claude/a.sh", "b/c.json"]),
            guard(&["d.py", "/home/me/e"]),
            guard(&[".claude/h.sh", ".claude/i"]),
            guard(&[]),
        ];
        assert_eq!(named(json, Form::Json), expected);
        assert_eq!(of(json, Form::Json)[3].command, "https://x.example");
        assert!(of(json, Form::Json)[3].is_address);
        assert_eq!(of(json, Form::Json)[1].programs, ["bash", "python3"]);
        let set = r#"{"hooks": {"PreToolUse": [{"command": "H=~/bin; my-guard -x --y $H/g ./z"}]}}"#;
        let one = of(set, Form::Json).remove(0);
        assert_eq!((one.files, one.programs), (vec!["bin".into()], vec!["my-guard".to_owned()]));
        let toml = "[[hooks.PreToolUse]]\nmatcher = \"x\"\nhooks = [{ type = \"command\", command = \"~/.codex/g.py ~ ~/../x\" }]\n";
        assert_eq!(named(toml, Form::Toml), [guard(&[".codex/g.py"])]);
        for (text, form) in
            [("{", Form::Json), ("a =", Form::Toml), ("{\"hooks\": []}", Form::Json), ("", Form::FrontMatter)]
        {
            assert_eq!(of(text, form), []);
        }
    }
}
