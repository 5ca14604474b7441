//! Unpacks layers, each once: whoever comes second waits for the first. A worker decompresses, checks both digests and makes
//! the files; what it has made is published whole, by a rename.
//!
//! That a layer is there already, unpacked, says nothing of bytes which are said to be the same layer: they are read to their
//! end all the same, unless an image on record has this very pair.

use super::{
    ImageError, Images, Layer, Record,
    compression::plain,
    error::told,
    layer_name, names, open,
    pull::{Delivery, part},
    worker::{self, Reach, Worker},
};
use crate::store::durable;
use archive::layer::{LayerOptions, Owners};
use oci::{
    Digest, Hasher,
    manifest::{Descriptor, MAX_SIZE, media::Compression},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, Read, Seek as _},
    path::Path,
};
use wire::Failure;

/// Layers that are unpacked at once.
const AT_ONCE: usize = 2;
/// How often it is looked how far they are.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Where they are, from the images.
const CACHE: &str = "../cache";
/// The most that a layer may have: entries, and bytes.
const MAX: (u64, u64) = (5_000_000, MAX_SIZE);
/// Contents so many times longer than their compressed form are there to fill a disk: gzip makes of anything at least its
/// thousandth part, and of what programs and people write, a tenth. So many bytes may be whatever they are.
const MAX_RATIO: u64 = 200;
const FREE: u64 = 1 << 30;
/// Ends the name of a layer that is not whole.
pub(super) const UNFINISHED: &str = ".tmp";

/// What came of the wish to unpack a layer.
enum Begun {
    /// Its worker runs.
    Underway(Underway),
    /// It is there already.
    There,
    /// Somebody else unpacks it just now.
    Elsewhere,
}

/// A layer on its way.
struct Underway {
    worker: Worker<()>,
    layer: Layer,
    kind: Compression,
    /// Held until it is published, or given up; none: it is there, and is only read.
    lock: Option<OwnedFd>,
}

impl AsFd for Underway {
    /// Readable when it is done.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.worker.as_fd()
    }
}

/// A layer that is unpacked and whole, and that nobody else sees yet.
struct Whole {
    diff_id: Digest,
    lock: OwnedFd,
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// So many of its bytes are here.
    Coming(u64),
    /// It is unpacked just now.
    Unpacking,
    /// It is unpacked.
    Done,
}

/// What hears how far the layers are.
pub(super) type Progress<'a> = &'a mut dyn FnMut(&[Layer], &[Stage]);

impl Images {
    /// Unpacks what of an image is not unpacked yet, as it comes. What is unpacked stays, also if another layer fails.
    pub(super) fn unpack(
        &self,
        record: &Record,
        kinds: &[Compression],
        delivery: &mut Delivery,
        progress: Progress<'_>,
    ) -> Result<(), ImageError> {
        let mut whole = Vec::new();
        let unpacked = self.unpack_all(record, kinds, delivery, &mut whole, progress);
        unpacked.and(self.publish(&mut whole))
    }

