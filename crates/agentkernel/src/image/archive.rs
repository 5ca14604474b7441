//! Images from files: OCI layouts, and archives of them or of Docker's own form.

use super::{
    ImageError, Images, Record,
    compression::{looks, plain},
    error::told,
    layout::{self, Entry, docker_entries, index_entries},
    pull::Delivery,
    read::Kind,
    worker::{self, Reach},
};
use archive::UnpackOptions;
use oci::{
    Platform, Reference,
    manifest::{
        Descriptor, MAX_CONFIG, MAX_MANIFEST, Manifest,
        media::{Compression, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST},
    },
};
use rustix::{
    fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{BufReader, Read, Seek as _},
    path::{Path, PathBuf},
};
use wire::Failure;

/// The most that an archive may have: entries, and bytes.
const MAX: (u64, u64) = (100_000, 1 << 40);

/// Where an image comes from.
#[derive(Debug)]
pub enum Origin {
    /// A directory that is a layout, or an archive.
    Path(PathBuf),
    /// An archive on standard input.
    Input,
    /// An archive from its beginning, and what it is called in errors.
    File(File, String),
}

/// A directory for a while.
pub(super) struct Scratch {
    pub(super) dir: OwnedFd,
    pub(super) name: String,
}

impl Origin {
    /// What is meant on a command line: '-', a path, or as skopeo has it, a path with the tag of an image in it, or its name.
    #[must_use]
    pub fn named(source: PathBuf) -> (Self, Option<String>) {
        if source.as_os_str() == "-" {
            return (Self::Input, None);
        }
        // Files may have such names, too, and names of images have colons themselves: the longest path that is there is meant.
        let exists = |path: &Path| std::fs::symlink_metadata(path).is_ok();
        let text = source.to_str().filter(|_| !exists(&source)).unwrap_or_default();
        let mut parts = text.rmatch_indices(':').map(|(place, _)| (&text[..place], &text[place + 1..]));
        let last = parts.clone().next().filter(|(_, tag)| !tag.contains('/'));
        match parts.find(|(path, _)| exists(Path::new(path))).or(last) {
            Some((path, tag)) => (Self::Path(path.into()), Some(tag.into())),
            None => (Self::Path(source), None),
        }
    }
}

impl Images {
    /// Takes images in from files, and names them: as they are named there, or the only one, or the one with this tag or name,
    /// as it is named here. Gives the names with the images.
    ///
    /// # Errors
    /// [`ImageError`]; what was taken in before stays.
    pub fn import(
        &self,
        origin: &Origin,
        tag: Option<&str>,
        name: Option<&Reference>,
        platform: &Platform,
    ) -> Result<Vec<(Reference, Record)>, ImageError> {
        self.open_layout(origin, |layout, refused| {
            let mut entries = self.entries(layout, platform, refused)?;
            if let Some(tag) = tag {
                let there = layout::tags(&entries);
                entries.retain(|entry| entry.is(tag));
                if entries.is_empty() {
                    return Err(refused(format!("it has no {tag} in it{there}")));
                }
            }
            self.import_layout(layout, entries, name, platform, refused)
        })
    }

