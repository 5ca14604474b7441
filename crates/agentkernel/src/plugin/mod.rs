//! Plugins of agents and editors: hides which of their files are changed, and how that is taken back.
//!
//! What a change was is on record in the state: each file as it was before (a copy of its own, for people too), as it was
//! written, and what of it is ours. If a file is still as it was written, it becomes what it was before, byte for byte. If not,
//! what is ours is taken out and the rest stays.

mod agent;
mod error;
mod file;
mod hook;
mod nested;
mod off;
mod plan;
mod replace;
mod rules;
mod skills;

pub use agent::{Agent, names};
pub use error::PluginError;
pub use hook::answer;
pub use off::Off;

use crate::{
    config::{self, HostFacts},
    edit::{self, Edit, Put},
    store::{self, Store, StoreError, durable},
};
use agent::Target;
use plan::Plan;
use replace::Replacer;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{FlockOperation, ResolveFlags, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long is waited for whoever has begun to write to a file.
const PAUSE: Duration = Duration::from_millis(100);

/// So often a plan is made anew because a file has changed meanwhile.
const TRIES: usize = 10;

/// Ends the names of records.
const RECORD: &str = ".record";

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
    /// Some of it, or something else in its place, or all of it with its hook turned off.
    Partly,
    /// Nothing.
    Absent,
}

/// What was done for one agent.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    files: Vec<Kept>,
    /// What is like ours, has no name of ours, and was there before. This outlasts a removal, which else would be followed by
    /// one that finds nothing on record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    theirs: Vec<(PathBuf, Edit)>,
}

/// What was done to one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// The plugins of the caller's agents.
#[derive(Debug)]
pub struct Plugins {
    host: HostFacts,
    /// Where it is on record what was changed; none: nothing is, and nothing is to be.
    dir: Option<OwnedFd>,
    path: PathBuf,
    /// So long whoever has begun to write to a file has time to go on, before it counts for done.
    pause: Duration,
}

impl Plugins {
    /// Those of the caller.
    ///
    /// # Errors
    /// If the state can't be used.
    pub fn open(store: &Store, host: HostFacts) -> Result<Self, PluginError> {
        let (dir, path) = store.plugins()?;
        Ok(Self { host, dir: Some(dir), path, pause: PAUSE })
    }

    /// Those of the caller, only to be looked at: nothing is made where there is no state.
    ///
    /// # Errors
    /// If the state can't be used.
    pub fn look(store: Option<&Store>, host: HostFacts) -> Result<Self, PluginError> {
        let found = store.map(Store::find_plugins).transpose()?.flatten();
        let (dir, path) = found.map_or_else(Default::default, |(dir, path)| (Some(dir), path));
        Ok(Self { host, dir, path, pause: PAUSE })
    }

    /// Where it is on record what was changed, if that was opened.
    fn dir(&self) -> Result<&OwnedFd, PluginError> {
        self.dir.as_ref().ok_or_else(|| PluginError::io("open", self.path.clone(), Errno::NOENT))
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
        let (mut wanted, mut there, mut named) = (0, 0, 0);
        for Target { path, edit, if_there, strict } in agent.parts(&self.host, scope)? {
            let text = file::read(&path)?;
            if if_there && text.is_none() {
                continue;
            }
            wanted += 1;
            let is_taken = !strict || text.as_deref().is_none_or(|text| edit::strict(text).is_ok());
            let is_there = edit.is_in(text.as_deref());
            there += usize::from(is_there && is_taken);
            let has_place = || is_there || matches!(edit.put(text.as_deref()), Ok(Put::Theirs));
            named += usize::from(edit.is_named() && has_place());
        }
        Ok(match named {
            0 => Presence::Absent,
            _ if there == wanted && self.off(agent, scope).is_none() => Presence::Installed,
            _ => Presence::Partly,
        })
    }

