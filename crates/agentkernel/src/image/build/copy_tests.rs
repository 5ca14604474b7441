use super::*;
use rustix::fs::CWD;
use std::{fs as std_fs, os::unix::fs::PermissionsExt as _, path::Path};

struct Scene {
    folder: tempfile::TempDir,
}

fn open(path: &Path) -> OwnedFd {
    fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for dir in ["context/src/deep", "context/out", "below/there", "made"] {
            std_fs::create_dir_all(folder.path().join(dir)).unwrap();
        }
        for file in ["src/a.c", "src/b.c", "src/deep/c.c", "out/log", "x.log"] {
            std_fs::write(folder.path().join("context").join(file), file).unwrap();
        }
        std_fs::set_permissions(folder.path().join("below/there"), std_fs::Permissions::from_mode(0o1777)).unwrap();
        Self { folder }
    }

    fn view(&self, name: &str) -> View {
        View::directory(open(&self.folder.path().join(name)))
    }

    fn mode(&self, path: &str) -> u32 {
        std_fs::metadata(self.folder.path().join("made").join(path)).unwrap().permissions().mode() & 0o7777
    }
}

/// Copies, and gives what was seen.
fn copy(scene: &Scene, ignore: &str, from: &str, to: &str, make: bool) -> Result<Digest, CopyFailure> {
    let (context, below, made) = (scene.view("context"), scene.view("below"), open(&scene.folder.path().join("made")));
    let ignore = Ignore::parse(ignore).unwrap();
    let origin = Origin::context(&context, &ignore, Vec::new());
    let mut tree = Tree::new(&made, &below, (0, 0))?;
    let mut recorder = Recorder::new();
    for path in origin.find(from)? {
        let tree = make.then_some(&mut tree);
        origin.transfer(&path, to.as_bytes(), tree, Changes::default(), &mut recorder)?;
    }
    Ok(recorder.finish())
}

#[test]
fn directories_on_the_way_are_as_they_are_below() {
    let scene = Scene::new();
    copy(&scene, "", "src", "there/new/src", true).unwrap();
    assert_eq!(scene.mode("there"), 0o1777);
    assert_eq!(scene.mode("there/new"), 0o755);
    let copied = scene.folder.path().join("made/there/new/src/deep/c.c");
    assert_eq!(std_fs::read_to_string(copied).unwrap(), "src/deep/c.c");
}

#[test]
fn what_is_seen_is_the_same_with_and_without_a_tree() {
    let scene = Scene::new();
    let seen = copy(&scene, "", "s*", "all", false).unwrap();
    assert_eq!(copy(&scene, "", "s*", "all", true).unwrap(), seen);
    assert_ne!(copy(&scene, "", "s*", "other", false).unwrap(), seen);
    std_fs::write(scene.folder.path().join("context/src/a.c"), "changed").unwrap();
    assert_ne!(copy(&scene, "", "s*", "all", false).unwrap(), seen);
}

/// What files have beside their contents decides as well what a step makes.
#[test]
fn attributes_and_names_are_seen() {
    let scene = Scene::new();
    let context = scene.folder.path().join("context");
    let image = scene.view("context");
    let origin = Origin::image(&image);
    let seen = || {
        let mut recorder = Recorder::new();
        origin.transfer(b"src", b"all", None, Changes::default(), &mut recorder).unwrap();
        recorder.finish()
    };
    let mut all = vec![seen()];
    let set = |path: &str, value: &[u8]| {
        let fd = fs::open(context.join(path), OFlags::RDONLY, Mode::empty()).unwrap();
        fs::fsetxattr(fd, "user.kind", value, XattrFlags::empty()).unwrap();
    };
    set("src/a.c", b"one");
    all.push(seen());
    set("src/a.c", b"two");
    all.push(seen());
    set("src/deep", b"two");
    all.push(seen());
    std_fs::copy(context.join("src/a.c"), context.join("src/z.c")).unwrap();
    all.push(seen());
    std_fs::remove_file(context.join("src/z.c")).unwrap();
    std_fs::hard_link(context.join("src/a.c"), context.join("src/z.c")).unwrap();
    all.push(seen());
    let different: BTreeSet<_> = all.iter().map(Digest::hex).collect();
    assert_eq!(different.len(), all.len());
}

