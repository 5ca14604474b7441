//! `net` and `port`: what sandboxes may reach, and what they reached.

use super::{Failure, Status, check::Check, failure::FAILED, print, print_json, table};
use crate::{
    client::{self, NetworkChange},
    config::{self, HostFacts, UserConfig},
    store::{AuditEvent, AuditRecord, Store, StoreError, Verdict},
};
use clap::{Args, Subcommand};
use egress::{Denial, Policy, Reason, Rule, Target, control::Published};
use std::{collections::BTreeMap, time::Duration};

/// What sandboxes may reach, and what they reached.
#[derive(Debug, Args)]
pub(super) struct Net {
    #[command(subcommand)]
    command: NetCommand,
}

#[derive(Debug, Subcommand)]
enum NetCommand {
    /// Tell what 'run' would do with a connection, and which rule decides
    Check(Check),
    /// Show what sandboxes reached, and what they were refused
    Log(Log),
    /// Let a sandbox reach something, from now on
    Allow(Allow),
    /// Keep a sandbox from something, and end its connections to it
    Deny(Deny),
}

impl Net {
    pub(super) fn run(self) -> Status {
        match self.command {
            NetCommand::Check(check) => check.run(),
            NetCommand::Log(log) => log.run(),
            NetCommand::Allow(allow) => allow.run(),
            NetCommand::Deny(deny) => deny.run(),
        }
    }
}

#[derive(Debug, Args)]
struct Allow {
    /// Name, id or prefix of an id
    sandbox: String,
    /// A host, with wildcards, and its port: ports 80 and 443 without one
    #[arg(required = true, value_name = "HOST[:PORT]", value_parser = config::parse_rule)]
    rules: Vec<Rule>,
}

#[derive(Debug, Args)]
struct Deny {
    /// Name, id or prefix of an id
    sandbox: String,
    /// A host, with wildcards, and its port: every port without one
    #[arg(required = true, value_name = "HOST[:PORT]", value_parser = config::parse_rule)]
    rules: Vec<Rule>,
}

impl Allow {
    fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        let limits = UserConfig::read(&HostFacts::read()?)?;
        let mut status = 0;
        for rule in self.rules {
            client::change_network(&entry, &NetworkChange::Allow(rule.clone()), limits.ceiling())?;
            let Ok(spec) = entry.spec() else { continue };
            let policy = Policy { ceiling: limits.ceiling().cloned(), ..spec.network.policy.allowing(rule.clone()) };
            if let Some(failure) = still_refused(&policy, &rule, &self.sandbox) {
                super::report(&failure);
                status = FAILED;
            } else if config::void_rules(&policy.rules).contains(&&rule) {
                super::report(&void(&rule));
                status = FAILED;
            }
        }
        Ok(status)
    }
}

impl Deny {
    fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        let limits = UserConfig::read(&HostFacts::read()?)?;
        for rule in self.rules {
            client::change_network(&entry, &NetworkChange::Deny(rule), limits.ceiling())?;
        }
        Ok(0)
    }
}

/// What a rule does that is about the sandbox itself.
pub(super) fn void(rule: &Rule) -> Failure {
    Failure::new(format!("'{rule}' allows nothing: {SANDBOX_ITSELF}")).hint(SERVICES)
}

/// Why nothing of the host is reached at a loopback address.
pub(super) const SANDBOX_ITSELF: &str = "inside, this is the sandbox itself, and nothing of the host";
/// How it is reached.
pub(super) const SERVICES: &str =
    "A service of the host is reached by '--open localhost:PORT', as host.agentkernel.internal:PORT";

/// Why what a rule allows is refused all the same, or some of it, where that can be told.
fn still_refused(policy: &Policy, rule: &Rule, sandbox: &str) -> Option<Failure> {
    let egress::Pattern::Host(host) = &rule.pattern else {
        let none = policy.ceiling.as_ref().is_some_and(|ceiling| !config::can_reach(ceiling, rule));
        let hint = "They stand in ~/.config/agentkernel/config.toml: [network]";
        return none.then(|| Failure::new(format!("All of '{rule}' is still refused by your own limits")).hint(hint));
    };
    let port = (1..=u16::MAX).find(|port| rule.ports.contains(*port)).unwrap_or(443);
    let target = Target { host: host.clone(), port };
    match policy.judge(&target) {
        Ok(grant) => {
            let allowed: Vec<String> = grant.limits()?.iter().map(ToString::to_string).collect();
            let denial = Denial::new(Reason::Ceiling, &target);
            let words = format!("Of requests to {target} all are still refused but {}", allowed.join("; "));
            Some(Failure::new(format!("{words}: {}", denial.cause())).hint(denial.remedy(sandbox)))
        }
        Err(denial) => {
            let own = policy.rules.deny.iter().any(|rule| rule.to_string() == denial.detail);
            let hint = match denial.reason {
                Reason::Denied if own => {
                    let rule = &denial.detail;
                    format!(
                        "'agentkernel net allow {sandbox} '{rule}'' takes back that rule, and allows all that it is about"
                    )
                }
                Reason::Denied => Denial::new(Reason::Ceiling, &target).remedy(sandbox),
                _ => denial.remedy(sandbox),
            };
            Some(Failure::new(format!("{target} is still refused: {}", denial.cause())).hint(hint))
        }
    }
}

