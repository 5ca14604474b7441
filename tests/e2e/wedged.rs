//! A supervisor that hangs: no command waits for it without end, and two of them end it.

use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Output, Stdio};
use support::{Who, World, eventually, inspected, stdout, told};

const SILENT: &str = "The sandbox's supervisor does not answer";

/// Starts a sandbox with this name and gives its supervisor.
fn start(world: &World, name: &str) -> Pid {
    let _ = stdout(&mut world.agentkernel(["create", "--name", name, "--", "sleep", "600"]));
    let _ = stdout(&mut world.agentkernel(["start", name]));
    Pid::from_raw(inspected(world, name, "supervisor_pid").cast_signed()).unwrap()
}

fn spawn(world: &World, arguments: &[&str]) -> Child {
    world.agentkernel(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn gives_up(output: &Output, status: i32, what: &[&str]) {
    let text = told(output);
    assert_eq!(output.status.code(), Some(status), "{what:?}: {text}");
    assert!(text.contains(SILENT) && text.contains("hint: 'agentkernel rm -f'"), "{what:?}: {text}");
}

#[test]
fn commands_give_up() {
    for who in Who::all() {
        let world = World::new(who);
        std::fs::write(world.project().join("file"), "x").unwrap();
        let supervisor = start(&world, "box");
        kill_process(supervisor, Signal::STOP).unwrap();
        let commands: [(&[&str], i32); 11] = [
            (&["stop", "-t", "0", "box"], 1),
            (&["restart", "-t", "0", "box"], 1),
            (&["kill", "-s", "TERM", "box"], 1),
            (&["kill", "--exec", "1", "box"], 1),
            (&["rm", "box"], 1),
            (&["wait", "box"], 1),
            (&["exec", "box", "true"], 125),
            (&["attach", "box"], 1),
            (&["cp", "file", "box:/tmp"], 1),
            (&["cp", "box:/etc/passwd", "-"], 1),
            (&["stats", "box"], 1),
        ];
        let children = commands.map(|(command, _)| spawn(&world, command));
        // What is on record is shown meanwhile, and that it is no more than that.
        assert!(stdout(&mut world.agentkernel(["ps"])).contains("box"));
        let json = stdout(&mut world.agentkernel(["inspect", "--json", "box"]));
        let details: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(details[0]["state"]["running"]["supervisor_pid"], supervisor.as_raw_nonzero().get(), "{json}");
        assert_eq!((&details[0]["running"], &details[0]["unreachable"]), (&serde_json::Value::Null, &SILENT.into()));
        // A number that nobody knows is not 0.
        let output = world.agentkernel(["inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "box"]).output().unwrap();
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{}", told(&output));
        assert!(told(&output).contains("Field 'State.Pid' is not known") && told(&output).contains(SILENT));
        for (child, (command, status)) in children.into_iter().zip(commands) {
            gives_up(&child.wait_with_output().unwrap(), status, command);
        }
        // What gave up has done nothing: it goes on as if nobody had asked.
        kill_process(supervisor, Signal::CONT).unwrap();
        assert_eq!(stdout(&mut world.agentkernel(["exec", "box", "echo", "on"])), "on\n");
        assert_eq!(stdout(&mut world.agentkernel(["inspect", "-f", "{unreachable}", "box"])), "\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn rm_and_kill_end_it() {
    for who in Who::all() {
        let world = World::new(who);
        for name in ["removed", "killed"] {
            kill_process(start(&world, name), Signal::STOP).unwrap();
        }
        let children = [spawn(&world, &["rm", "-f", "removed"]), spawn(&world, &["kill", "killed"])];
        for (child, name) in children.into_iter().zip(["removed\n", "killed\n"]) {
            let output = child.wait_with_output().unwrap();
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), name.as_bytes()), "{}", told(&output));
        }
        assert_eq!(stdout(&mut world.agentkernel(["ps", "-a", "--format", "{name} {status}"])), "killed lost\n");
        // The files are there still, and it starts again.
        let _ = stdout(&mut world.agentkernel(["start", "killed"]));
        assert_eq!(stdout(&mut world.agentkernel(["exec", "killed", "echo", "again"])), "again\n");
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "killed"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// One that hangs before it takes connections; here it is only its lock.
#[test]
fn a_start_that_hangs() {
    let world = World::new(Who::Me);
    let id = stdout(&mut world.agentkernel(["create", "--name", "box"]));
    let lock = world.state().join("sandboxes").join(id.trim()).join("lock");
    let held = std::fs::File::open(lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let commands: [&[&str]; 3] = [&["start", "box"], &["rm", "box"], &["cp", "box:/etc/passwd", "-"]];
    let forced: [&[&str]; 3] = [&["rm", "-f", "box"], &["kill", "box"], &["stop", "box"]];
    let (children, strong) =
        (commands.map(|command| spawn(&world, command)), forced.map(|command| spawn(&world, command)));
    for (child, command) in children.into_iter().zip(commands) {
        gives_up(&child.wait_with_output().unwrap(), 1, command);
    }
    for child in strong {
        let output = child.wait_with_output().unwrap();
        let text = told(&output);
        assert!(output.status.code() == Some(1) && text.contains("does not end") && text.contains("fuser"), "{text}");
    }
    drop(held);
    let _ = stdout(&mut world.agentkernel(["rm", "box"]));
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

/// One that hangs later, with a request in its hands.
#[test]
fn stop_gives_up_in_the_middle() {
    let world = World::new(Who::Me);
    let script = "trap 'echo told' TERM; echo ready; while :; do sleep 0.05; done";
    let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sh", "-c", script]));
    eventually("it is ready", || stdout(&mut world.agentkernel(["logs", "box"])) == "ready\n");
    let supervisor = inspected(&world, "box", "supervisor_pid").cast_signed();
    let stop = spawn(&world, &["stop", "-t", "5", "box"]);
    eventually("it is told to end", || stdout(&mut world.agentkernel(["logs", "box"])).contains("told"));
    kill_process(Pid::from_raw(supervisor).unwrap(), Signal::STOP).unwrap();
    gives_up(&stop.wait_with_output().unwrap(), 1, &["stop"]);
    let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
    eventually("nothing is left", || world.leftovers().is_empty());
}

/// A client that takes nothing, stopped by Ctrl-Z or before a pager: what it has not taken waits for it, and nobody else
/// does.
#[test]
fn a_client_that_takes_nothing_holds_nobody_up() {
    for who in Who::all() {
        let world = World::new(who);
        let run = |arguments: &[&str]| stdout(&mut world.agentkernel(arguments));
        let _ = run(&["run", "-d", "--name", "box", "--", "sleep", "600"]);
        let numbers = "seq 100000; echo end >&2; sleep 600";
        let mut reader = spawn(&world, &["exec", "box", "sh", "-c", numbers]);
        let pid = Pid::from_raw(reader.id().cast_signed()).unwrap();
        let mut first = [0; 4];
        std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut first).unwrap();
        assert_eq!(&first, b"1\n2\n");
        kill_process(pid, Signal::STOP).unwrap();
        for _ in 0..2 {
            assert_eq!(run(&["restart", "-t", "0", "box"]), "box\n");
            assert_eq!(run(&["exec", "box", "echo", "on"]), "on\n");
        }
        assert_eq!(run(&["stop", "-t", "0", "box"]), "box\n");
        assert!(run(&["ps", "-a", "--format", "{name} {status}"]).starts_with("box exited (143)"));
        assert_eq!(run(&["start", "box"]), "box\n");
        assert_eq!(run(&["rm", "-f", "box"]), "box\n");
        kill_process(pid, Signal::CONT).unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader.stdout.take().unwrap(), &mut text).unwrap();
        let _ = reader.wait();
        assert!(text.starts_with("3\n4\n"), "{}", &text[..text.len().min(80)]);
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn a_status_is_told_though_nobody_takes_the_output() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "trap 'exit 42' TERM; echo > ready; yes & wait";
        let mut run = spawn(&world, &["run", "--keep", "--name", "box", "--", "sh", "-c", script]);
        eventually("it runs", || world.project().join("ready").exists());
        let _ = stdout(&mut world.agentkernel(["stop", "-t", "5", "box"]));
        let status = stdout(&mut world.agentkernel(["ps", "-a", "--format", "{status}"]));
        assert!(status.starts_with("exited (42)"), "{status}");
        drop(run.stdout.take());
        let _ = run.wait();
        let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// The pager's case: what has not been taken when all is over still comes, and the sandbox is gone meanwhile.
#[test]
fn what_was_not_taken_comes_when_all_is_over() {
    for who in Who::all() {
        let world = World::new(who);
        let mut run = spawn(&world, &["run", "--name", "box", "--", "seq", "30000"]);
        eventually("it is over", || stdout(&mut world.agentkernel(["ps", "-aq"])).is_empty() && run.id() > 0);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut run.stdout.take().unwrap(), &mut text).unwrap();
        assert_eq!(run.wait().unwrap().code(), Some(0));
        assert!(text.ends_with("\n29999\n30000\n"));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}
