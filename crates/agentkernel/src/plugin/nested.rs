//! Files that Claude Code may take a skill or a command from, and that a sandbox could have made: hides how one is found that may
//! have a certain name. What Claude Code makes of a file is not foretold: one that has not certainly another name may have it.

use crate::config;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Places in a project where no sandbox of it writes.
const PROTECTED: [&str; 2] = [".claude/skills", ".claude/commands"];
/// So many names are looked at. How deep they lie is bound by how long a path can be.
const MOST_NAMES: usize = 500_000;
/// So many files are read, of so many bytes each.
const MOST_FILES: usize = 1000;
const MAX_FILE: u64 = 1 << 20;

/// What a directory is to Claude Code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    /// A `.claude`.
    Claude,
    /// One with skills or commands, or in it.
    Skills,
}

/// A directory that is still to be looked through.
struct Dir {
    path: PathBuf,
    kind: Kind,
    /// What those are called that it lies in, from the place of skills on.
    names: Vec<String>,
}

/// A search for a name.
struct Search<'a> {
    roots: &'a [PathBuf],
    /// The name, and its parts, by what counts in them.
    wanted: BTreeSet<String>,
    left: Vec<Dir>,
    names: usize,
    files: usize,
}

/// Whether a path without links lies where no sandbox of these projects writes.
pub(super) fn is_out_of_reach(roots: &[PathBuf], real: &Path) -> bool {
    let is_protected = |root: &PathBuf| {
        real.strip_prefix(root).map_or(true, |below| PROTECTED.iter().any(|place| below.starts_with(place)))
    };
    roots.iter().all(is_protected)
}

/// What in these projects, or by links of their user's in those places, may have a name and be a sandbox's work, as the words that
/// a human is told.
pub(super) fn namesake(roots: &[PathBuf], places: &[PathBuf], name: &str) -> Option<String> {
    let mut search = Search { roots, wanted: keys(name).collect(), left: Vec::new(), names: 0, files: 0 };
    let dir = |path: &Path, kind| Dir { path: path.to_path_buf(), kind, names: Vec::new() };
    let outer = |root: &&PathBuf| !roots.iter().any(|other| other != *root && root.starts_with(other));
    search.left.extend(roots.iter().filter(outer).map(|root| dir(root, Kind::Any)));
    for place in places.iter().flat_map(|place| ["skills", "commands"].map(|name| place.join(name))) {
        let real = place.canonicalize().ok().filter(|real| !roots.iter().any(|root| real.starts_with(root)));
        search.left.extend(real.map(|real| dir(&real, Kind::Skills)));
    }
    search.run().err()
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(dir) = self.left.pop() {
            let failed = |error| format!("{} can't be looked through ({error}), so", dir.path.display());
            let entries = match fs::read_dir(&dir.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(failed)?,
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let (name, kind) = (entry.file_name(), entry.file_type().map_err(failed)?);
                self.names += 1;
                if self.names > MOST_NAMES {
                    return Err(format!(
                        "{} and what lies beside it has too many files to look at, so",
                        dir.path.display()
                    ));
                }
                if kind.is_symlink() {
                    self.link(&dir, &name)?;
                } else if kind.is_dir() {
                    let (path, kind) = (dir.path.join(&name), dir.below(&name));
                    self.left.push(Dir { path, kind, names: dir.with(&name, kind) });
                } else if dir.is_told_by(&name) && !is_out_of_reach(self.roots, &dir.path) {
                    self.file(&dir.path.join(&name), &dir.with(&name, dir.kind))?;
                }
            }
        }
        Ok(())
    }

    /// A link is followed where none but its user can lay one.
    fn link(&mut self, dir: &Dir, name: &OsStr) -> Result<(), String> {
        let (path, kind) = (dir.path.join(name), dir.below(name));
        let real = match path.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("{} can't be followed ({error}), so", path.display())),
            Ok(real) => real,
        };
        let (is_dir, is_inside) = (real.is_dir(), self.roots.iter().any(|root| real.starts_with(root)));
        if !is_dir && !dir.is_told_by(name) || kind == Kind::Any && is_inside {
            // What is inside is found by its own path.
            return Ok(());
        }
        let is_users = is_out_of_reach(self.roots, &path) || kind == Kind::Claude && self.roots.contains(&dir.path);
        match is_users {
            true if is_out_of_reach(self.roots, &real) => Ok(()),
            true if is_dir => {
                self.left.push(Dir { path: real, kind, names: dir.with(name, kind) });
                Ok(())
            }
            true => self.file(&real, &dir.with(name, dir.kind)),
            false => Err(format!("The link {} leads to {}, so", path.display(), real.display())),
        }
    }

    /// Whether a file certainly has another name, by what it and its directories are called, and by what it says.
    fn file(&mut self, path: &Path, names: &[String]) -> Result<(), String> {
        let may_be = |name: &str| !name.is_ascii() || keys(name).any(|key| self.wanted.contains(&key));
        self.files += 1;
        let is_another = self.files <= MOST_FILES && !names.iter().any(|name| may_be(name)) && {
            let text = config::read_own(path, MAX_FILE).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.is_some_and(|text| head(&text).is_some_and(|values| !values.into_iter().any(may_be)))
        };
        if is_another { Ok(()) } else { Err(format!("Of {},", path.display())) }
    }
}

