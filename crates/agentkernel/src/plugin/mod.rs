//! Plugins of agents and editors: hides which of their files are changed, and how that is taken back.
//!
//! What a change was is on record in the state: each file as it was before (a copy of its own, for people too), as it was
//! written, and what of it is ours. If a file is still as it was written, it becomes what it was before, byte for byte. If not,
//! what is ours is taken out and the rest stays.

mod agent;
mod error;
mod file;
mod hook;

pub use agent::{Agent, names};
pub use error::PluginError;
pub use hook::rewritten;

use crate::{
    config::HostFacts,
    edit::{self, Edit, Put},
    store::{self, Store, durable},
};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{FlockOperation, flock},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// So often a plan is made anew because a file has changed meanwhile.
const TRIES: usize = 10;

/// Ends the names of records.
const RECORD: &str = ".record";

/// Begins the name of our directory among an editor's extensions.
const EXTENSION: &[u8] = b"agentkernel.agentkernel-";

/// For whom a plugin is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For the user, in all projects.
    User,
    /// For whoever works in this project.
    Project(PathBuf),
}

/// A file that is changed.
#[derive(Debug)]
pub struct Change {
    /// Which.
    pub path: PathBuf,
    /// What was in it; none: it was not there.
    pub before: Option<String>,
    /// What is in it now; none: it is gone.
    pub after: Option<String>,
    /// Where a copy of what was in it is kept.
    pub backup: Option<PathBuf>,
}

/// What was done, or would be.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Files that are changed.
    pub changes: Vec<Change>,
    /// What was left as it is, and why.
    pub notes: Vec<String>,
}

/// Whether a plugin is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// All of it.
    Installed,
    /// Some of it.
    Partly,
    /// Nothing.
    Absent,
}

/// What was done for one agent.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    files: Vec<Kept>,
}

/// What was done to one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    path: PathBuf,
    /// The name of the copy of what it was; none: it was not there.
    before: Option<String>,
    /// What was written.
    after: Option<String>,
    /// What of it is ours.
    edits: Vec<Edit>,
    /// Directories that were made for it, the outermost first.
    made: Vec<PathBuf>,
}

/// What is to be done to one file.
struct Plan {
    path: PathBuf,
    now: Option<String>,
    /// What it is without us.
    before: Option<String>,
    after: Option<String>,
    /// What is on record as written, which may have been changed since.
    written: Option<String>,
    edits: Vec<Edit>,
    made: Vec<PathBuf>,
}

/// The plugins of the caller's agents.
#[derive(Debug)]
pub struct Plugins {
    host: HostFacts,
    dir: OwnedFd,
    path: PathBuf,
}

impl Plugins {
    /// Those of the caller.
    ///
    /// # Errors
    /// If the state can't be used.
    pub fn open(store: &Store, host: HostFacts) -> Result<Self, PluginError> {
        let (dir, path) = store.plugins()?;
        Ok(Self { host, dir, path })
    }

    /// Whether the caller seems to have this agent.
    #[must_use]
    pub fn is_here(&self, agent: &Agent) -> bool {
        agent.is_here(&self.host)
    }

