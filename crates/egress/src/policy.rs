//! What a sandbox may reach, as an immutable value: judged by name before anything is looked up, and by address
//! before anything is dialled.

use crate::{
    Denial, Host, Lift, Reason, Target,
    address::{self, Class},
    rule::{Pattern, Ports, Requests, Rule, WEB, is_plain},
};
use serde::{Deserialize, Serialize};
use std::{
    fmt, iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The name by which a sandbox reaches services of its host that it was given.
pub const HOST_NAME: &str = "host.agentkernel.internal";

/// Ends of names that nobody can register, so that only the network at hand decides what they mean: reserved for
/// private use or never to be delegated.
const PRIVATE_USE: [&str; 11] =
    ["internal", "local", "localdomain", "lan", "home", "home.arpa", "corp", "mail", "private", "intranet", "test"];

/// How many allowed things are looked at, when one is sought that is like what was refused.
const MOST_WEIGHED: usize = 8;

/// What holds where no rule says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing can be reached, whatever is allowed.
    #[default]
    None,
    /// What is allowed can be reached.
    Allow,
    /// Every public address can be reached.
    Open,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Allow => "allow",
            Self::Open => "open",
        })
    }
}

/// One side's rules: a sandbox's own, or the user's limits for all of them. The default allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What holds without a rule.
    pub mode: Mode,
    /// What may be reached.
    pub allow: Vec<Rule>,
    /// What may not, whatever else is said.
    pub deny: Vec<Rule>,
    /// Services by name and port, also at a private or loopback address: `localhost` is this host.
    pub services: Vec<Target>,
}

/// Why something is allowed, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rule that allows it, as it was written.
    pub rule: String,
    /// Whether it is a service of the host, named by its port.
    pub service: bool,
    /// Whether a rule is about this target, and not only about every one.
    pub named: bool,
    /// Whether any protocol may be spoken, because a rule names the port: on those that all rules have without being
    /// asked, only those of the web.
    pub any_protocol: bool,
    /// Requests that it is restricted to by the sandbox's own rules, one of which must allow a request, and then by the
    /// user's limits. Empty: everything is allowed.
    pub requests: Vec<Vec<Requests>>,
    /// Whether the last group of them is the user's limits.
    pub limited: bool,
    /// Whether the user's limits are why only the protocols of the web may be spoken.
    pub web_by_limits: bool,
}

impl Grant {
    fn new(rule: String, service: bool, any_protocol: bool) -> Self {
        Self { rule, service, named: true, any_protocol, requests: Vec::new(), limited: false, web_by_limits: false }
    }

    /// Whether requests must be read to know whether they are allowed.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Whether it allows this request: by its method, and its path without query.
    #[must_use]
    pub fn allows(&self, method: &str, path: &str) -> bool {
        self.requests.iter().all(|group| group.iter().any(|requests| requests.allows(method, path)))
    }

    /// Whether a path can't be compared with those of rules, since programs could read it differently.
    #[must_use]
    pub(crate) fn is_ambiguous(&self, path: &str) -> bool {
        self.requests.iter().flatten().any(|requests| !requests.paths.is_empty()) && !is_plain(path)
    }

    /// Whether what another one has let through may go on under this one.
    #[must_use]
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.requests.iter().all(|group| other.requests.contains(group))
            && (self.any_protocol || !other.any_protocol)
            && (self.service || !other.service)
    }

    /// Whether no request passes, since the user's limits allow none of those that the sandbox's own rules do.
    #[must_use]
    pub fn is_void(&self) -> bool {
        let Some(((limits, own), true)) = self.requests.split_last().map(|groups| (groups, self.limited)) else {
            return false;
        };
        own.iter().any(|own| !own.iter().any(|own| limits.iter().any(|limit| own.meets(limit))))
    }

    /// Why nothing is done there with it, if [no request passes](Self::is_void): for whoever asks before there is one.
    #[must_use]
    pub fn obstacle(&self, target: &Target) -> Option<Denial> {
        let denial =
            || Denial::new(Reason::Ceiling, target).because("of the requests that are allowed there, they allow none");
        self.is_void().then(denial)
    }

    /// Requests that the user's limits restrict it to, whatever the sandbox's own rules allow.
    #[must_use]
    pub fn limits(&self) -> Option<&[Requests]> {
        self.requests.last().filter(|_| self.limited).map(Vec::as_slice)
    }

    /// Why a request is refused that it does not [allow](Self::allows). Where both sides refuse it, the user's limits
    /// count: another rule of the sandbox's own would change nothing.
    #[must_use]
    pub fn refusal(&self, method: &str, path: &str) -> Reason {
        let limited = |limits: &[Requests]| !limits.iter().any(|requests| requests.allows(method, path));
        if self.limits().is_some_and(limited) { Reason::Ceiling } else { Reason::RequestNotAllowed }
    }
}