    /// Why the agent does not ask the hook that it has, for its user or in a project too.
    #[must_use]
    pub fn off(&self, agent: &Agent, scope: &Scope) -> Option<Off> {
        let found = off::find(agent.switches.as_ref()?, &self.host, agent.homes(&self.host).first()?, scope);
        found.or_else(|| {
            let parts = [&Scope::User, scope].into_iter().filter_map(|scope| agent.parts(&self.host, scope).ok());
            parts.flatten().filter(|target| target.strict).find_map(|Target { path, edit, .. }| {
                let text = file::read(&path).ok()?.filter(|text| edit.is_in(Some(text)))?;
                let cause = match edit::strict(&text) {
                    Err(fault) => agent.takes_nothing(fault).cause,
                    Ok(()) => format!("{}, and it loads nothing of it", off::not_loaded(&edit::json_value(&text)?)?),
                };
                Some(Off { cause: format!("{}: {cause}", path.display()), path, managed: false })
            })
        })
    }

    /// Refuses a project that can't be a workspace: all that it would get is about sandboxes there.
    ///
    /// # Errors
    /// If it is one.
    pub fn check(&self, scope: &Scope) -> Result<(), PluginError> {
        let Some(path) = scope.limit() else { return Ok(()) };
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let homes: Vec<PathBuf> = self.host.homes().flat_map(|home| [home.to_owned(), real(home)]).collect();
        let refused = |path: &Path| config::protect::refuse(path, homes.iter().map(PathBuf::as_path));
        match refused(path).or_else(|| refused(&real(path))) {
            Some(reason) => Err(PluginError::NoProject { path: path.to_owned(), reason }),
            None => Ok(()),
        }
    }

    /// Gives an agent its plugin, or brings it up to date.
    ///
    /// # Errors
    /// [`PluginError`]; if a file is at fault, none was changed.
    pub fn install(&self, agent: &Agent, scope: &Scope, dry_run: bool) -> Result<Outcome, PluginError> {
        if !agent.has(scope) {
            return Err(PluginError::UserOnly(agent.title.clone()));
        }
        self.check(scope)?;
        let _held = self.hold()?;
        let name = self.record_name(agent, scope);
        self.try_often(scope, dry_run, || {
            let mut notes = Vec::new();
            let (old, damaged) = self.record(&name, scope)?;
            let known = old.as_ref().map_or(&[][..], |record| &record.files);
            let (plans, record) = self.plan(agent, scope, &name, known, &mut notes)?;
            let record = Some(record).filter(|record| *record != Record::default());
            Ok(Planned { name: name.clone(), plans, notes, damaged, record, old })
        })
    }

    /// Takes an agent's plugin away.
    ///
    /// # Errors
    /// [`PluginError`]; if a file is at fault, none was changed.
    pub fn remove(&self, agent: &Agent, scope: &Scope, dry_run: bool) -> Result<Outcome, PluginError> {
        let _held = self.hold()?;
        let name = self.record_name(agent, scope);
        self.try_often(scope, dry_run, || {
            let (mut notes, mut theirs) = (Vec::new(), Vec::new());
            let (old, damaged) = self.record(&name, scope)?;
            for (path, edit) in old.iter().flat_map(|old| &old.theirs) {
                if !edit.is_named() && edit.is_in(file::read(path)?.as_deref()) {
                    notes.push(format!("{}: {} was there before and stays", path.display(), edit.what()));
                    theirs.push((path.clone(), edit.clone()));
                }
            }
            let known = old.iter().flat_map(|old| &old.files);
            let known: Vec<Plan> = known.map(|kept| self.taken(kept, &mut notes)).collect::<Result<_, _>>()?;
            let plans = self.unrecorded(agent, scope, known, &theirs, &mut notes)?;
            let record = (!theirs.is_empty()).then(|| Record { files: Vec::new(), theirs });
            Ok(Planned { name: name.clone(), plans, notes, damaged, record, old })
        })
    }

    /// What is on record, with the places that links lead to by now. One that can't be read goes for none, and is told.
    fn record(&self, name: &str, scope: &Scope) -> Result<(Option<Record>, Option<String>), PluginError> {
        let Some(dir) = &self.dir else { return Ok((None, None)) };
        let mut record: Option<Record> = match durable::read(dir.as_fd(), &self.path, &file_name(name)) {
            Err(StoreError::Damaged { path, cause }) => {
                let (path, aside) = (path.display(), self.path.join(damaged_name(name)));
                let aside = aside.display();
                let note = format!("{path} is damaged ({cause}): it goes for none, and is kept as {aside}");
                return Ok((None, Some(note)));
            }
            read => read?,
        };
        for kept in record.iter_mut().flat_map(|record| &mut record.files) {
            if let Ok(real) = file::resolve(&kept.path, scope.limit()) {
                kept.path = real;
            }
        }
        Ok((record, None))
    }

