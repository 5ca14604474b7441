//! Images on their way out: to a registry, and into an archive; the bytes are those that came.

use super::{
    ImageError, Images, Record, open,
    pull::in_runtime,
    worker::{self, Reach},
};
use oci::{
    Digest, Reference,
    manifest::{Descriptor, Document, Index, MAX_MANIFEST, Manifest, media::OCI_MANIFEST},
    registry::{RegistryError, Settings},
};
use rustix::{
    fd::{AsFd as _, BorrowedFd},
    fs::{self, AtFlags, Mode, OFlags},
};
use std::{
    fs::File,
    io::{Read as _, Write},
};
use wire::Failure;

impl Images {
    /// Sends an image to the registry of a name, in whose repository it may be already in part.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn push(&self, record: &Record, reference: &Reference, settings: &Settings) -> Result<(), ImageError> {
        let _guard = self.keep()?;
        let (manifest, bytes) = self.manifest(record)?;
        let mut files = Vec::new();
        for descriptor in contents(&manifest) {
            files.push((descriptor.clone(), self.whole(descriptor)?));
        }
        let fds: Vec<BorrowedFd<'_>> = files.iter().map(|(_, file)| file.as_fd()).collect();
        let work = || {
            in_runtime(settings, RegistryError::hint, async |client| {
                for ((descriptor, _), file) in files.iter().zip(&fds) {
                    if client.has_blob(reference, &descriptor.digest).await? {
                        continue;
                    }
                    let mut source = File::from(file.try_clone_to_owned().map_err(RegistryError::Read)?);
                    client.push_blob(reference, descriptor, &mut source, &|_| {}).await?;
                }
                client.push_manifest(reference, manifest.media_type(), &bytes).await.map(drop)
            })
        };
        worker::start(&fds, Reach::Internet, work)?.wait()
    }

    /// Writes an image as an archive of an OCI layout, which others read: the manifest is called by the name, if
    /// that is one and no digest.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn export(&self, record: &Record, name: &Reference, to: impl Write) -> Result<(), ImageError> {
        let _guard = self.keep()?;
        let (manifest, bytes) = self.manifest(record)?;
        let mut entry = Descriptor::of(manifest.media_type(), &bytes);
        if self.find_tag(name)?.is_some() {
            entry.annotations = [
                ("io.containerd.image.name".to_owned(), name.to_string()),
                ("org.opencontainers.image.ref.name".to_owned(), name.to_string()),
            ]
            .into();
        }
        let layout = self.scratch("export")?;
        let made = (|| {
            let failed = |errno| self.failed("make", "work", errno);
            for dir in ["blobs", "blobs/sha256", "blobs/sha512"] {
                fs::mkdirat(&layout.dir, dir, Mode::from_raw_mode(0o755)).map_err(failed)?;
            }
            let own = Descriptor::new(OCI_MANIFEST, record.manifest.clone(), bytes.len() as u64);
            for descriptor in contents(&manifest).chain([&own]) {
                self.whole(descriptor)?;
                let place = format!("blobs/{}/{}", descriptor.digest.algorithm().name(), descriptor.digest.hex());
                let linked =
                    fs::linkat(&self.blobs, descriptor.digest.hex(), &layout.dir, place.as_str(), AtFlags::empty());
                match linked {
                    // The same layer twice.
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
            let index = Index::new(vec![entry]).to_bytes()?;
            for (name, bytes) in [("oci-layout", &br#"{"imageLayoutVersion":"1.0.0"}"#[..]), ("index.json", &index)] {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = fs::openat(&layout.dir, name, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
                File::from(file).write_all(bytes).map_err(|error| self.failed("write", "work", error))?;
            }
            let packed = archive::layer::pack(layout.dir.as_fd(), &archive::layer::PackLayerOptions::default(), to);
            packed.map(drop).map_err(|error| {
                ImageError::Refused(Failure { cause: wire::cause(&error), hint: error.hint().to_owned() })
            })
        })();
        let removed = self.remove_tree(&self.work, "work", &layout.name);
        made.and(removed)
    }

    /// An image's manifest, and its bytes as they came.
    pub(super) fn manifest(&self, record: &Record) -> Result<(Manifest, Vec<u8>), ImageError> {
        let mut bytes = Vec::new();
        let missing = || self.gone(&record.manifest);
        let file = open(&self.blobs, record.manifest.hex()).map_err(|_| missing())?;
        let read = File::from(file).take(MAX_MANIFEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failed("read", record.manifest.hex(), error))?;
        if !record.manifest.names(&bytes) {
            return Err(missing());
        }
        // It is ours: its first reading was in a worker.
        match Document::parse(&bytes, None)? {
            Document::Manifest(manifest) => Ok((manifest, bytes)),
            Document::Index(_) => Err(missing()),
        }
    }

    /// Contents that must be here, and what they are called.
    pub(super) fn whole(&self, descriptor: &Descriptor) -> Result<File, ImageError> {
        self.sound(descriptor)?.ok_or_else(|| self.gone(&descriptor.digest))
    }

    pub(super) fn gone(&self, digest: &Digest) -> ImageError {
        let cause = format!("{digest} is not in the store any more, or damaged");
        ImageError::Refused(Failure { cause, hint: "Pull or import the image again".to_owned() })
    }
}

/// Config and layers.
fn contents(manifest: &Manifest) -> impl Iterator<Item = &Descriptor> {
    manifest.layers.iter().chain([&manifest.config])
}
