//! The supervisor's loop: events of the link, of the clients, of the machine and of the clock.

use super::{
    audit::Audit,
    client::Purpose,
    custody::Custody,
    deadline::Deadline,
    egress::{self, Egress},
    events::Watchers,
    exec::{Clients, Exec, MAIN, Since},
    refusals::Refusals,
    relay::Relay,
    verdict::now_ms,
};
use crate::{
    Name, Spec,
    backend::Machine,
    connection::{Connection, Filled, Incoming},
    store::{LogWriter, State, StoreError},
};
use jail::signal::SignalFd;
use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    fd::{AsFd, BorrowedFd, OwnedFd},
    process::Signal,
};
use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};
use wire::{
    Exit, Failure, api,
    link::{self, ExecReport, FilesReport, FromInit, ToInit},
    mux::Side,
    printable,
};

const LINK: u64 = 0;
const LISTENER: u64 = 1;
const GONE: u64 = 2;
const SIGNALS: u64 = 3;
/// The client that started the sandbox.
pub(super) const FIRST_CLIENT: u64 = 16;

/// Events that one turn takes.
const EVENTS: usize = 64;
/// How long a killed machine may take to go, and clients to take their last words.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The time between SIGTERM and SIGKILL where nobody asked for another.
const GRACE: Duration = Duration::from_secs(10);
/// A peer with more than this to read is read no more until it has read.
const BACKLOG: usize = 1024 * 1024;
/// What a stream of the link carries.
pub(super) enum LinkStream {
    Exec(u32),
    Files(Relay),
}

/// Why the sandbox is being ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Asked,
    Deadline,
}

/// A running sandbox.
pub(super) struct Server<'a> {
    pub(super) custody: &'a mut Custody,
    pub(super) spec: &'a Spec,
    /// Its present name.
    pub(super) name: Option<Name>,
    pub(super) machine: &'a mut dyn Machine,
    pub(super) epoll: OwnedFd,
    /// Until the machine is gone.
    pub(super) listener: Option<OwnedFd>,
    /// Why init refuses to be one, until it is told.
    failure: Option<Failure>,
    pub(super) signals: SignalFd,
    pub(super) link: Connection,
    /// What epoll watches the link for.
    pub(super) link_interest: EventFlags,
    pub(super) link_streams: BTreeMap<u32, LinkStream>,
    pub(super) execs: BTreeMap<u32, Exec>,
    pub(super) next_exec: u32,
    pub(super) clients: Clients,
    pub(super) next_client: u64,
    pub(super) started: Instant,
    pub(super) started_ms: u64,
    pub(super) walls: Vec<link::Wall>,
    pub(super) ready: bool,
    pub(super) refusals: Refusals,
    pub(super) egress: Egress,
    pub(super) audit: Audit,
    pub(super) watchers: Watchers,
    /// The client that started the sandbox has not said yet what it wants: the main command's end waits for it.
    pub(super) awaited: bool,
    /// What the machine counted before it was started.
    pub(super) oom_before: u64,
    /// Processes killed for lack of memory, as far as looked.
    pub(super) oom_kills: u64,
    /// What init has told of it, where the machine does not count.
    pub(super) told_oom_kills: u64,
    pub(super) ending: Option<Ending>,
    pub(super) exit: Option<Exit>,
    /// When the main command's time is up.
    pub(super) time_limit: Deadline,
    /// When a machine that was asked to end is killed.
    pub(super) kill_at: Deadline,
}

