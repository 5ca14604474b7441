//! Hides how a client begins: its first bytes are read until they tell what it speaks, and are kept to be read again.
//!
//! What is said here decides whether a connection is read at all, so that whatever servers take for TLS or for a request
//! is to be taken for it here too. What only the server's answer shows is looked at there (`heard`).

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
/// What is kept of each part of a line that is longer than any: more than all that is looked for in one.
const KEPT: usize = 64;
/// How many bytes are read at once.
pub(crate) const PIECE: usize = 4 * 1024;
/// Methods that servers know (the registry of RFC 9110, 16.1, and what else Node's parser takes): with one of them and a
/// path, some take a line without a version for a request.
const METHODS: &str = "ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK M-SEARCH MERGE \
    MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE NOTIFY OPTIONS ORDERPATCH PATCH POST PROPFIND PROPPATCH \
    PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UNSUBSCRIBE UPDATE \
    UPDATEREDIRECTREF VERSION-CONTROL";
/// How a proxy begins that tells a server of its client, in bytes (the PROXY protocol, version 2): more than empty lines.
const PROXY: &[u8] = b"\r\n\r\n\0";

/// What may be spoken where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// TLS and HTTP: whatever any server could take for a request is one.
    Web,
    /// Anything: a request is what says that it is one, by its version, or by a method that is known and a path.
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
    /// Whether it says a name, be it one that no server has.
    pub is_named: bool,
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
pub(crate) async fn more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<bool> {
    let room = MAX.saturating_sub(buffer.len()).min(PIECE);
    buffer.reserve(room);
    Ok(room > 0 && (&mut *stream).take(room as u64).read_buf(buffer).await? > 0)
}

/// Whether no more is kept.
pub(crate) fn is_full(buffer: &[u8]) -> bool {
    buffer.len() >= MAX
}

/// What a client speaks that has said this and nothing more: `None` if that cannot be told yet.
#[must_use]
pub fn classify(bytes: &[u8], expected: Expected) -> Option<Speech> {
    Listener::new(expected).hear(bytes)
}

/// Listens to what comes bit by bit: nothing is looked at twice.
pub(crate) struct Listener {
    expected: Expected,
    tls: Option<rustls::server::Acceptor>,
    /// How much of the bytes the acceptor has had.
    had: usize,
    /// Where what could be a request begins, its method ends, and its target begins, as far as that is known.
    line: [usize; 3],
    /// Where a version may still begin.
    rest: usize,
}

impl Listener {
    pub(crate) fn new(expected: Expected) -> Self {
        Self { expected, tls: None, had: 0, line: [0; 3], rest: 0 }
    }

