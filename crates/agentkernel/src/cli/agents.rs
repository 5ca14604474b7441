//! `agents`: which agents are known, and which are installed: each once, as a layer of the store.

mod beside;
mod brought;
mod install;
mod login;
mod run;
mod update;

use super::{Failure, Status, for_each, image, print, print_json, run as command, table};
use crate::{
    agents::{Adapter, Adapters, AgentError, Found, NotFor, RegistryUnknown, login as logins},
    config::{ConfigError, HostFacts},
    image::{Images, Tag},
    store::{Listed, State, Store},
    workspace::AgentHome,
};
use clap::{Args, Subcommand};
use install::{Install, reference};
use login::Login;
use oci::Reference;
pub(super) use run::{AskArgs, CommonArgs, Told, Wanted, meant, no_agent, no_line, stray};
use serde::Serialize;
use update::Update;

/// Agents that are known, and those that are installed.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Agents {
    #[command(subcommand)]
    command: Option<AgentsCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum AgentsCommand {
    /// Bring agents' packages from npm's registry, check them, and make each a layer that lies over any image
    Install(Install),
    /// Install the newest version of agents, and use it once it answers
    Update(Update),
    /// Remove agents
    Remove(Remove),
    /// Record a key that logs an agent in, or say what does
    Login(Login),
    /// Forget what agents keep for this project: their sessions, and what else they have written for their next runs
    Forget(Forget),
    /// Print the adapter of an agent: all that is known of it
    Show(Show),
}

#[derive(Debug, Args)]
struct Remove {
    /// Names of agents, with '@VERSION' only that one
    #[arg(required = true, value_name = "AGENT")]
    agents: Vec<String>,
}

#[derive(Debug, Args)]
struct Forget {
    /// Names of agents
    #[arg(required = true, value_name = "AGENT")]
    agents: Vec<String>,
}

#[derive(Debug, Args)]
struct Show {
    /// The name of an agent, or the path of an adapter
    #[arg(value_name = "AGENT")]
    agent: String,
}

/// An agent that is known.
#[derive(Serialize)]
struct Row {
    name: String,
    title: String,
    /// Which version would be installed.
    version: String,
    /// Whether that was tried by who wrote the adapter.
    tested: bool,
    /// Which version is used.
    used: Option<String>,
    /// Which versions are installed.
    installed: Vec<String>,
    /// What would log in, in words.
    credentials: Option<String>,
    /// What could.
    accepted: Vec<String>,
}

impl Agents {
    pub(super) fn run(self) -> Status {
        match self.command {
            None => list(self.json),
            Some(AgentsCommand::Install(install)) => install.run(),
            Some(AgentsCommand::Update(update)) => update.run(),
            Some(AgentsCommand::Remove(remove)) => remove.run(),
            Some(AgentsCommand::Login(login)) => login.run(),
            Some(AgentsCommand::Forget(forget)) => forget.run(),
            Some(AgentsCommand::Show(show)) => {
                let host = HostFacts::read()?;
                let store = Store::open()?;
                let adapters = Adapters::of(&host, &command::project(&store, &host, true)?);
                // Whoever is to trust one must see it first.
                print(&adapters.find(&show.agent)?.text)?;
                Ok(0)
            }
        }
    }
}

/// The agent that is meant, if its adapter may be used.
pub(super) fn find(store: &Store, adapters: &Adapters, text: &str) -> Result<Adapter, Failure> {
    let Found { adapter, of_project, .. } = adapters.find(text)?;
    if let Some(file) = of_project
        && !store.is_trusted(&file)?
    {
        let asks = vec![format!("the agent '{}'", adapter.name)];
        let failure = Failure::from(ConfigError::Untrusted { path: file.path, asks });
        return Err(match text.contains('/') {
            true => {
                let word = wire::shell_word(text);
                failure.hint(format!("Read the file; if you agree, `agentkernel trust {word}` accepts it as it is"))
            }
            false => failure,
        });
    }
    Ok(adapter)
}

/// `NAME` or `NAME@VERSION`; a path has no version.
fn parts(text: &str) -> (&str, Option<&str>) {
    match text.split_once('@') {
        Some((name, version)) if !text.contains('/') => (name, Some(version)),
        _ => (text, None),
    }
}

/// The tags of an agent's images, and the one of them that is used; `used` is its name.
fn installed(tags: &[Tag], name: &str, used: &Reference) -> (Vec<String>, Option<String>) {
    let used = tags.iter().find(|tag| tag.reference == used.to_string()).map(|tag| &tag.manifest);
    let own = tags.iter().filter_map(|tag| Some((tag, Adapter::of_image(&tag.reference)?)));
    let versions: Vec<(&Tag, String)> =
        own.filter(|(_, (agent, _))| *agent == name).filter_map(|(tag, (_, it))| Some((tag, it?.to_owned()))).collect();
    let used = versions.iter().find(|(tag, _)| Some(&tag.manifest) == used).map(|(_, version)| version.clone());
    (versions.into_iter().map(|(_, version)| version).collect(), used)
}

