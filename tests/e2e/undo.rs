//! A project is brought back to what it was before a run.

use std::fs;
use support::{Who, World, eventually, stdout, told};

#[test]
fn what_a_run_has_done_to_a_project_is_undone() {
    for who in Who::all() {
        let world = World::new(who);
        let shell = |script: &str| stdout(world.command("sh").args(["-c", script]));
        let tree = || {
            shell(
                "find . -mindepth 1 ! -type l -printf '%P %y %m %T@\\n' -o -printf '%P -> %l\\n' | sort
                 find . -type f | sort | xargs sha256sum",
            )
        };
        shell(
            "git init -q . && git config user.email a@b.c && git config user.name a; mkdir -p src/deep; echo main > src/main.c
             echo deep > src/deep/file; ln -s src/main.c link; chmod 750 src/deep; git add . && git commit -qm first",
        );
        let before = tree();
        let run = |script: &str| stdout(&mut world.agentkernel(["run", "--checkpoint", "--", "sh", "-c", script]));
        run("rm -rf src link .git/objects .git/refs; echo new > new; mkdir -p more/and/more; echo x > more/and/more/x");
        let after = tree();
        assert_ne!(before, after);
        let list = stdout(&mut world.agentkernel(["undo", "--list"]));
        assert!(
            list.starts_with("CHECKPOINT") && list.lines().count() == 2 && list.contains("sh -c rm -rf src"),
            "{list}"
        );
        let planned = stdout(&mut world.agentkernel(["undo", "-n"]));
        for line in [
            "restored  src/main.c\n",
            "removed   new\n",
            "removed   more\n",
            "restored  link\n",
            "All would be as before",
        ] {
            assert!(planned.contains(line), "{planned}");
        }
        assert_eq!(tree(), after);
        let done = stdout(&mut world.agentkernel(["undo"]));
        assert!(done.contains("'agentkernel undo 2' takes this back"), "{done}");
        assert_eq!(tree(), before);
        shell("git fsck --full && git log --oneline | grep first");
        // What is undone can be done again.
        let _ = stdout(&mut world.agentkernel(["undo", "2"]));
        assert_eq!(shell("cat new; ls -A .git | grep -c objects || true"), "new\n0\n");
        let _ = stdout(&mut world.agentkernel(["undo", "1"]));
        assert_eq!(tree(), before);
        let again = stdout(&mut world.agentkernel(["undo", "1"]));
        assert!(again.starts_with("Nothing to undo: all is as before"), "{again}");
        let output = world.agentkernel(["undo", "9"]).output().unwrap();
        assert!(
            told(&output).contains("no checkpoint 9") && told(&output).contains("undo --list"),
            "{}",
            told(&output)
        );
        let list = stdout(&mut world.agentkernel(["undo", "--list", "--json"]));
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&list[0]["number"], &list[1]["undo_to"]), (&1.into(), &1.into()), "{list}");
        let _ = stdout(&mut world.agentkernel(["undo", "--forget"]));
        let output = world.agentkernel(["undo"]).output().unwrap();
        let words = told(&output);
        assert!(
            words.contains("no checkpoint to go back to") && words.contains("if 'checkpoint' is asked for"),
            "{words}"
        );
        assert!(!words.contains("--no-checkpoint"), "{words}");
        assert_eq!(tree(), before);
    }
}

/// Each start makes and takes away what keeps protected paths from being made, in `.git` too.
#[test]
fn runs_that_change_nothing_keep_none() {
    for who in Who::all() {
        let world = World::new(who);
        let shell = |script: &str| stdout(world.command("sh").args(["-c", script]));
        shell("git init -q . && mkdir -p .vscode && echo precious > file");
        let run = |script: &str| stdout(&mut world.agentkernel(["run", "--checkpoint", "--", "sh", "-c", script]));
        run("rm file");
        // What has changed just now could change again within the same tick of the clock: it is kept anew until then.
        shell("sleep 3");
        for _ in 0..12 {
            run("true");
        }
        let list = stdout(&mut world.agentkernel(["undo", "--list"]));
        assert!(list.lines().count() <= 3, "{list}");
        // What was changed between two runs is not what the last one did.
        shell("echo mine > mine");
        run("true");
        for words in [&["undo"][..], &["undo", "-n"]] {
            let output = world.agentkernel(words).output().unwrap();
            let words = told(&output);
            assert!(words.contains("Nothing has changed since 'sh -c true'"), "{words}");
            assert!(words.contains("'agentkernel undo 2'"), "{words}");
        }
        assert_eq!(shell("cat mine"), "mine\n");
        let _ = stdout(&mut world.agentkernel(["undo", "1"]));
        assert_eq!(shell("cat file; ls"), "precious\nfile\n");
    }
}

#[test]
fn nothing_is_undone_under_a_sandbox_that_runs() {
    for who in Who::all() {
        let world = World::new(who);
        fs::write(world.project().join("file"), "text").unwrap();
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--checkpoint", "--name", "box", "--", "sleep", "100"]));
        let output = world.agentkernel(["undo"]).output().unwrap();
        let words = told(&output);
        assert!(!output.status.success() && words.contains("Sandbox box still runs in this project"), "{words}");
        assert!(words.contains("agentkernel stop box"), "{words}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("it is gone", || world.agentkernel(["undo"]).status().is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_run_without_its_checkpoint_is_none() {
    let world = World::new(Who::Me);
    for arguments in [&["--workspace", "overlay"][..], &["--workspace", "none"]] {
        let arguments = [&["run", "--checkpoint"], arguments, &["--", "touch", "done"]].concat();
        let output = world.agentkernel(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        assert!(told(&output).contains("`--checkpoint` has no use in this workspace"), "{}", told(&output));
    }
    let output = world.command("sh").args(["-c", "truncate -s 5G huge"]).output().unwrap();
    assert!(output.status.success());
    let output = world.agentkernel(["run", "--checkpoint", "--", "touch", "done"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    assert!(told(&output).contains("more than 4 GiB"), "{}", told(&output));
    assert!(!world.project().join("done").exists());
    assert_eq!(stdout(&mut world.agentkernel(["ps", "-aq"])), "");
    assert_eq!(stdout(&mut world.agentkernel(["undo", "--list"])).lines().count(), 1);
}
