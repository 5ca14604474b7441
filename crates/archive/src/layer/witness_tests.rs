//! What other programs say: GNU tar, bsdtar, umoci, and overlayfs itself.
#![allow(clippy::disallowed_methods)] // tests start programs and look at files by path

use super::{
    round::{everything, pack_to_vec, set_mtime, set_xattr, whiteout},
    scene::{Node, Scene, is_root, look, tempdir},
    *,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Output},
};

type Nodes = BTreeMap<Vec<u8>, Node>;

/// Runs a program that may not be there.
fn run(dir: &Path, program: &str, args: &[&str]) -> Option<Output> {
    match Command::new(program).args(args).current_dir(dir).output() {
        Ok(output) => Some(output),
        Err(error) => {
            println!("SKIPPED: {program}: {error}");
            None
        }
    }
}

/// The same, and it must succeed.
#[track_caller]
fn good(dir: &Path, program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = run(dir, program, args)?;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {told}");
    Some(output.stdout)
}

/// Compares two trees by what `same` leaves of each file.
#[track_caller]
fn compare(one: &Nodes, other: &Nodes, what: &str, same: impl Fn(&mut Node)) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{what}");
    for (name, node) in one {
        let (mut node, mut other) = (node.clone(), other[name].clone());
        same(&mut node);
        same(&mut other);
        // So much of a difference as anybody reads.
        let differs = node.data != other.data;
        node.data.truncate(100);
        other.data.truncate(100);
        assert!(node == other && !differs, "{what}: {}: {node:?} != {other:?}", String::from_utf8_lossy(name));
    }
}

#[test]
fn gnu_tars_archives_are_read() {
    let Some(here) = tempdir() else { return };
    let tree = here.path().join("tree");
    fs::create_dir(&tree).unwrap();
    everything(&tree);
    // GNU tar's way to write what a key of pax cannot hold, and a sparse file of many pieces.
    set_xattr(&tree.join("d/file"), "user.a=b%3Dc", b"x");
    let many = fs::File::create(tree.join("many")).unwrap();
    for at in 0..60 {
        std::os::unix::fs::FileExt::write_all_at(&many, &[at as u8 + 1; 100], at * 65536).unwrap();
    }
    let expected = look(&tree);
    for (format, more) in [
        ("pax", "--sparse-version=1.0"),
        ("pax", "--sparse-version=0.1"),
        ("pax", "--sparse-version=0.0"),
        ("gnu", "--no-xattrs"),
    ] {
        let xattrs = if format == "pax" { "--xattrs" } else { "--no-xattrs" };
        let args = ["--sparse", more, xattrs, "--format", format, "-cf", "x.tar", "-C", "tree", "."];
        let Some(_) = good(here.path(), "tar", &args) else { return };
        let Some(there) = Scene::new() else { return };
        let summary = there.unpack(&fs::read(here.path().join("x.tar")).unwrap()).unwrap();
        // Ordinary users' tar does not keep capabilities, and nobody's labels.
        assert!(summary.whiteouts == 0, "{more}");
        compare(&look(&there.dest()), &expected, more, |node| {
            node.xattrs.retain(|name, _| format == "pax" && name.starts_with(b"user."));
            if format != "pax" {
                node.mtime = (node.mtime.0, 0);
            }
        });
    }
}

