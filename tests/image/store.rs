//! What the store keeps: how much there may be, and what is damaged.

use crate::{
    registry::{Image, Login, program, ready, run},
    scene::Scene,
};
use oci::{Digest, manifest::media};
use serde_json::Value;
use std::{fs, process::Stdio};
use support::{Who, told};

#[test]
fn images_take_no_more_than_is_allowed() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[3_000_000, 1_000_000]);
        let usage = || -> Value {
            let output = scene.world.agentkernel(["image", "du", "--json"]).output().unwrap();
            serde_json::from_slice(&output.stdout).unwrap()
        };
        let refused = || {
            let output = scene.pull();
            let text = told(&output);
            assert!(!output.status.success() && text.contains("MiB, of which"), "{text}");
            assert!(text.contains("image prune"), "{text}");
            assert_eq!(scene.entries("images/tags"), Vec::<String>::new());
        };
        // Not even what travels: nothing of it is brought.
        scene.configure("[images]\nquota = '3M'");
        refused();
        let layer = scene.image.manifest.layers[0].digest.to_string();
        assert!(!scene.registry.requests().contains(&format!("GET /v2/team/app/blobs/{layer}")));
        assert_eq!((&usage()["quota"], &usage()["total"]), (&(3 << 20).into(), &0.into()));
        // What travels, and not that unpacked.
        scene.configure("[images]\nquota = '6M'");
        refused();
        assert!(scene.unpacked("file0").is_empty());
        scene.configure("[images]\nquota = '20M'");
        scene.pulls();
        let total = usage()["total"].as_u64().unwrap();
        assert!(total > 7_000_000 && total < 20 << 20, "{total}");
        // What is here may stay, and comes again for nothing.
        scene.configure("[images]\nquota = '1M'");
        scene.pulls();
        let output = scene.world.agentkernel(["image", "du"]).output().unwrap();
        assert!(told(&output).contains("allowed"), "{}", told(&output));
        // A file that is taken in counts the same.
        let mut export = scene.world.agentkernel(["image", "export", &scene.name(), "app.tar"]);
        assert!(export.current_dir(scene.world.home()).output().unwrap().status.success());
        scene.forget();
        let import = || {
            let mut import = scene.world.agentkernel(["image", "import", "app.tar"]);
            import.current_dir(scene.world.home()).output().unwrap()
        };
        assert!(told(&import()).contains("MiB, of which"), "{}", told(&import()));
        scene.configure("");
        assert!(import().status.success());
        assert_eq!(usage()["quota"], Value::Null);
    }
}

/// A blob that has the right length and other bytes.
#[test]
fn what_is_damaged_comes_anew() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[3000, 50_000]);
        scene.pulls();
        let damage = |index: usize| {
            let blob = scene.world.state().join("images/blobs").join(scene.image.manifest.layers[index].digest.hex());
            let mut bytes = fs::read(&blob).unwrap();
            bytes[20] ^= 1;
            fs::write(&blob, bytes).unwrap();
        };
        // One that is needed to unpack what is not there any more.
        damage(0);
        for layer in scene.entries("cache").iter().filter(|name| name.starts_with("layer-")) {
            fs::remove_dir_all(scene.world.state().join("cache").join(layer)).unwrap();
        }
        scene.pulls();
        // One that is to go out: that finds it, and who pulls again has it whole.
        damage(1);
        let export = || scene.world.agentkernel(["image", "export", &scene.name(), "/dev/null"]).output().unwrap();
        let output = export();
        assert!(
            !output.status.success() && told(&output).contains("Pull or import the image again"),
            "{}",
            told(&output)
        );
        // A file that was there stays, and nothing beside it.
        let folder = scene.world.home().join("exports");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("app.tar"), "precious").unwrap();
        let target = folder.join("app.tar").display().to_string();
        let output = scene.world.agentkernel(["image", "export", &scene.name(), &target]).output().unwrap();
        assert!(!output.status.success());
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!((left.len(), fs::read(&target).unwrap()), (1, b"precious".to_vec()), "{left:?}");
        scene.pulls();
        assert!(export().status.success());
    }
}

