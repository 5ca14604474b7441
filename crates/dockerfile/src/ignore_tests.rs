use super::*;

#[test]
fn the_last_rule_that_fits_decides() {
    let ignore = Ignore::parse("# comment\n*.md\n!README.md\n/target/\n**/node_modules\ndocs/*\n!docs/keep\n").unwrap();
    for (path, out) in [
        ("a.md", true),
        ("README.md", false),
        ("d/a.md", false),
        ("target", true),
        ("target/debug/x", true),
        ("src/main.rs", false),
        ("node_modules/x", true),
        ("a/b/node_modules/x/y", true),
        ("docs", false),
        ("docs/x", true),
        ("docs/keep", false),
        ("docs/keep/x", false),
    ] {
        assert_eq!(ignore.leaves_out(path), out, "{path}");
    }
    assert!(ignore.brings_back());
}

#[test]
fn all_but_a_few_is_said_with_exceptions() {
    let ignore = Ignore::parse("*\n!src\n!Cargo.*\nsrc/*.bak").unwrap();
    for (path, out) in [("x", true), ("src", false), ("src/a", false), ("src/a.bak", true), ("Cargo.toml", false)] {
        assert_eq!(ignore.leaves_out(path), out, "{path}");
    }
}

/// As moby's `patternmatcher` and the legacy builder have it.
#[test]
fn an_exception_for_a_directory_that_was_never_left_out_brings_nothing_back() {
    for (text, out, within) in [
        ("**/*.env\n!src", &["src/s.env", "src/d/s.env"][..], &["src", "src/a", "src/d"][..]),
        ("**/s.env\n!src/", &["src/s.env", "src/d/s.env"], &["src", "src/d"]),
        ("src/d\n!src", &["src/d", "src/d/s.env"], &["src", "src/a"]),
        ("**/*.env\n!*", &["src/s.env"], &["s.env", "src"]),
        ("src\n!src\n**/*.env", &["src/s.env"], &["src", "src/a"]),
        ("**/*.env\nsrc\n!src", &[], &["src", "src/s.env", "src/d/s.env"]),
        ("**/*.env\n!src/s.env", &["src/d/s.env"], &["src/s.env"]),
    ] {
        let ignore = Ignore::parse(text).unwrap();
        out.iter().for_each(|path| assert!(ignore.leaves_out(path), "{text:?} {path}"));
        within.iter().for_each(|path| assert!(!ignore.leaves_out(path), "{text:?} {path}"));
    }
}

#[test]
fn what_is_no_rule_is_told_with_its_line() {
    assert_eq!(Ignore::parse("a\n!\n").unwrap_err().line, 2);
    assert_eq!(Ignore::parse("a\n\n[b\n").unwrap_err().line, 3);
    assert_eq!(Ignore::parse(" \n.\n").unwrap(), Ignore::parse(".").unwrap());
}

#[test]
fn what_leads_out_of_the_context_leaves_nothing_out() {
    let ignore = Ignore::parse("../a\nb/../../c\n..\n/../d\ne/../f\n").unwrap();
    for (path, out) in [("a", false), ("c", false), ("x", false), ("d", true), ("f", true), ("e", false)] {
        assert_eq!(ignore.leaves_out(path), out, "{path}");
    }
    assert_eq!(Ignore::parse("../[b\n").unwrap_err().line, 1);
}

#[test]
fn all_that_is_below_is_not_the_directory_itself() {
    let ignore = Ignore::parse("**/b/**\nc/**\n").unwrap();
    for (path, out) in [("a/b", false), ("b", false), ("a/b/x", true), ("b/x/y", true), ("c", false), ("c/d", true)] {
        assert_eq!(ignore.leaves_out(path), out, "{path}");
    }
    assert!(Ignore::parse("**").unwrap().leaves_out("a"));
    assert!(Ignore::parse("**/**").unwrap().leaves_out("a/b"));
}
