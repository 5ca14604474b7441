//! What a sandbox is: the resolved description that every room shares.
//!
//! Nothing here is a default waiting to be filled in: `config` has resolved it all. An `Option` means "none".

use crate::engine::Endpoint;
use egress::{
    Pattern, Policy,
    control::{Login, Published},
    ssh::LentKeys,
};
use rustix::fd::OwnedFd;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};
use wire::{ExecSpec, OsBytes, Rlimit, User};

/// A sandbox's identity: twelve lower-case hexadecimal digits, chosen at random.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    /// The number of digits.
    pub const LENGTH: usize = 12;

    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// If getrandom(2) fails.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0u8; Self::LENGTH / 2];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_one(text: &[u8]) -> bool {
        text.len() == Self::LENGTH && text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl TryFrom<String> for SandboxId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if Self::is_one(text.as_bytes()) {
            Ok(Self(text))
        } else {
            Err(format!("'{}' is not a sandbox id", text.escape_debug()))
        }
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sandbox's name: `[a-z0-9][a-z0-9_.-]{0,62}`, and not of the form of an id. Unique among one user's sandboxes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let rest = |b: u8| good(b) || matches!(b, b'_' | b'.' | b'-');
        match text.as_bytes() {
            // Where one sandbox is meant, another must not answer.
            digits if SandboxId::is_one(digits) => {
                Err(format!("'{text}' is not a name: it has the form of an id, so put a word before it"))
            }
            [first, tail @ ..] if good(*first) && tail.len() < 63 && tail.iter().all(|&b| rest(b)) => Ok(Self(text)),
            _ => Err(format!(
                "'{}' is not a name: use up to 63 of a-z, 0-9, '_', '.', '-', beginning with a letter or digit",
                text.chars().take(100).collect::<String>().escape_debug()
            )),
        }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sandbox, whole and resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Who it is.
    pub id: SandboxId,
    /// What people call it; an ephemeral sandbox may have none.
    pub name: Option<Name>,
    /// Whether its files outlive its processes.
    pub keep: bool,
    /// What makes the machine.
    pub backend: BackendKind,
    /// The engine whose container it is, on backend docker.
    #[serde(default)]
    pub engine: Option<EngineUse>,
    /// Where its programs come from.
    pub image: Image,
    /// What lies over that, the lowest first.
    #[serde(default)]
    pub layers: Vec<OciImage>,
    /// The project in it.
    pub workspace: Workspace,
    /// The agent that it is for; none: it is for any command.
    #[serde(default)]
    pub agent: Option<Agent>,
    /// Further host directories and files in it.
    pub mounts: Vec<Mount>,
    /// Further empty file systems in it.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether everything but the workspace, mounts, tmpfs, /tmp, /run and HOME is read-only.
    pub read_only: bool,
    /// Whether changes of protected paths that are refused go on record.
    #[serde(default)]
    pub log_refused: bool,
    /// What it may reach, and be reached at.
    pub network: Network,
    /// Who its programs run as.
    pub identity: Identity,
    /// What it may use.
    pub limits: Limits,
    /// Its host name.
    pub hostname: String,
    /// What it runs when it starts; none: it idles until stopped.
    pub command: Option<ExecSpec>,
    /// The environment of an exec that brings none: `NAME=value`.
    pub env: Vec<OsBytes>,
    /// The working directory of an exec that names none.
    pub workdir: OsBytes,
    /// Milliseconds after which its main command is ended; none: never.
    pub timeout_ms: Option<u64>,
    /// What it has if it makes a layer of an image: its root may do to its files and ids what installers do, and what a
    /// start makes lies below what its programs write.
    #[serde(default)]
    pub build: Option<Build>,
}

impl Spec {
    /// All that is mounted: what the user has named, and then what its agent keeps.
    pub fn all_mounts(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter().chain(self.agent.iter().flat_map(|agent| &agent.kept))
    }

    /// Whether something is mounted at a path, or at one above it: what lies there is not the sandbox's own.
    #[must_use]
    pub fn is_mounted(&self, path: &Path) -> bool {
        self.all_mounts().any(|mount| path.starts_with(&mount.target))
    }

    /// The project that it works in; `None`: it has none.
    #[must_use]
    pub fn project(&self) -> Option<&Path> {
        self.workspace.path()
    }

