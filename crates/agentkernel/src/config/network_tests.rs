use super::*;
use crate::{
    Spec,
    config::{
        EnvVar, FILE_NAME, HostFacts, Overrides, Project, ProjectFile, identity::tests::host as facts, parse_published,
        parse_rule, parse_secret_host, parse_service, resolve,
    },
};
use std::path::Path;

/// A project with this file, and a user with these limits.
struct Scene {
    home: tempfile::TempDir,
    host: HostFacts,
    project: Project,
    user: UserConfig,
}

impl Scene {
    fn new(project: &str, user: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut host = facts(rustix::process::geteuid().as_raw());
        host.home = home.path().to_owned();
        let dir = std::path::PathBuf::from("/srv/app");
        host.cwd = dir.clone();
        let file = ProjectFile::parse(dir.join(FILE_NAME), project.into()).unwrap_or_else(|error| panic!("{error}"));
        let user = UserConfig::parse("/home/ann/config.toml".into(), user).unwrap_or_else(|error| panic!("{error}"));
        Self { home, host, project: Project { dir, file: Some(file) }, user }
    }

    fn trusted(mut self) -> Self {
        self.project.file.as_mut().unwrap().trusted = true;
        self
    }

    fn resolve(&self, flags: NetworkOverrides) -> Result<Spec, ConfigError> {
        let overrides =
            Overrides { network: flags, workspace: Some(crate::config::WorkspaceMode::None), ..Overrides::default() };
        resolve(overrides, &self.project, &self.user, &self.host)
    }

    fn network(&self, flags: NetworkOverrides) -> Network {
        self.resolve(flags).unwrap_or_else(|error| panic!("{error}")).network
    }

    fn error(&self, flags: NetworkOverrides) -> (String, String) {
        let error = self.resolve(flags).unwrap_err();
        (error.to_string(), error.hint())
    }

    fn record(&self, name: &str, hosts: &[&str], env: Option<&str>) {
        let hosts = hosts.iter().map(|host| parse_secret_host(host).unwrap()).collect();
        let source = SecretSource::Env("V".into());
        let recorded = Recorded { name: name.into(), source, hosts, env: env.map(str::to_owned) };
        Secrets::of(&self.host).record(&recorded, None).unwrap();
    }
}

fn none() -> NetworkOverrides {
    NetworkOverrides::default()
}

fn allow(text: &str) -> NetworkOverrides {
    NetworkOverrides { allow: vec![parse_rule(text).unwrap()], ..none() }
}

fn open(text: &str) -> NetworkOverrides {
    NetworkOverrides { services: vec![parse_service(text).unwrap()], ..none() }
}

fn mode(mode: Mode) -> NetworkOverrides {
    NetworkOverrides { mode: Some(mode), ..none() }
}

fn listed(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(described).collect()
}

#[test]
fn nothing_is_reached_unless_it_is_said() {
    let scene = Scene::new("", "");
    assert_eq!(scene.network(none()), Network::default());
    let deny = vec![parse_rule("example.org").unwrap()];
    assert_eq!(scene.network(NetworkOverrides { deny, ..none() }).policy.rules.mode, Mode::None);
    let denied = Scene::new("[network]\ndeny = ['example.org']\nbandwidth = '1M'", "");
    assert_eq!(denied.network(none()).policy.rules.mode, Mode::None);
}

#[test]
fn what_is_allowed_says_the_mode() {
    let of = |file: &str, flags| Scene::new(file, "").trusted().network(flags).policy.rules.mode;
    assert_eq!(of("", allow("a.b")), Mode::Allow);
    assert_eq!(of("", open("localhost:1")), Mode::Allow);
    assert_eq!(of("", NetworkOverrides { mode: Some(Mode::Open), ..allow("a.b") }), Mode::Open);
    assert_eq!(of("[network]\nallow = ['a.b']", none()), Mode::Allow);
    assert_eq!(of("[network]\nhost_services = ['localhost:1']", none()), Mode::Allow);
    assert_eq!(of("[network]\nmode = 'open'", none()), Mode::Open);
    assert_eq!(of("[network]\nmode = 'open'", allow("a.b")), Mode::Open);
    assert_eq!(of("[network]\nmode = 'none'", none()), Mode::None);
    assert_eq!(of("[network]\nmode = 'none'", allow("a.b")), Mode::Allow);
    assert_eq!(of("[network]\nmode = 'open'", mode(Mode::Allow)), Mode::Allow);
}

