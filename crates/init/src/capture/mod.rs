//! Hides how programs reach the outside without a network device: names are answered here, connections are accepted
//! here whatever their destination, and each is handed to egress as the open socket that it is.
//!
//! The backend gives the network namespace a default route of type `local`, so that every address is this host's,
//! lets every user bind every port, and has nf_tables hand every TCP connection that does not go to a loopback address
//! to the listeners here ([`jail::nft`]), whatever its port; getsockname(2) tells where it was going. Programs find
//! every port free but the resolver's.
//!
//! # Without nf_tables
//!
//! Then an ordinary listener on the wildcard address accepts connections to any destination, but to its own port only,
//! and keeps programs from binding that one. So the ports are those that the outside world is reached by and that
//! development servers leave alone: [`PORTS`]. A connection to any other port is refused at once by the kernel: nobody
//! listens. One to these ports on a loopback address is not for the outside: it is reset, the nearest thing to "nobody
//! listens" that can be done once the kernel has accepted it.
//!
//! UDP other than DNS is not captured: nobody listens, so the kernel answers with an ICMP error at once, and QUIC
//! falls back to TCP.

mod dns;
mod handover;
mod names;

use crate::{
    poll::{Event, Flags, Poll, Token},
    walls::{WallError, fallen},
};
use handover::{Handover, Sent};
use names::Names;
use rustix::{
    event::{self, PollFd, PollFlags, Timespec},
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType},
};
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    rc::Rc,
    time::{Duration, Instant},
};
use wire::{
    flow::{AGENT, Dial, Flow, Handed},
    link::{CAPTURE_PORT, Wall},
};

/// Ports on which connections are accepted where not every one can be caught: SSH, HTTP and HTTPS.
const PORTS: [u16; 3] = [22, 80, 443];
const CAPTURE: &str = "capture";
/// Where the resolver is told to ask.
const DNS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), CAPTURE_PORT);
const DNS_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), CAPTURE_PORT);
/// A port that no listener of ours has.
const SOME_PORT: u16 = 1;
/// Connections waiting to be accepted, per listener: the most that the kernel lets wait (net.core.somaxconn). Whoever comes
/// when all of them do is left to TCP's patience, and hears nothing if he has nothing to say.
const BACKLOG: i32 = 4096;
/// Accepted, or answered, per turn and socket, so that others get theirs.
const BURST: usize = 64;
/// DNS over TCP at once; one more ends the oldest.
const MAX_DNS: usize = 32;
/// How long the first connection may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);
/// How long nothing is accepted after descriptors, or room for connections, ran out.
const PAUSE: Duration = Duration::from_millis(100);

const HANDOVER: u8 = 7;
const DNS_UDP: u8 = 8;
const AGENT_SOCKET: u8 = 9;
const LISTENERS: u8 = 16;
const DNS_CONNECTIONS: u8 = 64;

/// The sockets of the capture.
pub struct Capture {
    names: Names,
    udp: OwnedFd,
    /// Connections to the resolver, and to the outside.
    listeners: Vec<OwnedFd>,
    /// Connections to the user's ssh-agent.
    agent: Option<OwnedFd>,
    /// Whether those to the outside come on every port.
    every_port: bool,
    /// DNS over TCP: by slot, the oldest first.
    asking: VecDeque<(u8, dns::Asker)>,
    /// Descriptors have run out, or too many connections wait for egress: the listeners are not watched.
    paused: bool,
    /// Where connections to the outside go.
    handover: Handover,
    /// Whether the poll tells when the handover takes more.
    watching_output: bool,
}

/// An accepted connection to the outside.
struct Connection {
    socket: OwnedFd,
    destination: SocketAddr,
    name: Option<Rc<str>>,
}

impl Connection {
    /// One that is broken off, and not ended, when the last who has it closes it: whoever is killed on the way, nobody
    /// takes half of something for the whole.
    fn new(socket: OwnedFd, destination: SocketAddr, name: Option<Rc<str>>) -> Self {
        // It fails only if the connection is gone already.
        let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        Self { socket, destination, name }
    }

    /// What egress is told, and the socket.
    fn into_parts(self) -> (Flow, OwnedFd) {
        let host = self.name.as_deref().map_or_else(|| self.destination.ip().to_string(), str::to_owned);
        (Flow { host, port: self.destination.port() }, self.socket)
    }
}

