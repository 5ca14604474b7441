//! Hides the audit log: what all of a user's sandboxes reached, or tried to, one JSON object per line. One append-only
//! file for all supervisors, and a few older ones.

use super::{StoreError, fold::Lane};
use crate::SandboxId;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, OwnedFd},
    fs::{self, FileType, FlockOperation, Mode, OFlags, inotify},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    fs::File,
    io::{self, BufRead as _, BufReader},
    path::PathBuf,
    time::Duration,
};

const CURRENT: &str = "audit.jsonl";
const LOCK: &str = "audit.lock";
/// A file of more bytes becomes an older one.
const ROTATE_AT: u64 = 16 << 20;
/// Older files that are kept: `audit.jsonl.1` is the youngest.
const OLDER: u32 = 4;

/// One line: what happened to a connection, or to one request of it; or that a change of a file was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Whose it was.
    pub sandbox: SandboxId,
    /// What that was called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// To what.
    #[serde(flatten)]
    pub subject: Subject,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Subject {
    /// A connection.
    Connection {
        /// Its number: with the sandbox and the time of its egress's start, nobody else's.
        flow: u64,
        /// Where it went, as the program said it.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A file or directory.
    Path {
        /// Its absolute path inside, printable.
        path: String,
        /// The file name of the program that wanted to change it, printable; empty if it is not known.
        program: String,
    },
}

impl Subject {
    /// All the targets that were too many to be told apart. No host is called so.
    pub const OTHERS: &str = "*";

    /// What records are added up by: without what tells one connection, or one program, from another.
    #[must_use]
    pub fn target(&self) -> Self {
        match self {
            Self::Connection { host, port, .. } => Self::Connection { flow: 0, host: host.clone(), port: *port },
            Self::Path { path, .. } => Self::Path { path: path.clone(), program: String::new() },
        }
    }

    /// All others.
    pub(super) fn others() -> Self {
        Self::Connection { flow: 0, host: Self::OTHERS.to_owned(), port: 0 }
    }

    /// Whether it is [all others](Self::OTHERS).
    #[must_use]
    pub fn is_others(&self) -> bool {
        matches!(self, Self::Connection { host, .. } if host == Self::OTHERS)
    }
}

/// As it is written: an IPv6 address in brackets.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            _ if self.is_others() => f.write_str("others"),
            Self::Connection { host, port, .. } if host.contains(':') && !host.starts_with('[') => {
                write!(f, "[{host}]:{port}")
            }
            Self::Connection { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Path { path, .. } => f.write_str(path),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum AuditEvent {
    /// It was allowed, and is connected.
    Opened {
        /// The rule that allowed it.
        rule: String,
        /// Where to.
        address: String,
    },
    /// It, or one request of it, was refused, or failed.
    Refused {
        /// The stable code.
        reason: String,
        /// Whether a rule refused it; otherwise it was allowed, and failed.
        denied: bool,
        /// The cause, in words.
        cause: String,
        /// The request, if it was one; of a file, what would have been done to it: `write`, `make`, `remove`, `rename`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
    },
    /// So many more than there is a record of each: they came too fast, or could not be written then, and are added up. The time is that of the last.
    Folded {
        /// What became of them.
        verdict: Verdict,
        /// The stable code, if they were refused, or failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Connections that were opened; or connections and requests that were refused, or failed.
        count: u64,
        /// Connections that are over, of these and of others.
        closed: u64,
        /// Bytes from the sandbox, of those that are over.
        sent: u64,
        /// Bytes to the sandbox.
        received: u64,
        /// Requests that were read.
        requests: u64,
        /// Tokens of models that the answers told of.
        tokens: u64,
        /// The time of the first, in milliseconds since 1970.
        since_ms: u64,
    },
    /// It is over.
    Closed {
        /// Bytes from the sandbox.
        sent: u64,
        /// Bytes to the sandbox.
        received: u64,
        /// Requests that were read.
        requests: u64,
        /// Tokens of models that the answers told of.
        tokens: u64,
        /// Milliseconds from begin to end.
        duration_ms: u64,
    },
}

/// What became of connections and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// They were allowed.
    Allowed,
    /// A rule refused them.
    Denied,
    /// They were allowed, and failed.
    Failed,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

impl AuditRecord {
    /// The code of a change of a protected path that was refused.
    pub const PROTECTED_PATH: &str = "protected-path";
}

/// Records that one sandbox may have written at once, and per second: what it does must not push the others' out. Nor
/// does what it is refused push out what it reaches.
const ALLOWED: (f64, f64) = (4000.0, 40.0);
const REFUSED: (f64, f64) = (1000.0, 10.0);

/// Appends to the audit log. Never fails: what comes too fast, or can't be written, is added up, and written with
/// [`tell`](Self::tell), or when this is dropped.
pub struct AuditWriter {
    out: Output,
    /// What was allowed, and all else.
    lanes: [Lane; 2],
}

impl AuditWriter {
    pub(super) fn new(dir: OwnedFd) -> Self {
        let lanes = [ALLOWED, REFUSED].map(|(burst, rate)| Lane::new(burst, rate));
        Self { out: Output { dir, file: None, rotate_at: ROTATE_AT }, lanes }
    }

    #[cfg(test)]
    pub(super) fn rotate_at(mut self, bytes: u64) -> Self {
        self.out.rotate_at = bytes;
        self
    }

    /// Appends a record, now or added up with others.
    pub fn append(&mut self, record: &AuditRecord) {
        let allowed = matches!(record.event, AuditEvent::Opened { .. } | AuditEvent::Closed { .. });
        let lane = &mut self.lanes[usize::from(!allowed)];
        if lane.is_free() && self.out.put(record) {
            lane.spend();
        } else {
            lane.add(record);
        }
    }

    /// Whether something waits to be [told](Self::tell).
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.lanes.iter().any(Lane::is_folded)
    }

    /// Writes what was added up: `all` of it, or as much as may be written now.
    pub fn tell(&mut self, all: bool) {
        let Self { out, lanes } = self;
        lanes.iter_mut().for_each(|lane| lane.tell(all, |sum| out.put(sum)));
    }
}

impl Drop for AuditWriter {
    fn drop(&mut self) {
        self.tell(true);
    }
}

/// The file that is written.
struct Output {
    dir: OwnedFd,
    file: Option<OwnedFd>,
    rotate_at: u64,
}

impl Output {
    fn put(&mut self, record: &AuditRecord) -> bool {
        let Ok(mut line) = serde_json::to_vec(record) else { return false };
        line.push(b'\n');
        let written = self.write(&line).is_ok();
        if !written {
            self.file = None;
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let fd = self.current()?;
        // One write appends one line, whoever else writes; what a full disk has cut off is ended by the next one.
        let written = rustix::io::write(&fd, line);
        self.file = Some(fd);
        match written {
            Ok(count) if count == line.len() => Ok(()),
            // All but its end is there, which whoever opens it next adds.
            Ok(count) if count + 1 == line.len() => {
                self.file = None;
                Ok(())
            }
            Ok(_) => {
                let fd = self.file.as_ref().ok_or(io::ErrorKind::Other)?;
                let _ = rustix::io::write(fd, b"\n");
                Err(io::ErrorKind::WriteZero.into())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// The file that lines go to now: somebody else may have begun a new one.
    fn current(&mut self) -> io::Result<OwnedFd> {
        if let Some(fd) = self.file.take() {
            let (ours, named) = (fs::fstat(&fd)?, fs::statat(&self.dir, CURRENT, fs::AtFlags::SYMLINK_NOFOLLOW));
            let same = named.is_ok_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino));
            if same && (ours.st_size as u64) < self.rotate_at {
                return Ok(fd);
            }
        }
        let fd = self.open()?;
        if (fs::fstat(&fd)?.st_size as u64) < self.rotate_at {
            return Ok(fd);
        }
        self.rotate()?;
        self.open()
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW;
        let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.dir, CURRENT, flags, Mode::RUSR | Mode::WUSR)?;
        let stat = fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // What was cut off, by a crash, is a line of its own.
        let mut last = [b'\n'];
        if stat.st_size > 0 && rustix::io::pread(&fd, &mut last, stat.st_size as u64 - 1)? == 1 && last != *b"\n" {
            rustix::io::write(&fd, b"\n")?;
        }
        Ok(fd)
    }

    /// Makes room for a new file. One at a time: of two who find the file too large, the second finds a new one.
    fn rotate(&self) -> io::Result<()> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(&self.dir, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        fs::flock(&lock, FlockOperation::LockExclusive)?;
        if (fs::fstat(&self.open()?)?.st_size as u64) < self.rotate_at {
            return Ok(());
        }
        for number in (1..OLDER).rev() {
            match fs::renameat(&self.dir, older(number), &self.dir, older(number + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(fs::renameat(&self.dir, CURRENT, &self.dir, older(1))?)
    }
}

fn older(number: u32) -> String {
    format!("{CURRENT}.{number}")
}

/// Reads the audit log from its oldest line on, and goes on as more comes.
pub struct AuditReader {
    dir: OwnedFd,
    path: PathBuf,
    /// Still to be read, the next one last.
    files: Vec<File>,
    reader: Option<BufReader<File>>,
    /// A line whose end is not there yet.
    partial: Vec<u8>,
    /// The file that is read has a successor, and its end is read once more: something may have come before that did.
    last: bool,
    watch: OwnedFd,
}

impl AuditReader {
    pub(super) fn new(dir: OwnedFd, path: PathBuf) -> Result<Self, StoreError> {
        let failed = |errno: Errno| StoreError::io("read", path.join(CURRENT), errno);
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).map_err(failed)?;
        let changes = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        inotify::add_watch(&watch, super::magic_link(dir.as_fd()), changes).map_err(failed)?;
        let mut files = Vec::new();
        for name in [CURRENT.to_owned()].into_iter().chain((1..=OLDER).map(older)) {
            files.extend(open(&dir, &name).map_err(failed)?);
        }
        Ok(Self { dir, path, files, reader: None, partial: Vec::new(), last: false, watch })
    }

    /// The next record; `None` if there is none yet. Lines that are none of ours are left out.
    ///
    /// # Errors
    /// If the file can't be read.
    pub fn next_record(&mut self) -> Result<Option<AuditRecord>, StoreError> {
        loop {
            let Some(reader) = &mut self.reader else {
                match self.files.pop() {
                    Some(file) => self.reader = Some(BufReader::new(file)),
                    None => return Ok(None),
                }
                continue;
            };
            let failed = |error| StoreError::io("read", self.path.join(CURRENT), error);
            reader.read_until(b'\n', &mut self.partial).map_err(failed)?;
            if self.partial.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial);
                if let Ok(record) = serde_json::from_slice(&line) {
                    return Ok(Some(record));
                }
                continue;
            }
            if self.files.is_empty() && !self.is_replaced() {
                return Ok(None);
            }
            if !std::mem::replace(&mut self.last, true) {
                continue;
            }
            // A file that has a successor gets no more.
            self.last = false;
            self.partial.clear();
            self.reader = None;
        }
    }

    /// Whether the file that is being read is not the one that is written any more; takes up all that came after it if
    /// so: more than one, if nobody has read for long.
    fn is_replaced(&mut self) -> bool {
        let Some(Ok(ours)) = self.reader.as_ref().map(|reader| fs::fstat(reader.get_ref())) else { return false };
        let mut newer = Vec::new();
        for name in [CURRENT.to_owned()].into_iter().chain((1..=OLDER).map(older)) {
            let Ok(Some(file)) = open(&self.dir, &name) else { break };
            match fs::fstat(&file) {
                Ok(theirs) if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) => newer.push(file),
                _ => break,
            }
        }
        self.files = newer;
        !self.files.is_empty()
    }

    /// Waits until there may be more, at most so long.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(&mut self, most: Duration) -> Result<(), StoreError> {
        if self.reader.is_none()
            && let Ok(Some(file)) = open(&self.dir, CURRENT)
        {
            self.files.push(file);
            return Ok(());
        }
        let limit = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        let failed = |errno: Errno| StoreError::io("watch", self.path.join(CURRENT), errno);
        match poll(&mut [PollFd::new(&self.watch, PollFlags::IN)], Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut scratch = [0; 4096];
        while matches!(rustix::io::read(&self.watch, &mut scratch), Ok(count) if count > 0) {}
        Ok(())
    }
}

fn open(dir: &OwnedFd, name: &str) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
