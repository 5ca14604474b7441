//! Hides WebSockets (RFC 6455): what passes is passed on as it is, while the server's messages are read for what they
//! tell of tokens, and the client's counted as requests are once those are used up.

use super::{Exchange, LEAVE};
use crate::{
    Denial, Reason,
    usage::{MAX, spend_message},
};
use std::{cell::Cell, io, rc::Rc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Bytes that pass at once.
const PIECE: usize = 16 * 1024;
/// What a close frame has room for beside its code.
const MAX_REASON: usize = 123;
/// A policy is violated (RFC 6455, 7.4.1).
const VIOLATION: u16 = 1008;
/// A close frame of a client, masked with zeros, since there is nothing in it.
const LEAVE_TAKEN: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

/// The head of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Frame {
    /// It ends a message.
    last: bool,
    /// Its meaning depends on an extension, or it is masked as no server may do it.
    unreadable: bool,
    opcode: u8,
}

impl Frame {
    fn is_control(self) -> bool {
        self.opcode & 8 != 0
    }
}

/// What comes next in the bytes of one side.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Begin,
    Payload(&'a [u8]),
    End,
    /// Nothing before more is read.
    More,
    /// What no client says: the frames end before it.
    Foreign,
}

/// Follows the frames of one side.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    frame: Frame,
    /// In the payload, of which so much is to come.
    inside: bool,
    left: u64,
    /// They are a client's, and anything else is foreign: a server could take it for a request.
    of_client: bool,
}

impl Frames {
    /// Between two frames.
    fn is_between(&self) -> bool {
        !self.inside && self.head.is_empty()
    }

    /// What comes next, and how many bytes that is.
    fn step<'a>(&mut self, bytes: &'a [u8]) -> (usize, Step<'a>) {
        if self.inside {
            if self.left == 0 {
                self.inside = false;
                return (0, Step::End);
            }
            let count = self.left.min(bytes.len() as u64) as usize;
            self.left -= count as u64;
            return (count, if count == 0 { Step::More } else { Step::Payload(&bytes[..count]) });
        }
        for (count, &byte) in bytes.iter().enumerate() {
            self.head.push(byte);
            if self.of_client && !is_clients(&self.head) {
                return ((count + 1).saturating_sub(self.head.len()), Step::Foreign);
            }
            if self.read_head() {
                self.head.clear();
                self.inside = true;
                return (count + 1, Step::Begin);
            }
        }
        (bytes.len(), Step::More)
    }

    /// Reads a head (RFC 6455, 5.2), if it is all there.
    fn read_head(&mut self) -> bool {
        let [first, second, rest @ ..] = self.head.as_slice() else { return false };
        let (long, masked) = (second & 0x7f, second & 0x80 != 0);
        let wide = match long {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < wide + if masked { 4 } else { 0 } {
            return false;
        }
        let length = rest[..wide].iter().fold(0, |length, &byte| length << 8 | u64::from(byte));
        self.left = if wide == 0 { u64::from(long) } else { length };
        self.frame = Frame { last: first & 0x80 != 0, unreadable: first & 0x70 != 0 || masked, opcode: first & 0xf };
        true
    }
}

/// Whether a head that begins like this can be a client's that has agreed on no extension (RFC 6455, 5.1, 5.2 and 5.5):
/// masked, of a known kind, a control frame whole and short.
fn is_clients(head: &[u8]) -> bool {
    let known = head.first().is_none_or(|first| matches!(first, 0..=2 | 0x80..=0x82 | 0x88..=0x8a));
    let control = head.first().is_some_and(|first| first & 8 != 0);
    known && head.get(1).is_none_or(|second| second & 0x80 != 0 && (!control || second & 0x7f < 126))
}

/// Follows a server's messages.
#[derive(Default)]
pub(crate) struct Messages {
    frames: Frames,
    message: Vec<u8>,
    /// What there is of this message cannot be read.
    skip: bool,
}

impl Messages {
    /// Reads on, and gives each message that can be read. If that says so, reads no further than its last byte: how much
    /// was read.
    pub(crate) fn read(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8]) -> bool) -> usize {
        let mut read = 0;
        loop {
            let (count, step) = self.frames.step(&bytes[read..]);
            read += count;
            let frame = self.frames.frame;
            match step {
                Step::More | Step::Foreign => return read,
                _ if frame.is_control() => {}
                Step::Begin => {
                    // What does not go on with a message begins one.
                    if frame.opcode != 0 {
                        self.message = Vec::new();
                        self.skip = false;
                    }
                    self.skip |= frame.unreadable;
                }
                Step::Payload(part) => {
                    self.skip |= self.message.len() + part.len() > MAX;
                    if self.skip {
                        self.message = Vec::new();
                    } else {
                        self.message.extend_from_slice(part);
                    }
                }
                Step::End if frame.last => {
                    let message = std::mem::take(&mut self.message);
                    if !std::mem::take(&mut self.skip) && take(&message) {
                        return read;
                    }
                }
                Step::End => {}
            }
        }
    }
}

/// Why passing ends before both sides have ended.
enum Break {
    /// A side broke off.
    Lost,
    /// It may not go on, and the client has been told.
    Refused,
}

impl From<io::Error> for Break {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// What both directions know.
struct Conversation<'a> {
    exchange: &'a Rc<Exchange>,
    /// The client asks for more than there is, or speaks something else.
    asked: Notify,
    foreign: Cell<bool>,
    /// Between two frames of the client's, as far as the server has heard them.
    whole: Cell<bool>,
}

