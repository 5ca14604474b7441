use super::*;

fn faults(path: &str, text: &str) -> Vec<String> {
    file(path, text)
}

#[test]
fn rooms_hold_in_every_spelling() {
    let bad = [
        ("cli/run.rs", "use crate::backend::Backend;"),
        ("cli/run.rs", "fn f() { crate::backend::native::go() }"),
        ("cli/run.rs", "use crate::{client, backend as b};"),
        ("cli/run.rs", "use crate::{\n    client::{self, Client},\n    backend::{Place},\n};"),
        ("cli/mod.rs", "use super::backend;"),
        ("cli/run.rs", "use super::super::backend;"),
        ("cli/run_tests.rs", "use super::super::super::backend::*;"),
        ("backend/native.rs", "use crate::supervisor;"),
        ("backend/native/mounts.rs", "use crate::client::X;"),
        ("supervisor/mod.rs", "use crate::config::Config;"),
        ("spec.rs", "use crate::store::Store;"),
        ("main.rs", "fn main() { agentkernel::backend::x() }"),
    ];
    for (inner, text) in bad {
        let found = faults(&format!("crates/agentkernel/src/{inner}"), &format!("#![forbid(unsafe_code)]\n{text}"));
        assert_eq!(found.len(), 1, "{inner}: {text}: {found:?}");
    }
}

#[test]
fn what_is_allowed_passes() {
    let good = [
        ("cli/run.rs", "use crate::{Spec, client::Client, config};"),
        ("cli/run.rs", "// crate::backend is not for us\nlet x = \"crate::backend\"; /* crate::backend */"),
        ("cli/run.rs", "use super::backend_name; fn backend() {}"),
        ("cli/run.rs", "use super::backend;"),
        ("supervisor/mod.rs", "use crate::backend::Backend;"),
        ("backend/mod.rs", "use crate::Spec; pub mod native; use wire::link::Wall;"),
        ("lib.rs", "#![forbid(unsafe_code)]\npub mod backend; pub mod cli; use crate::backend::X;"),
    ];
    for (inner, text) in good {
        assert_eq!(faults(&format!("crates/agentkernel/src/{inner}"), text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn a_new_room_needs_a_word() {
    assert_eq!(faults("crates/agentkernel/src/cellar/mod.rs", "").len(), 1);
}

#[test]
fn unsafe_has_its_places() {
    let text = "fn f() { unsafe { g() } }";
    assert_eq!(faults("crates/jail/src/mount.rs", text).len(), 1);
    assert_eq!(faults("crates/wire/src/mux.rs", text).len(), 1);
    assert_eq!(faults("crates/probe/src/main.rs", text).len(), 1);
    assert!(faults("crates/jail/src/sys/mod.rs", text).is_empty());
    assert!(faults("crates/probe/src/sys.rs", text).is_empty());
    assert!(faults("crates/wire/src/mux.rs", "#![deny(unsafe_code)] // unsafe\nlet s = \"unsafe\";").is_empty());
    assert_eq!(faults("crates/wire/src/lib.rs", "").len(), 1, "a root forbids it");
}

#[test]
fn commands_have_their_places() {
    for text in [
        "use std::process::Command;",
        "use std::{fs, process::{Child, Command}};",
        "fn f() { std::process::Command::new(\"ip\") }",
    ] {
        assert_eq!(faults("crates/jail/src/mount.rs", text).len(), 1, "{text}");
        assert!(faults("xtask/src/run.rs", text).is_empty());
        assert!(faults("crates/jail/src/mount_tests.rs", text).is_empty());
    }
    assert!(faults("crates/jail/src/mount.rs", "use std::process::ExitCode;").is_empty());
}

#[test]
fn long_files_fail() {
    assert!(faults("xtask/src/x.rs", &"\n".repeat(LONGEST)).is_empty());
    assert_eq!(faults("xtask/src/x.rs", &"\n".repeat(LONGEST + 1)).len(), 1);
}

#[test]
fn literals_and_comments_are_no_tokens() {
    let text = |source| scan::tokens(source).into_iter().map(|token| token.text).collect::<Vec<_>>().join(" ");
    assert_eq!(text(r##"a "x\"y" b r#"un"safe"# c 'd' '\'' e"##), "a b c e");
    assert_eq!(text("fn f<'a>(x: &'a str) /* a /* b */ c */ {} // d\n'e'"), "fn f < ' a > ( x : & ' a str ) { }");
    assert_eq!(text("br\"x\" b\"y\" a::b r#type"), "b a :: b r # type");
}
