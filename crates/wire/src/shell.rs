//! Commands that people are told to type.

/// A word as sh takes it: in quotes where it would read anything else in it.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_one_word() {
        for (word, written) in [
            ("a.example:443", "a.example:443"),
            ("*.example", "'*.example'"),
            ("[::1]:22", "'[::1]:22'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(word), written);
        }
    }
}
