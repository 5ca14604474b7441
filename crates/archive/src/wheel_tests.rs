use super::*;
use flate2::{Compression, write::DeflateEncoder};
use std::{
    fs,
    io::Write as _,
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
};

/// A file of a wheel under construction: its name, its mode and what is in it, and how long it says that is.
struct Part(&'static str, u32, &'static [u8], usize);

fn part(name: &'static str, mode: u32, contents: &'static [u8]) -> Part {
    Part(name, mode, contents, contents.len())
}

/// A wheel by hand, since no library would make what the tests want.
fn wheel(parts: &[Part]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    let short = |number: usize| u16::try_from(number).unwrap().to_le_bytes();
    let long = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    for (index, Part(name, mode, contents, size)) in parts.iter().enumerate() {
        // Some as they are, the others compressed.
        let (method, packed) = if index % 2 == 0 {
            (0, contents.to_vec())
        } else {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(contents).unwrap();
            (8, encoder.finish().unwrap())
        };
        let same =
            [&short(0)[..], &short(method), &[0; 8], &long(packed.len()), &long(*size), &short(name.len())].concat();
        let at = archive.len();
        archive.extend([b"PK\x03\x04\x14\0", &same[..], &short(3), name.as_bytes(), b"xyz", &packed].concat());
        let mode = usize::try_from(mode << 16).unwrap();
        let more = [&short(0)[..], &short(0), &[0; 4], &long(mode), &long(at)].concat();
        directory.extend([b"PK\x01\x02\x14\x03\x14\0", &same[..], &more, name.as_bytes()].concat());
    }
    let (size, at, count) = (long(directory.len()), long(archive.len()), short(parts.len()));
    [archive, directory, b"PK\x05\x06\0\0\0\0".to_vec(), count.to_vec(), count.to_vec(), size.to_vec(), at.to_vec()]
        .concat()
        .into_iter()
        .chain([0, 0])
        .collect()
}

fn unpacked(bytes: &[u8], options: &UnpackOptions) -> (tempfile::TempDir, Result<(), String>) {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let dir = File::open(folder.path()).unwrap();
    let result = unpack(&file, dir.as_fd(), options, &mut (0, 0));
    (folder, result.map_err(|error| format!("{error}: {}", error.reason)))
}

#[test]
fn modules_are_unpacked_and_nothing_else() {
    let bytes = wheel(&[
        part("pkg/", 0o040_755, b""),
        part("pkg/deep/__init__.py", 0o100_600, b"print('hello')\n"),
        part("pkg/tool", 0o100_755, b"#!/bin/sh\n"),
        part("pkg-1.0.data/purelib/pure.py", 0o644, b"pure"),
        part("pkg-1.0.data/platlib/pkg/native.so", 0o644, b"native"),
        part("pkg-1.0.data/scripts/run", 0o755, b"not here"),
        part("pkg-1.0.data/data/etc/passwd", 0o644, b"nor this"),
        part("pkg-1.0.dist-info/METADATA", 0, b"Name: pkg"),
    ]);
    let (folder, result) = unpacked(&bytes, &UnpackOptions::default());
    assert_eq!(result, Ok(()));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("pkg/deep/__init__.py"), "print('hello')\n");
    assert_eq!((read("pure.py"), read("pkg/native.so")), ("pure".into(), "native".into()));
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("pkg/tool"), mode("pkg/deep/__init__.py")), (0o755, 0o644));
    assert_eq!(mode("pkg/deep"), 0o755);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["pkg", "pkg-1.0.dist-info", "pure.py"]);
}

#[test]
fn what_leads_elsewhere_or_is_not_what_it_says_is_refused() {
    let limits = UnpackOptions { max_entries: 2, max_bytes: 100, owner: None };
    let long: &[u8] = &[b'x'; 101];
    for (parts, expected) in [
        (vec![part("../out", 0o644, b"x")], "Cannot unpack ../out: The name is refused"),
        (vec![part("pkg/../../out", 0o644, b"x")], "The name is refused"),
        (vec![part("/etc/out", 0o644, b"x")], "it is no relative path"),
        (vec![part("pkg\\out", 0o644, b"x")], "it is no relative path"),
        (vec![part("pkg-1.data/purelib/../out", 0o644, b"x")], "The name is refused"),
        (vec![part("link", 0o120_777, b"/etc/passwd")], "it has a symbolic link"),
        (vec![Part("a", 0o644, b"x", 2)], "a file of it is not as long as it says"),
        (vec![Part("a", 0o644, b"xyz", 2)], "a file of it is not as long as it says"),
        (vec![part("a", 0o644, b""), Part("b", 0o644, b"xyz", 2)], "a file of it is not as long as it says"),
        (vec![part("a", 0o644, long)], "has more than 100 bytes"),
        (vec![part("a", 0, b""), part("b", 0, b""), part("c", 0, b"")], "has more than 2 entries"),
        (vec![part("a", 0o644, b""), part("b", 0o644, b""), part("a/b", 0o644, b"")], "has more than 2 entries"),
        (vec![part("a", 0o644, b""), part("a/b", 0o644, b"")], "Cannot make the file"),
    ] {
        let (_folder, result) = unpacked(&wheel(&parts), &limits);
        let error = result.unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_an_error_and_nothing_worse() {
    let bytes = wheel(&[part("pkg/__init__.py", 0o644, b"one"), part("pkg/more.py", 0o644, b"two two two two")]);
    for length in 0..bytes.len() {
        assert!(unpacked(&bytes[..length], &UnpackOptions::default()).1.is_err(), "{length}");
    }
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 0xff;
        let _ = unpacked(&changed, &UnpackOptions::default());
    }
    assert!(unpacked(b"not a zip archive, but long enough to be one", &UnpackOptions::default()).1.is_err());
}
