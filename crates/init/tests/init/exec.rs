//! Programs: their start, their bytes, their end.

use crate::driver::{Driver, Place, assert_contains, assert_same, exec, noise, scaled, setup, sh, user, with_stdin};
use std::time::Duration;
use wire::{
    Exit, Rlimit, RlimitKind,
    link::{ExecControl, ExecFailure, ExecReport, Setup},
};

#[test]
fn output_and_status() {
    let mut init = Driver::start();
    let output = init.run(sh("echo out; echo err >&2; exit 3"));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice(), output.code()), (&b"out\n"[..], &b"err\n"[..], 3));
}

#[test]
fn pipelined_before_init_runs() {
    let mut init = Driver::bare(crate::driver::Place::OneId);
    init.send(&wire::link::ToInit::Setup(crate::driver::setup(crate::driver::Place::OneId)));
    let id = init.exec(sh("echo early"));
    assert_eq!(init.finish(id).text(), "early\n");
}

#[test]
fn input_comes_back_whole() {
    let mut init = Driver::start();
    let bytes = noise(scaled(64 << 20) as usize);
    let id = init.exec(with_stdin(exec(&["cat"])));
    init.input(id, &bytes);
    init.eof(id);
    let output = init.finish(id);
    assert_eq!(output.code(), 0);
    assert_same(&output.stdout, &bytes);
}

#[test]
fn standard_input_is_empty_unless_asked_for() {
    let mut init = Driver::start();
    assert_eq!(init.run(exec(&["cat"])).code(), 0);
}

#[test]
fn signals_and_their_exit() {
    let mut init = Driver::start();
    let id = init.exec(sh("sleep 1000"));
    // Sent before the program can have started.
    init.control(id, ExecControl::Signal(0));
    init.control(id, ExecControl::Signal(255));
    init.control(id, ExecControl::Signal(15));
    assert_eq!(init.finish(id).report, ExecReport::Exited(Exit::Signal(15)));
    // The whole group, real-time signals included.
    // Until sleep is sleep, the shell that becomes it would take the signal for its parent's trap, and go on to sleep.
    let asleep = "until [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done";
    let id = init.exec(sh(&format!("trap 'echo got' RTMIN+1; sleep 1000 & {asleep}; echo ready; wait; echo on")));
    init.until("it to be ready", |init| init.stream(id).stdout == b"ready\n");
    init.control(id, ExecControl::Signal(35));
    let output = init.finish(id);
    assert_eq!(output.code(), 0, "{output:?}");
}

#[test]
fn what_cannot_be_started() {
    let mut init = Driver::start();
    assert_eq!(init.failure(exec(&["no-such-program"])).0, ExecFailure::NotFound);
    assert_eq!(init.failure(exec(&["/no/such/program"])).0, ExecFailure::NotFound);
    assert_eq!(init.failure(exec(&["/etc/passwd"])).0, ExecFailure::NotExecutable);
    assert_eq!(init.failure(exec(&["/etc"])).0, ExecFailure::NotExecutable);
    assert_eq!(init.failure(exec(&[""])).0, ExecFailure::NotFound);
    assert_eq!(init.failure(exec(&[])).0, ExecFailure::Other);
    let mut spec = exec(&["true"]);
    spec.cwd = "/no/such/directory".into();
    let (kind, cause) = init.failure(spec);
    assert_eq!(kind, ExecFailure::Other);
    assert_contains(cause, "/no/such/directory");
    let mut spec = exec(&["true"]);
    spec.needs = vec!["sh".into(), "no-such-program".into(), "nor-this".into()];
    let (kind, cause) = init.failure(spec);
    assert_eq!(kind, ExecFailure::NotFound);
    assert_eq!(cause, "The image has no no-such-program and no nor-this, which the command needs");
    let mut spec = exec(&["true"]);
    spec.needs = vec!["sh".into()];
    assert_eq!(init.run(spec).code(), 0);
    let mut spec = exec(&["true"]);
    spec.user = user(1000);
    let (kind, cause) = init.failure(spec);
    assert_eq!(kind, ExecFailure::Other);
    assert_contains(cause, "User id 1000 does not exist in this sandbox (ids here: 0)");
    let mut spec = exec(&["true"]);
    spec.argv[0].0.push(0);
    assert_eq!(init.failure(spec).0, ExecFailure::Other);
    assert_eq!(init.run(exec(&["true"])).code(), 0);
}

#[test]
fn limits() {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
    // More than init has itself, as in a container whose engine allows less than the client: it is that then.
    for (nofile, had) in [(77, 77), (hard + 1, hard)] {
        let limits = [(RlimitKind::Nofile, nofile), (RlimitKind::Core, 0)];
        let rlimits = limits.map(|(kind, value)| Rlimit { kind, value }).into();
        let (mut init, _) = Driver::with(Place::OneId, Setup { rlimits, ..setup(Place::OneId) });
        assert_eq!(init.run(sh("ulimit -n; ulimit -c")).text(), format!("{had}\n0\n"));
    }
}

