//! Layers that are packed, and come back.
#![allow(clippy::disallowed_methods)] // tests make files by path

use super::{
    scene::{Node, Scene, is_root, look, tempdir},
    *,
};
use crate::{PackError, Reason, Summary, pax, reader::Reader};
use proptest::prelude::*;
use rustix::{
    fd::AsFd,
    fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags},
};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
    },
    path::Path,
};

/// Options that suit those of the tests' unpacking.
pub fn pack_options() -> PackLayerOptions {
    let owners = if is_root() { PackOwners::Range { uids: 0..65536, gids: 0..65536 } } else { PackOwners::Squashed };
    PackLayerOptions { owners, latest: None }
}

pub fn pack_with(dir: &Path, options: &PackLayerOptions) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let summary = pack(File::open(dir).unwrap().as_fd(), options, &mut bytes).unwrap();
    (bytes, summary)
}

pub fn pack_to_vec(dir: &Path) -> Vec<u8> {
    pack_with(dir, &pack_options()).0
}

pub fn set_mtime(path: &Path, (tv_sec, tv_nsec): (i64, i64)) {
    let time = rustix::fs::Timespec { tv_sec, tv_nsec };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::fsetxattr(File::open(path).unwrap(), name, value, XattrFlags::empty()).unwrap();
}

pub fn whiteout(path: &Path) {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

pub fn fifo(path: &Path) {
    rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o640)).unwrap();
}

