//! Programs: their start, their bytes, their end.

use crate::driver::{Driver, assert_contains, assert_same, exec, noise, sh, user, with_stdin};
use wire::{
    Exit, Rlimit, RlimitKind,
    link::{ExecControl, ExecFailure, ExecReport},
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
    let bytes = noise(64 << 20);
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
    let id = init.exec(sh("sleep 1000 & trap 'echo got' RTMIN+1; wait; echo on"));
    init.started(id);
    init.idle(std::time::Duration::from_millis(200));
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
    let mut init = Driver::start();
    let mut spec = sh("ulimit -n; ulimit -c");
    spec.rlimits = vec![Rlimit { kind: RlimitKind::Nofile, value: 77 }, Rlimit { kind: RlimitKind::Core, value: 0 }];
    assert_eq!(init.run(spec).text(), "77\n0\n");
}

#[test]
fn a_thousand_in_sequence() {
    let mut init = Driver::start();
    let fds = |init: &mut Driver| init.run(sh("ls /proc/1/fd | wc -l; grep VmRSS /proc/1/status")).text();
    for _ in 0..20 {
        init.run(exec(&["true"]));
    }
    let before = fds(&mut init);
    for _ in 0..1000 {
        let output = init.run(exec(&["true"]));
        assert_eq!(output.code(), 0);
    }
    let after = fds(&mut init);
    println!("{before} {after}");
    assert_eq!(before.lines().next(), after.lines().next());
}
