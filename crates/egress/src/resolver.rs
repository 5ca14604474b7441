//! Hides where addresses come from: a stub resolver that asks the host's own name servers, and remembers for a while
//! what they said.

use crate::{
    Host, Reason,
    answer::{Answer, Family, Query},
    control,
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::{Notify, OnceCell, futures::Notified},
    time::{Instant, timeout},
};

/// How long one server is waited for, so that the next one is asked soon.
const PATIENCE: Duration = Duration::from_secs(2);
/// By how much longer, once none has answered: a server may be as slow as others wait for it (resolv.conf(5), 5 s).
const LONGER: f32 = 2.5;
/// How often each server is asked.
const ROUNDS: usize = 2;
/// How long an address of one family waits for those of the other.
const GRACE: Duration = Duration::from_millis(300);
/// After how many messages that are no answers to it a question is asked where nobody can guess its answer.
const MAX_STRANGERS: usize = 8;
/// The longest message by UDP: nobody is told that more than 512 bytes are welcome.
const MAX_DATAGRAM: usize = 4096;
/// How many names are remembered.
const MAX_NAMES: usize = 1024;
/// For how many seconds at least, and at most.
const LIFETIME: (u32, u32) = (1, 60);

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LookupError {
    /// There is none of that name, or none with addresses.
    #[error("There is no such host")]
    NoSuchHost,
    /// No server answers, or none can say.
    #[error("No name server can say")]
    NoAnswer,
}

type Lookup = Result<Vec<IpAddr>, LookupError>;

/// The addresses of a host as egress finds them, looked up once and by this process.
///
/// # Errors
/// Why there are none: [`Reason::NoSuchHost`] or [`Reason::LookupFailed`].
pub fn look_up(host: &Host) -> Result<Vec<IpAddr>, Reason> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|_| Reason::LookupFailed)?;
    let found = runtime.block_on(Resolver::new(crate::system_resolver()).lookup(&host.to_string()));
    found.map_err(reason)
}

/// The addresses of hosts as egress finds them, for whoever has a runtime.
#[derive(Clone)]
pub struct Names(Arc<Resolver>);

impl Names {
    /// Asks whom this says, and no file.
    #[must_use]
    pub fn new(config: control::Resolver) -> Self {
        Self(Arc::new(Resolver::new(config)))
    }

    /// The addresses of a host.
    ///
    /// # Errors
    /// As [`look_up`].
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Reason> {
        self.0.lookup(name).await.map_err(reason)
    }
}

fn reason(error: LookupError) -> Reason {
    match error {
        LookupError::NoSuchHost => Reason::NoSuchHost,
        LookupError::NoAnswer => Reason::LookupFailed,
    }
}

/// A resolver with its memory.
pub(crate) struct Resolver {
    config: Mutex<Arc<control::Resolver>>,
    patience: Duration,
    /// The server that answered last.
    first: AtomicUsize,
    names: Mutex<HashMap<String, Arc<Entry>>>,
    changed: Notify,
}

/// What is known about a name, and until when; nothing while it is being asked for.
type Entry = OnceCell<(Lookup, Instant)>;

