use super::*;

#[test]
fn what_is_for_installing_counts_before_what_is_for_all() {
    let found = |files: &[&str]| value(&files.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let own = "# index-url = https://no.example.org\n[list]\nindex-url = https://list.example.org\n[global]\ncert = x\n\
               index_url: https://a.example.org/simple\nextra-index-url = https://more.example.org\n";
    assert_eq!(found(&[own]).as_deref(), Some("https://a.example.org/simple"));
    assert_eq!(
        found(&[own, "[global]\nindex-url=https://b.example.org"]).as_deref(),
        Some("https://a.example.org/simple")
    );
    assert_eq!(found(&[own, "[install]\nindex-url=https://b.example.org"]).as_deref(), Some("https://b.example.org"));
    assert_eq!(found(&["index-url = https://a.example.org\n[global]\nindex-url =\n"]), None);
}

#[test]
fn what_logs_in_stands_in_the_address() {
    let registry = |text: &str| registry(Some(text));
    let found = registry("https://a.example.org/simple").unwrap();
    assert_eq!((found.address.as_str(), &found.credentials), ("https://a.example.org/simple/", &Credentials::None));
    let found = registry("https://me:pa@ss@a.example.org:8443/simple/").unwrap();
    assert_eq!(
        (found.address.as_str(), found.host().as_str()),
        ("https://a.example.org:8443/simple/", "a.example.org:8443")
    );
    let password = Secret::new("pa@ss".to_owned());
    assert_eq!(found.credentials, Credentials::Basic { user: "me".to_owned(), password });
    for wrong in ["", "a.example.org", "ftp://a.example.org", "https:a", "https://", "http:///"] {
        assert_eq!(registry(wrong), Err(RegistryUnknown::NoAddress("pip", wrong.to_owned())));
    }
    let told = registry("ftp://me:pass@a.example.org").unwrap_err().to_string();
    assert!(told.contains("packages are at 'a.example.org', which is no address"), "{told}");
}

#[test]
fn pip_says_what_it_would_use() {
    let help = "  -i, --index-url <url>       Base URL of the Python Package Index (default\n                              \
                https://index.example.org/simple). This should point\n";
    assert_eq!(told(help).as_deref(), Some("https://index.example.org/simple"));
    assert_eq!(told("--index-url"), None);
    assert_eq!(told("Usage: pip"), None);
}
