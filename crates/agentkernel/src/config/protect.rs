//! The paths of a project that stay read-only: what programs outside the sandbox would run or obey later.

use super::git;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Protected in every direct workspace, whether they exist or not.
pub(crate) const BUILT_IN: [&str; 60] = [
    super::project::FILE_NAME,
    // Adapters of agents.
    ".agentkernel",
    // Says which images are used.
    super::lock::FILE_NAME,
    // git runs hooks, and whatever its configuration names as pager, editor, filter or fsmonitor.
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    // Names another directory to take configuration and hooks from.
    ".git/commondir",
    ".git/modules",
    ".githooks",
    ".husky",
    // The shell or the editor runs these when a directory is entered.
    ".envrc",
    ".vscode",
    ".idea",
    ".zed",
    ".fleet",
    ".helix",
    ".vim/coc-settings.json",
    ".devcontainer",
    ".devcontainer.json",
    // Agents that run outside read commands, hooks and tool servers from these.
    ".mcp.json",
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".claude/hooks",
    ".claude/agents",
    ".claude/commands",
    ".claude/skills",
    ".claude/output-styles",
    ".claude/workflows",
    // What is done later, or again and again, without a further word.
    ".claude/routines",
    ".claude/scheduled_tasks.json",
    ".claude/launch.json",
    ".claude/loop.md",
    ".cursor",
    ".codex",
    ".agents",
    ".gemini",
    ".qwen",
    ".amp",
    ".opencode",
    "opencode.json",
    "opencode.jsonc",
    ".windsurf",
    ".junie",
    ".mcphub",
    ".aider.conf.yml",
    ".aider.model.settings.yml",
    ".aider.model.metadata.json",
    ".crush.json",
    "crush.json",
    // A shell's script, which it runs.
    ".crushrc",
    "crushrc",
    "tui.json",
    "tui.jsonc",
    ".github/hooks",
    ".github/copilot",
    ".github/mcp.json",
    ".github/lsp.json",
    ".github/extensions",
    ".github/agents",
    ".github/skills",
];

/// What means something at the top of a project alone; and the same where that is a repository.
const AT_TOPS: [&str; 3] = [REPOSITORY, ".githooks", ".husky"];
const AT_REPOSITORIES: &str = ".github";
/// With it, a directory would be a repository of its own.
const REPOSITORY: &str = ".git";

/// Files that mean something only to a tool that the project uses: if one of a line exists, all of them are protected.
pub(super) const IF_USED: [&[&str]; 19] = [
    &[".pre-commit-config.yaml", ".pre-commit-config.yml", "prek.toml"],
    // Each of these overrides, or is merged into, another one.
    &[
        "lefthook.yml",
        "lefthook.yaml",
        "lefthook.toml",
        "lefthook.json",
        "lefthook.jsonc",
        ".lefthook.yml",
        ".lefthook.yaml",
        ".lefthook.toml",
        ".lefthook.json",
        ".lefthook.jsonc",
        "lefthook-local.yml",
        "lefthook-local.yaml",
        "lefthook-local.toml",
        "lefthook-local.json",
        "lefthook-local.jsonc",
        ".lefthook-local.yml",
        ".lefthook-local.yaml",
        ".lefthook-local.toml",
        ".lefthook-local.json",
        ".lefthook-local.jsonc",
        ".config/lefthook.yml",
        ".config/lefthook.yaml",
        ".config/lefthook.toml",
        ".config/lefthook.json",
        ".config/lefthook.jsonc",
        ".config/lefthook-local.yml",
        ".config/lefthook-local.yaml",
        ".config/lefthook-local.toml",
        ".config/lefthook-local.json",
        ".config/lefthook-local.jsonc",
        // Its scripts.
        ".lefthook",
        ".lefthook-local",
    ],
    &[
        "mise.toml",
        // Says which others are read.
        ".miserc.toml",
        ".config/miserc.toml",
        ".mise.toml",
        "mise.local.toml",
        ".mise.local.toml",
        ".mise",
        "mise",
        ".config/mise.toml",
        ".config/mise.local.toml",
        ".config/mise",
    ],
    &[".continue"],
    // What other systems for versions have in the place of git's configuration, beside what each repository of theirs has.
    &[".hg/requires", ".hg/hgrc"],
    &[".sl/requires", ".sl/config"],
    &[".jj/repo/store/type", ".jj/repo/config.toml"],
    // What it writes first where it keeps its sessions, and what it obeys there.
    &[".crush/.gitignore", ".crush/crush.json"],
    &[".amazonq"],
    &[".augment"],
    &[".cline", ".clinerules"],
    &[".factory"],
    &[".kilocode"],
    &[".kiro"],
    &[".pi"],
    &[".roo"],
    &[".trae"],
    // What an editor runs that was asked once, or told to.
    &[".exrc", ".nvimrc", ".nvim.lua", ".dir-locals.el", ".dir-locals-2.el"],
    &[".run"],
];

