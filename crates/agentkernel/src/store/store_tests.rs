#![allow(clippy::disallowed_methods)] // tests start programs and look at files
use super::*;
use crate::{BackendKind, Identity, Image, Limits, Network, SecretSource, SecretUse, Workspace};
use std::{
    ffi::OsStr,
    fs::Permissions,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::UNIX_EPOCH,
};
use tempfile::TempDir;
use wire::Exit;

pub(super) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(&dir.path().join("state")).unwrap();
    (dir, store)
}

fn name(text: &str) -> Name {
    Name::try_from(text.to_owned()).unwrap()
}

pub(super) fn spec(called: Option<&str>, keep: bool) -> Spec {
    let id = SandboxId::random().unwrap();
    Spec {
        hostname: id.to_string(),
        id,
        name: called.map(name),
        keep,
        backend: BackendKind::Native,
        engine: None,
        image: Image::Host,
        layers: Vec::new(),
        // Not UTF-8: a record must keep it.
        workspace: Workspace::Overlay { path: OsStr::from_bytes(b"/srv/\xff\xfe").into() },
        agent: None,
        mounts: Vec::new(),
        tmpfs: Vec::new(),
        read_only: false,
        log_refused: true,
        network: Network {
            secrets: vec![SecretUse {
                placeholder: "agentkernel-x-0".into(),
                name: "TOKEN".into(),
                source: SecretSource::File(OsStr::from_bytes(b"/srv/\xff").into()),
                hosts: vec![egress::Pattern::Any],
                env: None,
                file: Some(OsStr::from_bytes(b"/run/\xfe").into()),
            }],
            ..Network::default()
        },
        identity: Identity { uid: 1, gid: 1, groups: vec![], name: "u".into(), home: "/home/u".into() },
        limits: Limits {
            cpu_milli: None,
            memory: None,
            pids: None,
            disk: Some(1 << 20),
            rlimits: Vec::new(),
            nofile_is_named: false,
        },
        command: None,
        env: Vec::new(),
        workdir: "/".into(),
        timeout_ms: None,
        build: None,
    }
}

fn running() -> State {
    State::Running { supervisor_pid: 7, started_ms: 1000 }
}

fn no_release(_: &Entry, _: &Place) -> std::io::Result<()> {
    Ok(())
}

/// Sweeps, and gives what was done in short.
fn sweep(store: &Store) -> Vec<Sweeping> {
    store.sweep(false, &mut no_release).unwrap().into_iter().map(|swept| swept.what).collect()
}

