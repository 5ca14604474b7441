//! Images from registries: one worker asks what there is, another brings the layers, and others unpack them as they come.

use super::{
    ImageError, Images, Layer, Record,
    error::told,
    is,
    layers::{Progress, Stage},
    read::Kind,
    worker::{self, Reach, Worker},
};
use oci::{
    Digest, Platform, Reference,
    manifest::{Descriptor, Document, Manifest},
    registry::{Client, Download, RegistryError, Settings},
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, FlockOperation, Mode, OFlags},
    io::Errno,
    pipe::PipeFlags,
};
use serde::{Deserialize, Serialize};
use std::{fs::File, path::Path};
use wire::Failure;

/// Ends the name of a blob that has come in part.
const PART: &str = ".part";

/// What a registry has by a name.
#[derive(Serialize, Deserialize)]
struct Resolved {
    /// The indexes that lead to the manifest, the outermost first.
    indexes: Vec<Vec<u8>>,
    manifest: Vec<u8>,
    config: Vec<u8>,
}

/// A layer, or another file, that is brought.
pub(super) struct Coming {
    pub(super) wanted: Descriptor,
    /// Its place in the image, or among the files.
    pub(super) index: usize,
    /// The file as the worker writes it; locked.
    pub(super) file: OwnedFd,
    /// Whoever brings it says that all of it is here, and is what it should be. Its length tells nothing: from another place
    /// it may be coming anew.
    came: bool,
    /// What unpacked it found it to be what it should be.
    good: bool,
}

impl Coming {
    /// How many of its bytes are here.
    pub(super) fn done(&self) -> u64 {
        fs::fstat(&self.file).map_or(0, |stat| stat.st_size as u64).min(self.wanted.size)
    }
}

/// The layers that are on their way here: none, if all of an image was here before.
#[derive(Default)]
pub(super) struct Delivery {
    coming: Vec<Coming>,
    fetching: Option<Worker<()>>,
    /// Here he says which ones have come: each by its number, in four bytes.
    word: Option<OwnedFd>,
}

impl Delivery {
    fn find(&self, blob: &Digest) -> Option<&Coming> {
        self.coming.iter().find(|coming| coming.wanted.digest == *blob)
    }

    /// Whether this layer is one of those.
    pub(super) fn brings(&self, blob: &Digest) -> bool {
        self.find(blob).is_some()
    }

    /// How many bytes of a layer are here.
    pub(super) fn done(&self, layer: &Layer) -> u64 {
        self.find(&layer.blob).map_or(layer.size, Coming::done)
    }

    /// Whether all of a layer is here.
    pub(super) fn has_come(&self, layer: &Layer) -> bool {
        self.find(&layer.blob).is_none_or(|coming| coming.came && coming.done() == layer.size)
    }

    /// Whoever brings them, until he has ended.
    pub(super) fn fetching(&self) -> Option<&Worker<()>> {
        self.fetching.as_ref()
    }

    /// Where he says that one has come.
    pub(super) fn word(&self) -> Option<&OwnedFd> {
        self.word.as_ref()
    }

    /// Takes note of what has come.
    pub(super) fn hear(&mut self) {
        let Some(word) = &self.word else { return };
        // As many as there are at once: what is written is not torn apart.
        let mut numbers = [0; 4096];
        while let Ok(count @ 1..) = rustix::io::read(word, &mut numbers) {
            for number in numbers[..count].as_chunks().0 {
                let coming = usize::try_from(u32::from_ne_bytes(*number)).ok();
                if let Some(coming) = coming.and_then(|index| self.coming.get_mut(index)) {
                    coming.came = true;
                }
            }
        }
    }

    /// Whether nobody brings anything any more.
    pub(super) fn is_over(&self) -> bool {
        self.fetching.is_none()
    }

    /// A layer turned out to be what it should be.
    pub(super) fn found_good(&mut self, blob: &Digest) {
        self.coming.iter_mut().filter(|coming| coming.wanted.digest == *blob).for_each(|coming| coming.good = true);
    }

    /// Waits until everything has come.
    pub(super) fn wait(&mut self) -> Result<(), ImageError> {
        self.fetching.take().map_or(Ok(()), Worker::wait)?;
        self.hear();
        self.word = None;
        Ok(())
    }
}