    fn unpack_all(
        &self,
        record: &Record,
        kinds: &[Compression],
        delivery: &mut Delivery,
        whole: &mut Vec<Whole>,
        progress: Progress<'_>,
    ) -> Result<(), ImageError> {
        let mut underway: Vec<Underway> = Vec::new();
        let mut read = self.known(record)?;
        let mut left: Vec<(&Layer, Compression)> = record.layers.iter().zip(kinds.iter().copied()).collect();
        loop {
            // What has come may be unpacked: whether it is what it should be, its worker finds out for itself.
            let over = delivery.is_over();
            delivery.hear();
            let (mut waiting, mut elsewhere) = (Vec::new(), false);
            for (layer, kind) in std::mem::take(&mut left) {
                // The same one twice is unpacked once.
                let known = read.iter().any(|(other, as_this)| other == layer && *as_this == kind);
                let ours = underway.iter().any(|other| other.layer == *layer)
                    || (known && whole.iter().any(|other| other.diff_id == layer.diff_id));
                if ours || (known && self.is_unpacked(&layer.diff_id)) {
                    continue;
                }
                let file = if underway.len() < AT_ONCE { self.arrived(layer, delivery)? } else { None };
                match file.map(|file| self.begin(layer, kind, file, known)).transpose()? {
                    Some(Begun::Underway(layer)) => underway.push(layer),
                    Some(Begun::There) => {}
                    // It is looked at again at the next tick.
                    Some(Begun::Elsewhere) => {
                        elsewhere = true;
                        waiting.push((layer, kind));
                    }
                    None => waiting.push((layer, kind)),
                }
            }
            left = waiting;
            let stage = |layer: &Layer| {
                if underway.iter().any(|other| other.layer == *layer) {
                    return Stage::Unpacking;
                }
                let waits = left.iter().any(|(other, _)| *other == layer);
                if waits { Stage::Coming(delivery.done(layer)) } else { Stage::Done }
            };
            progress(&record.layers, &record.layers.iter().map(stage).collect::<Vec<_>>());
            if underway.is_empty() {
                // A lull: whoever waits for one of these need wait no longer, and may be who this waits for.
                self.publish(whole)?;
                match left.first() {
                    None => return delivery.wait(),
                    Some((layer, _)) if over && !elsewhere => return Err(self.gone(&layer.blob)),
                    Some(_) => {}
                }
            }
            let mut fds: Vec<PollFd<'_>> = underway.iter().map(|layer| PollFd::new(layer, PollFlags::IN)).collect();
            fds.extend(delivery.fetching().map(|worker| PollFd::new(worker, PollFlags::IN)));
            fds.extend(delivery.word().map(|word| PollFd::new(word, PollFlags::IN)));
            match poll(&mut fds, Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("wait for", "work", errno)),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            drop(fds);
            let fetched = ready.get(underway.len()).copied().unwrap_or(false);
            for index in (0..underway.len()).rev().filter(|index| ready.get(*index) == Some(&true)) {
                let done = underway.swap_remove(index);
                let (layer, kind) = (done.layer.clone(), done.kind);
                whole.extend(self.wait_for(done)?);
                delivery.found_good(&layer.blob);
                read.push((layer, kind));
            }
            if fetched {
                delivery.wait()?;
            }
        }
    }

    /// Layers of an image that another one on record has as well, with the same bytes in the same compression: they were
    /// read.
    fn known(&self, record: &Record) -> Result<Vec<(Layer, Compression)>, ImageError> {
        let mut known = Vec::new();
        for name in names(&self.records, &self.path.join("records"))? {
            let other: Option<Record> =
                durable::read(self.records.as_fd(), &self.path.join("records"), &name).unwrap_or_default();
            // What can't be read is no witness.
            if let Some(other) = other.filter(|other| other.layers.iter().any(|layer| record.layers.contains(layer)))
                && let Ok(kinds) = self.manifest(&other).and_then(|(manifest, _)| Ok(manifest.layer_kinds()?))
            {
                known.extend(other.layers.into_iter().zip(kinds));
            }
        }
        Ok(known)
    }

    /// Unpacks one layer whose bytes are here, and known to be its own, unless it is there.
    pub(super) fn unpack_one(&self, layer: &Layer, kind: Compression, file: &File) -> Result<(), ImageError> {
        loop {
            let copy = file.try_clone().map_err(|error| self.failed("read", layer.blob.hex(), error))?;
            match self.begin(layer, kind, copy, true)? {
                Begun::Underway(layer) => return self.publish(&mut self.wait_for(layer)?.into_iter().collect()),
                Begun::There => return Ok(()),
                Begun::Elsewhere => {
                    let _ = poll(&mut [], Some(&TICK));
                }
            }
        }
    }

