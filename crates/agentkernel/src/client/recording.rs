//! Hides the form of recordings of sessions: asciicast, version 2 (docs.asciinema.org/manual/asciicast/v2), a line of JSON
//! for all of it and one for each piece of output or change of size, with the true times.

use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use wire::{Channel, WinSize};

const VERSION: u32 = 2;
/// The longest line of a recording that is read.
const LONGEST: u64 = 16 << 20;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// When it was made, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    /// What ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// A recording that is being made. The first error ends it, and not what is recorded.
#[derive(Debug)]
pub struct Recorder {
    out: Result<File, io::Error>,
    began: Instant,
    /// The beginning of a character whose end has not come yet, on standard output and standard error.
    begun: [Vec<u8>; 2],
}

impl Recorder {
    /// Makes the file, which must be a new one, for its owner's eyes.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn create(path: &Path, size: WinSize, command: Option<String>) -> io::Result<Self> {
        let out = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs());
        let header = Header { version: VERSION, width: size.cols, height: size.rows, timestamp, command };
        let mut recorder = Self { out: Ok(out), began: Instant::now(), begun: Default::default() };
        recorder.line(&header);
        recorder.out = Ok(recorder.out?);
        Ok(recorder)
    }

    /// What came out just now.
    pub(super) fn output(&mut self, channel: Channel, bytes: &[u8]) {
        let begun = &mut self.begun[usize::from(channel == Channel::Stderr)];
        begun.extend_from_slice(bytes);
        let whole = begun.len() - unfinished(begun);
        if whole > 0 {
            let text = String::from_utf8_lossy(&begun[..whole]).into_owned();
            begun.drain(..whole);
            self.event("o", &text);
        }
    }

    /// The terminal has another size.
    pub(super) fn resized(&mut self, size: WinSize) {
        self.event("r", &format!("{}x{}", size.cols, size.rows));
    }

    /// Why not all of it was recorded, if so.
    #[must_use]
    pub fn finish(mut self) -> Option<io::Error> {
        for begun in std::mem::take(&mut self.begun).iter().filter(|begun| !begun.is_empty()) {
            self.event("o", &String::from_utf8_lossy(begun));
        }
        self.out.err()
    }

    fn event(&mut self, code: &str, data: &str) {
        // As precise as asciinema's own, and no longer.
        let time = (self.began.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        self.line(&(time, code, data));
    }

    /// One write a line: whoever is killed leaves whole ones.
    fn line<T: Serialize>(&mut self, value: &T) {
        let Ok(out) = &mut self.out else { return };
        let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            out.write_all(&line)
        });
        if let Err(error) = written {
            self.out = Err(error);
        }
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    (1..=tail.len())
        .find(|count| {
            let end = &tail[tail.len() - count..];
            let length = match end[0] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => return false,
            };
            *count < length && end[1..].iter().all(|byte| byte & 0xc0 == 0x80)
        })
        .unwrap_or(0)
}

/// A recording could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The file.
    #[error("Can't read the recording")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("Not a recording: line {0} is not of asciicast version 2")]
    Malformed(u64),
}

/// A recording that is read.
#[derive(Debug)]
pub struct Recording<R> {
    from: R,
    line: u64,
    /// What it begins with.
    pub header: Header,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// Output.
    Output(String),
    /// The terminal had another size.
    Resized(WinSize),
    /// Input, a mark, or what later versions have.
    Other,
}

impl Recording<BufReader<File>> {
    /// Opens one.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<R: BufRead> Recording<R> {
    fn new(from: R) -> Result<Self, RecordingError> {
        let header = Header { version: VERSION, width: 0, height: 0, timestamp: None, command: None };
        let mut recording = Self { from, line: 0, header };
        let line = recording.next_line()?.ok_or(RecordingError::Malformed(1))?;
        let header = serde_json::from_slice(&line).ok().filter(|header: &Header| header.version == VERSION);
        recording.header = header.ok_or(RecordingError::Malformed(1))?;
        Ok(recording)
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, RecordingError> {
        loop {
            self.line += 1;
            let mut line = Vec::new();
            let count = io::Read::take(&mut self.from, LONGEST).read_until(b'\n', &mut line)?;
            if count as u64 == LONGEST {
                return Err(RecordingError::Malformed(self.line));
            }
            match line.trim_ascii() {
                [] if count == 0 => return Ok(None),
                [] => {}
                line => return Ok(Some(line.to_vec())),
            }
        }
    }

    /// What happened next, and when, from the beginning. A last line that was cut off is not there.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn next_event(&mut self) -> Result<Option<(Duration, Happened)>, RecordingError> {
        let Some(line) = self.next_line()? else { return Ok(None) };
        let malformed = RecordingError::Malformed(self.line);
        let Ok((time, code, data)) = serde_json::from_slice::<(f64, String, String)>(&line) else {
            // Nothing follows what a kill has cut off.
            return if self.next_line()?.is_none() { Ok(None) } else { Err(malformed) };
        };
        let time = Duration::try_from_secs_f64(time).map_err(|_| malformed)?;
        let happened = match code.as_str() {
            "o" => Happened::Output(data),
            "r" => match data.split_once('x').map(|(cols, rows)| (cols.parse(), rows.parse())) {
                Some((Ok(cols), Ok(rows))) => Happened::Resized(WinSize { rows, cols }),
                _ => Happened::Other,
            },
            _ => Happened::Other,
        };
        Ok(Some((time, happened)))
    }
}

#[cfg(test)]
#[path = "recording_tests.rs"]
mod tests;
