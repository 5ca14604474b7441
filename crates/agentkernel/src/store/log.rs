//! The log: what a sandbox's programs said when nobody listened. One append-only file of records, and one older one.
//!
//! A record is `u64 nanoseconds since 1970 | u8 channel | u32 length | bytes`, little-endian. Channels 1 and 2 are
//! standard output and error; 254 are words of the supervisor's; 255 counts, as a `u64`, bytes that could not be written
//! (a full disk).

use super::{StoreError, tail::Skip};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd, OwnedFd},
    fs::{self, AtFlags, Mode, OFlags, inotify},
    io::{self, Errno},
};
use std::{
    io::IoSlice,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wire::Channel;

pub(super) const CURRENT: &str = "log";
pub(super) const OLDER: &str = "log.1";

/// A file that would grow beyond this many bytes becomes the older one, and the older one is gone.
const ROTATE_AT: u64 = 64 << 20;
/// The most bytes in one record; longer writes become several.
const MAX_DATA: usize = 64 << 10;
const HEADER: usize = 8 + 1 + 4;
const NOTICE: u8 = 254;
const LOST: u8 = 255;

/// One record of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was written, in nanoseconds since 1970.
    pub time_ns: u64,
    /// What it says.
    pub data: LogData,
}

/// What a record of the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogData {
    /// A program wrote this.
    Output(Channel, Vec<u8>),
    /// The supervisor says this of the sandbox, on one line without its end.
    Notice(String),
    /// So many bytes are missing here.
    Lost(u64),
}

/// Where to begin to read a log. The default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Leaves out what is older, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Leaves out all but the last so many lines.
    pub lines: Option<u64>,
}

/// Appends to a log. Never fails and never blocks on anything but the disk: what can't be written is counted, and
/// the count is written as soon as something can be.
#[derive(Debug)]
pub struct LogWriter {
    dir: OwnedFd,
    file: Option<Writing>,
    lost: u64,
    rotate_at: u64,
}

#[derive(Debug)]
struct Writing {
    fd: OwnedFd,
    len: u64,
}

impl LogWriter {
    pub(super) fn new(dir: OwnedFd) -> Self {
        Self { dir, file: None, lost: 0, rotate_at: ROTATE_AT }
    }

    #[cfg(test)]
    pub(super) fn rotate_at(mut self, bytes: u64) -> Self {
        self.rotate_at = bytes;
        self
    }

    /// Appends what a program wrote.
    pub fn append(&mut self, channel: Channel, bytes: &[u8]) {
        self.put(channel as u8, bytes);
    }

    /// Appends what the supervisor has to say of the sandbox, on one line.
    pub fn notice(&mut self, words: &str) {
        self.put(NOTICE, words.as_bytes());
    }

    fn put(&mut self, kind: u8, bytes: &[u8]) {
        for chunk in bytes.chunks(MAX_DATA) {
            if self.tell_lost().and_then(|()| self.write(kind, chunk)).is_err() {
                self.lost += chunk.len() as u64;
            }
        }
    }

    /// The bytes that could not be written and of which no record tells yet.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn tell_lost(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            self.write(LOST, &self.lost.to_le_bytes())?;
            self.lost = 0;
        }
        Ok(())
    }

    fn write(&mut self, channel: u8, bytes: &[u8]) -> io::Result<()> {
        let size = (HEADER + bytes.len()) as u64;
        if self.open()?.len > 0 && self.open()?.len + size > self.rotate_at {
            self.rotate()?;
        }
        let file = self.open()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(&now.to_le_bytes());
        header[8] = channel;
        header[9..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        // One call, so that a kill tears at most this record.
        let written = io::retry_on_intr(|| io::writev(&file.fd, &[IoSlice::new(&header), IoSlice::new(bytes)]));
        if written == Ok(size as usize) {
            file.len += size;
            return Ok(());
        }
        // A part of a record would make what follows unreadable. Should this fail too, then opening the file anew
        // cuts it off.
        if fs::ftruncate(&file.fd, file.len).is_err() {
            self.file = None;
        }
        Err(written.err().unwrap_or(Errno::NOSPC))
    }

    fn open(&mut self) -> io::Result<&mut Writing> {
        if self.file.is_none() {
            self.file = Some(match open_whole(&self.dir)? {
                Some(writing) => writing,
                None => {
                    // Nothing can be appended to a damaged file; people may still want to look at it.
                    self.rotate()?;
                    open_whole(&self.dir)?.ok_or(Errno::IO)?
                }
            });
        }
        self.file.as_mut().ok_or(Errno::IO)
    }

    fn rotate(&mut self) -> io::Result<()> {
        fs::renameat(&self.dir, CURRENT, &self.dir, OLDER)?;
        self.file = None;
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        // The last chance to tell; if it fails there is nobody to be told.
        let _ = self.tell_lost();
    }
}

