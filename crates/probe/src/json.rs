//! JSON output: strings escaped, objects of strings and booleans. Nothing more is needed here.

use std::fmt::Write;

/// A JSON string, quotes included.
#[must_use]
pub fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                // Control characters all lie in the basic plane, so one escape is enough.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A JSON object of ready-made values.
#[must_use]
pub fn object(fields: &[(&str, String)]) -> String {
    let body: Vec<_> = fields.iter().map(|(key, value)| format!("{}:{value}", string(key))).collect();
    format!("{{{}}}", body.join(","))
}

/// A JSON array of strings.
#[must_use]
pub fn strings(items: &[String]) -> String {
    let body: Vec<_> = items.iter().map(|item| string(item)).collect();
    format!("[{}]", body.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"b\\c\n\u{1}é\u{7f}"), r#""a\"b\\c\u000a\u0001é\u007f""#);
        assert_eq!(object(&[("k", string("v")), ("b", "true".into())]), r#"{"k":"v","b":true}"#);
        assert_eq!(strings(&["a".into(), "b".into()]), r#"["a","b"]"#);
    }
}
