//! What every sandbox promises, whatever makes it: one table of cases, run on every backend.
//!
//! What a backend cannot do is said by `doctor`, from the list that it goes by itself, and nowhere else: a case that needs it
//! is counted and named here, with that reason.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod bench;
mod cases;
mod installed;

use bench::{Bench, Maker};
use std::{collections::BTreeSet, panic};
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
    let mut escaped = vec!["namespaces-shared", "device-mounts"];
    if bench.lacks.contains_key("cgroup namespace") {
        escaped.insert(1, "cgroup-path");
    }
    assert_eq!(of("escaped"), escaped);
    assert!(of("held").len() > 150, "{report:#}");
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

#[test]
fn nothing_is_lacking_that_no_case_needs() {
    let needed: BTreeSet<_> = cases::all().iter().map(|case| case.needs.to_owned()).collect();
    for bench in [DOCKERD, PODMAN].into_iter().filter_map(|maker| Bench::new(maker, Who::Me)) {
        for name in bench.lacks.keys() {
            assert!(needed.contains(name), "doctor says that '{name}' is lacking, which no case needs");
        }
    }
}
