//! `ports`, `net_log`, `net_check`, `net_allow`: what sandboxes reach. Nothing is opened without a human.

use super::{Course, Worker, done, of_client, of_config, of_store};
use crate::{
    client::{self, Limits, NetworkChange},
    config::{self, HostFacts, Left, NetworkOverrides, UserConfig},
    mcp::frames::Question,
    store::{AuditEvent, AuditRecord},
};
use egress::{Denial, Grant, Pattern, Rule, Target, address::Class, control::Published};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use wire::{Failure, shell_word};

/// What `ports` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Ports {
    /// Name or id of a sandbox of this project.
    sandbox: String,
    /// Make this port of the sandbox one of the host's loopback address, PORT or PORT:HOSTPORT. A human is asked.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    publish: Option<Asked>,
}

/// A port as models write it: a number where they mean no other one of the host's.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "'publish' is a text, PORT or PORT:HOSTPORT")]
enum Asked {
    Number(u16),
    Text(String),
}

/// Ports of a sandbox.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Listed {
    ports: Vec<Port>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Port {
    /// The port in the sandbox.
    inside: u16,
    /// Where it is on this host.
    outside: String,
}

/// What `net_log` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct NetLog {
    /// Name or id of a sandbox of this project.
    sandbox: String,
    /// Only what was refused.
    #[serde(default)]
    denied: bool,
    /// Records to give back, the last ones: 100 if nothing is said, at most 1000.
    #[serde(default)]
    limit: Option<u16>,
}

/// What a sandbox reached, and what it was refused.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Log {
    records: Vec<Reached>,
    /// Whether there are older ones.
    more: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Reached {
    /// Milliseconds since 1970.
    time_ms: u64,
    /// HOST:PORT.
    target: String,
    /// "opened", "closed", "refused" or "folded": so many more.
    event: &'static str,
    /// The rule that allowed it, or why it was refused.
    why: String,
}

/// What `net_check` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct NetCheck {
    /// HOST or HOST:PORT; without a port, 443.
    target: String,
    /// Judge by the policy of this sandbox; without, by that of a new one.
    #[serde(default)]
    sandbox: Option<String>,
}

/// What becomes of a connection.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Verdict {
    target: String,
    allowed: bool,
    /// The rule that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The stable code of the refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The refusal in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// What `net_allow` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct NetAllow {
    /// Name or id of a sandbox of this project.
    sandbox: String,
    /// HOST, *.HOST, a network such as 10.0.0.0/8, or *, each with :PORT behind; without a port, 80 and 443.
    rule: String,
}

/// What is allowed now.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Allowed {
    sandbox: String,
    rule: String,
}

impl Worker<'_> {
    pub(super) fn ports(&self, Ports { sandbox, publish }: Ports) -> Result<Course, Failure> {
        let (entry, spec) = self.find(&sandbox)?;
        if let Some(port) = publish {
            let text = match port {
                Asked::Number(port) => port.to_string(),
                Asked::Text(text) => text,
            };
            let port = config::parse_published(&text).map_err(|error| Failure::from(error.to_string()))?;
            let Published { inside, outside } = port;
            let question = Question {
                text: format!(
                    "Make port {inside} of sandbox {} the port {outside} of this machine's loopback address?",
                    spec.hostname
                ),
                command: format!("agentkernel port {} {port}", shell_word(&sandbox)),
                about: spec.id.to_string(),
            };
            if !self.is_agreed(&question) {
                return Ok(Course::Asks(question));
            }
            let limits = UserConfig::read(&HostFacts::read().map_err(of_config)?).map_err(of_config)?;
            client::change_network(&entry, &NetworkChange::Publish(port), Limits::Now(limits.ceiling()))
                .map_err(of_client)?;
        }
        let ports = client::published(&entry).map_err(of_client)?;
        let ports =
            ports.iter().map(|port| Port { inside: port.inside, outside: format!("127.0.0.1:{}", port.outside) });
        done(Ok(Listed { ports: ports.collect() }))
    }

    pub(super) fn net_log(&self, NetLog { sandbox, denied, limit }: NetLog) -> Result<Log, Failure> {
        let (_, spec) = self.find(&sandbox)?;
        let limit = usize::from(limit.unwrap_or(100).min(1000));
        let mut reader = self.store.audit_reader().map_err(of_store)?;
        let (mut records, mut more) = (VecDeque::new(), false);
        while let Some(record) = reader.next_record().map_err(of_store)? {
            let wanted = !denied || matches!(record.event, AuditEvent::Refused { denied: true, .. });
            if record.sandbox != spec.id || !wanted {
                continue;
            }
            records.push_back(Reached::of(&record));
            if records.len() > limit {
                records.pop_front();
                more = true;
            }
        }
        Ok(Log { records: records.into(), more })
    }

    pub(super) fn net_check(&self, NetCheck { target, sandbox }: NetCheck) -> Result<Verdict, Failure> {
        let target = config::parse_target(&target).map_err(|error| Failure::from(error.to_string()))?;
        if let Some(sandbox) = sandbox {
            let (_, spec) = self.find(&sandbox)?;
            return Ok(Verdict::of(&target, spec.network.policy.judge(&target), &sandbox));
        }
        self.enter(None)?;
        let host = HostFacts::read().map_err(of_config)?;
        let project = self.starter.project(&self.store, &host)?;
        let user = UserConfig::read(&host).map_err(of_config)?;
        let check = config::check(NetworkOverrides::default(), &project, &user, &host, target).map_err(of_config)?;
        Ok(Verdict::of(&check.target, check.verdict, "SANDBOX"))
    }

    pub(super) fn net_allow(&self, NetAllow { sandbox, rule }: NetAllow) -> Result<Course, Failure> {
        let (entry, spec) = self.find(&sandbox)?;
        let rule = config::parse_rule(&rule).map_err(|error| Failure::from(error.to_string()))?;
        let user = UserConfig::read(&HostFacts::read().map_err(of_config)?).map_err(of_config)?;
        if config::is_void(&spec.network.policy, &rule) {
            let (why, hint) = config::why_void(&rule);
            return Err(Failure { cause: format!("'{rule}' would allow nothing: {why}"), hint: hint.into() });
        }
        // Nobody is asked for what would change nothing.
        if let Some(Left::Nothing(why)) = user.ceiling().map(|ceiling| config::left(ceiling, &rule)) {
            return Err(Failure {
                cause: format!("'{rule}' is beyond the user's own limits: {why}"),
                hint: user.place(),
            });
        }
        let question = Question {
            text: format!("Let sandbox {} reach {rule} from now on?{}", spec.hostname, width(&rule)),
            command: format!("agentkernel net allow {} {}", shell_word(&sandbox), shell_word(&rule.to_string())),
            about: spec.id.to_string(),
        };
        if !self.is_agreed(&question) {
            return Ok(Course::Asks(question));
        }
        let change = NetworkChange::Allow(rule.clone());
        client::change_network(&entry, &change, Limits::Now(user.ceiling())).map_err(of_client)?;
        done(Ok(Allowed { sandbox: spec.id.to_string(), rule: rule.to_string() }))
    }
}

