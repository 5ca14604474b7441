//! Hides how the two ends of a container's link know of each other: an engine that dies or hangs closes nothing, and leaves
//! the container running. Each hears from the other every few seconds. Init ends by itself when it hears nothing; the
//! adapter first asks the engine, since a container may have been paused.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use wire::{
    MessageError,
    frame::{Frame, Kind},
    link::{FromInit, ToInit},
};

/// How long init goes on when it hears nothing. By its own clock, which a suspended machine stops.
pub const LIMIT: Duration = Duration::from_secs(10);
/// After what time of which nobody can have spoken to init it has ended, and all in its container with it.
pub const CERTAIN: Duration = Duration::from_secs(13);
/// How often the adapter speaks.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// How long init may be silent before the engine is asked.
const SILENCE: Duration = Duration::from_secs(6);

/// What an adapter says to init, and what it hears.
pub struct Heartbeat {
    /// What is said, once init knows what it is.
    pub payload: Vec<u8>,
    answer: Vec<u8>,
    begun: Cell<bool>,
    heard: Cell<Instant>,
}

impl Heartbeat {
    /// # Errors
    /// None that a message without contents can have.
    pub fn new() -> Result<Self, MessageError> {
        let (payload, answer) = (wire::encode(&ToInit::Heartbeat)?, wire::encode(&FromInit::Heartbeat)?);
        Ok(Self { payload, answer, begun: Cell::new(false), heard: Cell::new(Instant::now()) })
    }

    /// Init is told something: nothing may come before the first message, which is its setup.
    pub fn pass(&self, frame: &Frame<'_>) {
        if frame.kind == Kind::Message && !self.begun.replace(true) {
            self.heard.set(Instant::now());
        }
    }

    /// Init says something. Whether it is for nobody else.
    pub fn hear(&self, frame: &Frame<'_>) -> bool {
        self.heard.set(Instant::now());
        frame.kind == Kind::Message && frame.payload == self.answer
    }

    /// Whether it may be said.
    pub fn may_speak(&self) -> bool {
        self.begun.get()
    }

    /// Whether nothing was heard for longer than it should be.
    pub fn is_silent(&self) -> bool {
        self.begun.get() && self.heard.get().elapsed() > SILENCE
    }
}
