//! A command's input and output on the caller's standard descriptors, until it ends or the caller leaves.

use super::{
    Client, ClientError,
    recording::Recorder,
    terminal,
    terminal::{DetachKeys, Raw},
};
use crate::connection::{Filled, Incoming};
use jail::signal::SignalFd;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{BorrowedFd, OwnedFd},
    fs::FileType,
    io::Errno,
    process::Signal,
    stdio::{stderr, stdin, stdout},
};
use std::{
    collections::VecDeque,
    fmt,
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};
use wire::{
    Channel, Exit, api,
    link::{ExecControl, ExecFailure, ExecReport},
};

/// How a session ended.
#[derive(Debug)]
pub enum Outcome {
    /// The program ended.
    Exited(Exit),
    /// The sandbox was lost.
    Lost {
        /// Why, in one line.
        why: String,
    },
    /// The program could not be started.
    Failed {
        /// The kind, for the exit status.
        kind: ExecFailure,
        /// The cause, in one line.
        cause: String,
    },
    /// The caller left; the program goes on.
    Detached {
        /// Its number in the sandbox.
        exec: u32,
    },
}

/// What connects the caller to the command.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The caller's standard input goes to the command.
    pub stdin: bool,
    /// The command has a terminal, and so has the caller: raw mode, window size, detach keys.
    pub terminal: bool,
    /// Leave as soon as the command has started.
    pub detach: bool,
    /// The command may have painted already what this terminal does not show: it is made to paint again.
    pub repaint: bool,
    /// The command is killed when this process goes, in whatever way; SIGTERM and SIGHUP leave it a moment before. No keys leave
    /// it running.
    pub tied: bool,
}

/// How long a terminal has another size, so that its program paints again. Two changes right behind each other would be
/// one signal to a program that then finds nothing changed.
const OTHER_SIZE: Duration = Duration::from_millis(200);

/// How long a command that was killed may take to be gone.
const FAREWELL: Duration = Duration::from_secs(2);

/// Signals that the caller gets and the command is told of.
const FORWARDED: [Signal; 7] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];

impl Session {
    /// Opens a stream with `open` (an exec or an attach) and stays until its end.
    ///
    /// # Errors
    /// [`ClientError`], the caller's terminal being as it was before.
    pub fn run(self, client: &mut Client, open: &api::Open) -> Result<Outcome, ClientError> {
        self.run_recorded(client, open, None, None)
    }

    /// The same, and what is shown is recorded as well. The end of the [`caller`], if it is given, is a SIGHUP.
    ///
    /// # Errors
    /// The same ones.
    pub fn run_recorded(
        self,
        client: &mut Client,
        open: &api::Open,
        recorder: Option<&mut Recorder>,
        caller: Option<OwnedFd>,
    ) -> Result<Outcome, ClientError> {
        let stream = client.open(open)?;
        // From here on signals are read, not delivered: the terminal is always restored.
        let signals = SignalFd::new(&FORWARDED).map_err(ClientError::Stdio)?;
        let shared = same_file(stdout(), stderr());
        let raw = match self.terminal && terminal::is_terminal().input {
            true => Some(Raw::enter(stdin()).map_err(ClientError::Stdio)?),
            false => None,
        };
        let mut running = Running {
            client,
            stream,
            session: self,
            recorder,
            shared,
            exec: 0,
            started: false,
            resize: None,
            // Whoever only watches at a terminal has no keys but those that leave.
            input_open: self.stdin || (raw.is_some() && !self.detach),
            keys: raw.as_ref().filter(|_| !self.tied).map(|_| DetachKeys::default()),
            typed: Vec::new(),
            output: VecDeque::new(),
            interrupts: 0,
            caller,
            end: None,
            notices: Vec::new(),
            lost: None,
            outcome: None,
        };
        if raw.is_some() {
            running.show_size();
        }
        let outcome = running.serve(&signals);
        let notices = std::mem::take(&mut running.notices);
        // The terminal is as it was again.
        drop(raw);
        for notice in notices {
            tell(&format_args!("agentkernel: {notice}"));
        }
        outcome
    }
}