#[test]
fn flags_add_to_the_file() {
    let file = "[network]
        allow = ['a.b', { host = 'c.d', methods = ['GET', 'HEAD'], paths = ['/v1/'] }]
        deny = ['e.f']
        host_services = ['localhost:1']
        ports = [3000, '4000:8080']
        bandwidth = '2M'
        max_tokens = 9";
    let scene = Scene::new(file, "").trusted();
    let flags = NetworkOverrides {
        allow: vec![parse_rule("g.h").unwrap()],
        deny: vec![parse_rule("i.j").unwrap()],
        services: vec![parse_service("localhost:2").unwrap()],
        ports: vec![parse_published("4000:9090").unwrap()],
        bandwidth: Some(4096),
        max_tokens: Some(7),
        ..none()
    };
    let network = scene.network(flags);
    let rules = &network.policy.rules;
    assert_eq!(listed(&rules.allow), ["a.b", "c.d (GET HEAD /v1/)", "g.h"]);
    assert_eq!(listed(&rules.deny), ["e.f", "i.j"]);
    assert_eq!(rules.services.len(), 2);
    let ports: Vec<_> = network.ports.iter().map(|port| (port.inside, port.outside)).collect();
    assert_eq!(ports, [(3000, 3000), (4000, 9090)]);
    assert_eq!((network.bandwidth, network.max_tokens), (Some(4096), Some(7)));
    let network = scene.network(none());
    assert_eq!((network.bandwidth, network.max_tokens), (Some(2 << 20), Some(9)));
    assert!(network.needs_authority());
}

#[test]
fn options_for_java_stand_beside_those_that_it_trusts_by() {
    let scene = Scene::new("", "");
    let options = |network: NetworkOverrides| {
        let env = vec![EnvVar::Set("JAVA_TOOL_OPTIONS".into(), "-Xmx1g".into())];
        let workspace = Some(crate::config::WorkspaceMode::None);
        let overrides = Overrides { network, env, workspace, ..Overrides::default() };
        let spec = resolve(overrides, &scene.project, &scene.user, &scene.host).unwrap();
        let entries: Vec<String> = spec.env.iter().map(ToString::to_string).collect();
        entries.into_iter().find(|entry| entry.starts_with("JAVA_TOOL_OPTIONS=")).unwrap()
    };
    let read = NetworkOverrides { max_tokens: Some(1), ..allow("a.b") };
    let store = "-Djavax.net.ssl.trustStore=/etc/agentkernel/ca-bundle.jks";
    assert_eq!(options(read), format!("JAVA_TOOL_OPTIONS=-Xmx1g {store}"));
    assert_eq!(options(allow("a.b")), "JAVA_TOOL_OPTIONS=-Xmx1g");
}

#[test]
fn none_on_the_command_line_wins() {
    let file =
        "[network]\nmode='open'\nallow=['a.b']\nhost_services=['localhost:1']\ndeny=['c.d']\n[secrets]\nA=['a.b']";
    // Nothing is asked for, so that no trust is needed.
    let network = Scene::new(file, "").network(mode(Mode::None));
    let rules = network.policy.rules;
    assert_eq!((rules.mode, rules.allow.len(), rules.services.len(), rules.deny.len()), (Mode::None, 0, 0, 1));
    assert!(network.secrets.is_empty());

    let scene = Scene::new("", "");
    let both = |flags| NetworkOverrides { mode: Some(Mode::None), ..flags };
    let secret = NetworkOverrides { secrets: vec!["A".into()], ..none() };
    for (flags, flag) in
        [(allow("a.b"), "--allow a.b"), (open("localhost:1"), "--open localhost:1"), (secret, "--secret A")]
    {
        let (cause, hint) = scene.error(both(flags));
        assert_eq!(cause, format!("`{flag}` has no use with `--net none`"));
        assert!(hint.starts_with("Leave out `--net none`"), "{hint}");
    }
}

#[test]
fn what_widens_needs_trust() {
    for (text, asks) in [
        ("[network]\nmode='open'", &["mode = open"][..]),
        ("[network]\nmode='allow'", &[]),
        ("[network]\nmode='none'\ndeny=['a.b']", &[]),
        ("[network]\nallow=['a.b','c.d:22']", &["allow = a.b", "allow = c.d:22"]),
        ("[network]\nallow=[{host='a.b',paths=['/x']}]", &["allow = a.b (/x)"]),
        ("[network]\nhost_services=['localhost:1']", &["host_services = localhost:1"]),
        ("[network]\nports=['1:2']", &["ports = 1 of the sandbox on 2 of the host"]),
        ("[network]\ndeny=['a.b']\nbandwidth='1M'", &[]),
        ("[secrets]\nA=['a.b','*.c.d']", &["secrets = A (env:A) for a.b, *.c.d"]),
        ("[secrets]\nA={hosts=['a.b'],from='file:../x'}", &["secrets = A (file:/srv/app/../x) for a.b"]),
    ] {
        let scene = Scene::new(text, "");
        let found = match scene.resolve(none()) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Untrusted { asks, .. }) => asks,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, asks, "{text}");
        let _ = scene.trusted().network(none());
    }
}

