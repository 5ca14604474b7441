//! Hides how init gets into a container, whoever's machine the engine is on: in a volume that holds it alone, made once for
//! each engine and build, which every container mounts read-only. Nobody inside can change it, and all share its pages.

use super::{
    record::LABEL_VERSION,
    volume::{self, PLACE},
};
use crate::{
    engine::{Endpoint, Engine, EngineError, LABEL_OWNER},
    guest::Program,
    store::durable,
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::AtFlags,
};
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};

/// The first process of every container.
pub const COMMAND: [&str; 2] = ["/.agentkernel/init", "stdio"];

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

/// Whether the engine has the volume, with init in it: who clears an engine of what nothing uses takes it along. One that the
/// engine has made itself since, for a container that names it, is empty, and removed.
///
/// # Errors
/// [`EngineError`].
pub async fn is_there(
    engine: &Engine,
    cache: &OwnedFd,
    program: &Program,
    endpoint: &Endpoint,
) -> Result<bool, EngineError> {
    if rustix::fs::statat(cache, mark(program, endpoint), AtFlags::SYMLINK_NOFOLLOW).is_err() {
        return Ok(false);
    }
    let path = format!("/volumes/{}", volume(program));
    let found: Value = match engine.get(&path).await {
        Err(error) if error.is_missing() => return Ok(false),
        found => found?,
    };
    if found["Labels"][LABEL_OWNER].is_string() {
        return Ok(true);
    }
    // Containers that have it can't have begun; with one, init is put into it as it is.
    let _ = engine.delete(&path).await;
    Ok(false)
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
    let mark = mark(program, endpoint);
    // Until it is there, nobody knows of it.
    let _ = rustix::fs::unlinkat(cache, &mark, AtFlags::empty());
    let archive = volume::archived(program.bytes, 0o555, (0, 0), "init")?;
    volume::with(engine, &volume(program), volume::labels(&[]), image, async |container| {
        engine.put_archive(container, PLACE, archive).await
    })
    .await?;
    // Without the mark it is put there again, which takes its time and does no harm.
    let _ = durable::write(cache.as_fd(), Path::new("cache"), &mark, endpoint);
    Ok(())
}

/// What a mark says: of which build, and the engine that has the volume; `None` if a file of the cache is none.
pub fn marked(cache: &OwnedFd, name: &str) -> Option<(String, Endpoint)> {
    let (build, _) = name.strip_prefix(MARK).and_then(|rest| rest.split_once('-'))?;
    let endpoint = durable::read(cache.as_fd(), Path::new("cache"), name).ok()??;
    Some((build.to_owned(), endpoint))
}

/// Removes the volume of a build, unless a container has it.
///
/// # Errors
/// [`EngineError`].
pub async fn remove(engine: &Engine, build: &str) -> Result<(), EngineError> {
    engine.delete(&format!("/volumes/agentkernel-init-{build}")).await
}
