//! Hides how a layer leaves the store without its compression: for engines, which know few.

use super::{
    ImageError, Images, Record,
    compression::plain,
    layers::{Hashing, most},
    worker::{self, Reach, Worker},
};
use oci::manifest::Descriptor;
use rustix::{
    fd::{AsFd as _, OwnedFd},
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
}
