//! What a sandbox may reach, as flags say it: hides which mode holds where none is named.

use super::ConfigError;
use crate::Network;
use egress::{Mode, Policy, Rule, Rules, Target, control::Published};

/// What the flags of `run`, `create` and `net check` said of the network. `None` and empty: nothing.
#[derive(Clone, Debug, Default)]
pub struct NetworkOverrides {
    /// `--net`
    pub mode: Option<Mode>,
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
    /// `--max-tokens`
    pub max_tokens: Option<u64>,
}

impl NetworkOverrides {
    /// What holds for a new sandbox.
    pub(super) fn resolve(self) -> Result<Network, ConfigError> {
        self.check()?;
        let Self { mode, allow, deny, services, ports, bandwidth, max_tokens } = self;
        let reached = !allow.is_empty() || !services.is_empty();
        let mode = mode.unwrap_or(if reached { Mode::Allow } else { Mode::None });
        let policy = Policy { rules: Rules { mode, allow, deny, services }, ceiling: None };
        Ok(Network { policy, ports: distinct(ports)?, bandwidth, max_tokens, secrets: Vec::new() })
    }

    /// Refuses flags that contradict each other.
    fn check(&self) -> Result<(), ConfigError> {
        if self.mode != Some(Mode::None) {
            return Ok(());
        }
        let allow = self.allow.iter().map(|rule| format!("--allow {rule}"));
        let open = self.services.iter().map(|service| format!("--open {service}"));
        match allow.chain(open).next() {
            Some(flag) => {
                let cause = format!("`{flag}` has no use with `--net none`");
                Err(ConfigError::value(
                    cause,
                    "Leave out `--net none`: `--allow` and `--open` alone allow nothing else",
                ))
            }
            None => Ok(()),
        }
    }
}

/// Refuses two ports of the sandbox on one of the host.
fn distinct(mut ports: Vec<Published>) -> Result<Vec<Published>, ConfigError> {
    ports.sort_by_key(|port| port.outside);
    ports.dedup();
    match ports.windows(2).find(|pair| pair[0].outside == pair[1].outside) {
        Some(pair) => {
            let (first, second) = (pair[0].inside, pair[1].inside);
            let cause = format!("Ports {first} and {second} of the sandbox on one of the host, {}", pair[0].outside);
            Err(ConfigError::value(cause, format!("Give one another number on the host, such as `-p {second}:PORT`")))
        }
        None => Ok(ports),
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