    /// Lays a record aside that is damaged, so that what it says is not lost for people.
    fn lay_aside(&self, dir: &OwnedFd, name: &str) -> Result<(), PluginError> {
        let file = file_name(name);
        let read: Result<Option<Record>, _> = durable::read(dir.as_fd(), &self.path, &file);
        if !matches!(read, Err(StoreError::Damaged { .. })) {
            return Ok(());
        }
        let moved = rustix::fs::renameat(dir, &file, dir, damaged_name(name));
        moved.map_err(|errno| PluginError::io("rename", self.path.join(file), errno))
    }

    /// Does what is planned; if a file changes meanwhile, what is planned then.
    fn try_often(
        &self,
        scope: &Scope,
        dry_run: bool,
        plan: impl Fn() -> Result<Planned, PluginError>,
    ) -> Result<Outcome, PluginError> {
        let (mut path, mut damaged) = (PathBuf::new(), None);
        for round in 0..TRIES {
            let mut planned = match plan() {
                // Somebody is at it, and may have written half of it.
                Err(PluginError::Fault { path: at, .. }) if round + 1 < TRIES && file::is_fresh(&at) => {
                    std::thread::sleep(self.pause);
                    path = at;
                    continue;
                }
                planned => planned?,
            };
            damaged = damaged.or(planned.damaged.take());
            let mut changed = planned.plans.iter().filter(|plan| plan.now != plan.after);
            changed.try_for_each(|plan| file::check_writable(&plan.path))?;
            let changes = planned.plans.iter().any(|plan| plan.now != plan.after);
            if let Some(project) = scope.limit().filter(|_| changes && !dry_run) {
                drop(file::held(project, ResolveFlags::empty())?);
            }
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
                    let notes = damaged.into_iter().chain(notes).collect();
                    return Ok(Outcome { changes: changes.collect(), notes });
                }
            }
        }
        Err(PluginError::Busy(path))
    }

    /// Does what is planned, or nothing of it. Gives a file that is not any more what it was; all up to that is on record.
    fn carry_out(&self, planned: &mut Planned) -> Result<Option<PathBuf>, PluginError> {
        let Planned { name, plans, record, old, .. } = planned;
        let dir = self.dir()?;
        self.lay_aside(dir, name)?;
        let changes = plans.iter().any(|plan| plan.now != plan.after);
        if let Some(record) = record.as_mut().filter(|record| changes || old.as_ref() != Some(*record)) {
            let ours = self.made()?;
            for plan in plans.iter() {
                let Some(kept) = record.files.iter_mut().find(|kept| kept.path == plan.path) else { continue };
                if let (Some(name), Some(text)) = (&kept.before, &plan.before) {
                    let failed = |error| PluginError::io("write", self.path.join(name), error);
                    file::keep(dir, name, text).map_err(failed)?;
                }
                if plan.after.is_some() && plan.now.is_none() {
                    let empty_without_us = |dir: &&Path| dir.symlink_metadata().is_err() || ours.contains(*dir);
                    let mut made: Vec<PathBuf> =
                        plan.path.ancestors().skip(1).take_while(empty_without_us).map(Into::into).collect();
                    made.reverse();
                    kept.made = made;
                }
            }
            // First, so that a kill in between can be taken back. What a removal takes is on record until it is done.
            if !record.files.is_empty() || old.is_none() {
                durable::write(dir.as_fd(), &self.path, &file_name(name), record)?;
            }
        }
        let (mut replacer, mut made) = (Replacer::default(), Vec::new());
        let mut changed = None;
        for plan in plans.iter() {
            match plan.carry_out(&mut replacer, &mut made) {
                Ok(true) => {}
                Ok(false) => {
                    changed = Some(plan.path.clone());
                    break;
                }
                Err(error) => {
                    self.undo(dir, name, old.as_ref(), replacer, &made);
                    return Err(error);
                }
            }
        }
        if let Some(path) = replacer.settle(self.pause)?.or(changed) {
            return Ok(Some(path));
        }
        for made in plans.iter().filter(|plan| plan.after.is_none()).flat_map(|plan| plan.made.iter().rev()) {
            // Somebody has put something else there, or it is another plan's.
            let _ = fs::remove_dir(made);
        }
        match record {
            Some(record) if record.files.is_empty() && old.as_ref() != Some(record) => {
                durable::write(dir.as_fd(), &self.path, &file_name(name), record)?;
            }
            Some(_) => {}
            None => {
                let failed = |errno| PluginError::io("remove", self.path.join(file_name(name)), errno);
                file::forget(dir, &file_name(name)).map_err(failed)?;
            }
        }
        if changes || record.is_none() {
            self.sweep(name, record.as_ref())?;
        }
        Ok(None)
    }

    /// Takes back what is done, as the rest can't be done. The first error is the one that counts, and what can't be taken
    /// back is on record.
    fn undo(&self, dir: &OwnedFd, name: &str, old: Option<&Record>, replacer: Replacer, made: &[PathBuf]) {
        let undone = replacer.take_back();
        for made in made.iter().rev() {
            let _ = fs::remove_dir(made);
        }
        if undone {
            let _ = match old {
                Some(old) => durable::write(dir.as_fd(), &self.path, &file_name(name), old).is_ok(),
                None => file::forget(dir, &file_name(name)).is_ok(),
            };
            let _ = self.sweep(name, old);
        }
    }

    /// Removes copies that are of no use any more, and what those left who were killed.
    fn sweep(&self, name: &str, record: Option<&Record>) -> Result<(), PluginError> {
        let used: BTreeSet<&str> =
            record.iter().flat_map(|record| &record.files).filter_map(|kept| kept.before.as_deref()).collect();
        let failed = |error| PluginError::io("read", self.path.clone(), error);
        // What a damaged record was about, nobody knows any more: those are all that is left.
        let damaged = self.path.join(damaged_name(name)).symlink_metadata().is_ok();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            let Some(file) = file.to_str() else { continue };
            let is_copy = !damaged && file.starts_with(&format!("{name}-")) && !used.contains(file);
            if is_copy || file.starts_with('.') {
                let failed = |errno| PluginError::io("remove", self.path.join(file), errno);
                file::forget(self.dir()?, file).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// All directories that were made for plugins.
    fn made(&self) -> Result<BTreeSet<PathBuf>, PluginError> {
        let failed = |error| PluginError::io("read", self.path.clone(), error);
        let mut made = BTreeSet::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| name.ends_with(RECORD)) else { continue };
            let record: Option<Record> = match durable::read(self.dir()?.as_fd(), &self.path, name) {
                // Another one's, which is told when that is asked for.
                Err(StoreError::Damaged { .. }) => continue,
                read => read?,
            };
            made.extend(record.into_iter().flat_map(|record| record.files).flat_map(|kept| kept.made));
        }
        Ok(made)
    }

    /// Others of us wait.
    fn hold(&self) -> Result<Option<OwnedFd>, PluginError> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let failed = |errno| PluginError::io("lock", self.path.clone(), errno);
        let held = rustix::fs::openat(
            dir,
            ".",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let held = held.map_err(failed)?;
        flock(&held, FlockOperation::LockExclusive).map_err(failed)?;
        Ok(Some(held))
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
    /// What is to be told of the record, if that can't be read.
    damaged: Option<String>,
    /// What is on record then; none: nothing.
    record: Option<Record>,
    /// What is on record now.
    old: Option<Record>,
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

fn file_name(record: &str) -> String {
    format!("{record}{RECORD}")
}

/// What a record is called that can't be read, once another one takes its place.
fn damaged_name(record: &str) -> String {
    format!("{record}.damaged")
}

#[cfg(test)]
#[path = "plugin_tests.rs"]
mod tests;
