//! `image`: what sandboxes are made of, from where it comes to where it goes.

use super::{Failure, Status, build, for_each, print, print_json, progress::Bars, table};
use crate::{
    Image, OciImage, client,
    config::{self, FoundImage, HostFacts, LockFile, UserConfig},
    engine,
    image::{self, ImageError, Origin, Record},
    store::Store,
};
use clap::{Args, Subcommand};
use oci::{Platform, Reference};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// Images of the store: what sandboxes are made of.
#[derive(Debug, Args)]
pub(super) struct Images {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Build an image from a Dockerfile, without Docker
    Build(Box<build::Build>),
    /// Bring an image from its registry
    Pull(Pull),
    /// Take an image from an OCI layout or an archive
    Import(Import),
    /// Write an image into an archive that others read
    Export(Export),
    /// Send an image to a registry
    Push(Push),
    /// List the images of the store
    #[command(visible_alias = "ls")]
    List(List),
    /// Show everything about images, as JSON
    Inspect(Inspect),
    /// Give an image another name beside those that it has
    Tag(Tag),
    /// Take names away from images, and remove what has none any more
    Rm(Rm),
    /// Remove what no name leads to and no sandbox is made of
    Prune(Prune),
    /// Tell how much room images take
    Du(Du),
    /// Log in to a registry, as Docker does
    Login(Login),
    /// Forget what logs in to a registry
    Logout(Logout),
}

impl Images {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let images = open(&store)?;
        match self.command {
            ImageCommand::Build(build) => build.run(&images, &store),
            ImageCommand::Pull(pull) => pull.run(&images),
            ImageCommand::Import(import) => import.run(&images),
            ImageCommand::Export(export) => export.run(&images),
            ImageCommand::Push(push) => push.run(&images),
            ImageCommand::List(list) => list.run(&images),
            ImageCommand::Inspect(inspect) => inspect.run(&images, &store),
            ImageCommand::Tag(tag) => tag.run(&images),
            ImageCommand::Rm(rm) => rm.run(&images, &store),
            ImageCommand::Prune(prune) => prune.run(&images, &store),
            ImageCommand::Du(du) => du.run(&images),
            ImageCommand::Login(login) => login.run(),
            ImageCommand::Logout(logout) => logout.run(),
        }
    }
}

/// The images of the store, within what the user lets them take.
pub(super) fn open(store: &Store) -> Result<image::Images, Failure> {
    Ok(image::Images::open(store)?.within(user()?.image_quota()))
}

/// What the user's own configuration says.
pub(super) fn user() -> Result<UserConfig, Failure> {
    Ok(UserConfig::read(&HostFacts::read()?)?)
}

/// The image of a name, with what decides how a sandbox is made of it, and what keeps it until there is one. `None` if it is
/// not to be had and need not be.
pub(super) fn find(
    store: &Store,
    reference: &Reference,
    wanted: bool,
) -> Result<Option<(FoundImage, image::Guard)>, Failure> {
    let images = open(store)?;
    let guard = images.keep()?;
    let record = match images.find(reference)? {
        Some(record) => record,
        None if wanted => bring(&images, reference, &Platform::host(), false)?,
        None => return Ok(None),
    };
    Ok(Some((found(&images, record.image(reference), &record)?, guard)))
}

/// The image that a sandbox was made of.
pub(super) fn again(store: &Store, image: &OciImage) -> Result<FoundImage, Failure> {
    let images = image::Images::open(store)?;
    match images.record(&image.manifest)? {
        Some(record) => found(&images, image.clone(), &record),
        None => Err(ImageError::NotFound { name: image.reference.clone() }.into()),
    }
}

