//! Hides how requests travel between programs and the user's agent: each over a connection that the supervisor makes, since
//! egress reaches nothing by a path.

use super::{
    filter::{self, Connection, FAILURE, Fate},
    message::put,
};
use crate::{Denial, Host, Reason, Target, account::Account, server::Shared};
use rustix::{
    fd::OwnedFd,
    net::{SendFlags, sockopt},
};
use std::{cell::Cell, io, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest, unix::AsyncFd},
    net::UnixStream,
    sync::Mutex,
    time::timeout,
};
use wire::flow::Flow;

/// The longest message, in bytes, as OpenSSH has it.
pub(super) const MAX: u32 = 256 * 1024;
/// How many programs may have the agent open at once. One more is not served.
const AT_ONCE: usize = 256;
/// How long the agent may take: it may ask its user, or wait for a touch.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long whoever is refused faster than the supervisor hears waits, at a time.
const PAUSE: Duration = Duration::from_millis(100);
/// What the agent is called where a server is named otherwise.
const AGENT: &str = "ssh-agent";

/// The way to the user's agent.
pub(crate) struct Lender {
    /// A byte asks the supervisor for a connection, which comes with one.
    asks: Option<AsyncFd<OwnedFd>>,
    /// Whoever has it asks: one at a time.
    turn: Mutex<()>,
    open: Cell<usize>,
}

impl Lender {
    #[expect(deprecated, reason = "what is unsound are descriptors that are closed early, which an OwnedFd is not")]
    pub(crate) fn new(asks: Option<OwnedFd>) -> io::Result<Self> {
        if let Some(asks) = &asks {
            rustix::io::ioctl_fionbio(asks, true)?;
        }
        Ok(Self { asks: asks.map(AsyncFd::new).transpose()?, turn: Mutex::new(()), open: Cell::new(0) })
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let asks = self.asks.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let send = |socket: &OwnedFd| Ok(rustix::net::send(socket, &[0], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?);
        asks.async_io(Interest::WRITABLE, send).await?;
        let (_, mut fds) = asks.async_io(Interest::READABLE, |socket| jail::fd::receive(socket, 1, &mut [0])).await?;
        let socket = fds.pop().ok_or(io::ErrorKind::ConnectionRefused)?;
        rustix::io::ioctl_fionbio(&socket, true)?;
        UnixStream::from_std(socket.into())
    }

    /// Asks the agent over a connection of its own, one at a time: the agent is its user's too, who is not to wait for
    /// what a sandbox holds of it.
    async fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let _turn = self.turn.lock().await;
        let mut agent = self.connect().await?;
        write(&mut agent, request).await?;
        read(&mut agent).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Serves a connection that init hands over: a local socket, or a TCP one where something lies between.
pub(crate) async fn adopt(shared: Rc<Shared>, socket: OwnedFd) {
    let is_local = sockopt::socket_domain(&socket) == Ok(rustix::net::AddressFamily::UNIX);
    if rustix::io::ioctl_fionbio(&socket, true).is_err() {
        return;
    }
    match is_local {
        true => {
            if let Ok(client) = UnixStream::from_std(socket.into()) {
                serve(&shared, client).await;
            }
        }
        false => {
            if let Some(client) = crate::server::adopt(socket) {
                serve(&shared, client).await;
            }
        }
    }
}

async fn serve(shared: &Rc<Shared>, mut client: impl AsyncRead + AsyncWrite + Unpin) {
    let lender = &shared.lender;
    if lender.open.get() >= AT_ONCE {
        return;
    }
    lender.open.set(lender.open.get() + 1);
    let mut connection = Connection::default();
    while let Ok(Some(request)) = read(&mut client).await {
        // What holds now: keys may be lent no more.
        let rules = shared.rules();
        let answer = match connection.judge(&request, &rules.lent_keys, &rules.policy) {
            Fate::Answer(kind) => vec![kind],
            Fate::Refused(target, why) => {
                tell(shared, target, Reason::SshKey, &why).await;
                vec![FAILURE]
            }
            Fate::Forward => {
                let asked = timeout(PATIENCE, lender.ask(&request)).await;
                match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                    Ok(answer) => filter::answer(&rules.lent_keys, &request, &answer),
                    Err(error) => {
                        tell(shared, None, Reason::Unreachable, &error.to_string()).await;
                        vec![FAILURE]
                    }
                }
            }
        };
        if write(&mut client, &answer).await.is_err() {
            break;
        }
    }
    lender.open.set(lender.open.get() - 1);
}

/// Puts it on record, and waits if the supervisor has much to hear already.
async fn tell(shared: &Rc<Shared>, target: Option<Target>, reason: Reason, why: &str) {
    let target = target.unwrap_or_else(|| Target { host: Host::Name(AGENT.into()), port: 22 });
    let account = Account::new(shared, &Flow { host: target.host.to_string(), port: target.port });
    account.refused(&Denial::new(reason, &target).because(why), None);
    while shared.channel.is_congested() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// The next message; `None` if there is no more.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length);
    if length > MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = Vec::new();
    if from.take(length.into()).read_to_end(&mut message).await? < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(message))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let mut framed = Vec::with_capacity(message.len() + 4);
    put(&mut framed, message);
    to.write_all(&framed).await
}
