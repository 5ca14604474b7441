//! Hides how the engine is tried, and the one list of what a container cannot be.

use super::super::{Finding, State};
use crate::engine::{self, Endpoint, Engine};
use serde::Deserialize;

/// What a sandbox of this backend has not, by the names of the conformance suite, with the reason.
pub const LACKS: &[(&str, &str)] = &[
    ("image host", "a container has no programs of the host's: name an image"),
    ("image dir", "an engine knows images by name only"),
    ("disk limit", "few engines can limit what a container writes, and none tells"),
    ("own ids", "unless the engine maps ids, root inside is root's id of its machine, without any capability"),
    (
        "nodev root",
        "an engine mounts a container's root as its own file system is: devices in it are stopped by its cgroup alone",
    ),
    (
        "protected links",
        "an engine follows a symbolic link that it is to cover, so a direct workspace with one is refused",
    ),
    (
        "live overlay",
        "`--workspace overlay` is a copy, made when the sandbox is: what changes outside later is not seen",
    ),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    cgroup_version: String,
}

pub fn probe() -> Vec<Finding> {
    let env: Vec<_> = std::env::vars_os().collect();
    let endpoint = match Endpoint::find(&env) {
        Ok(endpoint) => endpoint,
        Err(error) => return vec![missing(wire::cause(&error), error.hint())],
    };
    let asked = engine::block_on(async {
        let engine = Engine::connect(&endpoint).await?;
        let version: Version = engine.get("/version").await?;
        // Podman uses none with version 1 of cgroups, whatever it is told.
        let info: Info = if engine.is_podman() { engine.get("/info").await? } else { Info::default() };
        Ok::<_, engine::EngineError>((engine.version(), version.version, info.cgroup_version == "1"))
    });
    let (api, version, shares_cgroups) = match asked {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return vec![missing(wire::cause(&error), error.hint())],
        Err(error) => return vec![missing(error.to_string(), "")],
    };
    let detail = format!("{} answers, version {}, API {api}", endpoint, wire::printable(&version));
    let mut findings = vec![Finding::works("engine", detail)];
    let mut lacks = |name, detail: &str| {
        findings.push(Finding { name, state: State::Missing, detail: detail.into(), hint: String::new() });
    };
    LACKS.iter().for_each(|(name, reason)| lacks(name, reason));
    if shares_cgroups {
        lacks("cgroup namespace", "Podman makes none where cgroups have version 1: programs see where theirs lies");
    }
    if !endpoint.may_share_files() {
        lacks("direct workspace", "the engine is another machine's: `--workspace overlay` sends a copy");
    }
    findings
}

fn missing(detail: String, hint: &str) -> Finding {
    Finding { name: "engine", state: State::Fails, detail, hint: hint.into() }
}