fn count(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

/// Starts this test binary again, as `worker` below, with its state in `dir`.
fn start_worker(kind: &str, dir: &Path, shell: Option<&str>) -> Child {
    let own = std::env::current_exe().unwrap();
    let mut command = match shell {
        None => Command::new(&own),
        Some(script) => {
            // A mount namespace of its own; as an ordinary user with a user namespace, which gives the right to it.
            let mut command = Command::new("unshare");
            if !rustix::process::geteuid().is_root() {
                command.arg("-r");
            }
            command.args(["-m", "sh", "-ec", &format!("{script}; exec \"$@\""), "sh"]).arg(&own);
            command
        }
    };
    command.args(["store::tests::worker", "--exact", "--ignored", "--nocapture"]);
    command.env("AGENTKERNEL_TEST_WORKER", kind).env("AGENTKERNEL_TEST_DIR", dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a worker to its end; its own assertions decide.
fn run_worker(kind: &str, dir: &Path, shell: &str) {
    let output = start_worker(kind, dir, Some(shell)).wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("worker done"), "{text}");
}

/// Kills a worker once it has said "ready", a little later each time.
fn kill_worker(kind: &str, dir: &Path, after: Duration) {
    let mut child = start_worker(kind, dir, None);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "worker {kind} never got ready");
    std::thread::sleep(after);
    assert!(child.try_wait().unwrap().is_none(), "worker {kind} ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What other tests start as a process of its own.
#[test]
#[ignore = "started by other tests"]
fn worker() {
    let (Ok(kind), Some(dir)) = (std::env::var("AGENTKERNEL_TEST_WORKER"), std::env::var_os("AGENTKERNEL_TEST_DIR"))
    else {
        return;
    };
    let dir = Path::new(&dir);
    let store = || Store::at(dir).unwrap();
    let ready = || println!("ready");
    match kind.as_str() {
        "churn" => {
            let store = store();
            ready();
            for round in 0.. {
                let (entry, lock) = store.create(&spec(Some(&format!("name-{}", round % 5)), round % 2 == 0)).unwrap();
                entry.write_state(&lock, &running()).unwrap();
                store.rename(&entry, &name(&format!("other-{}", round % 5))).unwrap();
                store.remove(entry, lock).unwrap();
            }
        }
        "states" => {
            let store = store();
            let (entry, lock) = store.create(&spec(Some("steady"), true)).unwrap();
            ready();
            for started_ms in 0.. {
                entry.write_state(&lock, &State::Running { supervisor_pid: 1, started_ms }).unwrap();
            }
        }
        "log" => {
            let (entry, lock) = store().create(&spec(None, true)).unwrap();
            let mut log = entry.log_writer(&lock).unwrap();
            ready();
            loop {
                log.append(wire::Channel::Stdout, &[b'x'; 60_000]);
            }
        }
        "remove" => {
            let store = store();
            let entry = store.find("big").unwrap();
            let lock = entry.try_lock().unwrap().unwrap();
            ready();
            store.remove(entry, lock).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        "full" => full_disk(dir),
        "read-only" => {
            let store = store();
            let error = store.create(&spec(Some("one"), true)).unwrap_err();
            assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
            assert!(error.hint().contains("AGENTKERNEL_STATE_DIR"), "{}", error.hint());
            let entry = store.find("old").unwrap();
            let lock = entry.try_lock().unwrap().unwrap();
            entry.write_state(&lock, &running()).unwrap_err();
            assert_eq!(entry.state().unwrap(), State::Created);
            assert_eq!(store.list().unwrap().len(), 1);
        }
        "mounted" => {
            let store = store();
            let entry = store.find("box").unwrap();
            let lock = entry.try_lock().unwrap().unwrap();
            let error = store.remove(entry, lock).unwrap_err();
            assert!(error.hint().contains("Unmount"), "{error} {}", error.hint());
            assert_eq!(std::fs::read(dir.join("../elsewhere/file")).unwrap(), b"precious");
        }
        other => panic!("unknown worker {other}"),
    }
    println!("worker done");
}

#[test]
fn a_sandbox_is_found_by_name_id_and_prefix() {
    let (_dir, store) = store();
    let spec = spec(Some("web"), true);
    let (made, _lock) = store.create(&spec).unwrap();
    assert_eq!(made.spec().unwrap(), spec);
    for reference in ["web", spec.id.as_str(), &spec.id.as_str()[..1], &spec.id.as_str()[..11]] {
        let found = store.find(reference).unwrap();
        assert_eq!(found.id(), &spec.id);
        assert_eq!(found.spec().unwrap(), spec);
    }
    assert!(made.created_ms() > 1_600_000_000_000);
    assert_eq!(std::fs::metadata(made.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_not_there_is_told_with_the_nearest_name() {
    let (_dir, store) = store();
    let _held = store.create(&spec(Some("website"), false)).unwrap();
    let error = store.find("webiste").unwrap_err();
    assert_eq!(error.to_string(), "No sandbox 'webiste'");
    assert_eq!(error.hint(), "Did you mean 'website'?");
    for reference in ["", "../names", "web", "WEBSITE", "a/b", "\u{0}", &"x".repeat(100_000), &"0".repeat(300)] {
        assert!(matches!(store.find(reference), Err(StoreError::NotFound { .. })), "{reference}");
    }
}

#[test]
fn a_prefix_of_several_is_ambiguous_and_a_name_wins_over_it() {
    let (_dir, store) = store();
    let made = |id: &str, called| {
        let id = SandboxId::try_from(id.to_owned()).unwrap();
        store.create(&Spec { id, ..spec(called, true) }).unwrap().0
    };
    made("abc000000001", None);
    made("abc000000002", None);
    let named = made("fff000000000", Some("abc0"));
    let error = store.find("abc").unwrap_err();
    assert_eq!(error.to_string(), "'abc' fits 2 sandboxes: abc000000001, abc000000002");
    assert_eq!(store.find("abc0").unwrap().id(), named.id());
}

#[test]
fn an_id_means_its_sandbox_whatever_others_are_called() {
    let (_dir, store) = store();
    let (first, _lock) = store.create(&spec(None, true)).unwrap();
    let (second, _other) = store.create(&spec(Some("web"), true)).unwrap();
    // No name has that form. A claim that an older version made does not count.
    let id = first.id().as_str();
    let refused = "is not a name: it has the form of an id, so put a word before it";
    assert_eq!(Name::try_from(id.to_owned()).unwrap_err(), format!("'{id}' {refused}"));
    assert!(Name::try_from(format!("{id}0")).is_ok() && Name::try_from(id[1..].to_owned()).is_ok());
    std::os::unix::fs::symlink(second.id().as_str(), store.path().join(NAMES).join(id)).unwrap();
    assert_eq!(store.find(id).unwrap().id(), first.id());
}

#[test]
fn a_name_twice_is_refused_and_leaves_nothing() {
    let (_dir, store) = store();
    let (first, _lock) = store.create(&spec(Some("web"), true)).unwrap();
    match store.create(&spec(Some("web"), false)).unwrap_err() {
        StoreError::NameTaken { name, id } => assert_eq!((name.as_str(), &id), ("web", first.id())),
        other => panic!("{other}"),
    }
    assert_eq!(count(&store.path().join(SANDBOXES)), 1);
    assert!(matches!(store.create(&first.spec().unwrap()), Err(StoreError::Exists { .. })));
    assert_eq!(store.find("web").unwrap().id(), first.id());
}

#[test]
fn one_of_many_gets_the_name() {
    let (_dir, store) = store();
    // A stale claim makes it harder.
    fs::symlinkat("0123456789ab", &store.names, "web").unwrap();
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| store.create(&spec(Some("web"), false)).ok())).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(won.len(), 1);
    assert_eq!(store.find("web").unwrap().id(), won[0].0.id());
    assert_eq!(count(&store.path().join(SANDBOXES)), 1);
}

#[test]
fn renaming_works_while_it_runs() {
    let (_dir, store) = store();
    let (entry, _lock) = store.create(&spec(Some("old"), true)).unwrap();
    let (other, _other) = store.create(&spec(Some("taken"), true)).unwrap();
    assert!(matches!(store.rename(&entry, &name("taken")), Err(StoreError::NameTaken { .. })));
    store.rename(&entry, &name("new")).unwrap();
    store.rename(&entry, &name("new")).unwrap();
    assert_eq!(store.find("new").unwrap().spec().unwrap().name, Some(name("new")));
    assert!(store.find("old").is_err());
    // The old name is free.
    store.rename(&other, &name("old")).unwrap();
    assert_eq!(store.find("old").unwrap().id(), other.id());
    assert_eq!(count(&store.path().join(NAMES)), 2);
}

#[test]
fn an_interrupted_rename_is_undone() {
    let (_dir, store) = store();
    let (entry, _lock) = store.create(&spec(Some("old"), true)).unwrap();
    fs::symlinkat(entry.id().as_str(), &store.names, "new").unwrap();
    assert!(store.find("new").is_err());
    assert_eq!(store.find("old").unwrap().id(), entry.id());
    assert_eq!(sweep(&store), [Sweeping::Name(name("new"))]);
    assert!(store.find("old").is_ok());
    // The other half: the new name holds, the old link is left.
    fs::symlinkat(entry.id().as_str(), &store.names, "new").unwrap();
    entry.set_name(&name("new")).unwrap();
    assert!(store.find("old").is_err());
    let (second, _second) = store.create(&spec(Some("old"), true)).unwrap();
    assert_eq!(store.find("old").unwrap().id(), second.id());
    assert_eq!(store.find("new").unwrap().id(), entry.id());
}

#[test]
fn a_lock_is_held_until_its_last_copy_is_gone() {
    let (_dir, store) = store();
    let (entry, lock) = store.create(&spec(None, true)).unwrap();
    entry.write_state(&lock, &running()).unwrap();
    // What fork(2) does with it.
    let copy = rustix::io::fcntl_dupfd_cloexec(&lock, 3).unwrap();
    drop(lock);
    let again = store.find(entry.id().as_str()).unwrap();
    assert!(again.try_lock().unwrap().is_none());
    assert_eq!(again.state().unwrap(), running());
    drop(copy);
    let lost = State::Exited { exit: Exit::Lost, started_ms: 1000, ended_ms: None, oom_kills: 0 };
    assert_eq!(again.state().unwrap(), lost);
    assert!(again.try_lock().unwrap().is_some());
}

#[test]
fn those_who_look_do_not_keep_one_from_starting() {
    let (_dir, store) = store();
    let (entry, lock) = store.create(&spec(None, true)).unwrap();
    entry.write_state(&lock, &running()).unwrap();
    drop(lock);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let entry = store.get(&store.ids().unwrap()[0]).unwrap().unwrap();
                while !stop.load(Ordering::Relaxed) {
                    entry.state().unwrap();
                }
            });
        }
        for _ in 0..200 {
            assert!(entry.try_lock().unwrap().is_some());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn states_are_kept() {
    let (_dir, store) = store();
    let (entry, lock) = store.create(&spec(None, true)).unwrap();
    assert_eq!(entry.state().unwrap(), State::Created);
    for exit in [Exit::Code(3), Exit::Signal(9), Exit::Oom, Exit::Deadline, Exit::Lost] {
        let state = State::Exited { exit, started_ms: 1, ended_ms: Some(2), oom_kills: 3 };
        entry.write_state(&lock, &state).unwrap();
        assert_eq!(entry.state().unwrap(), state);
    }
}

#[test]
fn a_damaged_one_does_not_hide_the_others() {
    let (_dir, store) = store();
    let (good, _good) = store.create(&spec(Some("good"), true)).unwrap();
    let (bad, _bad) = store.create(&spec(Some("bad"), true)).unwrap();
    let (newer, _newer) = store.create(&spec(Some("newer"), true)).unwrap();
    let (foreign, _foreign) = store.create(&spec(Some("foreign"), true)).unwrap();
    std::fs::write(bad.path().join(SPEC), "{\"format\":1,\"rec").unwrap();
    std::fs::write(newer.path().join(SPEC), "{\"format\":2,\"box\":{}}").unwrap();
    std::fs::copy(good.path().join(SPEC), foreign.path().join(SPEC)).unwrap();
    std::fs::create_dir(store.path().join("sandboxes/README")).unwrap();
    let list = store.list().unwrap();
    assert_eq!(list.len(), 4);
    // Made within one tick of the clock, they may come in any order.
    let told = |entry: &Entry| list.iter().find(|listed| listed.id == *entry.id()).unwrap().spec.as_ref();
    assert!(told(&good).is_ok());
    for (entry, cause) in [
        (&bad, "is damaged: "),
        (&newer, "has format 2; this version reads 1"),
        (&foreign, "it describes another sandbox"),
    ] {
        let error = told(entry).unwrap_err();
        assert!(error.to_string().contains(cause), "{error}");
    }
    assert!(told(&bad).unwrap_err().hint().contains(bad.id().as_str()));
    // And can be removed by name.
    let bad = store.find("bad").unwrap();
    drop(_bad);
    let lock = bad.try_lock().unwrap().unwrap();
    store.remove(bad, lock).unwrap();
    assert!(store.find("bad").is_err());
    assert_eq!(store.list().unwrap().len(), 3);
}

#[test]
fn a_layout_of_another_version_is_refused() {
    let (_dir, store) = store();
    std::fs::write(store.path().join(VERSION), "{\"format\":7,\"record\":null}").unwrap();
    let error = Store::at(store.path()).unwrap_err();
    assert!(matches!(error, StoreError::Format { found: 7, ours: 1, .. }), "{error}");
    assert!(error.hint().contains("version"));
}

#[test]
fn a_state_directory_that_others_can_write_is_refused() {
    let (_dir, store) = store();
    for mode in [0o770, 0o707, 0o720, 0o702] {
        std::fs::set_permissions(store.path(), Permissions::from_mode(mode)).unwrap();
        let error = Store::at(store.path()).unwrap_err();
        assert!(matches!(error, StoreError::Mode { .. }), "{error}");
        assert!(error.hint().contains("chmod 700"));
    }
    if rustix::process::geteuid().is_root() {
        std::fs::set_permissions(store.path(), Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(store.path(), Some(65534), None).unwrap();
        assert!(matches!(Store::at(store.path()), Err(StoreError::Owner { owner: 65534, us: 0, .. })));
    }
}

#[test]
fn a_tree_of_any_shape_is_removed_and_nothing_else() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "").unwrap();
    let (entry, lock) = store.create(&spec(Some("box"), true)).unwrap();
    let root = entry.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
    std::fs::hard_link(outside.join("precious"), root.join("hard")).unwrap();
    std::fs::create_dir_all(root.join("work/work/inner/lock")).unwrap();
    std::fs::write(root.join("work/work/inner/file"), "").unwrap();
    for place in ["work/work/inner", "work/work", "work"] {
        std::fs::set_permissions(root.join(place), Permissions::from_mode(0o000)).unwrap();
    }
    std::fs::create_dir(root.join(OsStr::from_bytes(b"\xff\n"))).unwrap();
    // Deeper than any path can be, and than any limit of descriptors; with a name that removal itself uses.
    let mut here = fs::open(&root, DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..4200 {
        fs::mkdirat(&here, ".rm-1", Mode::RWXU).unwrap();
        fs::symlinkat("/", &here, "up").unwrap();
        here = fs::openat(&here, ".rm-1", DIRECTORY, Mode::empty()).unwrap();
    }
    for file in 0..3000 {
        std::fs::write(root.join(format!("file-{file}")), "").unwrap();
    }
    store.remove(entry, lock).unwrap();
    assert_eq!(count(&store.path().join(SANDBOXES)), 0);
    assert_eq!(count(&store.path().join(NAMES)), 0);
    assert_eq!(count(&outside), 1);
}

#[test]
fn an_ordinary_user_removes_directories_without_permissions() {
    if !rustix::process::geteuid().is_root() {
        return; // The test above was one by an ordinary user.
    }
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    std::fs::create_dir_all(top.join("a/b/c")).unwrap();
    std::fs::write(top.join("lock"), "").unwrap();
    for place in ["a/b/c", "a/b", "a"] {
        std::fs::set_permissions(top.join(place), Permissions::from_mode(0o000)).unwrap();
        std::os::unix::fs::chown(top.join(place), Some(65534), Some(65534)).unwrap();
    }
    std::os::unix::fs::chown(&top, Some(65534), Some(65534)).unwrap();
    let top = fs::open(&top, DIRECTORY, Mode::empty()).unwrap();
    // A thread may have its own identity; setresuid(2) of one thread only is what rustix offers.
    std::thread::scope(|scope| {
        let run = || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            tree::empty(top.as_fd(), c"lock", u64::MAX)
        };
        scope.spawn(run).join().unwrap().unwrap();
    });
    assert_eq!(Dir::read_from(&top).unwrap().count(), 3, "., .. and lock");
}

#[test]
fn removal_does_not_cross_into_a_mount() {
    let (dir, store) = store();
    let (entry, lock) = store.create(&spec(Some("box"), true)).unwrap();
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("file"), "precious").unwrap();
    let point = entry.path().join("root/a/b");
    std::fs::create_dir_all(&point).unwrap();
    drop(lock);
    // A bind mount: the same device on both sides.
    run_worker("mounted", store.path(), &format!("mount --bind {} {}", elsewhere.display(), point.display()));
    // Outside that namespace nothing is mounted, and the next sweep goes on.
    assert_eq!(sweep(&store), [Sweeping::Removal]);
    assert_eq!(count(&store.path().join(SANDBOXES)), 0);
}

#[test]
fn a_sweep_clears_what_is_dead_and_only_that() {
    let (_dir, store) = store();
    let live = store.create(&spec(Some("live"), false)).unwrap();
    live.0.write_state(&live.1, &running()).unwrap();
    let idle = store.create(&spec(Some("idle"), true)).unwrap().0;
    let dead = store.create(&spec(Some("dead"), false)).unwrap().0.id().clone();
    let (kept, lock) = store.create(&spec(Some("kept"), true)).unwrap();
    kept.write_state(&lock, &running()).unwrap();
    std::fs::write(kept.path().join(".new-77-0"), "half a record").unwrap();
    drop(lock);
    let half = store.path().join("sandboxes/00000000000a");
    std::fs::create_dir(&half).unwrap();
    let half_locked = store.path().join("sandboxes/00000000000b");
    std::fs::create_dir(&half_locked).unwrap();
    std::fs::write(half_locked.join(LOCK), "").unwrap();
    std::fs::create_dir_all(store.path().join("sandboxes/.rm-00000000000c/root/x")).unwrap();
    fs::symlinkat("00000000000d", &store.names, "ghost").unwrap();
    std::fs::create_dir(store.path().join("sandboxes/strange")).unwrap();

    let mut expected = vec![
        (Sweeping::HalfMade, "00000000000a".to_owned()),
        (Sweeping::HalfMade, "00000000000b".into()),
        (Sweeping::Removal, "00000000000c".into()),
        (Sweeping::Name(name("ghost")), "00000000000d".into()),
        (Sweeping::Ephemeral, dead.to_string()),
        (Sweeping::Lost, kept.id().to_string()),
    ];
    let key = |swept: &(Sweeping, String)| swept.1.clone();
    expected.sort_by_key(key);
    let mut released = Vec::new();
    for dry_run in [true, false] {
        let mut release = |entry: &Entry, _: &Place| {
            released.push(entry.id().to_string());
            Ok(())
        };
        let mut found: Vec<_> = store.sweep(dry_run, &mut release).unwrap();
        found.sort_by_key(|swept| swept.id.clone());
        assert!(found.iter().all(|swept| swept.error.is_none()), "{found:?}");
        let found: Vec<_> = found.into_iter().map(|swept| (swept.what, swept.id.to_string())).collect();
        assert_eq!(found, expected, "dry run: {dry_run}");
        assert!(!dry_run || released.is_empty());
    }
    released.sort();
    // A removal that was begun as well: the end may not have been over.
    let mut not_running: Vec<_> = [&dead, kept.id(), idle.id()].map(ToString::to_string).into();
    not_running.push("00000000000c".into());
    not_running.sort();
    assert_eq!(released, not_running);
    assert_eq!(sweep(&store), []);
    assert_eq!(live.0.state().unwrap(), running());
    assert!(matches!(kept.recorded().unwrap(), State::Exited { exit: Exit::Lost, .. }));
    assert!(!kept.path().join(".new-77-0").exists());
    assert_eq!(store.find("idle").unwrap().state().unwrap(), State::Created);
    assert_eq!(count(&store.path().join(SANDBOXES)), 4, "live, idle, kept, strange");
}

#[test]
fn what_a_backend_cannot_release_stays() {
    let (_dir, store) = store();
    drop(store.create(&spec(Some("dead"), false)).unwrap());
    let mut refuse = |_: &Entry, _: &Place| Err(std::io::Error::other("cgroup busy"));
    let found = store.sweep(false, &mut refuse).unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].error.is_some());
    assert!(store.find("dead").is_ok());
    assert_eq!(sweep(&store), [Sweeping::Ephemeral]);
}