impl Dir {
    /// What a directory of this name in it is.
    fn below(&self, name: &OsStr) -> Kind {
        let is = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
        match self.kind {
            Kind::Skills => Kind::Skills,
            Kind::Claude if is(&["skills", "commands"]) => Kind::Skills,
            _ if is(&[".claude"]) => Kind::Claude,
            _ => Kind::Any,
        }
    }

    /// The names in what lies in it under this one.
    fn with(&self, name: &OsStr, kind: Kind) -> Vec<String> {
        let mut names = self.names.clone();
        if self.kind == Kind::Skills && kind == Kind::Skills {
            let name = name.to_string_lossy();
            names.extend(Path::new(&*name).file_stem().map(|stem| stem.to_string_lossy().into_owned()));
            names.push(name.into_owned());
        }
        names
    }

    /// Whether a file of this name in it may be a skill or a command.
    fn is_told_by(&self, name: &OsStr) -> bool {
        let end = Path::new(name).extension();
        self.kind == Kind::Skills && end.is_some_and(|end| end.eq_ignore_ascii_case("md"))
    }
}

/// A name and its parts, by their letters and digits alone: the least in which two of them have to differ.
fn keys(name: &str) -> impl Iterator<Item = String> {
    let key = |part: &str| {
        part.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    std::iter::once(name).chain(name.split(':')).map(key)
}

/// The values before a text, if they are of the plainest form, which nobody reads in two ways.
fn head(text: &str) -> Option<Vec<&str>> {
    let mut lines = text.lines();
    if lines.next() != Some("---") {
        let begin = text.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '\u{feff}');
        return (!begin.starts_with('-')).then(Vec::new);
    }
    let (mut values, mut names, mut is_open) = (Vec::new(), 0, false);
    for line in lines {
        if line == "---" {
            return (names <= 1).then_some(values);
        }
        // What belongs to a key without a value is no key of the outermost, such as hooks; but for who goes by lines alone.
        if is_open && line.starts_with([' ', '-']) {
            let said = line.trim_start_matches([' ', '-', '"', '\'', '?', '{', '[']).to_ascii_lowercase();
            let is_plain = line.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !line.contains("---");
            if said.starts_with("name") || !is_plain {
                return None;
            }
            continue;
        }
        let (key, value) = line.split_once(':')?;
        let is_key = |key: &str| {
            key.starts_with(|first: char| first.is_ascii_alphabetic())
                && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
        };
        let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'\\')
            && ["---", " #", ": "].iter().all(|mark| !value.contains(mark));
        if !is_key(key) || !is_plain || !(value.is_empty() || value.starts_with(' ')) {
            return None;
        }
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let begins = |first: char| first.is_ascii_alphanumeric() || "./~$(_".contains(first);
        match quoted {
            Some(inner) if inner.contains(['"', '\'']) => return None,
            None if !value.is_empty() && !value.starts_with(begins) => return None,
            _ => values.push(quoted.unwrap_or(value)),
        }
        let is_name = key.eq_ignore_ascii_case("name");
        names += u32::from(is_name);
        is_open = value.is_empty() && !is_name;
    }
    None
}

#[cfg(test)]
#[path = "nested_tests.rs"]
mod tests;