    /// Directories and files of the host that it can write: what lies there, links too, may be of its making.
    #[must_use]
    pub fn writable_on_host(&self) -> Vec<PathBuf> {
        let workspace = match &self.workspace {
            Workspace::Direct { path, .. } => Some(path.clone()),
            Workspace::None | Workspace::Overlay { .. } => None,
        };
        let mounts = self.mounts.iter().filter(|mount| !mount.read_only).map(|mount| mount.source.clone());
        workspace.into_iter().chain(mounts).collect()
    }
}

/// What makes the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Namespaces of this kernel.
    Native,
    /// A container of the user's engine: Docker, Podman.
    Docker,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Docker => f.write_str("docker"),
        }
    }
}

/// Where a sandbox's programs come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Image {
    /// The host's own /usr, /opt and the harmless part of /etc.
    Host,
    /// An unpacked root directory on the host, absolute.
    Dir(#[serde(with = "os_path")] PathBuf),
    /// One of the store of images.
    Oci(OciImage),
    /// One of the engine that makes the machine.
    Engine(EngineImage),
}

impl Image {
    /// What the host's programs lie in, below its root; those that are directories and not links into /usr get an overlay each.
    pub(crate) const PROGRAMS: [&str; 8] = ["usr", "opt", "bin", "sbin", "lib", "lib64", "lib32", "libx32"];

    /// Directories of the host that are read through it, all that is in them.
    #[must_use]
    pub fn seen_on_host(&self) -> Vec<PathBuf> {
        match self {
            Self::Host => Self::PROGRAMS.iter().map(|name| Path::new("/").join(name)).collect(),
            Self::Dir(dir) => vec![dir.clone()],
            Self::Oci(_) | Self::Engine(_) => Vec::new(),
        }
    }

    /// Its volumes: what stays writable if the rest of it is read-only, as engines have it.
    pub fn volumes(&self) -> impl Iterator<Item = &Path> {
        let volumes = match self {
            Self::Host | Self::Dir(_) => &[],
            Self::Oci(image) => &image.volumes[..],
            Self::Engine(image) => &image.volumes[..],
        };
        volumes.iter().map(Path::new)
    }

    /// What one has whose C library is musl, and what it does not have of glibc.
    #[must_use]
    pub fn musl() -> (String, String) {
        let arch = std::env::consts::ARCH;
        (format!("lib/ld-musl-{arch}.so.1"), format!("lib/{arch}-linux-gnu/libc.so.6"))
    }
}

/// An image of an engine, as it was when the sandbox was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineImage {
    /// What it was called.
    pub reference: String,
    /// What the engine calls it: a digest.
    pub id: String,
    /// Where the engine mounts volumes for it.
    pub volumes: Vec<String>,
}

/// How a sandbox's engine is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineUse {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What it runs the container with; none: what it runs all with.
    pub runtime: Option<String>,
}

/// An image of the store, as it was when the sandbox was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OciImage {
    /// What it was called.
    pub reference: String,
    /// The digest of its manifest.
    pub manifest: oci::Digest,
    /// Its layers by the digests of their contents, the lowest first.
    pub layers: Vec<oci::Digest>,
    /// What stays writable if the rest is read-only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Dir(path) => write!(f, "dir:{}", path.display()),
            Self::Oci(image) => f.write_str(&image.reference),
            Self::Engine(image) => f.write_str(&image.reference),
        }
    }
}

/// How the sandbox sees the project, always at the same absolute path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Workspace {
    /// Not at all.
    None,
    /// The real directory; what is written is written.
    Direct {
        /// Absolute path.
        #[serde(with = "os_path")]
        path: PathBuf,
        /// Files and directories in it that stay read-only, relative to it.
        #[serde(with = "os_paths")]
        protected: Vec<PathBuf>,
    },
    /// Copy on write: the real directory is never changed.
    Overlay {
        /// Absolute path.
        #[serde(with = "os_path")]
        path: PathBuf,
    },
}

impl Workspace {
    /// The project's directory; `None`: there is none inside.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Direct { path, .. } | Self::Overlay { path } => Some(path),
            Self::None => None,
        }
    }
}

/// The agent that a sandbox is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// What it is called here.
    pub name: String,
    /// Its version; empty: it is part of the image.
    pub version: String,
    /// What it keeps for the project, and read-only what stands for files of the user's: it lies in the state directory.
    pub kept: Vec<Mount>,
    /// A file of the host's that says nothing, which an engine lays where nothing is to be.
    #[serde(with = "os_path")]
    pub empty: PathBuf,
}

/// A host directory or file in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host, absolute, existing, no symbolic link.
    #[serde(with = "os_path")]
    pub source: PathBuf,
    /// In the sandbox, absolute.
    #[serde(with = "os_path")]
    pub target: PathBuf,
    /// Whether the sandbox may not write to it.
    pub read_only: bool,
}

