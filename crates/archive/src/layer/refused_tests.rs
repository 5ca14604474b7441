//! Layers that mean harm.

use super::{
    scene::{Scene, look, options},
    *,
};
use crate::{Reason, UnpackError, handmade::Archive};
use rustix::fd::AsFd;
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
};
use tar::EntryType;

/// Unpacks something that must be refused. `None` where there is no place for such a test.
#[track_caller]
fn refused(archive: &[u8]) -> Option<(String, Reason)> {
    let UnpackError { entry, reason } = Scene::new()?.unpack(archive).unwrap_err();
    Some((entry, reason))
}

/// The same, and it must be for this reason and name this entry.
#[track_caller]
fn refused_as(archive: Archive, name: &str, wanted: impl Fn(&Reason) -> bool) {
    if let Some((entry, reason)) = refused(&archive.end()) {
        assert!(wanted(&reason), "{reason:?}");
        assert_eq!(entry, name);
    }
}

fn is_name(reason: &Reason) -> bool {
    matches!(reason, Reason::Name(_))
}

fn is_malformed(reason: &Reason) -> bool {
    matches!(reason, Reason::Malformed(_))
}

#[test]
fn names_that_lead_out() {
    let empty = Archive::default;
    for name in ["../x", "a/../../x", "a/..", "..", "/../x", "//..", "./..", "a/../b"] {
        let bytes = name.as_bytes();
        refused_as(empty().file(bytes, b"x"), name, is_name);
        refused_as(empty().dir(bytes), name, is_name);
        refused_as(empty().symlink(bytes, b"x"), name, is_name);
        refused_as(empty().file(b"f", b"").hard_link(bytes, b"f"), name, is_name);
        refused_as(empty().header(EntryType::Fifo, bytes, b"", 0, 0), name, is_name);
        refused_as(empty().long_name(bytes).file(b"good", b"x"), name, is_name);
        refused_as(empty().pax(&[("path", bytes)]).file(b"good", b"x"), name, is_name);
        let records = [("GNU.sparse.name", bytes), ("GNU.sparse.size", b"0")];
        refused_as(empty().pax(&records).file(b"good", b""), name, is_name);
    }
    for name in ["", "/", ".", "./"] {
        refused_as(empty().pax(&[("path", name.as_bytes())]).symlink(b"good", b"x"), name, is_name);
    }
    let deep = b"a/".repeat(1025);
    let reason = refused(&empty().long_name(&deep).file(b"x", b"").end()).map(|(_, reason)| reason);
    assert!(reason.as_ref().is_none_or(is_name), "{reason:?}");
}

#[test]
fn whiteouts_of_what_is_no_name() {
    let empty = Archive::default;
    for name in [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", "../.wh.x", "../.wh..wh..opq", ".wh./x"] {
        refused_as(empty().file(name.as_bytes(), b""), name, is_name);
        refused_as(empty().symlink(name.as_bytes(), b"/"), name, is_name);
    }
    let long = ".wh.".to_owned() + &"n".repeat(256);
    let reason = refused(&empty().long_name(long.as_bytes()).file(b"", b"").end()).map(|(_, reason)| reason);
    assert!(reason.as_ref().is_none_or(is_name), "{reason:?}");
    // Below one, whatever it is.
    refused_as(empty().file(b".wh.a", b"").file(b".wh.a/b", b""), ".wh.a/b", is_name);
    // One that is below a link, or a file.
    for name in ["l/.wh.x", "l/.wh..wh..opq", "l/d/.wh..wh..opq"] {
        let is_no_directory = |reason: &Reason| matches!(reason, Reason::NotDirectory);
        refused_as(empty().symlink(b"l", b"../outside").file(name.as_bytes(), b""), name, is_no_directory);
        refused_as(empty().file(b"l", b"").file(name.as_bytes(), b""), name, is_no_directory);
    }
}

