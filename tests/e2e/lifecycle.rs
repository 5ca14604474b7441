//! Kept sandboxes: create, start, exec, stop, rm, and what outlives what.

use std::{io::Write, process::Stdio};
use support::{Who, World, eventually, scaled, stdout, told};

fn ids(world: &World) -> String {
    stdout(&mut world.agentkernel(["ps", "-aq"]))
}

#[test]
fn files_outlive_stop_and_start() {
    for who in Who::all() {
        let world = World::new(who);
        let id = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        assert_eq!(id.trim().len(), 12);
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        run(&["start", "box"]);
        run(&[
            "exec",
            "box",
            "sh",
            "-c",
            "echo kept > ~/file; echo kept > /var/tmp/file; mkdir -p /usr/local/bin; printf '#!/bin/sh\necho tool\n' > /usr/local/bin/tool; chmod +x /usr/local/bin/tool",
        ]);
        assert_eq!(run(&["exec", id.trim(), "tool"]), "tool\n");
        run(&["stop", "box"]);
        let output = world.agentkernel(["exec", "box", "true"]).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{}", told(&output));
        run(&["start", &id[..5]]);
        assert_eq!(run(&["exec", "box", "sh", "-c", "cat ~/file /var/tmp/file; tool"]), "kept\nkept\ntool\n");
        run(&["restart", "box"]);
        assert_eq!(run(&["exec", "box", "cat", "/var/tmp/file"]), "kept\n");
        assert_eq!(ids(&world), id);
        let output = world.agentkernel(["rm", "box"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains("rm -f"), "{}", told(&output));
        run(&["rm", "-f", "box"]);
        assert_eq!(ids(&world), "");
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Everybody on the host may see the arguments of its processes.
#[test]
fn a_supervisor_keeps_no_arguments() {
    for who in Who::all() {
        let world = World::new(who);
        let id = stdout(&mut world.agentkernel(["run", "-d", "-e", "TOKEN=hunter2", "--", "sleep", "1000"]));
        let json = stdout(&mut world.agentkernel(["inspect", id.trim()]));
        let pid = json.lines().find_map(|line| line.trim().strip_prefix("\"supervisor_pid\": ")).unwrap();
        let read = |file: &str| std::fs::read(format!("/proc/{}/{file}", pid.trim_end_matches(',')));
        assert_eq!(
            String::from_utf8(read("cmdline").unwrap()).unwrap().trim_end_matches('\0'),
            format!("ak[{} supervisor]", id.trim())
        );
        match read("environ") {
            Ok(environ) => assert!(environ.iter().all(|byte| *byte == 0), "{}", String::from_utf8_lossy(&environ)),
            // It is not dumpable: only root may look.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
        let _ = stdout(&mut world.agentkernel(["rm", "-f", id.trim()]));
    }
}

/// A start makes directories in the sandbox's own layer while the host's files are still in reach.
#[test]
fn a_start_follows_no_link_of_the_sandbox() {
    for who in Who::all() {
        let world = World::new(who);
        let bait = world.home().join("bait");
        let _ = stdout(world.command("mkdir").arg(&bait));
        let _ = stdout(&mut world.agentkernel(["create", "--workspace", "none", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let script =
            "for dir in /var /usr/local; do rm -rf $dir || mv $dir $dir.old; ln -s $1 $dir; done 2>&1; readlink /var";
        let exec = ["exec", "box", "sh", "-c", script, "sh", &bait.to_string_lossy()];
        assert!(stdout(&mut world.agentkernel(exec)).ends_with("bait\n"));
        let _ = stdout(&mut world.agentkernel(["restart", "-t", "0", "box"]));
        assert_eq!(std::fs::read_dir(&bait).unwrap().count(), 0, "{who:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

#[test]
fn what_a_sandbox_does_to_its_own_files() {
    for who in Who::all() {
        let world = World::new(who);
        let start_after = |script: &str| {
            let id = stdout(&mut world.agentkernel(["create", "--workspace", "none", "--name", "box"]));
            let _ = stdout(&mut world.agentkernel(["start", "box"]));
            let _ = stdout(&mut world.agentkernel(["exec", "box", "sh", "-c", script]));
            let _ = stdout(&mut world.agentkernel(["stop", "-t", "0", "box"]));
            (id.trim().to_owned(), world.agentkernel(["start", "box"]).output().unwrap())
        };
        let remove = || drop(stdout(&mut world.agentkernel(["rm", "-f", "box"])));
        for script in [
            "rm -rf /tmp /run /sys /home /mnt /var",
            "rm -rf /mnt /run; touch /mnt; ln -s /nowhere /run",
            "cd /; rm -rf ~",
            "mkdir /elsewhere; cd /; rm -rf ~; ln -s /elsewhere ~",
            "rm /etc/hosts /etc/passwd; ln -s /nowhere /etc/hosts",
        ] {
            let (_, output) = start_after(script);
            assert!(output.status.success(), "{who:?} {script}: {}", told(&output));
            assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "echo", "up"])), "up\n", "{script}");
            remove();
        }
        for script in [
            "rm -rf /etc",
            "mv /etc /etc2; ln -s /nowhere /etc",
            "mv /etc /etc2; ln -s /tmp /etc",
            "rm -rf /etc/passwd; ln -s /nowhere /etc/passwd",
            "rm /etc/hosts; mkdir -p /etc/hosts/below",
            "rm -rf /sys; touch /sys",
            "cd /; rm -rf ~; touch ~",
            "cd /; rm -rf ~; ln -s ~ ~",
        ] {
            let (id, output) = start_after(script);
            assert_eq!(output.status.code(), Some(1), "{who:?} {script}: {}", told(&output));
            let hint = format!(
                "hint: If programs in the sandbox have put something else there, only a new one helps: 'agentkernel rm {id}' removes this one with its files"
            );
            assert!(told(&output).contains(&hint), "{who:?} {script}: {}", told(&output));
            remove();
        }
        // What was never started has replaced nothing.
        let refused = ["run", "--keep", "--name", "box", "-v", ".:/etc/hostname/below", "true"];
        let output = world.agentkernel(refused).output().unwrap();
        assert!(!output.status.success() && !told(&output).contains("If programs"), "{}", told(&output));
        remove();
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn a_detached_command_has_logs_and_a_status() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        let id = run(&["run", "-d", "--name", "job", "--", "sh", "-c", "echo one; echo two >&2; read x; exit 5"]);
        // Without -i its input is at its end, so it goes on to its own.
        assert_eq!(run(&["wait", id.trim()]), "5\n");
        let output = world.agentkernel(["logs", "job"]).output().unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"one\n"[..], &b"two\n"[..]));
        assert!(run(&["ps", "-a"]).contains("exited (5)"));
        let json = run(&["inspect", "job"]);
        assert!(json.contains("\"code\": 5"), "{json}");
        run(&["rm", "job"]);
        let output = world.agentkernel(["run", "-d", "--name", "job", "--", "no-such-program"]).output().unwrap();
        assert_eq!(output.status.code(), Some(127), "{}", told(&output));
    }
}

#[test]
fn logs_follow_until_the_end() {
    let world = World::new(Who::Me);
    let script = "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done";
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "job", "--", "sh", "-c", script]));
    let text = stdout(&mut world.agentkernel(["logs", "-f", "job"]));
    assert_eq!(text, "line 1\nline 2\nline 3\nline 4\nline 5\n");
    assert_eq!(stdout(&mut world.agentkernel(["logs", "-n", "2", "job"])), "line 4\nline 5\n");
}

#[test]
fn a_thousand_execs_in_one_sandbox() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let open = || {
        stdout(&mut world.agentkernel([
            "exec",
            "box",
            "sh",
            "-c",
            "ls /proc/self/fd | wc -l; set -- /proc/[0-9]*; echo $#",
        ]))
    };
    let before = open();
    for round in 0..scaled(1000) {
        let text = stdout(&mut world.agentkernel(["exec", "box", "echo", &round.to_string()]));
        assert_eq!(text, format!("{round}\n"));
    }
    assert_eq!(open(), before);
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn thirty_two_execs_at_once() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let script = "head -c 1000000 /dev/zero; echo $1 >&2";
    let children: Vec<_> = (0..32)
        .map(|n: i32| {
            let mut command = world.agentkernel(["exec", "box", "sh", "-c", script, "sh", &n.to_string()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (n, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout.len(), 1_000_000, "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stderr, format!("{n}\n").as_bytes());
    }
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn stop_while_an_exec_runs() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let exec = world.agentkernel(["exec", "box", "sleep", "600"]).spawn().unwrap();
    eventually("the exec runs", || stdout(&mut world.agentkernel(["inspect", "box"])).contains("sleep 600"));
    let _ = stdout(&mut world.agentkernel(["stop", "-t", "1", "box"]));
    let output = exec.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(137 | 143)), "{}", told(&output));
    let _ = stdout(&mut world.agentkernel(["rm", "box"]));
    eventually("nothing is left", || world.leftovers().is_empty());
}

#[test]
fn two_starts_at_once_make_one_sandbox() {
    let world = World::new(Who::Me);
    let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let starts: Vec<_> = (0..8)
        .map(|_| world.agentkernel(["start", "box"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    for start in starts {
        let output = start.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"box\n"[..]), "{}", told(&output));
    }
    let processes = world.processes();
    assert_eq!(processes.iter().filter(|(_, name)| name != "init").count(), 1, "{processes:?}");
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

#[test]
fn names() {
    let world = World::new(Who::Me);
    let fails = |arguments: &[&str], word: &str| {
        let output = world.agentkernel(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(word), "{arguments:?}: {}", told(&output));
    };
    let _ = stdout(&mut world.agentkernel(["create", "--name", "first"]));
    fails(&["create", "--name", "first"], "belongs to");
    fails(&["run", "--name", "first", "true"], "belongs to");
    fails(&["create", "--name", "No Good"], "not a name");
    fails(&["start", "frist"], "first");
    let _ = stdout(&mut world.agentkernel(["rename", "first", "second"]));
    fails(&["inspect", "first"], "No sandbox");
    assert!(stdout(&mut world.agentkernel(["ps", "-a", "--format", "{name}"])).contains("second"));
    let _ = stdout(&mut world.agentkernel(["rm", "second"]));
}

#[test]
fn signals_by_kill() {
    let world = World::new(Who::Me);
    let script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done";
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "job", "--", "sh", "-c", script]));
    eventually("it is ready", || stdout(&mut world.agentkernel(["logs", "job"])) == "ready\n");
    let _ = stdout(&mut world.agentkernel(["kill", "-s", "usr1", "job"]));
    assert_eq!(stdout(&mut world.agentkernel(["wait", "job"])), "9\n");
    let _ = stdout(&mut world.agentkernel(["start", "job"]));
    let _ = stdout(&mut world.agentkernel(["kill", "job"]));
    assert_eq!(stdout(&mut world.agentkernel(["wait", "job"])), "137\n");
    let _ = stdout(&mut world.agentkernel(["rm", "job"]));
}

#[test]
fn input_of_a_background_command_waits_for_whoever_joins() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["run", "-d", "-i", "--name", "box", "--", "cat"]));
        let join = || {
            let mut client = world.agentkernel(["attach", "box"]);
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        // One only watches; the other types, and ends the input.
        let watcher = world.agentkernel(["attach", "--no-stdin", "box"]).stdout(Stdio::piped()).spawn().unwrap();
        let clients = || stdout(&mut world.agentkernel(["inspect", "-f", "{running.execs.0.clients}", "box"]));
        eventually("it watches", || clients() == "1\n");
        let mut typist = join();
        typist.stdin.take().unwrap().write_all(b"typed\n").unwrap();
        for client in [typist, watcher] {
            let output = client.wait_with_output().unwrap();
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"typed\n"[..]), "{}", told(&output));
        }
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
    }
}

