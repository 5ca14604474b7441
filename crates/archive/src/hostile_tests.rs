//! Archives that mean harm. Each is made by hand, because no library would.

use super::{handmade::Archive, *};
use rustix::fd::AsFd;
use std::{
    error::Error as _,
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
};
use tar::EntryType;

/// A directory to unpack into, and beside it a file and a directory that must not change.
struct Scene {
    root: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dest")).unwrap();
        fs::create_dir(root.path().join("outside")).unwrap();
        fs::write(root.path().join("outside/victim"), "untouched").unwrap();
        Self { root }
    }

    fn dest(&self) -> std::path::PathBuf {
        self.root.path().join("dest")
    }

    fn unpack(&self, archive: impl Read) -> Result<Summary, UnpackError> {
        let dest = File::open(self.dest()).unwrap();
        unpack(dest.as_fd(), None, &UnpackOptions::default(), archive)
    }

    /// Unpacks something that must be refused, and checks that nothing outside has changed.
    #[track_caller]
    fn refused(&self, archive: &[u8]) -> (String, Reason) {
        let error = self.unpack(archive).unwrap_err();
        self.check();
        (error.entry, error.reason)
    }

    #[track_caller]
    fn check(&self) {
        let mut names: Vec<_> = fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["dest", "outside"]);
        let outside: Vec<_> = fs::read_dir(self.root.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1);
        let victim = self.root.path().join("outside/victim");
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1);
    }
}

#[test]
fn names_that_lead_out() {
    for name in
        [&b"../x"[..], b"a/../../x", b"a/..", b"..", b"/etc/x", b"/x", b"//x", b"a/./../../x", b"./../x", b"..//x"]
    {
        let scene = Scene::new();
        let (entry, reason) = scene.refused(&Archive::default().file(name, b"x").end());
        assert!(matches!(reason, Reason::Name(_)), "{reason}");
        assert_eq!(entry.as_bytes(), name);
        // The same by the other two ways that a name can be given, and for every kind.
        scene.refused(&Archive::default().long_name(name).file(b"good", b"x").end());
        scene.refused(&Archive::default().pax(&[("path", name)]).file(b"good", b"x").end());
        scene.refused(&Archive::default().dir(name).end());
        scene.refused(&Archive::default().symlink(name, b"x").end());
        scene.refused(&Archive::default().file(b"f", b"x").hard_link(name, b"f").end());
    }
}

#[test]
fn names_that_are_none() {
    for name in [&b""[..], b"/"] {
        let (_, reason) = Scene::new().refused(&Archive::default().file(name, b"x").end());
        assert!(matches!(reason, Reason::Name(_)), "{reason}");
    }
    // A file cannot be the directory itself.
    let (_, reason) = Scene::new().refused(&Archive::default().file(b".", b"x").end());
    assert!(matches!(reason, Reason::Name(_)), "{reason}");
    // A NUL, which C would take for the end.
    let (_, reason) = Scene::new().refused(&Archive::default().pax(&[("path", b"a\0b")]).file(b"g", b"").end());
    assert!(matches!(reason, Reason::Name(_)), "{reason}");
    let (_, reason) = Scene::new().refused(&Archive::default().pax(&[("path", &[b'x'; 256])]).file(b"g", b"").end());
    assert!(matches!(reason, Reason::Name(_)), "{reason}");
}

#[test]
fn a_symlink_is_never_followed_by_a_later_entry() {
    for target in [&b"../outside"[..], b"/", b".", b"..", b"/proc/self/root"] {
        let scene = Scene::new();
        let archive = Archive::default().symlink(b"link", target).file(b"link/victim", b"hacked").end();
        let (entry, reason) = scene.refused(&archive);
        assert_eq!(entry, "link/victim");
        assert!(matches!(reason, Reason::NotDirectory), "{reason}");
        assert_eq!(fs::read_link(scene.dest().join("link")).unwrap().as_os_str().as_encoded_bytes(), target);
    }
    // Through a link to a file: the link is replaced.
    let scene = Scene::new();
    scene.unpack(&*Archive::default().symlink(b"f", b"../outside/victim").file(b"f", b"mine").end()).unwrap();
    scene.check();
    assert_eq!(fs::read(scene.dest().join("f")).unwrap(), b"mine");
    assert!(!scene.dest().join("f").is_symlink());
    // Through one that was there before.
    let scene = Scene::new();
    symlink("../outside", scene.dest().join("old")).unwrap();
    scene.refused(&Archive::default().file(b"old/victim", b"hacked").end());
    // A link in the place of a directory that was made before: its mode and time must not go through it.
    let scene = Scene::new();
    let before = fs::metadata(scene.root.path().join("outside")).unwrap();
    let archive = Archive::default()
        .header(EntryType::Directory, b"d", b"", 0, 0o777)
        .file(b"d/x", b"")
        .symlink(b"e", b"../outside")
        .header(EntryType::Directory, b"e", b"", 0, 0o711)
        .end();
    scene.unpack(&*archive).unwrap();
    let after = fs::metadata(scene.root.path().join("outside")).unwrap();
    assert_eq!((before.mode(), before.mtime()), (after.mode(), after.mtime()));
    scene.check();
}

