//! Frames: the unit of every stream between processes.
//!
//! ```text
//!  0               4       5       6               8               12
//! | length u32 le  | kind  | flags | reserved u16 0 | stream u32 le | payload (length bytes)
//! ```
//!
//! `length` counts the payload only and is at most [`MAX_PAYLOAD`]. Reserved bits must be zero. A frame that breaks
//! a rule ends the connection: there is no way to find the next frame after a bad one.

use crate::{Channel, PROTOCOL};

/// Bytes of a frame before its payload.
pub const HEADER: usize = 12;
/// The largest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// The first bytes of a [`Hello`].
const MAGIC: [u8; 6] = *b"AKWIRE";

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of each side: a [`Hello`]. Stream 0.
    Hello = 0,
    /// A message about the connection as a whole. Stream 0.
    Message = 1,
    /// Starts a stream; the payload says what it is.
    Open = 2,
    /// Bytes of one channel; the flags name the [`Channel`].
    Data = 3,
    /// The receiver of data has room for so many more bytes: a `u32`.
    Credit = 4,
    /// No more data on one channel; the flags name it.
    Eof = 5,
    /// A message about one stream.
    Control = 6,
    /// The sender will send nothing more on this stream. A stream is over when both sides have said so.
    Close = 7,
    /// The beginning of what a [`Kind::Open`] that follows at once carries, where one frame does not hold it.
    Part = 8,
}

impl TryFrom<u8> for Kind {
    type Error = FrameError;

    fn try_from(byte: u8) -> Result<Self, FrameError> {
        Ok(match byte {
            0 => Self::Hello,
            1 => Self::Message,
            2 => Self::Open,
            3 => Self::Data,
            4 => Self::Credit,
            5 => Self::Eof,
            6 => Self::Control,
            7 => Self::Close,
            8 => Self::Part,
            other => return Err(FrameError::Kind(other)),
        })
    }
}

/// One frame, its payload borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is for.
    pub kind: Kind,
    /// The channel of [`Kind::Data`] and [`Kind::Eof`]; zero otherwise.
    pub flags: u8,
    /// The stream it belongs to; 0 is the connection itself.
    pub stream: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// A frame that breaks the format. The connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No such [`Kind`].
    #[error("Unknown frame kind {0}")]
    Kind(u8),
    /// More than [`MAX_PAYLOAD`].
    #[error("Frame of {0} bytes exceeds the limit of {MAX_PAYLOAD} bytes")]
    TooLarge(u32),
    /// Reserved bits are set, or flags on a kind that has none.
    #[error("Reserved bits are set in a frame header")]
    Reserved,
    /// No such [`Channel`].
    #[error("Unknown channel {0}")]
    Channel(u8),
    /// A connection-level frame on a stream, or the other way round.
    #[error("Frame kind {0:?} is not allowed on stream {1}")]
    Stream(Kind, u32),
}

