use super::*;
use serde_json::json;

fn find(config: &serde_json::Value, image: &str) -> Found {
    DockerConfig::parse(config.to_string().as_bytes()).unwrap().find(&image.parse().unwrap())
}

fn login(user: &str, password: &str) -> Found {
    Found::Credentials(Credentials::Basic { user: user.into(), password: Secret::new(password.into()) })
}

#[test]
fn logins_are_found_as_docker_and_podman_find_them() {
    let config = json!({
        "auths": {
            // hub:pass, a:b:c, scheme:x, part:x, whole:x, unpadded:xy, nul:x with NULs.
            "https://index.docker.io/v1/": {"auth": "aHViOnBhc3M="},
            "colon.example.com": {"auth": "YTpiOmM="},
            "https://scheme.example.com/v2/": {"auth": "c2NoZW1lOng="},
            "parts.example.com/team": {"auth": "cGFydDp4"},
            "parts.example.com": {"auth": "d2hvbGU6eA=="},
            "only.example.com/team": {"auth": "cGFydDp4"},
            "unpadded.example.com:5000": {"auth": "dW5wYWRkZWQ6eHk"},
            "nul.example.com": {"auth": "bnVsOngAAA=="},
            "plain.example.com": {"username": "u", "password": "p"},
            "token.example.com": {"auth": "PHRva2VuPjo=", "identitytoken": "identity"},
            "registry.example.com": {"registrytoken": "bearer"},
            "empty.example.com": {},
        },
        "HttpHeaders": {"X": "y"},
    });
    let nothing = Found::Credentials(Credentials::None);
    for (image, found) in [
        ("debian", login("hub", "pass")),
        ("colon.example.com/x", login("a", "b:c")),
        ("scheme.example.com/x", login("scheme", "x")),
        ("parts.example.com/team/x", login("part", "x")),
        ("parts.example.com/team", login("part", "x")),
        ("parts.example.com/teams", login("whole", "x")),
        ("only.example.com/team/x", login("part", "x")),
        ("only.example.com/other", nothing.clone()),
        ("unpadded.example.com:5000/x", login("unpadded", "xy")),
        ("unpadded.example.com/x", nothing.clone()),
        ("nul.example.com/x", login("nul", "x")),
        ("plain.example.com/x", login("u", "p")),
        ("token.example.com/x", Found::Credentials(Credentials::IdentityToken(Secret::new("identity".into())))),
        ("registry.example.com/x", Found::Credentials(Credentials::RegistryToken(Secret::new("bearer".into())))),
        ("empty.example.com/x", nothing.clone()),
        ("other.example.com/x", nothing),
    ] {
        assert_eq!(find(&config, image), found, "{image}");
    }
}

#[test]
fn what_is_no_login_is_in_the_way_of_its_own_registry() {
    for auth in ["c2VjcmV0", "%secret%"] {
        let config = json!({"auths": {"one.example.com": {"auth": auth}, "two.example.com/team": {"auth": auth}}});
        assert_eq!(find(&config, "one.example.com/x"), Found::Broken("one.example.com".into()));
        assert_eq!(find(&config, "two.example.com/team/x"), Found::Broken("two.example.com/team".into()));
        assert_eq!(find(&config, "two.example.com/x"), Found::Credentials(Credentials::None));
        assert_eq!(find(&config, "debian"), Found::Credentials(Credentials::None));
    }
}

#[test]
fn a_helper_is_named_with_what_it_is_asked_for() {
    let helper = |name: &str, server: &str| Found::Helper { name: name.into(), server: server.into() };
    let config = json!({"credsStore": "secretservice", "credHelpers": {"one.example.com": "pass", "docker.io": "hub"}, "auths": {"two.example.com": {}}});
    assert_eq!(find(&config, "one.example.com/x"), helper("pass", "one.example.com"));
    assert_eq!(find(&config, "two.example.com/x"), helper("secretservice", "two.example.com"));
    assert_eq!(find(&config, "debian"), helper("hub", "https://index.docker.io/v1/"));
    assert_eq!(find(&json!({"credsStore": ""}), "debian"), Found::Credentials(Credentials::None));
    let own = json!({"credsStore": "all", "credHelpers": {"one.example.com": ""}, "auths": {"one.example.com": {"username": "u", "password": "p"}}});
    let login = Credentials::Basic { user: "u".into(), password: Secret::new("p".into()) };
    assert_eq!(find(&own, "one.example.com/x"), Found::Credentials(login));
    assert_eq!(find(&own, "two.example.com/x"), helper("all", "two.example.com"));
    for name in ["../evil", "a b", "a/b", "\0"] {
        let config = json!({"credHelpers": {"x": name}}).to_string();
        assert!(matches!(DockerConfig::parse(config.as_bytes()), Err(CredentialsError::Helper(_))), "{name:?}");
    }
}

#[test]
fn a_helpers_answer_is_read() {
    let read = |success, text: &str| helper_answer(success, text.as_bytes());
    let basic = read(true, r#"{"ServerURL":"https://x","Username":"u","Secret":"s"}"#).unwrap();
    assert_eq!(Found::Credentials(basic), login("u", "s"));
    let token = read(true, r#"{"ServerURL":"https://x","Username":"<token>","Secret":"t"}"#).unwrap();
    assert_eq!(token, Credentials::IdentityToken(Secret::new("t".into())));
    assert_eq!(read(false, "credentials not found in native keychain\n").unwrap(), Credentials::None);
    let error = read(false, "the vault\n is \x1b[31mlocked\n").unwrap_err().to_string();
    assert_eq!(error, "The credential helper says: the vault\u{fffd} is \u{fffd}[31mlocked");
    assert!(matches!(read(true, ""), Err(CredentialsError::Json { .. })));
}

#[test]
fn secrets_are_in_no_message() {
    for (text, words) in [
        ("{\n\"auths\": \"secret\"}", "It is not as it should be, at line 2, column 17"),
        ("secret", "It is not as it should be, at line 1, column 1"),
    ] {
        let error = DockerConfig::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), words);
        assert!(!format!("{error:?}").contains("secret"));
    }
    let config = DockerConfig::parse(br#"{"auths": {"x": {"username": "u", "password": "secret"}}}"#).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
    assert!(matches!(DockerConfig::parse(&vec![b' '; (1 << 20) + 1]), Err(CredentialsError::TooLarge(_))));
}
