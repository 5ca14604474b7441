//! Hides how words of others are quoted: on one line, printable, and short.

/// How many characters are quoted.
const SHOWN: usize = 120;

/// A text as it may stand in an error or on a terminal.
pub(crate) fn shown(text: &str) -> String {
    cut(text, SHOWN)
}

/// A text of at most `length` characters, without anything that a terminal could obey.
pub(crate) fn cut(text: &str, length: usize) -> String {
    let printable = |c: char| {
        // What turns the direction of writing around makes one text look like another (Unicode 15, 23.2).
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}')
        {
            '\u{fffd}'
        } else {
            c
        }
    };
    let mut characters = text.chars();
    let mut shown: String = characters.by_ref().take(length).map(printable).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}
