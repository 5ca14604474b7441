//! Programs in a sandbox for a caller that is a program itself: their output is kept, and the sandbox ends with the
//! caller.

use super::{Client, ClientError};
use crate::connection::Incoming;
use jail::signal::SignalFd;
use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::{AsFd, BorrowedFd},
    process::Signal,
};
use std::time::Duration;
use wire::{Channel, ExecSpec, Exit, Failure, api, link::ExecReport};

/// How a program ended, and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Its end.
    pub exit: Exit,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
}

/// The signals that ask a program to end, held back: this one has something to put away first.
#[derive(Debug)]
pub struct Interrupts(SignalFd);

impl Interrupts {
    /// Holds them back from now on.
    ///
    /// # Errors
    /// As signalfd(2).
    pub fn hold() -> Result<Self, ClientError> {
        let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
        SignalFd::new(&signals).map(Self).map_err(ClientError::Stdio)
    }

    /// Whether one has come.
    #[must_use]
    pub fn came(&self) -> bool {
        // It is not taken: whoever asks next shall hear the same.
        matches!(poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&super::timespec(Duration::ZERO))), Ok(1..))
    }

    /// Takes the one that has come.
    #[must_use]
    pub fn take(&self) -> Option<i32> {
        self.0.read().ok().flatten().map(|received| received.signal)
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Client {
    /// Holds the main command's standard input open: it ends when this client goes, in whatever way.
    ///
    /// # Errors
    /// [`ClientError`] if there is no main command, or it did not start.
    pub fn hold_main(&mut self) -> Result<(), ClientError> {
        let stream = self.open(&api::Open::Attach { exec: 0, stdin: true, output: true })?;
        self.started(stream)
    }

    /// Starts a program whose end and output are nobody's business.
    ///
    /// # Errors
    /// [`ClientError`] if it could not be started.
    pub fn start(&mut self, spec: ExecSpec) -> Result<(), ClientError> {
        let stream = self.open(&api::Open::Exec { spec, detach: true, tied: false })?;
        self.started(stream)?;
        self.connection.control(stream, &api::Control::Detach);
        self.connection.mux.close(stream);
        Ok(())
    }

    fn started(&mut self, stream: u32) -> Result<(), ClientError> {
        match self.report(stream, None)? {
            ExecReport::Started { .. } => Ok(()),
            ExecReport::Failed { cause, .. } => Err(Failure { cause, hint: String::new() }.into()),
            ExecReport::Exited(_) => Err(ClientError::Gone),
        }
    }

    /// Runs a program without standard input to its end. At most `limit` bytes of its standard output are kept, the
    /// rest goes nowhere, as does its standard error.
    ///
    /// # Errors
    /// [`ClientError`] if it could not be run, or the caller was told to end meanwhile.
    pub fn capture(
        &mut self,
        spec: ExecSpec,
        limit: usize,
        interrupts: Option<&Interrupts>,
    ) -> Result<Captured, ClientError> {
        let stream = self.open(&api::Open::Exec { spec, detach: false, tied: false })?;
        let mut stdout: Vec<u8> = Vec::new();
        let mut keep = |channel, bytes: &[u8]| {
            if channel == Channel::Stdout {
                stdout.extend_from_slice(&bytes[..bytes.len().min(limit - stdout.len())]);
            }
        };
        let exit = self.end_of(stream, &mut keep, &mut Vec::new(), interrupts)?;
        Ok(Captured { exit, stdout })
    }

    /// Stays with the main command to its end. What it writes goes to `sink`; what is told of its end beside how it ended, such
    /// as connections that were refused, to `notices`.
    ///
    /// # Errors
    /// [`ClientError`] if it could not be run, or the caller was told to end meanwhile.
    pub fn follow(
        &mut self,
        sink: &mut dyn FnMut(Channel, &[u8]),
        notices: &mut Vec<String>,
        interrupts: Option<&Interrupts>,
    ) -> Result<Exit, ClientError> {
        let stream = self.open(&api::Open::Attach { exec: 0, stdin: false, output: true })?;
        self.end_of(stream, sink, notices, interrupts)
    }

    /// Waits for the end of a program.
    fn end_of(
        &mut self,
        stream: u32,
        sink: &mut dyn FnMut(Channel, &[u8]),
        notices: &mut Vec<String>,
        interrupts: Option<&Interrupts>,
    ) -> Result<Exit, ClientError> {
        let exit = loop {
            match self.output(stream, sink, notices, interrupts)? {
                ExecReport::Started { .. } => {}
                ExecReport::Exited(exit) => break exit,
                ExecReport::Failed { cause, .. } => return Err(Failure { cause, hint: String::new() }.into()),
            }
        };
        self.connection.mux.close(stream);
        Ok(exit)
    }

    fn report(&mut self, stream: u32, interrupts: Option<&Interrupts>) -> Result<ExecReport, ClientError> {
        self.output(stream, &mut |_, _| {}, &mut Vec::new(), interrupts)
    }

    /// Takes output until the next report.
    fn output(
        &mut self,
        of: u32,
        sink: &mut dyn FnMut(Channel, &[u8]),
        notices: &mut Vec<String>,
        interrupts: Option<&Interrupts>,
    ) -> Result<ExecReport, ClientError> {
        loop {
            match self.next_unless(interrupts.map(AsFd::as_fd))? {
                Incoming::Data(stream, channel, bytes) => {
                    self.connection.mux.consumed(stream, bytes.len());
                    if stream == of {
                        sink(channel, &bytes);
                    }
                }
                Incoming::Control(stream, payload) if stream == of => match wire::decode(&payload) {
                    Ok(api::Report::Exec { report, .. }) => return Ok(report),
                    Ok(api::Report::Notice(notice)) => notices.push(notice),
                    Ok(api::Report::Lost(_)) => {}
                    Ok(api::Report::Failed(failure)) => return Err(failure.into()),
                    _ => return Err(ClientError::Nonsense),
                },
                Incoming::Closed(stream) if stream == of => return Err(ClientError::Gone),
                _ => {}
            }
        }
    }
}
