//! Images: from archives and layouts to sandboxes, and back to nothing.

use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Output, Stdio},
};
use support::{NOBODY, Who, World, eventually, internet::installed, stdout, told};

/// Makes an archive of Docker's form in the home directory: two layers, of which the second hides a file and empties a
/// directory of the first. The change is made to the trees and files before they are packed.
fn archive(world: &World, change: &str) -> PathBuf {
    let script = format!(
        r#"set -e
cd "$HOME"
rm -rf app app.tar
mkdir -p app/1/bin app/1/etc app/1/dir app/1/opaque/old app/1/home/app app/2/dir app/2/opaque
cd app
cp /bin/busybox 1/bin/busybox
for name in sh ls cat id env stat sleep readlink; do ln -s busybox 1/bin/$name; done
printf 'root:x:0:0::/root:/bin/sh\napp:x:7:8::/home/app:/bin/sh\n' > 1/etc/passwd
echo one > 1/dir/gone
echo stay > 1/dir/stay
ln 1/dir/stay 1/dir/link
chmod 4755 1/dir/stay
: > 1/opaque/old/x
: > 2/dir/.wh.gone
: > 2/opaque/.wh..wh..opq
echo new > 2/opaque/new
before() {{ :; }}
after() {{ :; }}
{change}
before
tar -C 1 --owner=0 --group=0 -cf 1.tar bin etc dir opaque
tar -C 1 --owner=7 --group=8 -rf 1.tar home/app
tar -C 2 --owner=0 --group=0 -cf 2.tar .
one=$(sha256sum 1.tar | cut -d' ' -f1) two=$(sha256sum 2.tar | cut -d' ' -f1)
cat > config.json <<END
{{"architecture":"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')","os":"linux",
"config":{{"Env":["PATH=/bin","COLOR=blue"],"WorkingDir":"/srv/work","User":"app","Entrypoint":["/bin/env","ENTERED=1"]}},
"rootfs":{{"type":"layers","diff_ids":["sha256:$one","sha256:$two"]}}}}
END
echo '[{{"Config":"config.json","RepoTags":["app:1"],"Layers":["1.tar","2.tar"]}}]' > manifest.json
after
tar -cf ../app.tar manifest.json config.json 1.tar 2.tar
"#
    );
    let output = world.command("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    world.home().join("app.tar")
}

fn import(world: &World, path: &str, more: &[&str]) -> Output {
    world.agentkernel([&["image", "import", path], more].concat()).output().unwrap()
}

/// What lies in a directory of the state.
fn entries(world: &World, place: &str) -> Vec<String> {
    let names = fs::read_dir(world.state().join(place)).into_iter().flatten();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn layers(world: &World) -> usize {
    entries(world, "cache").iter().filter(|name| name.starts_with("layer-")).count()
}

#[test]
fn from_an_archive_to_a_sandbox() {
    for who in Who::all() {
        let world = World::new(who);
        let path = archive(&world, "");
        let output = import(&world, path.to_str().unwrap(), &[]);
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).starts_with("app:1 sha256:"),
            "{}",
            told(&output)
        );
        let script = "id -u; id -g; id -un; echo $COLOR $ENTERED $HOME; pwd; ls /dir /opaque; cat /dir/link; \
                      stat -c '%a %h %u:%g' /dir/stay; stat -c '%a %u:%g' /home/app";
        let run = stdout(&mut world.agentkernel([
            "run",
            "--image",
            "app:1",
            "--workspace",
            "none",
            "--",
            "sh",
            "-c",
            script,
        ]));
        // An ordinary user has one id to give: everything is his, and he is whom the image says.
        let owners = if who == Who::Me { ["0:0", "7:8"] } else { ["7:8", "7:8"] };
        let expected = format!(
            "7\n8\napp\nblue 1 /home/app\n/srv/work\n/dir:\nlink\nstay\n\n/opaque:\nnew\nstay\n4755 2 {}\n755 {}\n",
            owners[0], owners[1]
        );
        assert_eq!(run, expected);
        // The project is there as in other images, its files are its owner's.
        let script = "echo made > made; pwd; id -u; env | grep -c ENTERED";
        let script = script.replace("env | grep -c ENTERED", "echo ${ENTERED-none}");
        let run = ["run", "--image", "app:1", "--entrypoint", "", "-u", "0", "--", "/bin/sh", "-c", &script];
        assert_eq!(stdout(&mut world.agentkernel(run)), format!("{}\n0\nnone\n", world.project().display()));
        let made = fs::metadata(world.project().join("made")).unwrap();
        let owner = if who == Who::Me { rustix::process::geteuid().as_raw() } else { NOBODY };
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), owner);
        // What a sandbox writes stays its own.
        let _ = stdout(&mut world.agentkernel([
            "run",
            "--image",
            "app:1",
            "-u",
            "0",
            "--",
            "sh",
            "-c",
            "echo x > /dir/stay; echo y > /bin/new",
        ]));
        let seen = ["run", "--image", "app:1", "--", "sh", "-c", "cat /dir/stay; ls /bin/new || echo none"];
        assert_eq!(stdout(&mut world.agentkernel(seen)), "stay\nnone\n");
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn from_names_to_nothing() {
    for who in Who::all() {
        let world = World::new(who);
        let path = archive(&world, "");
        let path = path.to_str().unwrap();
        let _ = stdout(&mut world.agentkernel(["image", "import", path]));
        // Twice is once.
        let _ = stdout(&mut world.agentkernel(["image", "import", path, "registry.example.org:5000/team/app:v2"]));
        let list = stdout(&mut world.agentkernel(["image", "list"]));
        let names: Vec<&str> = list.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["app:1", "registry.example.org:5000/team/app:v2"], "{list}");
        assert_eq!(
            (layers(&world), entries(&world, "images/records").len(), entries(&world, "images/blobs").len()),
            (2, 1, 4)
        );
        let shown: Value =
            serde_json::from_str(&stdout(&mut world.agentkernel(["image", "inspect", "app:1"]))).unwrap();
        assert_eq!(shown[0]["run"]["User"], "app");
        let digest = shown[0]["manifest"].as_str().unwrap().to_owned();
        assert!(stdout(&mut world.agentkernel(["image", "list", "--json"])).contains(&digest));

        let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--image", "app:1", "--workspace", "none"]));
        let _ = stdout(&mut world.agentkernel(["image", "tag", "app:1", "other"]));
        let other = format!("other@sha256:{}", "a".repeat(64));
        let output = world.agentkernel(["image", "tag", "app:1", &other]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("is not what its digest"), "{}", told(&output));
        let _ =
            stdout(&mut world.agentkernel(["image", "rm", "app:1", "other", "registry.example.org:5000/team/app:v2"]));
        let output = world.agentkernel(["image", "rm", "app:1"]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("No image 'app:1' is in the store"));
        // What a sandbox is made of stays, though nothing is called so any more.
        assert_eq!((layers(&world), entries(&world, "images/records").len()), (2, 1));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let user = if who == Who::Me { "0" } else { "7" };
        assert_eq!(
            stdout(&mut world.agentkernel(["exec", "box", "stat", "-c", "%u", "/dir/stay"])),
            format!("{user}\n")
        );
        assert_eq!(stdout(&mut world.agentkernel(["exec", "-u", "app", "box", "id", "-un"])), "app\n");
        let _ = stdout(&mut world.agentkernel(["image", "prune"]));
        assert_eq!(layers(&world), 2);
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        let told_of = stdout(&mut world.agentkernel(["image", "prune", "--dry-run", "--json"]));
        let told_of: Value = serde_json::from_str(&told_of).unwrap();
        assert_eq!((&told_of["layers"], told_of["images"][0].as_str()), (&2.into(), Some(&digest[..])));
        // What a kill leaves of a record that was being written.
        for place in ["images/records", "images/tags"] {
            fs::write(world.state().join(place).join(".new-1-1"), "").unwrap();
        }
        let _ = stdout(&mut world.agentkernel(["image", "prune"]));
        for place in ["images/records", "images/blobs", "images/tags", "images/work"] {
            assert_eq!(entries(&world, place), Vec::<String>::new(), "{place}");
        }
        assert_eq!(layers(&world), 0);
        let output = world.agentkernel(["image", "inspect", "app:1"]).output().unwrap();
        assert!(!output.status.success() && told(&output).contains("No image 'app:1' is in the store"));
    }
}

