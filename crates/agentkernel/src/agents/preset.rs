//! Hides how settings get into a file of an agent's in which its user has set others.

use super::adapter::{Adapter, Wish};
use crate::edit::{Edit, Put};
use std::path::Path;

/// What decides, beside the user's own settings, over what is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// What is wished.
    pub wishes: &'a [Wish],
    /// Where what logs in is, as [`Login::place`](super::login::Login::place) says it.
    pub login: Option<&'a str>,
}

/// What a file of settings is to say with what an adapter sets, below the home directory at `file`; `None` if it says that
/// already, or can't be read. What stands there otherwise stays, unless it belongs to another login. Of a file that the agent
/// keeps (`kept`), what was set once and is not to be now is taken out again.
pub fn preset(adapter: &Adapter, file: &Path, text: Option<&str>, given: Given<'_>, kept: bool) -> Option<String> {
    let mut now = text.map(str::to_owned);
    for preset in adapter.presets.iter().filter(|preset| preset.file == file) {
        let Some(value) = preset.value.clone() else { continue };
        let edit = Edit::Json { key: preset.key.clone(), value, list: false, known_by: None, mark: None };
        let wished = preset.unless.is_some_and(|wish| given.wishes.contains(&wish));
        let after = match &now {
            before if !wished && given.login == Some(&preset.login) => edit.set(before.as_deref()).ok(),
            before if !wished && preset.login.is_empty() => match edit.put(before.as_deref()) {
                Ok(Put::Done(after)) => Some(after),
                _ => None,
            },
            Some(before) if kept => edit.take(before, Some(before)).ok().flatten(),
            _ => None,
        };
        now = after.or(now);
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