/// What a sandbox has that makes a layer of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Files of the store in it, which do not become part of the layer.
    pub mounts: Vec<Lent>,
}

/// A directory or file of the store in a build. Its owners are the ids of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// Beneath the cache.
    pub source: String,
    /// In the sandbox, absolute.
    #[serde(with = "os_path")]
    pub target: PathBuf,
    /// Whether the sandbox may not write to it.
    pub read_only: bool,
}

/// An empty file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// In the sandbox, absolute.
    #[serde(with = "os_path")]
    pub target: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// What a sandbox may reach, and be reached at. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What it may reach.
    pub policy: Policy,
    /// Its ports on the host's loopback address.
    pub ports: Vec<Published>,
    /// Bytes per second in both directions together; none: no limit.
    pub bandwidth: Option<u64>,
    /// Connections per second that it may begin; none: no limit.
    pub connections: Option<u64>,
    /// Tokens of models that it may use; none: no limit.
    pub max_tokens: Option<u64>,
    /// What is put in on the way.
    pub secrets: Vec<SecretUse>,
    /// Those of them that are renewed outside when their time is over.
    #[serde(default)]
    pub logins: Vec<LoginUse>,
    /// What keys of the user's ssh-agent may be used for; none: it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent_keys: Option<LentKeys>,
}

/// Known hosts (sshd(8)) of a sandbox that keys are lent to: a file that ssh(1) reads after others, and images leave alone.
pub const KNOWN_HOSTS: &str = "/etc/ssh/ssh_known_hosts2";

impl Network {
    /// Whether requests inside of TLS are read, so that the sandbox must trust an authority of its own.
    #[must_use]
    pub fn needs_authority(&self) -> bool {
        let rules = [Some(&self.policy.rules), self.policy.ceiling.as_ref()];
        let mut allowed = rules.into_iter().flatten().flat_map(|rules| &rules.allow);
        !self.secrets.is_empty() || self.max_tokens.is_some() || allowed.any(|rule| !rule.requests.is_every())
    }
}

/// A secret that a sandbox may use: where its value comes from, and where it may go. The value itself is in no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// What the user calls it.
    pub name: String,
    /// Where its value comes from when the sandbox starts.
    pub source: SecretSource,
    /// For which hosts.
    pub hosts: Vec<Pattern>,
    /// What the sandbox has in its place: at random, for this sandbox alone.
    pub placeholder: String,
    /// The variable inside that holds the placeholder.
    pub env: Option<String>,
    /// The file inside that holds the placeholder, absolute.
    #[serde(with = "os_path_option")]
    pub file: Option<PathBuf>,
}

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// A variable of the caller's environment.
    Env(String),
    /// A file of the host, absolute.
    File(#[serde(with = "os_path")] PathBuf),
    /// A text in a file of JSON of the host, absolute: by keys, the outermost first.
    Field {
        /// The file.
        #[serde(with = "os_path")]
        file: PathBuf,
        /// The keys.
        keys: Vec<String>,
    },
    /// The user's own store, by the secret's name.
    Store,
    /// The desktop's keyring, by attributes.
    Keyring(BTreeMap<String, String>),
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "env:{variable}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Field { file, keys } => write!(f, "file:{}:{}", file.display(), keys.join(".")),
            Self::Store => f.write_str("store"),
            Self::Keyring(attributes) => {
                let attributes: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "keyring:{}", attributes.join(","))
            }
        }
    }
}

/// A login that a sandbox uses, and that is renewed outside, in the file of the program that has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginUse {
    /// What egress knows of it.
    pub login: Login,
    /// The file, absolute, and without links on the way to it.
    #[serde(with = "os_path")]
    pub file: PathBuf,
    /// Where in the file its parts are.
    pub fields: LoginFields,
}

/// Where the parts of a login are in a file of JSON: keys, the outermost first. One without keys is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginFields {
    /// The access token.
    pub access: Vec<String>,
    /// The refresh token.
    pub refresh: Vec<String>,
    /// The token that says who has logged in.
    pub id: Vec<String>,
    /// When the access token expires, in milliseconds since 1970.
    pub expires: Vec<String>,
    /// When it was renewed last, as RFC 3339 has it.
    pub renewed: Vec<String>,
}

/// Who programs run as, as the sandbox sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The other groups that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
    /// User name, for /etc/passwd.
    pub name: String,
    /// Home directory in the sandbox, absolute: the sandbox's own.
    #[serde(with = "os_path")]
    pub home: PathBuf,
}

