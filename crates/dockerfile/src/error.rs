//! What is wrong with a Dockerfile, and where.

/// A Dockerfile that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct DockerfileError {
    /// The line on which it stands, from 1.
    pub line: usize,
    /// Why, in one line.
    pub cause: String,
    /// What can be done about it, one line; empty if nothing is known.
    pub hint: String,
    /// Whether anybody could build it.
    pub kind: Kind,
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The author's.
    Mistake,
    /// Ours: other builders know it.
    Unsupported,
    /// The same, and of other builders only BuildKit knows it.
    BuildKit,
}

impl DockerfileError {
    /// A mistake on a line.
    #[must_use]
    pub fn mistake(line: usize, cause: impl Into<String>) -> Self {
        Self { line, cause: cause.into(), hint: String::new(), kind: Kind::Mistake }
    }

    /// Something on a line that is not supported.
    #[must_use]
    pub fn unsupported(line: usize, cause: impl Into<String>) -> Self {
        Self { kind: Kind::Unsupported, ..Self::mistake(line, cause) }
    }

    /// With a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// A word of the author's as it may stand in an error: short, and nothing that a terminal obeys.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("'{shown}'")
}
