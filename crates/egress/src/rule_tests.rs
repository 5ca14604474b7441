use super::*;
use crate::host::tests::hosts;
use proptest::prelude::*;

fn rule(text: &str) -> Rule {
    Rule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn target(text: &str) -> Target {
    Target::parse(text, None).unwrap()
}

#[test]
fn a_rule_is_read_as_it_is_written() {
    for (written, shown) in [
        ("example.org", "example.org"),
        ("EXAMPLE.org.", "example.org"),
        ("example.org:443", "example.org:443"),
        ("example.org:0443", "example.org:443"),
        ("example.org:8000-8999", "example.org:8000-8999"),
        ("example.org:80-80", "example.org:80"),
        ("example.org:*", "example.org:*"),
        ("example.org:1-65535", "example.org:*"),
        ("localhost:5432", "localhost:5432"),
        ("*", "*"),
        ("*:22", "*:22"),
        ("*:*", "*:*"),
        ("*.example.org", "*.example.org"),
        ("*.EXAMPLE.org.:443", "*.example.org:443"),
        ("*.org", "*.org"),
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1:5432", "10.0.0.1:5432"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8:*", "10.0.0.0/8:*"),
        ("10.0.0.0/8:1-2", "10.0.0.0/8:1-2"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.0.2.1/32:1", "192.0.2.1/32:1"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::1]:22", "[::1]:22"),
        ("[2001:db8::a]:1-2", "[2001:db8::a]:1-2"),
        ("2001:DB8::A", "[2001:db8::a]"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ("fd00::/8", "[fd00::]/8"),
        ("fd00::/8:22", "[fd00::]/8:22"),
        ("[fd00::]/8", "[fd00::]/8"),
        ("[fd00::]/8:*", "[fd00::]/8:*"),
        ("::/0", "[::]/0"),
        ("[::1]/128:22", "[::1]/128:22"),
    ] {
        let rule = rule(written);
        assert_eq!(rule.to_string(), shown, "{written}");
        assert_eq!(shown.parse(), Ok(rule.clone()), "{shown}");
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule, "{json}");
        let json = serde_json::to_string(&rule.pattern).unwrap();
        assert_eq!(serde_json::from_str::<Pattern>(&json).unwrap(), rule.pattern, "{json}");
    }
}

