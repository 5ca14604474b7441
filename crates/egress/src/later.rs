//! Hides how TLS is found that begins later, after another protocol's own word for it (STARTTLS, SSLRequest), and for
//! which server it is. Only that protocol tells where a message of its client begins: so a hello may at every byte.
//!
//! What is looked at passes at once, for no server makes anything of a hello before its last byte.

use crate::{
    Denial, Grant, Reason, Target,
    first::{self, Expected, Speech},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// How much is looked at of what a client says: more than servers take that wait for TLS.
const WATCHED: usize = 1 << 20;
/// How many bytes are looked at at once.
pub(crate) const GLANCE: usize = 16 * 1024;
/// The longest message that is read, which is what rustls takes; what is longer is kept no further.
const LONGEST: usize = 64 * 1024;
/// The first byte of a longer one's length; the longest that any server takes has two here (OpenSSL).
const LONGEST_OF_ANY: u8 = 2;
/// The most that a record holds, in steps of 256 bytes, with what a cipher may add (RFC 5246, 6.2.3).
const MAX_RECORD: u8 = 0x48;
/// How many messages may have begun and go on: bytes that look like the beginning of one are far more rare.
const MOST: usize = 4;
/// The same of a message's first bytes: what else is between its records is passed over, and could have others begin in it.
const MOST_OF_ANY: usize = 64;

/// What a client says that spoke neither TLS nor HTTP when it began.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// For which server TLS may be; nothing is looked at without one.
    target: Option<Target>,
    /// How many bytes were looked at.
    seen: usize,
    begun: Vec<Message>,
    denial: Option<Denial>,
}

impl Watch {
    /// For what goes to this target. What a service of the host is asked for is its own business.
    pub(crate) fn of(target: &Target, grant: &Grant) -> Self {
        Self { target: (!grant.service).then(|| target.clone()), ..Self::default() }
    }

    /// Whether there is anything more to look for.
    pub(crate) fn goes_on(&self) -> bool {
        self.target.is_some() && (self.seen < WATCHED || !self.begun.is_empty())
    }

