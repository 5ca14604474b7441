//! What every sandbox promises, whatever makes it: one table of cases, run on every backend.
//!
//! What a backend cannot do is said by `doctor`, from the list that it goes by itself, and nowhere else: a case that needs it
//! is counted and named here, with that reason.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod bench;
mod cases;
mod far;
mod installed;
mod lost;

use bench::{Bench, Maker};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic,
};
use support::{Who, engine::Kind};

const DOCKERD: Maker = Maker::Engine(Kind::Docker);
const PODMAN: Maker = Maker::Engine(Kind::Podman);

/// One promise.
pub struct Case {
    /// What it says.
    pub name: &'static str,
    /// What a backend must be able to do for it, by its name in `doctor`; empty: nothing special.
    pub needs: &'static str,
    /// Fails if it is not kept.
    pub proof: fn(&Bench),
}

/// Runs every case, and names all that fail.
fn conforms(maker: Maker, who: Who) {
    let Some(bench) = Bench::new(maker, who) else { return };
    let maker = maker.name();
    let (mut failed, mut passed) = (Vec::new(), 0);
    let only = std::env::var("CONFORMANCE_CASE").unwrap_or_default();
    for case in cases::all().into_iter().filter(|case| case.name.contains(&only)) {
        if let Some(reason) = bench.lacks.get(case.needs) {
            support::skipped(&format!("{maker}: {}", case.name), reason);
            continue;
        }
        eprintln!("--- {maker}, {who:?}: {}", case.name);
        match panic::catch_unwind(panic::AssertUnwindSafe(|| (case.proof)(&bench))) {
            Ok(()) => passed += 1,
            Err(_) => failed.push(case.name),
        }
        bench.clear();
    }
    assert!(failed.is_empty(), "{maker}, {who:?}: {passed} cases hold, and these do not: {failed:#?}");
    bench.leaves_nothing();
}

#[test]
fn native_as_root() {
    conforms(Maker::Native, Who::Me);
}

#[test]
fn native_as_an_ordinary_user() {
    if Who::all().contains(&Who::Nobody) {
        conforms(Maker::Native, Who::Nobody);
    }
}

#[test]
fn docker_as_root() {
    conforms(DOCKERD, Who::Me);
}

#[test]
fn docker_as_an_ordinary_user() {
    if Who::all().contains(&Who::Nobody) {
        conforms(DOCKERD, Who::Nobody);
    }
}

#[test]
fn podman_as_root() {
    conforms(PODMAN, Who::Me);
}

#[test]
fn podman_as_an_ordinary_user() {
    if Who::all().contains(&Who::Nobody) {
        conforms(PODMAN, Who::Nobody);
    }
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = cases::all();
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
}

/// The attempts that are not made in a container, by the reason: so that no wall stops being tried unseen.
const NOT_MADE: [(&str, &[&str]); 2] = [
    (
        "it would act on the host itself, whose user namespace this is",
        &[
            "init-ptrace",
            "init-memory",
            "init-memory-readv",
            "init-priority",
            "init-scheduler",
            "init-binary-read",
            "init-binary-overwrite",
            "init-root",
            "init-environment",
            "init-descriptors",
            "init-descriptor-theft",
            "init-compare",
            "init-maps",
            "capabilities-regain",
            "securebits",
            "namespaces-unshare",
            "namespaces-join-init",
            "namespaces-join-pidfd",
            "mount-tmpfs",
            "mount-proc",
            "mount-bind",
            "mount-remount",
            "mount-umount",
            "mount-fsopen",
            "mount-open-tree",
            "mount-move",
            "mount-fspick",
            "mount-cgroup",
            "pivot-root",
            "chroot",
            "reboot",
            "hostname",
            "domainname",
            "network-admin",
        ],
    ),
    // Containers have no limit of what they write.
    ("the runner gave no 'limit_disk'", &["disk-fill-home", "disk-fill-tmp", "disk-fill-shm"]),
];

/// What falls is what `doctor` says, by other names: root's own id, and a root without `nodev`.
#[test]
fn a_container_holds_what_can_be_held() {
    held_by(DOCKERD);
}

#[test]
fn a_container_of_podman_holds_it_too() {
    held_by(PODMAN);
}

fn held_by(maker: Maker) {
    let Some(bench) = Bench::new(maker, Who::Me) else { return };
    let output =
        bench.agentkernel(&["attest", "--json", "--backend", "docker", "--image", bench::IMAGE]).output().unwrap();
    let report: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", support::told(&output)));
    let cases = report["cases"].as_array().unwrap();
    let of = |verdict: &str| -> Vec<&str> {
        cases.iter().filter(|case| case["result"] == verdict).map(|case| case["name"].as_str().unwrap()).collect()
    };
    let reason = |name: &&str| cases.iter().find(|case| case["name"] == *name).unwrap()["detail"].as_str().unwrap();
    let mut escaped = vec!["namespaces-shared", "device-mounts"];
    if bench.lacks.contains_key("cgroup namespace") {
        escaped.insert(1, "cgroup-path");
    }
    assert_eq!(of("escaped"), escaped);
    let skipped = of("skipped");
    let not_made: BTreeMap<&str, &str> = skipped.iter().map(|name| (*name, reason(name))).collect();
    let expected = NOT_MADE.iter().flat_map(|(reason, names)| names.iter().map(|name| (*name, *reason)));
    assert_eq!(not_made, expected.collect());
    assert_eq!(of("held").len(), cases.len() - escaped.len() - not_made.len(), "{report:#}");
    bench.leaves_nothing();
}

