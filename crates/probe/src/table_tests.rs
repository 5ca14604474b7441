use crate::{
    case::{Control, Outcome, Skip, permitted, worst},
    cases, described,
    run::{line, status},
};
use rustix::io::Errno;
use std::collections::BTreeSet;

#[test]
fn the_table_is_whole() {
    let mut names = BTreeSet::new();
    for case in cases::all() {
        let plain = case.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(plain && !case.name.starts_with('-') && !case.name.ends_with('-'), "{}", case.name);
        assert!(names.insert(case.name), "{} is there twice", case.name);
        assert!(case.means.len() > 10 && !case.means.ends_with('.') && !case.means.contains('\n'), "{}", case.name);
        let source = case.reference;
        let known = source.starts_with("CVE-") || source.ends_with(')') || source.contains(": ");
        assert!(known, "{}: '{source}' is no CVE, manual page or rule", case.name);
        if let Control::None(reason) = case.control {
            assert!(reason.len() > 10, "{} must say why it isn't shown to work", case.name);
        }
    }
    assert!(names.len() >= 60, "{} cases", names.len());
    let shown = cases::all().filter(|case| !matches!(case.control, Control::None(_))).count();
    assert!(shown * 10 >= names.len() * 9, "only {shown} of {} have a control", names.len());
    assert!(cases::find("host-file-read").is_some_and(|case| case.name == "host-file-read"));
    assert!(cases::find("no-such-case").is_none());
}

#[test]
fn answers_have_a_line_and_a_status_of_their_own() {
    let case = cases::find("fork-bomb").expect("it is in the table");
    let answers = [
        (Ok(Outcome::Held("a \"b\"".into())), "held", 0),
        (Ok(Outcome::Absent(String::new())), "absent", 0),
        (Ok(Outcome::Escaped(String::new())), "escaped", 10),
        (Err(Skip(String::new())), "skipped", 20),
        (Ok(Outcome::Tried(String::new())), "tried", 30),
    ];
    for (answer, word, code) in answers {
        assert_eq!(status(&answer), code);
        assert!(line(case, &answer).contains(&format!(r#""result":"{word}""#)));
    }
    let held = line(case, &Ok(Outcome::Held("a \"b\"".into())));
    assert_eq!(held, r#"{"name":"fork-bomb","class":"resources","result":"held","detail":"a \"b\""}"#);
    assert!(described(case).ends_with(r#""control":"host","reason":"","may_die":true}"#), "{}", described(case));
}

#[test]
fn an_escape_outranks_a_wall_and_a_wall_what_is_absent() {
    let (escaped, held, absent) =
        (Outcome::Escaped("e".into()), Outcome::Held("h".into()), Outcome::Absent("a".into()));
    assert_eq!(worst([absent.clone(), held.clone(), escaped.clone()]), escaped);
    assert_eq!(worst([absent.clone(), held.clone()]), held);
    assert_eq!(worst([absent.clone()]), absent);
    assert!(matches!(worst([]), Outcome::Absent(_)));
}

#[test]
fn only_a_missing_permission_counts_as_a_wall() {
    assert!(matches!(permitted::<()>(Err(Errno::PERM), "x"), Outcome::Held(_)));
    assert!(matches!(permitted::<()>(Err(Errno::ACCESS), "x"), Outcome::Held(_)));
    assert!(matches!(permitted::<()>(Err(Errno::NOSYS), "x"), Outcome::Absent(_)));
    assert!(matches!(permitted::<()>(Err(Errno::INVAL), "x"), Outcome::Escaped(_)));
    assert!(matches!(permitted(Ok(()), "x"), Outcome::Escaped(_)));
}
