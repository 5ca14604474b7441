//! What the runner told the probe about itself: where the canaries are that an escape would reach.

use crate::case::Skip;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Parameters of a run, given as `key=value` arguments. `crate::plant` prints them.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// As given.
    pub params: BTreeMap<String, String>,
    /// Whether this run is a control, outside any sandbox.
    pub control: bool,
    /// Descriptors above 2 that were open when the probe started.
    pub leaked: Vec<i32>,
}

impl Context {
    /// From arguments.
    ///
    /// # Errors
    /// The first argument that isn't `key=value`.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut context = Self::default();
        for arg in args {
            let (key, value) = arg.split_once('=').ok_or_else(|| arg.clone())?;
            context.params.insert(key.to_owned(), value.to_owned());
        }
        Ok(context)
    }

    /// A parameter that may be missing because the host has no such thing.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.params.get(key).map(String::as_str)
    }

    /// A parameter that the attempt can't do without.
    ///
    /// # Errors
    /// [`Skip`] if it is missing.
    pub fn need(&self, key: &str) -> Result<&str, Skip> {
        self.get(key).ok_or_else(|| Skip(format!("the runner gave no '{key}'")))
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    /// [`Skip`] if it is missing or no number.
    pub fn number<T: FromStr>(&self, key: &str) -> Result<T, Skip> {
        self.need(key)?.parse().map_err(|_| Skip(format!("'{key}' is no number")))
    }

    /// The text that every canary holds.
    ///
    /// # Errors
    /// [`Skip`] if the runner gave none.
    pub fn token(&self) -> Result<&str, Skip> {
        self.need("token")
    }

    /// The workspace.
    ///
    /// # Errors
    /// [`Skip`] if the runner gave none.
    pub fn workspace(&self) -> Result<&Path, Skip> {
        self.need("workspace").map(Path::new)
    }

    /// A name in the workspace that no other case uses.
    ///
    /// # Errors
    /// [`Skip`] if there is no workspace.
    pub fn scratch(&self, name: &str) -> Result<PathBuf, Skip> {
        let path = self.workspace()?.join(format!(".probe-{name}"));
        // What an earlier run left behind must not decide this one.
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
        Ok(path)
    }

    /// The same, with one more leaked descriptor.
    #[must_use]
    pub fn with_leak(&self, fd: i32) -> Self {
        let mut other = self.clone();
        other.leaked.push(fd);
        other
    }
}