#[test]
fn a_port_of_the_host_leads_to_one_of_the_sandbox() {
    let ports = |texts: &[&str]| {
        let ports = texts.iter().map(|text| parse_published(text).unwrap()).collect();
        NetworkOverrides { ports, ..none() }
    };
    let scene = Scene::new("", "");
    assert_eq!(scene.network(ports(&["3000:8080", "3000", "3000"])).ports.len(), 2);
    let (cause, hint) = scene.error(ports(&["3000:8080", "4000:8080"]));
    assert_eq!(cause, "Ports 3000 and 4000 of the sandbox on one of the host, 8080");
    assert!(hint.contains("4000:PORT"), "{hint}");
    let (cause, _) = Scene::new("[network]\nports=[80,\n'81:80']", "").error(none());
    assert_eq!(cause, "/srv/app/agentkernel.toml:3:1: Ports 80 and 81 of the sandbox on one of the host, 80");
}

#[test]
fn the_users_limits_bind_flags_and_files() {
    let limits = "[network]
        allow = ['*.example.org', '10.0.0.0/8:*', 'db.internal:5432']
        deny = ['bad.example.org:*']
        host_services = ['localhost:5432']
        bandwidth = '1M'
        max_tokens = 5";
    let scene = Scene::new("[network]\nmode='open'\nallow=['other.example.net']\nbandwidth='2M'", limits).trusted();
    let network = scene.network(none());
    assert_eq!(network.policy.ceiling, scene.user.ceiling);
    assert_eq!((network.bandwidth, network.max_tokens), (Some(1 << 20), Some(5)));
    assert_eq!(scene.network(NetworkOverrides { max_tokens: Some(6), ..none() }).max_tokens, Some(5));
    assert_eq!(scene.network(NetworkOverrides { bandwidth: Some(4096), ..none() }).bandwidth, Some(4096));
    let judged = |text: &str| {
        let target = Target::parse(text, Some(443)).unwrap();
        network.policy.judge(&target).map_err(|denial| denial.reason)
    };
    assert!(judged("www.example.org").is_ok());
    assert_eq!(judged("other.example.net").unwrap_err(), egress::Reason::Ceiling);
    assert_eq!(judged("bad.example.org").unwrap_err(), egress::Reason::Denied);

    for flags in [
        mode(Mode::Open),
        allow("*"),
        allow("www.example.org"),
        allow("*.a.example.org:443"),
        allow("10.1.0.0/16:22"),
        allow("localhost:5432"),
        open("localhost:5432"),
        open("127.0.0.1:5432"),
        open("db.internal:5432"),
        open("10.1.2.3:22"),
        mode(Mode::Allow),
        mode(Mode::None),
    ] {
        let _ = scene.network(flags);
    }
    for (flags, flag) in [
        (allow("example.org"), "--allow example.org"),
        (allow("www.example.org:22"), "--allow www.example.org:22"),
        (allow("bad.example.org"), "--allow bad.example.org"),
        (allow("11.0.0.0/8"), "--allow 11.0.0.0/8"),
        (open("localhost:1"), "--open localhost:1"),
        (open("db.internal:1"), "--open db.internal:1"),
    ] {
        let (cause, hint) = scene.error(flags);
        assert!(cause.starts_with(&format!("`{flag}` is beyond your own limits")), "{cause}");
        assert_eq!(hint, "They stand in /home/ann/config.toml: [network]");
    }

    let open_limits = Scene::new("", "[network]\nmode = 'open'");
    for flags in [allow("a.b:22"), allow("8.8.8.8"), mode(Mode::Open), open("db.internal:1")] {
        let _ = open_limits.network(flags);
    }
    for flags in [allow("10.0.0.1"), allow("127.0.0.1:80"), open("localhost:1")] {
        assert!(open_limits.error(flags).0.contains("` is beyond your own limits"));
    }
    // A star is for public addresses only.
    let public = Scene::new("", "[network]\nallow = ['*']");
    let _ = public.network(allow("9.9.9.9"));
    for flags in [allow("10.0.0.1"), open("10.0.0.1:80")] {
        assert!(public.error(flags).0.contains("` is beyond your own limits"));
    }
    let nothing = Scene::new("", "[network]\nmode = 'none'");
    for flags in [allow("*"), mode(Mode::Open)] {
        assert!(nothing.error(flags).0.contains("` is beyond your own limits"));
    }
    let _ = nothing.network(NetworkOverrides { within_limits: true, ..mode(Mode::Open) });
    let part = |scene: &Scene, flags| narrowed(&flags, &scene.user).join(" ");
    assert_eq!(part(&scene, mode(Mode::Open)), "A part of `--net open` is beyond your own limits: no rule allows it");
    assert_eq!(part(&scene, NetworkOverrides { within_limits: true, ..mode(Mode::Open) }), "");
    assert_eq!(part(&open_limits, mode(Mode::Open)), "");
    // Where only something is denied, all other public addresses may be reached.
    let denied = Scene::new("", "[network]\ndeny = ['bad.example.org', '8.8.0.0/16']\nhost_services = ['localhost:1']");
    for flags in [allow("a.b"), allow("*"), mode(Mode::Open), open("localhost:1")] {
        let _ = denied.network(flags);
    }
    assert_eq!(
        part(&denied, mode(Mode::Open)),
        "A part of `--net open` is beyond your own limits: 'bad.example.org' denies it"
    );
    for flags in [
        allow("bad.example.org:22"),
        allow("8.8.1.0/24:5"),
        open("localhost:22"),
        allow("10.0.0.0/8"),
        // An address could be that of the name.
        allow("9.9.9.9"),
        allow("8.0.0.0/8"),
    ] {
        assert!(denied.error(flags).0.contains("` is beyond your own limits"));
    }
}

