//! Hides how fast bytes may pass and connections be made: buckets of tokens that fill at a steady rate, as Firecracker's
//! rate limiter has them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// The least that is given at once, so that a low rate does not become many tiny pieces.
const PIECE: u64 = 16 * 1024;

/// A token is a byte, or an operation. All connections of a sandbox take from the same bucket, in the order in which they came.
pub(crate) struct Bucket {
    /// Tokens per second.
    rate: u64,
    /// The most that it holds: a second's worth.
    size: u64,
    /// The least that is given at once.
    piece: u64,
    level: Mutex<Level>,
    /// Whoever waits first is served first.
    turn: tokio::sync::Mutex<()>,
}

struct Level {
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket of bytes. A rate of 0 counts as 1.
    pub(crate) fn new(rate: u64) -> Self {
        Self::with_piece(rate, PIECE)
    }

    /// A full bucket of operations. A rate of 0 counts as 1.
    pub(crate) fn of_operations(rate: u64) -> Self {
        Self::with_piece(rate, 1)
    }

    fn with_piece(rate: u64, piece: u64) -> Self {
        let rate = rate.max(1);
        let size = rate.max(piece);
        let level = Mutex::new(Level { tokens: size, filled: Instant::now() });
        Self { rate, size, piece, level, turn: tokio::sync::Mutex::default() }
    }

    /// Takes as many tokens as there are, at most `most`; waits until there are enough for a piece.
    pub(crate) async fn take(&self, most: usize) -> usize {
        let most = most as u64;
        let wanted = most.min(self.piece);
        let _turn = self.turn.lock().await;
        loop {
            let missing = match self.try_take(wanted, most) {
                Ok(taken) => return taken as usize,
                Err(missing) => missing,
            };
            let wait = Duration::from_nanos((missing.saturating_mul(1_000_000_000) / self.rate).max(1_000_000));
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes what there is, or says how much is missing.
    fn try_take(&self, wanted: u64, most: u64) -> Result<u64, u64> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let passed = now.saturating_duration_since(level.filled);
        let fresh = (u128::from(self.rate) * passed.as_nanos() / 1_000_000_000).min(u128::from(self.size)) as u64;
        // Time that is not worth a whole token yet is not lost.
        if fresh > 0 {
            level.tokens = (level.tokens + fresh).min(self.size);
            level.filled = now;
        }
        if level.tokens < wanted {
            return Err(wanted - level.tokens);
        }
        let taken = level.tokens.min(most);
        level.tokens -= taken;
        Ok(taken)
    }

    /// Gives back what was taken and not used.
    pub(crate) fn give_back(&self, tokens: usize) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        level.tokens = (level.tokens + tokens as u64).min(self.size);
    }
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
