//! Hides the life of an egress: flows in, orders in, each flow a task of its own.

use crate::{
    Denial, Policy, Reason, Target,
    account::{Account, INVALID},
    address::Own,
    bucket::Bucket,
    channel::{Channel, Ordered},
    control::{Answer, Config, Event, Leave, Order, Renewal},
    flow,
    inbound::Inbound,
    inspect::Inspector,
    logins::{Leaves, Logins},
    relay::Pipes,
    resolver::Resolver,
    room::Room,
    socket::Socket,
    ssh::{self, Lender, LentKeys},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    net::{AddressFamily, SocketType, ipproto, sockopt},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::IpAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::unix::AsyncFd,
    net::TcpStream,
    sync::Notify,
    task::{JoinHandle, LocalSet},
};
use wire::flow::{Flow, Handed, MAX_DATAGRAM};

/// Flows at once. One more is refused.
const MAX_FLOWS: usize = 4096;
/// How long flows may take to be heard to their end when the sandbox has ended, how long to tell of their own, and how often
/// it is looked whether they have.
const GRACE: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(1);
/// How long nothing is accepted after descriptors ran out.
const PAUSE: Duration = Duration::from_millis(100);

/// What holds until the next order: an immutable value, swapped whole.
pub(crate) struct Rules {
    pub(crate) sandbox: Rc<str>,
    pub(crate) policy: Policy,
    pub(crate) inspector: Inspector,
    pub(crate) lent_keys: LentKeys,
}

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) channel: Channel,
    pub(crate) resolver: Resolver,
    pub(crate) pipes: Pipes,
    pub(crate) inbound: Inbound,
    pub(crate) own: Own,
    /// None, if there are no logins.
    pub(crate) logins: Option<Rc<Logins>>,
    pub(crate) leaves: Leaves,
    pub(crate) room: Room,
    pub(crate) lender: Lender,
    rules: RefCell<Rc<Rules>>,
    bucket: RefCell<Option<(u64, Arc<Bucket>)>>,
    operations: RefCell<Option<(u64, Arc<Bucket>)>>,
    flows: RefCell<BTreeMap<u64, Open>>,
    next: Cell<u64>,
    /// The sandbox is gone.
    ending: Cell<bool>,
}

/// A flow that is under way.
struct Open {
    target: Target,
    /// Where to, once it is connected.
    address: Option<IpAddr>,
    revoked: Rc<Notify>,
}

/// An egress that has read what it needs of the file system.
pub(crate) struct Prepared {
    config: Config,
    inspector: Inspector,
    own: Own,
}

impl Prepared {
    pub(crate) fn new(config: Config) -> Self {
        let inspector = Inspector::new(&config, None);
        Self { config, inspector, own: Own::read() }
    }

    /// Serves until the supervisor is gone.
    pub(crate) fn serve(self, flows: OwnedFd, control: OwnedFd, agent: Option<OwnedFd>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            let Self { config, inspector, own } = self;
            let rules =
                Rules { sandbox: config.sandbox.into(), policy: config.policy, inspector, lent_keys: config.lent_keys };
            let (channel, inbound, lender) = (Channel::new(control)?, Inbound::new(flows)?, Lender::new(agent)?);
            let shared = Rc::new_cyclic(|shared: &Weak<Shared>| Shared {
                channel,
                resolver: Resolver::new(config.resolver),
                pipes: Pipes::default(),
                own,
                inbound,
                logins: (!config.logins.is_empty()).then(|| {
                    let secrets = rules.inspector.secrets().clone();
                    Rc::new(Logins::new(&config.logins, secrets, Box::new(shared.clone())))
                }),
                leaves: Leaves::default(),
                room: Room::default(),
                lender,
                rules: RefCell::new(Rc::new(rules)),
                bucket: RefCell::default(),
                operations: RefCell::default(),
                flows: RefCell::default(),
                next: Cell::new(1),
                ending: Cell::new(false),
            });
            shared.set_rates(config.bandwidth, config.connections);
            // Somebody may have taken a port since the egress before this one.
            if let Err(cause) = shared.publish(&config.ports).await {
                shared.publish_later(config.ports, &cause);
            }
            let accepting: JoinHandle<()> = tokio::task::spawn_local(accept(shared.clone()));
            while let Some(ordered) = shared.channel.next().await {
                shared.obey(ordered).await;
            }
            accepting.abort();
            shared.turn_away().await;
            shared.end().await;
            shared.channel.settle().await;
            Ok(())
        })
    }
}