#[test]
fn what_is_typed_after_the_end_of_the_input_harms_nobody() {
    let world = World::new(Who::Me);
    let script = "cat > /dev/null; echo over; exec sleep 600";
    let _ = stdout(&mut world.agentkernel(["run", "-d", "-i", "--name", "box", "--", "sh", "-c", script]));
    let attach = |input: &[u8]| {
        let mut client = world.agentkernel(["attach", "box"]).stdin(Stdio::piped()).spawn().unwrap();
        client.stdin.take().unwrap().write_all(input).unwrap();
        client
    };
    let first = attach(b"x");
    eventually("its input is over", || stdout(&mut world.agentkernel(["logs", "box"])) == "over\n");
    let second = attach(b"too late");
    // The answer to one more question shows that the supervisor has read it and goes on.
    assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "echo", "on"])), "on\n");
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    for mut client in [first, second] {
        assert!(matches!(client.wait().unwrap().code(), Some(137 | 143)));
    }
}

/// What a client that goes away was not sent yet, the next one gets: to the byte.
#[test]
fn a_client_that_reads_nothing_takes_nothing_along() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "read x; seq -f 'line %g' 0 39999; sleep 600";
        let mut first = world.agentkernel(["run", "-i", "--keep", "--name", "box", "--", "sh", "-c", script]);
        let mut first = first.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        eventually("it runs", || world.agentkernel(["exec", "box", "true"]).output().unwrap().status.success());
        let pid = rustix::process::Pid::from_child(&first);
        first.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        // More than the first is sent, less than is kept while nobody is there.
        let log = || world.agentkernel(["logs", "box"]).output().unwrap().stdout.len();
        eventually("the program writes", || log() > 0);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let mut last = log();
        eventually("the program has written all that it can", || {
            let now = log();
            std::mem::replace(&mut last, now) == now && now > wire::mux::WINDOW as usize
        });
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        first.wait().unwrap();
        let mut second = world.agentkernel(["attach", "box"]);
        let mut second = second.stdout(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        let mut reader = std::io::BufReader::new(second.stdout.take().unwrap());
        while !text.ends_with("line 39999\n") {
            assert_ne!(std::io::BufRead::read_line(&mut reader, &mut text).unwrap(), 0, "ended too early");
        }
        let all: String = (0..40_000).map(|i| format!("line {i}\n")).collect();
        assert!(all.ends_with(&text), "there is a gap");
        let first_took = all.len() - text.len();
        assert!(first_took <= wire::mux::WINDOW as usize, "{first_took} bytes are lost");
        second.kill().unwrap();
        second.wait().unwrap();
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

/// A client that reads nothing holds the program up, and does not fill the supervisor.
#[test]
fn output_without_end_waits_for_its_reader() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        let supervisor = support::inspected(&world, "box", "supervisor_pid");
        let mut client = world.agentkernel(["exec", "box", "cat", "/dev/zero"]).stdout(Stdio::piped()).spawn().unwrap();
        for _ in 0..60 {
            let kept = support::resident(supervisor);
            assert!(kept < 32 << 20, "{kept} bytes");
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "echo", "other"])), "other\n");
        client.kill().unwrap();
        client.wait().unwrap();
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    }
}

