use super::*;
use media::Compression;
use serde_json::{Value, json};

fn digest(n: usize) -> String {
    Digest::of(n.to_string().as_bytes()).to_string()
}

fn descriptor(media_type: &str, n: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest(n), "size": n})
}

fn docker() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media::DOCKER_MANIFEST,
        "config": descriptor(media::DOCKER_CONFIG, 0),
        "layers": [descriptor(media::DOCKER_LAYER_GZIP, 1), descriptor(media::DOCKER_LAYER_GZIP, 2)],
    })
}

fn parse(value: &Value, told: Option<&str>) -> Result<Document, ManifestError> {
    Document::parse(value.to_string().as_bytes(), told)
}

fn index(value: &Value) -> Index {
    match parse(value, None).unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!("a manifest"),
    }
}

fn manifest(value: &Value) -> Manifest {
    match parse(value, None).unwrap() {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => panic!("an index"),
    }
}

#[test]
fn both_families_are_read() {
    let read = manifest(&docker());
    assert_eq!(read.media_type(), media::DOCKER_MANIFEST);
    assert_eq!((read.layers.len(), read.size()), (2, 3));
    assert_eq!(read.layer_kinds().unwrap(), [Compression::Gzip; 2]);

    let oci = json!({
        "schemaVersion": 2,
        "config": descriptor(media::OCI_CONFIG, 0),
        "layers": [descriptor(media::OCI_LAYER_ZSTD, 1), descriptor(media::OCI_LAYER, 2)],
        "annotations": {"b": "2", "a": "1"},
        "subject": descriptor(media::OCI_MANIFEST, 9),
        "unknown": [1, {"x": null}],
    });
    let read = manifest(&oci);
    assert_eq!(read.media_type(), media::OCI_MANIFEST);
    assert_eq!(read.annotations["a"], "1");
    assert_eq!(read.layer_kinds().unwrap(), [Compression::Zstd, Compression::None]);
    for told in [media::OCI_MANIFEST, "application/vnd.OCI.image.manifest.v1+json; charset=utf-8", "text/plain", ""] {
        assert_eq!(parse(&oci, Some(told)).unwrap(), Document::Manifest(read.clone()), "{told}");
    }
}

#[test]
fn layers_of_every_kind_are_known() {
    use Compression::{Gzip, None as Plain, Zstd};
    for (media_type, compression) in [
        (media::OCI_LAYER, Plain),
        (media::OCI_LAYER_GZIP, Gzip),
        (media::OCI_LAYER_ZSTD, Zstd),
        (media::OCI_FOREIGN, Plain),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Gzip),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Zstd),
        (media::DOCKER_LAYER, Plain),
        (media::DOCKER_LAYER_GZIP, Gzip),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", Zstd),
        (media::DOCKER_FOREIGN_GZIP, Gzip),
    ] {
        assert_eq!(Compression::of(media_type), Some(compression), "{media_type}");
    }
    for other in ["", media::OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "text/plain"] {
        assert_eq!(Compression::of(other), None, "{other}");
    }
}

