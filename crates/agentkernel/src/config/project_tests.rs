use super::*;
use crate::{
    Name, SecretSource,
    config::{WorkspaceMode, schema::Keys},
};
use proptest::prelude::*;
use std::time::Duration;

fn parse(text: &str) -> Result<Settings, String> {
    match ProjectFile::parse(FILE_NAME.into(), text.into()) {
        Ok(file) => Ok(file.settings),
        Err(error) => {
            let hint = error.hint();
            let hint = if hint.is_empty() { hint } else { format!(" | {hint}") };
            Err(format!("{error}{hint}"))
        }
    }
}

#[test]
fn everything_that_can_be_said() {
    let settings = parse(
        r#"
        [sandbox]
        name = "web"
        image = "dir:rootfs"
        workspace = "overlay"
        user = "1000:1000"
        workdir = "src"
        read_only = true
        keep = true
        timeout = "1h30m"
        env_file = ".env"
        env = { A = "1", "B C" = "x=y" }
        [resources]
        cpus = 0.1
        memory = "512M"
        pids = 100
        disk = 1073741824
        nofile = 1024
        fsize = "1G"
        [workspace]
        protect = ["deploy/", "./Makefile"]
        mounts = ["data:/data:ro"]
        tmpfs = ["/scratch", "/big:1G"]
        "#,
    )
    .unwrap();
    assert_eq!(settings.name, Some(Name::try_from("web".to_owned()).unwrap()));
    assert_eq!(settings.image.unwrap().value, super::super::ImageArg::Dir("rootfs".into()));
    assert_eq!(settings.workspace, Some(WorkspaceMode::Overlay));
    assert_eq!(settings.user.unwrap().value, "1000:1000");
    assert_eq!(settings.workdir.unwrap().value, Path::new("src"));
    assert_eq!((settings.read_only, settings.keep), (Some(true), Some(true)));
    assert_eq!(settings.timeout, Some(Duration::from_secs(5400)));
    assert_eq!(settings.env_file.unwrap().value, Path::new(".env"));
    assert_eq!(settings.env, [("A".into(), "1".into()), ("B C".into(), "x=y".into())]);
    assert_eq!((settings.cpu_milli, settings.memory), (Some(100), Some(512 << 20)));
    assert_eq!(settings.pids.unwrap().value, 100);
    assert_eq!(settings.disk.unwrap().value, 1 << 30);
    assert_eq!(settings.nofile.unwrap().value, 1024);
    assert_eq!(settings.fsize.unwrap().value, 1 << 30);
    assert_eq!(settings.protect, [Path::new("deploy"), Path::new("Makefile")]);
    assert_eq!((settings.mounts[0].line, settings.mounts[0].column), (22, 19));
    assert!(settings.mounts[0].value.read_only);
    assert_eq!(settings.tmpfs[1].value.size, Some(1 << 30));
}

#[test]
fn tables_may_be_written_in_any_way() {
    let plain = parse("[sandbox]\nimage='host'\nenv.A='1'\n[resources]\ncpus=2").unwrap();
    assert_eq!(plain.env, [("A".into(), "1".into())]);
    assert_eq!(plain.cpu_milli, Some(2000));
    let inline = parse("sandbox={keep=true,env={A='1'}}\nresources.pids=9").unwrap();
    assert_eq!((inline.keep, inline.pids.unwrap().value), (Some(true), 9));
    assert_eq!(parse("[sandbox.env]\nA='1'").unwrap().env, plain.env);
    assert_eq!(parse("").unwrap(), Settings::default());
}

