//! Which backend makes the machine: the one of a flag, of the project, or of the user's own configuration, and none that
//! he has not allowed.

use super::{
    AgentUse, ConfigError, FoundImage, ImageArg, Project, UserConfig,
    parse::Located,
    recipe::RecipeSettings,
    resolve::{Overrides, Resolver},
};
use crate::{BackendKind, EngineUse, Image, Mount, Workspace};

/// What there is to choose from.
pub const WORDS: &[&str] = &["native", "docker"];

/// The backend that a sandbox is to be of. Whether a project may choose it is seen to when all is resolved.
#[must_use]
pub fn backend(overrides: &Overrides, project: &Project, user: &UserConfig) -> BackendKind {
    let written = project.file.as_ref().and_then(|file| file.settings.backend.as_ref());
    choose(overrides.backend, written, user)
}

fn choose(flag: Option<BackendKind>, written: Option<&Located<BackendKind>>, user: &UserConfig) -> BackendKind {
    let written = written.map(|located| located.value);
    flag.or(written).or(user.backend).unwrap_or(BackendKind::Native)
}

impl Resolver<'_> {
    /// The backend, and how its engine is used if it has one.
    pub(super) fn backend(
        &mut self,
        flag: Option<BackendKind>,
        runtime: Option<String>,
        found: Option<&FoundImage>,
    ) -> Result<(BackendKind, Option<EngineUse>), ConfigError> {
        let settings = self.settings;
        if let (None, Some(backend)) = (flag, &settings.backend) {
            // Each has walls of its own, and the engine makes of its image what it will.
            self.ask("backend", backend.value);
        }
        let kind = choose(flag, settings.backend.as_ref(), self.user);
        if let Some(allowed) = &self.user.backends
            && !allowed.contains(&kind)
        {
            let list: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            let cause = format!("Backend {kind} is not among those that your own configuration allows");
            let hint = format!("Use {}, or change `backends` in {}", list.join(" or "), self.user.path.display());
            return Err(ConfigError::value(cause, hint));
        }
        let runtime = match (runtime, &settings.runtime) {
            (None, Some(runtime)) => {
                self.ask("runtime", &runtime.value);
                Some(runtime.value.clone())
            }
            (runtime, _) => runtime,
        };
        match (kind, found.and_then(|found| found.engine.as_ref()), runtime) {
            (BackendKind::Docker, Some(engine), runtime) => {
                Ok((kind, Some(EngineUse { endpoint: engine.endpoint.clone(), runtime })))
            }
            (BackendKind::Docker, None, _) if self.is_unasked() => {
                self.unseen = true;
                Ok((kind, None))
            }
            (BackendKind::Docker, None, _) => Err(ConfigError::value(
                "Backend docker needs an image by name: the host's own programs, or a directory, are no image of an engine",
                "Name one: `--image debian:12`",
            )),
            (BackendKind::Native, _, Some(_)) => Err(ConfigError::value(
                "`runtime` has no use on backend native",
                "It names what runs containers: `--backend docker`",
            )),
            (BackendKind::Native, _, None) => Ok((kind, None)),
        }
    }

    /// Whether an engine was not asked for the image because the project is not trusted: its consent is asked for then, with all
    /// that it is for.
    fn is_unasked(&self) -> bool {
        let has_image = matches!(self.settings.image.as_ref().map(|image| &image.value), Some(ImageArg::Named(_)))
            || self.settings.recipe != RecipeSettings::default();
        self.file.is_some_and(|file| !file.trusted) && (has_image || !self.asks.is_empty())
    }

    /// Refuses what a container of an engine cannot have.
    pub(super) fn refuse_in_container(
        &self,
        engine: &EngineUse,
        workspace: &Workspace,
        mounts: &[Mount],
        agent: Option<&AgentUse>,
        disk: Option<u64>,
    ) -> Result<(), ConfigError> {
        if disk.is_some() || self.settings.disk.is_some() {
            return Err(ConfigError::value(
                "The disk of a container cannot be limited: few engines can, and none tells",
                "Leave `disk` out, or use backend native",
            ));
        }
        if engine.endpoint.may_share_files() {
            return Ok(());
        }
        let far = |what: String| {
            format!("{what} is not known to the engine at {}, which is another machine's", engine.endpoint)
        };
        if let Workspace::Direct { path, .. } = workspace {
            let hint = "Use `--workspace overlay`: the project is sent there, as a copy";
            return Err(ConfigError::value(far(path.display().to_string()), hint));
        }
        if let Some(mount) = mounts.first() {
            let hint = "Leave the mount out, and bring files in with `agentkernel cp`";
            return Err(ConfigError::value(far(mount.source.display().to_string()), hint));
        }
        if let Some(agent) = agent {
            let hint = "Use backend native, or an engine of this machine";
            return Err(ConfigError::value(far(format!("What {} keeps for the project", agent.title)), hint));
        }
        Ok(())
    }
}

/// Whether the ids of programs are those of the host, so that what they write to its files must be the caller's.
pub(super) fn shares_ids(image: &Image, found: Option<&FoundImage>, workspace: &Workspace, mounts: &[Mount]) -> bool {
    let maps = found.and_then(|found| found.engine.as_ref()).is_none_or(|engine| engine.maps_ids);
    let sees_host = matches!(workspace, Workspace::Direct { .. }) || !mounts.is_empty();
    matches!(image, Image::Engine(_)) && !maps && sees_host
}
