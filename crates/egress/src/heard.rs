//! Hides how a server shows, by its first bytes, that it speaks without being asked, or what it took its client for: what
//! it takes for a request or for TLS, it answers in kind.

use crate::{Denial, Reason, Target, first::Replay, meter::Metered, socket::Socket};
use std::{cell::Cell, ops::Deref, time::Duration};
use tokio::{
    io::AsyncRead,
    time::{Instant, sleep, timeout_at},
};

/// How long is waited for the rest of a few bytes, and how often it is looked for.
const PIECES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(10));
/// So many bytes tell.
const ENOUGH: usize = 32;

/// What a server took its client for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Heard {
    /// Somebody who speaks TLS.
    Tls,
    /// Somebody who speaks HTTP.
    Http,
    /// None of them.
    #[default]
    Other,
}

/// What a server says that was asked for nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// What one of HTTP/2 may say before its client does (RFC 9113, 3.4).
    Http2,
    /// Something else.
    Other,
    /// Nothing: it has closed its side.
    Ended,
}

/// A stream of which can be looked at what nobody has read yet.
pub(crate) trait Ahead {
    /// Gives what is there, once it is more than so many bytes: no more than that if nothing follows. It may be dropped at any time.
    async fn ahead(&mut self, head: &mut [u8], more_than: usize) -> usize;
}

impl<S: Deref<Target = Socket>> Ahead for S {
    async fn ahead(&mut self, head: &mut [u8], more_than: usize) -> usize {
        loop {
            let count = self.peek(head).await.unwrap_or(0);
            if count == 0 || count > more_than {
                return count;
            }
            sleep(PIECES.1).await;
        }
    }
}

/// What is looked at has not passed yet.
impl<S: Ahead> Ahead for Metered<S> {
    async fn ahead(&mut self, head: &mut [u8], more_than: usize) -> usize {
        self.get_mut().ahead(head, more_than).await
    }
}

impl<S: AsyncRead + Unpin> Ahead for Replay<S> {
    async fn ahead(&mut self, head: &mut [u8], more_than: usize) -> usize {
        while self.rest().len() <= more_than && self.read_ahead(head.len()).await.is_ok_and(|count| count > 0) {}
        let rest = self.rest();
        let count = rest.len().min(head.len());
        head[..count].copy_from_slice(&rest[..count]);
        count
    }
}

/// Keeps back what a server answers to what could not be told, until it is known what it took that for.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The first byte that its client has said; nothing is kept back without one.
    began: Option<u8>,
    heard: Cell<Heard>,
}

impl Gate {
    /// For what was said.
    pub(crate) fn of(said: &[u8]) -> Self {
        Self { began: said.first().copied(), heard: Cell::default() }
    }

    /// Waits for what a server says first, and tells whether it may go on. Nothing is taken from the stream.
    pub(crate) async fn opens(&self, server: &mut impl Ahead) -> bool {
        let mut head = [0; ENOUGH];
        let told = match self.began {
            // As records do, and the hello of SSL 2.
            Some(0x14..=0x18 | 0x80..) => look(server, &mut head, either).await,
            // Some servers read a request behind any other byte.
            Some(_) => look(server, &mut head, http).await,
            None => None,
        };
        self.heard.set(told.unwrap_or_default());
        self.heard.get() == Heard::Other
    }

    /// Why it did not.
    pub(crate) fn verdict(&self, target: &Target) -> Result<(), Denial> {
        let (reason, detail) = match self.heard.get() {
            Heard::Other => return Ok(()),
            Heard::Http => (Reason::BadRequest, "the server took for a request what can't be read as one"),
            Heard::Tls => (Reason::BadTls, "the server took for TLS what can't be read as that"),
        };
        Err(Denial::new(reason, target).because(detail))
    }
}

/// Waits until a server speaks without having been asked, or ends.
pub(crate) async fn greeting(server: &mut impl Ahead) -> Greeting {
    let mut head = [0; SETTINGS.len() + 3];
    let told = look(server, &mut head, |said| match said {
        [] => Some(Greeting::Ended),
        _ => settings(said).map(|is| if is { Greeting::Http2 } else { Greeting::Other }),
    });
    told.await.unwrap_or(Greeting::Other)
}

/// Looks at what is there until it tells something; `None` if it does not, or not in time.
async fn look<T>(server: &mut impl Ahead, head: &mut [u8], tells: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut count = server.ahead(head, 0).await;
    let until = Instant::now() + PIECES.0;
    loop {
        let told = tells(&head[..count]);
        if told.is_some() || count == 0 || count == head.len() {
            return told;
        }
        match timeout_at(until, server.ahead(head, count)).await {
            Ok(more) if more > count => count = more,
            _ => return None,
        }
    }
}

/// Whether an answer begins as TLS does: a handshake, or an alert, and its version (RFC 8446, 5.1).
fn tls(answer: &[u8]) -> Option<Heard> {
    match answer {
        [] | [0x15 | 0x16] | [0x15 | 0x16, 3] => None,
        [0x15 | 0x16, 3, 0..=4, ..] => Some(Heard::Tls),
        _ => Some(Heard::Other),
    }
}

/// Whether an answer begins as HTTP/1 does: its name, and a number.
fn http(answer: &[u8]) -> Option<Heard> {
    const NAME: &[u8] = b"HTTP/";
    let begun = answer.iter().zip(NAME).take_while(|(own, other)| own.eq_ignore_ascii_case(other)).count();
    match answer.get(begun) {
        None => None,
        Some(digit) if begun == NAME.len() && digit.is_ascii_digit() => Some(Heard::Http),
        Some(_) => Some(Heard::Other),
    }
}

/// The same of both.
fn either(answer: &[u8]) -> Option<Heard> {
    match (tls(answer)?, http(answer)) {
        (Heard::Other, http) => http,
        (tls, _) => Some(tls),
    }
}

/// A frame of settings, after its length: its type, no flags, no stream (RFC 9113, 4.1 and 6.5).
const SETTINGS: [u8; 6] = [4, 0, 0, 0, 0, 0];

/// Whether this is the beginning of a frame of settings.
fn settings(head: &[u8]) -> Option<bool> {
    let length = head.iter().take(3).fold(0, |length, &byte| length << 8 | u32::from(byte));
    let can_be = head.len() < 3 || (length % 6 == 0 && length <= 16 * 1024);
    let rest = head.get(3..).unwrap_or_default();
    match can_be && SETTINGS.starts_with(rest) {
        false => Some(false),
        true => (rest.len() == SETTINGS.len()).then_some(true),
    }
}

#[cfg(test)]
#[path = "heard_tests.rs"]
mod tests;
