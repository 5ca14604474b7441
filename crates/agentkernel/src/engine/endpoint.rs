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
    /// By TLS.
    Tls {
        /// `HOST:PORT`.
        host: String,
        /// The absolute directory of `ca.pem`, `cert.pem` and `key.pem`.
        certificates: PathBuf,
    },
    /// By the user's own ssh.
    Ssh(Ssh),
}

/// Where ssh leads. No part can be taken for an option, nor for anything else by a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// Who logs in; none: as ssh has it.
    pub user: Option<String>,
    /// A name that ssh knows, or an address.
    pub host: String,
    /// None: as ssh has it.
    pub port: Option<u16>,
    /// The engine's socket over there; none: as its `docker` has it.
    pub path: Option<String>,
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
    /// This says that TLS is to be spoken, and nothing says where the certificates are.
    #[error("{0} wants TLS, and nothing says where its certificates are")]
    Certificates(String),
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
            Self::Certificates(_) => "Say it in DOCKER_CERT_PATH: the directory of ca.pem, cert.pem and key.pem",
            Self::Address(_) => "Use unix:///PATH, tcp://HOST:PORT, or ssh://[USER@]HOST[:PORT][/PATH]",
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
        let home = var("HOME").map(PathBuf::from);
        let config = var("DOCKER_CONFIG").map(PathBuf::from).or_else(|| Some(home?.join(".docker")));
        // As `docker` has it, any value does, and DOCKER_TLS_VERIFY=0 as well.
        let tls = ["DOCKER_TLS_VERIFY", "DOCKER_TLS"].into_iter().find(|name| var(name).is_some());
        let tls = match tls.map(|name| (name, var("DOCKER_CERT_PATH").map(PathBuf::from).or_else(|| config.clone()))) {
            Some((name, None)) => return Err(EndpointError::Certificates(name.to_owned())),
            tls => tls.and_then(|(_, certificates)| certificates),
        };
        if let Some(host) = var("DOCKER_HOST") {
            return Self::parse(host, tls.as_deref()).map_err(EndpointError::Address);
        }
        if let Some(config) = config
            && let Some(context) = context(var("DOCKER_CONTEXT"), &config)?
        {
            return of_context(&config, &context, tls);
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

fn of_context(config: &Path, name: &str, tls: Option<PathBuf>) -> Result<Endpoint, EndpointError> {
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
    // Where its certificates and keys are.
    let own = config.join("contexts/tls").join(hash).join("docker");
    let has_own = match fs::read_dir(&own) {
        Ok(mut files) => files.next().is_some(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(source) => return Err(EndpointError::Read { path: own, source }),
    };
    // Whose certificate need not be looked at is one that speaks TLS; it is looked at all the same.
    let tls = if has_own || skip_tls_verify { Some(own) } else { tls };
    Endpoint::parse(&host, tls.as_deref()).map_err(EndpointError::Address)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, EndpointError> {
    let failed = |source| EndpointError::Read { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
}

impl Endpoint {
    /// An address, which is spoken to by TLS with the certificates of a directory, if there is one.
    fn parse(text: &str, tls: Option<&Path>) -> Result<Self, String> {
        let refused = |why: &str| format!("Engine '{}': {why}", text.escape_debug());
        let (scheme, rest) = text.split_once("://").ok_or_else(|| refused("not an address of an engine"))?;
        // As Docker has it.
        let host = |host: &str, default: u16| match host.trim_end_matches('/') {
            "" => Err(refused("no host is named")),
            host if host.contains('/') => Err(refused("an address has no path")),
            host if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => Ok(host.to_owned()),
            host => Ok(format!("{host}:{default}")),
        };
        match (scheme, tls) {
            ("unix", _) if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            ("tcp" | "http", None) => host(rest, 2375).map(Self::Tcp),
            ("tcp" | "https", Some(dir)) => {
                let certificates = std::path::absolute(dir).map_err(|error| refused(&error.to_string()))?;
                Ok(Self::Tls { host: host(rest, 2376)?, certificates })
            }
            // As it is written down.
            ("tls", _) => {
                let (name, dir) =
                    rest.split_once('/').ok_or_else(|| refused("no directory of certificates is named"))?;
                Ok(Self::Tls { host: host(name, 2376)?, certificates: Path::new("/").join(dir) })
            }
            ("ssh", _) => Ssh::parse(rest).map(Self::Ssh).map_err(refused),
            ("https", None) => Err(refused("DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH say how TLS is spoken")),
            _ => Err(refused("not an address of an engine")),
        }
    }
}

impl Ssh {
    /// `[USER@]HOST[:PORT][/PATH]`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (authority, path) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("ssh is given no password");
        }
        let (host, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("not a host")?)),
            None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse::<u16>().map_err(|_| "not a port")).transpose()?;
        let plain = |text: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
            text.starts_with(|c: char| c != '-') && text.chars().all(good)
        };
        if !plain(host) {
            return Err("not a host that ssh can be given");
        }
        if !user.is_none_or(plain) {
            return Err("not a user that ssh can be given");
        }
        if path.contains(char::is_control) {
            return Err("not a path");
        }
        let path = Some(path).filter(|path| path.len() > 1).map(str::to_owned);
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path })
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text, None)
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
            Self::Tls { host, certificates } => write!(f, "tls://{host}{}", certificates.display()),
            Self::Ssh(Ssh { user, host, port, path }) => {
                write!(f, "ssh://")?;
                user.iter().try_for_each(|user| write!(f, "{user}@"))?;
                if host.contains(':') { write!(f, "[{host}]") } else { write!(f, "{host}") }?;
                port.iter().try_for_each(|port| write!(f, ":{port}"))?;
                write!(f, "{}", path.as_deref().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;
