use super::*;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

struct Scene {
    folder: tempfile::TempDir,
    store: Store,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("project")).unwrap();
        let store = Store::at(&folder.path().join("state")).unwrap();
        Self { folder, store }
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn home(&self, agent: &str) -> AgentHome {
        AgentHome::open(&self.store, &self.project(), agent).unwrap()
    }
}

fn there(dir: &Path, name: &str) -> bool {
    fs::symlink_metadata(dir.join(name)).is_ok()
}

#[test]
fn each_agent_of_each_project_has_its_own_and_finds_it_again() {
    let scene = Scene::new();
    let home = scene.home("one");
    home.write(Path::new(".one/deep/file"), "kept").unwrap();
    assert!(scene.home("one").has(Path::new(".one/deep/file")));
    assert!(!scene.home("other").has(Path::new(".one/deep/file")) && scene.home("other").is_empty());
    let placeholder = home.placeholder("KEY");
    assert!(placeholder.starts_with("agentkernel-KEY-") && placeholder.len() == 16 + 32, "{placeholder}");
    assert_eq!(scene.home("one").placeholder("KEY"), placeholder);
    assert_ne!(home.placeholder("OTHER")[18..], placeholder[16..]);
    assert_ne!(scene.home("other").placeholder("KEY"), placeholder);
    home.forget().unwrap();
    assert!(scene.home("one").is_empty());
    assert_eq!(scene.home("one").placeholder("KEY"), placeholder);
}

#[test]
fn a_file_is_replaced_in_one_step_and_nobody_else_reads_it() {
    let scene = Scene::new();
    let home = scene.home("one");
    let path = home.directory(Path::new(".one")).unwrap().join("file");
    for text in ["first", "second, longer"] {
        home.write(Path::new(".one/file"), text).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    assert!(home.has(Path::new(".one/file")) && !home.has(Path::new(".one/none")));
}

/// What lies there was written by whoever has run in a sandbox.
#[test]
fn no_link_leads_out() {
    let scene = Scene::new();
    let home = scene.home("one");
    let dir = home.directory(Path::new(".one")).unwrap();
    let outside = scene.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    symlink(&outside, dir.join("link")).unwrap();
    symlink(outside.join("file"), dir.join("to-file")).unwrap();
    assert!(!home.has(Path::new(".one/link/file")) && home.read(Path::new(".one/link/file")).is_none());
    home.uncover(Path::new(".one/link/file"));
    // On the way it is replaced.
    home.write(Path::new(".one/link/file"), "x").unwrap();
    assert!(fs::symlink_metadata(dir.join("link")).unwrap().is_dir());
    for link in ["cover", "directory"] {
        symlink(&outside, dir.join(link)).unwrap();
    }
    home.cover(Path::new(".one/cover/new"), true).unwrap();
    home.directory(Path::new(".one/directory/new")).unwrap();
    assert!(["cover", "directory"].iter().all(|link| fs::symlink_metadata(dir.join(link)).unwrap().is_dir()));
    // In the last place it is replaced.
    home.write(Path::new(".one/to-file"), "x").unwrap();
    symlink(outside.join("file"), dir.join("place")).unwrap();
    home.cover(Path::new(".one/place"), false).unwrap();
    assert!(fs::symlink_metadata(dir.join("place")).unwrap().is_file());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "mine");
}

/// A program in a sandbox could have it that no agent begins in its project any more.
#[test]
fn what_is_in_the_way_is_replaced() {
    let scene = Scene::new();
    let home = scene.home("one");
    let dir = home.directory(Path::new(".one")).unwrap();
    let place = dir.join("file");
    let put: [&dyn Fn(); 4] = [
        &|| fs::create_dir_all(place.join("deep/er")).unwrap(),
        &|| rustix::fs::mkfifoat(rustix::fs::CWD, &place, Mode::RUSR).unwrap(),
        &|| symlink("/etc", &place).unwrap(),
        &|| fs::write(&place, vec![b'x'; (LONGEST + 1) as usize]).unwrap(),
    ];
    for put in put {
        let _ = fs::remove_file(&place);
        put();
        assert!(home.read(Path::new(".one/file")).is_none_or(|text| text.is_empty()));
        home.write(Path::new(".one/file"), "ours").unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "ours");
        fs::remove_file(&place).unwrap();
        put();
        home.write(Path::new(".one/file/below"), "ours").unwrap();
        assert_eq!(fs::read_to_string(place.join("below")).unwrap(), "ours");
        fs::remove_dir_all(&place).unwrap();
        put();
        home.cover(Path::new(".one/file"), false).unwrap();
        assert!(fs::symlink_metadata(&place).unwrap().is_file());
    }
    // Nor is a directory a file that is there.
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    assert!(!home.has(Path::new(".one/file")));
    // By whatever mode.
    fs::write(place.join("in"), "").unwrap();
    for closed in [&place, &dir] {
        fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
    }
    home.write(Path::new(".one/file"), "ours").unwrap();
    assert_eq!(fs::read_to_string(&place).unwrap(), "ours");
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o700, 0o700);
}

#[test]
fn what_is_too_much_to_be_removed_is_told() {
    let scene = Scene::new();
    let home = scene.home("one");
    let dir = home.directory(Path::new(".one/file")).unwrap();
    for file in 0..=MOST {
        fs::write(dir.join(file.to_string()), "").unwrap();
    }
    let error = home.write(Path::new(".one/file"), "ours").unwrap_err();
    assert!(error.hint().contains("'agentkernel agents forget one'"), "{error}");
    home.forget().unwrap();
    home.write(Path::new(".one/file"), "ours").unwrap();
}

#[test]
fn a_mount_point_goes_when_nothing_is_mounted_there_any_more() {
    let scene = Scene::new();
    let home = scene.home("one");
    let dir = home.directory(Path::new(".one")).unwrap();
    for (name, directory) in [("settings", false), ("skills", true)] {
        let below = Path::new(".one").join(name);
        home.cover(&below, !directory).unwrap();
        home.cover(&below, directory).unwrap();
        home.cover(&below, directory).unwrap();
        assert_eq!(fs::symlink_metadata(dir.join(name)).unwrap().is_dir(), directory);
        home.uncover(&below);
        assert!(!there(&dir, name));
        home.uncover(&below);
    }
    // What somebody has written there stays.
    home.cover(Path::new(".one/settings"), false).unwrap();
    fs::write(dir.join("settings"), "{}").unwrap();
    home.uncover(Path::new(".one/settings"));
    fs::create_dir_all(dir.join("skills/mine")).unwrap();
    home.uncover(Path::new(".one/skills"));
    assert!(there(&dir, "settings") && there(&dir, "skills/mine"));
    // And what is empty by itself.
    fs::write(dir.join("own"), "").unwrap();
    home.uncover(Path::new(".one/own"));
    assert!(there(&dir, "own"));
}

#[test]
fn what_is_kept_belongs_to_whom_the_project_does() {
    let scene = Scene::new();
    if !rustix::process::geteuid().is_root() {
        return;
    }
    std::os::unix::fs::chown(scene.project(), Some(4711), Some(4712)).unwrap();
    let home = scene.home("one");
    home.write(Path::new(".one/deep/file"), "x").unwrap();
    home.cover(Path::new(".one/place"), true).unwrap();
    let dir = home.directory(Path::new(".one")).unwrap();
    for path in [dir.clone(), dir.join("deep"), dir.join("deep/file"), dir.join("place")] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (4711, 4712), "{}", path.display());
    }
}
