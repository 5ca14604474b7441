//! Hides how a client begins: its first bytes are read until they tell what it speaks, and are kept to be read again.
//!
//! What is said here decides whether a connection is read at all, so that whatever a server could take for TLS or for a
//! request must be taken for it here too.

use crate::Host;
use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most that is read before it must be clear: a handshake message of 64 KiB, which is the most that rustls takes,
/// and the heads of its records.
const MAX: usize = 72 * 1024;
/// How many bytes are read at once.
const PIECE: usize = 4 * 1024;
/// The longest method. None that is registered has more than 17 letters; some servers take any.
const MAX_METHOD: usize = 64;
/// The longest line that may be a request for something that is no path. No server takes one of this length.
const MAX_LINE: usize = 32 * 1024;

/// What may be spoken where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// TLS and HTTP: whatever any server could take for a request is one.
    Web,
    /// Anything: a request is what says that it is one, by its version.
    Any,
}

/// What a client speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// TLS.
    Tls(Hello),
    /// HTTP in clear.
    Http(Version),
    /// Something else.
    Other,
    /// It begins as TLS, and goes on otherwise: why, for people.
    BadTls(String),
    /// Nothing: it has closed its side at once.
    Nothing,
}

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0 or 1.1.
    One,
    /// HTTP/2.
    Two,
}

/// What the first message of TLS asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// For which server it is: `None` if it does not say, says an address, or says what is no name. With an encrypted
    /// hello inside (ECH), this is the name outside of it, which is what anybody on the way can see; the one inside is
    /// for a server that has the key, at the address that was checked for the name outside.
    pub server_name: Option<Host>,
    /// Which protocols it could go on with (ALPN), in its order.
    pub protocols: Vec<Vec<u8>>,
}

/// Reads from `stream` into `buffer` until it is known what the client speaks, and no further than it gave at once.
///
/// A client that waits for the server to speak first never says anything: how long to wait is up to the caller, who may
/// drop this at any time; what was read until then is in `buffer`.
///
/// # Errors
/// Of reading.
pub async fn first(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    expected: Expected,
) -> io::Result<Speech> {
    let mut listener = Listener::new(expected);
    loop {
        if let Some(speech) = listener.hear(buffer) {
            return Ok(speech);
        }
        if !more(stream, buffer).await? {
            return Ok(listener.ended(buffer));
        }
    }
}

/// Reads once more. False: nothing follows, or no more is kept.
///
/// # Errors
/// Of reading.
pub async fn more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<bool> {
    let room = MAX.saturating_sub(buffer.len()).min(PIECE);
    buffer.reserve(room);
    Ok(room > 0 && (&mut *stream).take(room as u64).read_buf(buffer).await? > 0)
}

/// What a client speaks that has said this and nothing more: `None` if that cannot be told yet.
#[must_use]
pub fn classify(bytes: &[u8], expected: Expected) -> Option<Speech> {
    Listener::new(expected).hear(bytes)
}

/// What was heard so far.
struct Listener {
    expected: Expected,
    tls: Option<rustls::server::Acceptor>,
    /// How much of the bytes the acceptor has had.
    had: usize,
}

impl Listener {
    fn new(expected: Expected) -> Self {
        Self { expected, tls: None, had: 0 }
    }

    /// What it is, by all bytes so far.
    fn hear(&mut self, bytes: &[u8]) -> Option<Speech> {
        match (bytes, self.expected) {
            ([], _) => None,
            // The type of a record that has a handshake in it, and its version (RFC 8446, 5.1): no method has this byte.
            ([0x16], Expected::Any) => None,
            ([0x16, version, ..], Expected::Any) if *version != 3 => Some(Speech::Other),
            ([0x16, ..], _) => self.hello(bytes),
            _ => request(bytes, self.expected),
        }
    }

