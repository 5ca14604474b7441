//! Terminals: real programs under tmux, detach and attach.

use std::{io::Write, process::Stdio, time::Duration};
use support::{Who, World, eventually, screen::Screen, stdout, told};

#[test]
fn a_shell_has_job_control_a_size_and_its_own_terminal() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.binary();
        let screen = Screen::new(&world);
        screen.line(&format!("{} run sh", binary.display()));
        screen.line("tty; stty size; echo $((6*7))-$TERM");
        let text = screen.shows("42-");
        assert!(text.contains("/dev/pts/0") && text.contains("30 100"), "{text}");
        screen.tmux(&["resize-window", "-x", "90", "-y", "20"]);
        screen.line("stty size; echo resi''zed");
        assert!(screen.shows("resized").contains("20 90"));
        // ctrl-c ends the foreground program, not the session.
        screen.line("sh -c 'echo sle\"\"eping; exec sleep 600'");
        screen.shows("sleeping");
        screen.keys(&["C-c"]);
        screen.line("echo sur''vived");
        screen.shows("survived");
        screen.line("exit 5");
        screen.settle();
        screen.line("echo status=$?");
        screen.shows("status=5");
    }
}

#[test]
fn full_screen_programs_work() {
    let world = World::new(Who::Me);
    let binary = world.binary();
    std::fs::write(world.project().join("text"), (1..200).map(|n| format!("line number {n}\n")).collect::<String>())
        .unwrap();
    let screen = Screen::new(&world);
    screen.line(&format!("{} run less text", binary.display()));
    screen.shows("line number 1\n");
    screen.keys(&["G"]);
    screen.shows("line number 199");
    screen.keys(&["q"]);
    screen.settle();
    screen.line(&format!("{} run vi -u NONE text", binary.display()));
    screen.shows("line number 1\n");
    screen.keys(&["O"]);
    screen.tmux(&["send-keys", "-l", "written in the sandbox"]);
    screen.keys(&["Escape", ":", "w", "q", "Enter"]);
    screen.settle();
    screen.line("echo back=$?");
    screen.shows("back=0");
    assert!(
        std::fs::read_to_string(world.project().join("text"))
            .unwrap()
            .starts_with("written in the sandbox\nline number 1\n")
    );
    screen.line(&format!("{} run top", binary.display()));
    screen.shows("PID");
    screen.keys(&["q"]);
    screen.settle();
    screen.line("echo back''again");
    screen.shows("backagain");
}

#[test]
fn detach_and_attach_lose_nothing() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.binary();
        let screen = Screen::new(&world);
        screen.line(&format!("{} run --keep --name box sh", binary.display()));
        screen.line("echo first''line; sleep 1; echo while''away; exec 9>&1");
        screen.shows("firstline");
        screen.keys(&["C-p", "C-q"]);
        screen.settle();
        screen.line("clear; echo left=$?");
        screen.shows("left=0");
        std::thread::sleep(Duration::from_millis(1500));
        screen.line(&format!("{} attach box", binary.display()));
        screen.shows("whileaway");
        screen.line("echo still''here; exit 3");
        screen.shows("stillhere");
        screen.settle();
        screen.line("echo status=$?");
        screen.shows("status=3");
        let log = stdout(&mut world.agentkernel(["logs", "box"]));
        for text in ["firstline", "whileaway", "stillhere"] {
            assert!(log.contains(text), "{text} is missing in {log}");
        }
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn what_was_started_in_the_background_can_be_joined_and_left() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.binary();
        let _ = stdout(&mut world.agentkernel(["run", "-d", "-it", "--name", "box", "sh"]));
        let screen = Screen::new(&world);
        for round in ["one", "two"] {
            screen.line(&format!("{} attach box", binary.display()));
            screen.line(&format!("tty; echo round''-{round}"));
            assert!(screen.shows(&format!("round-{round}")).contains("/dev/pts/0"));
            screen.keys(&["C-p", "C-q"]);
            screen.settle();
            screen.line(&format!("clear; echo left''-{round}=$?"));
            screen.shows(&format!("left-{round}=0"));
        }
        assert!(stdout(&mut world.agentkernel(["ps"])).contains("up "));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

