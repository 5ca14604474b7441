//! What an installation or a removal is to do to each file, before anything is done.

use super::{
    Agent, Kept, PluginError, Plugins, Record, Scope,
    agent::{PROGRAM, Target},
    file,
    replace::Replacer,
};
use crate::edit::{self, Edit, Put};
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Ends a hook that lets nothing pass if agentkernel does not answer. Its path is before that, which may end in a quote.
const REFUSES: &str = " plugin hook || exit 2";

/// Begins the name of our directory among an editor's extensions.
const EXTENSION: &[u8] = b"agentkernel.agentkernel-";

/// What is to be done to one file.
pub(super) struct Plan {
    pub(super) path: PathBuf,
    pub(super) now: Option<String>,
    /// What it is without us.
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    /// What is on record as written, which may have been changed since.
    pub(super) written: Option<String>,
    pub(super) edits: Vec<Edit>,
    pub(super) made: Vec<PathBuf>,
}

impl Plugins {
    /// What an installation does to each file, and what is on record then.
    pub(super) fn plan(
        &self,
        agent: &Agent,
        scope: &Scope,
        name: &str,
        known: &[Kept],
        notes: &mut Vec<String>,
    ) -> Result<(Vec<Plan>, Record), PluginError> {
        let mut wanted: Vec<(PathBuf, Vec<Edit>, bool, bool)> = Vec::new();
        for Target { path, edit, if_there, strict } in agent.parts(&self.host, scope)? {
            let path = file::resolve(&path, scope.limit())?;
            match wanted.iter_mut().find(|(known, ..)| *known == path) {
                Some((_, edits, ..)) => edits.push(edit),
                None => wanted.push((path, vec![edit], if_there, strict)),
            }
        }
        let (mut plans, mut theirs) = (Vec::new(), Vec::new());
        // What an older version had somewhere else.
        for kept in known.iter().filter(|kept| wanted.iter().all(|(path, ..)| *path != kept.path)) {
            plans.push(self.taken(kept, notes)?);
        }
        for (path, wanted, if_there, strict) in wanted {
            let kept = known.iter().find(|kept| kept.path == path);
            let is_known =
                |edit: &Edit| kept.is_some_and(|kept| kept.edits.iter().any(|own| own.what() == edit.what()));
            let now = file::read(&path)?;
            // What is broken for others as well is told in their words.
            if strict && let Some(text) = now.as_deref().filter(|text| edit::json_value(text).is_some()) {
                edit::strict(text).map_err(|fault| agent.takes_nothing(fault).of(&path, Some(text)))?;
            }
            let made = kept.map(|kept| kept.made.clone()).unwrap_or_default();
            if if_there && now.is_none() {
                // If it comes to be, it has what is ours as well.
                let (before, after, written) = (None, None, None);
                plans.push(Plan { path, now, before, after, written, edits: wanted, made });
                continue;
            }
            // What an older version had here.
            let stale = kept.map(|kept| kept.edits.iter().filter(|edit| !wanted.contains(edit)).cloned());
            let mut after = match (kept, stale) {
                (Some(kept), Some(stale)) => self.less(kept, &stale.collect::<Vec<_>>(), now.as_deref())?,
                _ => now.clone(),
            };
            // Beside what is named after us, all that is like ours was ours once, and is not on record any more.
            let is_lost = wanted.iter().any(|edit| edit.is_named() && !is_known(edit) && edit.is_in(now.as_deref()));
            let mut edits = Vec::new();
            for edit in wanted {
                let put = edit.put(after.as_deref());
                match put.map_err(|fault| fault.of(&path, after.as_deref()))? {
                    Put::Done(text) => {
                        let whole = format!("{text}{}", edit.added(now.as_deref().unwrap_or_default()));
                        after = Some(if edit.is_in(Some(&whole)) { whole } else { text });
                        edits.push(edit);
                    }
                    Put::There if is_known(&edit) => edits.push(edit),
                    Put::There if is_lost || edit.is_named() => {
                        let what = edit.what();
                        notes.push(format!("{}: {what} was there before; 'remove' takes it out", path.display()));
                    }
                    Put::There => {
                        notes.push(format!("{}: {} was there before and stays", path.display(), edit.what()));
                        theirs.push((path.clone(), edit));
                    }
                    Put::Theirs => {
                        notes.push(format!("{}: {} is another one and stays", path.display(), edit.what()));
                        // If it was ours, a removal tells of it too; it may become ours again.
                        edits.extend(Some(edit).filter(is_known));
                    }
                }
            }
            let (before, written) = match kept {
                Some(kept) if after == now => (self.before(kept)?, kept.after.clone()),
                Some(kept) => (self.without(kept, now.as_deref())?, after.clone()),
                None => (now.clone(), after.clone()),
            };
            plans.push(Plan { path, now, before, written, after, edits, made });
        }
        let files = plans.iter().filter(|plan| !plan.edits.is_empty()).map(|plan| plan.kept(name)).collect();
        Ok((plans, Record { files, theirs }))
    }