/// Make ports of a sandbox ports of this host's loopback address, take them back, or list them.
#[derive(Debug, Args)]
pub(super) struct Port {
    /// Name, id or prefix of an id
    sandbox: String,
    /// The port in the sandbox, and the one on the host if that is another; none: those that it has are listed
    #[arg(value_name = "PORT[:HOSTPORT]", value_parser = config::parse_published)]
    ports: Vec<Published>,
    /// Take these ports back; connections that are open stay
    #[arg(long, requires = "ports")]
    rm: bool,
}

impl Port {
    pub(super) fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        let limits = UserConfig::read(&HostFacts::read()?)?;
        let tell = |port: &Published| {
            let Published { inside, outside } = port;
            print(&format!("127.0.0.1:{outside} -> {}:{inside}\n", self.sandbox))
        };
        if self.ports.is_empty() {
            client::published(&entry)?.iter().try_for_each(tell)?;
        }
        let mut status = 0;
        for port in &self.ports {
            let change = if self.rm { NetworkChange::Withdraw(*port) } else { NetworkChange::Publish(*port) };
            match client::change_network(&entry, &change, limits.ceiling()) {
                Ok(()) if self.rm => {}
                Ok(()) => tell(port)?,
                // The others are no worse for it.
                Err(error) => {
                    super::report(&error.into());
                    status = FAILED;
                }
            }
        }
        Ok(status)
    }
}

/// Show what sandboxes reached, and what they were refused.
#[derive(Debug, Args)]
struct Log {
    /// Go on as more comes
    #[arg(short, long)]
    follow: bool,
    /// Only what a rule refused
    #[arg(long)]
    denied: bool,
    /// Add up what went to each host
    #[arg(long, conflicts_with = "follow")]
    summary: bool,
    /// Print the records as they are kept, or with --summary a host: a JSON object on each line
    #[arg(long)]
    json: bool,
    /// Only this sandbox: name, id or prefix of an id; also of one that is gone
    sandbox: Option<String>,
}

impl Log {
    fn run(self) -> Status {
        let store = Store::open()?;
        let found = self.sandbox.as_ref().map(|reference| store.find(reference));
        let id = found.as_ref().and_then(|found| found.as_ref().ok()).map(|entry| entry.id().clone());
        let wanted = |record: &AuditRecord| match (&self.sandbox, &id) {
            (None, _) => true,
            (Some(_), Some(id)) => record.sandbox == *id,
            // One that is gone is known by what is on record.
            (Some(reference), None) => {
                record.sandbox.as_str().starts_with(reference.as_str()) || record.name.as_ref() == Some(reference)
            }
        };
        let mut reader = store.audit_reader()?;
        let mut lines = Lines::default();
        let mut sums: BTreeMap<(String, u16), Sum> = BTreeMap::new();
        let mut any = false;
        loop {
            while let Some(record) = reader.next_record()? {
                if !wanted(&record) {
                    continue;
                }
                any = true;
                if self.denied && !is_denied(&record.event) {
                    continue;
                }
                if self.summary {
                    sums.entry((record.host, record.port)).or_default().add(&record.event);
                } else if self.json {
                    print_json(&record)?;
                } else if self.follow {
                    print(&line(&record))?;
                } else {
                    lines.take(record);
                }
            }
            if !self.follow {
                break;
            }
            reader.wait(Duration::from_secs(1))?;
        }
        match (found, any) {
            (Some(Err(error @ StoreError::NotFound { .. })), false) => return Err(error.into()),
            _ if self.summary => tell_sums(&sums, self.json)?,
            _ if self.json => {}
            _ => print(&lines.table())?,
        }
        Ok(0)
    }
}

