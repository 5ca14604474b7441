//! Hides how it is seen that the library has refused a request of HTTP/2 that it could not read: it tells its client, by
//! resetting the request's stream, and nobody else.

use std::{
    cell::Cell,
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long the head of a frame is, and the code of a reset (RFC 9113, 4.1 and 6.4).
const HEAD: usize = 9;
const CODE: usize = 4;
/// The kind of such a frame, and the code for what breaks the protocol (RFC 9113, 6 and 7).
const RESET: u8 = 3;
/// Those of what an answer has, and the flag of its end.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
/// How many streams are remembered whose answers have begun.
const ANSWERED: usize = 256;
const PROTOCOL_ERROR: [u8; CODE] = [0, 0, 0, 1];

/// A client whose streams are seen being reset.
pub(super) struct Resets<S, F> {
    stream: S,
    frame: Vec<u8>,
    /// What is still to come of a frame that is not looked at.
    left: usize,
    /// How many more resets are the server's.
    passed_on: Rc<Cell<u32>>,
    /// Streams whose answers have begun, the last one last.
    answered: VecDeque<[u8; 4]>,
    refused: F,
}

impl<S, F: FnMut()> Resets<S, F> {
    /// Tells `refused` of each request that the library has refused. `passed_on` says how many resets will come from the
    /// server.
    pub(super) fn new(stream: S, passed_on: Rc<Cell<u32>>, refused: F) -> Self {
        Self { stream, frame: Vec::new(), left: 0, passed_on, answered: VecDeque::new(), refused }
    }

    /// Hears what the client is told.
    fn hear(&mut self, mut said: &[u8]) {
        while !said.is_empty() {
            let part;
            if self.left > 0 {
                (part, said) = said.split_at(self.left.min(said.len()));
                self.left -= part.len();
                continue;
            }
            let whole = if self.frame.get(3) == Some(&RESET) { HEAD + CODE } else { HEAD };
            (part, said) = said.split_at((whole - self.frame.len()).min(said.len()));
            self.frame.extend_from_slice(part);
            self.look();
        }
    }

    fn look(&mut self) {
        let [a, b, c, kind, flags, i, j, k, l, ref code @ ..] = *self.frame else { return };
        if kind == RESET && code.len() < CODE {
            return;
        }
        let id = [i, j, k, l];
        let is_answered = matches!(kind, DATA | HEADERS | RESET) && self.answered.iter().rev().any(|one| *one == id);
        // A head alone may be no answer yet: 100.
        if (kind == DATA || (kind == HEADERS && flags & END_STREAM != 0)) && !is_answered {
            if self.answered.len() == ANSWERED {
                self.answered.pop_front();
            }
            self.answered.push_back(id);
        }
        if kind == RESET && *code == PROTOCOL_ERROR {
            match self.passed_on.get().checked_sub(1) {
                Some(fewer) => self.passed_on.set(fewer),
                // Whoever has its answer may leave out the rest of its request, as curl does: nothing was refused.
                None if is_answered => {}
                None => (self.refused)(),
            }
        }
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.left = length.saturating_sub(code.len());
        self.frame.clear();
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Resets<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut() + Unpin> AsyncWrite for Resets<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.hear(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        let mut left = count;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            self.hear(part);
            left -= part.len();
        }
        Poll::Ready(Ok(count))
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

#[cfg(test)]
#[path = "resets_tests.rs"]
mod tests;
