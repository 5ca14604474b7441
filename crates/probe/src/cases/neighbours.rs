//! Services of another sandbox of the same host.

use super::{
    ipc::hears,
    network::{connect, leaves, synthetic},
};
use crate::{
    case::{Case, Class::Network, Control, Outcome, Skip, words, worst},
    context::Context,
};
use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream},
    },
    process::ExitCode,
    thread,
};

/// The cases of this kind.
pub const CASES: &[Case] = &[
    Case::new(
        "neighbour-tcp",
        Network,
        "what another sandbox listens on can be reached",
        "network_namespaces(7)",
        Control::Neighbour,
        tcp,
    ),
    Case::new(
        "neighbour-abstract",
        Network,
        "abstract sockets of another sandbox can be reached",
        "CVE-2020-15257",
        Control::Neighbour,
        |ctx| {
            let stream = UnixStream::connect_addr(&hidden(ctx)?);
            let stream = stream.and_then(|stream| stream.set_read_timeout(Some(crate::way::PATIENCE)).map(|()| stream));
            Ok(hears(stream, ctx.token()?))
        },
    ),
];

/// A port that is free wherever the host's ports are not.
fn port(ctx: &Context) -> Result<u16, Skip> {
    ctx.number("tcp4").map(|address: SocketAddr| address.port())
}

fn hidden(ctx: &Context) -> Result<UnixAddr, Skip> {
    let name = format!("{}-neighbour", ctx.need("abstract")?);
    UnixAddr::from_abstract_name(name).map_err(|error| Skip(words(&error)))
}

/// At the addresses that a neighbour has from inside, from outside, and by name. No packet leaves the host.
fn tcp(ctx: &Context) -> Result<Outcome, Skip> {
    let (port, token) = (port(ctx)?, ctx.token()?);
    let host = ctx.get("tcp_host").and_then(|text| text.parse().ok()).map(|address: SocketAddr| address.ip());
    let own: [IpAddr; 3] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), Ipv4Addr::UNSPECIFIED.into()];
    // Made up ones that no name has been given: what one stands for would be looked up.
    let others = [[198, 19, 255, 253], [198, 19, 255, 254], [10, 0, 0, 1]].map(IpAddr::from);
    let others = others.into_iter().filter(|address| matches!(leaves(*address), Outcome::Held(_)));
    let addresses = own.into_iter().chain(host).chain(others);
    Ok(worst(addresses.map(|address| match hears(connect((address, port).into()), token) {
        Outcome::Escaped(_) if synthetic(address) => Outcome::Escaped("it is reached by a made up address".to_owned()),
        other => other,
    })))
}

/// Listens wherever it can, and tells the token to whoever comes.
pub fn listen(ctx: &Context) -> ExitCode {
    let (Ok(port), Ok(token), Ok(hidden)) = (port(ctx), ctx.token(), hidden(ctx)) else { return ExitCode::from(2) };
    let tell = |stream: io::Result<Box<dyn Write>>| {
        let _ = stream.and_then(|mut stream| stream.write_all(token.as_bytes()));
    };
    thread::scope(|scope| {
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            if let Ok(listener) = TcpListener::bind((any, port)) {
                scope.spawn(move || listener.incoming().for_each(|peer| tell(peer.map(|peer| Box::new(peer) as _))));
            }
        }
        if let Ok(listener) = UnixListener::bind_addr(&hidden) {
            scope.spawn(move || listener.incoming().for_each(|peer| tell(peer.map(|peer| Box::new(peer) as _))));
        }
    });
    ExitCode::FAILURE
}