#[test]
fn secrets_of_the_project() {
    let file = "[secrets]
        SHORT = ['api.example.org']
        LONG = { hosts = ['*.example.org'], env = 'INSIDE', file = '/run/secrets/long', from = 'file:../value' }
        FILED = { hosts = ['api.example.org'], file = '/run/secrets/filed', from = 'env:OTHER' }
        RECORDED = { file = '/run/secrets/recorded' }
        NARROWED = ['a.example.org']";
    let scene = Scene::new(file, "").trusted();
    scene.record("RECORDED", &["b.example.org"], Some("KEPT"));
    scene.record("NARROWED", &["*.example.org"], Some("KEPT"));
    let secrets = scene.network(none()).secrets;
    let shown: Vec<String> = secrets
        .iter()
        .map(|it| {
            let hosts: Vec<String> = it.hosts.iter().map(ToString::to_string).collect();
            let file = it.file.as_deref().map_or("-".into(), Path::to_string_lossy);
            format!("{} {} {} {} {file}", it.name, it.source, hosts.join(","), it.env.as_deref().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "SHORT env:SHORT api.example.org SHORT -",
            "LONG file:/srv/app/../value *.example.org INSIDE /run/secrets/long",
            "FILED env:OTHER api.example.org - /run/secrets/filed",
            "RECORDED store b.example.org - /run/secrets/recorded",
            "NARROWED store a.example.org KEPT -",
        ]
    );
}

#[test]
fn secrets_that_no_rule_lets_anywhere_are_known() {
    let idle = |network: &str, limits: &str| {
        let file = format!(
            "[network]\n{network}\n[secrets]\nA = ['api.example.org', '*.example.net']\nB = ['host.agentkernel.internal']"
        );
        let network = Scene::new(&file, limits).trusted().network(none());
        let idle = super::reach::idle_secrets(&network).into_iter();
        idle.map(|idle| format!("{}{}", idle.secret.name, idle.limited)).collect::<Vec<_>>().join(" ")
    };
    for (network, limits, expected) in [
        ("", "", "Afalse Bfalse"),
        ("mode = 'open'", "", "Bfalse"),
        ("allow = ['api.example.com']", "", "Afalse Bfalse"),
        ("allow = ['api.example.org:443']\nhost_services = ['localhost:1']", "", ""),
        ("allow = ['*.a.example.net']", "", "Bfalse"),
        ("allow = ['*.example.org']\ndeny = ['api.example.org']", "", "Afalse Bfalse"),
        ("mode = 'open'", "[network]\nallow = ['example.com']", "Atrue Bfalse"),
    ] {
        assert_eq!(idle(network, limits), expected, "{network} {limits}");
    }
}

#[test]
fn secrets_that_cannot_be_used() {
    let at = |text: &str| format!("/srv/app/agentkernel.toml:{text}");
    for (text, cause, hint) in [
        ("A = { env = 'B' }", at("2:1: Secret 'A' has no hosts that it may go to"), "--host HOST"),
        ("NOHOST = {}", at("2:1: Secret 'NOHOST' has no hosts that it may go to"), "--host HOST"),
        (
            "KNOWN = ['api.example.org', 'example.net']",
            at("2:1: Secret 'KNOWN' is recorded for *.example.org only, not for example.net"),
            "`agentkernel secret set KNOWN --host '*.example.org' --host example.net` adds it",
        ),
        (
            "A = ['a.b']\nC = { hosts = ['a.b'], env = 'A' }",
            at("3:1: Secrets 'A' and 'C' would both be in variable A"),
            "another variable",
        ),
        (
            "A = { hosts = ['a.b'], file = '/f' }\nC = { hosts = ['a.b'], file = '/f' }",
            at("3:1: Secrets 'A' and 'C' would both be in /f"),
            "another variable or file",
        ),
        (
            "PATH = ['a.b']",
            at("2:1: Secret 'PATH': 'PATH': programs obey this variable, so that it can hold no placeholder"),
            "another variable",
        ),
        ("LANGUAGES = ['a.b']\nLC_ALL = ['a.b']", at("3:1: Secret 'LC_ALL': 'LC_ALL': programs obey"), "another"),
    ] {
        let scene = Scene::new(&format!("[secrets]\n{text}"), "").trusted();
        scene.record("KNOWN", &["*.example.org"], None);
        scene.record("NOHOST", &[], None);
        let found = scene.error(none());
        assert!(found.0.starts_with(&cause) && (found.0 == cause || cause.ends_with("obey")), "{}", found.0);
        assert!(found.1.contains(hint), "{}", found.1);
    }
    let scene = Scene::new("", "");
    scene.record("KEY", &["a.b"], None);
    let env = vec![EnvVar::Set("KEY".into(), "x".into())];
    let network = NetworkOverrides { secrets: vec!["KEY".into()], ..none() };
    let overrides =
        Overrides { env, network, workspace: Some(crate::config::WorkspaceMode::None), ..Overrides::default() };
    let error = resolve(overrides, &scene.project, &scene.user, &scene.host).unwrap_err().to_string();
    assert_eq!(error, "Secret 'KEY' would be in variable KEY, which is set already");
}

#[test]
fn secrets_by_flags_are_recorded_ones() {
    let scene = Scene::new("[secrets]\nKEY = ['a.example.org']", "");
    scene.record("KEY", &["*.example.org"], Some("INSIDE"));
    scene.record("NOHOST", &[], None);
    let flags =
        |names: &[&str]| NetworkOverrides { secrets: names.iter().map(|&name| name.to_owned()).collect(), ..none() };
    // In place of the file's of the same name, which needs no trust then, and narrows it all the same.
    let secrets = scene.network(flags(&["KEY", "KEY"])).secrets;
    assert_eq!((secrets.len(), secrets[0].hosts[0].to_string()), (1, "a.example.org".into()));
    for (narrowed, left) in [
        ("['*.org', 'b.example.net']", Some("*.example.org")),
        ("['*.b.example.org', 'c.example.org']", Some("*.b.example.org c.example.org")),
        ("{ env = 'OTHER' }", Some("*.example.org")),
        ("['example.net']", None),
    ] {
        let scene = Scene::new(&format!("[secrets]\nKEY = {narrowed}"), "");
        scene.record("KEY", &["*.example.org"], None);
        let found = scene
            .resolve(flags(&["KEY"]))
            .map(|spec| spec.network.secrets[0].hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        match (found, left) {
            (Ok(found), Some(left)) => assert_eq!(found, left),
            (Err(error), None) => {
                let cause = "/srv/app/agentkernel.toml:2:1: Secret 'KEY' is recorded for *.example.org only, not for example.net";
                assert_eq!(error.to_string(), cause);
            }
            (found, _) => panic!("{found:?}"),
        }
    }
    assert_eq!((secrets[0].env.as_deref(), &secrets[0].source), (Some("INSIDE"), &SecretSource::Store));
    let (cause, hint) = scene.error(flags(&["NOHOST"]));
    assert_eq!(cause, "Secret 'NOHOST' has no hosts that it may go to");
    assert!(hint.contains("`agentkernel secret set NOHOST --host HOST`"), "{hint}");
    let near = scene.error(flags(&["KYE"]));
    assert_eq!(near, ("No secret 'KYE' is recorded".into(), "Did you mean 'KEY'?".into()));
    let far = scene.error(flags(&["SOMETHING_ELSE"]));
    assert_eq!(far.1, "`agentkernel secret set SOMETHING_ELSE --host HOST` records it");
    assert!(scene.home.path().join(".config/agentkernel/secrets/KEY").is_file());
}
