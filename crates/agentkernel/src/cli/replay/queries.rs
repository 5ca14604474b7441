//! Hides which of what a program sends to a terminal the terminal answers. The states are those of the usual parser of DEC's
//! controls; what is taken for a query is xterm's, kitty's and iTerm2's.

/// The longest query of colours and the like, in bytes: what is longer is none that a terminal takes.
const LONGEST: usize = 1 << 16;
/// Operating system commands in which `?` asks: colours, fonts, the pointer, the clipboard, an application's name.
const ASKED: [&str; 18] =
    ["4", "5", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "21", "22", "50", "52", "176", "1337"];
/// Those that ask by themselves.
const ASKING: [&str; 2] = ["60", "61"];
/// Reports of a window.
const WINDOW: [&str; 9] = ["11", "13", "14", "15", "16", "18", "19", "20", "21"];
/// Modes in which a terminal tells of the mouse, of the window that is looked at, of its colours and size, and how.
const TELLING: [&str; 12] =
    ["9", "1000", "1001", "1002", "1003", "1004", "1005", "1006", "1015", "1016", "2031", "2048"];

/// Takes out of a program's output what a terminal answers: nobody reads the answers, which a shell would take for typed.
#[derive(Default)]
pub(super) struct Unasked {
    place: Place,
    /// What is not decided on yet.
    held: String,
    /// What became of a string whose end may come.
    string: Option<Fate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Ground,
    Escape,
    /// Behind the first intermediate character of an escape sequence.
    Intermediate,
    Control,
    /// In a string that is decided on later.
    Held(Kind),
    /// In one that is decided on.
    Decided(Kind, Fate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Device,
    Application,
    Other,
}

impl Unasked {
    /// The next of the output, without that. What is not whole yet comes with the rest, or never.
    pub(super) fn pass(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        text.chars().for_each(|letter| self.take(letter, &mut out));
        out
    }

    fn take(&mut self, letter: char, out: &mut String) {
        if letter == '\x1b' {
            self.leave(out);
            self.held.push(letter);
            self.place = Place::Escape;
            return;
        }
        // One of these is as good as two others.
        if let '\u{90}' | '\u{98}' | '\u{9a}' | '\u{9b}' | '\u{9d}'..='\u{9f}' = letter {
            self.leave(out);
            return self.begin(char::from(letter as u8 - 0x40), letter, out);
        }
        match (self.place, letter) {
            // It asks who is there.
            (_, '\x05') => {}
            (_, '\x18' | '\x1a') => {
                if let Place::Held(kind) = self.place {
                    self.decide(is_query(kind, &self.held), out);
                }
                self.held.clear();
                out.push(letter);
                (self.place, self.string) = (Place::Ground, None);
            }
            (Place::Ground, _) => out.push(letter),
            (Place::Held(kind), _) if ends(kind, letter) => {
                let asks = is_query(kind, &self.held);
                self.held.push(letter);
                self.decide(asks, out);
                self.place = Place::Ground;
            }
            (Place::Held(kind), _) => {
                self.held.push(letter);
                if let Some(asks) = early(kind, &self.held) {
                    self.place = Place::Decided(kind, if asks { Fate::Dropped } else { Fate::Passed });
                    self.decide(asks, out);
                }
            }
            (Place::Decided(kind, fate), _) => {
                if fate == Fate::Passed {
                    out.push(letter);
                }
                if ends(kind, letter) {
                    self.place = Place::Ground;
                }
            }
            // Done at once, wherever it stands.
            (_, '\0'..='\x1f') => out.push(letter),
            (_, '\x7f') => {}
            (Place::Escape, '\\') => {
                self.held.push(letter);
                let was_dropped = self.string.take() == Some(Fate::Dropped);
                self.decide(was_dropped, out);
                self.place = Place::Ground;
            }
            (Place::Escape, _) => self.begin(letter, letter, out),
            (Place::Intermediate, ' '..='/') | (Place::Control, ' '..='?') if self.held.len() < LONGEST => {
                self.held.push(letter);
            }
            (Place::Intermediate | Place::Control, ' '..='~') => {
                self.held.push(letter);
                let asks = self.place == Place::Control && (asks_of_control(&self.held) || self.held.len() > LONGEST);
                self.decide(asks, out);
                self.place = Place::Ground;
            }
            (Place::Intermediate | Place::Control, _) => {
                self.decide(true, out);
                out.push(letter);
                self.place = Place::Ground;
            }
        }
    }

