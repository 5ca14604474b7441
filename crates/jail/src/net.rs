//! Hides rtnetlink: how a network namespace gets its loopback device and the routes that keep every packet inside.

use rustix::{
    fd::{AsFd, OwnedFd},
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

// From <linux/rtnetlink.h>, <linux/if_addr.h>, <linux/netlink.h>, <linux/if.h>; `libc` lacks some of them.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_BOOT: u8 = 3;
const RT_SCOPE_HOST: u8 = 254;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RTN_LOCAL: u8 = 2;
const RTA_OIF: u16 = 4;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The loopback device is the first of every network namespace.
const LO: u32 = 1;
/// Addresses that nobody has: IPv4's dummy (RFC 7600, 10) and one of IPv6's dummy prefix (RFC 9780). C libraries find no
/// addresses of a family of which there is only the loopback's (`AI_ADDRCONFIG` of getaddrinfo(3)).
const DUMMIES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8)), IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 8))];

/// Brings `lo` up in the caller's network namespace and makes every address, IPv4 and IPv6, a local one, so that a
/// connection to any address is answered by a listener inside. It has a dummy address of each family, for programs that
/// look which there are. Needs `CAP_NET_ADMIN` over the namespace.
///
/// A kernel without IPv6 has no IPv6 addresses to catch: that is no error.
///
/// # Errors
/// As the kernel answers.
pub fn loop_everything() -> io::Result<()> {
    let mut link = Vec::with_capacity(32);
    link.extend([0u8; 4]); // ifi_family, padding, ifi_type
    link.extend(LO.to_ne_bytes());
    link.extend(IFF_UP.to_ne_bytes()); // flags
    link.extend(IFF_UP.to_ne_bytes()); // which flags to change
    let v4 = route(AF_INET, RT_SCOPE_HOST);
    let v6 = route(AF_INET6, RT_SCOPE_UNIVERSE);

    let mut batch = Vec::with_capacity(256);
    push(&mut batch, RTM_NEWLINK, 0, 1, &link);
    push(&mut batch, RTM_NEWROUTE, NLM_F_CREATE, 2, &v4);
    push(&mut batch, RTM_NEWADDR, NLM_F_CREATE, 3, &address(DUMMIES[0]));
    push(&mut batch, RTM_NEWROUTE, NLM_F_CREATE, 4, &v6);
    push(&mut batch, RTM_NEWADDR, NLM_F_CREATE, 5, &address(DUMMIES[1]));
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &batch, SendFlags::empty())?;
    let mut answers = [None; 5];
    while answers.contains(&None) {
        receive(&socket, &mut answers)?;
    }
    for (index, answer) in answers.into_iter().flatten().enumerate() {
        let no_v6 = match index {
            3 => matches!(answer, libc::EOPNOTSUPP | libc::EAFNOSUPPORT),
            // There is none either where it is switched off.
            4 => matches!(answer, libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EACCES),
            _ => false,
        };
        if answer != 0 && !no_v6 {
            return Err(io::Error::from_raw_os_error(answer));
        }
    }
    Ok(())
}

/// Lets a socket accept connections to other addresses than its own, which [`crate::nft::catch_all`] hands to it. Needs
/// `CAP_NET_ADMIN` or `CAP_NET_RAW` over the network namespace.
///
/// # Errors
/// As setsockopt(2).
pub fn set_transparent(socket: impl AsFd, v6: bool) -> io::Result<()> {
    crate::sys::net::set_transparent(socket.as_fd(), v6)
}

/// `local default dev lo`, table `local`.
fn route(family: u8, scope: u8) -> Vec<u8> {
    let mut body = vec![family, 0, 0, 0, RT_TABLE_LOCAL, RTPROT_BOOT, scope, RTN_LOCAL];
    body.extend(0u32.to_ne_bytes()); // flags
    body.extend(8u16.to_ne_bytes()); // the attribute's length
    body.extend(RTA_OIF.to_ne_bytes());
    body.extend(LO.to_ne_bytes());
    body
}

/// An address of the loopback device alone, which nobody asks for whether it is taken.
fn address(address: IpAddr) -> Vec<u8> {
    let (family, bytes) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut body = vec![family, 8 * bytes.len() as u8, IFA_F_NODAD, RT_SCOPE_HOST];
    body.extend(LO.to_ne_bytes());
    body.extend((4 + bytes.len() as u16).to_ne_bytes()); // the attribute's length
    body.extend(IFA_LOCAL.to_ne_bytes());
    body.extend(bytes);
    body
}

/// Appends one message. All bodies here are multiples of four bytes, as netlink's alignment wants.
fn push(batch: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, body: &[u8]) {
    batch.extend((16 + body.len() as u32).to_ne_bytes());
    batch.extend(kind.to_ne_bytes());
    batch.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    batch.extend(sequence.to_ne_bytes());
    batch.extend(0u32.to_ne_bytes()); // port id
    batch.extend(body);
}

/// Reads acknowledgements, and files the error number of each at its sequence number less one.
pub(crate) fn receive(socket: &OwnedFd, answers: &mut [Option<i32>]) -> io::Result<()> {
    let mut buffer = [0u8; 4096];
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::empty())?;
    let mut rest = &buffer[..length];
    let word = |bytes: &[u8], at: usize| -> io::Result<u32> {
        let word = bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        Ok(u32::from_ne_bytes(word.ok_or(io::ErrorKind::InvalidData)?))
    };
    while !rest.is_empty() {
        let size = word(rest, 0)? as usize;
        let message = rest.get(..size).filter(|m| m.len() >= 20).ok_or(io::ErrorKind::InvalidData)?;
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let sequence = word(message, 8)? as usize;
        if let (NLMSG_ERROR, Some(answer)) = (kind, sequence.checked_sub(1).and_then(|i| answers.get_mut(i))) {
            *answer = Some((word(message, 16)? as i32).wrapping_neg());
        }
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}
