//! `attest` takes away what it planted, however it ends.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};
use support::{Who, World, eventually};

/// The directory of the canaries, in the user's own temporary directory.
fn planted(world: &World) -> Option<PathBuf> {
    let entries = fs::read_dir(world.home()).unwrap().flatten();
    entries.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("/agentkernel-attest-"))
}

/// An attack under way, outside the sandbox or inside.
fn attack(world: &World, inside: bool) -> (Child, PathBuf) {
    let child = world
        .agentkernel(["attest"])
        .env("TMPDIR", world.home())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("canaries are planted", || planted(world).is_some());
    if inside {
        eventually("a sandbox runs", || world.processes().iter().any(|(_, name)| name == "init"));
    }
    (child, planted(world).unwrap())
}

/// What is left of an attack.
fn left(world: &World, plants: &Path) -> Vec<String> {
    let name = format!(".{}", plants.file_name().unwrap().to_string_lossy());
    let places = ["/tmp", "/dev/shm", "/run", "/etc", "/root", "/"].map(PathBuf::from);
    let mut places = places.iter().chain([&world.home()]).map(|place| place.join(&name)).collect::<Vec<_>>();
    places.push(plants.to_owned());
    let planted = places.iter().filter(|path| path.symlink_metadata().is_ok()).map(|path| path.display().to_string());
    planted.chain(world.leftovers().iter().map(|leftover| format!("{leftover:?}"))).collect()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).unwrap()
}

/// Once nobody has tidied up before the end, those that it leaves do so after it.
fn wait_for_nothing_left(world: &World, plants: &Path) {
    for _ in 0..400 {
        if left(world, plants).is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
}

/// What an attempt that is made outside holds as long as it lives; `None` if none is caught.
fn hold_of_an_attempt(runner: &Child) -> Option<fs::File> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", runner.id())).ok()?;
    children.split_whitespace().find_map(|pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let attempt = line.contains("\0control\0");
        fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/fd/0")).ok().filter(|_| attempt)
    })
}

fn ends(signal: Signal, inside: bool) {
    for who in Who::all() {
        let world = World::new(who);
        let (mut child, plants) = attack(&world, inside);
        kill_process(pid(&child), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::KILL {
            wait_for_nothing_left(&world, &plants);
        } else {
            assert_eq!(status.code(), Some(128 + signal.as_raw()), "{who:?}");
        }
        assert_eq!(left(&world, &plants), [""; 0], "{who:?}");
    }
}

#[test]
fn by_ctrl_c_outside() {
    ends(Signal::INT, false);
}

#[test]
fn by_ctrl_c_inside() {
    ends(Signal::INT, true);
}

#[test]
fn by_a_hangup() {
    ends(Signal::HUP, true);
}

#[test]
fn by_a_kill() {
    ends(Signal::KILL, true);
}

/// What an attempt makes outside is taken away even if it takes longer than whoever makes it lives.
#[test]
fn by_a_kill_in_an_attempt() {
    for who in Who::all() {
        let world = World::new(who);
        let (mut child, plants) = attack(&world, false);
        let mut hold = None;
        eventually("an attempt is caught", || {
            hold = hold_of_an_attempt(&child);
            hold.is_some()
        });
        kill_process(pid(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        std::thread::sleep(std::time::Duration::from_secs(2));
        let kept = plants.exists();
        drop(hold);
        wait_for_nothing_left(&world, &plants);
        assert_eq!(left(&world, &plants), [""; 0], "{who:?}");
        assert!(kept, "{who:?}: nobody would take away what it makes");
    }
}
