use super::*;
use serde_json::{Value, json};

const DIFF_ID: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn with(config: Value) -> Value {
    json!({"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]}})
}

fn parse(value: &Value) -> Result<ImageConfig, ManifestError> {
    ImageConfig::parse(value.to_string().as_bytes())
}

#[test]
fn everything_that_can_be_obeyed_is_read() {
    let written = json!({
        "created": "2024-01-02T03:04:05Z",
        "author": "somebody",
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "config": {
            "User": "app:staff",
            "ExposedPorts": {"53/udp": {}, "80/tcp": {}, "8000-8010/tcp": {}},
            "Env": ["PATH=/usr/bin:/bin", "EMPTY="],
            "Entrypoint": ["/docker-entrypoint.sh", ""],
            "Cmd": ["nginx", "-g", "daemon off;"],
            "Volumes": {"/var/lib/data": {}},
            "WorkingDir": "/srv",
            "Labels": {"b": "2", "a": "1"},
            "StopSignal": "SIGQUIT",
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 30_000_000_000_u64, "Retries": 3},
            "Shell": ["/bin/bash", "-c"],
            "OnBuild": ["RUN true"],
        },
        "rootfs": {"type": "layers", "diff_ids": [DIFF_ID]},
        "history": [
            {"created": "2024-01-02T03:04:05Z", "created_by": "ADD rootfs.tar /"},
            {"created_by": "CMD [\"nginx\"]", "comment": "c", "author": "x", "empty_layer": true},
        ],
    });
    let config = parse(&written).unwrap();
    // What is written has the same values, in an order of our own.
    let bytes = config.to_bytes().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), written);
    assert_eq!(ImageConfig::parse(&bytes).unwrap(), config);
    assert_eq!(bytes, ImageConfig::parse(&bytes).unwrap().to_bytes().unwrap());
    assert_eq!(config.platform.to_string(), "linux/arm64/v8");
    let ports: Vec<String> = config.config.exposed_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "8000-8010/tcp"]);
    assert_eq!(config.config.volumes, ["/var/lib/data"]);
    assert!(config.history[1].empty_layer);
}

#[test]
fn what_docker_leaves_out_or_writes_as_null_is_nothing() {
    let names = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "Shell",
        "OnBuild",
    ];
    let nulls: serde_json::Map<String, Value> = names.into_iter().map(|name| (name.to_owned(), Value::Null)).collect();
    let mut without = with(json!({}));
    without.as_object_mut().unwrap().remove("config");
    let mut histories = with(json!({}));
    histories["history"] = Value::Null;
    let mut unknown = with(json!({"Hostname": "x", "AttachStdin": false, "ArgsEscaped": true, "Image": DIFF_ID}));
    unknown["container_config"] = json!({"Env": "nonsense"});
    unknown["docker_version"] = json!("20.10");
    for value in [with(json!({})), with(json!(nulls)), with(Value::Null), without, histories, unknown] {
        assert_eq!(parse(&value).unwrap().config, RunConfig::default(), "{value}");
    }
    let nothing = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": null}});
    assert!(parse(&nothing).unwrap().rootfs.diff_ids.is_empty());
}

#[test]
fn what_would_be_obeyed_is_checked() {
    let long = "x".repeat(128 << 10);
    let many = vec!["x"; 4097];
    let much = vec!["x".repeat(100_000); 11];
    for (config, words) in [
        (json!({"Env": ["A=\0"]}), "The image's environment is not usable: 'A=\u{fffd}' has a NUL in it"),
        (json!({"Env": ["=x"]}), "The image's environment is not usable: '=x' has no name"),
        (json!({"Env": [""]}), "The image's environment is not usable: '' has no name"),
        (json!({"Env": [long]}), "The image's environment is not usable: a part has 131072 bytes"),
        (json!({"Cmd": many}), "The image's command is not usable: it has 4097 parts, of which 4096 are allowed"),
        (
            json!({"Entrypoint": much}),
            "The image's entrypoint is not usable: it has 1100011 bytes, of which 1048576 are allowed",
        ),
        (json!({"Cmd": ["a\0b"]}), "The image's command is not usable: 'a\u{fffd}b' has a NUL in it"),
        (json!({"Shell": ["\0"]}), "The image's shell is not usable: '\u{fffd}' has a NUL in it"),
        (
            json!({"Healthcheck": {"Test": ["\0"]}}),
            "The image's health check is not usable: '\u{fffd}' has a NUL in it",
        ),
        (json!({"User": "a\nb"}), "The image's user is not usable: 'a\u{fffd}b' has control characters"),
        (
            json!({"User": "a".repeat(257)}),
            "The image's user is not usable: it has 257 bytes, of which 256 are allowed",
        ),
        (json!({"StopSignal": "\u{1b}"}), "The image's stop signal is not usable: '\u{fffd}' has control characters"),
        (json!({"WorkingDir": "srv"}), "The image's working directory is not usable: 'srv' is not absolute"),
        (json!({"WorkingDir": "/\0"}), "The image's working directory is not usable: '/\u{fffd}' has a NUL in it"),
        (
            json!({"WorkingDir": format!("/{}", "x".repeat(4095))}),
            "The image's working directory is not usable: a path has 4096 bytes",
        ),
        (json!({"Volumes": {"x".repeat(4095): {}}}), "The image's volume is not usable: a path has 4096 bytes"),
        (json!({"ExposedPorts": {"http": {}}}), "The image's config is not as it should be"),
        (json!({"Env": "A=B"}), "The image's config is not as it should be"),
    ] {
        assert_eq!(parse(&with(config.clone())).unwrap_err().to_string(), words);
    }
    let mut kind = with(json!({}));
    kind["rootfs"]["type"] = json!("other");
    assert_eq!(parse(&kind).unwrap_err().to_string(), "The image's rootfs is not usable: 'other' is not 'layers'");
    let mut layers = with(json!({}));
    layers["rootfs"]["diff_ids"] = json!(vec![DIFF_ID; 401]);
    assert!(matches!(parse(&layers), Err(ManifestError::TooManyLayers(401))));
    let long = vec![b' '; (8 << 20) + 1];
    assert!(matches!(ImageConfig::parse(&long), Err(ManifestError::TooLarge { .. })));
    let mut made = parse(&with(json!({}))).unwrap();
    made.config.working_dir = "srv".into();
    assert!(matches!(made.to_bytes(), Err(ManifestError::Field { .. })));
}

#[test]
fn config_and_manifest_must_tell_of_as_many_layers() {
    let config = parse(&with(json!({}))).unwrap();
    let layer = super::super::Descriptor::of(super::super::media::OCI_LAYER, b"");
    let manifest = |layers| Manifest::new(layer.clone(), layers);
    assert!(config.matches(&manifest(vec![layer.clone()])).is_ok());
    let words = "The image has 0 layers, its config 1";
    assert_eq!(config.matches(&manifest(Vec::new())).unwrap_err().to_string(), words);
}

#[test]
fn ports_are_read_as_docker_writes_them() {
    for (written, canonical) in
        [("80", "80/tcp"), ("80/TCP", "80/tcp"), ("1-65535/udp", "1-65535/udp"), ("5/sctp", "5/sctp"), ("9-9", "9/tcp")]
    {
        assert_eq!(written.parse::<Port>().unwrap().to_string(), canonical);
    }
    for written in ["", "0", "80/", "80/http", "65536", "9-8", "-", "+8", "8 ", "80/tcp/tcp"] {
        assert!(written.parse::<Port>().is_err(), "{written}");
    }
}
