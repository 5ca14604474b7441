//! JSON with comments and trailing commas: hides where in a text a value is put or taken out. The parser is
//! jsonc-parser's; texts are changed by the places that it tells.

use super::{Fault, MARK, Put, newline};
use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{Array, Object, ObjectProp, Value as Node},
    common::{Range, Ranged as _},
    parse_to_ast,
};
use serde::Serialize as _;
use serde_json::Value;

/// What agents' own parsers take.
const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_loose_object_property_names: false,
    allow_trailing_commas: true,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The list that a value is one of.
#[derive(Clone, Copy)]
pub(super) struct List<'a> {
    /// Where in it stands what tells it from all others; none: it is all of it.
    pub(super) known_by: Option<&'a str>,
    /// What of its text stands in others as well that have its place.
    pub(super) mark: Option<&'a str>,
}

/// Puts a value where these keys lead, or behind the others of the list there.
pub(super) fn put(text: &str, key: &[String], value: &Value, list: Option<List<'_>>) -> Result<Put, Fault> {
    let (mark, body) = split(text);
    let done = |text: String| Ok(Put::Done(format!("{mark}{text}")));
    let whole = if list.is_some() { Value::from(vec![value.clone()]) } else { value.clone() };
    let Some(root) = parse(body).map_err(|fault| fault.behind(mark))? else {
        let lines = pretty(&nested(key, whole), "  ", newline(text), "") + newline(text);
        let gap = if body.is_empty() || body.ends_with('\n') { "" } else { newline(text) };
        return done(format!("{body}{gap}{lines}"));
    };
    let unit = unit(body, &root);
    let mut node = &root;
    for (depth, name) in key.iter().enumerate() {
        let Node::Object(object) = node else {
            return Err(wrong(node, key, depth, "no object").behind(mark));
        };
        match find(object, name) {
            Some(found) => node = &found.value,
            None => {
                let name = Value::from(name.as_str()).to_string();
                let container = Container::of_object(body, object, &unit);
                return done(container.insert(&name, &nested(&key[depth + 1..], whole)));
            }
        }
    }
    match (node, list) {
        (Node::Array(array), Some(list)) => match &array.elements {
            elements if elements.iter().any(|element| list.means(element, value)) => Ok(Put::There),
            elements if elements.iter().any(|element| list.marks(element)) => Ok(Put::Theirs),
            _ => {
                let items = array.elements.iter().map(Node::range).collect();
                done(Container { text: body, range: array.range, items, unit: &unit }.insert("", value))
            }
        },
        (_, Some(_)) => Err(wrong(node, key, key.len(), "no list").behind(mark)),
        _ if same(node, value) => Ok(Put::There),
        _ => Ok(Put::Theirs),
    }
}

/// Puts a value in the place of another, where these keys lead.
pub(super) fn replace(text: &str, key: &[String], value: &Value) -> Result<String, Fault> {
    let (mark, body) = split(text);
    let root = parse(body).map_err(|fault| fault.behind(mark))?;
    let node = root.as_ref().and_then(|root| at(root, key));
    let Some(node) = node else { return Ok(text.to_owned()) };
    Ok(format!("{mark}{}{value}{}", &body[..node.start()], &body[node.end()..]))
}

/// Whether it is there.
pub(super) fn has(text: &str, key: &[String], value: &Value, list: Option<List<'_>>) -> bool {
    let Ok(Some(root)) = parse(split(text).1) else { return false };
    match (at(&root, key), list) {
        (Some(Node::Array(array)), Some(list)) => array.elements.iter().any(|element| list.means(element, value)),
        (Some(node), None) => same(node, value),
        _ => false,
    }
}

/// How many of these keys lead somewhere.
pub(super) fn depth(text: &str, key: &[String]) -> usize {
    let Ok(Some(root)) = parse(split(text).1) else { return 0 };
    (1..=key.len()).take_while(|depth| way(&root, &key[..*depth]).len() == *depth).count()
}

/// What it says; nothing is an empty table.
pub(super) fn value(text: &str) -> Option<Value> {
    let parsed = parse(split(text).1).ok()?;
    Some(parsed.map_or_else(|| Value::Object(Default::default()), Value::from))
}