/// A name that another file has taken meanwhile is nobody's other name.
#[test]
fn another_name_of_a_file_that_was_replaced() {
    let scene = Scene::new();
    let context = scene.folder.path().join("context");
    for dir in ["one", "two", "three"] {
        std_fs::create_dir(context.join(dir)).unwrap();
    }
    std_fs::write(context.join("one/x"), "first").unwrap();
    std_fs::write(context.join("two/x"), "second").unwrap();
    std_fs::hard_link(context.join("one/x"), context.join("three/y")).unwrap();
    std_fs::hard_link(context.join("one/x"), context.join("three/z")).unwrap();
    let (view, below, made) = (scene.view("context"), scene.view("below"), open(&scene.folder.path().join("made")));
    let origin = Origin { view: &view, ignore: None, owned: false, except: Vec::new() };
    let (mut tree, mut recorder) = (Tree::new(&made, &below, (0, 0)).unwrap(), Recorder::new());
    for from in ["one", "two", "three"] {
        origin.transfer(from.as_bytes(), b"all", Some(&mut tree), Changes::default(), &mut recorder).unwrap();
    }
    let read = |name: &str| std_fs::read_to_string(scene.folder.path().join("made/all").join(name)).unwrap();
    assert_eq!([read("x"), read("y"), read("z")], ["second", "first", "first"]);
    use std::os::unix::fs::MetadataExt as _;
    let inode = |name: &str| std_fs::metadata(scene.folder.path().join("made/all").join(name)).unwrap().ino();
    assert_eq!(inode("y"), inode("z"));
}

#[test]
fn what_is_left_out_is_not_there_unless_it_is_brought_back() {
    let scene = Scene::new();
    let ignore = "**\n!src/deep\n";
    copy(&scene, ignore, ".", "all", true).unwrap();
    let made = scene.folder.path().join("made/all");
    assert!(made.join("src/deep/c.c").is_file() && !made.join("src/a.c").is_file() && !made.join("out").is_dir());
    assert!(copy(&scene, ignore, "x.log", "x", false).unwrap_err().hint.contains("!PATTERN"));
    assert_eq!(copy(&scene, ignore, "*.log", "x", false).unwrap(), Recorder::new().finish());
}

/// A terabyte that nobody could read in time, nor keep.
#[test]
fn holes_stay_holes_and_zeros_become_some() {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};
    let scene = Scene::new();
    let context = scene.folder.path().join("context");
    let sparse = std_fs::File::create(context.join("huge")).unwrap();
    sparse.write_all_at(b"begin", 3 * PIECE - 2).unwrap();
    sparse.write_all_at(b"end", (1 << 40) + 5).unwrap();
    sparse.set_len((1 << 40) + 12345).unwrap();
    let seen = copy(&scene, "", "huge", "huge", false).unwrap();
    assert_eq!(copy(&scene, "", "huge", "huge", true).unwrap(), seen);
    let made = std_fs::File::open(scene.folder.path().join("made/huge")).unwrap();
    assert_eq!(made.metadata().unwrap().len(), (1 << 40) + 12345);
    assert!(made.metadata().unwrap().blocks() * 512 < 16 * PIECE);
    let mut end = [0; 5];
    made.read_exact_at(&mut end, (1 << 40) + 4).unwrap();
    assert_eq!(&end, b"\0end\0");
    // The same in every form: as holes, as zeros, and one byte more.
    let mut digests = Vec::new();
    for (name, size, dense) in
        [("a", 4 * PIECE, false), ("b", 4 * PIECE, true), ("c", 4 * PIECE + 1, false), ("d", 4 * PIECE + 1, true)]
    {
        let path = context.join(name);
        if dense {
            std_fs::write(&path, vec![0; size as usize]).unwrap();
        } else {
            std_fs::File::create(&path).unwrap().set_len(size).unwrap();
        }
        digests.push(copy(&scene, "", name, "same", false).unwrap());
    }
    assert!(digests[0] == digests[1] && digests[2] == digests[3] && digests[1] != digests[2]);
}

#[test]
fn a_directory_stays_one() {
    let scene = Scene::new();
    let error = copy(&scene, "", "x.log", "there", true).unwrap_err();
    assert_eq!(error.cause, "/there is a directory, and stays one");
    std_fs::write(scene.folder.path().join("below/file"), "").unwrap();
    let error = copy(&scene, "", "x.log", "file/x", true).unwrap_err();
    assert_eq!(error.cause, "/file is no directory");
}

#[test]
fn paths_are_cleaned_from_the_root() {
    for (path, expected) in [("/a//b/./c/", "a/b/c"), ("../../a", "a"), ("a/../..", ""), (".", "")] {
        assert_eq!(clean(path), expected);
    }
}

#[test]
fn a_directory_is_as_its_source_where_one_is_and_its_target_stays() {
    let scene = Scene::new();
    let mode = |path: &str, mode: u32| {
        let mode = std_fs::Permissions::from_mode(mode);
        std_fs::set_permissions(scene.folder.path().join(path), mode).unwrap();
    };
    std_fs::create_dir(scene.folder.path().join("below/there/deep")).unwrap();
    mode("context/src", 0o700);
    mode("context/src/deep", 0o750);
    copy(&scene, "", "src", "there", true).unwrap();
    assert_eq!((scene.mode("there"), scene.mode("there/deep")), (0o1777, 0o750));
    copy(&scene, "", "src", "new", true).unwrap();
    assert_eq!((scene.mode("new"), scene.mode("new/deep")), (0o755, 0o750));
}
