//! What is mounted is what was looked at: sources that are links, or become links while a sandbox starts.

use crate::copies::while_swapping;
use std::fs;
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