    /// The file of a layer, if all of it is here.
    fn arrived(&self, layer: &Layer, delivery: &Delivery) -> Result<Option<File>, ImageError> {
        if !delivery.brings(&layer.blob) {
            return self.blob(&Descriptor::new("", layer.blob.clone(), layer.size));
        }
        if !delivery.has_come(layer) {
            return Ok(None);
        }
        let name = part(&layer.blob);
        let file =
            open(&self.work, &name).map_err(|errno| self.failed("open", Path::new("work").join(&name), errno))?;
        Ok(Some(file.into()))
    }

    /// Whether a layer is there, unpacked.
    pub(super) fn is_unpacked(&self, diff_id: &Digest) -> bool {
        fs::statat(&self.cache, layer_name(diff_id), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Begins with a layer, unless somebody else has. If it is there, and its bytes are not known to be its own, they are
    /// read.
    fn begin(&self, layer: &Layer, kind: Compression, mut file: File, known: bool) -> Result<Begun, ImageError> {
        let name = layer_name(&layer.diff_id);
        let failed = |action, error: Errno| self.failed(action, Path::new(CACHE).join(&name), error);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(&self.work, name.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let lock = lock.map_err(|errno| failed("lock", errno))?;
        match rustix::io::retry_on_intr(|| fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Begun::Elsewhere),
            Err(errno) => return Err(failed("lock", errno)),
        }
        file.rewind().map_err(|error| self.failed("read", layer.blob.hex(), error))?;
        let of_it = |failure: Failure| Failure { cause: format!("Layer {}: {}", layer.blob, failure.cause), ..failure };
        if self.is_unpacked(&layer.diff_id) {
            if known {
                return Ok(Begun::There);
            }
            let worker = worker::start(&[file.as_fd()], Reach::Nothing, || {
                check(&file, layer, kind, |contents| io::copy(contents, &mut io::sink())).map_err(of_it)
            })?;
            return Ok(Begun::Underway(Underway { worker, layer: layer.clone(), kind, lock: None }));
        }
        // What a kill has left: nobody else has the lock.
        let temporary = temporary(&name);
        self.remove_tree(&self.cache, CACHE, &temporary)?;
        fs::mkdirat(&self.cache, temporary.as_str(), Mode::from_raw_mode(0o755)).map_err(|e| failed("make", e))?;
        let dir = open(&self.cache, &temporary).map_err(|errno| failed("open", errno))?;
        let owners = if rustix::process::geteuid().is_root() { Owners::Kept } else { Owners::Squashed };
        let options = LayerOptions { max_entries: MAX.0, max_bytes: MAX.1, owners, ..LayerOptions::default() };
        let worker = worker::start(&[file.as_fd()], Reach::Files(dir.as_fd()), || {
            check(&file, layer, kind, |contents| archive::layer::unpack(dir.as_fd(), &options, contents)).map_err(of_it)
        })?;
        Ok(Begun::Underway(Underway { worker, layer: layer.clone(), kind, lock: Some(lock) }))
    }

    /// Waits for a layer to be whole; `None` if it was only read.
    fn wait_for(&self, layer: Underway) -> Result<Option<Whole>, ImageError> {
        let Underway { worker, layer: Layer { diff_id, .. }, lock, .. } = layer;
        let Some(lock) = lock else { return worker.wait().map(|()| None) };
        match worker.wait() {
            Ok(()) => Ok(Some(Whole { diff_id, lock })),
            Err(error) => {
                // The first error is the one that counts; the next try clears what is left.
                let _ = self.remove_tree(&self.cache, CACHE, &temporary(&layer_name(&diff_id)));
                Err(error)
            }
        }
    }

    /// Makes layers that are whole ones that others see. They are on disk before, once for all of them: a name stands for a
    /// whole layer also after the power was cut.
    fn publish(&self, layers: &mut Vec<Whole>) -> Result<(), ImageError> {
        if layers.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.check_room(0) {
            for layer in layers.drain(..) {
                // The first error is the one that counts.
                let _ = self.remove_tree(&self.cache, CACHE, &temporary(&layer_name(&layer.diff_id)));
            }
            return Err(error);
        }
        let failed = |action, errno: Errno| self.failed(action, CACHE, errno);
        fs::syncfs(&self.cache).map_err(|errno| failed("write", errno))?;
        for Whole { diff_id, lock } in layers.drain(..) {
            let name = layer_name(&diff_id);
            let renamed = fs::renameat(&self.cache, temporary(&name), &self.cache, name.as_str());
            renamed.map_err(|errno| self.failed("rename", Path::new(CACHE).join(&name), errno))?;
            drop(lock);
        }
        fs::fsync(&self.cache).map_err(|errno| failed("write", errno))
    }

    /// Removes a layer: it has its name as long as it is whole, and no longer.
    pub(super) fn remove_layer(&self, name: &str) -> Result<(), ImageError> {
        let temporary = temporary(name);
        self.remove_tree(&self.cache, CACHE, &temporary)?;
        let renamed = fs::renameat(&self.cache, name, &self.cache, temporary.as_str());
        renamed.map_err(|errno| self.failed("rename", Path::new(CACHE).join(name), errno))?;
        self.remove_tree(&self.cache, CACHE, &temporary)
    }
}

fn temporary(name: &str) -> String {
    format!("{name}{UNFINISHED}")
}

/// In the worker: has the contents of a blob read by `act`, and then checks that both are what they should be.
fn check<T, E: Error + 'static>(
    blob: &File,
    layer: &Layer,
    kind: Compression,
    act: impl FnOnce(&mut dyn Read) -> Result<T, E>,
) -> Result<(), Failure> {
    let damaged = |what: &str| Failure {
        cause: format!("its {what} is not what its digest says"),
        hint: "Get it again: it was damaged on its way, or is not what was meant".into(),
    };
    let mut travelling = Hashing::new(blob, &layer.blob, layer.size.saturating_add(1));
    let most = most(layer);
    let read = {
        let buffered = BufReader::with_capacity(1 << 17, &mut travelling);
        let plain = plain(kind, buffered);
        let mut contents = Hashing::new(plain, &layer.diff_id, most);
        let made = act(&mut contents);
        // What follows the end mark belongs to the digest.
        let rest = made.is_ok().then(|| io::copy(&mut contents, &mut io::sink()));
        let too_much = contents.left == 0;
        (made, rest.transpose(), too_much, contents.finish())
    };
    let (made, rest, too_much, diff_id) = read;
    // A blob that is another one explains every other mistake.
    let _ = io::copy(&mut travelling, &mut io::sink());
    if travelling.finish() != layer.blob {
        return Err(damaged("blob"));
    }
    if too_much {
        let of = made.err().map_or_else(String::new, |error| format!(" ({})", wire::cause(&error)));
        return Err(Failure {
            cause: format!("it unpacks to more than {most} bytes, from {}{of}", layer.size),
            hint: "It may be there to fill a disk: whoever made the image can leave out what is empty".into(),
        });
    }
    made.map_err(|error| told(&error))?;
    rest.map_err(|error| Failure::from(format!("it cannot be read: {error}")))?;
    if diff_id != layer.diff_id {
        return Err(damaged("contents"));
    }
    Ok(())
}

/// How many bytes the contents of a layer may be.
pub(super) fn most(layer: &Layer) -> u64 {
    layer.size.saturating_mul(MAX_RATIO).saturating_add(FREE)
}

/// Bytes that are hashed while they pass, and of which no more than so many do.
pub(super) struct Hashing<R> {
    from: R,
    hasher: Hasher,
    left: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(from: R, wanted: &Digest, most: u64) -> Self {
        Self { from, hasher: Hasher::new(wanted.algorithm()), left: most }
    }

    pub(super) fn finish(self) -> Digest {
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