#[test]
fn what_is_no_rule_says_why() {
    #[rustfmt::skip]
    let wrong = [
        ("", "A host is missing"), (":80", "A host is missing"), ("*.", "A host is missing"),
        ("https://example.org/x", "'https://example.org/x' is a URL"), ("http://a:80", "'http://a:80' is a URL"),
        ("http://[::1]:80/x:1", "'http://[::1]:80/x:1' is a URL"), ("a://", "'a://' is a URL"),
        ("a*", "'a*' has a star where it means nothing"), ("**", "'**' has a star"), ("a.*", "'a.*' has a star"),
        ("*example.org", "'*example.org' has a star"), ("a.*.org", "'a.*.org' has a star"),
        ("*.*.org", "'*.org' is not the name of a host"), ("*.*", "'*' is not the name of a host"),
        ("*.10.0.0.1", "'*.10.0.0.1' has a star"), ("*.[::1]", "'*.[::1]' has a star"), ("*.1", "'1' is not an address"),
        ("*..org", "'.org' is not the name of a host"), ("*.-a", "'-a' is not the name of a host"),
        ("-a", "'-a' is not the name of a host"), ("127.1", "'127.1' is not an address"),
        ("a:0", "'0' is not a port"), ("a:", "'' is not a port"), ("a:-", "'-' is not a port"),
        ("a:1-", "'1-' is not a port"), ("a:-1", "'-1' is not a port"), ("a:2-1", "'2-1' is not a port"),
        ("a:1-2-3", "'1-2-3' is not a port"), ("a:65536", "'65536' is not a port"), ("a:+1", "'+1' is not a port"),
        ("a:1,2", "'1,2' is not a port"), ("a: 1", "' 1' is not a port"), ("a:**", "'**' is not a port"),
        ("a:http", "'http' is not a port"), ("a:80:90", "'a:80:90' has two ports"),
        ("127.0.0.1:80:90", "'127.0.0.1:80:90' has two ports"), ("a:80:x", "'a:80:x' is not an address"),
        ("a:1:2:3", "'a:1:2:3' is not an address"), ("1:2:3", "'1:2:3' is not an address"),
        ("a/8", "'a/8' has a path"), ("example.org/path", "'example.org/path' has a path"),
        ("a:443/b", "'a:443/b' has a path"), ("10.0.0.1/path", "'10.0.0.1/path' is not a network"),
        ("a/b:80", "'a/b' has a path"), ("10.0.0.0/", "'10.0.0.0/' is not a network"),
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network"), ("10.0.0.0/+8", "'10.0.0.0/+8' is not a network"),
        ("10.0.0.0/-1", "'10.0.0.0/-1' is not a network"), ("10.0.0.0/8/8", "'10.0.0.0/8/8' is not a network"),
        ("10.0/8", "'10.0/8' is not a network"), ("10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0' is not a network"),
        ("10.0.0.0/256", "'10.0.0.0/256' is not a network"), ("[10.0.0.0]/8", "'[10.0.0.0]/8' is not a network"),
        ("[fd00::/8", "'[fd00::/8' is not a network"), ("[fd00::/8]", "'[fd00::/8]' is not a network"),
        ("fd00::/129", "'fd00::/129' is not a network"), ("::ffff:0:0/96", "'::ffff:0:0/96' is not a network"),
        ("::ffff:10.0.0.0/104", "'::ffff:10.0.0.0/104' is not a network"), ("*/8", "'*/8' has a star"),
        ("10.0.0.1/8", "'10.0.0.1/8' is in the network 10.0.0.0/8"), ("fd00::1/8", "'fd00::1/8' is in the network"),
        ("0.0.0.1/0", "'0.0.0.1/0' is in the network 0.0.0.0/0"), ("a b", "'a b' is not the name"),
        ("a@b", "'a@b' is not the name"), ("a\0", "'a\\0' is not the name"), ("é", "'é' has letters beyond ASCII"),
    ];
    for (text, cause) in wrong {
        let error = Rule::parse(text).map(|rule| rule.to_string()).expect_err(text);
        assert!(error.to_string().starts_with(cause), "{text}: {error}");
        assert!(!error.hint().ends_with('.'), "{}", error.hint());
    }
    assert!(serde_json::from_str::<Rule>(r#"{"to":"a b","methods":[],"paths":[]}"#).is_err());
    assert!(serde_json::from_str::<Rule>(r#"{"to":"a","methods":["get"],"paths":[]}"#).is_err());
    assert!(serde_json::from_str::<Rule>(r#"{"to":"a","methods":[],"paths":["a"]}"#).is_err());
    assert!(serde_json::from_str::<Pattern>("\"a:80\"").is_err());
    for text in ["http://a", "a/b"] {
        assert!(Pattern::parse(text).unwrap_err().hint().starts_with("Write the host alone"), "{text}");
    }
}

#[test]
fn a_rule_is_about_its_hosts_and_ports() {
    #[rustfmt::skip]
    let table = [
        ("example.org", "example.org:80 example.org:443", "example.org:22 example.org:8443 a.example.org:443 example.com:443"),
        ("example.org:22", "example.org:22", "example.org:443 example.org:23"),
        ("example.org:10-12", "example.org:10 example.org:11 example.org:12", "example.org:9 example.org:13"),
        ("example.org:*", "example.org:1 example.org:65535", "a.example.org:1"),
        ("*.example.org", "a.example.org:443 a.b.example.org:80 _.example.org:80",
            "example.org:443 evilexample.org:443 a.evilexample.org:443 example.org.evil.org:443 org:443 [::1]:443 10.0.0.1:443"),
        ("*.org", "a.org:80 a.b.org:80", "org:80 a.com:80"),
        ("*", "a:80 10.0.0.1:443 [::1]:80", "a:22"),
        ("*:*", "a:1 10.0.0.1:65535 [::1]:22", ""),
        ("10.0.0.1", "10.0.0.1:80 [::ffff:10.0.0.1]:443", "10.0.0.2:80 10.0.0.1:22 [::10.0.0.1]:80 a:80"),
        ("10.0.0.0/8", "10.0.0.0:80 10.255.255.255:443", "9.255.255.255:80 11.0.0.0:80 10.0.0.0:22 [::10.0.0.0]:80 a:80"),
        ("10.1.2.4/30:22", "10.1.2.4:22 10.1.2.7:22", "10.1.2.3:22 10.1.2.8:22"),
        ("10.1.2.3/32", "10.1.2.3:80", "10.1.2.2:80 10.1.2.4:80"),
        ("0.0.0.0/0:*", "0.0.0.0:1 255.255.255.255:65535 [::ffff:1.2.3.4]:2", "[::]:1 a:1"),
        ("::/0:*", "[::]:1 [ffff::]:1", "0.0.0.0:1 a:1"),
        ("fd00::/8", "[fd00::]:80 [fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80", "[fc00::]:80 [fe00::]:80 10.0.0.1:80"),
        ("fd00::1/128", "[fd00::1]:80", "[fd00::]:80 [fd00::2]:80"),
    ];
    for (text, about, not) in table {
        let rule = rule(text);
        for other in about.split_whitespace() {
            assert!(rule.matches(&target(other)) && rule.denies(&target(other)), "{text} {other}");
        }
        for other in not.split_whitespace() {
            assert!(!rule.matches(&target(other)), "{text} {other}");
        }
    }
}

#[test]
fn a_rule_that_denies_without_a_port_denies_every_port() {
    let (all, one) = (rule("*.example.org"), rule("*.example.org:443"));
    for port in [1, 22, 80, 443, 8443, 65535] {
        let target = Target { host: Host::parse("a.example.org").unwrap(), port };
        assert!(all.denies(&target));
        assert_eq!(one.denies(&target), port == 443);
    }
    assert!(!all.denies(&target("example.org:22")));
}

#[test]
fn a_network_names_what_is_not_public_only_if_all_of_it_is_such() {
    #[rustfmt::skip]
    let table = [
        ("10.0.0.0/8", "10.0.0.0 10.255.255.255", "11.0.0.0"),
        ("10.1.0.0/16", "10.1.2.3", "10.0.0.1"),
        ("10.0.0.0/7", "", "10.0.0.1"),
        ("127.0.0.0/8", "127.0.0.1", "126.0.0.1"),
        ("169.254.169.254", "169.254.169.254", "169.254.169.253"),
        ("169.254.0.0/16", "169.254.169.254", ""),
        ("169.0.0.0/8", "", "169.254.169.254"),
        ("100.64.0.0/10", "100.64.0.1", "100.100.100.200"),
        ("100.100.100.200", "100.100.100.200", ""),
        ("0.0.0.0/0", "", "0.0.0.0 198.18.0.1 240.0.0.1 10.0.0.1 127.0.0.1 169.254.169.254 100.100.100.200 192.168.1.1"),
        ("0.0.0.0/1", "", "10.0.0.1 127.0.0.1"),
        ("198.51.100.0/24", "198.51.100.7", "198.51.101.7"),
        ("192.0.0.0/8", "", "192.168.1.1 192.0.0.192"),
        ("::/0", "", "::1 fd00::1 fe80::1 fd00:ec2::254 64:ff9b::127.0.0.1"),
        ("fc00::/7", "fd00::1", "fd00:ec2::254 ::1"),
        ("fd00:ec2::254", "fd00:ec2::254", "fd00:ec2::253"),
        ("fe80::/10", "fe80::a9fe:a9fe", ""),
        ("::1", "::1 ", "127.0.0.1"),
        ("*", "", "10.0.0.1 127.0.0.1 1.1.1.1"),
        ("*.example.org", "", "10.0.0.1"),
        ("localhost", "", "127.0.0.1 ::1"),
    ];
    for (text, named, not) in table {
        let rule = Rule { ports: Ports::EVERY, ..rule(text) };
        for address in named.split_whitespace() {
            assert!(rule.names(address.parse().unwrap(), 22), "{text} {address}");
        }
        for address in not.split_whitespace() {
            assert!(!rule.names(address.parse().unwrap(), 22), "{text} {address}");
        }
    }
    assert!(!rule("10.0.0.0/8").names("10.0.0.1".parse().unwrap(), 22));
    assert!(rule("10.0.0.0/8").names("10.0.0.1".parse().unwrap(), 443));
}

fn requests(methods: &[&str], paths: &[&str]) -> Requests {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Requests { methods: owned(methods), paths: owned(paths) }
}

#[test]
fn requests_are_allowed_by_method_and_by_prefix_of_whole_segments() {
    let every = Requests::default();
    assert!(every.is_every() && every.allows("ANYTHING", "/../%2e//"));
    let get = requests(&["GET", "HEAD"], &[]);
    assert!(!get.is_every());
    for (method, allowed) in [
        ("GET", true),
        ("HEAD", true),
        ("get", false),
        ("Get", false),
        ("POST", false),
        ("", false),
        ("GET ", false),
        ("GETX", false),
    ] {
        assert_eq!(get.allows(method, "*"), allowed, "{method}");
    }
    let below = requests(&[], &["/repos/a", "/users/"]);
    for path in [
        "/repos/a",
        "/repos/a/",
        "/repos/a/b",
        "/repos/a/b;v=1",
        "/users/",
        "/users/x",
        "/repos/a/.git",
        "/repos/a/..b",
        "/repos/a/b..",
        "/repos/a/x%20y",
        "/repos/a/%C3%A9",
        "/repos/a/%23",
        "/repos/a/~x!$&'()*+,=:@-_",
    ] {
        assert!(below.allows("GET", path), "{path}");
    }
    for path in [
        "/",
        "",
        "*",
        "repos/a",
        "/repos",
        "/repos/",
        "/repos/ab",
        "/repos/a;x",
        "/repos/a%2f",
        "/repos/a.",
        "/users",
        "/Repos/a",
        "/REPOS/A",
        "/%72epos/a",
        "/repos%2fa",
        "//repos/a",
        "/x/repos/a",
        "/x/../repos/a",
        "http://h/repos/a",
    ] {
        assert!(!below.allows("GET", path), "{path}");
    }
    let both = requests(&["GET"], &["/a"]);
    assert!(both.allows("GET", "/a/b") && !both.allows("POST", "/a/b") && !both.allows("GET", "/b"));
    assert!(requests(&[], &["/"]).allows("GET", "/anything/at/all"));
}

#[test]
fn a_path_that_may_mean_another_is_allowed_by_no_prefix() {
    #[rustfmt::skip]
    let tricks = [
        "..", ".", "../admin", "./x", "x/..", "x/.", "x/../../admin", "...", "....//", "%2e%2e/admin", "%2E%2E/admin",
        ".%2e/admin", "%2e./admin", "x%2f..%2fadmin", "..%2fadmin", "..%5cadmin", "..\\admin", "x\\y", "x%5cy", "x%2Fy",
        "x//y", "/", "/x", "..;/admin", "..;a=b/admin", ".;/x", ";/../x", "..%3b/admin", "%252e%252e/admin", "x%252fy",
        "x%25", "%00", "x%00.html", "%0a", "%0d%0aX:1", "%09", "%7f", "%", "x%", "x%2", "x%zz", "x%+1", "x%1", "%u002e",
        "%c0%ae%c0%ae/admin", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%ff", "%c3", "x?y", "x#y", "#/../admin", " ", "x y",
        "é", "x\0", "x\n", "x\t", "x\x7f", "\u{202e}",
        // To those who drop blanks, take `+` for one, or fold look-alikes.
        "..%20/admin", "%20../admin", ".%20./admin", "..+/admin", "+../admin", ".+", "..%20;x/admin", "..%c2%85/admin",
        "..%c2%a0/admin", ".%e2%80%8b./admin", "..%ef%bb%bf/admin", "..%ef%bc%8fadmin", "%ef%bc%8e%ef%bc%8e/admin",
        "%e2%80%a4%e2%80%a4/admin", "%e2%80%a5/admin", "%e2%80%a6/admin", "%ef%b9%92./admin", "%e3%80%82%e3%80%82/admin",
        "%ef%bd%a1%ef%bd%a1/admin", "..%e2%81%84admin", "..%e2%88%95admin", "..%e2%a7%b8admin", "..%ef%bc%bcadmin",
        "..%ef%b9%a8admin", "..%c2%a5admin", "..%ef%bc%9b/admin", "..%cd%be/admin", "..%ef%bc%9f/admin", "..%ef%bc%8b/admin",
        "%ef%bc%85%32e",
    ];
    let below = requests(&[], &["/a/", "/a"]);
    let all = requests(&["GET"], &["/"]);
    for trick in tricks {
        let path = format!("/a/{trick}");
        assert!(!below.allows("GET", &path), "{path:?}");
        assert!(all.allows("GET", &path) && !all.allows("PUT", &path), "{path:?}");
        assert_eq!(rule("a").only(requests(&[], &[&path])), Err(RuleError::Path(shown(&path))));
    }
}

#[test]
fn a_path_with_unusual_letters_is_still_one() {
    let below = requests(&[], &["/a/"]);
    #[rustfmt::skip]
    let paths = [
        "c++", "+/refs/heads/main", "%20", "x%20y.txt", "...x", ".github", "x..", "-/..-", "1+1", "%20x/%20y", "%c3%a9",
        "%e6%97%a5%e6%9c%ac%e3%80%82", "%ef%bc%a1%ef%bc%8e", "x%ef%bc%8fy", "%e2%80%a6x", "%c2%a51000",
    ];
    for path in paths {
        assert!(below.allows("GET", &format!("/a/{path}")), "{path:?}");
    }
}

#[test]
fn a_rule_can_be_for_some_requests_only() {
    let some = requests(&["GET", "M-SEARCH"], &["/a", "/b/", "/"]);
    let rule = rule("api.example.org:443").only(some.clone()).unwrap();
    assert_eq!(rule.requests, some);
    assert_eq!(rule.to_string(), "api.example.org:443");
    let json = serde_json::to_string(&rule).unwrap();
    assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
    for method in ["", "get", "GET ", "G\0", "GET/1", "É", "A_B"] {
        assert!(matches!(super::Rule::parse("a").unwrap().only(requests(&[method], &[])), Err(RuleError::Method(_))));
    }
    for path in ["", "a", "*", "/a?b", "/a#b", "/a b", "http://a/"] {
        assert!(matches!(super::Rule::parse("a").unwrap().only(requests(&[], &[path])), Err(RuleError::Path(_))));
    }
}

fn patterns() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        Just(Pattern::Any),
        hosts().prop_map(Pattern::Host),
        hosts().prop_filter_map("an address", |host| host.name().map(|name| Pattern::Below(name.into()))),
        (hosts(), 0u8..=128).prop_filter_map("no network", |(host, length)| match host {
            Host::Address(address) => {
                let network = first_of(address, length)?;
                (network.to_canonical() == network).then_some(Pattern::Network(network, length))
            }
            Host::Name(_) => None,
        }),
    ]
}

pub(crate) fn rules() -> impl Strategy<Value = Rule> {
    let ports = prop_oneof![
        Just(Ports::Web),
        Just(Ports::EVERY),
        (1u16.., 1u16..).prop_map(|(one, other)| Ports::Range(one.min(other), one.max(other))),
    ];
    (patterns(), ports).prop_map(|(pattern, ports)| Rule { pattern, ports, requests: Requests::default() })
}

proptest! {
    #[test]
    fn every_rule_survives_being_written(rule in rules()) {
        prop_assert_eq!(Rule::parse(&rule.to_string()), Ok(rule.clone()));
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
    }

    #[test]
    fn whatever_is_a_rule_is_written_in_one_way(text in "[*a.0-9:/\\[\\]f-]{0,20}") {
        if let Ok(rule) = Rule::parse(&text) {
            prop_assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
        }
    }

    #[test]
    fn the_rule_for_a_target_is_for_it_alone(host in hosts(), port in 1u16.., other in hosts()) {
        let target = Target { host, port };
        let rule = Rule::exactly(&target);
        prop_assert!(rule.matches(&target));
        prop_assert_eq!(Rule::parse(&rule.to_string()), Ok(rule.clone()));
        prop_assert_eq!(rule.matches(&Target { host: other.clone(), port }), other == target.host);
        let beside = Target { port: port.checked_sub(1).filter(|port| *port != 0).unwrap_or(2), ..target };
        prop_assert!(!rule.matches(&beside));
    }

    #[test]
    fn a_network_has_the_addresses_that_share_its_bits(address: u32, length in 0u8..=32, other: u32) {
        let network = first_of(IpAddr::V4(address.into()), length).unwrap();
        let pattern = Pattern::parse(&format!("{network}/{length}")).unwrap();
        let same = length == 0 || (address ^ other) >> (32 - length) == 0;
        prop_assert_eq!(pattern.contains(IpAddr::V4(other.into())), same);
        prop_assert!(pattern.contains(last_of(network, length)));
    }

    #[test]
    fn what_denies_is_no_less_than_what_allows(rule in rules(), host in hosts(), port in 1u16..) {
        let target = Target { host, port };
        prop_assert!(!rule.matches(&target) || rule.denies(&target));
    }

    #[test]
    fn no_text_makes_a_rule_panic(text: String, method: String) {
        let _ = Rule::parse(&text);
        let allowed = requests(&[], &["/a/"]).allows(&method, &format!("/a/{text}"));
        prop_assert!(!allowed || !text.contains("/../"));
    }
}

#[test]
fn what_may_mean_a_path_is_found_in_any_spelling() {
    let own = "/oauth/token";
    for path in [
        own,
        "/oauth/token/",
        "/oauth/token/x/y",
        "/oauth/token;x",
        "/oauth/token.json",
        "/oauth/token%20",
        "/oauth/%74oken",
        "/OAuth/Token",
        "/oauth//token",
        "/oauth/./token",
        "/x/../oauth/token",
        "/oauth%2ftoken",
        "/oauth%252ftoken",
        "/oauth/%EF%BD%94oken",
        "oauth/token",
        "*",
    ] {
        assert!(may_mean(path, own) && may_mean(path, "/oauth/token/"), "{path}");
    }
    for path in ["/", "/oauth", "/oauth/tokens", "/oauth/token-info", "/oauth/token_x", "/x/oauth/token"] {
        assert!(!may_mean(path, own), "{path}");
    }
}
