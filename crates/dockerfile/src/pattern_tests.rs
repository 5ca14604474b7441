use super::*;
use proptest::prelude::*;

#[test]
fn patterns_fit_as_those_of_go() {
    for (pattern, path, fitting) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*.txt", "a.txt", true),
        ("*.txt", "d/a.txt", false),
        ("d/*", "d/a", true),
        ("d/*", "d/a/b", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("[]a]", "]", true),
        (r"a\*", "a*", true),
        (r"a\*", "ab", false),
        ("*a*b*c*", "xxaxxbxxcxx", true),
        ("*a*b*c*", "xxaxxcxxbxx", false),
        ("**", "a/b/c", true),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/x", "a/b/y", false),
        ("a/**/x", "a/x", true),
        ("a/**/x", "a/b/c/x", true),
        ("a/**", "b", false),
        ("\u{e4}?", "\u{e4}\u{fc}", true),
    ] {
        assert_eq!(Pattern::new(pattern, true).unwrap().fits(path), fitting, "{pattern} {path}");
    }
    assert!(Pattern::new("[a", true).is_err());
    // Where it has no meaning it is two stars.
    assert!(!Pattern::new("**/x", false).unwrap().fits("a/b/x"));
}

#[test]
fn a_pattern_knows_its_parts() {
    let pattern = Pattern::new("/a/b*/c", false).unwrap();
    assert_eq!((pattern.len(), pattern.is_empty()), (3, false));
    assert_eq!((pattern.plain(0).as_deref(), pattern.plain(1)), (Some("a"), None));
    assert!(pattern.fits_part(1, "bc") && !pattern.fits_part(1, "c") && !pattern.fits_part(3, "c"));
}

proptest! {
    #[test]
    fn a_name_without_signs_fits_itself_alone(name in "[a-z.]{1,20}", other in "[a-z.]{1,20}") {
        let pattern = Pattern::new(&name, true).unwrap();
        prop_assert!(pattern.fits(&name));
        prop_assert_eq!(pattern.fits(&other), name == other);
    }

    #[test]
    fn any_pattern_is_read_or_refused(pattern in "[a*?\\[\\]^\\\\/-]{0,30}", path in "[ab/]{0,30}") {
        if let Ok(pattern) = Pattern::new(&pattern, true) {
            let _ = pattern.fits(&path);
        }
        let _ = replace(&path, &pattern, "x", true);
        prop_assert!(path.ends_with(cut_front(&path, &pattern, true)));
        prop_assert!(path.starts_with(cut_back(&path, &pattern, false)));
    }
}
