//! TOML: hides where in a text a table is put or taken out. The parser is toml_edit's; what it reads is not written anew.

use super::{Fault, MARK, Put, append, detach};
use serde_json::Value;
use std::ops::Range;
use toml_edit::{Document, DocumentMut, InlineTable, Item, Table, Value as Node};

/// Puts a table where these keys lead: behind all others, or into the inline table that is there.
pub(super) fn put(text: &str, key: &[String], value: &Value, added: &[String]) -> Result<Put, Fault> {
    let document = parse(text)?;
    let Some((name, outer)) = key.split_last() else { return Ok(Put::Theirs) };
    if let Some(found) = item(document.as_item(), key) {
        return Ok(if same(found, value, added) { Put::There } else { Put::Theirs });
    }
    for depth in 1..=outer.len() {
        let Some(item) = item(document.as_item(), &outer[..depth]) else { break };
        let at = item.span().map_or(0, |span| span.start);
        match item {
            Item::Table(_) => {}
            Item::Value(Node::InlineTable(table)) if depth == outer.len() => {
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
pub(super) fn has(text: &str, key: &[String], value: &Value, added: &[String]) -> bool {
    parse(text).is_ok_and(|document| item(document.as_item(), key).is_some_and(|item| same(item, value, added)))
}

/// Takes out what is there, all tables below it with it. Comments on lines of their own stay.
pub(super) fn take(text: &str, key: &[String], kept: Option<&str>) -> Result<String, Fault> {
    let document = parse(text)?;
    let Some(found) = item(document.as_item(), key) else { return Ok(text.to_owned()) };
    let outer = (1..key.len()).find_map(|depth| match item(document.as_item(), &key[..depth]) {
        Some(Item::Value(Node::InlineTable(table))) => Some((depth, table)),
        _ => None,
    });
    let after = match outer {
        Some((depth, table)) if depth + 1 == key.len() => entry(text, table, &key[depth]).map(|range| {
            let rest = text[range.end..].trim_start_matches([' ', '\t']);
            let head = &text[..range.start];
            let gap = if rest.starts_with('}') && !head.ends_with(' ') { " " } else { "" };
            format!("{head}{gap}{rest}")
        }),
        Some(_) => None,
        None => pieces(text, found).map(|mut pieces| {
            pieces.reverse();
            let last = pieces.iter().rposition(|piece| piece.head);
            pieces.iter().enumerate().fold(text.to_owned(), |text, (at, piece)| {
                let lines = piece.lines.clone();
                match piece.head {
                    true => detach(&text, lines, kept.filter(|_| last == Some(at))),
                    false => format!("{}{}", &text[..lines.start], &text[lines.end..]),
                }
            })
        }),
    };
    // A form that we did not think of must not become a broken file.
    let same = |after: &String| said(after, key).is_some_and(|said_then| said(text, key) == Some(said_then));
    after.filter(same).ok_or_else(|| {
        let at = found.span().map_or(0, |span| span.start);
        Fault::new(at, format!("`{}` can't be taken out alone, only by hand", key.join(".")))
    })
}

/// The lines of those tables in what is there.
pub(super) fn added(text: &str, key: &[String], added: &[String]) -> String {
    let Ok(document) = parse(text) else { return String::new() };
    let tables = added.iter().filter_map(|name| item(document.as_item(), key)?.get(name));
    let lines = tables.filter_map(|table| pieces(text, table)).flatten().map(|piece| {
        let gap = if piece.head { "\n" } else { "" };
        format!("{gap}{}\n", text[piece.lines].trim_end())
    });
    lines.collect::<String>().replace("\r\n", "\n")
}

/// Lines of a table.
struct Piece {
    lines: Range<usize>,
    /// Whether they are the one with its name.
    head: bool,
}

/// All lines that make up something, in their order; `None`: it stands on no lines of its own.
fn pieces(text: &str, item: &Item) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    collect(item, &mut found)?;
    let mut pieces: Vec<Piece> = found
        .into_iter()
        .map(|(span, head)| {
            let start = text[..span.start].rfind('\n').map_or_else(|| text.len() - body(text).len(), |at| at + 1);
            let end = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1);
            Piece { lines: start..end, head }
        })
        .collect();
    pieces.sort_by_key(|piece| piece.lines.start);
    Some(pieces)
}

fn collect(item: &Item, found: &mut Vec<(Range<usize>, bool)>) -> Option<()> {
    let mut table = |table: &Table| {
        if !table.is_implicit() && !table.is_dotted() {
            found.push((table.span()?, true));
        }
        table.iter().try_for_each(|(_, item)| collect(item, found))
    };
    match item {
        Item::Table(inner) => table(inner),
        Item::ArrayOfTables(list) => list.iter().try_for_each(table),
        Item::Value(value) => {
            found.push((value.span()?, false));
            Some(())
        }
        Item::None => Some(()),
    }
}

/// Where an entry of an inline table stands, with the comma that goes with it.
fn entry(text: &str, table: &InlineTable, name: &str) -> Option<Range<usize>> {
    let span = |name: &str| Some(table.key(name)?.span()?.start..table.get(name)?.span()?.end);
    let own = span(name)?;
    let others: Vec<_> = table.iter().filter(|(other, _)| *other != name).map(|(other, _)| span(other)).collect();
    let others = others.into_iter().collect::<Option<Vec<_>>>()?;
    let next = others.iter().map(|other| other.start).filter(|start| *start > own.end).min();
    let before = others.iter().map(|other| other.end).filter(|end| *end < own.start).max();
    let comma = |range: Range<usize>| text[range].chars().all(|c| c == ',' || c.is_whitespace());
    let range = match (next, before) {
        (Some(next), _) => own.start..next,
        (None, Some(before)) => before..own.end,
        (None, None) => own.clone(),
    };
    // Not with a comment.
    (comma(range.start..own.start) && comma(own.end..range.end)).then_some(range)
}

/// What a text says without what these keys lead to, and without what is empty around it then.
fn said(text: &str, key: &[String]) -> Option<Value> {
    let mut said: Value = toml_edit::de::from_str(body(text)).ok()?;
    for depth in (1..=key.len()).rev() {
        let outer = key[..depth - 1].iter().try_fold(&mut said, |value, name| value.get_mut(name));
        let Some(outer) = outer.and_then(Value::as_object_mut) else { continue };
        let is_empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
        if depth == key.len() || outer.get(&key[depth - 1]).is_some_and(is_empty) {
            outer.remove(&key[depth - 1]);
        }
    }
    Some(said)
}

fn body(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
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

/// By what both say, but for tables that were added.
fn same(item: &Item, value: &Value, added: &[String]) -> bool {
    let mut item = item.clone();
    if let Some(table) = item.as_table_like_mut() {
        for name in added {
            if table.get(name).is_some_and(Item::is_table_like) {
                table.remove(name);
            }
        }
    }
    let mut table = Table::new();
    table.insert("value", item);
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
