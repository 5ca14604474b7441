//! What a sandbox may reach: flags, the project's file and the user's limits become one policy. Hides which mode holds
//! where none is named, and who said what.

use super::{
    ConfigError, FormError, UserConfig,
    forms::parse_variable,
    overlap,
    parse::Located,
    resolve::Resolver,
    secrets::{Recorded, Secrets},
    settings::SecretSettings,
};
use crate::{Network, SecretSource, SecretUse};
use egress::{
    Host, Mode, Pattern, Policy, Requests, Rule, Rules, Target,
    address::{self, Class},
    control::Published,
};
use std::path::Path;

/// What the flags of `run`, `create` and `net check` said of the network. `None` and empty: nothing.
#[derive(Clone, Debug, Default)]
pub struct NetworkOverrides {
    /// `--net`
    pub mode: Option<Mode>,
    /// Nobody asked for the mode: the user's limits narrow it, and don't refuse it.
    pub within_limits: bool,
    /// `--allow`
    pub allow: Vec<Rule>,
    /// `--deny`
    pub deny: Vec<Rule>,
    /// `--open`
    pub services: Vec<Target>,
    /// `-p`
    pub ports: Vec<Published>,
    /// `--bandwidth`, in bytes per second
    pub bandwidth: Option<u64>,
    /// `--connections`, per second
    pub connections: Option<u64>,
    /// `--max-tokens`
    pub max_tokens: Option<u64>,
    /// `--secret`
    pub secrets: Vec<String>,
}

/// Who said something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nobody.
    Default,
    /// A flag.
    Flag,
    /// The project's file, on this line.
    Project(usize),
}

/// Who said what of a policy's own rules: in their order.
#[derive(Clone, Debug)]
pub(super) struct Sayings {
    pub(super) mode: Said,
    pub(super) allow: Vec<Said>,
    pub(super) deny: Vec<Said>,
    pub(super) services: Vec<Said>,
}

