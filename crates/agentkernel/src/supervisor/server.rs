//! The supervisor's loop: events of the link, of the clients, of the machine and of the clock.

use super::{
    client::{Client, Purpose},
    deadline::Deadline,
    exec::{Clients, Exec, MAIN},
    relay::Relay,
};
use crate::{
    Spec,
    backend::{Launched, Machine},
    connection::{Connection, ConnectionError, Filled, Incoming},
    store::{Entry, Lock, LogWriter, State},
};
use jail::signal::SignalFd;
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    process::Signal,
};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    time::{Duration, Instant},
};
use wire::{
    Exit, api,
    link::{self, ExecControl, ExecReport, FlowReply, FromInit, ToInit},
    mux::Side,
};

const LINK: u64 = 0;
const LISTENER: u64 = 1;
const GONE: u64 = 2;
const SIGNALS: u64 = 3;
const FIRST_CLIENT: u64 = 16;

/// A side with more than this to write reads no more until the peer has read.
const BACKLOG: usize = 1024 * 1024;
/// Events that one turn takes.
const EVENTS: usize = 64;
/// How long a killed machine may take to go, and clients to take their last words.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The time between SIGTERM and SIGKILL where nobody asked for another.
const GRACE: Duration = Duration::from_secs(10);
/// Refused connections that are remembered.
const REFUSED: usize = 64;

/// What a stream of the link carries.
enum LinkStream {
    Exec(u32),
    Files(Relay),
}

/// Why the sandbox is being ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Asked,
    Deadline,
}

/// A running sandbox.
pub(super) struct Server<'a> {
    entry: &'a Entry,
    lock: &'a Lock,
    spec: &'a Spec,
    machine: Box<dyn Machine>,
    epoll: OwnedFd,
    listener: OwnedFd,
    signals: SignalFd,
    link: Connection,
    link_output: bool,
    link_streams: BTreeMap<u32, LinkStream>,
    execs: BTreeMap<u32, Exec>,
    next_exec: u32,
    clients: Clients,
    next_client: u64,
    started: Instant,
    started_ms: u64,
    walls: Vec<link::Wall>,
    ready: bool,
    refused: VecDeque<String>,
    oom_kills: u64,
    ending: Option<Ending>,
    exit: Option<Exit>,
    /// When the main command's time is up.
    time_limit: Deadline,
    /// When a machine that was asked to end is killed.
    kill_at: Deadline,
}

impl<'a> Server<'a> {
    pub(super) fn new(
        entry: &'a Entry,
        lock: &'a Lock,
        spec: &'a Spec,
        launched: Launched,
        listener: OwnedFd,
        client: OwnedFd,
    ) -> io::Result<Self> {
        let Launched { machine, link, setup, walls } = launched;
        let signals = SignalFd::new(&[Signal::TERM, Signal::INT, Signal::HUP])?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut server = Self {
            entry,
            lock,
            spec,
            oom_kills: machine.oom_kills(),
            machine,
            epoll,
            listener,
            signals,
            link: Connection::new(link, Side::Odd)?,
            link_output: false,
            link_streams: BTreeMap::new(),
            execs: BTreeMap::new(),
            next_exec: 1,
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            started: Instant::now(),
            started_ms,
            walls,
            ready: false,
            refused: VecDeque::new(),
            ending: None,
            exit: None,
            time_limit: spec.timeout_ms.map_or_else(Deadline::default, |ms| Deadline::after(Duration::from_millis(ms))),
            kill_at: Deadline::default(),
        };
        server.watch(server.link.as_fd(), LINK)?;
        server.watch(server.listener.as_fd(), LISTENER)?;
        server.watch(server.machine.gone(), GONE)?;
        server.watch(server.signals.as_fd(), SIGNALS)?;
        server.tell_init(&ToInit::Setup(setup));
        if let Some(command) = &spec.command {
            let log = server.log(spec.keep);
            server.open_exec(MAIN, command, log);
        }
        server.admit(client)?;
        Ok(server)
    }