/// Takes flows as init hands them over.
async fn accept(shared: Rc<Shared>) {
    loop {
        while shared.channel.is_congested() {
            tokio::time::sleep(PAUSE).await;
        }
        match shared.inbound.receive().await {
            Ok((Handed::Flow(flow), None)) => {
                // The kernel had no descriptor to give, and has reset the connection.
                let account = Account::new(&shared, &flow);
                account.refused(&Denial::new(Reason::TooMany, &account.target), None);
                tokio::time::sleep(PAUSE).await;
            }
            Ok((handed, socket)) => shared.take(handed, socket),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            // Out of descriptors, most likely.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

impl Shared {
    pub(crate) fn rules(&self) -> Rc<Rules> {
        self.rules.borrow().clone()
    }

    pub(crate) fn bucket(&self) -> Option<Arc<Bucket>> {
        self.bucket.borrow().as_ref().map(|(_, bucket)| bucket.clone())
    }

    /// Waits until one more connection may be begun.
    pub(crate) async fn permit_one(&self) {
        let operations = self.operations.borrow().as_ref().map(|(_, bucket)| bucket.clone());
        if let Some(operations) = operations {
            operations.take(1).await;
        }
    }

    fn take(self: &Rc<Self>, handed: Handed, socket: Option<OwnedFd>) {
        match handed {
            Handed::Flow(flow) => {
                let Some(socket) = socket.and_then(adopt) else { return };
                self.begin(flow, socket);
            }
            Handed::Agent => {
                if let Some(socket) = socket {
                    tokio::task::spawn_local(ssh::adopt(self.clone(), socket));
                }
            }
            Handed::Dialled { request } => {
                let socket = socket.and_then(adopt).ok_or(rustix::io::Errno::BADF);
                self.inbound.answered(request, socket.map_err(Into::into));
            }
            Handed::NotDialled { request, errno } => {
                self.inbound.answered(request, Err(io::Error::from_raw_os_error(errno)));
            }
        }
    }

    /// The number of the next flow.
    pub(crate) fn next_number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    fn begin(self: &Rc<Self>, flow: Flow, socket: Socket) {
        let account = Account::new(self, &flow);
        let target = account.target.clone();
        if flow.port == 0 || target.host.name() == Some(INVALID) {
            let denial = Denial::new(Reason::BadName, &target).because(crate::host::shown(&flow.host));
            tokio::task::spawn_local(flow::refuse(account, socket, denial));
            return;
        }
        if self.flows.borrow().len() >= MAX_FLOWS {
            account.refused(&Denial::new(Reason::TooMany, &target), None);
            return;
        }
        let revoked = Rc::new(Notify::new());
        let open = Open { target, address: None, revoked: revoked.clone() };
        self.flows.borrow_mut().insert(account.number(), open);
        tokio::task::spawn_local(flow::serve(account, socket, revoked));
    }

    /// Nobody carries a flow any more.
    pub(crate) fn ended(&self, flow: u64) {
        self.flows.borrow_mut().remove(&flow);
    }

    /// A flow is connected. Whether it may stay so, its address tells as well.
    pub(crate) fn connected(&self, flow: u64, address: IpAddr) {
        if let Some(open) = self.flows.borrow_mut().get_mut(&flow) {
            open.address = Some(address);
        }
    }

    /// Whether flows are ended because the sandbox is gone, and not because a rule denies them.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// Tells of what init has handed over, and nobody has begun.
    async fn turn_away(self: &Rc<Self>) {
        while let Ok(Ok((handed, _))) = tokio::time::timeout(TICK, self.inbound.receive()).await {
            if let Handed::Flow(flow) = handed {
                Account::new(self, &flow).ended();
            }
        }
    }

    /// Ends what is still open, once those who are gone have had a moment to be heard to their end; so that all of it is
    /// told.
    async fn end(&self) {
        self.leaves.end();
        self.until_all_ended(GRACE).await;
        self.ending.set(true);
        self.flows.borrow().values().for_each(|open| open.revoked.notify_one());
        self.until_all_ended(LAST).await;
        if let Some(logins) = &self.logins {
            logins.settle().await;
        }
    }

    async fn until_all_ended(&self, most: Duration) {
        let ended = async {
            while !self.flows.borrow().is_empty() {
                tokio::time::sleep(TICK).await;
            }
        };
        let _ = tokio::time::timeout(most, ended).await;
    }

    async fn obey(self: &Rc<Self>, Ordered { stream, order }: Ordered) {
        let config = match order {
            Order::Configure(config) => *config,
            Order::Leave(login, leave) => {
                let must_end = matches!(leave, Leave::Renew(_));
                if !self.leaves.answer(login, leave) && must_end {
                    self.channel.tell(&Event::Renewal(login, Renewal::Failed));
                }
                return self.channel.answer(stream, &Answer::Done);
            }
        };
        self.set_rates(config.bandwidth, config.connections);
        self.resolver.set(config.resolver.clone());
        let published = self.publish(&config.ports).await;
        let old = self.rules();
        let inspector = Inspector::new(&config, Some(&old.inspector));
        let (sandbox, policy, lent_keys) = (config.sandbox.into(), config.policy, config.lent_keys);
        *self.rules.borrow_mut() = Rc::new(Rules { sandbox, policy, inspector, lent_keys });
        let policy = &self.rules().policy;
        for open in self.flows.borrow().values() {
            let admitted = match open.address {
                Some(address) => policy.admit(&open.target, &[address], |address| self.own.has(address)).is_ok(),
                None => true,
            };
            // A connection is what it was when it was made: one that would be less by now ends.
            let stays = policy
                .judge(&open.target)
                .is_ok_and(|grant| old.policy.judge(&open.target).is_ok_and(|before| grant.covers(&before)));
            if !(admitted && stays) {
                open.revoked.notify_one();
            }
        }
        let answer = match published {
            Ok(()) => Answer::Done,
            Err(cause) => Answer::Failed(cause),
        };
        self.channel.answer(stream, &answer);
    }

    fn set_rates(&self, bandwidth: Option<u64>, connections: Option<u64>) {
        let set = |bucket: &RefCell<Option<(u64, Arc<Bucket>)>>, wanted: Option<u64>, make: fn(u64) -> Bucket| {
            let mut bucket = bucket.borrow_mut();
            // One that goes on keeps what was taken.
            if bucket.as_ref().map(|(rate, _)| *rate) != wanted {
                *bucket = wanted.map(|rate| (rate, Arc::new(make(rate))));
            }
        };
        set(&self.bucket, bandwidth, Bucket::new);
        set(&self.operations, connections, Bucket::of_operations);
    }
}

/// Takes a socket for what it is said to be. Init is as trustworthy as what runs beside it.
pub(crate) fn adopt(socket: OwnedFd) -> Option<Socket> {
    let family = sockopt::socket_domain(&socket).ok()?;
    let internet = family == AddressFamily::INET || family == AddressFamily::INET6;
    let stream = sockopt::socket_type(&socket).ok()? == SocketType::STREAM;
    let tcp = sockopt::socket_protocol(&socket).ok()? == Some(ipproto::TCP);
    if !(internet && stream && tcp) {
        return None;
    }
    rustix::io::ioctl_fionbio(&socket, true).ok()?;
    // Small messages back and forth are what most protocols are made of.
    let _ = sockopt::set_tcp_nodelay(&socket, true);
    urgent_in_line(&socket);
    reset_at_close(socket.as_fd(), true);
    TcpStream::from_std(socket.into()).ok().map(Socket::from)
}

/// Whether closing a socket breaks the connection off, and does not end it as if all had been said. Whatever kills this
/// process, nobody takes half of something for the whole.
pub(crate) fn reset_at_close(socket: impl AsFd, reset: bool) {
    // It fails only if the connection is gone already.
    let _ = sockopt::set_socket_linger(socket, reset.then_some(Duration::ZERO));
}

/// Makes urgent data a part of the stream, before any can come. Whoever reads there, and whatever is asked for in it, has
/// the same bytes then (RFC 6093, 6).
pub(crate) fn urgent_in_line(socket: impl AsFd) {
    // No kernel refuses it.
    let _ = sockopt::set_socket_oobinline(socket, true);
}

/// Waits for datagrams.
pub(crate) async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<(Handed, Option<OwnedFd>)> {
    loop {
        let mut ready = socket.readable().await?;
        let mut bytes = [0; MAX_DATAGRAM];
        let received = ready.try_io(|socket| jail::fd::receive(socket, 1, &mut bytes));
        match received {
            Err(_) => {}
            Ok(Err(error)) => return Err(error),
            Ok(Ok((length, mut fds))) => {
                // What cannot be understood is dropped with its socket.
                if let Ok(handed) = wire::decode(&bytes[..length]) {
                    return Ok((handed, fds.pop()));
                }
            }
        }
    }
}