/// What a full-screen program has painted, nobody has kept: it must paint again, though the size is the one that it knows.
#[test]
fn who_joins_a_full_screen_program_sees_its_screen() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.binary();
        std::fs::write(world.project().join("text"), "the first line\n".repeat(200)).unwrap();
        let screen = Screen::new(&world);
        for program in [&["less", "text"][..], &["vi", "-u", "NONE", "text"]] {
            let _ = stdout(world.agentkernel(["run", "-d", "-it", "--name", "box", "--"]).args(program));
            for round in ["one", "two", "three"] {
                screen.line(&format!("{} attach box", binary.display()));
                screen.shows("the first line");
                // It has the size of the terminal again.
                eventually("the last line but one is painted", || {
                    let text = screen.tmux(&["capture-pane", "-p"]);
                    text.lines().nth(28).is_some_and(|line| line == "the first line")
                });
                screen.keys(&["C-p", "C-q"]);
                screen.settle();
                screen.line(&format!("clear; echo left''-{round}=$?"));
                assert!(!screen.shows(&format!("left-{round}=0")).contains("the first line"));
            }
            let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        }
    }
}

#[test]
fn who_only_watches_can_leave_and_type_nothing() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.binary();
        let script = "echo be''gun; read line; echo got $line";
        let _ = stdout(&mut world.agentkernel(["run", "-d", "-it", "--name", "box", "--", "sh", "-c", script]));
        let screen = Screen::new(&world);
        screen.line(&format!("{} attach --no-stdin box", binary.display()));
        screen.shows("begun");
        screen.line("typed");
        screen.keys(&["C-c", "C-p", "C-q"]);
        screen.settle();
        screen.line("clear; echo left''=$?");
        screen.shows("left=0");
        assert!(!stdout(&mut world.agentkernel(["logs", "box"])).contains("typed"));
        assert!(stdout(&mut world.agentkernel(["ps"])).contains("up "));
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn shells_complete_names_of_sandboxes() {
    let world = World::new(Who::Me);
    let folder = world.binary().parent().unwrap().to_owned();
    let _ = stdout(&mut world.agentkernel(["create", "--name", "alpha"]));
    let screen = Screen::new(&world);
    let setup = "autoload -U compinit; compinit -u -D; ";
    for (shell, line, setup) in
        [("bash", "bash --norc", ""), ("zsh", "zsh -f", setup), ("fish", "env fish --no-config", "")]
    {
        if !["/usr/bin", "/bin"].iter().any(|dir| std::path::Path::new(dir).join(shell).exists()) {
            support::skipped(&format!("completions of {shell}"), "it is not installed");
            continue;
        }
        std::fs::write(world.project().join("script"), stdout(&mut world.agentkernel(["completions", shell]))).unwrap();
        screen.line(&format!("PATH={}:$PATH {line}", folder.display()));
        screen.line(&format!("{setup}source ./script; echo rea\"\"dy"));
        screen.shows("ready");
        for (typed, complete) in [
            ("agentkernel start al", "agentkernel start alpha"),
            ("agentkernel exec -it al", "agentkernel exec -it alpha"),
            ("agentkernel cp al", "agentkernel cp alpha:"),
        ] {
            screen.tmux(&["send-keys", "-l", typed]);
            screen.keys(&["Tab"]);
            screen.shows(complete);
            // Not ctrl-c, which throws away what is typed next if it comes too soon.
            screen.keys(&["C-u"]);
        }
        screen.line("exit");
        screen.settle();
        screen.line("clear; echo le''ft");
        assert!(!screen.shows("left").contains("alpha"));
    }
    let _ = stdout(&mut world.agentkernel(["rm", "alpha"]));
}