#[test]
fn mistakes_are_told_with_their_place_and_a_hint() {
    let table = [
        ("[resources]\nmemroy = 1", "2:1: unknown key 'memroy' in [resources] | Did you mean `memory`?"),
        ("[sandbox]\nmemory = 1", "2:1: unknown key 'memory' in [sandbox] | `memory` belongs into [resources]"),
        ("[sandbox]\nmemmory = 1", "2:1: unknown key 'memmory' in [sandbox] | Did you mean `memory` in [resources]?"),
        ("[workspace]\n  quux = 1", "2:3: unknown key 'quux' in [workspace] | [workspace] has protect, mounts, tmpfs"),
        ("[sandboxx]", "1:2: unknown table 'sandboxx' | Did you mean [sandbox]?"),
        ("image = 'host'", "1:1: [image] must be a table, not a text | `image` belongs into [sandbox]"),
        (
            "[egress]",
            "1:2: unknown table 'egress' | There are [sandbox], [image], [resources], [workspace], [network], [secrets], [ssh]",
        ),
        ("sandbox = 1", "1:1: [sandbox] must be a table, not a whole number"),
        ("[[sandbox]]", "1:3: [sandbox] must be a table, not a list of tables"),
        ("[sandbox]\nimage = 1", "2:9: `image` must be a text, not a whole number"),
        ("[sandbox]\nkeep = 'yes'", "2:8: `keep` must be true or false, not a text"),
        (
            "[sandbox]\nimage = './debian'",
            "2:9: `image`: './debian': not an image: '.' is not the host of a registry, at character 1; use 'host', 'dir:PATH', or a name such as 'debian:12'",
        ),
        (
            "[sandbox]\nname = 'Web'",
            "2:8: `name`: 'Web' is not a name: use up to 63 of a-z, 0-9, '_', '.', '-', beginning with a letter or digit",
        ),
        ("[sandbox]\nenv = { A = 1 }", "2:13: `env`: 'A' must be a text, not a whole number"),
        ("[sandbox]\nenv = { 'A=B' = '' }", "2:9: `env`: a variable's name can't have a '='"),
        ("[sandbox]\nenv = { \"\" = '' }", "2:9: `env`: '=': has no name: use NAME=value, or NAME for your own value"),
        ("[sandbox]\ntimeout = 90", "2:11: `timeout` must be a time such as \"90s\", not a whole number"),
        ("[resources]\nmemory = '1Q'", "2:10: `memory`: '1Q': not a size: use a number and K, M, G or T, such as 512M"),
        ("[resources]\nmemory = -1", "2:10: `memory` must not be negative"),
        ("[resources]\nmemory = '1K'", "2:10: `memory`: 1024 is too little: a sandbox needs 6M of memory"),
        ("[resources]\npids = 1.5", "2:8: `pids` must be a whole number, not a floating-point number"),
        ("[resources]\npids = 0", "2:8: `pids`: 0 is too little: a sandbox needs 4 processes"),
        ("[resources]\ncpus = nan", "2:8: `cpus`: 'NaN': not a number of processors, such as 2 or 0.5"),
        ("[resources]\ncpus = 0", "2:8: `cpus`: '0': not between 0.01 and 4096 processors"),
        (
            "[workspace]\nprotect = ['a',\n  '../b']",
            "3:3: `protect`: '../b': not a path below the project: use one like 'dir/file'",
        ),
        ("[workspace]\nprotect = 'a'", "2:11: `protect` must be a list of texts, not a text"),
        ("[workspace]\nmounts = ['a:/b', 1]", "2:19: `mounts` must have texts only, not a whole number"),
        ("[workspace]\nmounts = ['a:/proc']", "2:11: `mounts`: '/proc': nothing can be mounted there"),
        (
            "# ünï\n[sandbox] # ü\n'ü' = 1",
            "3:1: unknown key 'ü' in [sandbox] | [sandbox] has name, backend, runtime, image, workspace, user, workdir, read_only, log_refused, keep, timeout, env, env_file",
        ),
        ("sandbox.'ünï' = 'é'\nsandbox.env = {'é' = 'ü', b = 1}", "1:9: unknown key"),
        ("sandbox.env = {'é' = 'ü', b = 1}", "1:31: `env`: 'b' must be a text, not a whole number"),
        ("a = \"ü\" ü", "1:9: "),
        ("[sandbox]\nkeep = true\nkeep = true", "3:1: duplicate key"),
        ("[sandbox", "1:9: "),
        ("[sandbox]\nkeep = ", "2:8: "),
    ];
    for (text, expected) in table {
        let message = parse(text).unwrap_err();
        let expected = format!("{FILE_NAME}:{expected}");
        let whole = expected.ends_with(' ') || expected.ends_with("key");
        assert!(
            if whole { message.starts_with(&expected) } else { message == expected },
            "{text}\n{message}\n{expected}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn networks_and_secrets() {
    let settings = parse(
        r#"
        [network]
        mode = "allow"
        allow = ["github.com", { host = "api.example.org:443", methods = ["GET"], paths = ["/v1/"] }]
        deny = ["*.bad.example.org:*"]
        ports = [3000, "5173:8080"]
        host_services = ["localhost:5432"]
        bandwidth = 4096
        [secrets]
        A = ["api.example.org", "*.example.net"]
        B = { env = "C", hosts = ["api.example.org"], file = "/run/secrets/b", from = "env:D" }
        [secrets.E]
        from = "store"
        "#,
    )
    .unwrap();
    let network = &settings.network;
    assert_eq!(network.mode.as_ref().unwrap().line, 3);
    let allow = network.allow.as_deref().unwrap();
    assert_eq!((allow[1].line, allow[1].column), (4, 32));
    assert_eq!(allow[1].value.requests.paths, ["/v1/"]);
    assert_eq!(network.ports.iter().map(|port| port.value.outside).collect::<Vec<_>>(), [3000, 8080]);
    assert_eq!((network.deny.len(), network.services.len(), network.bandwidth), (1, 1, Some(4096)));
    let [a, b, e] = &settings.secrets[..] else { panic!("{:?}", settings.secrets) };
    assert_eq!((a.value.name.as_str(), a.value.hosts.len(), a.line, a.column), ("A", 2, 10, 9));
    assert_eq!((b.value.env.as_deref(), b.value.file.as_deref()), (Some("C"), Some(Path::new("/run/secrets/b"))));
    assert_eq!(b.value.source, Some(SecretSource::Env("D".into())));
    assert_eq!((e.value.name.as_str(), e.value.source.clone()), ("E", Some(SecretSource::Store)));
    let tables = parse("[[network.allow]]\nhost = 'a.b'\n[[network.allow]]\nhost = 'c.d:22'\n").unwrap();
    let tables = tables.network.allow.unwrap();
    assert_eq!((tables[1].value.to_string(), tables[1].line), ("c.d:22".into(), 3));
}

#[test]
fn mistakes_in_networks_and_secrets() {
    let value = "No value stands here: `agentkernel secret set A --host HOST` takes it";
    for (text, expected) in [
        (
            "[sandbox]\nnet = 'none'",
            "2:1: unknown key 'net' in [sandbox] | It is `mode` in [network] now: the mode 'none' is the default",
        ),
        ("[network]\nmode = 'some'", "2:8: `mode`: 'some': not a network mode: use 'none', 'allow' or 'open'"),
        ("[sandbox]\nworkdir = \"a\\u0000\"", "2:11: `workdir` has a NUL character, which nothing can be called by"),
        (
            "[workspace]\nprotect = [\"a\", \"b\\u0000\"]",
            "2:11: `protect` has a NUL character, which nothing can be called by",
        ),
        ("[network]\nalow = []", "2:1: unknown key 'alow' in [network] | Did you mean `allow`?"),
        ("[network]\nallow = 'a.b'", "2:9: `allow` must be a list of texts, not a text"),
        ("[network]\nallow = ['a.b', 1]", "2:17: `allow` must have texts and tables only, not a whole number"),
        (
            "[network]\nallow = ['a.b', 'https://c.d/']",
            "2:17: `allow`: 'https://c.d/' is a URL | Write the host alone, or HOST:PORT; requests are restricted by `methods` and `paths` in agentkernel.toml",
        ),
        (
            "[network]\nallow = ['a*.b']",
            "2:10: `allow`: 'a*.b' has a star where it means nothing | A star stands for all that is before a dot, as in '*.example.org', or alone for every host",
        ),
        (
            "[network]\nallow = [{ methods = ['GET'] }]",
            "2:10: `allow`: `host` is missing | Write { host = \"api.example.org\", methods = [\"GET\"] }",
        ),
        ("[network]\nallow = [{ hots = 'a.b' }]", "2:12: `allow`: unknown key 'hots' | Did you mean `host`?"),
        ("[network]\nallow = [{ xyz = 'a.b' }]", "2:12: `allow`: unknown key 'xyz' | It has host, methods, paths"),
        (
            "[network]\nallow = [{ host = 'a.b',\nmethods = ['get'] }]",
            "3:12: `methods`: 'get' is not an HTTP method: write it in capitals, such as GET",
        ),
        (
            "[network]\nallow = [{ host = 'a.b', methods = [] }]",
            "2:36: `methods` is empty, which would allow nothing | Leave it out for what holds without it",
        ),
        (
            "[network]\nallow = [{ host = 'a.b', paths = ['/a/../b'] }]",
            "2:35: `paths`: '/a/../b' is not a path that requests can be compared with: begin with '/', without '..', '//' or a query",
        ),
        ("[network]\ndeny = [{ host = 'a.b' }]", "2:9: `deny` must have texts only, not a table"),
        (
            "[network]\nports = [0]",
            "2:10: `ports`: '0': not a port: use SANDBOX or SANDBOX:HOST, such as 3000:8080, each from 1 to 65535",
        ),
        (
            "[network]\nports = [1.5]",
            "2:10: `ports` must have texts and whole numbers only, not a floating-point number",
        ),
        (
            "[network]\nhost_services = ['localhost']",
            "2:18: `host_services`: 'localhost' has no port | Write HOST:PORT, such as localhost:5432 for a service of this host",
        ),
        (
            "[network]\nbandwidth = 0",
            "2:13: `bandwidth`: 0 is too little: use 1K of bytes per second or more | The network mode 'none' refuses all connections",
        ),
        ("[secrets]\nA = 's3cr3t'", &format!("2:5: `A` must be a list of hosts or a table, not a text | {value}")),
        (
            "[secrets]\n'a-b' = ['a.b']",
            "2:1: 'a-b': not a name of a secret: use up to 128 letters, digits and '_', no digit first",
        ),
        (
            "[secrets]\nA = []",
            "2:5: `hosts` is empty, which would allow nothing | Leave it out for what holds without it",
        ),
        (
            "[secrets]\nA = ['*']",
            "2:6: `hosts`: '*': a secret for every host would be none | Name the hosts, such as api.example.org",
        ),
        ("[secrets]\nA = ['a.b:443']", "2:6: `hosts`: 'a.b:443': a secret's host has no port | Leave the port out"),
        (
            "[secrets]\nA = ['10.0.0.1']",
            "2:6: `hosts`: '10.0.0.1': a secret goes to servers that prove their names, not to addresses | Name the host",
        ),
        ("[secrets]\nA = { host = ['a.b'] }", "2:7: `A`: unknown key 'host' | Did you mean `hosts`?"),
        ("[secrets]\nA = { value = 's3cr3t' }", "2:7: `A`: unknown key 'value' | It has env, hosts, file, from"),
        (
            "[secrets]\nA = { from = 's3cr3t' }",
            "2:14: `from`: not a source: use 'env:VARIABLE', 'file:PATH' or 'store' | A secret's value does not stand here: `agentkernel secret set` takes it",
        ),
        ("[secrets]\nA = { env = 'AGENTKERNEL' }", "2:13: `env`: 'AGENTKERNEL': agentkernel sets this variable itself"),
        ("[secrets]\nA = { file = '/proc/x' }", "2:14: `file`: '/proc/x': nothing can be mounted there"),
        ("[secrets]\nA = { file = 'x' }", "2:14: `file`: 'x': not an absolute path"),
        (
            "[secrets]\nA = { file = '/etc/ld.so.preload' }",
            "2:14: `file`: '/etc/ld.so.preload': a place of the system's | Name a file in its HOME, or below /run/secrets",
        ),
        (
            "[network]\nmode = 'none'\nallow = ['a.b']",
            "3:10: `allow` has no use with `mode = \"none\"` | Leave `mode` out: what is listed is allowed then, and nothing else",
        ),
        (
            "[network]\nmode = 'none'\n[ssh]\nhosts = ['a.b']",
            "4:10: `hosts` has no use with `mode = \"none\"` | Leave `mode` out: what is listed is allowed then, and nothing else",
        ),
        (
            "[network]\nhost_services = ['localhost:1']\nmode = 'none'",
            "2:18: `host_services` has no use with `mode = \"none\"` | Leave `mode` out: what is listed is allowed then, and nothing else",
        ),
    ] {
        let message = parse(text).unwrap_err();
        assert_eq!(message, format!("{FILE_NAME}:{expected}"), "{text}");
        assert!(!message.contains("s3cr3t"));
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("a = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(parse(&deep).is_err());
}

fn host(cwd: &Path, home: &Path) -> HostFacts {
    HostFacts {
        cwd: std::fs::canonicalize(cwd).unwrap(),
        uid: 1000,
        gid: 1000,
        many_ids: false,
        user: "ann".into(),
        home: home.into(),
        env: Vec::new(),
        ram: 8 << 30,
        memory_attributes: true,
        max_nofile: None,
        max_nproc: None,
        max_fsize: None,
    }
}

#[test]
fn a_project_is_found_upward() {
    let dir = tempfile::tempdir().unwrap();
    let home = std::fs::canonicalize(dir.path()).unwrap();
    let deep = home.join("code/app/src/lib");
    std::fs::create_dir_all(&deep).unwrap();
    let find = |cwd: &Path| Project::find(&host(cwd, &home)).unwrap();
    let has_file = |project: &Project| project.file.is_some();

    assert_eq!(find(&deep).dir, deep, "nothing found: the working directory");
    // A repository of dot files and a stray configuration at home are not about the project.
    std::fs::create_dir(home.join(".git")).unwrap();
    std::fs::write(home.join(FILE_NAME), "").unwrap();
    assert_eq!(find(&deep).dir, deep);
    assert!(has_file(&find(&home)), "but in it, it counts");
    std::fs::write(home.join("code").join(FILE_NAME), "").unwrap();
    assert_eq!(find(&deep).dir, home.join("code"));
    // A worktree has a file called .git; the nearest wins.
    std::fs::write(home.join("code/app/.git"), "gitdir: x").unwrap();
    let found = find(&deep);
    assert_eq!(found.dir, home.join("code/app"));
    assert!(!has_file(&found));
    std::fs::write(home.join("code/app").join(FILE_NAME), "[sandbox]").unwrap();
    assert!(has_file(&find(&deep)));
    if rustix::process::geteuid().is_root() {
        // Somebody else's directory above ours.
        std::os::unix::fs::chown(home.join("code/app"), Some(65534), None).unwrap();
        assert_eq!(find(&deep).dir, deep);
    }
}

#[test]
fn a_file_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let find = || Project::find(&host(dir.path(), Path::new("/home/x"))).unwrap_err();
    std::os::unix::fs::symlink("/etc/shadow", &path).unwrap();
    assert!(find().to_string().ends_with("is a symbolic link"));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("something")).unwrap();
    assert!(find().to_string().ends_with("is not a file"));
    std::fs::remove_dir_all(&path).unwrap();
    fs::mknodat(fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(find().to_string().ends_with("is not a file"));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b'#'; 300_000]).unwrap();
    assert!(find().to_string().contains("is longer than"));
    std::fs::write(&path, b"[sandbox]\n# \xff").unwrap();
    assert!(find().to_string().ends_with(":2:3: not UTF-8"));
}

/// As a running sandbox leaves them in the place of what must not be made.
#[test]
fn empty_directories_are_no_project() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    for name in [FILE_NAME, ".git", "inner"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let find = || Project::find(&host(&inner, Path::new("/home/x"))).unwrap();
    assert_eq!((find().dir, find().file.is_none()), (inner.clone(), true));
    std::fs::write(dir.path().join(".git/HEAD"), "").unwrap();
    assert_eq!(find().dir, dir.path());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_crash(text in "\\PC*", toml in "(\\[[a-z]{0,9}\\]|[a-z_.]{1,9} ?= ?[0-9a-z'\"\\[\\]{}=,.-]{0,12}|\\n){0,12}") {
        let _ = parse(&text);
        let _ = parse(&toml);
    }

    #[test]
    fn any_value_for_any_key(table in 0usize..5, key in 0usize..16, value in 0usize..12) {
        let schema::Table { name: table, keys, .. } = &schema::PROJECT[table];
        let key = match keys {
            Keys::Fixed(keys) => keys[key % keys.len()].name,
            Keys::Secrets | Keys::Registries => "A",
        };
        let values = ["1", "-1", "1.5", "inf", "''", "'x'", "true", "[]", "[1]", "{}", "{a=1}", "1979-05-27"];
        let text = format!("[{table}]\n{key} = {}", values[value]);
        if let Err(message) = parse(&text) {
            prop_assert!(message.starts_with(&format!("{FILE_NAME}:2:")), "{}", message);
        }
    }
}
