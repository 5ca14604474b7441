//! What a sandbox may reach, changed while it runs or while it does not.

use super::{Client, ClientError, Found, find_settled};
use crate::store::Entry;
use egress::{Rule, Rules, control::Published};
use wire::{Failure, api};

/// A change.
#[derive(Clone, Debug)]
pub enum NetworkChange {
    /// One more rule that allows.
    Allow(Rule),
    /// One more rule that denies; connections to it are ended.
    Deny(Rule),
    /// A rule that denies is taken back, and nothing else.
    Undeny(Rule),
    /// One more port of the sandbox on this host's loopback address.
    Publish(Published),
    /// One fewer.
    Withdraw(Published),
}

/// The user's limits, which come with a change.
#[derive(Clone, Copy, Debug)]
pub enum Limits<'a> {
    /// As they are now; none: there are none.
    Now(Option<&'a Rules>),
    /// As the sandbox has them: what they are now is not known.
    Before,
}

/// The ports of a sandbox on this host's loopback address; of one that does not run, those that it will have.
///
/// # Errors
/// [`ClientError`]
pub fn published(entry: &Entry) -> Result<Vec<Published>, ClientError> {
    match find_settled(entry)? {
        Found::Running(mut client) => {
            let ports = client.status()?.ports.into_iter();
            Ok(ports.map(|(inside, outside)| Published { inside, outside }).collect())
        }
        Found::Idle(_) => Ok(entry.spec()?.network.ports),
    }
}

/// Rules of a sandbox's own that deny.
///
/// # Errors
/// [`ClientError`]
pub fn denied(entry: &Entry) -> Result<Vec<Rule>, ClientError> {
    match find_settled(entry)? {
        Found::Running(mut client) => {
            let rules = client.status()?.denied.into_iter().map(|rule| Rule::parse(&rule));
            rules.collect::<Result<_, _>>().map_err(|_| ClientError::Nonsense)
        }
        Found::Idle(_) => Ok(entry.spec()?.network.policy.rules.deny),
    }
}

/// Makes a change hold, at once if the sandbox runs, and whenever it is started again if it is kept; with it, the user's
/// limits as they are now.
///
/// # Errors
/// [`ClientError`]
pub fn change_network(entry: &Entry, change: &NetworkChange, limits: Limits<'_>) -> Result<(), ClientError> {
    match find_settled(entry)? {
        Found::Running(mut client) => client.change_network(change, limits),
        Found::Idle(lock) => {
            let mut spec = entry.spec()?;
            let network = &mut spec.network;
            if let Limits::Now(limits) = limits {
                network.policy.ceiling = limits.cloned();
            }
            match change {
                NetworkChange::Allow(rule) => network.policy = network.policy.allowing(rule.clone()),
                NetworkChange::Deny(rule) => network.policy = network.policy.denying(rule.clone()),
                NetworkChange::Undeny(rule) => network.policy = network.policy.undenying(rule.clone()),
                NetworkChange::Publish(port) if network.ports.contains(port) => {}
                NetworkChange::Publish(port) => network.ports.push(*port),
                NetworkChange::Withdraw(port) if !network.ports.contains(port) => {
                    let hint = "`agentkernel port` with the sandbox alone lists its ports".into();
                    return Err(Failure { cause: format!("The sandbox has no port {port}"), hint }.into());
                }
                NetworkChange::Withdraw(port) => network.ports.retain(|other| other != port),
            }
            Ok(entry.write_spec(&lock, &spec)?)
        }
    }
}

impl Client {
    fn change_network(&mut self, change: &NetworkChange, limits: Limits<'_>) -> Result<(), ClientError> {
        let limits = || match limits {
            Limits::Now(limits) => wire::encode(&limits).map_err(|_| Failure::too_large()),
            // What is none leaves them as they are.
            Limits::Before => Ok(Vec::new()),
        };
        let call = match change {
            NetworkChange::Allow(rule) => api::Call::Allow { rule: rule.to_string(), limits: limits()? },
            NetworkChange::Deny(rule) => api::Call::Deny { rule: rule.to_string(), limits: limits()? },
            NetworkChange::Undeny(rule) => api::Call::Undeny { rule: rule.to_string(), limits: limits()? },
            NetworkChange::Publish(Published { inside, outside }) => {
                api::Call::Publish { inside: *inside, outside: *outside }
            }
            NetworkChange::Withdraw(Published { inside, outside }) => {
                api::Call::Withdraw { inside: *inside, outside: *outside }
            }
        };
        match self.call(call) {
            Ok(api::Report::Done) => Ok(()),
            Ok(_) => Err(ClientError::Nonsense),
            // It ended meanwhile.
            Err(ClientError::Gone) => {
                Err(Failure { cause: "The sandbox has ended".into(), hint: String::new() }.into())
            }
            Err(error) => Err(error),
        }
    }
}
