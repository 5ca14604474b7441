//! Hides the life of one exec: its program, its pipes or terminal, and in which order its end is told.

use crate::{
    activity::{Activity, Step},
    link::LinkError,
    poll::{self, Event, Token},
    pump::{AtEof, Cx, Sink, Source},
    spawn::{ChildStdio, End, Failure, Outcome, Spawner, pipe},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags},
    process::Pid,
    termios::Winsize,
};
use std::{io, rc::Rc};
use wire::{
    Channel, ExecSpec, Exit, Stdio, WinSize,
    link::{ExecControl, ExecFailure, ExecReport},
};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const TERMINAL: u8 = 3;
const OUTCOME: u8 = 4;

/// More than a terminal's buffers can hold: what is taken from one after its program has ended.
const TERMINAL_BUFFERS: u64 = 1024 * 1024;
/// Signals kept for a program that does not run yet.
const EARLY_SIGNALS: usize = 64;

/// Whether the program runs.
enum Launch {
    /// Not known yet: who will tell.
    Pending(OwnedFd),
    Running,
}

/// A terminal, as long as its exec lasts.
struct Terminal {
    controller: Rc<OwnedFd>,
    /// Kept open until the program has ended: without it, a program that closes its own for a while would look as
    /// if it had hung up.
    user: Option<OwnedFd>,
}

/// One running exec.
pub struct Exec {
    pid: Pid,
    launch: Launch,
    early_signals: Vec<u8>,
    stdin: Sink,
    outputs: Vec<Source>,
    terminal: Option<Terminal>,
    exit: Option<Exit>,
    /// The supervisor has closed the stream: the program goes on, its output is thrown away.
    abandoned: bool,
}

impl Exec {
    /// Starts a program. The second value is its process.
    ///
    /// # Errors
    /// A [`Failure`] for the supervisor.
    pub fn start(cx: &Cx<'_>, spec: &ExecSpec, spawner: &Spawner) -> Result<(Self, Pid), Failure> {
        let failed = |error: io::Error| (ExecFailure::Other, format!("Cannot make standard input and output: {error}"));
        spawner.check_user(&spec.user).map_err(|cause| (ExecFailure::Other, cause))?;
        match spec.stdio {
            Stdio::Pipes { stdin } => Self::with_pipes(cx, spec, spawner, stdin, failed),
            Stdio::Terminal { size } => Self::with_terminal(cx, spec, spawner, size, failed),
        }
    }

    fn with_pipes(
        cx: &Cx<'_>,
        spec: &ExecSpec,
        spawner: &Spawner,
        stdin: bool,
        failed: fn(io::Error) -> Failure,
    ) -> Result<(Self, Pid), Failure> {
        let token = |slot| Token { stream: cx.stream, slot };
        let (input, sink) = if stdin {
            let (read, write) = pipe(End::Write).map_err(failed)?;
            cx.poll.add(&write, token(STDIN), poll::WRITE).map_err(failed)?;
            (read, Sink::new(Rc::new(write), AtEof::Close))
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            (null.map_err(|error| failed(error.into()))?, Sink::closed())
        };
        let source = |channel, slot| -> Result<_, Failure> {
            let (read, write) = pipe(End::Read).map_err(failed)?;
            cx.poll.add(&read, token(slot), poll::READ).map_err(failed)?;
            Ok((Source::new(Rc::new(read), channel), write))
        };
        let (stdout, output) = source(Channel::Stdout, STDOUT)?;
        let (stderr, errors) = source(Channel::Stderr, STDERR)?;
        let stdio = ChildStdio::Pipes([input.as_fd(), output.as_fd(), errors.as_fd()]);
        Self::spawned(cx, spec, spawner, &stdio, sink, vec![stdout, stderr], None, failed)
    }

    fn with_terminal(
        cx: &Cx<'_>,
        spec: &ExecSpec,
        spawner: &Spawner,
        size: WinSize,
        failed: fn(io::Error) -> Failure,
    ) -> Result<(Self, Pid), Failure> {
        // The terminal belongs to whoever opens it, and its user must be able to open it by name.
        let pair = spawner.as_file_user(&spec.user, jail::pty::open_pair).and_then(|pair| pair).map_err(failed)?;
        resize(&pair.controller, size);
        rustix::io::ioctl_fionbio(&pair.controller, true).map_err(|error| failed(error.into()))?;
        let flags = poll::READ | poll::WRITE;
        cx.poll.add(&pair.controller, Token { stream: cx.stream, slot: TERMINAL }, flags).map_err(failed)?;
        let controller = Rc::new(pair.controller);
        let sink = Sink::new(controller.clone(), AtEof::Ignore);
        let source = Source::new(controller.clone(), Channel::Stdout);
        let user = pair.user;
        let shown = user.try_clone().map_err(failed)?;
        let stdio = ChildStdio::Terminal(shown.as_fd());
        let terminal = Terminal { controller, user: Some(user) };
        Self::spawned(cx, spec, spawner, &stdio, sink, vec![source], Some(terminal), failed)
    }

    #[allow(clippy::too_many_arguments)] // the tail of the two above, nothing of its own
    fn spawned(
        cx: &Cx<'_>,
        spec: &ExecSpec,
        spawner: &Spawner,
        stdio: &ChildStdio<'_>,
        stdin: Sink,
        outputs: Vec<Source>,
        terminal: Option<Terminal>,
        failed: fn(io::Error) -> Failure,
    ) -> Result<(Self, Pid), Failure> {
        let launched = spawner.spawn(spec, stdio)?;
        let pid = launched.pid;
        if let Err(error) = cx.poll.add(&launched.outcome, Token { stream: cx.stream, slot: OUTCOME }, poll::READ) {
            // Nobody would know of it. It fails only if it has ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            return Err(failed(error));
        }
        let launch = Launch::Pending(launched.outcome);
        Ok((
            Self { pid, launch, early_signals: Vec::new(), stdin, outputs, terminal, exit: None, abandoned: false },
            pid,
        ))
    }

