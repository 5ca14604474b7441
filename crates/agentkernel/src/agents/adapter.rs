//! Hides what stands in an adapter's file, and what of it is a mistake.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci::{Digest, Platform, Reference};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// The longest file that is read.
const LONGEST: u64 = 1 << 20;
/// The registry that images of agents are called by: nobody has it (RFC 2606), so that none is ever asked for one.
const NOBODY: &str = "agents.invalid";

/// What is known of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adapter {
    /// What it is called here: `[a-z0-9-]`.
    pub name: String,
    /// What its makers call it.
    pub title: String,
    /// Which version is installed.
    pub version: String,
    /// The program and what always stands before other arguments, as it lies in the image.
    pub command: Vec<String>,
    /// How its image is made: a Dockerfile, whose `ADD` finds the packages by the names of their files.
    pub dockerfile: String,
    /// What it is made of.
    #[serde(default)]
    pub packages: Vec<Package>,
}

/// A package of npm, as its registry packs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// What it is called in the Dockerfile.
    pub file: String,
    /// For which platform it is, as `linux/amd64`; without, for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What npm calls it.
    pub npm: String,
    /// Its version.
    pub version: String,
    /// How many bytes it has.
    pub size: u64,
    /// What it is: `sha512-` and the hash in base64, as npm has it.
    pub integrity: String,
}

/// What is wrong with an adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// A file can't be read.
    #[error("Can't read {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not an adapter.
    #[error("{}:{line}: {cause}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Why.
        cause: String,
    },
    /// Nobody knows an agent of this name.
    #[error("No agent is called '{}'", name.escape_debug())]
    Unknown {
        /// Which.
        name: String,
        /// Those that are known.
        names: Vec<String>,
    },
    /// It is not made for this machine.
    #[error("{title} {version} has no package for {platform}")]
    Platform {
        /// Which.
        title: String,
        /// Of it.
        version: String,
        /// What this machine is.
        platform: String,
    },
}

impl AdapterError {
    /// What its user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self::Unknown { name, names } = self else { return String::new() };
        match crate::config::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean '{near}'? 'agentkernel agents' lists them"),
            None => format!("Known are {}; './FILE.toml' names a file of yours", names.join(", ")),
        }
    }
}

impl Adapter {
    /// Reads one from its file.
    ///
    /// # Errors
    /// [`AdapterError`]
    pub fn read(path: &Path) -> Result<Self, AdapterError> {
        let failed = |source| AdapterError::Io { path: path.into(), source };
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).map_err(failed)?;
        Self::parse(&text, path)
    }

    /// Parses one.
    ///
    /// # Errors
    /// [`AdapterError::Malformed`], with this path.
    pub fn parse(text: &str, path: &Path) -> Result<Self, AdapterError> {
        let malformed = |at: usize, cause: String| {
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            AdapterError::Malformed { path: path.into(), line, cause }
        };
        let adapter: Self = toml_edit::de::from_str(text).map_err(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join(" ");
            malformed(error.span().map_or(0, |span| span.start), message)
        })?;
        // Where a value stands is found by what it is: two that are the same are wrong alike.
        adapter.check().map_err(|(value, cause)| malformed(text.find(value).unwrap_or(0), cause))?;
        Ok(adapter)
    }

    /// What is wrong, with the value that is.
    fn check(&self) -> Result<(), (&str, String)> {
        let named = |text: &str| {
            text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        };
        if !named(&self.name) || self.name.len() > 40 {
            return Err((&self.name, format!("`name` has a-z, 0-9 and '-' only, not '{}'", self.name.escape_debug())));
        }
        if self.reference().is_none() {
            return Err((&self.version, format!("`version` is no tag: '{}'", self.version.escape_debug())));
        }
        match self.command.first() {
            Some(program) if program.starts_with('/') => {}
            Some(program) => return Err((program, "`command` begins with an absolute path in the image".to_owned())),
            None => return Err((&self.name, "`command` is empty".to_owned())),
        }
        let mut files = BTreeSet::new();
        for package in &self.packages {
            let Package { file, platform, npm, integrity, .. } = package;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if file.is_empty() || file.starts_with('.') || !file.bytes().all(plain) {
                return Err((file, format!("`file` is no plain name: '{}'", file.escape_debug())));
            }
            if !files.insert((file, platform)) {
                return Err((file, format!("`file` '{file}' is there twice")));
            }
            if let Some(platform) = platform
                && platform.parse::<Platform>().is_err()
            {
                return Err((platform, format!("`platform` is none: '{}'", platform.escape_debug())));
            }
            let scoped = npm.strip_prefix('@').map_or(Some(("", npm.as_str())), |rest| rest.split_once('/'));
            let good = |part: &str| part.bytes().all(plain) && !part.starts_with('.');
            if !scoped.is_some_and(|(scope, name)| good(scope) && good(name) && !name.is_empty()) {
                return Err((npm, format!("`npm` is no package's name: '{}'", npm.escape_debug())));
            }
            if package.digest().is_none() {
                return Err((integrity, "`integrity` is no 'sha512-' and a hash in base64".to_owned()));
            }
        }
        Ok(())
    }

    /// What its image is called in the store. `None`: the version can't be a tag.
    #[must_use]
    pub fn reference(&self) -> Option<Reference> {
        format!("{NOBODY}/{}:{}", self.name, self.version).parse().ok()
    }

    /// The agent's name and version that an image of the store has, if it is one of an agent.
    #[must_use]
    pub fn of_image(reference: &str) -> Option<(&str, &str)> {
        reference.strip_prefix(NOBODY)?.strip_prefix('/')?.split_once(':')
    }

    /// Its packages for a platform.
    ///
    /// # Errors
    /// If there is none of a file for it.
    pub fn packages_for(&self, platform: &Platform) -> Result<Vec<&Package>, AdapterError> {
        let runs = |package: &&Package| {
            let own = package.platform.as_ref().and_then(|text| text.parse::<Platform>().ok());
            own.is_none_or(|own| platform.runs(&own).is_some())
        };
        let chosen: Vec<&Package> = self.packages.iter().filter(runs).collect();
        let files: BTreeSet<&str> = self.packages.iter().map(|package| package.file.as_str()).collect();
        if files.iter().all(|file| chosen.iter().any(|package| package.file == *file)) {
            return Ok(chosen);
        }
        let (title, version) = (self.title.clone(), self.version.clone());
        Err(AdapterError::Platform { title, version, platform: platform.to_string() })
    }
}

impl Package {
    /// What it is. `None`: `integrity` is none.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let hash = STANDARD.decode(self.integrity.strip_prefix("sha512-")?).ok()?;
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha512:{hex}").parse().ok()
    }

    /// Its address at a registry, which ends with a slash.
    #[must_use]
    pub fn address(&self, registry: &str) -> String {
        let name = self.npm.rsplit('/').next().unwrap_or(&self.npm);
        format!("{registry}{}/-/{name}-{}.tgz", self.npm, self.version)
    }
}
