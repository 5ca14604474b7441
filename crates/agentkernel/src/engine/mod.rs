//! A container engine, Docker or Podman, spoken to over its API. Its `docker` command is not needed.
//!
//! One request for each connection, by HTTP/1.1. The engine is trusted: whoever can speak to it is its machine's root,
//! and it is. What it passes on of others (contents of images) is not.

mod build;
mod connect;
mod endpoint;
mod image;
mod layer;
mod project;
mod ssh;
mod tls;

pub use build::{Order, build, save};
pub use endpoint::{Endpoint, EndpointError};
pub use image::{About, Contents, Pulled, about, pull};
pub use layer::{Chain, lay, remember, sweep};
pub use project::{load, name as project_name};
pub use ssh::keep_environment;

use bytes::Bytes;
use connect::Way;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use oci::Platform;
use rustix::fd::OwnedFd;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{future::Future, io, time::Duration};
use tokio::time::timeout;

/// The newest version of the API that is spoken, and the oldest that has all that is needed (Docker 20.10, Podman 4).
const VERSIONS: ((u32, u32), (u32, u32)) = ((1, 44), (1, 41));
/// How long an engine may take to answer what it does at once, and what takes it its time.
const PROMPT: Duration = Duration::from_secs(30);
const PATIENT: Duration = Duration::from_secs(300);
/// Bytes that are sent at once.
const CHUNK: usize = 64 * 1024;
/// The longest answer that is kept.
const LONGEST: usize = 16 << 20;

/// Marks a container that is never started: whoever made it only looks into it, or puts something there.
pub const LABEL_LOOK: &str = "agentkernel.look";
/// Its value. What is made of such a container has another one, and so have containers of that.
pub const LOOK: &str = "yes";
/// Says whose a container or volume of ours is.
pub const LABEL_OWNER: &str = "agentkernel.owner";

/// Who we are, among those that use the same engine.
#[must_use]
pub fn owner() -> String {
    rustix::process::geteuid().as_raw().to_string()
}

/// A body to be sent.
pub type Body = BoxBody<Bytes, io::Error>;

/// An engine that has answered.
#[derive(Clone, Debug)]
pub struct Engine {
    way: Way,
    version: (u32, u32),
    podman: bool,
}

/// The engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("Cannot connect to the engine at {endpoint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("{message}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It does not answer in time.
    #[error("The engine at {0} does not answer")]
    Silent(String),
    /// It is too old.
    #[error("The engine speaks version {0} of its API, and 1.41 is needed")]
    Old(String),
    /// TLS can't be spoken with it.
    #[error("Cannot speak TLS with the engine at {endpoint}: {cause}")]
    Tls {
        /// Where.
        endpoint: String,
        /// Why.
        cause: String,
    },
    /// What ssh leads to is no engine.
    #[error("Cannot reach the engine at {endpoint}: {cause}")]
    Ssh {
        /// Where.
        endpoint: String,
        /// What ssh says.
        cause: String,
    },
    /// What it sends can't be kept.
    #[error("Cannot write what the engine sends")]
    Write(#[source] io::Error),
    /// What it reads itself of a container's files is none: it would wait for a fifo without end, and so would whoever asks
    /// it for the container.
    #[error("{0} is no file, and engines read it as one")]
    NoFile(&'static str),
    /// The connection broke, or carries something else.
    #[error("The engine's answer makes no sense: {0}")]
    Nonsense(String),
}

impl EngineError {
    /// What the user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "Join the group that owns the socket, mostly 'docker', which makes you its machine's root; or use Podman's own socket"
            }
            Self::Connect { .. } | Self::Silent(_) => "Start it, or say in DOCKER_HOST where another one is",
            Self::Tls { .. } => {
                "ca.pem vouches for the engine, cert.pem and key.pem for you: they lie in DOCKER_CERT_PATH, or `docker context create` takes them"
            }
            Self::Ssh { .. } => {
                "See that `ssh -o BatchMode=yes HOST docker version` works: the host must be known, and a key at hand that asks for nothing"
            }
            Self::Old(_) => "Use Docker 20.10, Podman 4, or newer",
            Self::NoFile(_) => "Use another image, or backend native",
            Self::Refused { .. } | Self::Write(_) | Self::Nonsense(_) => "",
        }
    }

    /// Its kind, for whoever treats an engine that is not there another way than one that says no.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Connect { .. } | Self::Silent(_) | Self::Nonsense(_) | Self::Tls { .. } | Self::Ssh { .. } => {
                io::ErrorKind::NotConnected
            }
            _ => io::ErrorKind::Other,
        }
    }

    /// Whether it says that there is no such thing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether it says that something is in the way.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// Runs what speaks to an engine to its end, in a process that has no thread but its own.