#[test]
fn sandboxes_are_made_while_sweeps_run() {
    let (_dir, store) = store();
    let stop = AtomicBool::new(false);
    // Their locks must outlive the last sweep.
    let _made = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for swept in store.sweep(false, &mut no_release).unwrap() {
                        // Half-made is all that a sweep may see here.
                        assert_eq!(swept.what, Sweeping::HalfMade, "{:?}", swept.error);
                    }
                }
            });
        }
        let made: Vec<_> = (0..300).map(|n| store.create(&spec(Some(&format!("n{n}")), false)).unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        for (entry, _lock) in &made {
            assert!(store.find(entry.id().as_str()).is_ok());
        }
        made
    });
    assert_eq!(count(&store.path().join(NAMES)), 300);
}

#[test]
fn killed_at_any_moment_a_sweep_clears_the_rest() {
    let (_dir, store) = store();
    for round in 0..12 {
        kill_worker("churn", store.path(), Duration::from_micros(700 * round));
        sweep(&store);
        // What is left is whole: a kept sandbox that was lost or never ran, at most one.
        let list = store.list().unwrap();
        assert!(list.len() <= 1, "{list:?}");
        for listed in list {
            let spec = listed.spec.unwrap();
            let entry = store.find(spec.name.unwrap().as_str()).unwrap();
            let lock = entry.try_lock().unwrap().unwrap();
            store.remove(entry, lock).unwrap();
        }
        assert_eq!(sweep(&store), []);
        assert_eq!(count(&store.path().join(SANDBOXES)), 0);
        assert_eq!(count(&store.path().join(NAMES)), 0);
    }
}

