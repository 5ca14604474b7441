use super::*;
use proptest::prelude::*;

fn label(length: usize) -> String {
    "a".repeat(length)
}

/// A name of exactly this many bytes, in labels of 49 and a last one.
fn name(length: usize) -> String {
    let mut name = format!("{}.", label(49)).repeat(length / 50);
    name += &label(length - name.len());
    name
}

#[test]
fn every_spelling_of_a_host_is_one_value() {
    for (written, host) in [
        ("example.org", "example.org"),
        ("EXAMPLE.Org", "example.org"),
        ("example.org.", "example.org"),
        ("localhost", "localhost"),
        ("a", "a"),
        ("_dmarc.a_b.example.org", "_dmarc.a_b.example.org"),
        ("r3---sn-x.example.org", "r3---sn-x.example.org"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("XN--MNCHEN-3YA.example", "xn--mnchen-3ya.example"),
        // Digits and `0x` are a name's as long as they don't end it.
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("0x7f.example", "0x7f.example"),
        ("127.0.0.1.a", "127.0.0.1.a"),
        ("1e3", "1e3"),
        ("0xg", "0xg"),
        ("127.0.0.-1", "127.0.0.-1"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("2001:DB8::A", "[2001:db8::a]"),
        ("[2001:0db8:0000::000a]", "[2001:db8::a]"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
        ("[::FFFF:7F00:0001]", "127.0.0.1"),
        ("::127.0.0.1", "[::7f00:1]"),
    ] {
        let parsed = Host::parse(written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(parsed.to_string(), host, "{written}");
        assert_eq!(Host::parse(host), Ok(parsed), "{host}");
    }
}

/// Whatever `getaddrinfo`, a browser's URL parser, Go or Java make of these, they are no hosts here.
#[test]
fn what_programs_read_differently_is_no_host() {
    let long = [label(64), format!("{}.org", label(64)), name(254), format!("{}.", name(254)), label(70_000)];
    #[rustfmt::skip]
    let written = [
        "", ".", "..", ".org", "a..b", "example.org..", "..example.org", " ", " a", "a ", "a b", "a\t", "a\n",
        "a\r\n", "a\0", "\0a", "a\0.example.org", "example.org\0.evil.example", "a\x7f", "\x1b[31m", "a@b",
        "user:pw@b", "a/b", "a\\b", "a%2eb", "%61", "a?b", "a#b", "a,b", "a;b", "a!b", "a*b", "*", "*.a", "a'b",
        "a\"b", "a<b", "a|b", "a^b", "a`b", "a{b", "a=b", "a&b", "$a", "(a)", "~a", "+1", "-", "-a",
        "-a.example.org", "--help",
        // inet_aton(3)
        "0x7f.1", "0x7f.0.0.1", "0X7F000001", "0x7f000001", "0177.0.0.1", "0177.1", "017700000001", "127.1",
        "127.0.1", "2130706433", "0", "00", "0x", "1", "127.0.0.01", "127.0.0.0x1", "127.0.0.0x", "127.0.0.1.",
        "127.1.", "0x7f.", "127.0.0.256", "256.1.1.1", "1.2.3.4.5", "a.1", "a.0x1", "a.0X", "08", "127.0.0.1 x",
        "127.0.0.1\n", " 127.0.0.1", "+127.0.0.1", "-127.0.0.1", "1.2.3.", ".1.2.3.4", "1..2.3", "127.0.0.1/8",
        "127.0.0.1%lo",
        // IPv6
        "fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%25eth0]", "fe80::1%1", "[::1", "::1]", "[[::1]]", "[::1]]",
        "[]", "[", "]", "[127.0.0.1]", "[example.org]", "a[::1]", "[::1]a", "[::1].", "::1.", "[::1]:80", "[::1 ]",
        "[ ::1]", ":", ":::", "::g", "12345::", "1:2:3:4:5:6:7:8:9", "1::2::3", "::ffff:127.1", "::ffff:0x7f.0.0.1",
        "::ffff:0177.0.0.1", "::ffff:127.0.0.1:80", "[v1.fe80::a]", "1:2:3:4:5:6:7", "::1/128",
        // Ports have no place here.
        "host:80", "host:80:90", ":80", "host:", "127.0.0.1:80",
        // Beyond ASCII: letters, full-width digits and dots, an invisible one, one that is turned round.
        "münchen.example", "example.рф", "１２７.0.0.1", "127．0．0．1", "example。org", "example｡org",
        "exam\u{ad}ple.org", "exa\u{200d}mple.org", "ſ.example", "\u{212a}.example", "a\u{202e}b", "①.example",
        "\u{feff}a",
    ];
    for text in written.into_iter().chain(long.iter().map(String::as_str)) {
        let error = Host::parse(text).map(|host| format!("{host:?}")).expect_err(text);
        let told = error.to_string();
        assert!(!told.contains(char::is_control) && !told.contains('\u{202e}'), "{told:?}");
        assert!(told.len() < 1000, "{told}");
    }
    assert_eq!(
        Host::parse(&"é".repeat(100)).unwrap_err().hint(),
        "Write it as it goes over the wire, beginning with 'xn--'"
    );
    assert!(!Host::parse("127.1").unwrap_err().hint().is_empty());
}

#[test]
fn the_longest_names_are_253_bytes_of_labels_of_63() {
    for text in [label(63), format!("{0}.{0}.{0}.{1}", label(63), label(61)), name(253), format!("{}.", name(253))] {
        assert_eq!(Host::parse(&text).unwrap().to_string(), text.trim_end_matches('.'));
    }
    assert_eq!(Host::parse(&name(254)), Err(HostError::TooLong));
    assert_eq!(Host::parse(&label(64)), Err(HostError::Label(label(64))));
}

#[test]
fn targets_are_a_host_and_a_port() {
    for (written, target) in [
        ("example.org:443", "example.org:443"),
        ("EXAMPLE.org.:0443", "example.org:443"),
        ("127.0.0.1:1", "127.0.0.1:1"),
        ("[::1]:65535", "[::1]:65535"),
        ("[::ffff:1.2.3.4]:80", "1.2.3.4:80"),
    ] {
        let parsed = Target::parse(written, None).unwrap();
        assert_eq!(parsed.to_string(), target);
        assert_eq!(Target::parse(written, Some(9)), Ok(parsed.clone()));
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), parsed);
    }
    for alone in ["example.org", "::1", "[::1]", "1.2.3.4", "::1:80"] {
        assert_eq!(Target::parse(alone, None), Err(TargetError::NoPort(alone.to_owned())));
        assert_eq!(Target::parse(alone, Some(22)).unwrap().port, 22);
    }
    #[rustfmt::skip]
    let wrong = [
        "",
        ":",
        ":80",
        "a:",
        "a:0",
        "a:00",
        "a:65536",
        "a:+80",
        "a:-80",
        "a: 80",
        "a:80 ",
        "a:0x50",
        "a:８０",
        "a:80:90",
        "a:http",
        "[
        ::1]80", "[::1]:", "[::1]:0", "[a]:80", "[1.2.3.4]:80", "[::1]:80:90", "[::1]]:80", "[::1:80", "::1]:80",
        "a@b:80", "a:b@c:80", "a:99999999999999999999", "a:1\0", "a:80\n", "[é]:]:1", "é:80",
    ];
    for text in wrong {
        assert!(Target::parse(text, None).is_err(), "{text}");
        assert!(Target::parse(text, Some(443)).is_err(), "{text}");
    }
}

