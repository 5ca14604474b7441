//! Whether a skill of Claude Code's could be a sandbox's work: hides where its user's, a project's and a plugin's own stand, where
//! none writes. A skill may have hooks, which are commands that Claude Code runs itself, and it takes skills from subdirectories.
//! Of two with one name it takes that which has it from its place, and lies in none; what it loads, nobody knows from outside for
//! certain, and what it has loaded it keeps, also when the file is gone. So a name is known only if it is that of a file in one of
//! these places which nothing is known to keep back, and if nothing that a sandbox could have made may have it.

use super::{nested, rules};
use crate::config::{self, HostFacts, Project};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// What keeps a skill back until files are worked on that it is about, or from models. Another one has its name until then.
const KEPT_BACK: [&str; 2] = ["paths", "disable-model-invocation"];
/// What a plugin's description may say without a doubt about whether it is loaded.
const DESCRIBES: [&str; 6] = ["$schema", "version", "description", "homepage", "repository", "license"];
/// The longest skill or list of plugins that is read.
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
    if !parts.iter().all(|part| is_plain(part)) || !is_known(&roots, &places, (&home, session), &parts) {
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
fn is_known(roots: &[PathBuf], places: &[PathBuf], (home, session): (&Path, &Path), parts: &[&str]) -> bool {
    let is_there =
        |path: &Path| path.canonicalize().is_ok_and(|real| nested::is_out_of_reach(roots, &real) && is_loaded(&real));
    let skill = |place: &Path, name: &str| is_there(&place.join("skills").join(name).join("SKILL.md"));
    let has = |place: &Path, parts: &[&str]| {
        matches!(parts, [name] if skill(place, name)) || is_there(&command(place, parts))
    };
    let of_plugin = |plugin: &str, rest: &[&str]| plugins(home, session, plugin).iter().any(|dir| has(dir, rest));
    places.iter().any(|place| has(place, parts))
        || matches!(parts, [plugin, rest @ ..] if !rest.is_empty() && of_plugin(plugin, rest))
}

/// Whether a skill is loaded from the start and for models too, as far as is known from what stands before its text.
fn is_loaded(file: &Path) -> bool {
    let text = config::read_own(file, MAX_FILE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let is_kept_back = |line: &str| KEPT_BACK.iter().any(|key| line.contains(key));
    text.is_some_and(|text| match text.lines().next().map(str::trim_end) {
        Some("---") => !text.lines().skip(1).take_while(|line| line.trim_end() != "---").any(is_kept_back),
        // Nobody knows what it makes of another beginning.
        _ => !text.lines().any(is_kept_back),
    })
}

/// The file of a command, whose directories stand before its name.
fn command(place: &Path, parts: &[&str]) -> PathBuf {
    let path: PathBuf = place.join("commands").join(parts.iter().collect::<PathBuf>());
    let mut name = path.into_os_string();
    name.push(".md");
    name.into()
}

/// Where plugins of a name are that nothing is known to keep from being loaded: those that were installed, and those of
/// marketplaces that are directories.
fn plugins(home: &Path, session: &Path, name: &str) -> Vec<PathBuf> {
    let managed = rules::managed();
    let own = ["settings.json", "settings.local.json"].map(|file| session.join(".claude").join(file));
    let files = managed.iter().cloned().chain([home.join("settings.json")]).chain(own);
    let Ok(settings) = files.map(|file| rules::settings(&file)).collect::<Result<Vec<_>, _>>() else {
        return Vec::new();
    };
    let mut keys = settings[..managed.len()].iter().flatten().filter_map(Value::as_object).flat_map(|all| all.keys());
    if keys.any(|key| key != "enabledPlugins" && (key.contains("lugin") || key.contains("arketplace"))) {
        return Vec::new();
    }
    let is_enabled = |key: &str| {
        let mut said = settings.iter().flatten().filter_map(|all| all["enabledPlugins"].get(key)).peekable();
        said.peek().is_some() && said.all(|said| *said == true)
    };
    let (dir, mut found) = (home.join("plugins"), Vec::new());
    let installed = read(&dir.join("installed_plugins.json"));
    for (key, entries) in installed["plugins"].as_object().into_iter().flatten() {
        if key.split('@').next() == Some(name) && is_enabled(key) {
            let entries = entries.as_array().into_iter().flatten();
            found.extend(entries.filter_map(|entry| Some(PathBuf::from(entry["installPath"].as_str()?))));
        }
    }
    for (market, said) in read(&dir.join("known_marketplaces.json")).as_object().into_iter().flatten() {
        let place = said["installLocation"].as_str().map(Path::new);
        let Some(place) = place.filter(|_| is_enabled(&format!("{name}@{market}"))) else { continue };
        let list = read(&place.join(".claude-plugin/marketplace.json"));
        let plugins = list["plugins"].as_array().into_iter().flatten().filter(|plugin| plugin["name"] == name);
        found.extend(plugins.filter_map(|plugin| Some(place.join(plugin["source"].as_str()?))));
    }
    found.retain(|dir| is_described_plainly(dir, name));
    found
}

/// Whether a plugin is described by nothing that could keep it from being loaded.
fn is_described_plainly(plugin: &Path, name: &str) -> bool {
    let file = plugin.join(".claude-plugin/plugin.json");
    if file.symlink_metadata().is_err() {
        return true;
    }
    let said = config::read_own(&file, MAX_FILE).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let is_plain = |(key, value): (&String, &Value)| match key.as_str() {
        "name" => value == name,
        "author" => value.as_object().is_some_and(|author| author.values().all(Value::is_string)),
        "keywords" => value.as_array().is_some_and(|words| words.iter().all(Value::is_string)),
        key => DESCRIBES.contains(&key) && value.is_string(),
    };
    said.as_ref().and_then(Value::as_object).is_some_and(|said| said.contains_key("name") && said.iter().all(is_plain))
}

/// What a file of Claude Code's says; nothing if it can't be read.
fn read(path: &Path) -> Value {
    let text = config::read_own(path, MAX_FILE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| crate::edit::json_value(&text)).unwrap_or_default()
}

#[cfg(test)]
#[path = "skills_tests.rs"]
mod tests;
