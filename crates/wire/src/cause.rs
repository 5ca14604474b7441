//! An error as the one line that crosses a process boundary, and that people read.

use std::error::Error;

/// An error and its sources, as one line: errors themselves do not cross, and do not repeat their sources.
#[must_use]
pub fn cause(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("Outer")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn sources_follow_in_order() {
        let inner = "x".parse::<u8>().unwrap_err();
        assert_eq!(cause(&Outer(inner)), "Outer: invalid digit found in string");
    }
}
