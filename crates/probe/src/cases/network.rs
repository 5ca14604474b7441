//! The network: the host's loopback services, every way out, and socket families that open kernel code.
//!
//! Nothing is ever sent beyond the host: whether a way out exists is asked of the routing table, by connecting a
//! UDP socket (which sends no packet) and looking at the source address that the kernel chose.

use crate::{
    case::{Case, Class::Network, Control, Outcome, Skip, done, permitted, said, words, worst},
    cases::ipc::hears,
    context::Context,
    sys::{fork, in_child, own},
    syscall,
};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

/// The cases of this class.
pub const CASES: &[Case] = &[
    Case::new(
        "loopback-tcp4",
        Network,
        "services on the host's 127.0.0.1 can be reached",
        "network_namespaces(7)",
        Control::Host,
        |ctx| tcp(ctx, "tcp4"),
    ),
    Case::new(
        "loopback-tcp6",
        Network,
        "services on the host's ::1 can be reached",
        "network_namespaces(7)",
        Control::Host,
        |ctx| tcp(ctx, "tcp6"),
    ),
    Case::new("loopback-tcp-mapped", Network, "the same by the v4-mapped address", "ipv6(7)", Control::Host, |ctx| {
        tcp(ctx, "tcp_mapped")
    }),
    Case::new("loopback-udp", Network, "UDP services of the host can be reached", "udp(7)", Control::Host, |ctx| {
        udp(ctx, "udp")
    }),
    Case::new(
        "host-address-tcp",
        Network,
        "services on the host's own address can be reached",
        "network_namespaces(7)",
        Control::Host,
        |ctx| tcp(ctx, "tcp_host"),
    ),
    Case::new(
        "host-address-tcp6",
        Network,
        "services on the host's own IPv6 address can be reached",
        "network_namespaces(7)",
        Control::Host,
        |ctx| tcp(ctx, "tcp6_host"),
    ),
    Case::new(
        "host-address-mapped",
        Network,
        "services on the host's own address can be reached by the v4-mapped one",
        "ipv6(7)",
        Control::Host,
        |ctx| tcp(ctx, "tcp_host_mapped"),
    ),
    Case::new(
        "host-address-udp",
        Network,
        "UDP goes out: QUIC, and questions to a name server of one's own choice",
        "udp(7)",
        Control::Host,
        |ctx| udp(ctx, "udp_host"),
    ),
    Case::new(
        "relay-process",
        Network,
        "a process that has left its session and its parents reaches services on the host, and tells what it hears",
        "network_namespaces(7)",
        Control::Host,
        relay,
    ),
    Case::new("loopback-bind", Network, "a port of the host can be taken", "bind(2)", Control::Host, bind),
    Case::new("route-internet4", Network, "there is a way to the internet", "ip(7)", Control::Host, |ctx| {
        Ok(route(ctx, &["198.51.100.1", "203.0.113.1", "192.0.2.77"]))
    }),
    Case::new("route-internet6", Network, "there is a way to the internet by IPv6", "ipv6(7)", Control::Host, |ctx| {
        Ok(route(ctx, &["2001:db8::1", "2606::1"]))
    }),
    Case::new(
        "route-metadata",
        Network,
        "the cloud's metadata service, and its credentials, can be reached",
        "CVE-2019-5418",
        Control::Host,
        |ctx| Ok(refused(ctx, METADATA)),
    ),
    Case::new("route-private", Network, "the local network can be reached", "ip(7)", Control::Host, |ctx| {
        Ok(route(ctx, &["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1"]))
    }),
    Case::new(
        "route-dns",
        Network,
        "a name server outside can be asked, which tunnels data",
        "resolv.conf(5)",
        Control::Host,
        name_server,
    ),
    Case::new(
        "route-multicast",
        Network,
        "the local network can be called by multicast or broadcast",
        "ip(7)",
        Control::Host,
        |ctx| Ok(route(ctx, &["224.0.0.251", "239.255.255.250"])),
    ),
    Case::new(
        "network-devices",
        Network,
        "there is a network device besides lo",
        "netdevice(7)",
        Control::Host,
        devices,
    ),
    Case::new(
        "network-admin",
        Network,
        "addresses, routes and devices can be changed",
        "CVE-2020-14386",
        Control::Namespace,
        |_| Ok(set_flags()),
    ),
    Case::new("socket-raw", Network, "raw packets can be made", "raw(7)", Control::HostRoot, |_| {
        Ok(worst([(2, 3, 1), (2, 3, 255), (10, 3, 58)].map(socket)))
    }),
    Case::new(
        "socket-packet",
        Network,
        "packets can be captured and forged",
        "CVE-2020-14386",
        Control::HostRoot,
        |_| Ok(worst([(17, 3, 0x300), (17, 2, 0x300)].map(socket))),
    ),
    Case::new(
        "socket-vsock",
        Network,
        "the hypervisor's socket family goes round the network namespace",
        "vsock(7)",
        Control::Host,
        |_| Ok(socket((40, 1, 0))),
    ),
    Case::new(
        "socket-crypto",
        Network,
        "the kernel's crypto sockets can be had",
        "CVE-2019-8912",
        Control::Host,
        |_| Ok(socket((38, 5, 0))),
    ),
    Case::new("socket-bluetooth", Network, "bluetooth sockets can be had", "CVE-2020-12351", Control::Host, |_| {
        Ok(worst([(31, 3, 1), (31, 5, 0), (31, 1, 3)].map(socket)))
    }),
    Case::new(
        "socket-netlink",
        Network,
        "netlink families other than route can be had",
        "CVE-2023-32233",
        Control::Host,
        // Usersock, sock_diag, xfrm, audit, connector, netfilter, uevent, generic, crypto.
        |_| Ok(worst([2, 4, 6, 9, 11, 12, 15, 16, 21].map(|family| socket((16, 3, family))))),
    ),
    Case::new(
        "socket-transports",
        Network,
        "SCTP, DCCP or SMC go round what is caught",
        "CVE-2017-6074",
        Control::Host,
        |_| Ok(worst([(2, 1, 132), (2, 5, 132), (2, 6, 33), (43, 1, 0), (43, 1, 1)].map(socket))),
    ),
    Case::new(
        "socket-rare-families",
        Network,
        "a socket family that programs don't need can be had",
        "CVE-2022-1012",
        Control::None("the modules of none may be there"),
        |_| Ok(families()),
    ),
];

