//! Hides an engine's images: what is known of one before a container is made of it.

use super::{Engine, EngineError, whole};
use crate::store::durable;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use http::{Method, Response};
use hyper::body::Incoming;
use oci::{Credentials, Digest, Platform, Reference, manifest::RunConfig};
use rustix::fd::{AsFd as _, OwnedFd};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// An image's file of accounts or groups beyond this is not read.
const MAX_FILE: usize = 1 << 20;
/// The longest line of what an engine tells while it pulls.
const MAX_LINE: usize = 1 << 20;

/// An image of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// What the engine calls it: a digest, by which its contents never change.
    pub id: String,
    /// What it runs on.
    pub platform: Platform,
    /// How its programs are started.
    pub run: RunConfig,
    /// What lies in it.
    pub contents: Contents,
    /// By which registries know it: each with the digest of its manifest, or of an index that leads there.
    digests: Vec<Reference>,
    /// The engine is Podman, which has a digest for what came from no registry as well.
    pub is_podmans: bool,
}

impl About {
    /// The digest by which the registry of this name knows it; `None` if it came from none.
    #[must_use]
    pub fn digest(&self, reference: &Reference) -> Option<&Digest> {
        self.digests.iter().find(|known| known.name() == reference.name())?.digest()
    }
}

/// What must be known of the files of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its /etc/passwd.
    pub passwd: Vec<u8>,
    /// Its /etc/group.
    pub group: Vec<u8>,
    /// Whether it has /bin/bash.
    pub has_bash: bool,
    /// Whether its programs are linked to musl.
    pub has_musl: bool,
}

/// How far a pull is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// What the engine does, in its words.
    pub status: String,
    /// With which layer; empty: with all of it.
    pub layer: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    os: String,
    architecture: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    #[serde(default)]
    config: Option<RunConfig>,
}

/// The image of this name; `None` if the engine has none. What lies in it is looked at once, and kept in `cache`.
///
/// # Errors
/// [`EngineError`].
pub async fn about(engine: &Engine, name: &str, cache: &OwnedFd) -> Result<Option<About>, EngineError> {
    let inspected: Inspected = match engine.get(&format!("/images/{}/json", super::query(name))).await {
        Err(error) if error.is_missing() => return Ok(None),
        result => result?,
    };
    let Inspected { id, os, architecture, repo_digests, config } = inspected;
    let platform = format!("{os}/{architecture}").parse();
    let platform = platform.map_err(|_| EngineError::Nonsense("an image without a platform".into()))?;
    let hex = id.rsplit(':').next().unwrap_or_default();
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(EngineError::Nonsense("an image without a digest".into()));
    }
    let known = format!("engine-image-{hex}");
    // It is looked at again if it cannot be read or kept.
    let path = Path::new("cache");
    let contents = match durable::read(cache.as_fd(), path, &known) {
        Ok(Some(contents)) => contents,
        _ => {
            let contents = look(engine, &id).await?;
            let _ = durable::write(cache.as_fd(), path, &known, &contents);
            contents
        }
    };
    let digests = repo_digests.unwrap_or_default().iter().filter_map(|name| name.parse().ok()).collect();
    Ok(Some(About { id, platform, run: config.unwrap_or_default(), contents, digests, is_podmans: engine.is_podman() }))
}

/// Looks at the files of an image, in a container that is never started.
async fn look(engine: &Engine, image: &str) -> Result<Contents, EngineError> {
    let body = json!({
        "Image": image,
        "Entrypoint": ["/"],
        "Labels": { super::LABEL_LOOK: super::LOOK, super::LABEL_OWNER: super::owner() },
        "HostConfig": { "NetworkMode": "none" },
    });
    let made = engine.post("/containers/create", &body).await?;
    let Some(container) = made["Id"].as_str() else { return Err(EngineError::Nonsense("no container".into())) };
    let looked = async {
        engine.check_accounts(container, |_| false).await?;
        let read =
            async |path| Ok::<_, EngineError>(engine.read_file(container, path, MAX_FILE).await?.unwrap_or_default());
        let (passwd, group) = (read("/etc/passwd").await?, read("/etc/group").await?);
        let has_bash = engine.has(container, "/bin/bash").await?;
        let (musl, glibc) = crate::Image::musl();
        let has_musl =
            engine.has(container, &format!("/{musl}")).await? && !engine.has(container, &format!("/{glibc}")).await?;
        Ok(Contents { passwd, group, has_bash, has_musl })
    };
    let looked = looked.await;
    engine.delete(&format!("/containers/{container}?force=1&v=1")).await?;
    looked
}

impl Engine {
    /// Whether a container has something at a path.
    async fn has(&self, container: &str, path: &str) -> Result<bool, EngineError> {
        Ok(self.head(container, path).await?.is_some())
    }

