//! Hides nfnetlink: how a network namespace catches every TCP connection, whatever address and port it is made to.
//!
//! Two rules of nf_tables hand a connection that is on its way to any address but a loopback one to a listener
//! (`tproxy`, Linux 4.19): getsockname(2) there tells where it was going. No address is rewritten, so no connection
//! tracking is needed, and what programs do among themselves over loopback is left alone.

use crate::net::receive;
use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, netlink},
};
use std::{io, net::IpAddr};

// From <linux/netfilter/nfnetlink.h> and <linux/netfilter/nf_tables.h>.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NF_TABLES: u16 = 10;
const NEW_TABLE: u16 = NF_TABLES << 8;
const NEW_CHAIN: u16 = NF_TABLES << 8 | 3;
const NEW_RULE: u16 = NF_TABLES << 8 | 6;
const NFPROTO_IPV4: u32 = 2;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV6: u32 = 10;
const PREROUTING: u32 = 0;
/// Where packets are changed before they are routed: `mangle`.
const PRIORITY: i32 = -150;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const NESTED: u16 = 0x8000;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// The name of our table and of its only chain, as `nft list ruleset` shows it.
const NAME: &[u8] = b"agentkernel\0";

/// Hands every TCP connection to another than a loopback address to the listeners on these loopback addresses, at this
/// port, if they are transparent ([`crate::net::set_transparent`]). Needs `CAP_NET_ADMIN` over the network namespace.
/// `false` if this kernel has not what it takes.
///
/// # Errors
/// As the kernel answers.
pub fn catch_all(port: u16) -> io::Result<bool> {
    let mut batch = Vec::with_capacity(1024);
    message(&mut batch, BATCH_BEGIN, 0, 1, NF_TABLES, &[]);
    message(&mut batch, NEW_TABLE, NLM_F_ACK | NLM_F_CREATE, 2, 0, &attribute(1, NAME));
    let hook = [attribute(1, &PREROUTING.to_be_bytes()), attribute(2, &PRIORITY.to_be_bytes())].concat();
    let chain =
        [attribute(1, NAME), attribute(3, NAME), attribute(4 | NESTED, &hook), attribute(7, b"filter\0")].concat();
    message(&mut batch, NEW_CHAIN, NLM_F_ACK | NLM_F_CREATE, 3, 0, &chain);
    for (sequence, to) in [(4, IpAddr::from([127, 0, 0, 1])), (5, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))] {
        let rule = [attribute(1, NAME), attribute(2, NAME), attribute(4 | NESTED, &catch(to, port))].concat();
        message(&mut batch, NEW_RULE, NLM_F_ACK | NLM_F_CREATE | NLM_F_APPEND, sequence, 0, &rule);
    }
    message(&mut batch, BATCH_END, 0, 6, NF_TABLES, &[]);
    // A kernel may lack nfnetlink, nf_tables, one of its expressions, or IPv6.
    let lacks = |errno: i32| {
        [Errno::NOENT, Errno::OPNOTSUPP, Errno::PROTONOSUPPORT, Errno::AFNOSUPPORT, Errno::NOPROTOOPT]
            .contains(&Errno::from_raw_os_error(errno))
    };
    let kind = SocketType::RAW;
    let socket =
        match rustix::net::socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, Some(netlink::NETFILTER)) {
            Err(error) if lacks(error.raw_os_error()) => return Ok(false),
            result => result?,
        };
    rustix::net::send(&socket, &batch, SendFlags::empty())?;
    // The beginning is answered only if all of it fails.
    let mut answers = [None; 5];
    while answers[1..].contains(&None) && !answers.iter().flatten().any(|answer| *answer != 0) {
        receive(&socket, &mut answers)?;
    }
    match answers.into_iter().flatten().find(|answer| *answer != 0) {
        None => Ok(true),
        Some(answer) if lacks(answer) => Ok(false),
        Some(answer) => Err(io::Error::from_raw_os_error(answer)),
    }
}

/// The expressions of a rule: this family, TCP, to another address than loopback's: to the listener.
fn catch(to: IpAddr, port: u16) -> Vec<u8> {
    let (family, offset, address) = match to {
        // All of 127.0.0.0/8 is loopback, so the first byte tells.
        IpAddr::V4(address) => (NFPROTO_IPV4, 16, address.octets().to_vec()),
        IpAddr::V6(address) => (NFPROTO_IPV6, 24, address.octets().to_vec()),
    };
    let loopback = if family == NFPROTO_IPV4 { &address[..1] } else { &address[..] };
    [
        meta(META_NFPROTO),
        compare(EQUAL, &[family as u8]),
        meta(META_L4PROTO),
        compare(EQUAL, &[libc::IPPROTO_TCP as u8]),
        expression(
            b"payload\0",
            &[number(1, REGISTER_1), number(2, NETWORK_HEADER), number(3, offset), number(4, loopback.len() as u32)],
        ),
        compare(NOT_EQUAL, loopback),
        immediate(REGISTER_1, &address),
        immediate(REGISTER_2, &port.to_be_bytes()),
        expression(b"tproxy\0", &[number(1, family), number(2, REGISTER_1), number(3, REGISTER_2)]),
    ]
    .concat()
}

/// Loads what the kernel knows of a packet.
fn meta(key: u32) -> Vec<u8> {
    expression(b"meta\0", &[number(1, REGISTER_1), number(2, key)])
}

fn compare(how: u32, with: &[u8]) -> Vec<u8> {
    expression(b"cmp\0", &[number(1, REGISTER_1), number(2, how), attribute(3 | NESTED, &attribute(1, with))])
}

fn immediate(register: u32, value: &[u8]) -> Vec<u8> {
    expression(b"immediate\0", &[number(1, register), attribute(2 | NESTED, &attribute(1, value))])
}

fn expression(name: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let data = attribute(2 | NESTED, &attributes.concat());
    attribute(1 | NESTED, &[attribute(1, name), data].concat())
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

/// A length, a kind, the value, and zeros up to the next multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Appends a message: netlink's header, nfnetlink's, and the attributes.
fn message(batch: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, resource: u16, body: &[u8]) {
    batch.extend((16 + 4 + body.len() as u32).to_ne_bytes());
    batch.extend(kind.to_ne_bytes());
    batch.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    batch.extend(sequence.to_ne_bytes());
    batch.extend(0u32.to_ne_bytes()); // port id
    batch.push(if resource == 0 { NFPROTO_INET } else { 0 });
    batch.push(0); // version
    batch.extend(resource.to_be_bytes());
    batch.extend(body);
}
