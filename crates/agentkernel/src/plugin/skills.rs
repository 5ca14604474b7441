//! Whether a skill of Claude Code's could be a sandbox's work: hides where its user's, a project's and a plugin's own stand, where
//! none writes. A skill may have hooks, which are commands that Claude Code runs itself, and it takes skills from subdirectories.
//! Which of two with one name it takes, and which it does not load, nobody knows from outside. So a name is known only if it is
//! that of a file in one of these places, and nothing that a sandbox could have made may have it.

use super::{nested, rules};
use crate::config::{self, HostFacts, Project};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// The longest list of plugins that is read.
const MAX_FILE: u64 = 16 << 20;

/// Why a human is to be asked before a skill of this name is used in a directory; `None` if it stands where no sandbox writes, or
/// if a rule allows it by its name.
pub(super) fn doubt(host: &HostFacts, cwd: Option<&Path>, name: &str) -> Option<String> {
    let named = [format!("Skill({name})"), format!("Skill({name}:*)"), format!("Skill({name} *)")];
    let is_allowed = || rules::allowed(host, cwd).iter().any(|rule| named.contains(rule));
    // To the letter: `name/` is another name than `name`.
    let is_plain = |part: &str| {
        let only = |path: &[Component<'_>]| matches!(path, [Component::Normal(name)] if *name == part);
        only(&Path::new(part).components().collect::<Vec<_>>())
    };
    let parts: Vec<&str> = name.split(':').collect();
    if is_allowed() {
        return None;
    }
    let session = host.var("CLAUDE_PROJECT_DIR").map_or(host.cwd.as_path(), Path::new);
    let root =
        |dir: &Path| Project::find_dir(&HostFacts { cwd: dir.to_path_buf(), ..host.clone() }).ok()?.canonicalize().ok();
    let top = root(session);
    let roots: Vec<PathBuf> = [root(&host.cwd), cwd.and_then(root), top.clone()].into_iter().flatten().collect();
    // It looks in one of these alone, and above the project not at all where that is a repository.
    let home = host.var("CLAUDE_CONFIG_DIR").map_or_else(|| host.own_home().join(".claude"), PathBuf::from);
    let managed = Path::new(rules::MANAGED).join(".claude");
    let places: Vec<PathBuf> = [managed, home.clone()].into_iter().chain(top.map(|top| top.join(".claude"))).collect();
    if !parts.iter().all(|part| is_plain(part)) || !is_known(&roots, &places, &home, &parts) {
        return Some(format!(
            "'{name}' is no skill of yours, of the project's own .claude or of a plugin. Unless it is Claude Code's own, a sandbox \
             may have written it, and hooks in it run outside of any. The rule Skill({name}) allows it"
        ));
    }
    let found = nested::namesake(&roots, &places, name)?;
    Some(format!(
        "{found} nobody knows whether there is a skill '{name}' that a sandbox has written; hooks in it would run outside of any. The \
         rule Skill({name}) allows it"
    ))
}

/// Whether a file of this name stands where Claude Code may take skills from, and no sandbox writes.
fn is_known(roots: &[PathBuf], places: &[PathBuf], home: &Path, parts: &[&str]) -> bool {
    let is_there = |path: &Path| path.canonicalize().is_ok_and(|real| nested::is_out_of_reach(roots, &real));
    let skill = |place: &Path, name: &str| is_there(&place.join("skills").join(name).join("SKILL.md"));
    let has = |place: &Path, parts: &[&str]| {
        matches!(parts, [name] if skill(place, name)) || is_there(&command(place, parts))
    };
    let of_plugin = |plugin: &str, rest: &[&str]| plugins(home, plugin).iter().any(|dir| has(dir, rest));
    places.iter().any(|place| has(place, parts))
        || matches!(parts, [plugin, rest @ ..] if !rest.is_empty() && of_plugin(plugin, rest))
}

/// The file of a command, whose directories stand before its name.
fn command(place: &Path, parts: &[&str]) -> PathBuf {
    let path: PathBuf = place.join("commands").join(parts.iter().collect::<PathBuf>());
    let mut name = path.into_os_string();
    name.push(".md");
    name.into()
}

/// Where plugins of a name are: those that were installed, and those of marketplaces that are directories.
fn plugins(home: &Path, name: &str) -> Vec<PathBuf> {
    let (dir, mut found) = (home.join("plugins"), Vec::new());
    let installed = read(&dir.join("installed_plugins.json"));
    for (key, entries) in installed["plugins"].as_object().into_iter().flatten() {
        if key.split('@').next() == Some(name) {
            let entries = entries.as_array().into_iter().flatten();
            found.extend(entries.filter_map(|entry| Some(PathBuf::from(entry["installPath"].as_str()?))));
        }
    }
    for said in read(&dir.join("known_marketplaces.json")).as_object().into_iter().flat_map(|markets| markets.values())
    {
        let Some(place) = said["installLocation"].as_str().map(Path::new) else { continue };
        let list = read(&place.join(".claude-plugin/marketplace.json"));
        let plugins = list["plugins"].as_array().into_iter().flatten().filter(|plugin| plugin["name"] == name);
        found.extend(plugins.filter_map(|plugin| Some(place.join(plugin["source"].as_str()?))));
    }
    found
}

/// What a file of Claude Code's says; nothing if it can't be read.
fn read(path: &Path) -> Value {
    let text = config::read_own(path, MAX_FILE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| crate::edit::json_value(&text)).unwrap_or_default()
}

#[cfg(test)]
#[path = "skills_tests.rs"]
mod tests;