impl Resolver<'_> {
    /// What holds for a new sandbox.
    pub(super) fn network(&mut self, flags: NetworkOverrides) -> Result<(Network, Sayings), ConfigError> {
        flags.check(self.user)?;
        let file = &self.settings.network;
        let mut services = Vec::new();
        let mut allow = Vec::new();
        let written = file.mode.as_ref().map(|mode| mode.value);
        // What is listed beside `mode = "none"` was not meant to be reached.
        let listed = flags.mode != Some(Mode::None) && written != Some(Mode::None);
        let asks_for = !flags.allow.is_empty() || !flags.services.is_empty();
        let (mode, saying) = match (flags.mode, &file.mode) {
            (Some(mode), _) => (mode, Said::Flag),
            (None, Some(mode)) if !(asks_for && mode.value == Mode::None) => (mode.value, Said::Project(mode.line)),
            (None, _) if asks_for => (Mode::Allow, Said::Flag),
            (None, _) => match file
                .allow
                .iter()
                .flatten()
                .next()
                .map(|rule| rule.line)
                .or(file.services.first().map(|to| to.line))
            {
                Some(line) => (Mode::Allow, Said::Project(line)),
                None => (Mode::None, Said::Default),
            },
        };
        if mode == Mode::Open && flags.mode.is_none() {
            self.ask("mode", mode);
        }
        if listed {
            for located in file.allow.iter().flatten() {
                self.ask("allow", described(&located.value));
                allow.push((located.value.clone(), Said::Project(located.line)));
            }
            for located in &file.services {
                self.ask("host_services", &located.value);
                services.push((located.value.clone(), Said::Project(located.line)));
            }
        }
        allow.extend(flags.allow.into_iter().map(|rule| (rule, Said::Flag)));
        services.extend(flags.services.into_iter().map(|service| (service, Said::Flag)));
        let deny = file.deny.iter().map(|located| (located.value.clone(), Said::Project(located.line)));
        let deny = deny.chain(flags.deny.into_iter().map(|rule| (rule, Said::Flag)));
        let (allow, allow_said) = allow.into_iter().unzip();
        let (deny, deny_said) = deny.unzip();
        let (services, services_said) = services.into_iter().unzip();
        let secrets = self.secrets(&flags.secrets, flags.mode != Some(Mode::None))?;
        let network = Network {
            policy: Policy { rules: Rules { mode, allow, deny, services }, ceiling: self.user.ceiling.clone() },
            ports: self.ports(flags.ports)?,
            connections: [flags.connections.or(file.connections), self.user.connections].into_iter().flatten().min(),
            bandwidth: [flags.bandwidth.or(file.bandwidth), self.user.bandwidth].into_iter().flatten().min(),
            max_tokens: [flags.max_tokens.or(file.max_tokens), self.user.max_tokens].into_iter().flatten().min(),
            secrets,
        };
        let sayings = Sayings { mode: saying, allow: allow_said, deny: deny_said, services: services_said };
        Ok((network, sayings))
    }

    /// Ports of the sandbox on the host's, no two of them on one.
    fn ports(&mut self, flags: Vec<Published>) -> Result<Vec<Published>, ConfigError> {
        let mut ports: Vec<Published> = Vec::new();
        let replaced = |port: &Published| flags.iter().any(|flag| flag.inside == port.inside);
        for located in self.settings.network.ports.iter().filter(|located| !replaced(&located.value)) {
            let port = located.value;
            self.ask("ports", format_args!("{} of the sandbox on {} of the host", port.inside, port.outside));
            publish(&mut ports, port).map_err(|error| self.at(located, error))?;
        }
        for port in flags {
            publish(&mut ports, port)?;
        }
        Ok(ports)
    }

    /// The secrets that the sandbox may use: by flags, and, unless nothing is to be reached, by the project's file.
    fn secrets(&mut self, flags: &[String], listed: bool) -> Result<Vec<SecretUse>, ConfigError> {
        let mut uses: Vec<SecretUse> = Vec::new();
        let from_file = if listed { &self.settings.secrets[..] } else { &[] };
        for located in from_file.iter().filter(|located| !flags.contains(&located.value.name)) {
            let wanted = self.secret(located).map_err(|error| self.at(located, error))?;
            let hosts: Vec<String> = wanted.hosts.iter().map(ToString::to_string).collect();
            self.ask("secrets", format_args!("{} ({}) for {}", wanted.name, wanted.source, hosts.join(", ")));
            add_secret(&mut uses, wanted).map_err(|error| self.at(located, error))?;
        }
        let secrets = Secrets::of(self.host);
        for name in flags {
            if uses.iter().any(|other| other.name == *name) {
                continue;
            }
            let Some(Recorded { hosts, env, .. }) = secrets.find(name)? else {
                return Err(secrets.unknown(name)?);
            };
            if hosts.is_empty() {
                return Err(hostless(name));
            }
            let env = Some(env.unwrap_or_else(|| name.clone()));
            add_secret(
                &mut uses,
                SecretUse {
                    name: name.clone(),
                    source: SecretSource::Store,
                    hosts,
                    placeholder: placeholder(name)?,
                    env,
                    file: None,
                },
            )?;
        }
        Ok(uses)
    }

    /// What a project asks for, with what the user has recorded of it.
    fn secret(&self, located: &Located<SecretSettings>) -> Result<SecretUse, ConfigError> {
        let SecretSettings { name, env, hosts, file, source } = located.value.clone();
        let recorded = Secrets::of(self.host).find(&name)?;
        let source = match source {
            Some(SecretSource::File(path)) => SecretSource::File(self.project.join(path)),
            Some(source) => source,
            None if recorded.is_some() => SecretSource::Store,
            None => SecretSource::Env(name.clone()),
        };
        let limits = recorded.as_ref().filter(|_| source == SecretSource::Store).map_or(&[][..], |it| &it.hosts);
        let beyond = hosts.iter().find(|host| !limits.iter().any(|limit| overlap::covers(limit, host)));
        if let Some(host) = beyond.filter(|_| !limits.is_empty()) {
            let limits: Vec<String> = limits.iter().map(ToString::to_string).collect();
            let cause = format!("Secret '{name}' is recorded for {} only, not for {host}", limits.join(", "));
            let flags: String = limits.iter().map(|limit| format!(" --host {limit}")).collect();
            return Err(ConfigError::value(
                cause,
                format!("`agentkernel secret set {name}{flags} --host {host}` adds it"),
            ));
        }
        let hosts = if hosts.is_empty() { limits.to_vec() } else { hosts };
        if hosts.is_empty() {
            return Err(hostless(&name));
        }
        let env = env.or_else(|| {
            let own = || recorded.and_then(|recorded| recorded.env).unwrap_or_else(|| name.clone());
            file.is_none().then(own)
        });
        let placeholder = placeholder(&name)?;
        Ok(SecretUse { name, source, hosts, placeholder, env, file })
    }
}