/// Where clouds tell machines about themselves, plain and in IPv6's clothes: mapped, NAT64, 6to4.
const METADATA: &[&str] = &[
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
];

/// 40 and the like are AF_VSOCK...: (family, type, protocol).
fn socket((family, kind, protocol): (i32, i32, i32)) -> Outcome {
    use rustix::io::Errno;
    match syscall!(libc::SYS_socket, family, kind | libc::SOCK_CLOEXEC, protocol).map(own) {
        // The kernel, too, says this of what it doesn't have.
        Err(
            errno @ (Errno::AFNOSUPPORT
            | Errno::PROTONOSUPPORT
            | Errno::PROTOTYPE
            | Errno::SOCKTNOSUPPORT
            | Errno::INVAL),
        ) => Outcome::Absent(said(errno)),
        other => done(other, &format!("made a socket of family {family}, protocol {protocol}")),
    }
}

/// All but UNIX, INET, INET6 and NETLINK; those with cases of their own are among them.
fn families() -> Outcome {
    let rare = (3..64)
        .filter(|family| !matches!(family, 10 | 16))
        .flat_map(|family| [1, 2, 3, 5].map(|kind| (family, kind, 0)));
    worst(rare.map(socket))
}

pub const PATIENCE: Duration = Duration::from_secs(2);

fn tcp(ctx: &Context, key: &str) -> Result<Outcome, Skip> {
    let Some(address) = ctx.get(key).and_then(|text| text.parse::<SocketAddr>().ok()) else {
        return Ok(Outcome::Absent("the host has no such address".to_owned()));
    };
    Ok(hears(connect(address), ctx.token()?))
}

/// Has a process connect that nobody is the parent of, and hears by a pipe what it was told.
fn relay(ctx: &Context) -> Result<Outcome, Skip> {
    let token = ctx.token()?;
    let addresses: Vec<SocketAddr> =
        ["tcp4", "tcp_host"].into_iter().filter_map(|key| ctx.get(key)?.parse().ok()).collect();
    let fail = |errno| Skip(format!("no process can be made: {}", said(errno)));
    let (heard, end) = in_child(4 * PATIENCE, |pipe| {
        // The one between ends at once.
        match fork() {
            Ok(0) => {}
            Ok(_) => return 0,
            Err(_) => return 1,
        }
        let _ = rustix::process::setsid();
        for address in addresses {
            let _ = connect(address).and_then(|mut stream| io::copy(&mut stream, pipe));
        }
        let _ = pipe.write_all(b".");
        0
    })
    .map_err(fail)?;
    Ok(match (heard.contains(token), heard.ends_with('.')) {
        (true, _) => Outcome::Escaped("it was told by another process".to_owned()),
        (false, true) => Outcome::Held("no other process was told".to_owned()),
        (false, false) => return Err(Skip(format!("the process did not end by itself: {end:?}"))),
    })
}

/// Connects, and says something.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(with_a_word(stream))
}

/// Something that is no language, so that whoever refuses it need not wait for more. It is no failure that it can't be
/// said: the answer may be there already.
pub fn with_a_word(mut stream: TcpStream) -> TcpStream {
    let _ = stream.write_all(b"\0");
    stream
}

struct Datagram(UdpSocket);

impl io::Read for Datagram {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer)
    }
}

