//! The start with its walls, and every way to the end.

use crate::driver::{Driver, Place, assert_contains, exec, is_root, setup, sh, user, with_stdin};
use std::time::{Duration, Instant};
use wire::{
    Exit,
    frame::{self, Kind},
    link::{ExecReport, FromInit, ToInit},
};

#[test]
fn the_walls_are_told_and_programs_have_them() {
    let (mut init, walls) = Driver::with(Place::OneId, setup(Place::OneId));
    let names: Vec<&str> = walls.iter().map(|wall| wall.name.as_str()).collect();
    assert_eq!(names, ["descriptors", "no-new-privileges", "capabilities", "landlock", "seccomp"]);
    assert!(walls.iter().all(|wall| wall.holds || wall.name == "landlock"), "{walls:?}");
    let status = init.run(exec(&["cat", "/proc/self/status"])).text();
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"] {
        assert_contains(&status, line);
    }
    for line in ["CapBnd:\t0000000000000000", "SigBlk:\t0000000000000000"] {
        assert_contains(&status, line);
    }
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    // 32 and 33 belong to libc, which lets nobody change them; a test runner may have them ignored.
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !(0b11 << 31), 0);
    assert_contains(&status, "Umask:\t0022");
    assert_eq!(init.run(sh("ls /proc/self/fd | tr '\\n' ' '")).text().trim(), "0 1 2 3", "3 is ls's own");
    assert_eq!(init.run(exec(&["cat", "/proc/self/oom_score_adj"])).text(), "500\n");
    // Init's own has the programs' for as long as it starts one.
    let own = "for i in $(seq 500); do read score < /proc/1/oom_score_adj; test $score = 0 && break; sleep 0.01; done; echo $score";
    assert_eq!(init.run(sh(own)).text(), "0\n");
    assert_eq!(init.run(exec(&["cat", "/proc/1/comm"])).text(), "ak-init\n");
    // Init itself cannot be traced or read, not even by the same user.
    for secret in ["/proc/1/mem", "/proc/1/fd/3", "/proc/1/environ"] {
        assert_ne!(init.run(exec(&["head", "-c", "1", secret])).code(), 0, "{secret}");
    }
    if walls.iter().any(|wall| wall.name == "landlock" && wall.holds) {
        assert_ne!(init.run(sh("echo x > /var/tmp/agentkernel-test")).code(), 0);
    }
    assert_eq!(init.run(sh("f=$(mktemp /tmp/XXXXXX) && echo x > $f && rm $f")).code(), 0);
}

#[test]
fn many_ids() {
    if !is_root() {
        return support::skipped("a sandbox with many ids", "only root has them");
    }
    let (mut init, _) = Driver::with(Place::ManyIds, setup(Place::ManyIds));
    let mut spec = sh("id -u; id -g; id -G; grep Cap /proc/self/status; cat /proc/sys/kernel/core_pattern > /dev/null");
    spec.user = wire::User { uid: 4321, gid: 4322, groups: vec![7, 8] };
    let output = init.run(spec).text();
    assert!(output.starts_with("4321\n4322\n4322 7 8\n"), "{output}");
    assert_eq!(output.matches("0000000000000000").count(), 5, "{output}");
    let output = init.run(sh("grep Cap /proc/self/status")).text();
    assert_eq!(output.matches("0000000000000000").count(), 5, "{output}");
    // A signal reaches a program of another user.
    let mut spec = exec(&["sleep", "1000"]);
    spec.user = user(4321);
    let id = init.exec(spec);
    init.started(id);
    init.control(id, wire::link::ExecControl::Signal(15));
    assert_eq!(init.finish(id).report, ExecReport::Exited(Exit::Signal(15)));
    let (_, cause) = init.failure({
        let mut spec = exec(&["true"]);
        spec.user = user(70000);
        spec
    });
    assert_contains(cause, "ids here: 0-65535");
}

#[test]
fn a_wall_that_cannot_be_raised_fails_the_start() {
    let mut init = Driver::bare(Place::OneId);
    let mut bad = setup(Place::OneId);
    bad.writable.push(format!("/tmp/{}", "x".repeat(300)).into());
    init.send(&ToInit::Setup(bad));
    let FromInit::Failed { wall, cause } = init.message() else { panic!("not failed") };
    assert_eq!(wall, "landlock");
    assert_contains(cause, "File name too long");
    assert_eq!(init.exit_status(), 1);
    // A path that is not there is nothing that could be written to.
    let mut absent = setup(Place::OneId);
    absent.writable.push("/no/such/place".into());
    let (_init, walls) = Driver::with(Place::OneId, absent);
    let landlock = walls.iter().find(|wall| wall.name == "landlock").unwrap();
    assert!(!landlock.holds || landlock.detail.ends_with("not there: /no/such/place"), "{landlock:?}");
}

#[test]
fn init_is_pid_1_or_nothing() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_init")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_contains(String::from_utf8_lossy(&output.stderr), "Not PID 1");
}

#[test]
fn shutdown_asks_first() {
    let mut init = Driver::start();
    let polite = init.exec(sh("trap 'echo bye; exit 4' TERM; sleep 1000 & wait"));
    init.started(polite);
    init.idle(Duration::from_millis(200));
    let begin = Instant::now();
    init.send(&ToInit::Shutdown { grace_ms: 30_000 });
    let output = init.finish(polite);
    assert_eq!((output.text().as_str(), output.code()), ("bye\n", 4));
    assert_eq!(init.exit_status(), 0);
    assert!(begin.elapsed() < Duration::from_secs(20), "nobody was left to wait for");
}

