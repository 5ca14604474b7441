//! Hides which addresses are whose: the public internet's, or somebody's who must be named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Anybody's: the internet.
    Public,
    /// Of a network without owner in the world: RFC 1918, unique local (RFC 4193), carrier-grade NAT (RFC 6598).
    Private,
    /// This machine.
    Loopback,
    /// Of this cable only, where clouds tell machines their secrets as well.
    LinkLocal,
    /// Where a cloud tells a machine about itself, outside of the link-local range.
    Metadata,
    /// Of no host: unspecified, multicast, broadcast, documentation, tests, reserved.
    NoHost,
}

impl Class {
    /// In words, as in "10.0.0.1 is a private address".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Loopback => "an address of this machine",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata service",
            Self::NoHost => "an address of no host",
        }
    }
}

/// Whose this address is. An IPv6 address that leads to an IPv4 one is as good as that one.
#[must_use]
pub fn class(address: IpAddr) -> Class {
    match address.to_canonical() {
        IpAddr::V4(address) => class_v4(address),
        // Both must be public: what goes through a gateway, and the gateway.
        IpAddr::V6(address) => match behind(address).map(class_v4) {
            None | Some(Class::Public) => class_v6(address),
            Some(class) => class,
        },
    }
}

/// Whether an address stands for many hosts at once, to which TCP doesn't connect (RFC 1122, 4.2.3.10).
#[must_use]
pub fn is_to_many(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_broadcast() || address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

/// What helps whoever wants to connect to an address that is no host's, whatever is allowed.
#[must_use]
pub fn instead(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        address if address.is_unspecified() => {
            Some("No host has this address: name the host that is meant, or 127.0.0.1 for the sandbox itself")
        }
        address if is_to_many(address) => Some("Name the address of one host: no connection leads to many at once"),
        _ => None,
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    let octets = address.octets();
    match octets {
        [0, ..] | [255, 255, 255, 255] => Class::NoHost,
        [127, ..] => Class::Loopback,
        [169, 254, ..] => Class::LinkLocal,
        // Azure's wire server; Alibaba's and Oracle's metadata.
        [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => Class::Metadata,
        [10, ..] | [192, 168, ..] => Class::Private,
        [172, second, ..] if (16..32).contains(&second) => Class::Private,
        [100, second, ..] if (64..128).contains(&second) => Class::Private,
        // IETF assignments (RFC 6890), documentation (RFC 5737), 6to4 relays (RFC 7526), tests (RFC 2544): the last
        // are the sandbox's own invented addresses as well.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => {
            Class::NoHost
        }
        // Multicast and reserved.
        [first, ..] if first >= 224 => Class::NoHost,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    if address == Ipv6Addr::LOCALHOST {
        return Class::Loopback;
    }
    match address.segments() {
        // In unique local ranges: Amazon's (all of its services for machines), Google's, Oracle's, Scaleway's.
        [0xfd00, 0xec2, ..]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => Class::Metadata,
        [first, ..] if first & 0xffc0 == 0xfe80 => Class::LinkLocal,
        // Site-local, which was deprecated and is still routed here and there (RFC 3879).
        [first, ..] if first & 0xffc0 == 0xfec0 => Class::Private,
        [first, ..] if first & 0xfe00 == 0xfc00 => Class::Private,
        // NAT64 with a local prefix (RFC 8215): what it leads to is known to the gateway alone.
        [0x64, 0xff9b, 1, ..] => Class::Private,
        // IETF assignments (RFC 2928): Teredo, benchmarks, ORCHID, and anycast addresses of whatever is nearest.
        [0x2001, 0..0x200, ..] => Class::NoHost,
        // Documentation (RFC 3849, RFC 9637).
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::NoHost,
        // 2000::/3 is all that was given out (RFC 4291), but for the known prefix of NAT64 (RFC 6052).
        [first, ..] if first & 0xe000 == 0x2000 => Class::Public,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Class::Public,
        _ => Class::NoHost,
    }
}

/// The IPv4 address that an IPv6 one leads to: the same host by another name, or one behind a gateway.
#[must_use]
pub fn behind(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    Some(match address.segments() {
        // Mapped (RFC 4291), and translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // Compatible, deprecated; `::` and `::1` are none.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo (RFC 4380): the client's address is written inverted.
        [0x2001, 0, _, _, _, _, high, low] => v4(!high, !low),
        // ISATAP (RFC 5214).
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => return None,
    })
}

/// The addresses of this machine: what is sent there never leaves it, and passes most of its firewall.
#[derive(Clone, Debug, Default)]
pub struct Own(Vec<IpAddr>);

impl Own {
    /// Those that the kernel has now, by its list of routes (proc_net(5)). Without it, those that it sends from.
    #[must_use]
    pub fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (v4, v6) = (read("/proc/net/fib_trie"), read("/proc/net/if_inet6"));
        Self(local_v4(&v4).chain(local_v6(&v6)).collect())
    }

    /// Whether an address is one of them, or has become one: the kernel would send to it from itself. No packet is sent.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let any: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let from = || {
            let socket = UdpSocket::bind((any, 0)).ok()?;
            // A port must be named, and means nothing here.
            socket.connect(SocketAddr::new(address, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        };
        self.0.contains(&address) || from() == Some(address)
    }
}

/// Lines of an address, each followed by what it is: `|-- 192.0.2.1` and `/32 host LOCAL`.
fn local_v4(trie: &str) -> impl Iterator<Item = IpAddr> {
    let mut last = None;
    trie.lines().filter_map(move |line| {
        let line = line.trim();
        match line.strip_prefix("|-- ") {
            Some(address) => last = address.parse::<Ipv4Addr>().ok(),
            None if line == "/32 host LOCAL" => return last.map(IpAddr::V4),
            None => {}
        }
        None
    })
}

/// Lines that begin with an address, as 32 digits.
fn local_v6(list: &str) -> impl Iterator<Item = IpAddr> {
    list.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|bits| Ipv6Addr::from_bits(bits).into())
    })
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