    /// What a removal does to a file.
    pub(super) fn taken(&self, kept: &Kept, notes: &mut Vec<String>) -> Result<Plan, PluginError> {
        let now = file::read(&kept.path)?;
        let before = self.without(kept, now.as_deref())?;
        if before.is_some() && kept.after != now {
            notes.extend(kept.edits.iter().filter_map(|edit| edit.stays(&kept.path, before.as_deref())));
        }
        let (path, made) = (kept.path.clone(), kept.made.clone());
        Ok(Plan { path, now, after: before.clone(), before, written: None, edits: Vec::new(), made })
    }

    /// What a removal does beside what is on record: what is exactly as an installation writes it goes as well, as where
    /// somebody else installed it, a record was lost, or an agent wrote back an old file of its own.
    pub(super) fn unrecorded(
        &self,
        agent: &Agent,
        scope: &Scope,
        mut plans: Vec<Plan>,
        theirs: &[(PathBuf, Edit)],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Plan>, PluginError> {
        let nothing_known = plans.is_empty();
        let mut targets: Vec<(usize, Edit)> = Vec::new();
        for Target { path, edit, .. } in agent.parts(&self.host, scope)? {
            let path = match file::resolve(&path, scope.limit()) {
                // It is not there.
                Err(PluginError::Kept(_) | PluginError::Dangling(_)) => continue,
                path => path?,
            };
            let at = match plans.iter().position(|plan| plan.path == path) {
                Some(at) => at,
                None => {
                    plans.push(Plan::untouched(path)?);
                    plans.len() - 1
                }
            };
            targets.push((at, edit.exact()));
        }
        let has = |at: usize, edit: &Edit| plans.get(at).is_some_and(|plan| edit.is_in(plan.after.as_deref()));
        // Where our name is nowhere, what is as ours would be is somebody else's.
        let named: Vec<usize> = (0..plans.len())
            .filter(|at| {
                let is_named = |text: &String| text.contains(PROGRAM);
                let is_ours = |(of, edit): &(usize, Edit)| of == at && edit.is_named() && has(*at, edit);
                (nothing_known && plans[*at].now.as_ref().is_some_and(is_named)) || targets.iter().any(is_ours)
            })
            .collect();
        for (at, edit) in targets {
            let Some(plan) = plans.get_mut(at) else { continue };
            let is_theirs = || theirs.iter().any(|(path, known)| *path == plan.path && known.clone().exact() == edit);
            if !edit.is_named() && (!named.contains(&at) || is_theirs()) {
                continue;
            }
            while let Some(text) = plan.after.take() {
                // A file that others may have made stays, though nothing is in it any more.
                let after = edit.take(&text, Some("")).map_err(|fault| fault.of(&plan.path, Some(&text)))?;
                let is_done = after.as_ref() == Some(&text);
                plan.after = after;
                if is_done {
                    break;
                }
            }
            let note = edit.stays(&plan.path, plan.after.as_deref());
            notes.extend(note.filter(|note| !notes.contains(note)));
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
            edit.put(Some(text)).map_err(|fault| fault.of(&kept.path, now))?;
        }
        self.less(kept, &kept.edits, now)
    }

    /// A file without some of what is ours.
    fn less(&self, kept: &Kept, edits: &[Edit], now: Option<&str>) -> Result<Option<String>, PluginError> {
        let before = self.before(kept)?;
        let mut rest = now.map(str::to_owned);
        for edit in edits.iter().rev() {
            let Some(text) = &rest else { break };
            rest = edit.take(text, before.as_deref()).map_err(|fault| fault.of(&kept.path, Some(text)))?;
        }
        Ok(rest)
    }

    /// What a file was before. If the copy is gone, what was written is, without what is ours.
    fn before(&self, kept: &Kept) -> Result<Option<String>, PluginError> {
        let Some(name) = &kept.before else { return Ok(None) };
        match file::kept(self.dir()?, name) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut rest = kept.after.clone().unwrap_or_default();
                for edit in kept.edits.iter().rev() {
                    let less = edit.take(&rest, Some("")).map_err(|fault| fault.of(&kept.path, Some(&rest)))?;
                    rest = less.unwrap_or_default();
                }
                Ok(Some(rest))
            }
            Err(error) => Err(PluginError::io("read", self.path.join(name), error)),
        }
    }
}

