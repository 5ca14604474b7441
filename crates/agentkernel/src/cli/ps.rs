//! `ps` and `inspect`: what sandboxes there are.

use super::{Failure, Status, for_each, print, print_json, table, template};
use crate::{
    Net, SandboxId, Spec, Workspace,
    client::{Client, ClientError},
    store::{State, Store},
};
use clap::Args;
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wire::{Exit, api};

/// How long a supervisor may take to answer: one that hangs must not hide the others, nor what is on record.
const PATIENCE: Duration = Duration::from_secs(1);

/// List sandboxes.
#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Stopped ones too
    #[arg(short, long)]
    all: bool,
    /// Only ids
    #[arg(short, long, conflicts_with_all = ["json", "format"])]
    quiet: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print each so: {id}, {name}, {status}, {command}, {backend}, {walls}, {image}, {workspace}, {created} are filled in; 'json' is --json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
}

/// Show everything about sandboxes, as JSON.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// Names, ids or prefixes of ids
    #[arg(required = true, value_name = "SANDBOX")]
    sandboxes: Vec<String>,
    /// Print each so: a path of names in braces, such as {spec.image} or {running.init_pid}, is filled in; {{.State.Status}}, {{.State.Pid}}, {{.State.ExitCode}}, {{.State.OOMKilled}} and {{json .}} too
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Print JSON, on one line
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    id: SandboxId,
    name: Option<String>,
    /// Its state in one word.
    status: &'static str,
    state: Option<State>,
    backend: Option<String>,
    /// How many walls hold; none if it is not running, or does not say.
    walls: Option<Walls>,
    image: Option<String>,
    workspace: Option<String>,
    net: Option<&'static str>,
    command: Option<String>,
    keep: Option<bool>,
    created_ms: u64,
    /// Why its record cannot be read.
    damaged: Option<String>,
}

/// How many walls hold, of how many.
#[derive(Clone, Copy, Serialize)]
struct Walls {
    held: usize,
    all: usize,
}

impl Walls {
    /// Asks a running sandbox's supervisor.
    fn of(store: &Store, id: &SandboxId) -> Option<Self> {
        let entry = store.get(id).ok()??;
        let walls = Client::connect_within(&entry, PATIENCE).ok()?.status().ok()?.walls;
        Some(Self { held: walls.iter().filter(|wall| wall.holds).count(), all: walls.len() })
    }
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.held, self.all)
    }
}

impl Ps {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let mut rows = Vec::new();
        for listed in store.list()? {
            let running = matches!(listed.state, Ok(State::Running { .. }));
            let damaged = listed.spec.as_ref().err().or(listed.state.as_ref().err()).map(ToString::to_string);
            if !(running || self.all || damaged.is_some()) {
                continue;
            }
            let spec = listed.spec.ok();
            rows.push(Row {
                name: spec.as_ref().and_then(|spec| spec.name.clone()).map(String::from),
                backend: spec.as_ref().map(|spec| spec.backend.to_string()),
                walls: if running { Walls::of(&store, &listed.id) } else { None },
                image: spec.as_ref().map(|spec| spec.image.to_string()),
                workspace: spec.as_ref().map(workspace),
                net: spec.as_ref().map(|spec| match spec.net {
                    Net::None => "none",
                }),
                command: spec.as_ref().and_then(command),
                keep: spec.as_ref().map(|spec| spec.keep),
                id: listed.id,
                status: listed.state.as_ref().ok().filter(|_| damaged.is_none()).map_or("damaged", word),
                state: listed.state.ok(),
                created_ms: listed.created_ms,
                damaged,
            });
        }
        let template = self.format.as_deref().filter(|format| *format != "json");
        if self.json || (self.format.is_some() && template.is_none()) {
            print_json(&rows)?;
        } else if self.quiet {
            print(&rows.iter().map(|row| format!("{}\n", row.id)).collect::<String>())?;
        } else if let Some(template) = template {
            for row in &rows {
                print(&format!("{}\n", template::fill(template, |field| row.field(field))?))?;
            }
        } else {
            print(&text(&rows))?;
        }
        Ok(0)
    }
}

impl Row {
    fn status_text(&self) -> String {
        match (self.status, self.state) {
            ("running", Some(State::Running { started_ms, .. })) => format!("up {}", ago(started_ms)),
            ("exited", Some(State::Exited { exit, ended_ms, .. })) => match ended_ms {
                Some(at) => format!("exited ({}) {} ago", exit.status(), ago(at)),
                None => format!("exited ({})", exit.status()),
            },
            (word, _) => word.into(),
        }
    }

    fn field(&self, name: &str) -> Result<String, Failure> {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
        Ok(match name {
            "id" => self.id.to_string(),
            "name" | "names" => or_nothing(&self.name),
            "status" => self.status_text(),
            "command" => or_nothing(&self.command),
            "backend" => or_nothing(&self.backend),
            "walls" => self.walls.map_or_else(String::new, |walls| walls.to_string()),
            "image" => or_nothing(&self.image),
            "workspace" => or_nothing(&self.workspace),
            "created" => ago(self.created_ms) + " ago",
            "json" => serde_json::to_string(self).map_err(|error| Failure::chain(&error))?,
            other => {
                return Err(Failure::new(format!("No field '{}' to print", other.escape_debug()))
                    .hint("There are id, name, status, command, backend, walls, image, workspace, created"));
            }
        })
    }
}