/// A tree of everything that travels.
pub fn everything(dir: &Path) {
    for name in ["d/sub/deep", "empty", "opaque"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    fs::write(dir.join("d/file"), "contents").unwrap();
    fs::write(dir.join("d/nothing"), "").unwrap();
    fs::write(dir.join("d/sub").join("n".repeat(200)), "long").unwrap();
    fs::write(dir.join("opaque/inside"), "x").unwrap();
    fs::hard_link(dir.join("d/file"), dir.join("a-link-that-comes-first")).unwrap();
    symlink("../nowhere", dir.join("d/link")).unwrap();
    symlink("t".repeat(1000), dir.join("d/long-link")).unwrap();
    fs::hard_link(dir.join("d/link"), dir.join("d/sub/link-of-link")).unwrap();
    fifo(&dir.join("fifo"));
    let holes = File::create(dir.join("holes")).unwrap();
    holes.write_all_at(b"begin", 0).unwrap();
    holes.write_all_at(&[7; 5000], 1 << 20).unwrap();
    holes.set_len(5 << 20).unwrap();
    File::create(dir.join("d/sub/all-hole")).unwrap().set_len(1 << 20).unwrap();
    set_xattr(&dir.join("d/file"), "user.a", b"1\n2\0");
    set_xattr(&dir.join("holes"), "user.b", &[b'x'; 1500]);
    set_xattr(&dir.join("d/sub"), "user.c", b"");
    if is_root() {
        let own = |name: &str, id| {
            rustix::fs::chownat(
                CWD,
                dir.join(name),
                Some(Uid::from_raw(id)),
                Some(Gid::from_raw(id + 1)),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .unwrap();
        };
        own("d/file", 1000);
        own("d/link", 5);
        own("d", 65534);
        own("fifo", 3);
        set_xattr(&dir.join("d/nothing"), "security.capability", b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    chmod(&dir.join("d/file"), 0o6755);
    chmod(&dir.join("d/sub"), 0o3711);
    for (at, name) in ["d/file", "d/link", "fifo", "holes", "d/sub/deep", "d/sub", "d", "empty", "."].iter().enumerate()
    {
        set_mtime(&dir.join(name), (1_600_000_000 + at as i64, at as i64 * 1001));
    }
    set_mtime(&dir.join("d/nothing"), (-3, 250_000_000));
}

/// Names of the entries, in order.
fn names(archive: &[u8]) -> Vec<String> {
    let (mut reader, mut names) = (Reader::new(archive, 1000, 1 << 30), vec![]);
    while let Some(entry) = reader.next().unwrap() {
        names.push(String::from_utf8_lossy(&entry.path).into_owned());
        reader.skip(entry.size().unwrap()).unwrap();
    }
    names
}

#[test]
fn everything_comes_back() {
    let (Some(here), Some(there)) = (tempdir(), Scene::new()) else { return };
    everything(here.path());
    whiteout(&here.path().join("d/gone"));
    set_xattr(&here.path().join("opaque"), OPAQUE, b"y");
    set_mtime(&here.path().join("d"), (1_500_000_000, 999_999_999));
    let (archive, summary) = pack_with(here.path(), &pack_options());
    assert_eq!((summary.left_out.to_string(), summary.vanished), (String::new(), 0));
    let unpacked = there.unpack(&archive).unwrap();
    assert_eq!(unpacked.whiteouts, 2);
    assert_eq!(unpacked.entries + unpacked.whiteouts, summary.entries);
    assert_eq!(unpacked.bytes, summary.bytes);
    let (nodes, expected) = (look(&there.dest()), look(here.path()));
    assert_eq!(nodes.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, node) in &nodes {
        compare(name, node, &expected[name]);
    }
    assert_eq!(nodes[&b"holes"[..]].data.len(), 5 << 20);
    assert_eq!(nodes[&b"holes"[..]].pieces.len(), 2, "holes are kept");
    // The same tree gives the same bytes, whoever made it.
    assert!(pack_to_vec(&there.dest()) == archive);
}

#[track_caller]
/// Holes of a GiB are not written, and come back as well.
#[test]
fn large_holes_are_a_map() {
    let (Some(here), Some(there)) = (tempdir(), Scene::new()) else { return };
    for (name, size) in [("mapped", (1 << 30) + 12_288), ("zeros", 64 << 20)] {
        let file = File::create(here.path().join(name)).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"end", size - 3).unwrap();
    }
    let (archive, _) = pack_with(here.path(), &pack_options());
    assert!((64 << 20..65 << 20).contains(&archive.len()), "{}", archive.len());
    there.unpack(&archive).unwrap();
    for (name, size) in [("mapped", (1 << 30) + 12_288), ("zeros", 64_u64 << 20)] {
        let stat = rustix::fs::stat(there.dest().join(name)).unwrap();
        assert!(stat.st_size as u64 == size && stat.st_blocks < 1000, "{name}: {stat:?}");
    }
}

/// Whatever a file has of zeros, it has them after it was unpacked.
#[test]
fn zeros_come_back() {
    let (Some(here), Some(there)) = (tempdir(), Scene::new()) else { return };
    let runs = [0, 1, 511, 4095, 4096, 5000, 60_000, 65_535, 65_536, 65_537, 131_072, 300_000];
    for (index, before) in runs.iter().enumerate() {
        let mut bytes = Vec::new();
        for run in [*before, runs[(index + 5) % runs.len()], runs[(index + 7) % runs.len()]] {
            bytes.extend(vec![0; run]);
            bytes.extend([7; 3]);
        }
        bytes.extend(vec![0; runs[(index + 2) % runs.len()]]);
        fs::write(here.path().join(format!("f{index}")), bytes).unwrap();
    }
    let (archive, _) = pack_with(here.path(), &pack_options());
    there.unpack(&archive).unwrap();
    for index in 0..runs.len() {
        let name = format!("f{index}");
        assert!(fs::read(there.dest().join(&name)).unwrap() == fs::read(here.path().join(&name)).unwrap(), "{name}");
    }
}

fn compare(name: &[u8], node: &Node, expected: &Node) {
    let mut expected = expected.clone();
    // Short holes come back as zeros.
    expected.pieces.clone_from(&node.pieces);
    if node.kind == "whiteout" {
        // It has nothing but its name.
        (expected.mtime, expected.owner) = (node.mtime, node.owner);
    }
    assert!(*node == expected, "{}: {node:?} != {expected:?}", String::from_utf8_lossy(name));
}

#[test]
fn what_the_overlay_says_becomes_names() {
    let Some(here) = tempdir() else { return };
    for name in ["o", "z"] {
        fs::create_dir(here.path().join(name)).unwrap();
    }
    set_xattr(&here.path().join("o"), OPAQUE, b"y");
    set_xattr(here.path(), "user.overlay.origin", b"x");
    set_xattr(&here.path().join("z"), "user.overlay.impure", b"y");
    set_xattr(&here.path().join("z"), OPAQUE, b"x");
    fs::write(here.path().join("o/+"), "").unwrap();
    whiteout(&here.path().join("gone"));
    // Overlayfs makes one whiteout and links it.
    fs::hard_link(here.path().join("gone"), here.path().join("z/gone")).unwrap();
    for name in [".wh.fake", "z/.wh..wh..opq", ".wh."] {
        fs::write(here.path().join(name), "").unwrap();
    }
    fs::write(here.path().join(".wh"), "").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(here.path().join("socket")).unwrap();
    let (archive, summary) = pack_with(here.path(), &pack_options());
    assert_eq!(names(&archive), ["./", ".wh", ".wh.gone", "o/", "o/.wh..wh..opq", "o/+", "z/", "z/.wh.gone"]);
    assert_eq!(summary.left_out.to_string(), "1 socket and 3 would-be whiteouts: the first is .wh.");
    // What refers to layers below is no layer.
    for (attribute, kind) in [("user.overlay.redirect", "z"), ("user.overlay.metacopy", ".wh")] {
        set_xattr(&here.path().join(kind), attribute, b"/x");
        let error = pack(File::open(here.path()).unwrap().as_fd(), &pack_options(), std::io::sink()).unwrap_err();
        assert!(matches!(&error, PackError::Overlay(entry) if entry == kind), "{error:?}");
        rustix::fs::fremovexattr(File::open(here.path().join(kind)).unwrap(), attribute).unwrap();
    }
}

#[test]
fn times_are_clamped_and_owners_are_shifted() {
    let (Some(here), Some(there)) = (tempdir(), Scene::new()) else { return };
    for (name, time) in [("old", (5, 7)), ("same", (100, 0)), ("later", (100, 1)), ("new", (1 << 40, 5))] {
        fs::write(here.path().join(name), "").unwrap();
        set_mtime(&here.path().join(name), time);
    }
    let mut pack_options = PackLayerOptions { latest: Some(100), ..PackLayerOptions::default() };
    there.unpack(&pack_with(here.path(), &pack_options).0).unwrap();
    let nodes = look(&there.dest());
    let times: Vec<_> = ["old", "same", "later", "new"].map(|name| nodes[name.as_bytes()].mtime).into();
    assert_eq!(times, [(5, 7), (100, 0), (100, 0), (100, 0)]);
    assert_eq!(nodes[&b"."[..]].mtime, (100, 0));
    if !is_root() {
        println!("SKIPPED: only root can give files away");
        return;
    }
    assert!(nodes.values().all(|node| node.owner == (0, 0)));
    for (name, uid, gid) in [(".", 100_000, 200_000), ("old", 100_001, 200_002), ("same", 165_535, 200_000)] {
        std::os::unix::fs::chown(here.path().join(name), Some(uid), Some(gid)).unwrap();
    }
    for name in ["later", "new"] {
        fs::remove_file(here.path().join(name)).unwrap();
    }
    pack_options.owners = PackOwners::Range { uids: 100_000..165_536, gids: 200_000..265_536 };
    // A capability that is bound to the sandbox's namespace, which is what only the sandbox's root could give.
    let bound = |root: u32| [&b"\x01\0\0\x03\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], &root.to_le_bytes()].concat();
    set_xattr(&here.path().join("old"), "security.capability", &bound(100_000));
    set_xattr(&here.path().join("same"), "security.capability", &bound(99_999));
    let (archive, summary) = pack_with(here.path(), &pack_options);
    assert_eq!(summary.left_out.to_string(), "1 extended attribute: same");
    let Some(there) = Scene::new() else { return };
    there.unpack(&archive).unwrap();
    let nodes = look(&there.dest());
    let owners = [".", "old", "same"].map(|name| nodes[name.as_bytes()].owner);
    assert_eq!(owners, [(0, 0), (1, 2), (65535, 0)]);
    let capability = &nodes[&b"old"[..]].xattrs[&b"security.capability"[..]];
    assert_eq!(capability, b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    for (uid, gid) in [(99_999, 200_000), (165_536, 200_000), (100_000, 0), (0, 200_000)] {
        std::os::unix::fs::chown(here.path().join("old"), Some(uid), Some(gid)).unwrap();
        let error = pack(File::open(here.path()).unwrap().as_fd(), &pack_options, std::io::sink()).unwrap_err();
        let wrong = if uid == 100_000 { gid } else { uid };
        assert!(matches!(&error, PackError::Owner { entry, id } if entry == "old" && *id == wrong), "{error:?}");
    }
    // A range with more than a layer has numbers for.
    std::os::unix::fs::chown(here.path().join("old"), Some(165_536), Some(200_000)).unwrap();
    pack_options.owners = PackOwners::Range { uids: 100_000..300_000, gids: 200_000..300_000 };
    let error = pack(File::open(here.path()).unwrap().as_fd(), &pack_options, std::io::sink()).unwrap_err();
    assert!(matches!(error, PackError::Owner { id: 165_536, .. }), "{error:?}");
}

#[test]
fn what_changes_meanwhile_keeps_the_archive_whole() {
    let (mut first, dir) = (true, tempdir());
    let Some(here) = dir else { return };
    for name in ["a", "b", "c"] {
        fs::write(here.path().join(name), vec![1; 300_000]).unwrap();
    }
    struct Meddler<F: FnMut()>(F, Vec<u8>);
    impl<F: FnMut()> std::io::Write for Meddler<F> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            (self.0)();
            self.1.write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut out = Meddler(
        || {
            if std::mem::take(&mut first) {
                File::options().write(true).open(here.path().join("a")).unwrap().set_len(100_000).unwrap();
                fs::remove_file(here.path().join("b")).unwrap();
                fs::remove_file(here.path().join("c")).unwrap();
                symlink("/etc", here.path().join("c")).unwrap();
            }
        },
        Vec::new(),
    );
    let summary = pack(File::open(here.path()).unwrap().as_fd(), &pack_options(), &mut out).unwrap();
    assert_eq!(summary.vanished, 1);
    let Some(there) = Scene::new() else { return };
    there.unpack(&out.1).unwrap();
    let nodes = look(&there.dest());
    assert_eq!(nodes[&b"a"[..]].data.len(), 300_000);
    assert_eq!(nodes[&b"c"[..]].kind, "link");
}

#[test]
fn times_as_text() {
    for (time, text) in [
        ((0, 0), "0"),
        ((12, 500_000_000), "12.5"),
        ((12, 1), "12.000000001"),
        ((-1, 0), "-1"),
        ((-1, 500_000_000), "-0.5"),
        ((-2, 750_000_000), "-1.25"),
        ((i64::MIN, 1), "-9223372036854775807.999999999"),
        ((i64::MAX, 999_999_999), "9223372036854775807.999999999"),
    ] {
        assert_eq!(pax::time_text(time), text);
        let (mut bytes, mut records) = (Vec::new(), pax::Records::default());
        pax::write(b"mtime", text.as_bytes(), &mut bytes);
        pax::read(&bytes, &mut records).unwrap();
        assert_eq!(records.mtime, Some(time), "{text}");
    }
}

/// What is made of a random name.
#[derive(Clone, Debug)]
enum Kind {
    Dir(bool, Vec<(Vec<u8>, Plan)>),
    File(Vec<(u64, Vec<u8>)>, u64),
    Link(Vec<u8>),
    /// Another name of what was made before, if it may have one.
    Hard(usize),
    Fifo,
    Whiteout,
}

#[derive(Clone, Debug)]
struct Plan {
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    xattrs: BTreeMap<String, Vec<u8>>,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("a name", |byte| !matches!(byte, 0 | b'/'));
    prop_oneof![
        4 => proptest::collection::vec(byte, 1..120),
        1 => "[a-c]{200,255}".prop_map(String::into_bytes),
        4 => "[a-e]".prop_map(String::into_bytes),
    ]
    .prop_filter("a name", |name| name != b"." && name != b".." && !name.starts_with(WHITEOUT))
}

fn with(kind: impl Strategy<Value = Kind>) -> impl Strategy<Value = Plan> {
    let owner = (0u32..=65535, 0u32..=65535);
    let mtime = (prop_oneof![-5i64..5, 1_000_000_000i64..2_000_000_000], prop_oneof![Just(0), 0i64..1_000_000_000]);
    let xattrs =
        proptest::collection::btree_map("user\\.[a-z=% \n]{1,20}", proptest::collection::vec(any::<u8>(), 0..60), 0..3);
    (kind, 0u32..0o10000, owner, mtime, xattrs).prop_map(|(kind, mode, owner, mtime, xattrs)| Plan {
        kind,
        mode,
        owner,
        mtime,
        xattrs,
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let data = proptest::collection::vec(any::<u8>(), 0..1500);
    let pieces = proptest::collection::vec((0u64..100_000, data), 0..4);
    let leaf = with(prop_oneof![
        4 => (pieces, 0u64..120_000).prop_map(|(pieces, size)| Kind::File(pieces, size)),
        2 => name().prop_map(Kind::Link),
        2 => any::<usize>().prop_map(Kind::Hard),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Whiteout),
    ]);
    leaf.prop_recursive(4, 40, 8, |inner| {
        with(
            (any::<bool>(), proptest::collection::vec((name(), inner), 0..8))
                .prop_map(|(opaque, list)| Kind::Dir(opaque, list)),
        )
    })
}

fn build(path: &Path, plan: &Plan, made: &mut Vec<std::path::PathBuf>) {
    let exists = fs::symlink_metadata(path).is_ok();
    match &plan.kind {
        Kind::Dir(..) if exists && !fs::symlink_metadata(path).unwrap().is_dir() => return,
        Kind::Dir(opaque, list) => {
            fs::create_dir(path).unwrap_or_default();
            for (name, plan) in list {
                build(&path.join(OsStr::from_bytes(name)), plan, made);
            }
            if *opaque {
                set_xattr(path, OPAQUE, b"y");
            }
        }
        _ if exists => return,
        Kind::File(pieces, size) => {
            let file = File::create(path).unwrap();
            for (at, bytes) in pieces {
                file.write_all_at(bytes, *at).unwrap();
            }
            let size = (*size).max(file.metadata().unwrap().len());
            file.set_len(size).unwrap();
            made.push(path.to_owned());
        }
        Kind::Link(target) => symlink(OsStr::from_bytes(target), path).unwrap(),
        Kind::Hard(which) => {
            if !made.is_empty() {
                fs::hard_link(&made[which % made.len()], path).unwrap();
            }
            return;
        }
        Kind::Fifo => {
            fifo(path);
            made.push(path.to_owned());
        }
        Kind::Whiteout => return whiteout(path),
    }
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_dir() || meta.is_file() {
        for (name, value) in &plan.xattrs {
            set_xattr(path, name, value);
        }
    }
    if is_root() {
        std::os::unix::fs::lchown(path, Some(plan.owner.0), Some(plan.owner.1)).unwrap();
    }
    if !meta.is_symlink() {
        chmod(path, plan.mode | if meta.is_dir() { 0o700 } else { 0o600 });
    }
    set_mtime(path, plan.mtime);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tree_comes_back(plan in plan()) {
        let (Some(here), Some(there)) = (tempdir(), Scene::new()) else { return Ok(()) };
        fs::create_dir(here.path().join("tree")).unwrap();
        let tree = here.path().join("tree");
        let plan = match plan.kind {
            Kind::Dir(..) => plan,
            _ => Plan { kind: Kind::Dir(false, vec![(b"only".to_vec(), plan.clone())]), ..plan },
        };
        build(&tree, &plan, &mut vec![]);
        let (archive, summary) = pack_with(&tree, &pack_options());
        prop_assert_eq!(summary.vanished, 0);
        let opaque = there.unpack(&archive).unwrap().opaque;
        prop_assert_eq!(opaque, matches!(plan.kind, Kind::Dir(true, _)));
        let (nodes, expected) = (look(&there.dest()), look(&tree));
        prop_assert_eq!(nodes.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (name, node) in &nodes {
            compare(name, node, &expected[name]);
        }
        prop_assert!(pack_to_vec(&there.dest()) == archive);
    }

    #[test]
    fn no_bytes_make_it_panic_or_leave_its_directory(
        bytes in proptest::collection::vec(any::<u8>(), 0..4096),
        changes in proptest::collection::vec((0usize..20_000, any::<u8>()), 0..8),
        cut in 0usize..2000,
    ) {
        let (Some(scene), Some(here)) = (Scene::new(), tempdir()) else { return Ok(()) };
        prop_assert!(scene.unpack(&bytes).is_err());
        // A good layer, damaged but with its checksums made right again.
        everything(here.path());
        let mut archive = pack_to_vec(here.path());
        for (position, value) in changes {
            let position = position % archive.len();
            archive[position] = value;
        }
        for block in archive.chunks_exact_mut(crate::BLOCK) {
            if block[257..262] == *b"ustar" {
                let mut header = tar::Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                header.set_cksum();
                block.copy_from_slice(header.as_bytes());
            }
        }
        archive.truncate(archive.len() - cut);
        match scene.unpack(&archive) {
            Err(error) => prop_assert!(!matches!(error.reason, Reason::NotEmpty)),
            Ok(summary) => prop_assert!(summary.entries < 100),
        }
        // So that the directory can be removed.
        let mut left = vec![scene.dest()];
        while let Some(path) = left.pop() {
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                chmod(&path, 0o700);
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
}
