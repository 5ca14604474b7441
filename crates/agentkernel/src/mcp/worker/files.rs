//! Files of a sandbox, as its own programs see them: nothing of it is read or written by a process outside.

use super::{Worker, grep, kept::Kept, programs::Inner};
use crate::{
    Spec,
    client::{self, Outcome},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
    time::Duration,
};
use wire::{Exit, Failure};

/// Bytes of a file that are given back where nothing is said, and at most.
const READ: (u32, u32) = (64 << 10, 1 << 20);
/// Bytes of names and lines that are taken from a sandbox.
const MOST: usize = 2 << 20;
/// How long looking for something may take.
const TIME: Duration = Duration::from_secs(60);

/// Its length on a line, then so much of it as is wanted.
const READER: &str = r#"[ -e "$1" ] || { echo "There is no $1" >&2; exit 1; }
[ -d "$1" ] && { echo "$1 is a directory" >&2; exit 1; }
[ -f "$1" ] || { echo "$1 is no regular file" >&2; exit 1; }
wc -c < "$1" && tail -c "+$2" "$1" | head -c "$3""#;
/// Before a file is written: who opens a fifo or a device may wait without end.
const ONLY_FILES: &str = r#"[ -e "$1" ] && [ ! -f "$1" ] && [ ! -d "$1" ] && { echo "$1 is no regular file" >&2; exit 1; }
"#;
/// Names with a NUL behind each; a directory's has a slash. What only keeps the place of a protected path, by its time
/// ([`archive::PLACEHOLDER`]), is none of them.
const LISTER: &str = r#"[ -d "$1" ] || { echo "$1 is not a directory" >&2; exit 1; }
[ -r "$1" ] || { echo "$1 can't be read" >&2; exit 1; }
each='for name; do
    [ "$0" = old ] && [ "$(stat -c %Y "$name")" = 24939 ] && continue
    [ -d "$name" ] && [ ! -L "$name" ] && name=$name/
    printf "%s\0" "$name"
done'
cd "$1" && find . -mindepth 1 -maxdepth "$2" -mtime +20000 \( ! -type f -o -size 3c \) -exec sh -c "$each" old {} + -o -exec sh -c "$each" new {} + | head -c "$3""#;
/// Of each match the file's name, a NUL, the line's number, a colon, and the line. busybox's grep can't write the NUL, so there
/// each file that may have a match gets a grep of its own.
const SEARCHER: &str = r#"[ -e "$1" ] || { echo "There is no $1" >&2; exit 1; }
[ -r "$1" ] || { echo "$1 can't be read" >&2; exit 1; }
at=$1 pattern=$2 most=$3
shift 3
why=$(echo | grep "$@" -e "$pattern" 2>&1)
[ $? -le 1 ] || { echo "$why" >&2; exit 1; }
flags="$*"
export pattern flags
if grep -qZ . /dev/null 2>/dev/null; [ $? -le 1 ]; then
    find -H "$at" -name .git -prune -o -type f -exec grep -nHZI "$@" -e "$pattern" {} +
else
    find -H "$at" -name .git -prune -o -type f -exec sh -c 'grep -q $flags -e "$pattern" "$@" && for file; do
        grep -n $flags -e "$pattern" "$file" | while IFS= read -r line; do
            printf "%s\0%s\n" "$file" "$line"
        done
    done' sh {} +
fi | head -c "$most""#;

/// What `read_file` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct ReadFile {
    /// Name or id of a running sandbox of this project.
    pub(super) sandbox: String,
    /// The file; a relative path begins at the project.
    pub(super) path: PathBuf,
    /// Bytes to leave out at its beginning.
    #[serde(default)]
    pub(super) offset: u64,
    /// Bytes to read: 65536 if nothing is said, at most 1048576.
    #[serde(default)]
    pub(super) limit: Option<u32>,
}

/// A part of a file.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Contents {
    /// What it holds, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// What it holds, in base64, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// How many bytes these are.
    read_bytes: u64,
    /// How many the whole file has.
    size: u64,
    /// Whether more follows: at offset + read_bytes.
    more: bool,
}

/// What `write_file` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct WriteFile {
    /// Name or id of a running sandbox of this project.
    sandbox: String,
    /// The file; a relative path begins at the project. Directories are made.
    path: PathBuf,
    /// All that it shall hold, as text.
    #[serde(default)]
    text: Option<String>,
    /// The same in base64, in place of text.
    #[serde(default)]
    base64: Option<String>,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Written {
    path: String,
    written_bytes: u64,
}