    /// Sees to it that the accounts of a container, which the engine reads for whatever it does with it, are files. Of one that
    /// is `mounted`, not every engine says what it is.
    ///
    /// # Errors
    /// [`EngineError::NoFile`], or another.
    pub async fn check_accounts(&self, container: &str, mounted: impl Fn(&str) -> bool) -> Result<(), EngineError> {
        for path in ["/etc/passwd", "/etc/group"].into_iter().filter(|path| !mounted(path)) {
            if self.is_file(container, path).await? == Some(false) {
                return Err(EngineError::NoFile(path));
            }
        }
        Ok(())
    }

    /// Whether what a container has at a path is a file, links followed inside of it; `None`: it has nothing.
    async fn is_file(&self, container: &str, path: &str) -> Result<Option<bool>, EngineError> {
        let mut path = PathBuf::from(path);
        for _ in 0..MAX_LINKS {
            let Some(response) = self.head(container, &path.to_string_lossy()).await? else { return Ok(None) };
            let told = response.headers().get("x-docker-container-path-stat").map(|value| value.as_bytes());
            let stat = told.and_then(|told| STANDARD.decode(told).ok());
            let stat = stat.and_then(|stat| serde_json::from_slice::<Stat>(&stat).ok());
            let Some(stat) = stat else { return Err(EngineError::Nonsense("a path without a kind".into())) };
            if stat.mode & MODE_LINK == 0 {
                return Ok(Some(stat.mode & MODE_KIND == 0));
            }
            // An absolute one takes the place of all.
            path.pop();
            path.push(stat.link_target);
        }
        Ok(None)
    }

    async fn head(&self, container: &str, path: &str) -> Result<Option<Response<Incoming>>, EngineError> {
        let path = format!("/containers/{container}/archive?path={}", super::query(path));
        match self.send(Method::HEAD, &path, None, whole(""), super::PROMPT).await {
            Ok(response) => Ok(Some(response)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What an engine says of a path.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stat {
    /// As Go has it.
    mode: u32,
    /// Where a link leads, to its end.
    #[serde(default)]
    link_target: String,
}

/// Go's bits for a symbolic link, and for all that is no file: directories, links, fifos, sockets, devices and the unknown.
const MODE_LINK: u32 = 1 << 27;
const MODE_KIND: u32 = 0x8f28_0000;
/// More links than this in a row lead nowhere.
const MAX_LINKS: usize = 8;

/// What an engine passes on to log in to the registry of an image; `None` if nothing does.
fn login(reference: &Reference, credentials: &Credentials) -> Option<String> {
    let server = reference.registry();
    let login = match credentials {
        Credentials::None => return None,
        Credentials::Basic { user, password } => {
            json!({ "username": user, "password": password.expose(), "serveraddress": server })
        }
        Credentials::IdentityToken(token) => json!({ "identitytoken": token.expose(), "serveraddress": server }),
        Credentials::RegistryToken(token) => json!({ "registrytoken": token.expose(), "serveraddress": server }),
    };
    Some(URL_SAFE.encode(login.to_string()))
}

/// Has the engine bring an image from its registry, with what logs in there.
///
/// # Errors
/// [`EngineError`], with what the engine says.
pub async fn pull(
    engine: &Engine,
    reference: &Reference,
    credentials: &Credentials,
    mut tell: impl FnMut(Pulled),
) -> Result<(), EngineError> {
    let digest = reference.digest().map(ToString::to_string);
    let tag = digest.as_deref().or(reference.tag()).unwrap_or("latest");
    let path = format!("/images/create?fromImage={}&tag={}", super::query(&reference.name()), super::query(tag));
    let body = engine.follow(&path, login(reference, credentials).as_deref()).await?;
    engine
        .each_line(body, |told| {
            let text = |key: &str| wire::printable(told[key].as_str().unwrap_or_default());
            tell(Pulled { status: text("status"), layer: text("id") });
        })
        .await
}

impl Engine {
    /// Takes what an engine tells of something that takes its time, line by line.
    ///
    /// # Errors
    /// [`EngineError`]; what it says where it has failed.
    pub(super) async fn each_line(&self, mut body: Incoming, mut tell: impl FnMut(&Value)) -> Result<(), EngineError> {
        let mut line = Vec::new();
        while let Some(frame) = self.next(&mut body).await? {
            let Ok(data) = frame.into_data() else { continue };
            for &byte in &data {
                if byte != b'\n' {
                    line.push(byte);
                } else if let Ok(told) = serde_json::from_slice::<Value>(&std::mem::take(&mut line)) {
                    if let Some(message) = told["error"].as_str() {
                        return Err(EngineError::Refused { status: 0, message: wire::printable(message) });
                    }
                    tell(&told);
                }
                if line.len() > MAX_LINE {
                    return Err(EngineError::Nonsense("a line without an end".into()));
                }
            }
        }
        Ok(())
    }
}

/// The one file in an archive that an engine has made of it; `None` if it is something else.
pub(super) fn only_file(archive: &[u8], limit: usize) -> Result<Option<Vec<u8>>, EngineError> {
    archive::only_file(archive, limit).map_err(|error| EngineError::Nonsense(wire::cause(&error)))
}