    /// Serves until the machine is gone, and says how the sandbox ended.
    pub(super) fn serve(mut self) -> Exit {
        // What is queued already, before the first wait: the first exec is under way while init starts.
        self.flush_all();
        let mut events = Vec::with_capacity(EVENTS);
        let mut gone = false;
        while !gone {
            events.clear();
            let timeout = self.time_limit.min(self.kill_at).timeout();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
            for event in events.drain(..) {
                // The fields of a packed struct are read by value.
                let (token, flags) = (event.data.u64(), event.flags);
                match token {
                    LINK => self.on_link(flags),
                    LISTENER => self.on_listener(),
                    GONE => gone = true,
                    SIGNALS => self.on_signal(),
                    client => self.on_client(client, flags),
                }
            }
            if self.time_limit.take_due() {
                self.end(Ending::Deadline, Duration::from_secs(5));
            }
            if self.kill_at.take_due() {
                let _ = self.machine.kill();
            }
            self.flush_all();
        }
        self.finish()
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    fn tell_init(&mut self, message: &ToInit) {
        if let Ok(payload) = wire::encode(message) {
            self.link.mux.message(&payload);
        }
    }

    // ---- the link ----

    fn on_link(&mut self, flags: EventFlags) {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        match self.link.fill().and_then(|filled| {
            while let Some(incoming) = self.link.next()? {
                self.from_init(incoming);
            }
            Ok(filled)
        }) {
            Ok(Filled::Some | Filled::Nothing) => {}
            // Init is gone, or it is not our init any more: either way the machine must not go on.
            Ok(Filled::End) | Err(ConnectionError::Io(_) | ConnectionError::Torn | ConnectionError::Protocol(_)) => {
                let _ = epoll::delete(&self.epoll, &self.link);
                let _ = self.machine.kill();
            }
        }
    }

    fn from_init(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(payload) => match wire::decode(&payload) {
                Ok(FromInit::Ready { walls }) if !self.ready => {
                    self.ready = true;
                    self.walls.extend(walls);
                }
                Ok(FromInit::Failed { wall, cause }) => self.walls_failed(&wall, &cause),
                Ok(FromInit::Usage(usage)) => self.answer_usage(usage),
                Ok(FromInit::Ready { .. }) | Err(_) => self.distrust(),
            },
            Incoming::Opened(stream, payload) => self.on_flow(stream, &payload),
            Incoming::Data(stream, channel, bytes) => match self.link_streams.get(&stream) {
                Some(LinkStream::Exec(number)) => {
                    if let Some(exec) = self.execs.get_mut(number) {
                        exec.output(&mut self.clients, &mut self.link, channel, bytes);
                    }
                }
                Some(LinkStream::Files(_)) => self.with_relay(stream, |relay| relay.push_down(&bytes)),
                None => {}
            },
            Incoming::Eof(stream, _) => self.with_relay(stream, Relay::end_down),
            Incoming::Writable(stream) => match self.link_streams.get(&stream) {
                Some(LinkStream::Exec(number)) => {
                    if let Some(exec) = self.execs.get_mut(number) {
                        exec.pump_input(&mut self.clients, &mut self.link);
                    }
                }
                _ => self.with_relay(stream, |_| {}),
            },
            Incoming::Control(stream, payload) => self.on_report(stream, &payload),
            Incoming::Closed(stream) => self.link_closed(stream),
        }
    }

    /// Init said something that ours would not say.
    fn distrust(&mut self) {
        let _ = self.machine.kill();
    }

    fn walls_failed(&mut self, wall: &str, cause: &str) {
        let failure = api::Failure { cause: format!("{wall}: {cause}"), hint: "'agentkernel doctor' tells what this host lacks".into() };
        for client in self.clients.values_mut() {
            for stream in client.streams.keys().copied().collect::<Vec<_>>() {
                client.answer(stream, &api::Report::Failed(failure.clone()));
            }
        }
        self.exit = Some(Exit::Code(125));
        let _ = self.machine.kill();
    }

    fn on_report(&mut self, stream: u32, payload: &[u8]) {
        match self.link_streams.get(&stream) {
            Some(&LinkStream::Exec(number)) => {
                let Ok(report) = wire::decode::<ExecReport>(payload) else { return self.distrust() };
                let report = self.judge(report);
                let Some(exec) = self.execs.get_mut(&number) else { return };
                let last = exec.report(&mut self.clients, &mut self.link, report.clone());
                if last && number == MAIN {
                    self.main_ended(&report);
                }
            }
            Some(LinkStream::Files(_)) => {
                let Ok(report) = wire::decode(payload) else { return self.distrust() };
                self.with_relay(stream, |relay| relay.end(report));
            }
            None => {}
        }
    }