pub(super) fn found(images: &image::Images, image: OciImage, record: &Record) -> Result<FoundImage, Failure> {
    if record.layers.is_empty() {
        let failure = Failure::new(format!("Image {} is empty: there is no program in it", image.reference));
        return Err(failure.hint("It is for what is copied out of it; name another"));
    }
    let run = record.run.clone();
    let (musl, glibc) = Image::musl();
    Ok(FoundImage {
        image: Image::Oci(image),
        engine: None,
        user: run.user,
        env: run.env,
        entrypoint: run.entrypoint,
        command: run.cmd,
        workdir: run.working_dir,
        passwd: images.read_file(record, "etc/passwd")?.unwrap_or_default(),
        group: images.read_file(record, "etc/group")?.unwrap_or_default(),
        has_bash: images.read_file(record, "bin/bash")?.is_some(),
        has_musl: images.has_in(record, &musl)? && !images.has_in(record, &glibc)?,
    })
}

/// A name of an image.
pub(super) fn parse_reference(text: &str) -> Result<Reference, String> {
    text.parse::<Reference>().map_err(|error| error.to_string())
}

/// A name to give to an image. That of the image `host`, or of a directory, would lead nobody to it.
pub(super) fn parse_new_name(text: &str) -> Result<Reference, String> {
    match text {
        "host" => Err("`host` is this machine's own files: call it otherwise".to_owned()),
        _ if text.starts_with("dir:") => Err("`dir:PATH` is an unpacked directory: call it otherwise".to_owned()),
        _ => parse_reference(text),
    }
}

pub(super) fn parse_platform(text: &str) -> Result<Platform, String> {
    text.parse::<Platform>().map_err(|error| error.to_string())
}

/// Brings an image from its registry, and shows how far it is where somebody sees that.
pub(super) fn bring(
    images: &image::Images,
    reference: &Reference,
    platform: &Platform,
    quiet: bool,
) -> Result<Record, Failure> {
    let settings = image::settings(reference, user()?.mirrors(reference.registry()))?;
    let mut bars = Bars::new(&reference.familiar(), !quiet);
    let pulled = images.pull(reference, platform, &settings, &mut |layers, stages| bars.draw(layers, stages));
    pulled.map_err(|error| not_pulled(reference, error.into()))
}

/// Says which image could not be pulled: several are for one sandbox, and what a registry or an engine says may name none.
pub(super) fn not_pulled(reference: &Reference, failure: Failure) -> Failure {
    Failure { cause: format!("Can't pull '{}': {}", reference.familiar(), failure.cause), ..failure }
}

/// The image of a name, brought if it is not here. With a lock, it is the one that is written down there, and else is written
/// down; where the lock is renewed, the registry that it came from is asked again.
pub(super) fn locked(
    images: &image::Images,
    lock: Option<&mut LockFile>,
    reference: &Reference,
    platform: &Platform,
    quiet: bool,
) -> Result<Record, Failure> {
    let locked = lock.as_ref().and_then(|lock| lock.get(reference, platform)).cloned();
    let here = match &locked {
        // An engine's lock may have the digest of an index, which is a name here once it was brought.
        Some(digest) => match images.record(digest)? {
            None => images.find(&reference.pinned(digest.clone()))?,
            record => record,
        },
        None => {
            let renewed = lock.as_ref().is_some_and(|lock| lock.is_renewed()) && reference.digest().is_none();
            let asked = renewed && images.find_tag(reference)?.is_some_and(|tag| tag.pulled);
            if asked { None } else { images.find(reference)? }
        }
    };
    let record = match (here.filter(|record| platform.runs(&record.platform).is_some()), &locked) {
        (Some(record), _) => record,
        (None, None) => bring(images, reference, platform, quiet)?,
        (None, Some(digest)) => bring(images, &reference.pinned(digest.clone()), platform, quiet)
            .map_err(|failure| failure.also("`run --update-lock` takes what the name means now"))?,
    };
    // What is named by its digest needs no lock.
    if let (Some(lock), None, None) = (lock, &locked, reference.digest()) {
        lock.put(reference, platform, &record.manifest)?;
    }
    Ok(record)
}

