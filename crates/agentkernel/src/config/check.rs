//! What `run` would do with one connection: which rule decides, and who made it.

use super::{
    ConfigError, FILE_NAME, HostFacts, NetworkOverrides, Project, UserConfig,
    network::{Said, Sayings},
    reach, resolve,
};
use crate::Network;
use egress::{Denial, Grant, HOST_NAME, Host, Lift, Policy, Reason, Rules, Target};
use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// A connection, judged by its name.
#[derive(Clone, Debug)]
pub struct Check {
    /// Where it would go.
    pub target: Target,
    /// What becomes of it. If it is allowed, its [addresses](Self::admit) are still to be looked at.
    pub verdict: Result<Grant, Denial>,
    /// What decides.
    pub decision: Decision,
    /// What of the user's limits lets it through, if it is allowed and there are any.
    pub limit: Option<Decision>,
    network: Network,
    sayings: Sayings,
    project: Option<PathBuf>,
    user: UserConfig,
}

/// A rule that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// As it was written: a rule, `service HOST:PORT` or `mode MODE`.
    pub rule: String,
    /// Who made it.
    pub origin: Origin,
}

/// Who made a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: it holds where nothing is said.
    Default,
    /// A flag.
    Flag,
    /// The project's file, on this line.
    Project(PathBuf, usize),
    /// The user's own limits, on this line if it is written there.
    User(PathBuf, Option<usize>),
}

impl Origin {
    /// The word for it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flag => "flag",
            Self::Project(..) => "project",
            Self::User(..) => "user",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::Flag => f.write_str("a flag"),
            Self::Project(path, line) => write!(f, "{}:{line}", path.display()),
            Self::User(path, Some(line)) => write!(f, "your own limits, {}:{line}", path.display()),
            Self::User(path, None) => write!(f, "your own limits, {}", path.display()),
        }
    }
}

/// Judges a connection as `run` would, with these flags.
///
/// # Errors
/// As [`resolve`](super::resolve) for what is about the network.
pub fn check(
    overrides: NetworkOverrides,
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
    target: Target,
) -> Result<Check, ConfigError> {
    let (network, sayings) = resolve::resolve_network(overrides, project, user, host)?;
    let verdict = network.policy.judge(&target);
    let mut check = Check {
        decision: Decision { rule: String::new(), origin: Origin::Default },
        limit: None,
        project: project.file.as_ref().map(|file| file.path.clone()),
        user: user.clone(),
        target,
        verdict,
        network,
        sayings,
    };
    match &check.verdict {
        Ok(grant) => {
            check.decision = check.granted(&grant.rule);
            check.limit = check.limit();
        }
        Err(denial) => check.decision = check.denied(denial),
    }
    Ok(check)
}

impl Check {
    /// What is to be looked up.
    #[must_use]
    pub fn outside(&self) -> Target {
        self.network.policy.outside(&self.target)
    }

    /// Whether it may go to this address, if the verdict allows it.
    ///
    /// # Errors
    /// The denial.
    pub fn admit(&self, addresses: &[IpAddr]) -> Result<(), Denial> {
        let own = egress::address::Own::read();
        self.network.policy.admit(&self.target, addresses, |address| own.has(address)).map(|_| ())
    }

    /// The rule that names an address, if it is admitted for that and another one decides as well.
    #[must_use]
    pub fn namer(&self, address: IpAddr) -> Option<Decision> {
        let own = egress::address::Own::read();
        let rule = self.network.policy.namer(&self.target, address, |address| own.has(address))?;
        let at = self.network.policy.rules.allow.iter().position(|allowed| allowed == rule);
        let origin = self.origin(at.and_then(|at| self.sayings.allow.get(at)));
        let namer = Decision { rule: rule.to_string(), origin };
        (namer != self.decision).then_some(namer)
    }

