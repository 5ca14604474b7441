//! Attacks by addresses: this host, its network, and what clouds tell about themselves, under every name and in every
//! spelling.

use crate::ground::Ground;

/// Addresses that no rule below names. `%` has no meaning in any of them.
const INWARD: [&str; 22] = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.7",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "198.18.0.1",
    "224.0.0.1",
    "::1",
    "::",
    "fd00:ec2::254",
    "fc00::1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.7",
    "64:ff9b::7f00:1",
    "2002:a00:7::1",
];

#[test]
fn names_that_lead_inward() {
    for ground in Ground::all() {
        let canary = ground.canary("[::]:81");
        let mut names = Vec::new();
        for (index, address) in INWARD.iter().enumerate() {
            names.push(format!("inward{index}.example.com"));
            ground.internet.name(&names[index], &[address]);
        }
        ground.internet.name("public.example.com", &["8.8.8.8"]);
        let script = format!(
            r#"
for name in {names:?}:
    assert b"canary" not in ask(name, 81, get(name)), name
assert b"canary" in ask("public.example.com", 81, get("public.example.com"))
"#
        );
        for (count, options) in
            [["--allow", "*.example.com:81"], ["--allow", "*:*"], ["--net", "open"]].iter().enumerate()
        {
            let _ = ground.attack(options, &script);
            assert_eq!(canary.count(), count + 1, "{options:?}");
        }
        ground.told("private-address");
    }
}

#[test]
fn addresses_that_lead_inward() {
    for ground in Ground::all() {
        let canary = ground.canary("[::]:81");
        let script = format!(
            r#"
for address in {INWARD:?}:
    assert b"canary" not in ask(address, 81, get("x")), address
# As the C library reads them: those are addresses of the sandbox itself.
for address in "0x7f.1", "0177.0.0.1", "2130706433", "127.1", "0":
    assert b"canary" not in ask(address, 81, get("x")), address
# As names that programs inside might take for addresses elsewhere.
for name in b"0x7f.1", b"0177.0.0.1", b"127.1", b"10.0.0.7", b"169.254.169.254", b"0xa9fea9fe", b"2852039166":
    code, count, address = lookup(name.split(b"."))
    assert not count or b"canary" not in ask(address, 81, get("x")), name
for address in "8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.4.4":
    assert b"canary" in ask(address, 81, get(address if "::" not in address else "[" + address + "]")), address
"#
        );
        let _ = ground.attack(&["--net", "open"], &script);
        assert_eq!(canary.count(), 3);
        ground.told("private-address");
        let script = script.split("for address in \"8.8").next().unwrap();
        let _ = ground.attack(&["--allow", "*:*"], script);
        assert_eq!(canary.count(), 3);
        let asked = ground.internet.queries();
        assert!(asked.is_empty(), "{asked:#?}");
    }
}

#[test]
fn an_address_that_is_named_is_the_only_one() {
    for ground in Ground::all() {
        let canary = ground.canary("[::]:81");
        let others: Vec<&str> = INWARD.into_iter().filter(|address| !address.contains("10.0.0.7")).collect();
        let script = format!(
            r#"
assert b"canary" in ask("10.0.0.7", 81, get("10.0.0.7"))
assert b"canary" not in ask("10.0.0.7", 82, get("10.0.0.7:82"))
for address in {others:?} + ["10.0.0.8", "8.8.8.8"]:
    assert b"canary" not in ask(address, 81, get("10.0.0.7")), address
"#
        );
        let _ = ground.attack(&["--allow", "10.0.0.7:81"], &script);
        assert_eq!(canary.count(), 1);
        ground.told("not-allowed");
    }
}

/// The log names the rule without which an address would have been refused, beside one that allows the name.
#[test]
fn the_rule_that_names_an_address_is_on_record() {
    for ground in Ground::all() {
        ground.internet.name("db.example.com", &["10.0.0.7"]);
        let _canary = ground.canary("[::]:81");
        for (host, rules, expected) in [
            ("db.example.com", ["db.example.com:81", "10.0.0.7:81"], "db.example.com:81, 10.0.0.7:81"),
            ("10.0.0.7", ["*:81", "10.0.0.0/8:81"], "10.0.0.0/8:81"),
        ] {
            let options = ["--name", "box", "--allow", rules[0], "--allow", rules[1]];
            let script = format!("assert b'canary' in ask({host:?}, 81, get('{host}:81'))");
            let _ = ground.attack(&options, &script);
            let log = ground.log(&["box"]);
            let opened = log.iter().rfind(|record| record["event"] == "opened").unwrap();
            assert_eq!(opened["rule"], expected, "{log:#?}");
        }
    }
}

#[test]
fn a_host_with_ipv6_only() {
    for ground in Ground::all() {
        ground.internet.name("six.example.com", &["2001:4860:4860::8844"]);
        let canary = ground.canary("[2001:4860:4860::8844]:80");
        let script = r#"
assert b"canary" in ask("six.example.com", 80, get("six.example.com"))
# Its address is another matter.
assert b"canary" not in ask("2001:4860:4860::8844", 80, get("six.example.com"))
"#;
        let _ = ground.attack(&["--allow", "six.example.com"], script);
        assert_eq!(canary.count(), 1);
    }
}
