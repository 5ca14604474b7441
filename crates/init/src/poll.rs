//! Hides epoll: descriptors are watched under a [`Token`], and tokens come back.

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    fd::{AsFd, OwnedFd},
    io::Errno,
};
use std::{io, time::Duration};

pub use epoll::EventFlags as Flags;

/// What may be read is told once per arrival of data: readers go on until there is no more.
pub const READ: Flags = Flags::IN.union(Flags::RDHUP).union(Flags::ET);
/// What may be written is told once per arrival of room: writers go on until there is none.
pub const WRITE: Flags = Flags::OUT.union(Flags::ET);
/// Anything that makes a read return something.
const READABLE: Flags = Flags::IN.union(Flags::RDHUP).union(Flags::HUP).union(Flags::ERR);
/// Anything that makes a write return something.
const WRITABLE: Flags = Flags::OUT.union(Flags::HUP).union(Flags::ERR);

/// Who watches a descriptor: a stream of the link, or with stream 0 the server itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The stream's number. Numbers are never used twice, so a late event cannot reach a stranger.
    pub stream: u32,
    /// Which of the stream's descriptors.
    pub slot: u8,
}

/// One watched descriptor has something to say.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Who watches it.
    pub token: Token,
    flags: Flags,
}

impl Event {
    /// A read would not block.
    pub fn readable(self) -> bool {
        self.flags.intersects(READABLE)
    }

    /// Nobody is left on the other end.
    pub fn broken(self) -> bool {
        self.flags.intersects(Flags::HUP.union(Flags::ERR))
    }

    /// A write would not block.
    pub fn writable(self) -> bool {
        self.flags.intersects(WRITABLE)
    }
}

/// The set of watched descriptors. One that is closed leaves it by itself.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(128) })
    }

    /// Watches a descriptor.
    pub fn add(&self, fd: impl AsFd, token: Token, flags: Flags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, data(token), flags)?)
    }

    /// Watches it for something else.
    pub fn modify(&self, fd: impl AsFd, token: Token, flags: Flags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, data(token), flags)?)
    }

    /// Waits until something happens or the time is up, and fills `events`.
    pub fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        events.clear();
        events.extend(self.events.iter().map(|event| {
            let raw = event.data.u64();
            Event { token: Token { stream: (raw >> 8) as u32, slot: raw as u8 }, flags: event.flags }
        }));
        Ok(())
    }
}

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(u64::from(token.stream) << 8 | u64::from(token.slot))
}
