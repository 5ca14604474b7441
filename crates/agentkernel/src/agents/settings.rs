//! Hides what of a user's settings would log in somewhere, and how that stays outside while all else comes along as it is
//! written; comments too, unless they speak of such things.

use super::{
    calls,
    detect::{
        self, has_headers, has_secret_name, is_header, is_known, is_reference, is_secret_header, is_secret_name,
        is_told_by, names_variables, plain_addresses,
    },
    yaml::{self, Entry, Node},
};
use crate::edit;
use std::{ops::Range, path::Path};
use toml_edit::{Decor, DocumentMut, Item, Table, Value};

/// How settings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, with comments too.
    Json,
    /// TOML.
    Toml,
    /// `NAME=VALUE` on each line, as in `.env`.
    Variables,
    /// A text that may begin with settings in YAML, between lines of `---`, as in Markdown.
    FrontMatter,
    /// Calls in Starlark, as in Codex's rules.
    Calls,
}

impl Form {
    /// That of a file by its name; `None` if it is none of settings that are known.
    #[must_use]
    pub fn of(name: &Path) -> Option<Self> {
        let text = name.file_name()?.to_str()?;
        match name.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase).as_deref() {
            _ if text == ".env" || text.starts_with(".env.") => Some(Self::Variables),
            Some("json" | "jsonc") => Some(Self::Json),
            Some("toml") => Some(Self::Toml),
            Some("md" | "txt") => Some(Self::FrontMatter),
            Some("rules") => Some(Self::Calls),
            _ => None,
        }
    }
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
/// # Errors
/// If it is broken JSON or TOML, in words: nobody knows then what is a value in it.
pub fn without_credentials(text: &str, form: Form, reference: &str) -> Result<Settings, String> {
    let mut search = Search { reference, left_out: Vec::new(), depth: 0 };
    let text = match form {
        Form::Json if edit::json_value(text).is_none() => return Err("it is no JSON".to_owned()),
        Form::Json => json(text, &mut search),
        Form::Variables => entries(text).into_iter().map(|entry| search.variable(entry)).collect(),
        Form::Calls => calls::without(text, &mut search),
        Form::FrontMatter => match front_matter(text) {
            Front::None => text.to_owned(),
            Front::UpTo(end) => search.front(&text[..end]) + &text[end..],
            Front::Open => entries(text).into_iter().map(|entry| search.variable(entry)).collect(),
        },
        Form::Toml => {
            let mut document: DocumentMut =
                text.parse().map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
            search.table(&mut Vec::new(), document.as_table_mut());
            // Comments that have a line of their own; the others stood behind values.
            let text = document.to_string();
            let lines = text.split_inclusive('\n').map(|line| match line.trim_start().starts_with('#') {
                true => search.comment(line).unwrap_or_else(|| line.to_owned()),
                false => line.to_owned(),
            });
            lines.collect()
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
pub(super) const VARIABLES: [&str; 2] = ["env", "environment"];
/// The least that a number that logs in is long: shorter ones are sizes, times and what is pressed.
const LEAST_DIGITS: usize = 4;
/// A rule of Claude Code's that is about nothing.
const NO_RULE: &str = "Bash(agentkernel-left-this-out)";
/// How keys begin that stand for others.
const LEFT_OUT: &str = "agentkernel-left-this-out";
/// What is told of these.
const A_KEY: &str = "a key";
/// What is told of a list that has no name.
const LIST: &str = "a list";
/// How deep texts are searched that are settings themselves.
const DEPTH: usize = 8;

pub(super) struct Search<'a> {
    reference: &'a str,
    pub(super) left_out: Vec<String>,
    /// In how many texts of others it is.
    depth: usize,
}

impl Search<'_> {
    /// What is to stand in the place of a number, likewise: many have to do with tokens and keys, and few are some.
    fn instead_of_number(
        &mut self,
        path: &[String],
        before: Option<&str>,
        named: Option<&str>,
        number: &str,
    ) -> Option<String> {
        if is_secret_number(path, before, named, number) { self.instead_of(path, before, named, number) } else { None }
    }

    /// What is to stand in the place of a text: nothing, unless it logs in. `before` is what stands before it in a list, and
    /// `named` what the table that it is in is called by a key `name`.
    pub(super) fn instead(
        &mut self,
        path: &[String],
        before: Option<&str>,
        named: Option<&str>,
        text: &str,
    ) -> Option<String> {
        // What only says a number, or yes or no, is judged as one that is written as such; what is allowed or not is no secret.
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match is_number {
            _ if matches!(text, "true" | "false" | "allow") || guards(text) => None,
            true if !is_secret_number(path, before, named, text) => None,
            _ => self.instead_of(path, before, named, text),
        }
    }

    fn instead_of(&mut self, path: &[String], before: Option<&str>, named: Option<&str>, text: &str) -> Option<String> {
        let key = path.last().map_or("", String::as_str);
        let tables = path.split_last().map_or(&[][..], |(_, tables)| tables);
        let is = |table: Option<&String>, named: &dyn Fn(&str) -> bool| {
            table.is_some_and(|table| named(&table.to_ascii_lowercase()))
        };
        let of_variables = is(tables.last(), &|table| VARIABLES.contains(&table));
        let by_name = key == "value" && named.is_some_and(|name| has_secret_name(name) || has_headers(name));
        // What is denied would be allowed without; and who denies something has it named by what does not log in.
        let rule = path.iter().any(|key| key == "permissions") && matches!(key, "allow" | "deny" | "ask");
        let judge = |text: &str| -> bool {
            if text.is_empty() || is_reference(text) {
                false
            } else if rule && key != "allow" {
                is_known(text)
            } else if is(tables.last(), &names_variables) {
                detect::logs_in(text) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            } else if is(tables.last(), &has_headers) {
                is_secret_header(key)
            } else if of_variables {
                has_secret_name(key) || has_headers(key) || by_name || detect::logs_in(text) || self.has_some(text)
            } else {
                // A key alone is what is pressed, too.
                let by_key = key.len() > "key".len() && has_secret_name(key);
                let header = has_headers(key) && (is_header(text) || text.contains('='));
                let in_table =
                    tables.iter().any(|table| table == "secret" || has_secret_name(table) && table.ends_with('s'));
                let told = before.is_some_and(|before| is_told_by(before, text));
                by_key || header || in_table || by_name || told || detect::logs_in(text) || self.has_some(text)
            }
        };
        let logs_in = judge(text);
        // Agents refuse all settings for an address that is none.
        let address = logs_in.then(|| plain_addresses(text).into_iter().find(|plain| !judge(plain))).flatten();
        logs_in.then(|| {
            self.left_out.push(if path.is_empty() { LIST.to_owned() } else { path.join(".") });
            match () {
                () if of_variables && key != "value" => self.reference.replace("{}", key),
                // An empty one would be no rule.
                () if rule => NO_RULE.to_owned(),
                () if !of_variables => address.unwrap_or_default(),
                () => String::new(),
            }
        })
    }

    /// Whether a key itself logs in, which is noted; `value` is what it says, if that is a text.
    fn logs_in_by_key(&mut self, path: &[String], key: &str, value: Option<&str>) -> bool {
        let logs_in = if value.is_some_and(guards) { is_known(key) } else { detect::logs_in(key) };
        if logs_in {
            let named = path.join(".");
            self.left_out.push(if path.is_empty() { A_KEY.to_owned() } else { format!("{A_KEY} of {named}") });
        }
        logs_in
    }

    /// Whether a text is settings in JSON itself, with something to leave out.
    fn has_some(&self, text: &str) -> bool {
        let mut search = Search { reference: "", left_out: Vec::new(), depth: self.depth + 1 };
        if search.depth <= DEPTH && text.trim_start().starts_with(['{', '[']) {
            json(text, &mut search);
        }
        !search.left_out.is_empty()
    }

    /// What is to stay of a variable: nothing but the ends of its lines, if it logs in.
    fn variable(&mut self, entry: &str) -> String {
        // What goes on in a next line is one value; to others, each line has its own.
        let whole = entry.replace("\\\r\n", "").replace("\\\n", "");
        let text = whole.trim();
        if text.starts_with('#') {
            return self.comment(entry).unwrap_or_else(|| entry.to_owned());
        }
        let named = text.strip_prefix("export ").unwrap_or(text);
        let (name, value) = named.split_once(['=', ':']).unwrap_or((named, ""));
        let value = value.trim().trim_matches(['"', '\'', '`']);
        let path = ["env".to_owned(), name.trim().to_owned()];
        if self.instead(&path, None, None, value).is_some() {
            // It is noted.
        } else if text.split('\n').chain(entry.split('\n')).any(|line| is_known(line) || detect::logs_in(line.trim())) {
            self.left_out.push(path.join("."));
        } else {
            return entry.to_owned();
        }
        ends_of_lines(entry)
    }

    /// Settings in YAML, without the lines of what logs in, and of what is not understood.
    fn front(&mut self, front: &str) -> String {
        let yaml = yaml::read(front);
        let mut changes = Vec::new();
        for place in yaml.comments {
            changes.extend(self.comment(&front[place.clone()]).map(|kept| (place, kept)));
        }
        for (key, place) in yaml.unknown {
            let key = if detect::logs_in(&key) { A_KEY.to_owned() } else { key };
            self.left_out.push(format!("{key} (written in a way that is not looked at)"));
            changes.push((place.clone(), ends_of_lines(&front[place])));
        }
        for entry in &yaml.nodes {
            self.entry(&mut Vec::new(), None, None, (entry, front), &mut changes);
        }
        changed(front, changes)
    }

    fn node(&mut self, path: &mut Vec<String>, node: &Node, front: &str, changes: &mut Vec<(Range<usize>, String)>) {
        match node {
            Node::Map(entries) => {
                let named = entries.iter().find(|entry| entry.key == "name").and_then(|entry| entry.value.text());
                for entry in entries {
                    if self.logs_in_by_key(path, &entry.key, entry.value.text().as_deref()) {
                        changes.push((entry.place.clone(), ends_of_lines(&front[entry.place.clone()])));
                        continue;
                    }
                    path.push(entry.key.clone());
                    self.entry(path, None, named.as_deref(), (entry, front), changes);
                    path.pop();
                }
            }
            Node::List(entries) => {
                let mut before = None;
                for entry in entries {
                    self.entry(path, before.as_deref(), None, (entry, front), changes);
                    before = entry.value.text();
                }
            }
            Node::Text(_) => {}
        }
    }

    fn entry(
        &mut self,
        path: &mut Vec<String>,
        before: Option<&str>,
        named: Option<&str>,
        (entry, front): (&Entry, &str),
        changes: &mut Vec<(Range<usize>, String)>,
    ) {
        let Node::Text(lines) = &entry.value else { return self.node(path, &entry.value, front, changes) };
        let by_itself = self.instead(path, before, named, &entry.value.text().unwrap_or_default());
        // Others may read lines of a text as settings.
        let instead = by_itself.or_else(|| {
            let mut search = Search { reference: "", left_out: Vec::new(), depth: self.depth };
            let has_name = |line: &str| {
                let name = line.trim_start_matches("export ").split_once([':', '=']).map_or(" ", |(name, _)| name);
                !name.contains(char::is_whitespace)
            };
            let is_one = lines.len() > 1 && lines.iter().any(|line| has_name(line) && search.variable(line) != *line);
            is_one.then(|| {
                self.left_out.push(path.join("."));
                String::new()
            })
        });
        changes.extend(instead.map(|instead| match &entry.said {
            Some(said) if !instead.is_empty() => (said.clone(), serde_json::Value::from(instead).to_string()),
            _ => (entry.place.clone(), ends_of_lines(&front[entry.place.clone()])),
        }));
    }

    /// What is to stay of comments, and the blanks around them, if something in them could log in: only the ends of lines.
    pub(super) fn comment(&mut self, comment: &str) -> Option<String> {
        let says = |word: &str| has_secret_name(word) || is_known(word);
        let words = comment.split(|letter: char| letter.is_whitespace() || "\"'`,;{}[]()<>".contains(letter));
        // A name alone is told of, and not its value.
        let found = comment.contains([':', '=']) && words.flat_map(|word| word.split([':', '='])).any(says);
        let has_known = comment.split_whitespace().any(|word| is_known(word.trim_matches(['"', '\'', ','])));
        (found || has_known).then(|| {
            self.left_out.push("a comment".to_owned());
            ends_of_lines(comment)
        })
    }

    /// The same before an element of a list in TOML, where what stands behind the comma of another is.
    fn before(&mut self, decor: &mut Decor) {
        let comment = decor.prefix().and_then(|prefix| prefix.as_str()).filter(|prefix| prefix.contains('#'));
        if let Some(kept) = comment.map(str::to_owned).and_then(|comment| self.comment(&comment)) {
            decor.set_prefix(kept);
        }
    }

    /// Leaves out the comment behind something of TOML, if it could log in.
    fn behind(&mut self, decor: &mut Decor) {
        let comment = decor.suffix().and_then(|suffix| suffix.as_str()).filter(|suffix| suffix.contains('#'));
        if let Some(kept) = comment.map(str::to_owned).and_then(|comment| self.comment(&comment)) {
            decor.set_suffix(kept);
        }
    }

    fn item(&mut self, path: &mut Vec<String>, item: &mut Item) {
        match item {
            Item::Value(value) => self.value(path, None, None, value),
            Item::Table(table) => self.table(path, table),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| self.table(path, table)),
            Item::None => {}
        }
    }

    fn table(&mut self, path: &mut Vec<String>, table: &mut Table) {
        self.behind(table.decor_mut());
        table.retain(|key, item| !self.logs_in_by_key(path, key, item.as_str()));
        let named = table.get("name").and_then(Item::as_str).map(str::to_owned);
        for (key, item) in table.iter_mut() {
            path.push(key.get().to_owned());
            match item {
                Item::Value(value) => self.value(path, None, named.as_deref(), value),
                item => self.item(path, item),
            }
            path.pop();
        }
    }

    fn value(&mut self, path: &mut Vec<String>, before: Option<&str>, named: Option<&str>, value: &mut Value) {
        self.behind(value.decor_mut());
        let instead = match value {
            Value::String(text) => self.instead(path, before, named, text.value()).map(Value::from),
            Value::Integer(_) | Value::Float(_) => {
                let number = value.clone().decorated("", "").to_string();
                let instead = self.instead_of_number(path, before, named, &number);
                instead.map(|text| if text.is_empty() { 0.into() } else { text.into() })
            }
            _ => None,
        };
        if let Some(mut instead) = instead {
            *instead.decor_mut() = value.decor().clone();
            *value = instead;
            return;
        }
        match value {
            Value::Array(list) => {
                let mut before = None;
                let end = list.trailing().as_str().filter(|end| end.contains('#')).map(str::to_owned);
                if let Some(kept) = end.and_then(|end| self.comment(&end)) {
                    list.set_trailing(kept);
                }
                for value in list.iter_mut() {
                    self.before(value.decor_mut());
                    let own = value.as_str().map(str::to_owned);
                    self.value(path, before.as_deref(), None, value);
                    before = own;
                }
            }
            Value::InlineTable(table) => {
                table.retain(|key, value| !self.logs_in_by_key(path, key, value.as_str()));
                let named = table.get("name").and_then(Value::as_str).map(str::to_owned);
                for (key, value) in table.iter_mut() {
                    path.push(key.get().to_owned());
                    self.value(path, None, named.as_deref(), value);
                    path.pop();
                }
            }
            _ => {}
        }
    }
}

