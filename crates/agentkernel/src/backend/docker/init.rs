//! Hides how init gets into a container, whoever's machine the engine is on: in a volume that holds it alone, made once for
//! each engine and build, which every container mounts read-only. Nobody inside can change it, and all share its pages.

use super::record::{LABEL_OWNER, LABEL_VERSION, owner};
use crate::{
    engine::{self, Endpoint, Engine, EngineError},
    guest::Program,
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags},
};
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// Where it is mounted.
const PLACE: &str = "/.agentkernel";
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

/// The file of the cache that says that an engine has it.
fn mark(program: &Program, endpoint: &Endpoint) -> String {
    let mut hash = DefaultHasher::new();
    endpoint.to_string().hash(&mut hash);
    format!("engine-init-{}-{:016x}", program.id, hash.finish())
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
    let labels = json!({ LABEL_OWNER: owner(), LABEL_VERSION: env!("CARGO_PKG_VERSION") });
    engine.post("/volumes/create", &json!({ "Name": volume(program), "Labels": labels })).await?;
    let mut archive = Vec::new();
    archive::pack_bytes(program.bytes, 0o555, OsStr::new("init"), &mut archive)
        .map_err(|error| EngineError::Nonsense(wire::cause(&error)))?;
    // A container that is never started: the engine unpacks into what one mounts.
    let mount = json!({
        "Type": "volume", "Source": volume(program), "Target": PLACE, "VolumeOptions": { "NoCopy": true },
    });
    let body = json!({
        "Image": image,
        "Entrypoint": COMMAND,
        "Labels": labels,
        "HostConfig": { "NetworkMode": "none", "Mounts": [mount] },
    });
    let made = engine.post("/containers/create", &body).await?;
    let Some(container) = made["Id"].as_str() else { return Err(EngineError::Nonsense("no container".into())) };
    let put = engine.put_archive(container, PLACE, engine::body(archive)).await;
    engine.delete(&format!("/containers/{container}?force=1")).await?;
    put?;
    // Without the mark it is put there again, which takes its time and does no harm.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let _ = rustix::fs::openat(cache, mark(program, endpoint), flags, Mode::RUSR | Mode::WUSR);
    Ok(())
}
