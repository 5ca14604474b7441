//! `policy`: from what a command reaches to what it should be allowed to reach.

use super::{
    Failure, Status,
    args::{SandboxArgs, StdioArgs},
    failure::OWN,
    print, report,
    run::{Course, Run},
};
use crate::{
    SandboxId, Workspace,
    config::{self, FILE_NAME, HostFacts, Learned, Project, UserConfig},
    store::{AuditEvent, AuditRecord, State, Store, Subject, Verdict},
};
use clap::{Args, Subcommand};
use egress::{HOST_NAME, Host, Mode, Reason, Rule, Rules, Target};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// From what a command reaches to a policy that allows just that.
#[derive(Debug, Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Run a command with the network open, as far as your own limits go, and print what it reached as a patch of
    /// agentkernel.toml
    Learn(Learn),
}

impl Policy {
    pub(super) fn run(self) -> Status {
        let PolicyCommand::Learn(learn) = self.command;
        learn.run()
    }
}

#[derive(Debug, Args)]
struct Learn {
    #[command(flatten)]
    sandbox: SandboxArgs,
    #[command(flatten)]
    stdio: StdioArgs,
    /// Write the patch to this new file: what the command itself prints goes to standard output as well
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Learn {
    fn run(mut self) -> Status {
        let mode = self.sandbox.network.open_up();
        if mode == Some(Mode::None) {
            let failure = Failure::new("Nothing can be learned with the network mode 'none'").hint("Leave --net out");
            return Err(failure.status(OWN));
        }
        let host = HostFacts::read()?;
        let limits = UserConfig::read(&host)?;
        if limits.ceiling().is_some_and(|ceiling| ceiling.mode == Mode::None && ceiling.services.is_empty()) {
            let failure = Failure::new("Nothing can be learned: your own limits have the network mode 'none'");
            return Err(failure.hint(limits.place()).status(OWN));
        }
        if let Some(path) = &self.output {
            can_be_made(path).map_err(|failure| failure.status(OWN))?;
        }
        let by_address = self.sandbox.network.addresses();
        let mut course = Course::default();
        let result = Run::once(self.sandbox, self.stdio, self.command).follow(&mut course);
        let Some(id) = &course.id else { return result };
        let Seen { mut reached, other, refused, limited: requests, restricted, incomplete, addresses } = seen(id)?;
        let project = Project::find(&host)?;
        let held = held(&project)?;
        let by_limits = |(_, why): &(&Target, &Why)| why.reason == Reason::Ceiling.code();
        let (limited, refused): (Vec<_>, Vec<_>) = refused.iter().partition(by_limits);
        // A rule that names the port lets it be spoken, unless the limits don't.
        let (other, unspoken): (BTreeSet<_>, BTreeSet<_>) =
            other.into_iter().partition(|target| any_protocol(target, limits.ceiling()));
        reached.extend(other.iter().cloned());
        let names = |list: &[(&Target, &Why)]| list.iter().map(|(target, _)| target.to_string()).collect::<Vec<_>>();
        let unspoken = unspoken.iter().map(|target| format!("what is neither TLS nor HTTP at {target}"));
        let limited = [names(&limited), requests.into_iter().collect(), unspoken.collect()].concat();
        if !limited.is_empty() {
            let words = format!("Refused by your own limits: {}", limited.join(", "));
            report(&Failure::new(words).hint(limits.place()));
        }
        if !restricted.is_empty() {
            let list: Vec<String> = restricted.into_iter().collect();
            let words = format!("Refused by what {FILE_NAME} or a flag restricts requests to: {}", list.join(", "));
            report(&Failure::new(words).hint("Whoever wrote that meant it: a rule of your own lifts it"));
        }
        if !other.is_empty() {
            let list: Vec<String> = other.iter().map(ToString::to_string).collect();
            let flags: String = list.iter().map(|target| format!(" --allow {target}")).collect();
            report(
                &Failure::new(format!("Refused, as neither TLS nor HTTP was spoken: {}", list.join(", "))).hint(format!(
                    "A rule that names the port lets it be spoken, unless one restricts requests there: 'agentkernel policy learn{flags}' tells what follows"
                )),
            );
        }
        if !refused.is_empty() {
            report(
                &Failure::new(format!("Not reached, though the network was open: {}", names(&refused).join(", "))).hint(
                    "'agentkernel net log --denied' tells why; what can be named is in the patch as a comment, to be reviewed",
                ),
            );
        }
        if incomplete {
            report(
                &Failure::new("Not every connection is on record by its host: the policy may lack something")
                    .hint(format!("'agentkernel net log {id}' shows as 'others' how many")),
            );
        }
        let review: Vec<_> = refused.into_iter().filter(|(target, why)| why.can_be_named(target)).collect();
        let refused: Vec<_> = review.into_iter().map(|(target, why)| (target, why.cause.as_str())).collect();
        // Whose address is private was reached because a flag names it.
        let used = |rule: &&Rule| addresses.iter().any(|address| rule.matches(address));
        let addresses = by_address.iter().filter(used).collect();
        let learned = Learned { reached: reached.iter().collect(), other: other.iter().collect(), refused, addresses };
        let patch = config::learned(project.text(), &learned);
        if patch.is_empty() {
            let words = format!("It reached nothing that {FILE_NAME} does not allow already");
            report(&Failure::new(words));
        } else {
            match &self.output {
                Some(path) => write(path, &patch)?,
                None => print(&patch)?,
            }
            if project.dir != host.cwd {
                report(&elsewhere(&project.dir, self.output.as_ref().map(|path| host.cwd.join(path)).as_deref()));
            }
            if let Some(hint) = held {
                let words =
                    format!("The patch can't be applied yet: a sandbox that runs keeps {FILE_NAME} from being made");
                report(&Failure::new(words).hint(hint));
            }
        }
        result
    }
}

/// Says where a patch belongs that was learned further down in its project: git(1) looks for the file where it is run.
fn elsewhere(dir: &Path, patch: Option<&Path>) -> Failure {
    let words = format!("The patch is for {}", dir.join(FILE_NAME).display());
    let git = format!("git -C {} apply", dir.display());
    Failure::new(words).hint(match patch {
        Some(patch) => format!("`{git} {}` applies it", patch.display()),
        None => format!("`{git}` applies it, from its standard input"),
    })
}

/// What lets a project have its file, if sandboxes that run keep it from being made.
pub(super) fn held(project: &Project) -> Result<Option<String>, Failure> {
    if !project.is_held() {
        return Ok(None);
    }
    let mut running = Vec::new();
    for listed in Store::open()?.list()? {
        if let (Ok(spec), Ok(State::Running { .. })) = (listed.spec, listed.state)
            && matches!(&spec.workspace, Workspace::Direct { path, .. } if *path == project.dir)
        {
            running.push(spec.name.map_or_else(|| listed.id.to_string(), String::from));
        }
    }
    Ok(Some(match running.join(" ") {
        // Of a sandbox that was killed, or somebody else's.
        names if names.is_empty() => {
            format!("Remove {}, unless a sandbox runs there", project.dir.join(FILE_NAME).display())
        }
        names => format!("`agentkernel stop {names}` lets it be made"),
    }))
}

/// Refuses a file that the patch can't be written to, before anything is learned.
fn can_be_made(path: &Path) -> Result<(), Failure> {
    if path.file_name() == Some(FILE_NAME.as_ref()) {
        let words = format!("The patch can't be {FILE_NAME} itself");
        return Err(Failure::new(words).hint("Name another file, such as learned.patch: 'git apply' applies it"));
    }
    // A link is not followed, wherever it leads.
    if path.symlink_metadata().is_ok() { Err(in_the_way(path)) } else { Ok(()) }
}

fn in_the_way(path: &Path) -> Failure {
    Failure::new(format!("{} is there already", path.display())).hint("Name a new file, or remove this one")
}

/// Makes a file, which must be a new one: nothing that was there is lost, nor any that a link leads to.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let made = File::options().write(true).create_new(true).open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => in_the_way(path),
        _ => Failure::new(format!("Can't write {}: {error}", path.display())),
    })
}

