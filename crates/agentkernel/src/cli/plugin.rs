//! `plugin`: agents and editors on this host get to know of sandboxes.

use super::{
    Failure, Status, print, print_json, report,
    table::{self, printable},
};
use crate::{
    client::is_terminal,
    config::{HostFacts, Project},
    json,
    plugin::{self, Agent, Off, Outcome, PluginError, Plugins, Presence, Scope},
    store::Store,
};
use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde_json::json;
use similar::TextDiff;
use std::{io::Read as _, os::unix::ffi::OsStrExt as _, path::Path};

/// All that are here.
const ALL: &str = "all";
/// Of a hook: the tool is not to be used.
const REFUSED: u8 = 2;
/// The longest question of an agent's.
const MAX_ASKED: u64 = 16 << 20;

/// Agents and editors on this host: have them do what is risky in sandboxes.
#[derive(Debug, Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Give agents the server, the skill, and what else they take
    Install(Change),
    /// List agents, and where they have it
    List(List),
    /// Take away what 'install' gave
    Remove(Change),
    /// Put a command that an agent wants to run into a sandbox; agents call this
    #[command(hide = true)]
    Hook,
}

impl Plugin {
    pub(super) fn run(self) -> Status {
        match self.command {
            PluginCommand::Install(change) => change.run(true),
            PluginCommand::List(list) => list.run(),
            PluginCommand::Remove(change) => change.run(false),
            PluginCommand::Hook => hook().map_err(|failure| failure.status(REFUSED)),
        }
    }
}

/// Changes files of agents. All else in them stays, byte for byte; 'remove' makes each again what it was before
/// 'install', unless it has been changed since: then only what 'install' wrote is taken out.
#[derive(Debug, Args)]
struct Change {
    /// Which: 'all' are those that are found here
    #[arg(required = true, value_name = "AGENT", value_parser = PossibleValuesParser::new(choices()))]
    agents: Vec<String>,
    /// For you, in all projects; this is the default
    #[arg(long, conflicts_with = "project")]
    user: bool,
    /// For whoever works in this project
    #[arg(long)]
    project: bool,
    /// Only show what would be changed, as a patch
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// List agents, and where they have it.
#[derive(Debug, Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn choices() -> Vec<&'static str> {
    plugin::names().into_iter().chain([ALL]).collect()
}

impl Change {
    fn run(self, install: bool) -> Status {
        let host = HostFacts::read()?;
        let scope = match self.project {
            true => Scope::Project(Project::find_dir(&host)?),
            false => Scope::User,
        };
        let here = Project::find_dir(&host).map_or_else(|_| scope.clone(), Scope::Project);
        let plugins = match self.dry_run {
            true => Plugins::look(Store::look()?.as_ref(), host)?,
            false => Plugins::open(&Store::open()?, host)?,
        };
        if install {
            plugins.check(&scope)?;
        }
        let all = self.agents.iter().any(|name| name == ALL);
        let names = if all { plugin::names() } else { self.agents.iter().map(String::as_str).collect() };
        let mut status = 0;
        let mut found = false;
        for name in names {
            match self.one(&plugins, name, (&scope, &here), install, all) {
                Ok(done) => found |= done,
                Err(failure) => {
                    report(&failure);
                    (found, status) = (true, failure.status);
                }
            }
        }
        if !found && install {
            return Err(Failure::new("No agent is found here").hint("Name those that are meant"));
        }
        Ok(status)
    }

    /// Does it for one of them; `false`: it is not here. What turns its hook off is looked for where one is, too.
    fn one(
        &self,
        plugins: &Plugins,
        name: &str,
        (scope, here): (&Scope, &Scope),
        install: bool,
        all: bool,
    ) -> Result<bool, Failure> {
        let agent = Agent::find(name)?;
        if all && install && !(plugins.is_here(&agent) && agent.has(scope)) {
            return Ok(false);
        }
        let outcome = match install {
            true => plugins.install(&agent, scope, self.dry_run)?,
            false => plugins.remove(&agent, scope, self.dry_run)?,
        };
        let off = if install { plugins.off(&agent, here) } else { None };
        let presence = if install { Some(plugins.presence(&agent, scope)?) } else { None };
        self.tell(&agent, scope, &outcome, off.as_ref(), presence, all)?;
        Ok(true)
    }

    /// Tells what was done; with how much of it an agent has, if that is an installation.
    fn tell(
        &self,
        agent: &Agent,
        scope: &Scope,
        outcome: &Outcome,
        off: Option<&Off>,
        presence: Option<Presence>,
        all: bool,
    ) -> Result<(), Failure> {
        let install = presence.is_some();
        let partly = presence.is_some_and(|presence| presence != Presence::Installed);
        for note in &outcome.notes {
            report(&Failure::new(note.as_str()));
        }
        if let Some(off) = off {
            tell_off(agent, off);
        }
        if self.dry_run {
            return outcome.changes.iter().try_for_each(|change| print(&patch(change, is_terminal().output)));
        }
        if outcome.changes.is_empty() {
            let words = match (install, partly) {
                (true, true) => "Nothing to do: it has its plugin partly",
                (true, false) => "Nothing to do: it has its plugin",
                (false, _) => "Nothing to remove",
            };
            return if all && !install { Ok(()) } else { print(&format!("{}: {words}\n", agent.title)) };
        }
        let words = match (install, partly) {
            (true, true) => "installed partly",
            (true, false) => "installed",
            (false, _) => "removed",
        };
        let mut text = format!("{}: {words}\n", agent.title);
        for change in &outcome.changes {
            let word = match (&change.before, &change.after) {
                (None, _) => "created",
                (_, None) => "removed",
                _ => "changed",
            };
            text.push_str(&format!("  {word:9}{}\n", printable(&change.path.to_string_lossy())));
            if let Some(backup) = &change.backup {
                text.push_str(&format!("    before: {}\n", printable(&backup.to_string_lossy())));
            }
        }
        if install && off.is_none() {
            text.push_str(&format!("  {}\n", agent.note(scope)));
        }
        print(&text)
    }
}

