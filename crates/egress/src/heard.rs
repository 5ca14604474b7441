//! Hides how a server shows, by its first bytes, that it speaks without being asked, or what it took its client for: what
//! it takes for a request or for TLS, it answers in kind.

use std::time::{Duration, Instant};
use tokio::{net::TcpStream, time::sleep};

/// How long is waited for the rest of a few bytes, and how often it is looked for.
const PIECES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(10));
/// So many bytes tell.
const ENOUGH: usize = 32;
/// What a server took its client for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Somebody who speaks TLS.
    Tls,
    /// Somebody who speaks HTTP.
    Http,
    /// None of them.
    Other,
}

/// Waits for what a server says first, and tells what it took its client for, whose first byte was this one. Nothing is
/// taken from the stream.
pub(crate) async fn heard(server: &TcpStream, began: u8) -> Heard {
    let mut head = [0; ENOUGH];
    let told = match began {
        // As records do, and the hello of SSL 2.
        0x14..=0x18 | 0x80.. => look(server, &mut head, tls).await,
        // As lines of text do, with blanks before them.
        b' '..=b'~' | b'\t'..=b'\r' | 0x1c..=0x1f => look(server, &mut head, http).await,
        // Nobody takes that for either.
        _ => Some(Heard::Other),
    };
    told.unwrap_or(Heard::Other)
}

/// Waits until a server speaks, and tells whether that is the beginning of HTTP/2, whose servers may speak before their
/// clients do (RFC 9113, 3.4).
pub(crate) async fn begins_http2(server: &TcpStream) -> bool {
    let mut head = [0; SETTINGS.len() + 3];
    look(server, &mut head, settings).await.unwrap_or(false)
}

/// Looks at what is there until it tells something; `None` if it does not, or not in time.
async fn look<T>(server: &TcpStream, head: &mut [u8], tells: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut begun = None;
    loop {
        let _ = server.readable().await;
        let count = server.peek(head).await.unwrap_or(0);
        let told = tells(&head[..count]);
        let begun = *begun.get_or_insert_with(Instant::now);
        if told.is_some() || count == 0 || count == head.len() || begun.elapsed() > PIECES.0 {
            return told;
        }
        sleep(PIECES.1).await;
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
