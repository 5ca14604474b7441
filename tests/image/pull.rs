//! `agentkernel image pull`, against Debian's registry.

use crate::{
    registry::{Login, PASSWORD, USER, program, ready, run},
    scene::Scene,
};
use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio, thread, time::Duration};
use support::{Who, eventually, told};

#[test]
fn from_registries_of_every_kind() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        for (tls, login) in [(false, Login::None), (true, Login::Password), (true, Login::Token)] {
            let scene = Scene::new(who, tls, login, &[3000, 0, 2_000_000]);
            scene.pulls();
            // Again: nothing is brought that is here.
            let before = scene.registry.requests().matches("/blobs/").count();
            scene.pulls();
            // Of the blobs only the config, which tells what is here.
            assert!(scene.registry.requests().matches("/blobs/").count() <= before + 1);
        }
    }
}

/// Layers whose parts can be fetched one by one, as Podman and Buildah write them: each file is a frame, and a table of
/// contents is in frames to be skipped.
#[test]
fn layers_of_many_frames() {
    if !ready() {
        return;
    }
    let scene = Scene::new(Who::Me, false, Login::None, &[3000, 200_000]);
    let layout = format!("oci:{}:tag", scene.image.folder.display());
    let chunked = format!("oci:{}:tag", scene.world.home().join("chunked").display());
    let to = scene.registry.reference("chunked:tag").to_string();
    let mut skopeo = program("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-compress-format", "zstd:chunked", &layout, &chunked]);
    run(&mut skopeo, b"");
    scene.registry.skopeo(&chunked, &format!("docker://{to}"));
    let output = scene.world.agentkernel(["image", "pull", &to]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    for (name, size) in [("file0", 3000), ("file1", 200_000)] {
        assert_eq!(scene.unpacked(name).iter().map(Vec::len).collect::<Vec<_>>(), [size], "{name}");
    }
}

#[test]
fn who_may_not_and_what_is_not_there() {
    if !ready() {
        return;
    }
    let scene = Scene::new(Who::Me, true, Login::Password, &[10]);
    scene.log_in("mistaken");
    let output = scene.pull();
    let text = told(&output);
    assert!(!output.status.success() && text.contains("agentkernel image login"), "{text}");
    assert!(!text.contains("mistaken"), "{text}");
    scene.log_in(PASSWORD);
    let output =
        scene.world.agentkernel(["image", "pull", &format!("{}/none", scene.registry.host())]).output().unwrap();
    assert!(!output.status.success() && told(&output).contains("no such image"), "{}", told(&output));
    // Who vouches for it is not known.
    fs::remove_dir_all(scene.docker().join("certs.d")).unwrap();
    let output = scene.pull();
    assert!(!output.status.success() && told(&output).contains("authority"), "{}", told(&output));
    let output = scene.world.agentkernel(["image", "pull", "registry.invalid/x"]).output().unwrap();
    assert!(
        !output.status.success() && told(&output).contains("There is no host 'registry.invalid'"),
        "{}",
        told(&output)
    );
    assert_eq!(scene.entries("images/tags"), Vec::<String>::new());
}

/// A pin to an index is one to what the index names for this machine.
#[test]
fn pins_to_indexes() {
    if !ready() {
        return;
    }
    let scene = Scene::new(Who::Me, false, Login::None, &[10]);
    let index = scene.image.put_index(&scene.registry, &format!("{}/team/many:tag", scene.registry.host()));
    for (name, good) in [
        (format!("many:tag@{index}"), true),
        (format!("many@{index}"), true),
        (format!("many@{}", scene.image.digest()), true),
        (format!("many@{}", scene.image.manifest.layers[0].digest), false),
    ] {
        let name = format!("{}/team/{name}", scene.registry.host());
        let output =
            scene.world.agentkernel(["image", "pull", "--platform", "linux/amd64", "-q", &name]).output().unwrap();
        assert_eq!(output.status.success(), good, "{name}: {}", told(&output));
        if good {
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{}\n", scene.image.digest()));
        }
    }
}

/// Docker's helpers are asked, and what they say is not shown.
#[test]
fn a_helper_logs_in() {
    if !ready() {
        return;
    }
    let scene = Scene::new(Who::Me, false, Login::Password, &[10]);
    let bin = scene.world.home().join("bin");
    fs::create_dir_all(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread server\necho \"$1 $server\" > $HOME/asked\n\
         echo '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n"
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    scene.config(&serde_json::json!({"credHelpers": {scene.registry.host(): "test"}}));
    let output = scene.pull();
    assert!(!output.status.success() && told(&output).contains("docker-credential-test"), "{}", told(&output));
    let mut pull = scene.world.agentkernel(["image", "pull", &scene.name()]);
    let output = pull.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).output().unwrap();
    assert!(output.status.success() && !told(&output).contains(PASSWORD), "{}", told(&output));
    let asked = fs::read_to_string(scene.world.home().join("asked")).unwrap();
    assert_eq!(asked, format!("get {}\n", scene.registry.host()));
}

