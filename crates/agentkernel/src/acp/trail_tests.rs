use super::*;
use std::{fs, os::unix::fs::symlink, thread::sleep};

#[test]
fn only_a_plain_way_to_a_plain_file_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("w/a/b")).unwrap();
    fs::write(at("w/a/b/file"), "x").unwrap();
    fs::write(at("outside"), "x").unwrap();
    symlink(at("outside"), at("w/link")).unwrap();
    symlink("b", at("w/a/dir")).unwrap();
    symlink("file", at("w/a/b/own")).unwrap();
    let trail = |name: &str| Trail::to(&at(name), &at("w"));
    assert_eq!(trail("w/a/b/file").unwrap().0.len(), 4);
    for name in
        ["w/a/dir/file", "w/a/b/own", "w/link", "w/a", "w", "w/none", "outside", "w/../outside", "w/a/b/../b/file"]
    {
        assert_eq!(trail(name), None, "{name}");
    }
    let fifo = at("w/fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from(0o644), 0).unwrap();
    assert_eq!(trail("w/fifo"), None);
}

#[test]
fn a_change_and_its_taking_back_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("a/file"), "x").unwrap();
    symlink("/etc/hostname", root.join("other")).unwrap();
    let trail = || Trail::to(&root.join("a/file"), &root).unwrap();
    let swaps: [fn(&Path); 2] = [
        |root| {
            fs::rename(root.join("a/file"), root.join("kept")).unwrap();
            fs::rename(root.join("other"), root.join("a/file")).unwrap();
            fs::rename(root.join("a/file"), root.join("other")).unwrap();
            fs::rename(root.join("kept"), root.join("a/file")).unwrap();
        },
        |root| {
            fs::rename(root.join("a"), root.join("kept")).unwrap();
            fs::rename(root.join("kept"), root.join("a")).unwrap();
        },
    ];
    for swap in swaps {
        for _ in 0..100 {
            let before = trail();
            sleep(before.left());
            while !before.left().is_zero() {
                sleep(before.left());
            }
            assert_eq!(trail(), before);
            swap(&root);
            assert_ne!(trail(), before);
        }
    }
}