/// What stays of lines that are left out.
pub(super) fn ends_of_lines(text: &str) -> String {
    text.chars().filter(|letter| *letter == '\n').collect()
}

/// The lines of a file of variables; those together that one value has.
fn entries(text: &str) -> Vec<&str> {
    let (mut entries, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (entry, others) = rest.split_at(entry_end(rest));
        entries.push(entry);
        rest = others;
    }
    entries
}

/// Where the first of these entries ends.
fn entry_end(text: &str) -> usize {
    let line_end = |begin: usize| text[begin..].find('\n').map_or(text.len(), |at| begin + at + 1);
    let mut end = line_end(0);
    if text.trim_start().starts_with(['#', ';']) {
        return end;
    }
    let value = text[..end].split_once(['=', ':']).map_or("", |(_, value)| value.trim_start());
    if let Some(quote) = value.chars().next().filter(|first| "\"'`".contains(*first)) {
        let begin = end - value.len() + 1;
        end = variable_end(&text[begin..], quote).map_or(end, |at| line_end(begin + at + 1));
    }
    // Of git, and of shells.
    let goes_on = |line: &str| {
        let line = line.trim_end_matches(['\r', '\n']);
        (line.len() - line.trim_end_matches('\\').len()) % 2 == 1
    };
    while end < text.len() && goes_on(&text[..end]) {
        end = line_end(end);
    }
    end
}

