//! What a layer becomes.

use super::{
    scene::{Scene, is_root, look, options},
    *,
};
use crate::{Reason, handmade::Archive};
use std::fs;
use tar::{EntryType, Header};

const CAPABILITY: &[u8] = b"\x01\0\0\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Sets owner and time of a header.
fn owned(uid: u64, gid: u64, mtime: u64) -> impl Fn(&mut Header) {
    move |header| {
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(mtime);
    }
}

/// As an archive that is read keeps it: of whom, for this user.
fn seen(uid: u32, gid: u32) -> (u32, u32) {
    if is_root() { (uid, gid) } else { (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()) }
}

#[test]
fn everything_is_kept() {
    let Some(scene) = Scene::new() else { return };
    let archive = Archive::default()
        .changed(EntryType::Directory, b"./", b"", 0, 0o750, owned(7, 8, 1_600_000_000))
        .changed(EntryType::Directory, b"d/", b"", 0, 0o3555, owned(1, 65535, 1_500_000_000))
        .pax(&[("mtime", b"1234567890.123456789"), ("SCHILY.xattr.user.a", b"with\nnewline\0"), ("uid", b"1000")])
        .changed(EntryType::Regular, b"d/su", b"", 5, 0o4751, owned(9, 2, 3))
        .data(b"hello")
        .pax(&[("mtime", b"-1.25"), ("LIBARCHIVE.xattr.user.b%3dc", b"AAECAwQ"), ("SCHILY.xattr.user.e", b"")])
        .changed(EntryType::Directory, b"d/e", b"", 0, 0o700, owned(3, 4, 5))
        .pax(&[("mtime", b"17.5")])
        .changed(EntryType::Symlink, b"d/link", b"../../outside/victim", 0, 0o777, owned(5, 6, 0))
        .hard_link(b"d/hard", b"./d//e/.././su".get(..4).unwrap())
        .end();
    // A hard link to a directory is none.
    let error = scene.unpack(&archive).unwrap_err();
    assert!(matches!(error.reason, Reason::LinkTarget), "{error:?}");
    let Some(scene) = Scene::new() else { return };
    let archive = [
        &archive[..archive.len() - 3 * 512],
        &Archive::default()
            .hard_link(b"other/hard", b"./d//./su")
            .hard_link(b"hard-link", b"/d/link")
            .pax(&[("mtime", b"18")])
            .changed(EntryType::Fifo, b"fifo", b"", 0, 0o622, owned(10, 11, 12))
            .end(),
    ]
    .concat();
    let summary = scene.unpack(&archive).unwrap();
    assert_eq!((summary.entries, summary.whiteouts, summary.bytes), (8, 0, 5));
    assert_eq!(summary.left_out.to_string(), "");
    let nodes = look(&scene.dest());
    let names: Vec<_> = nodes.keys().map(|name| str::from_utf8(name).unwrap()).collect();
    assert_eq!(names, [".", "d", "d/e", "d/link", "d/su", "fifo", "hard-link", "other", "other/hard"]);
    let told = |name: &str| {
        let node = &nodes[name.as_bytes()];
        (node.kind, node.mode, node.owner, node.mtime)
    };
    assert_eq!(told("."), ("directory", 0o750, seen(7, 8), (1_600_000_000, 0)));
    assert_eq!(told("d"), ("directory", 0o3555, seen(1, 65535), (1_500_000_000, 0)));
    assert_eq!(told("d/su"), ("file", 0o4751, seen(1000, 2), (1_234_567_890, 123_456_789)));
    assert_eq!(told("d/e"), ("directory", 0o700, seen(3, 4), (-2, 750_000_000)));
    assert_eq!(told("d/link"), ("link", 0o777, seen(5, 6), (17, 500_000_000)));
    assert_eq!(told("fifo"), ("fifo", 0o622, seen(10, 11), (18, 0)));
    assert_eq!(told("other"), ("directory", 0o755, seen(0, 0), (0, 0)));
    assert_eq!(nodes[&b"d/su"[..]].same_as, [&b"d/su"[..], b"other/hard"]);
    assert_eq!(nodes[&b"d/link"[..]].same_as, [&b"d/link"[..], b"hard-link"]);
    assert_eq!(nodes[&b"d/su"[..]].data, b"hello");
    assert_eq!(nodes[&b"d/su"[..]].xattrs[&b"user.a"[..]], b"with\nnewline\0");
    assert_eq!(nodes[&b"d/e"[..]].xattrs[&b"user.b=c"[..]], [0, 1, 2, 3, 4]);
    assert_eq!(nodes[&b"d/e"[..]].xattrs[&b"user.e"[..]], b"");
}

