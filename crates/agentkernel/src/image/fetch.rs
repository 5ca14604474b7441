//! Hides how files that are known by their digests come from the internet, and where they lie while something is made of
//! them. One that broke off goes on where it was; one that is here is not brought again.

use super::{
    ImageError, Images, Layer, Stage,
    layers::Progress,
    pull::{Coming, in_runtime},
    registry::internet,
    worker::{self, Reach},
};
use oci::{
    Digest,
    manifest::Descriptor,
    registry::{Client, Download, RegistryError},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, BorrowedFd},
    fs::AtFlags,
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// How often it is looked how far they are.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A file of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is: `https://…`.
    pub address: String,
    /// What it is called here.
    pub name: String,
    /// What it is.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
}

/// A directory with files that were brought, gone with this.
#[derive(Debug)]
pub struct Fetched<'a> {
    images: &'a Images,
    name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Drop for Fetched<'_> {
    fn drop(&mut self) {
        // What is left goes with the next `prune`.
        let _ = self.images.remove_tree(&self.images.work, "work", &self.name);
    }
}

impl Images {
    /// Brings files that are not here, and puts all of them into a directory.
    ///
    /// # Errors
    /// [`ImageError`]: what came before counts the next time.
    pub fn fetch(&self, wanted: &[Wanted], progress: Progress<'_>) -> Result<Fetched<'_>, ImageError> {
        let _guard = self.keep()?;
        let descriptor = |wanted: &Wanted| Descriptor::new("", wanted.digest.clone(), wanted.size);
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        // In one order for everybody: whoever waits for one has none that comes after it.
        order.sort_by(|one, other| wanted[*one].digest.cmp(&wanted[*other].digest));
        order.dedup_by(|one, other| wanted[*one].digest == wanted[*other].digest);
        let mut coming: Vec<Coming> = Vec::new();
        for index in order {
            let descriptor = descriptor(&wanted[index]);
            if self.sound(&descriptor)?.is_none() {
                coming.extend(self.reserve(index, &descriptor)?);
            }
        }
        if !coming.is_empty() {
            self.check_room(coming.iter().map(|coming| coming.wanted.size - coming.done()).sum())?;
            let brought = self.bring_files(wanted, &coming, progress);
            // Whatever has come whole is kept, also if another has not.
            let kept = coming.iter().try_for_each(|coming| self.take_over(coming));
            brought.and(kept)?;
        }
        let scratch = self.scratch("fetch")?;
        let path = self.path.join("work").join(&scratch.name);
        let fetched = Fetched { images: self, name: scratch.name, path };
        for file in wanted {
            let linked =
                rustix::fs::linkat(&self.blobs, file.digest.hex(), &scratch.dir, file.name.as_str(), AtFlags::empty());
            linked.map_err(|errno| self.failed("link", Path::new("blobs").join(file.digest.hex()), errno))?;
        }
        Ok(fetched)
    }

    fn bring_files(&self, wanted: &[Wanted], coming: &[Coming], progress: Progress<'_>) -> Result<(), ImageError> {
        let files: Vec<BorrowedFd<'_>> = coming.iter().map(|coming| coming.file.as_fd()).collect();
        // Files that say whom to ask, the worker cannot read.
        let settings = internet();
        let worker = worker::start(&files, Reach::Internet, || {
            in_runtime(&settings, async |client| fetch(&client, wanted, coming).await)
        })?;
        let layers: Vec<Layer> = coming
            .iter()
            .map(|coming| Layer {
                blob: coming.wanted.digest.clone(),
                size: coming.wanted.size,
                diff_id: coming.wanted.digest.clone(),
            })
            .collect();
        loop {
            let stages: Vec<Stage> = coming.iter().map(|coming| Stage::Coming(coming.done())).collect();
            progress(&layers, &stages);
            if !matches!(poll(&mut [PollFd::new(&worker, PollFlags::IN)], Some(&TICK)), Ok(0)) {
                return worker.wait();
            }
        }
    }
}

/// In the worker: brings the files, one after the other.
async fn fetch(client: &Client, wanted: &[Wanted], coming: &[Coming]) -> Result<(), RegistryError> {
    for coming in coming {
        let file = File::from(coming.file.try_clone().map_err(RegistryError::Write)?);
        let mut download = Download::resume(&coming.wanted, file).map_err(RegistryError::Read)?;
        client.file(&wanted[coming.index].address, &mut download).await?;
    }
    Ok(())
}
