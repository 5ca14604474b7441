//! One running exec: its output on the way to the clients that are attached, and what waits for the next one.

use super::{
    output::Output,
    refusals::{Mark, Refusals},
    ring::Ring,
    verdict::oom_notice,
};
use crate::{connection::Connection, store::LogWriter};
use std::collections::{BTreeMap, VecDeque};
use wire::{Channel, ExecSpec, Exit, Stdio, api, link::ExecReport, mux::WINDOW};

/// The sandbox's main command.
pub(super) const MAIN: u32 = 0;

pub(super) struct Exec {
    pub(super) number: u32,
    /// Its stream on the link.
    pub(super) stream: u32,
    pub(super) pid: u32,
    pub(super) command: String,
    pub(super) terminal: bool,
    attached: Vec<Attached>,
    unseen: Ring,
    pub(super) log: Option<LogWriter>,
    /// Received from init and not yet passed on by every client: credit that init must wait for.
    owed: usize,
    /// Input that init had no room for yet, with the stream that waits for its credit.
    input: VecDeque<Input>,
    input_ended: bool,
    input_told: bool,
    since: Since,
    /// A client had it killed.
    pub(super) killed: bool,
    /// What its clients are told before the last report.
    notices: Vec<String>,
    /// Why the sandbox was lost, if it ended by that.
    pub(super) lost: Option<String>,
    /// The last report waits: not everything is as it was before yet.
    pub(super) held: bool,
    /// The last report, once the program has ended.
    pub(super) ended: Option<ExecReport>,
}

/// How things stood when it started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since {
    pub(super) refusals: Mark,
    pub(super) oom_kills: u64,
}

struct Input {
    client: u64,
    stream: u32,
    bytes: Vec<u8>,
}

/// A client's stream that carries this exec.
pub(super) struct Attached {
    client: u64,
    stream: u32,
    stdin: bool,
    output: bool,
    /// The program ends when it leaves.
    tied: bool,
    backlog: Output,
    /// Bytes that it was too slow for, while others were not.
    missed: u64,
}

/// A client whose backlog weighs more than this, while another's does not, misses the oldest bytes.
const LAG: usize = 1024 * 1024;

/// The clients' connections, by number.
pub(super) type Clients = BTreeMap<u64, super::client::Client>;

impl Exec {
    pub(super) fn new(number: u32, stream: u32, spec: &ExecSpec, log: Option<LogWriter>, since: Since) -> Self {
        let command = spec.argv.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Self {
            number,
            stream,
            pid: 0,
            command: command.chars().take(200).collect(),
            terminal: matches!(spec.stdio, Stdio::Terminal { .. }),
            attached: Vec::new(),
            unseen: Ring::default(),
            log,
            owed: 0,
            input: VecDeque::new(),
            input_ended: false,
            input_told: false,
            since,
            killed: false,
            notices: Vec::new(),
            lost: None,
            held: number == MAIN,
            ended: None,
        }
    }

    pub(super) fn status(&self) -> api::ExecStatus {
        api::ExecStatus {
            exec: self.number,
            pid: self.pid,
            command: self.command.clone(),
            clients: self.attached.len() as u32,
            terminal: self.terminal,
        }
    }

    /// A client joins: it gets what nobody has received yet, then what comes.
    pub(super) fn attach(&mut self, clients: &mut Clients, link: &mut Connection, mut attached: Attached) {
        if attached.output && self.takers().next().is_none() {
            let (lost, unseen) = self.unseen.take();
            if lost > 0 {
                let note = format!(
                    "[agentkernel: {lost} earlier bytes are not shown here; a kept sandbox has them in its log]\r\n"
                );
                attached.backlog.push(Channel::Stderr, note.as_bytes());
            }
            attached.backlog.append(unseen);
        }
        if self.pid != 0
            && let Some(peer) = clients.get_mut(&attached.client)
        {
            let report = ExecReport::Started { pid: self.pid };
            peer.connection.control(attached.stream, &api::Report::Exec { exec: self.number, report });
        }
        self.attached.push(attached);
        self.flush(clients, link);
    }

    /// A client leaves. What it was sent and did not take waits for the next one. True: the program is to end with it.
    pub(super) fn detach(&mut self, link: &mut Connection, client: u64, stream: u32) -> bool {
        let Some(index) = self.attached.iter().position(|a| a.client == client && a.stream == stream) else {
            return false;
        };
        let mut gone = self.attached.swap_remove(index);
        if self.takers().next().is_none() {
            gone.backlog.pass(|channel, bytes| {
                self.unseen.push(channel, bytes);
                bytes.len()
            });
        }
        if gone.stdin && !self.terminal && !self.attached.iter().any(|a| a.stdin) && self.ended.is_none() {
            // Nobody is left who could end the input.
            self.input_ended = true;
            self.settle_input(link);
        }
        self.grant(link);
        gone.tied && self.ended.is_none()
    }

    /// Input came from a client. It gets its credit back when init has taken the bytes.
    pub(super) fn input(
        &mut self,
        clients: &mut Clients,
        link: &mut Connection,
        client: u64,
        stream: u32,
        bytes: Vec<u8>,
    ) {
        self.input.push_back(Input { client, stream, bytes });
        self.pump_input(clients, link);
    }

    /// A client ended the input. A terminal's has no end: the next client may type on.
    pub(super) fn end_input(&mut self, clients: &mut Clients, link: &mut Connection) {
        if !self.terminal {
            self.input_ended = true;
            self.pump_input(clients, link);
        }
    }

