//! Hides how a server shows, by its first bytes, that it speaks without being asked, or what it took its client for:
//! whatever it takes for a request or for TLS, it answers in kind.

use std::time::{Duration, Instant};
use tokio::{net::TcpStream, time::sleep};

/// How long is waited for the rest of a few bytes, and how often it is looked for.
const PIECES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(10));
/// So many bytes tell.
const ENOUGH: usize = 32;
/// Other languages whose answers begin as those of HTTP do.
const OTHERS: [&str; 3] = ["ICAP", "RTSP", "SIP"];

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

/// Waits for what a server says first, and tells what it took its client for. Nothing is taken from the stream.
pub(crate) async fn heard(server: &TcpStream) -> Heard {
    let mut head = [0; ENOUGH];
    look(server, &mut head, judge).await.unwrap_or(Heard::Other)
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

/// What the first bytes of an answer tell.
fn judge(answer: &[u8]) -> Option<Heard> {
    if let [0x15 | 0x16, rest @ ..] = answer {
        // A handshake, or an alert, and its version (RFC 8446, 5.1).
        return match rest {
            [] | [3] => None,
            [3, 0..=4, ..] => Some(Heard::Tls),
            _ => Some(Heard::Other),
        };
    }
    // A version, whatever its name is, since some servers say the one that they heard; a blank; and a number of three
    // digits. Only for the name of HTTP itself is waited: many servers say a word, and no more.
    let count = |from: usize, what: fn(u8) -> bool| answer[from..].iter().take_while(|&&byte| what(byte)).count();
    let name = count(0, |byte| byte.is_ascii_alphabetic());
    let slash = answer.get(name);
    if name == answer.len() && name <= b"HTTP".len() && b"HTTP"[..name].eq_ignore_ascii_case(answer) {
        return None;
    }
    if name == 0 || slash != Some(&b'/') || OTHERS.iter().any(|other| other.as_bytes() == &answer[..name]) {
        return Some(Heard::Other);
    }
    let version = count(name + 1, |byte| byte.is_ascii_digit() || byte == b'.');
    let number = name + 1 + version;
    let status = answer.get(number + 1..)?;
    let digits = status.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    if version == 0 || answer[number] != b' ' || digits < status.len().min(3) {
        return Some(Heard::Other);
    }
    (digits == 3).then_some(Heard::Http)
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
