//! Hides how files are laid over those of an image that nobody may write to, where no engine puts anything: they come by a
//! volume of the sandbox's own, and each is mounted, read-only, from where the engine keeps that. So does a project that is a
//! copy, which can be written to.

use super::{
    super::native::etc,
    record::{self, LABEL_ID, LABEL_STATE},
    trust,
    volume::{self, PLACE},
};
use crate::{
    Spec,
    engine::{self, Contents, Engine, EngineError},
};
use rustix::fd::OwnedFd;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use wire::link::Account;

/// A file that a sandbox has in the place of the image's, or where that has none.
#[derive(Clone, Debug)]
pub struct Cover {
    /// Where, absolute.
    pub place: String,
    pub bytes: Vec<u8>,
    pub mode: u32,
    pub owner: (u32, u32),
}

/// The names that there are, where the engine would take those of its host along, and who knows others, where it would leave
/// what the image says. What the user has mounted there stays as it is.
pub fn names(spec: &Spec) -> impl Iterator<Item = Cover> {
    let cover =
        |place: &str, text: String| Cover { place: place.into(), bytes: text.into_bytes(), mode: 0o644, owner: (0, 0) };
    let hosts = "/etc/hosts";
    let mounted = spec.all_mounts().any(|mount| mount.target == Path::new(hosts));
    let hosts = (!mounted).then(|| cover(hosts, etc::hosts(&spec.hostname)));
    let resolver = "/etc/resolv.conf";
    let resolver = (!spec.is_mounted(Path::new(resolver))).then(|| cover(resolver, etc::RESOLVER.to_owned()));
    hosts.into_iter().chain(resolver)
}

/// Who must be known, where the image does not know him. What the user has mounted there stays as it is.
pub fn accounts(spec: &Spec, image: &Contents) -> Vec<Cover> {
    let accounts = etc::accounts(&spec.identity, "/bin/sh");
    let cover = |(account, file): (&Account, &Vec<u8>)| {
        let place = format!("/etc/{}", account.file);
        let bytes = account.complete(&String::from_utf8_lossy(file))?.into_bytes();
        (!spec.is_mounted(Path::new(&place))).then_some(Cover { place, bytes, mode: 0o644, owner: (0, 0) })
    };
    accounts.iter().zip([&image.passwd, &image.group]).filter_map(cover).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volume {
    mountpoint: String,
}

/// What an archive of a project has it called, to be put where volumes are.
pub const WORKSPACE: &str = "workspace";

/// What is laid over an image that nobody may write to.
pub struct Layers<'a> {
    pub files: Vec<Cover>,
    /// Who must be trusted, in PEM.
    pub authority: Option<&'a str>,
    /// A project, and where it belongs; none: there is none, or it is there from before.
    pub workspace: Option<(&'a str, OwnedFd)>,
}

/// Brings these, and gives the mounts that lay them over the image.
///
/// # Errors
/// [`EngineError`].
pub async fn lay(
    engine: &Engine,
    spec: &Spec,
    state: &str,
    image: &str,
    layers: Layers<'_>,
) -> Result<Vec<Value>, EngineError> {
    let Spec { id, .. } = spec;
    let name = record::container(id);
    let Layers { files: mut covers, authority, workspace } = layers;
    let copied = workspace.as_ref().map(|(place, _)| *place);
    let places = volume::with(
        engine,
        &name,
        volume::labels(&[(LABEL_ID, id.as_str()), (LABEL_STATE, state)]),
        image,
        async |container| {
            if let Some((_, archive)) = workspace {
                engine.put_archive(container, PLACE, engine::stream(archive)?).await?;
            }
            if let Some(authority) = authority {
                let files = trust::files(engine, container, spec, authority).await?.into_iter();
                covers.extend(files.map(|(place, bytes)| Cover {
                    place: place.into(),
                    bytes,
                    mode: 0o644,
                    owner: (0, 0),
                }));
            }
            for (index, cover) in covers.iter().enumerate() {
                let archive = volume::archived(&cover.bytes, cover.mode, cover.owner, &index.to_string())?;
                engine.put_archive(container, PLACE, archive).await?;
            }
            Ok(covers.into_iter().map(|cover| cover.place).collect::<Vec<_>>())
        },
    )
    .await?;
    let Volume { mountpoint } = engine.get(&format!("/volumes/{name}")).await?;
    let mount = |name: &str, place: &str, read_only: bool| {
        json!({
            "Type": "bind",
            "Source": format!("{mountpoint}/{name}"),
            "Target": place,
            "ReadOnly": read_only,
            // How it is propagated is the engine's to say: it is its own.
            "BindOptions": { "NonRecursive": true },
        })
    };
    let files = places.iter().enumerate().map(|(index, place)| mount(&index.to_string(), place, true));
    Ok(files.chain(copied.map(|place| mount(WORKSPACE, place, false))).collect())
}
