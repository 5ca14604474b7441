//! Hides what JavaScript writes as JSON and is none.

use serde::de::DeserializeOwned;

/// What a text says. Half of a surrogate pair in it is U+FFFD.
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| match whole(text) {
        Some(text) => serde_json::from_slice(&text),
        None => Err(error),
    })
}

/// A text with U+FFFD in the place of each half of a surrogate pair: JavaScript writes one where it has cut a text within a
/// character. `None` if there is none.
fn whole(text: &[u8]) -> Option<Vec<u8>> {
    /// What is escaped here, if that is a unit of UTF-16.
    fn unit(at: &[u8]) -> Option<u32> {
        let digits = at.strip_prefix(b"\\u")?.get(..4)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
    let mut made = Vec::with_capacity(text.len());
    let (mut at, mut found) = (0, false);
    while at < text.len() {
        let rest = &text[at..];
        let length = match (rest, unit(rest)) {
            (_, Some(0xd800..=0xdbff)) if matches!(unit(&rest[6..]), Some(0xdc00..=0xdfff)) => 12,
            (_, Some(0xd800..=0xdfff)) => {
                made.extend_from_slice(b"\\ufffd");
                (at, found) = (at + 6, true);
                continue;
            }
            (_, Some(_)) => 6,
            ([b'\\', _, ..], None) => 2,
            _ => 1,
        };
        made.extend_from_slice(&rest[..length]);
        at += length;
    }
    found.then_some(made)
}
