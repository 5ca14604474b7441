//! Hides how an engine comes to have an image with further layers: each is unpacked into a container of the image below that
//! is never started, and what has become of it is an image, found again by a name that says what it is made of.
//!
//! Names that take something away (`.wh.`) are files in that container: as every engine writes layers, they take it away in
//! the image. That a directory comes over something else, or the other way round, the engine refuses itself.

use super::{Endpoint, Engine, EngineError, LABEL_LOOK, LABEL_OWNER, LOOK, owner, project, query};
use crate::store::{StoreError, durable};
use oci::Digest;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{AtFlags, Dir},
};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::Path,
};

/// What such images are called, before their tags.
const REPOSITORY: &str = "agentkernel-layers";
/// Says which layer is the topmost of an image.
const LABEL_LAYER: &str = "agentkernel.layer";
/// Begins the name of a file of the cache that says that an engine may have such images; it holds the engine's address.
const MARK: &str = "engine-layers-";

/// The images that come about when layers are laid over one, each over the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Each layer's digest, and the name of the image with it on top.
    links: Vec<(Digest, String)>,
}

impl Chain {
    /// The chain over an image, by its id, of layers that are given by the digests of their contents.
    #[must_use]
    pub fn new(base: &str, layers: impl IntoIterator<Item = Digest>) -> Self {
        let mut below = format!("{} {base}", owner());
        let links = layers.into_iter().map(|layer| {
            below = Digest::of(format!("{below} {layer}").as_bytes()).hex().to_owned();
            let name = format!("{REPOSITORY}:{below}");
            (layer, name)
        });
        Self { links: links.collect() }
    }

