//! Hides the way to egress: how captured connections are handed over, and how ports in here are dialled for it. They go
//! over the flow socket, or wait to be made streams of the link where there is none.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use wire::flow::{Dial, Handed, MAX_DATAGRAM};

/// Connections that wait for room in the socket. More wait in the kernel, to be accepted.
const MAX_WAITING: usize = 1024;
/// Requests taken per turn, so that others get theirs.
const BURST: usize = 64;

/// What could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// The socket is full.
    Full,
    /// [Exhausted](jail::fd::is_exhausted): nobody tells when that is over.
    Exhausted,
}

/// Init's end of the flow socket.
pub struct Handover {
    socket: Option<OwnedFd>,
    waiting: VecDeque<(Handed, Option<OwnedFd>)>,
}

impl Handover {
    /// Takes the socket, which becomes non-blocking and close-on-exec.
    pub fn new(socket: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(socket) = &socket {
            rustix::io::ioctl_fionbio(socket, true)?;
            rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(Self { socket, waiting: VecDeque::new() })
    }

    /// The socket, if there is one.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// The next one that waits to be made a stream.
    pub fn next(&mut self) -> Option<(Handed, Option<OwnedFd>)> {
        if self.socket.is_some() { None } else { self.waiting.pop_front() }
    }

    /// Dials for egress.
    pub fn dial(&mut self, dial: Dial) {
        if !self.is_full() {
            self.waiting.push_back(answer(dial));
        }
    }

    /// Whether as many wait as may: no more connections are to be accepted.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    /// Takes a connection of a program.
    pub fn push(&mut self, handed: Handed, socket: OwnedFd) {
        self.waiting.push_back((handed, Some(socket)));
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Sent {
        let Some(to) = &self.socket else { return Sent::All };
        while let Some((message, socket)) = self.waiting.front() {
            // Names that came out of DNS fit; if one did not, its connection would be closed.
            let bytes = wire::encode(message).unwrap_or_default();
            let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
            match jail::fd::send(to, &bytes, &fds) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Sent::Full,
                Err(error) if jail::fd::is_exhausted(&error) => return Sent::Exhausted,
                // It is egress's now; or nobody's, if the supervisor is gone, and then so is init.
                Ok(_) | Err(_) => self.waiting.pop_front(),
            };
        }
        Sent::All
    }

    /// Takes what egress asks for. `false` if the socket is of no use any more.
    pub fn receive(&mut self) -> bool {
        for _ in 0..BURST {
            let Some(from) = &self.socket else { return true };
            let mut bytes = [0; MAX_DATAGRAM];
            match jail::fd::receive(from, 1, &mut bytes) {
                Ok((length, _)) => {
                    if let Ok(dial) = wire::decode(&bytes[..length]) {
                        self.dial(dial);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
        true
    }
}

fn answer(dial: Dial) -> (Handed, Option<OwnedFd>) {
    let Dial { request, port, v6 } = dial;
    match connect(port, v6) {
        Ok(socket) => (Handed::Dialled { request }, Some(socket)),
        Err(errno) => (Handed::NotDialled { request, errno: errno.raw_os_error() }, None),
    }
}

/// Begins a connection to a port in here. How it goes, whoever has the socket will see.
fn connect(port: u16, v6: bool) -> Result<OwnedFd, Errno> {
    let (family, address) = match v6 {
        true => (AddressFamily::INET6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        false => (AddressFamily::INET, IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // As those are that are accepted.
    rustix::net::sockopt::set_socket_oobinline(&socket, true)?;
    match rustix::net::connect(&socket, &SocketAddr::new(address, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
