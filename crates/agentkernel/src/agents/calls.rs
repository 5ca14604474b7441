//! Hides how calls in Starlark are read, of which rules of an agent's consist: a call with something in it that logs in is left out whole.

use super::{
    detect::is_known,
    settings::{Search, ends_of_lines, guards},
};
use std::mem::take;

/// What stands between calls, or one of these.
struct Piece<'a> {
    text: &'a str,
    /// What it says in quotes, in the order of these.
    said: Vec<String>,
    /// What it decides keeps something from being done.
    guards: bool,
    is_comment: bool,
}

/// A text without the calls, and the comments, in which something logs in.
pub(super) fn without(text: &str, search: &mut Search<'_>) -> String {
    pieces(text).into_iter().map(|piece| stays(&piece, search)).collect()
}

fn stays(piece: &Piece<'_>, search: &mut Search<'_>) -> String {
    if piece.is_comment {
        return search.comment(piece.text).unwrap_or_else(|| piece.text.to_owned());
    }
    let name: String = piece.text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let path = [name];
    if piece.guards && !piece.said.iter().any(|said| is_known(said)) {
        return piece.text.to_owned();
    }
    let mut before = None;
    for said in &piece.said {
        if search.instead(&path, before, None, said).is_some() {
            return ends_of_lines(piece.text);
        }
        before = Some(said.as_str());
    }
    piece.text.to_owned()
}

/// Cuts a text behind comments, and behind lines that end outside of brackets and quotes.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut begin, mut at, mut depth) = (Vec::new(), 0, 0, 0_u32);
    let (mut said, mut decided, mut outer) = (Vec::new(), false, ' ');
    while let Some(letter) = text[at..].chars().next() {
        match letter {
            '#' => {
                let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
                if depth > 0 {
                    // Within a call: it goes with it.
                    said.push(text[at + 1..end].trim().to_owned());
                    at = end;
                    continue;
                }
                pieces.push(piece(&text[begin..at], take(&mut said), take(&mut decided)));
                pieces.push(Piece { text: &text[at..end], said: Vec::new(), guards: false, is_comment: true });
                (begin, at) = (end, end);
                continue;
            }
            '"' | '\'' => {
                let (word, length) = quoted(&text[at..], letter);
                // As an argument of its own: what stands in a list is what the rule is about.
                decided |= depth == 1 && outer == '(' && guards(&word) && is_decision(&text[begin..at]);
                said.push(word);
                at += length;
                continue;
            }
            '(' | '[' | '{' => {
                outer = if depth == 0 { letter } else { outer };
                depth += 1;
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '\n' if depth == 0 => {
                let end = at + 1;
                pieces.push(piece(&text[begin..end], take(&mut said), take(&mut decided)));
                begin = end;
            }
            _ => {}
        }
        at += letter.len_utf8();
    }
    pieces.push(piece(&text[begin..], said, decided));
    pieces
}

fn piece(text: &str, said: Vec<String>, guards: bool) -> Piece<'_> {
    Piece { text, said, guards, is_comment: false }
}

/// Whether an argument that stands behind this is what a rule decides.
fn is_decision(before: &str) -> bool {
    let before = before.trim_end();
    before.strip_suffix('=').map_or(before.ends_with(','), |before| before.trim_end().ends_with("decision"))
}

/// What a text in quotes says that begins here, three times or once, and how long it is with them; without an end, it has all.
fn quoted(text: &str, quote: char) -> (String, usize) {
    let three = quote.to_string().repeat(3);
    let mark = if text.starts_with(&three) { three.as_str() } else { &three[..1] };
    let (mut word, mut at) = (String::new(), mark.len());
    while let Some(letter) = text[at..].chars().next() {
        if text[at..].starts_with(mark) {
            return (word, at + mark.len());
        }
        at += letter.len_utf8();
        if letter != '\\' {
            word.push(letter);
            continue;
        }
        if let Some(next) = text[at..].chars().next() {
            at += next.len_utf8();
            word.push(if next == 'n' { '\n' } else { next });
        }
    }
    (word, text.len())
}

#[cfg(test)]
mod tests {
    use crate::agents::{Form, Settings, without_credentials};
    use proptest::prelude::*;

    fn of(text: &str) -> Settings {
        without_credentials(text, Form::Calls, "").unwrap()
    }

    #[test]
    fn a_call_in_which_something_logs_in_is_left_out() {
        let guard = "prefix_rule(pattern=['curl', '-u', 'me:x1'], # don't\n  decision='forbidden')\n";
        assert_eq!(of(guard), Settings { text: guard.into(), left_out: vec![] });
        let stays = "prefix_rule(pattern=[\"git\", \"push\"], decision=\"allow\") # mine\n\
            prefix_rule(pattern=[\"curl\", \"-u\", \"me:x1\"], decision=\"forbidden\")\nprefix_rule(['curl', '-u', 'me:x1'], 'prompt')\nhost_executable(name = 'x',\n  paths = [\"/a\"])\n";
        assert_eq!(of(stays), Settings { text: stays.into(), left_out: vec![] });
        for call in [
            "prefix_rule(pattern=[\"curl\", \"-H\", \"Authorization: Bearer Hunter2\"], decision=\"allow\")",
            "prefix_rule(pattern=['srv', '--token', 'Hunter2'])",
            // What it is about may be called as what rules decide.
            "prefix_rule(pattern=['llm', 'prompt', '--key', 'Hunter2'], decision = 'allow')",
            "llm = ['llm', 'prompt', '--key', 'Hunter2']",
            "prefix_rule(pattern=['a'], # TOKEN=Hunter2\n  decision='allow')",
            "prefix_rule(pattern=['curl', '-u', 'me:Hunter2'], # why\n  decision='allow')",
            "prefix_rule(['ask', 'deny', '--key', 'Hunter2'], 'allow', justification='forbidden')",
            "prefix_rule(pattern=[\"bash\", \"-c\", \"\"\"TOKEN=Hunter2 \\\"x\"\"\"])",
            "prefix_rule(\n  pattern=['a', 'K_TOKEN=Hunter2'],\n  match=[')', '#'],\n)",
            "# TOKEN=Hunter2",
            "x = \"K_TOKEN=Hunter2",
        ] {
            let found = of(&format!("{stays}{call}\n{stays}"));
            assert!(!found.text.contains("Hunter2"), "{call}: {}", found.text);
            assert_eq!(found.left_out.len(), 1, "{call}: {:?}", found.left_out);
            assert!(found.text.starts_with(stays), "{call}: {}", found.text);
            assert!(call.starts_with('x') || found.text.ends_with(&format!("\n{stays}")), "{call}: {}", found.text);
            assert_eq!(found.text.lines().count(), format!("{stays}{call}\n{stays}").lines().count(), "{call}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_crash(text in "[a-z(\\[{})\\]\"'#\\\\\n= ]{0,60}|.{0,60}") {
            of(&text);
        }
    }
}
