//! Files of JSON in which other programs keep what logs in. Hides how a value in one is found, and is never shown.

use super::{ConfigError, project::read_by_path};
use serde_json::Value;
use std::path::Path;

/// Such a file, as it was read.
pub struct Document(Value);

impl Document {
    /// Reads one; `None` if there is none.
    ///
    /// # Errors
    /// If it can't be read, or is no JSON. What is in it is not shown.
    pub fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        let Some(text) = read_by_path(path)? else { return Ok(None) };
        let document = serde_json::from_str(&text).map_err(|error| ConfigError::File {
            path: path.into(),
            line: error.line(),
            column: error.column(),
            cause: "it is no JSON".into(),
            hint: "Log in again with the program whose file that is".into(),
        })?;
        Ok(Some(Self(document)))
    }

    /// A text that is not empty, by keys, the outermost first.
    #[must_use]
    pub fn text(&self, keys: &[String]) -> Option<&str> {
        let mut value = &self.0;
        for key in keys {
            value = value.get(key)?;
        }
        value.as_str().filter(|text| !text.is_empty())
    }

    /// Puts another text in the place of one.
    pub fn put(&mut self, keys: &[String], text: String) {
        let mut value = &mut self.0;
        for key in keys {
            match value.get_mut(key) {
                Some(below) => value = below,
                None => return,
            }
        }
        *value = Value::String(text);
    }

    /// As it is written.
    #[must_use]
    pub fn written(&self) -> String {
        format!("{:#}\n", self.0)
    }
}
