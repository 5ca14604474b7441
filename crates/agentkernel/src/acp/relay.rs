//! From one side to the other and back, message by message: hides that each side is as slow as the other is.

use super::{
    End, LONGEST, Terminals,
    files::{Desk, Work},
    message::Fault,
    protocol::Protocol,
};
use crate::{
    Spec,
    client::{self, Client, ClientError, Interrupts, Outcome, Told},
    config::HostFacts,
    lines::Lines,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};
use wire::{Channel, Exit};

/// How long an agent may take for its end once the editor is gone; and the editor, to take the last words of one.
const GRACE: Duration = Duration::from_secs(2);
/// How many notes humans are told: an agent can write without end what is no message.
const NOTES: u32 = 20;
/// What a pipe that is ready takes at once.
const AT_ONCE: usize = 4096;

pub(super) struct Relay<'a> {
    client: &'a mut Client,
    spec: &'a Spec,
    host: &'a HostFacts,
    /// The agent.
    agent: u32,
    /// What it has written and is not taken as lines yet.
    written: VecDeque<Vec<u8>>,
    from_agent: Lines,
    from_editor: Lines,
    output: OwnedFd,
    /// What is to be written to standard error, and how much of it the agent has written.
    errors: VecDeque<u8>,
    owed: usize,
    protocol: Protocol,
    terminals: Terminals,
    work: Option<Work>,
    signals: Interrupts,
    notes: u32,
    lost: Option<String>,
    /// There may be more to be read of the editor.
    input_open: bool,
    /// The editor is gone; when the agent is to be, at the latest, and whether it knows.
    leaving: Option<Instant>,
    said_end: bool,
    /// How the agent ended, and when that is told at the latest.
    ended: Option<(Outcome, Instant)>,
    said_farewell: bool,
}

impl<'a> Relay<'a> {
    pub(super) fn begin(
        client: &'a mut Client,
        spec: &'a Spec,
        host: &'a HostFacts,
        terminals: Terminals,
        output: OwnedFd,
    ) -> Result<Self, ClientError> {
        let same = spec.mounts.iter().filter(|mount| mount.source == mount.target);
        let mounts: Vec<PathBuf> = same.map(|mount| mount.target.clone()).collect();
        Ok(Self {
            agent: client.join()?,
            client,
            spec,
            host,
            written: VecDeque::new(),
            from_agent: Lines::new(LONGEST),
            from_editor: Lines::new(LONGEST),
            output,
            errors: VecDeque::new(),
            owed: 0,
            protocol: Protocol::new(spec.project(), &mounts).with_terminals(terminals.place.clone()),
            terminals,
            work: None,
            signals: Interrupts::hold()?,
            notes: 0,
            lost: None,
            input_open: true,
            leaving: None,
            said_end: false,
            ended: None,
            said_farewell: false,
        })
    }

