//! Hides how the host says who is asked for names: resolv.conf(5) and hosts(5).

use crate::{Host, control::Resolver};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use std::{
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

const PORT: u16 = 53;
/// As many servers as a C library asks.
const MAX_SERVERS: usize = 3;
/// How many names of hosts(5) are taken, and how many bytes of either file.
const MAX_HOSTS: usize = 4096;
const MAX_BYTES: u64 = 256 * 1024;

/// How names are looked up on this host now. A file that cannot be read says nothing.
#[must_use]
pub fn system_resolver() -> Resolver {
    Resolver { servers: servers(&read("/etc/resolv.conf"), index_of), hosts: hosts(&read("/etc/hosts")) }
}

/// The whole lines of a file that fit.
fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    // What was read before an error counts.
    let _ = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
    if bytes.len() as u64 == MAX_BYTES {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The servers of a resolv.conf(5); this host itself if it has none.
fn servers(text: &str, index_of: impl Fn(&str) -> Option<u32>) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        match address.split_once('%') {
            Some((address, scope)) => {
                let scope = scope.parse().ok().or_else(|| index_of(scope))?;
                Some(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, PORT, 0, scope).into())
            }
            None => Some(SocketAddr::new(address.parse().ok()?, PORT)),
        }
    };
    let mut servers: Vec<SocketAddr> = text.lines().filter_map(server).take(MAX_SERVERS).collect();
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    servers
}

/// The number of a network interface.
fn index_of(interface: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    netdevice::name_to_index(socket, interface).ok()
}

/// The names of a hosts(5), in lower case, with their addresses.
fn hosts(text: &str) -> Vec<(String, IpAddr)> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        Some((words.next()?.parse::<IpAddr>().ok()?, words))
    });
    let names = lines.flat_map(|(address, words)| words.map(move |word| (word, address)));
    let names = names.filter_map(|(word, address)| Some((Host::parse(word).ok()?.name()?.to_owned(), address)));
    names.take(MAX_HOSTS).collect()
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