/// What is not what it says, or would reach out of its layer: told with its name, and nothing is left of it.
#[test]
fn what_is_no_image() {
    for who in Who::all() {
        let world = World::new(who);
        for (change, cause) in [
            ("after() { echo x >> 2.tar; }", "contents is not what its digest says"),
            ("after() { head -c 700 1.tar > cut; mv cut 1.tar; }", "cut off"),
            ("before() { mkdir -p 2/srv; ln -s /etc 2/srv/out; }", ""),
            (
                "after() { echo '[{\"Config\":\"config.json\",\"RepoTags\":[\"app:1\"],\"Layers\":[\"../../../etc/passwd\"]}]' > manifest.json; }",
                "../../../etc/passwd",
            ),
            (
                "after() { echo '[{\"Config\":\"config.json\",\"RepoTags\":[\"app:1\"],\"Layers\":[\"/etc/passwd\"]}]' > manifest.json; }",
                "/etc/passwd",
            ),
            ("after() { echo '{' > manifest.json; }", "manifest.json"),
            ("after() { echo '{\"os\":1}' > config.json; }", "config"),
            ("before() { : > 2/.wh...; }", ".wh..."),
            (
                "after() { sed -i 's/amd64\\|arm64/s390x/' config.json; }",
                "The image is for linux/s390x, not for linux/",
            ),
        ] {
            let path = archive(&world, change);
            let output = import(&world, path.to_str().unwrap(), &[]);
            if cause.is_empty() && output.status.success() {
                // A link is a link: it leads nowhere from outside.
                let _ = stdout(&mut world.agentkernel(["image", "rm", "app:1"]));
                continue;
            }
            let text = told(&output);
            assert!(!output.status.success() && text.contains(cause), "{change}: {text}");
            assert_eq!(stdout(&mut world.agentkernel(["image", "list", "-q"])), "", "{change}");
            let _ = stdout(&mut world.agentkernel(["image", "prune"]));
            assert_eq!((layers(&world), entries(&world, "images/work").len()), (0, 0), "{change}");
        }
        for (path, cause) in [
            ("/nowhere", "No such file"),
            ("/etc/passwd", "No image can be read from /etc/passwd"),
            ("/dev/null", "neither"),
        ] {
            let output = import(&world, path, &["x"]);
            assert!(!output.status.success() && told(&output).contains(cause), "{path}: {}", told(&output));
        }
    }
}

