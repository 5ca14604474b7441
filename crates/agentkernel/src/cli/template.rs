//! `--format`: a line of text with fields in braces.

use super::Failure;

/// Fills in the fields of `template`: `{name}`, or as Docker writes them, `{{.Name}}`. `look_up` is asked for each,
/// in lower case and without dots in front.
///
/// # Errors
/// Those of `look_up`.
pub(super) fn fill(template: &str, look_up: impl Fn(&str) -> Result<String, Failure>) -> Result<String, Failure> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find('}') else {
            rest = &rest[open..];
            break;
        };
        let field = rest[open + 1..open + close].trim_matches(['{', '.', ' ']).to_ascii_lowercase();
        out.push_str(&look_up(&field)?);
        // Docker's templates have two braces on each side.
        let doubled = rest[open + 1..].starts_with('{');
        let after = &rest[open + close + 1..];
        rest = if doubled { after.strip_prefix('}').unwrap_or(after) } else { after };
    }
    out.push_str(rest);
    Ok(out)
}

/// A value in a JSON document by the names on the way to it, such as `state.running.started_ms` or `running.walls.0`.
/// Text stands for itself, nothing for `null`; with `json` in front the value is written as JSON.
pub(super) fn json_field(document: &serde_json::Value, path: &str) -> Result<String, Failure> {
    use serde_json::Value;
    let (path, json) = match path.strip_prefix("json") {
        Some(rest) if rest.is_empty() || rest.starts_with(' ') => (rest.trim_start(), true),
        _ => (path, false),
    };
    let mut value = document;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let next = match value {
            Value::Object(map) => map.get(part),
            Value::Array(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
            // What is not there has no parts either.
            Value::Null => Some(&Value::Null),
            _ => None,
        };
        value = next.ok_or_else(|| {
            let failure = Failure::new(format!("No field '{}' to print", path.escape_debug()));
            match value {
                Value::Object(map) => {
                    failure.hint(format!("There are {}", map.keys().map(String::as_str).collect::<Vec<_>>().join(", ")))
                }
                _ => failure.hint("Without --format all of them are shown"),
            }
        })?;
    }
    Ok(match value {
        value if json => value.to_string(),
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_in_both_notations() {
        let field = |name: &str| Ok(format!("<{name}>"));
        assert_eq!(fill("{id}:{name}!", field).unwrap(), "<id>:<name>!");
        assert_eq!(fill("{{.Names}} {{ .Status }}}", field).unwrap(), "<names> <status>}");
        assert_eq!(fill("{id}}", field).unwrap(), "<id>}");
        assert_eq!(fill("a {unclosed", field).unwrap(), "a {unclosed");
        assert!(fill("{x}", |_| Err(Failure::new("no"))).is_err());
    }

    #[test]
    fn fields_by_path() {
        let document = serde_json::json!({"a": {"b": [1, "two"]}, "none": null});
        assert_eq!(json_field(&document, "a.b.1").unwrap(), "two");
        assert_eq!(json_field(&document, "a.b").unwrap(), "[1,\"two\"]");
        assert_eq!(json_field(&document, "none.below").unwrap(), "");
        assert_eq!(json_field(&document, "a.c").unwrap_err().hint, "There are b");
        assert!(json_field(&document, "a.b.7").is_err());
        // Docker's `{{json .}}`, whose dot is gone by then.
        assert_eq!(json_field(&document, "json").unwrap(), document.to_string());
        assert_eq!(json_field(&document, "json .a.b").unwrap(), "[1,\"two\"]");
        assert_eq!(json_field(&document, "json .none").unwrap(), "null");
    }
}
