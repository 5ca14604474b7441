//! Hides how settings get into a file of an agent's in which its user has set others, and how what was emptied gets out of it.

use super::{
    adapter::{Adapter, Wish},
    detect::{has_headers, has_secret_name},
    settings::{Form, Settings, VARIABLES},
};
use crate::edit::{self, Edit, Put};
use std::path::Path;
use toml_edit::{Array, DocumentMut, Item, TableLike};

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

/// A file of settings, below the home directory at `file`, without those with which the agent would not work, and where these stood.
#[must_use]
pub fn unset(adapter: &Adapter, file: &Path, mut text: String, form: Form, given: Given<'_>) -> (String, Vec<String>) {
    let mut taken = Vec::new();
    let is_wished = |wish: Option<Wish>| wish.is_some_and(|wish| given.wishes.contains(&wish));
    for unset in adapter.unset.iter().filter(|unset| unset.file == file && !is_wished(unset.unless)) {
        let after = match form {
            Form::Json => {
                let there = edit::json_value(&text).is_some_and(|settings| {
                    unset.key.iter().try_fold(&settings, |value, key| value.get(key)).is_some()
                });
                let edit =
                    Edit::Json { key: unset.key.clone(), value: "".into(), list: false, known_by: None, mark: None };
                // Only what is known is taken out.
                let known = there.then(|| edit.set(Some(&text)).ok()).flatten();
                known.and_then(|known| edit.take(&known, Some(&known)).ok().flatten())
            }
            Form::Toml => text.parse::<DocumentMut>().ok().and_then(|mut document| {
                let (last, tables) = unset.key.split_last()?;
                let top: &mut dyn TableLike = document.as_table_mut();
                let table = tables.iter().try_fold(top, |table, key| table.get_mut(key)?.as_table_like_mut())?;
                table.remove(last)?;
                Some(document.to_string())
            }),
            Form::Variables | Form::FrontMatter | Form::Calls => None,
        };
        if let Some(after) = after {
            taken.push(unset.key.join("."));
            text = after;
        }
    }
    (text, taken)
}

/// Settings without the entries in which something was left out and that need not be there: a key of no value would hide one
/// that the sandbox has, as a variable would. Of a table of TOML with variables of a server, the names go to its list `forward`,
/// if that is called anything: those that it has of the agent's own.
#[must_use]
pub fn without_empty(settings: &Settings, form: Form, forward: &str) -> String {
    let split = settings.left_out.iter().map(|keys| keys.split('.').map(str::to_owned).collect::<Vec<_>>());
    let optional: Vec<Vec<String>> = split.filter(|keys| is_optional(keys)).collect();
    match form {
        Form::Json => optional.into_iter().fold(settings.text.clone(), |text, key| {
            let edit = Edit::Json { key, value: "".into(), list: false, known_by: None, mark: None };
            match edit.take(&text, Some(&text)) {
                Ok(Some(after)) => after,
                _ => text,
            }
        }),
        Form::Toml => {
            let Ok(mut document) = settings.text.parse::<DocumentMut>() else { return settings.text.clone() };
            for keys in &optional {
                // A server is in a table of such.
                let forward = if keys.len() > 3 { forward } else { "" };
                without(document.as_table_mut(), keys, forward);
            }
            document.to_string()
        }
        Form::Variables | Form::FrontMatter | Form::Calls => settings.text.clone(),
    }
}

/// Whether settings are as good without what was left out at the end of these keys.
fn is_optional(keys: &[String]) -> bool {
    let Some((last, tables)) = keys.split_last() else { return false };
    let table = tables.last().map(|table| table.to_ascii_lowercase()).unwrap_or_default();
    VARIABLES.contains(&&*table) || has_headers(&table) || has_secret_name(last)
}

fn without(table: &mut dyn TableLike, keys: &[String], forward: &str) {
    match keys {
        [variables, name] if VARIABLES.contains(&&**variables) => without_variable(table, variables, name, forward),
        [key] if table.get(key).and_then(Item::as_str) == Some("") => {
            table.remove(key);
        }
        [key, rest @ ..] if !rest.is_empty() => {
            if let Some(table) = table.get_mut(key).and_then(Item::as_table_like_mut) {
                without(table, rest, forward);
            }
        }
        _ => {}
    }
}

/// Removes an empty variable of a server, whose name stands in its list then.
fn without_variable(server: &mut dyn TableLike, variables: &str, name: &str, forward: &str) {
    let Some(table) = server.get_mut(variables).and_then(Item::as_table_like_mut) else { return };
    if table.get(name).and_then(Item::as_str) != Some("") {
        return;
    }
    table.remove(name);
    if !forward.is_empty() {
        let names = server.entry(forward).or_insert_with(|| Item::Value(Array::new().into()));
        names.as_array_mut().into_iter().for_each(|names| names.push(name));
    }
}

#[cfg(test)]
#[path = "preset_tests.rs"]
mod tests;
