//! What a sandbox may reach: flags, the project's file and the user's limits become one policy. Hides which mode holds
//! where none is named, and who said what.

use super::{
    AgentUse, ConfigError, FormError, UserConfig,
    forms::parse_variable,
    overlap,
    parse::Located,
    reach::{self, Left},
    resolve::Resolver,
    secrets::{Recorded, Secrets},
    settings::SecretSettings,
    ssh,
};
use crate::{LoginUse, Network, SecretSource, SecretUse};
use egress::{Mode, Pattern, Policy, Requests, Rule, Rules, Target, control::Published};
use std::{collections::HashMap, path::Path};
use wire::shell_word;

/// What the flags of `run`, `create` and `net check` said of the network. `None` and empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkOverrides {
    /// `--net`
    pub mode: Option<Mode>,
    /// Nobody asked for the mode: that the user's limits narrow it is not told, and no mistake if nothing is left.
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
    /// `--ssh`
    pub ssh: Vec<Target>,
    /// `--sign`
    pub sign: bool,
}

/// Flags that ask for more than the user's limits let, which is then what holds: each in words.
#[must_use]
pub fn narrowed(flags: &NetworkOverrides, user: &UserConfig) -> Vec<String> {
    let all = [
        ("--bandwidth", flags.bandwidth, user.bandwidth, "bytes per second"),
        ("--connections", flags.connections, user.connections, "per second"),
        ("--max-tokens", flags.max_tokens, user.max_tokens, "in all"),
    ];
    let beyond = |(flag, asked, limit, of): (&str, Option<u64>, Option<u64>, &str)| {
        let limit = limit.filter(|limit| asked.is_some_and(|asked| asked > *limit))?;
        Some(format!("`{flag}` is beyond your own limits: {limit} {of}"))
    };
    let ceiling = user.ceiling.as_ref().filter(|_| flags.asks_for_all());
    let open = ceiling.and_then(|ceiling| match reach::left(ceiling, &reach::everything()) {
        Left::Part(why) => Some(format!("A part of `--net open` is beyond your own limits: {why}")),
        Left::All | Left::Nothing(_) => None,
    });
    open.into_iter().chain(all.into_iter().filter_map(beyond)).collect()
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
    pub(super) fn network(
        &mut self,
        mut flags: NetworkOverrides,
        agent: Option<&AgentUse>,
    ) -> Result<(Network, Sayings), ConfigError> {
        flags.check(self.user)?;
        for server in &flags.ssh {
            flags.allow.push(ssh::rule(server)?);
        }
        // With nothing to reach there is nothing for it to do, which is what was asked for.
        let agent = agent.filter(|_| flags.mode != Some(Mode::None));
        let needed = agent.map_or(&[][..], |agent| &agent.allow);
        agent.map_or(Ok(()), |agent| agent.check(self.user))?;
        let file = &self.settings.network;
        let mut services = Vec::new();
        let mut allow = Vec::new();
        let listed = flags.mode != Some(Mode::None);
        let asks_for = !flags.allow.is_empty() || !flags.services.is_empty() || !needed.is_empty();
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
                .or(self.settings.ssh.hosts.first().map(|to| to.line))
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
            for located in &self.settings.ssh.hosts {
                self.ask("ssh", format_args!("{} with the keys of your ssh-agent", located.value));
                let rule = ssh::rule(&located.value).map_err(|error| self.at(located, error))?;
                allow.push((rule, Said::Project(located.line)));
                flags.ssh.push(located.value.clone());
            }
        }
        if self.settings.ssh.sign && !flags.sign {
            self.ask("ssh", "signatures of git's commits with your key");
            flags.sign = true;
        }
        allow.extend(flags.allow.into_iter().chain(needed.iter().cloned()).map(|rule| (rule, Said::Flag)));
        services.extend(flags.services.into_iter().map(|service| (service, Said::Flag)));
        let deny = file.deny.iter().map(|located| (located.value.clone(), Said::Project(located.line)));
        let deny = deny.chain(flags.deny.into_iter().map(|rule| (rule, Said::Flag)));
        let (allow, allow_said) = allow.into_iter().unzip();
        let (deny, deny_said) = deny.unzip();
        let (services, services_said) = services.into_iter().unzip();
        let lent = agent.map_or(&[][..], |agent| &agent.secrets);
        let secrets = self.secrets(&flags.secrets, lent, listed)?;
        // Where a secret of the user's own has taken its place, a login is not used.
        let used = |login: &&LoginUse| {
            secrets.iter().any(|secret: &SecretUse| secret.placeholder == login.login.placeholders.access)
        };
        let logins = agent.map_or(&[][..], |agent| &agent.logins).iter().filter(used).cloned().collect();
        let network = Network {
            policy: Policy { rules: Rules { mode, allow, deny, services }, ceiling: self.user.ceiling.clone() },
            ports: self.ports(flags.ports)?,
            connections: [flags.connections.or(file.connections), self.user.connections].into_iter().flatten().min(),
            bandwidth: [flags.bandwidth.or(file.bandwidth), self.user.bandwidth].into_iter().flatten().min(),
            max_tokens: [flags.max_tokens.or(file.max_tokens), self.user.max_tokens].into_iter().flatten().min(),
            secrets,
            logins,
            lent_keys: self.lent_keys(flags.ssh, flags.sign)?,
        };
        let sayings = Sayings { mode: saying, allow: allow_said, deny: deny_said, services: services_said };
        Ok((network, sayings))
    }

    /// Ports of the sandbox on the host's, no two of them on one.
    fn ports(&mut self, flags: Vec<Published>) -> Result<Vec<Published>, ConfigError> {
        let mut ports = PublishedPorts::default();
        let replaced = |port: &Published| flags.iter().any(|flag| flag.inside == port.inside);
        for located in self.settings.network.ports.iter().filter(|located| !replaced(&located.value)) {
            let port = located.value;
            self.ask("ports", format_args!("{} of the sandbox on {} of the host", port.inside, port.outside));
            ports.add(port).map_err(|error| self.at(located, error))?;
        }
        for port in flags {
            ports.add(port)?;
        }
        Ok(ports.list)
    }

    /// The secrets that the sandbox may use: by flags, and, unless nothing is to be reached, by the project's file.
    /// And what logs an agent in, unless one of those does.
    fn secrets(&mut self, flags: &[String], lent: &[SecretUse], listed: bool) -> Result<Vec<SecretUse>, ConfigError> {
        let mut uses = SecretUses::default();
        let from_file = if listed { &self.settings.secrets[..] } else { &[] };
        for located in from_file.iter().filter(|located| !flags.contains(&located.value.name)) {
            let wanted = self.secret(located).map_err(|error| self.at(located, error))?;
            let hosts: Vec<String> = wanted.hosts.iter().map(ToString::to_string).collect();
            self.ask("secrets", format_args!("{} ({}) for {}", wanted.name, wanted.source, hosts.join(", ")));
            uses.add(wanted).map_err(|error| self.at(located, error))?;
        }
        let secrets = Secrets::of(self.host);
        for name in flags {
            if uses.list.iter().any(|other| other.name == *name) {
                continue;
            }
            let Some(Recorded { hosts, env, .. }) = secrets.find(name)? else {
                return Err(secrets.unknown(name)?);
            };
            if hosts.is_empty() {
                return Err(hostless(name));
            }
            let hosts = self.narrowed(name, hosts)?;
            let env = Some(env.unwrap_or_else(|| name.clone()));
            uses.add(SecretUse {
                name: name.clone(),
                source: SecretSource::Store,
                hosts,
                placeholder: placeholder(name)?,
                env,
                file: None,
            })?;
        }
        for secret in lent {
            let same = |other: &SecretUse| other.env.is_some() && other.env == secret.env;
            if !uses.list.iter().any(same) {
                uses.add(secret.clone())?;
            }
        }
        Ok(uses.list)
    }

    /// Of the hosts that are recorded with a secret, those that the project's file has it for as well.
    fn narrowed(&self, name: &str, recorded: Vec<Pattern>) -> Result<Vec<Pattern>, ConfigError> {
        let listed = self.settings.secrets.iter().find(|located| located.value.name == name);
        let Some((located, first)) = listed.and_then(|located| Some((located, located.value.hosts.first()?))) else {
            return Ok(recorded);
        };
        let both = |host: &Pattern| {
            let within = recorded.iter().any(|limit| overlap::covers(limit, host));
            let own = within.then(|| vec![host.clone()]);
            own.unwrap_or_else(|| recorded.iter().filter(|limit| overlap::covers(host, limit)).cloned().collect())
        };
        let hosts: Vec<Pattern> = located.value.hosts.iter().flat_map(both).collect();
        if hosts.is_empty() {
            return Err(self.at(located, not_recorded(name, &recorded, first)));
        }
        Ok(hosts)
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
            return Err(not_recorded(&name, limits, host));
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
    /// Whether somebody has asked for every public address.
    fn asks_for_all(&self) -> bool {
        self.mode == Some(Mode::Open) && !self.within_limits
    }

    /// Refuses flags that contradict each other, and those that the user's own limits make void.
    fn check(&self, user: &UserConfig) -> Result<(), ConfigError> {
        let allow = || self.allow.iter().map(|rule| format!("--allow {rule}"));
        let open = || self.services.iter().map(|service| format!("--open {service}"));
        let ssh = || self.ssh.iter().map(|server| format!("--ssh {server}"));
        let secrets = || self.secrets.iter().map(|name| format!("--secret {name}"));
        if self.mode == Some(Mode::None)
            && let Some(flag) = allow().chain(open()).chain(ssh()).chain(secrets()).next()
        {
            let cause = format!("`{flag}` has no use with `--net none`");
            let hint = "Leave out `--net none`: `--allow` and `--open` alone allow nothing else";
            return Err(ConfigError::value(cause, hint));
        }
        let Some(ceiling) = &user.ceiling else { return Ok(()) };
        let over = |cause: String| ConfigError::value(cause, user.place());
        if self.asks_for_all()
            && let Left::Nothing(why) = reach::left(ceiling, &reach::everything())
        {
            return Err(over(format!("`--net open` is beyond your own limits: {why}")));
        }
        let servers = self.ssh.iter().map(ssh::rule).collect::<Result<Vec<_>, _>>()?;
        for (rule, flag) in self.allow.iter().chain(&servers).zip(allow().chain(ssh())) {
            if let Left::Nothing(why) = reach::left(ceiling, rule) {
                return Err(over(format!("`{flag}` is beyond your own limits: {why}")));
            }
        }
        match self.services.iter().zip(open()).find(|(service, _)| !reach::can_serve(ceiling, service)) {
            Some((_, flag)) => Err(over(format!("`{flag}` is beyond your own limits"))),
            None => Ok(()),
        }
    }
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

/// Ports, each on another one of the host.
#[derive(Default)]
struct PublishedPorts {
    list: Vec<Published>,
    /// Which of the sandbox is on one of the host.
    inside: HashMap<u16, u16>,
}

impl PublishedPorts {
    fn add(&mut self, port: Published) -> Result<(), ConfigError> {
        let Published { inside: second, outside } = port;
        match self.inside.insert(outside, second) {
            None => self.list.push(port),
            Some(inside) if inside == second => {}
            Some(inside) => {
                let cause = format!("Ports {inside} and {second} of the sandbox on one of the host, {outside}");
                return Err(ConfigError::value(
                    cause,
                    format!("Give one another: {second}:PORT, with a PORT that is free"),
                ));
            }
        }
        Ok(())
    }
}

/// What a sandbox has in the place of a secret: its name, for people, and 128 bits that nobody guesses.
pub(super) fn placeholder(name: &str) -> Result<String, ConfigError> {
    let mut bytes = [0u8; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| ConfigError::io(Path::new("/dev/urandom"), errno))?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("agentkernel-{name}-{digits}"))
}

