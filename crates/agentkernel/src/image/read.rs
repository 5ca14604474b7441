//! Reads the documents of an image, each in a worker: what they say is worth no more than who wrote them.

use super::{
    ImageError, Images, Layer, Record,
    worker::{self, Reach},
};
use oci::{
    Digest, Platform,
    manifest::{Descriptor, Document, ImageConfig, Manifest, ManifestError},
};
use std::io::Read as _;
use wire::Failure;

/// What a document of a kind not known yet turned out to be.
pub(super) enum Kind {
    /// An image's manifest.
    Manifest(Manifest),
    /// An index, and what of it is for this platform.
    Index(Descriptor),
}

/// What can be done with an image for another machine.
const OTHER: &str =
    "`--platform` of `image pull`, `import` and `build` takes one of another machine, which does not run here";

impl Images {
    /// Reads a manifest, or what of an index is for a platform.
    pub(super) fn read_document(
        &self,
        bytes: &[u8],
        told: Option<&str>,
        platform: &Platform,
    ) -> Result<Kind, ImageError> {
        // A manifest comes back as we write it ourselves.
        type Found = (Option<Vec<u8>>, Option<Descriptor>);
        let (manifest, chosen): Found = ask(|| match Document::parse(bytes, told).map_err(refused)? {
            Document::Manifest(manifest) => Ok((Some(manifest.to_bytes().map_err(refused)?), None)),
            Document::Index(index) => match index.select(platform) {
                Some(chosen) => Ok((None, Some(chosen.clone()))),
                None => {
                    let platforms: Vec<String> = index.platforms().iter().map(ToString::to_string).collect();
                    let cause = format!("The image is not there for {platform}");
                    let hint = if platforms.is_empty() {
                        "It names no platform at all".to_owned()
                    } else {
                        format!("It is there for {}; {OTHER}", platforms.join(", "))
                    };
                    Err(Failure { cause, hint })
                }
            },
        })?;
        match (manifest.map(|bytes| Document::parse(&bytes, None)).transpose()?, chosen) {
            (Some(Document::Manifest(manifest)), None) => Ok(Kind::Manifest(manifest)),
            (None, Some(chosen)) => Ok(Kind::Index(chosen)),
            _ => Err(ImageError::Died { signal: None }),
        }
    }

    /// An image's record, by its manifest and its config.
    pub(super) fn read_image(&self, manifest: &[u8], config: &[u8], platform: &Platform) -> Result<Record, ImageError> {
        let digest = Digest::of(manifest);
        ask(|| {
            let Document::Manifest(document) = Document::parse(manifest, None).map_err(refused)? else {
                return Err(Failure::from("An index is no image".to_owned()));
            };
            let config = ImageConfig::parse(config).map_err(refused)?;
            config.matches(&document).map_err(refused)?;
            document.layer_kinds().map_err(refused)?;
            if platform.runs(&config.platform).is_none() {
                let cause = format!("The image is for {}, not for {platform}", config.platform);
                return Err(Failure { cause, hint: OTHER.into() });
            }
            let layers = document.layers.iter().zip(&config.rootfs.diff_ids);
            let layers = layers.map(|(layer, diff_id)| Layer {
                blob: layer.digest.clone(),
                size: layer.size,
                diff_id: diff_id.clone(),
            });
            Ok(Record {
                manifest: digest,
                config: document.config.digest.clone(),
                platform: config.platform,
                created: config.created,
                layers: layers.collect(),
                run: config.config,
            })
        })
    }

    /// Reads a config.
    pub(super) fn read_config(&self, bytes: &[u8]) -> Result<ImageConfig, ImageError> {
        ask(|| ImageConfig::parse(bytes).map_err(refused))
    }

    /// Reads a document that is here.
    pub(super) fn document(&self, wanted: &Descriptor, most: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some(file) = self.blob(wanted)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failed("read", wanted.digest.hex(), error))?;
        Ok(wanted.digest.names(&bytes).then_some(bytes))
    }
}

fn ask<T: serde::Serialize + serde::de::DeserializeOwned>(
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, ImageError> {
    worker::start(&[], Reach::Nothing, work)?.wait()
}

fn refused(error: ManifestError) -> Failure {
    Failure::from(wire::cause(&error))
}