#[test]
fn a_record_is_whole_whenever_its_writer_is_killed() {
    for round in 0..8 {
        let (_dir, store) = store();
        kill_worker("states", store.path(), Duration::from_micros(900 * round));
        let entry = store.find("steady").unwrap();
        assert!(matches!(entry.recorded().unwrap(), State::Created | State::Running { supervisor_pid: 1, .. }));
    }
}

#[test]
fn a_removal_that_was_killed_is_finished() {
    let (_dir, store) = store();
    let (entry, lock) = store.create(&spec(Some("big"), true)).unwrap();
    for directory in 0..300 {
        let path = entry.path().join(format!("root/{directory}/a/b/c"));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("file"), "").unwrap();
    }
    drop(lock);
    kill_worker("remove", store.path(), Duration::from_millis(2));
    assert!(store.find("big").is_err(), "gone from the first step on");
    assert_eq!(sweep(&store), [Sweeping::Removal]);
    assert_eq!(count(&store.path().join(SANDBOXES)), 0);
}

#[test]
fn a_log_is_readable_whenever_its_writer_is_killed() {
    let mut written = 0;
    for round in 0..4 {
        let (_dir, store) = store();
        kill_worker("log", store.path(), Duration::from_millis(3 + 100 * round));
        let entry = store.get(&store.ids().unwrap()[0]).unwrap().unwrap();
        let records = |entry: &Entry| {
            let mut reader = entry.log_reader(Tail::default()).unwrap();
            std::iter::from_fn(|| reader.next_record().unwrap()).collect::<Vec<_>>()
        };
        let before = records(&entry);
        // The first kills may come before the first byte.
        written += before.len();
        let lock = entry.try_lock().unwrap().unwrap();
        entry.log_writer(&lock).unwrap().append(wire::Channel::Stderr, b"again");
        let after = records(&entry);
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after.last().unwrap().data, LogData::Output(wire::Channel::Stderr, b"again".to_vec()));
    }
    assert!(written > 0);
}

