//! Hides how fast bytes may pass: a bucket of tokens that fills at a steady rate, as Firecracker's rate limiter has it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// The least that is given at once, so that a low rate does not become many tiny pieces.
const PIECE: u64 = 16 * 1024;

/// A token is a byte. All connections of a sandbox take from the same bucket, in the order in which they came.
pub(crate) struct Bucket {
    /// Tokens per second.
    rate: u64,
    /// The most that it holds: a second's worth.
    size: u64,
    level: Cell<u64>,
    filled: Cell<Instant>,
    /// Whoever waits first is served first.
    turn: Mutex<()>,
}

impl Bucket {
    /// A full bucket. A rate of 0 counts as 1.
    pub(crate) fn new(rate: u64) -> Self {
        let rate = rate.max(1);
        let size = rate.max(PIECE);
        Self { rate, size, level: Cell::new(size), filled: Cell::new(Instant::now()), turn: Mutex::new(()) }
    }

    /// Takes as many tokens as there are, at most `most`; waits until there are enough for a piece.
    pub(crate) async fn take(&self, most: usize) -> usize {
        let most = most as u64;
        let wanted = most.min(PIECE);
        let _turn = self.turn.lock().await;
        loop {
            self.fill(Instant::now());
            let level = self.level.get();
            if level >= wanted {
                let taken = level.min(most);
                self.level.set(level - taken);
                return taken as usize;
            }
            let missing = wanted - level;
            let wait = Duration::from_nanos((missing.saturating_mul(1_000_000_000) / self.rate).max(1_000_000));
            tokio::time::sleep(wait).await;
        }
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&self, tokens: usize) {
        self.level.set((self.level.get() + tokens as u64).min(self.size));
    }

    fn fill(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled.get());
        let tokens = (u128::from(self.rate) * passed.as_nanos() / 1_000_000_000).min(u128::from(self.size)) as u64;
        // Time that is not worth a whole token yet is not lost.
        if tokens > 0 {
            self.level.set((self.level.get() + tokens).min(self.size));
            self.filled.set(now);
        }
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
