//! The sandbox in which a step of a build is executed: the limits and the network of a project, and nothing else of it.

use super::{
    ConfigError, FoundImage, HostFacts, ImageArg, Overrides, Project, UserConfig, WorkspaceMode,
    environment::Environment, resolve, settings::Settings, ssh,
};
use crate::{BackendKind, Build, Image, Lent, Name, OciImage, Spec, Tmpfs, trust};
use oci::{Digest, Reference};
use wire::{ExecSpec, OsBytes, Stdio, User};

/// A command that makes a layer.
#[derive(Clone, Debug)]
pub struct BuildStep {
    /// What the image is called that is to be.
    pub image: Reference,
    /// The layers below, the lowest first.
    pub layers: Vec<Digest>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where it starts, absolute.
    pub workdir: String,
    /// Who runs it.
    pub user: User,
    /// The image's /etc/passwd.
    pub passwd: Vec<u8>,
    /// What of the store it sees.
    pub mounts: Vec<Lent>,
    /// File systems in memory that it sees.
    pub tmpfs: Vec<Tmpfs>,
}

impl Project {
    /// What of it counts for a build.
    fn for_build(&self) -> Self {
        let mut project = self.clone();
        if let Some(file) = &mut project.file {
            let Settings { timeout, cpu_milli, memory, pids, nofile, fsize, network, secrets, .. } =
                std::mem::take(&mut file.settings);
            file.settings =
                Settings { timeout, cpu_milli, memory, pids, nofile, fsize, network, secrets, ..Settings::default() };
        }
        project
    }
}

/// Resolves what a step is executed in; of the flags, those for limits and the network count.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_build(
    overrides: Overrides,
    step: BuildStep,
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
) -> Result<Spec, ConfigError> {
    let BuildStep { image, layers, argv, env, workdir, user: who, passwd, mounts, tmpfs } = step;
    let found = FoundImage {
        image: Image::Oci(OciImage { reference: image.familiar(), manifest: Digest::of(b""), layers, volumes: vec![] }),
        engine: None,
        user: format!("{}:{}", who.uid, who.gid),
        env: Vec::new(),
        entrypoint: Vec::new(),
        command: Vec::new(),
        workdir: workdir.clone(),
        passwd,
        // Which of its groups count, the step says.
        group: Vec::new(),
        has_bash: false,
        has_musl: false,
    };
    let overrides = Overrides {
        // A layer is what its upper directory has, which no other backend shows.
        backend: Some(BackendKind::Native),
        image: Some(ImageArg::Named(image)),
        found: Some(found),
        workspace: Some(WorkspaceMode::None),
        workdir: Some(workdir.into()),
        keep: Some(true),
        ..overrides
    };
    let mut spec = resolve(overrides, &project.for_build(), user, host)?;
    // What a program could write into a file is the same in every build.
    spec.hostname = "build".to_owned();
    spec.name = Name::try_from(format!("build-{}", spec.id)).ok();
    let entries: Vec<OsBytes> = env.iter().map(|entry| entry.as_str().into()).collect();
    let mut env = Environment::from(&entries[..]);
    if spec.network.needs_authority() {
        trust::VARIABLES.into_iter().for_each(|(name, value)| env.set_missing(name, value));
        env.trust_in_java();
    }
    for secret in &spec.network.secrets {
        if let Some(variable) = &secret.env {
            env.set_missing(variable, &secret.placeholder);
        }
    }
    for (name, value) in spec.network.lent_keys.iter().flat_map(ssh::variables) {
        env.set_missing(&name, &value);
    }
    let entries = env.entries();
    // One id has no groups.
    let groups = if host.many_ids { who.groups } else { Vec::new() };
    spec.command = Some(ExecSpec {
        argv: argv.into_iter().map(OsBytes::from).collect(),
        env: entries.clone(),
        cwd: spec.workdir.clone(),
        user: User { uid: who.uid, gid: who.gid, groups },
        stdio: Stdio::Pipes { stdin: false },
        needs: Vec::new(),
    });
    spec.env = entries;
    spec.tmpfs = tmpfs;
    spec.build = Some(Build { mounts });
    Ok(spec)
}