#[test]
fn what_is_no_image_is_told_in_words() {
    let with = |pointer: &str, value: Value| {
        let mut manifest = docker();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value;
        manifest
    };
    let many = |n| (0..n).map(|n| descriptor(media::OCI_LAYER, n)).collect::<Vec<_>>();
    for (value, told, words) in [
        (
            json!({"schemaVersion": 1, "fsLayers": [], "history": []}),
            None,
            "The manifest is of schema 1, which names its layers by no digest of what they are",
        ),
        (
            docker(),
            Some("application/vnd.docker.distribution.manifest.v1+prettyjws"),
            "The manifest is of schema 1, which names its layers by no digest of what they are",
        ),
        (with("/schemaVersion", json!(3)), None, "The manifest is of schema 3, not 2"),
        (json!({}), None, "The manifest is of schema 0, not 2"),
        (json!([2]), None, "The manifest is not as it should be"),
        (json!("x"), None, "The manifest is not as it should be"),
        (with("/manifests", json!([])), None, "The manifest has both layers and manifests"),
        (
            json!({"schemaVersion": 2, "config": descriptor(media::OCI_CONFIG, 0), "manifests": []}),
            None,
            "The manifest has both layers and manifests",
        ),
        (json!({"schemaVersion": 2}), None, "The manifest has neither a config nor manifests"),
        (json!({"schemaVersion": 2, "layers": []}), None, "The manifest has neither a config nor manifests"),
        (
            docker(),
            Some(media::OCI_MANIFEST),
            "The manifest is called 'application/vnd.oci.image.manifest.v1+json' and calls itself 'application/vnd.docker.distribution.manifest.v2+json'",
        ),
        (
            with("/mediaType", json!(media::DOCKER_LIST)),
            None,
            "The manifest is called 'application/vnd.docker.distribution.manifest.list.v2+json' and calls itself 'application/vnd.oci.image.manifest.v1+json'",
        ),
        (with("/mediaType", json!("text/html\u{1b}")), None, "'text/html\u{fffd}' is no image"),
        (with("/layers", json!(many(401))), None, "The image has 401 layers, of which 400 can be stacked"),
        (
            json!({"schemaVersion": 2, "manifests": many(1001)}),
            None,
            "The index has 1001 manifests, of which 1000 are allowed",
        ),
        (with("/config/digest", json!("sha256:12")), None, "The manifest is not as it should be"),
        (with("/config/size", json!(-1)), None, "The manifest is not as it should be"),
        (with("/config/size", json!(1e30)), None, "The manifest is not as it should be"),
        (
            json!({"schemaVersion": 2, "artifactType": "application/x", "config": descriptor("application/vnd.oci.empty.v1+json", 2), "layers": []}),
            None,
            "'application/x' is no image that can be run",
        ),
    ] {
        assert_eq!(parse(&value, told).unwrap_err().to_string(), words, "{value}");
    }
    assert!(parse(&with("/layers", json!(many(400))), None).is_ok());
    let long = vec![b' '; 4 * 1024 * 1024 + 1];
    let words = "The manifest has 4194305 bytes, of which 4194304 are allowed";
    assert_eq!(Document::parse(&long, None).unwrap_err().to_string(), words);
    let deep = "[".repeat(1_000_000);
    assert!(Document::parse(format!("{{\"a\":{deep}").as_bytes(), None).is_err());
    // The same field twice is two manifests for two readers.
    let twice = docker().to_string().replacen('{', "{\"layers\":[],", 1);
    assert!(Document::parse(twice.as_bytes(), None).is_err());
}

