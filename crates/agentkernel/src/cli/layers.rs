//! What lies over a sandbox's image, found before there is a sandbox.

use super::{Failure, image};
use crate::{
    Image,
    config::{self, FoundImage, FoundLayer, LockFile, Overrides, Project},
    engine::{self, Chain, Engine, EngineError},
    image::{Guard, Images, Record},
    store::Store,
};
use oci::Platform;

/// Finds the layers that a project and flags name, the lowest first, and gives what keeps them until there is a sandbox. With
/// `renew`, what the project names is asked for again. An engine gets them as well, where the image is one of it.
pub(super) fn find(
    store: &Store,
    overrides: &mut Overrides,
    project: &Project,
    renew: bool,
) -> Result<Option<Guard>, Failure> {
    let own = config::own_layers(overrides, project);
    // What a project that is not trusted asks for is not even looked for.
    let waits = !own.is_empty() && !project.file.as_ref().is_some_and(|file| file.trusted);
    if waits || (own.is_empty() && overrides.layers.is_empty()) {
        return Ok(None);
    }
    let images = image::open(store)?;
    let guard = images.keep()?;
    let mut lock = if own.is_empty() { None } else { Some(LockFile::read(project, renew)?) };
    let engine = overrides.found.as_ref().and_then(|found| found.engine.as_ref());
    let platform = engine.map_or_else(Platform::host, |engine| engine.platform.clone());
    let mut records = Vec::new();
    let named = own.iter().map(|name| (name, true)).chain(overrides.layers.iter().map(|name| (name, false)));
    for (name, is_own) in named {
        let lock = lock.as_mut().filter(|_| is_own);
        let record = image::locked(&images, lock, name, &platform, false)?;
        overrides.found_layers.push(FoundLayer { image: record.image(name), env: record.run.env.clone() });
        records.push(record);
    }
    if let Some(base) = overrides.found.as_mut().filter(|found| found.engine.is_some()) {
        lay(store, &images, base, &overrides.found_layers, &records)?;
    }
    Ok(Some(guard))
}

/// Has an engine lay layers over its image, unless it has done so already.
fn lay(
    store: &Store,
    images: &Images,
    base: &mut FoundImage,
    layers: &[FoundLayer],
    records: &[Record],
) -> Result<(), Failure> {
    let (Image::Engine(image), Some(found)) = (&mut base.image, &base.engine) else { return Ok(()) };
    let failed = |error: EngineError| Failure::chain(&error).hint(error.hint());
    for (layer, record) in layers.iter().zip(records) {
        for volume in &image.volumes {
            if images.has_in(record, volume)? {
                let layer = &layer.image.reference;
                let cause = format!("Layer {layer} has files in {volume}, where {} has a volume", image.reference);
                return Err(Failure::new(cause).hint("Make the layer with its files elsewhere, or use backend native"));
            }
        }
    }
    let all: Vec<(&str, &Record, usize)> = layers
        .iter()
        .zip(records)
        .flat_map(|(layer, record)| {
            (0..record.layers.len()).map(move |number| (layer.image.reference.as_str(), record, number))
        })
        .collect();
    let chain = Chain::new(&image.id, layers.iter().flat_map(|layer| layer.image.layers.iter().cloned()));
    let connect = || Engine::connect(&found.endpoint);
    engine::remember(&store.shared()?.cache, &found.endpoint)?;
    let (done, mut id) = engine::block_on(async { chain.find(&connect().await?, &image.id).await })?.map_err(failed)?;
    for (place, (name, record, number)) in all.into_iter().enumerate().skip(done) {
        tell!("agentkernel: the engine at {} gets layer {name} over {}", found.endpoint, image.reference);
        let (archive, outflow) = images.outflow(record, number)?;
        let mut outflow = Some(outflow);
        let mut ended = Ok(());
        let whole = || {
            ended = outflow.take().map_or(Ok(()), |outflow| outflow.end());
            ended.is_ok()
        };
        let laid = async { engine::lay(&connect().await?, &chain, place, &id, archive, whole).await };
        let laid = engine::block_on(laid)?;
        // Why there was no more of it counts more than what the engine made of that.
        ended.and(outflow.map_or(Ok(()), |outflow| outflow.end()))?;
        id = match laid {
            Ok(Some(id)) => id,
            Ok(None) => return Err(Failure::new(format!("Layer {name} is not whole"))),
            Err(error @ EngineError::Refused { .. }) => {
                let cause = format!("Layer {name} doesn't fit over {}: {error}", image.reference);
                let hint = "Make the layer with its files where this image has them, such as in /usr/local or /opt";
                return Err(Failure::new(cause).hint(hint));
            }
            Err(error) => return Err(failed(error)),
        };
    }
    image.id = id;
    Ok(())
}
