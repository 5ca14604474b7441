//! Hides how what a step has written becomes a layer of the store, and how a step is known again.

use super::super::{
    ImageError, Images, Layer,
    error::told,
    readable,
    worker::{self, Reach},
};
use crate::store::durable;
use archive::layer::{PackLayerOptions, PackOwners, pack};
use oci::{
    Algorithm, Digest, Hasher,
    manifest::{
        Descriptor,
        media::{Compression, OCI_LAYER},
    },
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, Write},
    ops::Range,
};

/// Ids of a sandbox.
pub(super) const IDS: u32 = 1 << 16;

/// A layer, as it travels and by its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Built {
    pub travelling: Descriptor,
    pub diff_id: Digest,
}

/// A layer as it was packed, and what has no place in one.
#[derive(Serialize, Deserialize)]
struct Packed {
    digest: Digest,
    size: u64,
    left_out: String,
}

impl Images {
    /// The layer that a step made before, if it is all there still.
    pub(super) fn step(&self, key: &Digest) -> Result<Option<Built>, ImageError> {
        let path = self.path.join("steps");
        let Some(built) = readable::<Built>(&self.steps, &path, key.hex())? else { return Ok(None) };
        let there = self.is_unpacked(&built.diff_id) && self.blob(&built.travelling)?.is_some();
        Ok(there.then_some(built))
    }

    /// Remembers what a step made.
    pub(super) fn put_step(&self, key: &Digest, built: &Built) -> Result<(), ImageError> {
        Ok(durable::write(self.steps.as_fd(), &self.path.join("steps"), key.hex(), built)?)
    }

    /// The layers that steps of builds have made.
    pub(in super::super) fn steps(&self) -> Result<Vec<(String, Built)>, ImageError> {
        let path = self.path.join("steps");
        let mut steps = Vec::new();
        for name in super::super::names(&self.steps, &path)? {
            let built = readable::<Built>(&self.steps, &path, &name)?;
            steps.extend(built.map(|built| (name, built)));
        }
        Ok(steps)
    }

    /// Makes a layer of a directory: an overlay's upper one, or a whole tree. `base` is the id on the host that is 0 in the
    /// layer; without, everything is root's. Nothing in it is later than `latest`. Gives what had no place in it, in words.
    pub(super) fn seal(&self, dir: &OwnedFd, base: Option<u32>, latest: i64) -> Result<(Built, String), ImageError> {
        let name = self.fresh("packed")?;
        let failed = |errno: io::Error| self.failed("write", format!("work/{name}"), errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.work, name.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(file.map_err(|errno| failed(errno.into()))?);
        let made = self.pack_into(&file, dir, base, latest).and_then(|packed| {
            fs::fsync(&file).map_err(|errno| failed(errno.into()))?;
            // It has its name once it is known that there is room for both.
            let layer = Layer { blob: packed.digest.clone(), size: packed.size, diff_id: packed.digest.clone() };
            self.unpack_one(&layer, Compression::None, &file)?;
            let renamed = fs::renameat(&self.work, name.as_str(), &self.blobs, packed.digest.hex());
            renamed.map_err(|errno| failed(errno.into()))?;
            Ok(packed)
        });
        if made.is_err() {
            // The first error is the one that counts.
            let _ = fs::unlinkat(&self.work, name.as_str(), AtFlags::empty());
        }
        let Packed { digest, size, left_out } = made?;
        Ok((Built { travelling: Descriptor::new(OCI_LAYER, digest.clone(), size), diff_id: digest }, left_out))
    }

    fn pack_into(&self, file: &File, dir: &OwnedFd, base: Option<u32>, latest: i64) -> Result<Packed, ImageError> {
        let range = |base: u32| -> Range<u32> { base..base.saturating_add(IDS) };
        let owners = match base {
            Some(base) => PackOwners::Range { uids: range(base), gids: range(base) },
            None => PackOwners::Squashed,
        };
        let options = PackLayerOptions { owners, latest: Some(latest) };
        worker::start(&[file.as_fd()], Reach::Files(dir.as_fd()), || {
            let mut output = Hashed {
                to: io::BufWriter::with_capacity(1 << 20, file),
                hasher: Hasher::new(Algorithm::Sha256),
                size: 0,
            };
            let packed = pack(dir.as_fd(), &options, &mut output).map(|summary| (summary, output.flush()));
            let (summary, flushed) = packed.map_err(|error| told(&error))?;
            flushed.map_err(|error| told(&error))?;
            let Hashed { hasher, size, .. } = output;
            Ok(Packed { digest: hasher.finish(), size, left_out: summary.left_out.to_string() })
        })?
        .wait()
    }
}

/// Bytes that are hashed on their way.
struct Hashed<W> {
    to: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