    /// Passes on the input that init has room for.
    pub(super) fn pump_input(&mut self, clients: &mut Clients, link: &mut Connection) {
        while let Some(next) = self.input.front_mut() {
            let sent = link.mux.data(self.stream, Channel::Stdin, &next.bytes);
            if let Some(client) = clients.get_mut(&next.client) {
                client.connection.mux.consumed(next.stream, sent);
            }
            if sent < next.bytes.len() {
                next.bytes.drain(..sent);
                return;
            }
            self.input.pop_front();
        }
        self.settle_input(link);
    }

    /// Tells init of the end of the input, once, after the last byte.
    fn settle_input(&mut self, link: &mut Connection) {
        if self.input_ended && self.input.is_empty() && !self.input_told {
            self.input_told = true;
            link.mux.eof(self.stream, Channel::Stdin);
        }
    }

    /// The clients that take output.
    fn takers(&mut self) -> impl Iterator<Item = &mut Attached> {
        self.attached.iter_mut().filter(|attached| attached.output)
    }

    pub(super) fn is_attached(&self) -> bool {
        !self.attached.is_empty()
    }

    /// Whether this client's stream may send input. Once the input is at its end, nothing may follow.
    pub(super) fn takes_input(&self, client: u64, stream: u32) -> bool {
        self.ended.is_none()
            && !self.input_ended
            && self.attached.iter().any(|a| a.client == client && a.stream == stream && a.stdin)
    }

    /// Output came from init.
    pub(super) fn output(&mut self, clients: &mut Clients, link: &mut Connection, channel: Channel, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.append(channel, bytes);
        }
        self.owed += bytes.len();
        if self.takers().next().is_none() {
            self.unseen.push(channel, bytes);
        }
        self.takers().for_each(|attached| attached.backlog.push(channel, bytes));
        self.flush(clients, link);
        if self.takers().count() > 1 {
            self.takers().for_each(Attached::catch_up);
        }
    }

    /// A report came from init. True if it was the last one.
    pub(super) fn report(&mut self, clients: &mut Clients, link: &mut Connection, report: ExecReport) -> bool {
        if let ExecReport::Started { pid } = report {
            self.pid = pid;
            for attached in &self.attached {
                if let Some(peer) = clients.get_mut(&attached.client) {
                    let report = ExecReport::Started { pid };
                    peer.connection.control(attached.stream, &api::Report::Exec { exec: self.number, report });
                }
            }
            return false;
        }
        self.ended = Some(report);
        self.flush(clients, link);
        true
    }

    /// Its clients are to be told what happened in the sandbox while it ran, besides that it ended so.
    pub(super) fn hear(&mut self, exit: Exit, refusals: &Refusals, oom_kills: u64) {
        let killed = oom_kills - self.since.oom_kills;
        self.notices = (killed > 0 && exit != Exit::Oom).then(|| oom_notice(killed)).into_iter().collect();
        self.notices.extend(refusals.since(self.since.refusals));
    }

    /// Passes on what the clients have credit for; once all of it is passed on, the last report and the close.
    pub(super) fn flush(&mut self, clients: &mut Clients, link: &mut Connection) {
        self.attached.retain_mut(|attached| {
            let Some(client) = clients.get_mut(&attached.client) else { return false };
            attached.pump(&mut client.connection);
            match &self.ended {
                Some(report) if attached.backlog.is_empty() && !self.held => {
                    for notice in &self.notices {
                        client.connection.control(attached.stream, &api::Report::Notice(notice.clone()));
                    }
                    if let Some(why) = &self.lost {
                        client.connection.control(attached.stream, &api::Report::Lost(why.clone()));
                    }
                    let report = api::Report::Exec { exec: self.number, report: report.clone() };
                    client.connection.control(attached.stream, &report);
                    client.close(attached.stream);
                    false
                }
                _ => true,
            }
        });
        self.grant(link);
    }

    /// Gives init its credit back once one client is not far behind: a single slow one holds the program up, as a pipe
    /// would, but none holds the others up.
    fn grant(&mut self, link: &mut Connection) {
        let behind = self.takers().map(|attached| attached.backlog.len()).min().unwrap_or(0);
        if self.owed > 0 && behind < WINDOW as usize / 4 {
            link.mux.consumed(self.stream, std::mem::take(&mut self.owed));
        }
    }
}

impl Attached {
    pub(super) fn new(client: u64, stream: u32, stdin: bool, output: bool) -> Self {
        Self { client, stream, stdin, output, tied: false, backlog: Output::default(), missed: 0 }
    }

    /// Whether the program ends when this client leaves.
    pub(super) fn tied(self, tied: bool) -> Self {
        Self { tied, ..self }
    }

    /// Lets go of the oldest bytes, if there are too many.
    fn catch_up(&mut self) {
        while self.backlog.weight() > LAG {
            self.missed += self.backlog.forget(self.backlog.weight() - LAG) as u64;
        }
    }

    fn pump(&mut self, connection: &mut Connection) {
        if self.missed > 0 && connection.mux.credit(self.stream) > 0 {
            let note =
                format!("[agentkernel: {} bytes came too fast to be shown here]\r\n", std::mem::take(&mut self.missed));
            self.backlog.push_front(Channel::Stderr, note.as_bytes());
        }
        self.backlog.pass(|channel, bytes| connection.mux.data(self.stream, channel, bytes));
    }
}