/// Of what can't be read any more, nothing else is kept from anybody.
#[test]
fn records_that_are_damaged_are_as_good_as_gone() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[3000]);
        scene.pulls();
        let image = |arguments: &[&str]| {
            let output = scene.world.agentkernel(["image"].iter().chain(arguments)).output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            told(&output)
        };
        image(&["tag", &scene.name(), "other:1"]);
        let output = scene.world.agentkernel(["image", "tag", "other:1", "host"]).output().unwrap();
        assert!(output.status.code() == Some(125) && told(&output).contains("own files"), "{}", told(&output));
        let place = |kind: &str| scene.world.state().join("images").join(kind);
        let other = fs::read_dir(place("tags")).unwrap().map(|entry| entry.unwrap().path());
        let other = other.into_iter().find(|path| fs::read_to_string(path).unwrap().contains("other")).unwrap();
        for bytes in [&b"{\"format\":1,"[..], b"", b"\0\0\0\0"] {
            fs::write(&other, bytes).unwrap();
            let text = image(&["list"]);
            assert!(text.contains(&scene.name()) && text.contains("Can't read one record"), "{text}");
            assert!(text.contains("`agentkernel image prune`"), "{text}");
        }
        // It has no name any more, so what it was stays: another one leads there.
        image(&["prune"]);
        assert!(!other.exists());
        let text = image(&["list"]);
        assert!(text.contains(&scene.name()) && !text.contains("Can't read"), "{text}");
        // Without its record an image is not here.
        let record = fs::read_dir(place("records")).unwrap().next().unwrap().unwrap().path();
        fs::write(&record, "{").unwrap();
        let text = image(&["list"]);
        assert!(!text.contains(&scene.name()) && text.contains("Can't read"), "{text}");
        scene.pulls();
        let text = image(&["list"]);
        assert!(text.contains(&scene.name()) && !text.contains("Can't read"), "{text}");
    }
}

/// Whoever says that bytes are a layer which is here already is not believed.
#[test]
fn bytes_are_read_whatever_is_here_already() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let scene = Scene::new(who, false, Login::None, &[60_000, 20_000]);
        scene.pulls();
        let [blob, other] = [0, 1].map(|index| scene.image.blob(&scene.image.manifest.layers[index].digest));
        let plain = |bytes: &[u8]| run(program("gzip").arg("-dc"), bytes);
        let (tar, gzip, none) = (plain(&blob), media::OCI_LAYER_GZIP, media::OCI_LAYER);
        let (diff_id, folder) = (Digest::of(&tar), tempfile::tempdir_in(scene.world.home()).unwrap());
        let import = |number: usize, kind: &str, bytes: &[u8]| {
            let place = folder.path().join(number.to_string());
            Image::of(&place, std::slice::from_ref(&diff_id), &[(kind, bytes.to_vec())]);
            scene.own();
            scene.world.agentkernel(["image", "import", &place.display().to_string(), "said:1"]).output().unwrap()
        };
        let again = run(program("gzip").arg("-9nc"), &tar);
        let longer = [&blob[..], b"more"].concat();
        for (number, (kind, bytes)) in [
            (gzip, &blob[..blob.len() / 2]),
            (gzip, &longer),
            (gzip, &tar),
            (gzip, b"no gzip"),
            (none, &blob),
            (none, &tar[..tar.len() / 2]),
            (gzip, &other),
            (none, b""),
        ]
        .into_iter()
        .enumerate()
        {
            let output = import(number, kind, bytes);
            assert!(!output.status.success(), "{number}: {}", told(&output));
            let layer = format!("Layer {}: ", Digest::of(bytes));
            assert!(told(&output).contains(&layer), "{number}: {}", told(&output));
        }
        for (number, (kind, bytes)) in [(gzip, &again), (none, &tar), (gzip, &blob)].into_iter().enumerate() {
            let output = import(100 + number, kind, bytes);
            assert!(output.status.success(), "{number}: {}", told(&output));
        }
    }
}

