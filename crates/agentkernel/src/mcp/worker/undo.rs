//! `checkpoints` and `undo`: the project's own files as they were before a sandbox.

use super::{Course, Worker, done, of_config};
use crate::{
    config::{HostFacts, Project},
    mcp::frames::Question,
    workspace::{self, Change, What, WorkspaceError},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use wire::Failure;

/// Changes that are told.
const MOST: usize = 1000;

/// What `checkpoints` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct OfProject {
    /// Which of the client's roots is meant, as an absolute path. Without, the first one.
    #[serde(default)]
    root: Option<String>,
}

/// Checkpoints of a project, the oldest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Checkpoints {
    checkpoints: Vec<Checkpoint>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Checkpoint {
    number: u32,
    /// When it was taken, in milliseconds since 1970.
    time_ms: u64,
    /// What it was taken before.
    before: String,
    files: u64,
    bytes: u64,
}

/// What `undo` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct Undo {
    /// Which of the client's roots is meant, as an absolute path. Without, the first one.
    #[serde(default)]
    root: Option<String>,
    /// The checkpoint to go back to. Without, the last one.
    #[serde(default)]
    checkpoint: Option<u32>,
    /// Only tell what would be done: the difference. Nobody is asked for that.
    #[serde(default)]
    dry_run: bool,
}

/// What was undone, or would be.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Undone {
    /// What the files are again.
    checkpoint: u32,
    /// Whether nothing was done yet.
    dry_run: bool,
    changes: Vec<Changed>,
    /// Whether there are more.
    more: bool,
    /// The checkpoint that takes this back.
    back: Option<u32>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Changed {
    path: String,
    /// "restored", "removed" (it was not there then) or "mode".
    what: &'static str,
    /// Why it is not.
    error: Option<String>,
}

impl Worker<'_> {
    pub(super) fn checkpoints(&self, OfProject { root }: OfProject) -> Result<Checkpoints, Failure> {
        let project = self.project(root.as_deref())?;
        let list =
            workspace::Checkpoints::open(&self.store, &project).and_then(|all| all.list()).map_err(of_workspace)?;
        let one = |it: workspace::Summary| Checkpoint {
            number: it.number,
            time_ms: it.time_ms,
            before: it.undo_to.map_or(it.before, |to| format!("undo to {to}")),
            files: it.files,
            bytes: it.bytes,
        };
        Ok(Checkpoints { checkpoints: list.into_iter().map(one).collect() })
    }

    pub(super) fn undo(&self, Undo { root, checkpoint, dry_run }: Undo) -> Result<Course, Failure> {
        let project = self.project(root.as_deref())?;
        let go = |number, dry_run| self.starter.undo(&self.store, &project, number, dry_run);
        let mut restored = go(checkpoint, true)?;
        if !dry_run {
            let number = restored.to.number;
            let question = Question {
                text: format!(
                    "Make the files of {} what they were at checkpoint {number}? {} of them would change.",
                    project.display(),
                    restored.changes.len()
                ),
                command: format!("agentkernel undo {number}"),
                about: project.display().to_string(),
            };
            // Nobody is asked for what can't be done.
            self.starter.may_undo(&self.store, &project)?;
            if !self.is_agreed(&question) {
                return Ok(Course::Asks(question));
            }
            restored = go(Some(number), false)?;
        }
        let more = restored.changes.len() > MOST;
        let changed = |Change { path, what, error }: Change| Changed {
            path: path.to_string(),
            what: match what {
                What::Restored => "restored",
                What::Removed => "removed",
                What::Mode => "mode",
            },
            error,
        };
        done(Ok(Undone {
            checkpoint: restored.to.number,
            dry_run,
            changes: restored.changes.into_iter().take(MOST).map(changed).collect(),
            more,
            back: restored.back.map(|back| back.summary.number),
        }))
    }

    /// The project that a root is in.
    fn project(&self, root: Option<&str>) -> Result<PathBuf, Failure> {
        self.enter(root)?;
        let host = HostFacts::read().map_err(of_config)?;
        Project::find_dir(&host).map_err(of_config)
    }
}

fn of_workspace(error: WorkspaceError) -> Failure {
    Failure { cause: wire::cause(&error), hint: error.hint() }
}