/// Where the value of a variable ends that is in quotes. Every one can have some of its kind in it, behind a `\`, and a `\` that is one
/// itself is not known: if only such follow, the last.
fn variable_end(text: &str, quote: char) -> Option<usize> {
    let mut last = None;
    for (at, _) in text.match_indices(quote) {
        last = Some(at);
        if !text[..at].ends_with('\\') {
            break;
        }
    }
    last
}

/// The settings before a text.
enum Front {
    None,
    /// With the lines around them, up to here.
    UpTo(usize),
    /// They have an end for some readers, somewhere, or none, which is for others the end of the text.
    Open,
}

/// Where settings end that stand before a text. A line that says more than its mark is one to some readers, and `...` is one in YAML.
fn front_matter(text: &str) -> Front {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    let begins = |line: &str| line.starts_with("---") && !line.starts_with("----");
    if !begins(first.trim_start_matches('\u{feff}')) {
        return Front::None;
    }
    let (mut end, mut other) = (first.len(), None);
    for line in lines {
        end += line.len();
        match line.trim_end() {
            "---" => return Front::UpTo(end),
            line if line == "..." || begins(line) => _ = other.get_or_insert(end),
            _ => {}
        }
    }
    other.map_or(Front::Open, Front::UpTo)
}

/// Whether a rule of these words keeps something from being done: without it, that would be allowed. Who makes one has it named by what
/// does not log in.
pub(super) fn guards(word: &str) -> bool {
    matches!(word, "deny" | "ask" | "forbidden" | "prompt")
}