#[test]
fn no_link_on_the_way_is_followed() {
    for target in [&b"../outside"[..], b"/", b"/tmp", b".", b"..", b"/proc/self/root", b"/proc/self/cwd", b"d"] {
        let archive = || Archive::default().dir(b"d").symlink(b"a", target);
        for next in [
            archive().file(b"a/victim", b"hacked"),
            archive().dir(b"a/victim"),
            archive().symlink(b"a/victim", b"x"),
            archive().file(b"f", b"hacked").hard_link(b"a/victim", b"f"),
            archive().header(EntryType::Fifo, b"a/victim", b"", 0, 0o666),
            archive().header(EntryType::Directory, b"d/b", b"", 0, 0o777).file(b"./a//victim", b""),
        ] {
            let Some((entry, reason)) = refused(&next.end()) else { return };
            assert!(matches!(reason, Reason::NotDirectory), "{reason:?}");
            assert!(entry.ends_with("victim"), "{entry}");
        }
        // And not in the name of what a hard link is to.
        let Some((_, reason)) = refused(&archive().hard_link(b"h", b"a/victim").end()) else { return };
        assert!(matches!(reason, Reason::LinkTarget), "{reason:?}");
        // A link to a file gives way to a file.
        let scene = Scene::new().unwrap();
        scene.unpack(&archive().file(b"a", b"mine").end()).unwrap();
        assert_eq!(look(&scene.dest())[&b"a"[..]].data, b"mine");
    }
    // A directory that was used last, and became a link since.
    let archive =
        Archive::default().dir(b"d").file(b"d/x", b"").symlink(b"d", b"../outside").file(b"d/victim", b"hacked");
    refused_as(archive, "d/victim", |reason| matches!(reason, Reason::NotDirectory));
    // What a directory gets in the end does not go through the link that stands in its place by then.
    let Some(scene) = Scene::new() else { return };
    let outside = scene.dest().parent().unwrap().join("outside");
    let before = fs::metadata(&outside).unwrap();
    let archive = Archive::default().header(EntryType::Directory, b"d", b"", 0, 0o777).symlink(b"d", b"../outside");
    scene.unpack(&archive.end()).unwrap();
    let after = fs::metadata(&outside).unwrap();
    assert_eq!((before.mode(), before.mtime(), before.ctime()), (after.mode(), after.mtime(), after.ctime()));
}

#[test]
fn hard_links_to_what_did_not_come_with_the_layer() {
    let empty = Archive::default;
    let is_target = |reason: &Reason| matches!(reason, Reason::LinkTarget | Reason::Name(_));
    for target in [
        &b"../../etc/passwd"[..],
        b"../outside/victim",
        b"/etc/passwd",
        b"missing",
        b"d/missing",
        b"h",
        b"d",
        b".",
        b"/",
    ] {
        refused_as(empty().dir(b"d").hard_link(b"h", target), "h", is_target);
    }
    refused_as(empty().hard_link(b"h", b""), "h", is_malformed);
    // What was removed, what aufs keeps, and itself.
    refused_as(empty().file(b".wh.gone", b"").hard_link(b"h", b"gone"), "h", is_target);
    refused_as(empty().file(b".wh..wh.plnk/1", b"").hard_link(b"h", b".wh..wh.plnk/1"), "h", is_target);
    for target in [&b".wh.gone"[..], b".wh..wh.x\0", b".wh..wh..opq", b".wh..wh.d/x"] {
        let archive = empty().file(b".wh.gone", b"").pax(&[("linkpath", target)]);
        refused_as(archive.hard_link(b"h", b""), "h", is_target);
    }
    refused_as(empty().file(b"h", b"").hard_link(b"./h", b"h"), "./h", is_target);
    // What it is to must not be removed to make room for it.
    refused_as(empty().file(b"h/x/y", b"").hard_link(b"h", b"h/x/y"), "h", is_target);
    // Of a link, itself is linked.
    let Some(scene) = Scene::new() else { return };
    scene.unpack(&empty().symlink(b"l", b"../outside/victim").hard_link(b"h", b"l").end()).unwrap();
    assert_eq!(look(&scene.dest())[&b"h"[..]].kind, "link");
}

#[test]
fn devices_and_kinds_that_are_unknown() {
    for kind in [EntryType::Char, EntryType::Block] {
        for name in ["null", "dev", "devices/x", "etc/dev/null", "dev2/null", "./deva"] {
            let archive = Archive::default().header(kind, name.as_bytes(), b"", 0, 0o666);
            refused_as(archive, name, |reason| matches!(reason, Reason::Device));
        }
    }
    for kind in [b'V', b'M', b'D', b'Z', 0xff] {
        let archive = Archive::default().header(EntryType::new(kind), b"f", b"", 0, 0o644);
        refused_as(archive, "f", |reason| matches!(reason, Reason::Unsupported(_)));
    }
}