impl NetworkOverrides {
    /// Refuses flags that contradict each other, and those that the user's own limits make void.
    fn check(&self, user: &UserConfig) -> Result<(), ConfigError> {
        let allow = || self.allow.iter().map(|rule| format!("--allow {rule}"));
        let open = || self.services.iter().map(|service| format!("--open {service}"));
        let secrets = || self.secrets.iter().map(|name| format!("--secret {name}"));
        if self.mode == Some(Mode::None)
            && let Some(flag) = allow().chain(open()).chain(secrets()).next()
        {
            let cause = format!("`{flag}` has no use with `--net none`");
            let hint = "Leave out `--net none`: `--allow` and `--open` alone allow nothing else";
            return Err(ConfigError::value(cause, hint));
        }
        let Some(ceiling) = &user.ceiling else { return Ok(()) };
        let over = |flag: String| {
            let cause = format!("`{flag}` is beyond your own limits");
            ConfigError::value(cause, format!("They stand in {}: [network]", user.path.display()))
        };
        if self.mode == Some(Mode::Open) && !self.within_limits && ceiling.mode != Mode::Open {
            return Err(over("--net open".to_owned()));
        }
        let rule = self.allow.iter().zip(allow()).find(|(rule, _)| !can_reach(ceiling, rule));
        let service = self.services.iter().zip(open()).find(|(service, _)| !can_serve(ceiling, service));
        match rule.map(|(_, flag)| flag).or(service.map(|(_, flag)| flag)) {
            Some(flag) => Err(over(flag)),
            None => Ok(()),
        }
    }
}

/// Whether a host is the sandbox itself where it is dialled inside: its name server answers so (RFC 6761, 6.3).
#[must_use]
pub fn is_sandbox_itself(host: &Host) -> bool {
    match host {
        Host::Name(name) => name.rsplit('.').next() == Some("localhost"),
        Host::Address(address) => address.is_loopback(),
    }
}

/// Rules that allow nothing: what they name is the sandbox itself where it is dialled, and no other rule is for a name
/// that could lead there outside.
#[must_use]
pub fn void_rules(rules: &Rules) -> Vec<&Rule> {
    let inside = |rule: &&Rule| match &rule.pattern {
        Pattern::Host(host) => is_sandbox_itself(host),
        Pattern::Below(name) => is_sandbox_itself(&Host::Name(name.clone())),
        Pattern::Network(first, _) => first.is_loopback() && rule.pattern.names(*first),
        Pattern::Any => false,
    };
    let (loopback, others): (Vec<_>, Vec<_>) = rules.allow.iter().partition(inside);
    let any_host = |rule: &Rule| Rule { pattern: Pattern::Any, ..rule.clone() };
    let by_address = |rule: &Rule| matches!(rule.pattern, Pattern::Network(..) | Pattern::Host(Host::Address(_)));
    // A name can have the address, and then a rule must name that.
    let leads = |name: &Rule, rule: &Rule| {
        by_address(rule) && !by_address(name) && overlap::meet(&any_host(name), &any_host(rule))
    };
    let void = loopback.into_iter().filter(|rule| !others.iter().any(|name| leads(name, rule)));
    void.filter(|_| rules.mode != Mode::Open).collect()
}

/// Whether anything that a rule allows is within the limits.
#[must_use]
pub fn can_reach(ceiling: &Rules, rule: &Rule) -> bool {
    if ceiling.deny.iter().any(|deny| overlap::denies(deny, rule)) {
        return false;
    }
    if ceiling.services.iter().any(|service| rule.matches(service)) {
        return true;
    }
    let named = || ceiling.allow.iter().any(|allowed| overlap::meet(allowed, rule));
    match ceiling.mode {
        Mode::None => false,
        Mode::Allow => named(),
        // What has no public address must be named there too.
        Mode::Open => match &rule.pattern {
            Pattern::Host(Host::Address(address)) | Pattern::Network(address, _) => {
                address::class(*address) == Class::Public || named()
            }
            _ => true,
        },
    }
}

