//! A session is recorded, and shown again as it went.

use std::{fs, os::unix::fs::PermissionsExt as _};
use support::{Who, World, screen::Screen, stdout, told};

/// The lines after the first.
fn events(world: &World, name: &str) -> Vec<(f64, String, String)> {
    let text = fs::read_to_string(world.project().join(name)).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_terminals_session_is_recorded_and_replayed() {
    for who in Who::all() {
        let world = World::new(who);
        let binary = world.binary().display().to_string();
        let screen = Screen::new(&world);
        screen.line(&format!("{binary} run --record cast sh"));
        screen.line("stty size; printf '\\033[31mcolo''red\\033[0m \\303\\244\\n'");
        assert!(screen.shows("colored").contains("30 100"));
        screen.tmux(&["resize-window", "-x", "90", "-y", "20"]);
        screen.line("stty size; echo resi''zed");
        screen.shows("resized");
        screen.line("exit");
        screen.settle();
        let shown: String =
            events(&world, "cast").into_iter().filter(|(_, code, _)| code == "o").map(|(_, _, text)| text).collect();
        assert!(shown.contains("\u{1b}[31mcolored\u{1b}[0m \u{e4}\r\n"), "{shown}");
        assert!(events(&world, "cast").iter().any(|(_, code, data)| (code.as_str(), data.as_str()) == ("r", "90x20")));
        screen.line("clear");
        screen.line(&format!("{binary} replay -s 100 cast; echo sta''tus $?"));
        let text = screen.shows("status 0");
        assert!(text.contains("colored \u{e4}") && text.contains("resized"), "{text}");
        // Whoever does not wait for its end has his terminal back.
        screen.line(&format!(
            "{binary} run --record long -- sh -c 'printf \"\\033[?1049h\"; echo be''gun; sleep 3; printf \"\\033[?1049l\"'; \
             echo fin''ished"
        ));
        screen.shows("finished");
        screen.line(&format!("{binary} replay -s 0.1 long; echo sta''tus $?"));
        screen.shows("begun");
        screen.tmux(&["send-keys", "C-c"]);
        assert!(screen.shows("status 130").contains("status 0"), "the other screen is left");
    }
}

/// A terminal's answers to what the program has asked would be typed into the shell.
#[test]
fn what_a_program_asked_the_terminal_is_not_asked_again() {
    let world = World::new(Who::Me);
    let screen = Screen::new(&world);
    let queries = [
        "\u{1b}[c",
        "\u{1b}[>c",
        "\u{1b}[6n",
        "\u{1b}[>0q",
        "\u{1b}[18t",
        "\u{1b}[?2026$p",
        "\u{1b}P$qm\u{1b}\\",
        "\u{1b}[?1004h",
    ];
    let mut cast = String::from("{\"version\": 2, \"width\": 100, \"height\": 30}\n");
    for text in ["shown\r\n"].iter().chain(&queries).chain(&["\u{1b}[", "6n", "end\r\n"]) {
        cast += &(serde_json::json!([0.01, "o", text]).to_string() + "\n");
    }
    fs::write(world.project().join("cast"), cast).unwrap();
    screen.line(&format!("{} replay cast; echo sta''tus $?", world.binary().display()));
    screen.shows("status 0");
    screen.line("echo typ''ed");
    let text = screen.shows("typed");
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("shown")).collect();
    assert_eq!(lines[..5], ["shown", "end", "", "status 0", "$ echo typ''ed"], "{text}");
}

#[test]
fn the_times_are_the_true_ones() {
    let world = World::new(Who::Me);
    let script = "echo one; sleep 1; echo two >&2";
    let _ = stdout(world.agentkernel(["run", "--record", "cast", "--", "sh", "-c", script]).env("TERM", "dumb"));
    let [(first, _, one), (second, _, two)] = &events(&world, "cast")[..] else {
        panic!("{:?}", events(&world, "cast"))
    };
    assert_eq!((one.as_str(), two.as_str()), ("one\n", "two\n"));
    assert!(second - first > 0.9, "{first} {second}");
    let mode = fs::metadata(world.project().join("cast")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(stdout(&mut world.agentkernel(["replay", "-i", "0.1", "cast"])), "one\ntwo\n");
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sleep", "100"]));
    let _ = stdout(&mut world.agentkernel(["exec", "--record", "exec", "box", "echo", "executed"]));
    assert_eq!(stdout(&mut world.agentkernel(["replay", "exec"])), "executed\n");
    for (arguments, words) in [
        (&["run", "--record", "cast", "--", "touch", "done"][..], "cast is there already"),
        (&["run", "--record", "no/cast", "--", "touch", "done"], "Can't record to no/cast: No such file"),
        (&["run", "-d", "--record", "new", "--", "touch", "done"], "`--record` has no use with `--detach`"),
        (&["exec", "-d", "--record", "new", "box", "touch", "done"], "`--record` has no use with `--detach`"),
        (&["replay", "none"], "none: Can't read the recording: No such file"),
        (&["replay", "/etc/passwd"], "/etc/passwd: Not a recording: line 1 is not of asciicast version 2"),
        (&["replay", "-s", "0", "cast"], "not a factor"),
    ] {
        let output = world.agentkernel(arguments).output().unwrap();
        assert!(!output.status.success() && told(&output).contains(words), "{arguments:?}: {}", told(&output));
    }
    assert!(!world.project().join("done").try_exists().unwrap());
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}
