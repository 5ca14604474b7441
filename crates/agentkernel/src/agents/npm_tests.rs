use super::value;

#[test]
fn the_last_value_of_a_key_counts() {
    let text = "# registry=no\nregistry = https://a.example.org/npm\n@scope:registry=http://b.example.org\n\
                registry=\"https://c.example.org\"\nregistry=\nother=registry=x\n";
    assert_eq!(value(text, "registry").as_deref(), Some("https://c.example.org"));
    assert_eq!(value(text, "@scope:registry").as_deref(), Some("http://b.example.org"));
    assert_eq!(value(text, "@other:registry"), None);
}
