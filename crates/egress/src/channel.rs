//! Hides the stream to the supervisor: orders in, answers and events out.

use crate::control::{Answer, Event, Order};
use rustix::fd::OwnedFd;
use std::{cell::RefCell, io};
use tokio::{io::Interest, net::UnixStream, sync::Notify};
use wire::{
    frame::Decoder,
    mux::{self, Mux, Side},
};

/// Bytes that wait for the supervisor above which no new flow is taken.
const BACKLOG: usize = 256 * 1024;

/// The stream to the supervisor.
pub(crate) struct Channel {
    socket: UnixStream,
    mux: RefCell<Mux>,
    decoder: RefCell<Decoder>,
    /// The socket did not take all that it was given: whoever waits for orders is to wait for room as well.
    full: Notify,
}

/// An order, and the stream that its answer goes to.
pub(crate) struct Ordered {
    pub(crate) stream: u32,
    pub(crate) order: Order,
}

impl Channel {
    /// Takes a connected socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = UnixStream::from_std(socket.into())?;
        let mux = RefCell::new(Mux::new(Side::Even));
        Ok(Self { socket, mux, decoder: RefCell::default(), full: Notify::new() })
    }

    /// Tells of something. What the socket takes at once is with the supervisor when this returns: before the program
    /// that it is about learns of it.
    pub(crate) fn tell(&self, event: &Event) {
        // Every event is far smaller than a frame.
        if let Ok(payload) = wire::encode(event) {
            self.mux.borrow_mut().message(&payload);
        }
        // That the supervisor is gone is seen where orders are read.
        let _ = self.flush();
    }

    /// Answers an order.
    pub(crate) fn answer(&self, stream: u32, answer: &Answer) {
        if let Ok(payload) = wire::encode(answer) {
            self.mux.borrow_mut().control(stream, &payload);
        }
        self.mux.borrow_mut().close(stream);
        let _ = self.flush();
    }

    /// Whether the supervisor has much to read already.
    pub(crate) fn is_congested(&self) -> bool {
        self.mux.borrow().output().len() > BACKLOG
    }

    /// Waits until the supervisor has taken all that it was told, or is gone, and says that this was all: who waits for that
    /// need not wait for the end of the process. Nothing else writes any more when no order is waited for.
    pub(crate) async fn settle(&self) {
        while !self.mux.borrow().output().is_empty() {
            if self.socket.writable().await.is_err() || self.flush().is_err() {
                return;
            }
        }
        // If it is gone, nobody waits.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
    }

    /// Writes what the socket takes.
    fn flush(&self) -> io::Result<()> {
        let mut mux = self.mux.borrow_mut();
        while !mux.output().is_empty() {
            match self.socket.try_write(mux.output()) {
                Ok(count) => mux.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.full.notify_one();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for the next order; passes on meanwhile what waits for the supervisor. `None` when the supervisor is gone,
    /// or has said what it never says.
    pub(crate) async fn next(&self) -> Option<Ordered> {
        loop {
            match self.decode() {
                Ok(Some(ordered)) => return Some(ordered),
                Ok(None) => {}
                Err(()) => return None,
            }
            let waiting = !self.mux.borrow().output().is_empty();
            let interest = if waiting { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            let ready = tokio::select! {
                ready = self.socket.ready(interest) => ready.ok()?,
                () = self.full.notified(), if !waiting => continue,
            };
            if ready.is_writable() {
                let _ = self.flush();
            }
            if !ready.is_readable() {
                continue;
            }
            let mut decoder = self.decoder.borrow_mut();
            match self.socket.try_read(decoder.space()) {
                Ok(0) => return None,
                Ok(count) => decoder.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// The next order among the bytes that were read.
    fn decode(&self) -> Result<Option<Ordered>, ()> {
        let (mut decoder, mut mux) = (self.decoder.borrow_mut(), self.mux.borrow_mut());
        while let Some(frame) = decoder.next().map_err(drop)? {
            match mux.receive(frame).map_err(drop)? {
                mux::Event::Opened { stream, payload } => {
                    let order = wire::decode(&payload).map_err(drop)?;
                    return Ok(Some(Ordered { stream, order }));
                }
                mux::Event::Closed { stream } => mux.close(stream),
                _ => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
