//! `--format`: a line of text with fields in braces.

use super::{Failure, table};
use crate::config::{nearest, quoted};
use serde::Serialize;

/// A field of a row: what it is called here and by Docker, in lower case, and its text.
pub(super) type Field<T> = (&'static [&'static str], fn(&T) -> String);

/// A line for each row; with `table` in front of the template, columns of what tabs separate, under a heading.
///
/// # Errors
/// If the template has a field that is not there, even if there is no row.
pub(super) fn rows<T: Serialize>(template: &str, fields: &[Field<T>], rows: &[T]) -> Result<String, Failure> {
    let (columns, is_table) = match template.strip_prefix("table ") {
        Some(rest) => (rest.trim_start().replace("\\t", "\t"), true),
        None => (template.to_owned(), false),
    };
    // What a row's text has of tabs is no further column.
    let columns: Vec<&str> = if is_table { columns.split('\t').collect() } else { vec![&columns] };
    let cells = |look_up: &dyn Fn(&str) -> Result<String, Failure>| -> Result<Vec<String>, Failure> {
        columns.iter().map(|column| fill(column, look_up)).collect()
    };
    let heading = cells(&|field| {
        let (name, json) = asked(field);
        if !(json && name.is_empty()) {
            find(fields, name)?;
        }
        Ok(heading(name))
    })?;
    let lines = rows.iter().map(|row| cells(&|field| text(fields, field, row))).collect::<Result<Vec<_>, _>>()?;
    Ok(match is_table {
        true => table::render(&heading.iter().map(String::as_str).collect::<Vec<_>>(), &lines),
        false => lines.into_iter().map(|line| line.concat() + "\n").collect(),
    })
}

fn text<T: Serialize>(fields: &[Field<T>], field: &str, row: &T) -> Result<String, Failure> {
    let json = |error: serde_json::Error| Failure::chain(&error);
    match asked(field) {
        ("", true) => serde_json::to_string(row).map_err(json),
        (name, true) => serde_json::to_string(&find(fields, name)?(row)).map_err(json),
        // A command or a path may hold what a terminal obeys.
        (name, false) => Ok(wire::printable(&find(fields, name)?(row))),
    }
}

fn find<T>(fields: &[Field<T>], name: &str) -> Result<fn(&T) -> String, Failure> {
    let wanted = name.to_ascii_lowercase();
    match fields.iter().find(|(names, _)| names.contains(&wanted.as_str())) {
        Some((_, text)) => Ok(*text),
        None => Err(unknown(name, &fields.iter().flat_map(|(names, _)| *names).copied().collect::<Vec<_>>())),
    }
}

/// `CreatedAt` stands above a column as `CREATED AT`.
fn heading(name: &str) -> String {
    let mut heading = String::new();
    let mut small = false;
    for c in name.chars() {
        if small && c.is_ascii_uppercase() {
            heading.push(' ');
        }
        small = c.is_ascii_lowercase();
        heading.push(c.to_ascii_uppercase());
    }
    heading
}

fn unknown(name: &str, known: &[&str]) -> Failure {
    Failure::new(format!("No field {} to print", quoted(name.as_ref()))).hint(
        match nearest(name, known.iter().copied()) {
            Some(near) => format!("Did you mean '{near}'?"),
            None => format!("There are {}", known.join(", ")),
        },
    )
}

/// Fills in the fields of `template`: `{name}`, or as Docker writes them, `{{.Name}}`; `\t` is a tab and `\n` the end of
/// a line. `look_up` is asked for each field, without dots in front.
///
/// # Errors
/// Those of `look_up`.
pub(super) fn fill(template: &str, look_up: impl Fn(&str) -> Result<String, Failure>) -> Result<String, Failure> {
    let template = template.replace("\\t", "\t").replace("\\n", "\n");
    let mut out = String::new();
    let mut rest = template.as_str();
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else {
            rest = &rest[open..];
            break;
        };
        out.push_str(&look_up(rest[open + 1..open + close].trim_matches(['{', '.', ' ']))?);
        // Docker's templates have two braces on each side.
        let doubled = rest[open + 1..].starts_with('{');
        let after = &rest[open + close + 1..];
        rest = if doubled { after.strip_prefix('}').unwrap_or(after) } else { after };
    }
    out.push_str(rest);
    Ok(out)
}

/// What a field names, and whether it is to be JSON: with `json` in front.
pub(super) fn asked(field: &str) -> (&str, bool) {
    match field.strip_prefix("json") {
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => (rest.trim_start_matches([' ', '.']), true),
        _ => (field, false),
    }
}

