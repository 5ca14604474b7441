//! Hides what of the user's own comes along with an agent: where it is, and that nothing of it logs in.

use super::{
    super::Failure,
    beside::{Beside, imports_in, links_in, references_in},
};
use crate::{
    agents::{
        Adapter, Form, Given, Guard, Settings, fetched, guards, preset, servers, unset, without_credentials,
        without_empty,
    },
    config::{
        self, HostFacts,
        follow::{Refusal, follow},
    },
    edit,
    walk::Links,
    workspace::AgentHome,
};
use std::path::{Path, PathBuf};

/// The longest settings that are read, in bytes: an agent's own state, which may be among them, has some hundred kilobytes.
const MAX: u64 = 32 << 20;
/// Files in directories that come along, such as those of extensions, in which there are settings.
const SETTINGS: [&str; 9] = [
    ".mcp.json",
    "mcp.json",
    "gemini-extension.json",
    "qwen-extension.json",
    "settings.json",
    "settings.local.json",
    "known_marketplaces.json",
    "marketplace.json",
    "plugin.json",
];
/// How deep such files are looked for, and among how many: plugins lie some directories deep in those of their marketplaces.
const DEEPEST: usize = 6;
const MOST: usize = 200_000;
/// What our plugin is called.
const OURS: &str = "agentkernel.js";
/// A directory with packages, in which agents look for no settings.
const PASSED_OVER: &str = "node_modules";
/// A history; what says in one, or below, where it is from, with what logs in there; and where those of submodules and worktrees are.
const GIT: &str = ".git";
const GIT_CONFIGS: [&str; 2] = ["config", "config.worktree"];
const GIT_OTHERS: [&str; 2] = ["modules", "worktrees"];

/// What comes along.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Where it is, and where it goes below the home directory.
    pub(super) places: Vec<(PathBuf, PathBuf)>,
    /// The same of copies.
    pub(super) copies: Vec<(PathBuf, PathBuf)>,
    /// Directories in them that the agent writes itself, in every run.
    pub(super) own: Vec<PathBuf>,
    /// MCP servers that the agent is given as an argument, in JSON.
    pub(super) servers: Option<String>,
    /// What was left out of it: file, and keys in it.
    pub(super) left_out: Vec<String>,
    /// What was left out since with it the agent would not work here.
    pub(super) set_aside: Vec<String>,
    /// Packages of npm that the agent fetches before it begins.
    pub(super) fetched: Vec<String>,
    /// Guards in his settings that have nothing to run in the sandbox: what they would, and where they stand.
    pub(super) guards_off: Vec<String>,
    /// All of those, and where they stand.
    guards: Vec<(Guard, PathBuf)>,
    /// What an earlier run has left where the user's own would stand, and that directs this one.
    pub(super) of_earlier_runs: Vec<String>,
}

impl Brought {
    /// Of an agent's user.
    pub(super) fn of(
        adapter: &Adapter,
        home: &AgentHome,
        host: &HostFacts,
        project: &Path,
        given: Given<'_>,
    ) -> Result<Self, Failure> {
        let own = host.own_home();
        let own = own.canonicalize().unwrap_or(own);
        let outside = |below: &Path| adapter.outside(host, &own, below);
        let place = Place { own: &own, project, outside: &outside };
        let crate::agents::Home { config, memory, skills, state, .. } = &adapter.home;
        let (mut all, mut beside) = (Self::default(), Vec::new());
        for below in config.iter().chain(memory).chain(skills) {
            let is_kept = state.iter().any(|place| below.starts_with(place));
            // Where they are is for the user to say, by links too, but not for a sandbox of the project; what leads nowhere,
            // or to all, does not come along.
            let there = match follow(
                &outside(below),
                true,
                &format!("~/{}", below.display()),
                &[project.to_owned()],
                Links::Inside,
            ) {
                Ok(entry) => entry.path().ok().filter(|path| !own.starts_with(path)),
                Err(Refusal::Io(_)) => None,
                Err(Refusal::Link(error)) => return Err(error.into()),
            };
            let kind =
                there.as_ref().and_then(|path| path.metadata().ok()).filter(|meta| meta.is_dir() || meta.is_file());
            let there = there.zip(kind.map(|kind| kind.is_dir()));
            let Some((path, is_directory)) =
                there.filter(|(path, is_directory)| !is_directory || !has_ours_alone(path))
            else {
                if is_kept {
                    home.uncover(below);
                    all.look_for_own(adapter, home, below, given);
                }
                continue;
            };
            if is_directory && Form::of(below).is_some() {
                all.left_out.push(format!("~/{} (it is a directory)", below.display()));
                continue;
            }
            let beneath = adapter.beneath.iter().find(|beneath| beneath.file == *below);
            match (is_kept, beneath) {
                (true, None) => home.cover(below, is_directory)?,
                // Where it lay before, the agent writes.
                (true, Some(_)) => home.uncover(below),
                (false, _) => {}
            }
            // What is absolute is at its place wherever the home directory is.
            let target = beneath.map_or(below, |beneath| &beneath.place);
            if !is_directory && config.contains(below) {
                let referred = all.settings(adapter, home, (place, path), below, target, given)?;
                beside.extend(referred);
            } else {
                if is_directory && !all.settings_within(home, &path, target, config.contains(below))? {
                    continue;
                }
                match (is_directory, adapter.home.imports && memory.contains(below)) {
                    (true, _) => beside.extend(links_in(&path, below, config.contains(below))),
                    (false, true) => beside.extend(imports_in(&path, below, &own, &outside)),
                    (false, false) => {}
                }
                let own = adapter
                    .home
                    .own
                    .iter()
                    .filter(|own| is_kept && own.strip_prefix(below).is_ok_and(|rest| path.join(rest).is_dir()));
                all.own.extend(own.cloned());
                match Form::of(below).filter(|_| !is_directory) {
                    Some(form) => all.text(home, path, form, target)?,
                    None => all.places.push((path, target.clone())),
                }
            }
        }
        for beside in beside {
            all.beside(home, place, beside, |below| state.iter().any(|place| below.starts_with(place)))?;
        }
        all.servers(adapter, place);
        all.look_for_guards(place, host);
        Ok(all)
    }

