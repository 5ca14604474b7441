//! `replay`: a recorded session, as it went.

mod queries;

use super::{Failure, Status, failure::FAILED};
use crate::client::{self, Happened, Recording, RecordingError, SessionRecording};
use clap::Args;
use jail::signal::SignalFd;
use queries::Unasked;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::Signal,
};
use std::{
    ffi::OsString,
    io::{ErrorKind, Write as _, stdout},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use wire::WinSize;

/// What undoes what a session that is not shown to its end has done to a terminal: the other screen, no cursor, the mouse,
/// the focus, pasting in brackets, colours.
const RESTORE: &[u8] =
    b"\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[0m\r\n";

/// Show a recorded session, as it went.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// So many times as fast, such as 2 or 0.5
    #[arg(short, long, value_name = "FACTOR", default_value = "1", value_parser = factor)]
    speed: f64,
    /// Shorten pauses to so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    idle_limit: Option<Duration>,
    /// What 'run --record' has written, or any other asciicast of version 2
    file: PathBuf,
}

/// Where a session is recorded.
#[derive(Debug, Default, Args)]
pub(super) struct RecordArgs {
    /// Record what is shown, with its times, in this new file: an asciicast, which 'replay' shows
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

impl RecordArgs {
    /// Makes the file, before there is anything to record.
    pub(super) fn begin(&self, command: &[OsString], detach: bool) -> Result<Option<SessionRecording>, Failure> {
        let Some(path) = &self.record else { return Ok(None) };
        if detach {
            return Err(
                Failure::new("`--record` has no use with `--detach`: nothing is shown").hint("Leave one of them out")
            );
        }
        let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
        let words = Some(words.join(" ")).filter(|words| !words.is_empty());
        let begun = SessionRecording::create(path, client::window_size(), words);
        Ok(Some(begun.map_err(|error| failed(path, &error))?))
    }

    /// Tells if not all of it is on record.
    pub(super) fn end(&self, recording: Option<SessionRecording>) {
        if let (Some(path), Some(error)) = (&self.record, recording.and_then(SessionRecording::finish)) {
            super::report(&Failure::new(format!("{} is not the whole session: {error}", path.display())));
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(format!("{} is there already", path.display())).hint("Name a new file, or remove this one")
        }
        _ => Failure::new(format!("Can't record to {}: {error}", path.display())),
    }
}

fn factor(text: &str) -> Result<f64, String> {
    let good = text.parse().ok().filter(|factor: &f64| (0.01..=1000.0).contains(factor));
    good.ok_or_else(|| "not a factor from 0.01 to 1000".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let good = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    good.ok_or_else(|| "not a number of seconds".to_owned())
}

impl Replay {
    pub(super) fn run(self) -> Status {
        let failed = |error: RecordingError| Failure::new(format!("{}: {}", self.file.display(), wire::cause(&error)));
        let mut recording = Recording::open(&self.file).map_err(failed)?;
        let header = &recording.header;
        let terminal = client::is_terminal().output;
        let here = client::window_size();
        if terminal && (here.cols < header.width || here.rows < header.height) {
            let WinSize { rows, cols } = here;
            super::report(
                &Failure::new(format!(
                    "It was recorded in a terminal of {}x{}, and this one has {cols}x{rows}",
                    header.width, header.height
                ))
                .hint("It may look broken: make the window larger"),
            );
        }
        // Whoever ends it has his terminal as it was.
        let signals =
            SignalFd::new(&[Signal::INT, Signal::TERM, Signal::HUP]).map_err(|error| Failure::chain(&error))?;
        let (began, mut shown) = (Instant::now(), Duration::ZERO);
        let mut last = Duration::ZERO;
        let mut status = 0;
        let mut unasked = Unasked::default();
        while let Some((time, happened)) = recording.next_event().map_err(failed)? {
            let pause = time.saturating_sub(last);
            last = time.max(last);
            shown += self.idle_limit.map_or(pause, |limit| pause.min(limit)).div_f64(self.speed);
            if let Some(signal) = wait(&signals, began + shown)? {
                status = 128 + signal as u8;
                break;
            }
            let Happened::Output(text) = happened else { continue };
            let mut out = stdout().lock();
            match out.write_all(unasked.pass(&text).as_bytes()).and_then(|()| out.flush()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(141),
                Err(error) => return Err(Failure::chain(&error).status(FAILED)),
            }
        }
        if terminal {
            // If it is gone there is nothing to restore.
            let _ = stdout().write_all(RESTORE).and_then(|()| stdout().flush());
        }
        Ok(status)
    }
}

/// Waits until then, or for a signal: which.
fn wait(signals: &SignalFd, until: Instant) -> Result<Option<u32>, Failure> {
    loop {
        if let Some(received) = signals.read().map_err(|error| Failure::chain(&error))? {
            return Ok(Some(received.signal as u32));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::chain(&errno)),
        }
    }
}
