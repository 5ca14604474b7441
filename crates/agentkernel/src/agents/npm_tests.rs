use super::*;

#[test]
fn the_last_value_of_a_key_counts() {
    let text = "# registry=no\nregistry = https://a.example.org/npm\n@scope:registry=http://b.example.org\n\
                registry=\"https://c.example.org\"\nregistry=\nother=registry=x\n";
    assert_eq!(value(text, "registry").as_deref(), Some("https://c.example.org"));
    assert_eq!(value(text, "@scope:registry").as_deref(), Some("http://b.example.org"));
    assert_eq!(value(text, "@other:registry"), None);
}

#[test]
fn a_scope_may_have_a_registry_of_its_own() {
    let files = ["@a:registry=https://${HOST}/a\nregistry=https://all.example.org\n".to_owned()];
    let found = |package: &str, set: Option<&str>| {
        let variable = |name: &str| (name == "HOST").then(|| "a.example.org".to_owned());
        address(package, set.map(str::to_owned), &files, variable)
    };
    assert_eq!(found("@a/b", None).as_deref(), Some("https://a.example.org/a"));
    assert_eq!(found("@a/b", Some("https://set.example.org")).as_deref(), Some("https://a.example.org/a"));
    assert_eq!(found("@b/b", Some("https://set.example.org")).as_deref(), Some("https://set.example.org"));
    assert_eq!(found("@b/b", None).as_deref(), Some("https://all.example.org"));
    assert_eq!(found("b", None).as_deref(), Some("https://all.example.org"));
}

#[test]
fn a_login_is_that_of_the_longest_part_of_the_address() {
    let found = |address: &str, text: &str| {
        credentials(address, &[text.to_owned()], |name| (name == "TOKEN").then(|| "from the environment".to_owned()))
    };
    let token = |text: &str| Credentials::RegistryToken(Secret::new(text.to_owned()));
    let basic = |user: &str, password: &str| Credentials::Basic {
        user: user.to_owned(),
        password: Secret::new(password.to_owned()),
    };
    let both = "//a.example.org/:_authToken=all\n//a.example.org/npm/:_authToken=npm\n";
    assert_eq!(found("https://a.example.org/npm/", both), token("npm"));
    assert_eq!(found("https://a.example.org/npm/deep/", both), token("npm"));
    assert_eq!(found("https://a.example.org/other/", both), token("all"));
    assert_eq!(found("https://a.example.org/", both), token("all"));
    assert_eq!(found("https://b.example.org/", both), Credentials::None);
    assert_eq!(found("https://a.example.org:8443/", both), Credentials::None);
    let variables = "//a.example.org/:_authToken=${TOKEN}\n//b.example.org/:_authToken=${NONE}-x\n";
    assert_eq!(found("https://a.example.org/", variables), token("from the environment"));
    assert_eq!(found("https://b.example.org/", variables), token("${NONE}-x"));
    let one = "//a.example.org/:_auth=bWU6cGE6c3M=\n";
    assert_eq!(found("https://a.example.org/", one), basic("me", "pa:ss"));
    let two = "//a.example.org/:username=me\n//a.example.org/:_password=cGFzcw==\n";
    assert_eq!(found("https://a.example.org/", two), basic("me", "pass"));
    assert_eq!(found("https://a.example.org/", "//a.example.org/:username=me\n"), Credentials::None);
    assert_eq!(found("https://a.example.org/", "_authToken=for-nobody\n"), Credentials::None);
}

#[test]
fn a_host_is_called_as_it_is_looked_up() {
    for (address, expected) in [
        ("https://A.example.org/npm/", "a.example.org"),
        ("https://a.example.org:443/", "a.example.org"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("https://a.example.org:8443/", "a.example.org:8443"),
    ] {
        assert_eq!(Registry { address: address.into(), credentials: Credentials::None }.host(), expected);
    }
}