/// Bring an image from its registry, unless it is here as it is there.
#[derive(Debug, Args)]
struct Pull {
    /// Of an image for several platforms, the one for this: OS/ARCHITECTURE
    #[arg(long, value_name = "PLATFORM", value_parser = parse_platform)]
    platform: Option<Platform>,
    /// Tell nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    /// Names of images
    #[arg(required = true, value_name = "NAME", value_parser = parse_reference)]
    names: Vec<Reference>,
}

impl Pull {
    fn run(self, images: &image::Images) -> Status {
        let platform = self.platform.unwrap_or_else(Platform::host);
        for name in &self.names {
            let record = bring(images, name, &platform, self.quiet)?;
            match self.quiet {
                true => print(&format!("{}\n", record.manifest))?,
                false => print(&format!("{} {}\n", name.familiar(), record.manifest))?,
            }
        }
        Ok(0)
    }
}

/// Take an image from an OCI layout, or from an archive as `docker save`, `podman save` and `skopeo copy` write it.
#[derive(Debug, Args)]
struct Import {
    /// Of an image for several platforms, the one for this: OS/ARCHITECTURE
    #[arg(long, value_name = "PLATFORM", value_parser = parse_platform)]
    platform: Option<Platform>,
    /// Tell nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    /// A directory, an archive, or '-' for one on standard input; of several images, the one of this tag or name: PATH:TAG
    #[arg(value_name = "PATH[:TAG]")]
    source: PathBuf,
    /// What to call it; without, as it is called there
    #[arg(value_parser = parse_new_name)]
    name: Option<Reference>,
}

impl Import {
    fn run(self, images: &image::Images) -> Status {
        let (origin, tag) = Origin::named(self.source);
        let platform = self.platform.unwrap_or_else(Platform::host);
        for (name, record) in images.import(&origin, tag.as_deref(), self.name.as_ref(), &platform)? {
            match self.quiet {
                true => print(&format!("{}\n", record.manifest))?,
                false => print(&format!("{} {}\n", name.familiar(), record.manifest))?,
            }
        }
        Ok(0)
    }
}

/// Write an image into an archive of an OCI layout: `skopeo copy oci-archive:FILE`, `podman load` and `image import` read it.
#[derive(Debug, Args)]
struct Export {
    /// A name of an image, or its digest
    #[arg(value_parser = parse_reference)]
    name: Reference,
    /// A file, or '-' for standard output
    target: PathBuf,
}

impl Export {
    fn run(self, images: &image::Images) -> Status {
        let record = images.find(&self.name)?.ok_or_else(|| ImageError::NotFound { name: self.name.familiar() })?;
        if self.target.as_os_str() == "-" {
            if rustix::termios::isatty(rustix::stdio::stdout()) {
                return Err(Failure::new("An archive is nothing for a terminal").hint("Name a file"));
            }
            images.export(&record, &self.name, std::io::stdout().lock())?;
            return Ok(0);
        }
        let failed = |error: std::io::Error| Failure::new(format!("Can't write {}: {error}", self.target.display()));
        // What was there stays until the archive is whole; what is no file is written to as it is.
        let is_file = std::fs::symlink_metadata(&self.target).map_or(true, |there| there.is_file());
        let Some(name) = self.target.file_name().filter(|_| is_file) else {
            images.export(&record, &self.name, std::fs::File::create(&self.target).map_err(failed)?)?;
            return Ok(0);
        };
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}", std::process::id()));
        let part = self.target.with_file_name(part);
        let file = std::fs::File::create_new(&part).map_err(failed)?;
        let exported = images.export(&record, &self.name, file).map_err(Failure::from);
        let done = exported.and_then(|()| std::fs::rename(&part, &self.target).map_err(failed));
        if done.is_err() {
            // The first error counts.
            let _ = std::fs::remove_file(&part);
        }
        done.map(|()| 0)
    }
}

