use super::*;
use crate::store::Store;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

struct Ground {
    _folder: tempfile::TempDir,
    project: PathBuf,
    store: Store,
}

fn ground() -> Ground {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    fs::create_dir(&project).unwrap();
    let store = Store::at(&folder.path().join("state")).unwrap();
    Ground { project, store, _folder: folder }
}

impl Ground {
    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::open(&self.store, &self.project).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.project.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Every entry with its mode, its time unless it is a link, and its contents.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let (contents, mtime) = match () {
                () if metadata.is_symlink() => (fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(), 0),
                () if metadata.is_dir() => {
                    waiting.push(path.clone());
                    (Vec::new(), metadata.mtime_nsec())
                }
                () if metadata.is_file() => (fs::read(&path).unwrap(), metadata.mtime_nsec()),
                () => (Vec::new(), 0),
            };
            all.insert(path.strip_prefix(root).unwrap().to_owned(), (metadata.mode(), mtime, contents));
        }
    }
    all
}

fn told(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| format!("{:?} {}{}", change.what, change.path, change.error.as_deref().unwrap_or(""));
    changes.iter().map(word).collect()
}

fn kept(checkpoints: &Checkpoints) -> usize {
    fs::read_dir(checkpoints.path.join("files")).unwrap().count()
}

#[test]
fn everything_is_again_what_it_was() {
    let ground = ground();
    ground.write("src/main.rs", "fn main() {}");
    ground.write("src/deep/er/file", "deep");
    ground.write("same", "same");
    ground.write("mode", "mode");
    ground.write("becomes-dir", "file");
    ground.write("becomes-file/inner", "inner");
    ground.write("gone", "gone");
    fs::create_dir(ground.project.join("empty")).unwrap();
    symlink("src/main.rs", ground.project.join("link")).unwrap();
    symlink("/etc/passwd", ground.project.join("other-link")).unwrap();
    fs::set_permissions(ground.project.join("mode"), fs::Permissions::from_mode(0o750)).unwrap();
    let before = tree(&ground.project);
    let checkpoints = ground.checkpoints();
    let taken = checkpoints.take("test").unwrap();
    assert_eq!((taken.summary.files, taken.summary.bytes), (7, 12 + 4 + 4 + 4 + 4 + 5 + 4));

    ground.write("src/main.rs", "fn main() { }");
    ground.write("new/file", "new");
    ground.write("new-file", "new");
    let at = |path: &str| ground.project.join(path);
    fs::remove_dir_all(at("src/deep")).unwrap();
    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::remove_file(at("becomes-dir")).unwrap();
    fs::create_dir_all(at("becomes-dir/more")).unwrap();
    fs::remove_dir_all(at("becomes-file")).unwrap();
    fs::write(at("becomes-file"), "").unwrap();
    fs::remove_file(at("gone")).unwrap();
    fs::remove_dir(at("empty")).unwrap();
    fs::remove_file(at("link")).unwrap();
    symlink("/", at("link")).unwrap();
    let changed = tree(&ground.project);

    let latest = taken.summary.number;
    let expected = [
        "Restored becomes-dir",
        "Restored becomes-file",
        "Restored becomes-file/inner",
        "Restored empty",
        "Restored gone",
        "Restored link",
        "Mode mode",
        "Removed new",
        "Removed new-file",
        "Restored src/deep",
        "Restored src/deep/er",
        "Restored src/deep/er/file",
        "Restored src/main.rs",
    ];
    assert_eq!(told(&checkpoints.restore(None, true, true).unwrap().changes), expected);
    assert_eq!(tree(&ground.project), changed);
    let restored = checkpoints.restore(Some(latest), false, true).unwrap();
    assert_eq!(told(&restored.changes), expected);
    assert_eq!(tree(&ground.project), before);
    // And back.
    let back = restored.back.unwrap().summary;
    assert_eq!(back.undo_to, Some(latest));
    assert!(matches!(checkpoints.restore(None, false, true), Err(WorkspaceError::Nothing)));
    checkpoints.restore(Some(back.number), false, true).unwrap();
    assert_eq!(tree(&ground.project).keys().collect::<Vec<_>>(), changed.keys().collect::<Vec<_>>());
    assert_eq!(fs::read(at("src/main.rs")).unwrap(), b"fn main() { }");
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("/"));
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let ground = ground();
    ground.write("file", "text");
    let checkpoints = ground.checkpoints();
    assert!(matches!(checkpoints.restore(None, false, true), Err(WorkspaceError::Nothing)));
    let number = checkpoints.take("test").unwrap().summary.number;
    let restored = checkpoints.restore(Some(number), false, true).unwrap();
    assert!(restored.changes.is_empty() && restored.back.is_none());
    assert_eq!(checkpoints.list().unwrap().len(), 1);
    assert!(matches!(checkpoints.restore(Some(7), false, true), Err(WorkspaceError::Missing(7))));
}

