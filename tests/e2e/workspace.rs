//! What a sandbox may leave in a direct workspace for the host, and what not.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use support::{Who, World, eventually, stdout, told};

#[test]
fn no_set_user_id_file_is_made_in_a_workspace() {
    // Each must leave a file without the bits, whether the program takes the refusal as its end or not.
    let ways = [
        "touch f && chmod u+s f",
        "touch f && chmod 6755 f",
        "touch f && chmod g+s f",
        "install -m 4755 /bin/true f",
        "cp -a --no-preserve=ownership /usr/bin/su f",
        "umask 0; perl -e 'use Fcntl; sysopen(F, \"f\", O_WRONLY | O_CREAT, 04777) or die $!'",
        "mkdir d && chmod g+s d",
    ];
    for who in Who::all() {
        for mode in ["direct", "overlay"] {
            let world = World::new(who);
            for way in ways {
                let script =
                    format!("({way}) 2>refused; find . -perm /6000 | grep . && exit 9; grep -i permitted refused");
                let told = stdout(&mut world.agentkernel(["run", "--workspace", mode, "--", "sh", "-c", &script]));
                assert!(told.contains("not permitted"), "{way}: {told}");
                let _ = stdout(world.command("sh").args(["-c", "test -z \"$(find . -perm /6000)\" && rm -rf ./*"]));
            }
        }
    }
}