/// Whether a number may log in: it is long, and where it stands is called as what does.
fn is_secret_number(path: &[String], before: Option<&str>, named: Option<&str>, number: &str) -> bool {
    let by_key = path.last().is_some_and(|key| is_secret_name(key));
    let by_table = path.iter().rev().skip(1).any(|table| has_secret_name(table) && table.ends_with('s'));
    let is_one = by_key || by_table || [before, named].into_iter().flatten().any(is_secret_name);
    is_one && number.bytes().filter(u8::is_ascii_digit).count() >= LEAST_DIGITS
}

/// What is open at a place in JSON.
#[derive(Default)]
struct Level {
    is_table: bool,
    key: Option<String>,
    /// The last text of a list.
    before: Option<String>,
    /// What a table is called by its key `name`.
    named: Option<String>,
    /// The value of its key `value`, which stood before that.
    value: Option<Found>,
}

/// A text or a number of JSON.
#[derive(Clone)]
struct Found {
    place: Range<usize>,
    said: String,
    is_number: bool,
}

impl Found {
    /// What is to stand in its place, as it is written.
    fn instead(&self, search: &mut Search<'_>, path: &[String], level: &Level) -> Option<(Range<usize>, String)> {
        let (before, named) = (level.before.as_deref(), level.named.as_deref());
        let instead = match self.is_number {
            true => search.instead_of_number(path, before, named, &self.said),
            false => search.instead(path, before, named, &self.said),
        }?;
        let nothing = self.is_number && instead.is_empty();
        let written = if nothing { "0".to_owned() } else { serde_json::Value::from(instead).to_string() };
        Some((self.place.clone(), written))
    }
}