#[test]
fn gnu_tar_reads_ours() {
    let Some(here) = tempdir() else { return };
    let (tree, there) = (here.path().join("tree"), here.path().join("there"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&there).unwrap();
    everything(&tree);
    set_xattr(&tree.join("d/file"), "user.a=b%3Dc", b"x");
    fs::write(here.path().join("ours.tar"), pack_to_vec(&tree)).unwrap();
    let args = ["--xattrs", "--xattrs-include=*", "-xpf", "ours.tar", "-C", "there"];
    let Some(_) = good(here.path(), "tar", &args) else { return };
    // It fills the holes of what is written whole.
    compare(&look(&there), &look(&tree), "tar", |node| node.pieces.clear());
    let large = here.path().join("large");
    fs::create_dir(&large).unwrap();
    let file = File::create(large.join("mapped")).unwrap();
    file.write_all_at(b"end", 2 << 30).unwrap();
    fs::write(here.path().join("ours.tar"), pack_to_vec(&large)).unwrap();
    let _ = good(here.path(), "tar", &args);
    let stat = rustix::fs::stat(there.join("mapped")).unwrap();
    assert!(stat.st_size == (2 << 30) + 3 && stat.st_blocks < 1000, "{stat:?}");
}

#[test]
fn bsdtar_and_we_read_each_others() {
    let Some(here) = tempdir() else { return };
    let (tree, there) = (here.path().join("tree"), here.path().join("there"));
    fs::create_dir(&tree).unwrap();
    fs::create_dir(&there).unwrap();
    everything(&tree);
    // Of a time before 1970 it reads the fraction in the other direction than everybody else.
    set_mtime(&tree.join("d/nothing"), (3, 250_000_000));
    fs::write(here.path().join("ours.tar"), pack_to_vec(&tree)).unwrap();
    let Some(_) = good(here.path(), "bsdtar", &["-xpf", "ours.tar", "-C", "there"]) else { return };
    // Its holes are as large as it likes.
    let same = |node: &mut Node| {
        node.pieces.clear();
        node.xattrs.retain(|name, _| name.starts_with(b"user."));
        if !is_root() {
            // Root's set-id bits it gives to nobody else.
            node.mode &= 0o1777;
        }
    };
    let (mut theirs, mut ours) = (look(&there), look(&tree));
    // The directory itself it leaves as it is.
    assert!(theirs.remove(&b"."[..]).is_some() && ours.remove(&b"."[..]).is_some());
    compare(&theirs, &ours, "bsdtar reads ours", same);
    let Some(_) = good(here.path(), "bsdtar", &["--format", "pax", "-cf", "x.tar", "-C", "tree", "."]) else { return };
    let Some(scene) = Scene::new() else { return };
    scene.unpack(&fs::read(here.path().join("x.tar")).unwrap()).unwrap();
    compare(&look(&scene.dest()), &look(&tree), "we read bsdtar's", same);
}

/// The layer that is the last in an image, uncompressed.
fn last_layer(dir: &Path, layout: &str, tag: &str) -> Vec<u8> {
    let json = |name: &str| fs::read_to_string(dir.join(layout).join(name)).unwrap();
    let digest = |text: &str| text.rsplit("sha256:").next().unwrap()[..64].to_owned();
    let index = json("index.json");
    // Annotations follow the digest of what they are about.
    let manifest = index[..index.find(&format!("\"{tag}\"")).unwrap()].to_owned();
    let layer = digest(&json(&format!("blobs/sha256/{}", digest(&manifest))));
    good(dir, "gzip", &["-dc", &format!("{layout}/blobs/sha256/{layer}")]).unwrap()
}

#[test]
fn umoci_and_we_read_each_others() {
    let Some(here) = tempdir() else { return };
    let dir = here.path();
    let umoci = |args: &[&str]| good(dir, "umoci", args);
    let (lower, upper) = (dir.join("lower"), dir.join("upper"));
    fs::create_dir(&lower).unwrap();
    fs::create_dir(&upper).unwrap();
    everything(&lower);
    // A change: something removed, replaced, hidden, added.
    for name in ["d/sub", "opaque"] {
        fs::create_dir_all(upper.join(name)).unwrap();
    }
    whiteout(&upper.join("fifo"));
    whiteout(&upper.join("d/sub/deep"));
    set_xattr(&upper.join("opaque"), OPAQUE, b"y");
    fs::write(upper.join("opaque/other"), "x").unwrap();
    fs::write(upper.join("empty"), "a file where a directory was").unwrap();
    fs::write(upper.join("d/file"), "new").unwrap();
    for name in ["d/file", "opaque/other", "opaque", "d/sub", "d", "empty", "."] {
        set_mtime(&upper.join(name), (1_234_567_890, 0));
    }
    fs::write(dir.join("lower.tar"), pack_to_vec(&lower)).unwrap();
    fs::write(dir.join("upper.tar"), pack_to_vec(&upper)).unwrap();
    let Some(_) = umoci(&["init", "--layout", "image"]) else { return };
    umoci(&["new", "--image", "image:tag"]);
    umoci(&["raw", "add-layer", "--image", "image:tag", "lower.tar"]);
    umoci(&["raw", "add-layer", "--image", "image:tag", "upper.tar"]);
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    umoci(&[&["unpack"], rootless, &["--image", "image:tag", "bundle"]].concat());
    // What both layers are together, by hand.
    let mut merged = look(&lower);
    for (name, node) in look(&upper) {
        match node.kind {
            "whiteout" => drop(merged.remove(&name)),
            _ => drop(merged.insert(name, node)),
        }
    }
    merged.remove(&b"opaque/inside"[..]);
    let same = |node: &mut Node| {
        // It fills holes; and names of one file it links again where a layer has replaced one.
        node.pieces.clear();
        node.same_as.clear();
        node.xattrs.retain(|name, _| {
            name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && name != b"user.rootlesscontainers"
        });
    };
    let rootfs = dir.join("bundle/rootfs");
    compare(&look(&rootfs), &merged, "umoci unpacks ours", same);
    // And back: what it says of changes.
    fs::remove_dir_all(rootfs.join("opaque")).unwrap();
    fs::remove_file(rootfs.join("d/file")).unwrap();
    fs::write(rootfs.join("d/added"), "x").unwrap();
    set_xattr(&rootfs.join("d/added"), "user.x", b"1\n");
    fs::hard_link(rootfs.join("d/added"), rootfs.join("d/linked")).unwrap();
    // It rounds to whole seconds.
    set_mtime(&rootfs.join("d/added"), (1_400_000_000, 0));
    umoci(&["repack", "--image", "image:next", "bundle"]);
    let Some(scene) = Scene::new() else { return };
    let summary = scene.unpack(&last_layer(dir, "image", "next")).unwrap();
    assert_eq!(summary.whiteouts, 2);
    let nodes = look(&scene.dest());
    let kinds: Vec<_> = nodes.iter().map(|(name, node)| (str::from_utf8(name).unwrap(), node.kind)).collect();
    let removed = [("d/file", "whiteout"), ("opaque", "whiteout"), ("d/added", "file"), ("d/linked", "file")];
    assert!(removed.iter().all(|wanted| kinds.contains(wanted)), "{kinds:?}");
    let added = look(&rootfs);
    for name in ["d/added", "d/linked"] {
        let (mut node, mut expected) = (nodes[name.as_bytes()].clone(), added[name.as_bytes()].clone());
        assert_eq!(node.same_as, expected.same_as);
        same(&mut node);
        same(&mut expected);
        assert_eq!(node, expected);
    }
}

#[test]
fn overlayfs_understands_ours_and_we_it() {
    let Some(scene) = Scene::new() else { return };
    let Some(lower) = tempdir() else { return };
    for (name, bytes) in [
        (
            "lower",
            crate::handmade::Archive::default()
                .file(b"gone", b"")
                .file(b"kept", b"1")
                .file(b"d/x", b"")
                .file(b"e/y", b""),
        ),
        (
            "upper",
            crate::handmade::Archive::default().file(b".wh.gone", b"").file(b"d/.wh..wh..opq", b"").file(b"d/z", b""),
        ),
    ] {
        let dir = lower.path().join(name);
        fs::create_dir(&dir).unwrap();
        let open = fs::File::open(&dir).unwrap();
        unpack(rustix::fd::AsFd::as_fd(&open), &super::scene::options(), &*bytes.end()).unwrap();
    }
    for name in ["new", "work", "root"] {
        fs::create_dir(lower.path().join(name)).unwrap();
    }
    // In a user namespace, as a sandbox has it. What the script changes ends up in `new`.
    let script = "mount -t overlay -o userxattr,lowerdir=upper:lower,upperdir=new,workdir=work overlay root || exit 77
        cd root && test ! -e gone && test -e kept && test ! -e d/x && test -e d/z && test -e e/y || exit 1
        rm -r kept d e && mkdir e && touch e/again && chmod 4711 e/again";
    let Some(output) = run(lower.path(), "unshare", &["-rm", "sh", "-ec", script]) else { return };
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || told.contains("unshare failed") {
        println!("SKIPPED: no overlay can be mounted in a user namespace: {told}");
        return;
    }
    assert!(output.status.success(), "{told}");
    scene.unpack(&pack_to_vec(&lower.path().join("new"))).unwrap();
    let nodes = look(&scene.dest());
    let kinds: Vec<_> = nodes.iter().map(|(name, node)| (str::from_utf8(name).unwrap(), node.kind)).collect();
    let [file, gone] = ["file", "whiteout"];
    assert_eq!(kinds, [(".", "directory"), ("d", gone), ("e", "directory"), ("e/again", file), ("kept", gone)]);
    assert_eq!(nodes[&b"e/again"[..]].mode, 0o4711);
    assert_eq!(nodes[&b"e"[..]].xattrs[OPAQUE.as_bytes()], b"y");
}
