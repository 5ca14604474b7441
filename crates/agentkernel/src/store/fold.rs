//! Hides how records that come too fast, or while the disk is full, are kept: added up by target and verdict, so that none is lost in sum.

use super::{AuditEvent, AuditRecord, Subject, Verdict};
use std::{cmp::Reverse, collections::BTreeMap, time::Instant};

/// Targets that are told apart; all others are added up in one.
pub(super) const TARGETS: usize = 1024;

/// Records of one kind, of which so many may be written. What is beyond that is added up.
#[derive(Debug)]
pub(super) struct Lane {
    /// Records that may be written at once, and per second.
    limit: (f64, f64),
    /// Records that may be written now, and when that was counted.
    allowance: (f64, Instant),
    folded: BTreeMap<Key, Entry>,
    /// Entries that there were: the number of the next one.
    entries: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    verdict: Verdict,
    reason: Option<String>,
    target: Subject,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// A record that is written as it is.
    sum: AuditRecord,
}

impl Lane {
    pub(super) fn new(burst: f64, rate: f64) -> Self {
        let allowance = (burst, Instant::now());
        Self { limit: (burst, rate), allowance, folded: BTreeMap::new(), entries: 0 }
    }

    /// Whether something waits to be written.
    pub(super) fn is_folded(&self) -> bool {
        !self.folded.is_empty()
    }

    /// Whether a record may be written by itself: not before what waits already, which would wait for ever.
    pub(super) fn is_free(&mut self) -> bool {
        !self.is_folded() && self.has_room()
    }

    /// A record was written.
    pub(super) fn spend(&mut self) {
        self.allowance.0 -= 1.0;
    }

    fn has_room(&mut self) -> bool {
        let ((burst, rate), (level, counted)) = (self.limit, self.allowance);
        let now = Instant::now();
        let level = (level + rate * now.duration_since(counted).as_secs_f64()).min(burst);
        self.allowance = (level, now);
        level >= 1.0
    }

    /// Adds a record to the others of its target.
    pub(super) fn add(&mut self, record: &AuditRecord) {
        let (verdict, reason) = match &record.event {
            AuditEvent::Opened { .. } | AuditEvent::Closed { .. } => (Verdict::Allowed, None),
            AuditEvent::Refused { denied: true, reason, .. } => (Verdict::Denied, Some(reason.clone())),
            AuditEvent::Refused { denied: false, reason, .. } => (Verdict::Failed, Some(reason.clone())),
            AuditEvent::Folded { .. } => return,
        };
        let mut key = Key { verdict, reason, target: record.subject.target() };
        if self.folded.len() >= TARGETS && !self.folded.contains_key(&key) {
            key = Key { verdict, reason: None, target: Subject::others() };
        }
        if let Some(entry) = self.folded.get_mut(&key) {
            return entry.sum.fold(record);
        }
        let (reason, subject) = (key.reason.clone(), key.target.clone());
        let (count, closed, sent, received, requests, tokens) = Default::default();
        let since_ms = record.time_ms;
        let event = AuditEvent::Folded { verdict, reason, count, closed, sent, received, requests, tokens, since_ms };
        let mut sum = AuditRecord { subject, event, ..record.clone() };
        sum.fold(record);
        self.folded.insert(key, Entry { number: self.entries, sum });
        self.entries += 1;
    }

    /// Writes what waits, the oldest first: all of it, or as much as may be written now. Ends where that fails.
    pub(super) fn tell(&mut self, all: bool, mut put: impl FnMut(&AuditRecord) -> bool) {
        let mut waiting: Vec<_> = std::mem::take(&mut self.folded).into_iter().collect();
        waiting.sort_by_key(|(_, entry)| Reverse(entry.number));
        while let Some((_, Entry { sum, .. })) = waiting.last() {
            if !(all || self.has_room()) || !put(sum) {
                break;
            }
            self.spend();
            waiting.pop();
        }
        self.folded.extend(waiting);
    }

    #[cfg(test)]
    pub(super) fn allow(&mut self, records: f64) {
        self.allowance = (records, Instant::now());
    }
}

impl AuditRecord {
    /// Adds another one to a sum.
    fn fold(&mut self, other: &Self) {
        self.time_ms = other.time_ms;
        let AuditEvent::Folded { count, closed, sent, received, requests, tokens, .. } = &mut self.event else {
            return;
        };
        match &other.event {
            AuditEvent::Closed { sent: more_sent, received: more_received, requests: read, tokens: used, .. } => {
                *closed += 1;
                for (sum, more) in [(sent, more_sent), (received, more_received), (requests, read), (tokens, used)] {
                    *sum = sum.saturating_add(*more);
                }
            }
            _ => *count += 1,
        }
    }
}
