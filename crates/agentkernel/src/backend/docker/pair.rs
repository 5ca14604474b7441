//! Hides how two connected TCP sockets are had in one process: egress takes nothing else, and a connection that breaks off
//! is told from one that ends only by TCP.

use rustix::{fd::OwnedFd, net::sockopt};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// How many strangers may come between before it is given up.
const STRANGERS: usize = 64;

/// Two ends of one connection, non-blocking. Whichever is closed before its linger time is taken away resets the other.
///
/// # Errors
/// If this host has no loopback address, or no descriptor left.
pub fn pair() -> io::Result<(TcpStream, OwnedFd)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let own = ours.local_addr()?;
    for _ in 0..STRANGERS {
        let (theirs, from) = listener.accept()?;
        // Any process of this host could have been faster.
        if from != own {
            continue;
        }
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)?;
            end.set_nodelay(true)?;
            sockopt::set_socket_linger(end, Some(Duration::ZERO))?;
        }
        return Ok((ours, theirs.into()));
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn what_goes_in_comes_out_and_a_close_is_a_reset() {
        let (mut ours, theirs) = pair().unwrap();
        let mut theirs = TcpStream::from(theirs);
        ours.write_all(b"hello").unwrap();
        theirs.set_nonblocking(false).unwrap();
        let mut bytes = [0; 5];
        theirs.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        drop(ours);
        assert_eq!(theirs.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
