//! Connections that ask for a way of their own.

use super::{
    ipc::hears,
    network::{PATIENCE, with_a_word},
};
use crate::{
    case::{Case, Class::Network, Control, Outcome, Skip, said, worst},
    context::Context,
    sys::own,
    syscall,
};
use std::{
    net::{SocketAddrV4, TcpStream},
    os::fd::AsRawFd,
};

/// The cases of this kind.
pub const CASES: &[Case] = &[Case::new(
    "host-address-options",
    Network,
    "services on the host's own address can be reached by sockets with unusual options",
    "tcp(7)",
    Control::Host,
    unusual,
)];

/// Level, name and value of a socket's option.
type Setting<'a> = (i32, i32, &'a [u8]);

/// A connection by MPTCP, one whose data goes ahead of it (TFO), and connections whose options ask for a way of their
/// own. Without the right to an option, there is nothing to try.
fn unusual(ctx: &Context) -> Result<Outcome, Skip> {
    let Some(address) = ctx.get("tcp_host").and_then(|text| text.parse::<SocketAddrV4>().ok()) else {
        return Ok(Outcome::Absent("the host has no such address".to_owned()));
    };
    let token = ctx.token()?;
    let (one, mark) = (1i32.to_ne_bytes(), 1u32.to_ne_bytes());
    let attempts: [(i32, Option<Setting<'_>>, bool); 6] = [
        (libc::IPPROTO_MPTCP, None, false),
        (libc::IPPROTO_TCP, None, true),
        (libc::IPPROTO_TCP, Some((libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo")), false),
        (libc::IPPROTO_TCP, Some((libc::SOL_SOCKET, libc::SO_MARK, &mark)), false),
        (libc::IPPROTO_TCP, Some((libc::SOL_SOCKET, libc::SO_DONTROUTE, &one)), false),
        (libc::IPPROTO_TCP, Some((libc::IPPROTO_IP, libc::IP_TRANSPARENT, &one)), false),
    ];
    Ok(worst(attempts.into_iter().map(|(protocol, option, early)| match reach(address, protocol, option, early) {
        Ok(stream) => hears(Ok(with_a_word(stream)), token),
        Err(errno) => Outcome::Held(said(errno)),
    })))
}

fn reach(
    address: SocketAddrV4,
    protocol: i32,
    option: Option<Setting<'_>>,
    early: bool,
) -> Result<TcpStream, rustix::io::Errno> {
    let socket = syscall!(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol)?;
    let stream = TcpStream::from(own(socket));
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let fd = stream.as_raw_fd();
    if let Some((level, name, value)) = option {
        syscall!(libc::SYS_setsockopt, fd, level, name, value, value.len() as u64)?;
    }
    // struct sockaddr_in.
    let family = (libc::AF_INET as u16).to_ne_bytes();
    let place = [&family[..], &address.port().to_be_bytes(), &address.ip().octets(), &[0; 8]].concat();
    let size = place.len() as u64;
    if early {
        let data = b"\0";
        let flags = libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL;
        syscall!(libc::SYS_sendto, fd, data, data.len() as u64, flags, place.as_slice(), size)?;
    } else {
        syscall!(libc::SYS_connect, fd, place.as_slice(), size)?;
    }
    Ok(stream)
}
