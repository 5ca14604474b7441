//! Changes of configuration files that others wrote: hides the formats. All else of a file stays as it is, byte for byte.

mod json;
mod section;
mod toml;

use json::List;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Range;

/// Begins a file that some editors mark as Unicode.
const MARK: char = '\u{feff}';

/// What is ours in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Edit {
    /// A value in a file of JSON, which may have comments and trailing commas.
    Json {
        /// The keys on the way to it.
        key: Vec<String>,
        /// It.
        value: Value,
        /// Whether it is one of a list which is there.
        #[serde(default)]
        list: bool,
        /// Where in it stands what tells it from all others of the list (a JSON pointer), if others write that anew and add
        /// to it; none: it is all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known_by: Option<String>,
        /// What of its text stands as well in one that has its place in the list but is not ours, or not any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<String>,
    },
    /// A table in a file of TOML.
    Toml {
        /// The keys on the way to it.
        key: Vec<String>,
        /// It.
        value: Value,
        /// Tables in it that the file's own program writes there. They come and go with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        added: Vec<String>,
    },
    /// A section of a text, between marks.
    Section {
        /// Its lines.
        text: String,
    },
    /// A whole file.
    File {
        /// Its text.
        text: String,
    },
}

/// A file that can't be changed, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// In bytes.
    at: usize,
    /// Why.
    pub(super) cause: String,
}

impl Fault {
    fn new(at: usize, cause: impl Into<String>) -> Self {
        Self { at, cause: cause.into() }
    }

    /// Line and column, from 1 on.
    pub(super) fn place(&self, text: &str) -> (usize, usize) {
        let before: String = text.char_indices().take_while(|(at, _)| *at < self.at).map(|(_, c)| c).collect();
        let line = before.rsplit('\n').next().unwrap_or_default();
        (before.matches('\n').count() + 1, line.chars().filter(|c| *c != MARK).count() + 1)
    }
}

/// What a file of an agent's says that is JSON with comments; `None` if it is none.
pub(crate) fn json_value(text: &str) -> Option<Value> {
    json::value(text)
}

/// Whether a text is JSON as its own definition has it (RFC 8259), behind a mark and with nothing else in it: no comments, no
/// trailing commas. One that says nothing may become so.
pub(super) fn strict(text: &str) -> Result<(), Fault> {
    let body = text.strip_prefix(MARK).unwrap_or(text);
    if body.trim().is_empty() {
        return Ok(());
    }
    serde_json::from_str::<serde::de::IgnoredAny>(body).map(drop).map_err(|error| {
        let lines = body.split_inclusive('\n').take(error.line().saturating_sub(1));
        let at = lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
        Fault::new(text.len() - body.len() + at, "there is more than JSON has, such as a comment or a trailing comma")
    })
}

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// It has what is ours now.
    Done(String),
    /// It has that already.
    There,
    /// Something else stands in its place.
    Theirs,
}

impl Edit {
    /// Puts what is ours into a text.
    pub(super) fn put(&self, text: Option<&str>) -> Result<Put, Fault> {
        let before = text.unwrap_or_default();
        let put = match self {
            Self::Json { key, value, .. } => json::put(before, key, value, self.list())?,
            Self::Toml { key, value, added } => toml::put(before, key, value, added)?,
            Self::Section { text } => section::put(before, text)?,
            Self::File { text: ours } => match text {
                None => Put::Done(ours.clone()),
                Some(text) if text == ours => Put::There,
                Some(_) => Put::Theirs,
            },
        };
        match &put {
            // A form that we did not think of must not become a broken file.
            Put::Done(after) if !self.is_in(Some(after)) => {
                Err(Fault::new(before.len(), "there is no place for an entry that is understood"))
            }
            _ => Ok(put),
        }
    }

    /// Puts what is ours into a text, also in the place of something else that stands there.
    pub(super) fn set(&self, text: Option<&str>) -> Result<String, Fault> {
        let before = text.unwrap_or_default();
        match (self.put(text)?, self) {
            (Put::Done(after), _) => Ok(after),
            (Put::Theirs, Self::Json { key, value, list: false, .. }) => json::replace(before, key, value),
            (Put::Theirs | Put::There, _) => Ok(before.to_owned()),
        }
    }

    /// The same, known by all of it alone.
    pub(super) fn exact(self) -> Self {
        match self {
            Self::Json { key, value, list, mark, .. } => Self::Json { key, value, list, known_by: None, mark },
            other => other,
        }
    }

    fn list(&self) -> Option<List<'_>> {
        match self {
            Self::Json { list: true, known_by, mark, .. } => {
                Some(List { known_by: known_by.as_deref(), mark: mark.as_deref() })
            }
            _ => None,
        }
    }

    /// What the file's own program has added to what is ours in a text, as lines that go behind it in another.
    pub(super) fn added(&self, text: &str) -> String {
        match self {
            Self::Toml { key, added, .. } => toml::added(text, key, added),
            _ => String::new(),
        }
    }

    /// Whether a text has what is ours.
    pub(super) fn is_in(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        match self {
            Self::Json { key, value, .. } => json::has(text, key, value, self.list()),
            Self::Toml { key, value, added } => toml::has(text, key, value, added),
            Self::Section { text: ours } => section::has(text, ours),
            Self::File { text: ours } => text == ours,
        }
    }

    /// Takes what is ours out of a text; `None`: nothing is left of it. What a text `kept` had around it stays, even if it
    /// is empty.
    pub(super) fn take(&self, text: &str, kept: Option<&str>) -> Result<Option<String>, Fault> {
        if !self.is_in(Some(text)) {
            return Ok(Some(text.to_owned()));
        }
        let after = match self {
            Self::Json { key, value, .. } => {
                let keep = kept.map_or(0, |kept| json::depth(kept, key));
                json::take(text, key, value, self.list(), keep)?
            }
            Self::Toml { key, .. } => toml::take(text, key, kept)?,
            Self::Section { .. } => section::take(text, kept)?,
            Self::File { .. } => return Ok(None),
        };
        let empty = match self {
            Self::Json { .. } => json::is_empty(&after),
            _ => after.trim_matches(|c: char| c.is_whitespace() || c == MARK).is_empty(),
        };
        Ok((kept.is_some() || !empty).then_some(after))
    }
}

/// How lines end in a text.
fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Puts lines behind a text, after an empty one.
fn append(text: &str, lines: &str) -> String {
    let newline = newline(text);
    let mut after = text.to_owned();
    if !text.trim_start_matches(MARK).is_empty() {
        if !text.ends_with('\n') {
            after.push_str(newline);
        }
        if !after.ends_with("\n\n") && !after.ends_with("\n\r\n") {
            after.push_str(newline);
        }
    }
    after + &lines.replace('\n', newline)
}

/// Cuts lines out, with what [`append`] put between them and a text `kept`.
fn detach(text: &str, lines: Range<usize>, kept: Option<&str>) -> String {
    let (mut head, mut tail) = (&text[..lines.start], &text[lines.end..]);
    let ends = |text: &str| text.matches('\n').count();
    let put = match kept.filter(|kept| !kept.is_empty()) {
        Some(kept) => ends(&append(kept, "")) - ends(kept),
        None => 1,
    };
    if put > 0 && (head.ends_with("\n\n") || head.ends_with("\n\r\n")) {
        head = less_newline(head);
    }
    if put > 1 && tail.is_empty() {
        head = less_newline(head);
    }
    if head.trim_start_matches(MARK).is_empty() {
        tail = tail.strip_prefix(newline(text)).unwrap_or(tail);
    }
    format!("{head}{tail}")
}

/// A text without the end of its last line.
fn less_newline(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