/// A layer may hide all that lies below it, its top too.
#[test]
fn a_layer_that_hides_everything() {
    for who in Who::all() {
        let world = World::new(who);
        let path = archive(&world, "before() { cp -r 1/bin 1/etc 2/; : > 2/.wh..wh..opq; }");
        let _ = stdout(&mut world.agentkernel(["image", "import", path.to_str().unwrap()]));
        let run = [
            "run",
            "--image",
            "app:1",
            "--workspace",
            "none",
            "--",
            "sh",
            "-c",
            "ls /opaque; cat /dir/stay || echo none",
        ];
        assert_eq!(stdout(&mut world.agentkernel(run)), "new\nnone\n");
    }
}

/// A layer may say that nobody may write to its top: it can be removed all the same.
#[test]
fn a_layer_that_is_read_only() {
    for who in Who::all() {
        let world = World::new(who);
        let path = archive(&world, "before() { chmod 555 2; }\nafter() { chmod 755 2; }");
        let _ = stdout(&mut world.agentkernel(["image", "import", path.to_str().unwrap()]));
        let run = ["run", "--image", "app:1", "--workspace", "none", "--", "ls", "/opaque"];
        assert_eq!(stdout(&mut world.agentkernel(run)), "new\n");
        let _ = stdout(&mut world.agentkernel(["image", "du"]));
        // What is in use stays.
        eventually("its sandbox is gone", || world.processes().is_empty());
        let _ = stdout(&mut world.agentkernel(["image", "rm", "app:1"]));
        assert_eq!(layers(&world), 0);
    }
}

