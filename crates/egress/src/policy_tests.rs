use super::*;
use crate::{
    host::tests::hosts,
    rule::{self, Requests},
};
use proptest::prelude::*;

fn parsed(texts: &str) -> Vec<Rule> {
    texts.split_whitespace().map(|text| Rule::parse(text).unwrap()).collect()
}

fn target(text: &str) -> Target {
    Target::parse(text, Some(443)).unwrap()
}

fn side(mode: Mode, allow: &str, deny: &str, services: &str) -> Rules {
    let services = services.split_whitespace().map(target).collect();
    Rules { mode, allow: parsed(allow), deny: parsed(deny), services }
}

fn policy(mode: Mode, allow: &str, deny: &str) -> Policy {
    Policy { rules: side(mode, allow, deny, ""), ceiling: None }
}

fn under(mut policy: Policy, ceiling: Rules) -> Policy {
    policy.ceiling = Some(ceiling);
    policy
}

/// The code of the denial, or the rule that allows.
fn verdict(policy: &Policy, to: &str) -> String {
    match policy.judge(&target(to)) {
        Ok(grant) => grant.rule,
        Err(denial) => denial.reason.to_string(),
    }
}

fn addresses(texts: &str) -> Vec<IpAddr> {
    texts.split_whitespace().map(|text| text.parse().unwrap()).collect()
}

/// The addresses that are left of these, or the code of the denial.
fn admitted(policy: &Policy, to: &str, found: &str) -> String {
    match policy.admit(&target(to), &addresses(found), |_| false) {
        Ok(admitted) => admitted.iter().map(|one| one.addr().ip().to_string()).collect::<Vec<_>>().join(" "),
        Err(denial) => denial.reason.to_string(),
    }
}

fn only(text: &str, methods: &[&str], paths: &[&str]) -> Rule {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Rule::parse(text).unwrap().only(Requests { methods: owned(methods), paths: owned(paths) }).unwrap()
}

/// What would be dangerous to be found at: this machine, its cloud, its networks, in many clothes.
const INSIDE: &str = "127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 169.254.169.254 100.100.100.200 \
    168.63.129.16 198.18.0.1 224.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:0.0.0.0 ::127.0.0.1 \
    ::ffff:0:127.0.0.1 64:ff9b::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::1 2002:7f00:1:: \
    2002:a00:1::1 2001::80ff:fffe fe80::1 fe80::a9fe:a9fe fd00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1";

#[test]
fn without_rules_nothing_is_allowed() {
    for target in ["example.org", "localhost:80", "10.0.0.1:22", "[::1]:1", HOST_NAME] {
        assert_eq!(verdict(&Policy::default(), target), "network-none");
        // An empty list allows nothing, and not everything.
        assert_eq!(verdict(&policy(Mode::Allow, "", ""), target), "not-allowed");
        assert_eq!(admitted(&Policy::default(), target, "1.1.1.1"), "network-none");
        assert_eq!(
            verdict(&under(policy(Mode::Open, "*:*", ""), Rules::default()), target).as_str(),
            if target == HOST_NAME { "not-allowed" } else { "ceiling" }
        );
    }
    assert_eq!(verdict(&policy(Mode::None, "*:*", ""), "example.org"), "network-none");
}

