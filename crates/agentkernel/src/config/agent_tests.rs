use super::{
    super::{HostFacts, ImageArg, Overrides, WorkspaceMode, identity::tests::host as facts, resolve},
    *,
};
use crate::{BackendKind, EngineImage, SecretSource, Spec, engine::Endpoint};
use egress::Mode;
use oci::Platform;
use std::fs;

struct Scene {
    _folder: tempfile::TempDir,
    host: HostFacts,
    project: Project,
}

impl Scene {
    fn new(uid: u32, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(folder.path()).unwrap();
        for place in ["home/.one", "app", "kept"] {
            fs::create_dir_all(base.join(place)).unwrap();
        }
        fs::write(base.join("home/.one/settings"), "{}").unwrap();
        fs::write(base.join("app/agentkernel.toml"), text).unwrap();
        let mut host = facts(uid);
        (host.home, host.cwd) = (base.join("home"), base.join("app"));
        let project = Project::find(&host).unwrap();
        Self { _folder: folder, host, project }
    }

    fn agent(&self) -> AgentUse {
        let rule = |text: &str| super::super::parse_rule(text).unwrap();
        AgentUse {
            name: "one".into(),
            title: "One".into(),
            version: "1.0".into(),
            environment: vec![("ONE_HOME".into(), "{home}/.one".into()), ("SAID".into(), "by the agent".into())],
            brought: vec![(self.host.home.join(".one/settings"), ".one/settings".into())],
            copied: vec![(self.host.home.join("../copy"), ".one/copy".into())],
            kept: vec![(self.host.home.join("../kept"), ".one".into())],
            empty: "/empty".into(),
            needs: vec!["bash".into()],
            allow: vec![rule("api.example.org:443")],
            secrets: vec![SecretUse {
                name: "ONE_KEY".into(),
                source: SecretSource::Env("ONE_KEY".into()),
                hosts: Vec::new(),
                placeholder: "a-placeholder".into(),
                env: Some("ONE_KEY".into()),
                file: None,
            }],
            logins: Vec::new(),
        }
    }

    fn resolve(&self, overrides: Overrides, user: &UserConfig) -> Result<Spec, ConfigError> {
        let overrides = Overrides { agent: Some(self.agent()), command: vec!["one".into()], ..overrides };
        resolve(overrides, &self.project, user, &self.host)
    }

