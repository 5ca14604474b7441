//! Hosts, targets, patterns and rules as a user, a project or a sandbox writes them: no panic, and whatever is read is
//! written in one way, which means the same.
#![no_main]

use egress::{Host, Pattern, Rule, Target};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

fuzz_target!(|text: &str| {
    if let Ok(host) = Host::parse(text) {
        let shown = host.to_string();
        assert_eq!(Host::parse(&shown), Ok(host.clone()));
        assert!(shown.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
        match &host {
            Host::Name(name) => {
                // No program takes it for an address (inet_aton(3), the URL standard) or an option.
                let last = name.rsplit('.').next().unwrap();
                assert!(!last.bytes().all(|byte| byte.is_ascii_digit()));
                assert!(last.strip_prefix("0x").is_none_or(|rest| !rest.bytes().all(|byte| byte.is_ascii_hexdigit())));
                assert!(name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len())));
                assert!(!name.starts_with('-'));
            }
            Host::Address(address) => assert_eq!(address.to_canonical(), *address),
        }
        let json = serde_json::to_string(&host).unwrap();
        assert_eq!(serde_json::from_str::<Host>(&json).unwrap(), host);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        assert_eq!(Host::parse(text), Ok(Host::from(address)));
    }
    if let Ok(target) = Target::parse(text, None) {
        assert_ne!(target.port, 0);
        assert_eq!(Target::parse(&target.to_string(), None), Ok(target.clone()));
        let rule = Rule::exactly(&target);
        assert!(rule.matches(&target) && rule.denies(&target));
        assert_eq!(Rule::parse(&rule.to_string()), Ok(rule));
    }
    if let Ok(pattern) = Pattern::parse(text) {
        assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
    }
    match Rule::parse(text) {
        Ok(rule) => {
            assert_eq!(Rule::parse(&rule.to_string()), Ok(rule.clone()));
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
        }
        // One line, whatever was written.
        Err(error) => assert!(!error.to_string().contains(char::is_control)),
    }
});
