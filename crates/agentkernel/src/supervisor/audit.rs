//! Hides how what happens to connections and protected paths goes on record, and to who follows.

use super::{deadline::Deadline, server::Server, verdict::now_ms};
use crate::{
    event::EventRecord,
    store::{AuditEvent, AuditRecord, AuditWriter, Subject},
};
use std::time::Duration;
use wire::{link::Refused, printable};

/// How long what comes too fast for the audit log waits, at least.
const BEHIND: Duration = Duration::from_secs(1);
/// Why a change is refused.
const PROTECTED: &str = "protected paths are read-only inside";

/// The audit log, if it can be written.
pub(super) struct Audit {
    writer: Option<AuditWriter>,
    /// When what was too much for it is written.
    pub(super) due: Deadline,
}

impl Audit {
    pub(super) fn new(writer: Option<AuditWriter>) -> Self {
        Self { writer, due: Deadline::default() }
    }

    fn append(&mut self, record: &AuditRecord) {
        let Some(writer) = &mut self.writer else { return };
        writer.append(record);
        if writer.is_behind() {
            self.due = self.due.min(Deadline::after(BEHIND));
        }
    }

    /// Writes what was too much: all of it, or as much as may be now.
    pub(super) fn catch_up(&mut self, all: bool) {
        let Some(writer) = &mut self.writer else { return };
        writer.tell(all);
        self.due = if writer.is_behind() { Deadline::after(BEHIND) } else { Deadline::default() };
    }
}

/// A text of the sandbox's, which is as long as it likes: what is shown of it. The records of one sandbox are not to push out
/// those of others.
fn shown(text: &str) -> String {
    /// The most letters.
    const MOST: usize = 256;
    let letters = text.chars().count();
    let begin: String = text.chars().take(MOST).collect();
    let more = if letters > MOST { format!("... ({letters} letters)") } else { String::new() };
    let mut shown = printable(&begin);
    // Each letter that is none has become several.
    if shown.len() > 4 * MOST {
        shown = shown.chars().take(MOST).collect();
    }
    shown + &more
}

impl Server<'_> {
    pub(super) fn on_record(&mut self, subject: Subject, event: AuditEvent) {
        let record = AuditRecord {
            time_ms: now_ms(),
            sandbox: self.spec.id.clone(),
            name: self.name.as_ref().map(ToString::to_string),
            subject,
            event,
        };
        self.audit.append(&record);
        self.emit(|_| EventRecord::Audit(record));
    }

    /// A program was refused a change of a protected path.
    pub(super) fn on_refused(&mut self, Refused { path, change, program }: &Refused) {
        let (path, program) = (shown(&path.to_string()), shown(&program.to_string()));
        self.refusals.add_change(path.clone(), PROTECTED.to_owned());
        let event = AuditEvent::Refused {
            reason: AuditRecord::PROTECTED_PATH.to_owned(),
            denied: true,
            cause: PROTECTED.to_owned(),
            request: Some(change.word().to_owned()),
        };
        self.on_record(Subject::Path { path, program }, event);
    }
}
