//! Hides how connections come in: the flow socket, and ports of the sandbox on the host's loopback addresses.

use crate::{
    Denial, Host, Reason, Target,
    account::Account,
    control::Published,
    later::Watch,
    meter::Meter,
    relay,
    server::{self, Shared, reset_at_close, urgent_in_line},
    socket::Socket,
};
use rustix::{fd::OwnedFd, io::Errno, net::SendFlags};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use wire::flow::{Dial, Flow, Handed};

/// How long init may take to dial.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a busy port is not accepted on after descriptors ran out.
const PAUSE: Duration = Duration::from_millis(100);
/// How long until it is tried again to have a port.
const AGAIN: Duration = Duration::from_secs(1);

/// The flow socket, and who waits for what on it.
pub(crate) struct Inbound {
    socket: AsyncFd<OwnedFd>,
    next: Cell<u32>,
    asked: RefCell<BTreeMap<u32, oneshot::Sender<io::Result<Socket>>>>,
    listening: RefCell<BTreeMap<Published, Vec<JoinHandle<()>>>>,
    /// Tries to have what could not be had.
    again: RefCell<Option<JoinHandle<()>>>,
}

impl Inbound {
    #[expect(deprecated, reason = "what is unsound are descriptors that are closed early, which an OwnedFd is not")]
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = AsyncFd::new(socket)?;
        Ok(Self {
            socket,
            next: Cell::new(1),
            asked: RefCell::default(),
            listening: RefCell::default(),
            again: RefCell::default(),
        })
    }

    /// The next thing that init hands over.
    pub(crate) async fn receive(&self) -> io::Result<(Handed, Option<OwnedFd>)> {
        server::receive(&self.socket).await
    }

    /// Init has answered.
    pub(crate) fn answered(&self, request: u32, socket: io::Result<Socket>) {
        if let Some(waiting) = self.asked.borrow_mut().remove(&request) {
            // Whoever asked may have gone.
            let _ = waiting.send(socket);
        }
    }

    /// Connects to a port in the sandbox.
    async fn dial(&self, port: u16, v6: bool) -> io::Result<Socket> {
        let request = self.next.get();
        self.next.set(request.wrapping_add(1));
        let (tell, told) = oneshot::channel();
        self.asked.borrow_mut().insert(request, tell);
        let bytes = wire::encode(&Dial { request, port, v6 }).unwrap_or_default();
        let send = |socket: &OwnedFd| {
            rustix::net::send(socket, &bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map_err(io::Error::from)
        };
        let answer = async {
            self.socket.async_io(Interest::WRITABLE, send).await?;
            told.await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset))?
        };
        let socket = tokio::time::timeout(PATIENCE, answer).await;
        self.asked.borrow_mut().remove(&request);
        let socket = socket.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        // It may still be connecting.
        socket.writable().await?;
        match socket.take_error()? {
            None => Ok(socket),
            Some(error) => Err(error),
        }
    }
}

impl Shared {
    /// Makes these the published ports, and no others.
    ///
    /// # Errors
    /// In words, if one cannot be had; the others are.
    pub(crate) async fn publish(self: &Rc<Self>, ports: &[Published]) -> Result<(), String> {
        if let Some(again) = self.inbound.again.take() {
            again.abort();
        }
        self.listen(ports).await
    }

    /// Tells why a port cannot be had, and tries until it can be, or others are published.
    pub(crate) fn publish_later(self: &Rc<Self>, ports: Vec<Published>, cause: &str) {
        let taken = ports.iter().find(|port| !self.inbound.listening.borrow().contains_key(port));
        let host = Host::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let target = Target { host, port: taken.map_or(0, |port| port.outside) };
        let account = Account::new(self, &Flow { host: target.host.to_string(), port: target.port });
        account.refused(&Denial::new(Reason::Unreachable, &target).because(cause), None);
        let shared = self.clone();
        let again = tokio::task::spawn_local(async move {
            while shared.listen(&ports).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        });
        self.inbound.again.replace(Some(again));
    }

    async fn listen(self: &Rc<Self>, ports: &[Published]) -> Result<(), String> {
        self.inbound.listening.borrow_mut().retain(|port, tasks| {
            let stays = ports.contains(port);
            if !stays {
                tasks.iter().for_each(JoinHandle::abort);
            }
            stays
        });
        // An aborted listener is closed when its task is seen to.
        tokio::task::yield_now().await;
        let mut failed = Ok(());
        for port in ports {
            if self.inbound.listening.borrow().contains_key(port) {
                continue;
            }
            match listen(port.outside).await {
                Ok(listeners) => {
                    let inside = port.inside;
                    let serve = |listener| tokio::task::spawn_local(accept(self.clone(), listener, inside));
                    let tasks = listeners.into_iter().map(serve).collect();
                    self.inbound.listening.borrow_mut().insert(*port, tasks);
                }
                Err(error) => {
                    let why = match error.kind() {
                        io::ErrorKind::AddrInUse => "something else listens on it".to_owned(),
                        io::ErrorKind::PermissionDenied => {
                            "it is below 1024, and egress has no capability for those".to_owned()
                        }
                        _ => error.to_string(),
                    };
                    failed = Err(format!("Port {} of this host can't be had: {why}", port.outside));
                }
            }
        }
        failed
    }
}

/// Listens on the loopback addresses: on IPv6's as well, where there is IPv6.
async fn listen(port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners = vec![TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?];
    match TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await {
        Ok(listener) => listeners.push(listener),
        // Half of a port would lead elsewhere for half of the clients.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(_) => {}
    }
    // As every connection is that they accept.
    listeners.iter().for_each(urgent_in_line);
    Ok(listeners)
}

async fn accept(shared: Rc<Shared>, listener: TcpListener, inside: u16) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::task::spawn_local(join(shared.clone(), client, inside));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Joins a client of the host with a server in the sandbox.
async fn join(shared: Rc<Shared>, client: TcpStream, inside: u16) {
    reset_at_close(&client, true);
    let refused = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::CONNREFUSED);
    let server = match shared.inbound.dial(inside, false).await {
        Err(error) if refused(&error) => shared.inbound.dial(inside, true).await,
        result => result,
    };
    // Nobody listens: the client sees the same as if it had tried there.
    let Ok(server) = server else { return };
    let meter = Meter::new(shared.bucket());
    if relay::relay(&client, &server, std::future::ready(true), &mut Watch::default(), &meter, &shared.pipes)
        .await
        .is_ok()
    {
        reset_at_close(&client, false);
        reset_at_close(&server, false);
    }
}
