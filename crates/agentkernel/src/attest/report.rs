//! What an attack showed, for people and for machines.

use serde::Serialize;
use std::fmt;

/// Whether a case was shown to be able to escape at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Control {
    /// It escaped outside, as it should.
    Proved,
    /// It should have escaped outside, and did not: the case shows nothing.
    Failed(String),
    /// It was not made outside, for this reason.
    NotRun(String),
}

/// What a case showed inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The wall held.
    Held,
    /// It did not.
    Escaped,
    /// The attempt could not be made, and shows nothing.
    Skipped,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// Its stable name.
    pub name: String,
    /// The kind of wall.
    pub class: String,
    /// What it would mean if it escaped.
    pub means: String,
    /// A CVE, a manual page or a rule of this project.
    pub reference: String,
    /// Whether it was shown to work outside.
    pub control: Control,
    /// What it showed inside.
    pub result: Verdict,
    /// How the wall answered, or what was reached.
    pub detail: String,
}

/// The whole attack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Every case, in the order of the attack.
    pub cases: Vec<CaseReport>,
}

impl Report {
    fn count(&self, result: Verdict) -> usize {
        self.cases.iter().filter(|case| case.result == result).count()
    }

    fn failed(&self) -> impl Iterator<Item = (&CaseReport, &str)> {
        self.cases.iter().filter_map(|case| match &case.control {
            Control::Failed(reason) => Some((case, reason.as_str())),
            _ => None,
        })
    }

    /// The exit status: 1 if something escaped; 2 if nothing did, but a case was skipped, a control failed, or there
    /// was no case, so that a wall remains unproved; otherwise 0. What a host can't show outside ([`Control::NotRun`])
    /// is no fault of the walls.
    #[must_use]
    pub fn status(&self) -> u8 {
        if self.count(Verdict::Escaped) > 0 {
            1
        } else if self.cases.is_empty() || self.count(Verdict::Skipped) > 0 || self.failed().next().is_some() {
            2
        } else {
            0
        }
    }

    /// As one JSON object: the counts and every case.
    ///
    /// # Errors
    /// None in practice: strings always serialise.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&serde_json::json!({
            "held": self.count(Verdict::Held),
            "escaped": self.count(Verdict::Escaped),
            "skipped": self.count(Verdict::Skipped),
            "controls_proved": self.proved(),
            "controls_failed": self.failed().count(),
            "cases": self.cases,
        }))
    }

    fn proved(&self) -> usize {
        self.cases.iter().filter(|case| case.control == Control::Proved).count()
    }
}

/// The classes, then what didn't hold or shows nothing, then the sum.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut classes: Vec<&str> = Vec::new();
        for case in &self.cases {
            if !classes.contains(&case.class.as_str()) {
                classes.push(&case.class);
            }
        }
        let width = classes.iter().map(|class| class.len()).max().unwrap_or(0);
        for class in classes {
            let of = |result| self.cases.iter().filter(|case| case.class == class && case.result == result).count();
            let (held, escaped, skipped) = (of(Verdict::Held), of(Verdict::Escaped), of(Verdict::Skipped));
            write!(f, "{class:width$}  {held:3} held")?;
            for (count, what) in [(escaped, "escaped"), (skipped, "not made")] {
                if count > 0 {
                    write!(f, ", {count} {what}")?;
                }
            }
            writeln!(f)?;
        }
        for case in self.cases.iter().filter(|case| case.result == Verdict::Escaped) {
            writeln!(f, "ESCAPED  {}: {} ({})\n         {}", case.name, case.means, case.reference, case.detail)?;
        }
        for case in self.cases.iter().filter(|case| case.result == Verdict::Skipped) {
            writeln!(f, "NOT MADE {}: {}", case.name, case.detail)?;
        }
        for (case, reason) in self.failed() {
            writeln!(f, "UNPROVED {}: it should escape outside a sandbox, and did not: {reason}", case.name)?;
        }
        let (held, all, proved) = (self.count(Verdict::Held), self.cases.len(), self.proved());
        writeln!(f, "walls held: {held} of {all}; shown to fall outside a sandbox: {proved}")
    }
}
