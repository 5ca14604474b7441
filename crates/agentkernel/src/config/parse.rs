//! Reads TOML by the tables of `schema`: hides how a mistake becomes a line, a column and a hint.

use super::{
    ConfigError,
    forms::{self, FormError},
    image, nearest,
    schema::{self, Form, Key, Keys, Table},
    settings::{RegistrySettings, RuleSettings, SecretSettings, Settings},
};
use egress::Rule;
use std::{ops::Range, path::Path};
use toml_edit::{Document, Item, TableLike, Value};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl<T> Located<T> {
    pub(super) fn with<U>(&self, value: U) -> Located<U> {
        Located { value, line: self.line, column: self.column }
    }

    /// A mistake that shows only when the value is used.
    pub(super) fn error(&self, path: &Path, cause: impl Into<String>, hint: impl Into<String>) -> ConfigError {
        let (line, column) = (self.line, self.column);
        ConfigError::File { path: path.into(), line, column, cause: cause.into(), hint: hint.into() }
    }
}

/// A mistake, by the bytes of the text that are wrong.
pub(crate) struct Mistake {
    span: Range<usize>,
    cause: String,
    hint: String,
}

impl Mistake {
    pub(super) fn at(span: Range<usize>, cause: impl Into<String>) -> Self {
        Self { span, cause: cause.into(), hint: String::new() }
    }

    /// What is no TOML.
    pub(super) fn syntax(error: &toml_edit::TomlError) -> Self {
        let cause = error.message().lines().next().unwrap_or_default().to_owned();
        Self::at(error.span().unwrap_or(0..0), cause)
    }

    /// The same with something to do about it.
    pub(super) fn hint(self, hint: String) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn locate(self, path: &Path, text: &str) -> ConfigError {
        let (line, column) = text.bytes().take(self.span.start).fold(START, after);
        ConfigError::File { path: path.into(), line, column, cause: self.cause, hint: self.hint }
    }
}

/// The line and the character in it where a text begins.
const START: (usize, usize) = (1, 1);

/// Those behind one more byte.
fn after((line, column): (usize, usize), byte: u8) -> (usize, usize) {
    match byte {
        b'\n' => (line + 1, 1),
        // Within a character.
        0x80..=0xbf => (line, column),
        _ => (line, column + 1),
    }
}

/// A text in which lines and characters are counted once, and not again for each value.
pub(crate) struct Source<'a> {
    text: &'a str,
    /// Those of the first byte of each [`CHUNK`](Self::CHUNK).
    counted: Vec<(usize, usize)>,
}

impl<'a> Source<'a> {
    const CHUNK: usize = 256;

    pub(super) fn new(text: &'a str) -> Self {
        let ends = text.as_bytes().chunks(Self::CHUNK).scan(START, |at, chunk| {
            *at = chunk.iter().copied().fold(*at, after);
            Some(*at)
        });
        Self { text, counted: std::iter::once(START).chain(ends).collect() }
    }

    /// The line and the character in it of a byte, both from 1.
    fn position(&self, byte: usize) -> (usize, usize) {
        let (counted, rest) = self.counted(byte);
        rest.iter().copied().fold(counted, after)
    }

    /// What has been counted before a byte, and the bytes between.
    fn counted(&self, byte: usize) -> ((usize, usize), &[u8]) {
        let byte = byte.min(self.text.len());
        let chunk = byte / Self::CHUNK;
        (self.counted[chunk], &self.text.as_bytes()[chunk * Self::CHUNK..byte])
    }

    fn locate<T>(&self, value: T, span: &Range<usize>) -> Located<T> {
        let (line, column) = self.position(span.start);
        Located { value, line, column }
    }
}

/// Reads a file's text, which may have these tables.
pub(super) fn settings(text: &str, tables: &'static [Table]) -> Result<Settings, Mistake> {
    let document = Document::parse(text).map_err(|error| Mistake::syntax(&error))?;
    let source = &Source::new(text);
    let mut settings = Settings::default();
    for (name, item) in document.as_table() {
        let here = key_span(document.as_table(), name, item);
        let Some(table) = tables.iter().find(|table| table.name == name) else {
            return Err(unknown_table(tables, name, here));
        };
        let Some(items) = item.as_table_like() else {
            let mut mistake = Mistake::at(here, format!("[{name}] must be a table, not {}", kind(item)));
            if let Some(other) = tables.iter().find(|table| table.fixed().iter().any(|key| key.name == name)) {
                mistake.hint = format!("`{name}` belongs into [{}]", other.name);
            }
            return Err(mistake);
        };
        match table.keys {
            Keys::Fixed(keys) => {
                let unknown = |name: &str, span| unknown_key(tables, table, name, span);
                fill(&mut settings, keys, items, source, unknown)?;
            }
            Keys::Secrets => {
                for (name, item) in items.iter() {
                    let here = key_span(items, name, item);
                    settings.secrets.push(secret(name, item, source, here)?);
                }
            }
            Keys::Registries => {
                for (name, item) in items.iter() {
                    let here = key_span(items, name, item);
                    settings.registries.push(registry(name, item, source, here)?);
                }
            }
        }
    }
    Ok(settings)
}