    /// Takes in the only image of a file, whatever it is called there. It has no name yet.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn import_one(&self, origin: &Origin, platform: &Platform) -> Result<Record, ImageError> {
        self.open_layout(origin, |layout, refused| {
            let entries = self.entries(layout, platform, refused)?;
            let entry = layout::only(&entries).map_err(refused)?;
            self.import_entry(layout, entry, platform, refused)
        })
    }

    fn open_layout<T>(
        &self,
        origin: &Origin,
        import: impl FnOnce(&OwnedFd, &dyn Fn(String) -> ImageError) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let _guard = self.keep()?;
        let shown = match origin {
            Origin::Path(path) => path.display().to_string(),
            Origin::Input => "Standard input".to_owned(),
            Origin::File(_, name) => name.clone(),
        };
        let refused = |cause: String| ImageError::Source { path: shown.clone(), cause };
        let (layout, temporary) = self.layout(origin, &refused)?;
        let imported = import(&layout, &refused);
        if let Some(temporary) = temporary {
            drop(layout);
            // What cannot be removed now, a sweep will.
            let _ = self.remove_tree(&self.work, "work", &temporary);
        }
        imported
    }

    /// A file for a while, which has no name.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn unnamed(&self) -> Result<File, ImageError> {
        let name = self.fresh("unnamed")?;
        let failed = |errno: Errno| self.failed("make", format!("work/{name}"), errno);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&self.work, name.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        fs::unlinkat(&self.work, name.as_str(), fs::AtFlags::empty()).map_err(failed)?;
        Ok(file.into())
    }

    /// The directory of a layout, and its name in `work` if it was made for this.
    fn layout(
        &self,
        origin: &Origin,
        refused: &dyn Fn(String) -> ImageError,
    ) -> Result<(OwnedFd, Option<String>), ImageError> {
        let input = match origin {
            Origin::Path(path) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = fs::open(path, flags, Mode::empty()).map_err(|errno| refused(errno.to_string()))?;
                let kind = fs::FileType::from_raw_mode(fs::fstat(&file).map_err(|e| refused(e.to_string()))?.st_mode);
                match kind {
                    fs::FileType::Directory => return Ok((file, None)),
                    fs::FileType::RegularFile => {
                        rustix::io::ioctl_fionbio(&file, false).map_err(|errno| refused(errno.to_string()))?;
                        file
                    }
                    // Until somebody has it open for writing, it would look as if it had ended: this waits for that.
                    fs::FileType::Fifo => {
                        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
                        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                        let opened = rustix::io::retry_on_intr(|| fs::open(again.as_str(), flags, Mode::empty()));
                        opened.map_err(|errno| refused(errno.to_string()))?
                    }
                    _ => return Err(refused("it is neither a directory nor a file".to_owned())),
                }
            }
            Origin::File(file, _) => {
                let from_start = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
                from_start.map_err(|error| refused(error.to_string()))?.into()
            }
            Origin::Input => rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
                .map_err(|errno| refused(errno.to_string()))?,
        };
        let Scratch { dir, name } = self.scratch("import")?;
        let unpacked = worker::start(&[input.as_fd()], Reach::Files(dir.as_fd()), || {
            let input = input.try_clone().map_err(|error| Failure::from(error.to_string()))?;
            let options = UnpackOptions { max_entries: MAX.0, max_bytes: MAX.1, owner: None };
            unpack(dir.as_fd(), &options, File::from(input))
        })?
        .wait();
        if let Err(error) = unpacked {
            drop(dir);
            let _ = self.remove_tree(&self.work, "work", &name);
            return Err(match error {
                ImageError::Refused(failure) if failure.hint.is_empty() => refused(failure.cause),
                error => error,
            });
        }
        Ok((dir, Some(name)))
    }

    /// A new directory in `work`.
    pub(super) fn scratch(&self, what: &str) -> Result<Scratch, ImageError> {
        let name = self.fresh(what)?;
        let failed = |errno: Errno| self.failed("make", format!("work/{name}"), errno);
        fs::mkdirat(&self.work, name.as_str(), Mode::RWXU).map_err(failed)?;
        let dir = super::open(&self.work, &name).map_err(failed)?;
        Ok(Scratch { dir, name })
    }

    fn import_layout(
        &self,
        layout: &OwnedFd,
        entries: Vec<Entry>,
        name: Option<&Reference>,
        platform: &Platform,
        refused: &dyn Fn(String) -> ImageError,
    ) -> Result<Vec<(Reference, Record)>, ImageError> {
        if let Some(name) = name {
            let entry = layout::only(&entries).map_err(refused)?;
            let record = self.import_entry(layout, entry, platform, refused)?;
            self.tag(name, &record.manifest)?;
            return Ok(vec![(name.clone(), record)]);
        }
        if entries.is_empty() {
            return Err(refused("it has none in it".to_owned()));
        }
        if entries.iter().any(|entry| entry.references().is_empty()) {
            let there = layout::tags(&entries);
            return Err(refused(format!("it has no name in it: say one behind it{there}")));
        }
        let mut imported = Vec::new();
        for entry in entries {
            let names = entry.references();
            let record = self.import_entry(layout, &entry, platform, refused)?;
            for name in names {
                self.tag(&name, &record.manifest)?;
                imported.push((name, record.clone()));
            }
        }
        Ok(imported)
    }

    fn import_entry(
        &self,
        layout: &OwnedFd,
        entry: &Entry,
        platform: &Platform,
        refused: &dyn Fn(String) -> ImageError,
    ) -> Result<Record, ImageError> {
        match &entry.layers {
            Some(places) => self.import_docker(layout, &entry.document, places, platform, refused),
            None => self.import_manifest(layout, &entry.document, platform, refused),
        }
    }

    /// What a layout has in it.
    fn entries(
        &self,
        layout: &OwnedFd,
        platform: &Platform,
        refused: &dyn Fn(String) -> ImageError,
    ) -> Result<Vec<Entry>, ImageError> {
        let read = |name: &str| -> Result<Option<Vec<u8>>, ImageError> {
            let Some(file) = beneath(layout, name).map_err(|errno| refused(format!("{name}: {errno}")))? else {
                return Ok(None);
            };
            let mut bytes = Vec::new();
            let read = file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes);
            read.map_err(|error| refused(format!("{name}: {error}")))?;
            Ok(Some(bytes))
        };
        if let Some(index) = read("index.json")? {
            return worker::start(&[], Reach::Nothing, || index_entries(&index, platform))?.wait();
        }
        let Some(manifest) = read("manifest.json")? else {
            let root =
                ["etc", "usr"].iter().all(|name| fs::statat(layout, *name, fs::AtFlags::SYMLINK_NOFOLLOW).is_ok());
            return Err(refused(match root {
                true => "it is the root of a file system: `--image dir:PATH` runs in an unpacked one".to_owned(),
                false => "it has neither an index.json nor a manifest.json".to_owned(),
            }));
        };
        let (mut entries, configs): (Vec<Entry>, Vec<String>) =
            worker::start(&[], Reach::Nothing, || docker_entries(&manifest))?.wait()?;
        for (entry, config) in entries.iter_mut().zip(configs) {
            let bytes = read_all(layout, &config, MAX_CONFIG).map_err(|cause| refused(format!("{config}: {cause}")))?;
            entry.document = Descriptor::of(OCI_CONFIG, &bytes);
            self.take_in(&config, &entry.document, &bytes[..])?;
        }
        Ok(entries)
    }

    fn import_manifest(
        &self,
        layout: &OwnedFd,
        document: &Descriptor,
        platform: &Platform,
        refused: &dyn Fn(String) -> ImageError,
    ) -> Result<Record, ImageError> {
        let blob = |wanted: &Descriptor| -> Result<File, ImageError> {
            if let Some(blob) = self.blob(wanted)? {
                return Ok(blob);
            }
            let place = format!("blobs/{}/{}", wanted.digest.algorithm().name(), wanted.digest.hex());
            match beneath(layout, &place).map_err(|errno| refused(format!("{place}: {errno}")))? {
                Some(file) => self.take_in(&place, wanted, file),
                None => Err(refused(format!("{place} is not in it"))),
            }
        };
        let document_of = |wanted: &Descriptor, most: u64| -> Result<Vec<u8>, ImageError> {
            if wanted.size > most {
                return Err(refused(format!("{} is too large for a document", wanted.digest)));
            }
            blob(wanted)?;
            self.document(wanted, most)?.ok_or_else(|| refused(format!("{} was removed meanwhile", wanted.digest)))
        };
        let mut wanted = document.clone();
        let (manifest, bytes) = loop {
            let bytes = document_of(&wanted, MAX_MANIFEST)?;
            match self.read_document(&bytes, Some(&wanted.media_type), platform)? {
                Kind::Manifest(manifest) => break (manifest, bytes),
                Kind::Index(chosen) if chosen.digest != wanted.digest => wanted = chosen,
                Kind::Index(_) => return Err(refused("its index is in itself".to_owned())),
            }
        };
        let config = document_of(&manifest.config, MAX_CONFIG)?;
        self.check_room(self.missing(&manifest.layers)?)?;
        // Those too that are unpacked already: from other bytes, it may be.
        manifest.layers.iter().try_for_each(|layer| blob(layer).map(drop))?;
        self.finish(&manifest, &bytes, &config, platform)
    }

    /// One without a manifest: it gets one.
    fn import_docker(
        &self,
        layout: &OwnedFd,
        config: &Descriptor,
        places: &[String],
        platform: &Platform,
        refused: &dyn Fn(String) -> ImageError,
    ) -> Result<Record, ImageError> {
        let open = |place: &String| match beneath(layout, place) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(refused(format!("{place} is not in it"))),
            Err(errno) => Err(refused(format!("{place}: {errno}"))),
        };
        let described = places
            .iter()
            .map(|place| describe(&mut open(place)?).map_err(|error| refused(format!("{place}: {error}"))));
        let layers: Vec<Descriptor> = described.collect::<Result<_, _>>()?;
        self.check_room(self.missing(&layers)?)?;
        for (place, layer) in places.iter().zip(&layers) {
            self.take_in(place, layer, open(place)?)?;
        }
        let manifest = Manifest::new(config.clone(), layers);
        let bytes = manifest.to_bytes()?;
        let config = self.document(config, MAX_CONFIG)?.ok_or_else(|| refused("its config is gone".to_owned()))?;
        self.finish(&manifest, &bytes, &config, platform)
    }

    /// How many bytes of these layers are not here.
    fn missing(&self, layers: &[Descriptor]) -> Result<u64, ImageError> {
        let missing = layers.iter().map(|layer| Ok(if self.blob(layer)?.is_some() { 0 } else { layer.size }));
        missing.sum::<Result<u64, ImageError>>()
    }

    /// Unpacks an image all of which is here, and puts it on record.
    pub(super) fn finish(
        &self,
        manifest: &Manifest,
        bytes: &[u8],
        config: &[u8],
        platform: &Platform,
    ) -> Result<Record, ImageError> {
        let record = self.read_image(bytes, config, platform)?;
        // One that is called otherwise where it came from.
        self.take_in("its manifest", &Descriptor::of(OCI_MANIFEST, bytes), bytes)?;
        self.unpack(&record, &manifest.layer_kinds()?, &mut Delivery::default(), &mut |_, _| {})?;
        self.put_record(&record)?;
        Ok(record)
    }
}