/// What is to run a container is passed on, and what can't is told.
#[test]
fn a_runtime_that_cannot_be_had_is_told() {
    for (maker, text) in
        [(DOCKERD, "nknown runtime"), (PODMAN, "takes no runtime for a single container, 'kata' neither")]
    {
        let Some(bench) = Bench::new(maker, Who::Me) else { continue };
        let run = ["run", "--backend", "docker", "--image", bench::IMAGE, "--runtime", "kata", "--", "true"];
        let output = bench.agentkernel(&run).output().unwrap();
        assert_eq!(output.status.code(), Some(125));
        let told = String::from_utf8(output.stderr).unwrap();
        let line = told.lines().next().unwrap_or_default();
        assert!(line.starts_with("agentkernel: engine: ") && line.contains(text) && line.contains("kata"), "{told}");
        assert_eq!(told.lines().filter(|line| !line.starts_with("  hint: ")).count(), 1, "{told}");
        bench.leaves_nothing();
        if maker == DOCKERD {
            // One that there is.
            let run =
                ["run", "--backend", "docker", "--image", bench::IMAGE, "--runtime", "runc", "--", "echo", "runs"];
            assert_eq!(bench.says(&run), "runs\n");
        }
    }
}

/// Who clears an engine of volumes that nothing uses takes init along, which is put there again.
#[test]
fn init_comes_back_to_an_engine_that_was_cleared() {
    for maker in [DOCKERD, PODMAN] {
        let Some(bench) = Bench::new(maker, Who::Me) else { continue };
        let Some(engine) = &bench.engine else { continue };
        let run = ["run", "--backend", "docker", "--image", bench::IMAGE, "--", "echo", "runs"];
        assert_eq!(bench.says(&run), "runs\n");
        for emptied in [false, true] {
            let volumes = engine.says(&["volume", "ls", "-q"]);
            let inits: Vec<&str> = volumes.lines().filter(|name| name.starts_with("agentkernel-init-")).collect();
            assert_eq!(inits.len(), 1, "{volumes}");
            let _ = engine.says(&["volume", "rm", inits[0]]);
            // A container that names it would have the engine make an empty one.
            if emptied {
                let _ = engine.says(&["volume", "create", inits[0]]);
            }
            assert_eq!(bench.says(&run), "runs\n");
        }
        bench.leaves_nothing();
    }
}

/// A copy of a project is all of it or nothing: what can't be read is told, and no sandbox has the rest.
#[test]
fn no_container_has_a_part_of_a_project() {
    // Root reads everything.
    if !Who::all().contains(&Who::Nobody) {
        return;
    }
    let Some(bench) = Bench::new(DOCKERD, Who::Nobody) else { return };
    let script = "mkdir a z && echo one > a/one && echo two > m && chmod 000 m && echo three > z/three";
    let _ = support::stdout(bench.world.command("sh").args(["-c", script]));
    let run = ["run", "--backend", "docker", "--image", bench::IMAGE, "--workspace", "overlay", "--", "ls"];
    bench.refuses(&run, "The workspace can't be copied: Cannot open");
    let _ = support::stdout(bench.world.command("rm").args(["-f", "m"]));
    assert_eq!(bench.says(&run), "a\nz\n");
    bench.leaves_nothing();
}

