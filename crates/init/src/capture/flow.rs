//! Hides the life of one outgoing connection: asked for, then spliced to the link, or refused in words.

use crate::{
    activity::{Activity, Step},
    link::LinkError,
    poll::{self, Event, Poll, Token},
    pump::{AtEof, Cx, Sink, Source},
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use wire::{Channel, Exit, link::FlowReply};

/// How long a refused program has to show that it speaks HTTP.
const FIRST_BYTES: Duration = Duration::from_millis(200);
/// How long a refused program has to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// An accepted connection that has no stream yet.
pub struct Connection {
    socket: OwnedFd,
    destination: SocketAddr,
    name: Option<Rc<str>>,
}

impl Connection {
    /// Takes a non-blocking socket, the address that was dialled, and the name that it stands for.
    pub fn new(socket: OwnedFd, destination: SocketAddr, name: Option<Rc<str>>) -> Self {
        Self { socket, destination, name }
    }

    /// What the supervisor is asked.
    pub fn flow(&self) -> wire::link::Flow {
        let host = self.name.as_deref().map_or_else(|| self.destination.ip().to_string(), str::to_owned);
        wire::link::Flow { host, port: self.destination.port() }
    }

    /// Ends it as if nobody listened.
    pub fn reset(self) {
        reset(&self.socket);
    }
}

enum State {
    /// The supervisor has not answered yet. Nothing is read: what the program sends first goes nowhere, and the
    /// kernel's buffers hold it back.
    Asked,
    /// Bytes flow.
    Open,
    /// Refused; is it HTTP?
    Refused { message: String, until: Instant },
    /// Told why; until it has read that.
    Told { until: Instant },
}

/// One outgoing connection.
pub struct Flow {
    socket: Rc<OwnedFd>,
    state: State,
    /// From the program.
    source: Source,
    /// To the program.
    sink: Sink,
    /// The program's end of file was passed on.
    said_eof: bool,
    hung_up: bool,
    /// The supervisor is done with it.
    closed: bool,
}

impl Flow {
    /// Takes a connection whose stream has just been opened.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn new(connection: Connection, stream: u32, poll: &Poll) -> io::Result<Self> {
        let socket = Rc::new(connection.socket);
        // Small messages back and forth are what most protocols are made of; it fails only if the peer is gone.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&*socket, true);
        poll.add(&*socket, Token { stream, slot: 0 }, poll::READ | poll::WRITE)?;
        Ok(Self {
            source: Source::new(socket.clone(), Channel::Stdin),
            sink: Sink::new(socket.clone(), AtEof::Shutdown),
            socket,
            state: State::Asked,
            said_eof: false,
            hung_up: false,
            closed: false,
        })
    }

    fn splice(&mut self, cx: &mut Cx<'_>) -> Step {
        self.sink.flush(cx);
        if self.closed {
            // The rest goes out if the other side has said that it is the rest; otherwise it broke off.
            return if !self.sink.at_eof() {
                reset(&self.socket);
                Step::Done
            } else if self.sink.ended() {
                Step::Done
            } else {
                Step::Wait
            };
        }
        self.source.pump(cx, false);
        if self.source.ended() && !self.said_eof {
            self.said_eof = true;
            cx.mux.eof(cx.stream, Channel::Stdin);
        }
        if self.source.ended() && (self.sink.ended() || self.hung_up) {
            cx.mux.close(cx.stream);
            return Step::Done;
        }
        Step::Wait
    }

    /// Answers in HTTP if that is what the program speaks. `Some` when that is decided.
    fn explain(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Refused { message, until } = &self.state else { return Step::Wait };
        let mut first = [0; 16];
        let seen = match rustix::net::recv(&*self.socket, &mut first, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => Speech::Other,
            Ok((count, _)) => speech(&first[..count]),
            Err(Errno::AGAIN | Errno::INTR) => Speech::Unknown,
            Err(_) => Speech::Other,
        };
        match seen {
            Speech::Unknown if cx.now < *until => {
                let until = *until;
                cx.wake_at(until);
                Step::Wait
            }
            Speech::Http => {
                let response = forbidden(message);
                // A new connection's buffer takes it at once; a program that is gone needs no answer.
                let _ =
                    rustix::net::send(&*self.socket, response.as_bytes(), SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                let _ = rustix::net::shutdown(&*self.socket, rustix::net::Shutdown::Write);
                self.state = State::Told { until: cx.now + FAREWELL };
                self.linger(cx)
            }
            Speech::Unknown | Speech::Other => {
                reset(&self.socket);
                Step::Done
            }
        }
    }

    /// Reads on until the program has gone: closing with unread bytes would reset the connection, and take the
    /// answer back before it was read.
    fn linger(&mut self, cx: &mut Cx<'_>) -> Step {
        let State::Told { until } = self.state else { return Step::Wait };
        // Without end, but not for long.
        for _ in 0..16 {
            match rustix::io::read(&*self.socket, &mut *cx.scratch) {
                Ok(0) => return Step::Done,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if cx.now < until => {
                    cx.wake_at(until);
                    return Step::Wait;
                }
                Err(_) => return Step::Done,
            }
        }
        if cx.now < until { Step::Again } else { Step::Done }
    }
}

impl Activity for Flow {
    fn data(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        self.sink.push(cx, bytes);
    }

    fn eof(&mut self, _channel: Channel) {
        self.sink.eof();
    }

    fn control(&mut self, cx: &mut Cx<'_>, payload: &[u8]) -> Result<(), LinkError> {
        if !matches!(self.state, State::Asked) {
            return Err(LinkError::Order("answer to a flow"));
        }
        self.state = match wire::decode(payload)? {
            FlowReply::Accepted => State::Open,
            FlowReply::Refused { message, .. } => {
                // What is left is between init and the program.
                cx.mux.close(cx.stream);
                State::Refused { message, until: cx.now + FIRST_BYTES }
            }
        };
        Ok(())
    }

    fn closed(&mut self, cx: &mut Cx<'_>) {
        self.closed = true;
        cx.mux.close(cx.stream);
    }

    fn ready(&mut self, event: Event) {
        self.hung_up |= event.hung_up();
        if event.readable() {
            self.source.wake();
        }
        if event.writable() {
            self.sink.wake();
        }
    }

    fn exited(&mut self, _exit: Exit) {}

    fn has_process(&self) -> bool {
        false
    }

    fn step(&mut self, cx: &mut Cx<'_>) -> Step {
        match self.state {
            State::Asked if self.closed || self.hung_up => {
                reset(&self.socket);
                cx.mux.close(cx.stream);
                Step::Done
            }
            State::Asked => Step::Wait,
            State::Open => self.splice(cx),
            State::Refused { .. } => self.explain(cx),
            State::Told { .. } => self.linger(cx),
        }
    }
}

/// What a program's first bytes say about its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Http,
    /// Too few to tell.
    Unknown,
    Other,
}

/// Looks for the method of an HTTP request. TLS is not HTTP here: nothing that it would understand can be said.
fn speech(bytes: &[u8]) -> Speech {
    const METHODS: [&[u8]; 10] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PROPFIND ",
    ];
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        Speech::Http
    } else if METHODS.iter().any(|method| method.starts_with(bytes)) {
        Speech::Unknown
    } else {
        Speech::Other
    }
}

fn forbidden(message: &str) -> String {
    let body = format!("{}\n", message.trim_end());
    format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Makes the close of a socket a reset.
fn reset(socket: &OwnedFd) {
    // It fails only if the connection is gone already.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

#[cfg(test)]
#[path = "flow_tests.rs"]
mod tests;
