//! `[image]` of a project: what it makes, what it asks for, and what is kept of that.

use crate::{
    registry::{self, Image, Login, Registry},
    workshop::Scene,
};
use oci::{Digest, manifest::Document};
use std::{fs, process::Output};
use support::{
    Who,
    engine::{Engine, Kind},
    told,
};

impl Scene {
    fn project(&self, toml: &str) {
        self.write("agentkernel.toml", toml);
        self.ok(&["trust"]);
    }

    fn in_project(&self, more: &[&str], script: &str) -> Output {
        self.agentkernel(&[&["run", "-u", "0"], more, &["--", "/bin/sh", "-c", script]].concat())
    }

    #[track_caller]
    fn says(&self, more: &[&str], script: &str) -> (String, String) {
        let output = self.in_project(more, script);
        assert!(output.status.success(), "{}", told(&output));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.world.project().join("agentkernel.lock")).unwrap_or_default()
    }
}

const TOML: &str = "[image]\nfrom = \"base:1\"\nsetup = [\"echo made > /made; id -u > /who\", \"echo x >> /kept/x; wc -l < /kept/x > /count\"]\ncache = [\"/kept\"]\n";

#[test]
fn a_project_runs_in_the_image_that_it_makes() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.write("agentkernel.toml", TOML);
        // Nothing is made before it is trusted.
        let output = scene.in_project(&[], "true");
        assert!(
            told(&output).contains("agentkernel trust") && told(&output).contains("made as [image] says"),
            "{}",
            told(&output)
        );
        assert_eq!(scene.lock(), "");
        scene.ok(&["trust"]);
        let (out, err) = scene.says(&[], "cat /made /who /count; pwd; ls -d /kept 2>/dev/null || echo none");
        assert_eq!(out, format!("made\n0\n1\n{}\nnone\n", scene.world.project().display()));
        assert!(err.contains("RUN --mount=type=cache"), "{err}");
        // What is known is not told of either.
        let (out, err) = scene.says(&[], "cat /made");
        assert_eq!((out.as_str(), err.as_str()), ("made\n", ""));
        // Another image by a flag, and none of it.
        let (out, _) = scene.says(&["--image", "base:1"], "cat /made 2>/dev/null || echo none");
        assert_eq!(out, "none\n");
        // Another recipe makes another one; the cache is as it was.
        scene.project(&TOML.replace("/count\"]", "/count; true\"]"));
        assert_eq!(scene.says(&[], "cat /count").0, "2\n");
        // It has a name, and so it stays.
        scene.ok(&["image", "prune"]);
        assert!(scene.ok(&["image", "list"]).contains("localhost/project/xproject-"));
    }
}

#[test]
fn a_team_gets_the_same_bytes_until_it_asks_for_others() {
    let scene = Scene::new(Who::Me);
    let digest = scene.inspect("base:1")["manifest"].as_str().unwrap().to_owned();
    scene.project("[image]\nfrom = \"base:1\"\n");
    assert_eq!(scene.says(&[], "cat /new 2>/dev/null || echo old").0, "old\n");
    assert!(scene.lock().contains("[images.\"base:1\"]\n") && scene.lock().contains(&digest), "{}", scene.lock());
    // The name means something else now, and not here.
    scene.build("FROM base:1\nRUN echo new > /new\n", &[]);
    scene.ok(&["image", "tag", "built:1", "base:1"]);
    let before = scene.lock();
    assert_eq!(scene.says(&[], "cat /new 2>/dev/null || echo old").0, "old\n");
    assert_eq!(scene.lock(), before);
    assert_eq!(scene.says(&["--update-lock"], "cat /new").0, "new\n");
    assert_ne!(scene.lock(), before);
    assert_eq!(scene.says(&[], "cat /new").0, "new\n");
    // No sandbox says what the next one is made of.
    let output = scene.in_project(&[], "echo '[images]' > agentkernel.lock");
    assert!(!output.status.success() && scene.lock().contains("base:1"), "{}", told(&output));
    scene.write("agentkernel.lock", "<<<<<<< ours\n");
    let output = scene.in_project(&[], "true");
    assert!(told(&output).contains("agentkernel.lock can't be used"), "{}", told(&output));
    // Where nothing is locked, there is nothing to renew.
    scene.project("[sandbox]\nimage = \"host\"\n");
    let output = scene.in_project(&["--update-lock"], "true");
    assert!(told(&output).contains("the project has no [image]"), "{}", told(&output));
}