    /// Finds out whether the program runs, and says so to the supervisor. If it does not, that is the whole step.
    fn resolve(&mut self, cx: &mut Cx<'_>) -> Option<Step> {
        let Launch::Pending(outcome) = &self.launch else { return None };
        loop {
            match Outcome::next(outcome) {
                None => return Some(Step::Wait),
                Some(Outcome::Watched(listener)) => {
                    if let Err(error) = cx.watch.add(cx.poll, cx.stream, listener) {
                        // Without it the program waits for ever.
                        let _ = rustix::process::kill_process(self.pid, rustix::process::Signal::KILL);
                        fail(cx, ExecFailure::Other, format!("Cannot hear what the program changes: {error}"));
                        return Some(Step::Done);
                    }
                }
                Some(Outcome::Unwatched(cause)) => cx.watch.cannot(cause),
                Some(Outcome::Failed((kind, cause))) => {
                    fail(cx, kind, cause);
                    return Some(Step::Done);
                }
                Some(Outcome::Gone) => break,
            }
        }
        self.launch = Launch::Running;
        report(cx, &ExecReport::Started { pid: self.pid.as_raw_nonzero().get().cast_unsigned() });
        for signal in std::mem::take(&mut self.early_signals) {
            self.signal(signal);
        }
        None
    }

    fn signal(&mut self, signal: u8) {
        if matches!(self.launch, Launch::Pending(_)) {
            // Its process group may not exist yet.
            if self.early_signals.len() < EARLY_SIGNALS {
                self.early_signals.push(signal);
            }
        } else if self.exit.is_none() && signal != 0 {
            // A number that is no signal is refused by the kernel, and there is nobody who could do better.
            let _ = jail::pid1::signal_group(self.pid, signal.into());
        }
    }
}

impl Activity for Exec {
    fn data(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        self.stdin.push(cx, bytes);
    }

    fn eof(&mut self, _channel: Channel) {
        // A terminal has no end of file: like docker, nothing is done, and whoever wants the program to read one
        // types the character for it (VEOF, usually ctrl-d).
        self.stdin.eof();
    }

    fn control(&mut self, _cx: &mut Cx<'_>, payload: &[u8]) -> Result<(), LinkError> {
        match wire::decode(payload)? {
            ExecControl::Signal(signal) => self.signal(signal),
            ExecControl::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    resize(&terminal.controller, size);
                }
            }
        }
        Ok(())
    }

    fn closed(&mut self, cx: &mut Cx<'_>) {
        self.abandoned = true;
        self.stdin.abandon(cx);
        cx.mux.close(cx.stream);
    }

    fn ready(&mut self, event: Event) {
        let slot = event.token.slot;
        if matches!(slot, STDIN | TERMINAL) && event.writable() {
            self.stdin.wake();
        }
        if matches!(slot, STDOUT | STDERR | TERMINAL) && event.readable() {
            let channel = if slot == STDERR { Channel::Stderr } else { Channel::Stdout };
            self.outputs.iter_mut().filter(|output| output.channel() == channel).for_each(Source::wake);
        }
    }

    fn exited(&mut self, exit: Exit) {
        self.exit = Some(exit);
        // What it wrote is taken; what its children that live on may still write is not waited for.
        for output in &mut self.outputs {
            let limit = if self.terminal.is_some() { TERMINAL_BUFFERS } else { output.pending() };
            output.finish(limit);
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.user = None;
        }
    }

    fn hang_up(&self) {
        if let Some(terminal) = &self.terminal
            && let Ok(group) = rustix::termios::tcgetpgrp(&*terminal.controller)
        {
            let _ = jail::pid1::signal_group(group, rustix::process::Signal::HUP.as_raw());
            // A stopped job acts on it only once it runs again.
            let _ = jail::pid1::signal_group(group, rustix::process::Signal::CONT.as_raw());
        }
    }

    fn last_word(&mut self, cx: &mut Cx<'_>) {
        if let (Launch::Running, Some(exit)) = (&self.launch, self.exit) {
            report(cx, &ExecReport::Exited(exit));
            cx.mux.close(cx.stream);
        }
    }

    fn step(&mut self, cx: &mut Cx<'_>) -> Step {
        if let Some(step) = self.resolve(cx) {
            return step;
        }
        self.stdin.flush(cx);
        let mut again = false;
        for output in &mut self.outputs {
            again |= output.pump(cx, self.abandoned);
        }
        if let Some(exit) = self.exit
            && self.outputs.iter().all(Source::ended)
        {
            for output in &self.outputs {
                cx.mux.eof(cx.stream, output.channel());
            }
            report(cx, &ExecReport::Exited(exit));
            cx.mux.close(cx.stream);
            return Step::Done;
        }
        if again { Step::Again } else { Step::Wait }
    }
}

/// Tells the supervisor that nothing was started, and ends the stream.
pub fn fail(cx: &mut Cx<'_>, kind: ExecFailure, cause: String) {
    report(cx, &ExecReport::Failed { kind, cause });
    cx.mux.close(cx.stream);
}

fn report(cx: &mut Cx<'_>, report: &ExecReport) {
    // The only part of variable length is a cause, which is cut to a line where it is made.
    if let Ok(bytes) = wire::encode(report) {
        cx.mux.control(cx.stream, &bytes);
    }
}

fn resize(terminal: &OwnedFd, size: WinSize) {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    // The kernel refuses no size.
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}
