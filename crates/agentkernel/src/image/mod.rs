//! The store of images: what was pulled, imported or built, by name and by what it is; every layer unpacked once, for all
//! images and sandboxes.
//!
//! ```text
//! images/tags/NAME       what a name means: NAME is the SHA-256 of the whole reference
//! images/records/HEX     an image: its layers, and how it wants to be run; HEX is its manifest's digest
//! images/blobs/HEX       manifests, configs and layers as they travel
//! images/steps/HEX       the layer that a step of a build made; HEX is the digest of all that decides it
//! images/work/           what is under way: locks, and blobs that are not whole yet
//! cache/layer-HEX/       a layer, unpacked; HEX is the digest of its contents
//! ```
//!
//! Whoever adds holds a shared lock on `images/lock`, whoever removes an exclusive one. Sandboxes that run hold a lock on
//! their layers; those that don't have them in their spec.

mod archive;
mod build;
mod compression;
mod error;
mod fetch;
mod fit;
mod layers;
mod layout;
mod npm;
mod outflow;
mod packages;
mod pull;
mod push;
mod pypi;
mod read;
mod registry;
mod room;
mod root;
mod sweep;
mod view;
mod worker;

pub use archive::Origin;
pub use build::{BuildError, Capture, Event, Executor, Request, Task, Work};
pub use error::ImageError;
pub use fetch::{Fetched, FileLogins, Wanted};
pub use fit::misfit;
pub use layers::Stage;
pub use npm::{Published, Question, published};
pub use outflow::Outflow;
pub use packages::Install;
pub use pypi::located;
pub use registry::{credentials, log_in, log_out, settings};
pub use room::{Room, Usage};
pub use root::is_opaque;
pub use sweep::Removed;

use crate::{
    OciImage,
    store::{Store, StoreError, durable, subdirectory},
};
use oci::{
    Digest, Platform, Reference,
    manifest::{Descriptor, RunConfig},
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{self, FlockOperation, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

const LOCK: &str = "lock";
/// Held by whoever builds.
const BUILDS: &str = "builds";

/// One user's images.
#[derive(Debug)]
pub struct Images {
    path: PathBuf,
    dir: OwnedFd,
    tags: OwnedFd,
    records: OwnedFd,
    blobs: OwnedFd,
    steps: OwnedFd,
    work: OwnedFd,
    cache: OwnedFd,
    /// How many bytes all of them may take on disk.
    quota: Option<u64>,
}

/// An image on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The digest of its manifest: what it is.
    pub manifest: Digest,
    /// The digest of its config: what Docker calls its id.
    pub config: Digest,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, as it says itself.
    pub created: Option<String>,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// How it wants to be run.
    pub run: RunConfig,
}

/// Where an image has its volumes, as engines have it: from the root, and none there.
#[must_use]
pub fn volumes(run: &RunConfig) -> Vec<String> {
    let places = run.volumes.iter().map(|volume| dockerfile::clean(volume)).filter(|place| !place.is_empty());
    places.map(|place| format!("/{place}")).collect()
}

/// A layer of an image on record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of its bytes as they travel.
    pub blob: Digest,
    /// How many they are.
    pub size: u64,
    /// The digest of its contents.
    pub diff_id: Digest,
}

impl Record {
    /// What a sandbox's spec has of it.
    #[must_use]
    pub fn image(&self, reference: &Reference) -> OciImage {
        OciImage {
            reference: reference.familiar(),
            manifest: self.manifest.clone(),
            layers: self.layers.iter().map(|layer| layer.diff_id.clone()).collect(),
            volumes: volumes(&self.run),
        }
    }

    /// Bytes as they travel: its layers' alone.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The whole reference.
    pub reference: String,
    /// The manifest's digest.
    pub manifest: Digest,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Whether its registry was asked, and not somebody here has named it so.
    #[serde(default)]
    pub pulled: bool,
}