#[test]
fn every_mode_and_owner_whatever_a_new_file_has_by_itself() {
    // In a directory that gives its group on, and as files come that need to be told nothing, or much.
    for inherited in [0o700, 0o2700] {
        let Some(scene) = Scene::new() else { return };
        let mut archive = Archive::default();
        for mode in 0..0o10000u32 {
            if mode % 0o31 != 0 && mode & 0o111 != 0 {
                continue;
            }
            let id = u64::from(mode % 3);
            archive =
                archive.changed(EntryType::Regular, format!("{mode:o}").as_bytes(), b"", 1, mode, owned(id, id, 0));
            archive = archive.data(b"x");
        }
        std::os::unix::fs::chown(scene.dest(), None, is_root().then_some(77)).unwrap();
        fs::set_permissions(scene.dest(), std::os::unix::fs::PermissionsExt::from_mode(inherited)).unwrap();
        scene.unpack(&archive.end()).unwrap();
        let mut count = 0;
        for entry in fs::read_dir(scene.dest()).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let mode = u32::from_str_radix(entry.file_name().to_str().unwrap(), 8).unwrap();
            use std::os::unix::fs::MetadataExt;
            assert_eq!(meta.mode() & 0o7777, mode);
            assert_eq!((meta.uid(), meta.gid()), seen(mode % 3, mode % 3), "{mode:o}");
            count += 1;
        }
        assert!(count > 500, "{count}");
    }
}

#[test]
fn squashed_all_is_the_callers() {
    let Some(scene) = Scene::new() else { return };
    let archive = Archive::default()
        .pax(&[("SCHILY.xattr.security.capability", CAPABILITY), ("SCHILY.xattr.user.x", b"y"), ("uid", b"4294967294")])
        .changed(EntryType::Regular, b"a/f", b"", 0, 0o6755, owned(5, 100_000, 1))
        .changed(EntryType::Symlink, b"l", b"t", 0, 0o777, owned(70_000, 6, 1))
        .end();
    let summary = scene.unpack_as(&LayerOptions { owners: Owners::Squashed, ..options() }, &archive).unwrap();
    assert_eq!(summary.left_out.to_string(), "1 extended attribute: a/f");
    let us = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let nodes = look(&scene.dest());
    assert!(nodes.values().all(|node| node.owner == us), "{nodes:?}");
    assert_eq!(nodes[&b"a/f"[..]].mode, 0o6755);
    let names: Vec<_> = nodes[&b"a/f"[..]].xattrs.keys().collect();
    assert_eq!(names, [b"user.x"]);
}

