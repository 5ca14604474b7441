//! Hides the flow socket: how captured connections are handed to egress, and how ports in here are dialled for it.

use super::Connection;
use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};
use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};
use wire::flow::{Dial, Handed, MAX_DATAGRAM};

/// Connections that wait for room in the socket. One more is reset.
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
    /// The user has too many descriptors on their way between processes: nobody tells when that is over.
    Exhausted,
}

/// Init's end of the flow socket.
pub struct Handover {
    socket: OwnedFd,
    waiting: VecDeque<(Handed, Option<OwnedFd>)>,
}

impl AsFd for Handover {
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Handover {
    /// Takes the socket, which becomes non-blocking and close-on-exec.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self { socket, waiting: VecDeque::new() })
    }

    /// Takes a connection of a program.
    pub fn push(&mut self, connection: Connection) {
        if self.waiting.len() >= MAX_WAITING {
            return;
        }
        let (flow, socket) = connection.into_parts();
        self.waiting.push_back((Handed::Flow(flow), Some(socket)));
    }

    /// Sends what waits.
    pub fn flush(&mut self) -> Sent {
        while let Some((message, socket)) = self.waiting.front() {
            // Names that came out of DNS fit; if one did not, its connection would be closed.
            let bytes = wire::encode(message).unwrap_or_default();
            let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
            match jail::fd::send(&self.socket, &bytes, &fds) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Sent::Full,
                Err(error) if Errno::from_io_error(&error) == Some(Errno::TOOMANYREFS) => return Sent::Exhausted,
                // It is egress's now; or nobody's, if the supervisor is gone, and then so is init.
                Ok(_) | Err(_) => self.waiting.pop_front(),
            };
        }
        Sent::All
    }

    /// Takes what egress asks for. `false` if the socket is of no use any more.
    pub fn receive(&mut self) -> bool {
        for _ in 0..BURST {
            let mut bytes = [0; MAX_DATAGRAM];
            match jail::fd::receive(&self.socket, 1, &mut bytes) {
                Ok((length, _)) => {
                    if let Ok(dial) = wire::decode(&bytes[..length])
                        && self.waiting.len() < MAX_WAITING
                    {
                        self.waiting.push_back(answer(dial));
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
    match rustix::net::connect(&socket, &SocketAddr::new(address, port)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
