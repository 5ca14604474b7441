//! Dockerfiles of common shape, built by us and by Docker's own builder: every file of the image is the same, and so is
//! how it wants to be run.

use crate::{registry::program, workshop::Scene};
use std::{collections::BTreeSet, fs, path::Path};
use support::{
    Who,
    engine::{Engine, Kind},
    stdout,
};

/// Where we do as BuildKit does, and the builder in the engine does not: what `WORKDIR` makes is of the user before it, and so is
/// what `COPY --chown` makes on the way of whom it names.
const OF_BUILDKIT: [&str; 4] = [
    r#"17-metadata: /a: ours Some("40755 7:8 dir"), theirs Some("40755 0:0 dir")"#,
    r#"17-metadata: /a/b: ours Some("40755 7:8 dir"), theirs Some("40755 0:0 dir")"#,
    r#"17-metadata: /a/c: ours Some("40755 7:8 dir"), theirs Some("40755 0:0 dir")"#,
    r#"21-over-what-is-there: /given: ours Some("40755 3:4 dir"), theirs Some("40755 0:0 dir")"#,
];

#[test]
fn dockerfiles_give_what_they_give_with_docker() {
    let Some(engine) = Engine::new(Kind::Docker) else { return };
    let scene = Scene::new(Who::Me);
    engine.load(&scene.base());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/dockerfiles");
    let mut names: Vec<String> =
        fs::read_dir(folder.clone()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() >= 20, "{names:?}");
    for name in &names {
        scene.write(name, &fs::read_to_string(folder.join(name)).unwrap());
    }
    let mut wrong = Vec::new();
    for name in &names {
        wrong.extend(differences(&engine, &scene, name.trim_end_matches(".dockerfile"), name));
    }
    for (number, ignored) in IGNORED.iter().enumerate() {
        scene.write(".dockerignore", &format!("{ignored}\n/base*\n*.dockerfile\n"));
        scene.write("all.dockerfile", "FROM base:1\nCOPY . /all\n");
        wrong.extend(differences(&engine, &scene, &format!("ignored-{number}"), "all.dockerfile"));
    }
    // An image without PATH has one for what is built on it.
    let at = |name: &str| scene.world.home().join(name).display().to_string();
    scene.sh("cd && tar -xf base.tar 1.tar");
    let _ = engine.says(&["import", &at("1.tar"), "bare:1"]);
    let _ = engine.says(&["save", "-o", &at("bare.tar"), "bare:1"]);
    scene.ok(&["image", "import", &at("bare.tar")]);
    scene.write("bare.dockerfile", "FROM bare:1\nENV PATH=/opt/own:$PATH\nRUN echo \"$PATH\" > /path; ls /bin/sh\n");
    wrong.extend(differences(&engine, &scene, "bare", "bare.dockerfile"));
    assert_eq!(wrong, OF_BUILDKIT);
}

/// Lists of what does not belong to the context, in which exceptions meet what is above and below them.
const IGNORED: [&str; 8] = [
    "**/*.c\n!src",
    "**/x.c\n!src/",
    "docs/deep\n!docs",
    "**/*.md\n!*",
    "src\n!src\n**/*.c",
    "**/*.c\nsrc\n!src",
    "*\n!docs\n!src/*.c\ndocs/*.md",
    "hidden/**\n!hidden/keep/kept",
];

/// How what a Dockerfile gives with us differs from what it gives with the builder that is in the engine itself.
fn differences(engine: &Engine, scene: &Scene, tag: &str, file: &str) -> Vec<String> {
    let saved = scene.world.home().join("saved.tar");
    let built = format!("theirs-{tag}");
    let build = ["build", "--network", "none", "-t", &built, "-f", file, "."];
    let _ = stdout(engine.docker(&build).env("DOCKER_BUILDKIT", "0").current_dir(scene.world.project()));
    let _ = engine.says(&["save", "-o", saved.to_str().unwrap(), &built]);
    let _ = engine.says(&["image", "rm", &built]);
    let (ours, theirs) = (format!("ours-{tag}:latest"), format!("theirs-{tag}:latest"));
    scene.ok(&["image", "import", &saved.display().to_string()]);
    scene.ok(&["image", "build", "-q", "-f", file, "-t", &ours, "."]);
    let (one, other) = (scene.tree(&ours), scene.tree(&theirs));
    let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = paths.into_iter().filter(|path| one.get(*path) != other.get(*path));
    let mut wrong: Vec<String> =
        differ.map(|path| format!("{tag}: /{path}: ours {:?}, theirs {:?}", one.get(path), other.get(path))).collect();
    let (one, other) = (scene.inspect(&ours)["run"].take(), scene.inspect(&theirs)["run"].take());
    if one != other {
        wrong.push(format!("{tag}: ours {one}, theirs {other}"));
    }
    wrong
}

/// What we build and push or export, an engine reads and gives away again.
#[test]
fn engines_pass_on_what_we_build() {
    for kind in [Kind::Docker, Kind::Podman] {
        let Some(engine) = Engine::new(kind) else { continue };
        let scene = Scene::new(Who::Me);
        let at = |name: &str| scene.world.home().join(name).display().to_string();
        scene.write(
            "Dockerfile",
            "FROM base:1\nRUN mkdir /d && echo x > /d/x && ln /d/x /d/y && chown 3:4 /d/x && mkfifo /d/fifo && \
             printf end > /d/hollow && dd if=/d/x of=/d/hollow bs=1 seek=9000000 2>/dev/null && rm /tmp/* ; true\nRUN rm /d/y\n",
        );
        scene.ok(&["image", "build", "-q", "-t", "made:1", "."]);
        scene.ok(&["image", "export", "made:1", &at("made.tar")]);
        // This engine is older than archives of OCI's.
        let (from, to) =
            (format!("oci-archive:{}", at("made.tar")), format!("docker-archive:{}:made:1", at("old.tar")));
        let _ = stdout(program("skopeo").args(["--insecure-policy", "copy", "-q", &from, &to]));
        engine.load(&scene.world.home().join("old.tar"));
        let _ = engine.says(&["save", "-o", &at("back.tar"), "made:1"]);
        scene.ok(&["image", "import", "-q", &at("back.tar"), "back:1"]);
        let before = scene.tree("made:1");
        assert!(before.len() > 20 && scene.tree("back:1") == before, "{kind:?}");
    }
}
