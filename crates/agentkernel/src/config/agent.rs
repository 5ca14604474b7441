//! What an agent adds to its sandbox: hides where that goes in it, and that it stays within the user's limits.

use super::{
    ConfigError, Project, UserConfig,
    environment::Environment,
    image::FoundImage,
    mounts,
    reach::{self, Left},
    resolve::Resolver,
    settings::SecretSettings,
};
use crate::{Agent, Identity, Image, LoginUse, Mount, SecretUse};
use egress::Rule;
use std::path::{Path, PathBuf};

/// In a variable of an agent's: the home directory inside.
const HOME: &str = "{home}";
/// Who an agent is where it would be root, and the caller is.
const NOT_ROOT: u32 = 1000;

/// What an agent adds to its sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentUse {
    /// What it is called here.
    pub name: String,
    /// What its makers call it.
    pub title: String,
    /// Its version; empty: it is part of the image.
    pub version: String,
    /// Variables, in which `{home}` is the home directory inside.
    pub environment: Vec<(String, String)>,
    /// What comes along of the user's, read-only: where it is, and where it goes below the home directory, or
    /// anywhere if that is absolute.
    pub brought: Vec<(PathBuf, PathBuf)>,
    /// What stands for files of the user's, read-only: in the same way.
    pub copied: Vec<(PathBuf, PathBuf)>,
    /// What it keeps: in the same way.
    pub kept: Vec<(PathBuf, PathBuf)>,
    /// A file that says nothing.
    pub empty: PathBuf,
    /// Programs without which it is not begun.
    pub needs: Vec<String>,
    /// What it must reach.
    pub allow: Vec<Rule>,
    /// What logs it in.
    pub secrets: Vec<SecretUse>,
    /// What of that is renewed outside.
    pub logins: Vec<LoginUse>,
}

impl AgentUse {
    /// Refuses what the user's own limits make void.
    pub(super) fn check(&self, user: &UserConfig) -> Result<(), ConfigError> {
        let Some(ceiling) = &user.ceiling else { return Ok(()) };
        match self.allow.iter().find_map(|rule| Some((rule, reach::left(ceiling, rule).nothing()?))) {
            Some((rule, why)) => {
                let cause = format!("{} must reach {rule}, which is beyond your own limits: {why}", self.title);
                Err(ConfigError::value(cause, user.place()))
            }
            None => Ok(()),
        }
    }

    /// Adds its variables and what comes along, and gives what is on record of it.
    pub(super) fn settle(
        self,
        identity: &Identity,
        env: &mut Environment,
        mounts: &mut Vec<Mount>,
    ) -> Result<Agent, ConfigError> {
        let Self { name, version, environment, brought, copied, kept, empty, .. } = self;
        let home = identity.home.to_string_lossy();
        environment.iter().for_each(|(name, value)| env.set(name, value.replace(HOME, &home)));
        for (source, below) in brought {
            let target = identity.home.join(below);
            // Who mounts something there himself has said what it is.
            if !mounts.iter().any(|mount| mount.target == target) {
                let mount = Mount { source, target, read_only: true };
                mounts.push(Mount { source: mounts::source(&mount, Path::new("/"), &[])?, ..mount });
            }
        }
        let own = |read_only| {
            move |(source, below): (PathBuf, PathBuf)| Mount { source, target: identity.home.join(below), read_only }
        };
        let copied = copied.into_iter().map(own(true)).filter(|copy| !mounts.iter().any(|it| it.target == copy.target));
        let kept = kept.into_iter().map(own(false)).chain(copied).collect();
        Ok(Agent { name, version, kept, empty })
    }
}

/// Whether a project's file gives one of these variables to its sandboxes, itself or by a secret.
#[must_use]
pub fn sets(project: &Project, names: &[&str]) -> bool {
    let Some(file) = &project.file else { return false };
    let by_secret = |name: &str| {
        let named = |secret: &SecretSettings| secret.env.as_deref().unwrap_or(&secret.name) == name;
        file.settings.secrets.iter().any(|located| named(&located.value))
    };
    names.iter().any(|name| file.settings.env.iter().any(|(own, _)| own == name) || by_secret(name))
}

impl Left {
    /// Why nothing is left, if so.
    fn nothing(self) -> Option<reach::Why> {
        match self {
            Self::Nothing(why) => Some(why),
            _ => None,
        }
    }
}

impl Resolver<'_> {
    /// Who an agent is where nobody says: never root, where its files can be somebody else's.
    pub(super) fn agents_identity(
        &self,
        identity: Identity,
        image: &Image,
        found: Option<&FoundImage>,
    ) -> Result<Identity, ConfigError> {
        let by_number = |text: &str| super::identity(Some(text), image, found, self.host);
        if let (0, Image::Engine(_)) = (self.host.uid, image) {
            // An engine of root's maps no owners: only whose the project is can write to it, and to what is kept for it.
            let stat = rustix::fs::stat(self.project).map_err(|errno| ConfigError::io(self.project, errno))?;
            return by_number(&format!("{}:{}", stat.st_uid, stat.st_gid));
        }
        match (identity.uid, self.host.uid) {
            (0, 0) => by_number(&NOT_ROOT.to_string()),
            (0, caller) => by_number(&caller.to_string()),
            _ => Ok(identity),
        }
    }
}

#[cfg(test)]
#[path = "agent_tests.rs"]
mod tests;
