//! A project's image, made as its `[image]` says, before a sandbox is.

use super::{
    Failure,
    build::{self, Steps},
    engine_image, image,
};
use crate::{
    config::{self, Base, FoundImage, HostFacts, LockFile, Project, Recipe, UserConfig},
    image::{BuildError, Executor as _, Guard, Images, Record, Request},
    store::Store,
};
use dockerfile::Ignore;
use egress::Rule;
use oci::Platform;
use std::{collections::BTreeMap, path::Path};

/// Makes the image, or finds it, and gives what keeps it until there is a sandbox: what is known is not done again. With
/// `renew`, names are asked for again.
pub(super) fn image(
    store: &Store,
    recipe: &Recipe,
    project: &Project,
    user: &UserConfig,
    renew: bool,
) -> Result<(FoundImage, Guard), Failure> {
    let images = image::open(store)?;
    let guard = images.keep()?;
    let record = record(store, &images, recipe, project, user, LockFile::read(project, renew)?, None)?;
    Ok((image::found(&images, record.image(&recipe.name), &record)?, guard))
}

/// The same for the backend docker. What `from` alone names is the engine's own, as the lock has it. What is made of more is
/// made here, where the rules hold for it, and handed over.
pub(super) fn in_engine(
    store: &Store,
    recipe: &Recipe,
    project: &Project,
    user: &UserConfig,
    host: &HostFacts,
    renew: bool,
) -> Result<(FoundImage, Option<Guard>), Failure> {
    let mut lock = LockFile::read(project, renew)?;
    let engines = engine_image::Images::of(store, host)?;
    if let (Base::Image(reference), true) = (&recipe.base, recipe.packages.is_empty() && recipe.setup.is_empty()) {
        return Ok((engines.locked(store, host, &mut lock, reference)?, None));
    }
    engines.check_platform()?;
    let images = image::open(store)?;
    let guard = images.keep()?;
    let record = record(store, &images, recipe, project, user, lock, Some(&engines))?;
    Ok((engines.handed(host, store, &images, &recipe.name, &record)?, Some(guard)))
}

/// What the store has of a recipe, made if it has nothing, for itself or for an engine.
fn record(
    store: &Store,
    images: &Images,
    recipe: &Recipe,
    project: &Project,
    user: &UserConfig,
    lock: LockFile,
    engine: Option<&engine_image::Images>,
) -> Result<Record, Failure> {
    let _building = images.building(|| build::clear_dead(store).map(drop))?;
    let host = HostFacts::read()?;
    let mut steps = Steps::new(images, recipe.name.clone(), project.clone(), user.clone(), host);
    steps.terse = true;
    steps.lock = Some(lock);
    steps.engine = engine;
    let platform = Platform::host();
    let mut record = match &recipe.base {
        Base::Image(reference) => steps.base(reference, &platform)?,
        Base::Dockerfile(path) => {
            let text = build::read_text(path, false)?;
            let name = path.strip_prefix(&project.dir).unwrap_or(path).display().to_string();
            let ignore = build::ignore(path, &project.dir)?;
            make(images, &mut steps, &text, &name, &project.dir, &ignore, None)?
                .map_err(|error| steps.failure(error, &name, &text))?
        }
    };
    if !recipe.packages.is_empty() {
        let install = images.install(&record, &recipe.packages)?.ok_or_else(|| {
            Failure::new("The image has no package manager that is known: apt, apk, dnf, microdnf or yum")
                .hint("Leave `packages` out, and install what is needed by `setup` or a Dockerfile")
        })?;
        // Hosts that a Dockerfile, or a file of the project's, brings into the image were named by nobody who may. What the
        // user's own limits forbid stays so.
        let named = install.hosts.iter().filter(|_| matches!(recipe.base, Base::Image(_)));
        let rules = named.filter_map(|host| config::parse_rule(host).ok());
        let before = steps.overrides.clone();
        steps.overrides.network.allow.extend(rules.collect::<Vec<Rule>>());
        record = add(images, &mut steps, recipe, record, &[(recipe.packages_line, install.command)])?;
        steps.overrides = before;
    }
    if !recipe.setup.is_empty() {
        record = add(images, &mut steps, recipe, record, &recipe.setup)?;
    }
    images.tag(&recipe.name, &record.manifest)?;
    Ok(record)
}

/// Lays what commands of root's write over an image.
fn add(
    images: &Images,
    steps: &mut Steps<'_>,
    recipe: &Recipe,
    below: Record,
    commands: &[(usize, String)],
) -> Result<Record, Failure> {
    let name = recipe.name.familiar();
    let mut text = format!("FROM {name}\n");
    let caches = recipe.cache.iter().map(|path| format!("--mount=type=cache,target={} ", path.display()));
    let caches: String = caches.collect();
    for (_, command) in commands {
        let words = serde_json::to_string(&["/bin/sh", "-c", command]).map_err(|error| Failure::chain(&error))?;
        text.push_str(&format!("RUN {caches}{words}\n"));
    }
    steps.made = Some((recipe.name.clone(), below));
    let made = make(images, steps, &text, "[image]", Path::new("/"), &Ignore::default(), Some("0"))?;
    made.map_err(|error| {
        // The first line of the Dockerfile is FROM.
        let said = |line: usize| line.checked_sub(2).and_then(|index| commands.get(index));
        let said = match &error {
            BuildError::Exit { line, .. } | BuildError::Executor { line, .. } => said(*line),
            BuildError::Dockerfile(_) | BuildError::Image(_) => None,
        };
        let Some((own, command)) = said else { return steps.failure(error, "[image]", &text) };
        let error = match error {
            BuildError::Exit { exit, .. } => BuildError::Exit { line: *own, exit },
            BuildError::Executor { error, .. } => BuildError::Executor { line: *own, error },
            other => other,
        };
        let before = "\n".repeat(own.saturating_sub(1));
        steps.failure(error, config::FILE_NAME, &format!("{before}{command}"))
    })
}

/// Builds it; what fails is for whoever knows what was written.
fn make(
    images: &Images,
    steps: &mut Steps<'_>,
    text: &str,
    name: &str,
    context: &Path,
    ignore: &Ignore,
    user: Option<&str>,
) -> Result<Result<Record, BuildError<Failure>>, Failure> {
    let dockerfile = dockerfile::parse(text).map_err(|error| build::of_line(name, text, error))?;
    let request = Request {
        dockerfile: &dockerfile,
        context,
        ignore,
        project: &steps.project.dir.clone(),
        target: None,
        arguments: &BTreeMap::new(),
        platform: &Platform::host(),
        epoch: build::epoch(&steps.host)?,
        fresh: false,
        forget: false,
        user,
    };
    Ok(images.build(&request, steps))
}
