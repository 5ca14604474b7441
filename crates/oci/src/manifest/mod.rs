//! Hides the two families of documents that describe images, the OCI's and Docker's: either becomes one value, read
//! with limits and checked, and is written in one way.
//!
//! Unknown fields are left out. The bytes that came are what a digest names, so whoever passes an image on keeps those.

mod config;
pub mod media;

use crate::{Digest, Platform, text::shown};
use media::Compression;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

pub use config::{Healthcheck, History, ImageConfig, Port, Rootfs, RunConfig};

/// The longest index or manifest, in bytes, which is what registries take at most.
pub const MAX_MANIFEST: u64 = 4 << 20;
/// The longest config.
pub const MAX_CONFIG: u64 = 8 << 20;
/// How many layers an image has at most. Docker makes none with more than 127; overlayfs stacks 500 from Linux 6.5 on, of
/// which the rest is for what is laid over an image. Older kernels stack fewer, which a sandbox's start tells.
pub const MAX_LAYERS: usize = 400;
/// How many bytes an image's layers have at most, all together, as they travel.
pub const MAX_SIZE: u64 = 256 << 30;
/// How many manifests an index has at most.
pub const MAX_MANIFESTS: usize = 1000;
/// How many indexes may lead to a manifest: some hold an index for each platform, none more.
pub const MAX_DEPTH: usize = 2;

/// Why bytes are no image that we can use.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than anything like it is.
    #[error("The {what} has {size} bytes, of which {limit} are allowed")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// How long it is.
        size: u64,
        /// How long it may be.
        limit: u64,
    },
    /// Not JSON, or not of this shape.
    #[error("The {what} is not as it should be")]
    Json {
        /// Which document.
        what: &'static str,
        /// What is wrong with it, and where.
        #[source]
        source: serde_json::Error,
    },
    /// What registries had before 2016.
    #[error("The manifest is of schema 1, which names its layers by no digest of what they are")]
    Schema1,
    /// Another version.
    #[error("The manifest is of schema {0}, not 2")]
    Schema(u64),
    /// Neither an index nor a manifest.
    #[error("'{0}' is no image")]
    MediaType(String),
    /// Two statements about its type.
    #[error("The manifest is called '{told}' and calls itself '{own}'")]
    Mismatch {
        /// What the registry or the index says.
        told: String,
        /// What the document says.
        own: String,
    },
    /// It could be read as an index and as a manifest.
    #[error("The manifest has both layers and manifests")]
    Both,
    /// It has neither a config nor manifests.
    #[error("The manifest has neither a config nor manifests")]
    Neither,
    /// An artifact, such as a signature or a chart.
    #[error("'{0}' is no image that can be run")]
    NotAnImage(String),
    /// More than can be stacked.
    #[error("The image has {0} layers, of which {MAX_LAYERS} can be stacked")]
    TooManyLayers(usize),
    /// More than any index has.
    #[error("The index has {0} manifests, of which {MAX_MANIFESTS} are allowed")]
    TooManyManifests(usize),
    /// One digest with two sizes.
    #[error("The image names {0} with two sizes")]
    Sizes(Digest),
    /// More than any image has.
    #[error("The image's layers have {0} bytes, of which {MAX_SIZE} are allowed")]
    TooMuch(u64),
    /// A layer of a kind that we cannot unpack.
    #[error("Layer {index} is '{media_type}', which cannot be unpacked")]
    Layer {
        /// Which one, from 1 on.
        index: usize,
        /// Its type.
        media_type: String,
    },
    /// Config and manifest tell of different images.
    #[error("The image has {layers} layers, its config {diff_ids}")]
    LayerCount {
        /// How many the manifest has.
        layers: usize,
        /// How many the config has.
        diff_ids: usize,
    },
    /// A value of a config that would be obeyed.
    #[error("The image's {field} is not usable: {why}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It cannot be written.
    #[error("The {what} cannot be written")]
    Write {
        /// Which document.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What names other contents: their type, digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What they are; see [`media`].
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// How many bytes they have.
    pub size: u64,
    /// Where else they are: a foreign layer is in no registry.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Notes of whoever made them.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Which kind of artifact it is, if it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// What names these bytes.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// What names contents whose digest and size are known.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// One image for several platforms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u8,
    media_type: String,
    /// The manifest of each platform, and what else belongs to the image.
    pub manifests: Vec<Descriptor>,
    /// Notes of whoever made it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u8,
    media_type: String,
    /// The [`ImageConfig`].
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Notes of whoever made it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a tag or a digest leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image for several platforms.
    Index(Index),
    /// An image for one platform.
    Manifest(Manifest),
}

