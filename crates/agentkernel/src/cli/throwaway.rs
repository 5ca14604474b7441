//! A sandbox for this process's own use, which ends when this process does.

use super::{Failure, layers, run};
use crate::{
    BackendKind, Spec,
    client::{self, Client},
    config::{self, HostFacts, ImageArg, NetworkOverrides, Overrides, Project, UserConfig, WorkspaceMode},
    store::{Entry, Store},
};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use oci::Reference;
use std::{path::Path, time::Duration};
use wire::{ExecSpec, OsBytes, Stdio, User};

/// What one is made of; by default, what `run` makes them of.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct MadeOf {
    /// What makes the machine: 'native' or 'docker'
    #[arg(long, value_name = "BACKEND", value_parser = config::parse_backend)]
    pub(super) backend: Option<BackendKind>,
    /// What it is made of: the name of an image
    #[arg(long, value_name = "IMAGE", value_parser = OsStringValueParser::new().try_map(|text| config::parse_image(&text)))]
    pub(super) image: Option<ImageArg>,
    /// What lies over that.
    #[arg(skip)]
    pub(super) layers: Vec<Reference>,
    /// When it ends at the latest.
    #[arg(skip)]
    pub(super) timeout: Option<Duration>,
}

impl MadeOf {
    /// Whether what it writes can be limited.
    pub(super) fn has_disk_limit(&self) -> bool {
        self.backend != Some(BackendKind::Docker)
    }
}

/// One that runs. It ends when this is dropped, and when this process ends in any way.
pub(super) struct Throwaway {
    pub(super) client: Client,
    pub(super) spec: Spec,
    entry: Entry,
}

impl Throwaway {
    /// Starts one with the walls of `run`, and with no configuration but this and the machine of `made`.
    pub(super) fn start(
        made: &MadeOf,
        workspace: Option<&Path>,
        memory: Option<u64>,
        pids: Option<u64>,
        disk: Option<u64>,
        network: NetworkOverrides,
    ) -> Result<Self, Failure> {
        let store = Store::open()?;
        let mut host = HostFacts::read()?;
        host.cwd = workspace.unwrap_or(Path::new("/")).to_owned();
        let project = Project { dir: host.cwd.clone(), file: None };
        let mut overrides = Overrides {
            backend: made.backend,
            image: made.image.clone(),
            layers: made.layers.clone(),
            timeout: made.timeout,
            workspace: Some(workspace.map_or(WorkspaceMode::None, |_| WorkspaceMode::Direct)),
            memory,
            pids,
            disk,
            network,
            keep: Some(false),
            stdin: true,
            // It waits for the end of its input, which is held open from here.
            command: ["sh", "-c", "read -r line"].map(Into::into).to_vec(),
            ..Overrides::default()
        };
        let (found, _kept) = run::find_image(&store, &overrides, &project, &UserConfig::default(), &host)?.unzip();
        overrides.found = found;
        let _kept_layers = layers::find(&store, &mut overrides, &project, false)?;
        let spec = config::resolve(overrides, &project, &UserConfig::default(), &host)?;
        let (entry, lock) = store.create(&spec)?;
        let same = store.find(spec.id.as_str())?;
        let mut client = run::launch(store, same, lock, spec.clone())?;
        client.hold_main()?;
        Ok(Self { client, spec, entry })
    }

    /// How a program is run in it.
    pub(super) fn exec(&self, argv: &[String]) -> ExecSpec {
        ExecSpec {
            argv: argv.iter().map(|word| OsBytes(word.clone().into_bytes())).collect(),
            env: self.spec.env.clone(),
            cwd: self.spec.workdir.clone(),
            user: self.user(),
            stdio: Stdio::Pipes { stdin: false },
            needs: Vec::new(),
        }
    }

    /// Whose programs run in it.
    pub(super) fn user(&self) -> User {
        self.spec.identity.user()
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // If it can't be asked to end, the end of its input ends it.
        let _ = self.client.stop(Duration::ZERO);
        let _ = client::find(&self.entry);
    }
}
