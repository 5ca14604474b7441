//! Hides how TLS is found that begins later, after another protocol's own word for it (STARTTLS, SSLRequest), and for
//! which server it is. Only that protocol tells where a message of its client begins: so a hello may at every byte.
//!
//! What is looked at passes at once, for no server makes anything of a hello before its last byte.

use crate::{Denial, Grant, Host, Reason, Target, hello::Hello, host::shown};
use std::{
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, ReadBuf};

/// How much is looked at of what a client says: more than servers take that wait for TLS.
const WATCHED: usize = 1 << 20;
/// How many bytes are looked at at once.
pub(crate) const GLANCE: usize = 16 * 1024;
/// The first byte of a message's length; the longest that any server takes has two here (OpenSSL).
const LONGEST_OF_ANY: u8 = 2;
/// How many records may have begun and go on, of some hundred bytes each: of a program's own bytes, which look like the
/// beginning of a hello more often than most, some fifty do.
const MOST: usize = 256;

/// What a client says that spoke neither TLS nor HTTP when it began.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// For which server TLS may be; nothing is looked at without one.
    target: Option<Target>,
    /// How many bytes were looked at.
    seen: usize,
    begun: Vec<Records>,
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
        let mut denial = None;
        let mut tell = |name: &[u8]| {
            if !is_for(name, target) {
                denial = Some((Reason::SniMismatch, shown(&String::from_utf8_lossy(name))));
            }
        };
        self.begun.retain_mut(|records| records.hear(said, &mut tell));
        let rest = &said[..said.len().min(WATCHED - self.seen)];
        self.seen += rest.len();
        for (at, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == HANDSHAKE) {
            let mut records = Records::default();
            if records.hear(&said[at..], &mut tell) {
                self.begun.push(records);
            }
        }
        if self.begun.len() > MOST {
            denial.get_or_insert((Reason::BadTls, "too many messages begin at once".to_owned()));
        }
        self.denial = denial.map(|(reason, detail)| Denial::new(reason, target).because(detail));
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

/// Whether a hello may ask for this. Many clients of such protocols name no server; then none can be found by its name, and
/// as little by an address, which is no name (RFC 6066, 3).
fn is_for(name: &[u8], target: &Target) -> bool {
    str::from_utf8(name)
        .is_ok_and(|name| name.parse::<IpAddr>().is_ok() || Host::parse(name).is_ok_and(|host| host == target.host))
}

/// The type of a record that has a handshake in it, and of its first message (RFC 8446, 4 and 5.1).
const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;

/// Records that may have a hello in them, as far as they have come. Servers take them in every version and length.
#[derive(Debug, Default)]
struct Records {
    /// The head of a record.
    head: Vec<u8>,
    /// What is still to come of that record, and whether it is one of a handshake.
    left: usize,
    handshake: bool,
    /// Whether anything of a message has come.
    begun: bool,
    /// The head of a message: its type and its length.
    of_message: Vec<u8>,
    /// What is still to come of that message, and what it says if it is a hello.
    rest: usize,
    hello: Option<Hello>,
}

impl Records {
    /// Whether there may be more of them. `tell` hears every name.
    fn hear(&mut self, mut said: &[u8], tell: &mut impl FnMut(&[u8])) -> bool {
        while let Some((&byte, rest)) = said.split_first() {
            if self.left == 0 {
                if !self.begins(byte) {
                    return false;
                }
                said = rest;
                continue;
            }
            let (part, rest) = said.split_at(self.left.min(said.len()));
            self.left -= part.len();
            said = rest;
            if self.handshake && !self.add(part, tell) {
                return false;
            }
        }
        true
    }

    /// One more byte of a record's head: whether that can be one. Some servers pass over records without a handshake, or
    /// without anything, in the midst of a message.
    fn begins(&mut self, byte: u8) -> bool {
        self.head.push(byte);
        match *self.head {
            [kind] => kind == HANDSHAKE || (self.begun && (0x14..=0x18).contains(&kind)),
            [kind, _, _, high, low] => {
                self.left = u16::from_be_bytes([high, low]).into();
                self.handshake = kind == HANDSHAKE;
                self.head.clear();
                self.left > 0 || self.begun
            }
            _ => true,
        }
    }

    /// Some more of the messages, the first of which is a hello; another one may follow in the same record.
    fn add(&mut self, mut part: &[u8], tell: &mut impl FnMut(&[u8])) -> bool {
        while let Some((&byte, behind)) = part.split_first() {
            if self.rest == 0 {
                part = behind;
                self.of_message.push(byte);
                match *self.of_message {
                    [kind] if kind != CLIENT_HELLO && !self.begun => return false,
                    [_, high] if high > LONGEST_OF_ANY => return false,
                    [kind, high, middle, low] => {
                        self.rest = u32::from_be_bytes([0, high, middle, low]) as usize;
                        self.hello = (kind == CLIENT_HELLO).then(Hello::default);
                        self.of_message.clear();
                        if kind == CLIENT_HELLO && self.rest == 0 {
                            return false;
                        }
                    }
                    _ => {}
                }
                self.begun = true;
                continue;
            }
            let (own, behind) = part.split_at(part.len().min(self.rest));
            self.rest -= own.len();
            part = behind;
            if self.hello.as_mut().is_some_and(|hello| !hello.hear(own, self.rest, tell)) {
                return false;
            }
        }
        // One that begins in a record of its own is found there.
        self.rest > 0 || !self.of_message.is_empty() || self.left > 0
    }
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