/// One of two viewers does not look: the other one and the command go on.
#[test]
fn a_viewer_that_does_not_look_holds_nobody_up() {
    let world = World::new(Who::Me);
    let script = "read x; seq -f 'line %g' 0 999999; echo end; sleep 600";
    let _ = stdout(&mut world.agentkernel(["create", "-i", "--name", "box", "--", "sh", "-c", script]));
    let _ = stdout(&mut world.agentkernel(["start", "box"]));
    let attach = || world.agentkernel(["attach", "box"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut idle, mut viewer) = (attach(), attach());
    eventually("both look", || stdout(&mut world.agentkernel(["inspect", "box"])).contains("\"clients\": 2"));
    rustix::process::kill_process(rustix::process::Pid::from_child(&idle), rustix::process::Signal::STOP).unwrap();
    viewer.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut reader = std::io::BufReader::new(viewer.stdout.take().unwrap());
    let mut line = String::new();
    while line != "end\n" {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut reader, &mut line).unwrap(), 0);
    }
    let kept = support::resident(support::inspected(&world, "box", "supervisor_pid"));
    assert!(kept < 32 << 20, "{kept} bytes");
    for client in [&mut idle, &mut viewer] {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
}

/// Tries to connect to each `host:port` in its arguments.
const CONNECT: &str = r#"
import socket, sys
for target in sys.argv[1:]:
    host, port = target.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=20) as s:
            s.sendall(b"x")
            s.recv(1)
    except OSError: pass
