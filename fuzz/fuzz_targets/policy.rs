//! A policy, a target and the addresses that it was found to have: what is admitted is allowed, not denied, and public or
//! named; a rule that denies and a ceiling never widen.
#![no_main]

use egress::{
    CheckedAddr, Grant, HOST_NAME, Host, Mode, Pattern, Policy, Requests, Rule, Rules, Target,
    address::{Class, class},
};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

/// Lines of a word and what it is about; `limit` before a word is about the ceiling.
#[derive(Default)]
struct Case {
    policy: Policy,
    deny: Vec<Rule>,
    limits: Option<Rules>,
    targets: Vec<Target>,
    found: Vec<IpAddr>,
    own: Vec<IpAddr>,
}

impl Case {
    fn read(text: &str) -> Self {
        let mut case = Self::default();
        for line in text.lines().take(64) {
            let (limits, line) = match line.strip_prefix("limit ") {
                Some(line) => (true, line),
                None => (false, line),
            };
            let Some((word, value)) = line.split_once(' ') else { continue };
            let rules = if limits { case.limits.get_or_insert_default() } else { &mut case.policy.rules };
            match word {
                "mode" => match value {
                    "allow" => rules.mode = Mode::Allow,
                    "open" => rules.mode = Mode::Open,
                    _ => rules.mode = Mode::None,
                },
                "allow" => rules.allow.extend(value.parse::<Rule>()),
                "get" => {
                    let requests = Requests { methods: vec!["GET".to_owned()], paths: vec!["/a/".to_owned()] };
                    rules.allow.extend(value.parse::<Rule>().and_then(|rule| rule.only(requests)));
                }
                "deny" => rules.deny.extend(value.parse::<Rule>()),
                "service" => rules.services.extend(Target::parse(value, Some(80))),
                "more" => case.deny.extend(value.parse::<Rule>()),
                "to" => case.targets.extend(Target::parse(value, Some(443))),
                "at" => case.found.extend(value.parse::<IpAddr>()),
                "own" => case.own.extend(value.parse::<IpAddr>()),
                _ => {}
            }
        }
        case
    }
}

fn admit(policy: &Policy, target: &Target, case: &Case) -> Vec<CheckedAddr> {
    policy.admit(target, &case.found, |address| case.own.contains(&address)).unwrap_or_default()
}

fn sides(policy: &Policy) -> impl Iterator<Item = &Rules> {
    [Some(&policy.rules), policy.ceiling.as_ref()].into_iter().flatten()
}

/// Whatever the second allows, the first allows.
fn no_wider(wide: &Policy, narrow: &Policy, target: &Target, case: &Case) {
    let Ok(grant) = narrow.judge(target) else { return };
    let wider: Grant = wide.judge(target).expect("it was not allowed before");
    assert!(grant.is_restricted() || !wider.is_restricted());
    for (method, path) in [("GET", "/a/b"), ("GET", "/"), ("POST", "/a/b")] {
        assert!(!grant.allows(method, path) || wider.allows(method, path));
    }
    let wider = admit(wide, target, case);
    assert!(admit(narrow, target, case).iter().all(|one| wider.contains(one)));
}

fn check(policy: &Policy, target: &Target, case: &Case) {
    for one in admit(policy, target, case) {
        let address = one.addr().ip();
        assert_eq!(one.addr().port(), target.port);
        assert!(case.found.iter().any(|found| found.to_canonical() == address));
        assert!(!address.is_unspecified() && policy.judge(target).is_ok());
        let literal = Target { host: Host::from(address), port: target.port };
        let public = class(address) == Class::Public && !case.own.contains(&address);
        for rules in sides(policy) {
            assert!(!rules.deny.iter().any(|rule| rule.matches(target) || rule.matches(&literal)));
            let here = target.host.name() == Some(HOST_NAME);
            let mut services = rules.services.iter().filter(|service| service.port == target.port);
            let named = |rule: &Rule| match rule.pattern {
                Pattern::Any => false,
                Pattern::Network(..) => rule.matches(&literal),
                _ => rule.matches(target) || rule.matches(&literal),
            };
            assert!(
                public || services.any(|service| here || service.host == target.host) || rules.allow.iter().any(named)
            );
        }
    }
}

fuzz_target!(|text: &str| {
    let case = Case::read(text);
    let limited = Policy { ceiling: case.limits.clone(), ..case.policy.clone() };
    let json = serde_json::to_string(&limited).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), limited);
    for target in &case.targets {
        check(&case.policy, target, &case);
        check(&limited, target, &case);
        no_wider(&case.policy, &limited, target, &case);
        for rule in &case.deny {
            no_wider(&limited, &limited.denying(rule.clone()), target, &case);
            let mut denied = limited.clone();
            if let Some(ceiling) = &mut denied.ceiling {
                ceiling.deny.push(rule.clone());
                no_wider(&limited, &denied, target, &case);
            }
        }
        // Words about a refusal fit on lines of their own.
        if let Err(denial) = limited.judge(target) {
            assert!(denial.words("box").lines().count() <= 3);
        }
        let rule = Rule::exactly(target);
        assert!(case.policy.denying(rule.clone()).judge(target).is_err());
        assert!(case.policy.allowing(rule.clone()).rules.allow.contains(&rule));
    }
});
