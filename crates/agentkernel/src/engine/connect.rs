//! Hides how bytes get to an engine: by its socket, by TCP, by TLS, or by the user's own ssh.

use super::{Body, Endpoint, EngineError, PROMPT, ssh, tls};
use http::{Response, header, request::Builder};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustix::fd::OwnedFd;
use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// The way to an engine. Where a connection costs a handshake or a login, one that is free is used again.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub endpoint: Endpoint,
    free: Rc<RefCell<Option<SendRequest<Body>>>>,
}

impl Way {
    pub fn to(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), free: Rc::default() }
    }

    /// Keeps none for later.
    pub fn let_go(&self) {
        self.free.take();
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn call(
        &self,
        request: Builder,
        body: Body,
        patience: Duration,
    ) -> Result<Response<Incoming>, EngineError> {
        let silent = |_| EngineError::Silent(self.endpoint.to_string());
        let request = request.header(header::HOST, "engine").body(body);
        let mut request = request.map_err(|error| EngineError::Nonsense(error.to_string()))?;
        if let Some(mut sender) = self.take().await {
            match timeout(patience, sender.try_send_request(request)).await.map_err(silent)? {
                Ok(response) => return Ok(self.keep(sender, response)),
                Err(mut error) => match error.take_message() {
                    // Nothing of it was sent.
                    Some(unsent) => request = unsent,
                    None => return Err(EngineError::Nonsense(wire::cause(error.error()))),
                },
            }
        }
        let (stream, reason) = open(&self.endpoint).await?;
        let sent = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Why it ends is told to whoever waits for the answer.
            tokio::task::spawn_local(async move { drop(connection.with_upgrades().await) });
            let response = sender.send_request(request).await?;
            Ok(self.keep(sender, response))
        };
        timeout(patience, sent).await.map_err(silent)?.map_err(|error| reason.of(&self.endpoint, &error))
    }

    /// A connection that has nothing more to carry, and still stands.
    async fn take(&self) -> Option<SendRequest<Body>> {
        let sender = self.free.take()?;
        // Lets one that the other side has closed meanwhile say so.
        tokio::task::yield_now().await;
        sender.is_ready().then_some(sender)
    }

    fn keep(&self, sender: SendRequest<Body>, response: Response<Incoming>) -> Response<Incoming> {
        if matches!(self.endpoint, Endpoint::Tls { .. } | Endpoint::Ssh(_)) {
            self.free.replace(Some(sender));
        }
        response
    }
}

/// A connection with an engine.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Who tells why there was no answer to a request, if he knows more than that.
struct Reason {
    /// What ssh has to say.
    said: Option<OwnedFd>,
}

/// Connects.
async fn open(endpoint: &Endpoint) -> Result<(Box<dyn Stream>, Reason), EngineError> {
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
    fn of(self, endpoint: &Endpoint, error: &hyper::Error) -> EngineError {
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