/// An address that a policy has admitted for one target. Nothing else can be dialled, and only [`Policy::admit`] makes
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedAddr(SocketAddr);

impl CheckedAddr {
    /// The address.
    #[must_use]
    pub fn addr(self) -> SocketAddr {
        self.0
    }
}

/// What a sandbox may reach: its own rules, within the user's limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its own rules.
    pub rules: Rules,
    /// The user's limits, if there are any.
    pub ceiling: Option<Rules>,
}

impl Rules {
    /// The services that a target means: `localhost` is called otherwise inside.
    fn services(&self, target: &Target) -> impl Iterator<Item = &Target> {
        let here = target.host.name() == Some(HOST_NAME);
        self.services.iter().filter(move |service| {
            service.port == target.port && if here { is_this_host(&service.host) } else { service.host == target.host }
        })
    }

    fn denies(&self, target: &Target) -> Option<&Rule> {
        self.deny.iter().find(|rule| rule.denies(target))
    }

    /// A rule about a name, which denies or restricts, that a connection to an address which nothing names could evade: it
    /// does not tell the name.
    fn evaded_by(&self, target: &Target, grant: &Grant) -> Option<&Rule> {
        if grant.named || matches!(target.host, Host::Name(_)) { None } else { self.about_a_name() }
    }

    /// A rule about a name, which denies or restricts: where there is one, an address must be named to be reached.
    #[must_use]
    pub fn about_a_name(&self) -> Option<&Rule> {
        let by_name = |rule: &&Rule| matches!(rule.pattern, Pattern::Host(Host::Name(_)) | Pattern::Below(_));
        let restricts = self.allow.iter().filter(|rule| !rule.requests.is_every());
        self.deny.iter().chain(restricts).find(by_name)
    }

    /// Why a target is allowed, deny rules aside; `None` if it is not.
    fn grants(&self, target: &Target) -> Option<Grant> {
        let mut matching: Vec<&Rule> = self.allow.iter().filter(|rule| rule.matches(target)).collect();
        matching.sort_by_key(|rule| rank(rule, target));
        let restricted = !matching.is_empty() && !matching.iter().any(|rule| rule.requests.is_every());
        let requests = || vec![matching.iter().map(|rule| rule.requests.clone()).collect()];
        if let Some(service) = self.services(target).next() {
            let grant = Grant::new(format!("service {service}"), true, !restricted);
            // Who restricts its requests means them wherever it is.
            return Some(if restricted { Grant { requests: requests(), ..grant } } else { grant });
        }
        // Nobody else answers by this name, whatever a server says.
        if self.mode == Mode::None || target.host.name() == Some(HOST_NAME) {
            return None;
        }
        // Whatever allows all of it wins over what allows a part.
        if let Some(rule) = matching.iter().find(|rule| rule.requests.is_every()) {
            let any_protocol = matching.iter().any(|rule| rule.ports != Ports::Web && rule.requests.is_every());
            let named = matching.iter().any(|rule| rule.pattern != Pattern::Any);
            return Some(Grant { named, ..Grant::new(rule.to_string(), false, any_protocol) });
        }
        if let Some(first) = matching.first() {
            return Some(Grant { requests: requests(), ..Grant::new(first.to_string(), false, false) });
        }
        (self.mode == Mode::Open)
            .then(|| Grant { named: false, ..Grant::new("mode open".to_owned(), false, !WEB.contains(&target.port)) })
    }

    /// Whether a target that is allowed may be reached at this address.
    fn admits(&self, target: &Target, address: IpAddr, class: Class) -> bool {
        // Whoever is asked to connect to it connects to itself: it is nobody's address to name.
        !address.is_unspecified()
            && (self.admits_unnamed(target, address, class) || self.namer(target, address, class).is_some())
    }

    /// Whether no rule must name the address.
    fn admits_unnamed(&self, target: &Target, address: IpAddr, class: Class) -> bool {
        class == Class::Public || self.services(target).any(|service| serves(service, address, class))
    }