    /// Whether TLS has begun: nobody says the first of it and waits for an answer.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What it is, by all bytes so far.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Option<Speech> {
        match (bytes, self.expected) {
            ([], _) => None,
            // The type of a record that has a handshake in it, and its version (RFC 8446, 5.1): no method has this byte.
            ([0x16], Expected::Any) => None,
            ([0x16, version, ..], Expected::Any) if *version != 3 => Some(Speech::Other),
            ([0x16, ..], _) => self.hello(bytes),
            // Records of the other types: some servers pass over those that come before a handshake.
            ([0x14..=0x18], _) => None,
            ([0x14..=0x18, 3, ..], _) => Some(Speech::BadTls("it does not begin with a handshake".to_owned())),
            // The hello of SSL 2, which could ask for TLS (RFC 5246, E.2), but not say a name: of 9 bytes at least, which
            // tells it from the marks of other languages' records.
            ([0x80, ..9, ..], _) => self.request(bytes),
            ([0x80..=0xff, _, 1, 3, ..], _) => Some(Speech::BadTls("it begins as SSL 2 did".to_owned())),
            ([0x80..=0xff] | [0x80..=0xff, _] | [0x80..=0xff, _, 1], _) => None,
            _ => self.request(bytes),
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

    /// Whether this is a request: a method, blanks, and what a request can be for. Servers skip empty lines and blanks
    /// before it, and take for a blank what others would not (RFC 9112, 3). For what it is they read in more ways than
    /// one: of `ftp://other.example/` some take the host, and of `x:y` others nothing. So of anything but a path, the
    /// version tells; and of everything where other languages may be spoken, of which many have lines such as `LIST /x`.
    fn request(&mut self, bytes: &[u8]) -> Option<Speech> {
        let one = Some(Speech::Http(Version::One));
        let [begin, end, target] = &mut self.line;
        *begin = skip(bytes, *begin, |byte| byte == b'\n' || is_blank(byte));
        *end = skip(bytes, *begin.max(end), is_token);
        if bytes.starts_with(PROXY) {
            return one;
        }
        let &after = bytes.get(*end)?;
        if begin == end || !is_blank(after) {
            return Some(Speech::Other);
        }
        let method = &bytes[*begin..*end];
        let web = self.expected == Expected::Web;
        // Some connect to what follows, and some take it for their client's address.
        if method == b"PROXY" || (web && method.eq_ignore_ascii_case(b"CONNECT")) {
            return one;
        }
        *target = skip(bytes, *end.max(target), is_blank);
        let what = bytes.get(*target..).filter(|what| !what.is_empty())?;
        let is_known = METHODS.split(' ').any(|known| known.as_bytes() == method);
        let scheme = what.iter().zip(b"http").take_while(|(own, other)| own.eq_ignore_ascii_case(other)).count();
        match what[0] {
            // Nothing but HTTP/2 has this method (RFC 9113, 3.4).
            b'*' if method == b"PRI" => return Some(Speech::Http(Version::Two)),
            b'*' if web => return one,
            b'/' if web || is_known => return one,
            _ if scheme == b"http".len() && (web || is_known) => return one,
            _ => {}
        }
        // Some servers take all but its end for a part of the line. Of other languages, git's has a zero in its first.
        self.rest = self.rest.max(*target);
        let length = bytes[self.rest..].iter().position(|&byte| byte == b'\n' || (byte == 0 && !is_known));
        let rest = &bytes[self.rest..length.map_or(bytes.len(), |length| self.rest + length)];
        if rest.windows(VERSION.len()).any(|window| window.eq_ignore_ascii_case(VERSION)) {
            return one;
        }
        self.rest += (rest.len() + 1).saturating_sub(VERSION.len());
        length.map(|_| Speech::Other)
    }

    /// Lets go of what has been heard of a line and tells nothing more, so that there is room for what follows.
    pub(crate) fn shorten(&mut self, bytes: &mut Vec<u8>) {
        let [begin, end, target] = self.line;
        // From the last to the first: what stands before one stays where it is.
        for (from, to) in [(target + KEPT, self.rest), (end + 1, target), (begin + KEPT, end), (KEPT, begin)] {
            if from < to {
                bytes.drain(from..to);
                for at in self.line.iter_mut().chain([&mut self.rest]).filter(|at| **at >= to) {
                    *at -= to - from;
                }
            }
        }
    }

    /// What it is if nothing follows, or no more is kept: whatever could still become a request is then none that can be
    /// read.
    pub(crate) fn ended(&self, bytes: &[u8]) -> Speech {
        match (bytes.len(), &self.tls) {
            (0, _) => Speech::Nothing,
            (MAX.., Some(_)) => Speech::BadTls("its first message is too long".to_owned()),
            (_, Some(_)) => Speech::BadTls("it ended within its first message".to_owned()),
            (MAX.., None) => Speech::Http(Version::One),
            (_, None) => Speech::Other,
        }
    }
}

impl Hello {
    fn of(hello: &rustls::server::ClientHello<'_>) -> Self {
        let is_named = hello.server_name().is_some();
        let server_name = hello.server_name().and_then(|name| Host::parse(name).ok());
        // An address is no name (RFC 6066, 3), however it is spelled.
        let server_name = server_name.filter(|host| host.name().is_some());
        let protocols = hello.alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        Self { server_name, is_named, protocols }
    }
}

/// How a version begins.
const VERSION: &[u8] = b"HTTP/";

/// Where the bytes from here on are others than these.
fn skip(bytes: &[u8], from: usize, what: impl Fn(u8) -> bool) -> usize {
    from + bytes[from..].iter().take_while(|&&byte| what(byte)).count()
}

/// What any server takes for a blank: Python's also what is one in Latin-1.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c | 0x1c..=0x1f | 0x85 | 0xa0)
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

    /// What was read and is not read again yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.first[self.given..]
    }

    /// That, and the stream that it came from.
    pub(crate) fn into_parts(self) -> (Vec<u8>, S) {
        let Self { mut first, given, stream } = self;
        first.drain(..given);
        (first, stream)
    }
}

impl<S: AsyncRead + Unpin> Replay<S> {
    /// Reads at most so many bytes more, which are read again first.
    ///
    /// # Errors
    /// Of reading.
    pub(crate) async fn read_ahead(&mut self, most: usize) -> io::Result<usize> {
        (&mut self.stream).take(most as u64).read_buf(&mut self.first).await
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
