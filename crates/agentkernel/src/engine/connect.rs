//! Hides how bytes get to an engine: by its socket, by TCP, by TLS, or by the user's own ssh.

use super::{Endpoint, EngineError, PROMPT, ssh, tls};
use rustix::fd::OwnedFd;
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// A connection with an engine.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Who tells why there was no answer to a request, if he knows more than that.
pub(super) struct Reason {
    /// What ssh has to say.
    said: Option<OwnedFd>,
}

/// Connects.
pub(super) async fn open(endpoint: &Endpoint) -> Result<(Box<dyn Stream>, Reason), EngineError> {
    let silent = |_| EngineError::Silent(endpoint.to_string());
    let failed = |source| EngineError::Connect { endpoint: endpoint.to_string(), source };
    let plain = Reason { said: None };
    match endpoint {
        Endpoint::Unix(path) => {
            let stream = timeout(PROMPT, UnixStream::connect(path)).await.map_err(silent)?.map_err(failed)?;
            Ok((Box::new(stream), plain))
        }
        Endpoint::Tcp(host) => {
            let stream = timeout(PROMPT, tcp(host)).await.map_err(silent)?.map_err(failed)?;
            Ok((Box::new(stream), plain))
        }
        Endpoint::Tls { host, certificates } => {
            let unfit = |cause| EngineError::Tls { endpoint: endpoint.to_string(), cause };
            let config = tls::config(certificates).map_err(unfit)?;
            let stream = timeout(PROMPT, tcp(host)).await.map_err(silent)?.map_err(failed)?;
            let stream = timeout(PROMPT, tls::speak(config, host, stream)).await.map_err(silent)?.map_err(unfit)?;
            Ok((Box::new(stream), plain))
        }
        Endpoint::Ssh(there) => {
            let failed =
                |error: io::Error| EngineError::Ssh { endpoint: endpoint.to_string(), cause: error.to_string() };
            let (stream, said) = ssh::open(there).map_err(failed)?;
            Ok((Box::new(stream), Reason { said: Some(said) }))
        }
    }
}

impl Reason {
    /// The error for what became of a request.
    pub fn of(self, endpoint: &Endpoint, error: &hyper::Error) -> EngineError {
        let nonsense = || EngineError::Nonsense(wire::cause(error));
        match (endpoint, self.said) {
            _ if error.is_parse() => nonsense(),
            // With version 1.3, a server tells only now that it wants another client.
            (Endpoint::Tls { .. }, _) => match tls::alert(error) {
                Some(cause) => EngineError::Tls { endpoint: endpoint.to_string(), cause },
                None => nonsense(),
            },
            (Endpoint::Ssh(_), Some(said)) => match ssh::last_words(&said) {
                Some(cause) => EngineError::Ssh { endpoint: endpoint.to_string(), cause },
                None => EngineError::Ssh { endpoint: endpoint.to_string(), cause: wire::cause(error) },
            },
            _ => nonsense(),
        }
    }
}

/// Connects with `HOST:PORT`.
async fn tcp(host: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses(host).await?.as_slice()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The addresses of `HOST:PORT`.
async fn addresses(host: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let (name, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let port = port.parse().map_err(io::Error::other)?;
    let found = egress::Names::new(egress::system_resolver()).look_up(name).await;
    let found = found.map_err(|reason| io::Error::other(format!("no address is known [{reason}]")))?;
    Ok(found.iter().map(|address| SocketAddr::new(*address, port)).collect())
}
