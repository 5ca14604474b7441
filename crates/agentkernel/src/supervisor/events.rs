//! The event stream on its way to the clients that asked for it. Nobody waits for them: what one is too slow for is
//! counted, and it is told the number.

use super::{exec::Clients, server::Server, verdict::now_ms};
use crate::event::{EventRecord, LifeEvent, LifeRecord};
use std::collections::{BTreeMap, VecDeque};
use wire::{Channel, Exit, link::ExecReport, printable};

/// The most bytes that are kept for a client beyond its credit.
const BACKLOG: usize = 256 * 1024;

/// Who wants to know, by client and stream.
#[derive(Default)]
pub(super) struct Watchers(BTreeMap<(u64, u32), Watcher>);

#[derive(Default)]
struct Watcher {
    backlog: VecDeque<u8>,
    skipped: u64,
}

impl Watchers {
    pub(super) fn add(&mut self, client: u64, stream: u32) {
        self.0.insert((client, stream), Watcher::default());
    }

    pub(super) fn remove(&mut self, client: u64, stream: u32) {
        self.0.remove(&(client, stream));
    }

    /// Sends a client what it has credit for, and once it has all that was kept for it, how much is missing: nothing may
    /// come any more with which it could be told.
    fn pump(&mut self, clients: &mut Clients, number: u64, stream: u32, skipped: impl Fn(u64) -> EventRecord) {
        let Some(watcher) = self.0.get_mut(&(number, stream)) else { return };
        let Some(client) = clients.get_mut(&number) else { return };
        loop {
            while let (front @ [_, ..], _) = watcher.backlog.as_slices() {
                let count = client.connection.mux.data(stream, Channel::Stdout, front);
                if count == 0 {
                    return;
                }
                watcher.backlog.drain(..count);
            }
            if watcher.skipped == 0 {
                return;
            }
            watcher.backlog.extend(line(&skipped(watcher.skipped)).unwrap_or_default());
            watcher.skipped = 0;
        }
    }
}

impl Watcher {
    fn push(&mut self, record: &EventRecord, skipped: impl Fn(u64) -> EventRecord) {
        let told = (self.skipped > 0).then(|| line(&skipped(self.skipped))).flatten().unwrap_or_default();
        let Some(line) = line(record) else { return };
        if self.backlog.len() + told.len() + line.len() > BACKLOG {
            self.skipped += 1;
            return;
        }
        self.skipped = 0;
        self.backlog.extend(told);
        self.backlog.extend(line);
    }
}

fn line(record: &EventRecord) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(record).ok()?;
    line.push(b'\n');
    Some(line)
}

impl Server<'_> {
    /// Tells whoever wants to know. What the record is, is only asked if somebody does.
    pub(super) fn emit(&mut self, record: impl FnOnce(&Self) -> EventRecord) {
        if self.watchers.0.is_empty() {
            return;
        }
        let record = record(self);
        let mut watchers = std::mem::take(&mut self.watchers);
        watchers
            .0
            .values_mut()
            .for_each(|watcher| watcher.push(&record, |count| self.life(LifeEvent::Skipped { count })));
        self.watchers = watchers;
        for (client, stream) in self.watchers.0.keys().copied().collect::<Vec<_>>() {
            self.pump_events(client, stream);
        }
    }

    /// Sends a client what it has credit for.
    pub(super) fn pump_events(&mut self, client: u64, stream: u32) {
        let mut clients = std::mem::take(&mut self.clients);
        let mut watchers = std::mem::take(&mut self.watchers);
        watchers.pump(&mut clients, client, stream, |count| self.life(LifeEvent::Skipped { count }));
        (self.clients, self.watchers) = (clients, watchers);
    }

    /// Tells how an exec goes.
    pub(super) fn emit_exec(&mut self, exec: u32, report: &ExecReport) {
        let event = match report {
            ExecReport::Started { pid } => {
                let command = self.execs.get(&exec).map(|exec| exec.command.clone()).unwrap_or_default();
                LifeEvent::ExecStarted { exec, pid: *pid, command }
            }
            ExecReport::Failed { cause, .. } => LifeEvent::ExecFailed { exec, cause: cause.clone() },
            ExecReport::Exited(exit) => LifeEvent::ExecEnded { exec, exit: *exit, status: exit.status() },
        };
        self.emit(|server| server.life(event));
    }

    /// Tells why the sandbox was lost.
    pub(super) fn emit_unheard(&mut self, cause: &str) {
        self.emit(|server| server.life(LifeEvent::Unheard { cause: printable(cause) }));
    }

    pub(super) fn emit_lost(&mut self, cause: &str) {
        self.emit(|server| server.life(LifeEvent::Lost { cause: cause.to_owned() }));
    }

    /// Tells how the sandbox has ended.
    pub(super) fn emit_stopped(&mut self, exit: Exit) {
        self.emit(|server| server.life(LifeEvent::Stopped { exit, status: exit.status() }));
    }

    fn life(&self, event: LifeEvent) -> EventRecord {
        EventRecord::Life(LifeRecord {
            time_ms: now_ms(),
            sandbox: self.spec.id.clone(),
            name: self.name.as_ref().map(ToString::to_string),
            event,
        })
    }
}