/// Appends one frame to `out`.
///
/// # Panics
/// If the payload is larger than [`MAX_PAYLOAD`]: callers cut data and bound messages before.
pub fn write(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    assert!(payload.len() <= MAX_PAYLOAD, "callers bound payloads");
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&[kind as u8, flags, 0, 0]);
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Cuts received bytes into frames.
///
/// Bytes go in through [`space`](Self::space) and [`filled`](Self::filled), frames come out of [`next`](Self::next).
/// It holds one frame's worth of bytes plus what one read brought along.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Decoder {
    /// Room to read into: never empty, at least what the frame under way still lacks (or a header).
    pub fn space(&mut self) -> &mut [u8] {
        const CHUNK: usize = 16 * 1024;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > CHUNK {
                // A burst is over: an idle connection keeps no large buffer.
                self.buffer = Vec::new();
            }
        }
        let wanted = self.missing().max(CHUNK);
        if self.buffer.len() - self.end < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() - self.end < wanted {
                self.buffer.reserve_exact(self.end + wanted - self.buffer.len());
                self.buffer.resize(self.end + wanted, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Says that `count` bytes of [`space`](Self::space) now hold received bytes.
    ///
    /// # Panics
    /// If that is more than the space had.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more bytes than there was space");
        self.end += count;
    }

    /// Copies bytes in: [`space`](Self::space) and [`filled`](Self::filled) in one.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// The next whole frame, if one has arrived.
    ///
    /// # Errors
    /// [`FrameError`] if the bytes are not a frame. Every later call fails the same way.
    #[allow(clippy::should_implement_trait)] // an iterator cannot lend
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some((kind, flags, stream, length)) = self.header()? else {
            return Ok(None);
        };
        let begin = self.start + HEADER;
        if self.end - begin < length {
            return Ok(None);
        }
        self.start = begin + length;
        Ok(Some(Frame { kind, flags, stream, payload: &self.buffer[begin..begin + length] }))
    }

    /// Whether bytes of an incomplete frame are held: an end of file here is a torn connection.
    #[must_use]
    pub fn is_mid_frame(&self) -> bool {
        self.start != self.end
    }

    /// Bytes that the frame under way still lacks.
    fn missing(&self) -> usize {
        let held = self.end - self.start;
        match self.header() {
            Ok(Some((.., length))) => (HEADER + length).saturating_sub(held),
            _ => HEADER.saturating_sub(held),
        }
    }

    fn header(&self) -> Result<Option<(Kind, u8, u32, usize)>, FrameError> {
        let Some(header) = self.buffer[self.start..self.end].first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, kind, flags, r0, r1, s0, s1, s2, s3] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        if length as usize > MAX_PAYLOAD {
            return Err(FrameError::TooLarge(length));
        }
        let kind = Kind::try_from(kind)?;
        if (r0, r1) != (0, 0) {
            return Err(FrameError::Reserved);
        }
        match kind {
            Kind::Data | Kind::Eof => {
                Channel::try_from(flags).map_err(FrameError::Channel)?;
            }
            _ if flags != 0 => return Err(FrameError::Reserved),
            _ => {}
        }
        if matches!(kind, Kind::Hello | Kind::Message) != (stream == 0) {
            return Err(FrameError::Stream(kind, stream));
        }
        Ok(Some((kind, flags, stream, length as usize)))
    }
}

/// The first frame of each side. Its layout never changes, so that any two versions can tell each other apart:
/// `AKWIRE`, the protocol revision as `u16` little-endian, then the build's version as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL`] of the sender.
    pub protocol: u16,
    /// The sender's version, for people.
    pub version: String,
}

/// A first frame that is not ours to talk to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Not a hello of any version.
    #[error("The peer does not speak this protocol")]
    NotOurs,
    /// Another revision.
    #[error("The peer is version {version} (protocol {protocol}), this is version {own} (protocol {PROTOCOL})", own = env!("CARGO_PKG_VERSION"))]
    Version {
        /// The peer's revision.
        protocol: u16,
        /// The peer's version.
        version: String,
    },
}

impl Hello {
    /// This build's own.
    #[must_use]
    pub fn own() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Appends it as a frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut payload = MAGIC.to_vec();
        payload.extend_from_slice(&self.protocol.to_le_bytes());
        payload.extend_from_slice(self.version.as_bytes());
        write(out, Kind::Hello, 0, 0, &payload);
    }

    /// Reads a peer's and checks that it speaks our revision.
    ///
    /// # Errors
    /// [`HelloError`] if it does not.
    pub fn check(payload: &[u8]) -> Result<Self, HelloError> {
        let rest = payload.strip_prefix(&MAGIC).ok_or(HelloError::NotOurs)?;
        let (protocol, version) = rest.split_first_chunk::<2>().ok_or(HelloError::NotOurs)?;
        // A version is shown to people: whatever else the peer put there stays out of their terminal.
        let printable = version.iter().filter(|byte| byte.is_ascii_graphic());
        let version = printable.take(64).map(|&byte| char::from(byte)).collect();
        let hello = Self { protocol: u16::from_le_bytes(*protocol), version };
        if hello.protocol == PROTOCOL {
            Ok(hello)
        } else {
            Err(HelloError::Version { protocol: hello.protocol, version: hello.version })
        }
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