/// Whether it says nothing.
pub(super) fn is_empty(text: &str) -> bool {
    match parse(split(text).1) {
        Ok(Some(Node::Object(object))) => {
            let (before, after) = (&split(text).1[..object.range.start], &split(text).1[object.range.end..]);
            is_blank(split(text).1, &object.range) && before.trim().is_empty() && after.trim().is_empty()
        }
        Ok(None) => split(text).1.trim().is_empty(),
        _ => false,
    }
}

/// Whether nothing is between these braces, not even a comment.
fn is_blank(text: &str, braces: &Range) -> bool {
    text[braces.start + 1..braces.end - 1].trim().is_empty()
}

/// Takes a value out that is there, and what is empty around it then, down to the first `keep` keys.
pub(super) fn take(
    text: &str,
    key: &[String],
    value: &Value,
    list: Option<List<'_>>,
    keep: usize,
) -> Result<String, Fault> {
    let (mark, body) = split(text);
    let body = without(body, key, value, list, keep).map_err(|fault| fault.behind(mark))?;
    Ok(format!("{mark}{body}"))
}

fn without(body: &str, key: &[String], value: &Value, list: Option<List<'_>>, keep: usize) -> Result<String, Fault> {
    let mut body = body.to_owned();
    if let Some(list) = list {
        while let Some(after) = list.without_last(&body, key, value)? {
            body = after;
            // Of those that are known by a part of them alone, none is anybody else's.
            if list.known_by.is_none() {
                break;
            }
        }
    }
    for depth in (0..key.len()).rev() {
        let after = {
            let Some(root) = parse(&body)? else { break };
            let last = depth + 1 == key.len() && list.is_none();
            let inner = way(&root, &key[..=depth]);
            let empty = match inner.last() {
                Some(Node::Object(Object { range, .. }) | Node::Array(Array { range, .. })) => is_blank(&body, range),
                _ => false,
            };
            if !last && (!empty || depth < keep) {
                break;
            }
            let outer = if depth == 0 { Some(&root) } else { way(&root, &key[..depth]).pop() };
            let Some(Node::Object(object)) = outer else { break };
            let Some(at) = object.properties.iter().rposition(|property| property.name.as_str() == key[depth]) else {
                break;
            };
            // What is remarked beside its name stays.
            let property = &object.properties[at];
            if !last && words(&body[property.range.start..property.value.start()]).count() > 2 {
                break;
            }
            Container::of_object(&body, object, "").remove(at)?
        };
        body = after;
    }
    Ok(body)
}

/// An object or a list in a text.
struct Container<'a> {
    text: &'a str,
    range: Range,
    /// What is in it.
    items: Vec<Range>,
    /// By what each level is indented.
    unit: &'a str,
}

impl<'a> Container<'a> {
    fn of_object(text: &'a str, object: &Object<'_>, unit: &'a str) -> Self {
        Self { text, range: object.range, items: object.properties.iter().map(|item| item.range).collect(), unit }
    }

    /// The text with one more at the end, in the style of the others.
    fn insert(&self, name: &str, value: &Value) -> String {
        let (text, newline) = (self.text, newline(self.text));
        let item = |indent: Option<&str>| {
            let value = match indent {
                Some(indent) => pretty(value, self.unit, newline, indent),
                None => value.to_string(),
            };
            if name.is_empty() { value } else { format!("{name}: {value}") }
        };
        let base = line_indent(text, self.range.start);
        let close = self.range.end - 1;
        let (Some(first), Some(last)) = (self.items.first(), self.items.last()) else {
            let inside = text[..close].trim_end();
            let indent = format!("{base}{}", self.unit);
            let item = item(Some(&indent));
            return format!("{inside}{newline}{indent}{item}{newline}{base}{}", &text[close..]);
        };
        let comma = self.comma_after(last);
        if !text[self.range.start..first.start].contains('\n') {
            return match comma {
                Some(at) => format!("{} {},{}", &text[..=at], item(None), &text[at + 1..]),
                None => format!("{}, {}{}", &text[..last.end], item(None), &text[last.end..]),
            };
        }
        let indent = match text[..first.start].rsplit('\n').next() {
            Some(indent) if indent.trim().is_empty() => indent.to_owned(),
            _ => format!("{base}{}", self.unit),
        };
        let item = item(Some(&indent));
        // What is remarked at the end of the line stays there.
        let behind = line_end(text, comma.map_or(last.end, |at| at + 1));
        match comma {
            Some(_) => format!("{}{newline}{indent}{item},{}", &text[..behind], &text[behind..]),
            None => {
                format!("{},{}{newline}{indent}{item}{}", &text[..last.end], &text[last.end..behind], &text[behind..])
            }
        }
    }

