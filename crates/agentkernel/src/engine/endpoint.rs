//! Hides where the user's container engine is: what `docker` and `podman` themselves would look at.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    /// A socket of this machine, absolute.
    Unix(PathBuf),
    /// `HOST:PORT`, in clear.
    Tcp(String),
}

/// No engine can be named.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Nothing says where one is, and there is none in the usual places.
    #[error("There is no socket of Docker or Podman in {}", .0.join(", "))]
    None(Vec<String>),
    /// What says where it is cannot be read.
    #[error("Cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The context that is in use is not there, or names no engine.
    #[error("Docker's context '{0}' names no engine")]
    Context(String),
    /// This says that TLS is to be spoken, and nothing but clear text is.
    #[error("{0} wants TLS, and engines are spoken to in clear")]
    Tls(String),
    /// Not an address that is spoken to.
    #[error("{0}")]
    Address(String),
}

impl EndpointError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::None(_) => "Install Docker or Podman and start it, or say in DOCKER_HOST where it is",
            Self::Context(_) => "`docker context ls` lists them; DOCKER_CONTEXT or DOCKER_HOST say which one is meant",
            Self::Read { .. } => "",
            Self::Tls(_) => {
                "Bring its socket here, ssh -L /tmp/docker.sock:/var/run/docker.sock HOST, and say DOCKER_HOST=unix:///tmp/docker.sock"
            }
            Self::Address(_) => {
                "Use unix:///PATH, or tcp://HOST:PORT; what listens elsewhere can be brought here: ssh -L /tmp/docker.sock:/var/run/docker.sock HOST"
            }
        }
    }
}

impl Endpoint {
    /// Whether files of this machine may be known to it by the same names. What is meant is still to be proved.
    #[must_use]
    pub fn may_share_files(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// What `docker` would use: DOCKER_HOST, else the context in use, else the first socket that is there, Podman's too.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn find(env: &[(OsString, OsString)]) -> Result<Self, EndpointError> {
        let var = |name: &str| {
            let value = env.iter().find(|(key, _)| key == name).map(|(_, value)| value);
            value.and_then(|value| value.to_str()).filter(|value| !value.is_empty())
        };
        // As `docker` has it, any value does, and DOCKER_TLS_VERIFY=0 as well.
        let tls = ["DOCKER_TLS_VERIFY", "DOCKER_TLS"].into_iter().find(|name| var(name).is_some());
        let checked = |endpoint: Self| match (tls, &endpoint) {
            (Some(name), Self::Tcp(_)) => Err(EndpointError::Tls(name.to_owned())),
            _ => Ok(endpoint),
        };
        if let Some(host) = var("DOCKER_HOST") {
            return Self::try_from(host.to_owned()).map_err(EndpointError::Address).and_then(checked);
        }
        let home = var("HOME").map(PathBuf::from);
        let config = var("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home?.join(".docker")));
        if let Some(config) = config
            && let Some(context) = context(var("DOCKER_CONTEXT"), &config)?
        {
            return of_context(&config, &context).and_then(checked);
        }
        let runtime = var("XDG_RUNTIME_DIR");
        let own = |name: &str| runtime.map(|dir| Path::new(dir).join(name));
        let usual = [
            Some(PathBuf::from("/var/run/docker.sock")),
            own("docker.sock"),
            own("podman/podman.sock"),
            Some(PathBuf::from("/run/podman/podman.sock")),
        ];
        let usual: Vec<PathBuf> = usual.into_iter().flatten().collect();
        // One that this user may not speak to is passed over for his own.
        let may = |path: &&PathBuf| {
            let both = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
            rustix::fs::access(path.as_path(), both).is_ok()
        };
        let there = |path: &&PathBuf| rustix::fs::stat(path.as_path()).is_ok();
        match usual.iter().find(may).or_else(|| usual.iter().find(there)) {
            Some(path) => Ok(Self::Unix(path.clone())),
            None => Err(EndpointError::None(usual.iter().map(|path| path.display().to_string()).collect())),
        }
    }
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext")]
    context: Option<String>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Endpoints")]
    endpoints: BTreeMap<String, MetaEndpoint>,
}

#[derive(Deserialize)]
struct MetaEndpoint {
    #[serde(rename = "Host")]
    host: Option<String>,
    /// It is spoken to by TLS, and its certificate is not looked at.
    #[serde(rename = "SkipTLSVerify", default)]
    skip_tls_verify: bool,
}

/// The context in use, unless it is the one that goes by the usual places.
fn context(named: Option<&str>, config: &Path) -> Result<Option<String>, EndpointError> {
    let current = match named {
        Some(named) => Some(named.to_owned()),
        None => {
            let path = config.join("config.json");
            match read::<Config>(&path) {
                Err(EndpointError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
                read => read?.context,
            }
        }
    };
    Ok(current.filter(|name| !name.is_empty() && name != "default"))
}

fn of_context(config: &Path, name: &str) -> Result<Endpoint, EndpointError> {
    // A context's directory is the hash of its name.
    let hash: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = config.join("contexts/meta").join(&hash).join("meta.json");
    let mut meta: Meta = match read(&path) {
        Err(EndpointError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(EndpointError::Context(name.to_owned()));
        }
        read => read?,
    };
    let Some(MetaEndpoint { host: Some(host), skip_tls_verify }) = meta.endpoints.remove("docker") else {
        return Err(EndpointError::Context(name.to_owned()));
    };
    let endpoint = Endpoint::try_from(host).map_err(EndpointError::Address)?;
    // Where its certificates and keys are.
    let tls = config.join("contexts/tls").join(hash).join("docker");
    let has_tls = match fs::read_dir(&tls) {
        Ok(mut files) => files.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(EndpointError::Read { path: tls, source }),
    };
    match endpoint {
        Endpoint::Tcp(_) if skip_tls_verify || has_tls => Err(EndpointError::Tls(format!("Docker's context '{name}'"))),
        endpoint => Ok(endpoint),
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, EndpointError> {
    let failed = |source| EndpointError::Read { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("Engine '{}': {why}", text.escape_debug()));
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("tcp" | "http", host)) => {
                let host = host.trim_end_matches('/');
                // As Docker has it.
                let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
                match host {
                    "" => refused("no host is named"),
                    _ if host.contains('/') => refused("an address has no path"),
                    _ if has_port => Ok(Self::Tcp(host.to_owned())),
                    _ => Ok(Self::Tcp(format!("{host}:2375"))),
                }
            }
            Some(("ssh", _)) => refused("SSH is not spoken"),
            Some(("https", _)) => refused("TLS is not spoken to engines"),
            _ => refused("not an address of an engine"),
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
