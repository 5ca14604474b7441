//! Images from layouts that other tools have written.

use crate::workshop::Scene;
use serde_json::{Value, json};
use std::fs;
use support::{Who, told};

/// Makes a layout of two images in the project, each of a tag alone, as umoci and skopeo write it.
fn two(scene: &Scene) {
    scene.build("FROM base:1\nENV WHICH=built\n", &[]);
    scene.sh("mkdir one two");
    let manifest = |image: &str, folder: &str, tag: &str| -> Value {
        scene.ok(&["image", "export", image, &format!("{folder}.tar")]);
        scene.sh(&format!("tar -C {folder} -xf {folder}.tar && rm {folder}.tar"));
        let index = fs::read(scene.world.project().join(folder).join("index.json")).unwrap();
        let mut manifest = serde_json::from_slice::<Value>(&index).unwrap()["manifests"][0].take();
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        manifest
    };
    let manifests = [manifest("base:1", "one", "v1"), manifest("built:1", "two", "v2")];
    scene.write("index.json", &json!({"schemaVersion": 2, "manifests": manifests}).to_string());
    scene.sh("cp -r two/blobs one && mv index.json one && cp -r one layout && cp -r one same");
    let mut latest = manifests[0].clone();
    latest["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let same = [manifests[0].clone(), latest];
    scene.write("index.json", &json!({"schemaVersion": 2, "manifests": same}).to_string());
    scene.sh("mv index.json same");
}

#[test]
fn one_of_several_is_chosen_by_its_tag() {
    let scene = Scene::new(Who::Me);
    two(&scene);
    let which = |image: &str| scene.inspect(image)["manifest"].clone();
    let output = scene.agentkernel(&["image", "import", "layout", "app:1"]);
    let text = told(&output);
    assert!(!output.status.success() && text.contains("it has 2 in it, of the tags v1, v2"), "{text}");
    assert!(text.contains("PATH:TAG"), "{text}");
    scene.ok(&["image", "import", "layout:v2", "app:2"]);
    assert_eq!(which("app:2"), which("built:1"));
    scene.ok(&["image", "import", "layout:v1", "app:1"]);
    assert_eq!(which("app:1"), which("base:1"));
    let output = scene.agentkernel(&["image", "import", "layout:v3", "app:3"]);
    assert!(told(&output).contains("it has no v3 in it, of the tags v1, v2"), "{}", told(&output));
    // One image by two tags need not be chosen.
    scene.ok(&["image", "import", "same", "app:3"]);
    assert_eq!(which("app:3"), which("base:1"));
    // One that is compressed, and nothing told but what it is.
    scene.sh("tar -C same -cf same.tar . && zstd -q same.tar");
    let digest = scene.ok(&["image", "import", "-q", "same.tar.zst", "app:6"]);
    assert_eq!(Value::from(digest.trim()), which("base:1"));
    // What is no image.
    scene.sh("mkdir -p root/etc root/usr");
    let output = scene.agentkernel(&["image", "import", "root", "app:7"]);
    assert!(told(&output).contains("`--image dir:PATH`"), "{}", told(&output));
    // So in an archive, whose own name may have a colon.
    scene.sh("tar -C layout -cf layout.tar . && tar -C same -cf ./odd:name --force-local .");
    scene.ok(&["image", "import", "layout.tar:v2", "app:4"]);
    assert_eq!(which("app:4"), which("built:1"));
    scene.ok(&["image", "import", "odd:name", "app:5"]);
    assert_eq!(which("app:5"), which("base:1"));
}

/// Docker's own form of an archive has plain layers; what has none reads them compressed as well, as engines do.
#[test]
fn layers_in_an_archive_of_dockers_may_be_compressed() {
    let scene = Scene::new(Who::Me);
    scene.sh("mkdir gz zst && tar -C gz -xf \"$HOME/base.tar\" && cp gz/* zst && gzip -n gz/1.tar && mv gz/1.tar.gz gz/1.tar");
    scene.sh("zstd -q --rm zst/1.tar && mv zst/1.tar.zst zst/1.tar");
    for name in ["gz", "zst"] {
        scene.sh(&format!("tar -C {name} -cf {name}.tar manifest.json config.json 1.tar"));
        scene.ok(&["image", "import", &format!("{name}.tar"), &format!("{name}:1")]);
        assert_eq!(scene.tree(&format!("{name}:1")), scene.tree("base:1"));
    }
}
