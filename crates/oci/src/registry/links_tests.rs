#[test]
fn the_next_page_is_found_among_links() {
    for (link, next) in [
        ("</a?n=1,2>; rel=\"next\"", Some("/a?n=1,2")),
        ("</b>; rel=prev, </a>;title=x ; rel=next", Some("/a")),
        ("</a>; rel=\"next\", </b>; rel=\"last\"", Some("/a")),
        ("</a>; rel=prev", None),
        ("</a", None),
        ("", None),
    ] {
        assert_eq!(super::next_page(link), next, "{link}");
    }
    for (range, received) in [("0-99", Some(100)), ("bytes=0-99", Some(100)), ("0-0", None), ("5-9", None), ("x", None)]
    {
        assert_eq!(super::received(range), received, "{range}");
    }
}
