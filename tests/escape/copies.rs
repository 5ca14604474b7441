//! `cp` between a sandbox and a project that the sandbox can write: links that it left there, and links that it puts
//! there while the copy runs, lead nowhere.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use support::{Who, World, eventually, stdout, told};

fn with_box(who: Who) -> World {
    let world = World::new(who);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let secret = "umask 077; mkdir ~/.ssh; echo the-key > ~/.ssh/key";
    let _ = stdout(world.command("sh").args(["-c", secret]));
    world
}

fn inside(world: &World, script: &str) -> String {
    stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", script]))
}

fn end(world: &World) {
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    eventually("nothing is left", || world.leftovers().is_empty());
}

/// What is in the user's ssh directory.
fn keys(world: &World) -> Vec<String> {
    let listed = fs::read_dir(world.home().join(".ssh")).unwrap();
    listed.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn out_to_where_a_link_in_the_project_leads() {
    for who in Who::all() {
        let world = with_box(who);
        let home = world.home().display().to_string();
        inside(
            &world,
            &format!(
                "ln -s {home}/.ssh out; ln -s {home}/.ssh/authorized_keys new; ln -s {home}/.ssh/key old; mkdir deep; \
                 ln -s {home} deep/up; ln -s ../new deep/new; echo evil > /tmp/authorized_keys"
            ),
        );
        // By a link of the user's own, too.
        let _ = stdout(world.command("sh").args(["-c", "ln -s ../project/new ~/mine"]));
        for to in [
            "out",
            "out/",
            "out/authorized_keys",
            "./deep/up/.ssh",
            "deep/../out",
            "new",
            "old",
            "deep/new",
            "../home/mine",
        ] {
            let output = world.agentkernel(["cp", "box:/tmp/authorized_keys", to]).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{who:?} {to}: {}", told(&output));
            assert_eq!(keys(&world), ["key"], "{who:?} {to}: {}", told(&output));
        }
        assert_eq!(stdout(world.command("cat").arg(world.home().join(".ssh/key"))), "the-key\n");
        // A directory that is one works.
        let _ = stdout(&mut world.agentkernel(["cp", "box:/tmp/authorized_keys", "deep"]));
        assert!(world.project().join("deep/authorized_keys").is_file());
        end(&world);
    }
}

#[test]
fn in_from_where_a_link_in_the_project_leads() {
    for who in Who::all() {
        let world = with_box(who);
        let home = world.home().display().to_string();
        inside(&world, &format!("ln -s {home}/.ssh data; ln -s {home}/.ssh/key key"));
        for arguments in [
            &["cp", "data/key", "box:/tmp/1"][..],
            &["cp", "key", "box:/tmp/2"],
            &["cp", "-L", "key", "box:/tmp/3"],
            &["cp", "data/.", "box:/tmp"],
            &["cp", "-L", "data", "box:/tmp/5"],
        ] {
            let _ = world.agentkernel(arguments).output().unwrap();
            let found = inside(&world, "cat /tmp/* /tmp/*/* 2>/dev/null; true");
            assert!(!found.contains("the-key"), "{who:?} {arguments:?}");
        }
        end(&world);
    }
}

#[test]
fn out_while_the_destination_is_swapped() {
    for who in Who::all() {
        let world = with_box(who);
        let (dir, link) = (world.project().join("d"), world.project().join("l"));
        let home = world.home().display().to_string();
        inside(
            &world,
            &format!(
                "mkdir d; ln -s {home}/.ssh l; mkdir -p /tmp/t/a/b; echo evil > /tmp/t/a/b/f; echo evil > /tmp/t/authorized_keys"
            ),
        );
        let (landed, refused) = while_swapping(&dir, &link, || {
            let output = world.agentkernel(["cp", "box:/tmp/t/.", "d"]).output().unwrap();
            assert_eq!(keys(&world), ["key"], "{who:?}: {}", told(&output));
            output.status.success()
        });
        // Both were there at times, so there was something to race with.
        assert!(landed > 0 && refused > 0, "{landed} {refused}");
        end(&world);
    }
}

/// Exchanges two names as fast as it goes while something is tried again and again, and counts how that went: until
/// it went both ways, if it can.
pub fn while_swapping(one: &Path, other: &Path, mut attempt: impl FnMut() -> bool) -> (usize, usize) {
    const LEAST: usize = 10;
    const MOST: usize = 3000;
    let over = AtomicBool::new(false);
    let mut counts = (0, 0);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while counts.0 + counts.1 < LEAST || (counts.0 == 0 || counts.1 == 0) && counts.0 + counts.1 < MOST {
                if attempt() { counts.0 += 1 } else { counts.1 += 1 }
            }
        }));
        over.store(true, Ordering::Relaxed);
        let _ = swapper.join();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    counts
}
