//! Hides how much of what a rule allows is reached: within other rules, and from inside of a sandbox.

use super::overlap::{self, Spans};
use crate::{Network, SecretUse};
use egress::{
    HOST_NAME, Host, Mode, Pattern, Policy, Ports, Requests, Rule, Rules, Target,
    address::{self, Class},
};
use std::{fmt, net::IpAddr};

/// Whether a host is the sandbox itself where it is dialled inside: its name server answers so (RFC 6761, 6.3).
#[must_use]
pub fn is_sandbox_itself(host: &Host) -> bool {
    match host {
        Host::Name(name) => name.rsplit('.').next() == Some("localhost"),
        // Who connects to the unspecified one connects to itself.
        Host::Address(address) => address.is_loopback() || address.is_unspecified(),
    }
}

/// Rules that allow nothing: what they name is the sandbox itself where it is dialled, and no other rule is for a name
/// that could lead there outside; or it is the host, of which only services are reached; or no TCP connection leads there.
#[must_use]
pub fn void_rules(rules: &Rules) -> Vec<&Rule> {
    let inside = |rule: &&Rule| match &rule.pattern {
        Pattern::Host(host) => is_sandbox_itself(host),
        Pattern::Below(name) => is_sandbox_itself(&Host::Name(name.clone())),
        Pattern::Network(first, _) => first.is_loopback() && rule.pattern.names(*first),
        Pattern::Any => false,
    };
    let by_address = |rule: &Rule| rule.pattern.class().is_some();
    let names = rules.allow.iter().filter(|rule| !inside(rule) && !by_address(rule) && !is_host(rule));
    let names = Spans::of(names.map(|rule| rule.ports));
    // A name can have the address, and then a rule must name that.
    let leads = |rule: &Rule| by_address(rule) && (rules.mode == Mode::Open || names.meet(rule.ports));
    let here = rules.services.iter().filter(|service| is_here(&service.host));
    let served = Spans::of(here.map(|service| Ports::Range(service.port, service.port)));
    let void = |rule: &&Rule| match () {
        () if is_host(rule) => !served.meet(rule.ports),
        () => is_to_many(rule) || (inside(rule) && !leads(rule)),
    };
    rules.allow.iter().filter(void).collect()
}

/// Whether one more rule would be [void](void_rules), and is about no service that is opened either.
#[must_use]
pub fn is_void(policy: &Policy, rule: &Rule) -> bool {
    opened(policy, rule).is_none() && void_rules(&policy.allowing(rule.clone()).rules).contains(&rule)
}

/// Why a rule that is [void](is_void) allows nothing, and what helps.
#[must_use]
pub fn why_void(rule: &Rule) -> (&'static str, &'static str) {
    match () {
        () if is_host(rule) => (HOST, SERVICES),
        () if is_to_many(rule) => (MANY, ONE),
        () => (SANDBOX_ITSELF, SERVICES),
    }
}

/// Why nothing of the host is reached at a loopback address.
pub const SANDBOX_ITSELF: &str = "inside, this is the sandbox itself, and nothing of the host";
/// Why no rule allows anything by the host's name.
const HOST: &str = "this is the host, where only services are reached";
/// Why no rule allows anything at an address of many hosts.
pub const MANY: &str = "no connection leads to many hosts at once, and only TCP leaves a sandbox";
/// What helps then.
pub const ONE: &str = "Name the address of one host";
/// How the host is reached.
pub const SERVICES: &str =
    "A service of the host is reached by '--open localhost:PORT', as host.agentkernel.internal:PORT";

/// The service of the host that a rule is about, by its name outside, if there is one.
#[must_use]
pub fn opened<'a>(policy: &'a Policy, rule: &Rule) -> Option<&'a Target> {
    policy.rules.services.iter().find(|service| is_sandbox_itself(&service.host) && rule.matches(service))
}