#[test]
fn copies_lose_set_user_id_bits_both_ways() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        let box_of = |command: &[&str]| run(&[&["exec", "box"], command].concat());
        run(&["create", "--name", "box"]);
        run(&["start", "box"]);
        let outside = world.home().join("tool");
        let _ = stdout(world.command("cp").args([std::path::Path::new("/bin/true"), &outside]));
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o6755)).unwrap();
        // Into the workspace, where the host sees it again.
        let target = format!("box:{}/in", world.project().display());
        run(&["cp", outside.to_str().unwrap(), &target]);
        assert_eq!(box_of(&["stat", "-c", "%a", "in"]), "755\n");
        let mode = |name: &str| fs::metadata(world.project().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("in"), 0o755);
        // Out of it: the host's own set-user-id program, which the image has.
        let image = "/usr/bin/su";
        assert_eq!(box_of(&["stat", "-c", "%a", image]), "4755\n");
        run(&["cp", &format!("box:{image}"), "out"]);
        assert_eq!(mode("out"), 0o755);
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn a_program_sees_no_openat2_and_its_filters() {
    let world = World::new(Who::Me);
    let output =
        world.agentkernel(["run", "--", "sh", "-c", "grep Seccomp_filters /proc/self/status"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Seccomp_filters:\t2\n", "{}", told(&output));
}

/// What is protected, and would be made by a program that means harm.
const PROTECTED: [&str; 31] = [
    "agentkernel.toml",
    ".git/hooks/post-checkout",
    ".git/config",
    ".git/modules/m/config",
    ".git/commondir",
    ".envrc",
    ".vscode/tasks.json",
    ".mcp.json",
    ".claude/settings.json",
    ".claude/commands/c.md",
    ".gemini/settings.json",
    "opencode.json",
    ".husky/pre-commit",
    ".junie/mcp/mcp.json",
    ".mcphub/servers.json",
    ".claude/scheduled_tasks.json",
    ".claude/workflows/w.js",
    ".qwen/settings.json",
    ".amp/settings.json",
    ".aider.conf.yml",
    ".aider.model.settings.yml",
    ".crush.json",
    "crush.json",
    ".github/hooks/h.json",
    ".github/mcp.json",
    ".github/copilot/settings.json",
    "tui.json",
    "crushrc",
    ".crushrc",
    ".helix/languages.toml",
    ".vim/coc-settings.json",
];

/// Everything in the project, by its path below it, without the contents of git's own directory.
fn listing(world: &World) -> String {
    stdout(world.command("sh").args(["-c", "find . -path ./.git/objects -prune -o -print | sort"]))
}

/// Waits for a supervisor that has told the exit and still tidies up.
fn settled(world: &World, expected: &str) {
    for _ in 0..200 {
        if world.leftovers().is_empty() && listing(world) == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{:?}\n{}", world.leftovers(), listing(world));
}

#[test]
fn missing_protected_paths_cannot_be_made() {
    let script = "for f in \"$@\"; do
        mkdir -p \"$(dirname \"$f\")\" && echo bad > \"$f\" && echo \"made $f\"
        top=${f%%/*}
        rm -rf \"$top\"; rmdir \"$top\"; mv -T \"$top\" away; ln -sfn /tmp \"$top\"; chmod -R 777 \"$top\"
        mkdir -p \"$(dirname \"$f\")\" && echo bad > \"$f\" && echo \"made $f\"
    done 2>/dev/null; echo fine > ok; mkdir -p src/.x && echo done";
    for who in Who::all() {
        // Without git, and in a repository.
        for prepare in ["true", "git init -q . && rm -rf .git/hooks && mkdir .claude && echo x > .claude/mine"] {
            let world = World::new(who);
            let _ = stdout(world.command("sh").args(["-c", prepare]));
            let config = fs::read(world.project().join(".git/config")).ok();
            let mut run = world.agentkernel(["run", "--", "sh", "-c", script, "sh"]);
            let missing = PROTECTED.iter().filter(|path| !world.project().join(path).is_file());
            assert_eq!(stdout(run.args(missing)), "done\n");
            // The rest of git's directory, of .claude and of .github is the sandbox's to write, or to remove.
            let _ = stdout(world.command("rm").args(["-rf", "ok", "src", ".git/tmp", ".claude/tmp", ".github"]));
            settled(&world, if config.is_some() { ".\n./.claude\n./.git\n./.git/config\n" } else { ".\n" });
            assert_eq!(fs::read(world.project().join(".git/config")).ok(), config);
        }
    }
}

#[test]
fn workflows_can_be_made_and_hooks_beside_them_cannot() {
    for who in Who::all() {
        let world = World::new(who);
        let ran = |script: &str| stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script]));
        // Two at once: who ends first leaves the other's wall alone.
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "one", "--", "sleep", "600"]));
        let script = "ls -A .github | wc -l; echo x > .github/hooks; mkdir .github/hooks; rm -rf .github; mv .github away; ls -d .github";
        assert_eq!(ran(&format!("({script}) 2> /dev/null")), "7\n.github\n");
        let exec = |script: &str| stdout(&mut world.agentkernel(["exec", "one", "sh", "-c", script]));
        assert_eq!(exec("cd $OLDPWD 2> /dev/null; (echo x > .github/hooks) 2> /dev/null || echo held"), "held\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "one"]));
        settled(&world, ".\n");
        let script = "mkdir .github/workflows && echo ci > .github/workflows/ci.yml && echo made; mkdir -p .github/hooks/x 2> /dev/null || echo held";
        assert_eq!(ran(script), "made\nheld\n");
        settled(&world, ".\n./.github\n./.github/workflows\n./.github/workflows/ci.yml\n");
        assert_eq!(
            ran("echo more >> .github/workflows/ci.yml; mkdir .github/hooks 2> /dev/null || echo held"),
            "held\n"
        );
        settled(&world, ".\n./.github\n./.github/workflows\n./.github/workflows/ci.yml\n");
        // Where all of it is protected, there is nothing to make.
        fs::remove_dir_all(world.project().join(".github")).unwrap();
        fs::write(world.project().join("agentkernel.toml"), "[workspace]\nprotect = ['.github']\n").unwrap();
        let _ = stdout(&mut world.agentkernel(["trust"]));
        let script =
            "(mkdir -p .github/workflows; rm -rf .github; mkdir .github) 2> /dev/null; test -d .github/ || echo held";
        assert_eq!(ran(script), "held\n");
        settled(&world, ".\n./agentkernel.toml\n");
    }
}

#[test]
fn what_agents_read_is_not_there_and_cannot_be_made() {
    let script = "for f in .claude .codex .gemini .qwen .amp .crush.json .crushrc crushrc .agents .opencode opencode.json opencode.jsonc .mcp.json; do
            test -e $f && echo \"$f is there\"
            cat $f 2>&1 | grep -q 'No such file' || echo \"$f is something\"
            { echo x > $f; rm -rf $f; mv $f away; ln -sfn /tmp $f; mkdir -p $f/x && echo x > $f/x/y; } 2> /dev/null
            test -e $f && echo \"$f was made\"
        done
        ls .claude/settings.json 2>&1 | grep -c 'No such file'
        (echo x > .aider.conf.yml; rm -f .aider.conf.yml) 2> /dev/null; cat .aider.conf.yml
        git -c safe.directory='*' add -A && git -c safe.directory='*' status --short; echo done";
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(world.command("sh").args(["-c", "git init -q . && echo a > a"]));
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script])), "1\n{}\nA  a\ndone\n", "{who:?}");
        // Nor are they there for whoever copies all of it.
        let copy = "cp -r . /tmp/copy 2> /dev/null; ls -A /tmp/copy | grep -c -e claude -e opencode";
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let inside = stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", copy]));
        assert_eq!(inside, "4\n", "{who:?}");
        let from = format!("box:{}", world.project().display());
        let _ = stdout(&mut world.agentkernel(["cp", &from, "../home/copied"]));
        let copied = stdout(world.command("ls").args(["-A", "../home/copied"]));
        assert_eq!(copied, ".git\na\n", "{who:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

/// Sandboxes that are started in different directories protect different ones.
#[test]
fn what_was_protected_where_others_were_started_goes_with_the_last() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(world.command("sh").args(["-c", "git init -q . && mkdir -p sub/deep"]));
        let before = listing(&world);
        let places = ["sub/deep", ".", "sub"];
        for (name, place) in ["a", "b", "c"].into_iter().zip(places) {
            let mut run = world.agentkernel(["run", "-d", "--name", name, "--", "sleep", "600"]);
            let _ = stdout(run.current_dir(world.project().join(place)));
        }
        for name in ["a", "c"] {
            let _ = stdout(&mut world.agentkernel(["rm", "-f", name]));
        }
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "b"]));
        settled(&world, &before);
        assert_eq!(fs::read_dir(world.state().join("cache/masks")).unwrap().count(), 0);
        // The next one makes and removes its own.
        let mut run = world.agentkernel(["run", "--", "true"]);
        let _ = stdout(run.current_dir(world.project().join("sub/deep")));
        settled(&world, &before);
    }
}

/// Of two state directories none knows what is left to the other.
#[test]
fn what_one_state_directory_left_to_another_goes_by_gc() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(world.command("sh").args(["-c", "git init -q . && mkdir -p a b"]));
        let before = listing(&world);
        let other = world.home().join("other-state");
        let started = |name: &str, state: Option<&Path>| {
            let mut run = world.agentkernel(["run", "-d", "--name", name, "--", "sleep", "600"]);
            run.current_dir(world.project().join(name));
            let _ = stdout(run.envs(state.map(|state| ("AGENTKERNEL_STATE_DIR", state))));
        };
        let with_other = |words: &[&str]| {
            let mut command = world.agentkernel(words);
            stdout(command.env("AGENTKERNEL_STATE_DIR", &other))
        };
        started("a", Some(&other));
        started("b", None);
        let _ = with_other(&["rm", "-f", "a"]);
        assert_eq!(with_other(&["gc"]), "Nothing to clear\n", "{who:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "b"]));
        assert!(listing(&world) != before, "{who:?}");
        let project = world.project();
        let line =
            |done: &str| format!("cache: remove placeholders in {}, which nothing uses: {done}\n", project.display());
        assert_eq!(with_other(&["gc", "--dry-run"]), line("would be done"), "{who:?}");
        assert_eq!(with_other(&["gc"]), line("done"), "{who:?}");
        settled(&world, &before);
        assert_eq!(with_other(&["gc"]), "Nothing to clear\n", "{who:?}");
    }
}

/// OpenCode ends where it has a directory in which it can't write this first.
#[test]
fn a_file_that_an_agent_would_write_is_there_and_says_nothing() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(world.command("sh").args(["-c", "mkdir .opencode && echo mine > .opencode/own"]));
        let before = listing(&world);
        let script =
            "cat .opencode/.gitignore; cat .opencode/own; echo x > .opencode/.gitignore; rm -f .opencode/.gitignore;
            echo x > .opencode/new; ls -A .opencode";
        let output = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "{}\nmine\n.gitignore\nown\n", "{}", told(&output));
        settled(&world, &before);
        // One of the project's own stays what it is.
        let _ = stdout(world.command("sh").args(["-c", "echo node_modules > .opencode/.gitignore"]));
        let run = ["run", "--", "cat", ".opencode/.gitignore"];
        assert_eq!(stdout(&mut world.agentkernel(run)), "node_modules\n");
    }
}

/// Whoever mounts his project a second time lets programs touch what stands for protected paths.
#[test]
fn what_is_touched_elsewhere_is_removed_all_the_same() {
    for who in Who::all() {
        let world = World::new(who);
        let before = listing(&world);
        let mount = format!("{}:/data", world.project().display());
        let _ = stdout(&mut world.agentkernel(["run", "-v", &mount, "--", "touch", "/data/.envrc"]));
        settled(&world, &before);
    }
}

#[test]
fn git_works_among_placeholders() {
    for who in Who::all() {
        let world = World::new(who);
        let prepare = "git init -q . && git config user.name n && git config user.email e@x && echo a > a";
        let _ = stdout(world.command("sh").args(["-c", prepare]));
        let before = listing(&world);
        let work = "git config --global --add safe.directory '*'; git status --short && git add a && git commit -qm one && git status --short && git log --oneline | wc -l";
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", work])), "?? a\n1\n");
        let host = "git -c safe.directory='*' status --short; git -c safe.directory='*' log --oneline | wc -l";
        assert_eq!(stdout(world.command("sh").args(["-c", host])), "1\n");
        let hidden = |world: &World| listing(world).lines().filter(|line| !line.starts_with("./.git/")).count();
        for _ in 0..200 {
            if hidden(&world) == before.lines().filter(|line| !line.starts_with("./.git/")).count() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let after = listing(&world);
        assert!(
            !after.contains(".envrc") && !after.contains(".git/modules") && !after.contains("commondir"),
            "{after}"
        );
    }
}

#[test]
fn what_git_s_configuration_leads_to_cannot_be_written() {
    for who in Who::all() {
        let world = World::new(who);
        let prepare = "git init -q . && mkdir -p tools/hooks && printf '#!/bin/sh\n' > tools/hooks/pre-commit &&
            chmod +x tools/hooks/pre-commit && echo '[user] name = n' > shared && git config core.hooksPath tools/hooks &&
            git config include.path ../shared && git config core.fsmonitor ./tools/monitor && cp /bin/true tools/monitor";
        let _ = stdout(world.command("sh").args(["-c", prepare]));
        let script = "for f in tools/hooks/pre-commit tools/hooks/post-index-change shared tools/monitor; do
            { echo 'touch owned' >> $f; rm -f $f; mv $f away; } 2>/dev/null && echo wrote $f; done
            mv tools gone 2>/dev/null; echo x > tools/other && echo done";
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script])), "done\n");
        // Hooks of others can be given up by the path of their directory.
        let open = "echo x > tools/hooks/new && echo done";
        let mut run = world.agentkernel(["run", "--unprotect", "tools/hooks", "--", "sh", "-c", open]);
        assert_eq!(stdout(&mut run), "done\n");
    }
}

#[test]
fn what_settings_of_the_user_s_lead_to_cannot_be_written() {
    for who in Who::all() {
        let world = World::new(who);
        let prepare = "mkdir -p fish \"$HOME/.config\" \"$HOME/.claude/skills\" && echo a > bashrc && ln -s \"$PWD/bashrc\" ~/.bashrc &&
            ln -s \"$PWD/fish\" ~/.config/fish && ln -s \"$PWD/memory.md\" ~/.claude/CLAUDE.md";
        let _ = stdout(world.command("sh").args(["-c", prepare]));
        let script = "for f in bashrc memory.md fish/config; do { echo x >> $f; rm -f $f; mv $f away; } 2>/dev/null && echo wrote $f; done
            mv fish gone 2>/dev/null; echo x > other && echo done";
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script])), "done\n");
        let mut run =
            world.agentkernel(["run", "--unprotect", "bashrc", "--", "sh", "-c", "echo x > bashrc && echo done"]);
        assert_eq!(stdout(&mut run), "done\n");
        // A directory of an agent's is no workspace, whatever it is called.
        for (prepare, dir) in
            [("ln -s \"$PWD\" ~/.claude/commands", "unset"), ("rm ~/.claude/commands", "CLAUDE_CONFIG_DIR")]
        {
            let _ = stdout(world.command("sh").args(["-c", prepare]));
            let output = world.agentkernel(["run", "--", "true"]).env(dir, world.project()).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{}", told(&output));
            assert!(told(&output).contains("can't be a workspace"), "{}", told(&output));
        }
    }
}

#[test]
fn a_file_or_link_in_the_way_is_protected_itself() {
    for who in Who::all() {
        let world = World::new(who);
        let prepare = "echo 'gitdir: /nowhere' > .git && mkdir elsewhere && ln -s elsewhere .claude && ln -s nowhere .vscode && ln -s /etc/passwd .envrc";
        let _ = stdout(world.command("sh").args(["-c", prepare]));
        let before = listing(&world);
        let script = "for f in .git .claude .vscode .envrc; do
            rm -rf $f; mv $f away; ln -sfn /tmp $f; mkdir other; mv -T other $f; done
            echo gitdir: here > .git; echo > elsewhere/open; echo > nowhere; cat .git; readlink .claude .vscode .envrc";
        let text = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
        let shown = String::from_utf8_lossy(&text.stdout);
        assert_eq!(shown, "gitdir: /nowhere\nelsewhere\nnowhere\n/etc/passwd\n", "{}", told(&text));
        let _ = stdout(world.command("rm").args(["-rf", "elsewhere/open", "nowhere", "other"]));
        settled(&world, &before);
    }
}

#[test]
fn what_a_killed_sandbox_leaves_goes_with_gc_or_the_next() {
    for who in Who::all() {
        for cure in [&["gc"][..], &["run", "--", "true"]] {
            let world = World::new(who);
            let _ = stdout(world.command("mkdir").args([".zed", "src"]));
            let before = listing(&world);
            let id = stdout(&mut world.agentkernel(["run", "-d", "--rm", "--", "sleep", "1000"]));
            assert_ne!(listing(&world), before);
            for (pid, _) in world.processes() {
                let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            while !world.processes().is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            assert!(world.project().join(".git").symlink_metadata().is_ok(), "{id}");
            // A placeholder is no project, and no configuration.
            let inner =
                world.agentkernel(["run", "--", "pwd"]).current_dir(world.project().join("src")).output().unwrap();
            assert_eq!(
                String::from_utf8_lossy(&inner.stdout).trim_end(),
                world.project().join("src").to_str().unwrap()
            );
            let _ = stdout(&mut world.agentkernel(cure));
            // As long as the killed one dies, it holds its lock.
            eventually("gc clears it", || {
                let _ = stdout(&mut world.agentkernel(["gc"]));
                stdout(&mut world.agentkernel(["ps", "-aq"])).is_empty()
            });
            settled(&world, &before);
        }
    }
}

#[test]
fn a_failed_start_leaves_nothing() {
    for who in Who::all() {
        let world = World::new(who);
        let before = listing(&world);
        let run = ["run", "-v", "/opt:/etc/passwd/x", "--", "true"];
        let output = world.agentkernel(run).output().unwrap();
        assert!(told(&output).contains("mounts: Cannot make"), "{}", told(&output));
        settled(&world, &before);
    }
}

#[test]
fn the_last_of_two_sandboxes_tidies_up() {
    for who in Who::all() {
        let world = World::new(who);
        let before = listing(&world);
        let make =
            "mkdir -p .vscode; echo bad > .vscode/tasks.json; rmdir .vscode; echo bad > .vscode; ls -d .vscode/*";
        let start = |name: &str| {
            let _ = stdout(&mut world.agentkernel(["create", "--name", name]));
            let _ = stdout(&mut world.agentkernel(["start", name]));
        };
        let refused = |name: &str| {
            let output = world.agentkernel(["exec", name, "sh", "-c", make]).output().unwrap();
            assert!(!output.status.success() && output.stdout.is_empty(), "{}", told(&output));
            assert!(world.project().join(".vscode").symlink_metadata().is_ok());
        };
        start("one");
        start("two");
        for (first, second) in [("one", "two"), ("two", "one")] {
            let _ = stdout(&mut world.agentkernel(["stop", first]));
            refused(second);
            let _ = stdout(&mut world.agentkernel(["start", first]));
            refused(first);
        }
        let _ = stdout(&mut world.agentkernel(["stop", "one", "two"]));
        settled_but_kept(&world, &before);
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "one", "two"]));
        settled(&world, &before);
    }
}

fn settled_but_kept(world: &World, before: &str) {
    assert_eq!(listing(world), before, "told of the stop before all was tidied up");
}

#[test]
fn the_user_can_give_up_a_protected_path() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "git init -q . && test -f .git/config && ! mkdir .vscode/x 2>/dev/null && echo done";
        let run = ["run", "--unprotect", ".git", "--", "sh", "-c", script];
        assert_eq!(stdout(&mut world.agentkernel(run)), "done\n");
        for (arguments, why) in [
            (&["run", "--unprotect", "src", "--", "true"][..], "is not protected"),
            (&["run", "--unprotect", "../x", "--", "true"], "not a path below the project"),
            (&["run", "--unprotect", ".git", "--workspace", "overlay", "--", "true"], "no use"),
        ] {
            let output = world.agentkernel(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{}", told(&output));
            assert!(told(&output).contains(why), "{}", told(&output));
        }
    }
}

#[test]
fn a_project_that_cannot_be_protected_is_refused() {
    // For an ordinary user: root may write everywhere.
    if !Who::all().contains(&Who::Nobody) {
        return support::skipped("a project that cannot be protected", "needs root to become another user");
    }
    let world = World::new(Who::Nobody);
    // Whoever owns a directory could make it writable inside, and then what is missing.
    fs::set_permissions(world.project(), fs::Permissions::from_mode(0o555)).unwrap();
    let output = world.agentkernel(["run", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", told(&output));
    assert!(told(&output).contains("protected paths: Cannot keep"), "{}", told(&output));
    // Whose directory it is not cannot.
    std::os::unix::fs::chown(world.project(), Some(0), Some(0)).unwrap();
    let script = "chmod u+w . ; mkdir .git; ls -A";
    assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script])), "");
}

/// Without a valid `.git`, git would take the project itself for a bare repository, and run what its `config` names.
#[test]
fn a_project_does_not_become_a_bare_repository() {
    let script = "rm -rf .git/HEAD; mkdir objects refs; echo 'ref: refs/heads/master' > HEAD
        printf '[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tworktree = .\\n\\tfsmonitor = touch ran; false\\n' > config
        rm -f refs; mv refs away; mv config HEAD objects /tmp; mv /tmp/config /tmp/HEAD /tmp/objects .; mkdir refs; test -f HEAD && echo done";
    for who in Who::all() {
        for prepare in ["true", "git init -q ."] {
            let world = World::new(who);
            let _ = stdout(world.command("sh").args(["-c", prepare]));
            let output = world.agentkernel(["run", "--", "sh", "-c", script]).output().unwrap();
            assert_eq!(output.stdout, b"done\n", "{}", told(&output));
            // It can be: what would be run is run.
            let status = "git -c safe.directory='*' status; git add -A; test ! -e ran";
            let output = world.command("sh").args(["-c", status]).output().unwrap();
            assert!(output.status.success(), "{}", told(&output));
            let _ =
                stdout(world.command("sh").args(["-c", "mkdir refs; git -c safe.directory='*' status; test -e ran"]));
        }
    }
}

/// Nor by way of another directory that has what it lacks; and one that is a bare repository stays as it is.
#[test]
fn a_bare_repository_is_not_made_in_pieces_nor_changed() {
    let pieces = "rm -f .git/HEAD; mkdir -p evil/objects evil/refs; echo 'ref: refs/heads/master' > HEAD; echo evil > commondir
        printf '[core]\\n\\trepositoryformatversion = 1\\n\\tfsmonitor = touch ran; false\\n[extensions]\\n\\tworktreeConfig = true\\n' > evil/config
        printf '[core]\\n\\tbare = false\\n\\tworktree = .\\n' > config.worktree; test -f HEAD && echo done";
    let status = "git -c safe.directory='*' status; test ! -e ran";
    for who in Who::all() {
        for prepare in ["true", "git init -q ."] {
            let world = World::new(who);
            let _ = stdout(world.command("sh").args(["-c", prepare]));
            assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", pieces])), "done\n");
            let _ = stdout(world.command("sh").args(["-c", status]));
            let _ = stdout(
                world
                    .command("sh")
                    .args(["-c", "rm -rf .git; echo evil > commondir; git -c safe.directory='*' status; test -e ran"]),
            );
        }
        let world = World::new(who);
        let _ = stdout(world.command("git").args(["init", "-q", "--bare", "."]));
        let script =
            "for f in config config.worktree hooks/x commondir; do echo x >> $f && echo $f; done 2>/dev/null; true";
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script])), "");
        // It goes on to be one, for the sandbox too.
        let script = "git -c safe.directory='*' rev-parse --is-bare-repository";
        assert_eq!(stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script])), "true\n");
        assert_eq!(
            stdout(
                world.command("sh").args(["-c", &format!("{script}; ls config.worktree commondir 2>/dev/null; true")])
            ),
            "true\n"
        );
    }
}

/// Who could write a sandbox's record could have the next start mount anything.
#[test]
fn the_state_directory_is_no_workspace_and_no_mount() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |arguments: &[&str]| world.agentkernel(arguments).output().unwrap();
        let _ = run(&["create", "--name", "box"]);
        let state = world.state();
        let (inside, around) = (state.join("sandboxes"), state.parent().unwrap().to_owned());
        for source in [&state, &inside, &around, &state.join("version")] {
            for mode in ["", ":ro"] {
                let mount = format!("{}:/x{mode}", source.display());
                let output = run(&["run", "--mount", &mount, "--", "true"]);
                assert_eq!(output.status.code(), Some(125), "{}", told(&output));
                // The home directory has our configuration as well.
                let held = if *source == around { "own configuration" } else { "state directory" };
                assert!(told(&output).contains(held), "{}", told(&output));
            }
        }
        for mode in ["direct", "overlay"] {
            let project = state.join("sandboxes");
            let output =
                world.agentkernel(["run", "--workspace", mode, "--", "true"]).current_dir(project).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        }
        // In the project itself, as some do in automation.
        let mut command = world.agentkernel(["run", "--", "true"]);
        let output = command.env("AGENTKERNEL_STATE_DIR", world.project().join(".state")).output().unwrap();
        assert!(told(&output).contains("has the state directory in it"), "{}", told(&output));
        let image = format!("dir:{}", state.display());
        assert!(told(&run(&["run", "--image", &image, "--", "true"])).contains("state directory"));
    }
}

/// What only a tool obeys that the project does not use stays to be made; once it is used, nothing beside it can be.
#[test]
fn the_files_of_a_tool_are_protected_where_it_is_used() {
    let script = "for f in lefthook.yml lefthook-local.yml .config/lefthook-local.jsonc .config/mise.toml .config/mise/conf.d/a.toml .roo; do
        mkdir -p \"$(dirname $f)\"; echo x > $f && echo $f; done 2>/dev/null; true";
    for who in Who::all() {
        let world = World::new(who);
        let all = stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script]));
        assert_eq!(
            all,
            "lefthook.yml\nlefthook-local.yml\n.config/lefthook-local.jsonc\n.config/mise.toml\n.config/mise/conf.d/a.toml\n.roo\n"
        );
        let left =
            "rm -r lefthook-local.yml .config/lefthook-local.jsonc .config/mise .roo; mv .config/mise.toml mise.toml";
        let _ = stdout(world.command("sh").args(["-c", left]));
        let left = stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script]));
        assert_eq!(left, ".roo\n");
        let others = "mkdir -p .hg .jj/repo/store && touch .hg/requires .jj/repo/store/type";
        let _ = stdout(world.command("sh").args(["-c", others]));
        let script = "for f in .hg/hgrc .jj/repo/config.toml .sl/config .hg/dirstate; do
            mkdir -p \"$(dirname $f)\"; echo x > $f && echo $f; done 2>/dev/null; true";
        let left = stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script]));
        assert_eq!(left, ".sl/config\n.hg/dirstate\n");
        // Crush makes its own directory, and keeps its sessions there.
        let script = "mkdir -p .crush && for f in .gitignore crush.db crush.json; do (echo x > .crush/$f) 2> /dev/null && echo $f; done; true";
        let made = || stdout(&mut world.agentkernel(["run", "--", "sh", "-c", script]));
        assert_eq!(made(), ".gitignore\ncrush.db\ncrush.json\n");
        fs::remove_file(world.project().join(".crush/crush.json")).unwrap();
        assert_eq!(made(), "crush.db\n");
    }
}
