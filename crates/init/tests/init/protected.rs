//! What init hears of changes that are refused.

use crate::driver::*;
use std::{os::unix::fs::PermissionsExt, path::Path};
use wire::{
    ExecSpec, OsBytes,
    link::{Change, Covered, ExecFailure, FilesReport, FromInit, Open, Put, Refused, Setup},
};

struct Scene {
    folder: tempfile::TempDir,
    driver: Driver,
    user: u32,
}

/// `hooks` is read-only, `kept` is mounted so that it stays where it is, `file` and `open` are ordinary.
fn scene(place: Place) -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    for dir in ["", "hooks", "kept", "open"] {
        std::fs::create_dir_all(base.join(dir)).unwrap();
        std::fs::set_permissions(base.join(dir), PermissionsExt::from_mode(0o777)).unwrap();
    }
    std::os::unix::fs::symlink("hooks", base.join("link")).unwrap();
    let base = base.display();
    let mounts = format!(
        "mount -t tmpfs -o mode=777 x {base}/hooks && echo a > {base}/hooks/there && chmod 666 {base}/hooks/there &&
         mkdir -m 777 {base}/hooks/dir && mount -o remount,ro {base}/hooks && mount --bind {base}/kept {base}/kept"
    );
    let cover = |name, read_only| Covered { path: OsBytes::from(&*folder.path().join(name)), read_only };
    let protected = vec![cover("hooks", true), cover("kept", false)];
    let base = setup(place);
    let writable = [base.writable.clone(), vec![OsBytes::from(folder.path())]].concat();
    let driver = Driver::with_mounts(place, Setup { protected, log_refused: true, writable, ..base }, &mounts);
    let user = if place == Place::ManyIds { 1000 } else { 0 };
    Scene { folder, driver, user }
}

impl Scene {
    fn all() -> Vec<Self> {
        let places = if is_root() { &[Place::OneId, Place::ManyIds][..] } else { &[Place::OneId] };
        places.iter().map(|place| scene(*place)).collect()
    }

    fn exec(&self, spec: ExecSpec) -> ExecSpec {
        ExecSpec { user: user(self.user), cwd: OsBytes::from(self.folder.path()), ..spec }
    }

    /// What is told while this runs, of which program, and below the folder where.
    fn refused(&mut self, script: &str) -> Vec<(String, Change)> {
        let output = self.driver.run(self.exec(sh(script)));
        assert!(output.stderr.is_empty(), "{script}: {output:?}");
        self.told()
    }

