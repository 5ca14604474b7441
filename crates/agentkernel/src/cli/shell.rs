//! Lines for the shell of a sandbox: hides how the better one is found that is there.

use super::{Failure, failure::OWN};
use std::ffi::OsString;
#[cfg(test)]
use std::os::unix::ffi::OsStrExt as _;
use wire::OsBytes;

/// Finds it, for what follows.
const BETTER: &str = r#"command -v bash >/dev/null 2>&1 && exec bash "$@"; exec sh "$@""#;

/// The program and its arguments: bash where the sandbox has it, else sh, for this line, or to talk to.
pub(super) fn words(line: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    if line.len() > 1 {
        let failure = Failure::new("`--shell` takes one line, as one argument").status(OWN);
        return Err(failure.hint("Put quotes around it: run --shell -- 'make && make test'"));
    }
    // A line may begin with a dash.
    let option = if line.is_empty() { &[][..] } else { &["-c", "--"] };
    let option = option.iter().map(OsString::from);
    Ok(["sh", "-c", BETTER, "sh"].map(OsString::from).into_iter().chain(option).chain(line).collect())
}

/// The line, if these are such words.
pub(super) fn line(words: &[OsBytes]) -> Option<&OsBytes> {
    match words {
        [_, _, better, _, _, _, line] if better.0 == BETTER.as_bytes() => Some(line),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_argument_and_found_again() {
        let words = words(vec!["a; b".into()]).unwrap();
        let words: Vec<OsBytes> = words.iter().map(|word| OsBytes(word.as_bytes().to_vec())).collect();
        assert_eq!(line(&words).map(ToString::to_string).as_deref(), Some("a; b"));
        assert_eq!(line(&words[..5]), None);
        assert!(super::words(vec!["a".into(), "b".into()]).is_err());
        assert_eq!(super::words(vec![]).unwrap().last().unwrap(), "sh");
    }
}