impl Images {
    /// Brings an image from its registry, and makes the name mean it. What is here already is not brought again, and what
    /// came before a pull that failed counts.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        settings: &Settings,
        progress: &mut dyn FnMut(&[Layer], &[Stage]),
    ) -> Result<Record, ImageError> {
        let _guard = self.keep()?;
        let asked: Worker<Resolved> = worker::start(&[], Reach::Internet, || {
            in_runtime(settings, RegistryError::hint, async |client| {
                let resolved = client.resolve(reference, platform).await?;
                let (config, _) = client.config(reference, &resolved.manifest).await?;
                let indexes = resolved.indexes.into_iter().map(|index| index.bytes).collect();
                Ok(Resolved { indexes, manifest: resolved.bytes, config })
            })
        })?;
        let Resolved { indexes, manifest: bytes, config } = asked.wait()?;
        // Whoever spoke to the registry is not believed: each document is named by the one before, the first by the pin.
        let mut pinned = reference.digest().cloned();
        let names = |digest: &Option<Digest>, bytes: &[u8]| match digest {
            Some(digest) if !digest.names(bytes) => {
                Err(ImageError::Digest { what: reference.familiar(), digest: digest.clone() })
            }
            _ => Ok(()),
        };
        for index in &indexes {
            names(&pinned, index)?;
            let Kind::Index(chosen) = self.read_document(index, None, platform)? else {
                return Err(ImageError::Died { signal: None });
            };
            pinned = Some(chosen.digest);
        }
        names(&pinned, &bytes)?;
        let record = self.read_image(&bytes, &config, platform)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
            return Err(ImageError::Died { signal: None });
        };
        self.bring(reference, &record, &manifest, settings, progress)?;
        let document = |bytes: &[u8], digest: &Digest| Descriptor::new("", digest.clone(), bytes.len() as u64);
        self.take_in("its config", &document(&config, &record.config), &config[..])?;
        self.take_in("its manifest", &document(&bytes, &record.manifest), &bytes[..])?;
        self.put_record(&record)?;
        self.put_tag(reference, &record.manifest, true)?;
        Ok(record)
    }

    /// Whether the registry that this image is pinned in has it, which is asked of it once.
    ///
    /// # Errors
    /// [`ImageError`] if it can't be asked here.
    pub fn is_published(
        &self,
        pinned: &Reference,
        platform: &Platform,
        settings: &Settings,
    ) -> Result<bool, ImageError> {
        let mut settings = settings.clone();
        settings.retries.count = 0;
        let asked: Worker<bool> = worker::start(&[], Reach::Internet, || {
            in_runtime(&settings, RegistryError::hint, async |client| {
                Ok(client.resolve(pinned, platform).await.is_ok())
            })
        })?;
        asked.wait()
    }

    /// Brings the layers that are not here, and unpacks them.
    fn bring(
        &self,
        reference: &Reference,
        record: &Record,
        manifest: &Manifest,
        settings: &Settings,
        progress: Progress<'_>,
    ) -> Result<(), ImageError> {
        let kinds = manifest.layer_kinds()?;
        let mut delivery = Delivery::default();
        // In one order for everybody: whoever waits for a layer has none that comes after it.
        let mut order: Vec<_> = manifest.layers.iter().enumerate().collect();
        order.sort_by(|(_, one), (_, other)| one.digest.cmp(&other.digest));
        for (index, wanted) in order {
            // The same one twice comes once.
            let twice = manifest.layers.iter().take(index).any(|other| other.digest == wanted.digest);
            let unpacked = record.layers.get(index).is_some_and(|layer| self.is_unpacked(&layer.diff_id));
            // One that is about to be read is looked at first: if it is damaged, it comes anew.
            let here = if unpacked { self.blob(wanted)? } else { self.sound(wanted)? };
            if !twice && here.is_none() {
                delivery.coming.extend(self.reserve(index, wanted)?);
            }
        }
        // They come as they are stacked.
        delivery.coming.sort_by_key(|coming| coming.index);
        let files: Vec<_> = delivery.coming.iter().map(|coming| coming.file.as_fd()).collect();
        if !files.is_empty() {
            self.check_room(delivery.coming.iter().map(|coming| coming.wanted.size - coming.done()).sum())?;
            let descriptors: Vec<Descriptor> = delivery.coming.iter().map(|coming| coming.wanted.clone()).collect();
            let (hears, says) =
                rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| ImageError::Worker(e.into()))?;
            rustix::io::ioctl_fionbio(&hears, true).map_err(|errno| ImageError::Worker(errno.into()))?;
            let given: Vec<_> = files.iter().copied().chain([says.as_fd()]).collect();
            delivery.fetching = Some(worker::start(&given, Reach::Internet, || {
                in_runtime(settings, RegistryError::hint, async |client| {
                    fetch(&client, reference, &descriptors, &files, &says).await
                })
            })?);
            delivery.word = Some(hears);
        }
        let done = self.unpack(record, &kinds, &mut delivery, progress);
        // Whoever brings them writes no more.
        drop(delivery.fetching.take());
        // Whatever has come whole is kept, also if another has not.
        let kept = delivery.coming.iter().try_for_each(|coming| self.take_over(coming));
        done.and(kept)
    }

    /// A file for a layer that is to come, with what came before; `None` if somebody else has brought it meanwhile.
    pub(super) fn reserve(&self, index: usize, wanted: &Descriptor) -> Result<Option<Coming>, ImageError> {
        let name = part(&wanted.digest);
        let failed = |action, errno: Errno| self.failed(action, Path::new("work").join(&name), errno);
        loop {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = fs::openat(&self.work, name.as_str(), flags, Mode::RUSR | Mode::WUSR);
            let file = file.map_err(|errno| failed("open", errno))?;
            rustix::io::retry_on_intr(|| fs::flock(&file, FlockOperation::LockExclusive))
                .map_err(|errno| failed("lock", errno))?;
            if self.blob(wanted)?.is_some() {
                return Ok(None);
            }
            // Whoever had it may have given it its name.
            let there = fs::statat(&self.work, name.as_str(), fs::AtFlags::SYMLINK_NOFOLLOW);
            let own = fs::fstat(&file).map_err(|errno| failed("examine", errno))?;
            if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)) {
                // What is as long as it should be would be unpacked at once.
                if own.st_size as u64 >= wanted.size && !is(&file, wanted) {
                    fs::ftruncate(&file, 0).map_err(|errno| failed("cut", errno))?;
                }
                return Ok(Some(Coming { wanted: wanted.clone(), index, file, came: false, good: false }));
            }
        }
    }

    /// Gives a layer that has come whole its name.
    pub(super) fn take_over(&self, coming: &Coming) -> Result<(), ImageError> {
        let Coming { wanted, file, good, .. } = coming;
        let name = part(&wanted.digest);
        let failed = |errno: Errno| self.failed("rename", Path::new("work").join(&name), errno);
        // What was unpacked before, nobody has read to its end yet.
        if !good && !is(file, wanted) {
            let size = fs::fstat(file).map_err(failed)?.st_size as u64;
            return if size < wanted.size { Ok(()) } else { fs::ftruncate(file, 0).map_err(failed) };
        }
        fs::fsync(file).map_err(failed)?;
        fs::renameat(&self.work, name.as_str(), &self.blobs, wanted.digest.hex()).map_err(failed)
    }
}

