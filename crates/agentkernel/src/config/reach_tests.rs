use super::*;
use crate::config::{parse_rule, parse_service};
use proptest::prelude::*;

fn rules(mode: Mode, allow: &[&str], deny: &[&str], services: &[&str]) -> Rules {
    let parse = |texts: &[&str]| texts.iter().map(|text| restricted(text)).collect();
    let services = services.iter().map(|text| parse_service(text).unwrap()).collect();
    Rules { mode, allow: parse(allow), deny: parse(deny), services }
}

/// `GET HOST` is restricted.
fn restricted(text: &str) -> Rule {
    let requests = |method: &str| Requests { methods: vec![method.into()], paths: Vec::new() };
    match text.split_once(' ') {
        Some((method, host)) => parse_rule(host).unwrap().only(requests(method)).unwrap(),
        None => parse_rule(text).unwrap(),
    }
}

#[test]
fn rules_for_what_never_leaves_the_sandbox() {
    let void = |mode, allow: &[&str]| {
        let allow = allow.iter().map(|text| parse_rule(text).unwrap()).collect();
        let rules = Rules { mode, allow, ..Rules::default() };
        void_rules(&rules).into_iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for rule in ["127.0.0.1:80", "localhost", "*.localhost:*", "127.0.0.0/8:22", "[::1]:80", "app.localhost:3000"] {
        assert_eq!(void(Mode::Allow, &[rule, "example.org:7000"]), [rule]);
    }
    for rule in ["host.agentkernel.internal:11434", "Host.agentkernel.internal"] {
        let shown = rule.to_ascii_lowercase();
        assert_eq!(void(Mode::Allow, &[rule, "example.org:7000"]), [shown.as_str()]);
        assert_eq!(void(Mode::Open, &[rule]), [shown]);
    }
    for rule in ["255.255.255.255:9", "224.0.0.1", "239.0.0.0/8:*", "224.0.0.0/4", "[ff02::1]:80", "[ff00::]/8"] {
        assert_eq!(void(Mode::Allow, &[rule, "example.org:9"]), [rule]);
        assert_eq!(void(Mode::Open, &[rule]), [rule]);
    }
    for rule in ["*", "10.0.0.0/8", "0.0.0.0/0", "localhost.example.org", "128.0.0.1", "240.0.0.0/4", "[f000::]/4"] {
        assert!(void(Mode::Allow, &[rule]).is_empty(), "{rule}");
    }
    // A name can lead there, and then the address must be named.
    assert!(void(Mode::Allow, &["127.0.0.1:80", "app.example.org"]).is_empty());
    assert!(void(Mode::Open, &["127.0.0.1:80"]).is_empty());
    assert_eq!(void(Mode::Allow, &["127.0.0.1:81", "app.example.org"]), ["127.0.0.1:81"]);
    assert_eq!(void(Mode::Open, &["localhost:80"]), ["localhost:80"]);
    assert_eq!(void(Mode::Allow, &["127.0.0.1:80", "host.agentkernel.internal"]).len(), 2);
}

/// A service by the same name makes the rule one of its requests.
#[test]
fn a_rule_for_a_service_of_the_host_is_not_void() {
    let rules = |service| rules(Mode::Allow, &["GET host.agentkernel.internal:11434"], &[], &[service]);
    assert!(void_rules(&rules("localhost:11434")).is_empty());
    assert_eq!(void_rules(&rules("localhost:11435")).len(), 1);
    assert_eq!(void_rules(&rules("db.internal:11434")).len(), 1);
}

#[test]
fn what_limits_leave_of_a_rule() {
    let open = |deny: &[&str]| rules(Mode::Open, &[], deny, &[]);
    let allow = |allow: &[&str]| rules(Mode::Allow, allow, &[], &[]);
    let name = "b.test-two.com";
    for (limits, all, part, nothing) in [
        (
            open(&[name]),
            &["a.b", "a.b:*", "*.test-one.com"][..],
            &["*", "*:*", "*.test-two.com"][..],
            // Addresses could be those of the name.
            &[name, "b.test-two.com:22", "93.184.215.16", "93.184.215.0/24", "0.0.0.0/0", "10.0.0.1"][..],
        ),
        (open(&["b.test-two.com:22"]), &[name], &["b.test-two.com:*", "b.test-two.com:20-22"], &["b.test-two.com:22"]),
        (open(&["8.8.0.0/16"]), &["*.b:1", "9.9.9.9"], &["*", "8.0.0.0/8"], &["8.8.8.8", "8.8.1.0/24:5", "10.0.0.1"]),
        (open(&["8.8.0.0/17", "8.8.128.0/17"]), &["8.9.0.0/16"], &["8.8.0.0/15"], &["8.8.0.0/16", "8.8.7.0/24:1"]),
        (allow(&["10.0.0.0/9", "10.128.0.0/9"]), &["10.0.0.0/8", "10.64.0.0/10"], &["10.0.0.0/8:*"], &["11.0.0.0/8"]),
        (open(&["8.8.8.8"]), &["[64:ff9b::9.9.9.9]"], &["8.8.8.0/24"], &["[64:ff9b::8.8.8.8]:5"]),
        (open(&[]), &["*:*", "8.8.8.8", "0.0.0.0/0:*", "2000::/3"], &[], &["10.0.0.1", "127.0.0.1", "fd00::/8"]),
        (allow(&["*"]), &["*", "a.b", "8.8.8.8:443"], &["*:*", "a.b:*"], &["10.0.0.1", "169.254.169.254", "a.b:22"]),
        (allow(&["*", "GET b.test-two.com"]), &["a.b", name], &["*"], &["93.184.215.16"]),
        (allow(&["*", "93.184.215.0/24", "GET b.test-two.com"]), &["93.184.215.16"], &["93.184.0.0/16"], &["8.8.8.8"]),
        (allow(&["a.test-one.com"]), &["a.test-one.com:80"], &["a.test-one.com:*", "*", "*.com"], &["test-one.com"]),
        (allow(&["a.b:443", "*.b:80"]), &["a.b"], &["c.b", "*.b"], &["c.b:443", "b"]),
        (allow(&["GET b.test-two.com"]), &[], &[name, "*", "b.test-two.com:443"], &["93.184.215.16", "a.b"]),
        (rules(Mode::Open, &["GET a.b"], &[], &[]), &["a.b:22", "b.b"], &["a.b", "*"], &["8.8.8.8"]),
        (allow(&["10.1.0.0/16:*"]), &["10.1.1.0/24:22"], &["10.0.0.0/8"], &["10.0.0.0/7", "0.0.0.0/0", "*.b"]),
        (
            rules(Mode::None, &["a.b"], &[], &["a.b:22", "localhost:1"]),
            &["a.b:22", "localhost:1"],
            &["a.b:*"],
            &["a.b"],
        ),
    ] {
        for (texts, expected) in [(all, "All"), (part, "Part"), (nothing, "Nothing")] {
            for text in texts {
                let found = format!("{:?}", left(&limits, &parse_rule(text).unwrap()));
                assert!(found.starts_with(expected), "{text} is left as {found} by {limits:?}");
            }
        }
    }
}

#[test]
fn why_something_is_not_left() {
    let limits = rules(Mode::Open, &["GET api.example.org", "PUT api.example.org"], &["*.example.org:22"], &[]);
    for (text, expected) in [
        ("a.example.org:22", "all of it, for '*.example.org:22' denies it"),
        ("a.example.org:*", "a part, for '*.example.org:22' denies it"),
        ("9.9.9.9", "all of it, for an address must be named, which could be one of '*.example.org:22'"),
        ("10.0.0.0/8", "all of it, for a private address must be named"),
        ("api.example.org", "a part, for of requests there are only GET on every path; PUT on every path"),
        ("a.example.org", "nothing"),
    ] {
        let found = match left(&limits, &parse_rule(text).unwrap()) {
            Left::All => "nothing".to_owned(),
            Left::Part(why) => format!("a part, for {why}"),
            Left::Nothing(why) => format!("all of it, for {why}"),
        };
        assert_eq!(found, expected, "{text}");
    }
    // That nothing else is allowed tells more than that one of these is denied.
    let limits = rules(Mode::Allow, &["*.example.org"], &["b.example.org"], &[]);
    for rule in [everything(), restricted("*"), restricted("*.org"), restricted("*.example.org:*")] {
        assert_eq!(left(&limits, &rule), Left::Part(Why::NotAllowed), "{rule}");
    }
    let denied = Why::Denied(restricted("b.example.org"));
    assert_eq!(left(&limits, &restricted("*.example.org")), Left::Part(denied.clone()));
    assert_eq!(left(&limits, &restricted("b.example.org")), Left::Nothing(denied));
    let limits = rules(Mode::Allow, &["*", "GET a.b"], &[], &[]);
    assert_eq!(left(&limits, &restricted("*")), Left::Part(Why::Unnamed(restricted("GET a.b"))));
    assert_eq!(left(&limits, &restricted("a.b:22")), Left::Nothing(Why::NotAllowed));
    assert_eq!(left(&limits, &restricted("a.b:*")), Left::Part(Why::NotAllowed));
}

/// What is told beforehand is what is judged later.
#[test]
fn what_is_left_is_what_the_policy_allows() {
    let names = ["a.b", "c.b", "b.b", "8.8.8.8", "8.8.4.4", "10.0.0.1", "10.1.0.1"];
    let sides: Vec<Rules> = [Mode::None, Mode::Allow, Mode::Open]
        .into_iter()
        .flat_map(|mode| {
            [&[][..], &["*"], &["a.b"], &["GET a.b"], &["*", "GET *.b"], &["8.8.0.0/16:*"], &["10.0.0.0/8:*", "*:22"]]
                .into_iter()
                .flat_map(move |allow| {
                    [&[][..], &["a.b"], &["*.b:22"], &["8.8.8.8"], &["*:443"]]
                        .map(move |deny| rules(mode, allow, deny, &["10.1.0.1:22"]))
                })
        })
        .collect();
    for limits in sides {
        for text in ["a.b", "a.b:22", "*.b:*", "*", "*:22", "8.8.8.8", "8.8.0.0/16:*", "10.0.0.1", "10.0.0.0/8:22"] {
            let rule = parse_rule(text).unwrap();
            let own = Rules { mode: Mode::Allow, allow: vec![rule.clone()], ..Rules::default() };
            let alone = egress::Policy { rules: own.clone(), ceiling: None };
            let both = egress::Policy { rules: own, ceiling: Some(limits.clone()) };
            let reached = |policy: &egress::Policy, target: &Target| {
                let grant = policy.judge(target).ok()?;
                let addresses = match target.host {
                    Host::Address(address) => vec![address],
                    Host::Name(_) => vec![[9, 9, 9, 9].into()],
                };
                policy.admit(target, &addresses, |_| false).ok()?;
                Some(grant.is_restricted())
            };
            let targets = names
                .iter()
                .flat_map(|name| [22, 80, 443, 8080].map(|port| Target { host: Host::parse(name).unwrap(), port }));
            let of_it: Vec<_> = targets.filter(|target| reached(&alone, target).is_some()).collect();
            let through: Vec<_> = of_it.iter().filter_map(|target| reached(&both, target)).collect();
            let found = left(&limits, &rule);
            match found {
                Left::All => assert!(through.len() == of_it.len() && !through.contains(&true), "{text} {limits:?}"),
                Left::Part(_) => {}
                Left::Nothing(_) => assert!(through.is_empty(), "{text} {limits:?}"),
            }
            // Of these few nothing may be left though something was of others; of one host alone it is exact.
            if let (Pattern::Host(_), Ports::Web | Ports::Range(22, 22)) = (&rule.pattern, rule.ports) {
                let every = through.len() == of_it.len() && !through.contains(&true);
                let expected = if through.is_empty() {
                    "Nothing"
                } else if every {
                    "All"
                } else {
                    "Part"
                };
                assert!(format!("{found:?}").starts_with(expected), "{text} {found:?} {limits:?}");
            }
        }
    }
}

/// Rules as people write them, which may be about the host, the sandbox itself, or neither.
fn spellings() -> impl Strategy<Value = Rule> {
    let hosts = [
        "host.agentkernel.internal",
        "Host.AgentKernel.Internal.",
        "localhost",
        "LOCALHOST",
        "app.localhost",
        "*.localhost",
        "127.0.0.1",
        "127.0.0.0/8",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "224.0.0.1",
        "www.example.com",
        "*.example.com",
        "10.0.0.0/8",
    ];
    let ports = ["", ":80", ":5432", ":1-1024", ":*"];
    (proptest::sample::select(hosts.to_vec()), proptest::sample::select(ports.to_vec()))
        .prop_map(|(host, ports)| parse_rule(&format!("{host}{ports}")).unwrap())
}

proptest! {
    /// Whatever is denied can be taken back by its own words.
    #[test]
    fn a_rule_that_is_denied_and_allowed_is_as_it_was(
        mode in proptest::sample::select(vec![Mode::None, Mode::Allow, Mode::Open]),
        allow in proptest::collection::vec(spellings(), 0..3),
        served: bool,
        rule in spellings(),
    ) {
        let services = if served { vec![parse_service("localhost:5432").unwrap()] } else { Vec::new() };
        let deny = vec![parse_rule("bad.example.org").unwrap()];
        let rules = Rules { mode, allow, deny, services };
        let before = Policy { rules, ceiling: None };
        let denied = before.denying(rule.clone());
        prop_assert!(denied.rules.deny.contains(&rule));
        let after = match is_void(&denied, &rule) {
            true => denied.undenying(rule.clone()),
            false => denied.allowing(rule.clone()),
        };
        prop_assert_eq!(&after.rules.deny, &before.rules.deny);
        let others = |policy: &Policy| policy.rules.allow.iter().filter(|allowed| **allowed != rule).cloned().collect::<Vec<_>>();
        if is_void(&denied, &rule) {
            prop_assert_eq!(after.rules.mode, mode);
            prop_assert_eq!(others(&after), others(&before));
        } else if mode != Mode::None {
            prop_assert!(after.rules.allow.contains(&rule));
            prop_assert_eq!(others(&after), others(&before));
        }
    }
}

#[test]
fn what_a_rule_regains_that_denied_more_than_it_allows() {
    let policy =
        |own: Rules, limits: &[&str]| Policy { rules: own, ceiling: Some(rules(Mode::Allow, limits, &[], &[])) };
    let open = || rules(Mode::Open, &[], &["www.example.com"], &[]);
    let regains = |policy: &Policy, rule: &str| regains(policy, &parse_rule(rule).unwrap());
    assert!(regains(&policy(open(), &["www.example.com:8443"]), "www.example.com"));
    assert!(regains(&policy(open(), &["*:8443"]), "www.example.com"));
    assert!(!regains(&policy(open(), &["www.example.org:8443"]), "www.example.com"));
    assert!(!regains(&policy(open(), &["www.example.com:8443"]), "www.example.com:443"));
    let listed = |allow| rules(Mode::Allow, &[allow], &["www.example.com"], &[]);
    assert!(regains(&policy(listed("*.example.com:8443"), &["*:8443"]), "www.example.com"));
    assert!(!regains(&policy(listed("*.example.com"), &["www.example.com:8443"]), "www.example.com"));
}

/// By its own names the host is no part of everything.
#[test]
fn services_of_the_host_are_no_part_of_every_host() {
    let limits = |services: &[&str]| rules(Mode::None, &[], &[], services);
    assert_eq!(left(&limits(&["localhost:5432"]), &everything()), Left::Nothing(Why::NotAllowed));
    assert!(matches!(left(&limits(&["db.internal:5432"]), &everything()), Left::Part(_)));
    assert_eq!(left(&limits(&["localhost:5432"]), &parse_rule("localhost:5432").unwrap()), Left::All);
}