/// What `list_files` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct ListFiles {
    /// Name or id of a running sandbox of this project.
    sandbox: String,
    /// The directory; a relative path begins at the project. Without, the project.
    #[serde(default)]
    path: PathBuf,
    /// How deep: 1, the default, is the directory alone.
    #[serde(default)]
    depth: Option<u8>,
    /// Names to give back: 1000 if nothing is said, at most 10000.
    #[serde(default)]
    limit: Option<u16>,
}

/// Names of files.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Names {
    /// Relative to the directory; those of directories end with a slash.
    files: Vec<String>,
    /// Whether there are more.
    more: bool,
    /// What could not be looked into, in the words of the sandbox's own 'find'; not all, if it is much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

/// What `search_files` takes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::mcp) struct SearchFiles {
    /// Name or id of a running sandbox of this project.
    sandbox: String,
    /// What lines are to match: a basic regular expression, as the sandbox's own grep has it.
    pattern: String,
    /// Where: a file, or a directory with all below it but .git. A relative path begins at the project.
    #[serde(default)]
    path: PathBuf,
    /// The pattern is an extended regular expression (grep -E).
    #[serde(default)]
    extended: bool,
    /// The pattern is plain text (grep -F).
    #[serde(default)]
    literal: bool,
    /// Upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// Matches to give back: 200 if nothing is said, at most 2000.
    #[serde(default)]
    limit: Option<u16>,
}

/// Lines that match.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::mcp) struct Matches {
    matches: Vec<Match>,
    /// Whether there are more.
    more: bool,
    /// What could not be looked into, in the words of the sandbox's own 'find' and 'grep'; not all, if it is much.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unread: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Match {
    path: String,
    line: u64,
    text: String,
}

impl Match {
    fn of((path, line, text): (&[u8], u64, &[u8])) -> Self {
        /// A line of a file that has no lines is no use.
        const LONGEST: usize = 1000;
        let text = String::from_utf8_lossy(text).chars().take(LONGEST).collect();
        Self { path: String::from_utf8_lossy(path).into_owned(), line, text }
    }
}