/// An engine is given a layer once for each image, and gives it up when nothing is left of it here.
#[test]
fn an_engine_lays_a_layer_once() {
    for who in Who::all() {
        let Some(bench) = Bench::new(DOCKERD, who) else { return };
        let Some(engine) = &bench.engine else { return };
        let import = |name: &str, script: &str| {
            let archive = support::pack(&bench.world, name, "[]", script);
            let _ = bench.says(&["image", "import", archive.to_str().unwrap()]);
        };
        import("one", "mkdir -p opt; echo one > opt/one");
        import("two", "mkdir -p opt; echo two > opt/two");
        let images = || engine.says(&["image", "ls", "-aq", "--filter", "label=agentkernel.layer"]).lines().count();
        let run = |layers: &[&str], script: &str| {
            let options: Vec<&str> = layers.iter().flat_map(|layer| ["--layer", layer]).collect();
            let output = bench.sh(&options, script);
            assert!(output.status.success(), "{}", support::told(&output));
            support::told(&output).contains("gets layer")
        };
        assert!(run(&["one:1"], "cat /opt/one"));
        assert_eq!(images(), 1);
        // Above one that is there, another.
        assert!(run(&["one:1", "two:1"], "cat /opt/one /opt/two"));
        for layers in [&["one:1"][..], &["one:1", "two:1"]] {
            assert!(!run(layers, "cat /opt/one"));
        }
        assert_eq!(images(), 2);
        // What a sandbox is made of stays, before it has a container and after.
        let _ = bench.says(&[
            "create",
            "--backend",
            "docker",
            "--image",
            bench::IMAGE,
            "--layer",
            "one:1",
            "--name",
            "box",
        ]);
        let _ = bench.says(&["image", "rm", "one:1"]);
        assert_eq!(images(), 2);
        let told = bench.says(&["image", "prune", "--all", "--dry-run"]);
        assert!(told.contains("1 images that engines had of ours would be removed"), "{told}");
        let _ = bench.says(&["image", "prune", "--all"]);
        assert_eq!(images(), 1);
        let _ = bench.says(&["start", "box"]);
        assert_eq!(bench.exec("cat /opt/one"), "one\n");
        let _ = bench.says(&["rm", "-f", "box"]);
        // What is damaged does not get there.
        import("bad", "mkdir -p opt; echo bad > opt/bad");
        let shown: serde_json::Value = serde_json::from_str(&bench.says(&["image", "inspect", "bad:1"])).unwrap();
        let hex = shown[0]["layers"][0]["blob"].as_str().unwrap().trim_start_matches("sha256:");
        let blob = bench.world.state().join("images/blobs").join(hex);
        let mut bytes = std::fs::read(&blob).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&blob, bytes).unwrap();
        let run_bad = ["run", "--backend", "docker", "--image", bench::IMAGE, "--layer", "bad:1", "--", "true"];
        bench.refuses(&run_bad, "is not what its digest says");
        assert_eq!((images(), engine.containers().len()), (1, 0));
        let _ = bench.says(&["image", "rm", "bad:1"]);
        // What a layer would lose in a volume is told.
        import("lost", "mkdir -p data; echo lost > data/file");
        let volume = "FROM box:1\nVOLUME /data\n";
        let mut build = engine.docker(&["build", "-q", "-t", "volume:1", "-"]);
        assert!(bench.with_input(build.env("DOCKER_BUILDKIT", "0"), volume.as_bytes()).status.success());
        let lost = ["run", "--backend", "docker", "--image", "volume:1", "--layer", "lost:1", "--", "true"];
        bench.refuses(&lost, "Layer lost:1 has files in /data, where volume:1 has a volume");
        let _ = bench.says(&["image", "rm", "lost:1"]);
        let _ = bench.says(&["image", "prune", "--all"]);
        assert_eq!(images(), 0);
        bench.leaves_nothing();
    }
}

/// An engine whose containers have a log and an init of their own unless they say otherwise, and an image with a check of
/// its health, which would be run as root outside of the walls.
#[test]
fn an_engine_adds_no_program_and_no_log_of_its_own() {
    let Some(bench) = Bench::with(DOCKERD, Who::Me, &["--init", "--log-driver", "json-file"]) else { return };
    let Some(engine) = &bench.engine else { return };
    let image = "FROM box:1\nHEALTHCHECK --interval=100ms --timeout=5s CMD touch /srv/checked\n";
    let mut build = engine.docker(&["build", "-q", "-t", "checked:1", "-"]);
    assert!(bench.with_input(build.env("DOCKER_BUILDKIT", "0"), image.as_bytes()).status.success());
    // That it leaves a trace where nobody forbids it.
    let _ = engine.says(&["run", "-d", "--network", "none", "--name", "plain", "checked:1", "sleep", "600"]);
    support::eventually("the engine checks", || {
        engine.docker(&["exec", "plain", "test", "-e", "/srv/checked"]).output().unwrap().status.success()
    });
    bench.kept(&["--image", "checked:1", "--workspace", "none"], &["sleep", "600"]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(bench.exec("test -e /srv/checked || echo none"), "none\n");
    let format = "{{.HostConfig.LogConfig.Type}} {{.HostConfig.Init}} {{.Config.Healthcheck.Test}} {{.State.Health}}";
    let told = |name: &str| engine.says(&["inspect", "--format", format, name]);
    assert!(told("plain").starts_with("json-file <nil> [CMD-SHELL "), "{}", told("plain"));
    let container = format!("agentkernel-{}", bench.inspect()["spec"]["id"].as_str().unwrap());
    assert_eq!(told(&container), "none false [NONE] <nil>\n");
    assert_eq!(bench.exec("ps -o comm | grep -c -E 'docker-init|tini'; true"), "0\n");
    let _ = engine.says(&["rm", "-f", "plain"]);
    bench.clear();
    bench.leaves_nothing();
}

#[test]
fn nothing_is_lacking_that_no_case_needs() {
    let needed: BTreeSet<_> = cases::all().iter().map(|case| case.needs.to_owned()).collect();
    for bench in [DOCKERD, PODMAN].into_iter().filter_map(|maker| Bench::new(maker, Who::Me)) {
        for name in bench.lacks.keys() {
            assert!(needed.contains(name), "doctor says that '{name}' is lacking, which no case needs");
        }
    }
}
