//! Images of an engine: what a sandbox of the backend docker is made of.

use super::{Failure, image, report, table};
use crate::{
    EngineImage, EngineUse, Image,
    config::{self, FoundImage, HostFacts, LockFile},
    engine::{self, About, Endpoint, Engine, EngineError},
    image::{Origin, Record},
    store::Store,
};
use oci::{Credentials, Digest, Platform, Reference};
use rustix::fd::OwnedFd;
use std::io::Write as _;

/// The images of the user's engine.
pub(super) struct Images {
    endpoint: Endpoint,
    /// Where it is kept what lies in them.
    cache: OwnedFd,
}

/// The image of an engine, with what decides how a sandbox is made of it. It brings it if it has none; `None` if that
/// may not be.
pub(super) fn find(
    store: &Store,
    host: &HostFacts,
    reference: &Reference,
    wanted: bool,
) -> Result<Option<FoundImage>, Failure> {
    let images = Images::of(store, host)?;
    let about = match images.look(reference)? {
        None if wanted => images.bring(reference).map_err(|failure| elsewhere(store, reference, failure))?,
        Some(about) => about,
        None => return Ok(None),
    };
    images.found(host, reference, about).map(Some)
}

/// Tells of an image of that name that the engine does not see.
fn elsewhere(store: &Store, reference: &Reference, failure: Failure) -> Failure {
    let found = crate::image::Images::open(store).ok().and_then(|own| own.find(reference).ok().flatten());
    match found {
        Some(_) => failure.also(
            "An image of this name is in agentkernel's own store, which is the native backend's: `image build --builder docker` gives it to the engine, or `image push` to a registry",
        ),
        None => failure,
    }
}

/// Takes an image of an engine into the store, by its id.
pub(super) fn take(
    endpoint: &Endpoint,
    own: &crate::image::Images,
    id: &str,
    platform: &Platform,
) -> Result<Record, Failure> {
    let saved = own.unnamed()?;
    let saving = async { engine::save(&Engine::connect(endpoint).await?, id, &saved).await };
    engine::block_on(saving)?.map_err(|error| Failure::chain(&error).hint(error.hint()))?;
    Ok(own.import_one(&Origin::File(saved, format!("Image {id} of the engine at {endpoint}")), platform)?)
}

/// The image of an engine that a sandbox was made of.
pub(super) fn again(store: &Store, used: &EngineUse, image: &EngineImage) -> Result<FoundImage, Failure> {
    let images = Images { endpoint: used.endpoint.clone(), cache: store.shared()?.cache };
    match images.look_by(&image.id)? {
        Some(about) => Ok(images.made(&image.reference, about, true)),
        None => Err(Failure::new(format!("The engine has image {} no longer", image.reference))),
    }
}

impl Images {
    /// Those of the engine that is meant.
    pub(super) fn of(store: &Store, host: &HostFacts) -> Result<Self, Failure> {
        let endpoint = Endpoint::find(&host.env).map_err(|error| Failure::chain(&error).hint(error.hint()))?;
        Ok(Self { endpoint, cache: store.shared()?.cache })
    }

