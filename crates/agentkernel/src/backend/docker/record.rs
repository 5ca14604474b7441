//! Hides which containers are ours, and what is remembered of one so that it can be removed when nobody is left who knew it.

use super::heartbeat;
use crate::{
    Place, SandboxId,
    engine::{self, Endpoint, Engine, EngineError, LABEL_OWNER, owner},
};
use jail::fd::open_beneath;
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// The file that says where a sandbox's container is. Written before there is one.
const RECORD: &str = "engine";
/// The labels of our containers and volumes.
pub const LABEL_ID: &str = "agentkernel.id";
pub const LABEL_VERSION: &str = "agentkernel.version";
/// Says which state directory has its record.
pub const LABEL_STATE: &str = "agentkernel.state";

/// How often it is looked whether an engine has done with a container, and how long apart.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);
/// After how many of these one that still runs is killed again.
const AGAIN: usize = 20;

/// How long an engine may take to say how a container is, where somebody waits who has another way to know.
const ANSWER: Duration = Duration::from_secs(3);
/// How long somebody waits for an adapter whose supervisor is gone: no longer than that lives.
const CLAIM: Duration = Duration::from_secs(20);

/// What its container is called, and its volume.
pub fn container(id: &SandboxId) -> String {
    format!("agentkernel-{id}")
}

/// Where a container is, and whose.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    endpoint: Endpoint,
    id: SandboxId,
    /// The engine has said that nothing of it runs.
    #[serde(default)]
    ended: bool,
}

/// The record of a sandbox's container, and the right to speak to its engine about it: an adapter has it as long as it lives.
#[derive(Debug)]
pub struct Claim {
    file: File,
    record: Record,
}

/// Begins a record before there is a container.
///
/// # Errors
/// If it can't be written; if somebody else has it still.
pub fn begin(place: &Place, id: &SandboxId, endpoint: &Endpoint) -> io::Result<Claim> {
    let file = open_beneath(&place.dir, RECORD, OFlags::RDWR | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?;
    lock(&file)?;
    let record = Record { endpoint: endpoint.clone(), id: id.clone(), ended: false };
    let mut claim = Claim { file: file.into(), record };
    claim.write()?;
    Ok(claim)
}

/// What is remembered; `None` if there never was a container, or was to be one.
///
/// # Errors
/// If it can't be read; if somebody else has it still.
pub fn claim(place: &Place) -> io::Result<Option<Claim>> {
    let file = match open_beneath(&place.dir, RECORD, OFlags::RDWR, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    lock(&file)?;
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    (&mut file).take(8 << 10).read_to_end(&mut bytes)?;
    // What was not written to its end was written before there was a container.
    Ok(serde_json::from_slice(&bytes).ok().map(|record| Claim { file, record }))
}

fn lock(file: &OwnedFd) -> io::Result<()> {
    let end = Instant::now() + CLAIM;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::WOULDBLOCK) => return Err(io::Error::other("What speaks to the engine does not end")),
            locked => return Ok(locked?),
        }
    }
}

impl Claim {
    /// The same for the process that is to have it.
    ///
    /// # Errors
    /// If descriptors have run out.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.record)?;
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&bytes)
    }

    /// Notes that the engine has said that nothing of it runs. Without it, the engine is asked once more.
    pub fn ended(&mut self) {
        self.record.ended = true;
        let _ = self.write();
    }

    /// Sees to it that nothing of the container runs, and that it is gone unless it is kept. It takes its time, if the
    /// engine does not answer, for as long as that cannot be known otherwise, if it is to be `certain`.
    ///
    /// # Errors
    /// If the engine has not said so. What runs in there has ended all the same, if it is to be `certain`.
    pub fn release(mut self, keep: bool, certain: bool) -> io::Result<()> {
        let Record { endpoint, id, ended } = &self.record;
        if keep && *ended {
            return Ok(());
        }
        let since = Instant::now();
        let released = engine::block_on(async {
            match certain {
                true => settle(endpoint, id, keep, since).await,
                false => attempt(endpoint, id, keep, heartbeat::CERTAIN).await,
            }
        })?;
        released.map_err(|error| io::Error::new(error.kind(), wire::cause(&error)))?;
        self.ended();
        Ok(())
    }
}

/// The file of the cache with that mark.
const STATE: &str = "engine-state";

