//! `agents install`: hides how packages become a layer.

use super::super::{
    Failure, Status,
    build::{self, Steps},
    for_each, image, print,
    progress::Bars,
    run,
};
use super::{find, parts};
use crate::{
    agents::{self, Adapter, Adapters, Libc, Package, Registry, Wheel},
    config::{HostFacts, Project, UserConfig},
    image::{FileLogins, Images, Published, Question, Record, Request, Wanted, located, published},
    store::Store,
};
use clap::Args;
use dockerfile::Ignore;
use oci::{Digest, Platform, Reference};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// In the place of a version: the newest.
pub(super) const LATEST: &str = "latest";

#[derive(Debug, Args)]
pub(super) struct Install {
    /// Tell nothing but mistakes
    #[arg(short, long)]
    quiet: bool,
    /// For images with this C library: 'glibc', or 'musl' as Alpine has it
    #[arg(long, value_name = "LIBC", default_value = "glibc", value_parser = libc, hide_default_value = true)]
    libc: Libc,
    /// Names of agents, with '@VERSION' another version than the adapter's, or paths of adapters: './my-agent.toml'
    #[arg(required = true, value_name = "AGENT")]
    agents: Vec<String>,
}

impl Install {
    pub(super) fn run(self) -> Status {
        let workshop = Workshop::open(self.quiet)?;
        let mut made = false;
        let status = for_each(&self.agents, |text| {
            let (name, version) = parts(text);
            let adapter = find(&workshop.store, &workshop.adapters, name)?;
            let adapter = Adapter { libc: self.libc, ..adapter };
            let adapter = workshop.at(&adapter, version.unwrap_or(&adapter.version))?;
            let (record, new) = workshop.install(&adapter)?;
            made |= new;
            workshop.images.tag(&reference(adapter.used())?, &record.manifest)?;
            workshop.tell(&match new {
                true => format!("{} {} {}\n", adapter.name, adapter.version, record.manifest),
                false => format!("{} {} is installed\n", adapter.name, adapter.version),
            })
        })?;
        if made {
            // What they were made of takes more room than they do.
            workshop.images.prune(&workshop.store, false, false)?;
        }
        Ok(status)
    }
}

/// A C library, as it is typed.
pub(super) fn libc(text: &str) -> Result<Libc, String> {
    Libc::parse(text).ok_or_else(|| format!("not one of {}", Libc::WORDS.join(", ")))
}

/// Where agents are made.
pub(super) struct Workshop {
    pub(super) store: Store,
    pub(super) images: Images,
    pub(super) adapters: Adapters,
    host: HostFacts,
    quiet: bool,
}

/// A name of an image that is one: names and versions of agents are.
pub(super) fn reference(parsed: Result<Reference, oci::ReferenceError>) -> Result<Reference, Failure> {
    parsed.map_err(|error| Failure::chain(&error))
}

impl Workshop {
    pub(super) fn open(quiet: bool) -> Result<Self, Failure> {
        let store = Store::open()?;
        let host = HostFacts::read()?;
        let images = image::open(&store)?;
        let adapters = Adapters::of(&host, &run::project(&store, &host, true)?);
        Ok(Self { store, images, adapters, host, quiet })
    }

    /// Prints what is done.
    pub(super) fn tell(&self, text: &str) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { print(text) }
    }

    /// The image of an agent, made if it is not there, and whether it was.
    pub(super) fn install(&self, adapter: &Adapter) -> Result<(Record, bool), Failure> {
        let name = reference(adapter.reference(&adapter.version))?;
        if adapter.packages.is_empty() {
            let failure = Failure::new(format!("{} is part of images: there is nothing to install", adapter.title));
            return Err(failure.hint("Its adapter has no [[packages]]"));
        }
        let _guard = self.images.keep()?;
        if let Some(record) = self.images.find(&name)? {
            return Ok((record, false));
        }
        let platform = Platform::host();
        let mut logins = FileLogins::new();
        let (mut wanted, mut wheels) = (Vec::new(), Vec::new());
        for package in adapter.packages_for(&platform)? {
            match package.wheels.is_empty() {
                true => wanted.push(wanted_of(adapter, package, &mut logins)?),
                false => wheels.extend(package.wheels.iter().map(|wheel| (package.file.as_str(), wheel))),
            }
        }
        wanted.extend(wanted_of_python(&wheels, &mut logins)?);
        let mut bars = Bars::new(&format!("{} {}", adapter.title, adapter.version), !self.quiet);
        let fetched = self
            .images
            .fetch(&wanted, &logins, &mut |layers, stages| bars.draw(layers, stages))
            .map_err(|error| not_fetched(adapter, error.into()))?;
        drop(bars);
        let record = self.build(adapter, &fetched.path, &name, &platform)?;
        self.images.tag(&name, &record.manifest)?;
        Ok((record, true))
    }

    fn build(
        &self,
        adapter: &Adapter,
        context: &Path,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Record, Failure> {
        let _building = self.images.building(|| build::clear_dead(&self.store).map(drop))?;
        // What stands in the caller's directory does not count.
        let project = Project { dir: PathBuf::from("/"), file: None };
        let user = UserConfig::read(&self.host)?;
        let name = format!("{}.toml", adapter.name);
        let at = |error| build::of_line(&name, &adapter.dockerfile, error);
        let dockerfile = dockerfile::parse(&adapter.dockerfile).map_err(at)?;
        let request = Request {
            dockerfile: &dockerfile,
            context,
            ignore: &Ignore::default(),
            project: Path::new("/"),
            target: None,
            arguments: &BTreeMap::new(),
            platform,
            epoch: build::epoch(&self.host)?,
            fresh: false,
            forget: true,
            user: None,
        };
        let mut steps = Steps::new(&self.images, reference.clone(), project, user, self.host.clone());
        steps.terse = true;
        steps.quiet = self.quiet;
        let record = self.images.build(&request, &mut steps);
        record.map_err(|error| steps.failure(error, &name, &adapter.dockerfile))
    }

    /// An agent in a version that its user has named: `latest` is the newest that its makers want to be used.
    pub(super) fn at(&self, adapter: &Adapter, version: &str) -> Result<Adapter, Failure> {
        let version = if version == LATEST { newest(adapter)? } else { version.to_owned() };
        match agents::is_version(&version) {
            true => Ok(adapter.at(&version)),
            false => Err(Failure::new(format!("'{}' is no version of an agent", version.escape_debug()))
                .hint(format!("Write it as npm does: '{}@{}'", adapter.name, adapter.version))),
        }
    }
}