    /// The image of a name that a lock has, or gets: as for an image of the store.
    pub(super) fn locked(
        &self,
        store: &Store,
        host: &HostFacts,
        lock: &mut LockFile,
        reference: &Reference,
    ) -> Result<FoundImage, Failure> {
        let own = image::open(store)?;
        let platform = self.ask(async |engine| engine.platform().await)?;
        let locked = reference.digest().or_else(|| lock.get(reference, &platform)).cloned();
        if let Some(digest) = &locked {
            let pinned = reference.pinned(digest.clone());
            let mut about = self.look(&pinned)?;
            if about.is_none() {
                // What came to the engine by no registry, it knows by its contents alone.
                let config = own.record(digest)?.map(|record| record.config);
                for id in config.iter().chain([digest]) {
                    about = about.or(self.look_by(&id.to_string())?);
                }
            }
            let about = match about {
                Some(about) => about,
                None => self.bring(&pinned).map_err(|failure| match reference.digest() {
                    Some(_) => failure,
                    None => failure.also("`run --update-lock` takes what the name means now"),
                })?,
            };
            return self.found(host, reference, about);
        }
        let here = self.look(reference)?;
        // What somebody here has named so is in no registry.
        let here = here.filter(|about| !(lock.is_renewed() && about.digest(reference).is_some()));
        let was_here = here.is_some();
        let about = match here {
            Some(about) => about,
            None => self.bring(reference)?,
        };
        let records =
            || own.records().map(|records| records.into_iter().find(|record| record.config.to_string() == about.id));
        let mut published = about.digest(reference).cloned();
        // Podman has a digest for every image, also for one that no registry knows.
        if let Some(digest) = published.take_if(|_| was_here && about.is_podmans) {
            let pinned = reference.pinned(digest.clone());
            let settings = crate::image::settings(&pinned, image::user()?.mirrors(pinned.registry()))?;
            published = own.is_published(&pinned, &platform, &settings)?.then_some(digest);
        }
        let digest: Option<Digest> = match published {
            Some(digest) => Some(digest),
            None => records()?.map(|record| record.manifest),
        };
        match digest {
            Some(digest) => lock.put(reference, &platform, &digest)?,
            None => report(
                &Failure::new(format!("{} is not locked: the engine has it from no registry", reference.familiar()))
                    .hint("Push it to one and pull it from there, so that the name means the same to everybody"),
            ),
        }
        self.found(host, reference, about)
    }