/// Whether anything is reached again once a rule that denied it is taken back, and allows: without a port it was about every
/// port, and then about those of the web alone.
#[must_use]
pub fn regains(policy: &Policy, rule: &Rule) -> bool {
    let Policy { rules, ceiling } = policy.allowing(rule.clone());
    let was = overlap::denying(rule);
    let narrower = |allowed: &Rule| {
        let pattern = if overlap::covers(&was.pattern, &allowed.pattern) { &allowed.pattern } else { &was.pattern };
        Rule { pattern: pattern.clone(), ..allowed.clone() }
    };
    let open = (rules.mode == Mode::Open).then(|| was.clone());
    let own = rules.allow.iter().filter(|allowed| overlap::meet(allowed, &was)).map(narrower).chain(open);
    let reached = |rule: &Rule| {
        let sides = [Some(&rules), ceiling.as_ref()];
        sides.into_iter().flatten().all(|side| !matches!(left(side, rule), Left::Nothing(_)))
    };
    { own }.any(|rule| reached(&rule))
}

/// Whether a rule is about addresses that stand for many hosts at once, to which nothing connects.
#[must_use]
pub fn is_to_many(rule: &Rule) -> bool {
    match &rule.pattern {
        Pattern::Host(Host::Address(address)) => address::is_to_many(*address),
        Pattern::Network(IpAddr::V4(first), length) => *length >= 4 && first.is_multicast(),
        Pattern::Network(IpAddr::V6(first), length) => *length >= 8 && first.is_multicast(),
        Pattern::Host(Host::Name(_)) | Pattern::Below(_) | Pattern::Any => false,
    }
}

/// Whether a rule is about this host, by its name inside.
#[must_use]
pub fn is_host(rule: &Rule) -> bool {
    matches!(&rule.pattern, Pattern::Host(host) if host.name() == Some(HOST_NAME))
}

/// Whether a service is one of this host, which may be written by any of its names.
pub(super) fn is_here(host: &Host) -> bool {
    match host {
        Host::Name(name) => &**name == "localhost",
        Host::Address(address) => address.is_loopback(),
    }
}

/// What is left of what a rule allows, where other rules hold as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// All of it.
    All,
    /// Less, and why.
    Part(Why),
    /// None of it, and why.
    Nothing(Why),
}

/// Why something is not left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No rule allows it.
    NotAllowed,
    /// This one denies it.
    Denied(Rule),
    /// It is an address, and could be that of a name that this rule denies or restricts.
    Unnamed(Rule),
    /// It has addresses that must be named.
    Class(Class),
    /// These requests alone are allowed.
    Restricted(Vec<Requests>),
}

/// In a sentence: `no rule allows it`.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("no rule allows it"),
            Self::Denied(rule) => write!(f, "'{rule}' denies it"),
            Self::Unnamed(rule) => write!(f, "an address must be named, which could be one of '{rule}'"),
            Self::Class(class) => write!(f, "{} must be named", class.words()),
            Self::Restricted(requests) => {
                let requests: Vec<String> = requests.iter().map(ToString::to_string).collect();
                write!(f, "of requests there are only {}", requests.join("; "))
            }
        }
    }
}

