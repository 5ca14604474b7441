//! Hides an image's config: what of it would be obeyed is checked before anybody can.

use super::{MAX_CONFIG, MAX_LAYERS, Manifest, ManifestError, check_size, or_null, write};
use crate::{Digest, Platform, text::shown};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The longest argument or variable that execve(2) takes, with its NUL.
const MAX_STRING: usize = 128 << 10;
/// Bytes of arguments and variables together, below what execve(2) takes with the usual stack of 8 MiB.
const MAX_STRINGS: usize = 1 << 20;
/// How many of anything there are.
const MAX_COUNT: usize = 4096;
/// All ports of all protocols.
const MAX_PORTS: usize = 3 * 65535;
/// The longest path, with its NUL (path_resolution(7)).
const MAX_PATH: usize = 4096;
/// The longest user and the longest signal.
const MAX_WORD: usize = 256;

/// What an image is, and how its programs are started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, as RFC 3339 has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// How its programs are started.
    #[serde(default, deserialize_with = "or_null")]
    pub config: RunConfig,
    /// Its layers as they are unpacked.
    pub rootfs: Rootfs,
    /// How it was made, a step each.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// How an image's programs are started. Empty means that nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// A user and a group, by name or number: `USER`, `USER:GROUP`.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The ports that it serves. Nothing is opened by that.
    #[serde(deserialize_with = "ports::read", serialize_with = "ports::write", skip_serializing_if = "Vec::is_empty")]
    pub exposed_ports: Vec<Port>,
    /// Variables, `NAME=VALUE`; one without `=` is to be unset.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program with its first arguments.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The arguments behind those, or the program, if no others are given.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Where data is that should outlive the image: absolute paths.
    #[serde(deserialize_with = "sets::read", serialize_with = "sets::write", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Where programs start: an absolute path.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Notes of whoever made it.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What asks the program to end, a name or a number.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How to see whether it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// What runs the lines of a Dockerfile.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Lines for a Dockerfile that begins with this image.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
}

/// How to see whether a program works; times are in nanoseconds, 0 is the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a line.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two looks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// For one look.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// In which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between two looks in that time.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// How many failures in a row count.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An image's layers as they are unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digest of each layer's tar archive, the lowest first.
    #[serde(default, deserialize_with = "or_null")]
    pub diff_ids: Vec<Digest>,
}

/// One step of those that made an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, as RFC 3339 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A note.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// A port, or a range of ports, that an image serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The first one.
    pub first: u16,
    /// The last one, the same if it is one.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl FromStr for Port {
    type Err = String;

    /// `PORT[-PORT][/PROTOCOL]`; TCP if no protocol is given.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{}' is no port such as 80/tcp", shown(text));
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|number| digits && *number != 0).ok_or_else(wrong)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
            return Err(wrong());
        }
        Ok(Self { first, last, protocol })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, protocol } = self;
        if first == last { write!(f, "{first}/{protocol}") } else { write!(f, "{first}-{last}/{protocol}") }
    }
}

/// Go has no sets: it writes them as the keys of a map whose values are empty.
mod sets {
    use serde::{Deserialize, Deserializer, Serializer, de::IgnoredAny};
    use std::{collections::BTreeMap, fmt::Display};

    pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        let map = Option::<BTreeMap<String, IgnoredAny>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(map.into_keys().collect())
    }

    pub fn write<S: Serializer>(values: &[impl Display], serializer: S) -> Result<S::Ok, S::Error> {
        let keys: std::collections::BTreeSet<String> = values.iter().map(ToString::to_string).collect();
        serializer.collect_map(keys.iter().map(|key| (key, BTreeMap::<&str, &str>::new())))
    }
}

mod ports {
    use super::{Port, sets};
    use serde::{Deserializer, Serializer, de::Error};

    pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Port>, D::Error> {
        sets::read(deserializer)?.iter().map(|port| port.parse().map_err(D::Error::custom)).collect()
    }

    pub fn write<S: Serializer>(ports: &[Port], serializer: S) -> Result<S::Ok, S::Error> {
        sets::write(ports, serializer)
    }
}

