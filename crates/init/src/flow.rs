//! Hides how a connection becomes a stream of the link, where it cannot be handed over as the socket that it is.

use crate::{
    activity::{Activity, Step},
    link::LinkError,
    poll::{self, Event, Token},
    pump::{AtEof, Cx, Sink, Source},
};
use rustix::fd::OwnedFd;
use std::{io, rc::Rc};
use wire::{Channel, Exit};

const SOCKET: u8 = 0;

/// One connection. Whoever closes the stream before both directions have ended breaks it off.
pub struct Flow {
    socket: Rc<OwnedFd>,
    source: Source,
    sink: Sink,
    told_eof: bool,
    peer_eof: bool,
    broken: bool,
}

impl Flow {
    /// Takes a non-blocking socket, for a stream that this side has opened.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn start(cx: &Cx<'_>, socket: OwnedFd) -> io::Result<Self> {
        cx.poll.add(&socket, Token { stream: cx.stream, slot: SOCKET }, poll::READ | poll::WRITE)?;
        let socket = Rc::new(socket);
        // The opener of a stream sends on its input.
        let source = Source::new(socket.clone(), Channel::Stdin);
        let sink = Sink::new(socket.clone(), AtEof::Shutdown);
        Ok(Self { socket, source, sink, told_eof: false, peer_eof: false, broken: false })
    }
}

impl Activity for Flow {
    fn data(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        self.sink.push(cx, bytes);
    }

    fn eof(&mut self, channel: Channel) {
        if channel == Channel::Stdout {
            self.peer_eof = true;
            self.sink.eof();
        }
    }

    fn control(&mut self, _cx: &mut Cx<'_>, _payload: &[u8]) -> Result<(), LinkError> {
        Err(LinkError::Order("message about a flow"))
    }

    fn closed(&mut self, _cx: &mut Cx<'_>) {
        self.broken |= !(self.told_eof && self.peer_eof);
    }

    fn ready(&mut self, event: Event) {
        if event.writable() {
            self.sink.wake();
        }
        if event.readable() {
            self.source.wake();
        }
    }

    fn exited(&mut self, _exit: Exit) {}

    fn has_process(&self) -> bool {
        false
    }

    fn step(&mut self, cx: &mut Cx<'_>) -> Step {
        self.sink.flush(cx);
        let again = !self.broken && self.source.pump(cx, false);
        self.broken |= self.source.failed() || (self.sink.is_closed() && !self.peer_eof);
        if self.broken {
            // The socket is reset when it is closed.
            cx.mux.close(cx.stream);
            return Step::Done;
        }
        if self.source.ended() && !self.told_eof {
            self.told_eof = true;
            cx.mux.eof(cx.stream, Channel::Stdin);
        }
        if self.told_eof && self.peer_eof && self.sink.is_closed() {
            // It has ended in good order. If that cannot be set, it is gone already.
            let _ = rustix::net::sockopt::set_socket_linger(&*self.socket, None);
            cx.mux.close(cx.stream);
            return Step::Done;
        }
        if again { Step::Again } else { Step::Wait }
    }
}