/// How much a rule lets in, where its own words do not tell everybody.
fn width(rule: &Rule) -> String {
    let whose = |class| match class {
        Class::Private => ", of the local network",
        // Where it is dialled it is the sandbox itself, but names can have it as well.
        Class::Loopback => ", of this machine itself, for names that are allowed and lead there",
        Class::LinkLocal | Class::Metadata => ", where a cloud tells this machine its secrets: its metadata service",
        Class::Public | Class::NoHost => "",
    };
    let (pattern, class) = (&rule.pattern, rule.pattern.class());
    let hosts = match (pattern, class) {
        (Pattern::Any, _) => " That is every host with a public address.".to_owned(),
        (Pattern::Below(name), _) => format!(" That is every name below {name}."),
        (Pattern::Network(..), Some(Class::Public)) => format!(" That is every public address in {pattern}."),
        (Pattern::Network(..), Some(class)) => format!(" That is every address in {pattern}{}.", whose(class)),
        (Pattern::Host(host), Some(class)) if !whose(class).is_empty() => format!(" That is {host}{}.", whose(class)),
        _ => String::new(),
    };
    hosts + if rule.ports == egress::Ports::EVERY { " It is allowed on every port." } else { "" }
}

impl Reached {
    fn of(record: &AuditRecord) -> Self {
        let (event, why) = match &record.event {
            AuditEvent::Opened { rule, .. } => ("opened", rule.clone()),
            AuditEvent::Refused { reason, cause, .. } => ("refused", format!("{reason}: {cause}")),
            AuditEvent::Folded { verdict, count, closed, .. } => {
                ("folded", format!("{count} more {}, {closed} closed", verdict.word()))
            }
            AuditEvent::Closed { sent, received, .. } => ("closed", format!("sent {sent}, received {received} bytes")),
        };
        Self { time_ms: record.time_ms, target: record.subject.to_string(), event, why }
    }
}

impl Verdict {
    fn of(to: &Target, verdict: Result<Grant, Denial>, sandbox: &str) -> Self {
        let target = to.to_string();
        let rule = Rule::exactly(to);
        // No rule is asked about these, which lead nowhere outside.
        if config::is_sandbox_itself(&to.host) || config::is_to_many(&rule) {
            let (cause, help) = config::why_void(&rule);
            let (cause, help) = (Some(cause.to_owned()), Some(help.to_owned()));
            return Self { target, allowed: false, rule: None, reason: None, cause, help };
        }
        match verdict.and_then(|grant| grant.obstacle(to).map_or(Ok(grant), Err)) {
            Ok(grant) => Self { target, allowed: true, rule: Some(grant.rule), reason: None, cause: None, help: None },
            Err(denial) => Self {
                target,
                allowed: false,
                rule: None,
                reason: Some(denial.reason.to_string()),
                cause: Some(denial.cause()),
                help: Some(denial.remedy(sandbox)).filter(|help| !help.is_empty()),
            },
        }
    }
}