fn list(json: bool) -> Status {
    let store = Store::open()?;
    let host = HostFacts::read()?;
    let adapters = Adapters::of(&host, &command::project(&store, &host, true)?);
    let tags = image::open(&store)?.tags()?;
    let mut rows = Vec::new();
    let names: Vec<String> = adapters.names()?.into_iter().collect();
    let status = for_each(&names, |name| {
        let adapter = find(&store, &adapters, name)?;
        let (installed, used) = installed(&tags, name, &reference(adapter.used())?);
        let told = |found: &logins::Login| {
            Ok(match login::expired(&adapter, found)? {
                Some(_) => format!("{found} (expired)"),
                None => found.to_string(),
            })
        };
        let found = logins::find(&adapter, &host)?.iter().map(told).collect::<Result<Vec<_>, Failure>>()?;
        let credentials = (!found.is_empty()).then(|| found.join(", "));
        let accepted = logins::accepted(&adapter);
        let Adapter { name, title, version, tested, .. } = adapter;
        rows.push(Row { name, title, version, tested, used, installed, credentials, accepted });
        Ok(())
    })?;
    if json {
        print_json(&rows)?;
        return Ok(status);
    }
    let cells = |row: &Row| {
        let installed = match &row.used {
            Some(used) if *used == row.version => used.clone(),
            Some(used) => format!("{used} (not {})", row.version),
            None => "-".to_owned(),
        };
        let credentials = match (&row.credentials, row.accepted.first()) {
            (Some(found), _) => found.clone(),
            (None, Some(first)) => format!("missing: {first}"),
            (None, None) => "-".to_owned(),
        };
        vec![row.name.clone(), row.title.clone(), row.version.clone(), installed, credentials]
    };
    let heads = ["AGENT", "NAME", "VERSION", "INSTALLED", "CREDENTIALS"];
    print(&table::render(&heads, &rows.iter().map(cells).collect::<Vec<_>>()))?;
    Ok(status)
}

impl Remove {
    fn run(self) -> Status {
        let store = Store::open()?;
        let images = image::open(&store)?;
        let status = for_each(&self.agents, |text| {
            let (name, version) = parts(text);
            let gone = forget(&images, name, |there| version.is_none_or(|version| version == there))?;
            if gone.is_empty() {
                let tags = images.tags()?;
                let there = tags.iter().filter_map(|tag| Some(Adapter::of_image(&tag.reference)?.0));
                let hint = match crate::config::nearest(name, there).filter(|near| *near != name) {
                    Some(near) => format!("Did you mean '{near}'? 'agentkernel agents' lists those that are"),
                    None => "'agentkernel agents' lists those that are".to_owned(),
                };
                return Err(Failure::new(format!("Agent '{}' is not installed", text.escape_debug())).hint(hint));
            }
            gone.iter().try_for_each(|version| print(&format!("{name} {version}\n")))
        })?;
        images.prune(&store, false, false)?;
        Ok(status)
    }
}

impl Forget {
    fn run(self) -> Status {
        let store = Store::open()?;
        let host = HostFacts::read()?;
        let project = command::project(&store, &host, false)?;
        let adapters = Adapters::of(&host, &project);
        let listed = store.list()?;
        for_each(&self.agents, |name| {
            let adapter = adapters.find(name)?.adapter;
            let home = AgentHome::open(&store, &project.dir, &adapter.name)?;
            let uses = |listed: &&Listed| {
                let kept = listed.spec.as_ref().ok().and_then(|spec| spec.agent.as_ref()).map(|agent| &agent.kept);
                matches!(listed.state, Ok(State::Running { .. }))
                    && kept.into_iter().flatten().any(|mount| mount.source.starts_with(home.path()))
            };
            if let Some(running) = listed.iter().find(uses) {
                let failure =
                    Failure::new(format!("Sandbox {} still runs {} in this project", running.id, adapter.title));
                return Err(failure.hint(format!("Stop it first: 'agentkernel stop {}'", running.id)));
            }
            if home.is_empty() {
                return Err(Failure::new(format!("{} keeps nothing for {}", adapter.title, project.dir.display())));
            }
            home.forget()?;
            print(&format!("{}\n", adapter.name))
        })
    }
}

/// Takes the names of versions of an agent away, by their tags, and that of one that is used if it is among them.
fn forget(images: &Images, name: &str, which: impl Fn(&str) -> bool) -> Result<Vec<String>, Failure> {
    let tags = images.tags()?;
    let own: Vec<(&Tag, Option<&str>)> = tags
        .iter()
        .filter_map(|tag| Some((tag, Adapter::of_image(&tag.reference)?)))
        .filter(|(_, (agent, _))| *agent == name)
        .map(|(tag, (_, version))| (tag, version))
        .collect();
    let gone: Vec<&(&Tag, Option<&str>)> = own.iter().filter(|(_, version)| version.is_some_and(&which)).collect();
    let uses = |(tag, version): &(&Tag, Option<&str>)| {
        version.is_none() && gone.iter().any(|(other, _)| other.manifest == tag.manifest)
    };
    for (tag, _) in own.iter().filter(|it| uses(it)).chain(gone.iter().copied()) {
        images.untag(&reference(tag.reference.parse())?)?;
    }
    Ok(gone.iter().filter_map(|(_, version)| version.map(str::to_owned)).collect())
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}

impl From<RegistryUnknown> for Failure {
    fn from(error: RegistryUnknown) -> Self {
        Self::chain(&error).hint(error.hint())
    }
}

impl From<NotFor> for Failure {
    fn from(error: NotFor) -> Self {
        Self::chain(&error)
    }
}
