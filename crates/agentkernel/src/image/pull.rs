//! Images from registries: one worker asks what there is, another brings the layers, and others unpack them as they come.

use super::{
    ImageError, Images, Layer, Record,
    layers::{Begun, Underway},
    worker::{self, Reach, Worker},
};
use oci::{
    Digest, Platform, Reference,
    manifest::{Descriptor, Document, Manifest},
    registry::{Client, Download, RegistryError, Settings},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, OwnedFd},
    fs::{self, FlockOperation, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{fs::File, path::Path};
use wire::Failure;

/// How often it is looked how far the layers are.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What a registry has by a name.
#[derive(Serialize, Deserialize)]
struct Resolved {
    manifest: Vec<u8>,
    config: Vec<u8>,
    /// What the name stands for there: an index, if it has one.
    top: Digest,
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that have come.
    pub done: u64,
    /// Bytes that are to come, in all.
    pub total: u64,
    /// Layers that are unpacked.
    pub layers: usize,
    /// Layers in all.
    pub of: usize,
}

/// A layer that is brought.
struct Coming {
    index: usize,
    /// The file as the worker writes it; locked.
    file: OwnedFd,
    /// What unpacked it found it to be what it should be.
    good: bool,
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
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Record, ImageError> {
        let _guard = self.adding()?;
        let asked: Worker<Resolved> = worker::start(&[], Reach::Internet, || {
            in_runtime(settings, async |client| {
                let resolved = client.resolve(reference, platform).await?;
                let (config, _) = client.config(reference, &resolved.manifest).await?;
                Ok(Resolved { top: resolved.top().clone(), manifest: resolved.bytes, config })
            })
        })?;
        let Resolved { manifest: bytes, config, top } = asked.wait()?;
        if let Some(pinned) = reference.digest().filter(|pinned| **pinned != top) {
            return Err(ImageError::Digest { what: reference.familiar(), digest: pinned.clone() });
        }
        let record = self.read_image(&bytes, &config, platform)?;
        let Document::Manifest(manifest) = Document::parse(&bytes, None)? else {
            return Err(ImageError::Died { signal: None });
        };
        self.bring(reference, &record, &manifest, settings, progress)?;
        let document = |bytes: &[u8], digest: &Digest| Descriptor::new("", digest.clone(), bytes.len() as u64);
        self.take_in("its config", &document(&config, &record.config), &config[..])?;
        self.take_in("its manifest", &document(&bytes, &record.manifest), &bytes[..])?;
        self.put_record(&record)?;
        self.put_tag(reference, &record.manifest)?;
        Ok(record)
    }

    /// Brings the layers that are not here, and unpacks them.
    fn bring(
        &self,
        reference: &Reference,
        record: &Record,
        manifest: &Manifest,
        settings: &Settings,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ImageError> {
        let kinds = manifest.layer_kinds()?;
        let mut coming = Vec::new();
        // In one order for everybody: whoever waits for a layer has none that comes after it.
        let mut order: Vec<_> = manifest.layers.iter().enumerate().collect();
        order.sort_by(|(_, one), (_, other)| one.digest.cmp(&other.digest));
        for (index, descriptor) in order {
            // The same one twice comes once.
            let twice = manifest.layers.iter().take(index).any(|other| other.digest == descriptor.digest);
            if !twice && self.blob(descriptor)?.is_none() {
                coming.extend(self.reserve(index, descriptor)?);
            }
        }
        let files: Vec<_> = coming.iter().map(|coming| coming.file.as_fd()).collect();
        let descriptors = coming.iter().filter_map(|coming| manifest.layers.get(coming.index)).cloned();
        let descriptors: Vec<Descriptor> = descriptors.collect();
        let fetching = match files.is_empty() {
            true => None,
            false => Some(worker::start(&files, Reach::Internet, || {
                in_runtime(settings, async |client| fetch(&client, reference, &descriptors, &files).await)
            })?),
        };
        drop(files);
        let done = self.unpack_as_they_come(record, manifest, &kinds, &mut coming, fetching, progress);
        // Whatever has come whole is kept, also if another has not.
        let kept = coming.iter().try_for_each(|coming| self.keep(coming, manifest));
        done.and(kept)
    }

    fn unpack_as_they_come(
        &self,
        record: &Record,
        manifest: &Manifest,
        kinds: &[oci::manifest::media::Layer],
        coming: &mut [Coming],
        mut fetching: Option<Worker<()>>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ImageError> {
        let mut underway: Vec<Underway> = Vec::new();
        let total = manifest.size();
        let mut left: Vec<usize> = (0..record.layers.len()).collect();
        loop {
            let mut missing = 0;
            for coming in coming.iter() {
                let size = fs::fstat(&coming.file).map_or(0, |stat| stat.st_size as u64);
                let left = manifest.layers.get(coming.index).map_or(0, |layer| layer.size.saturating_sub(size));
                missing = left.saturating_add(missing);
            }
            // What is there may be unpacked: whether it is what it should be, its worker finds out.
            let mut waiting = Vec::new();
            for index in std::mem::take(&mut left) {
                let (Some(layer), Some(kind), Some(wanted)) =
                    (record.layers.get(index), kinds.get(index), manifest.layers.get(index))
                else {
                    continue;
                };
                if self.is_unpacked(&layer.diff_id) {
                    continue;
                }
                let file = match underway.len() < super::layers::AT_ONCE {
                    true => self.arrived(layer, wanted, coming, manifest)?,
                    false => None,
                };
                match file.map(|file| self.begin(layer, *kind, file, false)).transpose()? {
                    Some(Begun::Underway(layer)) => underway.push(layer),
                    Some(Begun::There) => {}
                    // It is looked at again at the next tick.
                    Some(Begun::Elsewhere(_)) | None => waiting.push(index),
                }
            }
            left = waiting;
            progress(Progress {
                done: total.saturating_sub(missing),
                total,
                layers: record.layers.len() - left.len() - underway.len(),
                of: record.layers.len(),
            });
            if left.is_empty() && underway.is_empty() {
                return fetching.map_or(Ok(()), Worker::wait);
            }
            let mut fds: Vec<PollFd<'_>> = underway.iter().map(|layer| PollFd::new(layer, PollFlags::IN)).collect();
            fds.extend(fetching.iter().map(|worker| PollFd::new(worker, PollFlags::IN)));
            match poll(&mut fds, Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("wait for", "work", errno)),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let fetched = ready.get(underway.len()).copied().unwrap_or(false);
            for index in (0..underway.len()).rev().filter(|index| ready.get(*index) == Some(&true)) {
                let layer = underway.swap_remove(index);
                let blob = layer.blob().clone();
                self.publish(layer)?;
                for coming in coming.iter_mut() {
                    let digest = manifest.layers.get(coming.index).map(|layer| &layer.digest);
                    coming.good |= digest == Some(&blob);
                }
            }
            if fetched && let Some(worker) = fetching.take() {
                worker.wait()?;
            }
        }
    }

    /// The file of a layer, if all of it has come.
    fn arrived(
        &self,
        layer: &Layer,
        wanted: &Descriptor,
        coming: &[Coming],
        manifest: &Manifest,
    ) -> Result<Option<File>, ImageError> {
        let digest = |index: usize| manifest.layers.get(index).map(|layer| &layer.digest);
        let Some(coming) = coming.iter().find(|coming| digest(coming.index) == Some(&layer.blob)) else {
            return self.blob(wanted);
        };
        let size = fs::fstat(&coming.file).map_or(0, |stat| stat.st_size as u64);
        if size < wanted.size {
            return Ok(None);
        }
        let name = part(&layer.blob);
        let file = super::open(&self.work, &name)
            .map_err(|errno| self.failed("open", Path::new("work").join(&name), errno))?;
        Ok(Some(file.into()))
    }

    /// A file for a layer that is to come, with what came before; `None` if somebody else has brought it meanwhile.
    fn reserve(&self, index: usize, wanted: &Descriptor) -> Result<Option<Coming>, ImageError> {
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
                return Ok(Some(Coming { index, file, good: false }));
            }
        }
    }

    /// Gives a layer that has come whole its name.
    fn keep(&self, coming: &Coming, manifest: &Manifest) -> Result<(), ImageError> {
        let Some(wanted) = manifest.layers.get(coming.index) else { return Ok(()) };
        let name = part(&wanted.digest);
        let failed = |errno: Errno| self.failed("rename", Path::new("work").join(&name), errno);
        // What was unpacked before, nobody has read to its end yet.
        if !coming.good && !is(&coming.file, wanted) {
            let size = fs::fstat(&coming.file).map_err(failed)?.st_size as u64;
            return if size < wanted.size { Ok(()) } else { fs::ftruncate(&coming.file, 0).map_err(failed) };
        }
        fs::fsync(&coming.file).map_err(failed)?;
        fs::renameat(&self.work, name.as_str(), &self.blobs, wanted.digest.hex()).map_err(failed)
    }
}

/// Whether a file is what it should be.
fn is(file: &OwnedFd, wanted: &Descriptor) -> bool {
    if !fs::fstat(file).is_ok_and(|stat| stat.st_size as u64 == wanted.size) {
        return false;
    }
    let mut hasher = oci::Hasher::new(wanted.digest.algorithm());
    let (mut at, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        match rustix::io::pread(file, &mut chunk, at) {
            Ok(0) => return hasher.finish() == wanted.digest,
            Ok(count) => {
                hasher.update(chunk.get(..count).unwrap_or_default());
                at += count as u64;
            }
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Whether a registry takes what logs in to it.
pub(super) fn check(reference: &Reference, settings: &Settings) -> Result<(), ImageError> {
    let work = || in_runtime(settings, async |client| client.check(reference).await);
    worker::start(&[], Reach::Internet, work)?.wait()
}

fn part(digest: &Digest) -> String {
    format!("{}.part", digest.hex())
}

/// In the worker: brings the layers into their files.
async fn fetch(
    client: &Client,
    reference: &Reference,
    descriptors: &[Descriptor],
    files: &[rustix::fd::BorrowedFd<'_>],
) -> Result<(), RegistryError> {
    let mut downloads = Vec::new();
    for (descriptor, file) in descriptors.iter().zip(files) {
        let file = File::from(file.try_clone_to_owned().map_err(RegistryError::Write)?);
        downloads.push(Download::resume(descriptor, file).map_err(RegistryError::Read)?);
    }
    client.blobs(reference, &mut downloads, &|_, _| {}).await.map_err(|(_, error)| error)
}

/// In a worker: a client of registries, and what it has to say in words.
pub(super) fn in_runtime<T>(
    settings: &Settings,
    act: impl AsyncFnOnce(Client) -> Result<T, RegistryError>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::from(format!("There can be no network: {error}")))?;
    let local = tokio::task::LocalSet::new();
    let done = local.block_on(&runtime, act(Client::new(settings.clone())));
    done.map_err(|error| Failure { cause: wire::cause(&error), hint: error.hint() })
}
