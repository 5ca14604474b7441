//! One connected client, as the supervisor sees it.

use crate::connection::Connection;
use rustix::event::epoll::EventFlags;
use std::collections::BTreeMap;
use wire::{Failure, api};

/// What a client's stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The input and output of an exec.
    Exec {
        /// Its number.
        exec: u32,
    },
    /// An archive; relayed to this stream of the link.
    Files {
        /// Stream on the link.
        stream: u32,
    },
    /// The client waits for the end of the sandbox.
    End,
    /// The client waits until all walls are up, or one is known not to be.
    Status,
    /// The client waits for init to count.
    Usage,
    /// The client waits for egress to obey.
    Egress,
    /// The client is told what happens.
    Events,
    /// The sandbox ends with the client.
    Tie,
}

/// A connected client.
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) streams: BTreeMap<u32, Purpose>,
    /// What epoll watches it for.
    pub(super) interest: EventFlags,
}

impl Client {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, streams: BTreeMap::new(), interest: EventFlags::IN }
    }

    /// Answers a stream's request and ends the stream.
    pub(super) fn answer(&mut self, stream: u32, report: &api::Report) {
        self.connection.control(stream, report);
        self.close(stream);
    }

    /// Ends a stream on this side.
    pub(super) fn close(&mut self, stream: u32) {
        self.streams.remove(&stream);
        self.connection.mux.close(stream);
    }

    /// Answers a stream's request with a failure.
    pub(super) fn refuse(&mut self, stream: u32, cause: impl Into<String>, hint: impl Into<String>) {
        self.answer(stream, &api::Report::Failed(Failure { cause: cause.into(), hint: hint.into() }));
    }
}
