//! Hides what a sandbox's root is stacked from: the image, whatever it is, and the layers that lie over it.

use super::{
    super::{LaunchError, Place},
    cache,
    failure::{self, Context as _},
    plan::{Role, Source, open_source},
    skeleton,
};
use crate::{Image, OciImage, Spec, image};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{Mode, OFlags},
    io::Errno,
};
use std::path::Path;

const WALL: &str = "image";

/// A directory of the store of images.
struct Layer<'a> {
    dir: OwnedFd,
    /// What it is of.
    image: &'a OciImage,
    /// Whether it was not made with what lies below.
    over: bool,
}

/// Adds the layers of the root, and those of what is an overlay of its own, the topmost first. What of them may be out of
/// date is given back.
pub fn make(
    spec: &Spec,
    place: &Place,
    proved: bool,
    sources: &mut Vec<(Role, Source)>,
) -> Result<Option<skeleton::Unproved>, LaunchError> {
    let layers = layers(spec, place)?;
    let hides = layers.last().is_some_and(|layer| image::is_opaque(&layer.dir));
    match &spec.image {
        Image::Oci(_) => {
            fit(spec, "", &layers, None)?;
            sources.extend(layers.into_iter().map(|layer| (Role::Lower(""), Source::Layer(layer.dir))));
        }
        Image::Dir(path) => {
            let below = if hides { None } else { Some(open_source(&Role::Lower(""), path)?) };
            fit(spec, "", &layers, below.as_ref())?;
            sources.extend(layers.into_iter().map(|layer| (Role::Lower(""), Source::Layer(layer.dir))));
            sources.extend(below.map(|_| (Role::Lower(""), Source::Path(path.clone()))));
        }
        Image::Host if hides => {
            let cause = "A layer takes all of the host's programs away";
            return Err(failure::new(WALL, cause, "Name it as the image: `--image`"));
        }
        Image::Host => {
            let skeleton = skeleton::prepare(&place.cache, proved);
            let skeleton = failure::state(skeleton, WALL, "Cannot prepare the host image")?;
            fit(spec, "", &layers, Some(&skeleton.dir))?;
            for &name in &skeleton.programs {
                programs(spec, name, &layers, sources)?;
            }
            sources.extend(layers.into_iter().map(|layer| (Role::Lower(""), Source::Layer(layer.dir))));
            sources.push((Role::Lower(""), Source::Fd(skeleton.dir)));
            return Ok(skeleton.unproved);
        }
        Image::Engine(image) => {
            let cause = format!("{} is an image of an engine", image.reference);
            return Err(failure::new(WALL, cause, "Remove the sandbox, and make another one"));
        }
    }
    Ok(None)
}

/// The layers of the store, the topmost first, down to the first that hides everything below.
fn layers<'a>(spec: &'a Spec, place: &Place) -> Result<Vec<Layer<'a>>, LaunchError> {
    let base = if let Image::Oci(image) = &spec.image { Some(image) } else { None };
    let of = |image: &'a OciImage, over| image.layers.iter().map(move |layer| (layer, image, over));
    let mut all: Vec<_> = base.into_iter().flat_map(|image| of(image, false)).collect();
    all.extend(spec.layers.iter().flat_map(|image| of(image, true)));
    let mut layers = Vec::new();
    for (depth, &(layer, image, over)) in all.iter().enumerate().rev() {
        // What a layer shows that comes once more above, is shown there; overlayfs takes none twice.
        if all.iter().skip(depth + 1).any(|(above, ..)| *above == layer) {
            continue;
        }
        let held = cache::hold(&place.cache, &image::layer_name(layer));
        let Some(dir) = failure::state(held, WALL, "Cannot open a layer")? else {
            let cause = format!("A layer of {} is not in the store: {layer}", image.reference);
            let hint = format!("`agentkernel image pull {}` brings it back", image.reference);
            return Err(failure::new(WALL, cause, &hint));
        };
        let hides = image::is_opaque(&dir);
        layers.push(Layer { dir, image, over });
        if hides {
            break;
        }
    }
    Ok(layers)
}

/// Adds the layers of a directory of the host's programs, which is an overlay of its own.
fn programs(
    spec: &Spec,
    name: &'static str,
    layers: &[Layer<'_>],
    sources: &mut Vec<(Role, Source)>,
) -> Result<(), LaunchError> {
    let path = Path::new("/").join(name);
    let mut within = Vec::new();
    for layer in layers {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&layer.dir, name, flags, Mode::empty()) {
            Ok(dir) => within.push(Layer { dir, ..*layer }),
            Err(Errno::NOENT) => continue,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let cause = format!("Layer {} takes {} of the host away", layer.image.reference, path.display());
                return Err(failure::new(WALL, cause, ""));
            }
            Err(error) => return Err(error).wall(WALL, "Cannot open a layer", ""),
        }
        if within.last().is_some_and(|layer| image::is_opaque(&layer.dir)) {
            break;
        }
    }
    let hides = within.last().is_some_and(|layer| image::is_opaque(&layer.dir));
    let below = if hides || within.is_empty() { None } else { Some(open_source(&Role::Lower(name), &path)?) };
    fit(spec, name, &within, below.as_ref())?;
    sources.extend(within.into_iter().map(|layer| (Role::Lower(name), Source::Layer(layer.dir))));
    if !hides {
        sources.push((Role::Lower(name), Source::Path(path)));
    }
    Ok(())
}

/// Refuses a layer that has a directory where something else lies below, or something else where a directory does: that
/// would take more away than anybody meant, such as all of /usr/bin where /bin is a link to it.
fn fit(spec: &Spec, place: &str, layers: &[Layer<'_>], below: Option<&OwnedFd>) -> Result<(), LaunchError> {
    let over = layers.iter().filter(|layer| layer.over).count();
    let stack: Vec<_> = layers.iter().map(|layer| layer.dir.as_fd()).chain(below.map(|dir| dir.as_fd())).collect();
    let misfit = image::misfit(&stack, over).wall(WALL, "Cannot compare layers", "")?;
    let Some((image, misfit)) = misfit.and_then(|misfit| Some((layers.get(misfit.layer)?.image, misfit))) else {
        return Ok(());
    };
    let path = Path::new("/").join(place).join(misfit.path);
    let (has, other) = if misfit.is_dir { ("a directory", "something else") } else { ("no directory", "one") };
    let cause =
        format!("Layer {} has {has} at {}, where {} has {other} below it", image.reference, path.display(), spec.image);
    Err(failure::new(
        WALL,
        cause,
        "Make the layer with its files where this image has them, such as in /usr/local or /opt",
    ))
}
