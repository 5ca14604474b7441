use super::{
    super::{ImageArg, parse_image},
    *,
};
use proptest::prelude::*;

fn message<T: std::fmt::Debug>(result: Result<T, FormError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn sizes_as_docker_has_them() {
    for (text, size) in [
        ("0", 0),
        ("4096", 4096),
        ("7b", 7),
        ("512M", 512 << 20),
        ("512m", 512 << 20),
        ("1kB", 1024),
        ("2GiB", 2 << 30),
        ("1.5g", 3 << 29),
        ("0.1K", 102),
        ("3T", 3 << 40),
        ("16777215T", 16_777_215 << 40),
        ("18446744073709551615", u64::MAX),
    ] {
        assert_eq!(parse_size(text), Ok(size), "{text}");
    }
    let form = "not a size: use a number and K, M, G or T, such as 512M";
    for text in
        ["", "M", "-", "-M", "+1", "1 G", " 1", "1.", ".5", "1.2.3", "0x10", "1e3", "1P", "1Mi", "1BB", "١", "1é"]
    {
        assert_eq!(message(parse_size(text)), format!("'{text}': {form}"));
    }
    for text in ["18446744073709551616", "16777216T", "17179869184G", &"9".repeat(400)] {
        assert!(message(parse_size(text)).ends_with(": too large"), "{text}");
    }
}

#[test]
fn processors_in_thousandths() {
    for (text, milli) in [("1", 1000), ("0.5", 500), ("0.01", 10), ("2.25", 2250), ("4096", 4_096_000)] {
        assert_eq!(parse_cpus(text), Ok(milli), "{text}");
    }
    for text in ["0", "0.009", "4097", "99999999999999999999999"] {
        assert_eq!(message(parse_cpus(text)), format!("'{text}': not between 0.01 and 4096 processors"));
    }
    for text in ["", "half", "--1", "1,5", "NaN", "inf", "1e2", "."] {
        assert!(message(parse_cpus(text)).contains("not a number of processors"), "{text}");
    }
}

#[test]
fn nothing_is_negative() {
    let negative = "'-1': must not be negative";
    assert_eq!(message(parse_size("-1")), negative);
    assert_eq!(message(parse_cpus("-1")), negative);
    assert_eq!(message(parse_count("-1")), negative);
    assert_eq!(message(parse_duration("-1")), negative);
    assert_eq!(message(parse_size("-.5G")), "'-.5G': must not be negative");
}

#[test]
fn variables_that_the_sandbox_sets() {
    for name in RESERVED {
        for text in [name.to_owned(), format!("{name}="), format!("{name}=1")] {
            let error = parse_env(text.as_ref()).unwrap_err();
            assert_eq!(error.to_string(), format!("'{name}': agentkernel sets this variable itself"));
            assert!(!error.hint.is_empty());
        }
    }
    assert!(parse_env("AGENTKERNEL_STATE_DIR=/x".as_ref()).is_ok());
}

#[test]
fn variables_for_placeholders() {
    for name in
        ["LD_PRELOAD", "LD_LIBRARY_PATH", "LC_ALL", "BASH_ENV", "ENV", "PATH", "HOME", "PYTHONPATH", "AGENTKERNEL"]
    {
        let error = parse_variable(name).unwrap_err();
        assert!(error.to_string().starts_with(&format!("'{name}': ")), "{error}");
        assert_eq!(parse_source_variable(name).as_deref(), Ok(name), "of the caller's it may be any");
    }
    for name in ["TOKEN", "GITHUB_TOKEN", "PATH_TOKEN", "LD", "MY_LD_PRELOAD", "ENVIRONMENT", "AGENTKERNEL_KEY"] {
        assert_eq!(parse_variable(name).as_deref(), Ok(name));
    }
}

#[test]
fn times_with_units() {
    for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1d2h3m4s", 93_784)] {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    assert_eq!(parse_duration("1s500ms"), Ok(Duration::from_millis(1500)));
    for text in ["", "90", "s", "1m1h", "1s1s", "1.5h", "-s", "1 s", "1S", "1w", "1sx", "1h30"] {
        assert!(message(parse_duration(text)).contains("not a time"), "{text}");
    }
    assert_eq!(message(parse_duration("0s")), "'0s': must be longer than nothing");
    assert_eq!(message(parse_duration("213503982335d")), "'213503982335d': too long");
}

#[test]
fn images_and_kinds() {
    assert_eq!(parse_image("host".as_ref()), Ok(ImageArg::Host));
    assert_eq!(parse_image("dir:/a b".as_ref()), Ok(ImageArg::Dir("/a b".into())));
    let named = |text: &str| ImageArg::Named(text.parse().unwrap());
    assert_eq!(parse_image("debian:12".as_ref()), Ok(named("debian:12")));
    for text in ["", "Host", "host ", "./here", "a:b:c"] {
        assert!(message(parse_image(text.as_ref())).contains(": not an image: "), "{text}");
    }
    assert!(message(parse_image("dir:".as_ref())).contains("no directory is named"));
    for mode in [WorkspaceMode::Direct, WorkspaceMode::Overlay, WorkspaceMode::None] {
        assert_eq!(parse_workspace(mode.as_str()), Ok(mode));
    }
    assert!(parse_workspace("branch").is_err());
}

#[test]
fn networks() {
    for mode in [Mode::None, Mode::Allow, Mode::Open] {
        assert_eq!(parse_mode(&mode.to_string()), Ok(mode));
    }
    assert_eq!(message(parse_mode("bridge")), "'bridge': not a network mode: use 'none', 'allow' or 'open'");

    assert_eq!(parse_rule("*.Example.org:443").unwrap().to_string(), "*.example.org:443");
    let error = parse_rule("https://example.org/").unwrap_err();
    assert_eq!(error.cause, "'https://example.org/' is a URL");
    assert!(error.hint.contains("`methods`"), "{}", error.hint);

    assert_eq!(parse_service("localhost:5432").unwrap().to_string(), "localhost:5432");
    let error = parse_service("5432").unwrap_err();
    assert_eq!(error.cause, "'5432': the host is missing");
    assert_eq!(message(parse_service("localhost")), "'localhost' has no port");
    for text in ["localhost", "localhost:0", "5432", "", "a b:1"] {
        let error = parse_service(text).unwrap_err();
        assert_eq!(error.hint, "Write HOST:PORT, such as localhost:5432 for a service of this host", "{text}");
    }
    assert!(parse_service("0177.1:80").unwrap_err().hint.contains("four decimal numbers"));
    for here in ["host.agentkernel.internal:11434", "Host.AgentKernel.Internal.:11434", "localhost:11434"] {
        assert_eq!(parse_service(here).unwrap().to_string(), "localhost:11434");
    }
    for (text, cause) in [
        ("foo.localhost:80", "'foo.localhost:80': inside, this is the sandbox itself"),
        ("0.0.0.0:80", "'0.0.0.0:80': a service may listen there, but is not reached there"),
        ("[::]:80", "'[::]:80': a service may listen there, but is not reached there"),
        ("[::ffff:0.0.0.0]:80", "'[::ffff:0.0.0.0]:80': a service may listen there, but is not reached there"),
        ("http://localhost:8080", "'http://localhost:8080' is a URL"),
        ("http://localhost", "'http://localhost' is a URL"),
        ("localhost:8080:9090", "'localhost:8080:9090' has two ports"),
    ] {
        let error = parse_service(text).unwrap_err();
        assert_eq!(error.cause, cause);
        assert!(error.hint.starts_with("Write ") && error.hint.contains("HOST:PORT"), "{}", error.hint);
    }

    assert_eq!(parse_published("3000"), Ok(Published { inside: 3000, outside: 3000 }));
    assert_eq!(parse_published("3000:8080"), Ok(Published { inside: 3000, outside: 8080 }));
    for text in ["", "0", "65536", "3000:", ":3000", "+1", "1:2:3", "127.0.0.1:80", "3000:0"] {
        assert!(message(parse_published(text)).contains("not a port"), "{text}");
    }

    assert_eq!(parse_bandwidth("10M"), Ok(10 << 20));
    assert_eq!(parse_bandwidth("1K"), Ok(1 << 10));
    assert_eq!(message(parse_bandwidth("1023")), "1023 is too little: use 1K of bytes per second or more");
}

fn set(name: &str, value: &str) -> EnvVar {
    EnvVar::Set(name.into(), value.into())
}

#[test]
fn variables() {
    for (text, variable) in [("A=b", set("A", "b")), ("A=", set("A", "")), ("A=b=c d", set("A", "b=c d"))] {
        assert_eq!(parse_env(text.as_ref()), Ok(variable));
    }
    assert_eq!(parse_env("A".as_ref()), Ok(EnvVar::Inherit("A".into())));
    for text in ["", "=", "=b", "A=\0"] {
        assert!(parse_env(text.as_ref()).is_err());
    }
    let bytes = OsStr::from_bytes(b"A=\xff");
    assert_eq!(parse_env(bytes), Ok(EnvVar::Set("A".into(), OsStr::from_bytes(b"\xff").into())));
}

#[test]
fn files_of_variables_as_docker_has_them() {
    let file = b"\xef\xbb\xbfA=1\r\n\n# comment\n  B= x \"y\" # z\n\t#C\nD\nE=";
    let expected = [set("A", "1"), set("B", " x \"y\" # z"), EnvVar::Inherit("D".into()), set("E", "")];
    assert_eq!(parse_env_file(file).unwrap(), expected);
    for (file, line) in [(&b"A=1\n=2\n"[..], 2), (b"export A=1", 1), (b"\n\nA B", 3), (b"A=\0", 1)] {
        assert_eq!(parse_env_file(file).unwrap_err().0, line);
    }
}

#[test]
fn mounts_and_what_is_not_one() {
    let mount =
        |source: &str, target: &str, read_only| Ok(Mount { source: source.into(), target: target.into(), read_only });
    assert_eq!(parse_mount("/a:/b".as_ref()), mount("/a", "/b", false));
    assert_eq!(parse_mount("a/../b:/c//d/./e/:ro".as_ref()), mount("a/../b", "/c/d/e", true));
    assert_eq!(parse_mount("./ü x:/y:rw".as_ref()), mount("./ü x", "/y", false));
    for (text, cause) in [
        ("", "not a mount: use SOURCE:TARGET or SOURCE:TARGET:ro"),
        ("/a", "not a mount: use SOURCE:TARGET or SOURCE:TARGET:ro"),
        (":/b", "not a mount: use SOURCE:TARGET or SOURCE:TARGET:ro"),
        ("/a:/b:rO", "not a mount: use SOURCE:TARGET or SOURCE:TARGET:ro"),
        ("/a:/b:", "not a mount: use SOURCE:TARGET or SOURCE:TARGET:ro"),
        ("/a:/b:c:ro", "too many colons: a path that has one can't be mounted"),
    ] {
        assert_eq!(message(parse_mount(text.as_ref())), format!("'{text}': {cause}"));
    }
    for (target, cause) in [
        ("b", "not an absolute path"),
        ("", "not an absolute path"),
        ("/b/../c", "a path with '..' is not allowed here"),
        ("/", "nothing can be mounted there"),
        ("/.//", "nothing can be mounted there"),
        ("/proc", "nothing can be mounted there"),
        ("//proc/self/", "nothing can be mounted there"),
        ("/dev/shm", "nothing can be mounted there"),
        ("/sys/fs", "nothing can be mounted there"),
    ] {
        assert_eq!(message(parse_mount(format!("/a:{target}").as_ref())), format!("'{target}': {cause}"));
        assert_eq!(message(parse_tmpfs(target.as_ref())), format!("'{target}': {cause}"));
    }
    assert!(parse_mount("/a:/process".as_ref()).is_ok());
}

#[test]
fn tmpfs_with_and_without_size() {
    let tmpfs = |target: &str, size| Ok(TmpfsArg { target: target.into(), size });
    assert_eq!(parse_tmpfs("/a".as_ref()), tmpfs("/a", None));
    assert_eq!(parse_tmpfs("/a/:1M".as_ref()), tmpfs("/a", Some(1 << 20)));
    assert_eq!(parse_tmpfs("/a:size=2k".as_ref()), tmpfs("/a", Some(2048)));
    for text in ["/a:0", "/a:", "/a:x", "/a:1M:2M", "/a:size="] {
        assert!(parse_tmpfs(text.as_ref()).is_err(), "{text}");
    }
}

#[test]
fn paths_below_a_project() {
    assert_eq!(beneath(Path::new("./a//b/")), Ok("a/b".into()));
    for path in ["", ".", "/", "/a", "..", "a/..", "../a", "a/../../b"] {
        assert!(beneath(Path::new(path)).is_err(), "{path}");
    }
}

#[test]
fn messages_are_one_short_line() {
    let text = "a\nb\u{1b}[31m".repeat(1000);
    let message = message(parse_size(&text));
    assert!(message.len() < 1500 && !message.contains(['\n', '\u{1b}']), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_crash(text in "\\PC*", pick in "[0-9.:=/a-zA-Z_ #\\n-]{0,24}") {
        for text in [&text, &pick] {
            let os = OsStr::new(text);
            let _ = parse_size(text);
            let _ = parse_cpus(text);
            let _ = parse_duration(text);
            let _ = parse_count(text);
            let _ = parse_workspace(text);
            let _ = (parse_mode(text), parse_rule(text), parse_service(text), parse_published(text), parse_bandwidth(text));
            let _ = parse_image(os);
            let _ = parse_env(os);
            let _ = parse_env_file(text.as_bytes());
            let _ = parse_tmpfs(os);
            if let Ok(mount) = parse_mount(os) {
                prop_assert!(mount.target.is_absolute() && mount.target != Path::new("/"));
            }
            if let Ok(path) = beneath(Path::new(text)) {
                prop_assert!(path.is_relative() && Path::new("/x").join(&path).starts_with("/x"));
            }
        }
    }

    #[test]
    fn no_bytes_are_a_crash(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let os = OsStr::from_bytes(&bytes);
        let _ = parse_image(os);
        let _ = parse_env(os);
        let _ = parse_env_file(&bytes);
        let _ = parse_mount(os);
        let _ = parse_tmpfs(os);
    }

    #[test]
    fn a_size_comes_back(size in any::<u64>(), shift in 0u32..50) {
        let size = size >> shift << shift;
        prop_assert_eq!(parse_size(&format_size(size)), Ok(size));
    }

    #[test]
    fn a_time_comes_back(d in 0u64..1000, h in 0u64..1000, m in 0u64..1000, s in 0u64..1000, ms in 1u64..1000) {
        let time = Duration::from_millis((((d * 24 + h) * 60 + m) * 60 + s) * 1000 + ms);
        prop_assert_eq!(parse_duration(&format!("{d}d{h}h{m}m{s}s{ms}ms")), Ok(time));
    }

    #[test]
    fn processors_come_back(milli in 10u64..4_096_000) {
        prop_assert_eq!(parse_cpus(&format!("{}.{:03}", milli / 1000, milli % 1000)), Ok(milli));
    }

    #[test]
    fn a_variable_comes_back(name in "[^=\\x00]{1,9}", value in "[^\\x00]{0,20}") {
        prop_assert_eq!(parse_env(format!("{name}={value}").as_ref()), Ok(set(&name, &value)));
    }

    #[test]
    fn a_mount_comes_back(source in "[a-z ./]{1,12}", target in "(/[a-c]{1,5}){1,4}", read_only in any::<bool>()) {
        let text = format!("{source}:{target}{}", if read_only { ":ro" } else { "" });
        let mount = Mount { source: source.into(), target: target.into(), read_only };
        prop_assert_eq!(parse_mount(text.as_ref()), Ok(mount));
    }
}

#[test]
fn placeholders_lie_in_no_place_of_the_systems() {
    let taken = |path: &str| secret_file(Path::new(path)).is_ok();
    for path in ["/run/secrets/a", "/var/run/secrets/a/b", "/home/ann/.token", "/root/x", "/opt/libx/y", "/srv/etc/x"] {
        assert!(taken(path), "{path}");
    }
    for path in [
        "/etc/passwd",
        "/usr/bin/x",
        "/lib64/x",
        "/libx32/x",
        "/bin",
        "/run",
        "/run/secrets",
        "/run/secretsx",
        "/run/./x",
        "//etc/x",
        "/var/run/x",
        "/proc/x",
        "/dev/x",
        "/sys/x",
        "/",
    ] {
        assert!(!taken(path), "{path}");
    }
}
