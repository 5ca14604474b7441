use super::*;

fn bearer(realm: &str, service: Option<&str>, scopes: &[&str]) -> Challenge {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Challenge::Bearer { realm: realm.into(), service: service.map(str::to_owned), scopes }
}

#[test]
fn challenges_are_read_in_every_spelling() {
    for (text, challenges) in [
        ("Basic realm=\"x\"", vec![Challenge::Basic]),
        ("basic", vec![Challenge::Basic]),
        (
            "Bearer realm=\"https://auth/token\",service=\"reg\",scope=\"repository:a/b:pull,push\"",
            vec![bearer("https://auth/token", Some("reg"), &["repository:a/b:pull,push"])],
        ),
        (
            "bearer  REALM = \"https://auth\" , scope=\"a b\" , error=\"invalid_token\"",
            vec![bearer("https://auth", None, &["a", "b"])],
        ),
        ("Bearer realm=plain, service=x", vec![bearer("plain", Some("x"), &[])]),
        ("Bearer realm=\"a\\\"b\"", vec![bearer("a\"b", None, &[])]),
        ("Basic realm=\"x\", Bearer realm=\"y\"", vec![Challenge::Basic, bearer("y", None, &[])]),
        ("Negotiate, Basic realm=\"x\"", vec![Challenge::Basic]),
        ("Negotiate dG9rZW4=", vec![]),
        ("Bearer service=\"x\"", vec![]),
        ("Bearer realm=\"unfinished", vec![bearer("unfinished", None, &[])]),
        ("", vec![]),
        ("=,\"", vec![]),
        ("ü", vec![]),
    ] {
        assert_eq!(parse(text), challenges, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_challenge_makes_it_panic(text in "[ -~ü]{0,60}|(Bearer|Basic| |,|=|\"|realm|\\\\){0,20}") {
        let _ = parse(&text);
    }
}

#[test]
fn scopes_of_ours_come_first() {
    let own = ["repository:a/b:pull,push".to_owned()];
    let asked = ["repository:a/b:pull".to_owned(), "registry:catalog:*".to_owned()];
    assert_eq!(union(&own, &asked), ["repository:a/b:pull,push", "registry:catalog:*"]);
}

#[test]
fn tokens_are_read_under_both_names() {
    let read = |text: &str| read_token(text.as_bytes()).map(|(token, time)| (token.to_string(), time.as_secs()));
    assert_eq!(read(r#"{"token":"a","expires_in":300}"#), Some(("a".into(), 300)));
    assert_eq!(read(r#"{"access_token":"a"}"#), Some(("a".into(), 60)));
    assert_eq!(read(r#"{"token":"","access_token":"b","expires_in":1.5}"#), Some(("b".into(), 1)));
    assert_eq!(read(r#"{"token":"a","expires_in":-1}"#), Some(("a".into(), 0)));
    assert_eq!(read(r#"{"token":"a","expires_in":1e300}"#), Some(("a".into(), 86400)));
    for wrong in ["", "{}", r#"{"token":""}"#, "[]", r#"{"token":1}"#] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}