#[test]
fn two_clients_see_the_same_command() {
    let world = World::new(Who::Me);
    let binary = world.binary();
    let (one, two) = (Screen::new(&world), World::new(Who::Me));
    let other = Screen::new(&two);
    one.line(&format!("{} run --keep --name box sh", binary.display()));
    one.line("echo rea''dy");
    one.shows("ready");
    other.line(&format!("AGENTKERNEL_STATE_DIR={} {} attach box", world.state().display(), binary.display()));
    other.line("echo from''two");
    one.shows("fromtwo");
    other.shows("fromtwo");
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn a_secret_is_not_shown_as_it_is_typed() {
    for who in Who::all() {
        let world = World::new(who);
        let screen = Screen::new(&world);
        let set = format!("{} secret set TOKEN --host api.example.org", world.binary().display());
        screen.line(&format!("{set}; echo status=$?"));
        screen.shows("Value of TOKEN:");
        screen.tmux(&["send-keys", "-l", "wrong"]);
        screen.keys(&["C-u"]);
        screen.tmux(&["send-keys", "-l", "s3cr3tx"]);
        screen.keys(&["BSpace", "Enter"]);
        let text = screen.shows("status=0");
        assert!(!text.contains("s3cr3t") && text.contains("lies in clear in"), "{text}");
        let file = world.home().join(".config/agentkernel/secrets/TOKEN");
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("\ns3cr3t\n"));

        screen.line("clear");
        screen.until("an empty screen", || !screen.shown().contains("Value of"));
        screen.line(&format!("{} secret set TOKEN; echo status=$?", world.binary().display()));
        screen.shows("Value of TOKEN:");
        screen.keys(&["C-c"]);
        screen.shows("status=130");
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("\ns3cr3t\n"));
        // The terminal is as it was.
        screen.line("echo sho''wn");
        screen.shows("echo sho''wn");
    }
}

/// Its end would not reach the terminal, and the command would wait for it for ever.
#[test]
fn input_that_nobody_types_is_not_sent_to_a_terminal() {
    for who in Who::all() {
        let world = World::new(who);
        let refused = |arguments: &[&str], hint: &str| {
            let output = world.agentkernel(arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(125), "{arguments:?}: {}", told(&output));
            let text = format!("agentkernel: Standard input is not a terminal\n  hint: {hint}\n");
            assert_eq!(String::from_utf8_lossy(&output.stderr), text, "{arguments:?}");
        };
        let leave_out = "Leave out -t, and the command gets a pipe, whose end it sees";
        refused(&["run", "-it", "--", "cat"], leave_out);
        let _ = stdout(&mut world.agentkernel(["create", "-it", "--name", "box", "--", "sh", "-c", "echo here; cat"]));
        refused(&["start", "-a", "box"], "Start it without -a; 'agentkernel attach --no-stdin box' then only watches");
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        refused(&["exec", "-it", "box", "cat"], leave_out);
        refused(&["attach", "box"], "'agentkernel attach --no-stdin box' only watches");
        // A terminal without input is one to look at.
        let command = ["-t", "--", "sh", "-c", "tty; test -t 1 && echo colours"];
        for output in [
            world.agentkernel(["run"]).args(command).output().unwrap(),
            world.agentkernel(["exec", "-t", "box"]).args(&command[2..]).output().unwrap(),
        ] {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("/dev/pts/") && text.contains("colours"), "{}", told(&output));
        }
        let mut watcher = world.agentkernel(["attach", "--no-stdin", "box"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut seen = [0; 4];
        std::io::Read::read_exact(watcher.stdout.as_mut().unwrap(), &mut seen).unwrap();
        assert_eq!(&seen, b"here");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        watcher.wait().unwrap();
        // What has no terminal gets its input, and the end of it.
        let mut cat = world.agentkernel(["run", "-iT", "--", "cat"]);
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cat.stdin.take().unwrap().write_all(b"piped").unwrap();
        assert_eq!(cat.wait_with_output().unwrap().stdout, b"piped");
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
