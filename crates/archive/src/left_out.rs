//! Hides how what an archive has no place for is counted and told in words.

use crate::display;
use rustix::fs::FileType;
use std::{collections::BTreeMap, fmt};

/// What was left out. As text it is `2 devices and 1 socket: the first is dev/null`, and nothing if nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many of each kind.
    counts: BTreeMap<&'static str, u64>,
    /// The name in the archive of what came first.
    first: String,
}

impl LeftOut {
    /// Counts one of a kind.
    pub fn add(&mut self, kind: &'static str, path: &[u8]) {
        if self.counts.is_empty() {
            self.first = display(path.strip_prefix(b"./").unwrap_or(path));
        }
        *self.counts.entry(kind).or_default() += 1;
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (kind, count)) in self.counts.iter().enumerate() {
            let between = match place {
                0 => "",
                _ if place + 1 == self.counts.len() => " and ",
                _ => ", ",
            };
            let plural = if *count == 1 { "" } else { "s" };
            write!(f, "{between}{count} {kind}{plural}")?;
        }
        match self.counts.values().sum::<u64>() {
            0 => Ok(()),
            1 => write!(f, ": {}", self.first),
            _ => write!(f, ": the first is {}", self.first),
        }
    }
}

/// The word for what is neither a file, a directory nor a symbolic link.
#[must_use]
pub fn special(kind: FileType) -> &'static str {
    match kind {
        FileType::Socket => "socket",
        FileType::Fifo => "fifo",
        _ => "device",
    }
}
