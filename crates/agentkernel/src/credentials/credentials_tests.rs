use super::*;
use serde_json::json;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
};

const TEXT: &str = "{ \"mcp\": {\"x\" : 1e2, \"z\":[ 1,2 ]},\n\t\"login\": {\"access\":\"a\\u0062c\", \"until\": 1764211234567,\n \
                    \"scopes\": [\"one\", \"two\"], \"none\": null, \"empty\":\"\"},\"last\" :true }\n";

fn document(text: &str) -> Document {
    Document::parse(Secret::new(text.as_bytes().to_vec())).ok().unwrap()
}

fn keys(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

#[test]
fn values_are_found_by_their_keys() {
    let document = document(TEXT);
    assert_eq!(document.text(&keys("login.access")).as_deref(), Some("abc"));
    assert_eq!(document.number(&keys("login.until")), Some(1_764_211_234_567));
    assert_eq!(document.words(&keys("login.scopes")).as_deref(), Some("one two"));
    assert_eq!(document.words(&keys("login.access")).as_deref(), Some("abc"));
    for absent in ["login.none", "login.empty", "login", "login.access.deeper", "mcp.z.0", "no"] {
        assert_eq!(document.text(&keys(absent)), None, "{absent}");
    }
    assert_eq!(document.number(&keys("login.access")), None);
}

#[test]
fn a_value_is_replaced_and_every_other_byte_stays() {
    let mut changed = document(TEXT);
    assert!(changed.put(&keys("login.access"), &json!("new \"one\"")));
    assert!(changed.put(&keys("login.until"), &json!(5)));
    let expected = TEXT.replace(r#""a\u0062c""#, r#""new \"one\"""#).replace("1764211234567", "5");
    assert_eq!(changed.written(), expected);
    for absent in ["login.refresh", "no.way", "login.access.deeper"] {
        assert!(!changed.put(&keys(absent), &json!("x")), "{absent}");
    }
    assert_eq!(changed.written(), expected);
}

#[test]
fn what_is_no_json_is_none() {
    for text in ["", "{", "{\"a\":1} x", "{\"a\":}", "\u{1}"] {
        assert!(Document::parse(Secret::new(text.as_bytes().to_vec())).is_err(), "{text}");
    }
    assert!(Document::parse(Secret::new(vec![b'"', 0xff, b'"'])).is_err());
}

#[test]
fn variables_are_a_document_too() {
    let of = |text: &str| Document::of(Secret::new(text.as_bytes().to_vec()));
    let text =
        "\n# A_KEY=old\nexport A_KEY = 'a b'  \nB_KEY=\"c\" # mine\nC_KEY=d#e # f\r\nD_KEY=\nno variable\nA-B=x\n";
    let document = of(text).ok().unwrap();
    for (name, value) in
        [("A_KEY", Some("a b")), ("B_KEY", Some("c")), ("C_KEY", Some("d#e")), ("D_KEY", None), ("A-B", None)]
    {
        assert_eq!(document.text(&keys(name)).as_deref(), value, "{name}");
    }
    for nothing in ["", "# A_KEY=old\n\n"] {
        assert!(of(nothing).ok().unwrap().text(&keys("A_KEY")).is_none());
    }
    assert_eq!(of(r#"{"a": "b"}"#).ok().unwrap().text(&keys("a")).as_deref(), Some("b"));
    for neither in ["{\nA=b\n", "words", "\u{1}"] {
        assert!(of(neither).is_err(), "{neither}");
    }
}

/// A directory of the user's own with such a file, by its real path.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::write(home.file(), TEXT).unwrap();
        home
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.path().join("login.json")
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn refused(path: &std::path::Path) -> String {
    let error = Document::read(path).err().expect("it is read");
    let held = match Held::try_hold(path) {
        Ok(held) => held.expect("nobody holds it").read().err().expect("it is read"),
        Err(error) => error,
    };
    assert_eq!(error.to_string(), held.to_string());
    error.to_string()
}

#[test]
fn a_file_is_replaced_whole_with_its_mode() {
    let home = Home::new();
    let file = home.file();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::File::open(&file).unwrap();
    let mut held = Held::try_hold(&file).unwrap().unwrap();
    held.reserve().unwrap();
    let mut document = held.read().unwrap();
    assert!(document.put(&keys("login.access"), &json!("new")));
    held.write(&document).unwrap();
    // And once more, without room that was made before.
    assert!(document.put(&keys("login.access"), &json!("newer, and longer")));
    held.write(&document).unwrap();
    drop(held);
    assert_eq!(fs::read_to_string(&file).unwrap(), TEXT.replace(r#""a\u0062c""#, "\"newer, and longer\""));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(std::io::read_to_string(before).unwrap(), TEXT);
    assert_eq!(home.names(), ["login.json"]);
}

#[test]
fn room_that_was_not_needed_is_given_back() {
    let home = Home::new();
    let mut held = Held::try_hold(&home.file()).unwrap().unwrap();
    held.reserve().unwrap();
    assert_eq!(home.names(), [".login.json.agentkernel", "login.json"]);
    drop(held);
    assert_eq!(home.names(), ["login.json"]);
    // What a supervisor has left that was killed.
    fs::write(home.path().join(".login.json.agentkernel"), "half").unwrap();
    let mut held = Held::try_hold(&home.file()).unwrap().unwrap();
    held.reserve().unwrap();
    drop(held);
    assert_eq!(home.names(), ["login.json"]);
    assert_eq!(fs::read_to_string(home.file()).unwrap(), TEXT);
}

#[test]
fn one_holds_it_at_a_time() {
    let home = Home::new();
    let held = Held::try_hold(&home.file()).unwrap().unwrap();
    assert!(Held::try_hold(&home.file()).unwrap().is_none());
    drop(held);
    assert!(Held::try_hold(&home.file()).unwrap().is_some());
}

#[test]
fn nothing_is_reached_by_a_link() {
    let home = Home::new();
    let path = home.path();
    symlink("login.json", path.join("link.json")).unwrap();
    symlink(&path, path.join("around")).unwrap();
    for link in ["link.json", "around/login.json"] {
        let link = path.join(link);
        assert_eq!(refused(&link), format!("{} is reached by a symbolic link", link.display()));
    }
}

#[test]
fn what_others_may_replace_is_not_replaced() {
    let home = Home::new();
    let path = home.path();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(refused(&home.file()), format!("{} can be written to by everybody", path.display()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(Document::read(&home.file()).is_ok());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(home.file(), Some(65_534), None).unwrap();
        assert_eq!(refused(&home.file()), format!("{} belongs to user 65534", home.file().display()));
        std::os::unix::fs::chown(home.file(), Some(0), None).unwrap();
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert_eq!(refused(&home.file()), format!("{} belongs to user 65534", path.display()));
    }
}

#[test]
fn what_is_no_such_file_is_told() {
    let home = Home::new();
    let path = home.path();
    fs::write(path.join("text"), "no JSON").unwrap();
    fs::write(path.join("long"), format!("\"{}\"", "x".repeat(1 << 20))).unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    for name in ["text", "long", "folder"] {
        let path = path.join(name);
        assert_eq!(refused(&path), format!("{} is no file of JSON", path.display()));
    }
    assert_eq!(refused(&path.join("none")), format!("Cannot open {}", path.join("none").display()));
}
