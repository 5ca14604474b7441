//! What git's configuration leads to in a project, so that it can be protected like the configuration itself.
//!
//! Git runs the hooks of `core.hooksPath`, obeys what `include.path` names, and runs the commands of many variables
//! (git-config(1)) without being asked. Rather too much is found than too little: conditions of an include are taken to
//! hold, and what a command only reads is found with what it runs. Aliases are left out: who gives one asks for what it
//! runs, as with `make`.

use super::file::open_regular;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

/// Bytes of a file that are looked at. Git's own files have some hundred.
const MAX_LEN: u64 = 1 << 20;
/// Files that are looked at, included ones too: one may include itself.
const MAX_FILES: usize = 64;

/// How the names of variables end whose values are commands.
const COMMANDS: [&[u8]; 22] = [
    b"askpass",
    b"browser",
    b"clean",
    b"cmd",
    b"command",
    b"difffilter",
    b"driver",
    b"editor",
    b"external",
    b"fsmonitor",
    b"gitproxy",
    b"helper",
    b"hook",
    b"httpd",
    b"pager",
    b"process",
    b"program",
    b"receivepack",
    b"smudge",
    b"textconv",
    b"tunnel",
    b"uploadpack",
];
/// Sections whose `path` is a program.
const TOOLS: [&[u8]; 5] = [b"browser", b"difftool", b"guitool", b"man", b"mergetool"];

/// What git runs from the directory of `core.hooksPath` (githooks(5)).
const HOOKS: [&str; 28] = [
    "applypatch-msg",
    "pre-applypatch",
    "post-applypatch",
    "pre-commit",
    "pre-merge-commit",
    "prepare-commit-msg",
    "commit-msg",
    "post-commit",
    "pre-rebase",
    "post-checkout",
    "post-merge",
    "pre-push",
    "pre-receive",
    "update",
    "proc-receive",
    "post-receive",
    "post-update",
    "reference-transaction",
    "push-to-checkout",
    "pre-auto-gc",
    "post-rewrite",
    "sendemail-validate",
    "fsmonitor-watchman",
    "p4-changelist",
    "p4-prepare-changelist",
    "p4-post-changelist",
    "p4-pre-submit",
    "post-index-change",
];

/// Everybody's configuration.
pub(super) const SYSTEM: [&str; 2] = ["/etc/gitconfig", "/usr/local/etc/gitconfig"];

/// Somebody who uses git: where his configuration is.
#[derive(Clone, Debug)]
pub(super) struct Person {
    /// His home directory.
    pub(super) home: PathBuf,
    /// `$XDG_CONFIG_HOME`, if it is known.
    pub(super) config: Option<PathBuf>,
}

/// What stands before the path in a file that says where a repository is.
const GITDIR: &[u8] = b"gitdir: ";

/// Paths below `project` that git would run or obey, by the configuration of its repository, of these people, and of the
/// system.
pub(super) fn leads(project: &Path, people: &[Person]) -> BTreeSet<PathBuf> {
    let top = top(project);
    let mut found = BTreeSet::new();
    let system = SYSTEM.map(PathBuf::from);
    let of_repository = of_repository(top);
    // For each all files: what begins with `~` means another one.
    for person in people {
        let mut search = Search { project, top, home: &person.home, own: true, found, files: Vec::new() };
        let own = [person.home.join(".gitconfig"), person.home.join(".config/git/config")];
        let other = person.config.as_ref().map(|config| config.join("git/config"));
        for (is_own, files) in [(true, &of_repository[..]), (false, &own), (false, other.as_slice()), (false, &system)]
        {
            search.own = is_own;
            files.iter().for_each(|file| search.file(file.clone()));
        }
        found = search.found;
    }
    found
}

/// The working tree that a project is in.
pub(super) fn top(project: &Path) -> &Path {
    project.ancestors().find(|dir| dir.join(".git").symlink_metadata().is_ok()).unwrap_or(project)
}

/// The configuration of a working tree's own repository.
pub(super) fn of_repository(top: &Path) -> [PathBuf; 2] {
    [common(top).join("config"), directory(top).join("config.worktree")]
}

/// Where git keeps the repository of a project that has nothing of it but a file that says so: the project is a worktree of it,
/// or a submodule.
#[must_use]
pub fn repository_elsewhere(project: &Path) -> Option<PathBuf> {
    let is_pointer = pointer(&project.join(".git"), GITDIR).is_some();
    let common = common(project).canonicalize().ok().filter(|_| is_pointer)?;
    (!common.starts_with(project)).then_some(common)
}

/// What all worktrees of a repository have in common.
fn common(top: &Path) -> PathBuf {
    let dir = directory(top);
    pointer(&dir.join("commondir"), b"").map_or_else(|| dir.clone(), |common| dir.join(common))
}

/// Where the repository of a working tree is: there, or where a file says (gitrepository-layout(5)).
fn directory(top: &Path) -> PathBuf {
    let git = top.join(".git");
    pointer(&git, GITDIR).map_or(git, |dir| top.join(dir))
}

/// The path that is all that a file has after `prefix`.
fn pointer(file: &Path, prefix: &[u8]) -> Option<PathBuf> {
    let text = read(file)?;
    let path = text.strip_prefix(prefix)?.trim_ascii_end();
    (!path.is_empty()).then(|| Path::new(OsStr::from_bytes(path)).to_owned())
}

/// A file's text; `None` if there is none, or it is none that git could read.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    open_regular(path).ok()?.take(MAX_LEN).read_to_end(&mut text).ok()?;
    Some(text)
}

