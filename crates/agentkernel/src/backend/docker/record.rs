//! Hides which containers are ours, and what is remembered of one so that it can be removed when nobody is left who knew it.

use crate::{
    Place, SandboxId,
    engine::{self, Endpoint, Engine, EngineError, LABEL_OWNER, owner},
};
use jail::fd::open_beneath;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Write as _},
    time::Duration,
};

/// The file that says where a sandbox's container is. Written before there is one.
const RECORD: &str = "engine";
/// The labels of our containers and volumes.
pub const LABEL_ID: &str = "agentkernel.id";
pub const LABEL_VERSION: &str = "agentkernel.version";

/// How often it is looked whether an engine has done with a container, and how long apart.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// What its container is called, and its volume.
pub fn container(id: &SandboxId) -> String {
    format!("agentkernel-{id}")
}

/// Where a container is, and whose.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    endpoint: Endpoint,
    id: SandboxId,
}

pub fn write(place: &Place, id: &SandboxId, endpoint: &Endpoint) -> io::Result<()> {
    let record = Record { endpoint: endpoint.clone(), id: id.clone() };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = open_beneath(&place.dir, RECORD, flags, Mode::RUSR | Mode::WUSR)?;
    File::from(file).write_all(&serde_json::to_vec(&record)?)
}

/// What is remembered; `None` if there never was a container, or was to be one.
pub fn read(place: &Place) -> io::Result<Option<Record>> {
    let file = match open_beneath(&place.dir, RECORD, OFlags::RDONLY, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    File::from(file).take(8 << 10).read_to_end(&mut bytes)?;
    // What was not written to its end was written before there was a container.
    Ok(serde_json::from_slice(&bytes).ok())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    config: Config,
    state: State,
    #[serde(default)]
    mounts: Vec<Mounted>,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    runtime: String,
}

/// What is mounted in a container.
#[derive(Clone, Debug, Deserialize)]
pub struct Mounted {
    /// Where.
    #[serde(rename = "Destination")]
    pub place: String,
    /// Whether it can be written to.
    #[serde(rename = "RW")]
    pub writable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    #[serde(default)]
    status: String,
    #[serde(default)]
    running: bool,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: bool,
}

/// A container of ours, as the engine has it.
#[derive(Debug, Default)]
pub struct Known {
    pub id: String,
    pub running: bool,
    /// It has ended, and the engine has not tidied up yet: what is started now would be tidied away.
    pub unsettled: bool,
    pub oom_killed: bool,
    pub mounts: Vec<Mounted>,
    /// What runs it, as the engine calls that.
    pub runtime: String,
}

/// The container of a sandbox; `None` if there is none.
///
/// # Errors
/// [`EngineError`]; if it is another's that has its name.
pub async fn find(engine: &Engine, id: &SandboxId) -> Result<Option<Known>, EngineError> {
    let name = container(id);
    let found: Inspected = match engine.get(&format!("/containers/{name}/json")).await {
        Err(error) if error.is_missing() => return Ok(None),
        found => found?,
    };
    let labels = found.config.labels.unwrap_or_default();
    if labels.get(LABEL_ID).map(String::as_str) != Some(id.as_str()) || labels.get(LABEL_OWNER) != Some(&owner()) {
        return Err(EngineError::Refused { status: 409, message: format!("Container {name} is not ours") });
    }
    let Inspected { id, state, mounts, host_config, .. } = found;
    Ok(Some(Known {
        id,
        running: state.running,
        // Podman's.
        unsettled: matches!(&*state.status, "stopping" | "stopped"),
        oom_killed: state.oom_killed,
        mounts,
        runtime: host_config.runtime,
    }))
}

/// The same, once the engine has done with its last run.
///
/// # Errors
/// [`EngineError`].
pub async fn find_settled(engine: &Engine, id: &SandboxId) -> Result<Option<Known>, EngineError> {
    for _ in 0..TRIES {
        match find(engine, id).await? {
            Some(known) if known.unsettled => tokio::time::sleep(PAUSE).await,
            found => return Ok(found),
        }
    }
    find(engine, id).await
}

/// Ends a container of ours, and removes it and its volume unless it is kept.
///
/// # Errors
/// [`EngineError`].
pub async fn remove(engine: &Engine, id: &SandboxId, keep: bool) -> Result<(), EngineError> {
    let found = find(engine, id).await?;
    if keep {
        let Some(found) = found else { return Ok(()) };
        if found.running {
            let killed = engine.post(&format!("/containers/{}/kill", found.id), &serde_json::Value::Null).await;
            // It ended by itself meanwhile.
            return killed.map(drop).or_else(|error| if error.is_conflict() { Ok(()) } else { Err(error) });
        }
        return Ok(());
    }
    if let Some(found) = found {
        let removed = engine.delete(&format!("/containers/{}?force=1&v=1", found.id)).await;
        // It is being removed already.
        removed.or_else(|error| if error.is_conflict() { Ok(()) } else { Err(error) })?;
    }
    remove_volume(engine, id).await
}

/// Removes the volume of a sandbox, if it has one, once its container is gone.
///
/// # Errors
/// [`EngineError`].
pub async fn remove_volume(engine: &Engine, id: &SandboxId) -> Result<(), EngineError> {
    let path = format!("/volumes/{}", container(id));
    for _ in 0..TRIES {
        match engine.delete(&path).await {
            Err(error) if error.is_conflict() => tokio::time::sleep(PAUSE).await,
            removed => return removed,
        }
    }
    engine.delete(&path).await
}

impl Record {
    /// The same for whoever has no engine at hand.
    pub fn release(&self, keep: bool) -> io::Result<()> {
        let removed = async { remove(&Engine::connect(&self.endpoint).await?, &self.id, keep).await };
        engine::block_on(removed)?.map_err(|error| io::Error::other(wire::cause(&error)))
    }
}
