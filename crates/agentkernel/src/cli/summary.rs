//! What went to each host and port, and what was refused of each file, added up: hides how records become sums, and how these are told.

use super::{net, table};
use crate::store::{AuditEvent, AuditRecord, Subject, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What went to all of them.
#[derive(Default)]
pub(super) struct Sums {
    targets: BTreeMap<Subject, Sum>,
}

impl Sums {
    pub(super) fn add(&mut self, record: AuditRecord) {
        self.targets.entry(record.subject.target()).or_default().add(&record.event);
    }

    /// One for each.
    pub(super) fn json(&self) -> Vec<Value> {
        let object = |(target, sum): (&Subject, &Sum)| {
            let mut object = match target {
                Subject::Connection { host, port, .. } => json!({ "host": host, "port": port }),
                Subject::Path { path, .. } => json!({ "path": path }),
            };
            if let (Some(object), Ok(Value::Object(sum))) = (object.as_object_mut(), serde_json::to_value(sum)) {
                object.extend(sum);
            }
            object
        };
        self.targets.iter().map(object).collect()
    }

    /// The same for people.
    pub(super) fn table(&self) -> String {
        let heading = ["TARGET", "ALLOWED", "DENIED", "FAILED", "REQUESTS", "TOKENS", "SENT", "RECEIVED"];
        let row = |(target, sum): (&Subject, &Sum)| {
            let Sum { allowed, denied, failed, requests, tokens, sent, received } = sum;
            let mut row = vec![target.to_string()];
            row.extend([allowed, denied, failed, requests, tokens].map(ToString::to_string));
            row.extend([table::bytes(*sent), table::bytes(*received)]);
            row
        };
        let rows: Vec<Vec<String>> = self.targets.iter().map(row).collect();
        table::render_within(net::WIDEST, &heading, &rows)
    }
}

/// What went to one of them.
#[derive(Default, serde::Serialize)]
struct Sum {
    allowed: u64,
    denied: u64,
    failed: u64,
    requests: u64,
    tokens: u64,
    sent: u64,
    received: u64,
}

impl Sum {
    fn add(&mut self, event: &AuditEvent) {
        match event {
            AuditEvent::Opened { .. } => self.allowed += 1,
            AuditEvent::Refused { denied: true, .. } => self.denied += 1,
            AuditEvent::Refused { .. } => self.failed += 1,
            AuditEvent::Closed { sent, received, requests, tokens, .. } => {
                self.carried([sent, received, requests, tokens]);
            }
            AuditEvent::Folded { verdict, count, sent, received, requests, tokens, .. } => {
                let sum = match verdict {
                    Verdict::Allowed => &mut self.allowed,
                    Verdict::Denied => &mut self.denied,
                    Verdict::Failed => &mut self.failed,
                };
                *sum = sum.saturating_add(*count);
                self.carried([sent, received, requests, tokens]);
            }
        }
    }

    fn carried(&mut self, more: [&u64; 4]) {
        let sums = [&mut self.sent, &mut self.received, &mut self.requests, &mut self.tokens];
        sums.into_iter().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    }
}