/// What its packages are called, a registry does not say when it has none of them, or others.
fn not_fetched(adapter: &Adapter, failure: Failure) -> Failure {
    Failure { cause: format!("Can't bring {} {}: {}", adapter.title, adapter.version, failure.cause), ..failure }
}

/// The newest version of an agent that its makers want to be used.
fn newest(adapter: &Adapter) -> Result<String, Failure> {
    let platform = Platform::host();
    let packages = adapter.packages_for(&platform)?;
    let package = packages.iter().find(|package| package.is_of_version() && !package.npm.is_empty());
    let package = package.ok_or_else(|| {
        let failure = Failure::new(format!("Nobody says which version of {} is the newest", adapter.title));
        failure.hint(format!("Name one: {}@VERSION", adapter.name))
    })?;
    let mut logins = FileLogins::new();
    let found = ask(package, None, &mut logins)?;
    let newest = package.agent_version(&found.version).unwrap_or(&found.version);
    Ok(newest.to_owned())
}

/// Where a package comes from, and what it is: if the adapter does not say so, its registry does.
fn wanted_of(adapter: &Adapter, package: &Package, logins: &mut FileLogins) -> Result<Wanted, Failure> {
    let Package { file, size, digest, .. } = package;
    let registry = if package.npm.is_empty() { None } else { Some(registry(&package.npm, logins)?) };
    let address = package.address(&adapter.version, registry.as_ref().map_or("", |registry| &registry.address));
    let digest = match digest {
        Some(digest) => digest.clone(),
        None if registry.is_some() => asked(package, &package.version(&adapter.version), logins)?,
        None => {
            let failure = Failure::new(format!("Nobody says what {} {} is", adapter.title, adapter.version));
            return Err(failure.hint("An adapter of that version would: ~/.config/agentkernel/agents/NAME.toml"));
        }
    };
    Ok(Wanted { address, name: file.clone(), wheel: false, digest, size: *size })
}

/// The same of packages of Python's, each with the directory into which it goes: their index says where they are.
fn wanted_of_python(wheels: &[(&str, &Wheel)], logins: &mut FileLogins) -> Result<Vec<Wanted>, Failure> {
    if wheels.is_empty() {
        return Ok(Vec::new());
    }
    let index = agents::index()?;
    logins.insert(index.host(), index.credentials);
    let names: Vec<&str> = wheels.iter().map(|(_, wheel)| wheel.name.as_str()).collect();
    let addresses = located(&index.address, &names, logins)?;
    let wanted = |((directory, wheel), address): (&(&str, &Wheel), String)| Wanted {
        address,
        name: (*directory).to_owned(),
        wheel: true,
        digest: wheel.digest.clone(),
        size: Some(wheel.size),
    };
    Ok(wheels.iter().zip(addresses).map(wanted).collect())
}

fn asked(package: &Package, version: &str, logins: &mut FileLogins) -> Result<Digest, Failure> {
    let found = ask(package, Some(version.to_owned()), logins)?;
    agents::integrity(&found.integrity).ok_or_else(|| {
        let cause = format!("The registry says that {} {version} is '{}'", package.npm, found.integrity.escape_debug());
        Failure::new(cause).hint("That is no hash that is known: 'sha512-' and base64")
    })
}

fn ask(package: &Package, version: Option<String>, logins: &mut FileLogins) -> Result<Published, Failure> {
    let registry = registry(&package.npm, logins)?.address;
    Ok(published(&Question { registry, package: package.npm.clone(), version }, logins)?)
}

/// The registry of a package; what logs in there is noted.
fn registry(package: &str, logins: &mut FileLogins) -> Result<Registry, Failure> {
    let registry = agents::registry(package)?;
    logins.insert(registry.host(), registry.credentials.clone());
    Ok(registry)
}
