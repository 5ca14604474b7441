//! Changes of configuration files that others wrote: hides the formats. All else of a file stays as it is, byte for byte.

mod json;
mod section;
mod toml;

use json::List;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    },
    /// A table in a file of TOML.
    Toml {
        /// The keys on the way to it.
        key: Vec<String>,
        /// It.
        value: Value,
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
            Self::Json { key, value, list, known_by } => json::put(before, key, value, List::of(*list, known_by))?,
            Self::Toml { key, value } => toml::put(before, key, value)?,
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
            Self::Json { key, value, list, .. } => Self::Json { key, value, list, known_by: None },
            other => other,
        }
    }

    /// Whether a text has what is ours.
    pub(super) fn is_in(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        match self {
            Self::Json { key, value, list, known_by } => json::has(text, key, value, List::of(*list, known_by)),
            Self::Toml { key, value } => toml::has(text, key, value),
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
            Self::Json { key, value, list, known_by } => {
                let keep = kept.map_or(0, |kept| json::depth(kept, key));
                json::take(text, key, value, List::of(*list, known_by), keep)?
            }
            Self::Toml { key, .. } => toml::take(text, key)?,
            Self::Section { .. } => section::take(text)?,
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

/// Takes a change back out of a text that has changed since, if all of it stands there in one piece still.
pub(super) fn reverse(before: &str, after: &str, now: &str) -> Option<String> {
    let same = |left: &mut dyn Iterator<Item = char>, right: &mut dyn Iterator<Item = char>| -> usize {
        left.zip(right).take_while(|(left, right)| left == right).map(|(c, _)| c.len_utf8()).sum()
    };
    let head = same(&mut before.chars(), &mut after.chars());
    let tail = same(&mut before[head..].chars().rev(), &mut after[head..].chars().rev());
    let (old, new) = (&before[head..before.len() - tail], &after[head..after.len() - tail]);
    let mut places = now.match_indices(new);
    match (new.is_empty(), places.next(), places.next()) {
        (false, Some((at, _)), None) => Some(format!("{}{old}{}", &now[..at], &now[at + new.len()..])),
        _ => None,
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
