//! Hides the audit log: what all of a user's sandboxes reached, or tried to, one JSON object per line. One append-only
//! file for all supervisors, and a few older ones.

use super::StoreError;
use crate::SandboxId;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, OwnedFd},
    fs::{self, FlockOperation, Mode, OFlags, inotify},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
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

/// One line: what happened to a connection, or to one request of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Whose it was.
    pub sandbox: SandboxId,
    /// What that was called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The connection's number: with the sandbox and the time of its egress's start, nobody else's.
    pub flow: u64,
    /// Where it went, as the program said it.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// What happened.
    #[serde(flatten)]
    pub event: AuditEvent,
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
        /// The request, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<String>,
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

/// Appends to the audit log. Never fails: what can't be written is counted.
pub struct AuditWriter {
    dir: OwnedFd,
    file: Option<OwnedFd>,
    lost: u64,
    /// A line has no end, because the disk was full.
    torn: bool,
    rotate_at: u64,
}

impl AuditWriter {
    pub(super) fn new(dir: OwnedFd) -> Self {
        Self { dir, file: None, lost: 0, torn: false, rotate_at: ROTATE_AT }
    }

    #[cfg(test)]
    pub(super) fn rotate_at(mut self, bytes: u64) -> Self {
        self.rotate_at = bytes;
        self
    }

    /// Appends a record.
    pub fn append(&mut self, record: &AuditRecord) {
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        if serde_json::to_writer(&mut line, record).is_err() {
            return;
        }
        line.push(b'\n');
        if self.write(&line).is_err() {
            self.lost += 1;
            self.file = None;
        }
    }

    /// Records that could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let fd = self.current()?;
        // One write appends one line, whoever else writes; what a full disk has cut off is ended by the next one that can
        // be written.
        let written = rustix::io::write(&fd, line);
        self.file = Some(fd);
        match written {
            Ok(count) if count == line.len() => {
                self.torn = false;
                Ok(())
            }
            Ok(_) => {
                self.torn = true;
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
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.dir, CURRENT, flags, Mode::RUSR | Mode::WUSR)?)
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
        Ok(Self { dir, path, files, reader: None, partial: Vec::new(), watch })
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
            // A file that has a successor gets no more.
            self.partial.clear();
            self.reader = None;
        }
    }

    /// Whether the file that is being read is not the one that is written any more; takes the new one up if so.
    fn is_replaced(&mut self) -> bool {
        let Some(reader) = &self.reader else { return false };
        let Ok(Some(current)) = open(&self.dir, CURRENT) else { return false };
        let (Ok(ours), Ok(theirs)) = (fs::fstat(reader.get_ref()), fs::fstat(&current)) else { return false };
        if (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
            return false;
        }
        self.files.push(current);
        true
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
    match fs::openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
