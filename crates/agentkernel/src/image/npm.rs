//! Hides how a registry of npm's kind is asked what a package is: the document of a package, read where it comes from the
//! internet.

use super::{
    ImageError,
    fetch::{FileLogins, hint, internet_with},
    pull::in_runtime,
    worker::{self, Reach},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wire::Failure;

/// The form that npm itself asks for: without what only people read.
const FORM: &str = "application/vnd.npm.install-v1+json";
/// The longest document: a package with thousands of versions has less.
const LONGEST: u64 = 64 << 20;
/// What a version is called that its makers want to be used.
const LATEST: &str = "latest";

/// What is asked of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its registry, ending with a slash.
    pub registry: String,
    /// Its name.
    pub package: String,
    /// Its version; none: the newest that its makers want to be used.
    pub version: Option<String>,
}

/// A version of a package, as its registry has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Which.
    pub version: String,
    /// What it is: `sha512-` and the hash in base64.
    pub integrity: String,
}

/// A package's document.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "dist-tags", default)]
    tags: BTreeMap<String, String>,
    #[serde(default)]
    versions: BTreeMap<String, Version>,
}

#[derive(Deserialize)]
struct Version {
    dist: Distribution,
}

#[derive(Deserialize)]
struct Distribution {
    integrity: Option<String>,
}

/// Asks a registry for a version of a package.
///
/// # Errors
/// [`ImageError`], also if there is none.
pub fn published(question: &Question, logins: &FileLogins) -> Result<Published, ImageError> {
    let settings = internet_with(logins);
    let Question { registry, package, .. } = question;
    let address = format!("{registry}{}", package.replace('/', "%2f"));
    let work = || {
        let ask = async |client: oci::registry::Client| client.document_at(&address, FORM, LONGEST).await;
        answer(&in_runtime(&settings, hint, ask)?, question)
    };
    worker::start(&[], Reach::Internet, work)?.wait()
}

/// In the worker: what a document says.
fn answer(document: &[u8], question: &Question) -> Result<Published, Failure> {
    let Question { package, version, .. } = question;
    let wrong = |cause: String, hint: &str| Failure { cause, hint: hint.to_owned() };
    let document: Document = serde_json::from_slice(document).map_err(|error| {
        wrong(
            format!("What the registry says of {package} is not as npm has it: {error}"),
            "Check its address in ~/.npmrc",
        )
    })?;
    let latest = document.tags.get(LATEST);
    let version = version.as_ref().or(latest).ok_or_else(|| {
        wrong(format!("The registry does not say which version of {package} is the latest"), "Name one: NAME@VERSION")
    })?;
    let known = document.versions.get(version).ok_or_else(|| {
        let hint = latest.map_or(String::new(), |latest| format!("The latest is {latest}"));
        wrong(format!("The registry has no version {version} of {package}"), &hint)
    })?;
    let integrity = known.dist.integrity.clone().ok_or_else(|| {
        wrong(format!("The registry does not say what {package} {version} is: there is no `integrity`"), "")
    })?;
    Ok(Published { version: version.clone(), integrity })
}

#[cfg(test)]
#[path = "npm_tests.rs"]
mod tests;
