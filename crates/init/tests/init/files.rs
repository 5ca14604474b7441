//! Files in and out.

use crate::driver::{Driver, Place, assert_contains, assert_same, is_root, noise, setup, sh, user};
use rustix::fd::AsFd;
use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};
use wire::link::{FilesReport, Get, Open, Put};

fn pack(dir: &Path, name: &str, as_name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let dir = File::open(dir).unwrap();
    archive::pack(dir.as_fd(), OsStr::new(name), OsStr::new(as_name), &mut out).unwrap();
    out
}

fn unpack(dir: &Path, archive: &[u8]) {
    let dir = File::open(dir).unwrap();
    archive::unpack(dir.as_fd(), None, &archive::UnpackOptions::default(), archive).unwrap();
}

fn put(init: &mut Driver, path: &Path, id: u32, archive: &[u8]) -> FilesReport {
    let stream = init.open(&Open::Put(Put { path: path.into(), user: user(id) }));
    init.input(stream, archive);
    init.eof(stream);
    init.files(stream).0
}

fn get(init: &mut Driver, path: &str, follow: bool) -> (FilesReport, Vec<u8>) {
    let stream = init.open(&Open::Get(Get { path: path.into(), user: user(0), follow }));
    init.files(stream)
}

/// With nothing left out.
fn done() -> FilesReport {
    FilesReport::Done { left_out: String::new() }
}

#[track_caller]
fn failure(report: FilesReport) -> String {
    match report {
        FilesReport::Failed(failure) => failure.cause,
        FilesReport::Done { .. } => panic!("it was done"),
    }
}

#[test]
fn a_tree_there_and_back() {
    let mut init = Driver::start();
    let here = tempfile::tempdir().unwrap();
    let there = tempfile::tempdir_in("/tmp").unwrap();
    let big = noise(20 << 20);
    fs::create_dir_all(here.path().join("tree/sub/empty")).unwrap();
    fs::write(here.path().join("tree/big"), &big).unwrap();
    fs::write(here.path().join("tree/sub/small"), "small").unwrap();
    std::os::unix::fs::symlink("sub/small", here.path().join("tree/link")).unwrap();
    let archive = pack(here.path(), "tree", "tree");

    assert_eq!(put(&mut init, there.path(), 0, &archive), done());
    assert_same(&fs::read(there.path().join("tree/big")).unwrap(), &big);
    let (report, back) = get(&mut init, &format!("{}/tree", there.path().display()), false);
    assert_eq!(report, done());
    // Owners differ by the numbers that a user has inside and outside, nothing else does.
    assert_eq!(back.len(), archive.len());
    let last = tempfile::tempdir().unwrap();
    unpack(last.path(), &back);
    assert_same(&fs::read(last.path().join("tree/big")).unwrap(), &big);
    assert_eq!(fs::read(last.path().join("tree/link")).unwrap(), b"small");
    assert!(last.path().join("tree/sub/empty").is_dir());
}

#[test]
fn a_single_entry_gets_the_name_of_the_path() {
    let mut init = Driver::start();
    let here = tempfile::tempdir().unwrap();
    let there = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(here.path().join("a"), "contents").unwrap();
    let archive = pack(here.path(), "a", "a");
    assert_eq!(put(&mut init, &there.path().join("new"), 0, &archive), done());
    assert_eq!(fs::read(there.path().join("new")).unwrap(), b"contents");
    // What does not exist is no directory, whatever follows it.
    let cause = failure(put(&mut init, &there.path().join("none/new"), 0, &archive));
    assert_contains(cause, "No such file or directory");
    let cause = failure(put(&mut init, &there.path().join("none/"), 0, &archive));
    assert_contains(cause, "no such directory");
    assert_contains(failure(put(&mut init, Path::new("relative"), 0, &archive)), "not absolute");
}

#[test]
fn links_at_the_end_of_the_path() {
    let mut init = Driver::start();
    let there = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(there.path().join("file"), "contents").unwrap();
    std::os::unix::fs::symlink("file", there.path().join("link")).unwrap();
    let link = format!("{}/link", there.path().display());
    let here = tempfile::tempdir().unwrap();
    let (report, archive) = get(&mut init, &link, false);
    assert_eq!(report, done());
    unpack(here.path(), &archive);
    assert!(here.path().join("link").is_symlink());
    let (report, archive) = get(&mut init, &link, true);
    assert_eq!(report, done());
    unpack(here.path(), &archive);
    assert_eq!(fs::read(here.path().join("link")).unwrap(), b"contents");
    assert!(!here.path().join("link").is_symlink());
}

#[test]
fn the_contents_of_a_directory() {
    let mut init = Driver::start();
    let there = tempfile::tempdir_in("/tmp").unwrap();
    fs::write(there.path().join("file"), "contents").unwrap();
    let (report, archive) = get(&mut init, &format!("{}/.", there.path().display()), false);
    assert_eq!(report, done());
    let here = tempfile::tempdir().unwrap();
    unpack(here.path(), &archive);
    assert_eq!(fs::read(here.path().join("file")).unwrap(), b"contents");
}

#[test]
fn what_goes_wrong_is_told() {
    let mut init = Driver::start();
    let there = tempfile::tempdir_in("/tmp").unwrap();
    let cause = failure(get(&mut init, "/no/such/file", false).0);
    assert_contains(cause, "No such file or directory");
    let cause = failure(put(&mut init, there.path(), 0, &[b'x'; 1000]));
    assert_contains(cause, "not a tar archive");
    let cause = failure(put(&mut init, there.path(), 1234, &[]));
    assert_contains(cause, "User id 1234 does not exist");
    let cause = failure(put(&mut init, there.path(), 0, &[]));
    assert_contains(cause, "cut off");
    assert_eq!(init.run(sh("exit 5")).code(), 5);
}

#[test]
fn a_transfer_that_is_given_up_ends() {
    let mut init = Driver::start();
    let there = tempfile::tempdir_in("/tmp").unwrap();
    let stream = init.open(&Open::Put(Put { path: there.path().into(), user: user(0) }));
    init.input(stream, &[0; 100]);
    init.idle(std::time::Duration::from_millis(100));
    init.close(stream);
    // The shell counts for itself, without a pipe: it would race with the parts of one. What is left are init and the
    // shell.
    let left = || init.run(sh("set -- /proc/[0-9]*; echo $#")).text();
    let ended = std::iter::repeat_with(left).take(500).any(|left| left == "2\n");
    assert!(ended, "the transfer goes on");
}

#[test]
fn files_belong_to_the_user_and_nothing_else_is_allowed() {
    if !is_root() {
        println!("only root has many ids");
        return;
    }
    let (mut init, _) = Driver::with(Place::ManyIds, setup(Place::ManyIds));
    let here = tempfile::tempdir().unwrap();
    fs::write(here.path().join("a"), "contents").unwrap();
    let archive = pack(here.path(), "a", "a");
    let there = tempfile::tempdir_in("/tmp").unwrap();
    let cause = failure(put(&mut init, there.path(), 4321, &archive));
    assert_contains(cause, "Permission denied");
    std::os::unix::fs::chown(there.path(), Some(4321), Some(4321)).unwrap();
    assert_eq!(put(&mut init, there.path(), 4321, &archive), done());
    assert_eq!(fs::metadata(there.path().join("a")).unwrap().uid(), 4321);
}