    /// The text without one of them. All else stays in its order, and comments on their lines.
    fn remove(&self, at: usize) -> Result<String, Fault> {
        let text = self.text;
        let item = self.items[at];
        let before = at.checked_sub(1).map(|at| self.items[at]);
        // If it is the last, the one before has no comma any more.
        let comma = self.comma_after(&item).or_else(|| before.and_then(|before| self.comma_after(&before)));
        let mut cut = item.start..item.end;
        let comma = match comma {
            Some(at) if at >= item.end && text[item.end..at].trim().is_empty() => {
                cut.end = at + 1;
                None
            }
            other => other,
        };
        let line = line_start(text, cut.start);
        let blanks = |at: usize| text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
        let behind = cut.end + blanks(cut.end);
        let (first, last) = (text[line..cut.start].contains('\n'), text[behind..].starts_with(['\n', '\r']));
        let opens = text[..line].ends_with(['{', '[']);
        if self.items.len() == 1
            && self.inside(self.range.start + 1, cut.start)
            && self.inside(cut.end, self.range.end - 1)
        {
            // Nothing else is in it.
            cut = self.range.start + 1..self.range.end - 1;
        } else if (first && last) || !(first || opens) {
            cut.start = line;
        } else {
            cut.end = behind;
        }
        let after = match comma {
            Some(at) if at < cut.start => format!("{}{}{}", &text[..at], &text[at + 1..cut.start], &text[cut.end..]),
            Some(at) => format!("{}{}{}", &text[..cut.start], &text[cut.end..at], &text[at + 1..]),
            None => format!("{}{}", &text[..cut.start], &text[cut.end..]),
        };
        let left = words(&text[..item.start]).chain(words(&text[item.end..]));
        if parse(&after).is_ok() && left.filter(|word| *word != ",").eq(words(&after).filter(|word| *word != ",")) {
            return Ok(after);
        }
        Err(Fault::new(item.start, "what begins here can't be taken out alone, only by hand"))
    }

    fn inside(&self, from: usize, to: usize) -> bool {
        self.text[from..to].trim().is_empty()
    }

    fn comma_after(&self, item: &Range) -> Option<usize> {
        let at = trivia(&self.text[..self.range.end], item.end);
        self.text[at..].starts_with(',').then_some(at)
    }
}

/// What a text consists of, comments too, one after the other.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        let length = match first {
            '/' if rest.starts_with("//") => rest.find(['\n', '\r']).unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => text_end(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => {
                let end = |c: char| c.is_whitespace() || "{}[],:\"/".contains(c);
                first.len_utf8() + rest[first.len_utf8()..].find(end).unwrap_or(rest.len() - first.len_utf8())
            }
        };
        let (word, behind) = rest.split_at(length);
        rest = behind;
        Some(word.trim_end())
    })
}

/// Where a text in quotes ends.
fn text_end(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Where something begins again after blanks and comments.
fn trivia(text: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        let length = if trimmed.starts_with("//") {
            trimmed.find(['\n', '\r']).unwrap_or(trimmed.len())
        } else if trimmed.starts_with("/*") {
            trimmed.find("*/").map_or(trimmed.len(), |at| at + 2)
        } else {
            return at;
        };
        at += length;
    }
}

/// Where the line ends, if there is nothing but comments behind this; else this.
fn line_end(text: &str, from: usize) -> usize {
    let mut at = from;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start_matches([' ', '\t']);
        let start = at + rest.len() - trimmed.len();
        if trimmed.starts_with("//") {
            return start + trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
        match trimmed.strip_prefix("/*").and_then(|inner| inner.find("*/")) {
            Some(length) if !trimmed[..length].contains('\n') => at = start + length + 4,
            _ => return at,
        }
    }
}

/// Where the blanks begin that are in front of this, with one end of a line.
fn line_start(text: &str, at: usize) -> usize {
    let before = text[..at].trim_end_matches([' ', '\t']);
    let before = before.strip_suffix('\n').map_or(before, |before| before.strip_suffix('\r').unwrap_or(before));
    before.len()
}

