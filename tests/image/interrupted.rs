//! Pulls and builds for which the disk does not suffice, or that are killed: what is told, what stays, and the next try.

use crate::{
    registry::{Login, ready},
    scene, workshop,
};
use std::{
    process::{Output, Stdio},
    thread,
    time::Duration,
};
use support::{
    World,
    disk::{self, Disk},
    eventually, told,
};

/// Megabytes of the layers of the image that is pulled.
const LAYERS: [u64; 2] = [3_000_000, 5_000_000];
/// All that is needed, and more.
const ENOUGH: &str = "size=100M";

/// What is wrong about it is told in one line, with what can be done.
#[track_caller]
fn full(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("No space left on device"), "{}", told(output));
    // Where a command of the image's met it, that has said so.
    assert!(text.contains("AGENTKERNEL_STATE_DIR") || text.contains("exited with status"), "{}", told(output));
}

/// That the store can be looked at and tidied, and that nothing stays of what was not finished.
#[track_caller]
fn consistent(run: &dyn Fn(&[&str]) -> Output, left: &dyn Fn() -> String) {
    for arguments in [&["image", "du", "--json"][..], &["image", "list"], &["image", "prune"], &["gc"]] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    }
    assert_eq!(left(), "");
}

/// What is under way in a state directory, in its own shell's words; locks may stay.
const UNDER_WAY: &str = "ls -A images/work | grep -v '[.]lock$'; ls -A cache | grep -v -e '^layer-' -e '^init' -e '^skeleton' -e '^ids$'; ls sandboxes; true";

#[test]
fn a_pull_that_fills_the_disk() {
    if !ready() {
        return;
    }
    for who in disk::everyone() {
        let scene = scene::Scene::new(who, false, Login::None, &LAYERS);
        let disk = Disk::new(&scene.world, "100M");
        let run = |arguments: &[&str]| disk.agentkernel(&scene.world, arguments).output().unwrap();
        let pull = || run(&["image", "pull", &scene.name()]);
        assert!(run(&["ps"]).status.success());
        // What travels does not fit, or only a part of what is unpacked.
        for room in [1 << 20, 4 << 20, 7 << 20, 9 << 20, 12 << 20, 15 << 20] {
            disk.remount(&format!("size={}", disk.used() + room));
            full(&pull());
            assert_eq!(disk.root("ls images/tags images/records"), "images/records:\n\nimages/tags:\n");
            consistent(&run, &|| disk.root(UNDER_WAY));
            // Again, where it still does not.
            full(&pull());
            disk.remount(ENOUGH);
            let output = pull();
            assert!(output.status.success(), "{}", told(&output));
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{} {}\n", scene.name(), scene.image.digest()));
            // Every byte is read for this.
            assert!(run(&["image", "export", &scene.name(), "/dev/null"]).status.success());
            assert!(run(&["image", "prune", "--all"]).status.success());
        }
    }
}

const DOCKERFILE: &str = "FROM base:1\nCOPY big /big\nRUN cp /big /copy\n";

/// A project with eight megabytes that no disk makes smaller.
fn project(world: &World) {
    let script = "head -c 8000000 /dev/urandom > big; rm -f .dockerignore";
    assert!(world.command("sh").args(["-c", script]).status().unwrap().success());
}

#[test]
fn a_build_that_fills_the_disk() {
    for who in disk::everyone() {
        let scene = workshop::Scene::bare(who);
        let disk = Disk::new(&scene.world, "100M");
        project(&scene.world);
        scene.write("Dockerfile", DOCKERFILE);
        let run = |arguments: &[&str]| disk.agentkernel(&scene.world, arguments).output().unwrap();
        let build = || run(&["image", "build", "-t", "built:1", "."]);
        let base = scene.base().display().to_string();
        // Into the tree, into the layer, unpacked; and the same of the command.
        for room in [4 << 20, 12 << 20, 20 << 20, 28 << 20] {
            assert!(run(&["image", "import", &base]).status.success());
            disk.remount(&format!("size={}", disk.used() + room));
            full(&build());
            consistent(&run, &|| disk.root(UNDER_WAY));
            assert!(!told(&run(&["image", "list"])).contains("built"));
            disk.remount(ENOUGH);
            let output = build();
            assert!(output.status.success(), "{}", told(&output));
            let script = ["sh", "-c", "cmp /big /copy && echo same"];
            let output = run(&[&["run", "--image", "built:1", "--workspace", "none", "--"], &script[..]].concat());
            assert_eq!(String::from_utf8_lossy(&output.stdout), "same\n", "{}", told(&output));
            assert!(run(&["image", "prune", "--all"]).status.success());
        }
        eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}

/// At whatever moment; what was finished before counts.
#[test]
fn a_build_that_is_killed_at_any_moment() {
    for who in support::Who::all() {
        let scene = workshop::Scene::new(who);
        project(&scene.world);
        scene.write("Dockerfile", DOCKERFILE);
        let run = |arguments: &[&str]| scene.agentkernel(arguments);
        let under_way = || scene.sh(&format!("cd {} && {UNDER_WAY}", scene.world.state().display()));
        for delay in [5, 20, 40, 70, 100, 150, 200, 300] {
            let mut build = scene.world.agentkernel(["image", "build", "-t", "killed:1", "."]);
            let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(delay));
            let _ = build.kill();
            let _ = build.wait();
            eventually("no worker is left", || !scene.world.processes().iter().any(|(_, name)| name == "ak-image"));
            // Its sandbox ends with it, and goes when the next command looks.
            eventually("no sandbox is left", || run(&["gc"]).status.success() && scene.world.leftovers().is_empty());
            consistent(&run, &under_way);
        }
        let (_, _) = scene.build(DOCKERFILE, &[]);
        assert_eq!(scene.run("cmp /big /copy && echo same"), "same\n");
    }
}
