//! The user's own configuration: where it lies, and which limits it sets to every sandbox.

use super::{ConfigError, HostFacts, parse, project, schema};
use crate::BackendKind;
use egress::{Mode, Rules};
use oci::registry::Mirror;
use rustix::{
    fs::{self, FileType, Mode as FileMode, OFlags, Stat},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

/// The user's own configuration. The default limits nothing.
#[derive(Clone, Debug, Default)]
pub struct UserConfig {
    /// Where it is, or would be.
    pub(super) path: PathBuf,
    /// What makes sandboxes where nobody says; none: the native backend.
    pub(super) backend: Option<BackendKind>,
    /// What may make them; none: every backend.
    pub(super) backends: Option<Vec<BackendKind>>,
    /// What any sandbox may reach at most; none: no limit.
    pub(super) ceiling: Option<Rules>,
    /// The bandwidth of any sandbox, in bytes per second.
    pub(super) bandwidth: Option<u64>,
    /// Connections per second of any sandbox.
    pub(super) connections: Option<u64>,
    /// Tokens of models of any sandbox.
    pub(super) max_tokens: Option<u64>,
    /// The lines of the rules of the ceiling: of what is allowed, and of what is denied.
    pub(super) lines: Lines,
    /// How many bytes images may take on disk.
    image_quota: Option<u64>,
    /// Who else has the images of a registry.
    mirrors: BTreeMap<String, Vec<Mirror>>,
}

/// On which lines of a file something stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) mode: Option<usize>,
    pub(super) allow: Vec<usize>,
    pub(super) deny: Vec<usize>,
    pub(super) services: Vec<usize>,
}

impl UserConfig {
    /// What no sandbox may exceed, if there are such limits.
    #[must_use]
    pub fn ceiling(&self) -> Option<&Rules> {
        self.ceiling.as_ref()
    }

    /// Why an engine may not build, with commands that have its network: its builder is held to nothing of this.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn check_engine_build(&self, offline: bool) -> Result<(), ConfigError> {
        let refused = |what: &str, hint: &str| {
            let cause = format!("Your own configuration {what}, and the build is to be an engine's");
            Err(ConfigError::value(cause, format!("{hint} {}", self.path.display())))
        };
        if self.backends.as_ref().is_some_and(|allowed| !allowed.contains(&BackendKind::Docker)) {
            return refused("doesn't allow the backend docker", "Leave --builder out, or change `backends` in");
        }
        let limits = [self.bandwidth, self.connections, self.max_tokens];
        match !offline && (self.ceiling.is_some() || limits.iter().any(Option::is_some)) {
            true => refused("limits the network", "Say --net none, leave --builder out, or change [network] in"),
            false => Ok(()),
        }
    }

    /// Where it lies: `$XDG_CONFIG_HOME/agentkernel`, or `~/.config/agentkernel`.
    #[must_use]
    pub fn dir(host: &HostFacts) -> PathBuf {
        dir(host)
    }

    /// How many bytes images may take on disk; none: no limit.
    #[must_use]
    pub fn image_quota(&self) -> Option<u64> {
        self.image_quota
    }

    /// Who else has the images of a registry, in the order in which they are asked.
    #[must_use]
    pub fn mirrors(&self, registry: &str) -> &[Mirror] {
        self.mirrors.get(registry).map_or(&[], Vec::as_slice)
    }

    /// Where they stand, in words.
    #[must_use]
    pub fn place(&self) -> String {
        format!("They stand in {}: [network]", self.path.display())
    }

    /// Puts these limits in the place of those that held when a sandbox was made.
    pub fn limit(&self, network: &mut crate::Network) {
        network.policy.ceiling = self.ceiling.clone();
        network.bandwidth = [network.bandwidth, self.bandwidth].into_iter().flatten().min();
        network.connections = [network.connections, self.connections].into_iter().flatten().min();
        network.max_tokens = [network.max_tokens, self.max_tokens].into_iter().flatten().min();
    }

    /// Reads it: `agentkernel/config.toml` in `$XDG_CONFIG_HOME` or ~/.config.
    ///
    /// # Errors
    /// If it can't be read, somebody else could write it, or it has a mistake.
    pub fn read(host: &HostFacts) -> Result<Self, ConfigError> {
        let path = dir(host).join("config.toml");
        match read(&path, host.uid)? {
            Some(text) => Self::parse(path, &text),
            None => Ok(Self { path, ..Self::default() }),
        }
    }

    /// Parses its text.
    pub(super) fn parse(path: PathBuf, text: &str) -> Result<Self, ConfigError> {
        let settings = parse::settings(text, schema::USER).map_err(|mistake| mistake.locate(&path, text))?;
        settings.check_mode(&path, false)?;
        let (backend, backends) = (settings.backend.map(|located| located.value), settings.backends);
        let network = settings.network;
        let lines = Lines {
            mode: network.mode.as_ref().map(|mode| mode.line),
            allow: network.allow.iter().flatten().map(|rule| rule.line).collect(),
            deny: network.deny.iter().map(|rule| rule.line).collect(),
            services: network.services.iter().map(|service| service.line).collect(),
        };
        let limits = network.mode.is_some()
            || network.allow.is_some()
            || !network.deny.is_empty()
            || !network.services.is_empty();
        let default = if network.allow.is_some() { Mode::Allow } else { Mode::Open };
        let ceiling = limits.then(|| Rules {
            mode: network.mode.map_or(default, |mode| mode.value),
            allow: network.allow.into_iter().flatten().map(|rule| rule.value).collect(),
            deny: network.deny.into_iter().map(|rule| rule.value).collect(),
            services: network.services.into_iter().map(|service| service.value).collect(),
        });
        let (bandwidth, connections, max_tokens) = (network.bandwidth, network.connections, network.max_tokens);
        let mirrors = settings.registries.into_iter().map(|registry| (registry.name, registry.mirrors)).collect();
        let image_quota = settings.image_quota;
        Ok(Self { path, backend, backends, ceiling, bandwidth, connections, max_tokens, lines, image_quota, mirrors })
    }
}

