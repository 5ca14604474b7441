//! Hides how a volume is filled, whoever's machine the engine is on: by a container that mounts it and is never started.

use super::record::LABEL_VERSION;
use crate::engine::{self, Engine, EngineError, LABEL_LOOK, LABEL_OWNER, LOOK, owner};
use serde_json::{Value, json};

/// Where every volume of ours is mounted.
pub const PLACE: &str = "/.agentkernel";

/// Makes a volume if there is none, and lets somebody work with a container of this image that has it.
///
/// # Errors
/// [`EngineError`].
pub async fn with<T>(
    engine: &Engine,
    name: &str,
    labels: Value,
    image: &str,
    work: impl AsyncFnOnce(&str) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    engine.post("/volumes/create", &json!({ "Name": name, "Labels": labels })).await?;
    let mount = json!({
        "Type": "volume", "Source": name, "Target": PLACE, "VolumeOptions": { "NoCopy": true },
    });
    let body = json!({
        "Image": image,
        "Entrypoint": ["/"],
        "Labels": { LABEL_OWNER: owner(), LABEL_LOOK: LOOK },
        "HostConfig": { "NetworkMode": "none", "Mounts": [mount] },
    });
    let made = engine.post("/containers/create", &body).await?;
    let Some(container) = made["Id"].as_str() else { return Err(EngineError::Nonsense("no container".into())) };
    let done = work(container).await;
    engine.delete(&format!("/containers/{container}?force=1&v=1")).await?;
    done
}

/// The labels of a volume, and what is said of it besides.
pub fn labels(more: &[(&str, &str)]) -> Value {
    let mut labels = json!({ LABEL_OWNER: owner(), LABEL_VERSION: env!("CARGO_PKG_VERSION") });
    for (key, value) in more {
        labels[*key] = json!(value);
    }
    labels
}

/// One file in an archive.
///
/// # Errors
/// None that an archive in memory can have.
pub fn archived(bytes: &[u8], mode: u32, owner: (u32, u32), name: &str) -> Result<engine::Body, EngineError> {
    let mut archive = Vec::new();
    archive::pack_bytes(bytes, mode, owner, std::ffi::OsStr::new(name), &mut archive)
        .map_err(|error| EngineError::Nonsense(wire::cause(&error)))?;
    Ok(engine::body(archive))
}