#[test]
fn a_directory_that_is_not_empty() {
    let Some(scene) = Scene::new() else { return };
    std::os::unix::fs::symlink("../outside", scene.at("a")).unwrap();
    let error = scene.unpack(&Archive::default().file(b"a/victim", b"hacked").end()).unwrap_err();
    assert!(matches!(error.reason, Reason::NotEmpty), "{error:?}");
    assert_eq!(error.to_string(), "Cannot unpack the layer");
}

/// The same bytes for ever.
struct Forever {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Forever {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        for byte in out.iter_mut() {
            *byte = self.bytes[self.at];
            self.at = (self.at + 1) % self.bytes.len();
        }
        Ok(out.len())
    }
}

#[test]
fn more_of_anything_than_allowed() {
    let run = |max_entries: u64, max_bytes: u64, archive: Archive| {
        let scene = Scene::new()?;
        let options = LayerOptions { max_entries, max_bytes, ..options() };
        let bytes = Forever { bytes: archive.0, at: 0 };
        let error = unpack(File::open(scene.dest()).unwrap().as_fd(), &options, bytes).unwrap_err();
        scene.check();
        Some(error.reason)
    };
    let empty = Archive::default;
    let records: Vec<(String, Vec<u8>)> =
        (0..200).map(|at| (format!("SCHILY.xattr.user.{at}"), vec![b'x'; 4000])).collect();
    let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (&**key, &**value)).collect();
    let bombs = [
        empty().dir(b"d"),
        empty().file(b"f", b""),
        empty().symlink(b"l", b"t"),
        empty().dir(b"d").symlink(b"d", b"t"),
        empty().file(b".wh.x", b""),
        empty().file(b".wh..wh..opq", b""),
        empty().file(b".wh..wh.aufs", b""),
        empty().header(EntryType::Char, b"dev/null", b"", 0, 0),
        empty().header(EntryType::XGlobalHeader, b"g", b"", 0, 0),
        empty().header(EntryType::GNULongName, b"g", b"", 0, 0),
    ];
    for bomb in bombs {
        let Some(reason) = run(3000, 1 << 30, bomb) else { return };
        assert!(matches!(reason, Reason::TooMany(3000)), "{reason:?}");
    }
    // A million headers against a small limit end soon.
    let Some(UnpackError { entry, reason }) = Scene::new().map(|scene| {
        let options = LayerOptions { max_entries: 100, ..options() };
        scene.unpack_as(&options, &empty().dir(b"d").0.repeat(1_000_000)).unwrap_err()
    }) else {
        return;
    };
    assert!(matches!(reason, Reason::TooMany(100)), "{reason:?}");
    assert_eq!(entry, "entry 101");
    // Directories count that are implied only.
    let Some(reason) = run(500, 1 << 30, empty().long_name(&b"d/".repeat(1000)).file(b"x", b"")) else { return };
    assert!(matches!(reason, Reason::TooMany(500)), "{reason:?}");
    for bomb in [
        empty().file(b"f", &[0; 4096]),
        empty().file(b".wh.x", &[0; 4096]),
        empty().long_name(&[&b"./".repeat(2000)[..], b"f"].concat()).file(b"f", b""),
        empty().pax(&[("comment", &[b'x'; 4096])]).file(b"f", b""),
    ] {
        let Some(reason) = run(20_000, 1 << 20, bomb) else { return };
        assert!(matches!(reason, Reason::TooLarge(_)), "{reason:?}");
    }
    // What is said of one entry has an end, even if there never is an entry.
    for bomb in [empty().pax(&records), empty().pax(&[("GNU.sparse.offset", &[b'1'; 4096])])] {
        let Some(reason) = run(20_000, 1 << 30, bomb) else { return };
        assert!(matches!(reason, Reason::Malformed(_)), "{reason:?}");
    }
}

#[test]
fn attributes_without_measure() {
    let many: Vec<(String, Vec<u8>)> = (0..300).map(|at| (format!("SCHILY.xattr.user.{at}"), vec![])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(key, value)| (&**key, &**value)).collect();
    let empty = Archive::default;
    refused_as(empty().pax(&many).file(b"f", b""), "f", is_malformed);
    let is_refused = |reason: &Reason| matches!(reason, Reason::Io("set an extended attribute", _));
    let (value, name) = (vec![b'x'; 65537], format!("SCHILY.xattr.user.{}", "n".repeat(256)));
    refused_as(empty().pax(&[("SCHILY.xattr.user.x", &value)]).file(b"f", b""), "f", is_refused);
    refused_as(empty().pax(&[(&name, b"")]).file(b"f", b""), "f", is_refused);
    refused_as(empty().pax(&[("SCHILY.xattr.user.", b"")]).dir(b"f"), "f", is_refused);
}