/// What is left of a rule where these hold.
#[must_use]
pub fn left(rules: &Rules, rule: &Rule) -> Left {
    // What is denied is so behind a gateway as well.
    let behind = match rule.pattern {
        Pattern::Host(Host::Address(IpAddr::V6(address))) => address::behind(address),
        _ => None,
    };
    let behind = behind.map(|address| Rule { pattern: Pattern::Host(address.into()), ..rule.clone() });
    let denying: Vec<Rule> = rules.deny.iter().map(overlap::denying).collect();
    let denied =
        |deny: &[Rule]| [Some(rule), behind.as_ref()].into_iter().flatten().any(|rule| overlap::covered(rule, deny));
    // Of several that deny it together, the first is told.
    let alone = rules.deny.iter().zip(&denying).find(|(_, deny)| denied(std::slice::from_ref(deny)));
    let touching = || rules.deny.iter().zip(&denying).find(|(_, deny)| overlap::meet(deny, rule));
    if let Some((deny, _)) = alone.or_else(|| touching().filter(|_| denied(&denying))) {
        return Left::Nothing(Why::Denied(deny.clone()));
    }
    let any = everything();
    let open = (rules.mode == Mode::Open).then_some(&any);
    let allow = if rules.mode == Mode::None { &[][..] } else { &rules.allow };
    let class = rule.pattern.class();
    let evaded = rules.about_a_name();
    let leads = |allowed: &&Rule| match (class, allowed.pattern.class()) {
        (None, _) => true,
        (Some(class), None) => class == Class::Public && (evaded.is_none() || !allowed.requests.is_every()),
        (Some(class), Some(allowed)) => class == allowed,
    };
    let about = allow.iter().filter(leads).filter(|allowed| overlap::meet(allowed, rule));
    let (whole, restricted): (Vec<&Rule>, Vec<&Rule>) = about.partition(|allowed| allowed.requests.is_every());
    let open = open.filter(leads);
    // By its own names the host is no part of every host.
    let is_part = |service: &&Target| rule.pattern != Pattern::Any || !is_here(&service.host);
    let services = rules.services.iter().filter(|service| rule.matches(service)).filter(is_part);
    let services: Vec<Rule> = services.map(Rule::exactly).collect();
    if whole.is_empty() && restricted.is_empty() && services.is_empty() && open.is_none() {
        return Left::Nothing(match (class, evaded) {
            (Some(Class::Public), Some(other)) => Why::Unnamed(other.clone()),
            (None | Some(Class::Public), _) => Why::NotAllowed,
            (Some(class), _) => Why::Class(class),
        });
    }
    let unrestricted = || whole.iter().copied().chain(&services).chain(open.filter(|_| restricted.is_empty()));
    if !overlap::covered(rule, unrestricted().chain(restricted.iter().copied()).chain(open)) {
        return Left::Part(Why::NotAllowed);
    }
    // Where the rest is allowed, that is the reason.
    if let Some((deny, _)) = touching() {
        return Left::Part(Why::Denied(deny.clone()));
    }
    match evaded {
        _ if !overlap::covered(rule, unrestricted()) => {
            Left::Part(Why::Restricted(restricted.into_iter().map(|rule| rule.requests.clone()).collect()))
        }
        // Every host is every address as well.
        Some(other) if rule.pattern == Pattern::Any => Left::Part(Why::Unnamed(other.clone())),
        _ => Left::All,
    }
}

/// A secret that is put in nowhere, since none of its hosts is allowed.
#[derive(Clone, Debug)]
pub struct Idle<'a> {
    /// The secret.
    pub secret: &'a SecretUse,
    /// Why its first host is not.
    pub why: Why,
    /// That the user's limits refuse what the sandbox's own rules allow.
    pub limited: bool,
}

/// Those among the secrets of a sandbox.
#[must_use]
pub fn idle_secrets(network: &Network) -> Vec<Idle<'_>> {
    let why = |rules: &Rules, host: &Pattern| {
        let rule = Rule { pattern: host.clone(), ..everything() };
        let served = rules.services.iter().any(|service| is_here(&service.host));
        match left(rules, &rule) {
            _ if is_host(&rule) => (!served).then_some(Why::NotAllowed),
            Left::Nothing(why) => Some(why),
            Left::Part(_) | Left::All => None,
        }
    };
    let refused = |rules: &Rules, secret: &SecretUse| {
        let whys: Option<Vec<Why>> = secret.hosts.iter().map(|host| why(rules, host)).collect();
        whys.and_then(|whys| whys.into_iter().next())
    };
    let Policy { rules, ceiling } = &network.policy;
    let idle = |secret| {
        let own = refused(rules, secret).map(|why| Idle { secret, why, limited: false });
        let limits = || Some(Idle { secret, why: refused(ceiling.as_ref()?, secret)?, limited: true });
        own.or_else(limits)
    };
    network.secrets.iter().filter_map(idle).collect()
}

/// What a mode that is open is a rule for, as far as addresses are public.
pub(super) fn everything() -> Rule {
    Rule { pattern: Pattern::Any, ports: Ports::EVERY, requests: Requests::default() }
}

/// Whether a service of the sandbox's is within the limits.
pub(super) fn can_serve(ceiling: &Rules, service: &Target) -> bool {
    let own = [service.clone(), Target { host: Host::Name(HOST_NAME.into()), port: service.port }];
    let same = |other: &Target| {
        other.port == service.port && (other.host == service.host || (is_here(&other.host) && is_here(&service.host)))
    };
    if ceiling.deny.iter().any(|deny| own.iter().any(|own| deny.denies(own))) {
        return false;
    }
    let reached = || !matches!(left(ceiling, &Rule::exactly(service)), Left::Nothing(_));
    ceiling.services.iter().any(same) || (!is_here(&service.host) && reached())
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