/// Init's descriptors, and its resident memory in KiB.
fn size(init: &mut Driver) -> (u64, u64) {
    // After a while, so that what its own start takes is gone.
    let output =
        init.run(sh("sleep 0.3; ls /proc/1/fd | wc -l; sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/1/status"));
    let text = output.text();
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn a_thousand_in_sequence_leave_nothing() {
    let mut init = Driver::start();
    for _ in 0..20 {
        init.run(exec(&["true"]));
    }
    let before = size(&mut init);
    for _ in 0..scaled(1000) {
        assert_eq!(init.run(exec(&["true"])).code(), 0);
    }
    let after = size(&mut init);
    assert_eq!(before.0, after.0);
    assert!(after.1 < before.1 + 100, "{before:?} {after:?}");
}

#[test]
fn thirty_two_at_once() {
    let mut init = Driver::start();
    let before = size(&mut init);
    let bytes = noise(1 << 20);
    for _ in 0..3 {
        let ids: Vec<u32> = (0..32).map(|_| init.exec(with_stdin(exec(&["cat"])))).collect();
        for &id in &ids {
            init.input(id, &bytes);
            init.eof(id);
        }
        for id in ids {
            assert_same(&init.finish(id).stdout, &bytes);
        }
    }
    let after = size(&mut init);
    assert_eq!(before.0, after.0);
    // 32 MiB were queued. Before Linux 6.2 the kernel counts pages in batches, so a little more may seem to be left.
    assert!(after.1 < before.1 + 2048, "what was queued is given back: {before:?} {after:?}");
}

#[test]
fn a_stuck_reader_holds_up_only_itself() {
    let mut init = Driver::start();
    let stuck = init.exec(exec(&["cat", "/dev/zero"]));
    init.stream(stuck).stuck = true;
    let full = exec(&["head", "-c", "10000000", "/dev/zero"]);
    assert_eq!(init.run(full).stdout.len(), 10_000_000);
    assert_eq!(init.stream(stuck).stdout.len(), wire::mux::WINDOW as usize);
    // It goes on where it stopped.
    init.stream(stuck).stuck = false;
    init.until("more", |init| init.stream(stuck).stdout.len() > 10_000_000);
    init.control(stuck, ExecControl::Signal(9));
    assert_eq!(init.finish(stuck).report, ExecReport::Exited(Exit::Signal(9)));
}

#[test]
fn output_that_nobody_takes_yet_is_not_lost_at_the_end() {
    let mut init = Driver::start();
    // More than a window: at its end the program has left some of it in the pipe.
    let count = wire::mux::WINDOW as usize + 50_000;
    let id = init.exec(exec(&["head", "-c", &count.to_string(), "/dev/zero"]));
    init.stream(id).stuck = true;
    init.started(id);
    init.idle(Duration::from_millis(500));
    assert!(!init.stream(id).closed);
    init.stream(id).stuck = false;
    assert_eq!(init.finish(id).stdout.len(), count);
}

#[test]
fn input_that_nobody_reads_is_swallowed() {
    let mut init = Driver::start();
    let id = init.exec(with_stdin(sh("exec <&-; echo closed; sleep 0.5; echo end")));
    init.until("it to be closed", |init| init.stream(id).stdout == b"closed\n");
    init.input(id, &noise(1 << 20));
    init.eof(id);
    assert_eq!(init.finish(id).text(), "closed\nend\n");
    // Nobody reads, but somebody could: it waits, and others do not.
    let id = init.exec(with_stdin(exec(&["sleep", "1000"])));
    init.input(id, &noise(1 << 20));
    init.idle(Duration::from_millis(100));
    assert_eq!(init.run(exec(&["true"])).code(), 0);
}

#[test]
fn a_script_without_an_interpreter_is_not_given_to_a_shell() {
    use std::os::unix::fs::PermissionsExt;
    let mut init = Driver::start();
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "echo hello\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = exec(&["script"]);
    spec.env = vec![format!("PATH=/no/such:{}", dir.path().display()).into()];
    assert_eq!(init.failure(spec.clone()).0, ExecFailure::NotExecutable);
    // One that may not be executed is remembered, and passed over for one that may.
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (kind, cause) = init.failure(spec.clone());
    assert_eq!(kind, ExecFailure::NotExecutable);
    assert_contains(cause, "permission denied");
    let better = dir.path().join("better");
    std::fs::create_dir(&better).unwrap();
    std::fs::copy("/bin/true", better.join("script")).unwrap();
    spec.env = vec![format!("PATH={}:{}", dir.path().display(), better.display()).into()];
    assert_eq!(init.run(spec).code(), 0);
}
