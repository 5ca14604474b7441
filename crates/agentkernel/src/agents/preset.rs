//! Hides how settings get into a file of an agent's in which its user has set others.

use super::adapter::{Adapter, Wish};
use crate::edit::{Edit, Put};
use std::path::Path;

/// What a file of settings is to say with what an adapter sets, below the home directory at `file`; `None` if it says that
/// already, or can't be read. What stands there otherwise stays. Of a file that the agent keeps (`kept`), what was set once and
/// is wished now is taken out again.
pub fn preset(adapter: &Adapter, file: &Path, text: Option<&str>, wishes: &[Wish], kept: bool) -> Option<String> {
    let mut now = text.map(str::to_owned);
    for preset in adapter.presets.iter().filter(|preset| preset.file == file) {
        let Some(value) = preset.value.clone() else { continue };
        let edit = Edit::Json { key: preset.key.clone(), value, list: false, known_by: None, mark: None };
        match (preset.unless.is_some_and(|wish| wishes.contains(&wish)), &now) {
            (false, _) => {
                if let Ok(Put::Done(after)) = edit.put(now.as_deref()) {
                    now = Some(after);
                }
            }
            (true, Some(before)) if kept => {
                if let Ok(after) = edit.take(before, Some(before)) {
                    now = after;
                }
            }
            (true, _) => {}
        }
    }
    now.filter(|now| Some(now.as_str()) != text)
}

/// Settings without an entry that is empty now: a variable of no value would hide one that has some.
pub fn without_empty(text: String, keys: &[String]) -> String {
    let edit = Edit::Json { key: keys.to_vec(), value: "".into(), list: false, known_by: None, mark: None };
    match edit.take(&text, Some(&text)) {
        Ok(Some(after)) => after,
        _ => text,
    }
}

#[cfg(test)]
#[path = "preset_tests.rs"]
mod tests;
