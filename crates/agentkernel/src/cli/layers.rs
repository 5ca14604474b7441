//! What lies over a sandbox's image, found before there is a sandbox.

use super::{Failure, image};
use crate::{
    config::{self, FoundLayer, LockFile, Overrides, Project},
    image::Guard,
    store::Store,
};
use oci::Platform;

/// The layers that a project and flags name, the lowest first, and what keeps them until there is a sandbox. With `renew`,
/// what the project names is asked for again.
pub(super) fn find(
    store: &Store,
    overrides: &Overrides,
    project: &Project,
    renew: bool,
) -> Result<(Vec<FoundLayer>, Option<Guard>), Failure> {
    let own = config::own_layers(overrides, project);
    // What a project that is not trusted asks for is not even looked for.
    let waits = !own.is_empty() && !project.file.as_ref().is_some_and(|file| file.trusted);
    if waits || (own.is_empty() && overrides.layers.is_empty()) {
        return Ok((Vec::new(), None));
    }
    let images = image::open(store)?;
    let guard = images.keep()?;
    let mut lock = if own.is_empty() { None } else { Some(LockFile::read(project, renew)?) };
    let mut found = Vec::new();
    let named = own.iter().map(|name| (name, true)).chain(overrides.layers.iter().map(|name| (name, false)));
    for (name, is_own) in named {
        let lock = lock.as_mut().filter(|_| is_own);
        let record = image::locked(&images, lock, name, &Platform::host(), false)?;
        found.push(FoundLayer { image: record.image(name), env: record.run.env });
    }
    Ok((found, Some(guard)))
}