/// Either of them, as JSON has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(default, deserialize_with = "or_null")]
    annotations: BTreeMap<String, String>,
    artifact_type: Option<String>,
}

/// Just enough to tell an old one from a broken one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    #[serde(default)]
    schema_version: u64,
}

impl Document {
    /// Reads an index or a manifest. `told` is its type as the registry or the index has it, if it has any.
    ///
    /// # Errors
    /// [`ManifestError`] if it is neither, could be both, or is more than we can use.
    pub fn parse(bytes: &[u8], told: Option<&str>) -> Result<Self, ManifestError> {
        let what = "manifest";
        check_size(what, bytes, MAX_MANIFEST)?;
        let told = told.map(media::essence).filter(|told| !media::says_nothing(told));
        if told.as_deref().is_some_and(media::is_schema_1) {
            return Err(ManifestError::Schema1);
        }
        let json = |source| ManifestError::Json { what, source };
        // serde would take a list of the fields' values too, which nobody else does.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(json(serde::de::Error::custom("it is no object")));
        }
        // Schema 1 has other fields under the same names.
        match serde_json::from_slice::<Version>(bytes).map_err(json)?.schema_version {
            2 => {}
            1 => return Err(ManifestError::Schema1),
            other => return Err(ManifestError::Schema(other)),
        }
        let written: Written = serde_json::from_slice(bytes).map_err(json)?;
        // One document that two programs read as two images (CVE-2021-41190).
        let is_index = match (&written.manifests, written.config.is_some() || written.layers.is_some()) {
            (Some(_), true) => return Err(ManifestError::Both),
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => return Err(ManifestError::Neither),
        };
        let default = if is_index { media::OCI_INDEX } else { media::OCI_MANIFEST };
        let own = written.media_type.as_deref().map(media::essence).filter(|own| !own.is_empty());
        let media_type = match (told, own) {
            (Some(told), Some(own)) if told != own => {
                return Err(ManifestError::Mismatch { told: shown(&told), own: shown(&own) });
            }
            (Some(media_type), _) | (None, Some(media_type)) => media_type,
            (None, None) => default.to_owned(),
        };
        let says_index = match media_type.as_str() {
            media::OCI_INDEX | media::DOCKER_LIST => true,
            media::OCI_MANIFEST | media::DOCKER_MANIFEST => false,
            _ => return Err(ManifestError::MediaType(shown(&media_type))),
        };
        if says_index != is_index {
            return Err(ManifestError::Mismatch { told: shown(&media_type), own: default.to_owned() });
        }
        let annotations = written.annotations;
        if let Some(manifests) = written.manifests {
            if manifests.len() > MAX_MANIFESTS {
                return Err(ManifestError::TooManyManifests(manifests.len()));
            }
            return Ok(Self::Index(Index { schema_version: 2, media_type, manifests, annotations }));
        }
        let config = written.config.ok_or(ManifestError::Neither)?;
        let layers = written.layers.unwrap_or_default();
        if layers.len() > MAX_LAYERS {
            return Err(ManifestError::TooManyLayers(layers.len()));
        }
        if let Some(kind) = written.artifact_type.filter(|_| !media::is_config(&config.media_type)) {
            return Err(ManifestError::NotAnImage(shown(&kind)));
        }
        Ok(Self::Manifest(Manifest { schema_version: 2, media_type, config, layers, annotations }))
    }
}

