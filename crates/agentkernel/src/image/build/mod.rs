//! Builds images from Dockerfiles: stage by stage and step by step, each known again by what decides it. What runs a
//! step's command is the caller's; what copies files executes nothing.

mod added;
mod context;
mod copy;
mod error;
mod files;
mod graph;
mod layer;
mod mounts;
mod stage;
mod users;

pub use error::BuildError;
pub(super) use {
    layer::Built,
    mounts::{CACHE, LENT},
};

use super::{ImageError, Images, Record, Room};
use crate::{Lent, Tmpfs};
use dockerfile::{Dockerfile, Ignore};
use graph::Graph;
use oci::{
    Digest, Platform, Reference,
    manifest::{
        Descriptor, History, ImageConfig, MAX_CONFIG, MAX_MANIFEST, Manifest,
        media::{self, OCI_CONFIG},
    },
};
use rustix::fd::OwnedFd;
use stage::State;
use std::{collections::BTreeMap, path::Path, rc::Rc};
use wire::{Exit, User};

/// What is to be built.
#[derive(Debug)]
pub struct Request<'a> {
    /// How.
    pub dockerfile: &'a Dockerfile,
    /// Where `COPY` takes files from.
    pub context: &'a Path,
    /// What of that does not count.
    pub ignore: &'a Ignore,
    /// The directory of the project that this is of, whose builds have the same caches.
    pub project: &'a Path,
    /// The stage; none: the last one.
    pub target: Option<&'a str>,
    /// `--build-arg`
    pub arguments: &'a BTreeMap<String, String>,
    /// What it is to run on.
    pub platform: &'a Platform,
    /// The latest time in it, in seconds since 1970.
    pub epoch: i64,
    /// No step is taken from an earlier build.
    pub fresh: bool,
    /// No step is remembered: nothing but the image stays after a `prune`.
    pub forget: bool,
    /// Who runs commands, whatever `USER` says; none: whom it says.
    pub user: Option<&'a str>,
}

/// A command that makes a layer.
#[derive(Debug)]
pub struct Task {
    /// The layers below, the lowest first.
    pub layers: Vec<Digest>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Where it starts, absolute.
    pub workdir: String,
    /// Who runs it.
    pub user: User,
    /// The image's /etc/passwd.
    pub passwd: Vec<u8>,
    /// What of the store it sees.
    pub mounts: Vec<Lent>,
    /// File systems in memory that it sees.
    pub tmpfs: Vec<Tmpfs>,
    /// How much it may write; `None`: as much as there is room for.
    pub room: Option<Room>,
}

/// What there is to do for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// No file is made by it.
    None,
    /// What an earlier build has made is taken.
    Cached,
    /// A layer is made.
    Layer,
}

/// What happens in a build.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step begins, or is known from before.
    Step {
        /// Which one, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// Its instruction.
        text: &'a str,
        /// What there is to do.
        work: Work,
    },
    /// Something that its user may want to know.
    Notice(String),
}

/// Takes what a command has written: an overlay's upper directory, and the id on the host that is 0 in it, if there is more
/// than one.
pub type Capture<'a> = dyn FnMut(OwnedFd, Option<u32>) -> Result<(), ImageError> + 'a;

/// Who does what a build cannot do itself.
pub trait Executor {
    /// What can go wrong.
    type Error: From<ImageError>;

    /// The image of a name, wherever it has to come from.
    ///
    /// # Errors
    /// If it is not to be had.
    fn base(&mut self, reference: &Reference, platform: &Platform) -> Result<Record, Self::Error>;

