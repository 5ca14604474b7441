use super::{
    super::{identity::tests::host as facts, own_layers},
    *,
};
use crate::{BackendKind, Network};
use tempfile::TempDir;
use wire::{Rlimit, RlimitKind};

/// A project in a directory of its own, and a host that stands in it.
struct Scene {
    dir: TempDir,
    host: HostFacts,
    project: Project,
}

impl Scene {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(dir.path()).unwrap();
        for place in ["home", "app/src", "app/data", "app/rootfs", "outside"] {
            std::fs::create_dir_all(base.join(place)).unwrap();
        }
        let mut host = facts(1000);
        host.home = base.join("home");
        host.cwd = base.join("app");
        std::fs::write(host.cwd.join(super::super::FILE_NAME), text).unwrap();
        let project = Project::find(&host).unwrap();
        Self { dir, host, project }
    }

    fn base(&self) -> PathBuf {
        std::fs::canonicalize(self.dir.path()).unwrap()
    }

    fn resolve(&self, overrides: Overrides) -> Result<Spec, ConfigError> {
        resolve(overrides, &self.project, &UserConfig::default(), &self.host)
    }

    fn spec(&self, overrides: Overrides) -> Spec {
        self.resolve(overrides).unwrap_or_else(|error| panic!("{error}"))
    }

    fn asks(&self) -> Vec<String> {
        match self.resolve(Overrides::default()) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Untrusted { asks, .. }) => asks,
            Err(other) => panic!("{other}"),
        }
    }

    fn error(&self, overrides: Overrides) -> String {
        let error = self.resolve(overrides).unwrap_err().to_string();
        error.replace(&self.base().display().to_string(), "BASE")
    }
}

fn variables(spec: &Spec) -> Vec<String> {
    spec.env.iter().map(ToString::to_string).collect()
}

fn rlimit(spec: &Spec, kind: RlimitKind) -> Option<u64> {
    spec.limits.rlimits.iter().find(|limit| limit.kind == kind).map(|limit| limit.value)
}

#[test]
fn a_kept_sandbox_shows_no_limit_that_nothing_enforces() {
    let scene = Scene::new("");
    assert_eq!(scene.spec(Overrides { keep: Some(true), ..Overrides::default() }).limits.disk, None);
    assert!(scene.spec(Overrides::default()).limits.disk.is_some());
}