    /// Brings along what the user's own leads to, if that is a skill or a text, and if it is at the same place inside; notes
    /// anything else.
    fn beside(
        &mut self,
        home: &AgentHome,
        place: Place<'_>,
        beside: Beside,
        is_kept: impl Fn(&Path) -> bool,
    ) -> Result<(), Failure> {
        let comes = place.comes_along(&beside);
        let Beside { real, inside, named, form, all } = beside;
        let Some(inside) = inside.filter(|_| comes) else {
            self.left_out.push(named);
            return Ok(());
        };
        let text = form.filter(|_| real.is_file());
        if self.places.iter().chain(&self.copies).any(|(_, place)| inside.starts_with(place)) {
            return Ok(());
        }
        if is_kept(&inside) {
            home.cover(&inside, real.is_dir())?;
        }
        if let Some(form) = text {
            return self.text(home, real, form, &inside);
        }
        if self.settings_within(home, &real, &inside, all)? {
            self.places.push((real, inside));
        }
        Ok(())
    }

    /// A text comes along as it is, or as a copy without what logs in, if there is such in it.
    fn text(&mut self, home: &AgentHome, path: PathBuf, form: Form, target: &Path) -> Result<(), Failure> {
        let text = match self.cleaned(&path, form, ("", ""), target) {
            Some((_, false)) => {
                self.places.push((path, target.to_owned()));
                return Ok(());
            }
            Some((text, true)) => text,
            None => String::new(),
        };
        self.copies.push((home.copy(target, &text)?, target.to_owned()));
        Ok(())
    }

    /// Notes which guards the agent does without: it would say nothing.
    fn look_for_guards(&mut self, Place { own, project, outside }: Place<'_>, host: &HostFacts) {
        let is_brought =
            |below: &Path| self.places.iter().chain(&self.copies).any(|(_, place)| below.starts_with(place));
        for (Guard { event, files, command, is_address, programs }, settings) in &self.guards {
            let place = format!("{event} in ~/{}", settings.display());
            if command.is_empty() {
                self.guards_off.push(place);
                continue;
            }
            if *is_address {
                self.guards_off.push(format!("{command}, unless it may be reached ({place})"));
            }
            let found = programs.iter().filter_map(|name| found(name, host)).filter(|path| path.starts_with(own));
            self.guards_off.extend(found.map(|path| format!("{} ({place})", path.display())));
            for file in files {
                // By the name that it has outside, nothing is inside but the project.
                let is_there = match file.strip_prefix(own) {
                    Ok(_) => file.starts_with(project),
                    Err(_) => is_brought(file),
                };
                if !is_there && outside(file).symlink_metadata().is_ok() {
                    let file = if file.is_absolute() { file.clone() } else { Path::new("~").join(file) };
                    self.guards_off.push(format!("{} ({place})", file.display()));
                }
            }
        }
    }

    /// Notes what the agent has kept in a place of its user's. Settings that it always writes are its own, and so is what says no
    /// more than its adapter.
    fn look_for_own(&mut self, adapter: &Adapter, home: &AgentHome, below: &Path, given: Given<'_>) {
        let is_set = || home.read(below).is_some_and(|text| preset(adapter, below, None, given, true) == Some(text));
        let is_its_own = adapter.beneath.iter().any(|beneath| beneath.file == *below);
        if !is_its_own && home.says(below, &adapter.home.own) && !is_set() {
            self.of_earlier_runs.push(format!("~/{}", below.display()));
        }
    }

