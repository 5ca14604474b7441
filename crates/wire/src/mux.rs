//! The multiplexer: many streams on one connection, each with credit of its own.
//!
//! A [`Mux`] is the state of one side. It takes [`Frame`]s and says what they mean ([`Event`]); it takes what the
//! side wants to send and turns it into bytes ([`Mux::output`]). It enforces the rules on the peer, so that a
//! hostile one can do no more than end its own connection:
//!
//! - data needs credit: at most [`WINDOW`] bytes per stream are under way, so that one chatty stream blocks no other;
//! - stream numbers grow and are never used twice; each side has its own half (odd, even);
//! - [`Channel::Stdin`] flows from the opener, the other channels towards it;
//! - nothing follows a close, no data follows an end of file.

use crate::{
    Channel,
    frame::{self, Frame, FrameError, Hello, HelloError, Kind, MAX_PAYLOAD},
};
use std::{borrow::Cow, collections::BTreeMap};

/// Bytes of data that may be under way on one stream in one direction.
pub const WINDOW: u32 = 256 * 1024;
/// Streams that one side may have open at once.
pub const MAX_STREAMS: usize = 4096;

/// The largest payload of an open, in bytes, in as many frames as it takes: more than Linux takes of arguments and
/// environment where nobody has raised its limit (2 MiB, execve(2)).
pub const MAX_OPEN: usize = 4 * 1024 * 1024;

/// Which half of the stream numbers a side opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 1, 3, 5, ...: the supervisor on the link, the client on the control socket.
    Odd,
    /// 2, 4, 6, ...: init on the link, the supervisor on the control socket.
    Even,
}

impl Side {
    /// Whether a stream of this number is one that this side opens.
    #[must_use]
    pub fn owns(self, stream: u32) -> bool {
        (stream % 2 == 1) == (self == Self::Odd)
    }
}

/// What a received frame means. Payloads are borrowed from the decoder.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer is there and speaks our protocol.
    Hello(Hello),
    /// A message about the connection.
    Message(&'a [u8]),
    /// The peer opened a stream.
    Opened {
        /// Its number.
        stream: u32,
        /// What it is.
        payload: Cow<'a, [u8]>,
    },
    /// The peer opened a stream with more than it was [allowed](Mux::allow). What it is has been thrown away: say so, and
    /// close it.
    TooMuch {
        /// Its number.
        stream: u32,
    },
    /// Data arrived. Give the credit back with [`Mux::consumed`] once it has been passed on.
    Data {
        /// On this stream.
        stream: u32,
        /// On this channel.
        channel: Channel,
        /// Never empty.
        bytes: &'a [u8],
    },
    /// The peer sends no more data on this channel.
    Eof {
        /// On this stream.
        stream: u32,
        /// On this channel.
        channel: Channel,
    },
    /// The peer has room again: [`Mux::credit`] of this stream is no longer what it was.
    Writable {
        /// This stream.
        stream: u32,
    },
    /// A message about a stream.
    Control {
        /// This stream.
        stream: u32,
        /// The message.
        payload: &'a [u8],
    },
    /// The peer is done with the stream. What this side still sends on it is thrown away; it must
    /// [`close`](Mux::close) too.
    Closed {
        /// This stream.
        stream: u32,
    },
    /// Nothing to do: the frame was for a stream that this side has closed already, or there is more to come.
    Nothing,
}

