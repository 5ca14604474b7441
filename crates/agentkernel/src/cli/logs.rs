//! `logs`: what a kept sandbox's programs have written.

use super::{
    Failure, Status, report, run,
    table::{printable, rfc3339},
};
use crate::{
    config::{FormError, parse_count},
    store::{LogData, LogRecord, State, Store, Tail},
};
use clap::Args;
use std::{
    borrow::Cow,
    io::{self, Write},
    ops::ControlFlow,
    time::Duration,
};
use wire::Channel;

/// Show a sandbox's output.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on as more comes
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines
    #[arg(short = 'n', long, value_name = "LINES", value_parser = lines, default_value = "all", allow_hyphen_values = true)]
    tail: Lines,
    /// Put the time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Name, id or prefix of an id
    sandbox: String,
}

impl Logs {
    pub(super) fn run(self) -> Status {
        let entry = Store::open()?.find(&self.sandbox)?;
        if matches!(entry.state()?, State::Created) {
            // Docker's way: a log of nothing is no failure.
            report(&run::never_started(&self.sandbox));
        }
        let mut reader = entry.log_reader(Tail { since_ns: 0, lines: self.tail.0 })?;
        let mut printer = Printer::new(self.timestamps);
        loop {
            // Asked before the last look: what was written before the end is not missed.
            let over = !matches!(entry.state()?, State::Running { .. });
            loop {
                let record = reader.next_record()?;
                if printer.print(record.as_ref())?.is_break() {
                    return Ok(141);
                }
                if record.is_none() {
                    break;
                }
            }
            if over || !self.follow {
                return Ok(0);
            }
            reader.wait(Duration::from_secs(1))?;
        }
    }
}

/// How many of the last lines; none: all.
#[derive(Clone, Debug)]
struct Lines(Option<u64>);

/// A number of lines, or `all`.
fn lines(text: &str) -> Result<Lines, FormError> {
    Ok(Lines(if text == "all" { None } else { Some(parse_count(text)?) }))
}

struct Printer {
    timestamps: bool,
    /// Per channel, whether its last line has no end yet.
    line_open: [bool; 3],
    /// Bytes that are missing here, and since when the last of them are: a full disk makes many such records.
    lost: Option<(u64, u64)>,
}

impl Printer {
    fn new(timestamps: bool) -> Self {
        Self { timestamps, line_open: [false; 3], lost: None }
    }

    /// Prints a record, or `None` after the last one for now. Breaks when nobody reads any more.
    fn print(&mut self, record: Option<&LogRecord>) -> Result<ControlFlow<()>, Failure> {
        if let Some(LogRecord { time_ns, data: LogData::Lost(more) }) = record {
            let before = self.lost.map_or(0, |(bytes, _)| bytes);
            self.lost = Some((before.saturating_add(*more), *time_ns));
            return Ok(ControlFlow::Continue(()));
        }
        if let Some((bytes, time_ns)) = self.lost.take() {
            let note = format!("[agentkernel: {bytes} bytes could not be written to the log]\n");
            if self.write(time_ns, Channel::Stderr, note.as_bytes())?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        match record {
            Some(LogRecord { time_ns, data: LogData::Output(channel, bytes) }) => self.write(*time_ns, *channel, bytes),
            Some(LogRecord { time_ns, data: LogData::Notice(words) }) => {
                self.write(*time_ns, Channel::Stderr, format!("agentkernel: {}\n", printable(words)).as_bytes())
            }
            _ => Ok(ControlFlow::Continue(())),
        }
    }

    fn write(&mut self, time_ns: u64, channel: Channel, bytes: &[u8]) -> Result<ControlFlow<()>, Failure> {
        let bytes =
            if self.timestamps { Cow::Owned(self.stamp(time_ns, channel, bytes)) } else { Cow::Borrowed(bytes) };
        let written = match channel {
            Channel::Stderr => io::stderr().lock().write_all(&bytes),
            _ => io::stdout().lock().write_all(&bytes).and_then(|()| io::stdout().flush()),
        };
        match written {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error.into()),
        }
    }

    fn stamp(&mut self, time_ns: u64, channel: Channel, bytes: &[u8]) -> Vec<u8> {
        let stamp = rfc3339(time_ns);
        let open = &mut self.line_open[channel as usize];
        let mut out = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !*open {
                out.extend_from_slice(stamp.as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line);
            *open = !line.ends_with(b"\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_one_time_however_it_was_written() {
        let mut printer = Printer::new(true);
        let mut out = printer.stamp(0, Channel::Stdout, b"a\nb");
        out.extend(printer.stamp(0, Channel::Stdout, b"c\n"));
        let time = rfc3339(0);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{time} a\n{time} bc\n"));
    }
}