#[test]
fn what_has_not_changed_is_kept_once_and_the_oldest_go() {
    let ground = ground();
    for number in 0..20 {
        ground.write(&format!("file{number}"), &number.to_string());
    }
    // Long ago, as far as a checkpoint can tell.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let checkpoints = ground.checkpoints();
    checkpoints.take("first").unwrap();
    assert_eq!(kept(&checkpoints), 20);
    for round in 0..15 {
        ground.write("changing", &round.to_string());
        checkpoints.take("again").unwrap();
    }
    let list = checkpoints.list().unwrap();
    assert_eq!(list.iter().map(|one| one.number).collect::<Vec<_>>(), (7..=16).collect::<Vec<_>>());
    assert_eq!(kept(&checkpoints), 20 + 10);
    checkpoints.restore(Some(9), false, true).unwrap();
    assert_eq!(fs::read(ground.project.join("changing")).unwrap(), b"7");
    assert_eq!(fs::read(ground.project.join("file13")).unwrap(), b"13");
    checkpoints.forget().unwrap();
    assert_eq!((kept(&checkpoints), checkpoints.list().unwrap().len()), (0, 0));
}

/// A change that leaves size and time as they were is seen, since nobody sets the time of the change itself.
#[test]
fn a_change_that_hides_its_time_is_seen() {
    let ground = ground();
    ground.write("file", "good");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let checkpoints = ground.checkpoints();
    let first = checkpoints.take("first").unwrap().summary.number;
    let path = ground.project.join("file");
    let time = path.metadata().unwrap().modified().unwrap();
    fs::write(&path, "evil").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    checkpoints.take("second").unwrap();
    assert_eq!(told(&checkpoints.restore(Some(first), false, true).unwrap().changes), ["Restored file"]);
    assert_eq!(fs::read(&path).unwrap(), b"good");
}

/// As after a program has tried to make it impossible to go back.
#[test]
fn modes_and_links_do_not_keep_anybody_from_going_back() {
    let ground = ground();
    ground.write("dir/sub/file", "text");
    ground.write("other/file", "other");
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("sub")).unwrap();
    fs::write(outside.path().join("sub/file"), "outside").unwrap();
    let checkpoints = ground.checkpoints();
    let before = tree(&ground.project);
    let number = checkpoints.take("test").unwrap().summary.number;
    let at = |path: &str| ground.project.join(path);
    fs::remove_dir_all(at("dir")).unwrap();
    symlink(outside.path(), at("dir")).unwrap();
    fs::remove_file(at("other/file")).unwrap();
    fs::create_dir_all(at("other/.agentkernel-undo/x")).unwrap();
    fs::set_permissions(at("other"), fs::Permissions::from_mode(0o000)).unwrap();
    // Deeper than any path can say.
    let mut deep = at("deep");
    for _ in 0..30 {
        deep.push("d".repeat(200));
        if fs::create_dir_all(&deep).is_err() {
            break;
        }
    }
    let restored = checkpoints.restore(Some(number), false, true).unwrap();
    assert_eq!(restored.back.unwrap().unread.len(), 1);
    assert!(restored.changes.iter().all(|change| change.error.is_none()), "{:?}", restored.changes);
    assert_eq!(tree(&ground.project), before);
    assert_eq!(fs::read(outside.path().join("sub/file")).unwrap(), b"outside");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn sockets_and_fifos_are_left_where_they_are() {
    let ground = ground();
    ground.write("file", "text");
    let checkpoints = ground.checkpoints();
    let number = checkpoints.take("test").unwrap().summary.number;
    let _socket = std::os::unix::net::UnixListener::bind(ground.project.join("socket")).unwrap();
    let restored = checkpoints.restore(Some(number), false, true).unwrap();
    assert!(restored.changes.is_empty() && ground.project.join("socket").try_exists().unwrap());
}