#[test]
fn attributes_of_users_on_what_their_owner_may_not_write() {
    let Some(scene) = Scene::new() else { return };
    let said = ("SCHILY.xattr.user.x", &b"y"[..]);
    let mut archive = Archive::default().file(b"first", b"");
    for (name, mode) in [(&b"read-only"[..], 0o444), (b"nothing", 0), (b"set-id", 0o4555)] {
        archive = archive.pax(&[said]).changed(EntryType::Regular, name, b"", 1, mode, owned(0, 0, 0)).data(b"z");
    }
    let archive = archive.pax(&[said]).changed(EntryType::Directory, b"dir", b"", 0, 0o555, owned(0, 0, 0)).end();
    // Root's capabilities would let it write all the same.
    std::thread::scope(|scope| {
        let unpacked = scope.spawn(|| {
            jail::caps::keep_only(jail::caps::Cap::empty()).unwrap();
            scene.unpack_as(&LayerOptions { owners: Owners::Squashed, ..options() }, &archive)
        });
        unpacked.join().unwrap().unwrap();
    });
    for (name, mode) in [("read-only", 0o444), ("nothing", 0), ("set-id", 0o4555), ("dir", 0o555)] {
        let at = scene.at(name);
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&at).unwrap()) & 0o7777, mode, "{name}");
        let mut value = [0; 4];
        let length = rustix::fs::getxattr(&at, "user.x", &mut value[..]);
        // Who may not read a file does not learn its attributes either.
        if is_root() || mode & 0o400 != 0 {
            assert_eq!((length, &value[..1]), (Ok(1), &b"y"[..]), "{name}");
        }
    }
}

