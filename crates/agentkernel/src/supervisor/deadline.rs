//! Points in time at which the supervisor acts, as epoll wants them: milliseconds from now.

use std::time::{Duration, Instant};

/// A point in time, or none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now. A span beyond what the clock can hold is never.
    pub(super) fn after(span: Duration) -> Self {
        Self(Instant::now().checked_add(span))
    }

    /// Whether it has come. It comes once.
    pub(super) fn take_due(&mut self) -> bool {
        let due = self.0.is_some_and(|at| at <= Instant::now());
        if due {
            self.0 = None;
        }
        due
    }

    /// The earlier of the two.
    pub(super) fn min(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }

    /// The time until then, for epoll_wait(2); none is for ever.
    pub(super) fn timeout(self) -> Option<rustix::event::Timespec> {
        let span = self.0?.saturating_duration_since(Instant::now());
        Some(rustix::event::Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: span.subsec_nanos().into(),
        })
    }
}
