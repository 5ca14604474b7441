//! A small image of busybox, a directory to build from, and what an image consists of.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Output,
};
use support::{Who, World, stdout, told};

/// A user's world with the image `base:1`.
pub struct Scene {
    pub world: World,
}

/// Makes `base.tar`: what `docker save` would write of an image with busybox and a few users.
const BASE: &str = r#"set -e
cd "$HOME"
rm -rf base && mkdir -p base/1/bin base/1/etc base/1/tmp base/1/home/app base/1/usr && cd base
chmod 1777 1/tmp
cp /bin/busybox 1/bin/busybox
for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox 1/bin/$name; done
ln -s ../bin 1/usr/bin
printf 'root:x:0:0::/root:/bin/sh\napp:x:7:8::/home/app:/bin/sh\n' > 1/etc/passwd
printf 'root:x:0:\napp:x:8:\nstaff:x:50:app\n' > 1/etc/group
tar -C 1 --owner=0 --group=0 --mtime=@1000000000 --sort=name -cf 1.tar .
one=$(sha256sum 1.tar | cut -d' ' -f1)
cat > config.json <<END
{"architecture":"$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')","os":"linux",
"config":{"Env":["PATH=/bin","FROM=base"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:$one"]}}
END
echo '[{"Config":"config.json","RepoTags":["base:1"],"Layers":["1.tar"]}]' > manifest.json
tar -cf ../base.tar manifest.json config.json 1.tar
"#;

/// Makes a directory to build from in the project.
const CONTEXT: &str = r#"set -e
umask 022
mkdir -p src docs/deep tree/in modes hidden/keep
printf '#!/bin/sh\necho run "$@"\n' > run.sh && chmod 755 run.sh
echo '{}' > package.json && echo lock > package.lock
echo 'int main;' > src/main.c && echo 'int x;' > src/x.c && echo '# y' > src/y.h
echo page > docs/page.md && echo readme > docs/README.md && echo deep > docs/deep/page.md
echo one > tree/one && ln -s one tree/soft && ln -s /nowhere tree/broken && ln -s ../one tree/in/up
echo private > modes/private && chmod 600 modes/private
echo set > modes/set && chmod 4711 modes/set && mkdir modes/closed && chmod 700 modes/closed
echo secret > hidden/secret && echo kept > hidden/keep/kept
echo log > a.log && echo log > src/b.log
printf '# what does not count\n*.log\n**/*.log\nhidden\n!hidden/keep\ndocs/*.md\n!docs/README.md\nbase*\n' > .dockerignore
mkdir packing && echo in > packing/in && mkdir packing/sub && echo sub > packing/sub/file && ln packing/in packing/link
tar -C packing --owner=5 --group=6 -cf plain.tar . && tar -C packing --owner=5 --group=6 -czf packed.tar.gz .
tar --owner=5 --group=6 -cf thin.tar packing/sub/file
rm -r packing && echo notes | gzip -n > notes.gz
"#;

impl Scene {
    pub fn new(who: Who) -> Self {
        let scene = Self::bare(who);
        scene.ok(&["image", "import", &scene.base().display().to_string()]);
        scene.sh(CONTEXT);
        scene
    }

    /// One that has the image's archive only.
    pub fn bare(who: Who) -> Self {
        let scene = Self { world: World::new(who) };
        scene.sh(BASE);
        scene
    }

    /// The archive of `base:1`.
    pub fn base(&self) -> PathBuf {
        self.world.home().join("base.tar")
    }

    /// Runs a script in the project, as the user.
    pub fn sh(&self, script: &str) -> String {
        stdout(self.world.command("sh").args(["-c", script]))
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.world.project().join(name);
        fs::write(&path, text).unwrap();
        let owner = fs::metadata(self.world.project()).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    pub fn agentkernel(&self, arguments: &[&str]) -> Output {
        self.world.agentkernel(arguments).output().unwrap()
    }

    /// What a command that succeeds prints.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.agentkernel(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Builds the project's Dockerfile, which is this, and gives the digest and what was told.
    #[track_caller]
    pub fn build(&self, dockerfile: &str, more: &[&str]) -> (String, String) {
        let output = self.try_build(dockerfile, more);
        assert!(output.status.success(), "{dockerfile}\n{}", told(&output));
        let digest = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (digest, String::from_utf8(output.stderr).unwrap())
    }

    pub fn try_build(&self, dockerfile: &str, more: &[&str]) -> Output {
        self.write("Dockerfile", dockerfile);
        self.agentkernel(&[&["image", "build", "-t", "built:1"], more, &["."]].concat())
    }

    /// What a command in a sandbox of the image prints, without the project.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        let image = ["--image", "built:1", "--workspace", "none", "--entrypoint", "", "-u", "0"];
        self.ok(&[&["run"], &image[..], &["--", "/bin/sh", "-c", script]].concat())
    }

    pub fn inspect(&self, image: &str) -> Value {
        let mut shown: Value = serde_json::from_str(&self.ok(&["image", "inspect", image])).unwrap();
        shown[0].take()
    }

    /// The layers of an image as they travel, the lowest first.
    pub fn layers(&self, image: &str) -> Vec<PathBuf> {
        let shown = self.inspect(image);
        let blob = |layer: &Value| {
            let digest = layer["blob"].as_str().unwrap().trim_start_matches("sha256:");
            self.world.state().join("images/blobs").join(digest)
        };
        shown["layers"].as_array().unwrap().iter().map(blob).collect()
    }

    /// The names in the layer that was made last.
    pub fn last_layer(&self) -> Vec<String> {
        let layer = self.layers("built:1").pop().unwrap();
        let listed = stdout(self.world.command("tar").arg("-tf").arg(layer));
        listed.lines().map(str::to_owned).collect()
    }

    /// Every file of an image, with all that is known of it but times. Root's alone: others can't have its owners.
    pub fn tree(&self, image: &str) -> BTreeMap<String, String> {
        let folder = tempfile::tempdir().unwrap();
        for layer in self.layers(image) {
            let script = r#"set -e
                tar -tf "$2" | sed 's|^\./||' | while IFS= read -r path; do
                    name=${path##*/} dir=${path%"$name"}
                    case $name in
                        .wh..wh..opq) [ ! -d "$1/$dir" ] || find "$1/$dir" -mindepth 1 -delete ;;
                        .wh.*) rm -rf "$1/$dir${name#.wh.}" ;;
                    esac
                done
                # What becomes of another kind goes first: tar would follow a link, and keep a directory.
                tar -tf "$2" | sed 's|^\./||' | while IFS= read -r path; do
                    case $path in
                        '') ;;
                        */) [ -d "$1/${path%/}" -a ! -h "$1/${path%/}" ] || rm -f "$1/${path%/}" ;;
                        *) [ ! -d "$1/$path" -o -h "$1/$path" ] || rm -rf "$1/$path" ;;
                    esac
                done
                tar -C "$1" --exclude='.wh.*' --numeric-owner --xattrs --xattrs-include='*' -xpf "$2""#;
            let output =
                self.world.command("sh").args(["-c", script, "sh"]).arg(folder.path()).arg(&layer).output().unwrap();
            assert!(output.status.success(), "{}: {}", layer.display(), told(&output));
        }
        look(folder.path())
    }
}

/// Every entry below a directory, with what it is.
pub fn look(folder: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    let mut links: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    walk(folder, folder, &mut tree, &mut links);
    for names in links.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            tree.get_mut(name).unwrap().push_str(&format!(" = {}", names.first().unwrap()));
        }
    }
    tree
}

fn walk(root: &Path, path: &Path, tree: &mut BTreeMap<String, String>, links: &mut BTreeMap<u64, BTreeSet<String>>) {
    let stat = fs::symlink_metadata(path).unwrap();
    let name = path.strip_prefix(root).unwrap().display().to_string();
    let what = match stat.file_type() {
        kind if kind.is_symlink() => format!("-> {}", fs::read_link(path).unwrap().display()),
        kind if kind.is_dir() => {
            for entry in fs::read_dir(path).unwrap() {
                walk(root, &entry.unwrap().path(), tree, links);
            }
            "dir".to_owned()
        }
        kind if kind.is_file() => {
            links.entry(stat.ino()).or_default().insert(name.clone());
            format!("file {}", oci::Digest::of(&fs::read(path).unwrap()))
        }
        _ => "other".to_owned(),
    };
    tree.insert(name, format!("{:o} {}:{} {what}", stat.mode(), stat.uid(), stat.gid()));
}