impl Plan {
    /// A file that nothing is done to yet, with the directories around it that only we make.
    fn untouched(path: PathBuf) -> Result<Self, PluginError> {
        let now = file::read(&path)?;
        let is_ours = |name: &OsStr| name == PROGRAM || name.as_encoded_bytes().starts_with(EXTENSION);
        let ours = |dir: &&Path| dir.iter().any(is_ours);
        let mut made: Vec<PathBuf> = path.ancestors().skip(1).filter(ours).map(Into::into).collect();
        made.reverse();
        let after = now.clone();
        Ok(Self { path, now, before: None, after, written: None, edits: Vec::new(), made })
    }

    /// Does it; `false`: the file is not any more what it was. Gives the directories that it made for that.
    pub(super) fn carry_out(&self, replacer: &mut Replacer, made: &mut Vec<PathBuf>) -> Result<bool, PluginError> {
        if self.now == self.after {
            replacer.clear(&self.path)?;
            return Ok(true);
        }
        if self.after.is_some() {
            file::make_parents(&self.path, made)?;
        }
        replacer.replace(&self.path, self.now.as_deref(), self.after.as_deref())
    }

    /// As it is put on record, with the name of the copy.
    pub(super) fn kept(&self, record: &str) -> Kept {
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

impl Edit {
    /// What it is, for people.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Json { key, .. } if key.is_empty() => "the entry".to_owned(),
            Self::Json { key, .. } | Self::Toml { key, .. } => format!("`{}`", key.join(".")),
            Self::Section { .. } => "the section".to_owned(),
            Self::File { .. } => "the file".to_owned(),
        }
    }

    /// Whether its name, or what it says, is of us: nobody else writes the very same.
    pub(super) fn is_named(&self) -> bool {
        match self {
            Self::Json { key, value, .. } | Self::Toml { key, value, .. } => {
                key.iter().any(|name| name.contains(PROGRAM)) || value.to_string().contains(PROGRAM)
            }
            Self::Section { .. } | Self::File { .. } => true,
        }
    }

    /// What is to be said if something that is not ours, or not any more, has its place in what a removal leaves.
    fn stays(&self, path: &Path, text: Option<&str>) -> Option<String> {
        let text = text?;
        let refuses = matches!(self, Self::Json { list: true, .. }) && has_hook(text);
        if !refuses && !matches!(self.put(Some(text)), Ok(Put::Theirs)) {
            return None;
        }
        let mut note = format!("{}: {} is not as it was installed and stays", path.display(), self.what());
        if refuses {
            note.push_str("; without agentkernel it refuses every command: delete the entry by hand");
        }
        Some(note)
    }
}

/// Whether a text has a hook that refuses everything once we are gone, by whatever path.
fn has_hook(text: &str) -> bool {
    let begins = |at: usize| text[..at].rsplit('"').next().unwrap_or_default();
    text.match_indices(REFUSES).any(|(at, _)| begins(at).contains(PROGRAM))
}

impl edit::Fault {
    fn of(&self, path: &Path, text: Option<&str>) -> PluginError {
        let (line, column) = self.place(text.unwrap_or_default());
        PluginError::Fault { path: path.into(), line, column, cause: self.cause.clone() }
    }
}
