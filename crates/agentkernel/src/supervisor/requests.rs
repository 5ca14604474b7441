//! What clients ask of the supervisor, and how it is answered.

use super::{
    client::{Client, Purpose},
    exec::{Attached, Exec, MAIN},
    relay::Relay,
    server::{Ending, FIRST_CLIENT, LinkStream, Server, pid},
};
use crate::connection::{Connection, ConnectionError, Filled, Incoming};
use ::egress::{Policy, Rule, control::Published};
use rustix::{
    event::{epoll, epoll::EventFlags},
    fd::{AsFd, OwnedFd},
    process::Signal,
};
use std::{io, time::Duration};
use wire::{
    Exit, Failure, api,
    link::{self, ExecControl, ToInit},
    mux::Side,
};

/// The most bytes of large requests that are under way: from all clients together, and on to init.
const REQUESTS: usize = 64 * 1024 * 1024;
/// How long programs may take for their end whose client is gone, and with it whoever would read what they write.
const ALONE: Duration = Duration::from_secs(2);

impl Server<'_> {
    pub(super) fn on_listener(&mut self) {
        use rustix::net::{SocketFlags, accept_with};
        while let Some(listener) = &self.listener
            && let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            // The directory's mode keeps others out already; root may come in, nobody else.
            let ours = rustix::process::geteuid();
            let peer = rustix::net::sockopt::socket_peercred(&socket).map(|peer| peer.uid);
            if peer.is_ok_and(|uid| uid == ours || uid.is_root()) {
                let _ = self.admit(socket);
            }
        }
    }

    pub(super) fn admit(&mut self, socket: OwnedFd) -> io::Result<()> {
        let number = self.next_client;
        self.next_client += 1;
        let connection = Connection::new(socket, Side::Even)?;
        self.watch(connection.as_fd(), number)?;
        self.clients.insert(number, Client::new(connection));
        Ok(())
    }

    pub(super) fn on_client(&mut self, number: u64, flags: EventFlags) {
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        if !self.hear(number).is_ok_and(|filled| filled != Filled::End) {
            self.client_gone(number);
        }
    }

    /// Takes what a client that takes nothing any more has said before it went, such as a last signal.
    pub(super) fn hear_out(&mut self, number: u64) {
        while matches!(self.hear(number), Ok(Filled::Some)) {}
        self.client_gone(number);
    }

    /// Reads once from a client, and does what it says.
    fn hear(&mut self, number: u64) -> Result<Filled, ConnectionError> {
        let of_all: usize = self.clients.values().map(|client| client.connection.mux.unfinished()).sum();
        let Some(client) = self.clients.get_mut(&number) else { return Ok(Filled::End) };
        let of_others = of_all - client.connection.mux.unfinished() + self.link.mux.output().len();
        client.connection.mux.allow(REQUESTS.saturating_sub(of_others));
        let filled = client.connection.fill();
        while let Some(client) = self.clients.get_mut(&number)
            && let Some(incoming) = client.connection.next()?
        {
            self.on_incoming(number, incoming);
        }
        filled
    }

    fn on_incoming(&mut self, number: u64, incoming: Incoming) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        match incoming {
            Incoming::Opened(stream, payload) => match wire::decode(&payload) {
                Ok(open) => self.on_request(number, stream, open),
                Err(_) => client.refuse(stream, "Request was not understood", ""),
            },
            Incoming::TooMuch(stream) => {
                client.refuse(stream, "The sandbox is sent too many large commands at once", "Try again in a moment");
            }
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
                Some(Purpose::Events) => self.pump_events(number, stream),
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
                Some(Purpose::Events) => {
                    client.connection.mux.close(stream);
                    self.watchers.remove(number, stream);
                }
                Some(Purpose::End | Purpose::Status | Purpose::Usage | Purpose::Egress | Purpose::Tie) | None => {
                    client.connection.mux.close(stream)
                }
            },
            Incoming::Message(_) => {}
        }
    }

    fn on_request(&mut self, number: u64, stream: u32, open: api::Open) {
        self.awaited &= number != FIRST_CLIENT;
        let Some(client) = self.clients.get_mut(&number) else { return };
        if self.exit.is_some() && !matches!(open, api::Open::Attach { .. } | api::Open::Call(_)) {
            return client.refuse(stream, "The sandbox is stopping", "");
        }
        match open {
            api::Open::Exec { spec, detach, tied } => {
                let exec = self.next_exec;
                self.next_exec += 1;
                client.streams.insert(stream, Purpose::Exec { exec });
                let stdin = matches!(spec.stdio, wire::Stdio::Terminal { .. } | wire::Stdio::Pipes { stdin: true });
                let log = self.log(detach);
                if !self.open_exec(exec, &spec, log) {
                    if let Some(client) = self.clients.get_mut(&number) {
                        client.answer(stream, &api::Report::Failed(Failure::too_large()));
                    }
                    return;
                }
                self.join_exec(exec, Attached::new(number, stream, stdin, !detach).tied(tied));
            }
            api::Open::Attach { exec, stdin, output } => {
                if !self.execs.contains_key(&exec) {
                    let cause = if exec == MAIN {
                        "The sandbox has no main command to join".to_owned()
                    } else {
                        format!("Exec {exec} is not running")
                    };
                    return client.refuse(
                        stream,
                        cause,
                        "'agentkernel inspect' lists what runs; 'agentkernel exec -it' starts a shell",
                    );
                }
                client.streams.insert(stream, Purpose::Exec { exec });
                self.join_exec(exec, Attached::new(number, stream, stdin, output));
            }
            api::Open::Put(put) => self.relay_files(number, stream, &link::Open::Put(put)),
            api::Open::Get(get) => self.relay_files(number, stream, &link::Open::Get(get)),
            api::Open::Call(call) => self.on_call(number, stream, call),
        }
    }

    fn join_exec(&mut self, exec: u32, client: Attached) {
        if let Some(exec) = self.execs.get_mut(&exec) {
            exec.attach(&mut self.clients, &mut self.link, client);
        }
    }

    fn leave_exec(&mut self, number: u64, stream: u32, exec: u32) {
        if let Some(client) = self.clients.get_mut(&number) {
            client.close(stream);
        }
        self.part_with(number, stream, exec);
    }

    /// A client takes no part in an exec any more. One that is tied to it ends.
    fn part_with(&mut self, number: u64, stream: u32, exec: u32) {
        let Some(left) = self.execs.get_mut(&exec) else { return };
        if left.detach(&mut self.link, number, stream) {
            self.control_exec(exec, ExecControl::Signal(Signal::KILL.as_raw() as u8));
        }
    }

    fn relay_files(&mut self, number: u64, stream: u32, open: &link::Open) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Ok(payload) = wire::encode_open(open) else { return client.refuse(stream, "The path is too long", "") };
        if !self.link.mux.can_open() {
            return client.refuse(stream, "The sandbox has too many commands and transfers at once", "");
        }
        let to = self.link.mux.open(&payload);
        client.streams.insert(stream, Purpose::Files { stream: to });
        self.link_streams.insert(to, LinkStream::Files(Relay::new(number, stream)));
    }

    /// Does something to a transfer, then passes on what can be passed on.
    pub(super) fn with_relay(&mut self, stream: u32, act: impl FnOnce(&mut Relay)) {
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
                if !self.ready && self.exit.is_none() {
                    client.streams.insert(stream, Purpose::Status);
                } else if let Some(status) = status {
                    client.answer(stream, &api::Report::Status(status));
                }
            }
            api::Call::Wait => {
                client.streams.insert(stream, Purpose::End);
            }
            api::Call::Events => {
                client.streams.insert(stream, Purpose::Events);
                client.connection.control(stream, &api::Report::Done);
                self.watchers.add(number, stream);
            }
            api::Call::Tie => {
                client.streams.insert(stream, Purpose::Tie);
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
            api::Call::Allow { rule, limits } => {
                self.change_policy(number, stream, &rule, &limits, Policy::allowing);
            }
            api::Call::Deny { rule, limits } => {
                self.change_policy(number, stream, &rule, &limits, Policy::denying);
            }
            api::Call::Undeny { rule, limits } => {
                self.change_policy(number, stream, &rule, &limits, Policy::undenying);
            }
            api::Call::Publish { inside, outside } => {
                let port = Published { inside, outside };
                let mut ports = self.egress.ports().to_vec();
                if inside == 0 || outside == 0 {
                    return client.refuse(stream, "Port 0 is none", "");
                }
                if !ports.contains(&port) {
                    ports.push(port);
                }
                self.reconfigure(number, stream, self.egress.policy().clone(), ports);
            }
            api::Call::Withdraw { inside, outside } => {
                let port = Published { inside, outside };
                let mut ports = self.egress.ports().to_vec();
                if !ports.contains(&port) {
                    let hint = "`agentkernel port` with the sandbox alone lists its ports";
                    return client.refuse(stream, format!("The sandbox has no port {port}"), hint);
                }
                ports.retain(|other| *other != port);
                self.reconfigure(number, stream, self.egress.policy().clone(), ports);
            }
            api::Call::Renamed => {
                // What cannot be read is what it was.
                if let Ok(name) = self.custody.name() {
                    self.name = name;
                }
                self.egress.call_sandbox(self.name.as_ref(), &self.spec.id);
                self.reconfigure(number, stream, self.egress.policy().clone(), self.egress.ports().to_vec());
            }
            api::Call::Signal { exec, signal } => {
                let idle = exec == MAIN && self.spec.command.is_none();
                match self.execs.get(&exec) {
                    Some(running) if running.ended.is_none() => {
                        client.answer(stream, &api::Report::Done);
                        self.control_exec(exec, ExecControl::Signal(signal));
                    }
                    // Its clients may still take its last output.
                    Some(_) if exec == MAIN => {
                        client.answer(stream, &api::Report::Stopped(self.exit.unwrap_or(Exit::Lost)));
                    }
                    None if idle && signal == 9 => {
                        // An idle sandbox has nothing else to kill.
                        client.answer(stream, &api::Report::Done);
                        let _ = self.machine.kill();
                    }
                    None if idle => client.refuse(
                        stream,
                        "The sandbox has no main command to send a signal to",
                        "'agentkernel stop' ends the sandbox; --exec names one of its commands, which 'agentkernel inspect' lists",
                    ),
                    _ => client.refuse(
                        stream,
                        format!("Exec {exec} is not running"),
                        "'agentkernel inspect' lists what runs",
                    ),
                }
            }
        }
    }

    /// Changes what may be reached by one rule.
    fn change_policy(
        &mut self,
        number: u64,
        stream: u32,
        rule: &str,
        limits: &[u8],
        change: fn(&Policy, Rule) -> Policy,
    ) {
        match Rule::parse(rule) {
            Ok(rule) => {
                let mut policy = change(self.egress.policy(), rule);
                // What cannot be read lifts no limit.
                if let Ok(ceiling) = wire::decode(limits) {
                    policy.ceiling = ceiling;
                }
                self.reconfigure(number, stream, policy, self.egress.ports().to_vec());
            }
            Err(error) => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.refuse(stream, error.to_string(), error.hint());
                }
            }
        }
    }

    fn control_exec(&mut self, exec: u32, control: ExecControl) {
        if let Some(exec) = self.execs.get_mut(&exec) {
            exec.killed |= control == ExecControl::Signal(9);
            self.link.control(exec.stream, &control);
        }
    }

    pub(super) fn client_gone(&mut self, number: u64) {
        let Some(client) = self.clients.remove(&number) else { return };
        // One that was made for a client that never said what it wants is nobody's.
        let unsaid = self.awaited && number == FIRST_CLIENT && !self.spec.keep;
        let is_tied = unsaid || client.streams.values().any(|purpose| *purpose == Purpose::Tie);
        self.awaited &= number != FIRST_CLIENT;
        let _ = epoll::delete(&self.epoll, &client.connection);
        for (stream, purpose) in client.streams {
            match purpose {
                Purpose::Exec { exec } => self.part_with(number, stream, exec),
                Purpose::Files { stream } => self.link.mux.close(stream),
                Purpose::Events => self.watchers.remove(number, stream),
                Purpose::End | Purpose::Status | Purpose::Usage | Purpose::Egress | Purpose::Tie => {}
            }
        }
        if is_tied && self.exit.is_none() {
            self.end(Ending::Asked, ALONE);
        }
    }

    /// Answers all who wait for the same thing.
    pub(super) fn answer_waiting(&mut self, purpose: Purpose, report: &api::Report) {
        for client in self.clients.values_mut() {
            let waiting = client.streams.iter().filter(|(_, other)| **other == purpose);
            for stream in waiting.map(|(stream, _)| *stream).collect::<Vec<_>>() {
                client.answer(stream, report);
            }
        }
    }

    /// Tells all who wait for the end why it comes.
    pub(super) fn tell_lost(&mut self, why: &str) {
        for client in self.clients.values_mut() {
            for (stream, _) in client.streams.iter().filter(|(_, purpose)| **purpose == Purpose::End) {
                client.connection.control(*stream, &api::Report::Lost(why.to_owned()));
            }
        }
    }

    pub(super) fn answer_status(&mut self) {
        self.answer_waiting(Purpose::Status, &api::Report::Status(self.status()));
    }

    fn status(&self) -> api::Status {
        api::Status {
            supervisor_pid: pid(),
            init_pid: self.machine.pid(),
            uptime: self.started.elapsed().as_secs(),
            walls: self.walls.clone(),
            execs: self.execs.values().filter(|exec| exec.ended.is_none()).map(Exec::status).collect(),
            refused: self.refusals.targets(),
            ports: self.egress.ports().iter().map(|port| (port.inside, port.outside)).collect(),
            denied: self.egress.policy().rules.deny.iter().map(ToString::to_string).collect(),
            oom_kills: self.oom_kills_now(),
        }
    }
}