/// Whether any protocol may be spoken somewhere as soon as a rule names the port.
fn any_protocol(target: &Target, ceiling: Option<&Rules>) -> bool {
    let rules = Rules { mode: Mode::Allow, allow: vec![Rule::exactly(target)], ..Rules::default() };
    let policy = egress::Policy { rules, ceiling: ceiling.cloned() };
    policy.judge(target).is_ok_and(|grant| grant.any_protocol)
}

/// What a sandbox did.
#[derive(Default)]
struct Seen {
    reached: BTreeSet<Target>,
    /// At which addresses, as far as that is on record.
    addresses: BTreeSet<Target>,
    /// Where it spoke neither TLS nor HTTP and was refused.
    other: BTreeSet<Target>,
    /// What it was refused and never reached.
    refused: BTreeMap<Target, Why>,
    /// Requests that the user's own limits refused.
    limited: BTreeSet<String>,
    /// Requests that the sandbox's own rules refused.
    restricted: BTreeSet<String>,
    /// There is more that is not on record, or not by its host.
    incomplete: bool,
}

/// Why something was refused, the first time.
struct Why {
    reason: String,
    /// In words; empty if they are not on record.
    cause: String,
}

impl Why {
    /// Whether a rule could allow it that names it: it is private, an address that no rule names, or a service of the host.
    fn can_be_named(&self, target: &Target) -> bool {
        [Reason::PrivateAddress, Reason::UnnamedAddress].iter().any(|reason| self.reason == reason.code())
            || (self.reason == Reason::NotAllowed.code() && target.host.name() == Some(HOST_NAME))
    }
}

