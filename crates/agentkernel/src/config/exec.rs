//! A command in a sandbox that exists: its flags and the sandbox's own description become an [`ExecSpec`].

use super::{
    ConfigError, EnvVar, FoundImage, HostFacts, environment::Environment, exec_env, forms, identity, secrets::places,
};
use crate::Spec;
use std::{ffi::OsString, path::PathBuf};
use wire::{ExecSpec, OsBytes, Stdio};

/// What the flags of `exec` said. `None` and empty: nothing.
#[derive(Clone, Debug)]
pub struct ExecOverrides {
    /// `-e`
    pub env: Vec<EnvVar>,
    /// `--env-file`
    pub env_files: Vec<PathBuf>,
    /// `-w`; a relative directory begins at the sandbox's own
    pub workdir: Option<PathBuf>,
    /// `-u`
    pub user: Option<String>,
    /// What its descriptors are.
    pub stdio: Stdio,
    /// The command.
    pub command: Vec<OsString>,
}

/// Resolves what is to be run.
///
/// # Errors
/// [`ConfigError`]
pub fn resolve_exec(
    overrides: ExecOverrides,
    spec: &Spec,
    found: Option<&FoundImage>,
    host: &HostFacts,
) -> Result<ExecSpec, ConfigError> {
    let ExecOverrides { env, env_files, workdir, user, stdio, command } = overrides;
    let who = match &user {
        Some(user) => identity(Some(user), &spec.image, found, host)?,
        None => spec.identity.clone(),
    };
    let terminal = matches!(stdio, Stdio::Terminal { .. });
    let cwd = match workdir {
        Some(dir) => {
            let dir = spec.workdir.as_path().join(dir);
            let invalid = |error: forms::FormError| ConfigError::value(format!("--workdir: {error}"), "");
            OsBytes::from(super::absolute(&dir).map_err(invalid)?)
        }
        None => spec.workdir.clone(),
    };
    let env = exec_env(&spec.env, &env_files, &places(spec), &env, terminal, host)?;
    Environment::from(env.as_slice()).refuse_values(&spec.network.secrets, host)?;
    Ok(ExecSpec {
        argv: command.into_iter().map(OsBytes::from).collect(),
        env,
        cwd,
        user: who.user(),
        stdio,
        needs: Vec::new(),
    })
}
