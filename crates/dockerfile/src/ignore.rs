//! Hides how `.dockerignore` decides what belongs to the context.

use crate::{error::DockerfileError, pattern::Pattern};

/// What a `.dockerignore` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    /// Patterns, and whether they bring back what was left out.
    rules: Vec<(Pattern, bool)>,
}

impl Ignore {
    /// Reads one.
    ///
    /// # Errors
    /// With the line that is none.
    pub fn parse(text: &str) -> Result<Self, DockerfileError> {
        let mut rules = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim();
            let (pattern, back) = line.strip_prefix('!').map_or((line, false), |pattern| (pattern.trim(), true));
            if pattern.is_empty() {
                if back {
                    return Err(DockerfileError::mistake(index + 1, "'!' is followed by no pattern"));
                }
                continue;
            }
            let wrong = |cause| DockerfileError::mistake(index + 1, cause);
            let rule = (Pattern::new(&clean(pattern), true).map_err(wrong)?, back);
            // What lies outside of the context is in no path of it.
            if !leads_out(pattern) {
                rules.push(rule);
            }
        }
        Ok(Self { rules })
    }

    /// Whether it leaves a path out: the last rule decides that fits it, or has decided for a directory that it is in. An
    /// exception that a directory did not need brings back nothing below it, as Docker has it.
    #[must_use]
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut deciding = vec![false; self.rules.len()];
        let mut out = false;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            out = false;
            for ((pattern, back), decides) in self.rules.iter().zip(&mut deciding) {
                *decides = *decides || (out == *back && pattern.fits(&path[..end]));
                if *decides {
                    out = !back;
                }
            }
        }
        out
    }

    /// Whether something below a directory that is left out may be brought back.
    #[must_use]
    pub fn brings_back(&self) -> bool {
        self.rules.iter().any(|(_, back)| *back)
    }
}

/// A path without `.`, `..` and what they take back: as Go's `filepath.Clean`, relative to the root or the context.
#[must_use]
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a relative path takes back more than it has.
fn leads_out(path: &str) -> bool {
    let mut depth = 0_usize;
    !path.starts_with('/')
        && path.split('/').any(|part| match part {
            "" | "." => false,
            ".." if depth == 0 => true,
            ".." => {
                depth -= 1;
                false
            }
            _ => {
                depth += 1;
                false
            }
        })
}

#[cfg(test)]
#[path = "ignore_tests.rs"]
mod tests;
