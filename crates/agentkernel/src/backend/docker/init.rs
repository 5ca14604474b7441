//! Hides how init gets into a container, whoever's machine the engine is on: in a volume that holds it alone, made once for
//! each engine and build, which every container mounts read-only. Nobody inside can change it, and all share its pages.

use super::{
    record::LABEL_VERSION,
    volume::{self, PLACE},
};
use crate::{
    engine::{self, Endpoint, Engine, EngineError, LABEL_OWNER, owner},
    guest::Program,
    store::durable,
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{AtFlags, Dir},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// The first process of every container.
pub const COMMAND: [&str; 2] = ["/.agentkernel/init", "stdio"];

/// Whoever looks into a container needs it no longer than so many seconds.
const YOUNG: i64 = 600;

fn volume(program: &Program) -> String {
    format!("agentkernel-init-{}", program.id)
}

/// As a mount of a container.
pub fn mount(program: &Program) -> Value {
    json!({
        "Type": "volume",
        "Source": volume(program),
        "Target": PLACE,
        "ReadOnly": true,
        "VolumeOptions": { "NoCopy": true, "Labels": { LABEL_VERSION: env!("CARGO_PKG_VERSION") } },
    })
}

/// Begins the name of a file of the cache that says which engine has it; the file holds the engine's address.
const MARK: &str = "engine-init-";

fn mark(program: &Program, endpoint: &Endpoint) -> String {
    let mut hash = DefaultHasher::new();
    endpoint.to_string().hash(&mut hash);
    format!("{MARK}{}-{:016x}", program.id, hash.finish())
}

/// Whether the engine is known to have the volume. Somebody may have removed it since.
pub fn is_there(cache: &OwnedFd, program: &Program, endpoint: &Endpoint) -> bool {
    rustix::fs::statat(cache, mark(program, endpoint), AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Puts it there. Harmless where it is already, and to those that run on it.
///
/// # Errors
/// [`EngineError`].
pub async fn put(
    engine: &Engine,
    cache: &OwnedFd,
    program: &Program,
    endpoint: &Endpoint,
    image: &str,
) -> Result<(), EngineError> {
    let archive = volume::archived(program.bytes, 0o555, (0, 0), "init")?;
    volume::with(engine, &volume(program), volume::labels(&[]), image, async |container| {
        engine.put_archive(container, PLACE, archive).await
    })
    .await?;
    // Without the mark it is put there again, which takes its time and does no harm.
    let _ = durable::write(cache.as_fd(), Path::new("cache"), &mark(program, endpoint), endpoint);
    Ok(())
}

/// Removes the volumes of other builds where the engine still answers, and what killed processes have left there; names
/// them, and with `dry_run` does no more. A volume that a container has stays.
pub fn sweep(cache: &OwnedFd, program: &Program, dry_run: bool) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    for entry in Dir::read_from(cache)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let Some((build, _)) = name.strip_prefix(MARK).and_then(|rest| rest.split_once('-')) else { continue };
        let Ok(Some(endpoint)) = durable::read::<Endpoint>(cache.as_fd(), Path::new("cache"), name) else { continue };
        let old = build != program.id;
        let gone = engine::block_on(tidy(&endpoint, old.then_some(build), dry_run, &mut swept))?;
        if old && gone.is_ok() {
            if !dry_run {
                rustix::fs::unlinkat(cache, name, AtFlags::empty())?;
            }
            swept.push(name.to_owned());
        }
    }
    Ok(swept)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    created: i64,
}

/// Clears one engine.
async fn tidy(
    endpoint: &Endpoint,
    build: Option<&str>,
    dry_run: bool,
    swept: &mut Vec<String>,
) -> Result<(), EngineError> {
    let engine = Engine::connect(endpoint).await?;
    let labels = [format!("{}={}", engine::LABEL_LOOK, engine::LOOK), format!("{LABEL_OWNER}={}", owner())];
    let filters = json!({ "label": labels, "status": ["created"] });
    let path = format!("/containers/json?all=1&filters={}", engine::query(&filters.to_string()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    for Listed { id, created } in engine.get::<Vec<Listed>>(&path).await? {
        // Somebody may be looking into it.
        if now - created < YOUNG {
            continue;
        }
        if !dry_run {
            engine.delete(&format!("/containers/{id}?force=1&v=1")).await?;
        }
        swept.push(format!("container {}", id.chars().take(12).collect::<String>()));
    }
    match build {
        Some(build) if !dry_run => engine.delete(&format!("/volumes/agentkernel-init-{build}")).await,
        _ => Ok(()),
    }
}
