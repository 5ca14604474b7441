//! Hides the egress process: started when init hands over the first connection, told what holds, listened to, and
//! started anew after it died.

use super::{Lendings, deadline::Deadline, logins::Logins, server::Server};
use crate::{
    Name, SandboxId, Spec,
    connection::{Connection, Filled, Incoming},
    store::{AuditEvent, Subject},
};
use egress::{
    Denial, Policy, Reason, Secret, Target,
    control::{Answer, AuthorityKey, Config, Event, FlowEvent, Leave, Order, Published, Tokens, Totals, What},
};
use jail::process::Fork;
use rustix::{
    event::{epoll, epoll::EventFlags},
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType},
    process::{WaitId, WaitIdOptions},
};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use wire::{
    Failure, api,
    flow::{Handed, MAX_DATAGRAM},
    mux::Side,
    printable,
};

pub(super) const FLOWS: u64 = 4;
pub(super) const EGRESS: u64 = 5;
pub(super) const EGRESS_GONE: u64 = 6;
pub(super) const EGRESS_ASKS: u64 = 7;

/// Whoever dies sooner than this after its start is not started anew at once.
const STABLE: Duration = Duration::from_secs(5);
/// The least and the most time between two starts of one that keeps dying.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// After how many failures nobody is left waiting for the next start.
const PATIENT: u32 = 4;
/// How many connections are refused at once then.
const BURST: usize = 4096;
/// How often resolv.conf(5) is read again, at most.
const REREAD: Duration = Duration::from_secs(2);
/// How long it may take to end its connections when the sandbox has ended.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long it may take besides to hear of a login that is being renewed: nobody else would ever know.
const RENEWAL: Duration = Duration::from_secs(20);
/// How long egress may take to obey.
const PATIENCE: Duration = Duration::from_secs(5);

/// The sandbox's egress, running or not.
pub(super) struct Egress {
    /// Where init hands connections over: every egress reads from it in its turn.
    flows: OwnedFd,
    /// Where the user's ssh-agent listens, if its keys are lent.
    agent: Option<PathBuf>,
    pub(super) config: Config,
    pub(super) logins: Logins,
    running: Option<Running>,
    /// When connections that wait are seen to again, after a failure.
    pub(super) retry: Deadline,
    failures: u32,
    /// When an egress that has not obeyed is ended: its connections with it, which is safe for whatever was ordered.
    pub(super) overdue: Deadline,
    /// Clients that wait for egress to obey, by the stream of the order.
    waiting: BTreeMap<u32, Waiting>,
    reread: Option<Instant>,
}

/// Who waits for egress to obey.
struct Waiting {
    client: u64,
    stream: u32,
    /// The ports that were published before the order.
    before: Vec<Published>,
    /// Until when.
    by: Deadline,
}

struct Running {
    pidfd: OwnedFd,
    connection: Connection,
    /// Where it asks for connections to the user's ssh-agent, if its keys are lent.
    asks: Option<OwnedFd>,
    interest: EventFlags,
    began: Instant,
    /// Flows that are connected, or may be soon.
    open: BTreeMap<u64, Open>,
}

/// A flow that is under way.
struct Open {
    target: Target,
    connected: bool,
}

/// By what a human names a sandbox.
fn called(name: Option<&Name>, id: &SandboxId) -> String {
    name.map_or_else(|| id.to_string(), ToString::to_string)
}

impl Egress {
    pub(super) fn new(
        spec: &Spec,
        Lendings { secrets, agent }: Lendings,
        authority: Option<AuthorityKey>,
        flows: OwnedFd,
    ) -> Self {
        let network = &spec.network;
        let logins = Logins::new(&network.logins);
        let config = Config {
            sandbox: called(spec.name.as_ref(), &spec.id),
            policy: network.policy.clone(),
            secrets,
            lent_keys: network.lent_keys.clone().unwrap_or_default(),
            logins: logins.told(),
            authority,
            resolver: egress::system_resolver(),
            bandwidth: network.bandwidth,
            connections: network.connections,
            max_tokens: network.max_tokens,
            used_tokens: 0,
            ports: network.ports.clone(),
        };
        Self {
            flows,
            agent,
            config,
            logins,
            running: None,
            retry: Deadline::default(),
            failures: 0,
            overdue: Deadline::default(),
            waiting: BTreeMap::new(),
            reread: None,
        }
    }