impl ImageConfig {
    /// Reads a config and checks what would be obeyed.
    ///
    /// # Errors
    /// [`ManifestError`] if it is none, or a value in it cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let what = "image's config";
        check_size(what, bytes, MAX_CONFIG)?;
        let config: Self = serde_json::from_slice(bytes).map_err(|source| ManifestError::Json { what, source })?;
        config.check()?;
        Ok(config)
    }

    /// Whether it has as many layers as its manifest.
    ///
    /// # Errors
    /// [`ManifestError::LayerCount`] if not.
    pub fn matches(&self, manifest: &Manifest) -> Result<(), ManifestError> {
        let (layers, diff_ids) = (manifest.layers.len(), self.rootfs.diff_ids.len());
        if layers == diff_ids { Ok(()) } else { Err(ManifestError::LayerCount { layers, diff_ids }) }
    }

    /// The bytes that go to a registry: the same for the same value.
    ///
    /// # Errors
    /// [`ManifestError`] if it could not be read again.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        write("image's config", self, MAX_CONFIG)
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.rootfs.kind != "layers" {
            return Err(wrong("rootfs", format!("'{}' is not 'layers'", shown(&self.rootfs.kind))));
        }
        if self.rootfs.diff_ids.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(self.rootfs.diff_ids.len()));
        }
        let run = &self.config;
        let lists = [
            ("environment", &run.env),
            ("entrypoint", &run.entrypoint),
            ("command", &run.cmd),
            ("shell", &run.shell),
            ("health check", &run.healthcheck.as_ref().map(|check| check.test.clone()).unwrap_or_default()),
        ];
        for (field, list) in lists {
            strings(field, list)?;
        }
        if let Some(bad) = run.env.iter().find(|variable| variable.is_empty() || variable.starts_with('=')) {
            return Err(wrong("environment", format!("'{}' has no name", shown(bad))));
        }
        plain("user", &run.user, MAX_WORD)?;
        plain("stop signal", &run.stop_signal, MAX_WORD)?;
        if !run.working_dir.is_empty() {
            path("working directory", &run.working_dir)?;
        }
        for (field, count, most) in
            [("list of volumes", run.volumes.len(), MAX_COUNT), ("list of ports", run.exposed_ports.len(), MAX_PORTS)]
        {
            if count > most {
                return Err(wrong(field, format!("there are more than {most}")));
            }
        }
        // A relative one begins at the root.
        run.volumes.iter().try_for_each(|volume| path("volume", &format!("/{}", volume.trim_start_matches('/'))))
    }
}

fn wrong(field: &'static str, why: String) -> ManifestError {
    ManifestError::Field { field, why }
}

/// What execve(2) gets.
fn strings(field: &'static str, list: &[String]) -> Result<(), ManifestError> {
    if list.len() > MAX_COUNT {
        return Err(wrong(field, format!("it has {} parts, of which {MAX_COUNT} are allowed", list.len())));
    }
    let mut sum = 0;
    for text in list {
        if text.contains('\0') {
            return Err(wrong(field, format!("'{}' has a NUL in it", shown(text))));
        }
        if text.len() >= MAX_STRING {
            return Err(wrong(field, format!("a part has {} bytes", text.len())));
        }
        sum += text.len() + 1;
    }
    if sum > MAX_STRINGS {
        return Err(wrong(field, format!("it has {sum} bytes, of which {MAX_STRINGS} are allowed")));
    }
    Ok(())
}

/// A word on one line: it may go into /etc/passwd's questions and onto terminals.
fn plain(field: &'static str, text: &str, longest: usize) -> Result<(), ManifestError> {
    if text.len() > longest {
        return Err(wrong(field, format!("it has {} bytes, of which {longest} are allowed", text.len())));
    }
    if text.contains(char::is_control) {
        return Err(wrong(field, format!("'{}' has control characters", shown(text))));
    }
    Ok(())
}

/// An absolute path.
fn path(field: &'static str, text: &str) -> Result<(), ManifestError> {
    if !text.starts_with('/') {
        return Err(wrong(field, format!("'{}' is not absolute", shown(text))));
    }
    if text.len() >= MAX_PATH {
        return Err(wrong(field, format!("a path has {} bytes", text.len())));
    }
    if text.contains('\0') {
        return Err(wrong(field, format!("'{}' has a NUL in it", shown(text))));
    }
    Ok(())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
