//! Hides how bytes move between a descriptor and a stream of the link without ever blocking, and with credit.

use crate::{poll::Poll, watch::Watch};
use rustix::{fd::OwnedFd, io::Errno};
use std::{collections::VecDeque, rc::Rc};
use wire::{Channel, mux::Mux};

/// Bytes waiting for the link above which nothing more is read from programs.
pub const HIGH_WATER: usize = 1024 * 1024;
/// Bytes read in one go; one frame's worth.
pub const SCRATCH: usize = wire::frame::MAX_PAYLOAD;
/// Bytes thrown away per step when nobody wants them, so that others get their turn.
const DISCARD: usize = 4 * SCRATCH;

/// What a stream's handler works with during one step.
pub struct Cx<'a> {
    /// The link's multiplexer.
    pub mux: &'a mut Mux,
    /// The stream in hand.
    pub stream: u32,
    /// For reads.
    pub scratch: &'a mut [u8],
    /// For new descriptors.
    pub poll: &'a Poll,
    /// For who hears what programs change.
    pub watch: &'a mut Watch,
}

/// A descriptor whose bytes go to a channel of the link.
pub struct Source {
    fd: Rc<OwnedFd>,
    channel: Channel,
    /// Whether a read may return something.
    ready: bool,
    ended: bool,
    failed: bool,
    /// Bytes still to be taken, once its program has ended.
    left: Option<u64>,
}

impl Source {
    /// A non-blocking descriptor, to be watched with [`READ`](crate::poll::READ).
    pub fn new(fd: Rc<OwnedFd>, channel: Channel) -> Self {
        Self { fd, channel, ready: true, ended: false, failed: false, left: None }
    }

    /// A read may return something.
    pub fn wake(&mut self) {
        self.ready = true;
    }

    /// The channel that it feeds.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Whether everything was taken that it will ever give.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether it has ended by an error.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// From now on takes at most `limit` bytes, and no longer waits for any.
    pub fn finish(&mut self, limit: u64) {
        self.left = Some(limit);
        self.ready = true;
    }

    /// Bytes that a read would return now, without end-of-file's nothing.
    pub fn pending(&self) -> u64 {
        rustix::io::ioctl_fionread(&*self.fd).unwrap_or(0)
    }

    /// Moves what there is, as far as credit and the link's queue allow; throws it away if `discard`. Says whether
    /// there is more to do at once.
    pub fn pump(&mut self, cx: &mut Cx<'_>, discard: bool) -> bool {
        let mut quantum = DISCARD;
        while self.ready && !self.ended {
            let mut room = if discard {
                quantum
            } else if cx.mux.output().len() < HIGH_WATER {
                cx.mux.credit(cx.stream)
            } else {
                0
            };
            if let Some(left) = self.left {
                if left == 0 {
                    self.ended = true;
                    break;
                }
                room = room.min(usize::try_from(left).unwrap_or(usize::MAX));
            }
            room = room.min(cx.scratch.len());
            if room == 0 {
                return discard;
            }
            match rustix::io::read(&*self.fd, &mut cx.scratch[..room]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    if discard {
                        quantum = quantum.saturating_sub(count);
                    } else {
                        let sent = cx.mux.data(cx.stream, self.channel, &cx.scratch[..count]);
                        debug_assert_eq!(sent, count, "credit was checked before the read");
                    }
                    self.left = self.left.map(|left| left.saturating_sub(count as u64));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.ready = false;
                    self.ended = self.left.is_some();
                }
                // EIO is how a terminal ends; whatever else it is, nothing more will come.
                Err(_) => (self.ended, self.failed) = (true, true),
            }
        }
        false
    }
}

/// What the end of file on the link means for the descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEof {
    /// Close it: the program on the other end of a pipe reads the end.
    Close,
    /// Say so to the other end of a socket, which may go on sending.
    Shutdown,
    /// Nothing: a terminal has no end of file, only the character for it.
    Ignore,
}

/// A descriptor that takes the bytes of a channel of the link. What it cannot take yet is queued; the credit goes
/// back when it is written, so the queue holds at most one window.
pub struct Sink {
    fd: Option<Rc<OwnedFd>>,
    queue: VecDeque<u8>,
    ready: bool,
    at_eof: AtEof,
    eof: bool,
}

impl Sink {
    /// A non-blocking descriptor, to be watched with [`WRITE`](crate::poll::WRITE).
    pub fn new(fd: Rc<OwnedFd>, at_eof: AtEof) -> Self {
        Self { fd: Some(fd), queue: VecDeque::new(), ready: true, at_eof, eof: false }
    }

    /// One that throws everything away.
    pub fn closed() -> Self {
        Self { fd: None, queue: VecDeque::new(), ready: false, at_eof: AtEof::Close, eof: false }
    }

    /// A write may succeed.
    pub fn wake(&mut self) {
        self.ready = true;
    }

    /// Takes bytes from the link.
    pub fn push(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        let written = if self.queue.is_empty() { self.write(bytes) } else { 0 };
        cx.mux.consumed(cx.stream, written);
        let rest = &bytes[written..];
        if self.fd.is_some() {
            self.queue.extend(rest);
        } else {
            cx.mux.consumed(cx.stream, rest.len());
        }
    }

    /// No more bytes will come.
    pub fn eof(&mut self) {
        self.eof = true;
    }

    /// Whether nothing more will be written: the end was, or nobody reads.
    pub fn is_closed(&self) -> bool {
        self.fd.is_none()
    }

    /// Throws away what is queued and takes nothing more.
    pub fn abandon(&mut self, cx: &mut Cx<'_>) {
        self.fd = None;
        cx.mux.consumed(cx.stream, self.queue.len());
        self.queue = VecDeque::new();
    }

    /// Writes what is queued, as far as the descriptor takes it.
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        while self.ready && !self.queue.is_empty() && self.fd.is_some() {
            let queue = std::mem::take(&mut self.queue);
            let written = self.write(queue.as_slices().0);
            self.queue = queue;
            self.queue.drain(..written);
            cx.mux.consumed(cx.stream, written);
        }
        if self.fd.is_none() && !self.queue.is_empty() {
            self.abandon(cx);
        }
        if self.queue.is_empty() {
            // A burst is over: an idle stream keeps no buffer.
            self.queue = VecDeque::new();
            match self.at_eof {
                AtEof::Close if self.eof => self.fd = None,
                AtEof::Shutdown if self.eof => {
                    if let Some(fd) = self.fd.take() {
                        // Whoever is gone need not be told.
                        let _ = rustix::net::shutdown(&*fd, rustix::net::Shutdown::Write);
                    }
                }
                _ => {}
            }
        }
    }

    /// Writes until the descriptor takes no more. Drops the descriptor if nobody reads on its other end.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(fd) = &self.fd
            && self.ready
            && written < bytes.len()
        {
            match rustix::io::write(&**fd, &bytes[written..]) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.ready = false,
                Err(_) => self.fd = None,
            }
        }
        written
    }
}