struct Search<'a> {
    project: &'a Path,
    /// Of the working tree, where hooks and commands run.
    top: &'a Path,
    /// Of who uses it.
    home: &'a Path,
    /// Whether it is the repository's own configuration that is looked at.
    own: bool,
    found: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
}

impl Search<'_> {
    /// Looks through a file of configuration, and through what it includes.
    fn file(&mut self, path: PathBuf) {
        if self.files.len() == MAX_FILES || self.files.contains(&path) {
            return;
        }
        let text = read(&path);
        self.files.push(path.clone());
        let dir = path.parent().unwrap_or(&path);
        for (section, name, value) in text.iter().flat_map(|text| variables(text)) {
            match (section.as_slice(), name.as_slice()) {
                (b"include" | b"includeif", b"path") => {
                    if let Some(path) = self.resolve(dir, &value).filter(|path| !path.is_dir()) {
                        self.note(&path);
                        self.file(path);
                    }
                }
                (b"core", b"hookspath") => {
                    match self.resolve(self.top, &value) {
                        // All of it cannot be read-only.
                        Some(path) if fs::canonicalize(&path).is_ok_and(|path| path == self.project) => {
                            HOOKS.iter().for_each(|hook| self.note(&path.join(hook)));
                        }
                        Some(path) => self.note(&path),
                        None => {}
                    }
                }
                _ => self.words(&section, &name, &value),
            }
        }
    }

    /// Notes the files of the project that a value names. One that is not there yet only if a command of the repository's
    /// own configuration names it, and its directory is there: nothing else is to be kept from being made.
    fn words(&mut self, section: &[u8], name: &[u8], value: &[u8]) {
        if section == b"alias" {
            return;
        }
        let command = section == b"pager"
            || COMMANDS.iter().any(|end| name.ends_with(end))
            || name == b"path" && TOOLS.contains(&section);
        let words = value.split(|byte| byte.is_ascii_whitespace() || b"!'\"`;&|(){}<>=".contains(byte));
        for (index, word) in words.filter(|word| !word.is_empty()).enumerate() {
            let slash = word.contains(&b'/');
            // The shell looks for the first word elsewhere if it has no slash.
            if word.starts_with(b"-") || !(slash || command && index > 0) {
                continue;
            }
            let Some(path) = self.resolve(self.top, word) else { continue };
            let runs = command && self.own && slash;
            match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => self.note(&path),
                Err(_) if runs && path.parent().is_some_and(Path::is_dir) => self.note(&path),
                Err(_) => {}
            }
        }
    }

    /// What a path in a file means. There are no others that lead into a project.
    fn resolve(&self, dir: &Path, path: &[u8]) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(path));
        let path = path.strip_prefix("~").map_or_else(|_| dir.join(path), |rest| self.home.join(rest));
        let mut plain = PathBuf::new();
        for component in path.components() {
            match component {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        (!path.as_os_str().as_bytes().contains(&0)).then_some(plain)
    }

    /// Notes a path if it is in the project, and what it leads to by links if that is.
    fn note(&mut self, path: &Path) {
        let real = fs::canonicalize(path).ok();
        for path in real.as_deref().into_iter().chain([path]) {
            if let Ok(below) = path.strip_prefix(self.project)
                && !below.as_os_str().is_empty()
            {
                self.found.insert(below.to_owned());
            }
        }
    }
}

/// The variables of a file (git-config(1), "Syntax"): section and name in lower case, and value. What git would not
/// understand is passed over.
pub(super) fn variables(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut variables = Vec::new();
    let mut section = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None => return variables,
            Some(b'[') => {
                let end = header(rest);
                let name = rest[1..end].split(|byte| b" \t\".]".contains(byte)).next().unwrap_or_default();
                section = name.to_ascii_lowercase();
                rest = &rest[end..];
                rest = rest.strip_prefix(b"]").unwrap_or(rest);
            }
            Some(byte) if byte.is_ascii_alphabetic() => {
                let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
                let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
                let after = &after[after.iter().take_while(|byte| b" \t".contains(byte)).count()..];
                rest = after;
                if let Some(after) = after.strip_prefix(b"=") {
                    let (text, after) = value(after);
                    variables.push((section.clone(), name.to_ascii_lowercase(), text));
                    rest = after;
                }
            }
            // A comment, or a mistake.
            Some(_) => rest = &rest[line(rest)..],
        }
    }
}

/// Where a section's header ends: at its bracket, or with the line.
fn header(text: &[u8]) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => return index,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted => return index,
            _ => {}
        }
    }
    text.len()
}

/// Where the line ends.
fn line(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len())
}

/// A value without its quotes, and what follows its last line.
fn value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut quoted = false;
    // As long as the value is, with blanks in quotes.
    let mut length = 0;
    let mut bytes = text.iter().enumerate();
    let end = loop {
        match bytes.next() {
            None => break text.len(),
            Some((index, b'\n')) => break index,
            Some((_, b'"')) => quoted = !quoted,
            Some((index, b'#' | b';')) if !quoted => break index + line(&text[index..]),
            Some((_, b'\\')) => match bytes.next() {
                None | Some((_, b'\n')) => {}
                Some((_, byte)) => {
                    value.push(match byte {
                        b'n' => b'\n',
                        b't' => b'\t',
                        other => *other,
                    });
                    length = value.len();
                }
            },
            Some((_, byte)) if !quoted && byte.is_ascii_whitespace() => {
                if length > 0 {
                    value.push(*byte);
                }
            }
            Some((_, byte)) => {
                value.push(*byte);
                length = value.len();
            }
        }
    };
    value.truncate(length);
    (value, &text[end..])
}

#[cfg(test)]
#[path = "git_tests.rs"]
mod tests;
