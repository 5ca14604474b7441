use super::*;
use crate::config::{parse_published, parse_rule, parse_service};

fn error(overrides: NetworkOverrides) -> (String, String) {
    let error = overrides.resolve().unwrap_err();
    (error.to_string(), error.hint())
}

fn mode(overrides: NetworkOverrides) -> Mode {
    overrides.resolve().unwrap().policy.rules.mode
}

#[test]
fn nothing_is_reached_unless_it_is_said() {
    assert_eq!(NetworkOverrides::default().resolve().unwrap(), Network::default());
    let deny = vec![parse_rule("example.org").unwrap()];
    assert_eq!(mode(NetworkOverrides { deny, ..NetworkOverrides::default() }), Mode::None);
}

#[test]
fn what_is_allowed_says_the_mode() {
    let allow = vec![parse_rule("example.org").unwrap()];
    let services = vec![parse_service("localhost:5432").unwrap()];
    assert_eq!(mode(NetworkOverrides { allow: allow.clone(), ..NetworkOverrides::default() }), Mode::Allow);
    assert_eq!(mode(NetworkOverrides { services: services.clone(), ..NetworkOverrides::default() }), Mode::Allow);
    let open = NetworkOverrides { mode: Some(Mode::Open), allow: allow.clone(), ..NetworkOverrides::default() };
    assert_eq!(mode(open), Mode::Open);

    let none = NetworkOverrides { mode: Some(Mode::None), allow, ..NetworkOverrides::default() };
    let (cause, hint) = error(none);
    assert_eq!(cause, "`--allow example.org` has no use with `--net none`");
    assert!(hint.starts_with("Leave out `--net none`"), "{hint}");
    let none = NetworkOverrides { mode: Some(Mode::None), services, ..NetworkOverrides::default() };
    assert_eq!(error(none).0, "`--open localhost:5432` has no use with `--net none`");
}

#[test]
fn a_port_of_the_host_leads_to_one_of_the_sandbox() {
    let ports = |texts: &[&str]| {
        let ports = texts.iter().map(|text| parse_published(text).unwrap()).collect();
        NetworkOverrides { ports, ..NetworkOverrides::default() }
    };
    assert_eq!(ports(&["3000:8080", "3000", "3000"]).resolve().unwrap().ports.len(), 2);
    let (cause, hint) = error(ports(&["3000:8080", "4000:8080"]));
    assert_eq!(cause, "Ports 3000 and 4000 of the sandbox on one of the host, 8080");
    assert!(hint.contains("-p 4000:PORT"), "{hint}");
}