#[test]
fn a_full_disk_is_told_and_costs_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=64k,mode=700 tmpfs {}", dir.path().display());
    run_worker("full", dir.path(), &script);
}

/// In a worker, on a file system of 64 KiB.
fn full_disk(dir: &Path) {
    let store = Store::at(dir).unwrap();
    let (entry, lock) = store.create(&spec(Some("first"), true)).unwrap();
    let created = State::Exited { exit: Exit::Code(1), started_ms: 1, ended_ms: Some(2), oom_kills: 0 };
    entry.write_state(&lock, &created).unwrap();
    let mut log = entry.log_writer(&lock).unwrap();
    log.append(wire::Channel::Stdout, b"before\n");

    let ballast = dir.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    let error = entry.write_state(&lock, &running()).unwrap_err();
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    assert!(error.hint().contains("Free some space"), "{}", error.hint());
    assert_eq!(entry.recorded().unwrap(), created);
    store.create(&spec(Some("second"), true)).unwrap_err();
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(count(&dir.join(SANDBOXES)), 1);
    assert_eq!(count(&dir.join(NAMES)), 1);
    for _ in 0..20 {
        log.append(wire::Channel::Stdout, &[b'x'; 1000]);
    }
    assert!(log.lost() > 0);

    let lost = log.lost();
    drop(file);
    std::fs::remove_file(ballast).unwrap();
    log.append(wire::Channel::Stdout, b"after\n");
    assert_eq!(log.lost(), 0);
    let mut reader = entry.log_reader(Tail::default()).unwrap();
    let records: Vec<_> = std::iter::from_fn(|| reader.next_record().unwrap()).map(|record| record.data).collect();
    assert_eq!(records[0], LogData::Output(wire::Channel::Stdout, b"before\n".to_vec()));
    let end = &records[records.len() - 2..];
    assert_eq!(end, [LogData::Lost(lost), LogData::Output(wire::Channel::Stdout, b"after\n".to_vec())]);
    let written: usize = records
        .iter()
        .map(|data| match data {
            LogData::Output(_, bytes) => bytes.len(),
            LogData::Notice(_) => 0,
            LogData::Lost(count) => *count as usize,
        })
        .sum();
    assert_eq!(written, 7 + 20_000 + 6, "every byte is there or counted");
}

