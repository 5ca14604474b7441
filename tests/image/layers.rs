//! Layers that lie over an image that they were not made for: any image, a directory, the host's own programs.

use crate::workshop::Scene;
use std::{fs, process::Output};
use support::{Who, told};

/// A tool in the places where tools are.
const TOOL: &str = r#"mkdir -p usr/local/bin opt/tool/bin opt/tool/data top/deep etc
printf '#!/bin/sh\necho tool "$@"\n' > opt/tool/bin/tool && chmod 755 opt/tool/bin/tool
ln -s /opt/tool/bin/tool usr/local/bin/tool-link
echo data > opt/tool/data/file && echo top > top/deep/file && echo conf > etc/tool.conf"#;
const ENV: &str = r#"["PATH=/opt/tool/bin:/bin","FROM=tool","TOOL=1"]"#;

impl Scene {
    fn layer(&self, name: &str, env: &str, script: &str) {
        let archive = support::pack(&self.world, name, env, script);
        self.ok(&["image", "import", archive.to_str().unwrap()]);
    }

    fn over(&self, options: &[&str], script: &str) -> Output {
        let common = ["run", "--workspace", "none"];
        self.agentkernel(&[&common[..], options, &["--", "/bin/sh", "-c", script]].concat())
    }

    #[track_caller]
    fn shows(&self, options: &[&str], script: &str) -> String {
        let output = self.over(options, script);
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_layer_lies_over_an_image_a_directory_and_the_host() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.layer("tool", ENV, TOOL);
        let dir = format!("dir:{}", scene.world.home().join("base/1").display());
        for image in ["base:1", &dir, "host"] {
            let options = ["--image", image, "--layer", "tool:1"];
            let script =
                "tool a; /usr/local/bin/tool-link b; cat /top/deep/file /etc/tool.conf; echo $TOOL; ls -d /bin/sh; pwd";
            let shown = scene.shows(&options, script);
            let (shown, workdir) = shown.trim_end().rsplit_once('\n').unwrap();
            assert_eq!(shown, "tool a\ntool b\ntop\nconf\n1\n/bin/sh", "{image}");
            assert_ne!(workdir, "/nowhere");
            // What programs write is theirs, below what the layer brought as well.
            let script =
                "echo x > /opt/tool/data/new && rm /opt/tool/data/file && mkdir /top/made && ls /opt/tool/data /top";
            let writes = scene.shows(&[&options[..], &["-u", "7"]].concat(), script);
            assert_eq!(writes, "/opt/tool/data:\nnew\n\n/top:\ndeep\nmade\n", "{image}");
            assert!(scene.shows(&options, "cat /opt/tool/data/file") == "data\n");
            // Without, there is nothing of it.
            assert!(!scene.over(&["--image", image], "ls /opt/tool").status.success());
        }
        // How the image wants to be run stays, and so do its variables.
        let options = ["--image", "base:1", "--layer", "tool:1"];
        assert_eq!(scene.shows(&options, "echo $FROM $PATH; id -u"), "base /opt/tool/bin:/bin\n0\n");
        // Root's layers have their owners, over everything.
        if rustix::process::geteuid().is_root() && matches!(who, Who::Me) {
            for image in ["base:1", &dir, "host"] {
                let options = ["--image", image, "--layer", "tool:1", "-u", "0"];
                assert_eq!(
                    scene.shows(&options, "stat -c %u:%g /opt/tool/bin/tool /usr/local/bin/tool-link"),
                    "7:8\n7:8\n"
                );
            }
        }
        support::eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}

#[test]
fn the_later_layer_lies_above_and_takes_away() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.layer("one", "[]", "mkdir -p opt/both opt/whole opt/gone; for f in both/a both/b whole/a whole/b gone/a; do echo one > opt/$f; done");
        scene.layer(
            "two",
            "[]",
            "mkdir -p opt/both opt/whole home; echo two > opt/both/a; echo two > opt/whole/new; touch opt/whole/.wh..wh..opq opt/.wh.gone opt/both/.wh.b home/.wh.app",
        );
        for image in ["base:1", "host"] {
            let of = |layers: &[&str], script: &str| {
                let mut options = vec!["--image", image];
                layers.iter().for_each(|layer| options.extend(["--layer", layer]));
                scene.shows(&options, script)
            };
            let script = "cd /opt; for f in both/* whole/* gone/*; do test -e $f && echo $f $(cat $f); done; true";
            let (up, down) = (of(&["one:1", "two:1"], script), of(&["two:1", "one:1"], script));
            assert_eq!(up, "both/a two\nwhole/new two\n", "{image}");
            assert_eq!(
                down, "both/a one\nboth/b one\nwhole/a one\nwhole/b one\nwhole/new two\ngone/a one\n",
                "{image}"
            );
            assert_eq!(of(&["one:1"], script), down.replace("whole/new two\n", ""));
            // The same once more is where it is topmost.
            assert_eq!(of(&["one:1", "two:1", "one:1"], script), down);
        }
        // What lies in the image is taken away as well.
        assert_eq!(scene.shows(&["--image", "base:1", "-w", "/"], "ls /home"), "app\n");
        assert_eq!(scene.shows(&["--image", "base:1", "--layer", "two:1", "-w", "/"], "ls /home"), "");
    }
}

