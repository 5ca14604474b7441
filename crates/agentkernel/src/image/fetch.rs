//! Hides how files that are known by their digests come from the internet, and where they lie while something is made of
//! them. One that broke off goes on where it was; one that is here is not brought again. Python's packages are unpacked there.

use super::{
    ImageError, Images, Layer, Stage,
    layers::Progress,
    pull::{Coming, in_runtime},
    registry::internet,
    worker::{self, Reach},
};
use ::archive::{UnpackOptions, wheel};
use oci::{
    Digest,
    credentials::Credentials,
    manifest::Descriptor,
    registry::{Client, Download, RegistryError, Settings},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    fs::{AtFlags, Mode},
};
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};
use wire::Failure;

/// How often it is looked how far they are.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The most that wheels of one directory may have: files, and bytes.
const MOST: (u64, u64) = (500_000, 8 << 30);

/// A file of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is: `https://…`.
    pub address: String,
    /// What it is called here; of a wheel, the directory into which it is unpacked.
    pub name: String,
    /// Whether it is a wheel: a package of Python's.
    pub wheel: bool,
    /// What it is.
    pub digest: Digest,
    /// How many bytes it has; its server is asked if it is not known.
    pub size: Option<u64>,
}

/// What logs in to servers, by their `HOST[:PORT]`.
pub type FileLogins = BTreeMap<String, Credentials>;

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
    pub fn fetch(
        &self,
        wanted: &[Wanted],
        logins: &FileLogins,
        progress: Progress<'_>,
    ) -> Result<Fetched<'_>, ImageError> {
        let _guard = self.keep()?;
        let settings = internet_with(logins);
        let wanted = sized(wanted, &settings)?;
        let descriptor = |(file, size): &(&Wanted, u64)| Descriptor::new("", file.digest.clone(), *size);
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        // In one order for everybody: whoever waits for one has none that comes after it.
        order.sort_by(|one, other| wanted[*one].0.digest.cmp(&wanted[*other].0.digest));
        order.dedup_by(|one, other| wanted[*one].0.digest == wanted[*other].0.digest);
        let mut coming: Vec<Coming> = Vec::new();
        for index in order {
            let descriptor = descriptor(&wanted[index]);
            if self.sound(&descriptor)?.is_none() {
                coming.extend(self.reserve(index, &descriptor)?);
            }
        }
        if !coming.is_empty() {
            self.check_room(coming.iter().map(|coming| coming.wanted.size - coming.done()).sum())?;
            let brought = bring(&wanted, &coming, &settings, progress);
            // Whatever has come whole is kept, also if another has not.
            let kept = coming.iter().try_for_each(|coming| self.take_over(coming));
            brought.and(kept)?;
        }
        let scratch = self.scratch("fetch")?;
        let path = self.path.join("work").join(&scratch.name);
        let fetched = Fetched { images: self, name: scratch.name, path };
        let mut wheels: BTreeMap<&str, Vec<Descriptor>> = BTreeMap::new();
        for (file, size) in wanted {
            if file.wheel {
                wheels.entry(&file.name).or_default().push(descriptor(&(file, size)));
                continue;
            }
            let linked =
                rustix::fs::linkat(&self.blobs, file.digest.hex(), &scratch.dir, file.name.as_str(), AtFlags::empty());
            linked.map_err(|errno| self.failed("link", Path::new("blobs").join(file.digest.hex()), errno))?;
        }
        for (name, wheels) in wheels {
            let failed = |errno| self.failed("make", Path::new("work").join(name), errno);
            rustix::fs::mkdirat(&scratch.dir, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
            let dir = super::open(&scratch.dir, name).map_err(failed)?;
            self.unpack_wheels(&wheels, &dir)?;
        }
        Ok(fetched)
    }

    /// Unpacks wheels that are here, one over the other.
    fn unpack_wheels(&self, wheels: &[Descriptor], dir: &OwnedFd) -> Result<(), ImageError> {
        let mut files = Vec::new();
        for wheel in wheels {
            files.push(self.blob(wheel)?.ok_or(ImageError::Died { signal: None })?);
        }
        let given: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        let work = || {
            let options = UnpackOptions { max_entries: MOST.0, max_bytes: MOST.1, owner: None };
            let mut so_far = (0, 0);
            for file in &files {
                let unpacked = wheel::unpack(file, dir.as_fd(), &options, &mut so_far);
                unpacked.map_err(|error| Failure::from(wire::cause(&error)))?;
            }
            Ok(())
        };
        worker::start(&given, Reach::Files(dir.as_fd()), work)?.wait()
    }
}