/// Opens the log to append, cut back to its last whole record; `None` if it is damaged in another way.
fn open_whole(dir: &OwnedFd) -> io::Result<Option<Writing>> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(dir, CURRENT, flags, Mode::RUSR | Mode::WUSR)?;
    let size = fs::fstat(&fd)?.st_size as u64;
    let mut source = Source::new(io::fcntl_dupfd_cloexec(&fd, 3)?)?;
    loop {
        match source.next()? {
            Read::Record(_) => {}
            Read::End => break,
            Read::Damaged => return Ok(None),
        }
    }
    let len = source.position;
    if len < size {
        fs::ftruncate(&fd, len)?;
    }
    Ok(Some(Writing { fd, len }))
}

/// One file, read record by record.
#[derive(Debug)]
pub(super) struct Source {
    fd: OwnedFd,
    inode: u64,
    /// Where the next record begins.
    position: u64,
    /// What was read from there on.
    buffer: Vec<u8>,
    used: usize,
    /// Nothing beyond is looked at.
    limit: u64,
}

pub(super) enum Read {
    Record(LogRecord),
    /// No whole record follows, yet.
    End,
    Damaged,
}

impl Source {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let inode = fs::fstat(&fd)?.st_ino;
        Ok(Self { fd, inode, position: 0, buffer: Vec::new(), used: 0, limit: u64::MAX })
    }

    /// Another reader of what is in the same file now, from its beginning.
    pub(super) fn snapshot(&self) -> io::Result<Self> {
        let limit = fs::fstat(&self.fd)?.st_size as u64;
        Ok(Self { limit, ..Self::new(io::fcntl_dupfd_cloexec(&self.fd, 3)?)? })
    }

    pub(super) fn seek_end(&mut self) -> io::Result<()> {
        while let Read::Record(_) = self.next()? {}
        Ok(())
    }

    pub(super) fn next(&mut self) -> io::Result<Read> {
        if !self.fill(HEADER)? {
            return Ok(Read::End);
        }
        let header = &self.buffer[self.used..self.used + HEADER];
        let time_ns = u64::from_le_bytes(header[..8].try_into().unwrap_or_default());
        let kind = header[8];
        let length = u32::from_le_bytes(header[9..].try_into().unwrap_or_default()) as usize;
        if length > MAX_DATA || (kind == LOST && length != 8) {
            return Ok(Read::Damaged);
        }
        if !self.fill(HEADER + length)? {
            return Ok(Read::End);
        }
        let bytes = &self.buffer[self.used + HEADER..self.used + HEADER + length];
        let data = match (kind, Channel::try_from(kind)) {
            (LOST, _) => LogData::Lost(u64::from_le_bytes(bytes.try_into().unwrap_or_default())),
            (NOTICE, _) => LogData::Notice(String::from_utf8_lossy(bytes).into_owned()),
            (_, Ok(channel)) => LogData::Output(channel, bytes.to_vec()),
            _ => return Ok(Read::Damaged),
        };
        self.used += HEADER + length;
        self.position += (HEADER + length) as u64;
        Ok(Read::Record(LogRecord { time_ns, data }))
    }

    /// Whether `need` bytes of the next record are there. They come from one read: what an earlier one had of a record
    /// may have been cut off since by its writer, who then writes another.
    fn fill(&mut self, need: usize) -> io::Result<bool> {
        /// More than any record has.
        const AT_ONCE: usize = 128 << 10;
        if self.buffer.len() - self.used >= need {
            return Ok(true);
        }
        self.used = 0;
        let room = usize::try_from(self.limit.saturating_sub(self.position)).unwrap_or(AT_ONCE).min(AT_ONCE);
        self.buffer.resize(room, 0);
        let count = io::retry_on_intr(|| io::pread(&self.fd, &mut *self.buffer, self.position));
        self.buffer.truncate(*count.as_ref().unwrap_or(&0));
        count?;
        if self.buffer.len() < need {
            self.buffer.clear();
            return Ok(false);
        }
        Ok(true)
    }
}

