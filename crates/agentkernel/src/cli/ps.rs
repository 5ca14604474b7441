//! `ps`: what sandboxes there are.

use super::{
    Status, print, print_json, shell, table,
    template::{self, Field},
};
use crate::{
    Mount, SandboxId, Spec, Workspace,
    client::Client,
    store::{State, Store},
};
use clap::Args;
use serde::Serialize;
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wire::Exit;

/// How long a supervisor may take to answer: one that hangs must not hide the others, nor what is on record.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

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
    /// Print each so: {id}, {name}, {status}, {state}, {command}, {backend}, {walls}, {image}, {workspace}, {mounts},
    /// {net}, {created} and {createdat} are filled in, Docker's names such as {{.Names}} too, and {{json .}}; '\t' is a tab
    /// and '\n' a new line; 'table ' in front makes columns of what '\t' separates; 'json' is --json
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
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
    /// The project and the host's directories and files in it, by their paths on the host. For templates.
    #[serde(skip)]
    mounts: Option<String>,
    net: Option<String>,
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
                mounts: spec.as_ref().map(sources),
                net: spec.as_ref().map(|spec| spec.network.policy.rules.mode.to_string()),
                command: spec.as_ref().and_then(command),
                keep: spec.as_ref().map(|spec| spec.keep),
                id: listed.id,
                status: listed.state.as_ref().ok().filter(|_| damaged.is_none()).map_or("damaged", word),
                state: listed.state.ok(),
                created_ms: listed.created_ms,
                damaged,
            });
        }
        match self.format.as_deref().map(str::trim) {
            Some("json") => print_json(&rows)?,
            None if self.json => print_json(&rows)?,
            None if self.quiet => print(&rows.iter().map(|row| format!("{}\n", row.id)).collect::<String>())?,
            None | Some("table") => print(&text(&rows))?,
            Some(template) => print(&template::rows(template, &FIELDS, &rows)?)?,
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
}

/// What a template can have of a sandbox, by our names and Docker's.
const FIELDS: [Field<Row>; 13] = [
    (&["id"], |row| row.id.to_string()),
    (&["name", "names"], |row| or_nothing(&row.name)),
    (&["status"], Row::status_text),
    (&["state"], |row| row.status.into()),
    (&["command"], |row| or_nothing(&row.command)),
    (&["backend"], |row| or_nothing(&row.backend)),
    (&["walls"], |row| row.walls.map_or_else(String::new, |walls| walls.to_string())),
    (&["image"], |row| or_nothing(&row.image)),
    (&["workspace"], |row| or_nothing(&row.workspace)),
    (&["mounts"], |row| or_nothing(&row.mounts)),
    (&["net", "networks"], |row| or_nothing(&row.net)),
    (&["created", "runningfor"], |row| ago(row.created_ms) + " ago"),
    (&["createdat"], |row| table::rfc3339(row.created_ms.saturating_mul(1_000_000))),
];

fn or_nothing(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

/// A state in one word.
pub(super) fn word(state: &State) -> &'static str {
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

/// The host's directories and files in a sandbox, the project among them unless it is a copy.
pub(super) fn mounts(spec: &Spec) -> Vec<Mount> {
    let workspace = match &spec.workspace {
        Workspace::Direct { path, .. } => Some(Mount { source: path.clone(), target: path.clone(), read_only: false }),
        Workspace::None | Workspace::Overlay { .. } => None,
    };
    workspace.into_iter().chain(spec.mounts.iter().cloned()).collect()
}

fn sources(spec: &Spec) -> String {
    mounts(spec).iter().map(|mount| mount.source.display().to_string()).collect::<Vec<_>>().join(",")
}

fn command(spec: &Spec) -> Option<String> {
    let command = spec.command.as_ref()?;
    Some(match shell::line(&command.argv) {
        Some(line) => line.to_string(),
        None => command.argv.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    })
}

fn ago(at_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    table::span(now.saturating_sub(at_ms) / 1000)
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
            mounts: None,
            net: None,
            command: Some("sh -c 'x\ny'".into()),
            keep: Some(true),
            created_ms: 0,
            damaged: None,
        }
    }

    #[test]
    fn fields_for_templates() {
        let shown = |template| template::rows(template, &FIELDS, &[row()]);
        assert_eq!(shown("{{.Names}}|{status}|{image}|{{.State}}|{walls}").unwrap(), "box|created||created|13/14\n");
        assert_eq!(shown("{{.CreatedAt}}").unwrap(), "1970-01-01T00:00:00.000000000Z\n");
        let hostile = Row { workspace: Some("/a\u{1b}[2J\n".into()), ..row() };
        assert_eq!(template::rows("{workspace}", &FIELDS, &[hostile]).unwrap(), "/a\\u{1b}[2J\\n\n");
        assert_eq!(shown("{size}").unwrap_err().cause, "No field 'size' to print");
    }

    #[test]
    fn commands_stay_on_their_line() {
        assert_eq!(shorten("a\nb", 40), "a b");
        assert_eq!(shorten("abcdef", 4), "abc…");
    }
}
