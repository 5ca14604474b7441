//! An archive on its way between a client and init: two queues, each no longer than the sender's window, because the
//! sender gets its credit back only for what was passed on.

use crate::connection::Connection;
use std::collections::VecDeque;
use wire::Channel;

/// One direction.
#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    eof: bool,
    done: bool,
}

impl Queue {
    fn pump(&mut self, from: (&mut Connection, u32), to: (&mut Connection, u32), channel: Channel) {
        let mut sent = 0;
        loop {
            let (front, _) = self.bytes.as_slices();
            if front.is_empty() {
                break;
            }
            let count = to.0.mux.data(to.1, channel, front);
            if count == 0 {
                break;
            }
            self.bytes.drain(..count);
            sent += count;
        }
        from.0.mux.consumed(from.1, sent);
        if self.eof && self.bytes.is_empty() && !self.done {
            self.done = true;
            to.0.mux.eof(to.1, channel);
        }
    }
}

/// A client's stream joined to a stream of the link.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) client: u64,
    pub(super) stream: u32,
    up: Queue,
    down: Queue,
    /// What init said at the end: passed on after the last byte.
    report: Option<wire::link::FilesReport>,
    over: bool,
}

impl Relay {
    pub(super) fn new(client: u64, stream: u32) -> Self {
        Self { client, stream, up: Queue::default(), down: Queue::default(), report: None, over: false }
    }

    /// Bytes from the client.
    pub(super) fn push_up(&mut self, bytes: &[u8]) {
        self.up.bytes.extend(bytes);
    }

    /// Bytes from init.
    pub(super) fn push_down(&mut self, bytes: &[u8]) {
        self.down.bytes.extend(bytes);
    }

    pub(super) fn end_up(&mut self) {
        self.up.eof = true;
    }

    pub(super) fn end_down(&mut self) {
        self.down.eof = true;
    }

    pub(super) fn end(&mut self, report: wire::link::FilesReport) {
        self.report = Some(report);
    }

    /// Whether init has said how it ended, and the client does not know yet.
    pub(super) fn has_report(&self) -> bool {
        self.report.is_some()
    }

    /// Whether the client knows how it ended.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Passes on what there is credit for. Gives the report once everything before it has been passed on.
    pub(super) fn pump(
        &mut self,
        client: &mut Connection,
        link: &mut Connection,
        link_stream: u32,
    ) -> Option<wire::link::FilesReport> {
        self.up.pump((client, self.stream), (link, link_stream), Channel::Stdin);
        self.down.pump((link, link_stream), (client, self.stream), Channel::Stdout);
        if !self.down.bytes.is_empty() {
            return None;
        }
        let report = self.report.take()?;
        self.over = true;
        Some(report)
    }
}
