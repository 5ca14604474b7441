//! Which image is meant, and what is known of one before there is a sandbox.

use super::{
    forms::{FormError, wrong},
    identity::image_has,
    project::Project,
    resolve::Overrides,
};
use crate::{Image, OciImage, engine::Endpoint};
use oci::{Platform, Reference, registry::Mirror};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

/// An image as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageArg {
    /// `host`
    Host,
    /// `dir:PATH`
    Dir(PathBuf),
    /// Anything else: a name in the store, or in a registry.
    Named(Reference),
}

/// An image of the store or of an engine, with what of it decides how a sandbox is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundImage {
    /// What it is.
    pub image: Image,
    /// The engine that has it, if one has.
    pub engine: Option<FoundEngine>,
    /// Who its programs run as, as the image says: empty, or a user's name or id, and `:GID`.
    pub user: String,
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// What stands before the command.
    pub entrypoint: Vec<String>,
    /// The command where none is given.
    pub command: Vec<String>,
    /// Where commands start if there is no project; empty: nothing is said.
    pub workdir: String,
    /// Its /etc/passwd.
    pub passwd: Vec<u8>,
    /// Its /etc/group.
    pub group: Vec<u8>,
    /// Whether it has /bin/bash.
    pub has_bash: bool,
    /// Whether its programs are linked to musl.
    pub has_musl: bool,
}

/// An image of the store whose files lie over another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLayer {
    /// What it is.
    pub image: OciImage,
    /// Its variables, `NAME=VALUE`.
    pub env: Vec<String>,
}

/// What is known of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundEngine {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether its containers have other ids than the host, so that their root is nobody's but the caller.
    pub maps_ids: bool,
    /// What its image runs on.
    pub platform: Platform,
}

/// `host`, `dir:PATH`, or the name of an image. A relative path stays relative.
///
/// # Errors
/// If it is none of them.
pub fn parse_image(text: &OsStr) -> Result<ImageArg, FormError> {
    let bytes = text.as_bytes();
    match bytes.strip_prefix(b"dir:") {
        Some(path) if !path.is_empty() && !bytes.contains(&0) => Ok(ImageArg::Dir(OsStr::from_bytes(path).into())),
        Some(_) => wrong(text, "no directory is named: use 'dir:PATH'"),
        None if bytes == b"host" => Ok(ImageArg::Host),
        None => match text.to_str().map(str::parse::<Reference>) {
            Some(Ok(reference)) => Ok(ImageArg::Named(reference)),
            Some(Err(error)) => {
                wrong(text, format!("not an image: {error}; use 'host', 'dir:PATH', or a name such as 'debian:12'"))
            }
            None => wrong(text, "not an image: use 'host', 'dir:PATH', or a name such as 'debian:12'"),
        },
    }
}

/// The name of an image.
///
/// # Errors
/// If it is none.
pub fn parse_layer(text: &str) -> Result<Reference, FormError> {
    text.parse().or_else(|error| wrong(text, format!("not an image: {error}; use a name such as 'tools/node:22'")))
}

/// A registry: `HOST` or `HOST:PORT`, as it stands in names of images.
///
/// # Errors
/// If it is none.
pub(super) fn parse_registry(text: &str) -> Result<String, FormError> {
    match format!("{text}/any").parse::<Reference>() {
        Ok(reference) if reference.registry() == text => Ok(text.to_owned()),
        _ => wrong(text, "not a registry: use HOST or HOST:PORT, as in names of images"),
    }
}

/// Another registry that has the images of one: `HOST`, `HOST:PORT`, with `/PREFIX` where repositories lie deeper there.
///
/// # Errors
/// If it is none.
pub(super) fn parse_mirror(text: &str) -> Result<Mirror, FormError> {
    let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
    let prefix = prefix.trim_end_matches('/');
    let there = if prefix.is_empty() { format!("{host}/any") } else { format!("{host}/{prefix}/any") };
    match there.parse::<Reference>() {
        Ok(reference) if reference.registry() == host => {
            Ok(Mirror { host: host.to_owned(), prefix: prefix.to_owned() })
        }
        _ => wrong(text, "not a mirror: use HOST, HOST:PORT, or HOST/PREFIX"),
    }
}

/// Whether the programs of the image that is meant are linked to musl.
#[must_use]
pub fn has_musl(overrides: &Overrides, project: &Project) -> bool {
    if let Some(found) = &overrides.found {
        return found.has_musl;
    }
    let written = || project.file.as_ref()?.settings.image.as_ref().map(|located| &located.value);
    let image = match overrides.image.as_ref().or_else(written) {
        Some(ImageArg::Dir(dir)) => Image::Dir(project.dir.join(dir)),
        _ => Image::Host,
    };
    let (musl, glibc) = Image::musl();
    image_has(&image, &musl) && !image_has(&image, &glibc)
}

/// The image that is to be found before a sandbox can be resolved, if it is one of the store.
#[must_use]
pub fn named_image<'a>(overrides: &'a Overrides, project: &'a Project) -> Option<&'a Reference> {
    let written = || project.file.as_ref()?.settings.image.as_ref().map(|located| &located.value);
    match overrides.image.as_ref().or_else(written) {
        Some(ImageArg::Named(reference)) => Some(reference),
        _ => None,
    }
}

/// The layers that the project lays over its image, the lowest first: they are locked, those of flags are not.
#[must_use]
pub fn own_layers(overrides: &Overrides, project: &Project) -> Vec<Reference> {
    let file = project.file.as_ref().filter(|_| overrides.image.is_none());
    let layers = file.map(|file| &file.settings.layers[..]).unwrap_or_default();
    layers.iter().map(|layer| layer.value.clone()).collect()
}
