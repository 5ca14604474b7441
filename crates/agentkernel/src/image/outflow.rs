//! Hides how layers and images leave the store for engines: without compressions that not all of them know, and packed by a
//! worker.

use super::{
    ImageError, Images, Record,
    compression::plain,
    layers::{Hashing, most},
    worker::{self, Reach, Worker},
};
use archive::{
    PackError,
    layer::{PackLayerOptions, PackOwners, pack},
};
use oci::manifest::{Descriptor, media::Compression};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags},
    io::Errno,
    pipe::PipeFlags,
};
use std::{
    fs::File,
    io::{self, BufReader, Write as _},
};
use wire::Failure;

/// A layer on its way out.
#[derive(Debug)]
pub struct Outflow(Worker<()>);

impl Outflow {
    /// Whether all of it was what its digest says. To be asked after the end of what could be read, or when nobody reads any
    /// more.
    ///
    /// # Errors
    /// Why not.
    pub fn end(self) -> Result<(), ImageError> {
        self.0.wait()
    }
}

impl Images {
    /// The tar archive of a layer of an image, by its number from the lowest: what is read there.
    ///
    /// # Errors
    /// If it is not here.
    pub fn outflow(&self, record: &Record, number: usize) -> Result<(OwnedFd, Outflow), ImageError> {
        let kinds = self.manifest(record)?.0.layer_kinds()?;
        let (Some(layer), Some(&kind)) = (record.layers.get(number), kinds.get(number)) else {
            return Err(self.gone(&record.manifest));
        };
        let blob = self.blob(&Descriptor::new("", layer.blob.clone(), layer.size))?;
        let blob = blob.ok_or_else(|| self.gone(&layer.blob))?;
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| ImageError::Worker(e.into()))?;
        let worker = worker::start(&[blob.as_fd(), write.as_fd()], Reach::Nothing, || {
            let broken = |error: io::Error| Failure::from(format!("Layer {} cannot be read: {error}", layer.blob));
            let mut to = File::from(write.try_clone().map_err(broken)?);
            let mut contents = Hashing::new(plain(kind, BufReader::new(&blob)), &layer.diff_id, most(layer));
            match io::copy(&mut contents, &mut to).and_then(|_| to.flush()) {
                // Who does not want it has said why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                copied => copied.map_err(broken)?,
            }
            match contents.finish() == layer.diff_id {
                true => Ok(()),
                false => Err(Failure {
                    cause: format!("Layer {} is not what its digest says", layer.blob),
                    hint: "Pull or import the image again".to_owned(),
                }),
            }
        })?;
        Ok((read, Outflow(worker)))
    }

    /// Gives `send` an image as every engine loads it: what `docker save` writes, with this name in it.
    ///
    /// # Errors
    /// If it is not here, or damaged.
    pub fn hand_over<T>(&self, record: &Record, name: &str, send: impl FnOnce(OwnedFd) -> T) -> Result<T, ImageError> {
        let _guard = self.keep()?;
        let manifest = self.manifest(record)?.0;
        let kinds = manifest.layer_kinds()?;
        let scratch = self.scratch("handover")?;
        let made = (|| {
            let failed = |errno: Errno| self.failed("make", "work", errno);
            let link = |descriptor: &Descriptor, place: &str| {
                self.whole(descriptor)?;
                let linked = fs::linkat(&self.blobs, descriptor.digest.hex(), &scratch.dir, place, AtFlags::empty());
                // The same layer twice.
                linked.or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(failed(errno)) })
            };
            let write = |place: &str, mut from: &mut dyn io::Read| {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = fs::openat(&scratch.dir, place, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                let copied = io::copy(&mut from, &mut File::from(file));
                copied.map(drop).map_err(|error| self.failed("write", "work", error))
            };
            let config = format!("{}.json", record.config.hex());
            link(&manifest.config, &config)?;
            let mut places = Vec::new();
            for (number, (layer, kind)) in manifest.layers.iter().zip(kinds).enumerate() {
                let place = format!("{}.tar", layer.digest.hex());
                match kind {
                    Compression::None | Compression::Gzip => link(layer, &place)?,
                    // Docker knows it since version 23.
                    Compression::Zstd => {
                        let (contents, outflow) = self.outflow(record, number)?;
                        write(&place, &mut File::from(contents))?;
                        outflow.end()?;
                    }
                }
                places.push(place);
            }
            let list = serde_json::json!([{ "Config": config, "RepoTags": [name], "Layers": places }]);
            write("manifest.json", &mut list.to_string().as_bytes())?;
            self.packed(&scratch.dir, send)
        })();
        drop(scratch.dir);
        let removed = self.remove_tree(&self.work, "work", &scratch.name);
        let made = made?;
        removed.map(|()| made)
    }

    /// Gives `send` a tar archive of a directory of ours, all of it root's, which a worker packs.
    ///
    /// # Errors
    /// If something can't be read.
    pub(super) fn packed<T>(&self, dir: &OwnedFd, send: impl FnOnce(OwnedFd) -> T) -> Result<T, ImageError> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| ImageError::Worker(e.into()))?;
        let worker = worker::start(&[write.as_fd()], Reach::Files(dir.as_fd()), || {
            let options = PackLayerOptions { owners: PackOwners::Squashed, latest: None };
            let copy = write.try_clone().map_err(|error| Failure::from(error.to_string()))?;
            let mut to = io::BufWriter::with_capacity(1 << 17, File::from(copy));
            let packed = pack(dir.as_fd(), &options, &mut to).map(drop);
            match packed.and_then(|()| to.flush().map_err(PackError::Write)) {
                // Who wants no more of it says why.
                Err(PackError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                packed => packed.map_err(|error| Failure::from(wire::cause(&error))),
            }
        })?;
        drop(write);
        let sent = send(read);
        worker.wait().map(|()| sent)
    }
}