/// What unpacks to far more than anything of use does is refused, and where that was is told.
#[test]
fn a_layer_that_fills_disks_is_refused() {
    if !ready() || !support::internet::installed("zstd") {
        return;
    }
    let scene = Scene::new(Who::Me, false, Login::None, &[10]);
    let place = scene.world.home().join("bomb");
    let make = r#"mkdir -p "$1" && cd "$1" && truncate -s 1200M hollow && echo small > a-small && tar -c a-small hollow > tar && zstd -q -1 tar"#;
    let _ = support::stdout(program("sh").args(["-c", make, "sh"]).arg(&place));
    let read = |name: &str| fs::read(place.join(name)).unwrap();
    Image::of(&place.join("layout"), &[Digest::of(&read("tar"))], &[(media::OCI_LAYER_ZSTD, read("tar.zst"))]);
    fs::remove_file(place.join("tar")).unwrap();
    scene.own();
    let layout = place.join("layout").display().to_string();
    let output = scene.world.agentkernel(["image", "import", &layout, "bomb:1"]).output().unwrap();
    let words = told(&output);
    assert!(
        !output.status.success() && words.contains("it unpacks to more than ") && words.contains("hollow"),
        "{words}"
    );
    let left = scene.entries("cache").into_iter().filter(|name| name.ends_with(".tmp")).count();
    assert_eq!(left, 0, "{words}");
}

#[test]
fn what_prune_would_do_is_what_it_does() {
    if !ready() {
        return;
    }
    let scene = Scene::new(Who::Me, false, Login::None, &[3000]);
    scene.pulls();
    let prune = |flags: &[&str]| {
        let output = scene.world.agentkernel([&["image", "prune"], flags].concat()).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(prune(&["--dry-run"]).starts_with("0 images, 0 unpacked layers and 0 blobs"));
    let told_before = prune(&["--all", "--dry-run"]);
    assert!(told_before.starts_with("1 images, 1 unpacked layers and 3 blobs"), "{told_before}");
    assert_eq!(scene.entries("images/tags").len(), 1);
    // What a sandbox is made of stays, also if that can't be read.
    let create = ["create", "--workspace", "none", "--image", &scene.name()];
    let id = support::stdout(&mut scene.world.agentkernel(create));
    assert!(prune(&["--all"]).starts_with("0 images"));
    let sandbox = scene.entries("sandboxes").into_iter().find(|name| !name.starts_with('.')).unwrap();
    let record = scene.world.state().join("sandboxes").join(sandbox).join("spec.json");
    let whole = fs::read(&record).unwrap();
    fs::write(&record, "{").unwrap();
    for flags in [&["--all"][..], &["--all", "--dry-run"], &[]] {
        let output = scene.world.agentkernel([&["image", "prune"], flags].concat()).output().unwrap();
        assert!(!output.status.success(), "{}", told(&output));
    }
    assert_eq!((scene.entries("images/tags").len(), scene.entries("images/records").len()), (1, 1));
    fs::write(&record, whole).unwrap();
    assert!(prune(&["--all"]).starts_with("0 images"));
    let _ = support::stdout(&mut scene.world.agentkernel(["rm", id.trim()]));
    assert_eq!(prune(&["--all"]), told_before.replace("would be removed", "removed"));
    assert!(scene.entries("images/blobs").is_empty());
}

/// Whoever unpacks reaches nothing but the directory that he was given: root's has no other root.
#[test]
fn who_unpacks_is_shut_in() {
    if !ready() {
        return;
    }
    for who in Who::all() {
        let world = support::World::new(who);
        let fifo = world.home().join("fifo");
        assert!(world.command("mkfifo").arg(&fifo).status().unwrap().success());
        let mut import = world.agentkernel(["image", "import", fifo.to_str().unwrap()]);
        let import = import.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        let find = || world.processes().into_iter().find(|(_, name)| name == "ak-image").map(|(pid, _)| pid);
        let status = |pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        support::eventually("a worker has its walls", || find().is_some_and(|pid| status(pid).contains("Seccomp:\t2")));
        let pid = find().unwrap();
        let root = fs::read_link(format!("/proc/{pid}/root")).unwrap();
        if matches!(who, Who::Me) && rustix::process::geteuid().is_root() {
            assert!(root.starts_with(world.state().join("images/work")), "{}", root.display());
        }
        let status = status(pid);
        // Of capabilities those for files, and no CAP_SYS_CHROOT.
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
        let effective = u64::from_str_radix(effective, 16).unwrap();
        assert_eq!(effective & !0x8000_001b, 0, "{effective:x}");
        assert!(status.contains("NoNewPrivs:\t1"));
        std::io::Write::write_all(&mut writer, b"no archive").unwrap();
        drop(writer);
        let output = import.wait_with_output().unwrap();
        assert!(!output.status.success() && told(&output).contains("No image can be read from "), "{}", told(&output));
        assert!(world.processes().is_empty());
    }
}
