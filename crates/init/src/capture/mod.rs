//! Hides how programs reach the outside without a network device: names are answered here, connections are accepted
//! here whatever their destination, and each becomes a flow on the link.
//!
//! The backend gives the network namespace a default route of type `local`, so that every address is this host's,
//! and lets every user bind every port. An ordinary listener on the wildcard address then accepts connections to any
//! destination, which getsockname(2) tells.
//!
//! # Which ports
//!
//! A listener on the wildcard address keeps programs from binding its port, on any address: `SO_REUSEADDR` does not
//! help against a listening socket, a listener per answered name would not either (a program's bind of `0.0.0.0`
//! conflicts with every address), and `SO_REUSEPORT` would need the program's help. So the ports are those that
//! the outside world is reached by and that development servers leave alone: [`PORTS`]. 8080, 8443, 3000, databases
//! and the like stay free for programs. A connection to any other port is refused at once by the kernel: nobody
//! listens. Catching every port needs a redirect in nftables, made by whoever has `CAP_NET_ADMIN` in the namespace
//! before init starts; then only one port, which no program wants, is taken.
//!
//! A connection to one of the ports on a loopback address is not for the outside. It is reset, the nearest thing to
//! "nobody listens" that can be done once the kernel has accepted it.
//!
//! UDP other than DNS is not captured: nobody listens, so the kernel answers with an ICMP error at once, and QUIC
//! falls back to TCP.

mod dns;
mod flow;
mod names;

pub use flow::{Connection, Flow};

use crate::{
    poll::{Flags, Poll, Token},
    walls::{WallError, fallen},
};
use names::Names;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType},
};
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use wire::link::Wall;

/// Ports on which connections to any address are accepted: SSH, HTTP and HTTPS.
pub const PORTS: [u16; 3] = [22, 80, 443];
/// Flows at once. One more is reset.
pub const MAX_FLOWS: usize = 1024;

const CAPTURE: &str = "capture";
/// Where the resolver is told to ask.
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// Connections waiting to be accepted, per port.
const BACKLOG: i32 = 256;
/// Accepted, or answered, per turn and socket, so that others get theirs.
const BURST: usize = 64;
/// DNS over TCP at once; one more ends the oldest.
const MAX_DNS: usize = 32;
/// How long nothing is accepted after the process ran out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

const DNS_UDP: u8 = 8;
const DNS_TCP: u8 = 9;
const LISTENERS: u8 = 16;
const DNS_CONNECTIONS: u8 = 64;

/// The sockets of the capture.
pub struct Capture {
    names: Names,
    udp: OwnedFd,
    tcp: OwnedFd,
    listeners: Vec<(u16, OwnedFd)>,
    /// DNS over TCP: by slot, the oldest first.
    asking: VecDeque<(u8, dns::Asker)>,
    /// Descriptors have run out: the listeners are not watched.
    paused: bool,
}

impl Capture {
    /// Binds every socket, and makes a connection to see that the route is there.
    ///
    /// # Errors
    /// [`WallError`] of the wall `capture`.
    pub fn open() -> Result<Self, WallError> {
        let what = |what: String| {
            move |error: io::Error| WallError { wall: CAPTURE, cause: format!("Cannot {what}: {error}") }
        };
        let udp = bind(DNS, SocketType::DGRAM).map_err(what(format!("bind UDP {DNS}")))?;
        let tcp = bind(DNS, SocketType::STREAM)
            .and_then(|tcp| listen(tcp, MAX_DNS as i32))
            .map_err(what(format!("bind TCP {DNS}")))?;
        let listeners = PORTS
            .into_iter()
            .map(|port| Ok((port, listener(port).map_err(what(format!("listen on TCP port {port}")))?)))
            .collect::<Result<Vec<_>, WallError>>()?;
        let capture = Self { names: Names::default(), udp, tcp, listeners, asking: VecDeque::new(), paused: false };
        capture.test()?;
        Ok(capture)
    }

    /// Connects to an address that is nobody's, and must find itself.
    fn test(&self) -> Result<(), WallError> {
        let failed = |error: Errno| fallen(CAPTURE)(io::Error::from(error));
        let Some((port, listener)) = self.listeners.last() else { return Ok(()) };
        let probe = SocketAddr::new(IpAddr::V4(names::LAST), *port);
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        rustix::net::connect(&socket, &probe).map_err(|error| WallError {
            wall: CAPTURE,
            cause: format!("No local route: cannot connect to {probe}: {}", io::Error::from(error)),
        })?;
        let accepted = rustix::net::accept_with(listener, SocketFlags::CLOEXEC).map_err(failed)?;
        match destination(&accepted) {
            Some(found) if found == probe => Ok(()),
            found => Err(WallError { wall: CAPTURE, cause: format!("A connection to {probe} arrived as {found:?}") }),
        }
    }

    /// The wall, as tested.
    pub fn wall(&self) -> Wall {
        let ports: Vec<String> = PORTS.iter().map(u16::to_string).collect();
        Wall {
            name: CAPTURE.to_owned(),
            holds: true,
            detail: format!("DNS answered on {DNS}; connections to any address on ports {} accepted", ports.join(", ")),
        }
    }

