use super::*;

#[test]
fn a_location_leads_where_it_says() {
    let here = Url::parse("https://example.com:5000/v2/a/blobs/x?y=1").unwrap();
    for (location, there) in [
        ("https://other.example.com/z", Some("https://other.example.com/z")),
        ("http://other.example.com", Some("http://other.example.com/")),
        ("HTTPS://Other.Example.com:443/z", Some("https://other.example.com/z")),
        ("//other.example.com/z?q", Some("https://other.example.com/z?q")),
        ("/z?to=https://x/", Some("https://example.com:5000/z?to=https://x/")),
        ("?q", Some("https://example.com:5000/v2/a/blobs/x?q")),
        ("z", Some("https://example.com:5000/v2/a/blobs/z")),
        (" /z ", Some("https://example.com:5000/z")),
        ("", None),
        ("ftp://example.com/z", None),
        ("https://", None),
        ("https://user@example.com/", None),
        ("https://example.com:99999/", None),
        ("/a b", None),
        ("/a\nb", None),
    ] {
        assert_eq!(here.join(location).map(|url| url.to_string()).as_deref(), there, "{location:?}");
    }
    assert_eq!(here.join(&"/a".repeat(20_000)), None);
}

#[test]
fn a_query_grows_and_is_not_shown() {
    let url = Url::parse("http://[::1]:80/v2/").unwrap().with("digest", "sha256:a b").with("from", "x/ü");
    assert_eq!(url.to_string(), "http://[::1]/v2/?digest=sha256%3Aa%20b&from=x%2F%C3%BC");
    assert_eq!(url.shown(), "http://[::1]/v2/");
    assert!(url.uri().is_some());
}