/// The peer broke a rule. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// The bytes are not frames.
    #[error("Malformed frame")]
    Frame(#[from] FrameError),
    /// The first frame is not a good hello.
    #[error("Handshake failed")]
    Hello(#[from] HelloError),
    /// The first frame is not a hello, or a later one is.
    #[error("Hello out of place")]
    HelloOrder,
    /// A stream number that is not the peer's to open, or was used before.
    #[error("Stream {0} cannot be opened by the peer")]
    BadOpen(u32),
    /// More than [`MAX_STREAMS`].
    #[error("Peer opened more than {MAX_STREAMS} streams")]
    TooManyStreams,
    /// An open that has begun is followed by something else, or larger than [`MAX_OPEN`], or the peer's may have one
    /// frame only.
    #[error("Open of stream {0} is malformed")]
    BadPart(u32),
    /// A frame for a stream that does not exist.
    #[error("Frame for unknown stream {0}")]
    UnknownStream(u32),
    /// Data without credit.
    #[error("Peer sent more data on stream {0} than it had credit for")]
    NoCredit(u32),
    /// Data in the wrong direction, after an end of file, or empty.
    #[error("Data out of place on stream {0}")]
    BadData(u32),
    /// A credit that is malformed, zero or beyond the window.
    #[error("Bad credit on stream {0}")]
    BadCredit(u32),
    /// A frame after a close.
    #[error("Frame after close on stream {0}")]
    AfterClose(u32),
}

#[derive(Debug)]
struct Stream {
    /// What we may still send.
    credit: u32,
    /// What the peer may still send.
    window: u32,
    /// What was consumed and not yet granted again.
    consumed: u32,
    /// Channels the peer has ended, one bit each.
    ended: u8,
    /// Channels we have ended, one bit each.
    we_ended: u8,
    we_closed: bool,
    peer_closed: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            credit: WINDOW,
            window: WINDOW,
            consumed: 0,
            ended: 0,
            we_ended: 0,
            we_closed: false,
            peer_closed: false,
        }
    }
}

/// The beginning of an open that the peer has not sent all of.
#[derive(Debug, Default)]
struct Parts {
    stream: u32,
    received: usize,
    /// What was received, or less if it was more than is allowed.
    kept: Vec<u8>,
}

/// One side of a connection.
#[derive(Debug)]
pub struct Mux {
    side: Side,
    next: u32,
    last_peer: u32,
    greeted: bool,
    streams: BTreeMap<u32, Stream>,
    /// How many of `streams` the peer opened.
    theirs: usize,
    parts: Parts,
    /// How many bytes of an unfinished open are kept.
    allowed: usize,
    output: Vec<u8>,
    sent: usize,
}

impl Mux {
    /// A new connection, with this side's hello in its output.
    #[must_use]
    pub fn new(side: Side) -> Self {
        let mut output = Vec::new();
        Hello::own().write(&mut output);
        let next = if side == Side::Odd { 1 } else { 2 };
        Self {
            side,
            next,
            last_peer: 0,
            greeted: false,
            streams: BTreeMap::new(),
            theirs: 0,
            parts: Parts::default(),
            allowed: MAX_OPEN,
            output,
            sent: 0,
        }
    }

    /// The half of a connection that somebody else has: who stands between two sides, takes streams of one half himself
    /// and passes on all other frames, begins with no hello of his own, and is given none.
    #[must_use]
    pub fn between(side: Side) -> Self {
        Self { greeted: true, output: Vec::new(), ..Self::new(side) }
    }

