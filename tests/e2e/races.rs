//! Commands right behind a start: they wait for what is under way, and act on what comes of it.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Output, Stdio},
    time::Duration,
};
use support::{Who, World, eventually, stdout, told};

/// How long to wait between a start's first sign and the command, in microseconds.
const DELAYS: [u64; 8] = [0, 250, 500, 1000, 1500, 2000, 3000, 5000];

fn spawn(world: &World, arguments: &[&str]) -> Child {
    let mut command = world.agentkernel(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether somebody starts, runs or removes the sandbox.
fn locked(world: &World, id: &str) -> bool {
    let lock = File::open(world.state().join("sandboxes").join(id.trim()).join("lock")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
}

/// Starts a new sandbox called `box` and gives what the command, which comes `delay` after the start's first sign, told.
fn behind_a_start(world: &World, main: &[&str], delay: u64, command: &[&str], input: &[u8]) -> Output {
    let id = stdout(&mut world.agentkernel([&["create", "-i", "--name", "box", "--"], main].concat()));
    let start = spawn(world, &["start", "box"]);
    while !locked(world, &id) {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_micros(delay));
    let mut second = spawn(world, command);
    // A command that takes no input may have ended by now.
    let _ = second.stdin.take().unwrap().write_all(input);
    let (start, second) = (start.wait_with_output().unwrap(), second.wait_with_output().unwrap());
    assert_eq!((start.status.code(), &start.stdout[..]), (Some(0), &b"box\n"[..]), "{command:?}: {}", told(&start));
    assert_eq!(second.status.code(), Some(0), "{command:?} {delay}: {}", told(&second));
    second
}

fn each_delay(main: &[&str], command: &[&str], input: &[u8], check: impl Fn(&World, Output)) {
    for who in Who::all() {
        let world = World::new(who);
        for delay in DELAYS {
            let output = behind_a_start(&world, main, delay, command, input);
            check(&world, output);
            let _ = world.agentkernel(["rm", "-f", "box"]).output().unwrap();
        }
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

fn status(world: &World) -> String {
    stdout(&mut world.agentkernel(["ps", "-a", "--format", "{status}"]))
}

#[test]
fn stop() {
    each_delay(&["sleep", "600"], &["stop", "-t", "1", "box"], b"", |world, _| {
        assert!(status(world).starts_with("exited"), "{}", status(world));
    });
}

#[test]
fn rm() {
    each_delay(&["sleep", "600"], &["rm", "-f", "box"], b"", |world, _| assert_eq!(status(world), ""));
}

#[test]
fn restart() {
    each_delay(&["sleep", "600"], &["restart", "-t", "1", "box"], b"", |world, _| {
        assert!(status(world).starts_with("up"), "{}", status(world));
    });
}

#[test]
fn kill() {
    each_delay(&["sleep", "600"], &["kill", "box"], b"", |world, _| {
        assert_eq!(stdout(&mut world.agentkernel(["wait", "box"])), "137\n");
    });
}

#[test]
fn start() {
    each_delay(&["sleep", "600"], &["start", "box"], b"", |world, output| {
        assert_eq!(output.stdout, b"box\n");
        assert!(status(world).starts_with("up"), "{}", status(world));
    });
}

#[test]
fn exec() {
    each_delay(&["sleep", "600"], &["exec", "box", "echo", "here"], b"", |_, output| {
        assert_eq!(output.stdout, b"here\n");
    });
}

#[test]
fn attach() {
    each_delay(&["cat"], &["attach", "box"], b"typed", |_, output| assert_eq!(output.stdout, b"typed"));
}

#[test]
fn start_and_attach() {
    each_delay(&["cat"], &["start", "-a", "box"], b"typed", |_, output| assert_eq!(output.stdout, b"typed"));
}

#[test]
fn cp() {
    each_delay(&["sleep", "600"], &["cp", "box:/etc/hostname", "-"], b"", |_, output| {
        assert!(!output.stdout.is_empty());
    });
}

#[test]
fn inspect() {
    each_delay(&["sleep", "600"], &["inspect", "box"], b"", |_, output| {
        let details: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(details[0]["running"]["init_pid"].is_u64(), "{}", told(&output));
    });
}

#[test]
fn wait() {
    each_delay(&["sh", "-c", "exit 5"], &["wait", "box"], b"", |_, output| assert_eq!(output.stdout, b"5\n"));
}

/// The command's end is told before its sandbox is torn down.
#[test]
fn start_right_behind_the_end() {
    for who in Who::all() {
        let world = World::new(who);
        let _ = stdout(&mut world.agentkernel(["create", "-i", "--name", "box", "--", "cat"]));
        for round in 0..16 {
            let mut first = spawn(&world, &["start", "-a", "box"]);
            let _ = first.stdin.take().unwrap().write_all(round.to_string().as_bytes());
            let output = first.wait_with_output().unwrap();
            assert_eq!(output.stdout, round.to_string().as_bytes(), "{}", told(&output));
            if round % 2 == 0 {
                let _ = stdout(&mut world.agentkernel(["start", "box"]));
                assert!(status(&world).starts_with("up"), "{}", status(&world));
                let _ = stdout(&mut world.agentkernel(["stop", "-t", "0", "box"]));
            }
        }
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// As long as somebody takes output, whoever joins late gets what nobody has received, and the end.
#[test]
fn attach_behind_the_end() {
    for who in Who::all() {
        let world = World::new(who);
        let script = "trap 'echo last; exit 7' TERM; echo first; while :; do sleep 0.05; done";
        let _ = stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sh", "-c", script]));
        eventually("it is ready", || stdout(&mut world.agentkernel(["logs", "box"])) == "first\n");
        // This one's output nobody reads: its end is still to be told when the sandbox is gone, and nobody waits for that.
        let mut slow = spawn(&world, &["exec", "box", "head", "-c", "1000000", "/dev/zero"]);
        let mut byte = [0];
        slow.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
        let _ = stdout(&mut world.agentkernel(["kill", "-s", "TERM", "box"]));
        eventually("its end is on record", || status(&world).starts_with("exited (7)"));
        let ended = "agentkernel: Sandbox box has ended (exit 7)\n  hint: 'agentkernel logs box' shows what it wrote; \
                     'agentkernel start box' starts it again\n";
        let refused = |arguments: &[&str]| {
            let output = world.agentkernel(arguments).output().unwrap();
            let seen = (output.status.code(), String::from_utf8_lossy(&output.stderr));
            assert_eq!(seen, (Some(1), ended.into()), "{arguments:?}: {}", told(&output));
        };
        eventually("it can be started again", || {
            world.agentkernel(["attach", "box"]).output().unwrap().status.code() == Some(1)
        });
        refused(&["attach", "box"]);
        refused(&["kill", "-s", "TERM", "box"]);
        slow.kill().unwrap();
        slow.wait().unwrap();
        eventually("nobody serves it", || world.processes().is_empty());
        refused(&["attach", "box"]);
        refused(&["kill", "-s", "TERM", "box"]);
        let _ = stdout(&mut world.agentkernel(["rm", "box"]));
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

/// Whenever it comes: all that was written and the status, or one message.
#[test]
fn attach_around_the_end() {
    for who in Who::all() {
        let world = World::new(who);
        for delay in (0..20).map(|n| n * 500) {
            let id =
                stdout(&mut world.agentkernel(["run", "-d", "--name", "box", "--", "sh", "-c", "echo said; exit 7"]));
            std::thread::sleep(Duration::from_micros(delay));
            let output = world.agentkernel(["attach", "box"]).output().unwrap();
            match output.status.code() {
                Some(7) => assert_eq!(output.stdout, b"said\n", "{id} {delay}: {}", told(&output)),
                _ => assert!(
                    told(&output).contains("Sandbox box has ended (exit 7)\n  hint: 'agentkernel logs box'"),
                    "{delay}: {}",
                    told(&output)
                ),
            }
            let output = world.agentkernel(["start", "-a", "box"]).output().unwrap();
            assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"said\n"[..]), "{}", told(&output));
            let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        }
    }
}

/// Nothing is known about the order here: only that each of them works, and none waits for what never comes.
#[test]
fn at_the_same_time() {
    for who in Who::all() {
        let world = World::new(who);
        for round in 0..8 {
            let _ = stdout(&mut world.agentkernel(["create", "--name", "box", "--", "sleep", "600"]));
            let commands: [&[&str]; 4] =
                [&["start", "box"], &["stop", "-t", "1", "box"], &["restart", "-t", "1", "box"], &["start", "box"]];
            let children = commands.map(|command| spawn(&world, command));
            for (child, command) in children.into_iter().zip(commands) {
                let output = child.wait_with_output().unwrap();
                assert!(output.status.success(), "{round} {command:?}: {}", told(&output));
            }
            let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        }
        eventually("nothing is left", || world.leftovers().is_empty());
    }
}

#[test]
fn one_name_is_for_one_run() {
    for who in Who::all() {
        let world = World::new(who);
        for _ in 0..8 {
            let runs = [(); 2].map(|()| spawn(&world, &["run", "-d", "--name", "box", "--", "sleep", "600"]));
            let ended = runs.map(|child| child.wait_with_output().unwrap());
            let (good, bad): (Vec<_>, Vec<_>) = ended.into_iter().partition(|output| output.status.success());
            assert_eq!((good.len(), bad[0].status.code()), (1, Some(125)), "{bad:?}");
            assert!(told(&bad[0]).contains("Name 'box' belongs to sandbox"), "{}", told(&bad[0]));
            let _ = stdout(&mut world.agentkernel(["rm", "-f", "box"]));
        }
    }
}