fn is_denied(event: &AuditEvent) -> bool {
    use AuditEvent::{Folded, Refused};
    matches!(event, Refused { denied: true, .. } | Folded { verdict: Verdict::Denied, .. })
}

/// What went to one host and port.
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

fn tell_sums(sums: &BTreeMap<(String, u16), Sum>, json: bool) -> Result<(), Failure> {
    if json {
        return sums.iter().try_for_each(|((host, port), sum)| {
            let mut line = serde_json::json!({ "host": host, "port": port });
            if let (Some(line), Ok(serde_json::Value::Object(sum))) = (line.as_object_mut(), serde_json::to_value(sum))
            {
                line.extend(sum);
            }
            print_json(&line)
        });
    }
    let heading = ["TARGET", "ALLOWED", "DENIED", "FAILED", "REQUESTS", "TOKENS", "SENT", "RECEIVED"];
    let rows: Vec<Vec<String>> = sums
        .iter()
        .map(|((host, port), sum)| {
            let Sum { allowed, denied, failed, requests, tokens, sent, received } = sum;
            let mut row = vec![target(host, *port)];
            row.extend([allowed, denied, failed, requests, tokens].map(ToString::to_string));
            row.extend([table::bytes(*sent), table::bytes(*received)]);
            row
        })
        .collect();
    print(&table::render(&heading, &rows))
}

/// As it is written: an IPv6 address in brackets.
fn target(host: &str, port: u16) -> String {
    if host == AuditRecord::OTHERS {
        return "others".to_owned();
    }
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Records as people read them: a line for each connection, and one for each refusal.
#[derive(Default)]
struct Lines {
    rows: Vec<Vec<String>>,
    /// The row of a connection that is open.
    open: BTreeMap<(String, u64), usize>,
}

const HEADING: [&str; 8] = ["TIME", "SANDBOX", "VERDICT", "TARGET", "WHY", "SENT", "RECEIVED", "DURATION"];

impl Lines {
    fn take(&mut self, record: AuditRecord) {
        let key = (record.sandbox.to_string(), record.flow);
        let row = row(&record);
        match &record.event {
            AuditEvent::Opened { .. } => {
                self.open.insert(key, self.rows.len());
                self.rows.push(row);
            }
            AuditEvent::Refused { .. } | AuditEvent::Folded { .. } => self.rows.push(row),
            // Its line has the time at which it began, and now also what it came to.
            AuditEvent::Closed { .. } => match self.open.remove(&key).and_then(|at| self.rows.get_mut(at)) {
                Some(open) => open.splice(5.., row.into_iter().skip(5)).for_each(drop),
                None => self.rows.push(row),
            },
        }
    }

    fn table(&self) -> String {
        table::render(&HEADING, &self.rows)
    }
}

/// One record at once, for who follows.
pub(super) fn line(record: &AuditRecord) -> String {
    let cells = row(record).into_iter().filter(|cell| !cell.is_empty());
    table::printable(&cells.collect::<Vec<_>>().join("  ")) + "\n"
}

fn row(record: &AuditRecord) -> Vec<String> {
    let AuditRecord { time_ms, sandbox, name, host, port, event, .. } = record;
    let mut row = vec![table::time(*time_ms), name.clone().unwrap_or_else(|| sandbox.to_string())];
    let target = target(host, *port);
    match event {
        AuditEvent::Opened { rule, .. } => row.extend(["allowed".into(), target, rule.clone()]),
        AuditEvent::Refused { reason, denied, cause, request } => {
            let verdict = if *denied { "denied" } else { "failed" };
            let target = match request {
                Some(request) => format!("{target} {request}"),
                None => target,
            };
            row.extend([verdict.into(), target, format!("{reason}: {cause}")]);
        }
        AuditEvent::Folded { verdict, reason, count, closed, sent, received, .. } => {
            let (verdict, reason) =
                (verdict.word(), reason.as_ref().map_or(String::new(), |reason| format!(": {reason}")));
            let words = match (count, closed) {
                (0, closed) => format!("{closed} more closed"),
                (count, 0) => format!("{count} more {verdict}{reason}"),
                (count, closed) => format!("{count} more {verdict}{reason}, {closed} closed"),
            };
            row.extend([verdict.into(), target, words]);
            if *closed > 0 {
                row.extend([table::bytes(*sent), table::bytes(*received)]);
            }
        }
        AuditEvent::Closed { sent, received, duration_ms, .. } => {
            row.extend(["closed".into(), target, String::new()]);
            row.extend([table::bytes(*sent), table::bytes(*received), format!("{duration_ms} ms")]);
        }
    }
    row
}