    /// Takes a frame from the peer.
    ///
    /// # Errors
    /// [`MuxError`] if the peer broke a rule: close the connection.
    pub fn receive<'a>(&mut self, frame: Frame<'a>) -> Result<Event<'a>, MuxError> {
        let Frame { kind, flags, stream, payload } = frame;
        if (kind == Kind::Hello) == self.greeted {
            return Err(MuxError::HelloOrder);
        }
        let begun = self.parts.received > 0;
        if begun && (self.parts.stream != stream || !matches!(kind, Kind::Part | Kind::Open)) {
            return Err(MuxError::BadPart(stream));
        }
        match kind {
            Kind::Hello => {
                let hello = Hello::check(payload)?;
                self.greeted = true;
                return Ok(Event::Hello(hello));
            }
            Kind::Message => return Ok(Event::Message(payload)),
            Kind::Part => return self.part(stream, payload),
            Kind::Open => return self.opened(stream, payload),
            _ => {}
        }
        let ours = self.side.owns(stream);
        let Some(state) = self.streams.get_mut(&stream) else {
            return Err(MuxError::UnknownStream(stream));
        };
        if state.peer_closed {
            return Err(MuxError::AfterClose(stream));
        }
        let late = state.we_closed;
        let event = match kind {
            Kind::Data | Kind::Eof => {
                let channel = Channel::try_from(flags).map_err(FrameError::Channel)?;
                let bit = bit(channel);
                let towards_opener = channel != Channel::Stdin;
                if towards_opener != ours || state.ended & bit != 0 || (kind == Kind::Data) == payload.is_empty() {
                    return Err(MuxError::BadData(stream));
                }
                if kind == Kind::Eof {
                    state.ended |= bit;
                    Event::Eof { stream, channel }
                } else {
                    let length = payload.len() as u32;
                    state.window = state.window.checked_sub(length).ok_or(MuxError::NoCredit(stream))?;
                    Event::Data { stream, channel, bytes: payload }
                }
            }
            Kind::Credit => {
                let bytes: [u8; 4] = payload.try_into().map_err(|_| MuxError::BadCredit(stream))?;
                let more = u32::from_le_bytes(bytes);
                let credit = state.credit.saturating_add(more);
                if more == 0 || credit > WINDOW {
                    return Err(MuxError::BadCredit(stream));
                }
                state.credit = credit;
                Event::Writable { stream }
            }
            Kind::Close => {
                if !payload.is_empty() {
                    return Err(MuxError::BadData(stream));
                }
                state.peer_closed = true;
                if late {
                    self.forget(stream);
                }
                Event::Closed { stream }
            }
            _ => Event::Control { stream, payload },
        };
        Ok(if late { Event::Nothing } else { event })
    }

    /// Only the trusted side's opens may be large: what init says fits a frame.
    fn part<'a>(&mut self, stream: u32, payload: &[u8]) -> Result<Event<'a>, MuxError> {
        let parts = &mut self.parts;
        let received = parts.received + payload.len();
        let fits = received <= MAX_OPEN - MAX_PAYLOAD;
        if self.side == Side::Odd || self.side.owns(stream) || stream <= self.last_peer || payload.is_empty() || !fits {
            return Err(MuxError::BadPart(stream));
        }
        // Once a part was not kept, none is.
        if parts.kept.len() < parts.received || received > self.allowed {
            parts.kept = Vec::new();
        } else {
            parts.kept.extend_from_slice(payload);
        }
        (parts.stream, parts.received) = (stream, received);
        Ok(Event::Nothing)
    }

    fn opened<'a>(&mut self, stream: u32, payload: &'a [u8]) -> Result<Event<'a>, MuxError> {
        if self.side.owns(stream) || stream <= self.last_peer {
            return Err(MuxError::BadOpen(stream));
        }
        if self.theirs >= MAX_STREAMS {
            return Err(MuxError::TooManyStreams);
        }
        self.last_peer = stream;
        self.theirs += 1;
        self.streams.insert(stream, Stream::default());
        let Parts { received, mut kept, .. } = std::mem::take(&mut self.parts);
        if kept.len() < received {
            return Ok(Event::TooMuch { stream });
        }
        if received == 0 {
            return Ok(Event::Opened { stream, payload: Cow::Borrowed(payload) });
        }
        kept.extend_from_slice(payload);
        Ok(Event::Opened { stream, payload: Cow::Owned(kept) })
    }

    /// Bytes of memory that an open takes which the peer has not sent all of.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.parts.kept.capacity()
    }

    /// Sets how many bytes of an unfinished open are kept, for a side that has many peers. Without this, it is
    /// [`MAX_OPEN`].
    pub fn allow(&mut self, unfinished: usize) {
        self.allowed = unfinished;
    }

    /// Sends a message about the connection. `payload` must fit a frame ([`encode`](crate::encode) sees to that).
    pub fn message(&mut self, payload: &[u8]) {
        self.write(Kind::Message, 0, 0, payload);
    }

    /// Whether this side may open another stream now. A side that opens streams at another's wish asks first: one
    /// stream too many ends the connection.
    #[must_use]
    pub fn can_open(&self) -> bool {
        self.streams.len() - self.theirs < MAX_STREAMS && self.next < u32::MAX - 1
    }

    /// Opens a stream and gives its number. `payload` must have at most [`MAX_OPEN`] bytes
    /// ([`encode_open`](crate::encode_open) sees to that), and fit a frame if this is the side of init;
    /// [`can_open`](Self::can_open) must hold.
    pub fn open(&mut self, payload: &[u8]) -> u32 {
        debug_assert!(self.can_open(), "callers ask before they open");
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, Stream::default());
        let mut rest = payload;
        while let Some((part, more)) = rest.split_at_checked(MAX_PAYLOAD).filter(|(_, more)| !more.is_empty()) {
            self.write(Kind::Part, 0, stream, part);
            rest = more;
        }
        self.write(Kind::Open, 0, stream, rest);
        stream
    }

    /// How many bytes of data may be sent on the stream now. Zero once either side has closed it.
    #[must_use]
    pub fn credit(&self, stream: u32) -> usize {
        match self.streams.get(&stream) {
            Some(state) if !state.we_closed && !state.peer_closed => state.credit as usize,
            _ => 0,
        }
    }

    /// Sends as much of `bytes` as there is credit for, and says how much that was.
    #[must_use = "what was not sent must be kept"]
    pub fn data(&mut self, stream: u32, channel: Channel, bytes: &[u8]) -> usize {
        debug_assert!(!self.has_ended(stream, channel), "data after the end of its channel");
        let count = self.credit(stream).min(bytes.len());
        for chunk in bytes[..count].chunks(MAX_PAYLOAD) {
            self.write(Kind::Data, channel as u8, stream, chunk);
        }
        if let Some(state) = self.streams.get_mut(&stream) {
            state.credit -= count as u32;
        }
        count
    }

    /// Says that no more data comes on this channel. Saying it again does nothing.
    pub fn eof(&mut self, stream: u32, channel: Channel) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if !state.we_closed && state.we_ended & bit(channel) == 0 {
            state.we_ended |= bit(channel);
            self.write(Kind::Eof, channel as u8, stream, &[]);
        }
    }

    /// Sends a message about a stream. Nothing happens if the stream is closed.
    pub fn control(&mut self, stream: u32, payload: &[u8]) {
        if self.is_open(stream) {
            self.write(Kind::Control, 0, stream, payload);
        }
    }

    /// Gives back credit for received data that has been passed on. Credit travels in batches of half a window.
    pub fn consumed(&mut self, stream: u32, count: usize) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if state.we_closed || state.peer_closed {
            return;
        }
        state.consumed += count as u32;
        debug_assert!(state.window + state.consumed <= WINDOW, "more consumed than received");
        if state.consumed >= WINDOW / 2 {
            let grant = std::mem::take(&mut state.consumed);
            state.window += grant;
            self.write(Kind::Credit, 0, stream, &grant.to_le_bytes());
        }
    }

    /// Says that this side sends nothing more on the stream, and wants nothing more.
    pub fn close(&mut self, stream: u32) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        if state.we_closed {
            return;
        }
        state.we_closed = true;
        if state.peer_closed {
            self.forget(stream);
        }
        self.write(Kind::Close, 0, stream, &[]);
    }

    /// Whether this side may still send on the stream.
    #[must_use]
    pub fn is_open(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_some_and(|state| !state.we_closed)
    }

    /// Streams that at least one side has not closed.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes to write to the peer. A side that finds many here should stop taking work from the peer.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Says that the first `count` bytes of [`output`](Self::output) were written.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        debug_assert!(self.sent <= self.output.len(), "more written than there was");
        if self.sent == self.output.len() {
            self.sent = 0;
            if self.output.capacity() > MAX_PAYLOAD {
                self.output = Vec::new();
            } else {
                self.output.clear();
            }
        }
    }

    fn has_ended(&self, stream: u32, channel: Channel) -> bool {
        self.streams.get(&stream).is_some_and(|state| state.we_ended & bit(channel) != 0)
    }

    fn forget(&mut self, stream: u32) {
        if self.streams.remove(&stream).is_some() && !self.side.owns(stream) {
            self.theirs -= 1;
        }
    }

    fn write(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        if self.sent > MAX_PAYLOAD {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        frame::write(&mut self.output, kind, flags, stream, payload);
    }
}

fn bit(channel: Channel) -> u8 {
    1 << channel as u8
}

#[cfg(test)]
#[path = "mux_tests.rs"]
mod tests;
