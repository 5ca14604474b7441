//! Hides what is asked of the engines by `gc`, as far as they answer: for containers that no sandbox has any more, and for
//! what killed processes and other builds have left.

use super::{init, record};
use crate::{
    SandboxId,
    engine::{self, Endpoint, Engine, EngineError, LABEL_OWNER, owner},
    guest::Program,
};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Dir},
};
use serde::Deserialize;
use serde_json::json;
use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;

/// Whoever looks into a container needs it no longer than so many seconds.
const YOUNG: i64 = 600;
/// How long an engine may take: nobody has to clear it now.
const PATIENCE: Duration = Duration::from_secs(20);

/// Clears every engine that was used and the one that would be, if they answer; names what is gone, and with `dry_run`
/// does no more.
///
/// # Errors
/// If the cache can't be read, or something of it not be removed.
pub fn sweep(
    cache: &OwnedFd,
    program: &Program,
    exists: &dyn Fn(&SandboxId) -> bool,
    dry_run: bool,
) -> io::Result<Vec<String>> {
    let mut swept = Vec::new();
    let mut asked: Vec<(Endpoint, bool)> = Vec::new();
    let state = record::state(cache)?;
    let state = state.as_deref();
    for entry in Dir::read_from(cache)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        let Some((build, endpoint)) = init::marked(cache, name) else { continue };
        let old = build != program.id;
        let known = asked.iter().find(|(other, _)| *other == endpoint).map(|(_, answers)| *answers);
        let answers = match known {
            Some(answers) => answers,
            None => {
                within(async { tidy(&Engine::connect(&endpoint).await?, state, exists, dry_run, &mut swept).await })?
            }
        };
        if old && answers {
            let remove = async { init::remove(&Engine::connect(&endpoint).await?, &build).await };
            if dry_run || within(remove)? {
                if !dry_run {
                    rustix::fs::unlinkat(cache, name, AtFlags::empty())?;
                }
                swept.push(name.to_owned());
            }
        }
        asked.push((endpoint, answers));
    }
    let env: Vec<_> = std::env::vars_os().collect();
    if let Ok(endpoint) = Endpoint::find(&env)
        && asked.iter().all(|(other, _)| *other != endpoint)
    {
        within(async { tidy(&Engine::connect(&endpoint).await?, state, exists, dry_run, &mut swept).await })?;
    }
    Ok(swept)
}

/// Whether it was done. An engine that is not there, or says no, is left as it is.
fn within(work: impl Future<Output = Result<(), EngineError>>) -> io::Result<bool> {
    Ok(matches!(engine::block_on(async { timeout(PATIENCE, work).await })?, Ok(Ok(()))))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    created: i64,
}

/// Clears one engine.
async fn tidy(
    engine: &Engine,
    state: Option<&str>,
    exists: &dyn Fn(&SandboxId) -> bool,
    dry_run: bool,
    swept: &mut Vec<String>,
) -> Result<(), EngineError> {
    if let Some(state) = state {
        record::sweep(engine, state, exists, dry_run, swept).await?;
    }
    let labels = [format!("{}={}", engine::LABEL_LOOK, engine::LOOK), format!("{LABEL_OWNER}={}", owner())];
    let filters = json!({ "label": labels, "status": ["created"] });
    let path = format!("/containers/json?all=1&filters={}", engine::query(&filters.to_string()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    for Listed { id, created } in engine.get::<Vec<Listed>>(&path).await? {
        // Somebody may be looking into it.
        if now - created < YOUNG {
            continue;
        }
        if !dry_run {
            engine.delete(&format!("/containers/{id}?force=1&v=1")).await?;
        }
        swept.push(format!("container {}", id.chars().take(12).collect::<String>()));
    }
    Ok(())
}