/// Tells that an agent has the hook for nothing.
fn tell_off(agent: &Agent, off: &Off) {
    let cause = format!("{}: Commands of its tools run where they did, on this computer: {}", agent.title, off.cause);
    report(&Failure::new(cause).hint(off.hint()));
}

/// A unified diff of one file, as patch(1) takes it where no terminal obeys what is in it.
fn patch(change: &plugin::Change, terminal: bool) -> String {
    let path = patch_name(&change.path);
    let name = |text: &Option<String>| text.as_ref().map_or_else(|| "/dev/null".to_owned(), |_| path.clone());
    let (before, after) = (change.before.as_deref().unwrap_or_default(), change.after.as_deref().unwrap_or_default());
    let patch = TextDiff::from_lines(before, after)
        .unified_diff()
        .header(&name(&change.before), &name(&change.after))
        .to_string();
    if !terminal {
        return patch;
    }
    // Other ends of lines and marks are shown, as nobody would see them.
    patch.split_inclusive(['\n', '\t']).fold(String::new(), |text, part| match part.strip_suffix(['\n', '\t']) {
        Some(start) => text + &printable(start) + &part[start.len()..],
        None => text + &printable(part),
    })
}

/// A path as a patch has it: with a tab behind it if there is a blank in it, which would end it, and quoted as in C if it has
/// what would end it or a terminal would obey.
fn patch_name(path: &Path) -> String {
    match path.to_str() {
        Some(text) if printable(text) == text && !text.starts_with('"') => {
            format!("{text}{}", if text.contains(' ') { "\t" } else { "" })
        }
        _ => {
            let quoted = path.as_os_str().as_bytes().iter().map(|&byte| match byte {
                b'"' | b'\\' => format!("\\{}", char::from(byte)),
                b' '..=b'~' => char::from(byte).to_string(),
                _ => format!("\\{byte:03o}"),
            });
            format!("\"{}\"", quoted.collect::<String>())
        }
    }
}

/// Name, title, whether it is found, and whether it has its plugin for the user and in the project, as far as that can be read.
type Row = (&'static str, String, bool, Option<Presence>, Option<Presence>);

impl List {
    fn run(self) -> Status {
        let host = HostFacts::read()?;
        let project = Project::find_dir(&host)?;
        let plugins = Plugins::look(Store::look()?.as_ref(), host)?;
        let (mut rows, mut status) = (Vec::<Row>::new(), 0);
        for name in plugin::names() {
            let agent = Agent::find(name)?;
            let mut of = |scope: &Scope| match plugins.presence(&agent, scope) {
                Ok(presence) => Some(presence),
                Err(error) => {
                    let failure = Failure::from(error);
                    status = failure.status;
                    report(&failure);
                    None
                }
            };
            let here = Scope::Project(project.clone());
            // A directory that is no project has what is its user's.
            let in_project = if plugins.check(&here).is_ok() { of(&here) } else { Some(Presence::Absent) };
            let (user, project) = (of(&Scope::User), in_project);
            let is_there = |presence| matches!(presence, Some(Presence::Installed | Presence::Partly));
            if let Some(off) = plugins.off(&agent, &here).filter(|_| is_there(user) || is_there(project)) {
                tell_off(&agent, &off);
            }
            rows.push((name, agent.title.clone(), plugins.is_here(&agent), user, project));
        }
        if self.json {
            let row = |(name, title, here, user, project): &Row| json!({ "name": name, "title": title, "found": here, "user": user, "project": project });
            return print_json(&rows.iter().map(row).collect::<Vec<_>>()).map(|()| status);
        }
        let word = |presence| match presence {
            Some(Presence::Installed) => "yes",
            Some(Presence::Partly) => "partly",
            Some(Presence::Absent) => "no",
            None => "?",
        };
        let rows = rows.into_iter().map(|(name, title, here, user, project)| {
            let here = if here { "yes" } else { "no" };
            vec![name.to_owned(), title, here.to_owned(), word(user).to_owned(), word(project).to_owned()]
        });
        print(&table::render(&["AGENT", "NAME", "FOUND", "USER", "PROJECT"], &rows.collect::<Vec<_>>()))?;
        Ok(status)
    }
}

/// Answers an agent on standard output.
fn hook() -> Status {
    let mut text = Vec::new();
    std::io::stdin().lock().take(MAX_ASKED + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_ASKED {
        return Err(Failure::new(format!("The input has more than {} MiB", MAX_ASKED >> 20)));
    }
    let asked = json::parse(&text).map_err(|error| Failure::chain(&error))?;
    let program = std::env::args_os().next().and_then(|name| name.into_string().ok());
    let answer = plugin::answer(&asked, program.as_deref().unwrap_or("agentkernel"), &HostFacts::read()?);
    if let Some(answer) = answer.map_err(Failure::new)? {
        print_json(&answer)?;
    }
    Ok(0)
}

impl From<PluginError> for Failure {
    fn from(error: PluginError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;