/// What is removed is no layer any more, however far that came.
#[test]
fn of_removals_that_are_killed() {
    let world = World::new(Who::Me);
    let path = archive(&world, "before() { for n in $(seq 4000); do : > 1/dir/$n; done; }");
    for delay in [0, 5, 10, 15, 20, 30] {
        let _ = stdout(&mut world.agentkernel(["image", "import", path.to_str().unwrap()]));
        let count = ["run", "--image", "app:1", "--", "sh", "-c", "set -- /dir/*; echo $#"];
        assert_eq!(stdout(&mut world.agentkernel(count)), "4002\n", "{delay}");
        let mut rm = world.agentkernel(["image", "rm", "app:1"]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = rm.kill();
        let _ = rm.wait();
    }
    let _ = stdout(&mut world.agentkernel(["image", "prune", "--all"]));
    assert_eq!(entries(&world, "cache").iter().filter(|name| name.starts_with("layer-")).count(), 0);
}

/// A kill at any moment leaves nothing that hinders the next try.
#[test]
fn of_imports_that_are_killed() {
    let world = World::new(Who::Me);
    let big = "before() { head -c 60000000 /dev/urandom > 1/dir/big; }";
    let path = archive(&world, big);
    for delay in [20, 80, 150, 250, 400, 700] {
        let mut import =
            world.agentkernel(["image", "import", path.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        import.kill().unwrap();
        let _ = import.wait();
    }
    eventually("no worker is left", || !world.processes().iter().any(|(_, name)| name == "ak-image"));
    // Several at once share the work.
    let start =
        || world.agentkernel(["image", "import", path.to_str().unwrap()]).stdout(Stdio::null()).spawn().unwrap();
    for mut import in [start(), start(), start()] {
        assert!(import.wait().unwrap().success());
    }
    let sum = "sha256sum < /dir/big";
    let inside = stdout(&mut world.agentkernel([
        "run",
        "--image",
        "app:1",
        "--",
        "/bin/busybox",
        "sh",
        "-c",
        &format!("busybox {sum}"),
    ]));
    let outside = stdout(world.command("sh").args(["-c", "sha256sum < $HOME/app/1/dir/big"]));
    assert_eq!(inside, outside);
    let _ = stdout(&mut world.agentkernel(["image", "prune"]));
    assert_eq!((layers(&world), entries(&world, "images/work").len()), (2, 0));
}

/// Whoever waits for a layer that somebody else unpacks has none himself that others wait for: else two could wait for each
/// other.
#[test]
fn who_waits_for_a_layer_holds_no_other() {
    let world = World::new(Who::Me);
    let path = archive(&world, "");
    let digests = stdout(world.command("sh").args(["-c", "cd $HOME/app && sha256sum 1.tar 2.tar"]));
    let name = |line: usize| format!("layer-{}", digests.lines().nth(line).unwrap().split(' ').next().unwrap());
    let _ = stdout(&mut world.agentkernel(["image", "list"]));
    let other = fs::File::create(world.state().join("images/work").join(name(1))).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut import = world.agentkernel(["image", "import", path.to_str().unwrap()]);
    let mut import = import.stdout(Stdio::null()).spawn().unwrap();
    eventually("the first layer is there for others", || entries(&world, "cache").contains(&name(0)));
    assert!(!entries(&world, "cache").contains(&name(1)) && import.try_wait().unwrap().is_none());
    drop(other);
    assert!(import.wait().unwrap().success());
    assert_eq!(layers(&world), 2);
}

/// Independent programs write what we read: another form, compressed layers, an index.
#[test]
fn layouts_that_others_write() {
    if !installed("skopeo") {
        return;
    }
    for who in Who::all() {
        let world = World::new(who);
        let path = archive(&world, "");
        let copy = |to: &str| {
            let from = format!("docker-archive:{}:app:1", path.display());
            let output = world.command("skopeo").args(["--insecure-policy", "copy", "-q", &from, to]).output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
        };
        let home = world.home();
        let at = |name: &str| home.join(name).display().to_string();
        copy(&format!("oci:{}:v1", at("layout")));
        copy(&format!("oci-archive:{}:named.example.org/app:3", at("layout.tar")));
        copy(&format!("docker-archive:{}:again:1", at("docker.tar")));
        // A layout that is called by a tag alone has no name.
        let output = import(&world, &at("layout"), &[]);
        assert!(told(&output).contains("it has no name in it"), "{}", told(&output));
        let _ = stdout(&mut world.agentkernel(["image", "import", &at("layout"), "one:1"]));
        let _ = stdout(&mut world.agentkernel(["image", "import", &at("layout.tar")]));
        let _ = stdout(&mut world.agentkernel(["image", "import", &at("docker.tar")]));
        for name in ["one:1", "named.example.org/app:3", "again:1"] {
            assert_eq!(
                stdout(&mut world.agentkernel(["run", "--image", name, "--", "sh", "-c", "ls /dir /opaque"])),
                "/dir:\nlink\nstay\n\n/opaque:\nnew\n",
                "{name}"
            );
        }
        // The same contents, however they travelled; and each can travel on.
        assert_eq!(layers(&world), 2);
        for name in ["one:1", "named.example.org/app:3", "again:1"] {
            let _ = stdout(&mut world.agentkernel(["image", "export", name, &at("out.tar")]));
            fs::remove_file(at("out.tar")).unwrap();
        }
        let output = world
            .command("sh")
            .args(["-c", &format!("gzip -c {} | $0 image import - piped:1", path.display())])
            .arg(world.binary())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
    }
}
