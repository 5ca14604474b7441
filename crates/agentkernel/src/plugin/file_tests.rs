use super::*;
use std::{
    fs::{read_dir, read_to_string, remove_file, rename, set_permissions, write},
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Barrier,
};
use tempfile::TempDir;

struct World {
    dir: TempDir,
    path: PathBuf,
}

impl World {
    fn new(text: Option<&str>) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("settings.json");
        if let Some(text) = text {
            write(&path, text).unwrap();
        }
        Self { dir, path }
    }

    fn prepare(&self, before: Option<&str>, after: Option<&str>) -> Replacing<'_> {
        Replacing::prepare(&self.path, before, after).unwrap().unwrap()
    }

    /// Replaces the file as others do.
    fn put(&self, text: &str) {
        let beside = self.dir.path().join("beside");
        write(&beside, text).unwrap();
        rename(&beside, &self.path).unwrap();
    }

    /// What is in it; nothing else must be there.
    fn text(&self) -> Option<String> {
        let names: Vec<_> = read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| name == "settings.json"), "{names:?}");
        read_to_string(&self.path).ok()
    }
}

#[test]
fn a_file_is_replaced_made_and_taken_away() {
    let world = World::new(None);
    assert!(!replace(&world.path, Some("a"), Some("b")).unwrap());
    assert!(replace(&world.path, None, Some("a")).unwrap());
    set_permissions(&world.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(!replace(&world.path, None, Some("b")).unwrap() && !replace(&world.path, Some("x"), None).unwrap());
    assert!(replace(&world.path, Some("a"), Some("b")).unwrap());
    assert_eq!(world.text().as_deref(), Some("b"));
    assert_eq!(world.path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(replace(&world.path, Some("b"), None).unwrap());
    assert_eq!(world.text(), None);
}

#[test]
fn what_another_puts_there_between_a_look_and_the_change_stays() {
    for after in [Some("ours"), None] {
        let world = World::new(Some("before"));
        let replacing = world.prepare(Some("before"), after);
        world.put("theirs");
        assert!(!replacing.finish().unwrap());
        assert_eq!(world.text().as_deref(), Some("theirs"));
        // The same file, written anew.
        let replacing = world.prepare(Some("theirs"), after);
        write(&world.path, "more").unwrap();
        assert!(!replacing.finish().unwrap());
        assert_eq!(world.text().as_deref(), Some("more"));
        // The same text with another mode.
        let replacing = world.prepare(Some("more"), after);
        set_permissions(&world.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!replacing.finish().unwrap());
        assert_eq!(world.path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        // Nothing, or something else.
        let replacing = world.prepare(Some("more"), after);
        remove_file(&world.path).unwrap();
        assert!(!replacing.finish().unwrap());
        assert_eq!(world.text(), None);
        world.put("more");
        let replacing = world.prepare(Some("more"), after);
        remove_file(&world.path).unwrap();
        symlink("/nowhere", &world.path).unwrap();
        assert!(!replacing.finish().unwrap());
        assert!(world.text().is_none() && world.path.is_symlink());
    }
    let world = World::new(None);
    let replacing = world.prepare(None, Some("ours"));
    world.put("theirs");
    assert!(!replacing.finish().unwrap());
    assert_eq!(world.text().as_deref(), Some("theirs"));
}

#[test]
fn no_change_of_one_who_writes_at_the_same_time_is_lost() {
    let world = World::new(Some("0"));
    let (mut ours, rounds) = (0, 400);
    for round in 1..=rounds {
        let now = read(&world.path).unwrap().unwrap();
        let theirs = format!("{round}");
        let beside = world.dir.path().join("beside");
        write(&beside, &theirs).unwrap();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                // Sooner in some rounds and later in others.
                (0..round % 40).for_each(|_| std::thread::yield_now());
                rename(&beside, &world.path).unwrap();
            });
            start.wait();
            ours += usize::from(replace(&world.path, Some(&now), Some(&format!("{now} ours"))).unwrap());
        });
        assert_eq!(world.text().unwrap(), theirs, "after {ours} of ours");
    }
    assert!(replace(&world.path, Some(&rounds.to_string()), Some("ours")).unwrap());
}