struct Running<'a> {
    client: &'a mut Client,
    stream: u32,
    session: Session,
    recorder: Option<&'a mut Recorder>,
    /// Standard output and standard error are one file.
    shared: bool,
    exec: u32,
    /// The command runs, as far as is known.
    started: bool,
    /// When the terminal gets its true size back.
    resize: Option<Instant>,
    input_open: bool,
    keys: Option<DetachKeys>,
    /// Read from standard input, not yet sent for want of credit.
    typed: Vec<u8>,
    /// Received and not yet written.
    output: VecDeque<(Channel, Vec<u8>)>,
    /// Signals to end that the command has not followed.
    interrupts: u32,
    /// The process that started this one, if the command is not to outlive it.
    caller: Option<OwnedFd>,
    /// When the caller leaves, whatever is still to come.
    end: Option<Instant>,
    notices: Vec<String>,
    /// Why the sandbox was lost.
    lost: Option<String>,
    outcome: Option<Outcome>,
}

impl Running<'_> {
    fn serve(&mut self, signals: &SignalFd) -> Result<Outcome, ClientError> {
        let mut socket_open = true;
        loop {
            while let Some(incoming) = self.client.connection.next()? {
                self.handle(incoming)?;
            }
            if self.output.is_empty() {
                if let Some(outcome) = self.outcome.take() {
                    let _ = self.client.connection.flush();
                    return Ok(outcome);
                }
                if !socket_open {
                    return Err(ClientError::Gone);
                }
            }
            // Whoever writes all the time is not waited for either: the supervisor ends it.
            if self.session.tied && self.end.is_some_and(|end| end <= Instant::now()) {
                return Ok(Outcome::Exited(Exit::Signal(Signal::KILL.as_raw() as u8)));
            }
            self.send_typed();
            let flushed = self.client.connection.flush().unwrap_or(true);

            let writer = self.output.front().map(|(channel, _)| writer(*channel));
            let reads = self.input_open && self.typed.is_empty() && self.outcome.is_none();
            let mut socket = PollFlags::empty();
            if socket_open && self.output.len() < 64 {
                socket |= PollFlags::IN;
            }
            if !flushed {
                socket |= PollFlags::OUT;
            }
            let mut fds = vec![PollFd::new(&self.client.connection, socket), PollFd::new(signals, PollFlags::IN)];
            let caller_at = self.caller.as_ref().map(|caller| {
                fds.push(PollFd::new(caller, PollFlags::IN));
                fds.len() - 1
            });
            let writer_at = fds.len();
            if let Some(fd) = &writer {
                fds.push(PollFd::new(fd, PollFlags::OUT));
            }
            let input = stdin();
            if reads {
                fds.push(PollFd::new(&input, PollFlags::IN));
            }
            let next = self.end.into_iter().chain(self.resize).min();
            let left = next.map(|next| next.saturating_duration_since(Instant::now()));
            match poll(&mut fds, left.map(super::timespec).as_ref()) {
                Ok(0) if !self.session.tied && self.end.is_some_and(|end| end <= Instant::now()) => {
                    return Err(ClientError::Interrupted);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            if self.resize.take_if(|when| *when <= Instant::now()).is_some() {
                self.restore_size();
            }
            if socket_open && ready[0].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                socket_open = self.client.connection.fill()? != Filled::End;
            }
            if !ready[1].is_empty() {
                self.on_signals(signals)?;
            }
            if caller_at.is_some_and(|at| !ready[at].is_empty()) {
                self.caller = None;
                self.on_signal(Signal::HUP.as_raw());
            }
            if writer.is_some() && !ready[writer_at].is_empty() {
                self.write_output()?;
            }
            if reads && ready.last().is_some_and(|flags| !flags.is_empty()) && self.read_input()? {
                return Ok(Outcome::Detached { exec: self.exec });
            }
        }
    }

    /// The command was made for a terminal of some size; this is the one it has. Programs paint when it changes (Docker's
    /// way), so it does, for a moment.
    fn show_size(&mut self) {
        let mut size = terminal::window_size();
        if self.session.repaint {
            // Smaller, if there is room: painting more than fits would make the terminal scroll.
            size.rows = if size.rows > 1 { size.rows - 1 } else { 2 };
            self.resize = Some(Instant::now() + OTHER_SIZE);
        }
        self.tell(ExecControl::Resize(size));
    }

    fn restore_size(&mut self) {
        // A terminal that changes its size forgets its margins, and programs rely on that. This one has not changed; what
        // it was shown may have been painted for one that had another size.
        if self.output.is_empty() && terminal::is_terminal().output {
            let _ = rustix::io::write(stdout(), b"\x1b7\x1b[r\x1b8");
        }
        self.tell(ExecControl::Resize(terminal::window_size()));
    }

    fn handle(&mut self, incoming: Incoming) -> Result<(), ClientError> {
        match incoming {
            Incoming::Data(stream, channel, bytes) if stream == self.stream => {
                if matches!(self.session, Session { detach: true, .. }) {
                    self.client.connection.mux.consumed(stream, bytes.len());
                } else {
                    if let Some(recorder) = &mut self.recorder {
                        recorder.output(channel, &bytes);
                    }
                    self.output.push_back((channel, bytes));
                }
            }
            Incoming::Control(stream, payload) if stream == self.stream => match wire::decode(&payload) {
                Ok(api::Report::Exec { exec, report }) => self.on_report(exec, report),
                Ok(api::Report::Lost(why)) => self.lost = Some(why),
                Ok(api::Report::Notice(notice)) => self.notices.push(notice),
                Ok(api::Report::Failed(failure)) => return Err(failure.into()),
                _ => return Err(ClientError::Nonsense),
            },
            Incoming::Closed(stream) if stream == self.stream => {
                self.client.connection.mux.close(stream);
                if self.outcome.is_none() {
                    return Err(ClientError::Gone);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_report(&mut self, exec: u32, report: ExecReport) {
        self.exec = exec;
        match report {
            ExecReport::Started { .. } if self.session.detach => {
                self.detach();
                self.outcome = Some(Outcome::Detached { exec });
            }
            ExecReport::Started { .. } => self.started = true,
            ExecReport::Exited(exit) => {
                self.outcome = Some(match self.lost.take() {
                    Some(why) if exit == Exit::Lost => Outcome::Lost { why },
                    _ => Outcome::Exited(exit),
                });
            }
            ExecReport::Failed { kind, cause } => self.outcome = Some(Outcome::Failed { kind, cause }),
        }
    }

    fn detach(&mut self) {
        self.client.connection.control(self.stream, &api::Control::Detach);
        self.client.connection.mux.close(self.stream);
    }

    fn tell(&mut self, control: ExecControl) {
        self.client.connection.control(self.stream, &api::Control::Exec(control));
    }

    /// Reads what was typed. True when the caller wants to leave.
    fn read_input(&mut self) -> Result<bool, ClientError> {
        let mut buffer = [0; 32 * 1024];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) => self.end_input(),
            Ok(count) => match &mut self.keys {
                None => self.typed.extend_from_slice(&buffer[..count]),
                Some(keys) => {
                    let leave = keys.filter(&buffer[..count], &mut self.typed);
                    if !self.session.stdin {
                        self.typed.clear();
                    }
                    if leave {
                        self.send_typed();
                        self.detach();
                        while !self.client.connection.flush()? {
                            poll(&mut [PollFd::new(&self.client.connection, PollFlags::OUT)], None)?;
                        }
                        return Ok(true);
                    }
                }
            },
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The terminal is gone, or was never readable: the command sees the end of its input.
            Err(_) => self.end_input(),
        }
        Ok(false)
    }

    fn end_input(&mut self) {
        self.input_open = false;
        self.client.connection.mux.eof(self.stream, Channel::Stdin);
    }

    fn send_typed(&mut self) {
        if self.typed.is_empty() {
            return;
        }
        let sent = self.client.connection.mux.data(self.stream, Channel::Stdin, &self.typed);
        self.typed.drain(..sent);
    }

    /// Writes the oldest output, without blocking for longer than the descriptor said it would.
    fn write_output(&mut self) -> Result<(), ClientError> {
        let Some((channel, bytes)) = self.output.front_mut() else { return Ok(()) };
        let fd = writer(*channel);
        // A pipe or terminal that is ready takes PIPE_BUF bytes at once; a file takes anything.
        let file =
            rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        let limit = if file { bytes.len() } else { bytes.len().min(4096) };
        let count = match rustix::io::write(fd, &bytes[..limit]) {
            Ok(count) => {
                if let (true, Some(last)) = (*channel == Channel::Stderr || self.shared, bytes[..count].last()) {
                    UNFINISHED.store(*last != b'\n', Relaxed);
                }
                count
            }
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            Err(Errno::PIPE | Errno::IO) => {
                // Nobody reads any more: the command learns of it as it would without us. Its output goes nowhere.
                let all = bytes.len();
                self.tell(ExecControl::Signal(Signal::PIPE.as_raw() as u8));
                all
            }
            Err(errno) => return Err(ClientError::Stdio(io::Error::from(errno))),
        };
        self.client.connection.mux.consumed(self.stream, count);
        if let Some((_, bytes)) = self.output.front_mut() {
            if count < bytes.len() {
                bytes.drain(..count);
            } else {
                self.output.pop_front();
            }
        }
        Ok(())
    }

    fn on_signals(&mut self, signals: &SignalFd) -> Result<(), ClientError> {
        while let Some(received) = signals.read().map_err(ClientError::Stdio)? {
            self.on_signal(received.signal);
        }
        Ok(())
    }

    fn on_signal(&mut self, signal: i32) {
        if signal == Signal::WINCH.as_raw() {
            if self.session.terminal {
                let size = terminal::window_size();
                if let Some(recorder) = &mut self.recorder {
                    recorder.resized(size);
                }
                self.tell(ExecControl::Resize(size));
            }
            return;
        }
        let ends = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].iter().any(|s| s.as_raw() == signal);
        if ends && !self.started && self.outcome.is_none() {
            // There is nobody yet who could follow it, and if init does not answer there never will be.
            self.tell(ExecControl::Signal(Signal::KILL.as_raw() as u8));
            self.outcome = Some(Outcome::Exited(Exit::Signal(signal as u8)));
            self.output.clear();
            return;
        }
        self.tell(ExecControl::Signal(signal as u8));
        if signal == Signal::INT.as_raw() || signal == Signal::TERM.as_raw() {
            self.interrupts += 1;
        }
        if self.session.tied && [Signal::TERM, Signal::HUP].iter().any(|s| s.as_raw() == signal) {
            self.end.get_or_insert_with(|| Instant::now() + FAREWELL);
        }
        // Docker's way: whoever presses ctrl-c three times wants it dead, and out, even if the supervisor does not
        // answer or nobody takes the output.
        if self.interrupts >= 3 {
            self.tell(ExecControl::Signal(Signal::KILL.as_raw() as u8));
            self.end.get_or_insert_with(|| Instant::now() + FAREWELL);
        }
    }
}

/// Whether what a command wrote last to standard error of this process, or to what is the same file, was no whole line.
static UNFINISHED: AtomicBool = AtomicBool::new(false);

/// Writes a line of our own to standard error, never into one that the command has begun.
pub fn tell(line: &dyn fmt::Display) {
    let before = if UNFINISHED.swap(false, Relaxed) { "\n" } else { "" };
    // If standard error is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "{before}{line}");
}

/// The process that has started this one: a shell that was to be killed may be killed in the place of its child.
#[must_use]
pub fn caller() -> Option<OwnedFd> {
    use rustix::process::{PidfdFlags, getppid, pidfd_open};
    let parent = getppid()?;
    let caller = pidfd_open(parent, PidfdFlags::empty()).ok()?;
    (getppid() == Some(parent)).then_some(caller)
}

fn same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let identity = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    identity(one).is_ok_and(|one| identity(other) == Ok(one))
}

fn writer(channel: Channel) -> BorrowedFd<'static> {
    match channel {
        Channel::Stderr => stderr(),
        _ => stdout(),
    }
}