    /// Settings that can be read come along as a copy without what logs in, which nobody changes afterwards; an empty one, if
    /// they are broken. Gives what they refer to.
    fn settings(
        &mut self,
        adapter: &Adapter,
        home: &AgentHome,
        (place, path): (Place<'_>, PathBuf),
        below: &Path,
        target: &Path,
        given: Given<'_>,
    ) -> Result<Vec<Beside>, Failure> {
        // By the name that the agent reads: a link may lead to any.
        let Some(form) = Form::of(below) else {
            self.places.push((path, target.to_owned()));
            return Ok(Vec::new());
        };
        let mut referred = Vec::new();
        // Variables are known where servers are: elsewhere a reference would be taken for the value.
        let of_servers = |mcp: &&crate::agents::Mcp| mcp.file.with_extension("") == below.with_extension("");
        let mcp = adapter.mcp.as_ref().filter(of_servers);
        let (reference, forward) = mcp.map_or(("", ""), |mcp| (&mcp.reference, &mcp.forward));
        let text = match self.cleaned(&path, form, (reference, forward), below) {
            Some((mut text, _)) => {
                let references = if adapter.home.references {
                    references_in(&text, below, place.own, place.outside)
                } else {
                    Vec::new()
                };
                for (at, beside) in references.into_iter().rev() {
                    if !place.comes_along(&beside) {
                        // The agent would not start.
                        text.replace_range(at, "");
                    }
                    referred.push(beside);
                }
                let named: Vec<_> = adapter.environment.iter().filter_map(below_home).collect();
                self.guards
                    .extend(guards(&text, form, place.own, &named).into_iter().map(|guard| (guard, below.to_owned())));
                let (text, taken) = unset(adapter, below, text, form, given);
                self.set_aside.extend(taken.into_iter().map(|keys| format!("{keys} in ~/{}", below.display())));
                self.fetched.extend(packages(&text, &adapter.home.fetched));
                self.fetched.extend(mcp.into_iter().flat_map(|mcp| fetched(&text, form, &mcp.key)));
                preset(adapter, below, Some(&text), given, false).unwrap_or(text)
            }
            None => String::new(),
        };
        self.copies.push((home.copy(below, &text)?, target.to_owned()));
        Ok(referred)
    }

    /// The text of settings without what logs in, and whether there was any; `None` if they are broken. Both are noted. A server is
    /// told of a variable by a reference, or by its name in a list.
    fn cleaned(
        &mut self,
        path: &Path,
        form: Form,
        (reference, forward): (&str, &str),
        below: &Path,
    ) -> Option<(String, bool)> {
        match read(path).and_then(|text| without_credentials(&text, form, reference)) {
            Ok(settings) => {
                let text = without_empty(&settings, form, forward);
                let had_some = !settings.left_out.is_empty();
                self.note(settings.left_out, below);
                Some((text, had_some))
            }
            Err(cause) => {
                self.left_out.push(format!("~/{} ({cause})", below.display()));
                None
            }
        }
    }

    /// Files with settings in a directory that comes along as it is: those in which something logs in come along as copies
    /// without, over them. If `all`, every file of a known form is one. `false`: there is more in it than is looked at, and it does
    /// not come along, which is noted.
    fn settings_within(&mut self, home: &AgentHome, dir: &Path, target: &Path, all: bool) -> Result<bool, Failure> {
        let Ok(root) = dir.canonicalize() else { return Ok(true) };
        let known = self.copies.len();
        let (mut dirs, mut seen) = (vec![(dir.to_owned(), 0)], 0);
        while let Some((dir, depth)) = dirs.pop() {
            // What can't be read here can't be read there.
            for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
                seen += 1;
                let (path, name) = (entry.path(), entry.file_name());
                let Ok(kind) = entry.file_type() else { continue };
                let is_gits = GIT_CONFIGS.iter().any(|one| name == *one) && dir.iter().any(|part| part == GIT);
                let form = match is_gits {
                    // A line of it is as one with a variable.
                    true => Some(Form::Variables),
                    false => Form::of(&path),
                };
                let is_form = matches!(form, Some(Form::Variables | Form::FrontMatter | Form::Toml));
                let is_one = is_form || all && form.is_some() || SETTINGS.iter().any(|one| name == *one);
                if seen > MOST {
                    self.copies.truncate(known);
                    self.left_out.push(format!("~/{} (there is too much in it)", target.display()));
                    return Ok(false);
                }
                if kind.is_dir() {
                    // Of a history, only what is named.
                    let is_looked_at = match dir.ends_with(GIT) {
                        true => GIT_OTHERS.iter().any(|one| name == *one),
                        false => name != PASSED_OVER,
                    };
                    if name == GIT {
                        dirs.push((path, depth));
                    } else if depth < DEEPEST && is_looked_at {
                        dirs.push((path, depth + 1));
                    }
                } else if is_one && path.is_file() {
                    // What a link leads to is what is read by it; elsewhere, it does not come along.
                    let real = path.canonicalize().ok();
                    let Some(rest) = real.as_ref().and_then(|real| real.strip_prefix(&root).ok()) else { continue };
                    let below = target.join(rest);
                    let form = form.unwrap_or(Form::Json);
                    let text = match self.cleaned(&path, form, ("", ""), &below) {
                        Some((_, false)) => continue,
                        Some((text, true)) => text,
                        None => String::new(),
                    };
                    self.copies.push((home.copy(&below, &text)?, below));
                }
            }
        }
        Ok(true)
    }