/// What comes from another process is parsed like what a user writes.
#[test]
fn records_hold_no_other_hosts_and_ports() {
    assert!(serde_json::from_str::<Host>("\"127.1\"").is_err());
    assert_eq!(serde_json::from_str::<Host>("\"A.\"").unwrap(), Host::parse("a").unwrap());
    assert!(serde_json::from_str::<Target>(r#"{"host":"a","port":0}"#).is_err());
    assert!(serde_json::from_str::<Target>(r#"{"host":"a b","port":1}"#).is_err());
}

/// Characters that names, addresses and mistakes are made of.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-fxX.:\\[\\]%-]{0,24}",
        "[A-Za-z0-9_.-]{0,20}",
        "(0x?[0-9a-f]{0,8}\\.?){1,4}",
        "\\[?(::ffff:)?[0-9]{1,3}(\\.[0-9]{1,3}){3}\\]?",
        "\\[?[0-9a-f:]{2,39}\\]?",
        any::<String>(),
    ]
}

pub(crate) fn hosts() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(Host::from),
        texts().prop_filter_map("no host", |text| Host::parse(&text).ok()),
    ]
}

proptest! {
    #[test]
    fn a_host_is_read_as_it_is_written(text in texts()) {
        if let Ok(host) = Host::parse(&text) {
            let shown = host.to_string();
            prop_assert_eq!(Host::parse(&shown), Ok(host.clone()));
            prop_assert!(shown.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
            if let Some(name) = host.name() {
                prop_assert!(name.len() <= MAX_NAME && !name.starts_with('-') && !name.ends_with('.'));
                // What inet_aton(3) takes ends in a number.
                prop_assert!(name.parse::<IpAddr>().is_err());
                prop_assert!(!name.ends_with(|last: char| last.is_ascii_digit()) || name.contains(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '-'));
            }
            let other = text.strip_suffix('.').unwrap_or(&text).to_ascii_uppercase();
            prop_assert_eq!(Host::parse(&other), Ok(host));
        }
    }

    #[test]
    fn an_address_is_one_host_in_every_spelling(address: IpAddr) {
        let host = Host::from(address);
        prop_assert_eq!(Host::parse(&address.to_string()), Ok(host.clone()));
        if let IpAddr::V4(v4) = address {
            prop_assert_eq!(Host::parse(&format!("[{}]", v4.to_ipv6_mapped())), Ok(host.clone()));
        }
        prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
    }

    #[test]
    fn no_two_hosts_print_alike(one in hosts(), other in hosts()) {
        prop_assert_eq!(one == other, one.to_string() == other.to_string());
    }

    #[test]
    fn a_target_is_read_as_it_is_written(host in hosts(), port in 1u16..) {
        let target = Target { host, port };
        prop_assert_eq!(Target::parse(&target.to_string(), None), Ok(target.clone()));
        prop_assert_eq!(Target::parse(&target.to_string(), Some(1)), Ok(target));
    }

    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = Target::parse(&text, None);
        prop_assert!(shown(&text).chars().all(|c| !c.is_control()));
    }
}