#[test]
fn a_read_only_state_directory_is_told() {
    let (_dir, store) = store();
    drop(store.create(&spec(Some("old"), true)).unwrap());
    let path = store.path().display().to_string();
    run_worker("read-only", store.path(), &format!("mount --bind {path} {path}; mount -o remount,bind,ro {path}"));
}

#[test]
fn the_socket_works_at_any_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(["long name ü"; 20].join("/")).join("x".repeat(200));
    let store = Store::at(&path).unwrap();
    let (entry, lock) = store.create(&spec(None, true)).unwrap();
    assert!(entry.path().as_os_str().len() > 400);
    assert!(matches!(entry.connect(), Err(StoreError::NotRunning { .. })));
    for _ in 0..2 {
        let listener = entry.listen(&lock).unwrap();
        let mut client = entry.connect().unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        drop(listener);
        // A dead supervisor's socket.
        assert!(matches!(entry.connect(), Err(StoreError::NotRunning { .. })));
    }
}

#[test]
fn nobody_waits_in_a_queue_that_nobody_serves() {
    let (_dir, store) = store();
    let (entry, lock) = store.create(&spec(None, true)).unwrap();
    let _listener = entry.listen(&lock).unwrap();
    // Those who have left stand in the queue still.
    let full = (0..1_000_000).find_map(|_| entry.connect().err());
    assert!(matches!(full, Some(StoreError::NotRunning { .. })), "{full:?}");
}

