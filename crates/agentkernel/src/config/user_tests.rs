use super::{super::identity::tests::host as facts, *};
use egress::{Reason, Rule, Target};
use std::os::unix::fs::{PermissionsExt, symlink};

fn parse(text: &str) -> Result<UserConfig, String> {
    UserConfig::parse("config.toml".into(), text).map_err(|error| format!("{error} | {}", error.hint()))
}

#[test]
fn limits_are_what_is_written() {
    let config = parse("").unwrap();
    assert_eq!((config.ceiling, config.bandwidth), (None, None));
    let config = parse("[network]\nbandwidth = '1M'").unwrap();
    assert_eq!((config.ceiling, config.bandwidth), (None, Some(1 << 20)));
    let config = parse("[network]\nmode = 'open'\nallow = ['10.0.0.0/8:22', { host = 'a.b', methods = ['GET'] }]\nhost_services = ['localhost:1']").unwrap();
    let ceiling = config.ceiling.unwrap();
    assert_eq!((ceiling.mode, ceiling.allow.len(), ceiling.services.len()), (Mode::Open, 2, 1));
    assert_eq!(config.lines.allow, [3, 3]);
    assert_eq!(parse("[network]\nallow = ['a.b']").unwrap().ceiling.unwrap().mode, Mode::Allow);
    let nothing = parse("[network]\nallow = []").unwrap().ceiling.unwrap();
    assert_eq!((nothing.mode, nothing.allow.len()), (Mode::Allow, 0));
    assert_eq!(parse("[network]\nallow = []\nmode = 'none'").unwrap().ceiling.unwrap().mode, Mode::None);
    let services = parse("[network]\nhost_services = ['localhost:1']\nmode = 'none'").unwrap().ceiling.unwrap();
    assert_eq!((services.mode, services.services.len()), (Mode::None, 1));
    let void = parse("[network]\nallow = ['a.b']\nmode = 'none'").unwrap_err().to_string();
    assert!(void.starts_with("config.toml:2:10: `allow` has no use with `mode = \"none\"` | "), "{void}");
}

/// A list of what is denied does not take the internet away; what is not public must be named nevertheless.
#[test]
fn what_is_denied_alone_leaves_the_internet() {
    let ceiling = parse("[network]\ndeny = ['bad.example.org']\nhost_services = ['localhost:5432']").unwrap().ceiling;
    let allow = ["*:*", "10.0.0.0/8:*"].map(|text| Rule::parse(text).unwrap()).to_vec();
    let services = ["localhost:5432", "localhost:22"].map(|text| Target::parse(text, None).unwrap()).to_vec();
    let policy = egress::Policy { rules: Rules { mode: Mode::Allow, allow, services, ..Rules::default() }, ceiling };
    let judged = |text: &str, address: &str| {
        let target = Target::parse(text, Some(443)).unwrap();
        policy.admit(&target, &[address.parse().unwrap()], |_| false).map_err(|denial| denial.reason)
    };
    assert!(judged("example.org:22", "93.184.216.34").is_ok());
    assert!(judged("host.agentkernel.internal:5432", "127.0.0.1").is_ok());
    assert_eq!(judged("host.agentkernel.internal:22", "127.0.0.1").unwrap_err(), Reason::Ceiling);
    assert_eq!(judged("10.1.2.3", "10.1.2.3").unwrap_err(), Reason::Ceiling);
    assert_eq!(judged("bad.example.org:22", "93.184.216.34").unwrap_err(), Reason::Denied);
}

#[test]
fn backends_are_chosen_and_limited() {
    let user = parse("[sandbox]\nbackend = 'docker'\nbackends = ['docker']").unwrap();
    assert_eq!((user.backend, user.backends), (Some(BackendKind::Docker), Some(vec![BackendKind::Docker])));
}

#[test]
fn mistakes() {
    for (text, expected) in [
        (
            "[secrets]\nA = ['b.c']",
            "1:2: unknown table 'secrets' | [secrets] belongs into a project's agentkernel.toml",
        ),
        ("[resources]", "1:2: unknown table 'resources' | [resources] belongs into a project's agentkernel.toml"),
        ("[sandbox]\nimage = 'a'", "2:1: unknown key 'image' in [sandbox] | [sandbox] has backend, backends"),
        (
            "[sandbox]\nbackends = ['docker', 'vm']",
            "2:23: `backends`: 'vm': not a backend: use 'native' or 'docker' | ",
        ),
        (
            "[sandbox]\nbackends = []",
            "2:12: `backends` is empty, which would allow nothing | Leave it out for what holds without it",
        ),
        ("[net]", "1:2: unknown table 'net' | There are [sandbox], [network], [images], [registries]"),
        ("[registries.'a.b']\nmirror = []", "2:1: `a.b`: unknown key 'mirror' | Did you mean `mirrors`?"),
        ("[registries]\n'a.b' = 1", "2:9: `a.b` must be a table, not a whole number | "),
        ("[registries]\nlocal = {}", "2:1: 'local': not a registry: use HOST or HOST:PORT, as in names of images | "),
        (
            "[registries.'a.b']\nmirrors = ['https://a.b']",
            "2:12: `mirrors`: 'https://a.b': not a mirror: use HOST, HOST:PORT, or HOST/PREFIX | ",
        ),
        (
            "[images]\nquota = 'much'",
            "2:9: `quota`: 'much': not a size: use a number and K, M, G or T, such as 512M | ",
        ),
        ("mode = 'open'", "1:1: unknown table 'mode' | `mode` belongs into [network]"),
        (
            "[network]\nports = [1]",
            "2:1: unknown key 'ports' in [network] | [network] has mode, allow, deny, host_services, bandwidth, connections, max_tokens",
        ),
        ("[network]\nalow = []", "2:1: unknown key 'alow' in [network] | Did you mean `allow`?"),
        ("[network]\nmode = 'some'", "2:8: `mode`: 'some': not a network mode: use 'none', 'allow' or 'open' | "),
    ] {
        assert_eq!(parse(text).unwrap_err(), format!("config.toml:{expected}"));
    }
}