impl Index {
    /// An OCI index of these manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests, annotations: BTreeMap::new() }
    }

    /// Which of the two kinds it is.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// What is best for this platform: of the manifests that it runs the one for the latest variant, of several the
    /// first; else the only one, if it does not say what it is for.
    #[must_use]
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let mut best: Option<(u16, &Descriptor)> = None;
        for descriptor in self.manifests.iter().filter(|descriptor| is_image(descriptor)) {
            let Some(level) = descriptor.platform.as_ref().and_then(|other| platform.runs(other)) else { continue };
            if best.is_none_or(|(other, _)| level > other) {
                best = Some((level, descriptor));
            }
        }
        if let Some((_, descriptor)) = best {
            return Some(descriptor);
        }
        match self.manifests.as_slice() {
            [only] if is_image(only) && only.platform.is_none() => Some(only),
            _ => None,
        }
    }

    /// The platforms that there are manifests for, each once.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        let mut found = Vec::new();
        for platform in self.manifests.iter().filter_map(|descriptor| descriptor.platform.clone()) {
            // Attestations say that they are for nothing.
            if platform.os != "unknown" && !found.contains(&platform) {
                found.push(platform);
            }
        }
        found
    }

    /// The bytes that go to a registry: the same for the same value.
    ///
    /// # Errors
    /// [`ManifestError::Write`], [`ManifestError::TooLarge`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        write("index", self, MAX_MANIFEST)
    }
}

/// Whether a descriptor in an index may lead to an image.
fn is_image(descriptor: &Descriptor) -> bool {
    let known = [media::OCI_INDEX, media::DOCKER_LIST, media::OCI_MANIFEST, media::DOCKER_MANIFEST];
    known.contains(&media::essence(&descriptor.media_type).as_str()) && descriptor.artifact_type.is_none()
}

impl Manifest {
    /// An OCI manifest.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let media_type = media::OCI_MANIFEST.to_owned();
        Self { schema_version: 2, media_type, config, layers, annotations: BTreeMap::new() }
    }

    /// Which of the two kinds it is.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// How each layer travels, if all of them can be unpacked and this is an image.
    ///
    /// # Errors
    /// [`ManifestError::NotAnImage`], [`ManifestError::Layer`], [`ManifestError::Sizes`], [`ManifestError::TooMuch`].
    pub fn layer_kinds(&self) -> Result<Vec<Compression>, ManifestError> {
        if !media::is_config(&self.config.media_type) {
            return Err(ManifestError::NotAnImage(shown(&self.config.media_type)));
        }
        let mut sizes = BTreeMap::new();
        for layer in &self.layers {
            if *sizes.entry(&layer.digest).or_insert(layer.size) != layer.size {
                return Err(ManifestError::Sizes(layer.digest.clone()));
            }
        }
        if self.size() > MAX_SIZE {
            return Err(ManifestError::TooMuch(self.size()));
        }
        let kind = |(index, layer): (usize, &Descriptor)| {
            let unknown = || ManifestError::Layer { index: index + 1, media_type: shown(&layer.media_type) };
            Compression::of(&layer.media_type).ok_or_else(unknown)
        };
        self.layers.iter().enumerate().map(kind).collect()
    }

    /// Bytes of all layers, as they travel.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }

    /// The bytes that go to a registry: the same for the same value.
    ///
    /// # Errors
    /// [`ManifestError::Write`], [`ManifestError::TooLarge`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        write("manifest", self, MAX_MANIFEST)
    }
}

fn check_size(what: &'static str, bytes: &[u8], limit: u64) -> Result<(), ManifestError> {
    let size = bytes.len() as u64;
    if size > limit { Err(ManifestError::TooLarge { what, size, limit }) } else { Ok(()) }
}

fn write(what: &'static str, value: &impl Serialize, limit: u64) -> Result<Vec<u8>, ManifestError> {
    let bytes = serde_json::to_vec(value).map_err(|source| ManifestError::Write { what, source })?;
    check_size(what, &bytes, limit)?;
    Ok(bytes)
}

/// Go writes an empty list or map as `null`.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