impl<'a> Server<'a> {
    #[allow(clippy::too_many_arguments)] // what it holds, each from somewhere else
    pub(super) fn new(
        custody: &'a mut Custody,
        spec: &'a Spec,
        machine: &'a mut dyn Machine,
        listener: OwnedFd,
        link: OwnedFd,
        egress: Egress,
        audit: Audit,
        walls: Vec<link::Wall>,
    ) -> io::Result<Self> {
        let signals = SignalFd::new(&[Signal::TERM, Signal::INT, Signal::HUP])?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let started_ms = now_ms();
        let server = Self {
            custody,
            spec,
            name: spec.name.clone(),
            oom_before: machine.oom_kills(),
            oom_kills: 0,
            told_oom_kills: 0,
            machine,
            epoll,
            listener: Some(listener),
            failure: None,
            signals,
            link: Connection::new(link, Side::Odd)?,
            link_interest: EventFlags::IN,
            link_streams: BTreeMap::new(),
            execs: BTreeMap::new(),
            next_exec: 1,
            clients: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            started: Instant::now(),
            started_ms,
            walls,
            ready: false,
            refusals: Refusals::default(),
            egress,
            audit,
            watchers: Watchers::default(),
            awaited: true,
            ending: None,
            exit: None,
            time_limit: spec.timeout_ms.map_or_else(Deadline::default, |ms| Deadline::after(Duration::from_millis(ms))),
            kill_at: Deadline::default(),
        };
        server.watch(server.link.as_fd(), LINK)?;
        if let Some(listener) = &server.listener {
            server.watch(listener.as_fd(), LISTENER)?;
        }
        server.watch(server.machine.gone(), GONE)?;
        server.watch(server.signals.as_fd(), SIGNALS)?;
        server.watch(server.egress.flows(), egress::FLOWS)?;
        Ok(server)
    }

    /// Puts on record that the sandbox runs.
    pub(super) fn record_start(&self) -> Result<(), StoreError> {
        self.custody.write_state(&State::Running { supervisor_pid: pid(), started_ms: self.started_ms })
    }

    /// Queues what init is told first, and the main command.
    pub(super) fn set_up(&mut self, setup: link::Setup) -> Result<(), Failure> {
        self.tell_init(&ToInit::Setup(setup));
        let Some(command) = &self.spec.command else { return Ok(()) };
        let log = self.log(self.spec.keep);
        if self.open_exec(MAIN, command, log) { Ok(()) } else { Err(Failure::too_large()) }
    }