///
/// # Errors
/// If the kernel has no descriptor left.
pub fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, work))
}

/// Text for a query.
#[must_use]
pub fn query(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

impl Engine {
    /// Asks who is there, and agrees on a version.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, EngineError> {
        let (newest, oldest) = VERSIONS;
        let way = Way::to(endpoint);
        let response = way.call(Request::get("/_ping"), whole(""), PROMPT).await?;
        let told = response.headers().get("api-version").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let parse = |text: &str| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        };
        match parse(told) {
            Some(version) if version >= oldest => {
                let podman = response.headers().contains_key("libpod-api-version");
                Ok(Self { way, version: version.min(newest), podman })
            }
            _ => Err(EngineError::Old(wire::printable(told))),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.way.endpoint
    }

    /// Keeps no connection for later.
    pub fn let_go(&self) {
        self.way.let_go();
    }

    /// The version of its API that is spoken.
    #[must_use]
    pub fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// Whether it is Podman, which takes other words for some things, and none for others.
    #[must_use]
    pub fn is_podman(&self) -> bool {
        self.podman
    }

    fn path(&self, path: &str) -> String {
        format!("/v{}{path}", self.version())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<&'static str>,
        body: Body,
        patience: Duration,
    ) -> Result<Response<Incoming>, EngineError> {
        let mut request = Request::builder().method(method).uri(self.path(path));
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.refused(self.way.call(request, body, patience).await?).await
    }

    /// What there is.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let response = self.send(Method::GET, path, None, whole(""), PROMPT).await?;
        decode(&self.collect(response).await?)
    }

    /// Asks for something to be done, and takes what it answers. [`Value::Null`] is no body, and no answer.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, EngineError> {
        let (kind, bytes) = match body {
            Value::Null => (None, String::new()),
            body => (Some("application/json"), body.to_string()),
        };
        let response = self.send(Method::POST, path, kind, whole(bytes), PATIENT).await?;
        let answer = self.collect(response).await?;
        if answer.is_empty() { Ok(Value::Null) } else { decode(&answer) }
    }

    /// Asks for something that takes its time, and gives the answer as it comes. What logs in to a registry is passed on.
    ///
    /// # Errors
    /// [`EngineError`].
    async fn follow(&self, path: &str, login: Option<&str>) -> Result<Incoming, EngineError> {
        let mut request = Request::post(self.path(path));
        if let Some(login) = login {
            request = request.header("x-registry-auth", login);
        }
        Ok(self.refused(self.way.call(request, whole(""), PATIENT).await?).await?.into_body())
    }

    /// What its images run on, if nothing else is asked for.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn platform(&self) -> Result<Platform, EngineError> {
        let told: Value = self.get("/version").await?;
        let text = |key: &str| told[key].as_str().unwrap_or_default();
        let platform = format!("{}/{}", text("Os"), text("Arch")).parse::<Platform>();
        platform.map(|platform| platform.normalized()).map_err(|_| EngineError::Nonsense("no platform".into()))
    }

    /// Whether root of its containers is another one than that of its machine.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn maps_ids(&self) -> Result<bool, EngineError> {
        let info: Value = self.get("/info").await?;
        let options = info["SecurityOptions"].as_array().cloned().unwrap_or_default();
        let maps =
            |option: &Value| option.as_str().is_some_and(|text| text.contains("rootless") || text.contains("userns"));
        Ok(options.iter().any(maps))
    }

    /// Removes something.
    ///
    /// # Errors
    /// [`EngineError`]; that it is not there is none.
    pub async fn delete(&self, path: &str) -> Result<(), EngineError> {
        match self.send(Method::DELETE, path, None, whole(""), PATIENT).await {
            Ok(response) => self.collect(response).await.map(drop),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Unpacks a tar archive at a path of a container.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn put_archive(&self, container: &str, path: &str, archive: Body) -> Result<(), EngineError> {
        let path = format!("/containers/{container}/archive?noOverwriteDirNonDir=1&path={}", query(path));
        let response = self.send(Method::PUT, &path, Some("application/x-tar"), archive, PATIENT).await?;
        self.collect(response).await.map(drop)
    }

    /// A file of a container, links followed inside of it; `None` if there is none. At most so many bytes.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn read_file(&self, container: &str, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EngineError> {
        let path = format!("/containers/{container}/archive?path={}", query(path));
        let bytes = match self.send(Method::GET, &path, None, whole(""), PROMPT).await {
            Ok(response) => self.collect(response).await?,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        image::only_file(&bytes, limit)
    }

    /// Joins the standard input and output of a container that is not a terminal.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn attach(&self, container: &str) -> Result<TokioIo<Upgraded>, EngineError> {
        let path = format!("/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1");
        let request =
            Request::post(self.path(&path)).header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp");
        let mut response = self.way.call(request, whole(""), PROMPT).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let response = self.refused(response).await?;
            return Err(EngineError::Nonsense(format!("attach answered {}", response.status().as_u16())));
        }
        let upgraded = hyper::upgrade::on(&mut response).await;
        upgraded.map(TokioIo::new).map_err(|error| EngineError::Nonsense(wire::cause(&error)))
    }

    /// The answer, unless it is a refusal.
    async fn refused(&self, response: Response<Incoming>) -> Result<Response<Incoming>, EngineError> {
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let body = self.collect(response).await?;
        let told: Option<Value> = serde_json::from_slice(&body).ok();
        let message = told.as_ref().and_then(|told| told["message"].as_str());
        let text = message.map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        let mut message = wire::printable(text.trim());
        if message.is_empty() {
            message = format!("The engine answers {}", status.as_u16());
        }
        Err(EngineError::Refused { status: status.as_u16(), message })
    }

    /// The whole answer.
    async fn collect(&self, response: Response<Incoming>) -> Result<Vec<u8>, EngineError> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = self.next(&mut body).await? {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
            if bytes.len() > LONGEST {
                return Err(EngineError::Nonsense("it has no end".into()));
            }
        }
        Ok(bytes)
    }

    /// The next piece of an answer. One that does not come is waited for as long as the engine is there at all.
    async fn next(&self, body: &mut Incoming) -> Result<Option<Frame<Bytes>>, EngineError> {
        loop {
            match timeout(PROMPT, body.frame()).await {
                Ok(frame) => return frame.transpose().map_err(|error| EngineError::Nonsense(wire::cause(&error))),
                Err(_) => drop(self.way.call(Request::get("/_ping"), whole(""), PROMPT).await?),
            }
        }
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, EngineError> {
    serde_json::from_slice(bytes).map_err(|error| EngineError::Nonsense(error.to_string()))
}

/// A body of bytes at hand.
#[must_use]
pub fn body(bytes: impl Into<Bytes>) -> Body {
    whole(bytes)
}

/// A body of what comes out of a pipe.
///
/// # Errors
/// If it cannot be waited for.
pub fn stream(from: OwnedFd) -> Result<Body, EngineError> {
    let failed = |error: io::Error| EngineError::Nonsense(error.to_string());
    let mut from = tokio::net::unix::pipe::Receiver::from_owned_fd(from).map_err(failed)?;
    let (mut to, body) = http_body_util::channel::Channel::<Bytes, io::Error>::new(1);
    tokio::task::spawn_local(async move {
        loop {
            let mut bytes = vec![0; CHUNK];
            match tokio::io::AsyncReadExt::read(&mut from, &mut bytes).await {
                Ok(0) => return,
                Ok(count) => {
                    bytes.truncate(count);
                    if to.send_data(bytes.into()).await.is_err() {
                        return;
                    }
                }
                Err(error) => return to.abort(error),
            }
        }
    });
    Ok(body.boxed())
}
