//! Terminals.

use crate::driver::{Driver, Place, assert_contains, exec, is_root, setup, sh, user};
use std::time::Duration;
use wire::{
    ExecSpec, Exit, Stdio, WinSize,
    link::{ExecControl, ExecReport, ToInit},
};

fn terminal(mut spec: ExecSpec) -> ExecSpec {
    spec.stdio = Stdio::Terminal { size: WinSize { rows: 40, cols: 100 } };
    spec
}

#[test]
fn it_is_one_and_has_a_size() {
    let mut init = Driver::start();
    let output = init.run(terminal(sh("test -t 0 && test -t 1 && test -t 2 && stty size; : < /dev/tty && echo mine")));
    assert_eq!(output.text(), "40 100\r\nmine\r\n");
    assert_eq!(output.code(), 0);
}

#[test]
fn resize_reaches_the_program() {
    let mut init = Driver::start();
    let id = init.exec(terminal(sh("trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done")));
    init.until("it to be ready", |init| init.stream(id).stdout == b"ready\r\n");
    init.control(id, ExecControl::Resize(WinSize { rows: 11, cols: 22 }));
    assert_contains(init.finish(id).text(), "11 22\r\n");
}

#[test]
fn typing() {
    let mut init = Driver::start();
    let id = init.exec(terminal(sh("stty -echo; echo ready; read line; echo got $line; cat; echo end")));
    init.until("it to be ready", |init| init.stream(id).stdout == b"ready\r\n");
    init.input(id, b"hello\nmore\n");
    // An end of file of the stream is none for the terminal; the character for it is.
    init.eof(id);
    init.until("the echo", |init| init.stream(id).stdout.ends_with(b"more\r\n"));
    init.idle(Duration::from_millis(100));
    assert!(!init.stream(id).closed, "the stream's end of file ended the program");
    init.control(id, ExecControl::Signal(15));
    assert_eq!(init.finish(id).report, ExecReport::Exited(Exit::Signal(15)));
}

#[test]
fn interrupt_by_character_reaches_the_foreground() {
    let mut init = Driver::start();
    let id = init.exec(terminal(sh("echo ready; sleep 1000; echo not reached")));
    init.until("it to be ready", |init| init.stream(id).stdout == b"ready\r\n");
    // A shell that is just about to fork takes it for itself.
    init.idle(Duration::from_millis(500));
    init.input(id, b"\x03");
    let output = init.finish(id);
    assert_eq!(output.report, ExecReport::Exited(Exit::Signal(2)), "{output:?}");
}

#[test]
fn nothing_is_lost_at_the_end() {
    let mut init = Driver::start();
    for _ in 0..20 {
        let output = init.run(terminal(sh("seq 1 20000; exit 9")));
        assert_eq!(output.code(), 9);
        assert!(output.text().ends_with("19999\r\n20000\r\n"), "{} bytes", output.stdout.len());
    }
}

#[test]
fn a_program_that_lets_go_of_its_terminal_for_a_while() {
    let mut init = Driver::start();
    let script = "exec 3>&- </dev/null >/dev/null 2>&1; sleep 0.3; echo back > /dev/tty";
    assert_eq!(init.run(terminal(sh(script))).text(), "back\r\n");
}

#[test]
fn a_background_job_does_not_hold_up_the_end() {
    let mut init = Driver::start();
    assert_eq!(init.run(terminal(sh("sleep 1000 & echo started"))).text(), "started\r\n");
    assert_eq!(init.run(sh("sleep 1000 & echo started")).text(), "started\n");
}

#[test]
fn a_shell_that_ignores_the_polite_signal_hangs_up() {
    let mut init = Driver::start();
    let id = init.exec(terminal(sh("trap '' TERM; echo ready; while :; do sleep 0.1; done")));
    init.until("it to be ready", |init| init.stream(id).stdout == b"ready\r\n");
    init.send(&ToInit::Shutdown { grace_ms: 60_000 });
    assert_eq!(init.finish(id).report, ExecReport::Exited(Exit::Signal(1)));
    assert_eq!(init.exit_status(), 0);
}

#[test]
fn it_belongs_to_its_user() {
    if !is_root() {
        println!("only root has many ids");
        return;
    }
    let (mut init, _) = Driver::with(Place::ManyIds, setup(Place::ManyIds));
    let mut spec = terminal(exec(&["sh", "-c", "echo by name > $(tty) && stat -c %u $(tty)"]));
    spec.user = user(4321);
    let output = init.run(spec);
    assert_eq!(output.text(), "by name\r\n4321\r\n");
    let output = init.run(terminal(exec(&["sh", "-c", "stat -c %u $(tty)"])));
    assert_eq!(output.text(), "0\r\n");
}
