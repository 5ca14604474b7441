use super::{super::record::Mounted, *};
use crate::{BackendKind, EngineImage, EngineUse, Identity, Limits, Network, Tmpfs, engine::Endpoint};

const INIT: Program = Program { id: "test", bytes: b"" };

fn spec() -> Spec {
    let engine = Endpoint::try_from("unix:///run/engine.sock".to_owned()).unwrap();
    Spec {
        id: "0123456789ab".to_owned().try_into().unwrap(),
        name: None,
        keep: false,
        backend: BackendKind::Docker,
        engine: Some(EngineUse { endpoint: engine, runtime: None }),
        image: Image::Engine(EngineImage {
            reference: "box:1".into(),
            id: "sha256:00".into(),
            volumes: vec!["/data".into()],
        }),
        layers: vec![],
        workspace: Workspace::None,
        agent: None,
        mounts: vec![],
        tmpfs: vec![],
        read_only: false,
        log_refused: false,
        network: Network::default(),
        identity: Identity { uid: 7, gid: 8, groups: vec![], name: "app".into(), home: "/home/app".into() },
        limits: Limits {
            cpu_milli: None,
            memory: None,
            pids: None,
            disk: None,
            rlimits: vec![],
            nofile_is_named: false,
        },
        hostname: "box".into(),
        command: None,
        env: vec![],
        workdir: "/".into(),
        timeout_ms: None,
        build: None,
    }
}

fn host(spec: &Spec, podman: bool) -> Value {
    Outline::new(spec, &Masks::default(), "7").unwrap().body(podman, &INIT, vec![])["HostConfig"].take()
}

#[test]
fn a_runtime_is_passed_on_as_it_was_named() {
    let mut spec = spec();
    assert_eq!(host(&spec, false).get("Runtime"), None);
    for name in ["runsc", "kata"] {
        spec.engine.as_mut().unwrap().runtime = Some(name.into());
        assert_eq!(host(&spec, false)["Runtime"], name);
    }
}

#[test]
fn an_engine_is_told_of_more_open_files_than_all_allow() {
    let mut spec = spec();
    for (named, value, told) in [(false, 65536, false), (true, 32, false), (true, 65536, true)] {
        spec.limits.rlimits = vec![wire::Rlimit { kind: RlimitKind::Nofile, value }];
        spec.limits.nofile_is_named = named;
        let ulimits = json!([{ "Name": "nofile", "Soft": value, "Hard": value }]);
        assert_eq!(host(&spec, false).get("Ulimits"), told.then_some(&ulimits));
    }
}

#[test]
fn every_container_has_its_walls() {
    let host = host(&spec(), false);
    assert_eq!((&host["NetworkMode"], &host["CapDrop"]), (&json!("none"), &json!(["ALL"])));
    assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
    assert!(host["MaskedPaths"].as_array().unwrap().contains(&json!("/proc/keys")));
    assert!(host.get("Privileged").is_none() && host.get("Binds").is_none());
}

#[test]
fn an_engine_adds_no_program_and_no_log_of_its_own() {
    let body = Outline::new(&spec(), &Masks::default(), "7").unwrap().body(false, &INIT, vec![]);
    // What an image would have run beside the program, outside of its walls.
    assert_eq!(body["Healthcheck"], json!({ "Test": ["NONE"] }));
    assert_eq!(body["HostConfig"]["Init"], json!(false));
    // Or would have kept of what is carried to and from init.
    assert_eq!(body["HostConfig"]["LogConfig"], json!({ "Type": "none", "Config": {} }));
}

#[test]
fn podman_is_told_in_its_own_words_what_to_mask() {
    let host = host(&spec(), true);
    let options = host["SecurityOpt"].as_array().unwrap();
    assert_eq!(options[0], "no-new-privileges");
    let masked: Vec<&str> = options[1].as_str().unwrap().strip_prefix("mask=").unwrap().split(':').collect();
    for path in super::masked() {
        assert!(masked.contains(&&*path), "{path}");
    }
}

#[test]
fn memory_is_mounted_once_for_each_place_and_belongs_to_the_user() {
    let mut spec = spec();
    spec.read_only = true;
    spec.tmpfs = vec![Tmpfs { target: "/tmp".into(), size: 5 }, Tmpfs { target: "/home/app/cache".into(), size: 6 }];
    let outline = Outline::new(&spec, &Masks::default(), "7").unwrap();
    assert_eq!(outline.body["HostConfig"]["Tmpfs"]["/tmp"], "rw,exec,nosuid,nodev,mode=1777,size=5");
    let memory = &outline.setup.prepare.as_ref().unwrap().memory;
    let places: Vec<String> = memory.iter().map(|node| node.path.to_string()).collect();
    assert_eq!(places, ["/home/app", "/home/app/cache", "/run", "/tmp", "/var/tmp"]);
    assert!(memory.iter().all(|node| node.owner == Some((7, 8))));
}

#[test]
fn a_container_that_lacks_a_mount_is_known() {
    let mut outline = Outline::new(&spec(), &Masks::default(), "7").unwrap();
    outline.mounted = vec![("/project".into(), false), ("/project/.git/config".into(), true)];
    let mounted = |list: &[(&str, bool)]| Known {
        mounts: list.iter().map(|(place, writable)| Mounted { place: (*place).into(), writable: *writable }).collect(),
        ..Known::default()
    };
    let covers = [json!({ "Target": "/etc/key" })];
    let whole = [("/project", true), ("/project/.git/config", false), ("/etc/key", false)];
    assert_eq!(outline.lacks(&mounted(&whole), &covers), None);
    // What is in something read-only is read-only.
    let wider = [("/project", true), ("/project/.git", false), ("/etc/key", false)];
    assert_eq!(outline.lacks(&mounted(&wider), &covers), None);
    assert_eq!(outline.lacks(&mounted(&whole[..2]), &covers), Some("/etc/key"));
    assert_eq!(outline.lacks(&mounted(&whole[..1]), &covers), Some("/project/.git/config"));
    let weaker = [("/project", true), ("/project/.git/config", true), ("/etc/key", false)];
    assert_eq!(outline.lacks(&mounted(&weaker), &covers), Some("/project/.git/config"));
}