    /// Init sees a signal; whether the kernel sent it for lack of memory is known out here.
    fn judge(&mut self, report: ExecReport) -> ExecReport {
        match report {
            ExecReport::Exited(_) if self.ending == Some(Ending::Deadline) => ExecReport::Exited(Exit::Deadline),
            ExecReport::Exited(Exit::Signal(9)) => {
                let kills = self.machine.oom_kills();
                let oom = kills > std::mem::replace(&mut self.oom_kills, kills);
                ExecReport::Exited(if oom { Exit::Oom } else { Exit::Signal(9) })
            }
            // These are not init's to say.
            ExecReport::Exited(Exit::Oom | Exit::Deadline | Exit::Lost) => ExecReport::Exited(Exit::Lost),
            other => other,
        }
    }

    fn main_ended(&mut self, report: &ExecReport) {
        let exit = match report {
            ExecReport::Exited(exit) => *exit,
            ExecReport::Failed { kind, .. } => Exit::Code(kind.status()),
            ExecReport::Started { .. } => return,
        };
        self.exit.get_or_insert(exit);
        // Its clients have the report in their queues: they are not kept waiting for the teardown.
        self.flush_all();
        if self.execs.get(&MAIN).is_none_or(|main| !main.is_attached()) {
            let _ = self.machine.kill();
        }
    }

    fn link_closed(&mut self, stream: u32) {
        self.link.mux.close(stream);
        match self.link_streams.remove(&stream) {
            Some(LinkStream::Exec(number)) => {
                let Some(mut exec) = self.execs.remove(&number) else { return };
                if exec.ended.is_none() {
                    let report = ExecReport::Exited(Exit::Lost);
                    exec.report(&mut self.clients, &mut self.link, report.clone());
                    if number == MAIN {
                        self.main_ended(&report);
                    }
                }
                if exec.is_attached() {
                    // Clients still take its output: it stays until they have it.
                    self.execs.insert(number, exec);
                }
            }
            Some(LinkStream::Files(relay)) => {
                if relay.is_over() {
                    return;
                }
                if relay.has_report() {
                    // The client has not taken all of it yet.
                    self.link_streams.insert(stream, LinkStream::Files(relay));
                } else if let Some(client) = self.clients.get_mut(&relay.client) {
                    client.refuse(relay.stream, "Transfer was cut short", "");
                }
            }
            None => {}
        }
    }

    fn on_flow(&mut self, stream: u32, payload: &[u8]) {
        let Ok(flow) = wire::decode::<link::Flow>(payload) else { return self.distrust() };
        let crate::Net::None = self.spec.net;
        let host: String = flow.host.chars().filter(|c| !c.is_control()).take(255).collect();
        let target = format!("{host}:{}", flow.port);
        let message = format!(
            "agentkernel: connection to {target} refused: this sandbox's network mode is 'none', which allows no connection.\n"
        );
        self.link.control(stream, &FlowReply::Refused { reason: "network-none".into(), message });
        self.link.mux.close(stream);
        if self.refused.back() != Some(&target) {
            if self.refused.len() == REFUSED {
                self.refused.pop_front();
            }
            self.refused.push_back(target);
        }
    }

    /// A log for an exec that has one. Without the log the sandbox still runs.
    fn log(&self, wanted: bool) -> Option<LogWriter> {
        if wanted { self.entry.log_writer(self.lock).ok() } else { None }
    }

    fn open_exec(&mut self, number: u32, spec: &wire::ExecSpec, log: Option<LogWriter>) -> bool {
        let Ok(payload) = wire::encode(&link::Open::Exec(spec.clone())) else { return false };
        let stream = self.link.mux.open(&payload);
        self.link_streams.insert(stream, LinkStream::Exec(number));
        self.execs.insert(number, Exec::new(number, stream, spec, log));
        true
    }

    // ---- clients ----