impl Capture {
    /// Binds every socket, and makes a connection to see that it arrives here. Connections go out over `flows`, or wait
    /// for [`next`](Self::next); so do those to the ssh-agent, if there is one.
    ///
    /// # Errors
    /// [`WallError`] of the wall `capture`.
    pub fn open(flows: Option<OwnedFd>, agent: bool) -> Result<Self, WallError> {
        let what = |what: String| {
            move |error: io::Error| WallError { wall: CAPTURE, cause: format!("Cannot {what}: {error}") }
        };
        let udp = bind(DNS, SocketType::DGRAM).map_err(what(format!("bind UDP {DNS}")))?;
        let mut listeners = vec![listener(DNS, BACKLOG).map_err(what(format!("bind TCP {DNS}")))?];
        // Without the right to it, or IPv6, or nf_tables, the test will tell.
        let transparent = jail::net::set_transparent(&listeners[0], false);
        let mut every_port = false;
        if transparent.is_ok() {
            if let Ok(v6) = listener(DNS_V6, BACKLOG)
                && jail::net::set_transparent(&v6, true).is_ok()
            {
                listeners.push(v6);
            }
            every_port = reaches(SOME_PORT, &listeners[0])?;
        }
        if !every_port {
            listeners.truncate(1);
            for port in PORTS {
                listeners.push(wildcard(port).map_err(what(format!("listen on TCP port {port}")))?);
            }
            let last = listeners.last().zip(PORTS.last());
            if !last.map_or(Ok(true), |(listener, &port)| reaches(port, listener))? {
                return Err(WallError {
                    wall: CAPTURE,
                    cause: "No local route: nobody answers at other addresses".into(),
                });
            }
        }
        Ok(Self {
            names: Names::default(),
            udp,
            listeners,
            agent: agent.then(agent_socket).transpose().map_err(what(format!("listen on {AGENT}")))?,
            every_port,
            asking: VecDeque::new(),
            paused: false,
            handover: Handover::new(flows).map_err(what("use the flow socket".into()))?,
            watching_output: false,
        })
    }

    /// The wall, as tested.
    pub fn wall(&self) -> Wall {
        let ports = if self.every_port {
            "every port".to_owned()
        } else {
            let ports: Vec<String> = PORTS.iter().map(u16::to_string).collect();
            format!("ports {} (without nf_tables and tproxy, not on every one)", ports.join(", "))
        };
        let detail = format!("DNS answered on {DNS}; connections to any address accepted on {ports}");
        Wall { name: CAPTURE.to_owned(), holds: true, detail }
    }

    /// Watches every socket.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn watch(&self, poll: &Poll) -> io::Result<()> {
        poll.add(&self.udp, own(DNS_UDP), Flags::IN)?;
        if let Some(socket) = self.handover.socket() {
            poll.add(socket, own(HANDOVER), Flags::IN)?;
        }
        for (listener, token) in self.all_listeners() {
            poll.add(listener, token, Flags::IN)?;
        }
        Ok(())
    }

    /// One of the sockets has something to say.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn ready(&mut self, event: Event, poll: &Poll, scratch: &mut [u8]) -> io::Result<()> {
        match event.token.slot {
            DNS_UDP => self.datagrams(scratch),
            HANDOVER => {
                if event.readable()
                    && !self.handover.receive()
                    && let Some(socket) = self.handover.socket()
                {
                    // The supervisor is gone, which the link tells as well.
                    return poll.modify(socket, own(HANDOVER), Flags::empty());
                }
            }
            slot if slot >= DNS_CONNECTIONS => self.answer(slot),
            slot => self.accept(slot, poll),
        }
        self.hand_over(poll)
    }

    /// Hands over what waits, and watches for room if some is left.
    fn hand_over(&mut self, poll: &Poll) -> io::Result<()> {
        let full = match self.handover.flush() {
            Sent::All => false,
            Sent::Full => true,
            Sent::Exhausted => {
                self.pause(poll);
                false
            }
        };
        if full != self.watching_output
            && let Some(socket) = self.handover.socket()
        {
            poll.modify(socket, own(HANDOVER), if full { Flags::IN | Flags::OUT } else { Flags::IN })?;
            self.watching_output = full;
        }
        Ok(())
    }

    /// The next connection that is to be made a stream, and what it is.
    pub fn next(&mut self) -> Option<(Handed, Option<OwnedFd>)> {
        self.handover.next()
    }

    /// Dials for egress: what comes of it is [next](Self::next).
    pub fn dial(&mut self, dial: Dial) {
        self.handover.dial(dial);
    }

    /// When [`resume`](Self::resume) is to be called, if nothing is accepted just now.
    pub fn resume_at(&self, now: Instant) -> Option<Instant> {
        self.paused.then_some(now + PAUSE)
    }

    /// Accepts again.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn resume(&mut self, poll: &Poll) -> io::Result<()> {
        if std::mem::take(&mut self.paused) {
            self.listen_for(poll, Flags::IN)?;
        }
        self.hand_over(poll)
    }

    /// Nothing can be accepted: being told of what waits would not end.
    fn pause(&mut self, poll: &Poll) {
        // If that fails as well, the loop spins until a descriptor is free, and does no harm but that.
        self.paused = self.listen_for(poll, Flags::empty()).is_ok();
    }

    fn listen_for(&self, poll: &Poll, flags: Flags) -> io::Result<()> {
        self.all_listeners().try_for_each(|(listener, token)| poll.modify(listener, token, flags))
    }

    fn all_listeners(&self) -> impl Iterator<Item = (&OwnedFd, Token)> {
        let numbered = self.listeners.iter().zip(LISTENERS..).map(|(listener, slot)| (listener, own(slot)));
        numbered.chain(self.agent.iter().map(|listener| (listener, own(AGENT_SOCKET))))
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

    fn ask(&mut self, socket: OwnedFd, poll: &Poll) {
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

    fn accept(&mut self, slot: u8, poll: &Poll) {
        for _ in 0..BURST {
            let listener = match slot {
                AGENT_SOCKET => self.agent.as_ref(),
                slot => self.listeners.get(usize::from(slot - LISTENERS)),
            };
            let Some(listener) = listener else { return };
            if self.handover.is_full() {
                return self.pause(poll);
            }
            match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(socket) if slot == AGENT_SOCKET => self.handover.push(Handed::Agent, socket),
                Ok(socket) => self.accepted(socket, poll),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    if jail::fd::is_exhausted(&error.into()) {
                        self.pause(poll);
                    }
                    return;
                }
            }
        }
    }

    /// A connection to the resolver, or to the outside.
    fn accepted(&mut self, socket: OwnedFd, poll: &Poll) {
        let Some(destination) = destination(&socket) else { return };
        if destination == DNS || destination == DNS_V6 {
            return self.ask(socket, poll);
        }
        let name = match destination.ip() {
            IpAddr::V4(address) => self.names.name(address),
            IpAddr::V6(_) => None,
        };
        let connection = Connection::new(socket, destination, name);
        // As if nobody listened there.
        if !destination.ip().is_loopback() {
            let (flow, socket) = connection.into_parts();
            self.handover.push(Handed::Flow(flow), socket);
        }
    }
}