    fn spec(&self, overrides: Overrides) -> Spec {
        self.resolve(overrides, &UserConfig::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// With this in the user's own configuration.
    fn limited(&self, text: &str) -> Result<Spec, ConfigError> {
        let path = UserConfig::dir(&self.host).join("config.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let owner = rustix::process::geteuid().as_raw();
        self.resolve(Overrides::default(), &UserConfig::read(&HostFacts { uid: owner, ..self.host.clone() }).unwrap())
    }
}

fn has(spec: &Spec, variable: &str) -> bool {
    spec.env.iter().any(|entry| entry.to_string() == variable)
}

#[test]
fn an_agent_finds_its_home_its_settings_and_its_variables() {
    let scene = Scene::new(1000, "[sandbox]\nenv = { SAID = 'by the project' }");
    let spec = scene.spec(Overrides::default());
    let home = &spec.identity.home;
    assert!(has(&spec, &format!("ONE_HOME={}/.one", home.display())));
    // What the project and the user say counts before what the agent does.
    assert!(has(&spec, "SAID=by the project") && has(&spec, "ONE_KEY=a-placeholder"));
    let [settings] = &spec.mounts[..] else { panic!("{:?}", spec.mounts) };
    assert_eq!((settings.target.clone(), settings.read_only), (home.join(".one/settings"), true));
    let agent = spec.agent.clone().unwrap();
    assert_eq!((agent.name.as_str(), agent.version.as_str()), ("one", "1.0"));
    assert_eq!((agent.kept[0].target.clone(), agent.kept[0].read_only), (home.join(".one"), false));
    assert_eq!((agent.kept[1].target.clone(), agent.kept[1].read_only), (home.join(".one/copy"), true));
    assert_eq!(spec.all_mounts().count(), 3);
    // Who mounts something else there means that.
    let own = Mount { source: "app".into(), target: home.join(".one/settings"), read_only: false };
    let source = scene.host.home.join(".one");
    let spec = scene.spec(Overrides { mounts: vec![Mount { source, ..own }], ..Overrides::default() });
    assert_eq!((spec.mounts.len(), spec.mounts[0].read_only), (1, false));
}

#[test]
fn no_project_makes_it_root_unless_its_user_trusts_that() {
    let text = "[sandbox]\nuser = 'root'";
    for uid in [0, 1000] {
        let mut scene = Scene::new(uid, text);
        let error = scene.resolve(Overrides::default(), &UserConfig::default()).unwrap_err();
        assert!(error.hint().contains("agentkernel trust"), "{error} {}", error.hint());
        scene.project.file.as_mut().unwrap().trusted = true;
        assert_eq!(scene.spec(Overrides::default()).identity.uid, 0);
    }
    // Whoever types it says so.
    let own = Overrides { user: Some("root".into()), ..Overrides::default() };
    assert_eq!(Scene::new(0, "").spec(own).identity.uid, 0);
}

#[test]
fn its_network_is_added_within_the_users_limits() {
    let rules =
        |spec: &Spec| -> Vec<String> { spec.network.policy.rules.allow.iter().map(ToString::to_string).collect() };
    for text in ["", "[network]\nmode = 'none'"] {
        let spec = Scene::new(1000, text).spec(Overrides::default());
        assert_eq!(
            (spec.network.policy.rules.mode, rules(&spec)),
            (Mode::Allow, vec!["api.example.org:443".to_owned()])
        );
        assert_eq!(spec.network.secrets.len(), 1);
    }
    // Who wants no network gives it none, and nothing that logs it in.
    let scene = Scene::new(1000, "");
    let mut none = Overrides::default();
    none.network.mode = Some(Mode::None);
    let spec = scene.spec(none);
    assert_eq!((spec.network.policy.rules.mode, rules(&spec).len(), spec.network.secrets.len()), (Mode::None, 0, 0));
    let error = scene.limited("[network]\nallow = ['example.com']").unwrap_err();
    assert!(
        error.to_string().starts_with("One must reach api.example.org:443, which is beyond your own limits: "),
        "{error}"
    );
    assert!(scene.limited("[network]\nallow = ['*.example.org']").is_ok());
}

/// An image of the store or of an engine.
fn image(engine: bool, maps_ids: bool) -> FoundImage {
    FoundImage {
        image: match engine {
            true => Image::Engine(EngineImage { reference: "app:1".into(), id: "id".into(), volumes: Vec::new() }),
            false => Image::Oci(crate::OciImage {
                reference: "app:1".into(),
                manifest: oci::Digest::of(b"manifest"),
                layers: Vec::new(),
                volumes: Vec::new(),
            }),
        },
        engine: engine.then(|| super::super::FoundEngine {
            endpoint: Endpoint::Unix("/run/engine".into()),
            maps_ids,
            platform: Platform::host(),
        }),
        user: String::new(),
        env: Vec::new(),
        entrypoint: Vec::new(),
        command: Vec::new(),
        workdir: String::new(),
        passwd: Vec::new(),
        group: Vec::new(),
        has_bash: true,
        has_musl: false,
    }
}

/// A sandbox made of it.
fn made_of(found: FoundImage) -> Overrides {
    Overrides {
        backend: found.engine.is_some().then_some(BackendKind::Docker),
        image: Some(ImageArg::Named("app:1".parse().unwrap())),
        found: Some(found),
        ..Overrides::default()
    }
}

#[test]
fn an_agent_is_never_root_unless_somebody_says_so() {
    let user = |text: Option<&str>| Overrides { user: text.map(str::to_owned), ..Overrides::default() };
    assert_eq!(Scene::new(0, "").spec(user(None)).identity.uid, 1000);
    assert_eq!(Scene::new(1234, "").spec(user(None)).identity.uid, 1234);
    assert_eq!(Scene::new(0, "").spec(user(Some("root"))).identity.uid, 0);
    // The image would say root.
    assert_eq!(Scene::new(0, "").spec(made_of(image(false, false))).identity.uid, 1000);
    assert_eq!(Scene::new(1234, "").spec(made_of(image(false, false))).identity.uid, 1234);
    for maps_ids in [false, true] {
        assert_eq!(Scene::new(1234, "").spec(made_of(image(true, maps_ids))).identity.uid, 1234);
    }
    // Of an engine of root's it is whoever can write to the project.
    let scene = Scene::new(0, "");
    let owner = rustix::fs::stat(&scene.project.dir).unwrap().st_uid;
    assert_eq!(scene.spec(made_of(image(true, true))).identity.uid, owner);
}

#[test]
fn who_sets_what_logs_an_agent_in_is_left_to_it() {
    let project = |text: &str| Scene::new(1000, text).project;
    assert!(sets(&project("[sandbox]\nenv = { ONE_KEY = 'x' }"), &["OTHER", "ONE_KEY"]));
    assert!(sets(&project("[secrets.ONE_KEY]\nhosts = ['example.org']"), &["ONE_KEY"]));
    assert!(sets(&project("[secrets.mine]\nenv = 'ONE_KEY'\nhosts = ['example.org']"), &["ONE_KEY"]));
    assert!(!sets(&project("[secrets.ONE_KEY]\nenv = 'X'\nhosts = ['example.org']"), &["ONE_KEY"]));
    assert!(!sets(&project(""), &["ONE_KEY"]));
}

#[test]
fn what_an_agent_keeps_is_not_known_to_an_engine_elsewhere() {
    let mut found = image(true, true);
    if let Some(engine) = &mut found.engine {
        engine.endpoint = Endpoint::Tcp("elsewhere:2375".into());
    }
    let overrides = Overrides { workspace: Some(WorkspaceMode::Overlay), ..made_of(found) };
    let error = Scene::new(1000, "").resolve(overrides, &UserConfig::default()).unwrap_err();
    assert!(error.to_string().starts_with("What One keeps for the project is not known to the engine"), "{error}");
}