    /// Whether an agent has its plugin.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn presence(&self, agent: &Agent, scope: &Scope) -> Result<Presence, PluginError> {
        let parts = agent.parts(&self.host, scope)?;
        let mut there = 0;
        for (path, edit) in &parts {
            there += usize::from(edit.is_in(file::read(path)?.as_deref()));
        }
        Ok(match there {
            0 => Presence::Absent,
            _ if there == parts.len() => Presence::Installed,
            _ => Presence::Partly,
        })
    }

    /// Gives an agent its plugin, or brings it up to date.
    ///
    /// # Errors
    /// [`PluginError`]; if a file is at fault, none was changed.
    pub fn install(&self, agent: &Agent, scope: &Scope, dry_run: bool) -> Result<Outcome, PluginError> {
        if !agent.has(scope) {
            return Err(PluginError::UserOnly(agent.title.clone()));
        }
        let _held = self.hold()?;
        let name = self.record_name(agent, scope);
        self.try_often(dry_run, || {
            let old: Option<Record> = durable::read(self.dir.as_fd(), &self.path, &file_name(&name))?;
            let mut notes = Vec::new();
            let known = old.as_ref().map_or(&[][..], |record| &record.files);
            let plans = self.plan(agent, scope, known, &mut notes)?;
            let files = plans.iter().filter(|plan| !plan.edits.is_empty()).map(|plan| plan.kept(&name)).collect();
            Ok(Planned { name: name.clone(), plans, notes, record: Some(Record { files }), old })
        })
    }

    /// Takes an agent's plugin away.
    ///
    /// # Errors
    /// [`PluginError`]; if a file is at fault, none was changed.
    pub fn remove(&self, agent: &Agent, scope: &Scope, dry_run: bool) -> Result<Outcome, PluginError> {
        let _held = self.hold()?;
        let name = self.record_name(agent, scope);
        self.try_often(dry_run, || {
            let old: Option<Record> = durable::read(self.dir.as_fd(), &self.path, &file_name(&name))?;
            let plans = match &old {
                Some(record) => record.files.iter().map(|kept| self.taken(kept)).collect::<Result<_, _>>()?,
                None => self.unrecorded(agent, scope)?,
            };
            Ok(Planned { name: name.clone(), plans, notes: Vec::new(), record: None, old })
        })
    }

    /// What an installation does to each file.
    fn plan(
        &self,
        agent: &Agent,
        scope: &Scope,
        known: &[Kept],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Plan>, PluginError> {
        let mut wanted: Vec<(PathBuf, Vec<Edit>)> = Vec::new();
        for (path, edit) in agent.parts(&self.host, scope)? {
            let path = file::resolve(&path, scope.limit())?;
            match wanted.iter_mut().find(|(known, _)| *known == path) {
                Some((_, edits)) => edits.push(edit),
                None => wanted.push((path, vec![edit])),
            }
        }
        let mut plans = Vec::new();
        // What an older version had somewhere else.
        for kept in known.iter().filter(|kept| wanted.iter().all(|(path, _)| *path != kept.path)) {
            plans.push(self.taken(kept)?);
        }
        for (path, wanted) in wanted {
            let kept = known.iter().find(|kept| kept.path == path);
            let now = file::read(&path)?;
            if let Some(kept) = kept.filter(|kept| kept.edits == wanted)
                && wanted.iter().all(|edit| edit.is_in(now.as_deref()))
            {
                plans.push(Plan {
                    before: self.before(kept)?,
                    after: now.clone(),
                    written: kept.after.clone(),
                    now,
                    path,
                    edits: wanted,
                    made: kept.made.clone(),
                });
                continue;
            }
            let before = match kept {
                Some(kept) => self.without(kept, now.as_deref())?,
                None => now.clone(),
            };
            let (mut after, mut edits) = (before.clone(), Vec::new());
            for edit in wanted {
                let put = edit.put(after.as_deref());
                match put.map_err(|fault| fault.of(&path, after.as_deref()))? {
                    Put::Done(text) => {
                        after = Some(text);
                        edits.push(edit);
                    }
                    Put::There => notes.push(format!("{}: {} was there before", path.display(), edit.what())),
                    Put::Theirs => {
                        notes.push(format!("{}: {} is another one and stays", path.display(), edit.what()));
                    }
                }
            }
            let made = kept.map(|kept| kept.made.clone()).unwrap_or_default();
            plans.push(Plan { path, now, before, written: after.clone(), after, edits, made });
        }
        Ok(plans)
    }

    /// What a removal does to a file.
    fn taken(&self, kept: &Kept) -> Result<Plan, PluginError> {
        let now = file::read(&kept.path)?;
        let before = self.without(kept, now.as_deref())?;
        let (path, made) = (kept.path.clone(), kept.made.clone());
        Ok(Plan { path, now, after: before.clone(), before, written: None, edits: Vec::new(), made })
    }

    /// What a removal does of which nothing is on record, as where somebody else installed it.
    fn unrecorded(&self, agent: &Agent, scope: &Scope) -> Result<Vec<Plan>, PluginError> {
        let mut plans: Vec<Plan> = Vec::new();
        for (path, edit) in agent.parts(&self.host, scope)? {
            let path = file::resolve(&path, scope.limit())?;
            let at = match plans.iter().position(|plan| plan.path == path) {
                Some(at) => at,
                None => {
                    let now = file::read(&path)?;
                    // Such names are given by us alone.
                    let is_ours =
                        |name: &OsStr| name == "agentkernel" || name.as_encoded_bytes().starts_with(EXTENSION);
                    let ours = |dir: &&Path| dir.iter().any(is_ours);
                    let mut made: Vec<PathBuf> = path.ancestors().skip(1).filter(ours).map(Into::into).collect();
                    made.reverse();
                    let (after, edits) = (now.clone(), Vec::new());
                    plans.push(Plan { path, now, before: None, after, written: None, edits, made });
                    plans.len() - 1
                }
            };
            let plan = &mut plans[at];
            if let Some(text) = &plan.after {
                plan.after = edit.exact().take(text, None).map_err(|fault| fault.of(&plan.path, Some(text)))?;
            }
        }
        Ok(plans)
    }

    /// A file as it is without what is ours.
    fn without(&self, kept: &Kept, now: Option<&str>) -> Result<Option<String>, PluginError> {
        let before = self.before(kept)?;
        let Some(text) = now else { return Ok(None) };
        if kept.after.as_deref() == now {
            return Ok(before);
        }
        for edit in &kept.edits {
            edit.put(now).map_err(|fault| fault.of(&kept.path, now))?;
        }
        let is_clean = |text: &String| {
            kept.edits.iter().all(|edit| matches!(edit.put(Some(text)), Ok(Put::Done(_) | Put::Theirs)))
        };
        if let (Some(before), Some(after)) = (&before, &kept.after)
            && let Some(text) = edit::reverse(before, after, text).filter(is_clean)
        {
            return Ok(Some(text));
        }
        let mut rest = text.to_owned();
        for edit in kept.edits.iter().rev() {
            match edit.take(&rest, before.as_deref()).map_err(|fault| fault.of(&kept.path, Some(&rest)))? {
                Some(text) => rest = text,
                None => return Ok(None),
            }
        }
        Ok(Some(rest))
    }

    /// What a file was before.
    fn before(&self, kept: &Kept) -> Result<Option<String>, PluginError> {
        let read = |name: &String| {
            file::kept(&self.dir, name).map_err(|error| PluginError::io("read", self.path.join(name), error))
        };
        kept.before.as_ref().map(read).transpose()
    }

    /// Does what is planned; if a file changes meanwhile, what is planned then.
    fn try_often(
        &self,
        dry_run: bool,
        plan: impl Fn() -> Result<Planned, PluginError>,
    ) -> Result<Outcome, PluginError> {
        let mut path = PathBuf::new();
        for _ in 0..TRIES {
            let mut planned = plan()?;
            match if dry_run { None } else { self.carry_out(&mut planned)? } {
                Some(changed) => path = changed,
                None => {
                    let Planned { name, plans, notes, .. } = planned;
                    let changed = plans.into_iter().filter(|plan| plan.now != plan.after);
                    let changes = changed.map(|plan| {
                        let copy = plan.kept(&name).before.filter(|_| !plan.edits.is_empty());
                        let backup = copy.map(|name| self.path.join(name));
                        Change { path: plan.path, before: plan.now, after: plan.after, backup }
                    });
                    return Ok(Outcome { changes: changes.collect(), notes });
                }
            }
        }
        Err(PluginError::Busy(path))
    }

    /// Does what is planned. Gives a file that is not any more what it was; all up to that is on record.
    fn carry_out(&self, planned: &mut Planned) -> Result<Option<PathBuf>, PluginError> {
        let Planned { name, plans, record, old, .. } = planned;
        let changes = plans.iter().any(|plan| plan.now != plan.after);
        if let Some(record) = record.as_mut().filter(|_| changes || old.is_none()) {
            let ours = self.made()?;
            for plan in plans.iter() {
                let Some(kept) = record.files.iter_mut().find(|kept| kept.path == plan.path) else { continue };
                if let (Some(name), Some(text)) = (&kept.before, &plan.before) {
                    let failed = |error| PluginError::io("write", self.path.join(name), error);
                    file::keep(&self.dir, name, text).map_err(failed)?;
                }
                if plan.after.is_some() && plan.now.is_none() {
                    let empty_without_us = |dir: &&Path| dir.symlink_metadata().is_err() || ours.contains(*dir);
                    let mut made: Vec<PathBuf> =
                        plan.path.ancestors().skip(1).take_while(empty_without_us).map(Into::into).collect();
                    made.reverse();
                    kept.made = made;
                }
            }
            // First, so that a kill in between can be taken back.
            durable::write(self.dir.as_fd(), &self.path, &file_name(name), record)?;
        }
        for plan in plans.iter().filter(|plan| plan.now != plan.after) {
            if plan.after.is_some() {
                file::make_parents(&plan.path)?;
            }
            if !file::replace(&plan.path, plan.now.as_deref(), plan.after.as_deref())? {
                return Ok(Some(plan.path.clone()));
            }
        }
        for dir in plans.iter().filter(|plan| plan.after.is_none()).flat_map(|plan| plan.made.iter().rev()) {
            // Somebody has put something else there, or it is another plan's.
            let _ = fs::remove_dir(dir);
        }
        let is_used = |copy: &String| {
            record.iter().flat_map(|record| &record.files).any(|kept| kept.before.as_ref() == Some(copy))
        };
        let failed = |name: &str, errno| PluginError::io("remove", self.path.join(name), errno);
        if record.is_none() {
            file::forget(&self.dir, &file_name(name)).map_err(|errno| failed(name, errno))?;
        }
        if record.is_none() || changes {
            for copy in old
                .iter()
                .flat_map(|old| &old.files)
                .filter_map(|kept| kept.before.as_ref())
                .filter(|copy| !is_used(copy))
            {
                file::forget(&self.dir, copy).map_err(|errno| failed(copy, errno))?;
            }
        }
        Ok(None)
    }

    /// All directories that were made for plugins.
    fn made(&self) -> Result<BTreeSet<PathBuf>, PluginError> {
        let failed = |error| PluginError::io("read", self.path.clone(), error);
        let mut made = BTreeSet::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(RECORD)) else { continue };
            let record: Option<Record> = durable::read(self.dir.as_fd(), &self.path, name)?;
            made.extend(record.into_iter().flat_map(|record| record.files).flat_map(|kept| kept.made));
        }
        Ok(made)
    }

    /// Others of us wait.
    fn hold(&self) -> Result<OwnedFd, PluginError> {
        let failed = |errno| PluginError::io("lock", self.path.clone(), errno);
        let held = rustix::fs::openat(
            &self.dir,
            ".",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let held = held.map_err(failed)?;
        flock(&held, FlockOperation::LockExclusive).map_err(failed)?;
        Ok(held)
    }

    fn record_name(&self, agent: &Agent, scope: &Scope) -> String {
        let (word, root) = match scope {
            Scope::User => ("user", self.host.own_home()),
            Scope::Project(dir) => ("project", dir.clone()),
        };
        format!("{}-{word}-{}", agent.name, store::key(&root))
    }
}