/// What came from a registry is asked for there, though the name means something here.
#[test]
fn a_lock_that_is_renewed_asks_the_registry() {
    if !registry::ready() {
        return;
    }
    let scene = Scene::new(Who::Me);
    let registry = Registry::start(false, Login::None);
    let name = format!("{}/team/app:1", registry.host());
    let push = |text: &str| {
        scene.build(&format!("FROM base:1\nRUN echo {text} > /said\n"), &[]);
        scene.ok(&["image", "push", "built:1", &name]);
    };
    push("one");
    scene.project(&format!("[image]\nfrom = \"{name}\"\n"));
    assert_eq!(scene.says(&[], "cat /said").0, "one\n");
    push("two");
    assert_eq!(scene.says(&[], "cat /said").0, "one\n");
    assert_eq!(scene.says(&["--update-lock"], "cat /said").0, "two\n");
    assert_eq!(scene.says(&[], "cat /said").0, "two\n");
    // One without files is for others to copy out of.
    scene.build("FROM scratch\nENV A=b\n", &[]);
    let output = scene.agentkernel(&["run", "--image", "built:1", "--", "/x"]);
    assert!(told(&output).contains("built:1 is empty"), "{}", told(&output));
}

/// The same project by the backend native and by an engine: who comes second gets what the first has locked.
struct Both {
    scene: Scene,
    engine: Engine,
}

impl Both {
    fn new() -> Option<Self> {
        Self::of(Kind::Docker)
    }

    fn of(kind: Kind) -> Option<Self> {
        let engine = Engine::new(kind)?;
        Some(Self { scene: Scene::new(Who::Me), engine })
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.scene.world.agentkernel(arguments).env("DOCKER_HOST", self.engine.host()).output().unwrap()
    }

    /// What is in /said of the image, and what is told.
    #[track_caller]
    fn said(&self, backend: &str, more: &[&str]) -> (String, String) {
        let run = [&["run", "--backend", backend, "-u", "0"], more, &["--", "cat", "/said"]].concat();
        let output = self.output(&run);
        assert!(output.status.success(), "{}", told(&output));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Takes the lock away.
    fn unlock(&self) -> String {
        let lock = self.scene.lock();
        fs::remove_file(self.scene.world.project().join("agentkernel.lock")).unwrap();
        lock
    }
}

#[test]
fn an_engine_and_the_store_lock_alike() {
    if !registry::ready() {
        return;
    }
    let Some(both) = Both::new() else { return };
    let scene = &both.scene;
    let registry = Registry::start(false, Login::None);
    let name = format!("{}/team/app:1", registry.host());
    let push = |text: &str| {
        scene.build(&format!("FROM base:1\nRUN echo {text} > /said\n"), &[]);
        scene.ok(&["image", "push", "built:1", &name]);
        scene.inspect("built:1")["manifest"].as_str().unwrap().to_owned()
    };
    scene.project(&format!("[image]\nfrom = \"{name}\"\n"));
    let one = push("one");
    assert_eq!(both.said("docker", &[]).0, "one\n");
    assert!(scene.lock().contains(&one), "{}", scene.lock());
    // What the name means now is not asked for until it is wanted.
    let two = push("two");
    let _ = both.engine.says(&["pull", "-q", &name]);
    for backend in ["docker", "native"] {
        assert_eq!(both.said(backend, &[]).0, "one\n");
    }
    let by_docker = both.unlock();
    assert_eq!(both.said("native", &["--update-lock"]).0, "two\n");
    assert_eq!(scene.lock(), by_docker.replace(&one, &two));
    // The engine brings what the other has locked.
    let three = push("three");
    let _ = both.engine.says(&["image", "prune", "-af"]);
    assert_eq!(both.said("docker", &[]).0, "two\n");
    assert_eq!(both.said("docker", &["--update-lock"]).0, "three\n");
    assert_eq!(scene.lock(), by_docker.replace(&one, &three));
    let four = push("four");
    let create = ["create", "--backend", "docker", "--update-lock", "--name", "box", "--", "true"];
    let output = both.output(&create);
    assert!(output.status.success() && scene.lock().contains(&four), "{}", told(&output));
    let _ = both.output(&["rm", "box"]);
    // What can't be had any more is told, with the way on.
    scene.write("agentkernel.lock", &scene.lock().replace(&four, &Digest::of(b"gone").to_string()));
    let text = told(&both.output(&["run", "--backend", "docker", "--", "true"]));
    assert!(text.contains("  hint: ") && text.contains("--update-lock"), "{text}");

    // An image for several platforms has one name for all.
    let folder = tempfile::tempdir().unwrap();
    registry.skopeo(&format!("docker://{name}"), &format!("oci:{}:tag", folder.path().display()));
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("index.json")).unwrap()).unwrap();
    let hex = index["manifests"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let bytes = fs::read(folder.path().join("blobs/sha256").join(hex)).unwrap();
    let Document::Manifest(manifest) = Document::parse(&bytes, None).unwrap() else { panic!("no manifest") };
    let many = format!("{}/team/many:1", registry.host());
    let _ = Image { folder: folder.path().to_owned(), manifest, bytes }.put_index(&registry, &many);
    scene.project(&format!("[image]\nfrom = \"{many}\"\n"));
    assert_eq!(both.said("docker", &[]).0, "four\n");
    assert_eq!(both.said("native", &[]).0, "four\n");
    let before = registry.requests();
    assert_eq!(both.said("native", &[]), ("four\n".to_owned(), String::new()));
    assert_eq!(registry.requests(), before);
    let _ = both.unlock();
    for backend in ["native", "docker"] {
        assert_eq!(both.said(backend, &[]).0, "four\n");
    }
}

