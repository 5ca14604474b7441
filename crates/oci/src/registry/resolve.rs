//! Hides the way from a name to the manifest of an image, and to small blobs: every byte is what a digest says, or what
//! the registry says a tag is.

use super::{Ask, Client, Download, Place, RegistryError};
use crate::{
    Digest, Platform, Reference,
    manifest::{
        Descriptor, Document, ImageConfig, Index, MAX_CONFIG, MAX_DEPTH, MAX_MANIFEST, Manifest, ManifestError, media,
    },
};
use http::{Method, header};
use std::io::Cursor;

/// A document as it came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The very bytes.
    pub bytes: Vec<u8>,
    /// What names them.
    pub digest: Digest,
    /// What they say.
    pub document: Document,
}

impl Fetched {
    /// Their type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match &self.document {
            Document::Index(index) => index.media_type(),
            Document::Manifest(manifest) => manifest.media_type(),
        }
    }
}

/// Where a name has led to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The indexes on the way, the outermost first.
    pub indexes: Vec<Fetched>,
    /// The manifest's very bytes.
    pub bytes: Vec<u8>,
    /// What names them.
    pub digest: Digest,
    /// What they say.
    pub manifest: Manifest,
}

impl Resolved {
    /// What the name itself stands for: the outermost index, or the manifest. To be pinned to, whatever the platform.
    #[must_use]
    pub fn top(&self) -> &Digest {
        self.indexes.first().map_or(&self.digest, |index| &index.digest)
    }
}

/// What is asked for by a name: everything that we can read.
const ACCEPTED: [&str; 4] = [media::OCI_INDEX, media::DOCKER_LIST, media::OCI_MANIFEST, media::DOCKER_MANIFEST];

impl Client {
    /// The manifest that a name stands for on a platform. If the name leads to a manifest at once, that is taken: its
    /// config says what it is for.
    ///
    /// # Errors
    /// [`RegistryError`]; [`RegistryError::Platform`] lists what there is instead.
    pub async fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<Resolved, RegistryError> {
        let mut indexes: Vec<Fetched> = Vec::new();
        let mut fetched = self.document(reference).await?;
        loop {
            let index = match fetched.document {
                Document::Manifest(manifest) => {
                    return Ok(Resolved { indexes, bytes: fetched.bytes, digest: fetched.digest, manifest });
                }
                Document::Index(ref index) => index,
            };
            if indexes.len() >= MAX_DEPTH {
                return Err(RegistryError::TooDeep);
            }
            let next = select(index, platform)?.clone();
            indexes.push(fetched);
            fetched = self.document_of(reference, &next).await?;
        }
    }

    /// The index or manifest that a name stands for, whatever it is for.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn document(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        self.anywhere(reference, async |place| self.fetch(place, reference.tag(), reference.digest(), None).await).await
    }

    /// What a descriptor in an index names.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn document_of(&self, reference: &Reference, descriptor: &Descriptor) -> Result<Fetched, RegistryError> {
        let digest = Some(&descriptor.digest);
        self.anywhere(reference, async |place| self.fetch(place, None, digest, Some(descriptor)).await).await
    }

    /// The digest that a tag has now, without what it names: asking so counts for no limit. None if there is no such tag,
    /// or the registry does not say.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn digest(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let found = self
            .anywhere(reference, async |place| {
                let pinned = reference.digest().map(ToString::to_string);
                let name = pinned.as_deref().or(reference.tag()).unwrap_or_default();
                let answer = self.ask(place, &ask_for(place, Method::HEAD, name)?).await?;
                let digest = answer.header("docker-content-digest").and_then(|text| text.parse().ok());
                self.discard(answer).await;
                Ok(digest)
            })
            .await;
        match found {
            Err(RegistryError::NotFound { .. }) => Ok(None),
            found => found,
        }
    }

    /// The config of an image, whose manifest it must match.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn config(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<(Vec<u8>, ImageConfig), RegistryError> {
        manifest.layer_kinds()?;
        let descriptor = &manifest.config;
        if descriptor.size > MAX_CONFIG {
            let (what, size, limit) = ("image's config", descriptor.size, MAX_CONFIG);
            return Err(ManifestError::TooLarge { what, size, limit }.into());
        }
        let mut download = Download::new(descriptor, Cursor::new(Vec::new()));
        self.blob(reference, &mut download, &|_| {}).await?;
        let bytes = download.into_inner().into_inner();
        let config = ImageConfig::parse(&bytes)?;
        config.matches(manifest)?;
        Ok((bytes, config))
    }

    async fn fetch(
        &self,
        place: &Place,
        tag: Option<&str>,
        digest: Option<&Digest>,
        descriptor: Option<&Descriptor>,
    ) -> Result<Fetched, RegistryError> {
        let pinned = digest.map(ToString::to_string);
        let name = pinned.as_deref().or(tag).unwrap_or_default();
        let ask = ask_for(place, Method::GET, name)?;
        let (bytes, told, said) = self
            .retried(async || {
                let answer = self.ask_once(place, &ask, super::Answered::Anywhere).await?;
                let told = answer.header("content-type").map(str::to_owned);
                let said = answer.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
                Ok((answer.bytes(&self.pool, "a manifest", MAX_MANIFEST).await?, told, said))
            })
            .await?;
        let expected = digest.or(said.as_ref());
        let digest = match expected {
            Some(expected) if expected.names(&bytes) => expected.clone(),
            Some(expected) => {
                let (host, expected, found) = (place.host.clone(), expected.clone(), Digest::of(&bytes));
                return Err(RegistryError::Digest { host, expected, found });
            }
            None => Digest::of(&bytes),
        };
        if let Some(descriptor) = descriptor.filter(|descriptor| descriptor.size != bytes.len() as u64) {
            let (host, expected, found) = (place.host.clone(), descriptor.size, bytes.len() as u64);
            return Err(RegistryError::Size { host, digest, expected, found });
        }
        // What names it by its digest knows better what it is than the server.
        let told = descriptor.map(|descriptor| descriptor.media_type.clone()).or(told);
        let document = Document::parse(&bytes, told.as_deref())?;
        Ok(Fetched { bytes, digest, document })
    }
}

fn select<'a>(index: &'a Index, platform: &Platform) -> Result<&'a Descriptor, RegistryError> {
    index.select(platform).ok_or_else(|| RegistryError::Platform { wanted: platform.clone(), there: index.platforms() })
}

fn ask_for(place: &Place, method: Method, name: &str) -> Result<Ask<'static>, RegistryError> {
    let url = place.url(&format!("manifests/{name}"));
    Ask::new(method, url, place.scope("pull"), "such image").header(header::ACCEPT, &ACCEPTED.join(", "))
}
