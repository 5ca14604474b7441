use super::{super::identity::tests::host as facts, *};
use crate::config::{ProjectFile, parse_rule, parse_service};

const FILE: &str = "[network]
allow = ['*.example.org', 'example.org:22', { host = 'api.example.net', methods = ['GET'] }]
deny = ['bad.example.org:*',
  '10.9.0.0/16:*']
host_services = ['localhost:5432']
[secrets]
KEY = ['api.example.net']";

fn of(project: &str, user: &str, flags: NetworkOverrides, target: &str) -> Check {
    let path = PathBuf::from("/srv/app/agentkernel.toml");
    let mut file = ProjectFile::parse(path, project.into()).unwrap();
    file.trusted = true;
    let project = Project { dir: "/srv/app".into(), file: Some(file) };
    let user = UserConfig::parse("/home/ann/config.toml".into(), user).unwrap();
    check(flags, &project, &user, &facts(1000), Target::parse(target, Some(443)).unwrap()).unwrap()
}

/// The verdict, the rule and who made it.
fn told(check: &Check) -> String {
    let verdict = check.verdict.as_ref().map_or_else(|denial| denial.reason.code(), |_| "allowed");
    let limit =
        check.limit.as_ref().map_or(String::new(), |limit| format!(", within {} by {}", limit.rule, limit.origin));
    format!("{verdict}: {} by {}{limit}", check.decision.rule, check.decision.origin)
}

#[test]
fn the_rule_that_decides_and_who_made_it() {
    let own = "/srv/app/agentkernel.toml";
    let flags = || NetworkOverrides {
        allow: vec![parse_rule("flag.example.net").unwrap()],
        deny: vec![parse_rule("denied.example.org").unwrap()],
        services: vec![parse_service("localhost:6379").unwrap()],
        ..NetworkOverrides::default()
    };
    for (target, expected) in [
        ("www.example.org", format!("allowed: *.example.org by {own}:2")),
        ("example.org:22", format!("allowed: example.org:22 by {own}:2")),
        ("api.example.net", format!("allowed: api.example.net by {own}:2")),
        ("flag.example.net", "allowed: flag.example.net by a flag".into()),
        ("host.agentkernel.internal:5432", format!("allowed: service localhost:5432 by {own}:5")),
        ("localhost:6379", "allowed: service localhost:6379 by a flag".into()),
        ("bad.example.org:25", format!("denied: bad.example.org:* by {own}:3")),
        ("denied.example.org", "denied: denied.example.org by a flag".into()),
        ("example.com", "not-allowed: mode allow by a flag".into()),
    ] {
        assert_eq!(told(&of(FILE, "", flags(), target)), expected, "{target}");
    }
    let none = NetworkOverrides::default;
    assert_eq!(told(&of("", "", none(), "a.b")), "network-none: mode none by the default");
    assert_eq!(told(&of("[network]\nmode='none'", "", none(), "a.b")), format!("network-none: mode none by {own}:2"));
    assert_eq!(told(&of("[network]\nmode='open'", "", none(), "a.b")), format!("allowed: mode open by {own}:2"));
    assert_eq!(told(&of(FILE, "", none(), "a.b")), format!("not-allowed: mode allow by {own}:2"));
}

#[test]
fn limits_decide_too() {
    let limits = "/home/ann/config.toml";
    let user = "[network]\nmode = 'allow'\nallow = ['*.example.org']\ndeny = ['no.example.org']";
    let of = |target| told(&of(FILE, user, NetworkOverrides::default(), target));
    assert_eq!(
        of("www.example.org"),
        format!(
            "allowed: *.example.org by /srv/app/agentkernel.toml:2, within *.example.org by your own limits, {limits}:3"
        )
    );
    assert_eq!(of("no.example.org"), format!("denied: no.example.org by your own limits, {limits}:4"));
    assert_eq!(of("api.example.net"), format!("ceiling: mode allow by your own limits, {limits}:2"));
    assert_eq!(of("example.com"), "not-allowed: mode allow by /srv/app/agentkernel.toml:2");
    let open =
        super::tests::of("[network]\nmode='open'", "[network]\ndeny=['a.b']", NetworkOverrides::default(), "c.d");
    assert_eq!(open.limit.as_ref().map(|limit| limit.origin.to_string()), Some(format!("your own limits, {limits}")));
}

#[test]
fn addresses_are_judged_as_well() {
    let check = of(FILE, "", NetworkOverrides::default(), "www.example.org");
    let admit = |address: &str| check.admit(&[address.parse().unwrap()]);
    assert!(admit("93.184.216.34").is_ok());
    let private = admit("10.0.0.1").unwrap_err();
    assert_eq!((private.reason, check.denied(&private).rule.as_str()), (Reason::PrivateAddress, "mode allow"));
    let denied = admit("10.9.0.1").unwrap_err();
    let decision = check.denied(&denied);
    assert_eq!((denied.reason, decision.rule.as_str()), (Reason::Denied, "10.9.0.0/16:*"));
    assert_eq!(decision.origin, Origin::Project("/srv/app/agentkernel.toml".into(), 4));
    let service = of(FILE, "", NetworkOverrides::default(), "host.agentkernel.internal:5432");
    assert_eq!(service.outside().to_string(), "localhost:5432");
    assert!(service.admit(&["127.0.0.1".parse().unwrap()]).is_ok());
    let secrets =
        |target| of(FILE, "", NetworkOverrides::default(), target).secrets().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((secrets("api.example.net"), secrets("www.example.org")), (vec!["KEY".to_owned()], Vec::new()));
}
