//! Real work on real input: our own crate, an npm package and a Python package, each with its own tests.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};
use support::{NOBODY, Who, World, fetched, stdout, told};

/// The repository that these tests belong to.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Whether this user may enter every directory on the way.
fn reaches(who: Who, path: &Path) -> bool {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    who == Who::Me
        || path.ancestors().all(|directory| {
            let metadata = fs::metadata(directory).unwrap();
            metadata.permissions().mode() & 0o001 != 0 || metadata.uid() == NOBODY
        })
}

/// Copies files into the project, which then belong to its user.
fn copy(world: &World, from: &Path, what: &[&str]) {
    let project = world.project();
    let status = Command::new("cp").arg("-R").args(what).arg(&project).current_dir(from).status().unwrap();
    assert!(status.success());
    if let Ok(owner) = fs::metadata(&project).map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata)) {
        let status = Command::new("chown").arg("-R").arg(format!("{owner}:{owner}")).arg(&project).status().unwrap();
        assert!(status.success());
    }
}

/// Builds one of our crates and runs its tests, offline. Both live in a home directory, of which a sandbox sees nothing
/// by itself: the toolchain, and what cargo has downloaded, are two read-only mounts.
#[test]
fn cargo_tests_a_crate_of_ours() {
    let Ok(sysroot) = Command::new("rustc").args(["--print", "sysroot"]).output() else {
        return support::skipped("cargo test in a sandbox", "there is no rustc");
    };
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout).unwrap().trim());
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let registry = fs::canonicalize(cargo_home.unwrap().join("registry")).unwrap();
    for who in Who::all() {
        if !reaches(who, &sysroot) || !reaches(who, &registry) {
            support::skipped("cargo test in a sandbox, as an ordinary user", "the toolchain is in another user's home");
            continue;
        }
        let world = World::new(who);
        copy(&world, repository(), &["Cargo.toml", "Cargo.lock", ".cargo", "crates", "tests", "xtask"]);
        let mounts =
            [format!("{}:/opt/rust:ro", sysroot.display()), format!("{}:/opt/cargo/registry:ro", registry.display())];
        let script = "PATH=/opt/rust/bin:$PATH CARGO_HOME=/opt/cargo cargo test --offline --jobs 2 -p agentkernel-wire --lib frame";
        let output = world
            .agentkernel(["run", "--mount", &mounts[0], "--mount", &mounts[1], "--", "sh", "-c", script])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", told(&output));
        assert!(text.contains("test result: ok.") && !text.contains("ok. 0 passed"), "{}", told(&output));
        // What it built lies in the project, ready for the host's own cargo.
        assert!(world.project().join("target").is_dir());
    }
}

/// What a package manager has brought.
fn package(name: &str, fetch: &mut Command) -> Option<PathBuf> {
    fetched(env!("CARGO_TARGET_TMPDIR"), &format!("the tests of a real {name} package in a sandbox"), fetch)
}

/// Whether a sandbox, which sees the host's /usr, has a program. If not, that is counted and named.
fn has(world: &World, program: &str) -> bool {
    let found = world.agentkernel(["run", "--", program, "--version"]).output().unwrap().status.success();
    if !found {
        support::skipped(&format!("the tests of a real package with {program}"), "it is not installed below /usr");
    }
    found
}

#[test]
fn npm_tests_a_package() {
    let mut pack = Command::new("npm");
    let Some(folder) = package("npm", pack.args(["pack", "inherits@2.0.1"])) else { return };
    for who in Who::all() {
        let world = World::new(who);
        if !has(&world, "npm") {
            return;
        }
        copy(&world, &folder, &["inherits-2.0.1.tgz"]);
        let script = "tar --no-same-owner -xzf inherits-2.0.1.tgz && cd package && npm test";
        let output = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("node test"), "{}", told(&output));
        // The tests can fail: they are really run.
        let script = "cd package && echo 'module.exports = function () {}' > inherits.js && npm test";
        let output = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
        assert!(!output.status.success(), "{}", told(&output));
    }
}

#[test]
fn pytest_tests_a_package() {
    // Pure Python, so that the host's own python has them whatever its version, and the package's own tests with it.
    let script = "python3 -m pip download -q -d . pytest && \
                  python3 -m pip download -q -d . --no-deps --no-binary six six==1.17.0";
    let mut download = Command::new("sh");
    let Some(folder) = package("python", download.args(["-c", script])) else { return };
    for who in Who::all() {
        let world = World::new(who);
        if !has(&world, "python3") {
            return;
        }
        copy(&world, &folder, &["."]);
        let unpack = "for wheel in *.whl; do python3 -m zipfile -e $wheel deps; done && tar --no-same-owner -xzf six-1.17.0.tar.gz";
        let _ = stdout(&mut world.agentkernel(["run", "--", "sh", "-c", unpack]));
        let test = "cd six-1.17.0 && PYTHONPATH=../deps python3 -m pytest -q -p no:cacheprovider test_six.py";
        let output = world.agentkernel(["run", "--", "sh", "-c", test]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(" passed"), "{}", told(&output));
        assert!(!text.contains(" failed"), "{text}");
    }
}