    /// Where connections come from.
    pub(super) fn flows(&self) -> rustix::fd::BorrowedFd<'_> {
        self.flows.as_fd()
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.config.policy
    }

    pub(super) fn ports(&self) -> &[Published] {
        &self.config.ports
    }

    /// How the sandbox is called in what is said to it, from the next order on.
    pub(super) fn call_sandbox(&mut self, name: Option<&Name>, id: &SandboxId) {
        self.config.sandbox = called(name, id);
    }

    /// Starts it, if it does not run.
    fn start(&mut self, name: &str) -> io::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let connection = Connection::new(ours, Side::Odd)?;
        let (asks, agent) = match &self.agent {
            Some(_) => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
                (Some(pair.0), Some(pair.1))
            }
            None => (None, None),
        };
        let flows = self.flows.try_clone()?;
        let parent = rustix::process::getpid();
        let pid = match jail::process::fork()? {
            Fork::Parent(pid) => pid,
            Fork::Child => {
                let start = egress::Start {
                    name: format!("ak[{name} egress]"),
                    parent,
                    config: self.config.clone(),
                    flows,
                    control: theirs,
                    agent,
                };
                // Nobody reads why: the supervisor sees that it is gone, and tries again.
                jail::process::exit_now(i32::from(egress::run(start).is_err()));
            }
        };
        let pidfd = jail::process::pidfd(pid)?;
        let (interest, began) = (EventFlags::IN, Instant::now());
        self.running = Some(Running { pidfd, connection, asks, interest, began, open: BTreeMap::new() });
        Ok(())
    }

    /// Whoever has waited longest is the first whose patience ends.
    fn watch_the_slowest(&mut self) {
        self.overdue = self.waiting.values().fold(Deadline::default(), |first, waiting| first.min(waiting.by));
    }

    /// Orders what holds from now on. Gives the stream of the order; `None` if there is nobody who has to obey. Whoever
    /// cannot be told is ended, and the next one knows.
    fn order(&mut self) -> Option<u32> {
        let order = Order::Configure(Box::new(self.config.clone()));
        self.send(&order)
    }

    fn send(&mut self, order: &Order) -> Option<u32> {
        let running = self.running.as_mut()?;
        let payload = wire::encode_open(order).ok().filter(|_| running.connection.mux.can_open());
        if payload.is_none() {
            running.kill();
        }
        Some(running.connection.mux.open(&payload?))
    }

    /// Says whether the login of this number may be renewed. What somebody else has renewed is known to the next egress too.
    pub(super) fn leave(&mut self, number: u32, leave: Leave) {
        if let Leave::Renewed(tokens) = &leave {
            self.renewed(number, tokens);
        }
        // Nobody waits for its answer.
        let _ = self.send(&Order::Leave(number, leave));
    }

    /// The login of this number has other tokens now.
    pub(super) fn renewed(&mut self, number: u32, tokens: &Tokens) {
        let Some(login) = self.config.logins.get_mut(number as usize) else { return };
        login.expires_ms = tokens.expires_ms;
        let placeholder = &login.placeholders.access;
        for grant in self.config.secrets.iter_mut().filter(|grant| grant.placeholder == *placeholder) {
            grant.value = tokens.access.clone();
        }
    }

    /// The access token of a login that egress has.
    pub(super) fn access(&self, number: u32) -> Option<&Secret> {
        let placeholder = &self.config.logins.get(number as usize)?.placeholders.access;
        let grant = self.config.secrets.iter().find(|grant| grant.placeholder == *placeholder)?;
        Some(&grant.value)
    }
}

impl Running {
    /// Ends it. What it carries is reset, and that it is gone is told by its pidfd.
    fn kill(&self) {
        let _ = jail::process::signal_pidfd(&self.pidfd, rustix::process::Signal::KILL);
    }
}

/// Connects to a local socket, without waiting for a busy listener.
fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