    fn on_listener(&mut self) {
        use rustix::net::{SocketFlags, accept_with};
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            // The directory's mode keeps others out already; root may come in, nobody else.
            let ours = rustix::process::geteuid();
            let peer = rustix::net::sockopt::socket_peercred(&socket).map(|peer| peer.uid);
            if peer.is_ok_and(|uid| uid == ours || uid.is_root()) {
                let _ = self.admit(socket);
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) -> io::Result<()> {
        let number = self.next_client;
        self.next_client += 1;
        let connection = Connection::new(socket, Side::Even)?;
        self.watch(connection.as_fd(), number)?;
        self.clients.insert(number, Client::new(connection));
        Ok(())
    }

    fn on_client(&mut self, number: u64, flags: EventFlags) {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let Some(client) = self.clients.get_mut(&number) else { return };
        if client.connection.mux.output().len() > BACKLOG && !flags.intersects(EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let filled = client.connection.fill();
        loop {
            let Some(client) = self.clients.get_mut(&number) else { return };
            match client.connection.next() {
                Ok(Some(incoming)) => self.from_client(number, incoming),
                Ok(None) => break,
                Err(_) => return self.client_gone(number),
            }
        }
        if !matches!(filled, Ok(Filled::Some | Filled::Nothing)) {
            self.client_gone(number);
        }
    }

    fn from_client(&mut self, number: u64, incoming: Incoming) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        match incoming {
            Incoming::Opened(stream, payload) => match wire::decode(&payload) {
                Ok(open) => self.on_request(number, stream, open),
                Err(_) => client.refuse(stream, "Request was not understood", ""),
            },
            Incoming::Data(stream, _, bytes) => match client.streams.get(&stream) {
                Some(Purpose::Exec { exec }) => match self.execs.get_mut(exec) {
                    Some(exec) if exec.takes_input(number, stream) => {
                        exec.input(&mut self.clients, &mut self.link, number, stream, bytes);
                    }
                    _ => client.connection.mux.consumed(stream, bytes.len()),
                },
                Some(&Purpose::Files { stream: to }) => self.with_relay(to, |relay| relay.push_up(&bytes)),
                _ => client.connection.mux.consumed(stream, bytes.len()),
            },
            Incoming::Eof(stream, _) => match client.streams.get(&stream) {
                Some(Purpose::Exec { exec }) => {
                    if let Some(exec) = self.execs.get_mut(exec).filter(|exec| exec.takes_input(number, stream)) {
                        exec.end_input(&mut self.clients, &mut self.link);
                    }
                }
                Some(&Purpose::Files { stream: to }) => self.with_relay(to, Relay::end_up),
                _ => {}
            },
            Incoming::Writable(stream) => match client.streams.get(&stream) {
                Some(Purpose::Exec { exec }) => {
                    if let Some(exec) = self.execs.get_mut(exec) {
                        exec.flush(&mut self.clients, &mut self.link);
                    }
                }
                Some(&Purpose::Files { stream: to }) => self.with_relay(to, |_| {}),
                _ => {}
            },
            Incoming::Control(stream, payload) => {
                let Some(&Purpose::Exec { exec }) = client.streams.get(&stream) else { return };
                match wire::decode(&payload) {
                    Ok(api::Control::Exec(control)) => self.control_exec(exec, control),
                    Ok(api::Control::Detach) => self.leave_exec(number, stream, exec),
                    Err(_) => self.client_gone(number),
                }
            }
            Incoming::Closed(stream) => match client.streams.remove(&stream) {
                Some(Purpose::Exec { exec }) => self.leave_exec(number, stream, exec),
                Some(Purpose::Files { stream: to }) => {
                    client.connection.mux.close(stream);
                    self.link.mux.close(to);
                }
                Some(Purpose::End | Purpose::Usage) | None => client.connection.mux.close(stream),
            },
            Incoming::Message(_) => {}
        }
    }

    fn on_request(&mut self, number: u64, stream: u32, open: api::Open) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if self.exit.is_some() && !matches!(open, api::Open::Attach { .. } | api::Open::Call(_)) {
            return client.refuse(stream, "The sandbox is stopping", "");
        }
        match open {
            api::Open::Exec { spec, detach } => {
                let exec = self.next_exec;
                self.next_exec += 1;
                client.streams.insert(stream, Purpose::Exec { exec });
                let stdin = matches!(spec.stdio, wire::Stdio::Terminal { .. } | wire::Stdio::Pipes { stdin: true });
                let log = self.log(detach);
                if !self.open_exec(exec, &spec, log) {
                    if let Some(client) = self.clients.get_mut(&number) {
                        client.refuse(stream, "The command and its environment are too large", "");
                    }
                    return;
                }
                self.join_exec(number, stream, exec, stdin);
            }
            api::Open::Attach { exec, stdin } => {
                if !self.execs.contains_key(&exec) {
                    let cause = if exec == MAIN && self.spec.command.is_none() {
                        "The sandbox has no main command to attach to".to_owned()
                    } else {
                        format!("Exec {exec} is not running")
                    };
                    return client.refuse(stream, cause, "'agentkernel inspect' lists what runs; 'agentkernel exec -it' starts a shell");
                }
                client.streams.insert(stream, Purpose::Exec { exec });
                self.join_exec(number, stream, exec, stdin);
            }
            api::Open::Put(put) => self.relay_files(number, stream, &link::Open::Put(put)),
            api::Open::Get(get) => self.relay_files(number, stream, &link::Open::Get(get)),
            api::Open::Call(call) => self.on_call(number, stream, call),
        }
    }

