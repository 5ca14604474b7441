//! Hides how the programs of a container come to trust its sandbox's own certificate authority: what the image trusts is
//! read from it, and written back with the authority, before it starts.

use super::{
    super::{
        LaunchError,
        native::{
            failure,
            trust::{MAX, java_store},
        },
    },
    volume,
};
use crate::{
    Spec,
    engine::{Engine, EngineError},
    trust::{BUNDLE, CERTIFICATE, JAVA, SYSTEM},
};
use std::path::Path;

/// Stands before the authority in what it was added to: an earlier start's is cut off there.
const MARK: &str = "\n# The authority of this sandbox\n";

/// Adds an authority's certificate (PEM) to what the programs of a container trust.
pub async fn plant(engine: &Engine, container: &str, spec: &Spec, authority: &str) -> Result<(), LaunchError> {
    let planted = async {
        for (path, bytes) in files(engine, container, spec, authority).await? {
            let archive = volume::archived(&bytes, 0o644, (0, 0), path.trim_start_matches('/'))?;
            engine.put_archive(container, "/", archive).await?;
        }
        Ok::<_, EngineError>(())
    };
    planted.await.map_err(|error| {
        let cause = format!("Cannot add the sandbox's authority to what it trusts: {}", wire::cause(&error));
        failure::new("certificates", cause, error.hint())
    })
}

/// What must lie where for that, in a container of the image. What the user has mounted there stays as it is.
///
/// # Errors
/// [`EngineError`].
pub async fn files(
    engine: &Engine,
    container: &str,
    spec: &Spec,
    authority: &str,
) -> Result<Vec<(&'static str, Vec<u8>)>, EngineError> {
    let (mut files, mut first) = (Vec::new(), None);
    for path in SYSTEM {
        let Some(own) = engine.read_file(container, path, MAX as usize).await? else { continue };
        let Ok(own) = String::from_utf8(own) else { continue };
        let bundle = with(&own, authority);
        files.push((path, bundle.clone().into_bytes()));
        first = first.or(Some(bundle));
    }
    let bundle = first.unwrap_or_else(|| authority.to_owned());
    let java = java_store(&bundle);
    files.extend([(CERTIFICATE, authority.as_bytes().to_vec()), (BUNDLE, bundle.into_bytes()), (JAVA, java)]);
    files.retain(|(path, _)| !spec.is_mounted(Path::new(path)));
    Ok(files)
}

/// What was trusted before, and the authority.
fn with(own: &str, authority: &str) -> String {
    let own = own.split(MARK).next().unwrap_or_default();
    format!("{}{MARK}{authority}", own.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_starts_authority_is_trusted_no_longer() {
        let once = with("public\n", "first\n");
        assert_eq!(once, format!("public{MARK}first\n"));
        assert_eq!(with(&once, "second\n"), format!("public{MARK}second\n"));
    }
}
