use super::*;
use oci::manifest::media::OCI_MANIFEST;

/// The images of an index whose manifests are these: name, contents.
fn entries(manifests: &[(Option<&str>, &str)]) -> Vec<Entry> {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|(name, contents)| {
            let mut document = serde_json::to_value(Descriptor::of(OCI_MANIFEST, contents.as_bytes())).unwrap();
            if let Some(name) = name {
                document["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
            }
            document
        })
        .collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string();
    index_entries(index.as_bytes(), &Platform::host()).unwrap()
}

#[test]
fn each_tag_is_an_image_of_its_own() {
    let two = entries(&[(Some("v2"), "b"), (Some("v1"), "a")]);
    assert_eq!(two.iter().map(Entry::tag).collect::<Vec<_>>(), [Some("v1"), Some("v2")]);
    assert!(two.iter().all(|entry| entry.references().is_empty()));
    assert_eq!(only(&two).unwrap_err(), "it has 2 in it, of the tags v1, v2; choose one as PATH:TAG");
    // The same by two tags is one.
    let same = entries(&[(Some("v1"), "a"), (Some("latest"), "a")]);
    assert_eq!(only(&same).unwrap().document.digest, two[0].document.digest);
    let named = entries(&[(Some("example.org/a:1"), "a")]);
    assert_eq!((named[0].tag(), named[0].references()[0].familiar()), (Some("1"), "example.org/a:1".to_owned()));
    assert_eq!(only(&[]).unwrap_err(), "it has none in it");
    // Where all have one tag, it is their names that tell them apart.
    let latest = entries(&[(Some("one:latest"), "a"), (Some("example.org:5/two:latest"), "b")]);
    let all = "example.org:5/two:latest, one:latest";
    assert_eq!(only(&latest).unwrap_err(), format!("it has 2 in it, of the names {all}; choose one as PATH:NAME"));
    let of = |text: &str| latest.iter().map(|entry| entry.is(text)).collect::<Vec<_>>();
    assert_eq!(
        (of("latest"), of("one:latest"), of("docker.io/library/one:latest")),
        ([true, true].into(), [false, true].into(), [false, true].into())
    );
    assert_eq!(
        (of("example.org:5/two:latest"), of("two:latest"), of("one")),
        ([true, false].into(), [false, false].into(), [false, false].into())
    );
    assert_eq!((entries(&[(None, "a")])[0].tag(), tags(&named)), (None, String::new()));
}
