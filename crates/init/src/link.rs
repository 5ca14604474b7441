//! Hides what the link is made of, a socket or two pipes: bytes in and out without blocking, frames through the
//! multiplexer.

use rustix::{
    event::{PollFd, PollFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::OFlags,
    io::Errno,
};
use std::{
    io,
    time::{Duration, Instant},
};
use wire::{
    MessageError,
    frame::{Decoder, FrameError},
    link::{FromInit, Setup, ToInit},
    mux::{Event, Mux, MuxError, Side},
};

/// The link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The supervisor is gone.
    #[error("Link closed")]
    Closed,
    /// Whoever should have been heard by now is gone.
    #[error("Nothing came over the link in time")]
    Silent,
    /// The socket failed.
    #[error("Link failed")]
    Io(#[from] io::Error),
    /// The supervisor broke a rule of the frames or streams.
    #[error("Protocol violation")]
    Mux(#[from] MuxError),
    /// The supervisor sent something that is no message.
    #[error("Protocol violation")]
    Message(#[from] MessageError),
    /// A message at a time when it has no meaning.
    #[error("Protocol violation: {0} out of place")]
    Order(&'static str),
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        Self::Mux(error.into())
    }
}

/// The link to the supervisor.
pub struct Link {
    input: OwnedFd,
    output: OwnedFd,
    /// Frames that have arrived.
    pub decoder: Decoder,
    /// The streams.
    pub mux: Mux,
}

impl Link {
    /// Takes both ends, which may be one socket. The hello is queued.
    pub fn new(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        for end in [&input, &output] {
            let flags = rustix::fs::fcntl_getfl(end)?;
            rustix::fs::fcntl_setfl(end, flags | OFlags::NONBLOCK)?;
            rustix::io::fcntl_setfd(end, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(Self { input, output, decoder: Decoder::default(), mux: Mux::new(Side::Even) })
    }

    /// Waits for the first message, no longer than that, if anything is said. What the supervisor has sent behind it stays
    /// in the decoder.
    pub fn setup(&mut self, patience: Option<Duration>) -> Result<Setup, LinkError> {
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            while let Some(frame) = self.decoder.next()? {
                match self.mux.receive(frame)? {
                    Event::Hello(_) => {}
                    Event::Message(payload) => {
                        return match wire::decode(payload)? {
                            ToInit::Setup(setup) => Ok(setup),
                            _ => Err(LinkError::Order("first message")),
                        };
                    }
                    _ => return Err(LinkError::Order("stream before setup")),
                }
            }
            self.flush()?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let output = if self.mux.output().is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            wait(&mut [PollFd::new(&self.input, PollFlags::IN), PollFd::new(&self.output, output)], left)?;
            // What has come counts, however late it is looked at.
            if !self.fill()? && left.is_some_and(|left| left.is_zero()) {
                return Err(LinkError::Silent);
            }
        }
    }

    /// Reads once. Says whether anything came.
    pub fn fill(&mut self) -> Result<bool, LinkError> {
        match rustix::io::read(&self.input, self.decoder.space()) {
            Ok(0) => Err(LinkError::Closed),
            Ok(count) => {
                self.decoder.filled(count);
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Writes what is queued, as far as the socket takes it. Says whether all of it went.
    pub fn flush(&mut self) -> Result<bool, LinkError> {
        while !self.mux.output().is_empty() {
            // All signals are blocked, SIGPIPE too.
            match rustix::io::write(&self.output, self.mux.output()) {
                Ok(count) => self.mux.advance(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(true)
    }

    /// Writes everything that is queued, for at most `patience`.
    pub fn flush_all(&mut self, patience: Duration) -> Result<(), LinkError> {
        let until = Instant::now() + patience;
        while !self.flush()? {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            wait(&mut [PollFd::new(&self.output, PollFlags::OUT)], Some(left))?;
        }
        Ok(())
    }

    /// Where bytes come from.
    pub fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// Where bytes go.
    pub fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Queues a message about the sandbox.
    pub fn tell(&mut self, message: &FromInit) -> Result<(), LinkError> {
        self.mux.message(&wire::encode(message)?);
        Ok(())
    }
}

fn wait(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let timeout =
        timeout.map(|t| rustix::event::Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
    match rustix::event::poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
