//! `net` and `port`: what sandboxes may reach, and what they reached.

use super::{Failure, Status, check::Check, failure::FAILED, print, print_json, summary::Sums, table};
use crate::{
    SandboxId, Spec,
    client::{self, Limits, NetworkChange},
    config::{self, FormError, HostFacts, Idle, Left, UserConfig, Why},
    store::{AuditEvent, AuditRecord, Store, StoreError, Subject, Verdict},
};
use clap::{Args, Subcommand};
use egress::{CERTIFICATE, HOST_NAME, Host, Policy, Rule, Target, control::Published};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use wire::{OsBytes, shell_word};

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
        // Whether it trusts an authority of its own since it began.
        let reads = entry.spec().is_ok_and(|spec| spec.network.needs_authority());
        for rule in self.rules {
            let with = |spec: &Spec| Policy {
                ceiling: limits.ceiling().cloned(),
                ..spec.network.policy.allowing(rule.clone())
            };
            let denied = client::denied(&entry)?.contains(&rule);
            let change = |change| client::change_network(&entry, &change, Limits::Now(limits.ceiling()));
            // What would allow nothing is not taken in, but may have been denied.
            let is_void = entry.spec().is_ok_and(|spec| config::is_void(&spec.network.policy, &rule));
            let failure = if is_void && denied {
                change(NetworkChange::Undeny(rule.clone()))?;
                Some(undenied(&rule))
            } else if is_void {
                Some(void(&rule))
            } else {
                change(NetworkChange::Allow(rule.clone()))?;
                let Ok(spec) = entry.spec() else { continue };
                let policy = with(&spec);
                let regains = denied && config::regains(&policy, &rule);
                still_refused(&policy, &rule, &self.sandbox, &limits, reads, regains)
                    .or_else(|| Some(reached(&rule, config::opened(&policy, &rule)?)))
            };
            if let Some(failure) = failure {
                super::report(&failure);
                status = status.max(failure.status);
            }
        }
        Ok(status)
    }
}

impl Deny {
    fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        let limits = UserConfig::read(&HostFacts::read()?);
        let ceiling = match &limits {
            Ok(limits) => Limits::Now(limits.ceiling()),
            Err(_) => Limits::Before,
        };
        for rule in self.rules {
            client::change_network(&entry, &NetworkChange::Deny(rule), ceiling)?;
        }
        // Whoever is cut off is so whatever they say.
        if let Err(error) = limits {
            let Failure { cause, line, hint, .. } = error.into();
            let words = format!("It is denied, but your own limits stay as they were: {cause}");
            super::report(&Failure { line, ..Failure::new(words).hint(hint) });
        }
        Ok(0)
    }
}

/// What a rule does that is about the sandbox itself, or about the host.
pub(super) fn void(rule: &Rule) -> Failure {
    let (why, hint) = config::why_void(rule);
    Failure::new(format!("'{rule}' allows nothing: {why}")).hint(hint)
}

/// What it does if it was denied.
fn undenied(rule: &Rule) -> Failure {
    let (why, hint) = config::why_void(rule);
    Failure::new(format!("'{rule}' is denied no more, and allows nothing else: {why}")).hint(hint).status(0)
}

/// What a rule does that is about one: whoever was kept from it is no more.
fn reached(rule: &Rule, service: &Target) -> Failure {
    let inside = Target { host: Host::Name(HOST_NAME.into()), port: service.port };
    Failure::new(format!("'{rule}' is a service of the host, and reached as {inside}")).status(0)
}

/// That a secret is put in nowhere, though the sandbox may use it.
pub(super) fn idle(idle: &Idle<'_>, user: &UserConfig) -> Failure {
    let Idle { secret, why, limited } = idle;
    let hosts = secret.hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let by = if *limited { " by your own limits" } else { "" };
    let cause = format!("Secret '{}' is put in nowhere: none of its hosts is allowed{by}", secret.name);
    let failure = Failure::new(format!("{cause}, {}", hosts.join(", ")));
    match (why, hosts.first()) {
        _ if *limited => failure.hint(user.place()),
        (_, Some(host)) if host == HOST_NAME => failure.hint(config::SERVICES),
        (Why::NotAllowed, Some(host)) => failure.hint(format!("`--allow {}` would allow it", shell_word(host))),
        (why, Some(host)) => failure.hint(format!("Of {host}, {why}")),
        (_, None) => failure,
    }
}

