//! What a configuration file says, key by key, before anything is made of it.

use super::{ConfigError, ImageArg, WorkspaceMode, forms::TmpfsArg, parse::Located, recipe::RecipeSettings};
use crate::{BackendKind, Mount, Name, SecretSource};
use egress::{Mode, Pattern, Requests, Rule, Target, control::Published};
use oci::{Reference, registry::Mirror};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(super) name: Option<Name>,
    pub(super) backend: Option<Located<BackendKind>>,
    /// None: not written. Of the user's own configuration.
    pub(super) backends: Option<Vec<BackendKind>>,
    pub(super) runtime: Option<Located<String>>,
    pub(super) image: Option<Located<ImageArg>>,
    /// Whether `from` of [image] names it: as it is, since nothing can be made of it.
    pub(super) whole: bool,
    pub(super) recipe: RecipeSettings,
    pub(super) layers: Vec<Located<Reference>>,
    pub(super) workspace: Option<WorkspaceMode>,
    pub(super) user: Option<Located<String>>,
    pub(super) workdir: Option<Located<PathBuf>>,
    pub(super) read_only: Option<bool>,
    pub(super) log_refused: Option<bool>,
    pub(super) keep: Option<bool>,
    pub(super) timeout: Option<Duration>,
    pub(super) env: Vec<(String, String)>,
    pub(super) env_file: Option<Located<PathBuf>>,
    pub(super) cpu_milli: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<Located<u64>>,
    pub(super) disk: Option<Located<u64>>,
    pub(super) nofile: Option<Located<u64>>,
    pub(super) fsize: Option<Located<u64>>,
    pub(super) protect: Vec<PathBuf>,
    pub(super) mounts: Vec<Located<Mount>>,
    pub(super) tmpfs: Vec<Located<TmpfsArg>>,
    pub(super) network: NetworkSettings,
    pub(super) secrets: Vec<Located<SecretSettings>>,
    pub(super) ssh: SshSettings,
    pub(super) image_quota: Option<u64>,
    pub(super) registries: Vec<RegistrySettings>,
}

impl Settings {
    /// Refuses what is let through beside a mode by which nothing is. `services` the user's limits have in any mode.
    pub(super) fn check_mode(&self, path: &Path, services: bool) -> Result<(), ConfigError> {
        let Self { network, ssh, .. } = self;
        if network.mode.as_ref().is_none_or(|mode| mode.value != Mode::None) {
            return Ok(());
        }
        let allow = network.allow.iter().flatten().next().map(|rule| rule.with("allow"));
        let service = network.services.first().filter(|_| services).map(|service| service.with("host_services"));
        let server = ssh.hosts.first().map(|server| server.with("hosts"));
        let Some(void) = allow.or(service).or(server) else { return Ok(()) };
        let cause = format!("`{}` has no use with `mode = \"none\"`", void.value);
        Err(void.error(path, cause, "Leave `mode` out: what is listed is allowed then, and nothing else"))
    }
}

/// `[network]`, of a project or of the user's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NetworkSettings {
    pub(super) mode: Option<Located<Mode>>,
    /// None: not written. An empty list allows nothing.
    pub(super) allow: Option<Vec<Located<Rule>>>,
    pub(super) deny: Vec<Located<Rule>>,
    pub(super) services: Vec<Located<Target>>,
    pub(super) ports: Vec<Located<Published>>,
    pub(super) bandwidth: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) max_tokens: Option<u64>,
}

/// A rule that is a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleSettings {
    pub(super) rule: Option<Rule>,
    pub(super) requests: Requests,
}

/// One of `[registries]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RegistrySettings {
    pub(super) name: String,
    pub(super) mirrors: Vec<Mirror>,
}

/// `[ssh]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SshSettings {
    pub(super) hosts: Vec<Located<Target>>,
    pub(super) sign: bool,
}

/// One of `[secrets]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SecretSettings {
    pub(super) name: String,
    pub(super) env: Option<String>,
    pub(super) hosts: Vec<Pattern>,
    pub(super) file: Option<PathBuf>,
    pub(super) source: Option<SecretSource>,
}
