//! `undo`: a project as it was before a run.

use super::{
    Failure, Status,
    failure::FAILED,
    print, print_json, report,
    table::{self, printable},
};
use crate::{
    Spec, Workspace,
    config::{HostFacts, Project},
    store::{State, Store},
    workspace::{Change, Checkpoints, Restored, Summary, What, WorkspaceError},
};
use clap::Args;
use std::path::Path;

/// Make this project's files again what they were before a run with a checkpoint.
#[derive(Debug, Args)]
pub(super) struct Undo {
    /// The checkpoint to go back to; without, the last one, and after an 'undo' one before
    #[arg(value_name = "CHECKPOINT")]
    number: Option<u32>,
    /// Show the checkpoints of this project
    #[arg(short, long, conflicts_with_all = ["number", "dry_run", "forget"])]
    list: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Take no checkpoint of what is there now: this can't be taken back then
    #[arg(long, conflicts_with = "dry_run")]
    no_checkpoint: bool,
    /// Forget all checkpoints of this project
    #[arg(long, conflicts_with_all = ["number", "dry_run"])]
    forget: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Undo {
    pub(super) fn run(self) -> Status {
        let store = Store::open()?;
        let project = Project::find_dir(&HostFacts::read()?)?;
        let checkpoints = Checkpoints::open(&store, &project)?;
        if self.list {
            let list = checkpoints.list()?;
            return if self.json { print_json(&list) } else { print(&text(&list)) }.map(|()| 0);
        }
        if self.forget {
            return Ok(checkpoints.forget().map(|()| 0)?);
        }
        let restored = go_back(&store, &project, self.number, self.dry_run, !self.no_checkpoint, |id| {
            format!("Stop it first: 'agentkernel stop {id}'")
        })?;
        if self.json {
            let back = restored.back.as_ref().map(|back| back.summary.number);
            print_json(&serde_json::json!({ "to": restored.to, "back": back, "changes": restored.changes }))?;
        } else {
            self.tell(&restored)?;
        }
        Ok(if restored.changes.iter().any(|change| change.error.is_some()) { FAILED } else { 0 })
    }

    fn tell(&self, restored: &Restored) -> Result<(), Failure> {
        for Change { path, what, error } in &restored.changes {
            let path = printable(&path.to_string());
            let word = match what {
                What::Restored => "restored",
                What::Removed => "removed",
                What::Mode => "mode",
            };
            match error {
                None => print(&format!("{word:10}{path}\n"))?,
                Some(error) => report(&Failure::new(format!("{path} is not {word}: {error}"))),
            }
        }
        let to = &restored.to;
        let when = format!("as before '{}' at {}", printable(&to.before), table::time(to.time_ms));
        let words = match &restored.back {
            _ if restored.changes.is_empty() => format!("Nothing to undo: all is {when}"),
            None if self.dry_run => format!("All would be {when}"),
            None => format!("All is {when}"),
            Some(back) => format!("All is {when}; 'agentkernel undo {}' takes this back", back.summary.number),
        };
        print(&format!("{words}\n"))
    }
}

fn text(list: &[Summary]) -> String {
    let row = |one: &Summary| {
        let before = one.undo_to.map_or_else(|| one.before.clone(), |to| format!("undo to {to}"));
        vec![one.number.to_string(), table::time(one.time_ms), one.files.to_string(), table::bytes(one.bytes), before]
    };
    table::render(&["CHECKPOINT", "TIME", "FILES", "SIZE", "BEFORE"], &list.iter().map(row).collect::<Vec<_>>())
}

/// Makes a project what it was at a checkpoint, by default the last one; or only tells what would be done. `stop` says how a
/// sandbox is stopped that is in the way.
pub(super) fn go_back(
    store: &Store,
    project: &Path,
    number: Option<u32>,
    dry_run: bool,
    and_back: bool,
    stop: fn(&str) -> String,
) -> Result<Restored, Failure> {
    let checkpoints = Checkpoints::open(store, project)?;
    if !dry_run {
        is_still(store, project, stop)?;
    }
    checkpoints.restore(number, dry_run, and_back).map_err(|error| match error {
        // There is nothing to go back to, however that is done.
        error @ (WorkspaceError::Nothing
        | WorkspaceError::Missing(_)
        | WorkspaceError::Unchanged { .. }
        | WorkspaceError::Damaged(_)) => error.into(),
        error if dry_run || !and_back => error.into(),
        error => Failure::from(error).also("'agentkernel undo --no-checkpoint' keeps nothing of what is there now"),
    })
}

/// Whether no sandbox could change the project just now; `stop` says how one is stopped.
pub(super) fn is_still(store: &Store, project: &Path, stop: fn(&str) -> String) -> Result<(), Failure> {
    let Some(id) = running(store, project)? else { return Ok(()) };
    Err(Failure::new(format!("Sandbox {id} still runs in this project")).hint(stop(&id)))
}

/// A sandbox that could change the project just now.
fn running(store: &Store, project: &Path) -> Result<Option<String>, Failure> {
    let changes =
        |spec: &Spec| spec.writable_on_host().iter().any(|path| project.starts_with(path) || path.starts_with(project));
    let listed = store
        .list()?
        .into_iter()
        .find(|listed| matches!(listed.state, Ok(State::Running { .. })) && listed.spec.as_ref().is_ok_and(changes));
    Ok(listed.map(|listed| listed.spec.ok().and_then(|spec| spec.name).map_or(listed.id.to_string(), String::from)))
}

/// What a sandbox is made for, in words.
pub(super) fn words(spec: &Spec) -> String {
    match (&spec.agent, &spec.command) {
        (Some(agent), _) => agent.name.clone(),
        (None, command) => {
            let words: Vec<String> = command.iter().flat_map(|it| &it.argv).map(ToString::to_string).collect();
            words.join(" ")
        }
    }
}

/// Takes a checkpoint of the project that a new sandbox is about to change; `before` what, and `without` says how to do
/// without.
pub(super) fn take(store: &Store, spec: &Spec, before: &str, without: &str) -> Result<(), Failure> {
    let Workspace::Direct { path, .. } = &spec.workspace else {
        let failure = Failure::new("`--checkpoint` has no use in this workspace");
        return Err(failure.hint("Only `--workspace direct` changes the project's files"));
    };
    let before: String = before.chars().take(60).collect();
    let taken = Checkpoints::open(store, path).and_then(|checkpoints| checkpoints.take(&before));
    let taken = taken.map_err(|error| Failure::from(error).also(&format!("{without} to run without one")))?;
    for path in &taken.unread {
        report(&Failure::new(format!("{} can't be read, and is not in the checkpoint", path.display())));
    }
    Ok(())
}
