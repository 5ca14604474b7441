//! What layouts and archives say is in them.

use oci::{
    Platform, Reference,
    manifest::{Descriptor, Document, Index, MAX_LAYERS, media::OCI_CONFIG},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wire::Failure;

/// An image in a layout, as its index has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// What it is called there: whole references, or a tag alone.
    names: Vec<String>,
    pub(super) document: Descriptor,
    /// The layers of one of Docker's form, by their places; it has no manifest of its own.
    pub(super) layers: Option<Vec<String>>,
}

/// What of `manifest.json` in an archive of Docker's is used.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Entry {
    /// Its names; a tag alone is none.
    pub(super) fn references(&self) -> Vec<Reference> {
        let names = self.names.iter().filter(|name| name.contains(['/', ':']));
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// Its tag, alone or in its first name.
    pub(super) fn tag(&self) -> Option<&str> {
        let name = self.names.first()?;
        // A port is none.
        Some(name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(_, tag)| tag))
    }

    /// Whether this is its tag, or one of its names.
    pub(super) fn is(&self, text: &str) -> bool {
        self.tag() == Some(text) || self.names.iter().any(|name| name == text) || {
            let wanted = text.parse::<Reference>();
            wanted.is_ok_and(|wanted| text.contains(['/', ':']) && self.references().contains(&wanted))
        }
    }
}

/// The only image of a layout, by however many names.
pub(super) fn only(entries: &[Entry]) -> Result<&Entry, String> {
    match entries {
        [] => Err("it has none in it".to_owned()),
        [one, more @ ..] if more.iter().all(|other| other.document.digest == one.document.digest) => Ok(one),
        _ => Err(format!("it has {} in it{}", entries.len(), tags(entries))),
    }
}

/// The tags by which one of several images can be chosen, or their names where tags do not tell them apart, in words; empty
/// for one.
pub(super) fn tags(entries: &[Entry]) -> String {
    let shown = |text: &str| text.escape_debug().to_string();
    let tags: Vec<String> = entries.iter().filter_map(Entry::tag).map(shown).collect();
    let names: Vec<String> = entries.iter().filter_map(|entry| entry.names.first()).map(|name| shown(name)).collect();
    match tags.len() {
        0 | 1 => String::new(),
        many if tags.iter().collect::<BTreeSet<_>>().len() == many => {
            format!(", of the tags {}; choose one as PATH:TAG", tags.join(", "))
        }
        _ => format!(", of the names {}; choose one as PATH:NAME", names.join(", ")),
    }
}

/// In a worker: the images of an index.
pub(super) fn index_entries(bytes: &[u8], platform: &Platform) -> Result<Vec<Entry>, Failure> {
    let failed = |error| Failure::from(format!("index.json: {}", wire::cause(&error)));
    let Document::Index(index) = Document::parse(bytes, None).map_err(failed)? else {
        return Err(Failure::from("index.json is no index".to_owned()));
    };
    // By name: those of one name are one image for several platforms.
    let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for document in index.manifests {
        let name = |key: &str| document.annotations.get(key).cloned();
        let name = name("io.containerd.image.name").or_else(|| name("org.opencontainers.image.ref.name"));
        groups.entry(name).or_default().push(document);
    }
    let entry = |(name, mut documents): (Option<String>, Vec<Descriptor>)| {
        let document = match documents.len() {
            1 => documents.pop(),
            _ => Index::new(documents).select(platform).cloned(),
        };
        document.map(|document| Entry { names: name.into_iter().collect(), document, layers: None })
    };
    Ok(groups.into_iter().filter_map(entry).collect())
}

/// In a worker: the images of Docker's form, and where their configs are.
pub(super) fn docker_entries(bytes: &[u8]) -> Result<(Vec<Entry>, Vec<String>), Failure> {
    let entries: Vec<DockerEntry> =
        serde_json::from_slice(bytes).map_err(|error| Failure::from(format!("manifest.json: {error}")))?;
    if let Some(entry) = entries.iter().find(|entry| entry.layers.len() > MAX_LAYERS) {
        return Err(Failure::from(format!("manifest.json: {} layers are too many", entry.layers.len())));
    }
    let made = entries.into_iter().map(|DockerEntry { config, repo_tags, layers }| {
        let document = Descriptor::of(OCI_CONFIG, b"");
        (Entry { names: repo_tags.unwrap_or_default(), document, layers: Some(layers) }, config)
    });
    Ok(made.unzip())
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