#[test]
fn a_symlink_does_not_replace_a_directory() {
    let scene = Scene::new();
    let (_, reason) = scene.refused(&Archive::default().dir(b"d").symlink(b"d", b"../outside").end());
    assert!(matches!(reason, Reason::Directory), "{reason}");
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let scene = Scene::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, scene.dest().join("fifo"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(scene.dest().join("socket")).unwrap();
    for name in ["fifo", "socket"] {
        let bytes = name.as_bytes();
        for archive in [
            Archive::default().file(bytes, b"x"),
            Archive::default().dir(bytes),
            Archive::default().symlink(bytes, b"target"),
            Archive::default().file(b"f", b"x").hard_link(bytes, b"f"),
        ] {
            let (entry, reason) = scene.refused(&archive.end());
            assert_eq!(entry.trim_end_matches('/'), name);
            assert!(matches!(reason, Reason::Special(kind) if kind == name), "{reason}");
        }
        let kind = fs::symlink_metadata(scene.dest().join(name)).unwrap().file_type();
        use std::os::unix::fs::FileTypeExt;
        assert!(kind.is_fifo() || kind.is_socket());
    }
}

#[test]
fn a_file_is_replaced_by_a_whole_one_or_not_at_all() {
    let scene = Scene::new();
    let file = scene.dest().join("f");
    fs::write(&file, "old").unwrap();
    fs::write(scene.dest().join(".agentkernel-0"), "somebody's").unwrap();
    let archive = Archive::default().file(b"f", b"new").end();
    // Cut off behind the header, and in the contents.
    for length in [512, 514] {
        let (_, reason) = scene.refused(&archive[..length]);
        assert!(matches!(reason, Reason::Truncated), "{reason}");
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }
    scene.unpack(&*archive).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert_eq!(fs::read(scene.dest().join(".agentkernel-0")).unwrap(), b"somebody's");
    assert_eq!(fs::read_dir(scene.dest()).unwrap().count(), 2);
}

#[test]
fn hard_links_stay_inside() {
    let scene = Scene::new();
    fs::write(scene.dest().join("was-there"), "x").unwrap();
    symlink("../outside/victim", scene.dest().join("old-link")).unwrap();
    for target in [&b"../outside/victim"[..], b"/etc/passwd", b"was-there", b"old-link", b"missing", b"h", b""] {
        let (_, reason) = scene.refused(&Archive::default().hard_link(b"h", target).end());
        assert!(matches!(reason, Reason::LinkTarget | Reason::Name(_) | Reason::Malformed(_)), "{reason}");
    }
    // To a symbolic link of the same archive, which stands where a file was.
    let archive = Archive::default().file(b"f", b"x").symlink(b"f", b"../outside/victim").hard_link(b"h", b"f").end();
    let (_, reason) = scene.refused(&archive);
    assert!(matches!(reason, Reason::LinkTarget), "{reason}");
    // To itself: what it would point to must not be removed first.
    let (_, reason) = scene.refused(&Archive::default().file(b"f", b"x").hard_link(b"./f", b"f").end());
    assert!(matches!(reason, Reason::LinkTarget), "{reason}");
    assert_eq!(fs::read(scene.dest().join("f")).unwrap(), b"x");
}

#[test]
fn devices_are_not_made_and_set_id_bits_are_dropped() {
    let scene = Scene::new();
    let archive = Archive::default()
        .header(EntryType::Char, b"null", b"", 0, 0o666)
        .header(EntryType::Block, b"disk", b"", 0, 0o666)
        .header(EntryType::Fifo, b"fifo", b"", 0, 0o666)
        .header(EntryType::Regular, b"su", b"", 0, 0o6755)
        .header(EntryType::Directory, b"dir", b"", 0, 0o7775)
        .end();
    let summary = scene.unpack(&*archive).unwrap();
    assert_eq!((summary.entries, summary.bytes), (2, 0));
    assert_eq!(summary.left_out.to_string(), "2 devices and 1 fifo: the first is null");
    assert_eq!(fs::metadata(scene.dest().join("su")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(scene.dest().join("dir")).unwrap().mode() & 0o7777, 0o1775);
    assert_eq!(fs::read_dir(scene.dest()).unwrap().count(), 2);
}

#[test]
fn sizes_that_lie() {
    // More than there is.
    let mut archive = Archive::default().header(EntryType::Regular, b"f", b"", 1 << 20, 0o644).0;
    archive.extend_from_slice(&[1; 1000]);
    let (entry, reason) = Scene::new().refused(&archive);
    assert_eq!(entry, "f");
    assert!(matches!(reason, Reason::Truncated), "{reason}");
    // More than anybody has.
    for size in [u64::MAX, u64::MAX - 511, 1 << 63, 1 << 41] {
        let archive = Archive::default().header(EntryType::Regular, b"f", b"", size, 0o644).end();
        let (_, reason) = Scene::new().refused(&archive);
        assert!(matches!(reason, Reason::TooLarge(_)), "{reason}");
        let archive = Archive::default().pax(&[("size", size.to_string().as_bytes())]).file(b"f", b"x").end();
        let (_, reason) = Scene::new().refused(&archive);
        assert!(matches!(reason, Reason::TooLarge(_)), "{reason}");
        let archive = Archive::default().header(EntryType::Directory, b"d", b"", size, 0o755).end();
        Scene::new().refused(&archive);
    }
    let archive = Archive::default().pax(&[("size", b"-1")]).file(b"f", b"x").end();
    assert!(matches!(Scene::new().refused(&archive).1, Reason::Malformed(_)));
}

#[test]
fn cut_off_anywhere() {
    let whole = Archive::default().dir(b"d").long_name(&[b'n'; 200]).file(b"n", &[7; 1000]).symlink(b"l", b"t").end();
    let last = whole.len() - BLOCK;
    // Not every length: each takes a directory of its own, and most are like their neighbours.
    let error = Scene::new().unpack(&whole[..BLOCK - 1]).unwrap_err();
    assert!(matches!(error.reason, Reason::NotTar), "{error:?}");
    for length in (BLOCK..last).step_by(61).chain((2..=last / BLOCK).map(|block| block * BLOCK - 1)) {
        let error = Scene::new().unpack(&whole[..length]).unwrap_err();
        assert!(matches!(error.reason, Reason::Truncated), "{length}: {error:?}");
    }
    // One block of the end mark is enough.
    Scene::new().unpack(&whole[..last]).unwrap();
}

#[test]
fn names_and_headers_of_absurd_length() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader] {
        let archive = Archive::default().header(kind, b"x", b"", 1 << 33, 0o644).end();
        let (_, reason) = Scene::new().refused(&archive);
        assert!(matches!(reason, Reason::Malformed(_)), "{reason}");
    }
    // Deep, in one name of nearly the longest length.
    let deep = b"a/".repeat(500_000);
    let (_, reason) = Scene::new().refused(&Archive::default().long_name(&deep).file(b"f", b"x").end());
    assert!(matches!(reason, Reason::Name(_)), "{reason}");
}