/// What an environment does to the trust in the sandbox's own authority, if it has one, and trust is led elsewhere.
pub(super) fn misled(spec: &Spec, env: &[OsBytes]) -> Option<Failure> {
    let cause = config::misled(env).filter(|_| spec.network.needs_authority())?;
    Some(Failure::new(cause).hint(format!("Leave that out, or add {CERTIFICATE} to what is named")))
}

/// What the user's limits refuse of a rule, if that is a part, and not all of it.
pub(super) fn beyond(rule: &Rule, limits: &UserConfig) -> Option<Failure> {
    let Left::Part(why) = config::left(limits.ceiling()?, rule) else { return None };
    Some(Failure::new(format!("A part of '{rule}' is beyond your own limits: {why}")).hint(limits.place()))
}

/// Why what a rule allows is refused all the same: all of it or, with the status 0, a part; so it is if what the rule `regains`
/// is more than it allows.
/// It `reads` requests inside of TLS, or could not even tell which of them are allowed.
fn still_refused(
    policy: &Policy,
    rule: &Rule,
    sandbox: &str,
    limits: &UserConfig,
    reads: bool,
    regains: bool,
) -> Option<Failure> {
    let amount = |left| match left {
        Left::All => None,
        Left::Nothing(why) if !regains => Some(("All", FAILED, why)),
        Left::Part(why) | Left::Nothing(why) => Some(("A part", 0, why)),
    };
    let own = || {
        let (amount, status, why) = amount(config::left(&policy.rules, rule))?;
        let failure = Failure::new(format!("{amount} of '{rule}' is still refused: {why}")).status(status);
        Some(match why {
            Why::Denied(deny) => failure.hint(format!(
                "`agentkernel net allow {sandbox} {}` takes back that rule, and allows all that it is about",
                shell_word(&deny.to_string())
            )),
            _ => failure,
        })
    };
    let theirs = || {
        let (amount, status, why) = amount(config::left(policy.ceiling.as_ref()?, rule))?;
        let words = format!("{amount} of '{rule}' is still refused by your own limits: {why}");
        let hint = match why {
            Why::Restricted(_) if !reads => format!(
                "It reads no requests inside of TLS, and refuses all of them there, until 'agentkernel restart {sandbox}'"
            ),
            _ => limits.place(),
        };
        Some(Failure::new(words).status(status).hint(hint))
    };
    // What refuses all of it counts more, and then what can be taken back.
    [theirs(), own()].into_iter().flatten().max_by_key(|failure| failure.status)
}

/// Make ports of a sandbox ports of this host's loopback address, take them back, or list them.
#[derive(Debug, Args)]
pub(super) struct Port {
    /// Name, id or prefix of an id
    sandbox: String,
    /// The port in the sandbox, and the one on the host if that is another; none: those that it has are listed
    #[arg(value_name = "PORT[:HOSTPORT]", value_parser = named)]
    ports: Vec<Named>,
    /// Take these ports back, a PORT alone from every port of the host; connections that are open stay
    #[arg(long, requires = "ports")]
    rm: bool,
}

/// A port as it is named on the command line.
#[derive(Clone, Copy, Debug)]
struct Named {
    port: Published,
    /// The host's was left out.
    alone: bool,
}

fn named(text: &str) -> Result<Named, FormError> {
    Ok(Named { port: config::parse_published(text)?, alone: !text.contains(':') })
}