    /// Notes what was left out of a file.
    fn note(&mut self, left_out: Vec<String>, file: &Path) {
        self.left_out.extend(left_out.into_iter().map(|keys| format!("{keys} in ~/{}", file.display())));
    }

    /// MCP servers of a file that does not come along itself.
    fn servers(&mut self, adapter: &Adapter, Place { project, outside, .. }: Place<'_>) {
        let Some(mcp) = adapter.mcp.as_ref().filter(|mcp| !mcp.argument.is_empty()) else { return };
        let Ok(text) = read(&outside(&mcp.file)) else { return };
        let project = project.to_string_lossy();
        let local: Vec<String> = mcp.local.iter().map(|key| key.replace("{workspace}", &project)).collect();
        let without = |found: String| without_credentials(&found, Form::Json, &mcp.reference);
        match servers(&text, &mcp.key, &local).and_then(|found| found.map(without).transpose()) {
            Ok(found) => {
                self.servers = found.map(|Settings { text, left_out }| {
                    self.note(left_out, &mcp.file);
                    self.fetched.extend(fetched(&text, Form::Json, &mcp.key));
                    text
                });
            }
            Err(cause) => self.left_out.push(format!("MCP servers of ~/{} ({cause})", mcp.file.display())),
        }
    }
}

/// Where what is the user's own is.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// His home directory, without links.
    own: &'a Path,
    project: &'a Path,
    /// Where something is that is below his home directory inside.
    outside: &'a dyn Fn(&Path) -> PathBuf,
}

impl Place<'_> {
    /// Whether what the user's own leads to comes along: a skill, or a text, that is at the same place inside.
    fn comes_along(&self, Beside { real, inside, form, .. }: &Beside) -> bool {
        // One that is read otherwise than its own name says is not looked at so.
        let is_text = matches!(form, Some(Form::FrontMatter | Form::Toml)) && Form::of(real) == *form && real.is_file();
        let is_meant = is_text || real.join("SKILL.md").is_file();
        inside.as_ref().is_some_and(|inside| {
            let place = (self.outside)(inside);
            // What a sandbox of the project can write is not the user's to bring along; and a link on the way there may be another's.
            let is_own =
                (real.starts_with(self.own) || place != self.own.join(inside)) && !real.starts_with(self.project);
            place == *real && is_own && is_meant
        })
    }
}

/// Packages of npm that settings name in a list, by themselves or before what is set for them: those that are no paths.
fn packages(text: &str, key: &str) -> Vec<String> {
    let settings = edit::json_value(text).filter(|_| !key.is_empty());
    let list = settings.as_ref().and_then(|settings| settings.get(key)?.as_array());
    let named = list.into_iter().flatten().filter_map(|entry| entry.as_str().or_else(|| entry.get(0)?.as_str()));
    named.filter(|name| !name.starts_with(['.', '/', '~']) && !name.contains("://")).map(str::to_owned).collect()
}

/// Where a program is that is looked for.
fn found(name: &str, host: &HostFacts) -> Option<PathBuf> {
    let path = host.var("PATH")?;
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A variable that names a directory below the home directory, and which.
fn below_home((name, value): &(String, String)) -> Option<(&str, &Path)> {
    Some((name, Path::new(value.strip_prefix("{home}/")?)))
}

/// Whether there is nothing in a directory but the plugin that `plugin install opencode` puts there: in a sandbox it has nothing to
/// do, and with any plugin OpenCode waits for its registry of packages first.
fn has_ours_alone(dir: &Path) -> bool {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.take(2).collect::<Vec<_>>() == [OURS]
}

/// The text of a file of the user's.
fn read(path: &Path) -> Result<String, String> {
    let bytes = config::read_own(path, MAX).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}