/// Whether a registry takes what logs in to it.
pub(super) fn check(reference: &Reference, settings: &Settings) -> Result<(), ImageError> {
    let work = || in_runtime(settings, RegistryError::hint, async |client| client.check(reference).await);
    worker::start(&[], Reach::Internet, work)?.wait()
}

pub(super) fn part(digest: &Digest) -> String {
    format!("{}{PART}", digest.hex())
}

/// Whether a name in `work` is that of a blob which has come in part.
pub(super) fn is_part(name: &str) -> bool {
    name.ends_with(PART)
}

/// In the worker: brings the layers into their files, and says which have come.
async fn fetch(
    client: &Client,
    reference: &Reference,
    descriptors: &[Descriptor],
    files: &[rustix::fd::BorrowedFd<'_>],
    says: &OwnedFd,
) -> Result<(), RegistryError> {
    let mut downloads = Vec::new();
    for (descriptor, file) in descriptors.iter().zip(files) {
        let file = File::from(file.try_clone_to_owned().map_err(RegistryError::Write)?);
        downloads.push(Download::resume(descriptor, file).map_err(RegistryError::Read)?);
    }
    let came = |index: usize| {
        // Who does not hear it has ended, and this with him.
        let _ = rustix::io::write(says, &u32::try_from(index).unwrap_or(u32::MAX).to_ne_bytes());
    };
    client.blobs(reference, &mut downloads, &came).await.map_err(|(_, error)| error)
}

/// In a worker: a client of registries, and what it has to say in words.
pub(super) fn in_runtime<T>(
    settings: &Settings,
    hint: fn(&RegistryError) -> String,
    act: impl AsyncFnOnce(Client) -> Result<T, RegistryError>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::from(format!("There can be no network: {error}")))?;
    let local = tokio::task::LocalSet::new();
    let done = local.block_on(&runtime, act(Client::new(settings.clone())));
    done.map_err(|error| match hint(&error) {
        hint if hint.is_empty() => told(&error),
        hint => Failure { cause: wire::cause(&error), hint },
    })
}
