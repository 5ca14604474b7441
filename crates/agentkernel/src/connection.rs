//! One end of a framed connection: a non-blocking socket, its decoder and its multiplexer.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
};
use std::io;
use wire::{
    Channel,
    frame::Decoder,
    mux::{Event, Mux, MuxError, Side},
};

/// [`Event`] with its bytes owned, so that it can be handled while the connection is written to.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message about the connection.
    Message(Vec<u8>),
    /// The peer opened a stream.
    Opened(u32, Vec<u8>),
    /// The peer opened a stream with more than it was allowed.
    TooMuch(u32),
    /// Data on a channel of a stream.
    Data(u32, Channel, Vec<u8>),
    /// No more data on a channel.
    Eof(u32, Channel),
    /// The peer has room again.
    Writable(u32),
    /// A message about a stream.
    Control(u32, Vec<u8>),
    /// The peer is done with a stream.
    Closed(u32),
}

/// The connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The socket failed.
    #[error("Connection failed")]
    Io(#[from] io::Error),
    /// The peer broke the protocol.
    #[error("Peer broke the protocol")]
    Protocol(#[from] MuxError),
    /// The peer went away in the middle of a frame.
    #[error("Connection was cut")]
    Torn,
}

impl From<Errno> for ConnectionError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// Bytes.
    Some,
    /// Nothing for now.
    Nothing,
    /// The peer has closed the connection.
    End,
}

/// One end of a framed connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    /// The streams on it. What is queued here leaves with [`flush`](Self::flush).
    pub mux: Mux,
}

impl Connection {
    /// A new connection over a connected stream socket, which becomes non-blocking.
    ///
    /// # Errors
    /// If the socket's flags cannot be changed.
    pub fn new(socket: OwnedFd, side: Side) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self { socket, decoder: Decoder::default(), mux: Mux::new(side) })
    }

    /// Reads once.
    ///
    /// # Errors
    /// [`ConnectionError`] if the socket failed or was closed in the middle of a frame.
    pub fn fill(&mut self) -> Result<Filled, ConnectionError> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, self.decoder.space())) {
            Ok(0) if self.decoder.is_mid_frame() => Err(ConnectionError::Torn),
            Ok(0) => Ok(Filled::End),
            Ok(count) => {
                self.decoder.filled(count);
                Ok(Filled::Some)
            }
            Err(Errno::AGAIN) => Ok(Filled::Nothing),
            Err(Errno::CONNRESET) => Ok(Filled::End),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next event among the bytes that were read.
    ///
    /// # Errors
    /// [`ConnectionError::Protocol`] if the peer broke a rule.
    pub fn next(&mut self) -> Result<Option<Incoming>, ConnectionError> {
        while let Some(frame) = self.decoder.next().map_err(MuxError::from)? {
            return Ok(Some(match self.mux.receive(frame)? {
                Event::Hello(_) | Event::Nothing => continue,
                Event::Message(payload) => Incoming::Message(payload.to_vec()),
                Event::Opened { stream, payload } => Incoming::Opened(stream, payload.into_owned()),
                Event::TooMuch { stream } => Incoming::TooMuch(stream),
                Event::Data { stream, channel, bytes } => Incoming::Data(stream, channel, bytes.to_vec()),
                Event::Eof { stream, channel } => Incoming::Eof(stream, channel),
                Event::Writable { stream } => Incoming::Writable(stream),
                Event::Control { stream, payload } => Incoming::Control(stream, payload.to_vec()),
                Event::Closed { stream } => Incoming::Closed(stream),
            }));
        }
        Ok(None)
    }

    /// Writes as much as the socket takes. True when nothing is left.
    ///
    /// # Errors
    /// If the socket failed; a peer that is gone is an error here.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.mux.output().is_empty() {
            match rustix::net::send(&self.socket, self.mux.output(), rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => self.mux.advance(count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    /// Sends a message on a stream.
    pub fn control<T: serde::Serialize>(&mut self, stream: u32, message: &T) {
        // Every message type is bounded well below a frame, or was received in one.
        if let Ok(payload) = wire::encode(message) {
            self.mux.control(stream, &payload);
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
