//! Words from outside that are shown to people.

/// A text from outside on its way to a terminal, on one line: what a terminal would obey is escaped, and what turns the
/// direction of writing. All else stays as it is, so that doing it twice changes nothing.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_debug()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys() {
        assert_eq!(printable("d\x1b[31mx\n\u{9b}K\u{202e}é"), r"d\u{1b}[31mx\n\u{9b}K\u{202e}é");
        for plain in [r"'a\b'", "\"u\u{308}\" 日本…", r"\u{1b}"] {
            assert_eq!(printable(plain), plain);
        }
    }
}
