use super::*;
use std::{
    fs::{OpenOptions, read_dir, read_to_string, remove_file, rename, set_permissions, write},
    io::Write as _,
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

    /// Prepares a change, whose file somebody else changes then.
    fn prepare(&self, before: Option<&str>, after: Option<&str>) -> Replacing {
        Replacer::default().prepare(&self.path, before, after).unwrap().unwrap()
    }

    fn replace(&self, before: Option<&str>, after: Option<&str>) -> bool {
        let mut replacer = Replacer::default();
        let done = replacer.replace(&self.path, before, after).unwrap();
        replacer.settle(Duration::ZERO).unwrap().is_none() && done
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

/// Lets go of its directory, too.
fn finish(mut replacing: Replacing) -> bool {
    replacing.put().unwrap()
}

#[test]
fn a_file_is_replaced_made_and_taken_away() {
    let world = World::new(None);
    assert!(!world.replace(Some("a"), Some("b")));
    assert!(world.replace(None, Some("a")));
    set_permissions(&world.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(!world.replace(None, Some("b")) && !world.replace(Some("x"), None));
    assert!(world.replace(Some("a"), Some("b")));
    assert_eq!(world.text().as_deref(), Some("b"));
    assert_eq!(world.path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
    assert!(world.replace(Some("b"), None));
    assert_eq!(world.text(), None);
}

#[test]
fn what_another_puts_there_between_a_look_and_the_change_stays() {
    for after in [Some("ours"), None] {
        let world = World::new(Some("before"));
        let replacing = world.prepare(Some("before"), after);
        world.put("theirs");
        assert!(!finish(replacing));
        assert_eq!(world.text().as_deref(), Some("theirs"));
        // The same file, written anew.
        let replacing = world.prepare(Some("theirs"), after);
        write(&world.path, "more").unwrap();
        assert!(!finish(replacing));
        assert_eq!(world.text().as_deref(), Some("more"));
        // The same text with another mode.
        let replacing = world.prepare(Some("more"), after);
        set_permissions(&world.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!finish(replacing));
        assert_eq!(world.path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        // Nothing, or something else.
        let replacing = world.prepare(Some("more"), after);
        remove_file(&world.path).unwrap();
        assert!(!finish(replacing));
        assert_eq!(world.text(), None);
        world.put("more");
        let replacing = world.prepare(Some("more"), after);
        remove_file(&world.path).unwrap();
        symlink("/nowhere", &world.path).unwrap();
        assert!(!finish(replacing));
        assert!(world.text().is_none() && world.path.is_symlink());
    }
    let world = World::new(None);
    let replacing = world.prepare(None, Some("ours"));
    world.put("theirs");
    assert!(!finish(replacing));
    assert_eq!(world.text().as_deref(), Some("theirs"));
}

#[test]
fn no_change_of_one_who_writes_at_the_same_time_is_lost() {
    let world = World::new(Some("0"));
    let (mut ours, rounds) = (0, 400);
    for round in 1..=rounds {
        let now = file::read(&world.path).unwrap().unwrap();
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
            ours += usize::from(world.replace(Some(&now), Some(&format!("{now} ours"))));
        });
        assert_eq!(world.text().unwrap(), theirs, "after {ours} of ours");
    }
    assert!(world.replace(Some(&rounds.to_string()), Some("ours")));
}

/// Who had the file open, as whoever empties it and then writes.
#[test]
fn what_is_written_to_a_file_that_was_open_is_not_lost() {
    for after in [Some("ours"), None] {
        let world = World::new(Some("before"));
        let mut theirs = OpenOptions::new().write(true).truncate(true).open(&world.path).unwrap();
        let mut replacer = Replacer::default();
        // That was a while ago.
        let while_ago = std::time::SystemTime::now() - Duration::from_secs(60);
        theirs.set_modified(while_ago).unwrap();
        assert!(replacer.replace(&world.path, Some(""), after).unwrap());
        assert_eq!(read_to_string(&world.path).ok().as_deref(), after);
        theirs.write_all(b"the").unwrap();
        assert_eq!(replacer.settle(Duration::ZERO).unwrap(), Some(world.path.clone()));
        // What follows goes on in its place.
        theirs.write_all(b"irs").unwrap();
        assert_eq!(world.text().as_deref(), Some("theirs"));
        // Whatever ours may do by then.
        let mut replacer = Replacer::default();
        assert!(replacer.replace(&world.path, Some("theirs"), Some("ours")).unwrap());
        set_permissions(&world.path, std::fs::Permissions::from_mode(0o600)).unwrap();
        theirs.write_all(b" again").unwrap();
        assert_eq!(replacer.settle(Duration::ZERO).unwrap(), Some(world.path.clone()));
        assert_eq!(world.text().as_deref(), Some("theirs again"));
        // What is newer stays.
        let mut replacer = Replacer::default();
        assert!(replacer.replace(&world.path, Some("theirs again"), after).unwrap());
        theirs.write_all(b" more").unwrap();
        world.put("newer");
        assert_eq!(replacer.settle(Duration::ZERO).unwrap(), Some(world.path.clone()));
        assert_eq!(world.text().as_deref(), Some("newer"));
    }
}

#[test]
fn several_are_taken_back_at_once() {
    let world = World::new(Some("before"));
    let (made, gone) = (world.dir.path().join("made"), world.dir.path().join("gone"));
    write(&gone, "gone").unwrap();
    let ours = |world: &World| {
        let mut replacer = Replacer::default();
        assert!(replacer.replace(&world.path, Some("before"), Some("ours")).unwrap());
        assert!(replacer.replace(&made, None, Some("made")).unwrap());
        assert!(replacer.replace(&gone, Some("gone"), None).unwrap());
        assert!(!gone.try_exists().unwrap());
        replacer
    };
    let before = Identity::of(&fs::stat(&world.path).unwrap());
    assert!(ours(&world).take_back());
    assert_eq!(Identity::of(&fs::stat(&world.path).unwrap()), before);
    assert_eq!((read_to_string(&gone).unwrap(), made.try_exists().unwrap()), ("gone".to_owned(), false));
    // What is newer stays, each for itself.
    let replacer = ours(&world);
    world.put("newer");
    assert!(!replacer.take_back());
    assert_eq!((read_to_string(&gone).unwrap(), made.try_exists().unwrap()), ("gone".to_owned(), false));
    remove_file(&gone).unwrap();
    assert_eq!(world.text().as_deref(), Some("newer"));
}

/// As where a file system can't exchange files.
#[test]
fn what_is_gone_is_written_anew() {
    let world = World::new(Some("before"));
    set_permissions(&world.path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let mut replacing = world.prepare(Some("before"), Some("ours"));
    assert!(replacing.put().unwrap());
    remove_file(world.dir.path().join(&replacing.temporary)).unwrap();
    replacing.beside = false;
    assert!(replacing.settle().unwrap());
    assert!(replacing.take_back());
    assert_eq!(world.text().as_deref(), Some("before"));
    assert_eq!(world.path.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
}

#[test]
fn a_link_that_was_laid_since_is_not_followed() {
    let world = World::new(None);
    let (place, away) = (world.dir.path().join("place"), TempDir::new().unwrap());
    symlink(away.path(), &place).unwrap();
    let error = Replacer::default().replace(&place.join("settings.json"), None, Some("ours")).unwrap_err();
    assert!(matches!(error, PluginError::Io { .. }), "{error}");
    assert!(file::make_parents(&place.join("a/b/settings.json"), &mut Vec::new()).is_err());
    assert_eq!(read_dir(away.path()).unwrap().count(), 0);
}

#[test]
fn what_is_put_in_the_place_of_ours_meanwhile_is_seen() {
    let world = World::new(Some("before"));
    let mut replacer = Replacer::default();
    assert!(replacer.replace(&world.path, Some("before"), Some("ours")).unwrap());
    world.put("theirs");
    assert_eq!(replacer.settle(Duration::ZERO).unwrap(), Some(world.path.clone()));
    assert_eq!(world.text().as_deref(), Some("theirs"));
}

/// Whoever empties a file writes to it some time later.
#[test]
fn a_file_that_was_just_emptied_is_waited_for() {
    let world = World::new(Some("before"));
    let mut theirs = OpenOptions::new().write(true).truncate(true).open(&world.path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(PAUSE * 10);
            theirs.write_all(b"theirs").unwrap();
        });
        assert!(!Replacer::default().replace(&world.path, Some(""), Some("ours")).unwrap());
    });
    assert_eq!(world.text().as_deref(), Some("theirs"));
}