    /// The secrets that would be put in on the way.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let secrets = self.network.secrets.iter();
        let here = secrets.filter(|secret| secret.hosts.iter().any(|host| host.matches(&self.target.host)));
        here.map(|secret| secret.name.as_str())
    }

    /// What decides on a denial.
    #[must_use]
    pub fn denied(&self, denial: &Denial) -> Decision {
        let own = &self.network.policy.rules;
        match denial.reason {
            Reason::Denied => {
                let by = |rules: &Rules| rules.deny.iter().position(|rule| rule.to_string() == denial.detail);
                let origin = match (by(own), self.ceiling().and_then(by)) {
                    (Some(at), _) => self.origin(self.sayings.deny.get(at)),
                    (None, at) => self.limits(at.and_then(|at| self.user.lines.deny.get(at).copied())),
                };
                Decision { rule: denial.detail.clone(), origin }
            }
            Reason::Ceiling => self.mode_of_limits(),
            _ => self.mode(),
        }
    }

    /// Where the user's limits stand, or would.
    #[must_use]
    pub fn limits_file(&self) -> &Path {
        &self.user.path
    }

    /// Whether the user's limits let this port of the host be a service.
    #[must_use]
    pub fn can_open(&self, port: u16) -> bool {
        let service = Target { host: Host::Name("localhost".into()), port };
        self.ceiling().is_none_or(|ceiling| reach::can_serve(ceiling, &service))
    }

    /// Whether this port of the host is a service that the sandbox reaches, by the host's name.
    #[must_use]
    pub fn is_open(&self, port: u16) -> bool {
        let service = Target { host: Host::Name(HOST_NAME.into()), port };
        self.network.policy.judge(&service).is_ok_and(|grant| grant.service)
    }

    /// What of the user's limits stands in the way as well, whatever rules of the sandbox's own are made.
    #[must_use]
    pub fn obstacle(&self, denial: &Denial) -> Option<Decision> {
        let decision = match &denial.lift {
            Lift::Limits(None) => self.mode_of_limits(),
            Lift::Limits(Some(rule)) => {
                let at = self.ceiling()?.deny.iter().position(|denied| denied.to_string() == *rule);
                let line = at.and_then(|at| self.user.lines.deny.get(at).copied());
                Decision { rule: rule.clone(), origin: self.limits(line) }
            }
            _ => return None,
        };
        (self.denied(denial) != decision).then_some(decision)
    }

    /// Which of the sandbox's own rules a grant is.
    fn granted(&self, rule: &str) -> Decision {
        let (own, said) = (&self.network.policy.rules, &self.sayings);
        let origin = match find(own, &self.target, rule) {
            Found::Service(at) => self.origin(said.services.get(at)),
            Found::Allow(at) => self.origin(said.allow.get(at)),
            Found::Mode => return self.mode(),
        };
        Decision { rule: rule.to_owned(), origin }
    }

    /// Which of the user's limits lets the target through.
    fn limit(&self) -> Option<Decision> {
        let ceiling = self.ceiling()?;
        let alone = Policy { rules: ceiling.clone(), ceiling: None };
        let grant = alone.judge(&self.target).ok()?;
        let lines = &self.user.lines;
        let line = match find(ceiling, &self.target, &grant.rule) {
            Found::Service(at) => lines.services.get(at).copied(),
            Found::Allow(at) => lines.allow.get(at).copied(),
            Found::Mode => return Some(self.mode_of_limits()),
        };
        Some(Decision { rule: grant.rule, origin: self.limits(line) })
    }

    fn ceiling(&self) -> Option<&Rules> {
        self.network.policy.ceiling.as_ref()
    }

    fn mode(&self) -> Decision {
        let rule = format!("mode {}", self.network.policy.rules.mode);
        Decision { rule, origin: self.origin(Some(&self.sayings.mode)) }
    }

    fn mode_of_limits(&self) -> Decision {
        let mode = self.ceiling().map(|rules| rules.mode).unwrap_or_default();
        Decision { rule: format!("mode {mode}"), origin: self.limits(self.user.lines.mode) }
    }

    fn limits(&self, line: Option<usize>) -> Origin {
        Origin::User(self.user.path.clone(), line)
    }

    fn origin(&self, said: Option<&Said>) -> Origin {
        match said {
            Some(Said::Flag) => Origin::Flag,
            Some(Said::Project(line)) => {
                Origin::Project(self.project.clone().unwrap_or_else(|| FILE_NAME.into()), *line)
            }
            Some(Said::Default) | None => Origin::Default,
        }
    }
}

/// Where a rule that grants something stands.
enum Found {
    Service(usize),
    Allow(usize),
    Mode,
}

fn find(rules: &Rules, target: &Target, rule: &str) -> Found {
    let service = rules.services.iter().position(|service| format!("service {service}") == rule);
    let allow = rules.allow.iter().position(|allowed| allowed.matches(target) && allowed.to_string() == rule);
    match (service, allow) {
        (Some(at), _) => Found::Service(at),
        (None, Some(at)) => Found::Allow(at),
        (None, None) => Found::Mode,
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