#[test]
fn shutdown_insists() {
    let mut init = Driver::start();
    let stubborn = init.exec(sh("trap '' TERM; echo ready; while :; do sleep 1000; done"));
    init.until("it to be ready", |init| init.stream(stubborn).stdout == b"ready\n");
    init.send(&ToInit::Shutdown { grace_ms: 300 });
    let late = init.exec(exec(&["true"]));
    assert!(matches!(init.finish(late).report, ExecReport::Failed { .. }));
    assert_eq!(init.finish(stubborn).report, ExecReport::Exited(Exit::Signal(9)));
    assert_eq!(init.exit_status(), 0);
}

#[test]
fn shutdown_of_an_idle_sandbox() {
    let mut init = Driver::start();
    init.send(&ToInit::Shutdown { grace_ms: 60_000 });
    assert_eq!(init.exit_status(), 0);
}

#[test]
fn without_a_link_everything_ends() {
    let mut init = Driver::start();
    // It holds a pipe that only it and the test know of: its end is the test's proof.
    let id = init.exec(sh("trap '' TERM HUP; setsid sleep 1000 & sleep 1000"));
    init.started(id);
    let before = Instant::now();
    init.hang_up();
    assert_eq!(init.exit_status(), 1);
    assert!(before.elapsed() < Duration::from_secs(10));
}

/// Whoever holds the other end of a link may be dead, and nobody close it.
#[test]
fn without_heartbeats_everything_ends() {
    let mut quick = setup(Place::OneId);
    quick.heartbeat_ms = Some(4000);
    let (mut init, _) = Driver::with(Place::OneId, quick);
    let id = init.exec(sh("trap '' TERM HUP; setsid sleep 1000 & sleep 1000"));
    init.started(id);
    for _ in 0..6 {
        init.send(&ToInit::Heartbeat);
        let FromInit::Heartbeat = init.message() else { panic!("no heartbeat") };
        init.idle(Duration::from_millis(900));
    }
    assert_eq!(init.exit_status(), 1);
    // Where nobody asked for it, silence means nothing.
    let mut init = Driver::start();
    init.idle(Duration::from_secs(2));
    assert_eq!(init.run(exec(&["true"])).code(), 0);
}

#[test]
fn a_broken_rule_ends_it() {
    type Write<'a> = &'a dyn Fn(&mut Vec<u8>);
    let broken: [(&str, Write<'_>); 6] = [
        ("noise", &|out| out.extend_from_slice(&[0xff; 64])),
        ("too large", &|out| out.extend_from_slice(&[0, 0, 0x10, 0, 3, 0, 0, 0, 1, 0, 0, 0])),
        ("unknown stream", &|out| frame::write(out, Kind::Data, 0, 77, b"x")),
        ("even stream", &|out| frame::write(out, Kind::Open, 0, 2, b"")),
        ("no message", &|out| frame::write(out, Kind::Message, 0, 0, &[99])),
        ("no open", &|out| frame::write(out, Kind::Open, 0, 1, &[99])),
    ];
    for (what, write) in broken {
        let mut init = Driver::start();
        let mut bytes = Vec::new();
        write(&mut bytes);
        init.raw(&bytes);
        assert_eq!(init.exit_status(), 1, "{what}");
    }
}

#[test]
fn messages_out_of_order_end_it() {
    let mut init = Driver::bare(Place::OneId);
    init.send(&ToInit::Usage);
    assert_eq!(init.exit_status(), 1);
    let mut init = Driver::bare(Place::OneId);
    init.exec(exec(&["true"]));
    assert_eq!(init.exit_status(), 1);
    let mut init = Driver::start();
    init.send(&ToInit::Setup(setup(Place::OneId)));
    assert_eq!(init.exit_status(), 1);
}

#[test]
fn usage() {
    let mut init = Driver::start();
    let id = init.exec(sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo done; sleep 1000; :"));
    init.until("some work", |init| init.stream(id).stdout == b"done\n");
    init.idle(Duration::from_millis(300));
    init.send(&ToInit::Usage);
    let FromInit::Usage(usage) = init.message() else { panic!("no usage") };
    assert_eq!(usage.processes, 3, "{usage:?}");
    assert!(usage.resident > 500_000 && usage.cpu_us >= 10_000, "{usage:?}");
}

#[test]
fn orphans_are_reaped() {
    let mut init = Driver::start();
    init.run(sh("for i in 1 2 3 4 5 6 7 8; do (setsid sleep 0.1 &) ; done"));
    init.idle(Duration::from_millis(500));
    let zombies = init.run(sh("grep -l 'State:.Z' /proc/[0-9]*/status | wc -l"));
    assert_eq!(zombies.text().trim(), "0");
}

#[test]
fn a_closed_stream_lets_its_program_go_on() {
    let mut init = Driver::start();
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let mark = dir.path().join("mark");
    let script = format!("head -c 20000000 /dev/zero; cat; echo x > {}", mark.display());
    let id = init.exec(with_stdin(sh(&script)));
    init.started(id);
    init.close(id);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !mark.exists() {
        assert!(Instant::now() < deadline, "the program is stuck");
        init.idle(Duration::from_millis(20));
    }
    assert_eq!(init.run(exec(&["true"])).code(), 0);
}

/// One descriptor more than init expects may be a way out (CVE-2024-21626).
#[test]
fn a_descriptor_too_many_fails_the_start() {
    let mut init = Driver::with_descriptors(Place::OneId, "5</");
    init.send(&ToInit::Setup(setup(Place::OneId)));
    let FromInit::Failed { wall, cause } = init.message() else { panic!("not failed") };
    assert_eq!((wall.as_str(), cause.contains("[0, 1, 2, 3, 4, 5]")), ("descriptors", true), "{cause}");
    assert_eq!(init.exit_status(), 1);
}