/// The mark by which an engine's containers of this state directory are told from all others', on whatever machine; `None`
/// if there never was one.
///
/// # Errors
/// If it can't be read.
pub fn state(cache: &OwnedFd) -> io::Result<Option<String>> {
    let file = match open_beneath(cache, STATE, OFlags::RDONLY, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    File::from(file).take(256).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// The same; it is made if there is none.
///
/// # Errors
/// If it can't be read or made.
pub fn make_state(cache: &OwnedFd) -> io::Result<String> {
    if let Some(state) = state(cache)? {
        return Ok(state);
    }
    // Whole before it has its name, and never another one: what it marks is there already.
    let id = SandboxId::random()?;
    let temporary = format!(".{STATE}-{id}");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = File::from(open_beneath(cache, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
    let named = file.write_all(id.as_str().as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        match rustix::fs::renameat_with(cache, &temporary, cache, STATE, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    });
    match rustix::fs::unlinkat(cache, &temporary, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    named?;
    state(cache)?.ok_or_else(|| Errno::NOENT.into())
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

/// The container of a sandbox that nobody speaks for any more, once nothing of it runs and the engine has done with it;
/// `None` if there is none.
///
/// # Errors
/// [`EngineError`].
pub async fn end(engine: &Engine, id: &SandboxId) -> Result<Option<Known>, EngineError> {
    for attempt in 0..TRIES {
        match find(engine, id).await? {
            Some(known) if known.running => {
                if attempt % AGAIN == 0 {
                    let path = format!("/containers/{}/kill", known.id);
                    passed(engine.post(&path, &serde_json::Value::Null).await.map(drop))?;
                }
            }
            Some(known) if known.unsettled => {}
            found => return Ok(found),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(EngineError::Refused { status: 500, message: format!("Container {} does not end", container(id)) })
}

/// Waits until nothing runs in a container.
///
/// # Errors
/// [`EngineError`].
pub async fn wait(engine: &Engine, container: &str) -> Result<(), EngineError> {
    passed(engine.post(&format!("/containers/{container}/wait"), &serde_json::Value::Null).await.map(drop))
}

/// What is done to a container that ends or goes at that moment is done.
fn passed(done: Result<(), EngineError>) -> Result<(), EngineError> {
    done.or_else(|error| if error.is_conflict() || error.is_missing() { Ok(()) } else { Err(error) })
}

/// Whether the engine says, without delay, that a container of ours runs.
pub async fn runs(engine: &Engine, id: &SandboxId) -> bool {
    matches!(timeout(ANSWER, find(engine, id)).await, Ok(Ok(Some(known))) if known.running)
}

/// Whether its last run ended for lack of memory, if the engine says so without delay.
pub async fn ran_out_of_memory(engine: &Engine, id: &SandboxId) -> bool {
    matches!(timeout(ANSWER, find(engine, id)).await, Ok(Ok(Some(known))) if known.oom_killed)
}

/// Ends a container of ours, and removes it and its volume unless it is kept.
///
/// # Errors
/// [`EngineError`].
pub async fn remove(engine: &Engine, id: &SandboxId, keep: bool) -> Result<(), EngineError> {
    if keep {
        return end(engine, id).await.map(drop);
    }
    for _ in 0..TRIES {
        let Some(found) = find(engine, id).await? else { return remove_volume(engine, id).await };
        // It is being removed already, perhaps.
        passed(engine.delete(&format!("/containers/{}?force=1&v=1", found.id)).await)?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(EngineError::Refused { status: 500, message: format!("Container {} does not go", container(id)) })
}

/// The same, within a time.
async fn attempt(endpoint: &Endpoint, id: &SandboxId, keep: bool, patience: Duration) -> Result<(), EngineError> {
    let removed = async { remove(&Engine::connect(endpoint).await?, id, keep).await };
    timeout(patience, removed).await.map_err(|_| EngineError::Silent(endpoint.to_string()))?
}

/// The same, tried until it is done or nothing can run in there any more, since nobody has spoken to its init after `since`.
///
/// # Errors
/// What the engine said last.
pub async fn settle(endpoint: &Endpoint, id: &SandboxId, keep: bool, since: Instant) -> Result<(), EngineError> {
    let left = || (since + heartbeat::CERTAIN).saturating_duration_since(Instant::now());
    loop {
        match attempt(endpoint, id, keep, left().max(ANSWER)).await {
            Err(error) if left().is_zero() => return Err(error),
            Err(_) => tokio::time::sleep(ANSWER.min(left())).await,
            Ok(()) => return Ok(()),
        }
    }
}

/// Removes the containers and volumes of this state directory whose sandbox is not there any more; names them, and with
/// `dry_run` does no more.
///
/// # Errors
/// [`EngineError`].
pub async fn sweep(
    engine: &Engine,
    state: &str,
    exists: &dyn Fn(&SandboxId) -> bool,
    dry_run: bool,
    swept: &mut Vec<String>,
) -> Result<(), EngineError> {
    let labels = [format!("{LABEL_STATE}={state}"), format!("{LABEL_OWNER}={}", owner())];
    let filters = engine::query(&serde_json::json!({ "label": labels }).to_string());
    let containers: Vec<Labelled> = engine.get(&format!("/containers/json?all=1&filters={filters}")).await?;
    let volumes: Volumes = engine.get(&format!("/volumes?filters={filters}")).await?;
    let all = containers.into_iter().chain(volumes.volumes.unwrap_or_default());
    let ids: BTreeSet<SandboxId> = all.filter_map(Labelled::id).collect();
    for id in ids {
        // Whatever is on record is there before it has something in the engine, and as long as it has.
        if exists(&id) {
            continue;
        }
        if !dry_run {
            remove(engine, &id, false).await?;
        }
        swept.push(format!("container {} of {}", container(&id), engine.endpoint()));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Labelled {
    labels: Option<BTreeMap<String, String>>,
    /// A container's, with a slash before each; none while it is being removed.
    names: Option<Vec<String>>,
    /// A volume's.
    name: Option<String>,
}

impl Labelled {
    /// The sandbox that it is of. An image that was made of a container of ours hands our labels on to what others make of
    /// it: that has another name.
    fn id(self) -> Option<SandboxId> {
        let id = SandboxId::try_from(self.labels?.remove(LABEL_ID)?).ok()?;
        let own = container(&id);
        let mut names = self.names.into_iter().flatten().chain(self.name);
        names.any(|name| name.trim_start_matches('/') == own).then_some(id)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Labelled>>,
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
