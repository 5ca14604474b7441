//! Removes what no name leads to and no sandbox uses, and tells how much there is.

use super::{
    ImageError, Images, Record, Tag,
    build::{Built, CACHE, LENT},
    layer_name,
    layers::UNFINISHED,
    names, open,
    pull::is_part,
};
use crate::{
    Image, OciImage, SandboxId, Spec,
    store::{Store, StoreError, durable},
};
use oci::{Digest, Reference};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{self, AtFlags, FileType, FlockOperation},
    io::Errno,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, path::Path};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Images, by the digests of their manifests.
    pub images: Vec<Digest>,
    /// Layers that were unpacked.
    pub layers: u64,
    /// Contents as they travel.
    pub blobs: u64,
    /// The bytes of those.
    pub bytes: u64,
    /// Images of ours that engines had: made of layers, or of a project.
    pub in_engines: u64,
}

impl Images {
    /// Puts an image on record. What it is made of is on disk before.
    pub(super) fn put_record(&self, record: &Record) -> Result<(), ImageError> {
        fs::fsync(&self.blobs).map_err(|errno| self.failed("write", "blobs", errno))?;
        let path = self.path.join("records");
        Ok(durable::write(self.records.as_fd(), &path, record.manifest.hex(), record)?)
    }

    /// Every image on record, but what is [damaged](Self::damaged).
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn records(&self) -> Result<Vec<Record>, ImageError> {
        let path = self.path.join("records");
        let mut records = Vec::new();
        for name in names(&self.records, &path)? {
            records.extend(super::readable::<Record>(&self.records, &path, &name)?);
        }
        Ok(records)
    }

    /// Takes a name away; the image stays until [`prune`](Self::prune). False: nothing has this name.
    ///
    /// # Errors
    /// If it can't be removed.
    pub fn untag(&self, reference: &Reference) -> Result<bool, ImageError> {
        let name = super::tag_name(reference);
        match fs::unlinkat(&self.tags, name.as_str(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("remove", Path::new("tags").join(name), errno)),
        }
    }

    /// Removes images that no name leads to and no sandbox is made of, layers that are of no image, and what was not
    /// finished. With `all`, names are taken away first that no sandbox is made of, and what builds keep for the next goes
    /// as well. With `dry_run` it is only told.
    ///
    /// # Errors
    /// If something could not be removed; the rest may be. If it can't be read what a sandbox is made of, nothing is.
    pub fn prune(&self, store: &Store, all: bool, dry_run: bool) -> Result<Removed, ImageError> {
        // Nobody adds meanwhile.
        let _guard = self.lock(FlockOperation::LockExclusive)?;
        let mut removed = Removed::default();
        let used = used(store)?;
        let (kept, given_up): (Vec<Tag>, Vec<Tag>) =
            self.tags()?.into_iter().partition(|tag| !all || used.manifests.contains(&tag.manifest));
        for tag in given_up.iter().filter(|_| !dry_run) {
            if let Ok(name) = tag.reference.parse::<Reference>() {
                self.untag(&name)?;
            }
        }
        let named: BTreeSet<Digest> = kept.into_iter().map(|tag| tag.manifest).collect();
        let (kept, gone): (Vec<Record>, Vec<Record>) = self
            .records()?
            .into_iter()
            .partition(|record| named.contains(&record.manifest) || used.manifests.contains(&record.manifest));
        for record in gone {
            if !dry_run {
                let name = record.manifest.hex();
                let gone = fs::unlinkat(&self.records, name, AtFlags::empty());
                gone.map_err(|errno| self.failed("remove", Path::new("records").join(name), errno))?;
            }
            removed.images.push(record.manifest);
        }
        let steps = self.prune_steps(all, dry_run)?;
        self.prune_blobs(&kept, &steps, dry_run, &mut removed)?;
        self.prune_layers(&kept, &steps, &used, dry_run, &mut removed)?;
        self.prune_mounts(all, dry_run)?;
        if !dry_run {
            self.clear_work(|_| true)?;
            self.clear_records::<Tag>(&self.tags, "tags")?;
            self.clear_records::<Record>(&self.records, "records")?;
            self.clear_records::<Built>(&self.steps, "steps")?;
        }
        Ok(removed)
    }