fn json(text: &str, search: &mut Search<'_>) -> String {
    let bytes = text.as_bytes();
    let (mut changes, mut at) = (Vec::new(), 0);
    let mut levels = vec![Level::default()];
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                let written = text.get(at..end).unwrap_or_default();
                let said: String =
                    serde_json::from_str(written).unwrap_or_else(|_| written.trim_matches('"').to_owned());
                let colon = blank_end(bytes, end);
                match levels.last_mut() {
                    Some(level) if level.is_table && bytes.get(colon) == Some(&b':') => {
                        level.key = None;
                        let (begin, path) = (blank_end(bytes, colon + 1), keys(&levels));
                        let value = text.get(begin..string_end(bytes, begin)).unwrap_or_default();
                        let value = serde_json::from_str::<String>(value).ok();
                        let key = match search.logs_in_by_key(&path, &said, value.as_deref()) {
                            true => format!("{LEFT_OUT}-{}", search.left_out.len()),
                            false => said.clone(),
                        };
                        if key != said {
                            changes.push((at..end, format!("\"{key}\"")));
                        }
                        if let Some(level) = levels.last_mut() {
                            level.key = Some(key);
                        }
                    }
                    _ => found(Found { place: at..end, said, is_number: false }, &mut levels, search, &mut changes),
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let end = at + bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                let said = text.get(at..end).unwrap_or_default().to_owned();
                found(Found { place: at..end, said, is_number: true }, &mut levels, search, &mut changes);
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
            b'/' if blank_end(bytes, at) > at => {
                let end = blank_end(bytes, at);
                changes.extend(search.comment(text.get(at..end).unwrap_or_default()).map(|kept| (at..end, kept)));
                at = end;
            }
            _ => at += 1,
        }
    }
    changed(text, changes)
}

