//! Unpacks layers, each once: whoever comes second waits for the first. A worker decompresses, checks both digests and makes
//! the files; what it has made is published whole, by a rename.

use super::{
    ImageError, Images, Layer, Record, layer_name, open,
    worker::{self, Reach, Worker},
};
use archive::layer::{LayerOptions, Owners};
use oci::{
    Digest, Hasher,
    manifest::{
        Descriptor,
        media::{Compression, Layer as Kind},
    },
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufReader, Read, Seek as _},
    path::Path,
};
use wire::Failure;

/// Layers that are unpacked at once.
pub(super) const AT_ONCE: usize = 2;
/// The most that a layer may have: entries, and bytes.
const MAX: (u64, u64) = (5_000_000, 256 << 30);
/// No contents are so many times longer than their compressed form, unless they are there to fill a disk: gzip makes of
/// anything at least its thousandth part. Short ones may be.
const MAX_RATIO: u64 = 1100;
const FREE: u64 = 64 << 20;
/// Ends the name of a layer that is not whole.
pub(super) const UNFINISHED: &str = ".tmp";

/// What came of the wish to unpack a layer.
pub(super) enum Begun {
    /// Its worker runs.
    Underway(Underway),
    /// It is there already.
    There,
    /// Somebody else unpacks it just now.
    Elsewhere(File),
}

/// A layer on its way.
pub(super) struct Underway {
    worker: Worker<()>,
    diff_id: Digest,
    blob: Digest,
    /// Held until it is published, or given up.
    lock: OwnedFd,
}

impl Underway {
    /// What it is made of.
    pub(super) fn blob(&self) -> &Digest {
        &self.blob
    }
}

impl AsFd for Underway {
    /// Readable when it is done.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.worker.as_fd()
    }
}

impl Images {
    /// Unpacks what of an image is not unpacked yet. Its layers are here, as they travel.
    pub(super) fn unpack(&self, record: &Record, kinds: &[Kind]) -> Result<(), ImageError> {
        let mut underway: VecDeque<Underway> = VecDeque::new();
        for (layer, kind) in record.layers.iter().zip(kinds) {
            if self.is_unpacked(&layer.diff_id) {
                continue;
            }
            if underway.len() == AT_ONCE
                && let Some(first) = underway.pop_front()
            {
                self.publish(first)?;
            }
            let blob = self.blob(&Descriptor::new("", layer.blob.clone(), layer.size))?;
            let blob =
                blob.ok_or_else(|| self.failed("open", Path::new("blobs").join(layer.blob.hex()), Errno::NOENT))?;
            let mut begun = self.begin(layer, *kind, blob, false)?;
            if let Begun::Elsewhere(file) = begun {
                // Whoever waits holds nothing that others wait for; and it may be one of these.
                underway.drain(..).try_for_each(|layer| self.publish(layer))?;
                begun = self.begin(layer, *kind, file, true)?;
            }
            if let Begun::Underway(layer) = begun {
                underway.push_back(layer);
            }
        }
        underway.into_iter().try_for_each(|layer| self.publish(layer))
    }