/// A socket by which every program finds the user's ssh-agent. Its directory is init's.
fn agent_socket() -> io::Result<OwnedFd> {
    match std::fs::remove_file(AGENT) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(AGENT)?)?;
    std::fs::set_permissions(AGENT, std::fs::Permissions::from_mode(0o666))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn own(slot: u8) -> Token {
    Token { stream: 0, slot }
}

fn bind(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if kind == SocketType::STREAM {
        // For datagrams it would let any program have the port as well, and get what is asked.
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if address.is_ipv6() {
        // The wildcard address stands for IPv4's as well.
        rustix::net::sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn listener(address: SocketAddr, backlog: i32) -> io::Result<OwnedFd> {
    let socket = bind(address, SocketType::STREAM)?;
    // Every connection is the same: urgent data is a part of the stream, for whoever reads there.
    rustix::net::sockopt::set_socket_oobinline(&socket, true)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

/// Listens on every address of both families, or of IPv4 where the kernel has no other.
fn wildcard(port: u16) -> io::Result<OwnedFd> {
    listener(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), BACKLOG)
        .or_else(|_| listener(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), BACKLOG))
}

/// Connects to an address that is nobody's, and says whether that arrives at this listener, as what it is.
fn reaches(port: u16, listener: &OwnedFd) -> Result<bool, WallError> {
    let failed = |error: Errno| fallen(CAPTURE)(io::Error::from(error));
    let probe = SocketAddr::new(IpAddr::V4(names::LAST), port);
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    match rustix::net::connect(&socket, &probe) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED | Errno::NETUNREACH | Errno::HOSTUNREACH) => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    // Whoever connects may know of it before whoever listens does.
    let limit = Timespec { tv_sec: ARRIVAL.as_secs() as i64, tv_nsec: 0 };
    let arrives = || event::poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit));
    rustix::io::retry_on_intr(arrives).map_err(failed)?;
    let accepted = rustix::net::accept_with(listener, SocketFlags::CLOEXEC).map_err(failed)?;
    match destination(&accepted) {
        Some(found) if found == probe => Ok(true),
        found => Err(WallError { wall: CAPTURE, cause: format!("A connection to {probe} arrived as {found:?}") }),
    }
}

/// The address that a connection was made to; an IPv4 one as such, whatever the socket's family.
fn destination(socket: &OwnedFd) -> Option<SocketAddr> {
    let address: SocketAddrAny = rustix::net::getsockname(socket).ok()?;
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