    fn join_exec(&mut self, number: u64, stream: u32, exec: u32, stdin: bool) {
        if let Some(exec) = self.execs.get_mut(&exec) {
            exec.attach(&mut self.clients, &mut self.link, number, stream, stdin);
        }
    }

    fn leave_exec(&mut self, number: u64, stream: u32, exec: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.close(stream);
        }
        if let Some(exec) = self.execs.get_mut(&exec) {
            exec.detach(&mut self.link, number, stream);
        }
    }

    fn relay_files(&mut self, number: u64, stream: u32, open: &link::Open) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Ok(payload) = wire::encode(open) else { return client.refuse(stream, "The path is too long", "") };
        let to = self.link.mux.open(&payload);
        client.streams.insert(stream, Purpose::Files { stream: to });
        self.link_streams.insert(to, LinkStream::Files(Relay::new(number, stream)));
    }

    /// Does something to a transfer, then passes on what can be passed on.
    fn with_relay(&mut self, stream: u32, act: impl FnOnce(&mut Relay)) {
        let Some(LinkStream::Files(relay)) = self.link_streams.get_mut(&stream) else { return };
        act(relay);
        let Some(client) = self.clients.get_mut(&relay.client) else { return };
        if let Some(report) = relay.pump(&mut client.connection, &mut self.link, stream) {
            client.answer(relay.stream, &api::Report::Files(report));
            if !self.link.mux.is_open(stream) {
                self.link_streams.remove(&stream);
            }
        }
    }

    fn on_call(&mut self, number: u64, stream: u32, call: api::Call) {
        let status = matches!(call, api::Call::Status).then(|| self.status());
        let Some(client) = self.clients.get_mut(&number) else { return };
        match call {
            api::Call::Status => {
                if let Some(status) = status {
                    client.answer(stream, &api::Report::Status(status));
                }
            }
            api::Call::Wait => {
                client.streams.insert(stream, Purpose::End);
            }
            api::Call::Stop { grace_ms } => {
                client.streams.insert(stream, Purpose::End);
                self.end(Ending::Asked, Duration::from_millis(grace_ms.into()));
            }
            api::Call::Usage => match self.machine.usage() {
                Some(usage) => client.answer(stream, &api::Report::Usage(usage)),
                None => {
                    client.streams.insert(stream, Purpose::Usage);
                    self.tell_init(&ToInit::Usage);
                }
            },
            api::Call::Signal { exec, signal } => {
                if !self.execs.contains_key(&exec) {
                    if exec == MAIN && signal == 9 && self.spec.command.is_none() {
                        // An idle sandbox has nothing else to kill.
                        client.answer(stream, &api::Report::Done);
                        let _ = self.machine.kill();
                        return;
                    }
                    return client.refuse(stream, format!("Exec {exec} is not running"), "");
                }
                client.answer(stream, &api::Report::Done);
                self.control_exec(exec, ExecControl::Signal(signal));
            }
        }
    }

    fn control_exec(&mut self, exec: u32, control: ExecControl) {
        if let Some(exec) = self.execs.get(&exec) {
            self.link.control(exec.stream, &control);
        }
    }

    fn client_gone(&mut self, number: u64) {
        let Some(client) = self.clients.remove(&number) else { return };
        let _ = epoll::delete(&self.epoll, &client.connection);
        for (stream, purpose) in client.streams {
            match purpose {
                Purpose::Exec { exec } => {
                    if let Some(exec) = self.execs.get_mut(&exec) {
                        exec.detach(&mut self.link, number, stream);
                    }
                }
                Purpose::Files { stream } => self.link.mux.close(stream),
                Purpose::End | Purpose::Usage => {}
            }
        }
    }

    fn answer_usage(&mut self, usage: link::Usage) {
        for client in self.clients.values_mut() {
            let waiting = client.streams.iter().filter(|(_, purpose)| **purpose == Purpose::Usage);
            for stream in waiting.map(|(stream, _)| *stream).collect::<Vec<_>>() {
                client.answer(stream, &api::Report::Usage(usage));
            }
        }
    }

    fn status(&self) -> api::Status {
        api::Status {
            supervisor_pid: rustix::process::getpid().as_raw_nonzero().get().unsigned_abs(),
            init_pid: self.machine.pid(),
            uptime: self.started.elapsed().as_secs(),
            walls: self.walls.clone(),
            execs: self.execs.values().filter(|exec| exec.ended.is_none()).map(Exec::status).collect(),
            refused: self.refused.iter().cloned().collect(),
        }
    }

    // ---- the end ----

    fn on_signal(&mut self) {
        while let Ok(Some(received)) = self.signals.read() {
            if received.signal != Signal::HUP.as_raw() {
                self.end(Ending::Asked, GRACE);
            }
        }
    }

    fn end(&mut self, why: Ending, grace: Duration) {
        self.ending.get_or_insert(why);
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.tell_init(&ToInit::Shutdown { grace_ms });
        // Init keeps to the grace; whether it does is not init's to decide.
        self.kill_at = self.kill_at.min(Deadline::after(grace + LAST_WORDS));
    }

    /// Sends what is queued, and settles what that changes.
    fn flush_all(&mut self) {
        let _ = flush(&self.epoll, &mut self.link, &mut self.link_output, LINK);
        let mut gone = Vec::new();
        for (&number, client) in &mut self.clients {
            if flush(&self.epoll, &mut client.connection, &mut client.watching_output, number).is_err() {
                gone.push(number);
            }
        }
        for number in gone {
            self.client_gone(number);
        }
        self.execs.retain(|_, exec| exec.ended.is_none() || exec.is_attached());
        if self.exit.is_some() && !self.execs.contains_key(&MAIN) {
            // The main command is over and everybody knows: the sandbox ends with it.
            let _ = self.machine.kill();
        }
    }

    /// The machine is gone: says so to whoever waits, and puts it on record.
    fn finish(mut self) -> Exit {
        let lost = match self.ending {
            Some(Ending::Deadline) => Exit::Deadline,
            Some(Ending::Asked) => Exit::Signal(Signal::KILL.as_raw() as u8),
            None if self.machine.oom_kills() > self.oom_kills => Exit::Oom,
            None => Exit::Signal(Signal::KILL.as_raw() as u8),
        };
        let idle_stop = self.spec.command.is_none() && self.ending.is_some();
        let exit = self.exit.unwrap_or(if idle_stop { Exit::Code(0) } else { lost });
        for exec in self.execs.values_mut().filter(|exec| exec.ended.is_none()) {
            let exit = if exec.number == MAIN { exit } else { lost };
            exec.report(&mut self.clients, &mut self.link, ExecReport::Exited(exit));
        }
        let _ = self.machine.release();
        if self.spec.keep {
            // On record first, then told.
            let _ = self.entry.write_state(&State::exited(exit, self.started_ms));
        }
        for client in self.clients.values_mut() {
            let waiting = client.streams.iter().filter(|(_, purpose)| **purpose == Purpose::End);
            for stream in waiting.map(|(stream, _)| *stream).collect::<Vec<_>>() {
                client.answer(stream, &api::Report::Stopped(exit));
            }
        }
        self.last_words();
        exit
    }

    /// Gives clients a moment to take what is queued for them.
    fn last_words(&mut self) {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut end = Deadline::after(LAST_WORDS);
        loop {
            self.clients.retain(|_, client| matches!(client.connection.flush(), Ok(false)));
            if self.clients.is_empty() || end.take_due() {
                return;
            }
            let mut waiting: Vec<_> =
                self.clients.values().map(|client| PollFd::new(&client.connection, PollFlags::OUT)).collect();
            let _ = poll(&mut waiting, end.timeout().as_ref());
        }
    }
}

/// Writes what is queued, and watches for room if some is left.
fn flush(epoll: &OwnedFd, connection: &mut Connection, watching: &mut bool, token: u64) -> io::Result<()> {
    let left = !connection.flush()?;
    if left != *watching {
        *watching = left;
        let flags = if left { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(epoll, connection.as_fd(), EventData::new_u64(token), flags)?;
    }
    Ok(())
}

