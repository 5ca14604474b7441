//! Hides how files are laid over those of an image that nobody may write to, where no engine puts anything: they come by a
//! volume of the sandbox's own, and each is mounted, read-only, from where the engine keeps that.

use super::{
    super::native::etc,
    record::{self, LABEL_ID, LABEL_STATE},
    trust,
    volume::{self, PLACE},
};
use crate::{
    Spec,
    engine::{Contents, Engine, EngineError},
};
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

/// Brings these, and what an authority needs to be trusted, and gives the mounts that lay them over the image.
///
/// # Errors
/// [`EngineError`].
pub async fn lay(
    engine: &Engine,
    spec: &Spec,
    state: &str,
    image: &str,
    covers: &[Cover],
    authority: Option<&str>,
) -> Result<Vec<Value>, EngineError> {
    let Spec { id, .. } = spec;
    let name = record::container(id);
    let places = volume::with(
        engine,
        &name,
        volume::labels(&[(LABEL_ID, id.as_str()), (LABEL_STATE, state)]),
        image,
        async |container| {
            let mut covers = covers.to_vec();
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
    let mount = |(index, place): (usize, String)| {
        json!({
            "Type": "bind",
            "Source": format!("{mountpoint}/{index}"),
            "Target": place,
            "ReadOnly": true,
            // How it is propagated is the engine's to say: it is its own.
            "BindOptions": { "NonRecursive": true },
        })
    };
    Ok(places.into_iter().enumerate().map(mount).collect())
}