impl Identity {
    /// As whom its programs are started.
    #[must_use]
    pub fn user(&self) -> User {
        let Self { uid, gid, groups, .. } = self;
        // Its own is one of several, so that giving it up takes nothing away that was forbidden by it (CVE-2022-36109).
        let own = Some(*gid).filter(|_| !groups.is_empty());
        User { uid: *uid, gid: *gid, groups: own.into_iter().chain(groups.iter().copied()).collect() }
    }
}

/// What a sandbox may use. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processors, in thousandths.
    pub cpu_milli: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes that an ephemeral sandbox may write outside workspace and mounts: its files lie in memory then. None: they
    /// lie on disk, like a kept one's.
    pub disk: Option<u64>,
    /// Limits of setrlimit(2) for every exec.
    pub rlimits: Vec<Rlimit>,
    /// Whether somebody has named the number of open files: an engine has to allow it then.
    #[serde(default)]
    pub nofile_is_named: bool,
}

impl Spec {
    /// Whether the files that the sandbox writes of its own lie on disk, below its directory, and not in memory.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        self.keep || self.limits.disk.is_none()
    }

    /// Files that it has besides its image's, and their permissions: what stands for secrets, and known hosts. They are its
    /// user's.
    #[must_use]
    pub fn files(&self) -> Vec<(&Path, String, u32)> {
        let secrets = self.network.secrets.iter();
        let mut files: Vec<_> =
            secrets.filter_map(|secret| Some((secret.file.as_deref()?, secret.placeholder.clone(), 0o600))).collect();
        if let Some(lent) = &self.network.lent_keys {
            files.push((Path::new(KNOWN_HOSTS), lent.known_hosts(), 0o644));
        }
        files
    }
}

/// Where a sandbox keeps its things on the host.
#[derive(Debug)]
pub struct Place {
    /// The sandbox's own directory, mode 0700. Files that are not in memory live below it, in `root/`.
    pub dir: OwnedFd,
    /// The directory of things that sandboxes share and that can be made again, mode 0700.
    pub cache: OwnedFd,
}

/// A path in a record: any bytes, where serde's own form would refuse what is not UTF-8.
mod os_path {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::path::{Path, PathBuf};
    use wire::OsBytes;

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        OsBytes::from(path).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        OsBytes::deserialize(deserializer).map(PathBuf::from)
    }
}

/// As [`os_path`], for one that may be missing.
mod os_path_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::path::PathBuf;
    use wire::OsBytes;

    pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(OsBytes::from).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        Ok(Option::<OsBytes>::deserialize(deserializer)?.map(PathBuf::from))
    }
}

/// As [`os_path`], for a list.
mod os_paths {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::path::PathBuf;
    use wire::OsBytes;

    pub(super) fn serialize<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(paths.iter().map(|path| OsBytes::from(path.as_path())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
        Ok(Vec::<OsBytes>::deserialize(deserializer)?.into_iter().map(PathBuf::from).collect())
    }
}

/// Where a sandbox that has its own certificate authority finds what it trusts.
pub mod trust {
    /// The authority's certificate alone, PEM.
    pub use egress::CERTIFICATE;
    /// What its image trusts and the authority, PEM.
    pub const BUNDLE: &str = "/etc/agentkernel/ca-bundle.pem";
    /// The same as a key store of Java.
    pub const JAVA: &str = "/etc/agentkernel/ca-bundle.jks";
    /// Where distributions keep what they trust, as one file, to which the authority is added.
    pub const SYSTEM: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    /// The variables by which common programs find it, beyond the system's own file.
    pub const VARIABLES: [(&str, &str); 9] = [
        // OpenSSL, and with it python and ruby; Go; rustls.
        ("SSL_CERT_FILE", BUNDLE),
        ("CURL_CA_BUNDLE", BUNDLE),
        ("GIT_SSL_CAINFO", BUNDLE),
        ("REQUESTS_CA_BUNDLE", BUNDLE),
        ("PIP_CERT", BUNDLE),
        ("CARGO_HTTP_CAINFO", BUNDLE),
        ("AWS_CA_BUNDLE", BUNDLE),
        ("DENO_CERT", CERTIFICATE),
        // On top of the ones that are built in.
        ("NODE_EXTRA_CA_CERTS", CERTIFICATE),
    ];
    /// The variable in which Java takes options, whatever they are about.
    pub const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";
    /// The option that names a key store, which is [`JAVA`].
    pub const JAVA_OPTION: &str = "-Djavax.net.ssl.trustStore=";
}