    fn told(&mut self) -> Vec<(String, Change)> {
        let folder = self.folder.path().to_owned();
        let messages = std::mem::take(&mut self.driver.messages);
        let below = |message| match message {
            FromInit::Refused(Refused { path, change, program }) => {
                assert!(!program.0.is_empty());
                let path = Path::new(std::str::from_utf8(&path.0).unwrap()).strip_prefix(&folder).unwrap().to_owned();
                (path.display().to_string(), change)
            }
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(below).collect()
    }
}

fn one(path: &str, change: Change) -> Vec<(String, Change)> {
    vec![(path.to_owned(), change)]
}

#[test]
fn each_change_is_told_by_its_real_path_with_what_it_was() {
    for mut scene in Scene::all() {
        let base = scene.folder.path().display().to_string();
        for (script, path, change) in [
            ("echo x > hooks/new".to_owned(), "hooks/new", Change::Write),
            ("echo x >> hooks/there".to_owned(), "hooks/there", Change::Write),
            (format!("echo x > {base}/open/../hooks/./there"), "hooks/there", Change::Write),
            ("echo x > link/new".to_owned(), "hooks/new", Change::Write),
            ("cd hooks; echo x > new".to_owned(), "hooks/new", Change::Write),
            ("cd open; echo x > ../hooks/dir/new".to_owned(), "hooks/dir/new", Change::Write),
            ("echo x > /proc/self/cwd/hooks/new".to_owned(), "hooks/new", Change::Write),
            ("echo x > /proc/thread-self/cwd//hooks/new".to_owned(), "hooks/new", Change::Write),
            ("exec 3< hooks; echo x > /dev/fd/3/new".to_owned(), "hooks/new", Change::Write),
            ("echo x > hooks/there/below/it".to_owned(), "hooks/there/below/it", Change::Write),
            ("mkdir hooks/sub".to_owned(), "hooks/sub", Change::Make),
            ("ln -s x hooks/sub".to_owned(), "hooks/sub", Change::Make),
            ("ln open/mine hooks/sub".to_owned(), "hooks/sub", Change::Make),
            ("rm -f hooks/there".to_owned(), "hooks/there", Change::Remove),
            ("rmdir hooks/dir".to_owned(), "hooks/dir", Change::Remove),
            ("rmdir kept".to_owned(), "kept", Change::Remove),
            ("mv kept away".to_owned(), "kept", Change::Rename),
            ("mv hooks away".to_owned(), "hooks", Change::Rename),
            ("mv -T open/mine hooks/there".to_owned(), "hooks/there", Change::Rename),
            ("truncate -s 0 hooks/there".to_owned(), "hooks/there", Change::Write),
        ] {
            let made = format!("touch open/mine; ({script}) 2> /dev/null");
            let told = scene.refused(&format!("{made}; [ $? != 0 ] && ls -d kept hooks/there hooks/dir > /dev/null"));
            // `mv` falls back to a copy where it may not rename, and to a removal.
            assert_eq!(told.first(), one(path, change).first(), "{script}: {told:?}");
        }
    }
}

#[test]
fn what_is_allowed_or_only_read_is_not_told() {
    for mut scene in Scene::all() {
        let script = "cat hooks/there; ls -R hooks kept; echo x > open/new; mv open/new kept/new; mkdir kept/dir; rm -r kept/dir; \
                      ln -s ../hooks open/link; rm open/link; ln -s nowhere dangling; mv dangling open; \
                      (set -C; (echo x > hooks/there) 2> /dev/null; echo x > hooks) 2> /dev/null; \
                      python3 -c \"import os; os.open('hooks/there', os.O_RDONLY | os.O_CREAT)\"; \
                      ls hooks/none kept/none 2> /dev/null; rm -f hooks/none; [ -w hooks/there ] || :; > /dev/null";
        assert_eq!(scene.refused(script), []);
        assert_eq!(std::fs::read_dir(scene.folder.path().join("open")).unwrap().count(), 1);
    }
}

#[test]
fn what_goes_on_in_the_background_is_told_after_its_exec_has_ended() {
    for mut scene in Scene::all() {
        let script = "(until [ -e open/go ]; do sleep 0.01; done; echo x > hooks/late) > /dev/null 2>&1 &";
        assert_eq!(scene.refused(script), []);
        std::fs::write(scene.folder.path().join("open/go"), "").unwrap();
        scene.driver.until("it is told", |driver| !driver.messages.is_empty());
        assert_eq!(scene.told(), one("hooks/late", Change::Write));
    }
}

#[test]
fn programs_that_change_much_at_once_go_on_and_end() {
    for mut scene in Scene::all() {
        let count = scaled(200);
        let script = format!(
            "for i in 1 2 3 4; do (for j in $(seq {count}); do echo x > open/$i.$j; rm open/$i.$j; done) & done; wait; \
             (for j in $(seq {count}); do echo x > hooks/$j; done) 2> /dev/null; ls open"
        );
        let output = scene.driver.run(scene.exec(sh(&script)));
        assert_eq!(output.text(), "");
        assert_eq!(scene.told().len(), count as usize);
        // Who is killed while it waits is gone, and holds nobody up.
        let id = scene.driver.exec(scene.exec(sh("while :; do echo x > open/busy; done")));
        scene.driver.started(id);
        scene.driver.control(id, wire::link::ExecControl::Signal(9));
        let _ = scene.driver.finish(id);
        assert_eq!(scene.refused("(echo x > hooks/after) 2> /dev/null; :"), one("hooks/after", Change::Write));
    }
}

/// However long a path is, and whatever links are on its way: init is not held up.
#[test]
fn a_path_that_takes_long_is_looked_at_a_few_times() {
    for mut scene in Scene::all() {
        let script = "import os
os.mkdir('z'); last = ''
for i in range(20):
    os.symlink('z/../' * 400 + last, f'l{i}'); last = f'l{i}'
try: open(last + '/n' * 1500, 'w')
except OSError as error: print(error.errno)";
        let output = scene.driver.run(scene.exec(exec(&["python3", "-c", script])));
        assert_eq!(output.text(), "2\n", "{output:?}");
        assert_eq!(scene.told(), []);
    }
}

/// A mount goes with what it is on, and anybody outside can replace that.
#[test]
fn where_the_mount_is_gone_nothing_is_started_and_init_refuses_what_it_hears() {
    for mut scene in Scene::all() {
        let base = scene.folder.path().to_owned();
        let script = "until [ -e open/go ]; do sleep 0.01; done
            for path in hooks/new hooks/there /proc/self/cwd/hooks/new; do (echo x > $path) 2> /dev/null && echo $path; done
            (rm -rf hooks; mkdir hooks/sub) 2> /dev/null && echo gone; (mv hooks away || ln hooks/mine open/mine) 2> /dev/null && echo moved
            (mv kept away) 2> /dev/null && echo moved
            echo x > open/new && cat open/new";
        let id = scene.driver.exec(scene.exec(sh(script)));
        scene.driver.started(id);
        std::fs::rename(base.join("hooks"), base.join("old")).unwrap();
        std::fs::create_dir(base.join("hooks")).unwrap();
        std::fs::set_permissions(base.join("hooks"), PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::rename(base.join("old"), base.join("older")).unwrap();
        std::fs::remove_dir(base.join("older")).unwrap();
        std::fs::write(base.join("hooks/mine"), "").unwrap();
        std::fs::rename(base.join("kept"), base.join("kept.old")).unwrap();
        std::fs::create_dir(base.join("kept")).unwrap();
        std::fs::write(base.join("open/go"), "").unwrap();
        let output = scene.driver.finish(id);
        assert_eq!(output.text(), "x\n", "{output:?}");
        assert_eq!(std::fs::read_dir(base.join("hooks")).unwrap().count(), 1);
        assert_eq!(scene.told()[0], ("hooks/new".to_owned(), Change::Write));
        let (kind, cause) = scene.driver.failure(scene.exec(sh("true")));
        assert_eq!(kind, ExecFailure::Other);
        assert_contains(&cause, "hooks was replaced or removed outside, which took its protection away");
        let put = Open::Put(Put { path: OsBytes::from(&*base.join("hooks/")), user: user(scene.user) });
        let id = scene.driver.open(&put);
        scene.driver.eof(id);
        let (report, _) = scene.driver.files(id);
        assert!(
            matches!(&report, FilesReport::Failed(failure) if failure.cause.contains("hooks was replaced")),
            "{report:?}"
        );
    }
}

/// One that lets nobody see its memory is refused like any other.
#[test]
fn who_hides_its_memory_goes_on_unheard() {
    for mut scene in Scene::all() {
        let script = "import ctypes, os
ctypes.CDLL(None).prctl(4, 0)
try: open('hooks/new', 'w')
except OSError as error: print(error.errno)
open('open/new', 'w').close(); print('went on')";
        let output = scene.driver.run(scene.exec(exec(&["python3", "-c", script])));
        assert_eq!(output.text(), "30\nwent on\n", "{output:?}");
        assert_eq!(scene.told(), []);
    }
}

/// Bad pointers and descriptors, paths without an end: the kernel says what it always says.
#[test]
fn calls_that_make_no_sense_fail_as_ever() {
    for mut scene in Scene::all() {
        let script = "import ctypes, os, errno
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result
number = {'x86_64': (257, 263), 'aarch64': (56, 35)}[os.uname().machine]
print(call(number[0], -100, 8, 1), call(number[0], 999, b'x', 1), call(number[0], -100, b'', 65, 0), call(number[0], -100, b'x' * 5000, 65, 0))
print(call(number[1], -100, b'/', 512), call(number[1], -1, b'x', 0), call(number[0], -100, b'y/' * 2047 + b'y', 65, 0))";
        let output = scene.driver.run(scene.exec(exec(&["python3", "-c", script])));
        let expected = "EFAULT EBADF ENOENT ENAMETOOLONG\nEBUSY EBADF ENOENT\n";
        assert_eq!(output.text(), expected, "{output:?}");
        assert_eq!(scene.told(), []);
    }
}
