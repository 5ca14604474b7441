use super::*;
use std::{fs as std_fs, os::unix::fs::symlink, path::Path};

/// Two layers: the upper one removes a name, hides what a directory had, and replaces a file.
struct Layers {
    folder: tempfile::TempDir,
    view: View,
}

fn whiteout(path: &Path) {
    fs::mknodat(fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn layers() -> Layers {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for dir in ["low/a/deep", "low/opaque", "high/a", "high/opaque"] {
        std_fs::create_dir_all(path(dir)).unwrap();
    }
    for file in ["low/a/gone", "low/a/both", "low/a/deep/file", "low/opaque/old", "low/top"] {
        std_fs::write(path(file), "low").unwrap();
    }
    for file in ["high/a/both", "high/a/new", "high/opaque/new"] {
        std_fs::write(path(file), "high").unwrap();
    }
    symlink("/a/deep", path("low/link")).unwrap();
    symlink("../../../../a", path("low/a/up")).unwrap();
    symlink("round", path("low/round")).unwrap();
    whiteout(&path("high/a/gone"));
    let open = |name: &str| fs::open(path(name), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let (high, low) = (open("high"), open("low"));
    let dir = fs::openat(&high, "opaque", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    fs::fsetxattr(dir, "user.overlay.opaque", b"y", fs::XattrFlags::empty()).unwrap();
    Layers { folder, view: View { layers: vec![high, low] } }
}

fn text(view: &View, path: &str) -> Option<String> {
    view.read(path.as_bytes(), 100).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn the_topmost_layer_that_has_a_name_decides() {
    let Layers { view, folder: _folder } = layers();
    assert_eq!(text(&view, "a/both").as_deref(), Some("high"));
    assert_eq!(text(&view, "a/deep/file").as_deref(), Some("low"));
    assert_eq!(text(&view, "/top").as_deref(), Some("low"));
    for gone in ["a/gone", "opaque/old", "none", "top/none"] {
        assert_eq!(text(&view, gone), None, "{gone}");
    }
    let names = |path: &[u8]| {
        let found = view.look(path).unwrap().unwrap();
        let names = view.list(path, &found).unwrap();
        names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(b"a"), ["both", "deep", "new", "up"]);
    assert_eq!(names(b"opaque"), ["new"]);
    assert_eq!(names(b""), ["a", "link", "opaque", "round", "top"]);
}

#[test]
fn links_are_followed_and_none_leads_out() {
    let Layers { view, folder } = layers();
    assert_eq!(text(&view, "link/file").as_deref(), Some("low"));
    assert_eq!(text(&view, "a/up/both").as_deref(), Some("high"));
    assert_eq!(text(&view, "link/../both").as_deref(), Some("high"));
    assert_eq!(view.resolve(b"link", true).unwrap().0, b"a/deep");
    assert_eq!(view.resolve(b"link", false).unwrap().0, b"link");
    // What is not there is where it would be made.
    let (path, found) = view.resolve(b"link/new/dir", true).unwrap();
    assert_eq!((path, found.is_none()), (b"a/deep/new/dir".to_vec(), true));
    assert_eq!(view.resolve(b"round", true).unwrap_err(), Errno::LOOP);
    assert_eq!(view.resolve(b"top/x", true).unwrap_err(), Errno::NOTDIR);
    symlink(folder.path().join("outside"), folder.path().join("low/out")).unwrap();
    std_fs::write(folder.path().join("outside"), "secret").unwrap();
    assert_eq!(text(&view, "out"), None);
    assert_eq!(text(&view, "../outside"), None);
}