impl Resolver {
    /// A resolver that remembers nothing yet.
    pub(crate) fn new(config: control::Resolver) -> Self {
        Self {
            config: Mutex::new(Arc::new(config)),
            patience: PATIENCE,
            first: AtomicUsize::new(0),
            names: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// From now on these are asked; what others said is forgotten.
    pub(crate) fn set(&self, config: control::Resolver) {
        let mut own = locked(&self.config);
        if **own != config {
            *own = Arc::new(config);
            locked(&self.names).clear();
            self.changed.notify_waiters();
        }
    }

    /// Waits until others are asked than now.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The addresses of a host, IPv4 first; an address has itself. Nothing is appended to a name.
    ///
    /// # Errors
    /// [`LookupError`] if there is none.
    pub(crate) async fn lookup(&self, name: &str) -> Lookup {
        let name = match Host::parse(name) {
            Ok(Host::Address(address)) => return Ok(vec![address]),
            Ok(Host::Name(name)) => name,
            Err(_) => return Err(LookupError::NoSuchHost),
        };
        // Whatever a file or a server says (RFC 6761, 6.3).
        if &*name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let config = locked(&self.config).clone();
        let listed = config.hosts.iter().filter(|(listed, _)| listed.eq_ignore_ascii_case(&name));
        let listed: Vec<IpAddr> = listed.map(|(_, address)| *address).collect();
        if !listed.is_empty() {
            return Ok(listed);
        }
        // Whoever else asks for it meanwhile waits for the same answer.
        let entry = self.entry(&name);
        entry.get_or_init(|| self.ask(&config.servers, &name)).await.0.clone()
    }

    /// Where to find what is known about a name, or put it.
    fn entry(&self, name: &str) -> Arc<Entry> {
        let mut names = locked(&self.names);
        let now = Instant::now();
        let holds = |entry: &Entry| entry.get().is_none_or(|(_, until)| *until > now);
        if let Some(entry) = names.get(name).filter(|entry| holds(entry)) {
            return entry.clone();
        }
        let entry = Arc::new(Entry::new());
        if names.len() >= MAX_NAMES {
            names.retain(|_, entry| holds(entry));
        }
        if names.len() >= MAX_NAMES {
            names.retain(|_, entry| !entry.initialized());
        }
        if names.len() < MAX_NAMES {
            names.insert(name.to_owned(), entry.clone());
        }
        entry
    }

    /// Asks for both families at once.
    async fn ask(&self, servers: &[SocketAddr], name: &str) -> (Lookup, Instant) {
        let (mut v4, mut v6) =
            (pin!(self.ask_all(servers, name, Family::V4)), pin!(self.ask_all(servers, name, Family::V6)));
        // Some servers never answer to one of them.
        let (v4, v6) = tokio::select! {
            answer = &mut v4 => { let other = beside(&answer, v6).await; (answer, other) }
            answer = &mut v6 => (beside(&answer, v4).await, answer),
        };
        let mut lifetime = LIFETIME.1;
        let mut addresses = Vec::new();
        for answer in [&v4, &v6] {
            if let Answer::Addresses(found, seconds) = answer
                && !found.is_empty()
            {
                addresses.extend_from_slice(found);
                lifetime = lifetime.min(*seconds);
            }
        }
        let nothing = |answer: &Answer| matches!(answer, Answer::Addresses(..));
        let lookup = if !addresses.is_empty() {
            Ok(addresses)
        } else if [&v4, &v6].contains(&&Answer::NoSuchName) || (nothing(&v4) && nothing(&v6)) {
            Err(LookupError::NoSuchHost)
        } else {
            Err(LookupError::NoAnswer)
        };
        let lifetime = if lookup.is_ok() { lifetime.max(LIFETIME.0) } else { LIFETIME.0 };
        (lookup, Instant::now() + Duration::from_secs(lifetime.into()))
    }

    /// Asks one server after the other, beginning with the one that answered last.
    async fn ask_all(&self, servers: &[SocketAddr], name: &str, family: Family) -> Answer {
        let first = self.first.load(Relaxed);
        for turn in 0..ROUNDS * servers.len() {
            let index = (first + turn) % servers.len();
            let patience = if turn < servers.len() { self.patience } else { self.patience.mul_f32(LONGER) };
            let answer = self.ask_one(servers[index], name, family, patience).await.unwrap_or(Answer::Failed);
            if matches!(answer, Answer::Addresses(..) | Answer::NoSuchName) {
                self.first.store(index, Relaxed);
                return answer;
            }
        }
        Answer::Failed
    }

    async fn ask_one(&self, server: SocketAddr, name: &str, family: Family, patience: Duration) -> io::Result<Answer> {
        let mut id = [0; 2];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let query = Query { id: u16::from_ne_bytes(id), name: name.to_owned(), family };
        let Some(message) = query.to_message() else { return Ok(Answer::Failed) };
        match timeout(patience, over_udp(server, &query, &message)).await?? {
            Answer::Truncated => timeout(patience, over_tcp(server, &query, &message)).await?,
            answer => Ok(answer),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer for the other family, which is not waited for long where the first one is good enough.
async fn beside(first: &Answer, second: impl Future<Output = Answer>) -> Answer {
    match first {
        Answer::Addresses(addresses, _) if addresses.is_empty() => second.await,
        Answer::Addresses(..) | Answer::NoSuchName => timeout(GRACE, second).await.unwrap_or(Answer::Failed),
        Answer::Truncated | Answer::Failed => second.await,
    }
}

/// Asks from a socket of its own: the kernel gives it a port that nobody knows, and takes only what the server sends.
async fn over_udp(server: SocketAddr, query: &Query, message: &[u8]) -> io::Result<Answer> {
    let here: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((here, 0)).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buffer = [0; MAX_DATAGRAM];
    for _ in 0..MAX_STRANGERS {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = query.read(&buffer[..length]) {
            return Ok(answer);
        }
    }
    // Somebody is guessing.
    Ok(Answer::Truncated)
}

async fn over_tcp(server: SocketAddr, query: &Query, message: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(query.read(&answer).unwrap_or(Answer::Failed))
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