/// Keeps others from removing, or from adding, for as long as it lives.
#[derive(Debug)]
pub struct Guard(#[expect(dead_code, reason = "the lock is the open file")] OwnedFd);

impl Images {
    /// Opens the images of this state directory, and makes what is missing.
    ///
    /// # Errors
    /// [`StoreError`] if they can't be read, or are another's.
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        let (dir, path) = store.images()?;
        let sub = |name| subdirectory(dir.as_fd(), &path, name);
        let (tags, records, blobs) = (sub("tags")?, sub("records")?, sub("blobs")?);
        let (steps, work) = (sub("steps")?, sub("work")?);
        Ok(Self { tags, records, blobs, steps, work, cache: store.shared()?.cache, dir, path, quota: None })
    }

    /// Lets them take no more than so many bytes on disk, as they travel and unpacked.
    #[must_use]
    pub fn within(self, quota: Option<u64>) -> Self {
        Self { quota, ..self }
    }

    /// The image that a reference means: by its name, or by its digest as [`Reference::bare_digest`] has it. `None` if there
    /// is none here.
    ///
    /// # Errors
    /// If the store can't be read, or the beginning of a digest is that of several.
    pub fn find(&self, reference: &Reference) -> Result<Option<Record>, ImageError> {
        match self.find_tag(reference)? {
            Some(tag) => self.record(&tag.manifest),
            None => self.find_digest(reference),
        }
    }

    /// The image whose digest begins with what looks like a name, if no repository here has that name.
    fn find_digest(&self, reference: &Reference) -> Result<Option<Record>, ImageError> {
        let Some(digits) = reference.bare_digest() else { return Ok(None) };
        let mut tags = self.tags()?.into_iter().filter_map(|tag| tag.reference.parse::<Reference>().ok());
        if tags.any(|name| name.name() == reference.name()) {
            return Ok(None);
        }
        let path = self.path.join("records");
        let mut fitting = names(&self.records, &path)?.into_iter().filter(|name| name.starts_with(digits));
        match (fitting.next(), fitting.next()) {
            (Some(name), None) => readable(&self.records, &path, &name),
            (Some(_), Some(_)) => Err(ImageError::Ambiguous { digits: digits.to_owned() }),
            (None, _) => Ok(None),
        }
    }

    /// What a reference means; `None` if nothing has this name here.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn find_tag(&self, reference: &Reference) -> Result<Option<Tag>, ImageError> {
        let tag: Option<Tag> = readable(&self.tags, &self.path.join("tags"), &tag_name(reference))?;
        Ok(tag.filter(|tag| tag.reference == reference.to_string()))
    }

    /// An image by its manifest's digest; `None` if there is none here.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn record(&self, manifest: &Digest) -> Result<Option<Record>, ImageError> {
        readable(&self.records, &self.path.join("records"), manifest.hex())
    }

    /// Every name, with what it means, in the order of names.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn tags(&self) -> Result<Vec<Tag>, ImageError> {
        let path = self.path.join("tags");
        let mut tags: Vec<Tag> = Vec::new();
        for name in names(&self.tags, &path)? {
            tags.extend(readable::<Tag>(&self.tags, &path, &name)?);
        }
        tags.sort_by(|one, other| one.reference.cmp(&other.reference));
        Ok(tags)
    }

    /// Makes a name mean an image.
    ///
    /// # Errors
    /// If it can't be written, or names other contents.
    pub fn tag(&self, reference: &Reference, manifest: &Digest) -> Result<(), ImageError> {
        if let Some(pinned) = reference.digest().filter(|pinned| *pinned != manifest) {
            return Err(ImageError::Digest { what: reference.familiar(), digest: pinned.clone() });
        }
        self.put_tag(reference, manifest, false)
    }

    /// The same, where a digest in the name is known to lead there: by an index.
    fn put_tag(&self, reference: &Reference, manifest: &Digest, pulled: bool) -> Result<(), ImageError> {
        let _guard = self.keep()?;
        let since_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let tag = Tag { reference: reference.to_string(), manifest: manifest.clone(), since_ms, pulled };
        let path = self.path.join("tags");
        Ok(durable::write(self.tags.as_fd(), &path, &tag_name(reference), &tag)?)
    }

    /// Keeps everything that is here for as long as this lives: for whoever adds, or makes something of it.
    ///
    /// # Errors
    /// If it can't be locked.
    pub fn keep(&self) -> Result<Guard, ImageError> {
        self.lock(FlockOperation::LockShared)
    }

    /// Whoever builds, for as long as the guard lives. If nobody else does, what dead builds have left is cleared first.
    ///
    /// # Errors
    /// If the lock can't be had; what `clear` says.
    pub fn building<E: From<ImageError>>(&self, clear: impl FnOnce() -> Result<(), E>) -> Result<Guard, E> {
        let lock = self.open_lock(BUILDS)?;
        let failed = |errno| E::from(self.failed("lock", BUILDS, errno));
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => clear()?,
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(failed(errno)),
        }
        rustix::io::retry_on_intr(|| fs::flock(&lock, FlockOperation::LockShared)).map_err(failed)?;
        Ok(Guard(lock))
    }

    fn open_lock(&self, name: &str) -> Result<OwnedFd, ImageError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR);
        lock.map_err(|errno| self.failed("open", name, errno))
    }

    fn lock(&self, operation: FlockOperation) -> Result<Guard, ImageError> {
        let lock = self.open_lock(LOCK)?;
        let locked = rustix::io::retry_on_intr(|| fs::flock(&lock, operation));
        locked.map_err(|errno| self.failed("lock", LOCK, errno))?;
        Ok(Guard(lock))
    }

    fn failed(&self, action: &'static str, name: impl AsRef<Path>, error: impl Into<std::io::Error>) -> ImageError {
        StoreError::Io { action, path: self.path.join(name), source: error.into() }.into()
    }

    /// Opens contents; `None` if they are not here, or not whole.
    fn blob(&self, wanted: &Descriptor) -> Result<Option<File>, ImageError> {
        let name = wanted.digest.hex();
        match open(&self.blobs, name) {
            Ok(file) => {
                let size = fs::fstat(&file).map_err(|errno| self.failed("examine", name, errno))?.st_size as u64;
                Ok((size == wanted.size).then(|| file.into()))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("open", Path::new("blobs").join(name), errno)),
        }
    }

    /// The same, if they are what they are called. What is damaged is removed: it comes anew when it is brought again.
    fn sound(&self, wanted: &Descriptor) -> Result<Option<File>, ImageError> {
        let Some(file) = self.blob(wanted)? else { return Ok(None) };
        if is(&file, wanted) {
            return Ok(Some(file));
        }
        let name = wanted.digest.hex();
        match fs::unlinkat(&self.blobs, name, fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("remove", Path::new("blobs").join(name), errno)),
        }
    }

    /// Takes contents in from anywhere, if they are what they are called, and opens them.
    fn take_in(&self, what: &str, wanted: &Descriptor, from: impl Read) -> Result<File, ImageError> {
        if let Some(blob) = self.sound(wanted)? {
            return Ok(blob);
        }
        let name = wanted.digest.hex();
        let temporary = self.fresh(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |error: std::io::Error| self.failed("write", Path::new("work").join(&temporary), error);
        let file = fs::openat(&self.work, &temporary, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed(e.into()))?;
        let mut file = File::from(file);
        let copied = copy(from, &mut file, wanted).map_err(failed).and_then(|same| match same {
            true => {
                fs::fsync(&file).map_err(|errno| failed(errno.into()))?;
                fs::renameat(&self.work, &temporary, &self.blobs, name).map_err(|errno| failed(errno.into()))
            }
            false => Err(ImageError::Digest { what: what.to_owned(), digest: wanted.digest.clone() }),
        });
        if let Err(error) = copied {
            // The first error is the one that counts.
            let _ = fs::unlinkat(&self.work, &temporary, fs::AtFlags::empty());
            return Err(error);
        }
        // Whoever reads it need not be able to change it.
        self.blob(wanted)?.ok_or_else(|| failed(Errno::NOENT.into()))
    }

    /// A name for something in `work` that nobody else has there.
    fn fresh(&self, what: &str) -> Result<String, ImageError> {
        random().map(|random| format!("{what}.{random}")).map_err(|error| self.failed("name", "work", error))
    }

    /// Removes a directory with everything in it, if it is there.
    fn remove_tree(&self, parent: &OwnedFd, place: &str, name: &str) -> Result<(), ImageError> {
        let failed = |errno: Errno| self.failed("remove", Path::new(place).join(name), errno);
        match open(parent, name) {
            Ok(dir) => {
                crate::store::empty_tree(dir.as_fd()).map_err(failed)?;
                fs::unlinkat(parent, name, fs::AtFlags::REMOVEDIR).map_err(failed)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}

/// A record, if it is there and can be read. What is damaged is as good as gone: it comes anew with what it was about, and
/// [`prune`](Images::prune) removes it.
fn readable<T: serde::de::DeserializeOwned>(dir: &OwnedFd, path: &Path, name: &str) -> Result<Option<T>, ImageError> {
    match durable::read(dir.as_fd(), path, name) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        read => Ok(read?),
    }
}

/// Digits that nobody else has.
fn random() -> rustix::io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

/// Whether a file is what it should be.
fn is(file: impl AsFd, wanted: &Descriptor) -> bool {
    if !fs::fstat(&file).is_ok_and(|stat| stat.st_size as u64 == wanted.size) {
        return false;
    }
    let mut hasher = oci::Hasher::new(wanted.digest.algorithm());
    let (mut at, mut chunk) = (0, vec![0; 1 << 20]);
    loop {
        match rustix::io::pread(&file, &mut chunk, at) {
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

/// Copies what should be these contents, and tells whether it was.
fn copy(mut from: impl Read, to: &mut File, wanted: &Descriptor) -> std::io::Result<bool> {
    let mut hasher = oci::Hasher::new(wanted.digest.algorithm());
    let mut left = wanted.size;
    let mut chunk = vec![0; 1 << 20];
    loop {
        // One more than there should be tells that there is more.
        let most = chunk.len().min(usize::try_from(left.saturating_add(1)).unwrap_or(usize::MAX));
        let count = match from.read(&mut chunk[..most]) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if count == 0 {
            return Ok(left == 0 && hasher.finish() == wanted.digest);
        }
        let Some(rest) = left.checked_sub(count as u64) else { return Ok(false) };
        left = rest;
        hasher.update(&chunk[..count]);
        to.write_all(&chunk[..count])?;
    }
}

/// The file of a name: references have characters that names of files have not.
fn tag_name(reference: &Reference) -> String {
    Digest::of(reference.to_string().as_bytes()).hex().to_owned()
}

/// The unpacked layer's name in the cache.
#[must_use]
pub fn layer_name(diff_id: &Digest) -> String {
    format!("layer-{}", diff_id.hex())
}

fn open(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::empty())
}

/// The names in a directory that are no temporary ones.
fn names(dir: &OwnedFd, path: &Path) -> Result<Vec<String>, ImageError> {
    let failed = |errno: Errno| StoreError::Io { action: "read", path: path.into(), source: errno.into() };
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().to_str()
            && !name.starts_with('.')
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