/// The built-in list, what git's configuration leads to, and the project's own, each path once, without those that the
/// user gives up: each with what is below it. Agents and editors look for theirs where they are started, in one of `starts` below
/// the project, and on the way from there to the top, so that there they are protected as well. An error is the one of these that
/// is not protected.
pub(super) fn list(
    project: &Path,
    starts: &[&Path],
    people: &[git::Person],
    own: &[PathBuf],
    given_up: &[PathBuf],
    environments: &[String],
) -> Result<Vec<PathBuf>, PathBuf> {
    let built_in = || BUILT_IN.iter().map(PathBuf::from);
    let mut list: Vec<PathBuf> = built_in().chain(used(project, environments)).collect();
    for path in git::leads(project, people).iter().chain(own) {
        if !list.contains(path) {
            list.push(path.clone());
        }
    }
    for gone in given_up {
        if !list.iter().any(|path| path.starts_with(gone)) {
            return Err(gone.clone());
        }
    }
    let is_kept = |path: &Path| !given_up.iter().any(|gone| path.starts_with(gone));
    list.retain(|path| is_kept(path));
    let is_repository = project.join(REPOSITORY).symlink_metadata().is_ok();
    let dirs: BTreeSet<&Path> = starts.iter().flat_map(|start| start.ancestors()).collect();
    for dir in dirs.into_iter().filter(|dir| !dir.as_os_str().is_empty()) {
        let here = built_in().chain(used(&project.join(dir), environments));
        let here = here.filter(|path| is_obeyed_below(path, is_repository));
        let here = here.chain([PathBuf::from(REPOSITORY)]).filter(|path| is_kept(path));
        list.extend(here.map(|path| dir.join(path)));
    }
    Ok(list)
}

/// Whether a list of protected paths has all that is obeyed in a directory below the top.
pub(crate) fn has_all_of(dir: &Path, protected: &[PathBuf]) -> bool {
    let mut all = BUILT_IN.iter().map(Path::new).filter(|path| is_obeyed_below(path, true));
    all.all(|path| protected.contains(&dir.join(path)))
}

/// Whether something is obeyed below the top of a project, too.
fn is_obeyed_below(path: &Path, is_repository: bool) -> bool {
    let mut tops = AT_TOPS.iter().chain(is_repository.then_some(&AT_REPOSITORIES));
    !tops.any(|top| path.starts_with(top))
}

/// What mise reads besides for an environment, in whose place the name stands.
const OF_ENVIRONMENTS: [&str; 6] = [
    "mise.*.toml",
    "mise.*.local.toml",
    ".mise.*.toml",
    ".mise.*.local.toml",
    ".config/mise.*.toml",
    ".config/mise.*.local.toml",
];
/// Where it is told which, in a project.
const NAME_ENVIRONMENTS: [&str; 2] = [".miserc.toml", ".config/miserc.toml"];

/// The names of mise's environments that such a file may name: whatever could be one, so that no version of it is missed.
pub(super) fn environments(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let words = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = words.flat_map(|line| line.split(|c| !is_part(c)));
    let mut words: Vec<String> = words.filter(|word| !word.is_empty() && word.len() <= 64).map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words.truncate(32);
    words
}

