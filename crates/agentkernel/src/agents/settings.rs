//! Hides what of a user's settings would log in somewhere, and how that stays outside while all else comes along as it is
//! written, comments too.

use toml_edit::{DocumentMut, Item, Value};

/// How settings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, with comments too.
    Json,
    /// TOML.
    Toml,
}

/// Settings without what logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The text.
    pub text: String,
    /// Where something was left out: keys, the outermost first, joined by dots.
    pub left_out: Vec<String>,
}

/// Leaves out what logs in. In the place of a variable's value stands `reference` to a variable of that name, in which `{}` is
/// its name; if it is empty, nothing, as in the place of all else.
///
/// What is text and not of this form is searched all the same as JSON.
///
/// # Errors
/// If it is no TOML, in words.
pub fn without_credentials(text: &str, form: Form, reference: &str) -> Result<Settings, String> {
    let mut search = Search { reference, left_out: Vec::new() };
    let text = match form {
        Form::Json => json(text, &mut search),
        Form::Toml => {
            let mut document: DocumentMut =
                text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
            for (key, item) in document.iter_mut() {
                search.item(&mut vec![key.get().to_owned()], item);
            }
            document.to_string()
        }
    };
    Ok(Settings { text, left_out: search.left_out })
}

/// MCP servers of settings in JSON: those below `key`, and those below `local`, which count before them; in an object that
/// has them below `key`. `None` if there are none.
///
/// # Errors
/// If it is no JSON, in words.
pub fn servers(text: &str, key: &str, local: &[String]) -> Result<Option<String>, String> {
    let settings: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut all = serde_json::Map::new();
    let of_project = local.iter().try_fold(&settings, |value, key| value.get(key)).filter(|_| !local.is_empty());
    for found in [settings.get(key), of_project].into_iter().flatten().filter_map(|value| value.as_object()) {
        all.extend(found.iter().map(|(name, server)| (name.clone(), server.clone())));
    }
    Ok((!all.is_empty()).then(|| serde_json::json!({ key: all }).to_string()))
}

/// Tables whose keys are variables.
const VARIABLES: [&str; 2] = ["env", "environment"];
/// Headers that log nobody in.
const HARMLESS: [&str; 5] = ["accept", "accept-encoding", "accept-language", "content-type", "user-agent"];
/// How names of variables, and of options, tell that their values log in: one of their words.
const WORDS: [&str; 17] = [
    "apikey",
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "dsn",
    "key",
    "pass",
    "passwd",
    "password",
    "pat",
    "pwd",
    "secret",
    "token",
    "tokens",
];
/// The same of other keys: how they end, without what is between words.
const ENDS: [&str; 11] = [
    "apikey",
    "accesskey",
    "authorization",
    "authtoken",
    "bearer",
    "credential",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "token",
];
/// How what logs in begins where its makers want it to be found.
const BEGINNINGS: [&str; 16] = [
    "sk-",
    "sk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "ya29.",
    "hf_",
    "npm_",
];
/// The least that such a thing is long.
const LEAST: usize = 16;

struct Search<'a> {
    reference: &'a str,
    left_out: Vec<String>,
}