    pub(super) fn serve(mut self) -> Result<End, ClientError> {
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(End::Editor)) => {
                    return match self.client.stop(GRACE) {
                        Ok(_) | Err(ClientError::Gone) => Ok(End::Editor),
                        Err(error) => Err(error),
                    };
                }
                Ok(Some(end)) => return Ok(end),
                Err(error) => {
                    self.protocol.farewell(&format!("The sandbox is gone: {}", wire::cause(&error)), None);
                    let end = Instant::now() + GRACE;
                    while !self.protocol.to_editor.is_empty() && self.tell_rest(end) {}
                    return Err(error);
                }
            }
        }
    }

    /// Does what can be done, then waits for what can be done next.
    fn turn(&mut self) -> Result<Option<End>, ClientError> {
        while let Some(told) = self.client.told()? {
            self.hear(told);
        }
        self.take_lines()?;
        self.work_on_files()?;
        self.work_on_terminals();
        let now = Instant::now();
        if let Some((_, until)) = self.ended {
            self.protocol.forget_agent();
            if self.written.is_empty() && self.protocol.has_room() {
                self.say_farewell();
            }
            let is_told = self.said_farewell && self.protocol.to_editor.is_empty() && self.errors.is_empty();
            if is_told || until <= now {
                return Ok(self.ended.take().map(|(outcome, _)| End::Agent(outcome)));
            }
        } else {
            let sent = self.client.input(self.agent, self.protocol.to_agent.as_slices().0);
            self.protocol.to_agent.drain(..sent);
            if let Some(until) = self.leaving {
                if until <= now {
                    return Ok(Some(End::Editor));
                }
                let is_said = !self.input_open && self.protocol.to_agent.is_empty();
                if is_said && !std::mem::replace(&mut self.said_end, true) {
                    self.client.end_input(self.agent);
                }
            }
        }
        self.wait()
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Output { program, channel, bytes } if program == self.agent => match channel {
                Channel::Stderr => {
                    self.owed += bytes.len();
                    self.errors.extend(bytes);
                }
                _ => self.written.push_back(bytes),
            },
            Told::Output { program, channel, bytes } => {
                self.client.consumed(program, bytes.len());
                if let Some(work) = self.work.as_mut().filter(|work| work.is_by(program)) {
                    work.written(channel, &bytes);
                }
            }
            Told::Notice(notice) => self.note(&notice),
            Told::Lost(why) => self.lost = Some(why),
            Told::Ended { program, outcome } if program == self.agent => {
                let outcome = match self.lost.take() {
                    Some(why) if matches!(outcome, Outcome::Exited(Exit::Lost)) => Outcome::Lost { why },
                    _ => outcome,
                };
                self.ended = Some((outcome, Instant::now() + GRACE));
            }
            Told::Ended { program, outcome } => self.file_ended(program, Ok(outcome)),
            Told::Refused { program, failure } if program == self.agent => {
                let cause = if failure.hint.is_empty() {
                    failure.cause
                } else {
                    format!("{} ({})", failure.cause, failure.hint)
                };
                let outcome = Outcome::Lost { why: cause };
                self.ended = Some((outcome, Instant::now() + GRACE));
            }
            Told::Refused { program, failure } => self.file_ended(program, Err(failure)),
        }
    }

    fn file_ended(&mut self, program: u32, outcome: Result<Outcome, wire::Failure>) {
        if let Some(work) = self.work.take_if(|work| work.is_by(program)) {
            work.ended(outcome, &mut self.protocol);
        }
    }

    /// Takes what both have written, as far as there is room for what follows from it.
    fn take_lines(&mut self) -> Result<(), ClientError> {
        while self.protocol.has_room() {
            match self.from_agent.next() {
                Some(Ok(line)) => self.protocol.hear_agent(&line),
                Some(Err(_)) => self.protocol.too_long_of_agent(),
                None => {
                    let Some(bytes) = self.written.pop_front() else { break };
                    self.client.consumed(self.agent, bytes.len());
                    self.from_agent.push(&bytes);
                }
            }
        }
        while self.protocol.has_room()
            && let Some(line) = self.from_editor.next()
        {
            match line {
                Ok(line) => {
                    // Whatever else it says leaves alone what is under way.
                    if let Some(answer) = self.protocol.hear_editor(&line)
                        && let Some(work) = self.work.take()
                    {
                        self.work = work.answered(&answer, &mut self.desk())?;
                    }
                }
                Err(_) => self.protocol.too_long_of_editor(),
            }
        }
        for note in std::mem::take(&mut self.protocol.notes) {
            self.note(&note);
        }
        Ok(())
    }

    fn desk(&mut self) -> Desk<'_> {
        Desk { client: self.client, protocol: &mut self.protocol, spec: self.spec, host: self.host }
    }

    fn work_on_files(&mut self) -> Result<(), ClientError> {
        if self.ended.is_some() {
            self.work = None;
            return Ok(());
        }
        loop {
            let work = match self.work.take() {
                Some(work) => Some(work),
                None => Work::next(&mut self.desk())?,
            };
            let Some(work) = work else {
                // One that could not be begun is over; there may be more.
                if self.protocol.has_files() { continue } else { return Ok(()) }
            };
            self.work = work.go_on(&mut self.desk());
            if self.work.is_some() {
                return Ok(());
            }
        }
    }

    /// Leaves what is to be run in terminals where it can be taken, and asks the editor for those.
    fn work_on_terminals(&mut self) {
        let Some(entry) = &self.terminals.entry else { return };
        if self.ended.is_none() {
            while let Some(call) = self.protocol.next_terminal() {
                match entry.leave_order(&call.order) {
                    Ok(token) => self.protocol.ask_for_terminal(call, token),
                    Err(error) => {
                        self.protocol.answer(&call.id, Err(Fault::new(Fault::INTERNAL, wire::cause(&error))));
                    }
                }
            }
        }
        for token in self.protocol.spent_tokens() {
            // What cannot be removed goes with the sandbox.
            let _ = entry.withdraw_order(&token);
        }
    }

    fn say_farewell(&mut self) {
        if std::mem::replace(&mut self.said_farewell, true) {
            return;
        }
        let Some((outcome, _)) = &self.ended else { return };
        let (why, status) = match outcome {
            Outcome::Exited(exit @ Exit::Code(_)) => (format!("The agent {exit}"), exit.status()),
            Outcome::Exited(exit @ Exit::Signal(_)) => (format!("The agent was {exit}"), exit.status()),
            Outcome::Exited(exit) => (format!("The sandbox has ended: {}", told(*exit)), exit.status()),
            Outcome::Lost { why } => (format!("The sandbox has ended: {why}"), Exit::Lost.status()),
            Outcome::Failed { kind, cause } => (format!("The agent could not be started: {cause}"), kind.status()),
            Outcome::Detached { .. } => ("The agent is gone".to_owned(), 0),
        };
        self.protocol.farewell(&why, Some(status));
    }

    /// Tells humans.
    fn note(&mut self, note: &str) {
        self.notes += 1;
        if self.notes > NOTES {
            return;
        }
        let note: String = note.chars().take(1000).flat_map(char::escape_debug).collect();
        self.errors.extend(format!("agentkernel: {note}\n").into_bytes());
    }

    fn wait(&mut self) -> Result<Option<End>, ClientError> {
        let running = self.ended.is_none();
        let supervisor = self.client.send_queued();
        let reads = running && self.input_open && self.protocol.has_room();
        // One that has gone before all that it has said is read is noticed too.
        let watches = running && self.leaving.is_none();
        let (input, stderr) = (rustix::stdio::stdin(), rustix::stdio::stderr());
        // That the editor is gone is noticed in any case.
        let output = if self.protocol.to_editor.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN), PollFd::new(&self.output, output)];
        let mut add = |is: bool, fd| {
            is.then(|| {
                fds.push(fd);
                fds.len() - 1
            })
        };
        let client = add(running, PollFd::new(&*self.client, supervisor));
        let errors = add(!self.errors.is_empty(), PollFd::new(&stderr, PollFlags::OUT));
        let wanted = if reads { PollFlags::IN } else { PollFlags::empty() };
        let input_at = add(reads || watches, PollFd::new(&input, wanted));
        let ends = self.ended.as_ref().map(|(_, until)| *until).into_iter().chain(self.leaving);
        let left = ends.map(|until| until.saturating_duration_since(Instant::now()));
        let patience = left.chain(self.work.as_ref().map(Work::patience)).min();
        match poll(&mut fds, patience.map(client::timespec).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is_ready = |at: Option<usize>| at.is_some_and(|at| ready[at]);
        if ready[0] {
            return Ok(Some(End::Editor));
        }
        if ready[1] && !write(self.output.as_fd(), &mut self.protocol.to_editor) {
            return Ok(Some(End::Editor));
        }
        if is_ready(errors) {
            self.write_errors();
        }
        if is_ready(client) {
            self.client.take_in()?;
        }
        if is_ready(input_at) && !reads {
            self.leave();
        } else if is_ready(input_at) {
            let mut buffer = [0; 64 * 1024];
            match rustix::io::read(input, &mut buffer) {
                Ok(count @ 1..) => self.from_editor.push(&buffer[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Ok(_) | Err(_) => {
                    self.input_open = false;
                    self.leave();
                }
            }
        }
        Ok(None)
    }

    /// The editor is gone: the agent has some time yet.
    fn leave(&mut self) {
        self.leaving.get_or_insert_with(|| Instant::now() + GRACE);
    }

    /// If nobody reads standard error, what is written there goes nowhere.
    fn write_errors(&mut self) {
        let before = self.errors.len();
        if !write(rustix::stdio::stderr(), &mut self.errors) {
            self.errors.clear();
        }
        let taken = (before - self.errors.len()).min(self.owed);
        self.owed -= taken;
        self.client.consumed(self.agent, taken);
    }

    /// Tells the editor what is left to tell. False: it can't be told.
    fn tell_rest(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::new(&self.output, PollFlags::OUT)], Some(&client::timespec(left))) {
            Ok(1..) => write(self.output.as_fd(), &mut self.protocol.to_editor),
            Ok(_) => false,
            Err(errno) => errno == Errno::INTR,
        }
    }
}

/// What ended a sandbox, in words.
fn told(exit: Exit) -> &'static str {
    match exit {
        Exit::Oom => "its memory limit was reached",
        Exit::Deadline => "its time limit was reached",
        _ => "its supervisor or its machine died",
    }
}

/// Writes what waits, as far as it is taken. False: nobody takes it.
fn write(fd: BorrowedFd<'_>, bytes: &mut VecDeque<u8>) -> bool {
    /// Of what has much to say, others are not kept waiting for.
    const TIMES: u32 = 64;
    // It was not to be written to: it is broken.
    let mut is_open = !bytes.is_empty();
    for _ in 0..TIMES {
        let first = bytes.as_slices().0;
        let is_ready = || poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&client::timespec(Duration::ZERO)));
        if first.is_empty() || !matches!(is_ready(), Ok(1..)) {
            break;
        }
        match rustix::io::write(fd, &first[..first.len().min(AT_ONCE)]) {
            Ok(count) => drop(bytes.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => break,
            Err(_) => {
                is_open = false;
                break;
            }
        }
    }
    is_open
}
