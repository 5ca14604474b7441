//! What is mounted is what was looked at: sources that are links, or become links while a sandbox starts.

use crate::copies::while_swapping;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicBool, Ordering},
};
use support::{Who, World, eventually, stdout, told};

const TOKEN: &str = "the-other-project";

/// A project with a directory `sub`, a link `link` out of it, and a secret where the link leads.
fn tempting(who: Who) -> World {
    let world = World::new(who);
    let script = format!("mkdir sub ~/other; echo fine > sub/file; echo {TOKEN} > ~/other/file; ln -s ~/other link");
    let _ = stdout(world.command("sh").args(["-c", &script]));
    world
}

#[test]
fn a_mount_source_that_is_a_link() {
    for who in Who::all() {
        let world = tempting(who);
        let run = |source: &str| {
            let mount = format!("{source}:/mnt/it:ro");
            world.agentkernel(["run", "--mount", &mount, "--", "cat", "/mnt/it/file"]).output().unwrap()
        };
        assert_eq!(run("./sub").stdout, b"fine\n");
        for source in ["./link", "./link/.", "./sub/../link"] {
            let output = run(source);
            assert_eq!(output.status.code(), Some(125), "{who:?} {source}: {}", told(&output));
            assert!(output.stdout.is_empty(), "{who:?} {source}: {}", told(&output));
        }
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn a_mount_source_that_is_swapped() {
    for who in Who::all() {
        let world = tempting(who);
        let (dir, link) = (world.project().join("sub"), world.project().join("link"));
        let (came, refused) = while_swapping(&dir, &link, || {
            let output = world
                .agentkernel(["run", "--mount", "./sub:/mnt/it:ro", "--", "cat", "/mnt/it/file"])
                .output()
                .unwrap();
            assert!(!String::from_utf8_lossy(&output.stdout).contains(TOKEN), "{who:?}: {}", told(&output));
            output.status.success()
        });
        assert!(came > 0 && refused > 0, "{came} {refused}");
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Root makes placeholders in other people's directories. None may ever be root's there: its owner could put a file of
/// root's in its place, and be given that.
#[test]
fn a_placeholder_that_is_swapped() {
    if !rustix::process::getuid().is_root() {
        return support::skipped("swapped placeholders", "only root makes them for others");
    }
    let world = World::new(Who::Me);
    let project = world.project();
    let _ = stdout(
        world
            .command("sh")
            .args(["-c", "mkdir ../own; chown 12345:12345 . ../own; echo roots > ../own/file; chmod 600 ../own/file"]),
    );
    let (victim, over) = (project.join("../own/file"), AtomicBool::new(false));
    let names = [".agents", ".claude", ".codex", ".envrc", ".git", ".husky", ".vscode", "agentkernel.toml"];
    let seen = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut seen = 0;
            while !over.load(Ordering::Relaxed) {
                for path in names.map(|name| project.join(name)) {
                    let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                    seen += 1;
                    if meta.uid() == 0 && fs::rename(&victim, &path).is_ok() {
                        return seen;
                    }
                }
            }
            seen
        });
        for _ in 0..20 {
            let _ = world.agentkernel(["run", "--", "true"]).output().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        attacker.join().unwrap()
    });
    assert!(seen > 0);
    assert_eq!(fs::metadata(&victim).map(|meta| meta.uid()).ok(), Some(0), "the file was taken");
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn a_protected_path_that_is_swapped() {
    for who in Who::all() {
        let world = World::new(who);
        // A link where the hooks are looked for, which leads to what the sandbox must not make read-only or read.
        let script = "mkdir -p .git/real ~/other; echo mine > ~/other/file; ln -s ~/other .git/hooks; echo '[core]' > .git/config";
        let _ = stdout(world.command("sh").args(["-c", script]));
        let (dir, link) = (world.project().join(".git/real"), world.project().join(".git/hooks"));
        let (directory, link) = while_swapping(&dir, &link, || {
            let script = "echo evil > .git/hooks/post-commit; cat .git/hooks/file; test -d .git/hooks";
            let output = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
            assert!(output.stdout.is_empty(), "{who:?}: {}", told(&output));
            output.status.success()
        });
        assert!(directory > 0 && link > 0, "{directory} {link}");
        let names = fs::read_dir(world.home().join("other")).unwrap().count();
        assert_eq!(names, 1, "{who:?}");
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
