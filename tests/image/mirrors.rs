//! Images that come from a mirror.

use crate::{
    registry::{Login, Registry, ready},
    scene::Scene,
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};
use support::{Who, told};

/// How often a blob was given out.
fn given(registry: &Registry) -> usize {
    registry.requests().lines().filter(|line| line.contains("GET") && line.contains("/blobs/")).count()
}

impl Scene {
    /// Says who else has the images of the registry.
    fn mirrors(&self, mirrors: &[String]) {
        self.configure(&format!("[registries.\"{}\"]\nmirrors = {mirrors:?}\n", self.registry.host()));
    }
}

#[test]
fn mirrors_are_asked_first_and_only_for_what_they_have() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[3000, 200_000]);
        let (near, empty) = (Registry::start(false, Login::None), Registry::start(false, Login::None));
        let layout = format!("oci:{}:tag", scene.image.folder.display());
        near.skopeo(&layout, &format!("docker://{}/hub/team/app:tag", near.host()));
        // Nobody is at the first, nothing at the second, and the third has it below a prefix.
        let nobody = "127.0.0.1:1".to_owned();
        scene.mirrors(&[nobody.clone(), empty.host(), format!("{}/hub", near.host())]);
        let before = scene.registry.requests();
        scene.pulls();
        assert_eq!(scene.registry.requests(), before);
        assert!(given(&near) >= 3, "{}", near.requests());
        assert!(empty.requests().contains("/v2/team/app/manifests/tag"));
        // It is called as it is called at home, and goes out to there.
        let push = scene.world.agentkernel(["image", "push", &scene.name()]).output().unwrap();
        assert!(push.status.success(), "{}", told(&push));
        assert!(!near.requests().contains("PUT /v2/hub/team/app/manifests/other"));

        // What one has is no other bytes than those of the digest.
        scene.forget();
        let layer = &scene.image.manifest.layers[1].digest;
        let kept = near.kept(layer);
        let mut bad = fs::read(&kept).unwrap();
        bad[100] ^= 1;
        fs::write(&kept, &bad).unwrap();
        scene.pulls();
        assert!(scene.registry.requests().contains(&format!("GET /v2/team/app/blobs/{layer}")));
        // None of them is there: the registry itself is asked for everything.
        scene.forget();
        scene.mirrors(&[nobody]);
        scene.pulls();
    }
}

/// A mirror that has nothing, and takes its time to say so.
fn slow() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten().take(20) {
            let _ = stream.read(&mut [0; 4096]);
            thread::sleep(Duration::from_millis(500));
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    host
}

/// A layer that has its length and other bytes is nothing to begin with, as long as there is somebody else to ask.
#[test]
fn a_layer_that_a_mirror_damages_is_not_unpacked() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[3000, 200_000]);
        let near = Registry::start(false, Login::None);
        let layout = format!("oci:{}:tag", scene.image.folder.display());
        near.skopeo(&layout, &format!("docker://{}/team/app:tag", near.host()));
        for layer in &scene.image.manifest.layers {
            let kept = near.kept(&layer.digest);
            let mut bad = fs::read(&kept).unwrap();
            bad[100] ^= 1;
            fs::write(&kept, &bad).unwrap();
        }
        scene.mirrors(&[near.host(), slow()]);
        scene.pulls();
    }
}
