//! What tests of `agentkernel image pull` have in common.

use crate::registry::{Image, Login, PASSWORD, Registry, USER};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};
use support::{Who, World, told};

/// A registry with an image, and somebody who trusts it and can log in.
pub struct Scene {
    pub registry: Registry,
    pub image: Image,
    pub world: World,
    _folder: tempfile::TempDir,
}

impl Scene {
    pub fn new(who: Who, tls: bool, login: Login, sizes: &[u64]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::start(tls, login);
        let image = Image::make(folder.path(), sizes);
        let scene = Self { registry, image, world: World::new(who), _folder: folder };
        let layout = format!("oci:{}:tag", scene.image.folder.display());
        scene.registry.skopeo(&layout, &format!("docker://{}", scene.name()));
        if tls {
            let trusted = scene.docker().join("certs.d").join(scene.registry.host());
            fs::create_dir_all(&trusted).unwrap();
            fs::copy(scene.registry.authority(), trusted.join("ca.crt")).unwrap();
        }
        if login != Login::None {
            scene.log_in(PASSWORD);
        }
        scene.own();
        scene
    }

    pub fn name(&self) -> String {
        format!("{}/team/app:tag", self.registry.host())
    }

    pub fn docker(&self) -> PathBuf {
        self.world.home().join(".docker")
    }

    pub fn log_in(&self, password: &str) {
        let auth = STANDARD.encode(format!("{USER}:{password}"));
        self.config(&serde_json::json!({"auths": {self.registry.host(): {"auth": auth}}}));
    }

    pub fn config(&self, config: &serde_json::Value) {
        fs::create_dir_all(self.docker()).unwrap();
        fs::write(self.docker().join("config.json"), config.to_string()).unwrap();
        self.own();
    }

    /// What the test has put into the home is its user's.
    pub fn own(&self) {
        let home = self.world.home();
        let script = format!("chown -R --reference={0} {0}", home.display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Writes the user's own configuration.
    pub fn configure(&self, text: &str) {
        let dir = self.world.home().join(".config/agentkernel");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.toml"), text).unwrap();
        self.own();
    }

    /// Removes all images.
    #[track_caller]
    pub fn forget(&self) {
        let output = self.world.agentkernel(["image", "prune", "--all"]).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }

    pub fn pull(&self) -> Output {
        self.world.agentkernel(["image", "pull", &self.name()]).output().unwrap()
    }

    #[track_caller]
    pub fn pulls(&self) {
        let output = self.pull();
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{} {}\n", self.name(), self.image.digest()));
        assert!(output.stderr.is_empty(), "{}", told(&output));
        // Every byte of it, as it travels and unpacked.
        for (index, layer) in self.image.manifest.layers.iter().enumerate() {
            let blob = self.world.state().join("images/blobs").join(layer.digest.hex());
            assert_eq!(fs::read(blob).unwrap(), self.image.blob(&layer.digest), "{index}");
            let gzip = self.image.folder.join("blobs/sha256").join(layer.digest.hex());
            let name = format!("file{index}");
            let plain = Command::new("tar").args(["-xzOf"]).arg(gzip).arg(&name).output().unwrap().stdout;
            assert!(self.unpacked(&name).contains(&plain), "{name}");
        }
        assert_eq!(self.entries("images/work").iter().filter(|name| name.ends_with(".part")).count(), 0);
    }

    pub fn entries(&self, place: &str) -> Vec<String> {
        let entries = fs::read_dir(self.world.state().join(place)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub fn unpacked(&self, name: &str) -> Vec<Vec<u8>> {
        let layers = self.entries("cache").into_iter().filter(|entry| entry.starts_with("layer-"));
        layers.filter_map(|layer| fs::read(self.world.state().join("cache").join(layer).join(name)).ok()).collect()
    }
}