    /// What is begun with for an image that this engine is to get: what the store has or a registry, as for every build; and what
    /// somebody has named so in the engine alone.
    pub(super) fn base(
        &self,
        own: &crate::image::Images,
        lock: &mut LockFile,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Record, Failure> {
        let locked = lock.get(reference, platform).cloned();
        let here = match &locked {
            Some(digest) => own.record(digest)?.is_some() || own.find(&reference.pinned(digest.clone()))?.is_some(),
            None => own.find(reference)?.is_some(),
        };
        if !here && let Some(about) = self.look(reference)?.filter(|about| about.digest(reference).is_none()) {
            let record = take(&self.endpoint, own, &about.id, platform)?;
            match locked {
                Some(locked) if locked != record.manifest => {}
                Some(_) => return Ok(record),
                None => {
                    lock.put(reference, platform, &record.manifest)?;
                    return Ok(record);
                }
            }
        }
        image::locked(own, Some(lock), reference, platform, false)
    }

    /// Refuses an engine of another kind of machine: what is made here is for this one.
    pub(super) fn check_platform(&self) -> Result<(), Failure> {
        let (theirs, ours) = (self.ask(async |engine| engine.platform().await)?, Platform::host());
        if theirs == ours {
            return Ok(());
        }
        let cause = format!("The engine is for {theirs}, and what [image] makes with more than `from` is for {ours}");
        Err(Failure::new(cause).hint("Build the image for it, push it to a registry, and name it with `from`"))
    }

    /// An image of the store, which the engine gets unless it has it.
    pub(super) fn handed(
        &self,
        host: &HostFacts,
        store: &Store,
        own: &crate::image::Images,
        reference: &Reference,
        record: &Record,
    ) -> Result<FoundImage, Failure> {
        let name = engine::project_name(&record.config);
        let mut about = self.look_by(&name)?;
        if about.is_none() {
            tell!("agentkernel: the engine at {} gets the project's image", self.endpoint);
            engine::remember(&store.shared()?.cache, &self.endpoint)?;
            let loaded =
                own.hand_over(record, &name, |archive| self.ask(async |engine| engine::load(&engine, archive).await))?;
            loaded?;
            about = self.look_by(&name)?;
        }
        let missing = || Failure::new("The engine took the project's image, and does not have it");
        self.found(host, reference, about.ok_or_else(missing)?)
    }

    fn ask<T>(&self, question: impl AsyncFnOnce(Engine) -> Result<T, EngineError>) -> Result<T, Failure> {
        let asked = engine::block_on(async { question(Engine::connect(&self.endpoint).await?).await })?;
        asked.map_err(|error| Failure::chain(&error).hint(error.hint()))
    }

    /// What the engine has by a name; `None`: nothing.
    fn look(&self, reference: &Reference) -> Result<Option<About>, Failure> {
        let name = reference.name()
            + &reference
                .digest()
                .map_or_else(|| format!(":{}", reference.tag().unwrap_or("latest")), |digest| format!("@{digest}"));
        self.ask(async |engine| {
            // Podman has images of this machine's own that only their short names find.
            let mut found = engine::about(&engine, &name, &self.cache).await?;
            if found.is_none() && engine.is_podman() {
                found = engine::about(&engine, &reference.familiar(), &self.cache).await?;
            }
            // Nothing has that name, but it may be an id.
            match (found, reference.bare_digest()) {
                (None, Some(digits)) => engine::about(&engine, digits, &self.cache).await,
                (found, _) => Ok(found),
            }
        })
    }

    /// The same by an id.
    fn look_by(&self, id: &str) -> Result<Option<About>, Failure> {
        self.ask(async |engine| engine::about(&engine, id, &self.cache).await)
    }

    /// Has the engine bring an image, with a line about what it does where somebody reads that.
    fn bring(&self, reference: &Reference) -> Result<About, Failure> {
        // A helper that knows them is a program: it is run while nothing else is under way.
        let credentials = crate::image::credentials(reference)?;
        self.ask(async |engine| pull(&engine, reference, &credentials).await).map_err(|failure| {
            let failure = image::not_pulled(reference, failure);
            // What the engine says itself has none.
            if failure.hint.is_empty() {
                failure.hint("See whether the name is right, and whether the engine reaches its registry")
            } else {
                failure
            }
        })?;
        let missing = || Failure::new(format!("The engine brought {}, and does not have it", reference.familiar()));
        self.look(reference)?.ok_or_else(missing)
    }

    fn found(&self, host: &HostFacts, reference: &Reference, about: About) -> Result<FoundImage, Failure> {
        // It matters only to who is not root.
        let maps_ids = host.uid == 0 || self.ask(async |engine| engine.maps_ids().await)?;
        Ok(self.made(&reference.familiar(), about, maps_ids))
    }

    fn made(&self, reference: &str, about: About, maps_ids: bool) -> FoundImage {
        let About { id, platform, run, contents, .. } = about;
        let engine = config::FoundEngine { endpoint: self.endpoint.clone(), maps_ids, platform };
        FoundImage {
            image: Image::Engine(EngineImage {
                reference: reference.to_owned(),
                id,
                volumes: crate::image::volumes(&run),
            }),
            engine: Some(engine),
            user: run.user,
            env: run.env,
            entrypoint: run.entrypoint,
            command: run.cmd,
            workdir: run.working_dir,
            passwd: contents.passwd,
            group: contents.group,
            has_bash: contents.has_bash,
            has_musl: contents.has_musl,
        }
    }
}

async fn pull(engine: &Engine, reference: &Reference, credentials: &Credentials) -> Result<(), EngineError> {
    let shown = rustix::termios::isatty(rustix::stdio::stderr());
    let name = table::printable(&reference.familiar());
    tell!("agentkernel: the engine at {} brings {name}", engine.endpoint());
    let pulled = engine::pull(engine, reference, credentials, |engine::Pulled { status, layer }| {
        if shown {
            let _ = write!(std::io::stderr(), "\r{name}: {layer} {status}\x1b[K");
        }
    });
    let pulled = pulled.await;
    if shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    pulled
}
