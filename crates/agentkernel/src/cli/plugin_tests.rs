use super::*;
use std::ffi::OsStr;

#[test]
fn a_patch_is_one_and_a_terminal_obeys_nothing_in_it() {
    let before = "{\r\n\t\"a\": \"\u{202e}\x1b[2J\",\r\n\t\"b\": 1\r\n}";
    let change = plugin::Change {
        path: "/x/settings\t.json".into(),
        before: Some(before.to_owned()),
        after: Some(before.replace("1\r\n", "1,\r\n\t\"c\": 2\r\n")),
        backup: None,
    };
    let head = "--- \"/x/settings\\011.json\"\n+++ \"/x/settings\\011.json\"\n@@ -1,4 +1,5 @@\n";
    let body = " {\r\n \t\"a\": \"\u{202e}\x1b[2J\",\r\n-\t\"b\": 1\r\n+\t\"b\": 1,\r\n+\t\"c\": 2\r\n }\n\\ No newline at end of file\n";
    assert_eq!(patch(&change, false), format!("{head}{body}"));
    let shown = body.replace('\r', "\\r").replace('\x1b', "\\u{1b}").replace('\u{202e}', "\\u{202e}");
    assert_eq!(patch(&change, true), format!("{head}{shown}"));
}

#[test]
fn a_patch_names_its_file() {
    for (path, name) in [
        (&b"/home/me/a-b.json"[..], "/home/me/a-b.json"),
        (b"/home/me/My Project/x", "/home/me/My Project/x\t"),
        (b"/a\\b", "/a\\b"),
        ("/ü/x".as_bytes(), "/ü/x"),
        (b"/a b\nc", "\"/a b\\012c\""),
        (b"/\xff\"\\", "\"/\\377\\\"\\\\\""),
        ("/\u{202e}".as_bytes(), "\"/\\342\\200\\256\""),
    ] {
        assert_eq!(patch_name(Path::new(OsStr::from_bytes(path))), name);
    }
}
