//! Tables below a key, for files that have them: hides what keys a table has from whoever reads and describes the key.

use super::{
    ConfigError,
    forms::{self, FormError},
    nearest,
    parse::{Mistake, Source, fill, kind, list, refused, unknown_entry},
    reference::object,
    schema::Key,
};
use serde_json::{Value, json};
use std::{ops::Range, path::Path};
use toml_edit::{Document, Item};

/// What the tables of a key are read into.
pub(crate) trait Nested<T> {
    /// Takes what is written for the key.
    fn read(&self, target: &mut T, name: &str, item: &Item, source: &Source<'_>) -> Result<(), Mistake>;
    /// Whether a table has this key.
    fn has(&self, name: &str) -> bool;
    /// How the key stands in a heading.
    fn heading(&self, name: &str) -> String;
    /// Its keys' part of the reference page.
    fn describe(&self, page: &mut String, heading: &str);
    /// What an editor is told.
    fn schema(&self) -> Value;
}

/// One table: which keys it has, and where it goes.
pub(crate) struct One<T, U: 'static> {
    pub(crate) keys: &'static [Key<U>],
    pub(crate) place: fn(&mut T) -> &mut U,
}

/// A list of tables: which keys each has, and who takes it.
pub(crate) struct Many<T, U: 'static> {
    pub(crate) keys: &'static [Key<U>],
    pub(crate) add: fn(&mut T, U) -> Result<(), FormError>,
}

fn describe<U>(keys: &[Key<U>], page: &mut String, heading: &str) {
    keys.iter().for_each(|key| key.describe(page, heading));
}

impl<T, U> Nested<T> for One<T, U> {
    fn read(&self, target: &mut T, name: &str, item: &Item, source: &Source<'_>) -> Result<(), Mistake> {
        let span = item.span().unwrap_or(0..0);
        let table = item
            .as_table_like()
            .ok_or_else(|| Mistake::at(span, format!("`{name}` must be a table, not {}", kind(item))))?;
        fill((self.place)(target), self.keys, table, source, |key, at| unknown_entry(name, self.keys, key, at))
    }

    fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    fn heading(&self, name: &str) -> String {
        format!("[{name}]")
    }

    fn describe(&self, page: &mut String, heading: &str) {
        describe(self.keys, page, heading);
    }

    fn schema(&self) -> Value {
        object(self.keys)
    }
}

impl<T, U: Default> Nested<T> for Many<T, U> {
    fn read(&self, target: &mut T, name: &str, item: &Item, source: &Source<'_>) -> Result<(), Mistake> {
        let span = item.span().unwrap_or(0..0);
        let tables = item
            .as_array_of_tables()
            .ok_or_else(|| Mistake::at(span, format!("`{name}` is written as [[{name}]], not as {}", kind(item))))?;
        for table in tables {
            let span = table.span().unwrap_or(0..0);
            let mut draft = U::default();
            fill(&mut draft, self.keys, table, source, |key, at| unknown_entry(name, self.keys, key, at))?;
            (self.add)(target, draft).map_err(refused(name, span))?;
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    fn heading(&self, name: &str) -> String {
        format!("[[{name}]]")
    }

    fn describe(&self, page: &mut String, heading: &str) {
        describe(self.keys, page, heading);
    }

    fn schema(&self) -> Value {
        json!({ "type": "array", "items": object(self.keys) })
    }
}

/// Reads a file's text, which has these keys.
///
/// # Errors
/// [`ConfigError::File`] for the first mistake.
pub(crate) fn document<T: Default>(path: &Path, text: &str, keys: &[Key<T>]) -> Result<T, ConfigError> {
    let read = || {
        let document = Document::parse(text).map_err(|error| Mistake::syntax(&error))?;
        let mut value = T::default();
        fill(&mut value, keys, document.as_table(), &Source::new(text), |name, at| unknown(keys, name, at))?;
        Ok(value)
    };
    read().map_err(|mistake: Mistake| mistake.locate(path, text))
}

/// An unknown key at the top of a file.
fn unknown<T>(keys: &[Key<T>], name: &str, span: Range<usize>) -> Mistake {
    let mistake = Mistake::at(span, format!("unknown key {}", forms::quoted(name.as_ref())));
    let below = keys.iter().find_map(|key| key.nested().filter(|nested| nested.has(name)).map(|nested| (key, nested)));
    mistake.hint(match (below, nearest(name, keys.iter().map(|key| key.name))) {
        (Some((key, nested)), _) => format!("`{name}` belongs into {}", nested.heading(key.name)),
        (None, Some(near)) => format!("Did you mean `{near}`?"),
        (None, None) => format!("There are {}", list(keys)),
    })
}