/// Whether a service of the sandbox's is within the limits.
fn can_serve(ceiling: &Rules, service: &Target) -> bool {
    let own = [service.clone(), Target { host: Host::Name(egress::HOST_NAME.into()), port: service.port }];
    // A service of this host may be written by any of its names.
    let local = |host: &Host| match host {
        Host::Name(name) => &**name == "localhost",
        Host::Address(address) => address.is_loopback(),
    };
    let same = |other: &Target| {
        other.port == service.port && (other.host == service.host || (local(&other.host) && local(&service.host)))
    };
    if ceiling.deny.iter().any(|deny| own.iter().any(|own| deny.denies(own))) {
        return false;
    }
    ceiling.services.iter().any(same) || (!local(&service.host) && can_reach(ceiling, &Rule::exactly(service)))
}

/// A rule with the requests that it is restricted to.
pub(super) fn described(rule: &Rule) -> String {
    let Requests { methods, paths } = &rule.requests;
    match rule.requests.is_every() {
        true => rule.to_string(),
        false => format!("{rule} ({})", [methods.join(" "), paths.join(" ")].join(" ").trim()),
    }
}

/// An HTTP method of a rule.
pub(super) fn method(text: &str) -> Result<String, FormError> {
    checked(Requests { methods: vec![text.to_owned()], paths: Vec::new() })?;
    Ok(text.to_owned())
}

/// A path of a rule.
pub(super) fn path(text: &str) -> Result<String, FormError> {
    checked(Requests { methods: Vec::new(), paths: vec![text.to_owned()] })?;
    Ok(text.to_owned())
}

fn checked(requests: Requests) -> Result<(), FormError> {
    Rule::parse("*")?.only(requests)?;
    Ok(())
}

/// Adds a port, unless another is on the same one of the host.
fn publish(ports: &mut Vec<Published>, port: Published) -> Result<(), ConfigError> {
    match ports.iter().find(|other| other.outside == port.outside) {
        None => ports.push(port),
        Some(other) if *other == port => {}
        Some(Published { inside, outside }) => {
            let second = port.inside;
            let cause = format!("Ports {inside} and {second} of the sandbox on one of the host, {outside}");
            return Err(ConfigError::value(
                cause,
                format!("Give one another: {second}:PORT, with a PORT that is free"),
            ));
        }
    }
    Ok(())
}

/// What a sandbox has in the place of a secret: its name, for people, and 128 bits that nobody guesses.
fn placeholder(name: &str) -> Result<String, ConfigError> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| ConfigError::io(Path::new("/dev/urandom"), errno))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("agentkernel-{name}-{digits}"))
}

/// Adds a secret, unless its placeholder is where another's is.
fn add_secret(uses: &mut Vec<SecretUse>, wanted: SecretUse) -> Result<(), ConfigError> {
    // Where none was named, it is the secret's name.
    if let Some(Err(error)) = wanted.env.as_deref().map(parse_variable) {
        return Err(ConfigError::value(format!("Secret '{}': {error}", wanted.name), error.hint));
    }
    let clash = uses.iter().find_map(|other| match (&other.env, &other.file) {
        (Some(env), _) if wanted.env.as_ref() == Some(env) => Some((other, format!("in variable {env}"))),
        (_, Some(file)) if wanted.file.as_ref() == Some(file) => Some((other, format!("in {}", file.display()))),
        _ => None,
    });
    if let Some((other, place)) = clash {
        let cause = format!("Secrets '{}' and '{}' would both be {place}", other.name, wanted.name);
        return Err(ConfigError::value(
            cause,
            "Give one another variable or file: `env`, `file`, or `secret set --env`",
        ));
    }
    uses.push(wanted);
    Ok(())
}

fn hostless(name: &str) -> ConfigError {
    let hint = format!("Say where it may go: `agentkernel secret set {name} --host HOST`, or `hosts` in [secrets]");
    ConfigError::value(format!("Secret '{name}' has no hosts that it may go to"), hint)
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