#[test]
fn trust_is_for_one_file_as_it_is() {
    use crate::config::ProjectFile;
    let (_dir, store) = store();
    let file = |path: &str, text: &str| ProjectFile::parse(path.into(), text.into()).unwrap();
    let accepted = file("/p/agentkernel.toml", "[sandbox]\n");
    assert!(!store.is_trusted(&accepted).unwrap());
    store.trust(&accepted).unwrap();
    assert!(store.is_trusted(&accepted).unwrap());
    assert!(!store.is_trusted(&file("/p/agentkernel.toml", "[sandbox]\n\n")).unwrap());
    assert!(!store.is_trusted(&file("/q/agentkernel.toml", "[sandbox]\n")).unwrap());
    assert!(store.distrust(&accepted).unwrap());
    assert!(!store.distrust(&accepted).unwrap());
    assert!(!store.is_trusted(&accepted).unwrap());
}

#[test]
fn the_oldest_is_listed_first() {
    let (_dir, store) = store();
    let mut made = Vec::new();
    for second in [30, 10, 20] {
        let (entry, _lock) = store.create(&spec(None, true)).unwrap();
        let time = UNIX_EPOCH + Duration::from_secs(second);
        std::fs::File::open(entry.path().join(LOCK)).unwrap().set_modified(time).unwrap();
        assert_eq!(entry.created_ms(), second * 1000);
        made.push(entry);
    }
    let listed: Vec<SandboxId> = store.list().unwrap().into_iter().map(|listed| listed.id).collect();
    assert_eq!(listed, [made[1].id().clone(), made[2].id().clone(), made[0].id().clone()]);
}