    fn hello(&mut self, bytes: &[u8]) -> Option<Speech> {
        let acceptor = self.tls.get_or_insert_default();
        loop {
            let rest = bytes.get(self.had..).unwrap_or_default();
            if rest.is_empty() {
                return None;
            }
            match acceptor.read_tls(&mut &*rest) {
                Ok(had) if had > 0 => self.had += had,
                Ok(_) => return Some(Speech::BadTls("its first message is too long".to_owned())),
                Err(error) => return Some(Speech::BadTls(error.to_string())),
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => return Some(Speech::Tls(Hello::of(&accepted.client_hello()))),
                Err((error, _)) => return Some(Speech::BadTls(error.to_string())),
            }
        }
    }

    /// What it is if nothing follows.
    fn ended(&self, bytes: &[u8]) -> Speech {
        match (bytes.len(), &self.tls) {
            (0, _) => Speech::Nothing,
            (MAX.., Some(_)) => Speech::BadTls("its first message is too long".to_owned()),
            (_, Some(_)) => Speech::BadTls("it ended within its first message".to_owned()),
            (_, None) => Speech::Other,
        }
    }
}

impl Hello {
    fn of(hello: &rustls::server::ClientHello<'_>) -> Self {
        let server_name = hello.server_name().and_then(|name| Host::parse(name).ok());
        // An address is no name (RFC 6066, 3), however it is spelled.
        let server_name = server_name.filter(|host| host.name().is_some());
        let protocols = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        Self { server_name, protocols }
    }
}

/// Whether this is a request: a method, blanks, and what a request can be for. Servers skip empty lines and blanks
/// before it, and take for a blank what others would not (RFC 9112, 3). For what it is they read in more ways than one:
/// of `ftp://other.example/` some take the host, and of `x:y` others nothing. So of anything but a path, the version
/// tells; and of everything where other languages may be spoken, of which many have lines such as `GET /x`.
fn request(bytes: &[u8], expected: Expected) -> Option<Speech> {
    let begin = bytes.iter().position(|&byte| byte != b'\n' && !is_blank(byte))?;
    let line = &bytes[begin..];
    let length = line.iter().take(MAX_METHOD + 1).take_while(|&&byte| is_token(byte)).count();
    let (method, rest) = line.split_at(length);
    let Some(&after) = rest.first() else { return (length > MAX_METHOD).then_some(Speech::Other) };
    if length == 0 || length > MAX_METHOD || !is_blank(after) {
        return Some(Speech::Other);
    }
    if method.eq_ignore_ascii_case(b"CONNECT") && expected == Expected::Web {
        return Some(Speech::Http(Version::One));
    }
    let target = &rest[rest.iter().position(|&byte| !is_blank(byte))?..];
    let scheme = target.iter().zip(b"http").take_while(|(own, other)| own.eq_ignore_ascii_case(other)).count();
    match target[0] {
        // Nothing but HTTP/2 has this method (RFC 9113, 3.4).
        b'*' if method == b"PRI" => Some(Speech::Http(Version::Two)),
        _ if expected == Expected::Any => by_version(target),
        b'/' | b'*' => Some(Speech::Http(Version::One)),
        _ if scheme == b"http".len() => Some(Speech::Http(Version::One)),
        _ => by_version(target),
    }
}

/// Whether a line has the version of a request in it.
fn by_version(line: &[u8]) -> Option<Speech> {
    let line = &line[..line.len().min(MAX_LINE)];
    let end = line.iter().position(|&byte| byte.is_ascii_control() && !is_blank(byte));
    let text = &line[..end.unwrap_or(line.len())];
    if text.windows(5).any(|window| window.eq_ignore_ascii_case(b"HTTP/")) {
        return Some(Speech::Http(Version::One));
    }
    (end.is_some() || text.len() == MAX_LINE).then_some(Speech::Other)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

/// Whether a method can have this byte: `tchar` of RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A stream of which some bytes were read before: they are read again first.
pub struct Replay<S> {
    first: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S> Replay<S> {
    /// The stream as it was before these bytes were read.
    #[must_use]
    pub fn new(first: Vec<u8>, stream: S) -> Self {
        Self { first, given: 0, stream }
    }
}

impl<S> fmt::Debug for Replay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("left", &(self.first.len() - self.given)).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let rest = &self.first[self.given..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        self.given += count;
        if self.given == self.first.len() {
            self.first = Vec::new();
            self.given = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
#[path = "first_tests.rs"]
mod tests;