/// Carries a WebSocket until both sides have ended, tokens have, or the client says what is none. `line` is the request that began it.
pub(super) async fn carry<C, S>(client: C, server: S, exchange: &Rc<Exchange>, line: &str) -> Option<ReadHalf<C>>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let conversation =
        Conversation { exchange, asked: Notify::new(), foreign: Cell::new(false), whole: Cell::new(true) };
    let out = conversation.out(&mut from_client, &mut to_server);
    let back = conversation.back(&mut from_server, &mut to_client, line);
    // An end that comes as an error is an end.
    let Err(Break::Refused) = tokio::try_join!(out, back) else { return None };
    let leave = async {
        if conversation.whole.get() {
            to_server.write_all(&LEAVE_TAKEN).await?;
        }
        to_server.shutdown().await
    };
    // Whoever is gone need not be told.
    let _ = tokio::time::timeout(LEAVE, leave).await;
    Some(from_client)
}

impl Conversation<'_> {
    /// From the client to the server, until there is something to ask and no token left, or it is no WebSocket's.
    async fn out(
        &self,
        client: &mut ReadHalf<impl AsyncRead + AsyncWrite>,
        server: &mut WriteHalf<impl AsyncRead + AsyncWrite>,
    ) -> Result<(), Break> {
        let (mut frames, mut buffer) = (Frames { of_client: true, ..Frames::default() }, vec![0; PIECE]);
        loop {
            let count = client.read(&mut buffer).await?;
            if count == 0 {
                // It may have gone already.
                let _ = server.shutdown().await;
                return Ok(());
            }
            let bytes = &buffer[..count];
            let mut read = 0;
            let over = loop {
                let data = bytes.get(read).is_some_and(|first| first & 8 == 0);
                if frames.is_between() && data && self.exchange.passage.budget.exhausted().is_some() {
                    break true;
                }
                match frames.step(&bytes[read..]) {
                    (count, Step::More) => {
                        read += count;
                        break false;
                    }
                    (count, Step::Foreign) => {
                        read += count;
                        self.foreign.set(true);
                        break true;
                    }
                    (count, _) => read += count,
                }
            };
            // While it is written, nobody knows how much of it is.
            self.whole.set(false);
            server.write_all(&bytes[..read]).await?;
            server.flush().await?;
            self.whole.set(frames.is_between());
            if over {
                self.asked.notify_one();
                return Ok(());
            }
        }
    }

    /// From the server to the client, until it has told of the last token.
    async fn back(
        &self,
        server: &mut ReadHalf<impl AsyncRead + AsyncWrite>,
        client: &mut WriteHalf<impl AsyncRead + AsyncWrite>,
        line: &str,
    ) -> Result<(), Break> {
        let passage = &self.exchange.passage;
        let (mut messages, mut buffer) = (Messages::default(), vec![0; PIECE]);
        // Once the client is to be told, the end of a frame is waited for no longer than to here.
        let mut patience = None;
        loop {
            if patience.is_some() && messages.frames.is_between() {
                return self.refuse(client, line).await;
            }
            let count = tokio::select! {
                biased;
                () = self.asked.notified() => {
                    patience = Some(Instant::now() + LEAVE);
                    continue;
                }
                count = server.read(&mut buffer) => count?,
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                    self.tell(line);
                    return Err(Break::Refused);
                }
            };
            if count == 0 {
                let _ = client.shutdown().await;
                return Ok(());
            }
            let mut spent = false;
            let read = messages.read(&buffer[..count], |message| {
                let tokens = spend_message(message, &passage.budget, &passage.target.host);
                self.exchange.tell(tokens);
                spent = tokens > 0 && passage.budget.exhausted().is_some();
                spent
            });
            client.write_all(&buffer[..read]).await?;
            client.flush().await?;
            if spent {
                return self.refuse(client, line).await;
            }
        }
    }

    /// Tells why it may not go on.
    fn tell(&self, line: &str) -> Denial {
        let Self { exchange, .. } = self;
        let denial = match self.foreign.get() {
            true => exchange.denial(Reason::BadRequest).because("a WebSocket goes on as something else"),
            false => {
                let spent = exchange.passage.budget.exhausted().unwrap_or_default();
                exchange.denial(Reason::TokenLimit).because(spent)
            }
        };
        exchange.passage.report.refused(&denial, line);
        denial
    }

    /// Says it to the client too.
    async fn refuse(&self, client: &mut WriteHalf<impl AsyncRead + AsyncWrite>, line: &str) -> Result<(), Break> {
        let denial = self.tell(line);
        let farewell = async {
            client.write_all(&farewell(&denial)).await?;
            client.shutdown().await
        };
        let _ = tokio::time::timeout(LEAVE, farewell).await;
        Err(Break::Refused)
    }
}

/// A close frame that says why.
fn farewell(denial: &Denial) -> Vec<u8> {
    let mut words = format!("agentkernel: {} [{}]", denial.cause(), denial.reason);
    let end = (0..=MAX_REASON.min(words.len())).rev().find(|&end| words.is_char_boundary(end)).unwrap_or_default();
    words.truncate(end);
    let length = words.len() as u8 + 2;
    [&[0x88, length], &VIOLATION.to_be_bytes()[..], words.as_bytes()].concat()
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
