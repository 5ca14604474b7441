//! Dockerfiles of common shape, built by us and by Docker's own builder: every file of the image is the same, and so is
//! how it wants to be run.

use crate::workshop::Scene;
use std::{collections::BTreeSet, fs, path::Path};
use support::{
    Who,
    engine::{Engine, Kind},
    stdout,
};

/// Where we do as BuildKit does, and the builder in the engine does not: what `WORKDIR` makes is of the user before it.
const OF_BUILDKIT: [&str; 3] = [
    r#"17-metadata: /a: ours Some("40755 7:8 dir"), theirs Some("40755 0:0 dir")"#,
    r#"17-metadata: /a/b: ours Some("40755 7:8 dir"), theirs Some("40755 0:0 dir")"#,
    r#"17-metadata: /a/c: ours Some("40755 7:8 dir"), theirs Some("40755 0:0 dir")"#,
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
    let saved = scene.world.home().join("saved.tar");
    let mut wrong = Vec::new();
    for name in &names {
        let tag = name.trim_end_matches(".dockerfile");
        let built = format!("theirs-{tag}");
        let build = ["build", "--network", "none", "-t", &built, "-f", name, "."];
        // The builder that is in the engine itself.
        let _ = stdout(engine.docker(&build).env("DOCKER_BUILDKIT", "0").current_dir(scene.world.project()));
        let _ = engine.says(&["save", "-o", saved.to_str().unwrap(), &built]);
        let _ = engine.says(&["image", "rm", &built]);
        let (ours, theirs) = (format!("ours-{tag}:latest"), format!("theirs-{tag}:latest"));
        scene.ok(&["image", "import", &saved.display().to_string()]);
        scene.ok(&["image", "build", "-q", "-f", name, "-t", &ours, "."]);
        let (one, other) = (scene.tree(&ours), scene.tree(&theirs));
        let paths: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        for path in paths.into_iter().filter(|path| one.get(*path) != other.get(*path)) {
            wrong.push(format!("{tag}: /{path}: ours {:?}, theirs {:?}", one.get(path), other.get(path)));
        }
        let (one, other) = (scene.inspect(&ours)["run"].take(), scene.inspect(&theirs)["run"].take());
        if one != other {
            wrong.push(format!("{tag}: ours {one}, theirs {other}"));
        }
    }
    assert_eq!(wrong, OF_BUILDKIT);
}
