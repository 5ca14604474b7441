use super::*;

fn question(version: Option<&str>) -> Question {
    let version = version.map(str::to_owned);
    Question { registry: "https://npm.example.org/".into(), package: "@a/b".into(), version }
}

#[test]
fn a_document_says_what_a_version_is() {
    let document = br#"{ "name": "@a/b", "dist-tags": { "latest": "2.0.0", "next": "3.0.0-rc" }, "versions": {
        "1.0.0": { "dist": { "integrity": "sha512-one", "tarball": "ignored" } }, "0.1.0": { "dist": { "shasum": "old" } },
        "2.0.0": { "name": "b", "dist": { "integrity": "sha512-two" } } } }"#;
    let published = |version: &str, integrity: &str| Published { version: version.into(), integrity: integrity.into() };
    assert_eq!(answer(document, &question(None)), Ok(published("2.0.0", "sha512-two")));
    assert_eq!(answer(document, &question(Some("1.0.0"))), Ok(published("1.0.0", "sha512-one")));
    let refused = |version: &str| answer(document, &question(Some(version))).unwrap_err();
    let error = refused("9.9.9");
    assert_eq!(error.cause, "The registry has no version 9.9.9 of @a/b");
    assert_eq!(error.hint, "The latest is 2.0.0");
    assert!(refused("0.1.0").cause.contains("no `integrity`"));
}

#[test]
fn what_is_no_document_is_told_as_such() {
    for (text, expected) in [
        ("<html>", "is not as npm has it"),
        ("{\"versions\": 3}", "is not as npm has it"),
        ("{}", "does not say which version of @a/b is the latest"),
        ("{\"dist-tags\": {\"latest\": \"1\"}}", "has no version 1 of @a/b"),
    ] {
        let error = answer(text.as_bytes(), &question(None)).unwrap_err();
        assert!(error.cause.contains(expected), "{}", error.cause);
    }
}
