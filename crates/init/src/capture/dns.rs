//! Hides the DNS messages (RFC 1035): one question in, an invented answer out.
//!
//! Every name has an address, so that nothing can be told to the outside by asking for it: what a name really is, is
//! looked up by egress, once a flow to it was allowed. There are no IPv6 answers, so that programs take IPv4 at
//! once.

use super::names::Names;
use rustix::{fd::OwnedFd, io::Errno, net::SendFlags};
use std::net::Ipv4Addr;

/// Bytes of a message before its question.
const HEADER: usize = 12;
/// The longest name, its length bytes included.
const MAX_NAME: usize = 255;
/// The longest question over TCP that is waited for. Ours have one name, and at most a few options.
const MAX_QUERY: usize = 4096;
/// Seconds that an answer may be kept: the address may stand for another name later.
const TTL: u32 = 1;

const TYPE_A: u16 = 1;
const TYPE_PTR: u16 = 12;
const TYPE_AAAA: u16 = 28;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

/// Flags of the header's second word.
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0b1111 << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;

/// What an answer is, in the header's last four bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Code {
    NoError = 0,
    FormatError = 1,
    NoSuchName = 3,
    NotImplemented = 4,
    Refused = 5,
}

/// A name from a question.
#[derive(Debug)]
struct Name {
    /// In lower case, without a dot at the end; `None` if it is no name of a host.
    host: Option<String>,
    /// Bytes that it takes in the message.
    length: usize,
}

/// Answers a message. `None` if it deserves no answer: it is none, or too short to be one.
pub fn answer(message: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let header = message.first_chunk::<HEADER>()?;
    let word = |index: usize| u16::from_be_bytes([header[2 * index], header[2 * index + 1]]);
    let (id, flags) = (word(0), word(1));
    if flags & RESPONSE != 0 {
        return None;
    }
    let reply = |code, question: &[u8], data: Option<(u16, Vec<u8>)>| {
        let mut out = Vec::with_capacity(HEADER + question.len() + 64);
        let flags = RESPONSE | (flags & (OPCODE | RECURSION_DESIRED)) | RECURSION_AVAILABLE | code as u16;
        for value in [id, flags, u16::from(!question.is_empty()), u16::from(data.is_some()), 0, 0] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        out.extend_from_slice(question);
        if let Some((kind, data)) = data {
            // The name is that of the question, which begins right after the header.
            out.extend_from_slice(&(0xc000 | HEADER as u16).to_be_bytes());
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&TTL.to_be_bytes());
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(&data);
        }
        Some(out)
    };
    if flags & OPCODE != 0 {
        return reply(Code::NotImplemented, &[], None);
    }
    // One question, and nothing else but what may be added to one (EDNS, RFC 6891), which is not looked at: an answer
    // without it says that we do not know it.
    if flags & TRUNCATED != 0 || (word(2), word(3), word(4)) != (1, 0, 0) {
        return reply(Code::FormatError, &[], None);
    }
    let rest = &message[HEADER..];
    let Some(name) = parse_name(rest) else {
        return reply(Code::FormatError, &[], None);
    };
    let Some(&[k0, k1, c0, c1]) = rest[name.length..].first_chunk::<4>() else {
        return reply(Code::FormatError, &[], None);
    };
    let end = name.length + 4;
    if rest.len() > end && word(5) == 0 {
        return reply(Code::FormatError, &[], None);
    }
    // As it was asked, upper and lower case as they were: some resolvers check that.
    let question = &rest[..end];
    let (kind, class) = (u16::from_be_bytes([k0, k1]), u16::from_be_bytes([c0, c1]));
    if class != CLASS_IN && class != CLASS_ANY {
        return reply(Code::Refused, question, None);
    }
    let (code, data) = resolve(name.host.as_deref(), kind, names);
    reply(code, question, data)
}