    /// Serves until the machine is gone, and says how the sandbox ended.
    pub(super) fn serve(mut self) -> Exit {
        // What is queued already, before the first wait: the first exec is under way while init starts.
        self.flush_all();
        let mut events = Vec::with_capacity(EVENTS);
        let mut ended = None;
        // Whoever has not taken all output yet still may when the machine is gone; nobody else waits for him.
        while ended.is_none() || self.execs.values().any(|exec| self.is_wanted(exec)) {
            events.clear();
            let egress = self.egress.retry.min(self.egress.overdue).min(self.egress.logins.due);
            let timeout = self.time_limit.min(self.kill_at).min(self.audit.due).min(egress).timeout();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => {
                    let _ = self.machine.kill();
                    break;
                }
            }
            for event in events.drain(..) {
                // The fields of a packed struct are read by value.
                let (token, flags) = (event.data.u64(), event.flags);
                match token {
                    LINK => self.on_link(flags),
                    LISTENER => self.on_listener(),
                    GONE => ended = ended.or_else(|| Some(self.finish())),
                    SIGNALS if ended.is_some() => return ended.unwrap_or(Exit::Lost),
                    SIGNALS => self.on_signal(),
                    egress::FLOWS => self.on_flows(),
                    egress::EGRESS => self.on_egress(flags),
                    egress::EGRESS_GONE => self.egress_gone(),
                    egress::EGRESS_ASKS => self.lend_agent(),
                    client => self.on_client(client, flags),
                }
            }
            if self.time_limit.take_due() {
                self.end(Ending::Deadline, Duration::from_secs(5));
            }
            if self.egress.overdue.take_due() {
                self.end_egress();
            }
            if self.egress.retry.take_due() {
                self.retry_egress();
            }
            if self.audit.due.take_due() {
                self.audit.catch_up(false);
            }
            if self.egress.logins.due.take_due() {
                self.see_to_logins();
            }
            if self.kill_at.take_due() {
                let _ = self.machine.kill();
            }
            self.flush_all();
            if ended.is_some() {
                self.let_go();
            }
        }
        let exit = ended.unwrap_or_else(|| self.finish());
        self.last_words();
        exit
    }

    pub(super) fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    pub(super) fn tell_init(&mut self, message: &ToInit) {
        if let Ok(payload) = wire::encode(message) {
            self.link.mux.message(&payload);
        }
    }

    fn on_link(&mut self, flags: EventFlags) {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        match self.link.fill() {
            Ok(Filled::Some | Filled::Nothing) => self.take_link(),
            Ok(Filled::End) | Err(_) => self.distrust(),
        }
    }

    /// Takes every whole frame that init has sent.
    fn take_link(&mut self) {
        loop {
            match self.link.next() {
                Ok(Some(incoming)) => self.on_init(incoming),
                Ok(None) => return,
                Err(_) => return self.distrust(),
            }
        }
    }

    fn on_init(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(payload) => match wire::decode(&payload) {
                Ok(FromInit::Ready { walls }) if !self.ready => {
                    self.ready = true;
                    self.walls.extend(walls.into_iter().map(|wall| link::Wall {
                        name: printable(&wall.name),
                        detail: printable(&wall.detail),
                        ..wall
                    }));
                    self.answer_status();
                }
                Ok(FromInit::OomKills(kills)) => self.told_oom_kills = kills,
                Ok(FromInit::Refused(refused)) => self.on_refused(&refused),
                Ok(FromInit::Unheard { cause }) => self.emit_unheard(&cause),
                Ok(FromInit::Failed { wall, cause }) => self.walls_failed(&wall, &cause),
                Ok(FromInit::Usage(usage)) => self.answer_waiting(Purpose::Usage, &api::Report::Usage(usage)),
                // A heartbeat is for whoever asked, which is not the supervisor.
                Ok(FromInit::Ready { .. } | FromInit::Heartbeat) | Err(_) => self.distrust(),
            },
            Incoming::Opened(..) | Incoming::TooMuch(_) => self.distrust(),
            Incoming::Data(stream, channel, bytes) => match self.link_streams.get(&stream) {
                Some(LinkStream::Exec(number)) => {
                    if let Some(exec) = self.execs.get_mut(number) {
                        exec.output(&mut self.clients, &mut self.link, channel, &bytes);
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

    /// Init is gone, or it is not our init any more: either way the machine must not go on, and is listened to no more.
    fn distrust(&mut self) {
        let _ = epoll::delete(&self.epoll, &self.link);
        let _ = self.machine.kill();
    }

    fn walls_failed(&mut self, wall: &str, cause: &str) {
        self.failure = Some(Failure { cause: printable(&format!("{wall}: {cause}")), hint: String::new() });
        self.record(Exit::Code(125));
        let _ = self.machine.kill();
    }

    /// Why the sandbox does not run, once nothing of it is to be seen any more.
    fn answer_failed(&mut self) {
        let Some(failure) = self.failure.take() else { return };
        for client in self.clients.values_mut() {
            for stream in client.streams.keys().copied().collect::<Vec<_>>() {
                client.answer(stream, &api::Report::Failed(failure.clone()));
            }
        }
    }

    fn on_report(&mut self, stream: u32, payload: &[u8]) {
        match self.link_streams.get(&stream) {
            Some(&LinkStream::Exec(number)) => {
                let Ok(report) = wire::decode::<ExecReport>(payload) else { return self.distrust() };
                // Once started and once ended: whoever says more could fill the queues of clients that do not read.
                let repeated = |exec: &Exec| match report {
                    ExecReport::Started { .. } => exec.pid != 0 || exec.ended.is_some(),
                    _ => exec.ended.is_some(),
                };
                if self.execs.get(&number).is_some_and(repeated) {
                    return self.distrust();
                }
                let report = self.judge(number, report);
                self.emit_exec(number, &report);
                let Some(exec) = self.execs.get_mut(&number) else { return };
                let last = exec.report(&mut self.clients, &mut self.link, report.clone());
                if last && number == MAIN {
                    self.main_ended(&report);
                }
            }
            Some(LinkStream::Files(_)) => {
                let report = match wire::decode(payload) {
                    Ok(FilesReport::Failed(Failure { cause, hint })) => {
                        FilesReport::Failed(Failure { cause: printable(&cause), hint: printable(&hint) })
                    }
                    Ok(FilesReport::Done { left_out }) => FilesReport::Done { left_out: printable(&left_out) },
                    Err(_) => return self.distrust(),
                };
                self.with_relay(stream, |relay| relay.end(report));
            }
            None => {}
        }
    }

    fn is_wanted(&self, exec: &Exec) -> bool {
        wanted(exec, self.awaited)
    }

    fn main_ended(&mut self, report: &ExecReport) {
        let exit = match report {
            ExecReport::Exited(exit) => *exit,
            ExecReport::Failed { kind, .. } => Exit::Code(kind.status()),
            ExecReport::Started { .. } => return,
        };
        self.record(exit);
        // The sandbox ends with its main command. What is slow about that nobody waits for, if nobody is left in there
        // who could still do something.
        let _ = self.machine.kill();
        if self.machine.is_deserted() {
            // Who hears of the end finds in the log what all connections came to. Only a login that is being renewed takes long.
            if !self.egress.logins.are_asked_for() {
                self.dismiss_egress();
                self.audit.catch_up(true);
            }
            self.withdraw();
        }
        self.flush_all();
    }

    /// Once nobody can do anything in the sandbox any more: removes what its user sees of it, and lets him know how it
    /// ended.
    fn withdraw(&mut self) {
        // What cannot be removed now will be when the machine is released, or by `gc`.
        let _ = self.machine.withdraw();
        if !self.spec.keep {
            let _ = self.custody.hide();
        }
        if let Some(main) = self.execs.get_mut(&MAIN) {
            main.held = false;
            main.flush(&mut self.clients, &mut self.link);
        }
    }

    pub(super) fn link_closed(&mut self, stream: u32) {
        self.link.mux.close(stream);
        match self.link_streams.remove(&stream) {
            Some(LinkStream::Exec(number)) => {
                let Some(mut exec) = self.execs.remove(&number) else { return };
                if exec.ended.is_none() {
                    let report = ExecReport::Exited(Exit::Lost);
                    exec.report(&mut self.clients, &mut self.link, report.clone());
                    self.emit_exec(number, &report);
                    if number == MAIN {
                        self.main_ended(&report);
                    }
                }
                if number == MAIN || self.is_wanted(&exec) {
                    // Clients still take its output, or may: it stays until they have it.
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

    pub(super) fn open_exec(&mut self, number: u32, spec: &wire::ExecSpec, log: Option<LogWriter>) -> bool {
        let Ok(payload) = wire::encode_open(&link::Open::Exec(spec.clone())) else { return false };
        if !self.link.mux.can_open() {
            return false;
        }
        let stream = self.link.mux.open(&payload);
        self.link_streams.insert(stream, LinkStream::Exec(number));
        self.look_for_oom();
        let since = Since { refusals: self.refusals.mark(), oom_kills: self.oom_kills };
        self.execs.insert(number, Exec::new(number, stream, spec, log, since));
        true
    }

    fn on_signal(&mut self) {
        while let Ok(Some(received)) = self.signals.read() {
            if received.signal != Signal::HUP.as_raw() {
                self.end(Ending::Asked, GRACE);
            }
        }
    }

    pub(super) fn end(&mut self, why: Ending, grace: Duration) {
        self.ending.get_or_insert(why);
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        self.tell_init(&ToInit::Shutdown { grace_ms });
        // Init keeps to the grace; whether it does is not init's to decide.
        self.kill_at = self.kill_at.min(Deadline::after(grace + LAST_WORDS));
    }

    /// Sends what is queued, and settles what that changes.
    fn flush_all(&mut self) {
        let _ = flush(&self.epoll, &mut self.link, &mut self.link_interest, LINK);
        self.flush_egress();
        let mut gone = Vec::new();
        for (&number, client) in &mut self.clients {
            if flush(&self.epoll, &mut client.connection, &mut client.interest, number).is_err() {
                gone.push(number);
            }
        }
        for number in gone {
            self.hear_out(number);
        }
        let awaited = self.awaited;
        // What the main command wrote and how it ended is there for whoever joins while this process lives.
        self.execs.retain(|&number, exec| number == MAIN || exec.ended.is_none() || wanted(exec, awaited));
    }

    /// The machine is gone: says so to whoever waits, and puts it on record.
    fn finish(&mut self) -> Exit {
        let _ = epoll::delete(&self.epoll, self.machine.gone());
        let why = self.machine.settle().filter(|_| self.exit.is_none() && self.ending.is_none());
        // What it said before it went.
        while matches!(self.link.fill(), Ok(Filled::Some)) {
            self.take_link();
        }
        let _ = epoll::delete(&self.epoll, &self.link);
        // What its last connections came to.
        self.dismiss_egress();
        self.egress.logins.keep_again();
        self.audit.catch_up(true);
        let killed = self.look_for_oom();
        let lost = match self.ending {
            Some(Ending::Deadline) => Exit::Deadline,
            Some(Ending::Asked) => Exit::Signal(Signal::KILL.as_raw() as u8),
            None if killed > 0 => Exit::Oom,
            None if why.is_some() => Exit::Lost,
            None => Exit::Signal(Signal::KILL.as_raw() as u8),
        };
        let idle_stop = self.spec.command.is_none() && self.ending == Some(Ending::Asked);
        let why = why.filter(|_| lost == Exit::Lost);
        if let Some(why) = &why {
            self.note(why);
            self.emit_lost(why);
            self.tell_lost(why);
        }
        let exit = self.record(if idle_stop { Exit::Code(0) } else { lost });
        self.withdraw();
        self.answer_failed();
        for number in self.execs.keys().copied().collect::<Vec<_>>() {
            let Some(exec) = self.execs.get_mut(&number).filter(|exec| exec.ended.is_none()) else { continue };
            let exit = if number == MAIN { exit } else { lost };
            exec.hear(exit, &self.refusals, self.oom_kills);
            exec.lost.clone_from(&why);
            exec.report(&mut self.clients, &mut self.link, ExecReport::Exited(exit));
            self.emit_exec(number, &ExecReport::Exited(exit));
        }
        self.answer_status();
        if self.machine.release().is_err() {
            self.custody.owe();
        }
        self.answer_waiting(Purpose::End, &api::Report::Stopped(exit));
        self.emit_stopped(exit);
        self.answer_waiting(Purpose::Events, &api::Report::Stopped(exit));
        exit
    }

    /// Once the machine is gone and all is told: from here on the sandbox can be started again, or does not exist.
    fn let_go(&mut self) {
        if let Some(listener) = self.listener.take() {
            let _ = epoll::delete(&self.epoll, &listener);
            self.custody.end();
        }
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

/// Whether somebody still is to learn how an exec ended.
fn wanted(exec: &Exec, awaited: bool) -> bool {
    exec.is_attached() || (awaited && exec.number == MAIN)
}

pub(super) fn pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().unsigned_abs()
}

/// Writes what is queued, and watches for room if some is left. A peer that does not read is not listened to: what it
/// says would only make what is queued for it grow. Init always reads, so that neither waits for the other.
pub(super) fn flush(
    epoll: &OwnedFd,
    connection: &mut Connection,
    interest: &mut EventFlags,
    token: u64,
) -> io::Result<()> {
    let wanted = match connection.flush() {
        Ok(true) => EventFlags::IN,
        Ok(false) if connection.mux.output().len() <= BACKLOG => EventFlags::IN | EventFlags::OUT,
        Ok(false) => EventFlags::OUT,
        Err(error) => return Err(error),
    };
    if wanted != *interest {
        epoll::modify(epoll, connection.as_fd(), EventData::new_u64(token), wanted)?;
        *interest = wanted;
    }
    Ok(())
}