/// What a kill leaves behind.
#[test]
fn a_half_written_checkpoint_is_none() {
    let ground = ground();
    ground.write("file", "one");
    let checkpoints = ground.checkpoints();
    let first = checkpoints.take("first").unwrap().summary;
    for leftover in 1..5 {
        fs::write(checkpoints.path.join(format!("files/{leftover}")), "half").unwrap();
    }
    fs::write(checkpoints.path.join(".new"), "{\"format\":1").unwrap();
    ground.write("file", "two");
    checkpoints.take("second").unwrap();
    ground.write("file", "three");
    let restored = checkpoints.restore(Some(2), false, true).unwrap();
    assert_eq!((told(&restored.changes), restored.to.before.as_str()), (vec!["Restored file".to_owned()], "second"));
    assert_eq!(fs::read(ground.project.join("file")).unwrap(), b"two");
    // One that is damaged is told, and is no obstacle for the next.
    fs::write(checkpoints.path.join("3"), "{\"format\":1").unwrap();
    assert!(matches!(checkpoints.restore(Some(3), false, true), Err(WorkspaceError::Damaged(3))));
    let next = checkpoints.take("after").unwrap().summary;
    assert_eq!((next.number, checkpoints.list().unwrap().len()), (4, 3));
    checkpoints.restore(Some(first.number), false, true).unwrap();
    assert_eq!(fs::read(ground.project.join("file")).unwrap(), b"one");
}

#[test]
fn runs_that_change_nothing_take_nobodys_place() {
    let ground = ground();
    ground.write("keep", "important");
    let checkpoints = ground.checkpoints();
    let first = checkpoints.take("rm").unwrap().summary.number;
    fs::remove_file(ground.project.join("keep")).unwrap();
    let second = checkpoints.take("nothing").unwrap().summary.number;
    assert_ne!(first, second);
    // However many there are, they take nobody's place.
    for _ in 0..30 {
        assert_eq!(checkpoints.take("nothing").unwrap().summary.number, second);
    }
    assert_eq!(checkpoints.list().unwrap().len(), 2);
    // What was changed before the last one may be somebody else's doing.
    for dry_run in [true, false] {
        let error = checkpoints.restore(None, dry_run, true).unwrap_err();
        assert!(matches!(error, WorkspaceError::Unchanged { number, .. } if number == first), "{error}");
    }
    assert!(!ground.project.join("keep").try_exists().unwrap());
    let restored = checkpoints.restore(Some(first), false, true).unwrap();
    assert_eq!((restored.to.number, told(&restored.changes)), (first, vec!["Restored keep".to_owned()]));
    assert_eq!(fs::read(ground.project.join("keep")).unwrap(), b"important");
    // Where all is as it was, the last one is named.
    ground.write("new", "");
    let third = checkpoints.take("nothing").unwrap().summary.number;
    let restored = checkpoints.restore(Some(third), false, true).unwrap();
    assert!(restored.changes.is_empty() && restored.to.number == third);
}