    /// The rule that names an address which is not public, by itself or by what it is called: without it, it is refused.
    fn namer(&self, target: &Target, address: IpAddr, class: Class) -> Option<&Rule> {
        // A network is somebody else's, though this machine is in it.
        let own = class != address::class(address);
        let named = |rule: &Rule| {
            if own && !matches!(rule.pattern, Pattern::Host(_)) {
                return false;
            }
            // By another name its requests would not be those that it is restricted to.
            rule.names(address, target.port) && (rule.requests.is_every() || rule.matches(target))
        };
        // Only the network at hand can give such a name an address.
        let local = class == Class::Private && target.host.name().is_some_and(is_private_use);
        let called = |rule: &Rule| local && rule.pattern != Pattern::Any && rule.matches(target);
        let find = |names: &dyn Fn(&Rule) -> bool| self.allow.iter().find(|rule| names(rule));
        find(&|rule| named(rule) && rule.matches(target)).or_else(|| find(&called)).or_else(|| find(&named))
    }

    /// Rules that allow what is like a target, those first that are most like it.
    fn like(&self, target: &Target) -> Vec<&Rule> {
        // Rules allow nothing by this name.
        let of_the_host = |host: &Host| host.name() == Some(HOST_NAME);
        if of_the_host(&target.host) || self.mode == Mode::None {
            return Vec::new();
        }
        let distance = |rule: &Rule| {
            if rule.pattern.matches(&target.host) {
                return Some(0);
            }
            let name = target.host.name()?;
            let other = match &rule.pattern {
                Pattern::Host(host) if of_the_host(host) => return None,
                Pattern::Host(Host::Name(other)) | Pattern::Below(other) => other,
                _ => return None,
            };
            let distance =
                if within(name, other) || within(other, name) { 1 } else { strsim::damerau_levenshtein(name, other) };
            (distance <= (name.len().max(other.len()) / 3).max(1)).then_some(distance)
        };
        let mut like: Vec<_> = self.allow.iter().filter_map(|rule| Some((distance(rule)?, rule))).collect();
        like.sort_by_key(|(distance, _)| *distance);
        like.into_iter().map(|(_, rule)| rule).collect()
    }
}

/// How much a rule that matches a target says of it, the least first: where its address must be named, that decides which
/// others don't do.
fn rank(rule: &Rule, target: &Target) -> u8 {
    match (&target.host, &rule.pattern) {
        (Host::Name(name), pattern) => u8::from(is_private_use(name) && *pattern == Pattern::Any),
        (Host::Address(_), Pattern::Host(_)) => 0,
        (Host::Address(address), pattern) => 1 + u8::from(!pattern.names(*address)),
    }
}

/// Ports in a sentence, where those of the web must be told as well.
struct SpelledPorts(Ports);

impl fmt::Display for SpelledPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ports::Web => f.write_str(" on ports 80 and 443"),
            ports => ports.fmt(f),
        }
    }
}

/// Whose an address is, where some are this machine's `own`.
fn class(address: IpAddr, own: impl Fn(IpAddr) -> bool) -> Class {
    if own(address) { Class::Loopback } else { address::class(address) }
}

