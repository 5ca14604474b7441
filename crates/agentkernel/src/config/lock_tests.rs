use super::*;
use std::fs as std_fs;

fn project(dir: &std::path::Path) -> Project {
    Project { dir: dir.into(), file: None }
}

#[test]
fn what_a_name_means_is_kept_by_platform() {
    let folder = tempfile::tempdir().unwrap();
    let project = project(folder.path());
    let (name, platform) = ("debian:12".parse().unwrap(), "linux/arm64".parse().unwrap());
    let (one, other) = (Digest::of(b"1"), Digest::of(b"2"));
    let mut lock = LockFile::read(&project, false).unwrap();
    assert_eq!(lock.get(&name, &platform), None);
    lock.put(&name, &platform, &one).unwrap();
    let text = std_fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    assert!(
        text.contains("[images.\"debian:12\"]\n") && text.contains(&format!("\"linux/arm64\" = \"{one}\"")),
        "{text}"
    );
    let mut again = LockFile::read(&project, false).unwrap();
    assert_eq!(again.get(&name, &platform), Some(&one));
    assert_eq!(again.get(&name, &"linux/amd64".parse().unwrap()), None);
    again.put(&name, &"linux/amd64".parse().unwrap(), &other).unwrap();
    // To be renewed is to be asked for again.
    let mut renewed = LockFile::read(&project, true).unwrap();
    assert_eq!(renewed.get(&name, &platform), None);
    renewed.put(&name, &platform, &other).unwrap();
    assert_eq!(LockFile::read(&project, false).unwrap().get(&name, &platform), Some(&other));
    assert_eq!(std_fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_lock_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["version = 2", "version = 1\n[images]\nx = 1", "<<<<<<< ours"] {
        std_fs::write(folder.path().join(FILE_NAME), text).unwrap();
        assert!(LockFile::read(&project(folder.path()), true).is_err(), "{text}");
    }
}