impl Server<'_> {
    /// Init has handed connections over, or never will again.
    pub(super) fn on_flows(&mut self) {
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.egress.flows, &mut [0; 1], peek) {
            // It is gone: nobody is started for that.
            Ok((0, _)) => drop(epoll::delete(&self.epoll, &self.egress.flows)),
            _ => self.start_egress(),
        }
    }

    /// Init has handed connections over, and there is nobody to take them; or ports are to be listened on.
    pub(super) fn start_egress(&mut self) {
        let id = self.spec.id.to_string();
        if self.egress.start(&id).is_err() {
            self.back_off();
            return;
        }
        let _ = epoll::delete(&self.epoll, &self.egress.flows);
        if let Some(running) = &self.egress.running {
            let _ = self.watch(running.connection.as_fd(), EGRESS);
            let _ = self.watch(running.pidfd.as_fd(), EGRESS_GONE);
            let _ = running.asks.as_ref().map_or(Ok(()), |asks| self.watch(asks.as_fd(), EGRESS_ASKS));
        }
    }

    /// Starts egress before anybody is served, because it has ports to listen on.
    pub(super) fn publish_first(&mut self) -> Result<(), Failure> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        if self.egress.config.ports.is_empty() {
            return Ok(());
        }
        let failed = |cause: String| Failure { cause, hint: "Choose another port, or end what has it".to_owned() };
        let ports = std::mem::take(&mut self.egress.config.ports);
        self.start_egress();
        self.egress.config.ports = ports;
        let Some(ordered) = self.egress.order() else { return Err(failed("Cannot start egress".to_owned())) };
        let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        while let Some(running) = &mut self.egress.running {
            let _ = running.connection.flush();
            while let Ok(Some(incoming)) = running.connection.next() {
                if let Incoming::Control(stream, payload) = incoming
                    && stream == ordered
                {
                    running.connection.mux.close(stream);
                    return match wire::decode(&payload) {
                        Ok(Answer::Done) => Ok(()),
                        Ok(Answer::Failed(cause)) => Err(failed(cause)),
                        Err(_) => Err(failed("Egress makes no sense".to_owned())),
                    };
                }
            }
            let came = poll(&mut [PollFd::new(&running.connection, PollFlags::IN)], Some(&limit));
            if !matches!(came, Ok(count) if count > 0)
                || !matches!(running.connection.fill(), Ok(Filled::Some | Filled::Nothing))
            {
                break;
            }
        }
        Err(failed("Egress does not answer".to_owned()))
    }

    /// Waits a little before connections that wait are seen to again.
    fn back_off(&mut self) {
        let span = RETRY.0.saturating_mul(1 << self.egress.failures.min(10)).min(RETRY.1);
        self.egress.failures += 1;
        let _ = epoll::delete(&self.epoll, &self.egress.flows);
        self.egress.retry = Deadline::after(span);
        if self.egress.failures > PATIENT {
            self.refuse_flows();
        }
    }

    /// Takes the connections that wait, and lets go of them: init has seen to it that they are reset by that.
    fn refuse_flows(&mut self) {
        for _ in 0..BURST {
            let mut bytes = [0; MAX_DATAGRAM];
            let Ok((length, _)) = jail::fd::receive(&self.egress.flows, 1, &mut bytes) else { return };
            let Ok(Handed::Flow(flow)) = wire::decode(&bytes[..length]) else { continue };
            let Ok(host) = egress::Host::parse(&flow.host) else { continue };
            self.audit_lost(0, &Target { host, port: flow.port });
        }
    }

    fn audit_lost(&mut self, flow: u64, target: &Target) {
        let denial = Denial::new(egress::Reason::Lost, target);
        let event = AuditEvent::Refused {
            reason: denial.reason.code().to_owned(),
            denied: false,
            cause: denial.cause(),
            request: None,
        };
        self.audit(flow, target, event);
    }

    /// Looks at connections that wait again, and listens on ports again.
    pub(super) fn retry_egress(&mut self) {
        if self.egress.config.ports.is_empty() {
            let _ = self.watch(self.egress.flows.as_fd(), FLOWS);
        } else {
            self.start_egress();
        }
    }

    /// Egress says something, or takes something.
    pub(super) fn on_egress(&mut self, flags: EventFlags) {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.hear_egress();
        }
    }

    /// Lets egress end, and takes what it has to say until then.
    pub(super) fn dismiss_egress(&mut self) {
        use rustix::event::{PollFd, PollFlags, poll};
        let Some(running) = &self.egress.running else { return };
        let _ = rustix::net::shutdown(&running.connection, rustix::net::Shutdown::Write);
        let end = Deadline::after(FAREWELL);
        let renewed = Deadline::after(RENEWAL);
        while self.hear_egress() {
            let Some(running) = &self.egress.running else { return };
            let end = if self.egress.logins.are_asked_for() { renewed } else { end };
            let came = poll(&mut [PollFd::new(&running.connection, PollFlags::IN)], end.timeout().as_ref());
            if !matches!(came, Ok(count) if count > 0) {
                return;
            }
        }
    }

    /// Takes all that egress has said so far; whether it may say more.
    pub(super) fn hear_egress(&mut self) -> bool {
        loop {
            let Some(running) = &mut self.egress.running else { return false };
            let filled = running.connection.fill();
            let mut heard = Vec::new();
            loop {
                match running.connection.next() {
                    Ok(Some(incoming)) => heard.push(incoming),
                    Ok(None) => break,
                    // It is not our egress any more.
                    Err(_) => {
                        self.end_egress();
                        return false;
                    }
                }
            }
            heard.into_iter().for_each(|incoming| self.on_egress_says(incoming));
            match filled {
                Ok(Filled::Some) => {}
                // That it is gone is told by its pidfd.
                Ok(Filled::Nothing) => return true,
                Ok(Filled::End) | Err(_) => {
                    if let Some(running) = &self.egress.running {
                        let _ = epoll::delete(&self.epoll, &running.connection);
                    }
                    return false;
                }
            }
        }
    }

    fn on_egress_says(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(payload) => match wire::decode(&payload) {
                Ok(Event::Flow(event)) => self.on_flow_event(event),
                Ok(Event::Tokens(used)) => {
                    // What was used outlives an egress.
                    let all = &mut self.egress.config.used_tokens;
                    *all = all.saturating_add(used);
                }
                Ok(Event::StaleResolver) => self.reread_resolver(),
                Ok(Event::Renewal(login, renewal)) => self.on_renewal(login, renewal),
                Err(_) => self.end_egress(),
            },
            Incoming::Control(stream, payload) => {
                if let Some(running) = &mut self.egress.running {
                    running.connection.mux.close(stream);
                }
                let Some(Waiting { client, stream, before, .. }) = self.egress.waiting.remove(&stream) else { return };
                self.egress.watch_the_slowest();
                let answer = wire::decode(&payload);
                if matches!(answer, Ok(Answer::Failed(_))) {
                    self.take_back(before);
                }
                let Some(client) = self.clients.get_mut(&client) else { return };
                match answer {
                    Ok(Answer::Done) => client.answer(stream, &api::Report::Done),
                    Ok(Answer::Failed(cause)) => client.refuse(stream, printable(&cause), ""),
                    Err(_) => client.refuse(stream, "Egress makes no sense", ""),
                }
            }
            Incoming::Closed(stream) => {
                if let Some(running) = &mut self.egress.running {
                    running.connection.mux.close(stream);
                }
            }
            _ => {}
        }
    }

    fn on_flow_event(&mut self, FlowEvent { flow, target, what }: FlowEvent) {
        let Some(running) = &mut self.egress.running else { return };
        let event = match what {
            What::Begun => {
                running.open.insert(flow, Open { target, connected: false });
                return;
            }
            What::Opened { rule, address } => {
                running.open.insert(flow, Open { target: target.clone(), connected: true });
                AuditEvent::Opened { rule: printable(&rule), address: address.to_string() }
            }
            What::Refused { reason, detail, request } => {
                // What is connected is closed besides.
                if running.open.get(&flow).is_some_and(|open| !open.connected) {
                    running.open.remove(&flow);
                }
                let denial = Denial::new(reason, &target).because(printable(&detail));
                match reason {
                    Reason::TokenLimit => self.refusals.add_limit(target.to_string(), denial.cause()),
                    // Without it the agent may try again for ever, and say nothing.
                    _ if reason.is_denial() || reason == Reason::RenewalFailed => {
                        self.refusals.add(target.to_string(), denial.cause())
                    }
                    _ => {}
                }
                AuditEvent::Refused {
                    reason: reason.code().to_owned(),
                    denied: reason.is_denial(),
                    cause: denial.cause(),
                    request: request.as_deref().map(printable),
                }
            }
            What::Closed(Totals { sent, received, requests, tokens, duration_ms }) => {
                running.open.remove(&flow);
                AuditEvent::Closed { sent, received, requests, tokens, duration_ms }
            }
        };
        self.audit(flow, &target, event);
    }

    fn audit(&mut self, flow: u64, target: &Target, event: AuditEvent) {
        self.on_record(Subject::Connection { flow, host: target.host.to_string(), port: target.port }, event);
    }

    /// Egress is gone, or must go: its connections were reset with it, and the next one starts another.
    pub(super) fn egress_gone(&mut self) {
        // What it said before it went.
        self.hear_egress();
        let Some(running) = self.egress.running.take() else { return };
        let _ = epoll::delete(&self.epoll, &running.connection);
        let _ = epoll::delete(&self.epoll, &running.pidfd);
        let _ = rustix::process::waitid(WaitId::PidFd(running.pidfd.as_fd()), WaitIdOptions::EXITED);
        for (flow, Open { target, .. }) in running.open {
            self.audit_lost(flow, &target);
        }
        self.egress.logins.forget();
        let waiting = std::mem::take(&mut self.egress.waiting);
        self.egress.watch_the_slowest();
        for (_, Waiting { client, stream, .. }) in waiting {
            if let Some(client) = self.clients.get_mut(&client) {
                client.refuse(
                    stream,
                    "Egress ended before it had done this",
                    "The change holds from its next start on",
                );
            }
        }
        if running.began.elapsed() >= STABLE {
            self.egress.failures = 0;
        }
        self.back_off();
    }

    /// Gives egress a connection to the user's ssh-agent: what it may be used for is egress's to see to.
    pub(super) fn lend_agent(&mut self) {
        let Some(asks) = self.egress.running.as_ref().and_then(|running| running.asks.as_ref()) else { return };
        match rustix::net::recv(asks, &mut [0; 1], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok((1, _)) => {}
            // It is gone, which its pidfd tells.
            _ => {
                let _ = epoll::delete(&self.epoll, asks);
                return;
            }
        }
        let agent = self.egress.agent.as_deref().ok_or(Errno::NOENT).and_then(connect);
        let fds: Vec<_> = agent.iter().map(AsFd::as_fd).collect();
        // One that does not take it will ask again, or is gone.
        let _ = jail::fd::send(asks, &[0], &fds);
    }

    /// Ends an egress that breaks the rules, or does not obey.
    pub(super) fn end_egress(&mut self) {
        if let Some(running) = &self.egress.running {
            running.kill();
            let _ = epoll::delete(&self.epoll, &running.connection);
        }
    }

    fn reread_resolver(&mut self) {
        if self.egress.reread.is_some_and(|last| last.elapsed() < REREAD) {
            return;
        }
        self.egress.reread = Some(Instant::now());
        let resolver = egress::system_resolver();
        if resolver != self.egress.config.resolver {
            self.egress.config.resolver = resolver;
            let _ = self.egress.order();
        }
    }

    /// Makes a change hold: on record, and for egress if there is one. The client is answered when it does.
    pub(super) fn reconfigure(&mut self, number: u64, stream: u32, policy: Policy, ports: Vec<Published>) {
        let config = &mut self.egress.config;
        let before = config.ports.clone();
        let listens = !ports.is_empty() && before != ports;
        (config.policy, config.ports) = (policy.clone(), ports.clone());
        let recorded = if self.spec.keep { self.custody.change_network(policy, ports) } else { Ok(()) };
        if listens {
            self.start_egress();
        }
        let ordered = self.egress.order();
        let Some(client) = self.clients.get_mut(&number) else { return };
        match (recorded, ordered) {
            (Err(error), _) => {
                client.refuse(stream, format!("The change holds, but is not on record: {}", wire::cause(&error)), "");
            }
            (Ok(()), Some(ordered)) => {
                client.streams.insert(stream, super::client::Purpose::Egress);
                let by = Deadline::after(PATIENCE);
                self.egress.waiting.insert(ordered, Waiting { client: number, stream, before, by });
                self.egress.watch_the_slowest();
            }
            (Ok(()), None) => client.answer(stream, &api::Report::Done),
        }
    }

    /// Gives ports up of which one could not be had: the next start would fail for it.
    fn take_back(&mut self, before: Vec<Published>) {
        let config = &mut self.egress.config;
        config.ports.retain(|port| before.contains(port));
        let (policy, ports) = (config.policy.clone(), config.ports.clone());
        if self.spec.keep {
            // What cannot be recorded is told at the next start.
            let _ = self.custody.change_network(policy, ports);
        }
        // Its answer nobody waits for.
        let _ = self.egress.order();
    }

    /// Sends egress what is queued for it.
    pub(super) fn flush_egress(&mut self) {
        if let Some(running) = &mut self.egress.running {
            let _ = super::server::flush(&self.epoll, &mut running.connection, &mut running.interest, EGRESS);
        }
    }
}
