//! How programs and the sandbox end: what init says of it, what is known out here, and what goes on record.

use super::{
    exec::MAIN,
    refusals::Mark,
    server::{Ending, Server},
};
use crate::store::{LogWriter, State};
use std::time::{SystemTime, UNIX_EPOCH};
use wire::{Exit, link::ExecReport, printable};

impl Server<'_> {
    /// Init sees a signal; whether the kernel sent it for lack of memory is known out here.
    pub(super) fn judge(&mut self, number: u32, report: ExecReport) -> ExecReport {
        let exit = match report {
            ExecReport::Exited(exit) => exit,
            ExecReport::Failed { kind, cause } => return ExecReport::Failed { kind, cause: printable(&cause) },
            ExecReport::Started { .. } => return report,
        };
        let killed = self.look_for_oom();
        // Egress tells of a refusal before the program learns of it.
        self.hear_egress();
        let exit = match exit {
            _ if self.ending == Some(Ending::Deadline) => Exit::Deadline,
            // A shell passes the end of its child on.
            Exit::Signal(9) | Exit::Code(137) if killed > 0 && self.is_victim(number) => Exit::Oom,
            // These are not init's to say.
            Exit::Oom | Exit::Deadline | Exit::Lost => Exit::Lost,
            Exit::Code(_) | Exit::Signal(_) => exit,
        };
        if let Some(exec) = self.execs.get_mut(&number) {
            exec.hear(exit, &self.refusals, self.oom_kills);
        }
        ExecReport::Exited(exit)
    }

    /// Whether the process that the kernel killed just now was this exec's. The kernel counts for the sandbox as a whole:
    /// with another exec beside it, or a signal from outside, nobody knows.
    fn is_victim(&self, number: u32) -> bool {
        let alone = self.execs.values().filter(|exec| exec.ended.is_none()).all(|exec| exec.number == number);
        alone && self.ending.is_none() && self.execs.get(&number).is_some_and(|exec| !exec.killed)
    }

    /// How many processes the kernel has killed for lack of memory since the last look; they go on record. Looked at
    /// when an exec starts or ends, so that each is told what happened in its time.
    pub(super) fn look_for_oom(&mut self) -> u64 {
        let kills = self.oom_kills_now();
        let killed = kills - std::mem::replace(&mut self.oom_kills, kills);
        if killed > 0 {
            self.note(&oom_notice(killed));
        }
        killed
    }

    /// How many processes the kernel has killed for lack of memory since the start.
    pub(super) fn oom_kills_now(&self) -> u64 {
        // Nobody counts any more once the machine is released.
        let counted = self.machine.oom_kills().saturating_sub(self.oom_before);
        counted.max(self.told_oom_kills).max(self.oom_kills)
    }

    /// How the sandbox ended, on record before anybody is told. The first word counts.
    pub(super) fn record(&mut self, exit: Exit) -> Exit {
        if let Some(first) = self.exit {
            return first;
        }
        self.exit = Some(exit);
        self.audit.catch_up(true);
        if self.spec.keep {
            self.look_for_oom();
            // Before the state: who follows the log reads it until the state says that it has ended.
            for notice in self.refusals.since(Mark::default()) {
                self.note(&notice);
            }
            let ended = State::Exited {
                exit,
                started_ms: self.started_ms,
                ended_ms: Some(now_ms()),
                oom_kills: self.oom_kills,
            };
            // Without a record it counts as lost, once the lock is free.
            let _ = self.custody.write_state(&ended);
        }
        exit
    }

    /// A log for an exec that has one. Without the log the sandbox still runs.
    pub(super) fn log(&self, wanted: bool) -> Option<LogWriter> {
        if wanted { self.custody.log_writer().ok() } else { None }
    }

    /// Puts words of our own into the log of a sandbox that has one.
    pub(super) fn note(&mut self, notice: &str) {
        match self.execs.get_mut(&MAIN).and_then(|main| main.log.as_mut()) {
            Some(log) => log.notice(notice),
            None => {
                if let Some(mut log) = self.log(self.spec.keep) {
                    log.notice(notice);
                }
            }
        }
    }
}

/// What is told of processes that the kernel has killed. Whose they were, it does not say.
pub(super) fn oom_notice(killed: u64) -> String {
    let (processes, were) = if killed == 1 { ("process", "was") } else { ("processes", "were") };
    format!("{killed} {processes} {were} killed: the sandbox's memory limit was reached")
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64)
}
