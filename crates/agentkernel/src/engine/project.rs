//! Hides how an engine comes to have an image that was made in the store: it is loaded, by a name that says what it is and
//! whose.

use super::{Engine, EngineError, PATIENT, owner, stream};
use http::Method;
use oci::Digest;
use rustix::fd::OwnedFd;

/// What such images are called, before their tags. With a registry, so that no engine thinks of another.
const REPOSITORY: &str = "localhost/agentkernel-project";

/// What an image of the store is called in engines, by its config's digest.
#[must_use]
pub fn name(config: &Digest) -> String {
    format!("{REPOSITORY}:{}-{}", owner(), config.hex())
}

/// Which image of ours has this name in an engine, by its config's digest; `None`: it is none.
pub(super) fn ours(name: &str) -> Option<Digest> {
    let tag = name.strip_prefix(REPOSITORY)?.strip_prefix(':')?;
    let hex = tag.strip_prefix(&owner())?.strip_prefix('-')?;
    format!("sha256:{hex}").parse().ok()
}

/// Has an engine take in the images of an archive as `docker save` writes it.
///
/// # Errors
/// [`EngineError`], with what the engine says.
pub async fn load(engine: &Engine, archive: OwnedFd) -> Result<(), EngineError> {
    let sent = engine.send(Method::POST, "/images/load?quiet=1", Some("application/x-tar"), stream(archive)?, PATIENT);
    engine.each_line(sent.await?.into_body(), |_| {}).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_ours_is_known_by_its_name() {
        let config = Digest::of(b"config");
        assert_eq!(ours(&name(&config)), Some(config));
        let foreign = |owner: &str| format!("{REPOSITORY}:{owner}-{}", Digest::of(b"x").hex());
        for name in ["<none>:<none>", REPOSITORY, &foreign("9999999"), &format!("docker.io/{}", foreign(&owner()))] {
            assert_eq!(ours(name), None, "{name}");
        }
    }
}