fn seen(id: &SandboxId) -> Result<Seen, Failure> {
    let mut reader = Store::open()?.audit_reader()?;
    let mut seen = Seen::default();
    while let Some(record) = reader.next_record()? {
        if record.sandbox == *id {
            seen.add(record);
        }
    }
    seen.refused.retain(|target, _| !seen.reached.contains(target));
    Ok(seen)
}

impl Seen {
    fn add(&mut self, AuditRecord { subject, event, .. }: AuditRecord) {
        self.incomplete |= subject.is_others();
        let Subject::Connection { host, port, .. } = subject else { return };
        let Ok(host) = Host::parse(&host) else { return };
        let target = Target { host, port };
        let not_http = |reason: &str| reason == Reason::NotHttp.code();
        match event {
            AuditEvent::Refused { request: None, reason, .. } if not_http(&reason) => {
                self.other.insert(target);
            }
            AuditEvent::Folded { reason: Some(reason), .. } if not_http(&reason) => {
                self.other.insert(target);
            }
            AuditEvent::Opened { address, .. } => {
                self.addresses.extend(Target::parse(&address, None).ok());
                self.reached.insert(target);
            }
            AuditEvent::Folded { verdict: Verdict::Allowed, .. } => {
                self.reached.insert(target);
            }
            // It would have been reached, had the sandbox not ended before.
            AuditEvent::Refused { request: None, reason, .. } if reason == Reason::Lost.code() => {
                self.reached.insert(target);
            }
            AuditEvent::Folded { verdict: Verdict::Failed, reason: Some(reason), .. }
                if reason == Reason::Lost.code() =>
            {
                self.reached.insert(target);
            }
            AuditEvent::Refused { denied: true, request: None, reason, cause } => {
                self.refused.entry(target).or_insert(Why { reason, cause });
            }
            AuditEvent::Refused { request: Some(request), reason, .. } if reason == Reason::Ceiling.code() => {
                self.limited.insert(format!("{request} at {target}"));
            }
            AuditEvent::Refused { request: Some(request), reason, .. }
                if reason == Reason::RequestNotAllowed.code() =>
            {
                self.restricted.insert(format!("{request} at {target}"));
            }
            AuditEvent::Folded { verdict: Verdict::Denied, reason, .. } => {
                let reason = reason.unwrap_or_default();
                self.refused.entry(target).or_insert(Why { reason, cause: String::new() });
            }
            AuditEvent::Refused { .. } | AuditEvent::Folded { .. } | AuditEvent::Closed { .. } => {}
        }
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