/// How to speak to servers of files.
pub(super) fn internet_with(logins: &FileLogins) -> Settings {
    // Files that say whom to ask, the worker cannot read.
    let mut settings = internet();
    for (host, credentials) in logins {
        settings.registries.entry(host.clone()).or_default().credentials = credentials.clone();
    }
    settings
}

/// The files with their sizes: for those that are not known, their servers are asked.
fn sized<'a>(wanted: &'a [Wanted], settings: &Settings) -> Result<Vec<(&'a Wanted, u64)>, ImageError> {
    let unknown: Vec<&str> =
        wanted.iter().filter(|file| file.size.is_none()).map(|file| file.address.as_str()).collect();
    let mut found: Vec<u64> = Vec::new();
    if !unknown.is_empty() {
        let ask = async |client: Client| {
            let mut sizes = Vec::new();
            for address in &unknown {
                sizes.push(client.file_size(address).await?);
            }
            Ok(sizes)
        };
        found = worker::start(&[], Reach::Internet, || in_runtime(settings, hint, ask))?.wait()?;
    }
    let mut found = found.into_iter();
    let with = |file: &'a Wanted| Some((file, file.size.or_else(|| found.next())?));
    // Whoever asked says as many as it was asked for.
    let sized: Option<Vec<_>> = wanted.iter().map(with).collect();
    sized.ok_or(ImageError::Died { signal: None })
}

fn bring(
    wanted: &[(&Wanted, u64)],
    coming: &[Coming],
    settings: &Settings,
    progress: Progress<'_>,
) -> Result<(), ImageError> {
    let files: Vec<BorrowedFd<'_>> = coming.iter().map(|coming| coming.file.as_fd()).collect();
    let worker = worker::start(&files, Reach::Internet, || {
        in_runtime(settings, hint, async |client| fetch(&client, wanted, coming).await)
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

/// In the worker: brings the files, one after the other.
async fn fetch(client: &Client, wanted: &[(&Wanted, u64)], coming: &[Coming]) -> Result<(), RegistryError> {
    for coming in coming {
        let file = File::from(coming.file.try_clone().map_err(RegistryError::Write)?);
        let mut download = Download::resume(&coming.wanted, file).map_err(RegistryError::Read)?;
        client.file(&wanted[coming.index].0.address, &mut download).await?;
    }
    Ok(())
}

/// What the user can do about a file that does not come.
pub(super) fn hint(error: &RegistryError) -> String {
    match error {
        RegistryError::Unauthorized { .. } | RegistryError::Denied { .. } | RegistryError::NotFound { .. } => {
            "It may not be there, or for who logs in only: the configuration of npm (~/.npmrc) or pip (pip.conf) says who".to_owned()
        }
        RegistryError::RateLimited { .. } => "Wait for a while".to_owned(),
        RegistryError::UnknownAuthority(_) => {
            "If you know who runs that server, make this machine trust its authority".to_owned()
        }
        RegistryError::Tls { .. } => "Only a server on a loopback address may speak without TLS".to_owned(),
        RegistryError::Certificate { .. } | RegistryError::NoSuchHost(_) => {
            "Check the network; where packages are, the configuration of npm (~/.npmrc) or pip (pip.conf) says".to_owned()
        }
        RegistryError::Lookup { .. } | RegistryError::Connect { .. } | RegistryError::TimedOut { .. } => {
            "Check the network; where packages are, the configuration of npm (~/.npmrc) or pip (pip.conf) says. What came is kept"
                .to_owned()
        }
        RegistryError::Broken { .. } => "Try again: it goes on where it was".to_owned(),
        other => other.hint(),
    }
}
