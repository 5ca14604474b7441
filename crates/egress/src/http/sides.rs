//! Hides what of HTTP/1 is done to the bytes themselves, on both sides of the parsers: what they would pass over is seen
//! here, and what they would say without words is said with them.

use super::{
    Stream,
    lengths::{Answers, Requests},
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the parser answers by itself to what it can't read: so it ends, after `HTTP/1.1`.
const WORDLESS: [&[u8]; 2] = [
    b" 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    b" 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
];

/// Where in these bytes such an answer begins.
fn find_wordless(bytes: &[u8]) -> Option<usize> {
    let rest = WORDLESS.iter().find_map(|end| bytes.strip_suffix(*end))?;
    let version = [b"HTTP/1.1", b"HTTP/1.0"].into_iter().find(|version| rest.ends_with(*version))?;
    Some(rest.len() - version.len())
}

/// What is known of a client's connection.
#[derive(Default)]
pub(super) struct Heard {
    /// For each head that was read and not yet judged: whether it tells its length twice.
    twice: Mutex<VecDeque<bool>>,
    /// A server's answer that is not all written yet, and whether more of it is to come.
    answer: Mutex<Option<Weak<()>>>,
    /// No request comes any more.
    over: AtomicBool,
}

impl Heard {
    /// Whether the next request tells its length twice.
    pub(super) fn next_is_twice(&self) -> bool {
        lock(&self.twice).pop_front().unwrap_or_default()
    }

    /// A server's answer is to be written, all of it before what this gives is gone.
    pub(super) fn answered(&self) -> Arc<()> {
        let way = Arc::default();
        *lock(&self.answer) = Some(Arc::downgrade(&way));
        way
    }

    /// All that was to be written is.
    fn flushed(&self) {
        lock(&self.answer).take_if(|way| way.strong_count() == 0);
    }

    /// The connection goes on as something else.
    pub(super) fn over(&self) {
        self.over.store(true, Relaxed);
    }
}

/// A client's side.
pub(super) struct Client<S> {
    stream: S,
    requests: Requests,
    heard: Arc<Heard>,
    /// The last answer, if it has no words. It ends the connection.
    held: Vec<u8>,
}

impl<S: Stream> Client<S> {
    pub(super) fn new(stream: S, heard: Arc<Heard>) -> Self {
        Self { stream, requests: Requests::default(), heard, held: Vec::new() }
    }

    /// Where in these bytes an answer without words begins. What a server's answer ends with is its own.
    fn wordless(&self, bytes: &[u8]) -> Option<usize> {
        find_wordless(bytes).filter(|_| !self.heard.over.load(Relaxed) && lock(&self.heard.answer).is_none())
    }

    /// Says what was held back, with these headers and words instead of none if there are any, and closes this side.
    pub(super) async fn finish(mut self, words: Option<&str>) -> S {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return self.stream;
        }
        let end = held.iter().position(|&byte| byte == b'\n').map_or(held.len(), |end| end + 1);
        let last = match words {
            Some(words) => [&held[..end], words.as_bytes()].concat(),
            None => held,
        };
        // Whoever is gone need not be told.
        let _ = self.stream.write_all(&last).await;
        let _ = self.stream.shutdown().await;
        self.stream
    }
}

impl<S: Stream> AsyncRead for Client<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let this = &mut *self;
        if !this.heard.over.load(Relaxed) {
            this.requests.read(&into.filled()[before..], |twice| lock(&this.heard.twice).push_back(twice));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Client<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.wordless(bytes) {
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Some(0) => {
                self.held = bytes.to_vec();
                Poll::Ready(Ok(bytes.len()))
            }
            Some(start) => Pin::new(&mut self.stream).poll_write(cx, &bytes[..start]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let slices = match slices.iter().rposition(|slice| !slice.is_empty()) {
            Some(last) => &slices[..=last],
            None => slices,
        };
        match slices.split_last() {
            Some((last, before)) if self.wordless(last).is_some() => match before.iter().any(|slice| !slice.is_empty())
            {
                true => Pin::new(&mut self.stream).poll_write_vectored(cx, before),
                false => self.poll_write(cx, last),
            },
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.heard.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // There is something to say yet.
        if self.held.is_empty() { Pin::new(&mut self.stream).poll_shutdown(cx) } else { Poll::Ready(Ok(())) }
    }
}

/// What is known of a server's connection.
pub(super) struct Told {
    answers: Mutex<Answers>,
    unclear: AtomicBool,
}

impl Told {
    pub(super) fn new() -> Self {
        Self { answers: Mutex::new(Answers::new()), unclear: AtomicBool::new(false) }
    }

    /// A request is on its way.
    pub(super) fn expect(&self) {
        lock(&self.answers).expect();
    }

    /// An answer was not read on, since different programs could take another length from it.
    pub(super) fn unclear(&self) -> bool {
        self.unclear.load(Relaxed)
    }
}

/// A server's side.
pub(super) struct Server<S> {
    stream: S,
    told: Arc<Told>,
}

impl<S: Stream> Server<S> {
    pub(super) fn new(stream: S, told: Arc<Told>) -> Self {
        Self { stream, told }
    }
}

impl<S: Stream> AsyncRead for Server<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match ready!(Pin::new(&mut self.stream).poll_read(cx, into)) {
            // A server that closes without taking leave in TLS: curl, Python and Node take that for an end, and so they
            // should here. Where a length was told, the parser knows that there is less; where none was, nobody could.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
            result => result?,
        }
        if !lock(&self.told.answers).read(&into.filled()[before..]) {
            self.told.unclear.store(true, Relaxed);
            into.set_filled(before);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> AsyncWrite for Server<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