/// What a directory's tools use; mise in these environments, beside those that are named there.
fn used(dir: &Path, environments: &[String]) -> Vec<PathBuf> {
    // One listing costs less than to ask for each.
    let top: Vec<OsString> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    let exists = move |path: &&str| match path.split_once('/') {
        Some((first, _)) if !top.iter().any(|name| name == first) => false,
        Some(_) => dir.join(path).symlink_metadata().is_ok(),
        None => top.iter().any(|name| name == path),
    };
    let lines: Vec<_> = IF_USED.iter().filter(|line| line.iter().any(&exists)).collect();
    let mut used: Vec<PathBuf> = lines.into_iter().copied().flatten().map(PathBuf::from).collect();
    if used.iter().any(|path| NAME_ENVIRONMENTS.iter().any(|name| path == Path::new(name))) {
        // A file of the project's, of which words are taken: a large one is no such file.
        let read = |name: &&str| {
            let path = dir.join(name);
            let small = path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() < 64 * 1024);
            small.then(|| std::fs::read_to_string(path).ok()).flatten()
        };
        let named = NAME_ENVIRONMENTS.iter().filter_map(read).flat_map(|text| self::environments(&text));
        let all: BTreeSet<String> = environments.iter().cloned().chain(named).collect();
        let of = |name: &String| OF_ENVIRONMENTS.map(|pattern| PathBuf::from(pattern.replace('*', name)));
        used.extend(all.iter().flat_map(of));
    }
    used
}

/// Whether something is nothing but a socket or an empty directory: what a sandbox puts in the place of a protected path
/// that does not exist.
pub(super) fn is_placeholder(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|meta| {
        meta.file_type().is_socket()
            || meta.is_dir() && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    })
}

/// Why this directory can't be a workspace; `None` if it can. Whatever is in a workspace is in the hands of the
/// agent: a whole home directory or a part of the system must never get there by a command in the wrong place.
pub(crate) fn refuse<'a>(path: &Path, homes: impl Iterator<Item = &'a Path>) -> Option<String> {
    /// With everything below them.
    const TREES: [&str; 15] = [
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        "/boot",
        "/bin",
        "/sbin",
        "/lib",
        "/lib32",
        "/lib64",
        "/libx32",
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/usr/share",
    ];
    /// Themselves only.
    const PLACES: [&str; 14] = [
        "/usr",
        "/usr/local",
        "/home",
        "/root",
        "/var",
        "/var/lib",
        "/var/tmp",
        "/tmp",
        "/opt",
        "/srv",
        "/mnt",
        "/media",
        "/run",
        "/nix",
    ];
    /// Below a home directory, with everything below them.
    const SECRETS: [&str; 13] = [
        ".ssh", ".gnupg", ".aws", ".kube", ".docker", ".config", ".local",
        // What agents log in with, and obey outside.
        ".claude", ".codex", ".gemini", ".qwen", ".copilot", ".crush",
    ];
    /// Worktrees that an agent makes there.
    const WORKTREES: &str = ".codex/worktrees";
    if path == Path::new("/") {
        return Some("it is the root directory".into());
    }
    for home in homes {
        if path == home {
            return Some("it is your home directory".into());
        }
        if home.starts_with(path) {
            return Some("your home directory is in it".into());
        }
        let trees = home.join(WORKTREES);
        let trees = [trees.canonicalize().unwrap_or_else(|_| trees.clone()), trees];
        if trees.iter().any(|trees| path.starts_with(trees) && path != trees) {
            continue;
        }
        for secret in SECRETS {
            let place = home.join(secret);
            if path.starts_with(&place) {
                return Some(format!("it is in ~/{secret}"));
            }
            // Where it is a link, as with dotfiles that are kept elsewhere.
            let real = place.canonicalize().unwrap_or(place);
            if path.starts_with(&real) {
                return Some(format!("~/{secret} leads there"));
            }
            if real.starts_with(path) {
                return Some(format!("~/{secret} leads into it"));
            }
        }
    }
    if let Some(tree) = TREES.iter().find(|tree| path.starts_with(tree)) {
        return Some(format!("{tree} belongs to the system"));
    }
    PLACES.iter().any(|place| path == Path::new(place)).then(|| "it belongs to the system".into())
}
