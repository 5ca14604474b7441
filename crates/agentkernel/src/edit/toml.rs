//! TOML: hides where in a text a table is put or taken out. The parser is toml_edit's; what it reads is not written anew.

use super::{Fault, MARK, Put, append, newline};
use serde_json::Value;
use toml_edit::{Document, DocumentMut, Item, Table};

/// Puts a table where these keys lead: behind all others, or into the inline table that is there.
pub(super) fn put(text: &str, key: &[String], value: &Value) -> Result<Put, Fault> {
    let document = parse(text)?;
    let Some((name, outer)) = key.split_last() else { return Ok(Put::Theirs) };
    if let Some(found) = item(document.as_item(), key) {
        return Ok(if same(found, value) { Put::There } else { Put::Theirs });
    }
    for depth in 1..=outer.len() {
        let Some(item) = item(document.as_item(), &outer[..depth]) else { break };
        let at = item.span().map_or(0, |span| span.start);
        match item {
            Item::Table(_) => {}
            Item::Value(toml_edit::Value::InlineTable(table)) if depth == outer.len() => {
                let Some(span) = table.span() else { return Err(Fault::new(at, "it has no place")) };
                let close = span.end.saturating_sub(1);
                let inside = text[..close].trim_end();
                let comma = if table.is_empty() { "" } else { "," };
                let entry = format!("{comma} {} = {} ", word(name), inline(value));
                return Ok(Put::Done(format!("{inside}{entry}{}", &text[close..])));
            }
            _ => return Err(Fault::new(at, format!("`{}` is no table", outer[..depth].join(".")))),
        }
    }
    let head: Vec<String> = key.iter().map(|part| word(part)).collect();
    let mut lines = format!("[{}]\n", head.join("."));
    for (name, value) in value.as_object().into_iter().flatten() {
        lines.push_str(&format!("{} = {}\n", word(name), inline(value)));
    }
    Ok(Put::Done(append(text, &lines)))
}

/// Whether it is there.
pub(super) fn has(text: &str, key: &[String], value: &Value) -> bool {
    parse(text).is_ok_and(|document| item(document.as_item(), key).is_some_and(|item| same(item, value)))
}

/// Takes out what is there.
pub(super) fn take(text: &str, key: &[String]) -> Result<String, Fault> {
    let newline = newline(text);
    let mut document: DocumentMut = parse(text)?.into_mut();
    let Some((name, outer)) = key.split_last() else { return Ok(text.to_owned()) };
    let mut item = document.as_item_mut();
    for part in outer {
        match item.get_mut(part) {
            Some(inner) => item = inner,
            None => return Ok(text.to_owned()),
        }
    }
    if let Some(table) = item.as_table_like_mut() {
        table.remove(name);
    }
    let after = document.to_string();
    let mark = if text.starts_with(MARK) && !after.starts_with(MARK) { "\u{feff}" } else { "" };
    // It ends all lines alike.
    Ok(format!("{mark}{}", after.replace("\r\n", "\n").replace('\n', newline)))
}

fn parse(text: &str) -> Result<Document<&str>, Fault> {
    Document::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Fault::new(at, error.message().replace('\n', ", "))
    })
}

fn item<'a>(root: &'a Item, key: &[String]) -> Option<&'a Item> {
    key.iter().try_fold(root, |item, name| item.get(name))
}

/// By what both say.
fn same(item: &Item, value: &Value) -> bool {
    let mut table = Table::new();
    table.insert("value", item.clone());
    let read = toml_edit::de::from_document::<Value>(DocumentMut::from(table));
    read.is_ok_and(|read| read.get("value") == Some(value))
}

/// A key as it is written.
fn word(name: &str) -> String {
    toml_edit::Key::new(name).display_repr().into_owned()
}

/// A value on one line. There is no null in TOML, and in none of ours.
fn inline(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries = map.iter().map(|(name, value)| format!("{} = {}", word(name), inline(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        other => other.to_string(),
    }
}