#[test]
fn the_defaults_are_safe() {
    let scene = Scene::new("");
    let spec = scene.spec(Overrides { command: vec!["true".into()], ..Overrides::default() });
    let path = scene.base().join("app");
    assert_eq!(spec.name, None);
    assert_eq!(spec.hostname, spec.id.to_string());
    assert!(!spec.keep && !spec.read_only);
    assert_eq!((spec.image, spec.network, spec.timeout_ms), (Image::Host, Network::default(), None));
    match spec.workspace {
        Workspace::Direct { path: workspace, protected } => {
            assert_eq!(workspace, path);
            for path in [".git/hooks", ".git/config", "agentkernel.toml", ".envrc", ".mcp.json"] {
                assert!(protected.contains(&path.into()), "{path}");
            }
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((spec.identity.uid, spec.identity.gid, spec.identity.name.as_str()), (1000, 100, "ann"));
    assert_eq!(spec.identity.home, scene.host.home);
    assert_eq!(spec.limits.disk, Some(4 << 30));
    assert_eq!((spec.limits.memory, spec.limits.pids, spec.limits.cpu_milli), (None, None, None));
    assert_eq!(
        spec.limits.rlimits,
        [
            Rlimit { kind: RlimitKind::Core, value: 0 },
            Rlimit { kind: RlimitKind::Nofile, value: 65536 },
            Rlimit { kind: RlimitKind::Nproc, value: 4096 },
        ]
    );
    let command = spec.command.unwrap();
    assert_eq!((command.argv, &command.env), (vec!["true".into()], &spec.env));
    assert_eq!(command.cwd, OsBytes::from(path));
    assert_eq!(command.stdio, Stdio::Pipes { stdin: false });
    assert_eq!((command.user.uid, command.user.gid), (1000, 100));
}

#[test]
fn the_disk_of_a_kept_sandbox_cannot_be_limited() {
    let scene = Scene::new("[resources]\ndisk='1G'");
    assert_eq!(scene.spec(Overrides::default()).limits.disk, Some(1 << 30));
    let kept = Overrides { keep: Some(true), ..Overrides::default() };
    let error = scene.resolve(kept).unwrap_err().to_string();
    assert!(error.ends_with("agentkernel.toml:2:6: `disk`: the disk of a kept sandbox cannot be limited"), "{error}");
}

#[test]
fn flags_win_over_the_file() {
    let scene = Scene::new(
        "[sandbox]\nworkspace='overlay'\nimage='dir:rootfs'\nuser='65534'\nworkdir='src'\ntimeout='1h'\nkeep=true\nname='web'
        env={A='file',B='file'}
        [resources]\ncpus=1\nmemory='1G'\npids=100\nnofile=100\nfsize='1M'
        [workspace]\nmounts=['data:/data:ro']\ntmpfs=['/t:1M']",
    );
    let from_file = scene.spec(Overrides::default());
    assert!(matches!(from_file.workspace, Workspace::Overlay { .. }));
    assert_eq!(from_file.image, Image::Dir(scene.base().join("app/rootfs")));
    assert_eq!(from_file.identity.uid, 65534);
    assert_eq!(from_file.workdir, OsBytes::from(scene.base().join("app/src")));
    assert_eq!((from_file.timeout_ms, from_file.keep), (Some(3_600_000), true));
    assert_eq!(from_file.name.as_ref().map(Name::as_str), Some("web"));
    assert_eq!(from_file.hostname, "web");
    assert_eq!(from_file.limits.cpu_milli, Some(1000));
    assert_eq!((from_file.limits.memory, from_file.limits.pids), (Some(1 << 30), Some(100)));
    assert_eq!(rlimit(&from_file, RlimitKind::Nofile), Some(100));
    assert_eq!(rlimit(&from_file, RlimitKind::Nproc), Some(100));
    assert_eq!(rlimit(&from_file, RlimitKind::Fsize), Some(1 << 20));
    assert_eq!(from_file.mounts[0].source, scene.base().join("app/data"));
    assert_eq!(from_file.tmpfs, [Tmpfs { target: "/t".into(), size: 1 << 20 }]);

    std::fs::write(scene.base().join("app/vars"), "B=envfile\nC=envfile").unwrap();
    let spec = scene.spec(Overrides {
        name: Some(Name::try_from("cli".to_owned()).unwrap()),
        image: Some(super::super::ImageArg::Host),
        workspace: Some(WorkspaceMode::Direct),
        env: vec![EnvVar::Set("C".into(), "flag".into()), EnvVar::Set("AGENTKERNEL".into(), "0".into())],
        env_files: vec!["vars".into()],
        workdir: Some("/tmp/x/".into()),
        user: Some("root".into()),
        cpus: Some(500),
        memory: Some(64 << 20),
        pids: Some(5000),
        disk: Some(100 << 30),
        timeout: Some(Duration::from_secs(1)),
        mounts: vec![Mount { source: "../outside".into(), target: "/data".into(), read_only: false }],
        tmpfs: vec![TmpfsArg { target: "/t".into(), size: None }],
        read_only: true,
        keep: Some(false),
        terminal: true,
        command: vec!["sh".into()],
        ..Overrides::default()
    });
    assert_eq!(spec.name.as_ref().map(Name::as_str), Some("cli"));
    assert_eq!(spec.image, Image::Host);
    assert!(matches!(spec.workspace, Workspace::Direct { .. }));
    assert_eq!(spec.workdir, OsBytes::from("/tmp/x"));
    assert_eq!((spec.identity.uid, spec.keep, spec.read_only), (0, false, true));
    assert_eq!((spec.limits.cpu_milli, spec.limits.memory), (Some(500), Some(64 << 20)));
    assert_eq!((spec.limits.pids, spec.limits.disk), (Some(5000), Some(100 << 30)));
    assert_eq!(rlimit(&spec, RlimitKind::Nproc), Some(5000));
    assert_eq!(spec.timeout_ms, Some(1000));
    assert_eq!(spec.mounts.len(), 1);
    assert_eq!(spec.mounts[0].source, scene.base().join("outside"));
    assert_eq!(spec.tmpfs, [Tmpfs { target: "/t".into(), size: 64 << 20 }]);
    let env = variables(&spec);
    for entry in ["A=file", "B=envfile", "C=flag", "AGENTKERNEL=1"] {
        assert!(env.contains(&entry.to_owned()), "{entry} in {env:?}");
    }
    let command = spec.command.unwrap();
    assert!(matches!(command.stdio, Stdio::Terminal { .. }));
    assert!(command.env.contains(&"TERM=xterm-256color".into()) && !env.iter().any(|entry| entry.starts_with("TERM=")));
}

#[test]
fn a_kept_one_is_named_and_an_ephemeral_one_is_not() {
    let keep = || Overrides { keep: Some(true), ..Overrides::default() };
    let spec = Scene::new("").spec(keep());
    assert_eq!(spec.name, Some(generated_name(&spec.id)));
    let named = Scene::new("[sandbox]\nname='web'");
    assert_eq!(named.spec(keep()).name.unwrap().as_str(), "web");
    assert_eq!(named.spec(Overrides::default()).name, None);
}

#[test]
fn what_asks_for_more_needs_trust() {
    for (text, asks) in [
        ("", &[][..]),
        ("[sandbox]\nimage='dir:../outside'", &["image = BASE/outside"]),
        ("[sandbox]\nimage='dir:rootfs'", &[]),
        ("[sandbox]\nuser='root'", &["user = root"]),
        ("[sandbox]\nuser='0:5'", &["user = root"]),
        ("[sandbox]\nuser='nobody'", &[]),
        ("[sandbox]\nenv_file='../outside/env'", &["env_file = BASE/outside/env"]),
        ("[sandbox]\nenv_file='env'", &[]),
        ("[resources]\npids=4097", &["pids = 4097"]),
        ("[resources]\npids=4096\nnofile=65536\ndisk='4G'", &[]),
        ("[resources]\nnofile=65537", &["nofile = 65537"]),
        ("[resources]\ndisk='5G'", &["disk = 5368709120"]),
        ("[workspace]\nmounts=['../outside:/x:ro']", &["mounts = BASE/outside (read-only)"]),
        ("[workspace]\nmounts=['data/../../outside:/x:ro']", &["mounts = BASE/outside (read-only)"]),
        ("[workspace]\nmounts=['near/sub:/x:ro']", &[]),
        ("[workspace]\nmounts=['data:/x']", &["mounts = BASE/app/data (writable)"]),
        ("[workspace]\nmounts=['.:/x']", &["mounts = BASE/app (writable)"]),
        ("[workspace]\nmounts=['data:/x:ro']", &[]),
        ("[workspace]\ntmpfs=['/a:3G','/b:3G']", &["tmpfs = 6G of memory"]),
        ("[workspace]\ntmpfs=['/a:4G']", &[]),
        ("[sandbox]\nkeep=true\nread_only=true\nworkspace='none'\ntimeout='1s'", &[]),
    ] {
        let mut scene = Scene::new(text);
        let base = scene.base();
        std::fs::write(base.join("outside/env"), "A=1").unwrap();
        std::fs::write(base.join("app/env"), "A=1").unwrap();
        std::fs::create_dir_all(base.join("app/data/sub")).unwrap();
        std::os::unix::fs::symlink("data", base.join("app/near")).unwrap();
        let found: Vec<String> =
            scene.asks().iter().map(|ask| ask.replace(&base.display().to_string(), "BASE")).collect();
        assert_eq!(found, asks, "{text}");
        if !asks.is_empty() {
            let error = scene.resolve(Overrides::default()).unwrap_err();
            assert!(error.hint().contains("agentkernel trust"));
        }
        scene.project.file.as_mut().unwrap().trusted = true;
        scene.spec(Overrides::default());
    }
}

/// Trust is in what a file says, and not in what a sandbox lays there.
#[test]
fn no_trust_lets_a_link_lead_out_of_the_project() {
    for text in [
        "[sandbox]\nenv_file='link/env'",
        "[sandbox]\nimage='dir:link/root'",
        "[workspace]\nmounts=['link/root:/x:ro']",
        "[workspace]\nmounts=['data/../link/root:/x:ro']",
        "[workspace]\nmounts=['data/../link/root:/x']",
    ] {
        let mut scene = Scene::new(text);
        let base = scene.base();
        std::fs::create_dir_all(base.join("outside/root")).unwrap();
        std::fs::create_dir_all(base.join("app/data")).unwrap();
        std::fs::write(base.join("outside/env"), "A=1").unwrap();
        std::os::unix::fs::symlink("../outside", base.join("app/link")).unwrap();
        for trusted in [false, true] {
            scene.project.file.as_mut().unwrap().trusted = trusted;
            let error = scene.resolve(Overrides::default()).unwrap_err();
            let words = match text.ends_with("/x']") {
                true => "'link' is a symbolic link where the sandbox can change it".to_owned(),
                false => format!("leads out of '{}/app' by a link, to '{}/outside/", base.display(), base.display()),
            };
            assert!(error.to_string().contains(&words) && error.to_string().contains("agentkernel.toml:2:"), "{error}");
        }
    }
}

/// What a project that is not trusted asks for is not brought, and its consent is asked for all the same.
#[test]
fn an_image_that_is_not_here_needs_consent_before_it_is_looked_for() {
    let scene = Scene::new("[sandbox]\nimage='debian:12'\n[resources]\npids=4097");
    assert_eq!(scene.asks(), ["image = debian:12", "pids = 4097"]);
    let error = scene.resolve(Overrides::default()).unwrap_err();
    assert!(error.hint().contains("agentkernel trust"), "{}", error.hint());
    // Whoever its programs run as is not known yet.
    let scene = Scene::new("[sandbox]\nimage='debian:12'\nuser='app'");
    assert_eq!(scene.asks()[0], "image = debian:12");
    let mut scene = Scene::new("[sandbox]\nimage='debian:12'");
    scene.project.file.as_mut().unwrap().trusted = true;
    let error = scene.resolve(Overrides::default()).unwrap_err();
    assert_eq!(error.to_string(), "Image debian:12 is not in the store");
}

/// An image with an entrypoint and a command.
fn image() -> FoundImage {
    FoundImage {
        image: Image::Oci(crate::OciImage {
            reference: "app:1".into(),
            manifest: oci::Digest::of(b"manifest"),
            layers: vec![oci::Digest::of(b"layer")],
            volumes: vec![],
        }),
        engine: None,
        user: String::new(),
        env: Vec::new(),
        entrypoint: vec!["/entry".into(), "-x".into()],
        command: vec!["serve".into(), "all".into()],
        workdir: String::new(),
        passwd: Vec::new(),
        group: Vec::new(),
        has_bash: false,
        has_musl: false,
    }
}

#[test]
fn an_image_says_what_runs_where_nothing_is_said() {
    let scene = Scene::new("");
    let run = |command: &[&str], entrypoint: Option<&str>, must_run: bool, found: FoundImage| {
        let spec = scene.resolve(Overrides {
            image: Some(ImageArg::Named("app:1".parse().unwrap())),
            found: Some(found),
            entrypoint: entrypoint.map(Into::into),
            command: command.iter().map(Into::into).collect(),
            must_run,
            ..Overrides::default()
        });
        spec.map(|spec| {
            let argv = spec.command.map(|command| command.argv).unwrap_or_default();
            argv.into_iter().map(|word| String::from_utf8(word.0).unwrap()).collect::<Vec<_>>().join(" ")
        })
    };
    assert_eq!(run(&[], None, true, image()).unwrap(), "/entry -x serve all");
    assert_eq!(run(&["a"], None, true, image()).unwrap(), "/entry -x a");
    // As in Docker: the command belongs to its entrypoint.
    assert_eq!(run(&[], Some("/other"), true, image()).unwrap(), "/other");
    assert_eq!(run(&["a"], Some(""), true, image()).unwrap(), "a");
    assert_eq!(run(&[], None, true, FoundImage { command: vec![], ..image() }).unwrap(), "/entry -x");
    assert_eq!(run(&[], None, true, FoundImage { entrypoint: vec![], ..image() }).unwrap(), "serve all");
    // What is only made idles.
    assert_eq!(run(&[], None, false, image()).unwrap(), "");
    let nothing = FoundImage { command: vec![], entrypoint: vec![], ..image() };
    for (entrypoint, found) in [(Some(""), image()), (None, nothing)] {
        assert_eq!(run(&[], entrypoint, true, found).unwrap_err().to_string(), "COMMAND is missing");
    }
}

#[test]
fn layers_of_the_project_lie_below_those_of_flags() {
    let layer = |name: &str, env: &[&str]| FoundLayer {
        image: crate::OciImage {
            reference: name.into(),
            manifest: oci::Digest::of(name.as_bytes()),
            layers: vec![oci::Digest::of(name.as_bytes())],
            volumes: vec![],
        },
        env: env.iter().map(ToString::to_string).collect(),
    };
    let mut scene = Scene::new("[image]\nlayers = ['one:1', 'two:1']");
    assert_eq!(scene.asks(), ["layers = one:1", "layers = two:1"]);
    scene.project.file.as_mut().unwrap().trusted = true;
    let with = |found: &[FoundLayer]| Overrides {
        layers: vec!["three:1".parse().unwrap()],
        found_layers: found.to_vec(),
        ..Overrides::default()
    };
    let found =
        [layer("one:1", &["PATH=/one"]), layer("two:1", &["PATH=/two"]), layer("three:1", &["USER=evil", "A=b"])];
    let spec = scene.spec(with(&found));
    assert_eq!(spec.layers, found.each_ref().map(|layer| layer.image.clone()));
    let variables = variables(&spec);
    assert!(variables.iter().any(|entry| entry.starts_with("PATH=/two:/one:/usr/")), "{variables:?}");
    assert!(variables.contains(&"A=b".to_owned()) && !variables.contains(&"USER=evil".to_owned()), "{variables:?}");
    assert_eq!(scene.error(with(&found[..2])), "Not all layers are in the store");
    // Another image, and nothing of [image].
    let image = Some(ImageArg::Host);
    assert_eq!(scene.spec(Overrides { image: image.clone(), ..with(&found[2..]) }).layers.len(), 1);
    assert_eq!(own_layers(&with(&[]), &scene.project).len(), 2);
    assert!(own_layers(&Overrides { image, ..with(&[]) }, &scene.project).is_empty());
}

#[test]
fn root_needs_no_consent_to_be_root() {
    let mut scene = Scene::new("[sandbox]\nuser='root'");
    scene.host.uid = 0;
    assert_eq!(scene.asks(), [""; 0]);
}

#[test]
fn a_flag_in_its_place_needs_no_trust() {
    let scene = Scene::new(
        "[sandbox]\nimage='dir:../outside'\nuser='root'\n[resources]\npids=9999\n[workspace]\nmounts=['..:/x']",
    );
    scene.spec(Overrides {
        image: Some(super::super::ImageArg::Host),
        user: Some("ann".into()),
        pids: Some(10_000),
        mounts: vec![Mount { source: "data".into(), target: "/x".into(), read_only: true }],
        ..Overrides::default()
    });
}

#[test]
fn a_project_cannot_take_a_value_from_the_caller() {
    let mut scene = Scene::new("[sandbox]\nenv_file='env'");
    std::fs::write(scene.base().join("app/env"), "A=1\nAWS_SECRET_ACCESS_KEY\n").unwrap();
    scene.host.env = vec![("AWS_SECRET_ACCESS_KEY".into(), "s".into())];
    for trusted in [false, true] {
        scene.project.file.as_mut().unwrap().trusted = trusted;
        let message = scene.error(Overrides::default());
        let cause = "`env_file`: 'AWS_SECRET_ACCESS_KEY' has no value in BASE/app/env";
        assert_eq!(message, format!("BASE/app/agentkernel.toml:2:10: {cause}"));
    }
}

#[test]
fn mistakes_that_show_late_have_their_place_too() {
    for (text, expected) in [
        ("[workspace]\nmounts=['x:/y:ro',\n'none:/z:ro']", "2:9: Mount source 'x' doesn't exist"),
        ("[workspace]\nmounts=['data:/y:ro',\n'data:/y:ro']", "3:1: Two mounts at /y"),
        ("[workspace]\ntmpfs=['/y','/y']", "2:13: Two mounts at /y"),
        ("[workspace]\nmounts=['data:/y:ro']\ntmpfs=['/y']", "3:8: Two mounts at /y"),
        ("[sandbox]\nuser='bob'", "2:6: User 'bob': not known"),
        ("[sandbox]\nworkdir='../x'", "2:9: `workdir`: 'BASE/app/../x': a path with '..' is not allowed here"),
        ("[sandbox]\nimage='dir:none'", "2:7: Image 'none' doesn't exist"),
        ("[sandbox]\nenv_file='none'", "2:10: can't read BASE/app/none: No such file or directory (os error 2)"),
        ("[resources]\nnofile=9999999", "2:8: `nofile`: your own limit is 1048576"),
    ] {
        let scene = Scene::new(text);
        assert_eq!(scene.error(Overrides::default()), format!("BASE/app/agentkernel.toml:{expected}"));
    }
}

#[test]
fn limits_that_nothing_could_live_in_are_refused() {
    let scene = Scene::new("");
    for (overrides, message) in [
        (
            Overrides { memory: Some(1), ..Overrides::default() },
            "--memory: 1 is too little: a sandbox needs 6M of memory",
        ),
        (Overrides { pids: Some(0), ..Overrides::default() }, "--pids: 0 is too little: a sandbox needs 4 processes"),
        (Overrides { disk: Some(9), ..Overrides::default() }, "--disk: 9 is too little: a sandbox needs 1M of disk"),
    ] {
        assert_eq!(scene.error(overrides), message);
    }
}

#[test]
fn hard_limits_of_the_caller_are_respected() {
    let mut scene = Scene::new("");
    scene.host.max_nofile = Some(1024);
    scene.host.max_nproc = Some(500);
    let spec = scene.spec(Overrides { pids: Some(1000), ..Overrides::default() });
    assert_eq!(rlimit(&spec, RlimitKind::Nofile), Some(1024));
    assert_eq!(rlimit(&spec, RlimitKind::Nproc), Some(500));
    assert_eq!(spec.limits.pids, Some(1000));
}

#[test]
fn what_is_not_a_project_is_no_workspace() {
    let home = Path::new("/home/ann");
    let refuse = |path: &str| protect::refuse(Path::new(path), [home].into_iter());
    for path in [
        "/",
        "/home",
        "/home/ann",
        "/home/ann/.ssh",
        "/home/ann/.config/x",
        "/home/ann/.claude",
        "/home/ann/.codex/skills/x",
        "/home/ann/.codex/worktrees",
        "/home/ann/.gemini",
        "/etc",
        "/etc/nginx",
        "/usr",
        "/usr/bin",
        "/usr/lib/python3",
        "/proc/1",
        "/sys",
        "/dev/shm",
        "/tmp",
        "/var",
        "/var/lib",
        "/root",
        "/lib64",
        "/opt",
        "/boot/x",
    ] {
        assert!(refuse(path).is_some(), "{path}");
    }
    for path in [
        "/home/ann/app",
        "/home/ann/.codex/worktrees/app",
        "/home/ann/.claude-notes",
        "/home/annabel",
        "/home/bob/app",
        "/tmp/x",
        "/opt/app",
        "/usr/src/app",
        "/usr/local/src/x",
        "/var/lib/ci/work",
        "/work",
        "/srv/git",
        "/library",
        "/etcetera",
        "/mnt/disk",
    ] {
        assert_eq!(refuse(path), None, "{path}");
    }
}

#[test]
fn where_what_logs_in_is_a_link_to_is_no_workspace() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().canonicalize().unwrap();
    std::fs::create_dir_all(home.join("dot/claude")).unwrap();
    std::fs::create_dir_all(home.join("app")).unwrap();
    std::os::unix::fs::symlink("dot/claude", home.join(".claude")).unwrap();
    let refuse = |path: &str| protect::refuse(&home.join(path), [home.as_path()].into_iter());
    assert_eq!(refuse("dot").as_deref(), Some("~/.claude leads into it"));
    assert_eq!(refuse("dot/claude/skills").as_deref(), Some("~/.claude leads there"));
    assert_eq!(refuse("app"), None);
    std::fs::create_dir_all(home.join("dot/codex/worktrees/app")).unwrap();
    std::os::unix::fs::symlink("dot/codex", home.join(".codex")).unwrap();
    assert_eq!(refuse("dot/codex/worktrees/app"), None);
    assert_eq!(refuse("dot/codex/worktrees").as_deref(), Some("~/.codex leads there"));
}

#[test]
fn what_mise_reads_for_an_environment_is_protected_where_that_is_in_use() {
    let scene = Scene::new("");
    let protected = |scene: &Scene| match scene.spec(Overrides::default()).workspace {
        Workspace::Direct { protected, .. } => protected,
        other => panic!("{other:?}"),
    };
    let has = |scene: &Scene, path: &str| protected(scene).contains(&PathBuf::from(path));
    std::fs::write(scene.host.cwd.join(".miserc.toml"), "# old\nenv = [\"dev\", 'ci']\n").unwrap();
    for path in ["mise.dev.toml", ".mise.ci.local.toml", ".config/mise.dev.toml", "mise.local.toml"] {
        assert!(has(&scene, path), "{path}");
    }
    assert!(!has(&scene, "mise.old.toml") && !has(&scene, "mise.prod.toml"));
    std::fs::remove_file(scene.host.cwd.join(".miserc.toml")).unwrap();
    assert!(!has(&scene, "mise.dev.toml"));
    std::fs::write(scene.host.cwd.join("mise.toml"), "").unwrap();
    let mut scene = scene;
    scene.host.env.push(("MISE_ENV".into(), "prod,eu".into()));
    for path in ["mise.prod.toml", "mise.eu.local.toml"] {
        assert!(has(&scene, path), "{path}");
    }
}

#[test]
fn a_home_directory_is_no_workspace() {
    let mut scene = Scene::new("");
    scene.host.home = scene.host.cwd.clone();
    for mode in [None, Some(WorkspaceMode::Direct), Some(WorkspaceMode::Overlay)] {
        let overrides = Overrides { workspace: mode, ..Overrides::default() };
        assert_eq!(scene.error(overrides), "BASE/app can't be a workspace: it is your home directory");
    }
    // The one that sudo left in the environment.
    scene.host.home = "/root".into();
    scene.host.env = vec![("HOME".into(), scene.base().join("app/src").into())];
    assert_eq!(scene.error(Overrides::default()), "BASE/app can't be a workspace: your home directory is in it");
    let spec = scene.spec(Overrides { workspace: Some(WorkspaceMode::None), ..Overrides::default() });
    assert_eq!(spec.workspace, Workspace::None);
    assert_eq!(spec.workdir, OsBytes::from(spec.identity.home));
}

#[test]
fn commands_start_where_the_caller_is() {
    let mut scene = Scene::new("");
    let base = scene.base();
    scene.host.cwd = base.join("app/src");
    let of = |scene: &Scene, workdir: Option<&str>| {
        scene.spec(Overrides { workdir: workdir.map(PathBuf::from), ..Overrides::default() }).workdir
    };
    assert_eq!(of(&scene, None), OsBytes::from(base.join("app/src")));
    assert_eq!(of(&scene, Some("deep//er/")), OsBytes::from(base.join("app/src/deep/er")));
    assert_eq!(of(&scene, Some("/")), OsBytes::from("/"));
    let error = scene.error(Overrides { workdir: Some("..".into()), ..Overrides::default() });
    assert!(error.contains("a path with '..' is not allowed here"), "{error}");
}

#[test]
fn nothing_is_mounted_over_the_workspace() {
    let scene = Scene::new("");
    let base = scene.base();
    for target in [base.join("app"), base.clone()] {
        let mounts = vec![Mount { source: "data".into(), target, read_only: true }];
        assert!(scene.error(Overrides { mounts, ..Overrides::default() }).ends_with("would hide the workspace"));
    }
    let mounts = vec![Mount { source: "data".into(), target: base.join("app/vendor"), read_only: true }];
    scene.spec(Overrides { mounts, ..Overrides::default() });
}

#[test]
fn consent_is_asked_for_with_all_that_it_is_for_on_every_backend() {
    for image in ["[image]\ndockerfile = 'Dockerfile'\n", "[sandbox]\nimage = 'app:1'\n"] {
        let text = format!("{image}[network]\nmode = 'allow'\nallow = ['evil.example']\n");
        let scene = Scene::new(&text);
        let asks = scene.asks();
        assert!(
            asks.iter().any(|ask| ask.contains("image")) && asks.iter().any(|ask| ask.contains("evil")),
            "{asks:?}"
        );
        let docker = Overrides { backend: Some(BackendKind::Docker), ..Overrides::default() };
        match scene.resolve(docker) {
            Err(ConfigError::Untrusted { asks: others, .. }) => assert_eq!(others, asks),
            other => panic!("{other:?}"),
        }
    }
}