#[test]
fn more_headers_or_bytes_than_allowed() {
    struct Bomb {
        header: Vec<u8>,
        at: usize,
    }
    impl Read for Bomb {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            for byte in out.iter_mut() {
                *byte = self.header[self.at];
                self.at = (self.at + 1) % self.header.len();
            }
            Ok(out.len())
        }
    }
    let run = |max_entries: u64, header: Vec<u8>| {
        let options = UnpackOptions { max_entries, max_bytes: 1 << 20, owner: None };
        let scene = Scene::new();
        let dest = File::open(scene.dest()).unwrap();
        let error = unpack(dest.as_fd(), None, &options, Bomb { header, at: 0 }).unwrap_err();
        scene.check();
        error.reason
    };
    // The same directory for ever; extension headers for ever, which make nothing; skipped things for ever.
    let reason = run(20_000, Archive::default().dir(b"d").0);
    assert!(matches!(reason, Reason::TooMany(_)), "{reason}");
    let reason = run(200_000, Archive::default().header(EntryType::XGlobalHeader, b"g", b"", 0, 0).0);
    assert!(matches!(reason, Reason::TooMany(_)), "{reason}");
    let reason = run(20_000, Archive::default().header(EntryType::Fifo, b"f", b"", 0, 0).0);
    assert!(matches!(reason, Reason::TooMany(_)), "{reason}");
    let reason = run(20_000, Archive::default().file(b"f", &[0; 4096]).0);
    assert!(matches!(reason, Reason::TooLarge(_)), "{reason}");
    let reason = run(20_000, Archive::default().long_name(&[b'n'; 4096]).0);
    assert!(matches!(reason, Reason::TooLarge(_)), "{reason}");
}