impl Named {
    /// Which of the ports that a sandbox has are meant; what it has not is refused in words.
    fn of(self, had: &[Published]) -> Vec<Published> {
        let meant: Vec<_> = had.iter().filter(|port| self.alone && port.inside == self.port.inside).copied().collect();
        if meant.is_empty() { vec![self.port] } else { meant }
    }
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
        let ports = if self.rm {
            let had = client::published(&entry)?;
            self.ports.iter().flat_map(|named| named.of(&had)).collect()
        } else {
            self.ports.iter().map(|named| named.port).collect::<Vec<_>>()
        };
        let mut status = 0;
        for port in &ports {
            let change = if self.rm { NetworkChange::Withdraw(*port) } else { NetworkChange::Publish(*port) };
            match client::change_network(&entry, &change, Limits::Now(limits.ceiling())) {
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
    /// Print the records as they are kept, or with --summary a host and port: a JSON object on each line
    #[arg(long)]
    json: bool,
    /// Only this sandbox: name, id or prefix of an id; also of one that is gone
    sandbox: Option<String>,
}

impl Log {
    fn run(self) -> Status {
        let store = Store::open()?;
        let wanted = self.sandbox.as_ref().map(|reference| Wanted::find(&store, reference)).transpose()?;
        let mut reader = store.audit_reader()?;
        let mut lines = Lines::default();
        let mut sums = Sums::default();
        loop {
            while let Some(record) = reader.next_record()? {
                if wanted.as_ref().is_some_and(|wanted| !wanted.is(&record)) {
                    continue;
                }
                if self.denied && !is_denied(&record.event) {
                    continue;
                }
                if self.summary {
                    sums.add(record);
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
        match (self.summary, self.json) {
            (true, true) => sums.json().iter().try_for_each(print_json)?,
            (true, false) => print(&sums.table())?,
            (false, true) => {}
            (false, false) => print(&lines.table())?,
        }
        Ok(0)
    }
}

/// Whose records are meant.
enum Wanted {
    Id(SandboxId),
    /// Of all that were called so and are gone.
    Name(String),
}

impl Wanted {
    /// A sandbox that is there, or one that is known by what is on record: by its name, or by the beginning of its id.
    fn find(store: &Store, reference: &str) -> Result<Self, Failure> {
        let not_found = match store.find(reference) {
            Ok(entry) => return Ok(Self::Id(entry.id().clone())),
            Err(error @ StoreError::NotFound { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        let (mut reader, mut ids) = (store.audit_reader()?, BTreeSet::new());
        while let Some(record) = reader.next_record()? {
            if record.name.as_deref() == Some(reference) {
                return Ok(Self::Name(reference.to_owned()));
            }
            if record.sandbox.as_str().starts_with(reference) {
                ids.insert(record.sandbox);
            }
        }
        if ids.len() > 1 {
            let candidates = ids.iter().map(SandboxId::to_string).collect();
            return Err(StoreError::Ambiguous { reference: reference.to_owned(), candidates }.into());
        }
        ids.pop_first().map(Self::Id).ok_or_else(|| not_found.into())
    }

    fn is(&self, record: &AuditRecord) -> bool {
        match self {
            Self::Id(id) => record.sandbox == *id,
            Self::Name(name) => record.name.as_ref() == Some(name),
        }
    }
}

fn is_denied(event: &AuditEvent) -> bool {
    use AuditEvent::{Folded, Refused};
    matches!(event, Refused { denied: true, .. } | Folded { verdict: Verdict::Denied, .. })
}

/// Records as people read them: a line for each connection, and one for each refusal.
#[derive(Default)]
struct Lines {
    rows: Vec<Vec<String>>,
    /// The row of a connection that is open.
    open: BTreeMap<(String, u64), usize>,
}

/// Hosts, paths and reasons may be as long as the program likes, which made them up.
pub(super) const WIDEST: usize = 40;

const HEADING: [&str; 8] = ["TIME", "SANDBOX", "VERDICT", "TARGET", "WHY", "SENT", "RECEIVED", "DURATION"];

impl Lines {
    fn take(&mut self, record: AuditRecord) {
        let flow = if let Subject::Connection { flow, .. } = record.subject { flow } else { 0 };
        let key = (record.sandbox.to_string(), flow);
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
        table::render_within(WIDEST, &HEADING, &self.rows)
    }
}

/// One record at once, for who follows.
pub(super) fn line(record: &AuditRecord) -> String {
    let cells = row(record).into_iter().filter(|cell| !cell.is_empty());
    table::printable(&cells.collect::<Vec<_>>().join("  ")) + "\n"
}

fn row(record: &AuditRecord) -> Vec<String> {
    let AuditRecord { time_ms, sandbox, name, subject, event } = record;
    let mut row = vec![table::time(*time_ms), name.clone().unwrap_or_else(|| sandbox.to_string())];
    let target = subject.to_string();
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