    /// Watches every socket.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn watch(&self, poll: &Poll) -> io::Result<()> {
        poll.add(&self.udp, own(DNS_UDP), Flags::IN)?;
        poll.add(&self.tcp, own(DNS_TCP), Flags::IN)?;
        for (index, (_, listener)) in self.listeners.iter().enumerate() {
            poll.add(listener, own(LISTENERS + index as u8), Flags::IN)?;
        }
        Ok(())
    }

    /// One of the sockets has something to say. Gives connections that are to become flows.
    pub fn ready(&mut self, slot: u8, poll: &Poll, scratch: &mut [u8]) -> Vec<Connection> {
        match slot {
            DNS_UDP => self.datagrams(scratch),
            DNS_TCP => self.accept_asker(poll),
            slot if slot >= DNS_CONNECTIONS => self.answer(slot),
            slot => return self.accept(usize::from(slot - LISTENERS), poll),
        }
        Vec::new()
    }

    /// When [`resume`](Self::resume) is to be called, if descriptors have just run out.
    pub fn resume_at(&self, now: Instant) -> Option<Instant> {
        self.paused.then_some(now + PAUSE)
    }

    /// Accepts again.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn resume(&mut self, poll: &Poll) -> io::Result<()> {
        if std::mem::take(&mut self.paused) { self.listen_for(poll, Flags::IN) } else { Ok(()) }
    }

    /// Descriptors have run out: until some are free again, accepting would fail, and being told would not end.
    fn pause(&mut self, poll: &Poll) {
        // If that fails as well, the loop spins until a descriptor is free, and does no harm but that.
        self.paused = self.listen_for(poll, Flags::empty()).is_ok();
    }

    fn listen_for(&self, poll: &Poll, flags: Flags) -> io::Result<()> {
        poll.modify(&self.tcp, own(DNS_TCP), flags)?;
        for (index, (_, listener)) in self.listeners.iter().enumerate() {
            poll.modify(listener, own(LISTENERS + index as u8), flags)?;
        }
        Ok(())
    }

    fn datagrams(&mut self, scratch: &mut [u8]) {
        for _ in 0..BURST {
            let (length, from) = match rustix::net::recvfrom(&self.udp, &mut *scratch, RecvFlags::DONTWAIT) {
                Ok((length, _, Some(from))) => (length, from),
                Ok(_) | Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            if let Some(answer) = dns::answer(&scratch[..length], &mut self.names) {
                // An answer that does not go out is asked for again.
                let _ = rustix::net::sendto(&self.udp, &answer, SendFlags::DONTWAIT, &from);
            }
        }
    }

    fn accept_asker(&mut self, poll: &Poll) {
        let socket = match rustix::net::accept_with(&self.tcp, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(error) if exhausted(error) => return self.pause(poll),
            Err(_) => return,
        };
        let slot = if self.asking.len() < MAX_DNS {
            (DNS_CONNECTIONS..).find(|slot| self.asking.iter().all(|(used, _)| used != slot))
        } else {
            self.asking.pop_front().map(|(slot, _)| slot)
        };
        if let Some(slot) = slot
            && poll.add(&socket, own(slot), Flags::IN).is_ok()
        {
            self.asking.push_back((slot, dns::Asker::new(socket)));
        }
    }

    fn answer(&mut self, slot: u8) {
        let Self { asking, names, .. } = self;
        asking.retain_mut(|(own, asker)| *own != slot || asker.serve(names));
    }

    fn accept(&mut self, index: usize, poll: &Poll) -> Vec<Connection> {
        let mut connections = Vec::new();
        let Some((_, listener)) = self.listeners.get(index) else { return connections };
        while connections.len() < BURST {
            match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) => {
                    let Some(destination) = destination(&socket) else { continue };
                    let name = match destination.ip() {
                        IpAddr::V4(address) => self.names.name(address),
                        IpAddr::V6(_) => None,
                    };
                    let connection = Connection::new(socket, destination, name);
                    if destination.ip().is_loopback() {
                        connection.reset();
                    } else {
                        connections.push(connection);
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    if exhausted(error) {
                        self.pause(poll);
                    }
                    return connections;
                }
            }
        }
        connections
    }
}

fn exhausted(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

fn own(slot: u8) -> Token {
    Token { stream: 0, slot }
}

fn bind(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn listen(socket: OwnedFd, backlog: i32) -> io::Result<OwnedFd> {
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Listens on every address of both families, or of IPv4 where the kernel has no other.
fn listener(port: u16) -> io::Result<OwnedFd> {
    bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), SocketType::STREAM)
        .or_else(|_| bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), SocketType::STREAM))
        .and_then(|socket| listen(socket, BACKLOG))
}

/// The address that a connection was made to; an IPv4 one as such, whatever the socket's family.
fn destination(socket: &OwnedFd) -> Option<SocketAddr> {
    let address: SocketAddrAny = rustix::net::getsockname(socket).ok()?;
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