/// What came before a kill counts, and what is wrong is never taken.
#[test]
fn pulls_that_are_killed_and_blobs_that_are_wrong() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[60_000_000, 5000, 20_000_000]);
        for delay in [30, 120, 250, 400] {
            let mut pull = scene.world.agentkernel(["image", "pull", &scene.name()]);
            let mut pull = pull.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(Duration::from_millis(delay));
            let _ = pull.kill();
            let _ = pull.wait();
        }
        eventually("no worker is left", || !scene.world.processes().iter().any(|(_, name)| name == "ak-image"));
        scene.pulls();
        let _ = scene.world.agentkernel(["image", "prune", "--all"]).output().unwrap();

        let layer = &scene.image.manifest.layers[1].digest;
        let kept = scene.registry.kept(layer);
        let good = fs::read(&kept).unwrap();
        let mut bad = good.clone();
        bad[100] ^= 1;
        fs::write(&kept, &bad).unwrap();
        let output = scene.pull();
        assert!(!output.status.success() && told(&output).contains(", not sha256:"), "{}", told(&output));
        assert_eq!(scene.entries("images/tags"), Vec::<String>::new());
        assert!(!scene.entries("images/blobs").contains(&layer.hex().to_owned()));
        fs::write(&kept, &good[..50]).unwrap();
        assert!(!scene.pull().status.success());
        fs::write(&kept, &good).unwrap();
        scene.pulls();
    }
}

/// Several at once bring each layer once.
#[test]
fn pulls_share_the_work() {
    if !ready() {
        return;
    }
    let scene = Scene::new(Who::Me, false, Login::None, &[30_000_000, 1000]);
    let start = || {
        let mut pull = scene.world.agentkernel(["image", "pull", "-q", &scene.name()]);
        pull.stdout(Stdio::null()).spawn().unwrap()
    };
    for mut pull in [start(), start(), start()] {
        assert!(pull.wait().unwrap().success());
    }
    let large = scene.image.manifest.layers[0].digest.to_string();
    assert_eq!(scene.registry.requests().matches(&format!("GET /v2/team/app/blobs/{large}")).count(), 1);
    scene.pulls();
}

#[test]
fn logging_in_and_out() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, true, Login::Token, &[10]);
        // What else stands there stays.
        scene.config(&serde_json::json!({"psFormat": "x", "auths": {"other.example.org": {"auth": "eDp5"}}}));
        let host = scene.registry.host();
        let log_in = |password: &str| {
            let arguments = ["image", "login", "-u", USER, "--password-stdin", &host];
            let mut login = scene.world.agentkernel(arguments);
            let mut login = login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut login.stdin.take().unwrap(), password.as_bytes()).unwrap();
            login.wait_with_output().unwrap()
        };
        assert!(!scene.pull().status.success());
        assert!(!log_in("mistaken").status.success());
        let read = || -> serde_json::Value {
            serde_json::from_slice(&fs::read(scene.docker().join("config.json")).unwrap()).unwrap()
        };
        assert!(read()["auths"].get(&host).is_none());
        let output = log_in(&format!("{PASSWORD}\n"));
        assert!(output.status.success() && !told(&output).contains(PASSWORD), "{}", told(&output));
        assert_eq!(
            (read()["psFormat"].as_str(), read()["auths"]["other.example.org"]["auth"].as_str()),
            (Some("x"), Some("eDp5"))
        );
        let mode = fs::metadata(scene.docker().join("config.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        scene.pulls();
        let _ = scene.world.agentkernel(["image", "rm", &scene.name()]).output().unwrap();
        assert!(scene.world.agentkernel(["image", "logout", &host]).output().unwrap().status.success());
        assert!(!scene.world.agentkernel(["image", "logout", &host]).output().unwrap().status.success());
        assert!(read()["auths"].get(&host).is_none() && read()["auths"].get("other.example.org").is_some());
        assert!(!scene.pull().status.success());
    }
}

/// What goes out has the bytes that came in, by witness of another program.
#[test]
fn out_again() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        for (tls, login) in [(false, Login::None), (true, Login::Token)] {
            let scene = Scene::new(who, tls, login, &[3000, 70_000]);
            scene.pulls();
            let host = scene.registry.host();
            let other = format!("{host}/elsewhere/app:2");
            let output = scene.world.agentkernel(["image", "push", &scene.name(), &other]).output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            let archive = scene.world.home().join("app.tar");
            let export = ["image", "export", &scene.name(), archive.to_str().unwrap()];
            let output = scene.world.agentkernel(export).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
            let folder = tempfile::tempdir().unwrap();
            let from = format!("oci-archive:{}", archive.display());
            for (name, from) in [("pushed", format!("docker://{other}")), ("exported", from)] {
                let layout = folder.path().join(name);
                scene.registry.skopeo(&from, &format!("oci:{}:x", layout.display()));
                let blobs = layout.join("blobs/sha256");
                for digest in
                    scene.image.manifest.layers.iter().map(|layer| &layer.digest).chain([&scene.image.digest()])
                {
                    assert_eq!(fs::read(blobs.join(digest.hex())).unwrap(), scene.image.blob(digest), "{name}");
                }
            }
            // And in again, by its name.
            let _ = scene.world.agentkernel(["image", "rm", &scene.name()]).output().unwrap();
            let output = scene.world.agentkernel(["image", "import", archive.to_str().unwrap()]).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                format!("{} {}\n", scene.name(), scene.image.digest()),
                "{}",
                told(&output)
            );
        }
    }
}