#[test]
fn artifacts_are_not_run() {
    let mut value = docker();
    value["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
    let words = "'application/vnd.cncf.helm.config.v1+json' is no image that can be run";
    assert_eq!(manifest(&value).layer_kinds().unwrap_err().to_string(), words);
    let mut value = docker();
    value["layers"][1]["mediaType"] = json!("application/x");
    let words = "Layer 2 is 'application/x', which cannot be unpacked";
    assert_eq!(manifest(&value).layer_kinds().unwrap_err().to_string(), words);
}

#[test]
fn no_image_is_larger_than_a_disk() {
    for (sizes, sum) in [([MAX_SIZE, 0], None), ([MAX_SIZE, 1], Some(MAX_SIZE + 1)), ([u64::MAX, 7], Some(u64::MAX))] {
        let mut value = docker();
        for (layer, size) in sizes.iter().enumerate() {
            value["layers"][layer]["size"] = json!(size);
        }
        let words = sum.map(|sum| format!("The image's layers have {sum} bytes, of which {MAX_SIZE} are allowed"));
        assert_eq!(manifest(&value).layer_kinds().err().map(|error| error.to_string()), words);
    }
}

#[test]
fn an_index_gives_the_manifest_for_a_platform() {
    let entry = |platform: Value, n| {
        let mut entry = descriptor(media::OCI_MANIFEST, n);
        entry["platform"] = platform;
        entry
    };
    let several = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_INDEX,
        "manifests": [
            entry(json!({"architecture": "unknown", "os": "unknown"}), 1),
            entry(json!({"architecture": "amd64", "os": "windows", "os.version": "10.0"}), 2),
            entry(json!({"architecture": "amd64", "os": "linux"}), 3),
            entry(json!({"architecture": "amd64", "os": "linux"}), 4),
            entry(json!({"architecture": "arm64", "os": "linux", "variant": "v8"}), 5),
            entry(json!({"architecture": "arm", "os": "linux", "variant": "v5"}), 6),
            entry(json!({"architecture": "arm", "os": "linux", "variant": "v7"}), 7),
            descriptor("application/x", 8),
        ],
    });
    let index_of_several = index(&several);
    for (platform, size) in [
        ("linux/amd64", Some(3)),
        ("linux/arm64", Some(5)),
        ("linux/arm/v6", Some(6)),
        ("linux/arm", Some(7)),
        ("linux/arm/v8", Some(7)),
        ("windows/amd64", Some(2)),
        ("linux/s390x", None),
        ("unknown/amd64", None),
    ] {
        let selected = index_of_several.select(&platform.parse().unwrap());
        assert_eq!(selected.map(|descriptor| descriptor.size), size, "{platform}");
    }
    let platforms: Vec<String> = index_of_several.platforms().iter().map(ToString::to_string).collect();
    assert_eq!(platforms, ["windows/amd64", "linux/amd64", "linux/arm64/v8", "linux/arm/v5", "linux/arm/v7"]);

    let amd64 = "linux/amd64".parse().unwrap();
    let alone = |entries: Value| index(&json!({"schemaVersion": 2, "manifests": entries}));
    assert!(alone(json!([descriptor(media::DOCKER_MANIFEST, 1)])).select(&amd64).is_some());
    assert!(alone(json!([descriptor(media::OCI_LAYER, 1)])).select(&amd64).is_none());
    assert!(
        alone(json!([descriptor(media::OCI_MANIFEST, 1), descriptor(media::OCI_MANIFEST, 2)])).select(&amd64).is_none()
    );
    assert!(alone(json!([])).select(&amd64).is_none());
    let mut artifact = entry(json!({"architecture": "amd64", "os": "linux"}), 1);
    artifact["artifactType"] = json!("application/x");
    assert!(alone(json!([artifact])).select(&amd64).is_none());
}

#[test]
fn what_is_written_is_stable_and_read_again() {
    let layer = Descriptor::of(media::OCI_LAYER_GZIP, b"layer");
    let made = Manifest::new(Descriptor::of(media::OCI_CONFIG, b"{}"), vec![layer]);
    let bytes = made.to_bytes().unwrap();
    assert_eq!(
        String::from_utf8(bytes.clone()).unwrap(),
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:aa2ddbb7c1a57015ab28e96c5cb34d6a7b4ef26bf2a3c1f8b4e6b2f5c1f4a3d1","size":5}]}"#
            .replace("sha256:aa2ddbb7c1a57015ab28e96c5cb34d6a7b4ef26bf2a3c1f8b4e6b2f5c1f4a3d1", &Digest::of(b"layer").to_string())
    );
    assert_eq!(Document::parse(&bytes, Some(media::OCI_MANIFEST)).unwrap(), Document::Manifest(made.clone()));
    let mut entry = Descriptor::of(media::OCI_MANIFEST, &bytes);
    entry.platform = Some("linux/arm64".parse().unwrap());
    entry.annotations = [("a".to_owned(), "b".to_owned())].into();
    let index = Index::new(vec![entry]);
    let bytes = index.to_bytes().unwrap();
    assert_eq!(bytes, index.clone().to_bytes().unwrap());
    assert_eq!(Document::parse(&bytes, None).unwrap(), Document::Index(index));
    let mut large = made;
    large.annotations = [("a".to_owned(), "b".repeat(4 << 20))].into();
    assert!(matches!(large.to_bytes(), Err(ManifestError::TooLarge { .. })));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
        let _ = Document::parse(&bytes, None);
        let _ = ImageConfig::parse(&bytes);
    }
}