#[test]
fn attributes_that_travel_and_those_that_do_not() {
    let Some(scene) = Scene::new() else { return };
    let archive = |name: &str| Archive::default().pax(&[(name, b"y")]).file(b"f", b"").end();
    for name in [
        "SCHILY.xattr.user.overlay.opaque",
        "SCHILY.xattr.user.overlay.",
        "SCHILY.xattr.user.overlay.overlay.whiteout",
        "SCHILY.xattr.trusted.overlay.opaque",
        "LIBARCHIVE.xattr.user.%6fverlay.redirect",
    ] {
        for archive in [
            archive(name),
            Archive::default().pax(&[(name, b"eQ==")]).dir(b"f").end(),
            Archive::default().pax(&[(name, b"eQ==")]).symlink(b"f", b"t").end(),
        ] {
            let error = Scene::new().unwrap().unpack(&archive).unwrap_err();
            assert!(matches!(error.reason, Reason::Attribute(_)), "{name}: {error:?}");
            assert_eq!(error.entry, "f");
        }
    }
    for name in ["LIBARCHIVE.xattr.user.a%4", "LIBARCHIVE.xattr.user.%zz", "SCHILY.xattr.user.a\0b"] {
        let error = Scene::new().unwrap().unpack(&archive(name)).unwrap_err();
        assert!(matches!(error.reason, Reason::Malformed(_)), "{name}: {error:?}");
    }
    let archive = Archive::default()
        .pax(&[("SCHILY.xattr.trusted.x", b"y"), ("SCHILY.xattr.system.posix_acl_access", b"")])
        .pax(&[("SCHILY.xattr.security.selinux", b"label"), ("SCHILY.xattr.user.kept", b"z")])
        .file(b"f", b"")
        .pax(&[("SCHILY.xattr.user.on-a-link", b"y")])
        .symlink(b"l", b"t")
        .end();
    let summary = scene.unpack(&archive).unwrap();
    assert_eq!(summary.left_out.to_string(), "4 extended attributes: the first is f");
    assert_eq!(look(&scene.dest())[&b"f"[..]].xattrs.keys().collect::<Vec<_>>(), [b"user.kept"]);
    // Attributes are of one entry, not of those that follow.
    let Some(scene) = Scene::new() else { return };
    let archive = Archive::default().pax(&[("SCHILY.xattr.user.x", b"y")]).file(b"f", b"").file(b"g", b"").end();
    scene.unpack(&archive).unwrap();
    assert!(look(&scene.dest())[&b"g"[..]].xattrs.is_empty());
    if !is_root() {
        println!("SKIPPED: only root can give capabilities");
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let archive = Archive::default()
        .pax(&[("SCHILY.xattr.security.capability", CAPABILITY)])
        .changed(EntryType::Regular, b"ping", b"", 1, 0o755, owned(0, 5, 1))
        .data(b"x")
        .end();
    scene.unpack(&archive).unwrap();
    assert_eq!(look(&scene.dest())[&b"ping"[..]].xattrs[&b"security.capability"[..]], CAPABILITY);
}

#[test]
fn owners_beyond_a_sandboxs_range() {
    if !is_root() {
        println!("SKIPPED: only root keeps owners");
        return;
    }
    for (uid, gid) in [(65536, 0), (0, 65536), (u64::from(u32::MAX), 0), (1 << 32, 0)] {
        for kind in [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Fifo] {
            let archive = Archive::default().changed(kind, b"x", b"t", 0, 0o644, owned(uid, gid, 0)).end();
            let error = Scene::new().unwrap().unpack(&archive).unwrap_err();
            assert!(matches!(error.reason, Reason::Owner(id) if id == uid.max(gid)), "{error:?}");
            assert_eq!(error.entry, "x");
        }
    }
    for id in ["-1", "", "x", "18446744073709551616"] {
        let archive = Archive::default().pax(&[("gid", id.as_bytes())]).file(b"x", b"").end();
        let error = Scene::new().unwrap().unpack(&archive).unwrap_err();
        assert!(matches!(error.reason, Reason::Malformed(_)), "{error:?}");
    }
}

#[test]
fn names_in_every_spelling() {
    let Some(scene) = Scene::new() else { return };
    let long = [b"p".repeat(200), b"/".to_vec(), b"q".repeat(200)].concat();
    let archive = Archive::default()
        .file(b"/etc/x", b"1")
        .file(b"./usr//./bin///y", b"2")
        .dir(b"/")
        .dir(b"//opt/")
        .long_name(&long)
        .file(b"cut", b"3")
        .pax(&[("path", &[b"pax/", &long[..]].concat()), ("linkpath", &long)])
        .symlink(b"cut", b"cut")
        .header(EntryType::Regular, b"old-style/", b"", 0, 0o755)
        .pax(&[("path", "snow\n☃".as_bytes())])
        .file(b"cut", b"4")
        .file(b".wh", b"no whiteout")
        .file(b"x.wh.y", b"")
        .end();
    scene.unpack(&archive).unwrap();
    let nodes = look(&scene.dest());
    for (name, data) in [(&b"etc/x"[..], &b"1"[..]), (b"usr/bin/y", b"2"), (&long, b"3"), ("snow\n☃".as_bytes(), b"4")]
    {
        assert_eq!(nodes[name].data, data);
    }
    assert_eq!(nodes[&[b"pax/", &long[..]].concat()].data, long);
    assert_eq!(nodes[&b"old-style"[..]].kind, "directory");
    assert_eq!(nodes[&b".wh"[..]].data, b"no whiteout");
    // A name longer than any path that the kernel takes at once.
    let Some(scene) = Scene::new() else { return };
    let deep = [b"d".repeat(250), b"/".to_vec()].concat().repeat(40);
    let file = |name: &[u8]| [&deep, name].concat();
    let archive = Archive::default()
        .long_name(&file(b"f"))
        .file(b"", b"deep")
        .file(b"top", b"")
        .long_name(&file(b"g"))
        .hard_link(b"", b"top")
        .long_name(&deep)
        .dir(b"")
        .end();
    assert_eq!(scene.unpack(&archive).unwrap().entries, 4);
    assert_eq!(fs::metadata(scene.at("top")).map(|meta| std::os::unix::fs::MetadataExt::nlink(&meta)).unwrap(), 2);
    // The name of it is too long for removal by path.
    let result = scene.unpack(&Archive::default().end());
    assert!(matches!(result.unwrap_err().reason, Reason::NotEmpty));
}

/// What `names` are in a layer of these entries, with a `+` behind those that are opaque.
#[track_caller]
fn kinds(archive: Archive, names: &[&str]) -> (LayerSummary, String) {
    let Some(scene) = Scene::new() else { return (LayerSummary::default(), "SKIPPED".into()) };
    let summary = scene.unpack(&archive.end()).unwrap();
    let nodes = look(&scene.dest());
    let told = names.iter().map(|name| {
        let Some(node) = nodes.get(name.as_bytes()) else { return format!("{name}: none") };
        let opaque = node.xattrs.get(OPAQUE.as_bytes()).map(|value| (assert_eq!(value, b"y"), "+").1);
        format!("{name}: {}{}", node.kind, opaque.unwrap_or(""))
    });
    (summary, told.collect::<Vec<_>>().join(", "))
}

#[test]
fn whiteouts_are_what_overlayfs_understands() {
    let empty = Archive::default;
    if Scene::new().is_none() {
        return;
    }
    let (summary, told) =
        kinds(empty().file(b".wh.a", b"").file(b"d/.wh.b", b"contents").dir(b"d"), &["a", "d", "d/b"]);
    assert_eq!(told, "a: whiteout, d: directory, d/b: whiteout");
    assert_eq!((summary.whiteouts, summary.entries, summary.opaque), (2, 1, false));
    // The longest name there is.
    let name = "n".repeat(255);
    let (_, told) =
        kinds(empty().long_name(format!("d/.wh.{name}").as_bytes()).file(b"", b""), &[&format!("d/{name}")]);
    assert_eq!(told, format!("d/{name}: whiteout"));
    // They concern layers below, wherever they stand.
    for archive in [empty().file(b"f", b"x").file(b".wh.f", b""), empty().file(b".wh.f", b"").file(b"f", b"x")] {
        assert_eq!(kinds(archive, &["f"]).1, "f: file");
    }
    for archive in [
        empty().dir(b"d").file(b"d/f", b"").file(b".wh.d", b""),
        empty().file(b".wh.d", b"").dir(b"d").file(b"d/f", b""),
        empty().file(b".wh.d", b"").file(b"d/f", b""),
        empty().file(b"d/f", b"").file(b".wh.d", b""),
    ] {
        assert_eq!(kinds(archive, &["d", "d/f"]).1, "d: directory+, d/f: file");
    }
    for archive in [
        empty().file(b".wh.l", b"").symlink(b"l", b"t").file(b".wh.l", b""),
        empty().header(EntryType::Link, b".wh.l", b".wh..wh.aufs", 0, 0).symlink(b"l", b"t"),
    ] {
        assert_eq!(kinds(archive, &["l"]).1, "l: link");
    }
    let archive = empty().file(b".wh.same", b"").file(b".wh.same", b"").dir(b".wh.dir");
    assert_eq!(kinds(archive, &["same", "dir"]).1, "same: whiteout, dir: whiteout");
}

#[test]
fn opaque_directories() {
    let empty = Archive::default;
    if Scene::new().is_none() {
        return;
    }
    for archive in [
        empty().dir(b"d").file(b"d/.wh..wh..opq", b"").file(b"d/f", b""),
        empty().dir(b"d").file(b"d/f", b"").file(b"d/.wh..wh..opq", b""),
        empty().file(b"d/.wh..wh..opq", b"").file(b"d/f", b"").dir(b"d"),
        empty().file(b".wh.d", b"").file(b"d/.wh..wh..opq", b"").file(b"d/f", b""),
    ] {
        assert_eq!(kinds(archive, &["d", "d/f"]).1, "d: directory+, d/f: file");
    }
    let (summary, told) = kinds(empty().file(b"a/b/.wh..wh..opq", b""), &["a", "a/b"]);
    assert_eq!(told, "a: directory, a/b: directory+");
    assert_eq!((summary.whiteouts, summary.opaque), (1, false));
    let (summary, told) = kinds(empty().file(b".wh..wh..opq", b""), &["."]);
    assert_eq!(told, ".: directory+");
    assert!(summary.opaque);
}

#[test]
fn what_aufs_keeps_for_itself_and_devices_of_dev_are_left_out() {
    if Scene::new().is_none() {
        return;
    }
    let archive = Archive::default()
        .file(b".wh..wh.aufs", b"x")
        .dir(b".wh..wh.plnk/")
        .file(b".wh..wh.plnk/1.2", b"x")
        .file(b"d/.wh..wh.orph", b"x")
        .header(EntryType::Char, b"dev/null", b"", 0, 0o666)
        .header(EntryType::Block, b"./dev//disk/by", b"", 0, 0o666)
        .file(b"last", b"");
    let (summary, told) = kinds(archive, &[".wh..wh.aufs", ".wh..wh.plnk", "d", "dev", "last"]);
    assert_eq!(told, ".wh..wh.aufs: none, .wh..wh.plnk: none, d: none, dev: none, last: file");
    assert_eq!(summary.left_out.to_string(), "4 aufs files and 2 devices: the first is .wh..wh.aufs");
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    if Scene::new().is_none() {
        return;
    }
    /// Adds something of this kind that is called `x`.
    fn add(archive: Archive, kind: &str) -> Archive {
        match kind {
            "file" => archive.file(b"x", b"1"),
            "directory" => archive.dir(b"x").file(b"x/y/z", b"").symlink(b"x/y/l", b"..").file(b"x/.wh.w", b""),
            "link" => archive.symlink(b"x", b".."),
            "fifo" => archive.header(EntryType::Fifo, b"x", b"", 0, 0o600),
            "hard link" => archive.hard_link(b"x", b"other"),
            _ => archive.file(b".wh.x", b""),
        }
    }
    const KINDS: [&str; 6] = ["file", "directory", "link", "fifo", "hard link", "whiteout"];
    for first in KINDS {
        for second in KINDS {
            let archive = add(add(Archive::default().file(b"other", b"2"), first), second).file(b"x2", b"");
            let told = kinds(archive, &["x", "x/y/z"]).1;
            let expected = match (first, second) {
                ("directory", "directory") => "x: directory, x/y/z: file",
                ("directory", "whiteout") | (_, "directory") => "x: directory+, x/y/z: file",
                (kind, "whiteout") | (_, kind) => match kind {
                    "hard link" => "x: file, x/y/z: none",
                    kind => &format!("x: {kind}, x/y/z: none"),
                },
            };
            assert_eq!(told, expected, "{first}, {second}");
        }
    }
    // Of two entries for one directory, the second says what it is; what is in it stays.
    let Some(scene) = Scene::new() else { return };
    let archive = Archive::default()
        .pax(&[("SCHILY.xattr.user.a", b"1")])
        .dir(b"d")
        .file(b"d/f", b"")
        .header(EntryType::Directory, b"d", b"", 0, 0o711)
        .end();
    scene.unpack(&archive).unwrap();
    let nodes = look(&scene.dest());
    assert_eq!((nodes[&b"d"[..]].mode, nodes[&b"d"[..]].xattrs.len(), nodes.len()), (0o711, 0, 3));
}

/// A file of 10,000 bytes with data at 0, 4096 and 8192, written down in one of the four ways.
fn sparse(way: &str) -> Archive {
    let data = [[b'a'; 512], [b'b'; 512], [b'c'; 512]].concat();
    let stored = data.len() as u64;
    let empty = Archive::default();
    let numbers = |header: &mut Header, pieces: &[(u64, u64)], extended: bool| {
        let gnu = header.as_gnu_mut().unwrap();
        for (slot, (at, length)) in gnu.sparse.iter_mut().zip(pieces) {
            slot.offset[..11].copy_from_slice(format!("{at:011o}").as_bytes());
            slot.numbytes[..11].copy_from_slice(format!("{length:011o}").as_bytes());
        }
        gnu.isextended[0] = extended.into();
        gnu.realsize[..11].copy_from_slice(format!("{:011o}", 10_000).as_bytes());
    };
    match way {
        "old" => empty
            .changed(EntryType::GNUSparse, b"s", b"", stored, 0o644, |header| {
                numbers(header, &[(0, 512), (4096, 512), (8192, 512), (10_000, 0)], false);
            })
            .data(&data),
        "extended" => {
            let mut block = vec![0; 2 * 512];
            // A whole block of pieces, most of them empty.
            let pieces = [(4096, 256), (4352, 256)].into_iter().chain([(4608, 0); 19]);
            for (slot, (at, length)) in pieces.enumerate() {
                block[slot * 24..][..24].copy_from_slice(format!("{at:011o}\0{length:011o}\0").as_bytes());
            }
            block[504] = 1;
            block[512..][..24].copy_from_slice(format!("{:011o}\0{:011o}\0", 8192, 512).as_bytes());
            empty
                .changed(EntryType::GNUSparse, b"s", b"", stored, 0o644, |header| {
                    numbers(header, &[(0, 128), (128, 128), (256, 128), (384, 128)], true);
                })
                .data(&block)
                .data(&data)
        }
        "0.0" => empty
            .pax(&[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.numblocks", b"3"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", b"512"),
                ("GNU.sparse.offset", b"4096"),
                ("GNU.sparse.numbytes", b"512"),
                ("GNU.sparse.offset", b"8192"),
                ("GNU.sparse.numbytes", b"512"),
            ])
            .file(b"s", &data),
        "0.1" => empty
            .pax(&[
                ("GNU.sparse.size", b"10000"),
                ("GNU.sparse.numblocks", b"3"),
                ("GNU.sparse.map", b"0,512,4096,512,8192,512"),
                ("GNU.sparse.name", b"s"),
            ])
            .file(b"GNUSparseFile.1/s", &data),
        _ => {
            let mut map = b"4\n0\n512\n4096\n512\n8192\n512\n10000\n0\n".to_vec();
            map.resize(512, 0);
            empty
                .pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"./s"),
                    ("GNU.sparse.realsize", b"10000"),
                ])
                .file(b"GNUSparseFile.1/s", &[map, data].concat())
        }
    }
}