#[test]
fn not_an_archive() {
    for bytes in [vec![b'x'; 2048], vec![b'x'; 10], Archive::default().file(b"f", b"x").end()[1..].to_vec()] {
        let error = Scene::new().unpack(&*bytes).unwrap_err();
        assert!(matches!(error.reason, Reason::NotTar), "{error:?}");
        assert_eq!((&*error.entry, &*error.hint()), ("the archive", ""));
        assert!(error.source().is_some());
    }
    for (beginning, format, tool) in [
        ("\x1f\u{8b}", "gzip", "`zcat "),
        ("BZh9", "bzip2", "`bzcat "),
        ("\u{fd}7zXZ\0", "xz", "`xzcat "),
        ("(\u{b5}/\u{fd}", "zstd", "`zstdcat "),
    ] {
        let beginning: Vec<u8> = beginning.chars().map(|c| c as u8).collect();
        for length in [20, 2048] {
            let bytes = [&beginning[..], &vec![b'x'; length]].concat();
            let error = Scene::new().unpack(&*bytes).unwrap_err();
            assert!(matches!(error.reason, Reason::Compressed(found) if found == format), "{error:?}");
            assert!(error.hint().contains(tool), "{}", error.hint());
        }
    }
    // A name may begin with anything.
    Scene::new().unpack(&*Archive::default().file(b"BZh", b"x").end()).unwrap();
    // What began as one is damaged.
    let archive = [&Archive::default().file(b"f", b"x").0[..], &[b'x'; BLOCK]].concat();
    assert!(matches!(Scene::new().refused(&archive).1, Reason::Malformed("checksum")));
    for kind in [b'S', b'V', b'M', b'Z', 0xff] {
        let archive = Archive::default().header(EntryType::new(kind), b"f", b"", 0, 0o644).end();
        let (_, reason) = Scene::new().refused(&archive);
        assert!(matches!(reason, Reason::Unsupported(_)), "{reason}");
    }
    let archive = Archive::default().pax(&[("GNU.sparse.major", b"1")]).file(b"f", b"x").end();
    assert!(matches!(Scene::new().refused(&archive).1, Reason::Unsupported('S')));
}

#[test]
fn several_tops_cannot_have_one_name() {
    let scene = Scene::new();
    let dest = File::open(scene.dest()).unwrap();
    let archive = Archive::default().file(b"a", b"x").file(b"b", b"x").end();
    let error = unpack(dest.as_fd(), Some(OsStr::new("new")), &UnpackOptions::default(), &*archive).unwrap_err();
    assert!(matches!(error.reason, Reason::ManyTops), "{error:?}");
    assert_eq!(error.entry, "b");
}

#[test]
fn errors_do_not_carry_control_characters() {
    let (entry, _) = Scene::new().refused(&Archive::default().file(b"../\x1b[2Jx\n", b"x").end());
    assert!(!entry.chars().any(char::is_control), "{entry:?}");
    let long = [b"../", &b"x".repeat(100_000)[..]].concat();
    let (entry, _) = Scene::new().refused(&Archive::default().long_name(&long).file(b"f", b"x").end());
    assert!(entry.len() < 300, "{}", entry.len());
}

#[test]
fn the_owner_is_the_callers_choice() {
    if !rustix::process::getuid().is_root() {
        println!("only root can give files away");
        return;
    }
    let scene = Scene::new();
    let dest = File::open(scene.dest()).unwrap();
    let options = UnpackOptions { owner: Some((4321, 4322)), ..UnpackOptions::default() };
    let archive = Archive::default().file(b"made/f", b"x").symlink(b"l", b"../outside/victim").dir(b"d").end();
    unpack(dest.as_fd(), None, &options, &*archive).unwrap();
    for name in ["made", "made/f", "l", "d"] {
        let meta = fs::symlink_metadata(scene.dest().join(Path::new(name))).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (4321, 4322), "{name}");
    }
    assert_eq!(fs::metadata(scene.root.path().join("outside/victim")).unwrap().uid(), 0);
}
