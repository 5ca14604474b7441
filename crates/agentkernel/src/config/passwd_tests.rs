use super::*;
use proptest::prelude::*;

const FILE: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
    # comment\n\
    ann:x:1000:100:Ann,,,:/home/ann:/bin/bash\n\
    1000:x:0:0::/evil:/bin/sh\n\
    toor:x:0:5::/other:\n\
    short:x:5\n\
    plus:x:+7:7::/home/plus:\n\
    space:x: 8:8::/home/space:\n\
    max:x:4294967295:1::/home/max:\n\
    over:x:4294967296:1::/home/over:\n\
    relative:x:9:9::home:\n\
    short:x:10:10::/home/short:\n\
    nl:x:11:11::/home/nl\r:/bin/sh\n\
    +::::::\n";

fn name(name: &str) -> Result<Option<Account>, usize> {
    find(FILE, &Who::Name(name))
}

#[test]
fn groups_are_those_that_name_the_user() {
    let file = b"root:x:0:\napp:x:8:\nstaff:x:50:other,app\nwheel:x:10:app\nwheel:x:10:app\nbroken:x:11\nbad:x:+5:app\n\xff:x:6:app,\xff\n";
    assert_eq!(groups(file, "app"), [6, 10, 50]);
    assert!(groups(file, "ap").is_empty());
    assert!(groups(b"", "app").is_empty());
    for (name, number) in
        [("app", Ok(Some(8))), ("none", Ok(None)), ("", Ok(None)), ("broken", Err(6)), ("bad", Err(7))]
    {
        assert_eq!(group(file, name), number, "{name}");
    }
    assert_eq!(group(b"a:x:+1:\na:x:2:\n", "a"), Err(1), "no later line stands for it");
}

#[test]
fn the_first_entry_counts() {
    let ann = Account { name: "ann".into(), uid: 1000, gid: 100, home: "/home/ann".into() };
    assert_eq!(name("ann"), Ok(Some(ann.clone())));
    assert_eq!(find(FILE, &Who::Uid(1000)), Ok(Some(ann)));
    assert_eq!(find(FILE, &Who::Uid(0)).unwrap().unwrap().name, "root");
    assert_eq!(name("toor").unwrap().unwrap().gid, 5);
}

#[test]
fn names_are_those_that_stand_for_a_user() {
    assert_eq!(names(FILE), ["root", "ann", "toor", "short"]);
    assert!(names(b"").is_empty());
}

#[test]
fn nobody_becomes_someone_else() {
    for unknown in ["an", "ann ", "ANN", "", "x", "1000:x", "# comment\nann", "nobody"] {
        assert_eq!(name(unknown), Ok(None), "{unknown}");
    }
    assert_eq!(find(FILE, &Who::Uid(7)), Ok(None));
    assert_eq!(find(FILE, &Who::Uid(u32::MAX)), Ok(None));
}

#[test]
fn a_broken_entry_is_an_error_and_hides_nothing_behind_it() {
    for (broken, line) in
        [("short", 6), ("plus", 7), ("space", 8), ("max", 9), ("over", 10), ("relative", 11), ("nl", 13), ("+", 14)]
    {
        assert_eq!(name(broken), Err(line), "{broken}");
    }
}

#[test]
fn ids_are_digits() {
    assert_eq!(parse_id("0"), Some(0));
    assert_eq!(parse_id("4294967294"), Some(u32::MAX - 1));
    for text in ["", "+1", "-1", " 1", "1 ", "0x1", "1a", "4294967295", "99999999999", "١"] {
        assert_eq!(parse_id(text), None, "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_file_can_be_searched(file in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z0-9:\\n]{0,60}") {
        for file in [&file[..], text.as_bytes()] {
            for who in [Who::Name("a"), Who::Uid(0)] {
                prop_assert!(names(file).iter().all(|name| valid_name(name)));
                if let Ok(Some(account)) = find(file, &who) {
                    prop_assert!(who == Who::Uid(account.uid) || who == Who::Name(&account.name));
                }
            }
        }
    }

    #[test]
    fn an_entry_comes_back(name in "[a-z_][a-z0-9_-]{0,20}", uid in 0..u32::MAX, gid in 0..u32::MAX) {
        let file = format!("root:x:0:0::/root:\n{name}:x:{uid}:{gid}:,:/home/{name}:/bin/sh");
        let account = Account { home: format!("/home/{name}").into(), name: name.clone(), uid, gid };
        prop_assume!(name != "root");
        prop_assert_eq!(find(file.as_bytes(), &Who::Name(&name)), Ok(Some(account)));
    }
}
