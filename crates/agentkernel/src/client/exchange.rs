//! Programs of a sandbox whose input and output are in the caller's hands: several at once, and none is waited for.

use super::{Client, ClientError, Outcome};
use crate::connection::{Filled, Incoming};
use rustix::{
    event::PollFlags,
    fd::{AsFd, BorrowedFd},
    process::Signal,
};
use wire::{
    Channel, ExecSpec, Failure, api,
    link::{ExecControl, ExecReport},
};

/// What is told of programs.
#[derive(Debug)]
pub enum Told {
    /// One of them has written this. It writes on once that much is [`Client::consumed`].
    Output {
        /// Which one.
        program: u32,
        /// Standard output, or standard error.
        channel: Channel,
        /// What.
        bytes: Vec<u8>,
    },
    /// What the sandbox has to say of one, such as connections that were refused.
    Notice(String),
    /// Why the sandbox was lost, before its programs' ends.
    Lost(String),
    /// One has ended, or could not be started.
    Ended {
        /// Which one.
        program: u32,
        /// How.
        outcome: Outcome,
    },
    /// One was refused.
    Refused {
        /// Which one.
        program: u32,
        /// Why.
        failure: Failure,
    },
}

impl Client {
    /// Joins the main command, its input included, and gives what it is called here.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn join(&mut self) -> Result<u32, ClientError> {
        self.open(&api::Open::Attach { exec: 0, stdin: true, output: true })
    }

    /// Begins a further program, and gives what it is called here.
    ///
    /// # Errors
    /// [`ClientError`] if it is too large to be asked for.
    pub fn begin(&mut self, spec: ExecSpec) -> Result<u32, ClientError> {
        self.open(&api::Open::Exec { spec, detach: false, tied: false })
    }

    /// Sends a program input, as much as there is room for, and gives how much that is.
    pub fn input(&mut self, program: u32, bytes: &[u8]) -> usize {
        if bytes.is_empty() { 0 } else { self.connection.mux.data(program, Channel::Stdin, bytes) }
    }

    /// That is all of its input.
    pub fn end_input(&mut self, program: u32) {
        self.connection.mux.eof(program, Channel::Stdin);
    }

    /// So much of what it has written is dealt with.
    pub fn consumed(&mut self, program: u32, count: usize) {
        self.connection.mux.consumed(program, count);
    }

    /// Has a program killed; its end is still told.
    pub fn kill_program(&mut self, program: u32) {
        let signal = ExecControl::Signal(Signal::KILL.as_raw() as u8);
        self.connection.control(program, &api::Control::Exec(signal));
    }

    /// What has come, if anything has.
    ///
    /// # Errors
    /// [`ClientError`]
    pub fn told(&mut self) -> Result<Option<Told>, ClientError> {
        while let Some(incoming) = self.connection.next()? {
            match incoming {
                Incoming::Data(program, channel, bytes) => return Ok(Some(Told::Output { program, channel, bytes })),
                Incoming::Control(program, payload) => {
                    let outcome = match wire::decode(&payload) {
                        Ok(api::Report::Exec { report: ExecReport::Started { .. }, .. }) => continue,
                        Ok(api::Report::Exec { report: ExecReport::Exited(exit), .. }) => Outcome::Exited(exit),
                        Ok(api::Report::Exec { report: ExecReport::Failed { kind, cause }, .. }) => {
                            Outcome::Failed { kind, cause }
                        }
                        Ok(api::Report::Notice(notice)) => return Ok(Some(Told::Notice(notice))),
                        Ok(api::Report::Lost(why)) => return Ok(Some(Told::Lost(why))),
                        Ok(api::Report::Failed(failure)) => return Ok(Some(Told::Refused { program, failure })),
                        _ => return Err(ClientError::Nonsense),
                    };
                    self.connection.mux.close(program);
                    return Ok(Some(Told::Ended { program, outcome }));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Sends what is queued, as far as that goes, and gives what is to be waited for then.
    pub fn send_queued(&mut self) -> PollFlags {
        // What the supervisor said before it went is still to be read.
        match self.connection.flush().unwrap_or(true) {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        }
    }

    /// Takes what has come, for [`told`](Self::told).
    ///
    /// # Errors
    /// [`ClientError::Gone`] if nothing more will come.
    pub fn take_in(&mut self) -> Result<(), ClientError> {
        match self.connection.fill()? {
            Filled::End => Err(ClientError::Gone),
            Filled::Some | Filled::Nothing => Ok(()),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}
