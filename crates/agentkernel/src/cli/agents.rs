//! `agents`: which agents are known, and which are installed: each once, as a layer of the store.

use super::{
    Failure, Status,
    build::{self, Steps},
    for_each, image, print, print_json,
    progress::Bars,
    table,
};
use crate::{
    agents::{self, Adapter, AdapterError},
    config::{HostFacts, Project, UserConfig},
    image::{Images, Record, Request, Wanted},
    store::Store,
};
use clap::{Args, Subcommand};
use dockerfile::Ignore;
use oci::Platform;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf};

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
    /// Remove agents
    Remove(Remove),
    /// Print the adapter of an agent: all that is known of it
    Show(Show),
}

#[derive(Debug, Args)]
struct Install {
    /// Tell nothing but mistakes
    #[arg(short, long)]
    quiet: bool,
    /// Names of agents, or paths of adapters: './my-agent.toml'
    #[arg(required = true, value_name = "AGENT")]
    agents: Vec<String>,
}

#[derive(Debug, Args)]
struct Remove {
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
    /// Which versions are.
    installed: Vec<String>,
    /// Whether this one is among them.
    current: bool,
}

impl Agents {
    pub(super) fn run(self) -> Status {
        match self.command {
            None => list(self.json),
            Some(AgentsCommand::Install(install)) => install.run(),
            Some(AgentsCommand::Remove(remove)) => remove.run(),
            Some(AgentsCommand::Show(show)) => {
                let adapter = agents::find(&show.agent, &own(&HostFacts::read()?))?;
                let text = toml_edit::ser::to_string_pretty(&adapter).map_err(|error| Failure::chain(&error))?;
                print(&text)?;
                Ok(0)
            }
        }
    }
}

/// Where a user's own adapters are.
fn own(host: &HostFacts) -> PathBuf {
    UserConfig::dir(host).join("agents")
}

fn list(json: bool) -> Status {
    let images = image::open(&Store::open()?)?;
    let tags = images.tags()?;
    let mut rows = Vec::new();
    for adapter in agents::all(&own(&HostFacts::read()?))? {
        let of = |(name, version): (&str, &str)| (name == adapter.name).then(|| version.to_owned());
        let installed: Vec<String> =
            tags.iter().filter_map(|tag| Adapter::of_image(&tag.reference).and_then(of)).collect();
        let Adapter { name, title, version, .. } = adapter;
        rows.push(Row { current: installed.contains(&version), name, title, version, installed });
    }
    if json {
        return print_json(&rows).map(|()| 0);
    }
    let cells = |row: &Row| {
        let installed = match (row.current, row.installed.is_empty()) {
            (_, true) => "-".to_owned(),
            (true, _) => row.version.clone(),
            (false, _) => format!("{} (old)", row.installed.join(", ")),
        };
        vec![row.name.clone(), row.title.clone(), row.version.clone(), installed]
    };
    print(&table::render(&["AGENT", "NAME", "VERSION", "INSTALLED"], &rows.iter().map(cells).collect::<Vec<_>>()))?;
    Ok(0)
}

impl Install {
    fn run(self) -> Status {
        let store = Store::open()?;
        let host = HostFacts::read()?;
        let images = image::open(&store)?;
        let mut made = false;
        let status = for_each(&self.agents, |text| {
            let adapter = agents::find(text, &own(&host))?;
            let (record, new) = install(&store, &images, &adapter, self.quiet)?;
            made |= new;
            match (self.quiet, new) {
                (true, _) => Ok(()),
                (false, true) => print(&format!("{} {} {}\n", adapter.name, adapter.version, record.manifest)),
                (false, false) => print(&format!("{} {} is installed\n", adapter.name, adapter.version)),
            }
        })?;
        if made {
            // What they were made of takes more room than they do.
            images.prune(&store, false, false)?;
        }
        Ok(status)
    }
}

/// The image of an agent, made if it is not there, and whether it was.
fn install(store: &Store, images: &Images, adapter: &Adapter, quiet: bool) -> Result<(Record, bool), Failure> {
    let malformed = || Failure::new(format!("'{}' is no adapter", adapter.name));
    let reference = adapter.reference().ok_or_else(malformed)?;
    let _guard = images.keep()?;
    if let Some(record) = images.find(&reference)? {
        return Ok((record, false));
    }
    let platform = Platform::host();
    let packages = adapter.packages_for(&platform)?;
    let mut wanted = Vec::new();
    for package in packages {
        let registry = agents::registry(&package.npm).map_err(|error| {
            Failure::chain(&error).hint("Write `registry=https://...` into ~/.npmrc, or install npm, which knows")
        })?;
        wanted.push(Wanted {
            address: package.address(&registry),
            name: package.file.clone(),
            digest: package.digest().ok_or_else(malformed)?,
            size: package.size,
        });
    }
    let mut bars = Bars::new(&format!("{} {}", adapter.title, adapter.version), !quiet);
    let fetched = images.fetch(&wanted, &mut |layers, stages| bars.draw(layers, stages))?;
    drop(bars);
    let _building = images.building(|| build::clear_dead(store).map(drop))?;
    let host = HostFacts::read()?;
    // What stands in the caller's directory does not count.
    let project = Project { dir: PathBuf::from("/"), file: None };
    let user = UserConfig::read(&host)?;
    let name = format!("{}.toml", adapter.name);
    let at = |error| build::of_line(&name, &adapter.dockerfile, error);
    let dockerfile = dockerfile::parse(&adapter.dockerfile).map_err(at)?;
    let request = Request {
        dockerfile: &dockerfile,
        context: &fetched.path,
        ignore: &Ignore::default(),
        target: None,
        arguments: &BTreeMap::new(),
        platform: &platform,
        epoch: build::epoch(&host)?,
        fresh: false,
        forget: true,
        user: None,
    };
    let mut steps = Steps::new(images, reference.clone(), project, user, host);
    steps.terse = true;
    steps.quiet = quiet;
    let record = images.build(&request, &mut steps);
    let record = record.map_err(|error| steps.failure(error, &name, &adapter.dockerfile))?;
    images.tag(&reference, &record.manifest)?;
    Ok((record, true))
}

impl Remove {
    fn run(self) -> Status {
        let store = Store::open()?;
        let images = image::open(&store)?;
        let tags = images.tags()?;
        let status = for_each(&self.agents, |text| {
            let mut gone = false;
            for tag in &tags {
                if let Some((name, version)) = Adapter::of_image(&tag.reference)
                    && name == text
                {
                    let reference =
                        tag.reference.parse().map_err(|error: oci::ReferenceError| Failure::chain(&error))?;
                    gone |= images.untag(&reference)?;
                    print(&format!("{name} {version}\n"))?;
                }
            }
            match gone {
                true => Ok(()),
                false => Err(Failure::new(format!("Agent '{}' is not installed", text.escape_debug()))
                    .hint("'agentkernel agents' lists those that are")),
            }
        })?;
        images.prune(&store, false, false)?;
        Ok(status)
    }
}

impl From<AdapterError> for Failure {
    fn from(error: AdapterError) -> Self {
        let hint = error.hint();
        Self::chain(&error).hint(hint)
    }
}