/// Send an image to the registry that its name says.
#[derive(Debug, Args)]
struct Push {
    /// A name of an image, or its digest
    #[arg(value_parser = parse_reference)]
    name: Reference,
    /// Where to, if it is not called so: 'image tag' gives it another name
    #[arg(value_parser = parse_reference)]
    to: Option<Reference>,
}

impl Push {
    fn run(self, images: &image::Images) -> Status {
        let record = images.find(&self.name)?.ok_or_else(|| ImageError::NotFound { name: self.name.familiar() })?;
        let to = match self.to {
            Some(to) => to,
            None if images.find_tag(&self.name)?.is_some() => self.name,
            None => return Err(Failure::new("A digest does not say where to").hint("Name that behind it")),
        };
        images.push(&record, &to, &image::settings(&to, &[])?)?;
        print(&format!("{} {}\n", to.familiar(), record.manifest))?;
        Ok(0)
    }
}

/// A whole reference as people write it.
fn familiar(reference: &str) -> String {
    reference.parse::<Reference>().map_or_else(|_| reference.to_owned(), |name| name.familiar())
}

/// List the images of the store.
#[derive(Debug, Args)]
struct List {
    /// Print a JSON object on each line
    #[arg(long)]
    json: bool,
    /// Print digests alone
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

impl List {
    fn run(self, images: &image::Images) -> Status {
        let mut rows = Vec::new();
        let tags = images.tags()?;
        let unnamed: Vec<Record> = images.records()?;
        let unnamed = unnamed.into_iter().filter(|record| tags.iter().all(|tag| tag.manifest != record.manifest));
        let mut listed: Vec<(Option<image::Tag>, Record)> = Vec::new();
        for tag in &tags {
            listed.extend(images.record(&tag.manifest)?.map(|record| (Some(tag.clone()), record)));
        }
        listed.extend(unnamed.map(|record| (None, record)));
        for (tag, record) in listed {
            let name = tag.as_ref().map(|tag| familiar(&tag.reference));
            if self.json {
                print_json(&serde_json::json!({
                    "name": name, "digest": record.manifest, "id": record.config, "platform": record.platform,
                    "created": record.created, "since_ms": tag.map(|tag| tag.since_ms), "layers": record.layers.len(),
                    "size": record.size(),
                }))?;
            } else if self.quiet {
                print(&format!("{}\n", record.manifest))?;
            } else {
                let digest = record.manifest.hex().get(..oci::SHORT_DIGEST).unwrap_or_default().to_owned();
                let (platform, layers) = (record.platform.to_string(), record.layers.len().to_string());
                let name = name.unwrap_or_else(|| "<none>".to_owned());
                rows.push(vec![name, digest, platform, layers, table::bytes(record.size())]);
            }
        }
        if !self.json && !self.quiet {
            print(&table::render(&["NAME", "DIGEST", "PLATFORM", "LAYERS", "SIZE"], &rows))?;
        }
        let damaged = images.damaged()?;
        if damaged > 0 {
            let what =
                if damaged == 1 { "one record of a name or an image".into() } else { format!("{damaged} records") };
            let hint = "`agentkernel image prune` removes what can't be read; it comes anew when it is pulled, built or imported";
            super::report(&Failure::new(format!("Can't read {what}")).hint(hint));
        }
        Ok(0)
    }
}

/// Show everything about images, as JSON.
#[derive(Debug, Args)]
struct Inspect {
    /// Names of images, or digests
    #[arg(required = true, value_parser = parse_reference)]
    names: Vec<Reference>,
}

impl Inspect {
    fn run(self, images: &image::Images, store: &Store) -> Status {
        let mut all = Vec::new();
        for name in &self.names {
            let record = images.find(name)?.ok_or_else(|| ImageError::NotFound { name: name.familiar() })?;
            let users = images.users(store, &record.manifest)?;
            let mut shown = serde_json::to_value(&record).map_err(|error| Failure::chain(&error))?;
            if let Some(object) = shown.as_object_mut() {
                object.insert("name".into(), name.familiar().into());
                object.insert("sandboxes".into(), serde_json::json!(users));
            }
            all.push(shown);
        }
        let text = serde_json::to_string_pretty(&all).map_err(|error| Failure::chain(&error))?;
        print(&format!("{text}\n"))?;
        Ok(0)
    }
}

/// Give an image another name beside those that it has.
#[derive(Debug, Args)]
struct Tag {
    /// A name that it has, or its digest
    #[arg(value_parser = parse_reference)]
    image: Reference,
    /// Another one
    #[arg(value_parser = parse_new_name)]
    name: Reference,
}

impl Tag {
    fn run(self, images: &image::Images) -> Status {
        let record = images.find(&self.image)?.ok_or_else(|| ImageError::NotFound { name: self.image.familiar() })?;
        images.tag(&self.name, &record.manifest)?;
        Ok(0)
    }
}

/// Take names away from images, and remove what has none any more and no sandbox is made of.
#[derive(Debug, Args)]
struct Rm {
    /// Names of images, or digests
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Rm {
    fn run(self, images: &image::Images, store: &Store) -> Status {
        let status = for_each(&self.names, |text| {
            let name = parse_reference(text)
                .map_err(|cause| Failure::new(format!("{}: {cause}", config::quoted(text.as_ref()))))?;
            if !images.untag(&name)? {
                let record = images.find(&name)?.ok_or_else(|| ImageError::NotFound { name: name.familiar() })?;
                untag_only(images, &record)?;
            }
            print(&format!("{text}\n"))
        })?;
        prune(images, store, false, false)?;
        Ok(status)
    }
}

/// Takes the only name away from an image that was named by its digest.
fn untag_only(images: &image::Images, record: &Record) -> Result<(), Failure> {
    let tags = images.tags()?.into_iter().filter(|tag| tag.manifest == record.manifest);
    let names: Vec<String> = tags.map(|tag| tag.reference).collect();
    if let [_, _, ..] = names[..] {
        let names = names.iter().map(|name| familiar(name)).collect::<Vec<_>>().join(", ");
        return Err(ImageError::Named { names }.into());
    }
    for name in names.iter().filter_map(|name| name.parse::<Reference>().ok()) {
        images.untag(&name)?;
    }
    Ok(())
}

/// Remove what no name leads to and no sandbox is made of: images, layers, and what was left unfinished.
#[derive(Debug, Args)]
struct Prune {
    /// Take every name away first that no sandbox is made of
    #[arg(short, long)]
    all: bool,
    /// Remove nothing, and tell what would be
    #[arg(long)]
    dry_run: bool,
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

impl Prune {
    fn run(self, images: &image::Images, store: &Store) -> Status {
        let removed = prune(images, store, self.all, self.dry_run)?;
        if self.json {
            return print_json(&removed).map(|()| 0);
        }
        let verb = if self.dry_run { "would be removed" } else { "removed" };
        let image::Removed { images, layers, blobs, bytes, in_engines } = removed;
        let images = images.len();
        print(&format!(
            "{images} images, {layers} unpacked layers and {blobs} blobs of {} {verb}\n",
            table::bytes(bytes)
        ))?;
        if in_engines > 0 {
            print(&format!("{in_engines} images that engines had of ours {verb}\n"))?;
        }
        Ok(0)
    }
}

/// Removes what is not wanted, from the store and from engines.
fn prune(images: &image::Images, store: &Store, all: bool, dry_run: bool) -> Result<image::Removed, Failure> {
    let mut removed = images.prune(store, all, dry_run)?;
    let kept: Vec<Record> = images.records()?;
    let kept = kept.iter().filter(|record| !all && !removed.images.contains(&record.manifest));
    // An engine has them by a layer, or by the whole.
    let mut known = BTreeSet::new();
    for record in kept {
        known.extend(record.layers.iter().map(|layer| &layer.diff_id).chain([&record.config]));
    }
    let mut used = BTreeSet::new();
    for listed in store.list()? {
        if let Image::Engine(image) = listed.spec?.image {
            used.insert(image.id);
        }
    }
    let wanted = |what: &oci::Digest, id: &str| known.contains(what) || used.contains(id);
    removed.in_engines = engine::sweep(&store.shared()?.cache, &wanted, dry_run)?;
    Ok(removed)
}

/// Tell how much room images take.
#[derive(Debug, Args)]
struct Du {
    /// Print a line of JSON
    #[arg(long)]
    json: bool,
}

impl Du {
    fn run(self, images: &image::Images) -> Status {
        let records = images.records()?;
        // A layer that several images have is there once.
        let mut layers: BTreeMap<String, (u64, usize)> = BTreeMap::new();
        for layer in records.iter().flat_map(|record| &record.layers) {
            layers.entry(layer.blob.to_string()).or_insert((layer.size, 0)).1 += 1;
        }
        let travelling: u64 = layers.values().map(|(size, _)| size).sum();
        let shared: u64 = layers.values().filter(|(_, images)| *images > 1).map(|(size, _)| size).sum();
        let usage = images.usage()?;
        let quota = images.quota();
        if self.json {
            print_json(&serde_json::json!({
                "images": records.len(), "layers": layers.len(), "blobs": travelling, "shared": shared,
                "unpacked": usage.unpacked, "total": usage.total(), "quota": quota,
            }))?;
        } else {
            let rows = [
                ("images", records.len().to_string()),
                ("layers", layers.len().to_string()),
                ("as they travel", table::bytes(travelling)),
                ("of these shared", table::bytes(shared)),
                ("unpacked", table::bytes(usage.unpacked)),
                ("in all, on disk", table::bytes(usage.total())),
                ("allowed", quota.map_or_else(|| "all there is".to_owned(), table::bytes)),
            ];
            let rows: Vec<_> = rows.into_iter().map(|(what, much)| vec![what.to_owned(), much]).collect();
            print(&table::render(&["WHAT", "HOW MUCH"], &rows))?;
        }
        Ok(0)
    }
}

/// Log in to a registry. What logs in is kept where Docker keeps it: with its credential helper if one is set, else in
/// ~/.docker/config.json, where it can be read by whoever reads your files.
#[derive(Debug, Args)]
struct Login {
    /// Who
    #[arg(short, long, value_name = "USER")]
    username: String,
    /// Read the password from standard input; without, it is asked for
    #[arg(long)]
    password_stdin: bool,
    /// The registry: HOST or HOST:PORT
    registry: String,
}

impl Login {
    fn run(self) -> Status {
        let password = if self.password_stdin {
            config::read_secret(std::io::stdin().lock())?
        } else if client::is_terminal().input {
            match client::ask_hidden("Password: ")? {
                Some(password) => password,
                None => return Ok(130),
            }
        } else {
            return Err(Failure::new("There is no password").hint("--password-stdin reads it from standard input"));
        };
        let text = String::from_utf8(password.expose().to_vec());
        let text = text.map_err(|_| Failure::new("The password is no text"))?;
        let place = image::log_in(&self.registry, &self.username, oci::Secret::new(text))?;
        print(&format!("Logged in to {}; what logs in is kept in {}\n", self.registry, table::printable(&place)))?;
        Ok(0)
    }
}

/// Forget what logs in to a registry.
#[derive(Debug, Args)]
struct Logout {
    /// The registry: HOST or HOST:PORT
    registry: String,
}

impl Logout {
    fn run(self) -> Status {
        match image::log_out(&self.registry)? {
            true => print(&format!("{}\n", self.registry)).map(|()| 0),
            false => Err(Failure::new(format!("Nothing logs in to {}", self.registry))),
        }
    }
}