    /// Runs a command in a sandbox, and has what it has written captured if it ended well.
    ///
    /// # Errors
    /// If it could not be run, or captured.
    fn run(&mut self, task: &Task, capture: &mut Capture<'_>) -> Result<Exit, Self::Error>;

    /// Whether the last command would make the same again. One that was refused something, and ended well all the same, may
    /// make something else once that is allowed.
    fn is_repeatable(&self) -> bool;

    /// Tells of it.
    fn tell(&mut self, event: Event<'_>);
}

impl Images {
    /// Builds an image. It has no name yet.
    ///
    /// # Errors
    /// [`BuildError`]; what was done is not done again.
    pub fn build<E: Executor>(&self, request: &Request<'_>, executor: &mut E) -> Result<Record, BuildError<E::Error>> {
        let _guard = self.keep()?;
        let graph = Graph::new(request.dockerfile, request.target, request.arguments, request.platform)?;
        let context = copy::context(request.context)
            .map_err(|errno| self.failed("open", request.context, errno))
            .map(super::view::View::directory)?;
        let context = Rc::new(context);
        let steps = |index: &usize| graph.at(*index).map_or(0, |stage| stage.steps.len() + 1);
        let mut builder = Builder {
            images: self,
            request,
            executor,
            of: graph.needed.iter().map(steps).sum(),
            graph,
            context,
            number: 0,
            done: BTreeMap::new(),
            used: Vec::new(),
            scratch: Vec::new(),
            told_owner: false,
        };
        let built: Result<_, BuildError<E::Error>> =
            builder.graph.needed.clone().into_iter().try_fold(None, |_, index| {
                builder.stage(index)?;
                Ok(Some(index))
            });
        for name in std::mem::take(&mut builder.scratch) {
            // What cannot be removed now, a sweep will.
            let _ = self.remove_tree(&self.work, "work", &name);
        }
        let last = built?;
        builder.tell_unused();
        let state = last.and_then(|last| builder.done.remove(&last));
        let state = state.ok_or(ImageError::Died { signal: None })?;
        Ok(self.assemble(state, request)?)
    }

    /// Puts an image on record.
    fn assemble(&self, state: State, request: &Request<'_>) -> Result<Record, ImageError> {
        let State { layers, mut config, .. } = state;
        config.created = Some(wire::rfc3339(request.epoch));
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let config = config.to_bytes()?;
        let document = Descriptor::of(OCI_CONFIG, &config);
        self.take_in("its config", &document, &config[..])?;
        let layers = layers.into_iter().map(|Built { mut travelling, .. }| {
            // What is below may come from Docker.
            travelling.media_type = media::of_oci(&travelling.media_type).to_owned();
            travelling
        });
        let manifest = Manifest::new(document, layers.collect());
        self.finish(&manifest, &manifest.to_bytes()?, &config, request.platform)
    }

    /// What an image that is here begins a stage with.
    fn begin_with(&self, record: &Record) -> Result<(Vec<Built>, ImageConfig), ImageError> {
        let gone = || ImageError::NotFound { name: record.manifest.to_string() };
        let read = |digest: &Digest, most: u64| -> Result<Vec<u8>, ImageError> {
            let name = digest.hex();
            let size = match super::open(&self.blobs, name) {
                Ok(file) => rustix::fs::fstat(&file).map_err(|errno| self.failed("examine", name, errno))?.st_size,
                Err(_) => return Err(gone()),
            };
            self.document(&Descriptor::new("", digest.clone(), size as u64), most)?.ok_or_else(gone)
        };
        let manifest = self.read_document(&read(&record.manifest, MAX_MANIFEST)?, None, &record.platform)?;
        let super::read::Kind::Manifest(manifest) = manifest else { return Err(gone()) };
        let config = self.read_config(&read(&record.config, MAX_CONFIG)?)?;
        let layers = manifest.layers.into_iter().zip(&config.rootfs.diff_ids);
        let layers = layers.map(|(travelling, diff_id)| Built { travelling, diff_id: diff_id.clone() });
        Ok((layers.collect(), config))
    }
}

/// A build under way.
struct Builder<'a, E> {
    images: &'a Images,
    request: &'a Request<'a>,
    executor: &'a mut E,
    graph: Graph<'a>,
    context: Rc<super::view::View>,
    number: usize,
    of: usize,
    /// Stages that are built.
    done: BTreeMap<usize, State>,
    /// Names of arguments that something has asked for.
    used: Vec<String>,
    /// Directories that are needed no longer than this.
    scratch: Vec<String>,
    /// It was told that files are given to nobody.
    told_owner: bool,
}

impl<E: Executor> Builder<'_, E> {
    fn tell_unused(&mut self) {
        let known = |name: &String| self.used.contains(name) || stage::is_predefined(name);
        let globals = |name: &String| self.graph.dockerfile.arguments.iter().any(|(other, _)| other == name);
        let unused = self.request.arguments.keys().filter(|name| !known(name) && !globals(name));
        let unused: Vec<&str> = unused.map(String::as_str).collect();
        if !unused.is_empty() {
            let notice = format!("No ARG asks for {}", unused.join(", "));
            self.executor.tell(Event::Notice(notice));
        }
    }
}

/// A step in the history of an image.
fn history(text: &str, epoch: i64, empty_layer: bool) -> History {
    History {
        created: Some(wire::rfc3339(epoch)),
        created_by: Some(text.to_owned()),
        empty_layer,
        ..History::default()
    }
}
