//! Files of JSON in which other programs keep what logs in. Hides how a value in one is found and replaced, so that
//! nothing else of it changes, and how the file itself is replaced.

mod file;

pub use file::{FileError, Held};

use egress::Secret;
use serde_json::{Map, Value, value::RawValue};
use std::collections::BTreeMap;

/// What such a file says, byte for byte.
#[derive(Clone)]
pub struct Document(Secret);

impl Document {
    /// Takes the text of one.
    ///
    /// # Errors
    /// If it is no JSON. The error shows nothing of it.
    pub fn parse(text: Secret) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<&RawValue>(text.expose())?;
        Ok(Self(text))
    }

    /// The same; lines of `NAME=VALUE`, as in `.env`, are a document of these.
    ///
    /// # Errors
    /// If it is neither. The error shows nothing of it.
    pub fn of(text: Secret) -> Result<Self, serde_json::Error> {
        let lines = str::from_utf8(text.expose()).unwrap_or_default();
        match variables(lines).filter(|_| !lines.trim_start().starts_with('{')) {
            Some(variables) => Ok(Self(Secret::new(Value::Object(variables).to_string().into_bytes()))),
            None => Self::parse(text),
        }
    }

    /// A text that is not empty, by keys, the outermost first.
    #[must_use]
    pub fn text(&self, keys: &[String]) -> Option<String> {
        serde_json::from_str::<String>(self.find(keys)?.get()).ok().filter(|text| !text.is_empty())
    }

    /// A whole number.
    #[must_use]
    pub fn number(&self, keys: &[String]) -> Option<u64> {
        let number: f64 = serde_json::from_str(self.find(keys)?.get()).ok()?;
        // JavaScript's numbers are exact up to here, and other programs write them with a fraction.
        (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
    }

    /// A text, or the texts of a list with a blank between them.
    #[must_use]
    pub fn words(&self, keys: &[String]) -> Option<String> {
        let list = || serde_json::from_str::<Vec<String>>(self.find(keys)?.get()).ok().map(|list| list.join(" "));
        self.text(keys).or_else(list)
    }

    /// Whatever stands there.
    #[must_use]
    pub fn value(&self, keys: &[String]) -> Option<Value> {
        serde_json::from_str(self.find(keys)?.get()).ok()
    }

    /// The keys of what has keys itself, at the top.
    #[must_use]
    pub fn tables(&self) -> Vec<String> {
        let all: BTreeMap<String, &RawValue> = serde_json::from_str(self.written()).unwrap_or_default();
        all.into_iter().filter(|(_, value)| value.get().starts_with('{')).map(|(key, _)| key).collect()
    }

    /// Puts another value in the place of one, and changes nothing else. False: there is none.
    pub fn put(&mut self, keys: &[String], value: &Value) -> bool {
        let Some(old) = self.find(keys).map(RawValue::get) else { return false };
        let text = self.written();
        let begin = old.as_ptr() as usize - text.as_ptr() as usize;
        let changed = [&text[..begin], &value.to_string(), &text[begin + old.len()..]].concat();
        self.0 = Secret::new(changed.into_bytes());
        true
    }

    /// As it is written.
    #[must_use]
    pub fn written(&self) -> &str {
        str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// Of two values with the same key the last one counts, as it does for JavaScript.
    fn find(&self, keys: &[String]) -> Option<&RawValue> {
        let whole: &RawValue = serde_json::from_str(self.written()).ok().filter(|_| !keys.is_empty())?;
        keys.iter().try_fold(whole, |value, key| {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(value.get()).ok()?.remove(key)
        })
    }
}

/// Variables as `.env` has them; `None` if there are only lines of another kind. Quotes are taken off, and comments behind values.
fn variables(text: &str) -> Option<Map<String, Value>> {
    let variable = |line: &str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let is_name = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_';
        let value = match value.chars().next().filter(|first| "'\"`".contains(*first)) {
            Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
            None => value.split(" #").next().unwrap_or_default().trim_end(),
        };
        (!name.is_empty() && name.bytes().all(is_name)).then(|| (name.to_owned(), value.into()))
    };
    let variables: Map<String, Value> = text.lines().filter_map(variable).collect();
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    (!variables.is_empty() || text.lines().all(says_nothing)).then_some(variables)
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