/// The blanks at the beginning of the line of this.
fn line_indent(text: &str, at: usize) -> &str {
    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let rest = &text[line..at];
    &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()]
}

/// By what a level is indented.
fn unit(text: &str, root: &Node<'_>) -> String {
    let first = match root {
        Node::Object(object) => object.properties.first().map(|property| property.range.start),
        _ => None,
    };
    let indent = first.map(|at| line_indent(text, at)).unwrap_or_default();
    if indent.is_empty() { "  ".to_owned() } else { indent.to_owned() }
}

fn split(text: &str) -> (&str, &str) {
    let body = text.strip_prefix(MARK).unwrap_or(text);
    (&text[..text.len() - body.len()], body)
}

fn parse(body: &str) -> Result<Option<Node<'_>>, Fault> {
    let parsed = parse_to_ast(body, &CollectOptions::default(), &OPTIONS);
    parsed.map(|parsed| parsed.value).map_err(|error| Fault::new(error.range().start, lower(&error.kind().to_string())))
}

/// As causes stand behind a colon.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

impl Fault {
    fn behind(self, mark: &str) -> Self {
        Self { at: self.at + mark.len(), ..self }
    }
}

fn wrong(node: &Node<'_>, key: &[String], depth: usize, what: &str) -> Fault {
    let place = match depth {
        0 => "the whole of it".to_owned(),
        _ => format!("`{}`", key[..depth].join(".")),
    };
    Fault::new(node.start(), format!("{place} is {what}"))
}

/// Of several of one name it is the last that counts, for every reader.
fn find<'a, 'b>(object: &'b Object<'a>, name: &str) -> Option<&'b ObjectProp<'a>> {
    object.properties.iter().rfind(|property| property.name.as_str() == name)
}

/// What these keys lead to, one after the other, as far as they do.
fn way<'a, 'b>(root: &'b Node<'a>, key: &[String]) -> Vec<&'b Node<'a>> {
    let mut found = Vec::new();
    let mut node = root;
    for name in key {
        let Node::Object(object) = node else { break };
        let Some(property) = find(object, name) else { break };
        node = &property.value;
        found.push(node);
    }
    if found.len() == key.len() { found } else { Vec::new() }
}

/// What these keys lead to.
fn at<'a, 'b>(root: &'b Node<'a>, key: &[String]) -> Option<&'b Node<'a>> {
    if key.is_empty() { Some(root) } else { way(root, key).pop() }
}

impl List<'_> {
    /// A text without the last element that is meant; `None`: there is none.
    fn without_last(self, text: &str, key: &[String], value: &Value) -> Result<Option<String>, Fault> {
        let Some(root) = parse(text)? else { return Ok(None) };
        let Some(Node::Array(array)) = at(&root, key) else { return Ok(None) };
        let last = array.elements.iter().rposition(|element| self.means(element, value));
        let items = array.elements.iter().map(Node::range).collect();
        last.map(|at| Container { text, range: array.range, items, unit: "" }.remove(at)).transpose()
    }

    /// Whether an element has the place of ours.
    fn marks(self, element: &Node<'_>) -> bool {
        self.mark.is_some_and(|mark| Value::from(element.clone()).to_string().contains(mark))
    }

    /// Whether an element is the one that we mean by this value.
    fn means(self, element: &Node<'_>, value: &Value) -> bool {
        match self.known_by {
            None => same(element, value),
            Some(pointer) => {
                let element = Value::from(element.clone());
                element.pointer(pointer).is_some_and(|known| value.pointer(pointer) == Some(known))
            }
        }
    }
}

fn same(node: &Node<'_>, value: &Value) -> bool {
    Value::from(node.clone()) == *value
}

fn nested(key: &[String], value: Value) -> Value {
    key.iter().rev().fold(value, |value, name| Value::Object([(name.clone(), value)].into_iter().collect()))
}

/// A value on lines of its own, but for lists of texts.
fn pretty(value: &Value, unit: &str, newline: &str, indent: &str) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Writing a value to memory does not fail.
    let text = match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => value.to_string(),
    };
    text.replace('\n', &format!("{newline}{indent}"))
}