/// Takes every key of a table.
pub(super) fn fill<T>(
    target: &mut T,
    keys: &[Key<T>],
    items: &dyn TableLike,
    source: &Source<'_>,
    unknown: impl Fn(&str, Range<usize>) -> Mistake,
) -> Result<(), Mistake> {
    for (name, item) in items.iter() {
        let here = key_span(items, name, item);
        let key = keys.iter().find(|key| key.name == name).ok_or_else(|| unknown(name, here.clone()))?;
        set(target, key, item, source, here)?;
    }
    Ok(())
}

fn unknown_table(tables: &'static [Table], name: &str, span: Range<usize>) -> Mistake {
    let mut mistake = Mistake::at(span, format!("unknown table {}", forms::quoted(name.as_ref())));
    let names = tables.iter().map(|table| table.name);
    mistake.hint = if let Some(near) = nearest(name, names.clone()) {
        format!("Did you mean [{near}]?")
    } else if let Some(table) = tables.iter().find(|table| table.fixed().iter().any(|key| key.name == name)) {
        format!("`{name}` belongs into [{}]", table.name)
    } else if schema::PROJECT.iter().any(|table| table.name == name) {
        format!("[{name}] belongs into a project's {}", super::FILE_NAME)
    } else {
        format!("There are {}", names.map(|table| format!("[{table}]")).collect::<Vec<_>>().join(", "))
    };
    mistake
}

fn unknown_key(tables: &'static [Table], table: &Table, name: &str, span: Range<usize>) -> Mistake {
    let Table { name: table, .. } = *table;
    let keys = || tables.iter().filter(move |other| other.name == table).flat_map(|table| table.fixed());
    let mut mistake = Mistake::at(span, format!("unknown key {} in [{table}]", forms::quoted(name.as_ref())));
    let all = || tables.iter().flat_map(|table| table.fixed().iter().map(move |key| (table.name, key.name)));
    mistake.hint = if let Some((.., hint)) = schema::MOVED.iter().find(|(from, key, _)| (*from, *key) == (table, name))
    {
        (*hint).to_owned()
    } else if let Some((other, _)) = all().find(|(_, key)| *key == name) {
        format!("`{name}` belongs into [{other}]")
    } else if let Some(near) = nearest(name, keys().map(|key| key.name)) {
        format!("Did you mean `{near}`?")
    } else if let Some(near) = nearest(name, all().map(|(_, key)| key)) {
        let other = all().find(|(_, key)| *key == near).map_or(table, |(other, _)| other);
        format!("Did you mean `{near}` in [{other}]?")
    } else {
        format!("[{table}] has {}", list(keys()))
    };
    mistake
}

/// An unknown key of a table in a list, or among names that the user chooses.
pub(super) fn unknown_entry<T>(what: &str, keys: &[Key<T>], name: &str, span: Range<usize>) -> Mistake {
    let mut mistake = Mistake::at(span, format!("`{what}`: unknown key {}", forms::quoted(name.as_ref())));
    mistake.hint = match nearest(name, keys.iter().map(|key| key.name)) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => format!("It has {}", list(keys)),
    };
    mistake
}

