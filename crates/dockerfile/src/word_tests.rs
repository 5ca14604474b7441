use super::*;
use proptest::prelude::*;

fn set(name: &str) -> Option<String> {
    match name {
        "a" => Some("one".into()),
        "empty" => Some(String::new()),
        "path" => Some("/x/y.tar.gz".into()),
        _ => None,
    }
}

#[test]
fn words_are_read_as_docker_reads_them() {
    for (raw, expected) in [
        ("plain", "plain"),
        ("$a", "one"),
        ("${a}two", "onetwo"),
        ("$atwo", ""),
        ("$a-two", "one-two"),
        (r"\$a", "$a"),
        (r"\\$a", r"\one"),
        ("'$a'", "$a"),
        ("\"$a\"", "one"),
        (r#""\$a \" \\ \n""#, r#"$a " \ \n"#),
        ("a'b c'd", "ab cd"),
        ("${none:-two}", "two"),
        ("${none-two}", "two"),
        ("${empty:-two}", "two"),
        ("${empty-two}", ""),
        ("${a:-two}", "one"),
        ("${a:+two}", "two"),
        ("${empty:+two}", ""),
        ("${empty+two}", "two"),
        ("${none+two}", ""),
        ("${none:-${empty:-$a}}", "one"),
        ("${none:-'a b'}", "a b"),
        ("${a:?never}", "one"),
        ("${path#*/}", "x/y.tar.gz"),
        ("${path##*/}", "y.tar.gz"),
        ("${path%.*}", "/x/y.tar"),
        ("${path%%.*}", "/x/y"),
        ("${path%none}", "/x/y.tar.gz"),
        ("${path/./-}", "/x/y-tar.gz"),
        ("${path//./-}", "/x/y-tar-gz"),
        ("${path//[xy]/}", "//.tar.gz"),
        ("$", "$"),
        ("$ ", "$ "),
        ("$1 $@", " "),
        ("$$", ""),
        ("a\\", "a"),
    ] {
        assert_eq!(Word::new(raw, '\\').expand(&set).as_deref(), Ok(expected), "{raw}");
    }
    assert_eq!(Word::new(r"`$a\$a", '`').expand(&set).as_deref(), Ok(r"$a\one"));
}

#[test]
fn what_stands_for_nothing_says_why() {
    for (raw, cause) in [
        ("'a", "A single quote has no second one"),
        ("\"a", "A double quote has no second one"),
        ("${a", "There is no '}' that ends it"),
        ("${a:-b", "There is no '}' that ends it"),
        ("${}", "'${' is followed by no name"),
        ("${none:?must be set}", "none: must be set"),
        ("${none?}", "none is not set"),
        ("${a^^}", "'${a^' is no substitution that is known"),
        ("${a:=b}", "'${a:=' is no substitution that is known"),
    ] {
        assert_eq!(Word::new(raw, '\\').expand(&set), Err(cause.to_owned()), "{raw}");
    }
    let deep = "${none:-".repeat(100);
    assert_eq!(Word::new(deep, '\\').expand(&set), Err("Substitutions are too deep in each other".to_owned()));
}

/// Each line of `ARG A=$A$A` doubles it.
#[test]
fn what_grows_without_end_is_refused() {
    let mut value = "x".to_owned();
    let doubled = loop {
        let a = value.clone();
        match Word::new("$A${A}", '\\').expand(&move |_: &str| Some(a.clone())) {
            Ok(longer) => value = longer,
            Err(error) => break error,
        }
    };
    assert!(doubled.contains("longer than 128 KiB") && value.len() == 128 << 10, "{doubled}: {}", value.len());
    let long = move |_: &str| Some(value.clone());
    for word in ["${A//x/$A}", "\"$A$A\"", "${B:-$A$A}"] {
        assert_eq!(Word::new(word, '\\').expand(&long), Err(doubled.clone()), "{word}");
    }
    assert_eq!(Word::new("$A$A", '\\').expand_document(&long), Err(doubled));
    // What stands there itself is as long as it is.
    let text = "y".repeat(1 << 20);
    assert_eq!(Word::new(format!("{text}$none"), '\\').expand_document(&set), Ok(text));
}

#[test]
fn quotes_mean_nothing_in_a_document() {
    let word = Word::new("'$a' \"${none:-x}\" \\$a \\n \\\\\n", '\\');
    assert_eq!(word.expand_document(&set).as_deref(), Ok("'one' \"x\" $a \\n \\\n"));
}

#[test]
fn words_are_split_outside_of_quotes() {
    assert_eq!(split(r#" a="b c" d\ e  'f "g' h"#, '\\'), [r#"a="b c""#, r"d\ e", r#"'f "g'"#, "h"]);
    assert!(split(" \t", '\\').is_empty());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a${}:'\"\\\\#%/*?\\[\\] \u{e4}-]{0,40}") {
        let _ = Word::new(text.as_str(), '\\').expand(&set);
        let _ = Word::new(text.as_str(), '\\').expand_document(&set);
        prop_assert_eq!(split(&text, '\\').concat().is_empty(), text.trim().is_empty());
    }

    #[test]
    fn what_is_quoted_is_itself(text in "[^']{0,40}") {
        prop_assert_eq!(Word::new(format!("'{text}'"), '\\').expand(&set), Ok(text));
    }
}