fn udp(ctx: &Context, key: &str) -> Result<Outcome, Skip> {
    let Some(address) = ctx.get(key).and_then(|text| text.parse::<SocketAddr>().ok()) else {
        return Ok(Outcome::Absent("the host has no such address".to_owned()));
    };
    let answer = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(address)?;
        socket.send(b"probe")?;
        Ok(Datagram(socket))
    });
    Ok(hears(answer, ctx.token()?))
}

/// The runner's own port: if it is taken, then it is the host's loopback.
fn bind(ctx: &Context) -> Result<Outcome, Skip> {
    let address: SocketAddr = ctx.number("tcp4")?;
    Ok(match TcpListener::bind(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Outcome::Escaped("the port is the host's".to_owned()),
        Ok(_) => Outcome::Held("the port is free here".to_owned()),
        Err(error) => Outcome::Held(words(&error)),
    })
}

/// A source address that is neither loopback nor the destination itself (as with a local route) is a device's.
pub fn leaves(address: IpAddr) -> Outcome {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 53))?;
        Ok(socket.local_addr()?.ip())
    });
    match source {
        // What init captures looks as if it were local, or comes from the range that it makes names of.
        Ok(source)
            if source.to_canonical().is_loopback() || source == address || synthetic(source) || dummy(source) =>
        {
            Outcome::Held(format!("{address} leads back into the sandbox"))
        }
        Ok(source) => Outcome::Escaped(format!("{address} is reached from {source}")),
        Err(error) => Outcome::Held(format!("{address}: {}", words(&error))),
    }
}

/// 198.18.0.0/15, RFC 2544.
pub fn synthetic(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(v4) if v4.octets()[0] == 198 && v4.octets()[1] & 0xfe == 18)
}

/// 100:0:0:1::/64, RFC 9780: no packet leaves a machine with such an address.
fn dummy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[..4] == [0x100, 0, 0, 1])
}

fn route(ctx: &Context, addresses: &[&str]) -> Outcome {
    match worst(addresses.iter().filter_map(|text| text.parse().ok()).map(leaves)) {
        Outcome::Held(why) if ctx.control => Outcome::Absent(format!("the host has no such route ({why})")),
        other => other,
    }
}

/// The same where connections that lead back into the sandbox are judged, and passed on if they may be: these may not.
fn refused(ctx: &Context, addresses: &[&str]) -> Outcome {
    match route(ctx, addresses) {
        Outcome::Held(_) => worst(addresses.iter().filter_map(|text| text.parse().ok()).map(asked)),
        other => other,
    }
}

/// Asks for a page at an address. It is asked only if there is no way out but the one that is judged.
fn asked(address: IpAddr) -> Outcome {
    let Outcome::Held(_) = leaves(address) else { return Outcome::Escaped(format!("there is a way to {address}")) };
    let mut answer = Vec::new();
    let end = TcpStream::connect_timeout(&(address, 80).into(), PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.take(4096).read_to_end(&mut answer)
    });
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match (end, answer.split_whitespace().nth(1)) {
        (_, Some("403")) => Outcome::Held(format!("{address} is refused")),
        // It was tried, or is somebody who answers.
        (_, Some(_)) => Outcome::Escaped(format!("{address} was asked: {}", answer.lines().next().unwrap_or_default())),
        (Err(error), None) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            Outcome::Escaped(format!("{address} is waited for"))
        }
        (Err(error), None) => Outcome::Held(format!("{address}: {}", words(&error))),
        (Ok(_), None) => Outcome::Held(format!("{address}: closed without an answer")),
    }
}

fn name_server(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(list) = ctx.get("name_servers") else {
        return Ok(Outcome::Absent("the host names no server beyond itself".to_owned()));
    };
    Ok(route(ctx, &list.split(',').collect::<Vec<_>>()))
}

fn devices(ctx: &Context) -> Result<Outcome, Skip> {
    // /proc/net/dev follows the reader's network namespace, as /sys/class/net does not.
    let table = fs::read_to_string("/proc/net/dev").map_err(|error| Skip(words(&error)))?;
    let others: Vec<_> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        // These come with every network namespace where their modules are loaded, and lead nowhere.
        .filter(|name| {
            !["lo", "sit0", "tunl0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6gre0"]
                .contains(name)
        })
        .collect();
    Ok(match others.as_slice() {
        [] if ctx.control => Outcome::Absent("the host has no device but lo".to_owned()),
        [] => Outcome::Held("only lo".to_owned()),
        names => Outcome::Escaped(format!("has {}", names.join(" "))),
    })
}

/// Sets lo's flags to what they are.
fn set_flags() -> Outcome {
    let socket = match UdpSocket::bind("0.0.0.0:0") {
        Ok(socket) => socket,
        Err(error) => return Outcome::Held(words(&error)),
    };
    // struct ifreq.
    let mut request = [0u8; 40];
    request[..2].copy_from_slice(b"lo");
    match syscall!(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCGIFFLAGS, request.as_mut_slice()) {
        Ok(_) => permitted(
            syscall!(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, request.as_slice()),
            "set lo's flags",
        ),
        Err(errno) => Outcome::Held(said(errno)),
    }
}
