//! How much room builds may take.

use crate::workshop::Scene;
use std::fs;
use support::{Who, told};

fn allow(scene: &Scene, quota: &str) {
    let dir = "$HOME/.config/agentkernel";
    scene.sh(&format!("mkdir -p {dir} && printf '[images]\\nquota = \"{quota}\"\\n' > {dir}/config.toml"));
}

fn blobs(scene: &Scene) -> usize {
    fs::read_dir(scene.world.state().join("images/blobs")).unwrap().count()
}

#[test]
fn a_step_that_is_refused_leaves_nothing() {
    for who in Who::all() {
        let scene = Scene::new(who);
        allow(&scene, "30M");
        let refused = |dockerfile: &str, line: usize| {
            let output = scene.try_build(dockerfile, &[]);
            let text = told(&output);
            assert!(!output.status.success(), "{text}");
            assert!(
                text.contains(&format!("Dockerfile:{line}: ")) && text.contains("of which 30 MiB are allowed"),
                "{text}"
            );
            assert!(text.contains("image prune"), "{text}");
            assert_eq!(blobs(&scene), 3, "{text}");
            assert!(scene.world.leftovers().is_empty());
            text
        };
        // There is room for what it wrote, and not for the layer as it travels beside that.
        refused("FROM base:1\nRUN dd if=/dev/urandom of=/big bs=1M count=20\n", 2);
        // What it wrote is too much; it is not let write on.
        let text = refused("FROM base:1\nRUN dd if=/dev/urandom of=/big bs=1M count=40; sleep 1000\n", 2);
        assert!(!text.contains("exited with"), "{text}");
        // A cache counts, and stays.
        let cache = "RUN --mount=type=cache,target=/cache dd if=/dev/urandom of=/cache/big bs=1M count=40; sleep 1000";
        refused(&format!("FROM base:1\n{cache}\n"), 2);
        scene.ok(&["image", "prune", "--all"]);
        scene.ok(&["image", "import", &scene.base().display().to_string()]);
        scene.build("FROM base:1\nRUN dd if=/dev/urandom of=/big bs=1M count=5\n", &[]);
        // A command's own mistake is told before what it took.
        let output = scene.try_build("FROM base:1\nRUN exit 3\n", &[]);
        assert!(told(&output).contains("exited with status 3"), "{}", told(&output));
    }
}

#[test]
fn gc_clears_what_is_of_no_image() {
    let scene = Scene::new(Who::Me);
    let (blob, part) = ("ab".repeat(32), format!("{}.part", "cd".repeat(32)));
    let images = "$HOME/state/images";
    let stray = format!("cd {images} && echo x > blobs/{blob} && echo x > work/packed.1 && echo x > work/{part}");
    scene.sh(&stray);
    scene.build("FROM base:1\nRUN touch /x\n", &[]);
    scene.ok(&["image", "rm", "built:1"]);
    let known = blobs(&scene);
    scene.sh(&stray);
    let clear = |more: &[&str]| scene.ok(&[&["gc"], more].concat());
    assert!(clear(&["--dry-run"]).contains("1 blobs") && blobs(&scene) == known + 1);
    assert!(clear(&[]).contains("0 layers and 1 blobs of "));
    assert_eq!(blobs(&scene), known);
    assert!(clear(&[]).contains("Nothing to clear"));
    let work = scene.sh(&format!("cd {images} && ls work"));
    assert!(!work.contains("packed.1") && work.contains(&part), "{work}");
    // What a step made is known still.
    let (_, told) = scene.build("FROM base:1\nRUN touch /x\n", &[]);
    assert!(told.contains("CACHED"), "{told}");
}
