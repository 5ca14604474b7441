//! What other programs read of images that we pull, build, push and export: skopeo and umoci, and an image of Debian's.

use crate::{
    registry::{Login, Registry, program, ready},
    workshop::{Scene, look},
};
use std::{collections::BTreeMap, path::Path, process::Command};
use support::{Who, internet::installed, stdout, told};

/// Makes the layout `layout` with the image `base`: what mmdebstrap makes, and a layer with what archives can have.
const LAYOUT: &str = r#"set -e
cd "$HOME"
umoci init --layout layout && umoci new --image layout:base
umoci raw add-layer --image layout:base tree.tar
umoci config --image layout:base --config.env PATH=/bin --config.cmd /bin/sh
mkdir -p more/more/gone more/bin && cd more/more
for name in sh stat mkdir chown chmod ln truncate rm cat; do ln -s busybox ../bin/$name; done
echo noted > noted && setfattr -n user.note -v text noted
echo capable > capable && setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 capable
echo one > one && ln one two && echo away > gone/away
truncate -s 40000000 hollow && echo end >> hollow && chown 12:34 one && chmod 4751 noted
cd .. && tar --numeric-owner --sparse --xattrs --xattrs-include='*' --sort=name -cf ../more.tar more bin
cd .. && umoci raw add-layer --image layout:base more.tar
"#;

const DOCKERFILE: &str = r#"
RUN ["/bin/busybox", "sh", "-c", "mkdir /made && cd /made && echo a > a && ln a b && chown 5:6 a && chmod 4755 a && truncate -s 30000000 hollow && echo end >> hollow && chmod 1777 . && rm -r /more/gone && rm /more/two && echo new >> /more/noted"]
COPY --chown=7:8 run.sh /made/run.sh
LABEL made=ours
"#;

#[test]
fn others_read_what_we_pull_build_push_and_export() {
    if !ready() || !["mmdebstrap", "umoci", "setfattr"].into_iter().all(installed) {
        return;
    }
    if !rustix::process::getuid().is_root() {
        support::skipped("what others read of our images", "only root can unpack with owners");
        return;
    }
    let scene = Scene::new(Who::Me);
    let home = scene.world.home();
    let sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    let sources = sources.into_iter().find(|path| Path::new(path).is_file()).unwrap();
    let mut debian = Command::new("mmdebstrap");
    debian.args(["--quiet", "--variant=extract", "--include=base-files,busybox-static", "bookworm"]);
    let output = debian.arg(home.join("tree.tar")).arg(sources).output().unwrap();
    if !output.status.success() {
        support::skipped("what others read of our images", &format!("mmdebstrap: {}", told(&output)));
        return;
    }
    scene.sh(LAYOUT);
    let registry = Registry::start(false, Login::None);
    let place = |name: &str| format!("{}/{name}", registry.host());
    let layout = format!("oci:{}:base", home.join("layout").display());
    for (number, format) in ["oci", "v2s2"].into_iter().enumerate() {
        let (base, pushed) = (place(&format!("base:{number}")), place(&format!("pushed:{number}")));
        let mut copy = program("skopeo");
        copy.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "--format", format, &layout]);
        let _ = stdout(copy.arg(format!("docker://{base}")));
        scene.ok(&["image", "pull", &base]);
        scene.build(&format!("FROM {base}{DOCKERFILE}"), &[]);
        scene.ok(&["image", "push", "built:1", &pushed]);
        let file = home.join("exported.tar");
        scene.ok(&["image", "export", "built:1", &file.display().to_string()]);
        let from = [
            ("pushed", format!("docker://{pushed}")),
            ("exported", format!("oci-archive:{}", file.display())),
            ("pulled", format!("docker://{base}")),
        ];
        let [pushed, exported, pulled] = from.map(|(name, from)| {
            let back = home.join(format!("{name}-{number}"));
            let mut copy = program("skopeo");
            copy.args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false"]);
            // What is pushed and exported is read as it is.
            copy.args(if name == "pulled" { &["--format", "oci"][..] } else { &["--preserve-digests"] });
            let _ = stdout(copy.arg(from).arg(format!("oci:{}:x", back.display())));
            let config =
                stdout(program("skopeo").args(["inspect", "--config"]).arg(format!("oci:{}:x", back.display())));
            let bundle = home.join(format!("{name}-{number}-bundle"));
            let mut umoci = program("umoci");
            let _ = stdout(umoci.args(["unpack", "--image", &format!("{}:x", back.display())]).arg(&bundle));
            let rootfs = bundle.join("rootfs");
            (look(&rootfs), attributes(&rootfs), config)
        });
        assert_eq!(pushed, exported, "{format}");
        let (tree, attributes, config) = exported;
        assert!(config.contains(r#""made": "ours""#) && config.contains(r#""PATH=/bin""#), "{config}");
        assert_eq!(differences(&tree, &scene.tree("built:1")), Vec::<String>::new(), "{format}");
        // The image as it came, but for what the steps did.
        let below: BTreeMap<_, _> = pulled.0.into_iter().filter(|(path, _)| kept(path)).collect();
        let above: BTreeMap<_, _> = tree.into_iter().filter(|(path, _)| kept(path)).collect();
        assert_eq!(differences(&above, &below), Vec::<String>::new(), "{format}");
        assert!(
            attributes.contains("user.note=\"text\"") && attributes.contains("security.capability="),
            "{attributes}"
        );
        let inside = scene.run(
            "stat -c '%n %u:%g %a %h %s' /made /made/a /made/b /made/hollow /made/run.sh /more/one /more/noted; cat /more/gone/away /more/two 2>&1; cat /etc/debian_version",
        );
        let expected = "/made 0:0 1777 ";
        assert!(inside.starts_with(expected), "{inside}");
        for line in [
            "/made/a 5:6 4755 2 2\n/made/b 5:6 4755 2 2\n/made/hollow 0:0 644 1 30000004\n/made/run.sh 7:8 755 1 ",
            "/more/one 12:34 644 2 4\n/more/noted 0:0 751 1 10\n",
            "No such file or directory\n",
            "\n12",
        ] {
            assert!(inside.contains(line), "{line}: {inside}");
        }
        // In blocks of 512 bytes; their contents would take tens of thousands.
        let blocks = scene.run("stat -c %b /more/hollow /made/hollow");
        let blocks: Vec<u64> = blocks.lines().map(|line| line.parse().unwrap()).collect();
        assert!(blocks.len() == 2 && blocks.iter().all(|&count| count < 1000), "{blocks:?}");
    }
}

/// What no step has touched.
fn kept(path: &str) -> bool {
    !path.is_empty() && !["made", "more", "tmp"].iter().any(|own| path == *own || path.starts_with(&format!("{own}/")))
}

fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let paths = one.keys().chain(other.keys().filter(|path| !one.contains_key(*path)));
    let differ = paths.filter(|path| one.get(*path) != other.get(*path));
    differ.map(|path| format!("/{path}: {:?}, {:?}", one.get(path), other.get(path))).collect()
}

fn attributes(root: &Path) -> String {
    let mut getfattr = program("getfattr");
    stdout(getfattr.args(["-R", "-h", "-d", "-m", "^(user|security)\\."]).arg(".").current_dir(root))
}