/// Reads a log from some place on, and goes on with what is appended, over rotations.
#[derive(Debug)]
pub struct LogReader {
    dir: OwnedFd,
    path: PathBuf,
    /// The older file, until it has been read.
    older: Option<Source>,
    current: Option<Source>,
    since_ns: u64,
    skip: Skip,
    watch: Option<OwnedFd>,
}

impl LogReader {
    pub(super) fn new(dir: OwnedFd, path: PathBuf, tail: Tail) -> Result<Self, StoreError> {
        let path = path.join(CURRENT);
        let failed = |errno| StoreError::io("read", &path, errno);
        let (mut older, mut current) = open_both(&dir).map_err(failed)?;
        let skip = match tail.lines {
            None => Skip::default(),
            Some(0) => {
                older = None;
                current.as_mut().map_or(Ok(()), Source::seek_end).map_err(failed)?;
                Skip::default()
            }
            Some(lines) => {
                let both = || older.iter().chain(&current).map(Source::snapshot).collect::<io::Result<Vec<_>>>();
                Skip::all_but(lines, tail.since_ns, both).map_err(failed)?
            }
        };
        Ok(Self { dir, path, older, current, since_ns: tail.since_ns, skip, watch: None })
    }

    /// The next record; `None` if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], or the system's.
    pub fn next_record(&mut self) -> Result<Option<LogRecord>, StoreError> {
        loop {
            let record = match self.read().map_err(|errno| StoreError::io("read", &self.path, errno))? {
                Read::End => return Ok(None),
                Read::Damaged => {
                    return Err(StoreError::Damaged { path: self.path.clone(), cause: "not a log record".into() });
                }
                Read::Record(record) => record,
            };
            if record.time_ns < self.since_ns {
                continue;
            }
            let data = match record.data {
                LogData::Output(channel, bytes) => match self.skip.cut(channel, bytes) {
                    Some(bytes) => LogData::Output(channel, bytes),
                    None => continue,
                },
                LogData::Notice(_) if !self.skip.keeps_notice() => continue,
                other => other,
            };
            return Ok(Some(LogRecord { data, ..record }));
        }
    }

    fn read(&mut self) -> io::Result<Read> {
        loop {
            if let Some(older) = &mut self.older {
                match older.next()? {
                    // A torn record at the end of the older file stays torn.
                    Read::End => self.older = None,
                    other => return Ok(other),
                }
                continue;
            }
            if let Some(current) = &mut self.current {
                match current.next()? {
                    Read::End => {}
                    other => return Ok(other),
                }
            }
            // The file may have been rotated away, or made only now.
            let inode = match fs::statat(&self.dir, CURRENT, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat.st_ino,
                Err(Errno::NOENT) => return Ok(Read::End),
                Err(errno) => return Err(errno),
            };
            if self.current.as_ref().is_some_and(|current| current.inode == inode) {
                return Ok(Read::End);
            }
            // What was written to the old one, was written before the new one came: read it to its end first.
            self.older = self.current.take();
            self.current = open_source(&self.dir, CURRENT)?;
            if self.older.is_none() && self.current.is_none() {
                return Ok(Read::End);
            }
        }
    }

    /// Waits until there may be more to read, at most `timeout`.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, timeout: Duration) -> Result<(), StoreError> {
        /// How often to look where the kernel won't tell (no inotify instance left).
        const PAUSE: Duration = Duration::from_millis(100);
        let Some(watch) = &self.watch else {
            match watch(&self.dir) {
                // What came before the watch was set was not told: look once more.
                Ok(watch) => self.watch = Some(watch),
                Err(_) => std::thread::sleep(PAUSE.min(timeout)),
            }
            return Ok(());
        };
        let failed = |errno| StoreError::io("watch", &self.path, errno);
        let timeout = Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        match poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let mut events = [0; 4096];
        loop {
            match io::read(watch, &mut events) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}

fn watch(dir: &OwnedFd) -> io::Result<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let events = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&watch, super::magic_link(dir.as_fd()), events)?;
    Ok(watch)
}

/// Both files as they were at one moment: no rotation in between.
fn open_both(dir: &OwnedFd) -> io::Result<(Option<Source>, Option<Source>)> {
    loop {
        let current = open_source(dir, CURRENT)?;
        let older = open_source(dir, OLDER)?;
        let now = match fs::statat(dir, CURRENT, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat.st_ino),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        if now == current.as_ref().map(|source| source.inode) {
            return Ok((older, current));
        }
    }
}

fn open_source(dir: &OwnedFd, name: &str) -> io::Result<Option<Source>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match fs::openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Source::new(fd).map(Some),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