    /// Hears what comes next, before it passes.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn hear(&mut self, said: &[u8]) -> io::Result<()> {
        let Some(target) = self.target.as_ref().filter(|_| self.denial.is_none()) else { return self.passes() };
        let mut known = Ok(());
        let mut goes_on = |message: &mut Message, said: &[u8]| match message.hear(said) {
            Heard::More => true,
            Heard::Other => false,
            Heard::Hello => {
                known = known.clone().and_then(|()| judge(&message.said, target));
                false
            }
        };
        self.begun.retain_mut(|message| goes_on(message, said));
        let rest = &said[..said.len().min(WATCHED - self.seen)];
        self.seen += rest.len();
        for (at, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == HANDSHAKE) {
            let mut message = Message::default();
            if goes_on(&mut message, &said[at..]) {
                self.begun.push(message);
            }
        }
        let likely = self.begun.iter().filter(|message| message.is_likely()).count();
        if likely > MOST || self.begun.len() > MOST_OF_ANY {
            known = known.and(Err(Denial::new(Reason::BadTls, target).because("too many messages begin at once")));
        }
        self.denial = known.err();
        self.passes()
    }

    fn passes(&self) -> io::Result<()> {
        if self.denial.is_some() { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    /// Why something may not pass.
    pub(crate) fn verdict(&self) -> Result<(), Denial> {
        self.denial.clone().map_or(Ok(()), Err)
    }
}

/// Whether a hello may pass. Many clients of such protocols name no server; then none can be found by its name.
fn judge(message: &[u8], target: &Target) -> Result<(), Denial> {
    let records = message.chunks(GLANCE).flat_map(|part| {
        let [high, low] = (part.len() as u16).to_be_bytes();
        [HANDSHAKE, 3, 1, high, low].into_iter().chain(part.iter().copied())
    });
    let denial = |reason, detail: String| Err(Denial::new(reason, target).because(detail));
    match first::classify(&records.collect::<Vec<_>>(), Expected::Any) {
        Some(Speech::Tls(hello)) => match hello.server_name {
            Some(name) if name != target.host => denial(Reason::SniMismatch, name.to_string()),
            None if hello.is_named => denial(Reason::SniMismatch, "what it names is no server".to_owned()),
            _ => Ok(()),
        },
        Some(Speech::BadTls(why)) => denial(Reason::BadTls, why),
        _ => denial(Reason::BadTls, "its first message is too long".to_owned()),
    }
}

/// The type of a record that has a handshake in it, and of its first message (RFC 8446, 4 and 5.1).
const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;

/// What bytes are that could be a hello in records.
enum Heard {
    /// That is not known yet.
    More,
    /// Something else.
    Other,
    /// A hello, whether it can be read or not.
    Hello,
}

/// A message that may be a hello, as far as it has come.
#[derive(Debug, Default)]
struct Message {
    /// The head of a record.
    head: Vec<u8>,
    /// What is still to come of that record, and whether it is one of a handshake.
    left: usize,
    handshake: bool,
    /// What has come of the message, and how much of that is kept.
    length: usize,
    said: Vec<u8>,
}

impl Message {
    /// Whether it is more than a few bytes that many protocols have somewhere.
    fn is_likely(&self) -> bool {
        self.length > HEAD
    }

    fn hear(&mut self, mut said: &[u8]) -> Heard {
        while let Some((&byte, rest)) = said.split_first() {
            if self.left == 0 {
                if !self.begins(byte) {
                    return Heard::Other;
                }
                said = rest;
                continue;
            }
            let (part, rest) = said.split_at(self.left.min(said.len()));
            self.left -= part.len();
            said = rest;
            if !self.handshake {
                continue;
            }
            match self.add(part) {
                Heard::More => {}
                heard => return heard,
            }
        }
        Heard::More
    }

    /// One more byte of a record's head: whether that can be one. Some servers pass over records without a handshake, or
    /// without anything, in the midst of a message.
    fn begins(&mut self, byte: u8) -> bool {
        let first = self.length == 0;
        self.head.push(byte);
        match *self.head {
            [kind] => kind == HANDSHAKE || (!first && (0x14..=0x18).contains(&kind)),
            [_, major] => major == 3,
            [_, _, _, high] => high <= MAX_RECORD,
            [kind, _, _, high, low] => {
                self.left = u16::from_be_bytes([high, low]).into();
                self.handshake = kind == HANDSHAKE;
                self.head.clear();
                self.left > 0 || !first
            }
            _ => true,
        }
    }

    /// Some more of the message.
    fn add(&mut self, mut part: &[u8]) -> Heard {
        while !part.is_empty() {
            let whole = match *self.said {
                [_, high, middle, low, ..] => HEAD + u32::from_be_bytes([0, high, middle, low]) as usize,
                _ => HEAD,
            };
            let (own, rest) = part.split_at(part.len().min(whole - self.length));
            self.length += own.len();
            self.said.extend(own.iter().take((HEAD + LONGEST).saturating_sub(self.said.len())));
            part = rest;
            match *self.said {
                [kind, ..] if kind != CLIENT_HELLO => return Heard::Other,
                [_, high, ..] if high > LONGEST_OF_ANY => return Heard::Other,
                [_, _, _, _, ref body @ ..] if self.length == whole && whole > HEAD => {
                    let is_hello = self.said.len() < whole || is_hello(body);
                    return if is_hello { Heard::Hello } else { Heard::Other };
                }
                [_, 0, 0, 0] => return Heard::Other,
                _ => {}
            }
        }
        Heard::More
    }
}

/// A message's type, and its length (RFC 8446, 4).
const HEAD: usize = 4;

/// Whether this is made as a hello is: a version and random bytes; an id, suites and compressions, each after its length;
/// and extensions up to the end, if there are any (RFC 5246, 7.4.1.2).
fn is_hello(body: &[u8]) -> bool {
    let rest = body.get(34..).and_then(|rest| after(rest, 1)).and_then(|rest| after(rest, 2));
    match rest.and_then(|rest| after(rest, 1)) {
        Some([]) => true,
        Some(extensions) => after(extensions, 2).is_some_and(<[u8]>::is_empty),
        None => false,
    }
}

/// What comes after as many bytes as the first ones say.
fn after(bytes: &[u8], digits: usize) -> Option<&[u8]> {
    let (length, rest) = bytes.split_at_checked(digits)?;
    rest.get(length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte))..)
}

/// A client's side whose bytes are looked at.
pub(crate) struct Watched<'a, S> {
    pub(crate) stream: S,
    pub(crate) watch: &'a mut Watch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        Poll::Ready(self.watch.hear(&into.filled()[before..]))
    }
}

#[cfg(test)]
#[path = "later_tests.rs"]
mod tests;
