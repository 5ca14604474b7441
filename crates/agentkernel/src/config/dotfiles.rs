//! Hides what links lead to in a project that a person has in the place of his settings, as with dotfiles that are kept in a
//! repository: what a sandbox writes there, his programs obey.

use super::{HostFacts, git::Person};
use crate::walk;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// Directories of agents below a home directory, in which they keep what they obey.
pub(crate) const AGENTS: [&str; 10] = [
    ".agents",
    ".claude",
    ".codex",
    ".copilot",
    ".crush",
    ".gemini",
    ".qwen",
    ".config/amp",
    ".config/crush",
    ".config/opencode",
];
/// Directories in these in which each entry is obeyed by itself.
const WITHIN: [&str; 13] = [
    "agent",
    "agents",
    "command",
    "commands",
    "extensions",
    "hooks",
    "output-styles",
    "plugin",
    "plugins",
    "prompts",
    "rules",
    "skills",
    "tools",
];
/// Variables that name such a directory, and what is beneath it.
pub(crate) const VARIABLES: [(&str, &str); 5] = [
    ("CLAUDE_CONFIG_DIR", ""),
    ("CODEX_HOME", ""),
    ("COPILOT_HOME", ""),
    ("GEMINI_CLI_HOME", ".gemini"),
    ("OPENCODE_CONFIG_DIR", ""),
];
/// Where an agent makes worktrees of projects in its own.
const WORKTREES: &str = "worktrees";

/// The most links of a person that are looked at.
const MOST: usize = 4096;
/// Symbolic links in one path, as many as the kernel follows.
const MOST_LINKS: u32 = 40;

/// What links lead to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Leads {
    /// Paths below the project that decide what somebody obeys.
    pub(super) within: BTreeSet<PathBuf>,
    /// A place of an agent's that is the project, or that the project is in.
    pub(super) around: Option<PathBuf>,
}

/// What of a project, an absolute path without links, is led to by the links of these people, and is in the directories that
/// variables of the caller's name.
pub(super) fn leads(project: &Path, people: &[Person], host: &HostFacts) -> Leads {
    let mut search = Search { project, links: 0, leads: Leads::default() };
    let named = |(name, beneath): &(&str, &str)| host.var(name).map(|dir| Path::new(dir).join(beneath));
    let dirs: Vec<PathBuf> = VARIABLES.iter().filter_map(named).filter(|dir| dir.is_absolute()).collect();
    for dir in &dirs {
        search.agent(dir);
        search.walk(dir, true);
    }
    for Person { home, config } in people {
        search.links_in(home, false, |name| name.starts_with('.'));
        let configs: BTreeSet<PathBuf> = config.iter().cloned().chain([home.join(".config")]).collect();
        for config in &configs {
            search.links_in(config, false, |_| true);
        }
        let named = |name: &&str| match name.strip_prefix(".config/") {
            Some(name) => configs.iter().map(|config| config.join(name)).collect(),
            None => vec![home.join(name)],
        };
        AGENTS.iter().flat_map(named).for_each(|dir| search.agent(&dir));
    }
    search.leads
}

struct Search<'a> {
    project: &'a Path,
    links: usize,
    leads: Leads,
}

impl Search<'_> {
    /// Looks at the links in a directory of an agent's.
    fn agent(&mut self, dir: &Path) {
        for (dir, name) in self.links_in(dir, true, |_| true) {
            if WITHIN.iter().any(|within| name == *within) {
                self.links_in(&dir, true, |_| true);
            }
        }
    }

    /// Looks at the links of these names in a directory, and gives the directories in it.
    fn links_in(&mut self, dir: &Path, of_agent: bool, is_one: impl Fn(&str) -> bool) -> Vec<(PathBuf, OsString)> {
        let mut dirs = Vec::new();
        // What can't be read is not obeyed either.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push((entry.path(), entry.file_name())),
                Ok(kind) if kind.is_symlink() && self.links < MOST && is_one(&entry.file_name().to_string_lossy()) => {
                    self.links += 1;
                    self.walk(&entry.path(), of_agent);
                }
                _ => {}
            }
        }
        dirs
    }

    /// Notes what is in the project of a path, and of the links on the way.
    fn walk(&mut self, path: &Path, of_agent: bool) {
        let (mut at, mut links) = (PathBuf::new(), 0);
        let mut rest = walk::parts(path);
        while let Some(name) = rest.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(name);
            match fs::read_link(&next) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    self.note(&next);
                    rest.extend(walk::parts(&target));
                }
                _ => at = next,
            }
        }
        self.note(&at);
        let is_worktree = self.project.parent().is_some_and(|dir| dir.starts_with(at.join(WORKTREES)));
        if of_agent && self.project.starts_with(&at) && !is_worktree && self.leads.around.is_none() {
            self.leads.around = Some(path.to_owned());
        }
    }

    fn note(&mut self, path: &Path) {
        if let Some(below) = path.strip_prefix(self.project).ok().filter(|below| !below.as_os_str().is_empty()) {
            self.leads.within.insert(below.to_owned());
        }
    }
}

#[cfg(test)]
#[path = "dotfiles_tests.rs"]
mod tests;