/// A text with others in these places; what is in such a place itself counts for nothing.
fn changed(text: &str, mut changes: Vec<(Range<usize>, String)>) -> String {
    changes.sort_by_key(|(place, _)| (place.start, usize::MAX - place.end));
    let (mut out, mut copied) = (String::new(), 0);
    for (place, written) in changes.into_iter().filter(|(place, _)| !place.is_empty()) {
        if place.start >= copied {
            out.push_str(text.get(copied..place.start).unwrap_or_default());
            out.push_str(&written);
            copied = place.end;
        }
    }
    out + text.get(copied..).unwrap_or_default()
}

/// The keys that are open.
fn keys(levels: &[Level]) -> Vec<String> {
    levels.iter().filter_map(|level| level.key.clone()).collect()
}

/// Looks at a value, and at one that stood before what it is called.
fn found(found: Found, levels: &mut [Level], search: &mut Search<'_>, changes: &mut Vec<(Range<usize>, String)>) {
    let path = keys(levels);
    let Some((level, above)) = levels.split_last_mut() else { return };
    let change = found.instead(search, &path, level);
    let stays = change.is_none();
    changes.extend(change);
    match level.key.as_deref() {
        Some("name") if level.is_table && !found.is_number => {
            level.named = Some(found.said);
            if let Some(value) = level.value.take() {
                let path = [keys(above), vec!["value".to_owned()]].concat();
                changes.extend(value.instead(search, &path, level));
            }
        }
        Some("value") if level.is_table => level.value = stays.then_some(found),
        _ => level.before = (!level.is_table).then_some(found.said),
    }
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