    /// How many of the layers the engine has laid already, and what came of it: the id of an image.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn find(&self, engine: &Engine, base: &str) -> Result<(usize, String), EngineError> {
        for (index, (_, name)) in self.links.iter().enumerate().rev() {
            match engine.get::<Made>(&format!("/images/{}/json", query(name))).await {
                Ok(made) => return Ok((index + 1, made.id)),
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok((0, base.to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Made {
    id: String,
}

/// Lays the layer of this number over an image: what can be read of `archive`, if `whole` says after its end that it was
/// all. Gives the new image's id; `None` if it was not.
///
/// # Errors
/// [`EngineError`].
pub async fn lay(
    engine: &Engine,
    chain: &Chain,
    number: usize,
    below: &str,
    archive: OwnedFd,
    whole: impl FnOnce() -> bool,
) -> Result<Option<String>, EngineError> {
    let Some((layer, name)) = chain.links.get(number) else {
        return Err(EngineError::Nonsense("no such layer".into()));
    };
    let body = json!({
        "Image": below,
        "Entrypoint": ["/"],
        "Labels": { LABEL_LOOK: LOOK, LABEL_OWNER: owner() },
        "HostConfig": { "NetworkMode": "none" },
    });
    let made = engine.post("/containers/create", &body).await?;
    let Some(container) = made["Id"].as_str() else { return Err(EngineError::Nonsense("no container".into())) };
    let laid = async {
        engine.put_archive(container, "/", super::stream(archive)?).await?;
        if !whole() {
            return Ok(None);
        }
        let (repository, tag) = name.split_once(':').unwrap_or((name, ""));
        let mut path = format!("/commit?container={container}&repo={repository}&tag={tag}&pause=0");
        for (label, value) in [(LABEL_LOOK, "no"), (LABEL_OWNER, &owner()), (LABEL_LAYER, &layer.to_string())] {
            path.push_str(&format!("&changes={}", query(&format!("LABEL {label}={value}"))));
        }
        let made = engine.post(&path, &json!({})).await?;
        match made["Id"].as_str() {
            Some(id) => Ok(Some(id.to_owned())),
            None => Err(EngineError::Nonsense("no image".into())),
        }
    };
    let laid = laid.await;
    engine.delete(&format!("/containers/{container}?force=1&v=1")).await?;
    laid
}

/// Writes down that an engine has such images, unless that is known: before it has any.
///
/// # Errors
/// If it can't be written.
pub fn remember(cache: &OwnedFd, endpoint: &Endpoint) -> Result<(), StoreError> {
    let mut hash = DefaultHasher::new();
    endpoint.to_string().hash(&mut hash);
    let mark = format!("{MARK}{:016x}", hash.finish());
    if rustix::fs::statat(cache, mark.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Ok(());
    }
    durable::write(cache.as_fd(), Path::new("cache"), &mark, endpoint)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Listed {
    /// What an image of ours is known by, and its name; `None`: it is none.
    fn ours(&self) -> Option<(Digest, &str)> {
        let names = || self.repo_tags.iter().flatten().map(String::as_str);
        if let Some(found) = names().find_map(|name| Some((project::ours(name)?, name))) {
            return Some(found);
        }
        let label = |name: &str| self.labels.as_ref()?.get(name).map(String::as_str);
        if label(LABEL_OWNER) != Some(&owner()) {
            return None;
        }
        // What somebody else has made of one has its labels, and not its name.
        let name = names().find(|name| is_ours(name))?;
        Some((label(LABEL_LAYER)?.parse().ok()?, name))
    }
}

/// Removes images that engines have of ours, where those engines still answer: the ones that are not wanted, by the digest of
/// their topmost layer, or of their config, and by their id. Tells how many, and with `dry_run` does no more. What a container is
/// made of stays, whatever is said of it.
///
/// # Errors
/// If the cache cannot be read.
pub fn sweep(cache: &OwnedFd, wanted: &dyn Fn(&Digest, &str) -> bool, dry_run: bool) -> io::Result<u64> {
    let mut swept = 0;
    for entry in Dir::read_from(cache)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !name.starts_with(MARK) {
            continue;
        }
        let Ok(Some(endpoint)) = durable::read::<Endpoint>(cache.as_fd(), Path::new("cache"), name) else { continue };
        if super::block_on(tidy(&endpoint, wanted, dry_run, &mut swept))?.is_ok_and(|left| left == 0) && !dry_run {
            rustix::fs::unlinkat(cache, name, AtFlags::empty())?;
        }
    }
    Ok(swept)
}

/// Clears one engine, and tells how many images are left.
async fn tidy(
    endpoint: &Endpoint,
    wanted: &dyn Fn(&Digest, &str) -> bool,
    dry_run: bool,
    swept: &mut u64,
) -> Result<u64, EngineError> {
    let engine = Engine::connect(endpoint).await?;
    let mut left = 0;
    for listed in engine.get::<Vec<Listed>>("/images/json").await? {
        let Some((what, name)) = listed.ours() else { continue };
        if wanted(&what, &listed.id) {
            left += 1;
            continue;
        }
        let removed = if dry_run { Ok(()) } else { engine.delete(&format!("/images/{}", query(name))).await };
        match removed {
            Ok(()) => *swept += 1,
            // A container is made of it.
            Err(error) if error.is_conflict() => left += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(left)
}

/// Whether an image is called as ours are; Podman says what it takes to be its registry.
fn is_ours(name: &str) -> bool {
    let name =
        ["localhost/", "docker.io/library/"].iter().find_map(|registry| name.strip_prefix(registry)).unwrap_or(name);
    name.split_once(':').is_some_and(|(repository, _)| repository == REPOSITORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_otherwise_is_not_ours() {
        for name in ["agentkernel-layers:1", "localhost/agentkernel-layers:1", "docker.io/library/agentkernel-layers:1"]
        {
            assert!(is_ours(name), "{name}");
        }
        for name in ["<none>:<none>", "agentkernel-layers", "example.org/agentkernel-layers:1", "agentkernel-layers2:1"]
        {
            assert!(!is_ours(name), "{name}");
        }
    }

    #[test]
    fn a_chain_is_known_by_all_that_lies_below() {
        let [one, two] = [b"one", b"two"].map(|bytes| Digest::of(bytes));
        let names = |base: &str, layers: &[&Digest]| {
            let chain = Chain::new(base, layers.iter().map(|layer| (*layer).clone()));
            chain.links.into_iter().map(|(_, name)| name).collect::<Vec<_>>()
        };
        let both = names("sha256:a", &[&one, &two]);
        assert_eq!(names("sha256:a", &[&one]), both[..1]);
        assert_ne!(names("sha256:b", &[&one, &two])[1], both[1]);
        assert_ne!(names("sha256:a", &[&two, &one])[1], both[1]);
        assert!(both[0].starts_with("agentkernel-layers:") && both[0].len() == "agentkernel-layers:".len() + 64);
    }
}