/// All that is to be done.
struct Planned {
    /// The record's.
    name: String,
    plans: Vec<Plan>,
    notes: Vec<String>,
    /// What is on record then; none: nothing.
    record: Option<Record>,
    /// What is on record now.
    old: Option<Record>,
}

impl Plan {
    /// As it is put on record, with the name of the copy.
    fn kept(&self, record: &str) -> Kept {
        let before = self.before.as_ref().map(|text| {
            let digest = Sha256::new().chain_update(self.path.as_os_str().as_encoded_bytes()).chain_update(text);
            let digest: String = digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            format!("{record}-{digest}-{name}")
        });
        let (path, after) = (self.path.clone(), self.written.clone());
        Kept { path, before, after, edits: self.edits.clone(), made: self.made.clone() }
    }
}

impl Scope {
    /// Where its files must be.
    fn limit(&self) -> Option<&Path> {
        match self {
            Self::User => None,
            Self::Project(dir) => Some(dir),
        }
    }
}

impl Edit {
    /// What it is, for people.
    fn what(&self) -> String {
        match self {
            Self::Json { key, .. } if key.is_empty() => "the entry".to_owned(),
            Self::Json { key, .. } | Self::Toml { key, .. } => format!("`{}`", key.join(".")),
            Self::Section { .. } => "the section".to_owned(),
            Self::File { .. } => "the file".to_owned(),
        }
    }
}

impl edit::Fault {
    fn of(&self, path: &Path, text: Option<&str>) -> PluginError {
        let (line, column) = self.place(text.unwrap_or_default());
        PluginError::Fault { path: path.into(), line, column, cause: self.cause.clone() }
    }
}

fn file_name(record: &str) -> String {
    format!("{record}{RECORD}")
}

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;