#[test]
fn where_images_come_from_and_what_they_may_take() {
    let config = parse(
        "[images]\nquota = '2G'\n[registries.'a.b']\nmirrors = ['c.d:5000/hub/x/', '127.0.0.1:1']\n[registries]\n'e.f' = {}",
    );
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.image_quota(), Some(2 << 30));
    let mirror = |host: &str, prefix: &str| Mirror { host: host.into(), prefix: prefix.into() };
    assert_eq!(config.mirrors("a.b"), [mirror("c.d:5000", "hub/x"), mirror("127.0.0.1:1", "")]);
    assert!(config.mirrors("e.f").is_empty() && config.mirrors("g.h").is_empty());
    assert_eq!(parse("").unwrap().image_quota(), None);
}

fn scene() -> (tempfile::TempDir, HostFacts, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let mut host = facts(rustix::process::geteuid().as_raw());
    host.home = std::fs::canonicalize(home.path()).unwrap();
    let dir = host.home.join(".config/agentkernel");
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("config.toml");
    (home, host, path)
}

#[test]
fn it_lies_where_configuration_lies() {
    let (_home, mut host, path) = scene();
    assert_eq!(UserConfig::read(&host).unwrap().path, path);
    std::fs::write(&path, "[network]\nbandwidth = 4096").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(UserConfig::read(&host).unwrap().bandwidth, Some(4096));
    // Not where a relative path would lead.
    host.env = vec![("XDG_CONFIG_HOME".into(), "config".into())];
    assert_eq!(UserConfig::read(&host).unwrap().bandwidth, Some(4096));
    host.env = vec![("XDG_CONFIG_HOME".into(), host.home.join("other").into())];
    assert_eq!(UserConfig::read(&host).unwrap().bandwidth, None);
    host.env = vec![("HOME".into(), host.home.join("other").into())];
    assert_eq!(UserConfig::read(&host).unwrap().bandwidth, None);
}

#[test]
fn links_are_fine_and_links_to_nothing_are_not() {
    let (_home, host, path) = scene();
    let real = host.home.join("dotfiles.toml");
    symlink(&real, &path).unwrap();
    let error = UserConfig::read(&host).unwrap_err();
    assert!(error.to_string().ends_with("config.toml is a symbolic link to nothing"), "{error}");
    std::fs::write(&real, "[network]\nbandwidth = 4096").unwrap();
    assert_eq!(UserConfig::read(&host).unwrap().bandwidth, Some(4096));
}

#[test]
fn nobody_else_may_write_it() {
    let (_home, host, path) = scene();
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&path, "").unwrap();
    for (mode, who) in [(0o666, "everybody"), (0o664, "group")] {
        chmod(&path, mode);
        let error = UserConfig::read(&host).unwrap_err();
        assert!(error.to_string().contains(&format!("is your configuration, but {who}")), "{error}");
        assert!(error.hint().contains("chmod go-w"), "{}", error.hint());
    }
    chmod(&path, 0o600);
    let dir = path.parent().unwrap();
    chmod(dir, 0o777);
    assert!(UserConfig::read(&host).unwrap_err().to_string().contains("everybody can write it"));
    // Where a link leads is what counts.
    chmod(dir, 0o755);
    let real = host.home.join("shared.toml");
    std::fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    chmod(&real, 0o666);
    let error = UserConfig::read(&host).unwrap_err().to_string();
    assert!(error.contains("shared.toml is your configuration"), "{error}");
    chmod(&real, 0o644);
    let stranger = HostFacts { uid: host.uid + 1, ..host.clone() };
    if !rustix::process::geteuid().is_root() {
        assert!(UserConfig::read(&stranger).unwrap_err().to_string().contains("can write it"));
    }
}

#[test]
fn what_is_no_file() {
    let (_home, host, path) = scene();
    std::fs::create_dir(&path).unwrap();
    assert!(UserConfig::read(&host).unwrap_err().to_string().ends_with("is not a file"));
    std::fs::remove_dir(&path).unwrap();
    fs::mknodat(fs::CWD, &path, FileType::Fifo, FileMode::RWXU, 0).unwrap();
    assert!(UserConfig::read(&host).unwrap_err().to_string().ends_with("is not a file"));
}