#[test]
fn what_is_allowed_is_told_by_its_rule() {
    let policy = policy(Mode::Allow, "example.org *.example.org:22 10.0.0.0/8:5432 [2001:db8::1]", "");
    for (to, rule) in [
        ("example.org:443", "example.org"),
        ("example.org:80", "example.org"),
        ("example.org:22", "not-allowed"),
        ("a.example.org:22", "*.example.org:22"),
        ("a.example.org:443", "not-allowed"),
        ("10.1.2.3:5432", "10.0.0.0/8:5432"),
        ("[::ffff:10.1.2.3]:5432", "10.0.0.0/8:5432"),
        ("[::10.1.2.3]:5432", "not-allowed"),
        ("10.1.2.3:5433", "not-allowed"),
        ("11.0.0.1:5432", "not-allowed"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
    ] {
        assert_eq!(verdict(&policy, to), rule, "{to}");
    }
}

#[test]
fn deny_beats_allow_on_both_sides() {
    let open = side(Mode::Open, "*:*", "", "");
    let denied = "evil.example *.evil.example 93.184.0.0/16 [2001:db8::]/32:443";
    let own = policy(Mode::Open, "*:* evil.example:*", denied);
    let limits = under(policy(Mode::Open, "*:* evil.example:*", ""), Rules { deny: parsed(denied), ..open });
    for policy in [own, limits] {
        for to in [
            "evil.example",
            "evil.example:22",
            "EVIL.example.:8443",
            "a.b.evil.example:1",
            "93.184.1.1:22",
            "[::ffff:93.184.1.1]:80",
            "[2001:db8::7]:443",
        ] {
            let denial = policy.judge(&target(to)).unwrap_err();
            assert_eq!(denial.reason, Reason::Denied, "{to}");
            assert!(denied.split(' ').any(|rule| rule == denial.detail), "{}", denial.detail);
        }
        assert_eq!(verdict(&policy, "notevil.example:22"), "*:*");
        // Nor by another name, or behind a gateway.
        for address in ["93.184.216.34", "::ffff:93.184.216.34", "64:ff9b::93.184.216.34", "2002:5db8:d822::1"] {
            assert_eq!(admitted(&policy, "good.example", address), "denied", "{address}");
        }
        assert_eq!(admitted(&policy, "good.example", "93.184.216.34 1.1.1.1"), "1.1.1.1");
        assert_eq!(admitted(&policy, "[64:ff9b::93.184.216.34]:443", "64:ff9b::93.184.216.34"), "denied");
    }
    let all = policy(Mode::Open, "*:*", "*");
    assert_eq!(verdict(&all, "example.org:22"), "denied");
    // What requests it names makes a rule that denies no smaller.
    let mut some = policy(Mode::Open, "", "");
    some.rules.deny.push(only("example.org", &["POST"], &["/x"]));
    assert_eq!(verdict(&some, "example.org"), "denied");
}

#[test]
fn a_ceiling_only_narrows() {
    let project = policy(Mode::Allow, "a.example b.example c.example:22", "");
    let limits = |mode, allow, deny| under(project.clone(), side(mode, allow, deny, ""));
    assert_eq!(verdict(&limits(Mode::Allow, "a.example", ""), "a.example"), "a.example");
    assert_eq!(verdict(&limits(Mode::Allow, "a.example", ""), "b.example"), "ceiling");
    assert_eq!(verdict(&limits(Mode::Allow, "* c.example", ""), "c.example:22"), "ceiling");
    assert_eq!(verdict(&limits(Mode::Allow, "*:*", ""), "c.example:22"), "c.example:22");
    assert_eq!(verdict(&limits(Mode::Open, "", ""), "c.example:22"), "c.example:22");
    assert_eq!(verdict(&limits(Mode::Open, "", "a.example"), "a.example"), "denied");
    assert_eq!(verdict(&limits(Mode::None, "*:*", ""), "a.example"), "ceiling");
    // What only the ceiling allows is not allowed.
    assert_eq!(verdict(&limits(Mode::Open, "*:*", ""), "d.example"), "not-allowed");
    assert_eq!(verdict(&under(Policy::default(), side(Mode::Open, "*:*", "", "")), "a.example"), "network-none");
    // A private address must be named on both sides.
    let network = policy(Mode::Allow, "10.0.0.0/8:* db.internal:1", "");
    let open = under(network.clone(), side(Mode::Open, "*:*", "", ""));
    assert_eq!(admitted(&open, "10.0.0.1:1", "10.0.0.1"), "ceiling");
    assert_eq!(admitted(&open, "db.internal:1", "10.0.0.1"), "ceiling");
    let named = under(network, side(Mode::Allow, "10.0.0.0/24:* *.internal:*", "", ""));
    assert_eq!(admitted(&named, "10.0.0.1:1", "10.0.0.1"), "10.0.0.1");
    assert_eq!(admitted(&named, "10.1.0.1:1", "10.1.0.1"), "ceiling");
    assert_eq!(admitted(&named, "db.internal:1", "10.1.0.1"), "10.1.0.1");
}

#[test]
fn a_public_name_is_not_found_at_home() {
    let modes = [
        policy(Mode::Open, "", ""),
        policy(Mode::Open, "*:*", ""),
        policy(Mode::Allow, "rebind.example *.rebind.example", ""),
        policy(Mode::Allow, "*", ""),
        policy(Mode::Allow, "* 0.0.0.0/0:* [::]/0:*", ""),
        under(policy(Mode::Open, "*:*", ""), side(Mode::Open, "*:*", "", "")),
    ];
    for policy in modes {
        for address in INSIDE.split_whitespace() {
            for name in ["rebind.example", "a.rebind.example"] {
                assert_eq!(admitted(&policy, name, address), "private-address", "{address}");
                // What is good among the answers stays.
                assert_eq!(
                    admitted(&policy, name, &format!("{address} 1.1.1.1 {address} 2606:4700::1")),
                    "1.1.1.1 2606:4700::1"
                );
                assert_eq!(admitted(&policy, name, &format!("::ffff:1.1.1.1 {address}")), "1.1.1.1");
            }
        }
        let denial =
            policy.admit(&target("rebind.example"), &addresses("169.254.169.254 10.0.0.1"), |_| false).unwrap_err();
        assert_eq!(denial.detail, "169.254.169.254 is a link-local address");
        assert_eq!(admitted(&policy, "rebind.example", ""), "no-such-host");
    }
}

/// As literal addresses they are what they are, whatever is allowed without naming them.
#[test]
fn an_address_that_is_not_public_is_reached_if_it_is_named() {
    for address in INSIDE.split_whitespace() {
        let to = Target { host: Host::from(address.parse::<IpAddr>().unwrap()), port: 443 }.to_string();
        for allow in ["", "*", "*:*", "0.0.0.0/0:* [::]/0:*"] {
            let policy = policy(Mode::Open, allow, "");
            assert_eq!(admitted(&policy, &to, address), "private-address", "{to} {allow}");
        }
        let named = policy(Mode::Allow, &to, "");
        let canonical = address.parse::<IpAddr>().unwrap().to_canonical();
        let expected = if canonical.is_unspecified() { "private-address".to_owned() } else { canonical.to_string() };
        assert_eq!(admitted(&named, &to, address), expected, "{to}");
    }
    let policy = policy(Mode::Allow, "*:443 10.0.0.0/8:5432", "");
    assert_eq!(admitted(&policy, "10.1.1.1:5432", "10.1.1.1"), "10.1.1.1");
    assert_eq!(admitted(&policy, "10.1.1.1:443", "10.1.1.1"), "private-address");
    // Whoever may reach an address may reach it by a name that is allowed as well: on its own ports only.
    assert_eq!(admitted(&policy, "db.example:443", "10.1.1.1"), "private-address");
    let policy = policy_with("db.example:5432 10.0.0.0/8:5432");
    assert_eq!(admitted(&policy, "db.example:5432", "10.1.1.1"), "10.1.1.1");
    assert_eq!(admitted(&policy, "db.example:5432", "192.168.1.1"), "private-address");
}

fn policy_with(allow: &str) -> Policy {
    policy(Mode::Allow, allow, "")
}

/// By another name, requests would not be those that the address is restricted to.
#[test]
fn an_address_for_some_requests_is_not_reached_by_another_name() {
    let mut policy = policy_with("good.example:80");
    policy.rules.allow.push(only("10.0.0.1:80", &["GET"], &["/status"]));
    assert_eq!(admitted(&policy, "10.0.0.1:80", "10.0.0.1"), "10.0.0.1");
    assert!(policy.judge(&target("10.0.0.1:80")).unwrap().is_restricted());
    assert_eq!(admitted(&policy, "good.example:80", "10.0.0.1"), "private-address");
}

#[test]
fn names_for_private_use_may_have_private_addresses_and_no_others_of_that_kind() {
    let names = ["db.internal", "nas", "printer.local", "x.y.lan", "a.home.arpa", "git.corp", "db.test"];
    for name in names {
        let named = policy_with(name);
        for address in ["10.0.0.1", "192.168.1.1", "172.31.0.1", "100.64.0.1", "fd00::1", "1.1.1.1"] {
            assert_eq!(admitted(&named, name, address), address, "{name}");
        }
        for address in INSIDE.split_whitespace() {
            let private = address::class(address.parse().unwrap()) == Class::Private;
            assert_eq!(admitted(&named, name, address) == "private-address", !private, "{name} {address}");
        }
        // Only if the rule names the name.
        for allow in ["*", "*:*"] {
            assert_eq!(admitted(&policy_with(allow), name, "10.0.0.1"), "private-address", "{name}");
            assert_eq!(admitted(&policy(Mode::Open, allow, ""), name, "10.0.0.1"), "private-address", "{name}");
        }
    }
    assert_eq!(admitted(&policy_with("*.internal"), "db.internal", "10.0.0.1"), "10.0.0.1");
    for name in ["internal.example", "notinternal.org", "db.xinternal", "local.example.org", "a.testing"] {
        assert_eq!(admitted(&policy_with(name), name, "10.0.0.1"), "private-address", "{name}");
    }
    assert_eq!(
        admitted(&policy_with("metadata.google.internal"), "metadata.google.internal", "169.254.169.254"),
        "private-address"
    );
}

#[test]
fn services_are_reached_in_every_mode_and_only_they() {
    let services = "localhost:8080 127.0.0.5:9000 db.lan:5432 10.0.0.7:1";
    for mode in [Mode::None, Mode::Allow, Mode::Open] {
        let policy = Policy { rules: side(mode, "", "", services), ceiling: None };
        let here = |port: u16| format!("{HOST_NAME}:{port}");
        assert_eq!(verdict(&policy, &here(8080)), "service localhost:8080");
        assert_eq!(policy.outside(&target(&here(8080))), target("localhost:8080"));
        assert_eq!(admitted(&policy, &here(8080), "127.0.0.1 ::1"), "127.0.0.1 ::1");
        assert_eq!(admitted(&policy, "localhost:8080", "127.0.0.1 ::1"), "127.0.0.1 ::1");
        assert_eq!(verdict(&policy, &here(9000)), "service 127.0.0.5:9000");
        assert_eq!(policy.outside(&target(&here(9000))), target("127.0.0.5:9000"));
        assert_eq!(admitted(&policy, &here(9000), "127.0.0.5 127.0.0.1"), "127.0.0.5");
        assert_eq!(verdict(&policy, "db.lan:5432"), "service db.lan:5432");
        assert_eq!(policy.outside(&target("db.lan:5432")), target("db.lan:5432"));
        assert_eq!(admitted(&policy, "db.lan:5432", "127.0.0.1 10.0.0.1 1.1.1.1"), "127.0.0.1 10.0.0.1 1.1.1.1");
        assert_eq!(admitted(&policy, "10.0.0.7:1", "10.0.0.7"), "10.0.0.7");
        // `localhost` is not every address of this machine, a name no cloud's metadata, a port no other.
        assert_eq!(admitted(&policy, &here(8080), "127.0.0.53"), "private-address");
        assert_eq!(admitted(&policy, &here(8080), "10.0.0.1 169.254.169.254 0.0.0.0 ::"), "private-address");
        assert_eq!(admitted(&policy, "db.lan:5432", "169.254.169.254 fd00:ec2::254 0.0.0.0"), "private-address");
        for port in [1, 22, 5432, 8081] {
            assert!(["network-none", "not-allowed"].contains(&&*verdict(&policy, &here(port))), "{port}");
        }
        assert_eq!(policy.outside(&target(&here(22))), target(&here(22)));
        if mode != Mode::Open {
            assert!(
                policy.judge(&target("localhost:8081")).is_err() && policy.judge(&target("127.0.0.1:8080")).is_err()
            );
        }
        assert!(policy.admit(&target("127.0.0.1:8080"), &addresses("127.0.0.1"), |_| false).is_err());
    }
}

#[test]
fn the_name_of_this_host_is_its_services_and_nothing_else() {
    for allow in ["*:*", "*.internal:* host.agentkernel.internal:*"] {
        let policy = policy(Mode::Open, allow, "");
        assert_eq!(admitted(&policy, HOST_NAME, "10.0.0.1 1.1.1.1"), "not-allowed");
    }
}

#[test]
fn services_are_limited_and_denied_like_all_else() {
    let own = Policy { rules: side(Mode::None, "", "", "localhost:8080 127.0.0.53:53"), ceiling: None };
    let to = format!("{HOST_NAME}:8080");
    for deny in ["localhost", "localhost:8080", "host.agentkernel.internal", "*:8080"] {
        let mut denied = own.clone();
        denied.rules.deny = parsed(deny);
        assert_eq!(verdict(&denied, &to), "denied", "{deny}");
        assert_eq!(
            verdict(&under(own.clone(), side(Mode::Open, "*:*", deny, "localhost:8080")), &to),
            "denied",
            "{deny}"
        );
    }
    // Not lifted by rules of the ceiling that are not about it.
    for limits in [side(Mode::Open, "*:*", "", ""), side(Mode::Allow, "localhost:* *.internal:*", "", "")] {
        assert!(under(own.clone(), limits).admit(&target(&to), &addresses("127.0.0.1"), |_| false).is_err());
    }
    let limited = under(own, side(Mode::None, "", "", "localhost:8080 localhost:53"));
    assert_eq!(admitted(&limited, &to, "127.0.0.1"), "127.0.0.1");
    // This is another service than the one that the ceiling names.
    assert_eq!(admitted(&limited, &format!("{HOST_NAME}:53"), "127.0.0.53"), "ceiling");
}

#[test]
fn requests_are_limited_on_both_sides() {
    let mut policy = policy_with("");
    policy.rules.allow = vec![only("api.example", &["GET"], &["/a"]), only("api.example", &["POST"], &["/b"])];
    let grant = policy.judge(&target("api.example")).unwrap();
    assert!(grant.is_restricted());
    for (method, path, allowed) in
        [("GET", "/a/x", true), ("POST", "/b", true), ("POST", "/a", false), ("GET", "/b", false)]
    {
        assert_eq!(grant.allows(method, path), allowed, "{method} {path}");
    }
    let mut limits = side(Mode::Allow, "", "", "");
    limits.allow = vec![only("*.example", &["GET"], &[])];
    let grant = under(policy.clone(), limits.clone()).judge(&target("api.example")).unwrap();
    assert!(grant.allows("GET", "/a/x") && !grant.allows("POST", "/b") && !grant.allows("GET", "/c"));
    // Whoever refuses is told; where both do, what must be changed first.
    for (method, path, reason) in
        [("POST", "/b", Reason::Ceiling), ("DELETE", "/a", Reason::Ceiling), ("GET", "/c", Reason::RequestNotAllowed)]
    {
        assert_eq!(grant.refusal(method, path), reason, "{method} {path}");
    }
    // A limit on requests holds where the project has none; a mode of `open` does not lift it.
    limits.mode = Mode::Open;
    let grant = under(policy_with("api.example"), limits).judge(&target("api.example")).unwrap();
    assert!(grant.is_restricted() && grant.allows("GET", "/c") && !grant.allows("POST", "/c"));
    // Whatever allows all of it wins over what allows a part.
    policy.rules.allow.push(Rule::parse("api.example").unwrap());
    let grant = policy.judge(&target("api.example")).unwrap();
    assert!(!grant.is_restricted() && grant.allows("DELETE", "/"));
}

/// A rule for some requests names no port for all that could be spoken there.
#[test]
fn any_protocol_is_for_ports_that_a_rule_names_without_restrictions() {
    let mut policy = policy_with("a.example b.example:443 c.example:* *.d.example");
    policy.rules.allow.push(only("a.example:443", &["GET"], &[]));
    policy.rules.allow.push(only("e.example:443", &["GET"], &[]));
    for (to, expected) in
        [("a.example", false), ("b.example", true), ("c.example", true), ("x.d.example", false), ("e.example", false)]
    {
        assert_eq!(policy.judge(&target(to)).unwrap().any_protocol, expected, "{to}");
    }
}

#[test]
fn the_nearest_allowed_thing_is_told() {
    let policy = policy_with("github.com *.example.org:443 *.nodes.example:22 10.0.0.1");
    for (to, nearest) in [
        ("github.com:22", Some("github.com on ports 80 and 443")),
        ("githib.com", Some("github.com")),
        ("api.github.com", Some("github.com")),
        ("example.org", Some("*.example.org:443")),
        ("a.example.org:80", Some("*.example.org:443")),
        ("a.nodes.example:443", Some("*.nodes.example:22")),
        ("10.0.0.1:22", Some("10.0.0.1 on ports 80 and 443")),
        ("10.0.0.2", None),
        ("unrelated.test", None),
        ("x", None),
    ] {
        assert_eq!(policy.judge(&target(to)).unwrap_err().nearest.as_deref(), nearest, "{to}");
    }
    let none = under(policy_with("githib.com"), side(Mode::Allow, "github.com", "", ""));
    assert_eq!(none.judge(&target("githib.com")).unwrap_err().nearest.as_deref(), Some("github.com"));
    // No rule allows the host by its name, whatever it says.
    let here = policy_with(&format!("{HOST_NAME}:80 * *.agentkernel.internal host.example.internal"));
    assert_eq!(here.judge(&target(&format!("{HOST_NAME}:80"))).unwrap_err().nearest, None);
    let here = policy_with(&format!("{HOST_NAME}:80"));
    assert_eq!(here.judge(&target("hosts.agentkernel.internal:80")).unwrap_err().nearest, None);
}

#[test]
fn nothing_is_nearest_that_is_refused_itself() {
    let told = |policy: &Policy, to: &str| policy.judge(&target(to)).unwrap_err().nearest;
    let denying = policy(Mode::Allow, "*.example.org example.org api.example.com", "*.example.org");
    assert_eq!(told(&denying, "www.example.org").as_deref(), Some("example.org"));
    assert_eq!(told(&denying, "api.example.net").as_deref(), Some("api.example.com"));
    let limited = under(policy_with("github.com gitlab.com"), side(Mode::Allow, "gitlab.com", "", ""));
    assert_eq!(told(&limited, "githib.com").as_deref(), Some("gitlab.com"));
    assert_eq!(told(&policy(Mode::None, "github.com", ""), "githib.com"), None);
}

#[test]
fn what_is_nearest_is_allowed_as_it_is_said() {
    let told = |policy: &Policy, to: &str| policy.judge(&target(to)).unwrap_err().nearest;
    let limits = |allow: &str| side(Mode::Allow, allow, "", "");
    let some = under(policy_with("a.example.org"), limits("a.example.org:443"));
    assert_eq!(told(&some, "aa.example.org").as_deref(), Some("a.example.org:443"));
    assert_eq!(told(&some, "a.example.org:444").as_deref(), Some("a.example.org:443"));
    assert_eq!(told(&some, "a.example.org:80").as_deref(), Some("a.example.org:443"));
    let rules = Rules { allow: vec![only("a.example.org", &[], &["/v1/"])], ..side(Mode::Allow, "", "", "") };
    let restricted = Policy { rules, ceiling: None };
    assert_eq!(told(&restricted, "aa.example.org").as_deref(), Some("a.example.org, for some requests"));
}

#[test]
fn who_could_lift_a_denial() {
    let lift = |policy: &Policy, to: &str| policy.judge(&target(to)).unwrap_err().lift;
    let denied = |rule: &str| Lift::Limits(Some(rule.to_owned()));
    let free = policy(Mode::Allow, "a.example", "no.example");
    for to in ["b.example", "no.example", "10.0.0.1:80"] {
        assert_eq!(lift(&free, to), Lift::Own, "{to}");
    }
    let limits = |mode, allow: &str, deny: &str| under(free.clone(), side(mode, allow, deny, ""));
    let open = limits(Mode::Open, "10.9.0.0/16", "*.example never.test");
    for (to, expected) in [
        ("b.test", Lift::Within),
        ("10.9.0.1", Lift::Within),
        ("10.0.0.1", Lift::Limits(None)),
        ("169.254.169.254", Lift::Limits(None)),
        ("[::ffff:10.0.0.1]:80", Lift::Limits(None)),
        // The address could be that of a name that the limits deny.
        ("8.8.8.8", Lift::Limits(None)),
        // By both sides, each with a rule of its own.
        ("no.example", denied("*.example")),
        ("never.test", denied("never.test")),
    ] {
        assert_eq!(lift(&open, to), expected, "{to}");
    }
    assert_eq!(lift(&limits(Mode::Open, "", ""), "8.8.8.8"), Lift::Within);
    let some = limits(Mode::Allow, "b.example", "");
    // What the sandbox's own rules deny is not said to be denied by the limits.
    let told = ["b.example", "c.example", "no.example"].map(|to| lift(&some, to));
    assert_eq!(told, [Lift::Within, Lift::Limits(None), Lift::Limits(None)]);
    assert_eq!(lift(&limits(Mode::None, "b.example", ""), "b.example"), Lift::Limits(None));
    // By an address that a name was found to have.
    let here = |policy: &Policy, address: &str| {
        policy.admit(&target("a.example"), &[address.parse().unwrap()], |_| false).unwrap_err().lift
    };
    let named = |allow: &str| under(policy_with("a.example"), side(Mode::Open, allow, "", ""));
    assert_eq!(here(&named(""), "10.0.0.1"), Lift::Limits(None));
    assert_eq!(here(&named("10.0.0.1"), "10.0.0.1"), Lift::Within);
    let both = under(policy(Mode::Allow, "a.example", "10.0.0.0/8"), side(Mode::Open, "", "10.0.0.1", ""));
    assert_eq!([here(&both, "10.0.0.1"), here(&free, "10.0.0.1")], [denied("10.0.0.1"), Lift::Own]);
}

/// Whoever limits to all that is public, and a host besides, does not narrow that host.
#[test]
fn limits_that_name_a_host_are_no_narrower_for_it() {
    let own = policy_with("a.example:443");
    let named = under(own.clone(), side(Mode::Open, "a.example", "", ""));
    assert!(named.judge(&target("a.example")).unwrap().any_protocol);
    let listed = under(own, side(Mode::Allow, "a.example", "", ""));
    let grant = listed.judge(&target("a.example")).unwrap();
    assert!(!grant.any_protocol && grant.web_by_limits);
}

#[test]
fn rules_are_added_live() {
    let rule = |text: &str| Rule::parse(text).unwrap();
    let policy = policy_with("a.example");
    let more = policy.allowing(rule("b.example:22"));
    assert_eq!(
        (verdict(&more, "b.example:22"), verdict(&more, "a.example")),
        ("b.example:22".into(), "a.example".into())
    );
    assert_eq!(more.allowing(rule("b.example:22")), more);
    let less = more.denying(rule("a.example"));
    assert_eq!(verdict(&less, "a.example"), "denied");
    assert_eq!(verdict(&less, "b.example:22"), "b.example:22");
    assert_eq!(less.denying(rule("a.example")), less);
    assert_eq!(verdict(&less.allowing(rule("a.example")), "a.example"), "a.example");
    // What was listed under a mode of `none` stays out of reach, wherever in the list the new rule stood.
    for text in ["a.example", "b.example", "c.example"] {
        let lifted = self::policy(Mode::None, "a.example b.example c.example", "d.example").allowing(rule(text));
        assert_eq!(lifted.rules.mode, Mode::Allow);
        assert_eq!(lifted.rules.allow, [rule(text)]);
        assert_eq!(lifted.rules.deny, [rule("d.example")]);
    }
    // A rule of the user's own limits is not lifted.
    let limited = under(policy, side(Mode::Open, "", "b.example", "")).allowing(rule("b.example"));
    assert_eq!(verdict(&limited, "b.example"), "denied");
}

/// What is not public is reached for the rule that names it.
#[test]
fn the_rule_that_names_an_address_decides() {
    for (rules, to, expected) in [
        ("* 10.0.0.0/8:80", "10.1.2.3:80", "10.0.0.0/8:80"),
        ("0.0.0.0/0:80 10.0.0.0/8:80", "10.1.2.3:80", "10.0.0.0/8:80"),
        ("* 10.0.0.0/8:80 10.1.2.3:80", "10.1.2.3:80", "10.1.2.3:80"),
        ("* nas:80", "nas:80", "nas:80"),
        ("* example.org", "example.org:80", "*"),
        ("*", "93.184.215.14:80", "*"),
    ] {
        assert_eq!(verdict(&policy(Mode::Allow, rules, ""), to), expected, "{rules}");
    }
    let namer = |rules: &str, to: &str, address: &str, own: bool| {
        let address = address.parse().unwrap();
        let policy = policy(Mode::Allow, rules, "");
        policy.namer(&target(to), address, |_| own).map(ToString::to_string)
    };
    let name = "db.example.org:5432 127.0.0.1:5432";
    assert_eq!(namer(name, "db.example.org:5432", "127.0.0.1", false).as_deref(), Some("127.0.0.1:5432"));
    assert_eq!(namer(name, "db.example.org:5432", "::ffff:127.0.0.1", false).as_deref(), Some("127.0.0.1:5432"));
    assert_eq!(namer(name, "db.example.org:5432", "93.184.215.14", false), None);
    let own = "10.0.0.0/8:80 10.1.2.3:80";
    assert_eq!(namer(own, "10.1.2.3:80", "10.1.2.3", true).as_deref(), Some("10.1.2.3:80"));
    assert_eq!(namer("* nas:80", "nas:80", "192.168.1.2", false).as_deref(), Some("nas:80"));
}

#[test]
fn a_policy_survives_being_told() {
    let mut policy = policy_with("a.example:22 *.b.example 10.0.0.0/8:* [fd00::]/8");
    policy.rules.allow.push(only("c.example", &["GET"], &["/x"]));
    policy.rules.services.push(target("localhost:1"));
    policy.ceiling = Some(side(Mode::Open, "*", "d.example", "localhost:1"));
    assert_eq!(serde_json::from_str::<Policy>(&serde_json::to_string(&policy).unwrap()).unwrap(), policy);
}

/// Names and addresses few enough that rules are about them.
fn few_hosts() -> impl Strategy<Value = Host> {
    let names = ["a.example", "b.a.example", "db.internal", "nas", "localhost", HOST_NAME];
    let inside: Vec<Host> = addresses(INSIDE).into_iter().map(Host::from).collect();
    prop_oneof![
        proptest::sample::select(names.to_vec()).prop_map(|name| Host::parse(name).unwrap()),
        proptest::sample::select(inside),
        hosts(),
    ]
}

fn few_targets() -> impl Strategy<Value = Target> {
    (few_hosts(), proptest::sample::select(&[22u16, 80, 443][..])).prop_map(|(host, port)| Target { host, port })
}

fn few_rules() -> impl Strategy<Value = Rule> {
    let texts = [
        "*",
        "*:*",
        "*.example",
        "*.internal:*",
        "10.0.0.0/8",
        "0.0.0.0/0:*",
        "[::]/0:*",
        "fc00::/7:22",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "localhost",
        "a.example:22",
        "nas",
    ];
    let plain = prop_oneof![
        proptest::sample::select(texts.to_vec()).prop_map(|text| Rule::parse(text).unwrap()).boxed(),
        few_targets().prop_map(|target| Rule::exactly(&target)).boxed(),
        rule::tests::rules().boxed(),
    ];
    (plain, any::<bool>()).prop_map(|(rule, some)| {
        let requests = Requests { methods: vec!["GET".into()], paths: Vec::new() };
        if some { rule.only(requests).unwrap() } else { rule }
    })
}

fn sides() -> impl Strategy<Value = Rules> {
    let mode = proptest::sample::select(&[Mode::None, Mode::Allow, Mode::Open][..]);
    let list = || proptest::collection::vec(few_rules(), 0..5);
    let deny = proptest::collection::vec(few_rules(), 0..2);
    (mode, list(), deny, proptest::collection::vec(few_targets(), 0..3))
        .prop_map(|(mode, allow, deny, services)| Rules { mode, allow, deny, services })
}

fn policies() -> impl Strategy<Value = Policy> {
    (sides(), proptest::option::of(sides())).prop_map(|(rules, ceiling)| Policy { rules, ceiling })
}

/// Whether whatever the second allows, the first does.
fn no_wider(wide: &Policy, narrow: &Policy, target: &Target, found: &[IpAddr]) -> Result<(), TestCaseError> {
    if let Ok(grant) = narrow.judge(target) {
        let wider = wide.judge(target);
        prop_assert!(wider.is_ok(), "{target} is allowed by {grant:?} and not before: {wider:?}");
        let wider = wider.unwrap();
        for (method, path) in [("GET", "/"), ("POST", "/x")] {
            prop_assert!(!grant.allows(method, path) || wider.allows(method, path));
        }
        prop_assert!(grant.is_restricted() || !wider.is_restricted());
    }
    if let Ok(admitted) = narrow.admit(target, found, |_| false) {
        let wider = wide.admit(target, found, |_| false).unwrap_or_default();
        prop_assert!(admitted.iter().all(|one| wider.contains(one)), "{admitted:?} and not {wider:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_rule_that_denies_never_widens(policy in policies(), rule in few_rules(), target in few_targets()) {
        let found = addresses(INSIDE);
        no_wider(&policy, &policy.denying(rule.clone()), &target, &found)?;
        let mut limited = policy.clone();
        if let Some(ceiling) = &mut limited.ceiling {
            ceiling.deny.push(rule);
        }
        no_wider(&policy, &limited, &target, &found)?;
    }

    #[test]
    fn a_ceiling_never_widens(rules in sides(), ceiling in sides(), target in few_targets(), other: IpAddr) {
        let mut found = addresses(INSIDE);
        found.push(other);
        let free = Policy { rules, ceiling: None };
        no_wider(&free, &under(free.clone(), ceiling.clone()), &target, &found)?;
        // Nor does it allow what it would not allow alone.
        let limits = Policy { rules: ceiling.clone(), ceiling: None };
        no_wider(&limits, &under(free, ceiling), &target, &found)?;
    }

    #[test]
    fn what_is_admitted_is_public_or_named(policy in policies(), target in few_targets(), other: IpAddr) {
        let mut found = addresses(INSIDE);
        found.push(other);
        if let IpAddr::V6(literal) = target.host.to_string().trim_matches(['[', ']']).parse().unwrap_or(other) {
            found.push(literal.into());
        }
        let Ok(admitted) = policy.admit(&target, &found, |_| false) else { return Ok(()) };
        prop_assert!(policy.judge(&target).is_ok());
        for one in admitted {
            let address = one.addr().ip();
            prop_assert_eq!(one.addr().port(), target.port);
            prop_assert!(found.iter().any(|found| found.to_canonical() == address));
            prop_assert!(!address.is_unspecified());
            if address::class(address) == Class::Public {
                continue;
            }
            for rules in [Some(&policy.rules), policy.ceiling.as_ref()].into_iter().flatten() {
                let here = target.host.name() == Some(HOST_NAME);
                let service = rules.services.iter().any(|service| service.port == target.port && (service.host == target.host || here));
                let named = rules.allow.iter().any(|rule| match &rule.pattern {
                    Pattern::Any => false,
                    Pattern::Network(..) => rule.ports.contains(target.port) && rule.pattern.contains(address),
                    _ => rule.matches(&target) || rule.ports.contains(target.port) && rule.pattern.contains(address),
                });
                prop_assert!(service || named, "{address} for {target} by {rules:?}");
            }
        }
    }

    #[test]
    fn what_is_denied_is_not_dialled(policy in policies(), target in few_targets(), other: IpAddr) {
        let mut found = addresses(INSIDE);
        found.push(other);
        for one in policy.admit(&target, &found, |_| false).unwrap_or_default() {
            let literal = Target { host: one.addr().ip().into(), port: target.port };
            for rules in [Some(&policy.rules), policy.ceiling.as_ref()].into_iter().flatten() {
                prop_assert!(!rules.deny.iter().any(|rule| rule.matches(&target) || rule.matches(&literal)));
            }
        }
    }

    #[test]
    fn allowing_and_denying_do_what_they_say(policy in policies(), target in few_targets()) {
        let rule = Rule::exactly(&target);
        prop_assert_eq!(policy.denying(rule.clone()).judge(&target).unwrap_err().reason, Reason::Denied);
        let allowed = policy.allowing(rule.clone());
        prop_assert!(allowed.rules.allow.contains(&rule) && !allowed.rules.deny.contains(&rule));
        prop_assert_ne!(allowed.rules.mode, Mode::None);
        if policy.rules.mode == Mode::None {
            prop_assert_eq!(allowed.rules.allow, [rule]);
        }
    }
}

#[test]
fn this_machine_by_its_public_address_must_be_named_as_well() {
    let own = |address: IpAddr| address == IpAddr::from([93, 184, 215, 14]);
    let target = Target::parse("example.org:443", None).unwrap();
    let address = [IpAddr::from([93, 184, 215, 14])];
    let policy = |rules: &[&str]| Policy {
        rules: Rules {
            mode: Mode::Open,
            allow: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            ..Rules::default()
        },
        ceiling: None,
    };
    assert_eq!(policy(&[]).admit(&target, &address, |_| false).unwrap().len(), 1);
    for rules in [&[][..], &["*"], &["example.org"]] {
        let denial = policy(rules).admit(&target, &address, own).unwrap_err();
        assert_eq!(denial.reason, Reason::PrivateAddress, "{rules:?}");
        assert!(denial.cause().contains("93.184.215.14 is an address of this machine"), "{}", denial.cause());
    }
    assert_eq!(policy(&["93.184.215.14"]).admit(&target, &address, own).unwrap().len(), 1);
}

#[test]
fn a_service_is_read_where_the_users_limits_restrict_requests() {
    let restricted = Rule::parse("api.example.org").unwrap();
    let requests = Requests { methods: vec!["GET".into()], paths: vec!["/v1/".into()] };
    let ceiling = Rules { mode: Mode::Allow, allow: vec![restricted.only(requests).unwrap()], ..Rules::default() };
    let project = Policy { rules: side(Mode::None, "", "", "api.example.org:443"), ceiling: Some(ceiling) };
    let grant = project.judge(&target("api.example.org:443")).unwrap();
    assert!(grant.service && grant.is_restricted() && !grant.allows("DELETE", "/admin"));
    // What the limits hold to the protocols of the web is held to them as a service too.
    let web = under(project, side(Mode::Allow, "api.example.org", "", ""));
    assert!(!web.judge(&target("api.example.org:443")).unwrap().any_protocol);
}

#[test]
fn a_network_does_not_name_this_machine_in_it() {
    let own = |address: IpAddr| address == IpAddr::from([10, 1, 2, 3]);
    let address = [IpAddr::from([10, 1, 2, 3])];
    let judged = |rule: &str| policy(Mode::Allow, rule, "").admit(&target("10.1.2.3:8080"), &address, own).is_ok();
    assert!(!judged("10.0.0.0/8:8080"));
    assert!(judged("10.1.2.3:8080"));
}

#[test]
fn names_matter_where_some_are_denied_or_restricted() {
    // An address that no rule names could be theirs, whatever is spoken there.
    let unnamed = |policy: &Policy| match policy.judge(&target("93.184.215.15:8080")) {
        Err(denial) => denial.reason == Reason::UnnamedAddress,
        Ok(grant) => grant.named,
    };
    assert!(policy(Mode::Open, "a.example.org", "10.0.0.0/8").judge(&target("93.184.215.15:8080")).is_ok());
    assert!(unnamed(&policy(Mode::Open, "", "a.example.org")));
    assert!(unnamed(&policy(Mode::Open, "", "*.example.org")));
    assert!(unnamed(&policy(Mode::Allow, "*:8080", "a.example.org")));
    let limited = under(policy(Mode::Open, "93.184.215.15:8080", ""), side(Mode::Open, "", "a.example.org", ""));
    assert_eq!(limited.judge(&target("93.184.215.15:8080")).unwrap_err().reason, Reason::Ceiling);
    assert!(policy(Mode::Open, "93.184.215.15:8080", "a.example.org").judge(&target("93.184.215.15:8080")).is_ok());
    assert!(policy(Mode::Open, "", "a.example.org").judge(&target("b.example.org:8080")).is_ok());
    assert!(!policy(Mode::Open, "", "").judge(&target("93.184.215.15:443")).unwrap().named);
    assert!(!policy(Mode::Allow, "*", "").judge(&target("93.184.215.15:443")).unwrap().named);
    assert!(policy(Mode::Open, "93.184.215.15", "").judge(&target("93.184.215.15:443")).unwrap().named);
}

#[test]
fn what_was_let_through_goes_on_under_no_less() {
    let grant = |rules: Rules| (Policy { rules, ceiling: None }).judge(&target("a.org:443")).unwrap();
    let requests = |method: &str| Requests { methods: vec![method.to_owned()], ..Requests::default() };
    let restricted = |method| {
        let mut rules = side(Mode::Allow, "a.org:443", "", "");
        rules.allow[0].requests = requests(method);
        grant(rules)
    };
    let free = || grant(side(Mode::Allow, "a.org:443", "", ""));
    let web = grant(side(Mode::Allow, "a.org", "", ""));
    let service = grant(side(Mode::Allow, "", "", "a.org:443"));
    assert!(free().covers(&free()) && free().covers(&web) && free().covers(&restricted("GET")));
    assert!(restricted("GET").covers(&restricted("GET")));
    for (now, before) in
        [(restricted("GET"), free()), (restricted("GET"), restricted("POST")), (web.clone(), free()), (free(), service)]
    {
        assert!(!now.covers(&before), "{now:?} {before:?}");
    }
}

#[test]
fn limits_that_leave_no_request() {
    let only = |path: &str| {
        let mut rules = side(Mode::Allow, "a.org", "", "");
        rules.allow[0].requests = Requests { paths: vec![path.to_owned()], ..Requests::default() };
        rules
    };
    let grant = |own, limits| under(Policy { rules: own, ceiling: None }, limits).judge(&target("a.org")).unwrap();
    assert!(grant(only("/v2"), only("/v1/")).is_void());
    let plain = || side(Mode::Allow, "a.org", "", "");
    for grant in [grant(only("/v1/x"), only("/v1/")), grant(plain(), only("/v1/")), grant(only("/v1/"), plain())] {
        assert!(!grant.is_void(), "{grant:?}");
    }
}