/// A state in one word.
fn word(state: &State) -> &'static str {
    match state {
        State::Created => "created",
        State::Running { .. } => "running",
        State::Exited { exit: Exit::Lost, .. } => "lost",
        State::Exited { .. } => "exited",
    }
}

fn text(rows: &[Row]) -> String {
    let cells = |row: &Row| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        vec![
            row.id.to_string(),
            or_dash(&row.name),
            row.status_text(),
            or_dash(&row.backend),
            row.walls.map_or_else(|| "-".into(), |walls| walls.to_string()),
            or_dash(&row.workspace),
            row.command.clone().map_or_else(|| "-".into(), |command| shorten(&command, 40)),
        ]
    };
    table::render(
        &["ID", "NAME", "STATUS", "BACKEND", "WALLS", "WORKSPACE", "COMMAND"],
        &rows.iter().map(cells).collect::<Vec<_>>(),
    )
}

fn shorten(text: &str, limit: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= limit {
        return clean;
    }
    clean.chars().take(limit - 1).chain(['…']).collect()
}

fn workspace(spec: &Spec) -> String {
    match &spec.workspace {
        Workspace::None => "none".into(),
        Workspace::Direct { path, .. } => format!("direct:{}", path.display()),
        Workspace::Overlay { path } => format!("overlay:{}", path.display()),
    }
}

fn command(spec: &Spec) -> Option<String> {
    let command = spec.command.as_ref()?;
    Some(command.argv.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}

fn ago(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    table::span(now.saturating_sub(at_ms) / 1000)
}

#[derive(Serialize)]
struct Details {
    id: SandboxId,
    name: Option<String>,
    /// Its state in one word.
    status: &'static str,
    /// As a shell would have it; `null` if it has not ended.
    exit_status: Option<u8>,
    /// Whether the kernel has killed a process of its present or last run because its memory limit was reached.
    oom_killed: bool,
    state: State,
    spec: Spec,
    directory: String,
    /// What its supervisor says; `null` if it is not running.
    running: Option<api::Status>,
    /// Why its supervisor says nothing, if it has one.
    unreachable: Option<String>,
}

impl Inspect {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let mut details = Vec::new();
        let status = for_each(&self.sandboxes, |reference| {
            let entry = store.find(reference)?;
            let status = Client::connect_within(&entry, PATIENCE).and_then(|mut client| client.status());
            let (running, unreachable) = match status {
                Ok(status) => (Some(status), None),
                Err(ClientError::Gone | ClientError::Store(_)) => (None, None),
                Err(error) => (None, Some(wire::cause(&error))),
            };
            let state = entry.state()?;
            let oom_kills = match state {
                State::Exited { oom_kills, .. } => oom_kills,
                _ => running.as_ref().map_or(0, |running| running.oom_kills),
            };
            details.push(Details {
                id: entry.id().clone(),
                name: entry.name()?.map(String::from),
                status: word(&state),
                exit_status: if let State::Exited { exit, .. } = state { Some(exit.status()) } else { None },
                oom_killed: oom_kills > 0,
                state,
                spec: entry.spec()?,
                directory: entry.path().display().to_string(),
                running,
                unreachable,
            });
            Ok(())
        })?;
        let json = self.json || self.format.as_deref() == Some("json");
        if json {
            print_json(&details)?;
        } else if let Some(template) = &self.format {
            for details in &details {
                let details = serde_json::to_value(details).map_err(|error| Failure::chain(&error))?;
                print(&format!(
                    "{}\n",
                    template::fill(template, |field| template::json_field(&details, ours(field)))?
                ))?;
            }
        } else {
            let text = serde_json::to_string_pretty(&details).map_err(|error| Failure::chain(&error))?;
            print(&format!("{text}\n"))?;
        }
        Ok(status)
    }
}

/// What a field that Docker has is called here.
fn ours(field: &str) -> &str {
    match field {
        "state.status" => "status",
        "state.pid" => "running.init_pid",
        "state.exitcode" => "exit_status",
        "state.oomkilled" => "oom_killed",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: SandboxId::try_from("0123456789ab".to_owned()).unwrap(),
            name: Some("box".into()),
            status: "created",
            state: Some(State::Created),
            backend: Some("native".into()),
            walls: Some(Walls { held: 13, all: 14 }),
            image: None,
            workspace: None,
            net: None,
            command: Some("sh -c 'x\ny'".into()),
            keep: Some(true),
            created_ms: 0,
            damaged: None,
        }
    }

    #[test]
    fn fields_for_templates() {
        assert_eq!(row().field("names").unwrap(), "box");
        assert_eq!(row().field("status").unwrap(), "created");
        assert_eq!(row().field("image").unwrap(), "");
        assert_eq!(row().field("walls").unwrap(), "13/14");
        assert!(row().field("size").is_err());
    }

    #[test]
    fn commands_stay_on_their_line() {
        assert_eq!(shorten("a\nb", 40), "a b");
        assert_eq!(shorten("abcdef", 4), "abc…");
    }
}