#[test]
fn holes_are_kept_in_all_ways_that_they_are_written_down() {
    let mut expected = vec![0; 10_000];
    for (at, byte) in [(0, b'a'), (4096, b'b'), (8192, b'c')] {
        expected[at..at + 512].fill(byte);
    }
    for way in ["old", "extended", "0.0", "0.1", "1.0"] {
        let Some(scene) = Scene::new() else { return };
        let summary = scene.unpack(&sparse(way).file(b"next", b"!").end()).unwrap();
        assert_eq!((summary.entries, summary.bytes), (2, 1537), "{way}");
        let nodes = look(&scene.dest());
        assert_eq!(nodes.keys().map(|name| &**name).collect::<Vec<_>>(), [&b"."[..], b"next", b"s"]);
        assert!(nodes[&b"s"[..]].data == expected, "{way}");
        assert_eq!(nodes[&b"next"[..]].data, b"!", "{way}");
    }
    // Large enough for holes that every file system has, and nothing but a hole.
    let Some(scene) = Scene::new() else { return };
    let size = 1u64 << 36;
    let map = format!("2\n{}\n1\n{size}\n0\n", size / 2);
    let mut data = map.into_bytes();
    data.resize(512, 0);
    data.push(b'x');
    let text = size.to_string();
    let records = [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.realsize", text.as_bytes())];
    let hole = [("GNU.sparse.size", text.as_bytes()), ("GNU.sparse.map", &b""[..])];
    scene.unpack(&Archive::default().pax(&records).file(b"s", &data).pax(&hole).file(b"h", b"").end()).unwrap();
    use std::os::unix::fs::MetadataExt;
    for (name, most) in [("s", 1024), ("h", 0)] {
        let meta = fs::metadata(scene.at(name)).unwrap();
        assert_eq!(meta.len(), size);
        assert!(meta.blocks() <= most, "{name} has {} blocks", meta.blocks());
    }
}
