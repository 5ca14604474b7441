//! The event stream.

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
};
use support::{Who, World, eventually, stdout};

const BOX: &str = "watched";

struct Watcher {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watcher {
    /// Watches, and is sure that it is told what follows.
    fn new(world: &World) -> Self {
        let mut command = world.agentkernel(["events", "--json", BOX]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut watcher = Self { child, lines };
        eventually("the watcher is connected", || {
            let _ = stdout(&mut world.agentkernel(["exec", BOX, "true"]));
            let fd = std::os::fd::AsFd::as_fd(watcher.lines.get_ref());
            let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() > 0
        });
        let _ = stdout(&mut world.agentkernel(["exec", BOX, "echo", "sync"]));
        while watcher.event("exec-started")["command"] != "echo sync" {}
        let _ = watcher.event("exec-ended");
        watcher
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream has ended");
        serde_json::from_str(&line).unwrap()
    }

    /// The next of this kind.
    fn event(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next();
            if event["event"] == kind {
                return event;
            }
        }
    }
}

fn start(world: &World) {
    let _ = stdout(&mut world.agentkernel(["create", "--name", BOX, "--workspace", "none"]));
    let _ = stdout(&mut world.agentkernel(["start", BOX]));
}

fn in_box(world: &World, script: &str) -> Command {
    world.agentkernel(["exec", BOX, "sh", "-c", script])
}

#[test]
fn tells_what_happens_until_the_end() {
    for who in Who::all() {
        let world = World::new(who);
        start(&world);
        let mut watcher = Watcher::new(&world);
        let status = in_box(&world, "curl -s http://denied.example/; exit 3").output().unwrap().status;
        assert_eq!(status.code(), Some(3));
        let started = watcher.next();
        assert_eq!((&started["event"], &started["name"]), (&"exec-started".into(), &BOX.into()), "{started}");
        let refused = watcher.next();
        assert_eq!(
            (&refused["event"], &refused["reason"], &refused["host"], &refused["port"]),
            (&"refused".into(), &"network-none".into(), &"denied.example".into(), &80.into()),
            "{refused}"
        );
        let ended = watcher.event("exec-ended");
        assert_eq!((&ended["exec"], &ended["status"]), (&started["exec"], &3.into()), "{ended}");
        let _ = world.agentkernel(["exec", BOX, "/nowhere"]).output().unwrap();
        assert!(watcher.next()["cause"].as_str().unwrap().contains("/nowhere"));
        let _ = stdout(&mut world.agentkernel(["kill", BOX]));
        let stopped = watcher.next();
        assert_eq!((&stopped["event"], &stopped["status"]), (&"stopped".into(), &137.into()), "{stopped}");
        assert_eq!(watcher.lines.read(&mut [0]).unwrap(), 0);
        assert!(watcher.child.wait().unwrap().success());
        assert_eq!(world.agentkernel(["events", BOX]).output().unwrap().status.code(), Some(1));
        let _ = stdout(&mut world.agentkernel(["rm", BOX]));
        assert_eq!(world.leftovers(), Vec::<String>::new());
    }
}

/// A stream that is cut short does not look like one that has ended.
#[test]
fn who_misses_the_end_is_told_so() {
    let world = World::new(Who::Me);
    start(&world);
    let mut watcher = Watcher::new(&world);
    let flood =
        "for host in $(seq 4000); do echo http://$host.denied.example/; done | xargs curl -s -o /dev/null; true";
    let _ = in_box(&world, flood).output().unwrap();
    let _ = stdout(&mut world.agentkernel(["kill", BOX]));
    eventually("its supervisor has ended", || {
        world.agentkernel(["events", BOX]).output().unwrap().status.code() == Some(1)
    });
    let mut rest = String::new();
    watcher.lines.read_to_string(&mut rest).unwrap();
    let last: Value = rest.lines().next_back().map(|line| serde_json::from_str(line).unwrap()).unwrap();
    assert_ne!(last["event"], "stopped");
    assert_eq!(watcher.child.wait().unwrap().code(), Some(1));
}

/// Nobody waits for a watcher that does not read, and nothing grows for it.
#[test]
fn who_does_not_read_is_told_what_is_missing() {
    let world = World::new(Who::Me);
    start(&world);
    let mut watcher = Watcher::new(&world);
    // Its output is not read either: it stands still when the pipe is full.
    let flood =
        "for host in $(seq 4000); do echo http://$host.denied.example/; done | xargs curl -s -o /dev/null; true";
    let _ = in_box(&world, flood).output().unwrap();
    let mut other = Watcher::new(&world);
    let _ = in_box(&world, "exit 7").output().unwrap();
    assert_eq!(other.event("exec-ended")["status"], 7);
    let mut heard = 0;
    // The number comes with the next event for which there is room again.
    let missing = loop {
        let event = watcher.next();
        match event["event"].as_str().unwrap() {
            "skipped" => break event["count"].as_u64().unwrap(),
            "refused" => heard += 1,
            _ => {}
        }
        if heard % 500 == 499 {
            let _ = in_box(&world, "exit 8").output().unwrap();
        }
    };
    assert!(missing > 0 && heard + missing >= 4000, "{heard} heard, {missing} missing");
    // One that dies disturbs nobody.
    other.child.kill().unwrap();
    let _ = other.child.wait();
    let _ = in_box(&world, "exit 9").output().unwrap();
    while watcher.event("exec-ended")["status"] != 9 {}
    let _ = stdout(&mut world.agentkernel(["stop", "-t", "1", BOX]));
    assert_eq!(watcher.event("stopped")["status"], 0);
    assert!(watcher.child.wait().unwrap().success());
}