"#;

#[test]
fn execs_and_logs_tell_of_connections_that_were_refused() {
    for who in Who::all() {
        let world = World::new(who);
        let one =
            "agentkernel: A connection from the sandbox to 192.0.2.1:81 was refused: the network mode is 'none'\n";
        let several = "agentkernel: Connections from the sandbox were refused, because the network mode is 'none': ";
        let stderr = |arguments: &[&str]| {
            let output = world.agentkernel(arguments).output().unwrap();
            assert!(output.status.success() && output.stdout.is_empty(), "{who:?}: {}", told(&output));
            String::from_utf8(output.stderr).unwrap()
        };
        let connect = ["python3", "-c", CONNECT];
        let with = |command: &[&'static str], targets: &[&'static str]| [command, &connect[..], targets].concat();
        let _ = stdout(&mut world.agentkernel(["create", "--name", "box"]));
        let _ = stdout(&mut world.agentkernel(["start", "box"]));
        // Each exec hears of its own time; the log, at the end, of everything.
        assert_eq!(stderr(&with(&["exec", "box"], &["192.0.2.1:81"])), one, "{who:?}");
        assert_eq!(stderr(&["exec", "box", "true"]), "", "{who:?}");
        let text = stderr(&with(&["exec", "box"], &["example.org:82", "192.0.2.1:81", "example.org:82"]));
        assert_eq!(text, format!("{several}192.0.2.1:81, example.org:82 (2 times)\n"), "{who:?}");
        assert_eq!(stderr(&["logs", "box"]), "", "{who:?}");
        let _ = stdout(&mut world.agentkernel(["stop", "-t", "0", "box"]));
        let text = stderr(&["logs", "box"]);
        assert_eq!(text, format!("{several}192.0.2.1:81 (2 times), example.org:82 (2 times)\n"), "{who:?}");
        // So does the log of a command that runs detached, and a client that runs one in the foreground.
        let _ = stdout(
            world.agentkernel(with(&["run", "-d", "--name", "job", "--"], &["192.0.2.1:81"])).stdin(Stdio::null()),
        );
        assert_eq!(stderr(&["logs", "-f", "job"]), one, "{who:?}");
        assert_eq!(stderr(&with(&["run", "--"], &["192.0.2.1:81"])), one, "{who:?}");
        let _ = stdout(&mut world.agentkernel(["rm", "box", "job"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