#[test]
fn sizes_that_lie() {
    let empty = Archive::default;
    let mut archive = empty().header(EntryType::Regular, b"f", b"", 1 << 20, 0o644);
    archive.0.extend_from_slice(&[1; 1000]);
    if let Some((entry, reason)) = refused(&archive.0) {
        assert!(matches!(reason, Reason::Truncated), "{reason:?}");
        assert_eq!(entry, "f");
    }
    let is_large = |reason: &Reason| matches!(reason, Reason::TooLarge(_));
    for size in [u64::MAX, u64::MAX - 511, 1 << 63, 1 << 41] {
        for kind in [EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Fifo] {
            refused_as(empty().header(kind, b"f", b"t", size, 0o644), "f", is_large);
        }
        refused_as(empty().header(EntryType::Regular, b".wh.f", b"", size, 0o644), ".wh.f", is_large);
        refused_as(empty().pax(&[("size", size.to_string().as_bytes())]).file(b"f", b"x"), "f", is_large);
    }
    for size in ["-1", "", "+1", "1 ", "18446744073709551616"] {
        refused_as(empty().pax(&[("size", size.as_bytes())]).file(b"f", b"x"), "entry 1", is_malformed);
    }
    for time in ["", ".5", "x", "1.x", "9223372036854775808", "-9223372036854775808.5"] {
        refused_as(empty().pax(&[("mtime", time.as_bytes())]).file(b"f", b"x"), "entry 1", is_malformed);
    }
}

#[test]
fn maps_of_sparse_files_that_lie() {
    let empty = Archive::default;
    let with = |size: &str, map: &str, data: &[u8]| {
        empty().pax(&[("GNU.sparse.size", size.as_bytes()), ("GNU.sparse.map", map.as_bytes())]).file(b"s", data)
    };
    let data = [7; 512];
    for map in [
        "0,256,128,256",                // one over the other
        "256,256,0,256",                // backwards
        "0,512,512",                    // a place without a length
        "0,513",                        // more than there is
        "0,511",                        // less
        "600,512",                      // beyond the end
        "0,512,18446744073709551615,1", // around the end of numbers
        "0,18446744073709551615,0,512",
        "18446744073709551104,512",
        "0,-512",
        "0,512,x,0",
        "99999999999999999999,512",
    ] {
        refused_as(with("1000", map, &data), "s", is_malformed);
    }
    let is_large = |reason: &Reason| matches!(reason, Reason::TooLarge(_));
    for size in [u64::MAX, 1 << 63, 1 << 39] {
        refused_as(with(&size.to_string(), "0,512", &data), "s", is_large);
    }
    for size in ["", "-1", "x"] {
        refused_as(with(size, "0,512", &data), "s", is_malformed);
    }
    // Too many pieces for one header, and for all.
    let many = "0,0,".repeat(300_000);
    refused_as(with("1000", &many, &[]), "entry 1", is_malformed);
    // Pax 1.0: the map is part of the contents.
    let records = |minor: &'static str| {
        [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", minor.as_bytes()), ("GNU.sparse.realsize", b"1000")]
    };
    let long = [b"1\n".to_vec(), b"1".repeat(2000)].concat();
    for map in
        [&b""[..], b"1\n", b"x\n0\n", b"2000000000\n0\n1\n", b"1\n0\n513\n", b"-1\n", b"\n", b"1\n0\n512\n", &long]
    {
        refused_as(empty().pax(&records("0")).file(b"s", map), "s", is_malformed);
    }
    refused_as(empty().pax(&records("1")).file(b"s", b"0\n"), "s", is_malformed);
    refused_as(empty().pax(&[("GNU.sparse.major", b"1")]).file(b"s", b"0\n"), "s", is_malformed);
    // Pax 0.0: in pairs.
    for records in [
        &[("GNU.sparse.size", &b"9"[..]), ("GNU.sparse.numbytes", b"0"), ("GNU.sparse.offset", b"0")][..],
        &[("GNU.sparse.size", b"9"), ("GNU.sparse.offset", b"0"), ("GNU.sparse.offset", b"0")],
        &[
            ("GNU.sparse.size", b"9"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"0"),
            ("GNU.sparse.numblocks", b"2"),
        ],
    ] {
        refused_as(empty().pax(records).file(b"s", b""), "s", is_malformed);
    }
    // The old way: blocks of pieces for ever, and cut off.
    let old = |more: bool, length: &[u8; 11]| {
        empty().changed(EntryType::GNUSparse, b"s", b"", 512, 0o644, |header| {
            let gnu = header.as_gnu_mut().unwrap();
            gnu.sparse[0].offset[..11].copy_from_slice(b"00000000000");
            gnu.sparse[0].numbytes[..11].copy_from_slice(length);
            for slot in gnu.sparse.iter_mut().skip(if more { 1 } else { 4 }) {
                slot.offset[..11].copy_from_slice(b"00000001000");
                slot.numbytes[..11].copy_from_slice(b"00000000000");
            }
            gnu.isextended[0] = more.into();
            gnu.realsize[..11].copy_from_slice(b"00000001000");
        })
    };
    let mut block = b"00000001000\x0000000000000\0".repeat(21);
    block.resize(504, 0);
    block.extend_from_slice(&[1; 8]);
    let mut forever = old(true, b"00000001000");
    forever.0.extend_from_slice(&block.repeat(60_000));
    refused_as(forever, "s", is_malformed);
    if let Some((_, reason)) = refused(&old(true, b"00000001000").0) {
        assert!(matches!(reason, Reason::Truncated), "{reason:?}");
    }
    for length in [b"00000001001", b"77777777777", b"9999999999x", b"-0000000001"] {
        refused_as(old(false, length).data(&data), "s", is_malformed);
    }
}