#[test]
fn a_layer_that_would_take_programs_away_is_refused() {
    for who in Who::all() {
        let scene = Scene::new(who);
        // The image of base:1 has /usr/bin as a link.
        scene.layer("wrong", "[]", "mkdir -p usr/bin; echo x > usr/bin/x");
        scene.layer("worse", "[]", "ln -s elsewhere usr");
        scene.layer("all", "[]", "touch .wh..wh..opq; mkdir -p opt");
        scene.layer("some", "[]", "touch .wh.usr");
        let refused = |image: &str, layer: &str, with: &str| {
            let output = scene.over(&["--image", image, "--layer", layer], "true");
            assert!(!output.status.success() && told(&output).contains(with), "{image}, {layer}: {}", told(&output));
        };
        refused(
            "base:1",
            "wrong:1",
            "Layer wrong:1 has a directory at /usr/bin, where base:1 has something else below it",
        );
        refused("base:1", "worse:1", "Layer worse:1 has no directory at /usr, where base:1 has one below it");
        refused("host", "worse:1", "Layer worse:1 has no directory at /usr, where host has one below it");
        refused("host", "some:1", "Layer some:1 takes /usr of the host away");
        refused("host", "all:1", "A layer takes all of the host's programs away");
        refused("host", "127.0.0.1:1/none:1", "127.0.0.1:1");
        support::eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}

#[test]
fn a_layer_in_use_stays_and_is_told_of() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.layer("tool", ENV, TOOL);
        let create = ["create", "--workspace", "none", "--name", "box", "--layer", "tool:1"];
        scene.ok(&[&create[..], &["--", "/bin/sh", "-c", "tool started; sleep 1000"]].concat());
        let inspected: serde_json::Value = serde_json::from_str(&scene.ok(&["inspect", "box"])).unwrap();
        let (shown, digest) = (&inspected[0]["spec"]["layers"][0], scene.inspect("tool:1")["manifest"].clone());
        assert_eq!((&shown["reference"], &shown["manifest"]), (&"tool:1".into(), &digest));
        assert_eq!(scene.inspect("tool:1")["sandboxes"], serde_json::json!([inspected[0]["id"]]));
        scene.ok(&["image", "rm", "tool:1"]);
        scene.ok(&["image", "prune", "--all"]);
        for _ in 0..2 {
            scene.ok(&["start", "box"]);
            let script = "tool run; cat /usr/local/bin/tool-link | tail -n 1; echo $TOOL";
            assert_eq!(scene.ok(&["exec", "box", "sh", "-c", script]), "tool run\necho tool \"$@\"\n1\n");
            scene.ok(&["image", "prune", "--all"]);
            scene.ok(&["stop", "-t", "0", "box"]);
        }
        // One that was removed nonetheless.
        let layer = scene.layers_of(shown);
        fs::rename(&layer, layer.with_extension("away")).unwrap();
        let output = scene.agentkernel(&["start", "box"]);
        let text = told(&output);
        assert!(!output.status.success() && text.contains("A layer of tool:1 is not in the store"), "{text}");
        assert!(text.contains("agentkernel image pull tool:1"), "{text}");
        fs::rename(layer.with_extension("away"), &layer).unwrap();
        scene.ok(&["rm", "box"]);
        scene.ok(&["image", "prune"]);
        assert!(!layer.exists());
        support::eventually("nothing is left", || scene.world.leftovers().is_empty());
    }
}

impl Scene {
    fn layers_of(&self, image: &serde_json::Value) -> std::path::PathBuf {
        let digest = image["layers"][0].as_str().unwrap().trim_start_matches("sha256:");
        self.world.state().join("cache").join(format!("layer-{digest}"))
    }
}

#[test]
fn a_project_names_layers_which_are_locked() {
    for who in Who::all() {
        let scene = Scene::new(who);
        scene.layer("tool", ENV, TOOL);
        scene.write("agentkernel.toml", "[sandbox]\nimage = \"base:1\"\n[image]\nlayers = [\"tool:1\"]\n");
        let in_project = |more: &[&str], script: &str| {
            scene.agentkernel(&[&["run"], more, &["--", "/bin/sh", "-c", script]].concat())
        };
        let text = told(&in_project(&[], "true"));
        assert!(text.contains("agentkernel trust") && text.contains("layers = tool:1"), "{text}");
        scene.ok(&["trust"]);
        let shows = |more: &[&str], script: &str| {
            let output = in_project(more, script);
            assert!(output.status.success(), "{}", told(&output));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(shows(&[], "tool; echo $FROM"), "tool\nbase\n");
        let lock = || fs::read_to_string(scene.world.project().join("agentkernel.lock")).unwrap();
        let digest = scene.inspect("tool:1")["manifest"].as_str().unwrap().to_owned();
        assert!(lock().contains("[images.\"tool:1\"]\n") && lock().contains(&digest), "{}", lock());
        // The name means something else now, and not here; its old image is kept by another name.
        scene.ok(&["image", "tag", "tool:1", "old:1"]);
        scene.layer("tool", ENV, &TOOL.replace("echo tool", "echo new"));
        assert_eq!(shows(&[], "tool"), "tool\n");
        assert_eq!(shows(&["--update-lock"], "tool"), "new\n");
        assert_eq!(shows(&[], "tool"), "new\n");
        // Flags lay theirs above, and another image has none of the project's.
        assert_eq!(shows(&["--layer", "old:1"], "tool"), "tool\n");
        assert_eq!(shows(&["--image", "base:1"], "tool 2>/dev/null || echo none"), "none\n");
        // What the project makes has them too.
        scene.write(
            "agentkernel.toml",
            "[image]\nfrom = \"base:1\"\nsetup = [\"echo made > /made\"]\nlayers = [\"tool:1\"]\n",
        );
        scene.ok(&["trust"]);
        assert_eq!(shows(&[], "tool; cat /made"), "new\nmade\n");
    }
}