/// What both have of no registry is the same by its contents.
#[test]
fn an_image_of_no_registry_is_locked_by_what_it_is() {
    for kind in [Kind::Docker, Kind::Podman] {
        is_locked_by_what_it_is(kind);
    }
}

fn is_locked_by_what_it_is(kind: Kind) {
    let Some(both) = Both::of(kind) else { return };
    let scene = &both.scene;
    both.engine.load(&scene.base());
    scene.project("[image]\nfrom = \"base:1\"\n");
    let works = |backend: &str| {
        let output = both.output(&["run", "--backend", backend, "-u", "0", "--", "true"]);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(works("native"), "");
    let by_native = scene.lock();
    assert_eq!(works("docker"), "");
    let _ = both.unlock();
    assert_eq!(works("docker"), "");
    assert_eq!(scene.lock(), by_native);
    // Nobody else could have it.
    let _ = both.unlock();
    scene.ok(&["image", "prune", "--all"]);
    let text = works("docker");
    assert!(text.contains("base:1 is not locked: ") && text.contains("  hint: "), "{text}");
    assert_eq!(scene.lock(), "");
}

/// What is made for one backend is there for the other, and the engine gets it once.
#[test]
fn an_engine_gets_what_a_project_makes() {
    let Some(both) = Both::new() else { return };
    let scene = &both.scene;
    let images = || both.engine.says(&["images", "-q", "localhost/agentkernel-project"]).lines().count();
    let recipe = |said: &str| {
        scene.project(&format!("[image]\nfrom = \"base:1\"\nsetup = [\"echo {said} > /said; rm /etc/group\"]\n"));
    };
    recipe("one");
    let (out, err) = both.said("docker", &[]);
    assert!(out == "one\n" && err.contains("gets the project's image"), "{out}{err}");
    let lock = both.unlock();
    for backend in ["native", "docker"] {
        assert_eq!(both.said(backend, &[]), ("one\n".to_owned(), String::new()));
        assert_eq!(scene.lock(), lock);
    }
    // Another recipe makes another one; what nothing is made of any more goes with what the store has of it.
    recipe("two");
    assert_eq!(both.said("docker", &[]).0, "two\n");
    assert_eq!(images(), 2);
    let _ = both.output(&["image", "prune"]);
    assert_eq!(images(), 1);
    assert_eq!(both.said("docker", &[]), ("two\n".to_owned(), String::new()));
    let create = ["create", "--backend", "docker", "--name", "box", "--", "true"];
    assert!(both.output(&create).status.success());
    let _ = both.output(&["image", "prune", "--all"]);
    assert_eq!(images(), 1);
    let _ = both.output(&["rm", "box"]);
    let _ = both.output(&["image", "prune", "--all"]);
    assert_eq!(images(), 0);
    // A step that fails is named by its line, and a Dockerfile's words count in the engine.
    scene.ok(&["image", "import", &scene.base().display().to_string()]);
    scene.project("[image]\nfrom = \"base:1\"\nsetup = [\"exit 7\"]\n");
    let text = told(&both.output(&["run", "--backend", "docker", "--", "true"]));
    assert!(text.contains("agentkernel.toml:3: The command exited with status 7\n"), "{text}");
    scene.write("Dockerfile", "FROM base:1\nENV SAID=three\nRUN echo $SAID > /said\nUSER app\n");
    scene.project("[image]\ndockerfile = \"Dockerfile\"\n");
    assert_eq!(both.said("docker", &[]).0, "three\n");
    let run = ["run", "--backend", "docker", "--workspace", "none", "--", "/bin/sh", "-c", "echo $SAID $(id -u)"];
    let output = both.output(&run);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "three 7\n", "{}", told(&output));
}

