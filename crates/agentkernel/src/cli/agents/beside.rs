//! Hides where the user's own leads beside itself: by links that lie in it, and by what a text names to be read with it.

use crate::agents::Form;
use std::{
    ops::Range,
    path::{Component, Path, PathBuf},
};

/// How deep texts are looked at that others name, and how many: Claude Code's five.
const DEEPEST: usize = 5;
const MOST: usize = 100;
/// How settings name a file whose text is meant.
const REFERENCE: &str = "{file:";
/// The longest text that is looked at, in bytes.
const LONGEST: u64 = 1 << 20;

/// What something of the user's leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// Where it is.
    pub(super) real: PathBuf,
    /// Where it must be below the home directory for the agent to find it; `None` if that is elsewhere.
    pub(super) inside: Option<PathBuf>,
    /// What it is called where it does not come along.
    pub(super) named: String,
    /// How the agent reads it, by the name by which it finds it.
    pub(super) form: Option<Form>,
    /// Whether each file of a known form in it is one of settings.
    pub(super) all: bool,
}

/// What links lead to that lie in a directory, which is at `below`, and lead out of it. If `all`, it is one of settings.
pub(super) fn links_in(dir: &Path, below: &Path, all: bool) -> Vec<Beside> {
    let Ok(root) = dir.canonicalize() else { return Vec::new() };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    let led = |link: std::fs::DirEntry| {
        // One that leads nowhere is nothing to its user either.
        let real = link.path().canonicalize().ok().filter(|real| !real.starts_with(&root))?;
        let inside = std::fs::read_link(link.path()).ok().and_then(|to| lexical(&below.join(to)));
        let named = format!("~/{} (a link to {})", below.join(link.file_name()).display(), real.display());
        Some(Beside { real, inside, named, form: Form::of(&link.path()), all })
    };
    links.filter_map(led).collect()
}

/// What a text of the user's, which is at `below` in his home directory `own`, names as `@PATH`; and what that names, if it lies
/// with the first: elsewhere a sandbox of another project may have written it. `outside` says where something below the home
/// directory is.
pub(super) fn imports_in(path: &Path, below: &Path, own: &Path, outside: &dyn Fn(&Path) -> PathBuf) -> Vec<Beside> {
    let with_it = below.parent().unwrap_or(Path::new("")).to_owned();
    let mut found: Vec<Beside> = Vec::new();
    let mut texts = vec![(path.to_owned(), below.to_owned(), 0)];
    while let Some((path, below, depth)) = texts.pop() {
        let is_short = path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST);
        let text = if is_short { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        for name in names(&text) {
            let (there, inside) = match name.strip_prefix("~/") {
                Some(rest) => (own.join(rest), lexical(Path::new(rest))),
                None if Path::new(name).is_absolute() => {
                    (name.into(), Path::new(name).strip_prefix(own).ok().and_then(lexical))
                }
                None => {
                    let beside = below.parent().unwrap_or(Path::new("")).join(name);
                    let inside = lexical(&beside);
                    (outside(inside.as_deref().unwrap_or(&beside)), inside)
                }
            };
            let Ok(real) = there.canonicalize() else { continue };
            if !real.is_file() || found.len() >= MOST || found.iter().any(|known| known.real == real) {
                continue;
            }
            let is_looked_at =
                |inside: &PathBuf| depth + 1 < DEEPEST && inside.starts_with(&with_it) && with_it != Path::new("");
            if let Some(inside) = inside.clone().filter(is_looked_at) {
                texts.push((real.clone(), inside, depth + 1));
            }
            let named = format!("{} (which ~/{} names)", real.display(), below.display());
            found.push(Beside { form: Form::of(&real), real, inside, named, all: false });
        }
    }
    found
}

/// What settings, which are at `below` in a home directory `own`, name as `{file:PATH}`, and where in them that stands.
pub(super) fn references_in(
    text: &str,
    below: &Path,
    own: &Path,
    outside: &dyn Fn(&Path) -> PathBuf,
) -> Vec<(Range<usize>, Beside)> {
    let dir = below.parent().unwrap_or(Path::new(""));
    let found = text.match_indices(REFERENCE).filter_map(|(begin, _)| {
        let name = text[begin + REFERENCE.len()..].split('}').next()?;
        let end = begin + REFERENCE.len() + name.len() + 1;
        let is_name = end <= text.len() && !name.contains(['\n', '"']);
        let name = Path::new(name.trim());
        let inside = match name.strip_prefix("~") {
            Ok(rest) => lexical(rest),
            Err(_) if name.is_absolute() => name.strip_prefix(own).ok().and_then(lexical),
            Err(_) => lexical(&dir.join(name)),
        };
        let there = inside.as_deref().map_or_else(|| name.to_owned(), outside);
        let real = there.canonicalize().unwrap_or(there);
        let named = format!("{} (which ~/{} names)", real.display(), below.display());
        // Elsewhere a sandbox of another project may have written it, or it logs in.
        let inside = inside.filter(|inside| inside.starts_with(dir) && dir != Path::new("") && !is_one_word(&real));
        is_name.then(|| (begin..end, Beside { form: Form::of(&real), real, inside, named, all: false }))
    });
    found.collect()
}

/// Whether a file says no more than one word: what it logs in with.
fn is_one_word(path: &Path) -> bool {
    let is_short = path.metadata().is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST);
    is_short && std::fs::read_to_string(path).is_ok_and(|text| text.split_whitespace().nth(1).is_none())
}

/// The paths that a text in Markdown names as `@PATH`, outside of code.
fn names(text: &str) -> Vec<&str> {
    let mut in_code = false;
    let prose = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    let words = prose.flat_map(|line| line.split('`').step_by(2)).flat_map(str::split_whitespace);
    let paths = words.filter_map(|word| word.strip_prefix('@'));
    paths.map(|path| path.trim_end_matches(['.', ',', ';', ':', ')'])).filter(|path| !path.is_empty()).collect()
}

/// A path below a directory, without `..`; `None` if it leads out.
fn lexical(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir if plain.pop() => {}
            _ => return None,
        }
    }
    Some(plain)
}

#[cfg(test)]
#[path = "beside_tests.rs"]
mod tests;