/// In a worker: an archive, perhaps compressed, becomes files.
fn unpack(dir: BorrowedFd<'_>, options: &UnpackOptions, input: File) -> Result<(), Failure> {
    let mut input = BufReader::with_capacity(1 << 17, input);
    let kind = looks(std::io::BufRead::fill_buf(&mut input).unwrap_or_default());
    let unpacked = archive::unpack(dir, None, options, plain(kind, input));
    unpacked.map(drop).map_err(|error| told(&error))
}

fn read_all(layout: &OwnedFd, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let file = beneath(layout, name).map_err(|errno| errno.to_string())?.ok_or("it is not in it")?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Opens a file of a layout, which may be anybody's; `None` if it has none such.
fn beneath(layout: &OwnedFd, path: &str) -> rustix::io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match fs::openat2(layout, path, flags, Mode::empty(), resolve) {
        Ok(file) if fs::FileType::from_raw_mode(fs::fstat(&file)?.st_mode) == fs::FileType::RegularFile => {
            Ok(Some(file.into()))
        }
        Ok(_) => Err(Errno::ISDIR),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What a file with a layer is called, and how it is compressed, by its contents.
fn describe(file: &mut File) -> std::io::Result<Descriptor> {
    let mut hasher = oci::Hasher::new(oci::Algorithm::Sha256);
    let (mut size, mut kind) = (0u64, OCI_LAYER);
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            count => {
                if size == 0 {
                    // What writes such archives leaves layers plain; what reads them takes either.
                    kind = match looks(&chunk[..count]) {
                        Compression::None => OCI_LAYER,
                        Compression::Gzip => OCI_LAYER_GZIP,
                        Compression::Zstd => OCI_LAYER_ZSTD,
                    };
                }
                hasher.update(&chunk[..count]);
                size += count as u64;
            }
        }
    }
    Ok(Descriptor::new(kind, hasher.finish(), size))
}