/// Not every engine knows every compression.
#[test]
fn an_engine_gets_what_was_compressed() {
    if !support::internet::installed("skopeo") {
        return;
    }
    let Some(both) = Both::new() else { return };
    let scene = &both.scene;
    for format in ["gzip", "zstd"] {
        let _ = scene.sh(&format!(
            "skopeo --insecure-policy copy -q --dest-compress --dest-compress-format {format} docker-archive:$HOME/base.tar oci:$HOME/{format}:tag"
        ));
        scene.ok(&["image", "import", &scene.world.home().join(format).display().to_string(), format]);
        let layers = scene.inspect(format)["layers"].clone();
        assert_ne!(layers[0]["blob"], layers[0]["diff_id"]);
        scene.project(&format!("[image]\nfrom = \"{format}\"\nsetup = [\"echo {format} > /said\"]\n"));
        assert_eq!(both.said("docker", &[]).0, format!("{format}\n"));
    }
}

#[test]
fn packages_are_installed_by_the_images_own_manager() {
    let scene = Scene::new(Who::Me);
    scene.project("[image]\nfrom = \"base:1\"\npackages = [\"git\"]\n");
    let output = scene.in_project(&[], "true");
    assert!(told(&output).contains("no package manager that is known"), "{}", told(&output));
    // One that tells what it is asked, and reaches what its configuration names alone.
    scene.write("apk", "#!/bin/sh\necho \"$@\" > /asked\nfor host in 203.0.113.7 203.0.113.8; do printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' | nc $host 80 | grep -i x-agentkernel >> /asked; done\ntrue\n");
    scene.write("repositories", "# http://203.0.113.8/no\nhttp://203.0.113.7/main\n");
    scene
        .build("FROM base:1\nCOPY --chmod=755 apk /sbin/apk\nCOPY repositories /etc/apk/repositories\nUSER app\n", &[]);
    let rest = "packages = [\"git\", \"g++\"]\nsetup = [\"id -u > /who\"]\n";
    scene.project(&format!("[image]\nfrom = \"built:1\"\n{rest}"));
    let (out, _) = scene.says(&[], "cat /asked /who");
    let asked: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!((asked[0], asked.last()), ("add --no-cache git g++", Some(&"0")), "{out}");
    // The first is a matter of the network then; the other is refused by its rules.
    let refused = "X-Agentkernel-Reason: not-allowed";
    assert_eq!(asked.iter().filter(|line| **line == refused).count(), 1, "{out}");
    // Who runs programs is as the image says.
    assert_eq!(scene.ok(&["run", "--workspace", "none", "--", "id", "-u"]), "7\n");
    // What files of the project bring into an image names no host: programs inside can write them.
    let rest = rest.replace("g++", "make");
    scene.project(&format!("[image]\ndockerfile = \"Dockerfile\"\n{rest}"));
    let (out, _) = scene.says(&[], "cat /asked");
    let refused = "X-Agentkernel-Reason: network-none";
    assert_eq!(out.lines().filter(|line| line.trim() == refused).count(), 2, "{out}");
}

/// What an image is made of names registries, which are asked outside: no sandbox writes it.
#[test]
fn no_sandbox_writes_what_the_next_image_is_made_of() {
    for who in Who::all() {
        let scene = Scene::new(who);
        let dockerfile = "FROM base:1\nRUN echo made > /made\n";
        scene.sh("mkdir docker");
        scene.write("docker/Dockerfile", dockerfile);
        scene.project("[image]\ndockerfile = \"docker/Dockerfile\"\n");
        for script in ["echo 'FROM elsewhere' > docker/Dockerfile", "rm docker/Dockerfile", "mv docker away"] {
            let output = scene.in_project(&[], script);
            assert!(!output.status.success(), "{script}: {}", told(&output));
        }
        assert_eq!(fs::read_to_string(scene.world.project().join("docker/Dockerfile")).unwrap(), dockerfile);
        assert_eq!(scene.says(&[], "cat /made; echo kept > docker/other").0, "made\n");
    }
}

/// `from` takes what `--image` takes, and a line that fails is the project's own.
#[test]
fn what_an_image_begins_with_may_be_the_hosts_and_what_fails_is_named() {
    let scene = Scene::new(Who::Me);
    scene.project("[image]\nfrom = \"host\"\n");
    assert_eq!(scene.ok(&["run", "--", "ls", "/usr/bin/env"]), "/usr/bin/env\n");
    scene.project("[image]\nfrom = \"base:1\"\nsetup = [\n  \"true\",\n  \"exit 7\",\n]\n");
    let text = told(&scene.agentkernel(&["run", "--", "true"]));
    assert!(text.contains("agentkernel.toml:5: The command exited with status 7\n"), "{text}");
    assert!(text.contains("5 | exit 7"), "{text}");
}