/// Where an entry ends, and within what fills its last block, a layer may end: some tools write no more.
#[test]
fn cut_off_at_any_block() {
    let map = {
        let mut map = b"1\n4096\n512\n".to_vec();
        map.resize(1024, 7);
        map
    };
    type Add = fn(Archive, &[u8]) -> Archive;
    let entries: [(Add, usize); 9] = [
        (|archive, _| archive.dir(b"d"), 0),
        (|archive, _| archive.long_name(&[b'n'; 200]).file(b"n", &[7; 1000]), 24),
        (|archive, _| archive.pax(&[("mtime", b"1.5"), ("SCHILY.xattr.user.x", &[b'x'; 600])]).symlink(b"l", b"t"), 0),
        (|archive, _| archive.file(b"d/.wh.x", b""), 0),
        (|archive, _| archive.file(b"d/.wh..wh..opq", b""), 0),
        (|archive, _| archive.file(b"f", b""), 0),
        (|archive, _| archive.hard_link(b"h", b"f"), 0),
        (|archive, _| archive.file(b"last", b"x"), 511),
        (
            |archive, map| {
                archive.pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"10000")]).file(b"s", map)
            },
            0,
        ),
    ];
    let mut archive = Archive::default();
    let mut ends = vec![0..=0];
    for (add, rest) in entries {
        archive = add(archive, &map);
        ends.push(archive.0.len() - rest..=archive.0.len());
    }
    let archive = archive.end();
    let last = archive.len() - 512;
    let Some(scene) = Scene::new() else { return };
    scene.unpack(&archive[..last]).unwrap(); // one block of the end mark is enough
    for length in (0..last).step_by(512).flat_map(|length| [length, length + 1, length + 511]) {
        let Some(scene) = Scene::new() else { return };
        let result = scene.unpack(&archive[..length]).map_err(|error| error.reason);
        let is_end = ends.iter().any(|end| end.contains(&length));
        assert!(
            match result {
                Ok(_) => is_end,
                Err(Reason::NotTar) => length < 512,
                Err(reason) => !is_end && matches!(reason, Reason::Truncated),
            },
            "{length}"
        );
    }
}

#[test]
fn an_input_that_fails() {
    struct Fails<'a>(&'a [u8]);
    impl Read for Fails<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::Error::other("checksum of the compressed stream")),
                count => Ok(count),
            }
        }
    }
    let Some(scene) = Scene::new() else { return };
    let archive = Archive::default().file(b"f", &[7; 4096]).0;
    let dest = File::open(scene.dest()).unwrap();
    let error = unpack(dest.as_fd(), &options(), Fails(&archive[..2000])).unwrap_err();
    assert!(matches!(error.reason, Reason::Input(_)), "{error:?}");
    assert_eq!(error.entry, "f");
}
