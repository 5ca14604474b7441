//! What one flow carries: counted, and held to the sandbox's rate.

use crate::{bucket::Bucket, control::Totals};
use std::{cell::Cell, rc::Rc, time::Instant};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the sandbox.
    Out,
    /// To the sandbox.
    In,
}

/// The count of one flow.
pub(crate) struct Meter {
    started: Instant,
    sent: Cell<u64>,
    received: Cell<u64>,
    requests: Cell<u64>,
    tokens: Cell<u64>,
    bucket: Option<Rc<Bucket>>,
}

impl Meter {
    pub(crate) fn new(bucket: Option<Rc<Bucket>>) -> Self {
        Self {
            started: Instant::now(),
            sent: Cell::new(0),
            received: Cell::new(0),
            requests: Cell::new(0),
            tokens: Cell::new(0),
            bucket,
        }
    }

    /// How many bytes may pass now, at most `most`: waits until some may.
    pub(crate) async fn permit(&self, most: usize) -> usize {
        match &self.bucket {
            Some(bucket) => bucket.take(most).await,
            None => most,
        }
    }

    /// Counts what has passed, of what was permitted.
    pub(crate) fn count(&self, direction: Direction, permitted: usize, passed: usize) {
        if let Some(bucket) = &self.bucket {
            bucket.give_back(permitted - passed);
        }
        let count = match direction {
            Direction::Out => &self.sent,
            Direction::In => &self.received,
        };
        count.set(count.get() + passed as u64);
    }

    pub(crate) fn request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    pub(crate) fn tokens(&self, count: u64) {
        self.tokens.set(self.tokens.get() + count);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            sent: self.sent.get(),
            received: self.received.get(),
            requests: self.requests.get(),
            tokens: self.tokens.get(),
            duration_ms: self.started.elapsed().as_millis() as u64,
        }
    }
}