/// What there is to say about a name: a code, and at most one record.
fn resolve(host: Option<&str>, kind: u16, names: &mut Names) -> (Code, Option<(u16, Vec<u8>)>) {
    let Some(host) = host else { return (Code::NoSuchName, None) };
    let within = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let a = |address: Ipv4Addr| Some((TYPE_A, address.octets().to_vec()));
    // RFC 6761: localhost is this host, and nothing below `invalid` exists.
    if within("localhost") {
        return match kind {
            TYPE_A | TYPE_ANY => (Code::NoError, a(Ipv4Addr::LOCALHOST)),
            TYPE_AAAA => (Code::NoError, Some((TYPE_AAAA, std::net::Ipv6Addr::LOCALHOST.octets().to_vec()))),
            _ => (Code::NoError, None),
        };
    }
    if within("arpa") {
        let name = reverse(host).and_then(|address| match address {
            Ipv4Addr::LOCALHOST => Some("localhost".into()),
            address => names.name(address),
        });
        return match name {
            None => (Code::NoSuchName, None),
            Some(name) if kind == TYPE_PTR || kind == TYPE_ANY => (Code::NoError, Some((TYPE_PTR, encode_name(&name)))),
            Some(_) => (Code::NoError, None),
        };
    }
    // A last label that is a number would make a name that others take for an address.
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if number || within("invalid") {
        return (Code::NoSuchName, None);
    }
    match kind {
        TYPE_A | TYPE_ANY => (Code::NoError, a(names.address(host))),
        _ => (Code::NoError, None),
    }
}

/// Reads a name of plain labels. `None` if it is cut off, too long, or made of other things: a question comes first
/// in its message, so there is nothing that it could point back to.
fn parse_name(bytes: &[u8]) -> Option<Name> {
    let mut host = Some(String::new());
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 {
            return None;
        }
        let label = bytes.get(at..at + length)?;
        at += length;
        if at >= MAX_NAME {
            return None;
        }
        let good = label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        host = host.filter(|_| good).map(|mut host| {
            if !host.is_empty() {
                host.push('.');
            }
            host.extend(label.iter().map(|&byte| char::from(byte.to_ascii_lowercase())));
            host
        });
    }
    // The root is no host.
    Some(Name { host: host.filter(|host| !host.is_empty()), length: at })
}

/// The address in a name below `in-addr.arpa`.
fn reverse(host: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut labels = host.strip_suffix(".in-addr.arpa")?.split('.');
    for octet in octets.iter_mut().rev() {
        let label = labels.next()?;
        // Not `parse` alone: it takes a sign and leading zeros.
        *octet = label.parse().ok().filter(|number: &u8| number.to_string() == label)?;
    }
    labels.next().is_none().then_some(Ipv4Addr::from(octets))
}

/// Writes a name that came out of [`parse_name`], so that its labels have the right lengths.
fn encode_name(host: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(host.len() + 2);
    for label in host.split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// Somebody who asks over TCP: messages with their length before them (RFC 1035, 4.2.2).
pub struct Asker {
    socket: OwnedFd,
    received: Vec<u8>,
}

impl Asker {
    /// Takes a non-blocking socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, received: Vec::new() }
    }

    /// Answers what has arrived. `false` when the connection is over.
    pub fn serve(&mut self, names: &mut Names) -> bool {
        let mut chunk = [0; 1024];
        match rustix::io::read(&self.socket, &mut chunk) {
            Ok(0) => return false,
            Ok(count) => self.received.extend_from_slice(&chunk[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        }
        while let Some(&[high, low]) = self.received.first_chunk::<2>() {
            let end = 2 + usize::from(u16::from_be_bytes([high, low]));
            if end > MAX_QUERY {
                return false;
            }
            let Some(message) = self.received.get(2..end) else { return true };
            let Some(answer) = answer(message, names) else { return false };
            let framed = [&(answer.len() as u16).to_be_bytes(), answer.as_slice()].concat();
            // An answer is far smaller than a socket's buffer: one that does not fit goes to somebody who does not
            // read.
            if rustix::net::send(&self.socket, &framed, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) != Ok(framed.len()) {
                return false;
            }
            self.received.drain(..end);
        }
        true
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
