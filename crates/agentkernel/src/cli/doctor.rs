//! `doctor`: what this host can do for sandboxes, and what to do about the rest.

use super::{
    Failure, Status,
    failure::FAILED,
    print, print_json,
    table::printable,
    throwaway::{MadeOf, Throwaway},
};
use crate::{
    config::{HostFacts, NetworkOverrides},
    doctor::{self, Examined, Finding, Host, State},
    store::Store,
};
use clap::Args;
use serde::Serialize;
use std::fmt::Write;

/// Tell what this host can do for sandboxes, and what to do about the rest.
///
/// Everything is found out by trying. The exit status is 1 if 'run' cannot work here.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    host: Host,
    backends: Vec<Examined>,
    kvm: Finding,
}

impl Doctor {
    pub(super) fn run(self) -> Status {
        // A directory that is gone says nothing about this host; 'run' tells of it.
        if HostFacts::read()?.lost().is_some() {
            std::env::set_current_dir("/")?;
        }
        let mut backends = doctor::backends(&Store::open()?.shared()?);
        for backend in &mut backends {
            // Only if all else works would its failure say something new. What an engine has tried, it has; which image
            // it should start is the user's to say.
            if backend.works && backend.name == "native" {
                let start = start();
                backend.works = start.state == State::Works;
                backend.findings.push(start);
            }
        }
        let report = Report { host: doctor::host(), backends, kvm: doctor::kvm() };
        if self.json {
            print_json(&report)?;
        } else {
            print(&text(&report))?;
        }
        Ok(if report.backends.iter().any(|backend| backend.works) { 0 } else { FAILED })
    }
}

/// The proof: a sandbox is started, and has tested its walls.
fn start() -> Finding {
    let started = || -> Result<String, Failure> {
        let mut sandbox = Throwaway::start(&MadeOf::default(), None, None, None, None, NetworkOverrides::default())?;
        let walls = sandbox.client.status()?.walls;
        let held = walls.iter().filter(|wall| wall.holds).count();
        Ok(format!("a sandbox has started, and {held} walls hold"))
    };
    let (state, detail, hint) = match started() {
        Ok(detail) => (State::Works, detail, String::new()),
        Err(Failure { cause, hint, .. }) => (State::Fails, cause, hint),
    };
    Finding { name: "start", state, detail, hint }
}

fn text(report: &Report) -> String {
    let host = &report.host;
    let who = if host.uid == 0 { "root".into() } else { format!("user {}", host.uid) };
    let mut text = format!("Linux {} on {}, as {who}", host.kernel, host.arch);
    for note in &host.notes {
        let _ = write!(text, ", {note}");
    }
    text.push('\n');
    for backend in &report.backends {
        let verdict = if backend.works { "works" } else { "does not work" };
        let _ = writeln!(text, "\nBackend {} {verdict}", backend.name);
        list(&mut text, &backend.findings);
    }
    text.push_str("\nFor a backend to come\n");
    list(&mut text, std::slice::from_ref(&report.kvm));
    text
}

fn list(text: &mut String, findings: &[Finding]) {
    const WIDTH: usize = "limit of processors".len();
    for (at, Finding { name, state, detail, hint }) in findings.iter().enumerate() {
        let mark = match state {
            State::Works => "ok",
            State::Missing => "no",
            State::Fails => "FAILS",
        };
        let _ = writeln!(text, "  {mark:5}  {name:WIDTH$}  {}", printable(detail));
        // Once, where neighbours share it.
        if !hint.is_empty() && findings.get(at + 1).is_none_or(|next| next.hint != *hint) {
            let _ = writeln!(text, "  {:5}  {:WIDTH$}  hint: {}", "", "", printable(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_remedies_stand_below_each_other() {
        let finding = |name, state, hint: &str| Finding { name, state, detail: "so".into(), hint: hint.into() };
        let findings = vec![finding("proc", State::Works, ""), finding("landlock", State::Missing, "boot")];
        let host = Host { kernel: "6.1".into(), arch: "x86_64".into(), uid: 7, notes: vec!["WSL"] };
        let backends = vec![Examined { name: "native", works: true, findings }];
        let report = Report { host, backends, kvm: finding("kvm", State::Fails, "") };
        assert_eq!(
            text(&report),
            "Linux 6.1 on x86_64, as user 7, WSL\n\n\
             Backend native works\n  \
               ok     proc                 so\n  \
               no     landlock             so\n                              hint: boot\n\n\
             For a backend to come\n  \
               FAILS  kvm                  so\n"
        );
    }
}