impl Search<'_> {
    /// What is to stand in the place of a text: nothing, unless it logs in. `before` is what stands before it in a list.
    fn instead(&mut self, path: &[String], before: Option<&str>, text: &str) -> Option<String> {
        let (key, table) = (path.last()?.as_str(), path.len().checked_sub(2).and_then(|at| path.get(at)));
        let in_table = |named: &dyn Fn(&str) -> bool| table.is_some_and(|table| named(&table.to_ascii_lowercase()));
        let of_variables = in_table(&|table| VARIABLES.contains(&table));
        let of_headers = in_table(&|table| table.ends_with("headers"));
        let (option, value) = text.strip_prefix('-').and_then(|option| option.split_once('=')).unwrap_or(("", text));
        let logs_in = if text.is_empty() || is_reference(value) {
            false
        } else if of_variables {
            has_word(key) || is_known(text)
        } else if of_headers {
            !HARMLESS.contains(&key.to_ascii_lowercase().as_str())
        } else {
            let after_option =
                before.is_some_and(|before| before.starts_with('-') && !before.contains('=') && has_word(before));
            ends(key) || has_word(option) || (after_option && !text.starts_with('-')) || is_known(value)
        };
        logs_in.then(|| {
            self.left_out.push(path.join("."));
            if of_variables { self.reference.replace("{}", key) } else { String::new() }
        })
    }

    fn item(&mut self, path: &mut Vec<String>, item: &mut Item) {
        match item {
            Item::Value(value) => self.value(path, None, value),
            Item::Table(table) => {
                for (key, item) in table.iter_mut() {
                    path.push(key.get().to_owned());
                    self.item(path, item);
                    path.pop();
                }
            }
            Item::ArrayOfTables(tables) => {
                for (key, item) in tables.iter_mut().flat_map(|table| table.iter_mut()) {
                    path.push(key.get().to_owned());
                    self.item(path, item);
                    path.pop();
                }
            }
            Item::None => {}
        }
    }

    fn value(&mut self, path: &mut Vec<String>, before: Option<&str>, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(instead) = self.instead(path, before, text.value()) {
                    let around = text.decor().clone();
                    *value = instead.into();
                    *value.decor_mut() = around;
                }
            }
            Value::Array(list) => {
                let mut before = None;
                for value in list.iter_mut() {
                    let own = value.as_str().map(str::to_owned);
                    self.value(path, before.as_deref(), value);
                    before = own;
                }
            }
            Value::InlineTable(table) => {
                for (key, value) in table.iter_mut() {
                    path.push(key.get().to_owned());
                    self.value(path, None, value);
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

/// Whether a text only names a variable, or a file, that has what is meant.
fn is_reference(text: &str) -> bool {
    let named = text.trim_start_matches("Bearer ").trim_start_matches("Basic ");
    named.starts_with('$') || named.starts_with("{env:") || named.starts_with("{file:")
}

/// Whether one of the words of a name tells that its value logs in.
fn has_word(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|word| WORDS.contains(&word))
}

fn ends(key: &str) -> bool {
    let key: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ENDS.iter().any(|end| key.ends_with(end))
}

/// Whether a text is of a form that only what logs in has: a key of some maker's, or an address with a password.
fn is_known(text: &str) -> bool {
    let begins = text.len() >= LEAST && BEGINNINGS.iter().any(|beginning| text.starts_with(beginning));
    let in_address = text.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    begins || in_address || text.starts_with("Bearer ") || text.starts_with("-----BEGIN ")
}

/// What is open at a place in JSON.
#[derive(Default)]
struct Level {
    is_table: bool,
    key: Option<String>,
    /// The last text of a list.
    before: Option<String>,
}

fn json(text: &str, search: &mut Search<'_>) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    let mut levels = vec![Level::default()];
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let written = text.get(at..end).unwrap_or_default();
                let said: String =
                    serde_json::from_str(written).unwrap_or_else(|_| written.trim_matches('"').to_owned());
                let is_key = bytes.get(blank_end(bytes, end)) == Some(&b':');
                let path: Vec<String> = levels.iter().filter_map(|level| level.key.clone()).collect();
                if let Some(level) = levels.last_mut() {
                    if level.is_table && is_key {
                        level.key = Some(said);
                    } else {
                        if let Some(instead) = search.instead(&path, level.before.as_deref(), &said) {
                            out.push_str(text.get(copied..at).unwrap_or_default());
                            out.push_str(&serde_json::Value::from(instead).to_string());
                            copied = end;
                        }
                        level.before = (!level.is_table).then_some(said);
                    }
                }
                at = end;
            }
            b'{' | b'[' => {
                levels.push(Level { is_table: *byte == b'{', ..Level::default() });
                at += 1;
            }
            b'}' | b']' => {
                if levels.len() > 1 {
                    levels.pop();
                }
                at += 1;
            }
            _ => at = blank_end(bytes, at).max(at + 1),
        }
    }
    out + text.get(copied..).unwrap_or_default()
}

/// Where a string ends that begins here.
fn string_end(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Where blanks and comments end that may be here.
fn blank_end(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(byte), _) if byte.is_ascii_whitespace() => at += 1,
            (Some(b'/'), Some(b'/')) => {
                at += bytes
                    .get(at..)
                    .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
                    .unwrap_or(bytes.len() - at);
            }
            (Some(b'/'), Some(b'*')) => {
                let rest = bytes.get(at + 2..).unwrap_or_default();
                let length = rest.windows(2).position(|two| two == b"*/").map_or(rest.len(), |end| end + 2);
                at += 2 + length;
            }
            _ => return at,
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