    /// A sequence, by the letter that stands behind an escape character, as it is written.
    fn begin(&mut self, letter: char, written: char, out: &mut String) {
        self.held.push(written);
        self.place = match letter {
            '[' => Place::Control,
            ']' => Place::Held(Kind::Command),
            'P' => Place::Held(Kind::Device),
            '_' => Place::Held(Kind::Application),
            '^' | 'X' => Place::Held(Kind::Other),
            ' '..='/' => Place::Intermediate,
            _ => {
                // It asks what the terminal is.
                self.decide(letter == 'Z', out);
                Place::Ground
            }
        };
    }

    /// Something else begins: what is not whole is nothing, but a string ends here.
    fn leave(&mut self, out: &mut String) {
        match self.place {
            Place::Held(kind) => {
                let asks = is_query(kind, &self.held);
                self.decide(asks, out);
                self.string = Some(if asks { Fate::Dropped } else { Fate::Passed });
            }
            Place::Decided(_, fate) => self.string = Some(fate),
            Place::Ground => {}
            Place::Escape | Place::Intermediate | Place::Control => self.held.clear(),
        }
    }

    /// Drops what is held, or not.
    fn decide(&mut self, asks: bool, out: &mut String) {
        match asks {
            // What follows would be taken for more of the string before.
            true if self.string == Some(Fate::Passed) => out.push_str("\x1b\\"),
            true => {}
            false => out.push_str(&self.held),
        }
        self.held.clear();
        self.string = None;
    }
}

/// Whether a string of this kind ends with this.
fn ends(kind: Kind, letter: char) -> bool {
    letter == '\u{9c}' || (letter == '\x07' && kind == Kind::Command)
}

/// What stands behind the introducer.
fn body(held: &str) -> &str {
    let rest = held.strip_prefix('\x1b').unwrap_or(held);
    let mut letters = rest.chars();
    letters.next();
    letters.as_str()
}

/// Whether a string asks, if that can be said of its beginning.
fn early(kind: Kind, held: &str) -> Option<bool> {
    let text = body(held);
    let code = text.split_once(';').map(|(code, _)| code);
    match kind {
        Kind::Command if held.len() > LONGEST => Some(true),
        Kind::Command => (!code?.is_empty() && !ASKED.contains(&code?) && !ASKING.contains(&code?)).then_some(false),
        Kind::Device => text.ends_with(|letter| ('@'..='~').contains(&letter)).then(|| is_query(kind, held)),
        Kind::Application => {
            (text.contains(';') || !text.starts_with('G') || held.len() > LONGEST).then(|| is_query(kind, held))
        }
        Kind::Other => Some(false),
    }
}

/// Whether a string asks.
fn is_query(kind: Kind, held: &str) -> bool {
    let text = body(held);
    match kind {
        Kind::Command => {
            let (code, rest) = text.split_once(';').unwrap_or((text, ""));
            let mut fields = rest.split(';');
            match code {
                "1337" => rest == "ReportCellSize" || rest.starts_with("ReportVariable="),
                "21" => fields.any(|field| field.ends_with("=?")),
                _ if ASKED.contains(&code) => fields.any(|field| field.starts_with('?')),
                _ => ASKING.contains(&code),
            }
        }
        // DECRQSS, XTGETTCAP, XTGETXRES.
        Kind::Device => ["$q", "+q", "+Q"].iter().any(|end| text.trim_start_matches(is_parameter).starts_with(end)),
        // Whether there are graphics.
        Kind::Application => {
            let control = text.strip_prefix('G').and_then(|rest| rest.split(';').next());
            control.is_some_and(|control| control.split(',').any(|pair| pair == "a=q"))
        }
        Kind::Other => false,
    }
}

fn is_parameter(letter: char) -> bool {
    ('0'..='?').contains(&letter)
}

/// Whether a control sequence asks.
fn asks_of_control(held: &str) -> bool {
    let text = body(held);
    let end = text.trim_start_matches(is_parameter);
    let parameters = &text[..text.len() - end.len()];
    let numbers = parameters.trim_start_matches(['<', '=', '>', '?']);
    let private = &parameters[..parameters.len() - numbers.len()];
    let all_tell = || numbers.split(';').all(|mode| TELLING.contains(&mode));
    match (private, end) {
        // Device attributes, status, modes, the version, the keyboard's, the parameters of a line.
        ("" | ">" | "=", "c") | ("" | "?", "n" | "$p") | (">", "q") | ("?", "u" | "m" | "S") | ("", "x") => true,
        ("", "t") => WINDOW.contains(&numbers.split(';').next().unwrap_or_default()),
        ("?", "h") => all_tell(),
        // Presentation, the displayed part, sums, sets of characters, the locator, titles, colours and attributes.
        ("", "$w" | "$u" | "\"v" | "*y" | "&u" | "'|" | "#S" | "#R" | "#|" | "+p") => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "queries_tests.rs"]
mod tests;
