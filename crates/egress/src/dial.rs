//! Hides how a connection to one of several addresses is made: nothing but checked ones, the next a little after one
//! that is slow (RFC 8305).

use crate::{CheckedAddr, Denial, Reason, Target, server::urgent_in_line, socket::Socket};
use rustix::{
    fd::AsFd,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};
use std::{io, net::SocketAddr, time::Duration};
use tokio::{net::TcpSocket, task::JoinSet};

/// How long the next address waits for the one before.
const STAGGER: Duration = Duration::from_millis(250);
/// How long all of them together may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Addresses that are tried.
const MOST: usize = 8;
/// How long nothing comes before a peer is asked whether it is there: less than NATs forget a connection after.
const IDLE: Duration = Duration::from_secs(60);
/// How long until it is asked again.
const AGAIN: Duration = Duration::from_secs(15);
/// Questions without an answer after which it is gone: two minutes after its last word, and a few lost packets don't do.
const UNANSWERED: u32 = 4;

/// Connects to the first address that answers.
///
/// # Errors
/// The denial, if none does.
pub(crate) async fn dial(target: &Target, addresses: &[CheckedAddr]) -> Result<(Socket, SocketAddr), Denial> {
    let unreachable = |detail: String| Denial::new(Reason::Unreachable, target).because(detail);
    match tokio::time::timeout(PATIENCE, race(addresses)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(unreachable(with_number(describe(&error), addresses.len()))),
        Err(_) => Err(unreachable(with_number("it does not answer".to_owned(), addresses.len()))),
    }
}

/// Says how many of the addresses were tried, if not all.
fn with_number(words: String, all: usize) -> String {
    if all > MOST { format!("{words}; {MOST} of its {all} addresses were tried") } else { words }
}

async fn race(addresses: &[CheckedAddr]) -> io::Result<(Socket, SocketAddr)> {
    let mut waiting = alternate(addresses).into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            let address = address.addr();
            attempts.spawn_local(async move { connect(address).await.map(|stream| (stream, address)) });
        }
        let next = if waiting.len() > 0 { STAGGER } else { PATIENCE };
        match tokio::time::timeout(next, attempts.join_next()).await {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(Some(Err(_))) | Err(_) => {}
            Ok(None) => return Err(last),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<Socket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    urgent_in_line(&socket);
    keep_alive(&socket)?;
    TcpSocket::from_std_stream(socket.into()).connect(address).await.map(Socket::from)
}

/// Has the kernel notice a peer that is gone without a word. A program's own SO_KEEPALIVE ends at its connection to this
/// process, which always answers: so it can't ask itself, and nobody else would.
fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, AGAIN)?;
    Ok(sockopt::set_tcp_keepcnt(&socket, UNANSWERED)?)
}

/// The first addresses, of both families in turn.
fn alternate(addresses: &[CheckedAddr]) -> Vec<CheckedAddr> {
    let family = addresses.first().map(|address| address.addr().is_ipv6());
    let (first, second): (Vec<CheckedAddr>, Vec<_>) =
        addresses.iter().partition(|address| Some(address.addr().is_ipv6()) == family);
    let mut order = Vec::new();
    for index in 0..MOST {
        order.extend(first.get(index).copied());
        order.extend(second.get(index).copied());
    }
    order.truncate(MOST);
    order
}

/// Without the number that the system's text ends with.
fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "this host has no way to it".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