/// Where the user's configuration lies: `$XDG_CONFIG_HOME/agentkernel`, or `~/.config/agentkernel`.
pub(super) fn dir(host: &HostFacts) -> PathBuf {
    let variable = |name: &str| host.var(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_CONFIG_HOME").unwrap_or_else(|| host.own_home().join(".config"));
    base.join("agentkernel")
}

/// The text of a file of the user's own; `None` if there is none. Configuration is often a link to where it is kept under version
/// control: what counts is who can write what it leads to.
pub(crate) fn read(path: &Path, uid: u32) -> Result<Option<String>, ConfigError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = match fs::open(path, flags, FileMode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            // Limits that are not found must not be taken for none.
            return match fs::lstat(path) {
                Ok(_) => {
                    let cause = format!("{} is a symbolic link to nothing", path.display());
                    Err(ConfigError::value(cause, "Remove it, or put back what it leads to"))
                }
                Err(_) => Ok(None),
            };
        }
        Err(errno) => return Err(ConfigError::io(path, errno)),
    };
    let stat = fs::fstat(&file).map_err(|errno| ConfigError::io(path, errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(ConfigError::value(format!("{} is not a file", path.display()), ""));
    }
    let real = std::fs::canonicalize(path).map_err(|error| ConfigError::io(path, error))?;
    let holder = real.parent().unwrap_or(Path::new("/"));
    let holds = fs::stat(holder).map_err(|errno| ConfigError::io(holder, errno))?;
    for (path, stat) in [(real.as_path(), stat), (holder, holds)] {
        if let Some(who) = others(&stat, uid) {
            let cause = format!("{} is your configuration, but {who} can write it", path.display());
            let hint = format!("Make it yours alone: `chown {uid} FILE; chmod go-w FILE`");
            return Err(ConfigError::value(cause, hint.replace("FILE", &wire::shell_word(&path.to_string_lossy()))));
        }
    }
    project::read_text(&mut file, path).map(Some)
}

/// Who else can write it, or what is in it.
fn others(stat: &Stat, uid: u32) -> Option<String> {
    let mode = FileMode::from_raw_mode(stat.st_mode);
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if stat.st_uid != uid && stat.st_uid != 0 {
        Some(format!("user {}", stat.st_uid))
    } else if directory && mode.contains(FileMode::SVTX) {
        // As in /tmp: nobody can replace another user's file.
        None
    } else if mode.contains(FileMode::WOTH) {
        Some("everybody".into())
    } else {
        mode.contains(FileMode::WGRP).then(|| format!("group {}", stat.st_gid))
    }
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;