/// Secrets, each with its placeholder elsewhere.
#[derive(Default)]
struct SecretUses {
    list: Vec<SecretUse>,
    /// Whose placeholder is in a place, in words.
    places: HashMap<String, String>,
}

impl SecretUses {
    fn add(&mut self, wanted: SecretUse) -> Result<(), ConfigError> {
        // Where none was named, it is the secret's name.
        if let Some(Err(error)) = wanted.env.as_deref().map(parse_variable) {
            return Err(ConfigError::value(format!("Secret '{}': {error}", wanted.name), error.hint));
        }
        let variable = wanted.env.as_ref().map(|env| format!("in variable {env}"));
        let file = wanted.file.as_ref().map(|file| format!("in {}", file.display()));
        for place in variable.into_iter().chain(file) {
            if let Some(other) = self.places.get(&place) {
                let cause = format!("Secrets '{other}' and '{}' would both be {place}", wanted.name);
                return Err(ConfigError::value(
                    cause,
                    "Give one another variable or file: `env`, `file`, or `secret set --env`",
                ));
            }
            self.places.insert(place, wanted.name.clone());
        }
        self.list.push(wanted);
        Ok(())
    }
}

/// A secret may not go to a host of the project's.
fn not_recorded(name: &str, recorded: &[Pattern], host: &Pattern) -> ConfigError {
    let recorded: Vec<String> = recorded.iter().map(ToString::to_string).collect();
    let cause = format!("Secret '{name}' is recorded for {} only, not for {host}", recorded.join(", "));
    let all = recorded.into_iter().chain([host.to_string()]);
    let flags: String = all.map(|host| format!(" --host {}", shell_word(&host))).collect();
    ConfigError::value(cause, format!("`agentkernel secret set {name}{flags}` adds it"))
}

fn hostless(name: &str) -> ConfigError {
    let hint = format!("Say where it may go: `agentkernel secret set {name} --host HOST`, or `hosts` in [secrets]");
    ConfigError::value(format!("Secret '{name}' has no hosts that it may go to"), hint)
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