    /// Removes contents that nothing on record refers to: what a kill or a full disk has left. Images stay, and what has come
    /// of them in part. If somebody adds just now, nothing is removed.
    ///
    /// # Errors
    /// As [`prune`](Self::prune).
    pub fn clear(&self, store: &Store, dry_run: bool) -> Result<Removed, ImageError> {
        let mut removed = Removed::default();
        let lock = self.open_lock(super::LOCK)?;
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(removed),
            Err(errno) => return Err(self.failed("lock", super::LOCK, errno)),
        }
        let used = used(store)?;
        let (kept, steps) = (self.records()?, self.prune_steps(false, dry_run)?);
        self.prune_blobs(&kept, &steps, dry_run, &mut removed)?;
        self.prune_layers(&kept, &steps, &used, dry_run, &mut removed)?;
        self.prune_mounts(false, dry_run)?;
        if !dry_run {
            self.clear_work(|name| !is_part(name))?;
        }
        Ok(removed)
    }

    /// What steps of builds have made is kept, unless `all` goes.
    fn prune_steps(&self, all: bool, dry_run: bool) -> Result<Vec<Built>, ImageError> {
        let steps = self.steps()?;
        if !all {
            return Ok(steps.into_iter().map(|(_, built)| built).collect());
        }
        for (name, _) in steps.iter().filter(|_| !dry_run) {
            let gone = fs::unlinkat(&self.steps, name.as_str(), AtFlags::empty());
            gone.map_err(|errno| self.failed("remove", Path::new("steps").join(name), errno))?;
        }
        Ok(Vec::new())
    }

    /// Removes what dead builds were lent, and with `all` the caches of builds.
    fn prune_mounts(&self, all: bool, dry_run: bool) -> Result<(), ImageError> {
        for name in names(&self.cache, Path::new("cache"))? {
            if !dry_run && (name.starts_with(LENT) || (all && name.starts_with(CACHE))) {
                self.remove_tree(&self.cache, "../cache", &name)?;
            }
        }
        Ok(())
    }

    fn prune_blobs(
        &self,
        kept: &[Record],
        steps: &[Built],
        dry_run: bool,
        removed: &mut Removed,
    ) -> Result<(), ImageError> {
        let of = |record: &Record| {
            let layers = record.layers.iter().map(|layer| layer.blob.hex().to_owned());
            let documents = [&record.manifest, &record.config].map(|digest| digest.hex().to_owned());
            layers.chain(documents).collect::<Vec<_>>()
        };
        let steps = steps.iter().map(|built| built.travelling.digest.hex().to_owned());
        let wanted: BTreeSet<String> = kept.iter().flat_map(of).chain(steps).collect();
        for name in names(&self.blobs, &self.path.join("blobs"))? {
            if wanted.contains(&name) {
                continue;
            }
            let failed = |errno: Errno| self.failed("remove", Path::new("blobs").join(&name), errno);
            let stat = fs::statat(&self.blobs, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if !dry_run {
                fs::unlinkat(&self.blobs, &name, AtFlags::empty()).map_err(failed)?;
            }
            removed.blobs += 1;
            removed.bytes += stat.st_size as u64;
        }
        Ok(())
    }

    fn prune_layers(
        &self,
        kept: &[Record],
        steps: &[Built],
        used: &Used,
        dry_run: bool,
        removed: &mut Removed,
    ) -> Result<(), ImageError> {
        let of = |record: &Record| record.layers.iter().map(|layer| layer_name(&layer.diff_id)).collect::<Vec<_>>();
        let steps = steps.iter().map(|built| layer_name(&built.diff_id));
        let wanted: BTreeSet<String> = kept.iter().flat_map(of).chain(steps).collect();
        for name in names(&self.cache, Path::new("cache"))? {
            if !name.starts_with("layer-") || wanted.contains(&name) || used.layers.contains(&name) {
                continue;
            }
            // A sandbox that runs holds it.
            let Ok(layer) = open(&self.cache, &name) else { continue };
            if fs::flock(&layer, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // What was not finished never was one.
            let whole = !name.ends_with(UNFINISHED);
            removed.layers += u64::from(whole);
            match (dry_run, whole) {
                (true, _) => {}
                (false, true) => self.remove_layer(&name)?,
                (false, false) => self.remove_tree(&self.cache, "../cache", &name)?,
            }
        }
        Ok(())
    }

    /// Removes records that a kill has left half written.
    fn clear_records<T: DeserializeOwned>(&self, dir: &OwnedFd, place: &str) -> Result<(), ImageError> {
        for entry in fs::Dir::read_from(dir).map_err(|errno| self.failed("read", place, errno))? {
            let entry = entry.map_err(|errno| self.failed("read", place, errno))?;
            let name = entry.file_name();
            if name.to_bytes().starts_with(b".new-") {
                fs::unlinkat(dir, name, AtFlags::empty()).map_err(|errno| self.failed("remove", place, errno))?;
            }
        }
        for name in self.unreadable::<T>(dir, place)? {
            fs::unlinkat(dir, name, AtFlags::empty()).map_err(|errno| self.failed("remove", place, errno))?;
        }
        Ok(())
    }

    fn unreadable<T: DeserializeOwned>(&self, dir: &OwnedFd, place: &str) -> Result<Vec<String>, ImageError> {
        let path = self.path.join(place);
        let mut unreadable = Vec::new();
        for name in names(dir, &path)? {
            if let Err(StoreError::Damaged { .. }) = durable::read::<T>(dir.as_fd(), &path, &name) {
                unreadable.push(name);
            }
        }
        Ok(unreadable)
    }

    /// How many names and images are on record and can't be read.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn damaged(&self) -> Result<usize, ImageError> {
        let (tags, records) =
            (self.unreadable::<Tag>(&self.tags, "tags")?, self.unreadable::<Record>(&self.records, "records")?);
        Ok(tags.len() + records.len())
    }

    /// Removes what is under way and `goes`, when nothing can be under way.
    fn clear_work(&self, goes: impl Fn(&String) -> bool) -> Result<(), ImageError> {
        for name in names(&self.work, &self.path.join("work"))?.into_iter().filter(goes) {
            let failed = |errno: Errno| self.failed("remove", Path::new("work").join(&name), errno);
            let stat = fs::statat(&self.work, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.remove_tree(&self.work, "work", &name)?;
            } else {
                fs::unlinkat(&self.work, &name, AtFlags::empty()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The sandboxes that are made of an image, or have it as a layer.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn users(&self, store: &Store, manifest: &Digest) -> Result<Vec<SandboxId>, ImageError> {
        let made_of = |listed: crate::store::Listed| match listed.spec {
            Ok(spec) if images(&spec).any(|image| image.manifest == *manifest) => Some(listed.id),
            _ => None,
        };
        Ok(store.list()?.into_iter().filter_map(made_of).collect())
    }
}

/// What sandboxes are made of.
#[derive(Default)]
struct Used {
    manifests: BTreeSet<Digest>,
    layers: BTreeSet<String>,
}

fn used(store: &Store) -> Result<Used, ImageError> {
    let mut used = Used::default();
    for listed in store.list()? {
        // One that can't be read could be made of anything.
        for image in images(&listed.spec?) {
            used.layers.extend(image.layers.iter().map(layer_name));
            used.manifests.insert(image.manifest.clone());
        }
    }
    Ok(used)
}

/// What of the store a sandbox is made of.
fn images(spec: &Spec) -> impl Iterator<Item = &OciImage> {
    let base = if let Image::Oci(image) = &spec.image { Some(image) } else { None };
    base.into_iter().chain(&spec.layers)
}