fn within(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

fn is_private_use(name: &str) -> bool {
    !name.contains('.') || PRIVATE_USE.iter().any(|end| within(name, end))
}

/// Whether a service is one of this host itself.
fn is_this_host(host: &Host) -> bool {
    match host {
        Host::Name(name) => &**name == "localhost",
        Host::Address(address) => address.is_loopback(),
    }
}

/// Whether a service may have an address. By its name it may be of this host or of a network, but not what a name
/// would only be given by somebody who is after a cloud's secrets.
fn serves(service: &Target, address: IpAddr, class: Class) -> bool {
    match &service.host {
        Host::Address(own) => *own == address,
        Host::Name(name) if &**name == "localhost" => {
            [Ipv4Addr::LOCALHOST.into(), IpAddr::V6(Ipv6Addr::LOCALHOST)].contains(&address)
        }
        Host::Name(_) => matches!(class, Class::Public | Class::Private | Class::Loopback),
    }
}

impl Policy {
    /// Whether a connection to this target may be made, by what it is called. Nothing has been looked up yet.
    ///
    /// # Errors
    /// The denial, with the rule that decides.
    pub fn judge(&self, target: &Target) -> Result<Grant, Denial> {
        let told = |denial: Denial| Denial { nearest: self.nearest(&denial), lift: self.lift(&denial), ..denial };
        self.weigh(target).map_err(told)
    }

    /// The same, without what would help.
    fn weigh(&self, target: &Target) -> Result<Grant, Denial> {
        let denial = |reason| Denial::new(reason, target);
        if let Some(rule) = self.sides().find_map(|(rules, _)| self.denies(rules, target)) {
            return Err(denial(Reason::Denied).because(rule.to_string()));
        }
        let Some(mut grant) = self.rules.grants(target) else {
            return Err(denial(if self.rules.mode == Mode::None { Reason::NetworkNone } else { Reason::NotAllowed }));
        };
        if let Some(rule) = self.rules.evaded_by(target, &grant) {
            return Err(denial(Reason::UnnamedAddress).because(rule.to_string()));
        }
        if let Some(ceiling) = &self.ceiling {
            let Some(limit) = ceiling.grants(target) else { return Err(denial(Reason::Ceiling)) };
            if let Some(rule) = ceiling.evaded_by(target, &limit) {
                let detail = format!("no rule there names this address, which could be one of '{rule}'");
                return Err(denial(Reason::Ceiling).because(detail));
            }
            let open = ceiling.mode == Mode::Open && !limit.is_restricted();
            grant.web_by_limits = !(limit.any_protocol || open);
            grant.any_protocol &= !grant.web_by_limits;
            grant.limited = limit.is_restricted();
            grant.requests.extend(limit.requests);
        }
        Ok(grant)
    }

    /// A rule that denies a target, by whatever it is called: outside, and behind a gateway.
    fn denies<'a>(&self, rules: &'a Rules, target: &Target) -> Option<&'a Rule> {
        let behind = match &target.host {
            Host::Address(IpAddr::V6(address)) => address::behind(*address).map(IpAddr::V4),
            _ => None,
        };
        let behind = behind.map(|address| Target { host: Host::from(address), port: target.port });
        [Some(target), Some(&self.outside(target)), behind.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|called| rules.denies(called))
    }

    /// Who could let through what was refused by its name: rules of the sandbox's own only where the user's limits let
    /// them. Which addresses a name has is not known.
    fn lift(&self, Denial { reason, target, .. }: &Denial) -> Lift {
        let Some(ceiling) = self.ceiling.as_ref().filter(|_| *reason != Reason::Ceiling) else { return Lift::Own };
        if let Some(rule) = self.denies(ceiling, target) {
            return Lift::Limits(Some(rule.to_string()));
        }
        let admits = match &target.host {
            Host::Address(address) => ceiling.admits(target, *address, address::class(*address)),
            Host::Name(_) => true,
        };
        let grants = ceiling.grants(target).is_some_and(|grant| ceiling.evaded_by(target, &grant).is_none());
        if admits && grants { Lift::Within } else { Lift::Limits(None) }
    }

    /// The allowed thing that is most like what was refused: by both sides, or by the user's limits if they refused it.
    fn nearest(&self, Denial { reason, target, .. }: &Denial) -> Option<String> {
        let rules = match (reason, &self.ceiling) {
            (Reason::Ceiling, Some(ceiling)) => ceiling,
            _ => &self.rules,
        };
        let restricted = |target: &Target| match self.weigh(target) {
            Ok(grant) => Some(grant.is_restricted()),
            Err(denial) => (*reason == Reason::Ceiling && denial.reason == Reason::NotAllowed).then_some(false),
        };
        rules.like(target).into_iter().take(MOST_WEIGHED).find_map(|rule| {
            let examples = rule.examples(target);
            let allowed: Vec<_> = examples.iter().filter_map(|one| Some((one.port, restricted(one)?))).collect();
            let ports = match &allowed[..] {
                [] => return None,
                // Of some of its ports it is not known which others are.
                [(port, _), ..] if allowed.len() < examples.len() => Ports::Range(*port, *port),
                _ => rule.ports,
            };
            let some = if allowed.iter().any(|(_, restricted)| *restricted) { ", for some requests" } else { "" };
            let ports =
                if rule.pattern.matches(&target.host) { SpelledPorts(ports).to_string() } else { ports.to_string() };
            Some(format!("{}{ports}{some}", rule.pattern))
        })
    }

    /// Of the addresses that a target was found to have, those that may be dialled. The target is
    /// [judged](Self::judge) again: rules may have changed while it was looked up. Whoever is `own`, an address of this
    /// machine, is as good as its loopback address, whatever network it is in.
    ///
    /// # Errors
    /// The denial, if there is none.
    pub fn admit(
        &self,
        target: &Target,
        addresses: &[IpAddr],
        own: impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<CheckedAddr>, Denial> {
        self.judge(target)?;
        let mut refused = None;
        let mut admitted = Vec::new();
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let class = class(address, &own);
            match self.refuses(target, address, class) {
                None => admitted.push(CheckedAddr(SocketAddr::new(address, target.port))),
                Some(denial) => refused = refused.or(Some(denial)),
            }
        }
        match refused {
            Some(denial) if admitted.is_empty() => Err(denial),
            None if admitted.is_empty() => Err(Denial::new(Reason::NoSuchHost, target)),
            _ => Ok(admitted),
        }
    }

    /// The rule of the sandbox's own without which an address that is [admitted](Self::admit) would be refused; none, if it
    /// needs none.
    #[must_use]
    pub fn namer(&self, target: &Target, address: IpAddr, own: impl Fn(IpAddr) -> bool) -> Option<&Rule> {
        let address = address.to_canonical();
        let class = class(address, own);
        let unnamed = self.rules.admits_unnamed(target, address, class);
        if unnamed { None } else { self.rules.namer(target, address, class) }
    }

    fn refuses(&self, target: &Target, address: IpAddr, class: Class) -> Option<Denial> {
        // Whoever is denied is so behind a gateway as well.
        let behind = match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => address::behind(address).map(IpAddr::V4),
        };
        let literals = || [Some(address), behind].into_iter().flatten();
        let denied = |rules: &Rules| {
            let called = |address| rules.denies(&Target { host: Host::from(address), port: target.port }).cloned();
            literals().find_map(called)
        };
        let lift = match &self.ceiling {
            None => Lift::Own,
            Some(ceiling) => match denied(ceiling) {
                Some(rule) => Lift::Limits(Some(rule.to_string())),
                None if ceiling.admits(target, address, class) => Lift::Within,
                None => Lift::Limits(None),
            },
        };
        for (rules, reason) in self.sides() {
            if let Some(rule) = denied(rules) {
                return Some(Denial {
                    lift: lift.clone(),
                    ..Denial::new(Reason::Denied, target).because(rule.to_string())
                });
            }
            if !rules.admits(target, address, class) {
                let detail = format!("{address} is {}", class.words());
                return Some(Denial { lift, ..Denial::new(reason, target).because(detail) });
            }
        }
        None
    }

    /// Both sides' rules, each with the reason why an address is refused that only they don't admit.
    fn sides(&self) -> impl Iterator<Item = (&Rules, Reason)> {
        let limits = self.ceiling.iter().map(|ceiling| (ceiling, Reason::Ceiling));
        iter::once((&self.rules, Reason::PrivateAddress)).chain(limits)
    }

    /// What is to be looked up for a target: a service of this host is called otherwise inside.
    #[must_use]
    pub fn outside(&self, target: &Target) -> Target {
        self.rules.services(target).next().unwrap_or(target).clone()
    }

    /// The policy with one more rule that allows, which a mode of `none` does not hold back.
    #[must_use]
    pub fn allowing(&self, rule: Rule) -> Self {
        let mut policy = self.undenying(rule.clone());
        let rules = &mut policy.rules;
        if rules.mode == Mode::None {
            // What was listed before the mode was lifted was not meant to be reached.
            rules.allow.clear();
            rules.mode = Mode::Allow;
        }
        if !rules.allow.contains(&rule) {
            rules.allow.push(rule);
        }
        policy
    }

    /// The policy with one more rule that denies.
    #[must_use]
    pub fn denying(&self, rule: Rule) -> Self {
        let mut policy = self.clone();
        policy.rules.allow.retain(|allowed| *allowed != rule);
        if !policy.rules.deny.contains(&rule) {
            policy.rules.deny.push(rule);
        }
        policy
    }

    /// The policy without a rule that denies.
    #[must_use]
    pub fn undenying(&self, rule: Rule) -> Self {
        let mut policy = self.clone();
        policy.rules.deny.retain(|denied| *denied != rule);
        policy
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
