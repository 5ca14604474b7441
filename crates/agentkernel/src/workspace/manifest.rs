//! Hides what of a tree a checkpoint records, and how that lies in a file.

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};
use wire::OsBytes;

/// The format of the files. Another one is refused, never guessed at.
const FORMAT: u32 = 1;

/// What a checkpoint is, without what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    format: u32,
    /// Its number: the higher, the later.
    pub number: u32,
    /// When it was taken, in milliseconds since 1970.
    pub time_ms: u64,
    /// What it was taken before, in a word or two.
    pub before: String,
    /// The checkpoint that was gone back to, if that is what it was taken before.
    pub undo_to: Option<u32>,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// The number of the next file that is kept.
    pub(super) next: u64,
}

impl Summary {
    pub(super) fn new(number: u32, time_ms: u64, before: &str, undo_to: Option<u32>) -> Self {
        let before = before.to_owned();
        Self { format: FORMAT, number, time_ms, before, undo_to, files: 0, bytes: 0, next: 0 }
    }
}

/// An entry of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    #[serde(flatten)]
    pub what: Content,
}

impl Entry {
    /// Whether nothing that somebody would want back is different. A directory's time tells of what came and went in it, and
    /// each start of a sandbox makes and takes away what keeps protected paths from being made.
    fn is_as(&self, other: &Self) -> bool {
        let same = self.what == other.what && (self.mode, self.uid, self.gid) == (other.mode, other.uid, other.gid);
        same && (self.mtime == other.mtime || matches!(self.what, Content::Directory {}))
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    Directory {},
    Link {
        target: OsBytes,
    },
    File {
        size: u64,
        /// The number of what is kept of it.
        kept: u64,
        /// What tells that it is still the same; none: it had changed too lately to tell.
        seen: Option<Seen>,
    },
    /// A socket, a fifo, a device, another file system, or what could not be read: nothing is done to it.
    Other {},
}

/// A file that has all of this as before has its contents as before: nobody can set the time of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub dev: u64,
    pub ino: u64,
    pub ctime: (i64, u32),
}

impl Seen {
    pub fn of(stat: &Stat) -> Self {
        Self { dev: stat.st_dev, ino: stat.st_ino, ctime: (stat.st_ctime, stat.st_ctime_nsec as u32) }
    }
}

impl Entry {
    pub fn of(stat: &Stat, what: Content) -> Self {
        let mtime = (stat.st_mtime, stat.st_mtime_nsec as u32);
        Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime, what }
    }

    /// Whether something is of the same kind.
    pub fn is_like(&self, kind: FileType) -> bool {
        match self.what {
            Content::Directory {} => kind == FileType::Directory,
            Content::Link { .. } => kind == FileType::Symlink,
            Content::File { .. } => kind == FileType::RegularFile,
            Content::Other {} => true,
        }
    }
}

/// A checkpoint, whole: paths from the project's directory, which is not one of them.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub summary: Summary,
    pub entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    path: OsBytes,
    #[serde(flatten)]
    entry: T,
}

impl Manifest {
    /// Whether it says of these entries what is known of them.
    pub fn is_as(&self, known: &BTreeMap<Vec<u8>, Entry>) -> bool {
        let mut pairs = self.entries.iter().zip(known);
        self.entries.len() == known.len() && pairs.all(|(own, other)| own.0 == other.0 && own.1.is_as(other.1))
    }

    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, &self.summary)?;
        out.write_all(b"\n")?;
        for (path, entry) in &self.entries {
            serde_json::to_writer(&mut out, &Line { path: OsBytes(path.clone()), entry })?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// `None`: it is none.
    pub fn read(mut from: impl BufRead) -> io::Result<Option<Self>> {
        let Some(summary) = summary(&mut from)? else { return Ok(None) };
        let mut entries = BTreeMap::new();
        for line in from.split(b'\n') {
            let Ok(Line { path, entry }) = serde_json::from_slice::<Line<Entry>>(&line?) else { return Ok(None) };
            entries.insert(path.0, entry);
        }
        Ok(Some(Self { summary, entries }))
    }
}

/// The first line.
pub(super) fn summary(from: &mut impl BufRead) -> io::Result<Option<Summary>> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice::<Summary>(&line).ok().filter(|summary| summary.format == FORMAT))
}