impl Worker<'_> {
    pub(super) fn read_file(&self, wanted: ReadFile) -> Result<Contents, Failure> {
        let ReadFile { sandbox, path, offset, limit } = wanted;
        let limit = limit.unwrap_or(READ.0).min(READ.1);
        let arguments = [(offset.saturating_add(1)).to_string(), limit.to_string()];
        let output = self.script(&sandbox, READER, &path, &arguments, &[])?.0.bytes();
        let end = output.iter().position(|&byte| byte == b'\n').unwrap_or(0);
        let size = std::str::from_utf8(&output[..end]).ok().and_then(|size| size.trim().parse().ok()).unwrap_or(0);
        let bytes = output.get(end + 1..).unwrap_or_default();
        let read_bytes = bytes.len() as u64;
        let more = offset.saturating_add(read_bytes) < size;
        let (text, base64) = match text(bytes, more) {
            Some(text) => (Some(text), None),
            None => (None, Some(STANDARD.encode(bytes))),
        };
        let read_bytes = text.as_ref().map_or(read_bytes, |text| text.len() as u64);
        Ok(Contents { text, base64, read_bytes, size, more: offset.saturating_add(read_bytes) < size })
    }

    pub(super) fn write_file(&self, wanted: WriteFile) -> Result<Written, Failure> {
        let WriteFile { sandbox, path, text, base64 } = wanted;
        let bytes = match (text, base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(base64)) => {
                STANDARD.decode(base64).map_err(|error| Failure::from(format!("'base64' can't be decoded: {error}")))?
            }
            _ => return Err(Failure::from("Give either 'text' or 'base64'".to_owned())),
        };
        self.protects_roots(&self.find(&sandbox)?.1)?;
        self.script(&sandbox, &[ONLY_FILES, client::WRITE].concat(), &path, &[], &bytes)?;
        Ok(Written { path: path.display().to_string(), written_bytes: bytes.len() as u64 })
    }

    pub(super) fn list_files(&self, wanted: ListFiles) -> Result<Names, Failure> {
        let ListFiles { sandbox, path, depth, limit } = wanted;
        let limit = usize::from(limit.unwrap_or(1000).min(10_000));
        let arguments = [depth.unwrap_or(1).max(1).to_string(), MOST.to_string()];
        let (output, said) = self.script(&sandbox, LISTER, &path, &arguments, &[])?;
        let output = output.bytes();
        // A name without a NUL behind it was cut.
        let cut = output.len() >= MOST;
        let names = output.split_inclusive(|&byte| byte == 0).filter_map(|name| name.strip_suffix(b"\0"));
        let names = names.map(|name| String::from_utf8_lossy(name.strip_prefix(b"./").unwrap_or(name)).into_owned());
        let mut files: Vec<String> = names.collect();
        files.sort_unstable();
        let more = cut || files.len() > limit;
        files.truncate(limit);
        Ok(Names { files, more, unread: unread(&said, cut) })
    }

    pub(super) fn search_files(&self, wanted: SearchFiles) -> Result<Matches, Failure> {
        let SearchFiles { sandbox, pattern, path, extended, literal, ignore_case, limit } = wanted;
        let limit = usize::from(limit.unwrap_or(200).min(2000));
        // What is found is told by its path, in which no dot is to be.
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        let mut arguments = vec![pattern, MOST.to_string()];
        for (wanted, flag) in [(extended, "-E"), (literal, "-F"), (ignore_case, "-i")] {
            arguments.extend(wanted.then(|| flag.to_owned()));
        }
        let (output, said) = self.script(&sandbox, SEARCHER, &path, &arguments, &[])?;
        let output = output.bytes();
        let cut = output.len() >= MOST;
        let mut matches: Vec<Match> = grep::found(&output).map(Match::of).collect();
        let more = cut || matches.len() > limit;
        matches.truncate(limit);
        Ok(Matches { matches, more, unread: unread(&said, cut) })
    }

    /// Runs a script on a path of a sandbox, for its output and what it says of errors.
    fn script(
        &self,
        sandbox: &str,
        script: &str,
        path: &Path,
        arguments: &[String],
        input: &[u8],
    ) -> Result<(Kept, Kept), Failure> {
        let (mut client, spec) = self.connect(sandbox)?;
        let path = absolute(&spec, path)?;
        let command = ["sh".into(), "-c".into(), script.into(), "sh".into(), path.into_os_string()];
        let command = command.into_iter().chain(arguments.iter().map(OsString::from)).collect();
        let inner = Inner { command, env: Vec::new(), workdir: None, input, limit: Some(TIME) };
        let (watched, stdout, stderr) = self.watch(&mut client, &spec, inner, MOST + 64)?;
        match watched.outcome {
            Outcome::Exited(Exit::Code(0)) => Ok((stdout, stderr)),
            Outcome::Exited(Exit::Deadline) => {
                Err(Failure::from(format!("This takes more than {} seconds", TIME.as_secs())))
            }
            Outcome::Exited(_) => Err(Failure::from(format!("In the sandbox: {}", stderr.text().trim()))),
            Outcome::Lost { why } => Err(Failure::from(why)),
            Outcome::Failed { cause, .. } => Err(Failure {
                cause,
                hint: "Files are read and written by 'sh' and its common tools, which must be in the sandbox's image"
                    .into(),
            }),
            Outcome::Detached { .. } => Ok((stdout, stderr)),
        }
    }
}

/// What could not be looked into, by what was said of errors. Where the output was cut, that is why most of it was said.
fn unread(said: &Kept, cut: bool) -> Vec<String> {
    /// Lines of it that are given back, and characters of each.
    const SAID: (usize, usize) = (20, 300);
    let mut lines: Vec<String> = Vec::new();
    for line in said.text().lines().filter(|line| !cut && !line.is_empty()) {
        let line = line.chars().take(SAID.1).collect();
        if lines.len() < SAID.0 && !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A path in a sandbox.
fn absolute(spec: &Spec, path: &Path) -> Result<PathBuf, Failure> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Failure::from("A path has no NUL byte".to_owned()));
    }
    Ok(spec.workdir.as_path().join(path))
}

/// Bytes as text, if they are that. One that is cut may be so within a character.
fn text(bytes: &[u8], cut: bool) -> Option<String> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if cut && error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok().map(str::to_owned)
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_what_is_none() {
        assert_eq!(text("aä".as_bytes(), false).as_deref(), Some("aä"));
        assert_eq!(text(b"a\xc3", true).as_deref(), Some("a"));
        assert_eq!(text(b"a\xc3", false), None);
        assert_eq!(text(b"\xff\x00", true), None);
    }
}