/// A value in a JSON document by the names on the way to it, such as `state.running.started_ms` or `running.walls.0`.
///
/// # Errors
/// If there is none.
pub(super) fn value<'a>(document: &'a serde_json::Value, path: &str) -> Result<&'a serde_json::Value, Failure> {
    use serde_json::Value;
    let mut value = document;
    let mut way = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let next = match value {
            Value::Object(map) => map.get(part),
            Value::Array(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
            _ => None,
        };
        value = next.ok_or_else(|| {
            let failure = unknown(part, &[]);
            match value {
                Value::Object(map) => unknown(part, &map.keys().map(String::as_str).collect::<Vec<_>>()),
                Value::Array(list) => failure.hint(format!("'{}' has {} parts, from 0 on", way.join("."), list.len())),
                Value::Null => failure.hint(format!("'{}' is null", way.join("."))),
                _ => failure.hint(format!("'{}' has no parts", way.join("."))),
            }
        })?;
        way.push(part);
    }
    Ok(value)
}

/// A value in a line: text stands for itself, nothing for `null`, unless it is to be JSON.
pub(super) fn shown(value: &serde_json::Value, json: bool) -> String {
    use serde_json::Value;
    match value {
        value if json => value.to_string(),
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_in_both_notations() {
        let field = |name: &str| Ok(format!("<{name}>"));
        assert_eq!(fill("{id}:{name}!", field).unwrap(), "<id>:<name>!");
        assert_eq!(fill("{{.Names}} {{ .Status }}}", field).unwrap(), "<Names> <Status>}");
        assert_eq!(fill("{id}}", field).unwrap(), "<id>}");
        assert_eq!(fill("a {unclosed", field).unwrap(), "a {unclosed");
        assert_eq!(fill(r"{a}\t{b}\n\x", field).unwrap(), "<a>\t<b>\n\\x");
        assert!(fill("{x}", |_| Err(Failure::new("no"))).is_err());
    }

    #[test]
    fn rows_and_tables() {
        const FIELDS: [Field<(u8, &str)>; 2] =
            [(&["id"], |row| row.0.to_string()), (&["created", "createdat"], |row| row.1.into())];
        let all = [(1, "a\tb"), (100, "c")];
        let shown = |template| rows(template, &FIELDS, &all);
        assert_eq!(shown(r"{{.ID}}\t{created}").unwrap(), "1\ta\\tb\n100\tc\n");
        assert_eq!(
            shown(r"table {{.ID}}\t<{{.CreatedAt}}>").unwrap(),
            "ID    <CREATED AT>\n1     <a\\tb>\n100   <c>\n"
        );
        assert_eq!(shown("table {id}\t{created}").unwrap(), "ID    CREATED\n1     a\\tb\n100   c\n");
        assert_eq!(shown("{{json .}} {{json .CreatedAt}}").unwrap(), "[1,\"a\\tb\"] \"a\\tb\"\n[100,\"c\"] \"c\"\n");
        assert!(rows("{}", &FIELDS, &[]).is_err());
        for template in ["{size}", "table {size}", "{{json .Size}}"] {
            let failure = rows(template, &FIELDS, &[]).unwrap_err();
            assert_eq!(failure.cause.to_lowercase(), "no field 'size' to print");
            assert_eq!(failure.hint, "There are id, created, createdat");
        }
        assert_eq!(shown("{{.CreatdAt}}").unwrap_err().hint, "Did you mean 'createdat'?");
    }

    #[test]
    fn values_by_path() {
        let document = serde_json::json!({"a": {"b": [1, "two"], "other": 2}, "none": null});
        let text = |field| {
            let (path, json) = asked(field);
            value(&document, path).map(|value| shown(value, json))
        };
        assert_eq!(text("a.b.1").unwrap(), "two");
        assert_eq!(text("a.b").unwrap(), "[1,\"two\"]");
        assert_eq!(text("none").unwrap(), "");
        let hint = |field| text(field).unwrap_err().hint;
        assert_eq!(hint("none.below"), "'none' is null");
        assert_eq!(hint("a.nothing"), "There are b, other");
        assert_eq!(hint("a.othr"), "Did you mean 'other'?");
        assert_eq!(hint("a.b.7"), "'a.b' has 2 parts, from 0 on");
        assert_eq!(hint("a.other.x"), "'a.other' has no parts");
        // Docker's `{{json .}}`, whose dot is gone by then.
        assert_eq!(text("json").unwrap(), document.to_string());
        assert_eq!(text("json .a.b").unwrap(), "[1,\"two\"]");
        assert_eq!(text("json .none").unwrap(), "null");
        assert_eq!(text("jsonx").unwrap_err().cause, "No field 'jsonx' to print");
    }
}