pub(super) fn list<'a, T: 'static>(keys: impl IntoIterator<Item = &'a Key<T>>) -> String {
    keys.into_iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

/// A text that does not have its form.
pub(super) fn refused(name: &str, span: Range<usize>) -> impl FnOnce(FormError) -> Mistake {
    move |error| Mistake { span, cause: format!("`{name}`: {error}"), hint: error.hint.into() }
}

/// Whether a character is in it that no path, argument or variable can have.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.value().contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::InlineTable(table) => table.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Takes one key's value.
fn set<T>(target: &mut T, key: &Key<T>, item: &Item, source: &Source<'_>, here: Range<usize>) -> Result<(), Mistake> {
    let span = item.span().unwrap_or(here);
    let name = key.name;
    if item.as_value().is_some_and(has_nul) {
        return Err(Mistake::at(span, format!("`{name}` has a NUL character, which nothing can be called by")));
    }
    let expected = |what: &str| Mistake::at(span.clone(), format!("`{name}` must be {what}, not {}", kind(item)));
    let number = || match item.as_integer().map(u64::try_from) {
        Some(Err(_)) => Err(Mistake::at(span.clone(), format!("`{name}` {}", forms::NEGATIVE))),
        Some(Ok(number)) => Ok(Some(number)),
        None => Ok(None),
    };
    match &key.form {
        Form::Text(set) | Form::Choice(_, set) => {
            let value = item.as_str().ok_or_else(|| expected("a text"))?;
            set(target, source.locate(value.to_owned(), &span)).map_err(refused(name, span))
        }
        Form::Flag(set) => {
            set(target, item.as_bool().ok_or_else(|| expected("true or false"))?);
            Ok(())
        }
        Form::Size(set) => {
            let size = match (item.as_str(), number()?) {
                (Some(size), _) => forms::parse_size(size).map_err(refused(name, span.clone()))?,
                (_, Some(size)) => size,
                _ => return Err(expected("a size such as \"512M\"")),
            };
            set(target, source.locate(size, &span)).map_err(refused(name, span))
        }
        Form::Time(set) => {
            let value = item.as_str().ok_or_else(|| expected("a time such as \"90s\""))?;
            set(target, forms::parse_duration(value).map_err(refused(name, span))?);
            Ok(())
        }
        Form::Cpus(set) => {
            // As written: 0.1 has no exact binary form.
            let written = match (item.as_float(), item.as_integer()) {
                (Some(number), _) => number.to_string(),
                (_, Some(number)) => number.to_string(),
                _ => return Err(expected("a number such as 0.5")),
            };
            set(target, forms::parse_cpus(&written).map_err(refused(name, span))?);
            Ok(())
        }
        Form::Count(set) => {
            let count = number()?.ok_or_else(|| expected("a whole number"))?;
            set(target, source.locate(count, &span)).map_err(refused(name, span))
        }
        Form::List(set) => each(item, &expected, |element, span| {
            let value = element.as_str().ok_or_else(|| only(name, "texts", element, &span))?;
            set(target, source.locate(value.to_owned(), &span)).map_err(refused(name, span))
        }),
        Form::Texts(set) => {
            let mut texts = Vec::new();
            each(item, &expected, |element, span| {
                texts.push(element.as_str().ok_or_else(|| only(name, "texts", element, &span))?.to_owned());
                Ok(())
            })?;
            set(target, texts).map_err(refused(name, span))
        }
        Form::Filled(set) => {
            if item.as_array().is_some_and(toml_edit::Array::is_empty) {
                let cause = format!("`{name}` is empty, which would allow nothing");
                return Err(Mistake {
                    hint: "Leave it out for what holds without it".into(),
                    ..Mistake::at(span, cause)
                });
            }
            each(item, &expected, |element, span| {
                let value = element.as_str().ok_or_else(|| only(name, "texts", element, &span))?;
                set(target, source.locate(value.to_owned(), &span)).map_err(refused(name, span))
            })
        }
        Form::Numbers(set) => each(item, &expected, |element, span| {
            let value = match (element.as_str(), element.as_integer()) {
                (Some(value), _) => value.to_owned(),
                (_, Some(number)) => number.to_string(),
                _ => return Err(only(name, "texts and whole numbers", element, &span)),
            };
            set(target, source.locate(value, &span)).map_err(refused(name, span))
        }),
        Form::Rules(set) => {
            // `[[network.allow]]` is another way to write a list of tables.
            if let Some(tables) = item.as_array_of_tables() {
                let rules = tables.iter().map(|table| {
                    let span = table.span().unwrap_or_else(|| span.clone());
                    Ok(source.locate(rule(name, table, source, &span)?, &span))
                });
                set(target, rules.collect::<Result<_, Mistake>>()?);
                return Ok(());
            }
            let mut rules = Vec::new();
            each(item, &expected, |element, span| {
                let value = match (element.as_str(), element.as_inline_table()) {
                    (Some(value), _) => forms::parse_rule(value).map_err(refused(name, span.clone()))?,
                    (_, Some(table)) => rule(name, table, source, &span)?,
                    _ => return Err(only(name, "texts and tables", element, &span)),
                };
                rules.push(source.locate(value, &span));
                Ok(())
            })?;
            set(target, rules);
            Ok(())
        }
        Form::Variables(set) => {
            let table = item.as_table_like().ok_or_else(|| expected("a table of texts"))?;
            for (variable, item) in table.iter() {
                let here = key_span(table, variable, item);
                let Some(value) = item.as_str() else {
                    let span = item.span().unwrap_or(here);
                    let variable = forms::quoted(variable.as_ref());
                    return Err(Mistake::at(span, format!("`{name}`: {variable} must be a text, not {}", kind(item))));
                };
                let both = format!("{variable}={value}");
                match forms::parse_env(both.as_ref()) {
                    // A name with a "=" would be split in another place than it was written.
                    Ok(forms::EnvVar::Set(parsed, _)) if parsed == variable => {}
                    Ok(_) => return Err(Mistake::at(here, format!("`{name}`: a variable's name can't have a '='"))),
                    Err(error) => return Err(refused(name, here)(error)),
                }
                set(target, variable.to_owned(), value.to_owned());
            }
            Ok(())
        }
        Form::Nested(nested) => nested.read(target, name, item, source),
    }
}

/// Takes every element of a list.
fn each(
    item: &Item,
    expected: &dyn Fn(&str) -> Mistake,
    mut take: impl FnMut(&Value, Range<usize>) -> Result<(), Mistake>,
) -> Result<(), Mistake> {
    let list = item.as_array().ok_or_else(|| expected("a list of texts"))?;
    let whole = item.span().unwrap_or(0..0);
    list.iter().try_for_each(|element| take(element, element.span().unwrap_or_else(|| whole.clone())))
}

/// An element of a kind that the list does not have.
fn only(name: &str, what: &str, element: &Value, span: &Range<usize>) -> Mistake {
    Mistake::at(span.clone(), format!("`{name}` must have {what} only, not {}", value_kind(element)))
}

/// A rule that is a table.
fn rule(name: &str, table: &dyn TableLike, source: &Source<'_>, span: &Range<usize>) -> Result<Rule, Mistake> {
    let mut draft = RuleSettings::default();
    fill(&mut draft, schema::RULE, table, source, |key, span| unknown_entry(name, schema::RULE, key, span))?;
    let RuleSettings { rule, requests } = draft;
    let missing = || Mistake {
        hint: "Write { host = \"api.example.org\", methods = [\"GET\"] }".into(),
        ..Mistake::at(span.clone(), format!("`{name}`: `host` is missing"))
    };
    let rule = rule.ok_or_else(missing)?.only(requests);
    rule.map_err(|error| refused(name, span.clone())(error.into()))
}

/// One of `[secrets]`.
fn secret(
    name: &str,
    item: &Item,
    source: &Source<'_>,
    here: Range<usize>,
) -> Result<Located<SecretSettings>, Mistake> {
    let parsed = forms::parse_secret_name(name).map_err(|error| Mistake {
        span: here.clone(),
        cause: error.to_string(),
        hint: error.hint.into(),
    })?;
    let mut draft = SecretSettings { name: parsed, ..SecretSettings::default() };
    if let Some(table) = item.as_table_like() {
        fill(&mut draft, schema::SECRET, table, source, |key, span| unknown_entry(name, schema::SECRET, key, span))?;
    } else if item.is_array()
        && let Some(hosts) = schema::SECRET.iter().find(|key| key.name == "hosts")
    {
        set(&mut draft, hosts, item, source, here.clone())?;
    } else {
        // Perhaps it is the secret itself, so it is not shown.
        let cause = format!("`{name}` must be a list of hosts or a table, not {}", kind(item));
        let hint = format!("No value stands here: `agentkernel secret set {name} --host HOST` takes it");
        return Err(Mistake { hint, ..Mistake::at(item.span().unwrap_or(here), cause) });
    }
    Ok(source.locate(draft, &here))
}

/// One of `[registries]`.
fn registry(name: &str, item: &Item, source: &Source<'_>, here: Range<usize>) -> Result<RegistrySettings, Mistake> {
    let parsed = image::parse_registry(name).map_err(|error| Mistake {
        span: here.clone(),
        cause: error.to_string(),
        hint: error.hint.into(),
    })?;
    let Some(table) = item.as_table_like() else {
        return Err(Mistake::at(item.span().unwrap_or(here), format!("`{name}` must be a table, not {}", kind(item))));
    };
    let mut draft = RegistrySettings { name: parsed, ..RegistrySettings::default() };
    fill(&mut draft, schema::REGISTRY, table, source, |key, span| unknown_entry(name, schema::REGISTRY, key, span))?;
    Ok(draft)
}

fn key_span(table: &dyn TableLike, name: &str, item: &Item) -> Range<usize> {
    table.key(name).and_then(toml_edit::Key::span).or_else(|| item.span()).unwrap_or(0..0)
}

pub(super) fn kind(item: &Item) -> &'static str {
    match item {
        Item::Value(value) => value_kind(value),
        Item::ArrayOfTables(_) => "a list of tables",
        Item::Table(_) | Item::None => "a table",
    }
}

fn value_kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a floating-point number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::InlineTable(_) => "a table",
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
