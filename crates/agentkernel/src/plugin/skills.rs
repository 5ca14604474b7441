//! Whether a skill of Claude Code's could be a sandbox's work: hides where its user's, a project's and a plugin's own stand, where
//! none writes. A skill may have hooks, which are commands that Claude Code runs itself, and it takes skills from subdirectories.
//! Of two with one name it takes that which has it from its place, and lies in none. So a name is known only if it is that of
//! a place where Claude Code looks now: what it does not load, one in a subdirectory could be called.

use super::rules;
use crate::config::{self, HostFacts, Project};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// What keeps a skill back until files are worked on that it is about, or from models. Another one has its name until then.
const KEPT_BACK: [&str; 2] = ["paths", "disable-model-invocation"];
/// The longest skill or list of plugins that is read.
const MAX_FILE: u64 = 16 << 20;
/// Places in a project where no sandbox of it writes.
const PROTECTED: [&str; 2] = [".claude/skills", ".claude/commands"];

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
    if parts.iter().all(|part| is_plain(part)) && is_known(host, cwd, &parts) || is_allowed() {
        return None;
    }
    Some(format!(
        "'{name}' is no skill of yours, of the project's own .claude or of a plugin. Unless it is Claude Code's own, a sandbox may \
         have written it, and hooks in it run outside of any. The rule Skill({name}) allows it"
    ))
}

/// Whether a file of this name stands where Claude Code takes skills from, and no sandbox writes.
fn is_known(host: &HostFacts, cwd: Option<&Path>, parts: &[&str]) -> bool {
    let session = host.var("CLAUDE_PROJECT_DIR").map_or(host.cwd.as_path(), Path::new);
    let root =
        |dir: &Path| Project::find_dir(&HostFacts { cwd: dir.to_path_buf(), ..host.clone() }).ok()?.canonicalize().ok();
    let top = root(session);
    let roots: Vec<PathBuf> = [root(&host.cwd), cwd.and_then(root), top.clone()].into_iter().flatten().collect();
    let is_out_of_reach = |path: &Path| {
        let Ok(real) = path.canonicalize() else { return false };
        let is_protected = |root: &PathBuf| {
            real.strip_prefix(root).map_or(true, |below| PROTECTED.iter().any(|place| below.starts_with(place)))
        };
        roots.iter().all(is_protected) && is_always_loaded(&real)
    };
    // It looks in one of these alone, and above the project not at all where that is a repository.
    let home = host.var("CLAUDE_CONFIG_DIR").map_or_else(|| host.own_home().join(".claude"), PathBuf::from);
    let managed = Path::new(rules::MANAGED).join(".claude");
    let places: Vec<PathBuf> = [managed, home.clone()].into_iter().chain(top.map(|top| top.join(".claude"))).collect();
    let (skill, command) = (|place: &Path, name: &str| place.join("skills").join(name).join("SKILL.md"), command);
    let found = |place: &PathBuf| match parts {
        [name] => is_out_of_reach(&skill(place, name)) || is_out_of_reach(&command(place, parts)),
        _ => is_out_of_reach(&command(place, parts)),
    };
    let of_plugin = |plugin: &str, rest: &[&str]| {
        plugins(&home, session, plugin).iter().any(|dir| {
            let is_skill = matches!(rest, [name] if is_out_of_reach(&skill(dir, name)));
            is_skill || is_out_of_reach(&command(dir, rest))
        })
    };
    places.iter().any(found) || matches!(parts, [plugin, rest @ ..] if !rest.is_empty() && of_plugin(plugin, rest))
}

/// Whether a skill is loaded from the start and for models too, as far as what stands before its text says.
fn is_always_loaded(file: &Path) -> bool {
    let text = config::read_own(file, MAX_FILE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let says =
        |line: &str| KEPT_BACK.iter().any(|key| line.trim_start().trim_start_matches(['"', '\'']).starts_with(key));
    let settings = |text: &str| match text.lines().next().map(str::trim_end) {
        Some("---") => text.lines().skip(1).take_while(|line| line.trim_end() != "---").any(says),
        // Nobody knows what it makes of another beginning.
        _ => text.lines().any(says),
    };
    text.is_some_and(|text| !settings(&text))
}

/// The file of a command, whose directories stand before its name.
fn command(place: &Path, parts: &[&str]) -> PathBuf {
    let path: PathBuf = place.join("commands").join(parts.iter().collect::<PathBuf>());
    let mut name = path.into_os_string();
    name.push(".md");
    name.into()
}

/// Where plugins of a name are that are enabled: those that were installed, and those of marketplaces that are directories.
fn plugins(home: &Path, session: &Path, name: &str) -> Vec<PathBuf> {
    let own = [home.join("settings.json")].into_iter();
    let files = own.chain(["settings.json", "settings.local.json"].map(|file| session.join(".claude").join(file)));
    let settings: Vec<Value> = files.map(|file| read(&file)).collect();
    let is_enabled = |key: &str| {
        let mut said = settings.iter().filter_map(|settings| settings["enabledPlugins"].get(key)).peekable();
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
    // One whose description is broken is not loaded.
    found.retain(|dir| {
        let description = dir.join(".claude-plugin/plugin.json");
        description.symlink_metadata().is_err() || !read(&description).is_null()
    });
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