    /// Whether a layer is there, unpacked.
    pub(super) fn is_unpacked(&self, diff_id: &Digest) -> bool {
        fs::statat(&self.cache, layer_name(diff_id), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Begins with a layer, unless somebody else has: with `wait`, whom it waits for.
    pub(super) fn begin(&self, layer: &Layer, kind: Kind, mut file: File, wait: bool) -> Result<Begun, ImageError> {
        let name = layer_name(&layer.diff_id);
        let failed = |action, error: Errno| self.failed(action, format!("../cache/{name}"), error);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(&self.work, name.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let lock = lock.map_err(|errno| failed("lock", errno))?;
        let how = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        match rustix::io::retry_on_intr(|| fs::flock(&lock, how)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Begun::Elsewhere(file)),
            Err(errno) => return Err(failed("lock", errno)),
        }
        if self.is_unpacked(&layer.diff_id) {
            return Ok(Begun::There);
        }
        // What a kill has left: nobody else has the lock.
        let temporary = temporary(&name);
        self.remove_tree(&temporary)?;
        fs::mkdirat(&self.cache, temporary.as_str(), Mode::from_raw_mode(0o755)).map_err(|e| failed("make", e))?;
        let dir = open(&self.cache, &temporary).map_err(|errno| failed("open", errno))?;
        file.rewind().map_err(|error| self.failed("read", layer.blob.hex(), error))?;
        let owners = if rustix::process::geteuid().is_root() { Owners::Kept } else { Owners::Squashed };
        let worker = worker::start(&[file.as_fd()], Reach::Files(dir.as_fd()), || {
            let made = unpack(&dir, &file, layer, kind, owners);
            made.map_err(|failure| Failure { cause: format!("Layer {}: {}", layer.blob, failure.cause), ..failure })
        })?;
        Ok(Begun::Underway(Underway { worker, diff_id: layer.diff_id.clone(), blob: layer.blob.clone(), lock }))
    }

    /// Waits for a layer, and makes it one that others see.
    pub(super) fn publish(&self, layer: Underway) -> Result<(), ImageError> {
        let Underway { worker, diff_id, lock, .. } = layer;
        let name = layer_name(&diff_id);
        let unpacked = worker.wait().and_then(|()| {
            let renamed = fs::renameat(&self.cache, temporary(&name), &self.cache, name.as_str());
            renamed.map_err(|errno| self.failed("rename", format!("../cache/{name}"), errno))
        });
        if unpacked.is_err() {
            // The first error is the one that counts; the next try clears what is left.
            let _ = self.remove_tree(&temporary(&name));
        }
        drop(lock);
        unpacked
    }

    /// Removes a layer: it has its name as long as it is whole, and no longer.
    pub(super) fn remove_layer(&self, name: &str) -> Result<(), ImageError> {
        let temporary = temporary(name);
        self.remove_tree(&temporary)?;
        let renamed = fs::renameat(&self.cache, name, &self.cache, temporary.as_str());
        renamed.map_err(|errno| self.failed("rename", format!("../cache/{name}"), errno))?;
        self.remove_tree(&temporary)
    }

    /// Removes a directory of the cache with everything in it, if it is there.
    pub(super) fn remove_tree(&self, name: &str) -> Result<(), ImageError> {
        let failed = |errno: Errno| self.failed("remove", format!("../cache/{name}"), errno);
        match open(&self.cache, name) {
            Ok(dir) => {
                crate::store::empty_tree(dir.as_fd()).map_err(failed)?;
                fs::unlinkat(&self.cache, name, AtFlags::REMOVEDIR).map_err(failed)
            }
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }
}

fn temporary(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// In the worker: from a blob to files.
fn unpack(dir: &OwnedFd, blob: &File, layer: &Layer, kind: Kind, owners: Owners) -> Result<(), Failure> {
    let damaged = |what: &str| Failure {
        cause: format!("its {what} is not what its digest says"),
        hint: "Get it again: it was damaged on its way, or is not what was meant".into(),
    };
    let mut travelling = Hashing::new(blob, &layer.blob, layer.size.saturating_add(1));
    let most = layer.size.saturating_mul(MAX_RATIO).saturating_add(FREE);
    let unpacked = {
        let buffered = BufReader::with_capacity(1 << 17, &mut travelling);
        let plain = plain(kind.compression, buffered)?;
        let mut contents = Hashing::new(plain, &layer.diff_id, most);
        let options = LayerOptions { max_entries: MAX.0, max_bytes: MAX.1, owners };
        let made = archive::layer::unpack(dir.as_fd(), &options, &mut contents);
        // What follows the end mark belongs to the digest.
        let rest = made.is_ok().then(|| io::copy(&mut contents, &mut io::sink()));
        let too_much = contents.left == 0;
        (made, rest.transpose(), too_much, contents.finish())
    };
    let (made, rest, too_much, diff_id) = unpacked;
    // A blob that is another one explains every other mistake.
    let _ = io::copy(&mut travelling, &mut io::sink());
    if travelling.finish() != layer.blob {
        return Err(damaged("blob"));
    }
    if too_much {
        return Err(Failure::from(format!("it unpacks to more than {most} bytes, from {}", layer.size)));
    }
    made.map_err(|error| Failure { cause: wire::cause(&error), hint: String::new() })?;
    rest.map_err(|error| Failure::from(format!("it cannot be read: {error}")))?;
    if diff_id != layer.diff_id {
        return Err(damaged("contents"));
    }
    Ok(())
}

/// In a worker: bytes without their compression.
pub(super) fn plain<'a>(compression: Compression, from: impl io::BufRead + 'a) -> Result<Box<dyn Read + 'a>, Failure> {
    Ok(match compression {
        Compression::None => Box::new(from),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Compression::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(from);
            Box::new(decoder.map_err(|error| Failure::from(format!("it is no zstd: {error}")))?)
        }
    })
}

/// Bytes that are hashed while they pass, and of which no more than so many do.
struct Hashing<R> {
    from: R,
    hasher: Hasher,
    left: u64,
}

impl<R: Read> Hashing<R> {
    fn new(from: R, wanted: &Digest, most: u64) -> Self {
        Self { from, hasher: Hasher::new(wanted.algorithm()), left: most }
    }

    fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.from.read(&mut into[..most])?;
        self.hasher.update(&into[..count]);
        self.left -= count as u64;
        Ok(count)
    }
}
