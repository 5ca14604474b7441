//! The last lines of a log: which bytes to leave out so that they remain.

use super::log::{LogData, Read, Source};
use rustix::io;
use wire::Channel;

/// How many lines of each channel to leave out. Lines belong to a channel: two programs that write in turns do not
/// break each other's.
#[derive(Debug, Default)]
pub(super) struct Skip([u64; 3]);

impl Skip {
    /// Leaves out all but the last `lines` lines, by the order in which lines end. A line without an end counts as
    /// one and is never left out. Reads the log twice rather than holding any of it.
    pub(super) fn all_but(
        lines: u64,
        since_ns: u64,
        sources: impl Fn() -> io::Result<Vec<Source>>,
    ) -> io::Result<Self> {
        let mut ends = 0u64;
        let mut open = [false; 3];
        scan(sources()?, since_ns, |channel, bytes| {
            ends += newlines(bytes);
            if let Some(&last) = bytes.last() {
                open[channel as usize] = last != b'\n';
            }
        })?;
        let open = open.into_iter().filter(|&open| open).count() as u64;
        let mut left = (ends + open).saturating_sub(lines).min(ends);
        let mut skip = Self::default();
        if left > 0 {
            scan(sources()?, since_ns, |channel, bytes| {
                let dropped = newlines(bytes).min(left);
                left -= dropped;
                skip.0[channel as usize] += dropped;
            })?;
        }
        Ok(skip)
    }

    /// Whether a notice remains.
    pub(super) fn keeps_notice(&mut self) -> bool {
        self.cut(NOTICE.0, NOTICE.1.to_vec()).is_some()
    }

    /// What remains of `bytes`; `None` if nothing does.
    pub(super) fn cut(&mut self, channel: Channel, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let skip = &mut self.0[channel as usize];
        if *skip == 0 {
            return Some(bytes);
        }
        let mut from = 0;
        while *skip > 0 {
            from += bytes[from..].iter().position(|&byte| byte == b'\n')? + 1;
            *skip -= 1;
        }
        bytes.drain(..from);
        (!bytes.is_empty()).then_some(bytes)
    }
}

/// What a notice counts as: the end of a line of standard error, where it is shown.
const NOTICE: (Channel, &[u8]) = (Channel::Stderr, b"\n");

fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

fn scan(sources: Vec<Source>, since_ns: u64, mut each: impl FnMut(Channel, &[u8])) -> io::Result<()> {
    for mut source in sources {
        while let Read::Record(record) = source.next()? {
            match &record.data {
                _ if record.time_ns < since_ns => {}
                LogData::Output(channel, bytes) => each(*channel, bytes),
                LogData::Notice(_) => each(NOTICE.0, NOTICE.1),
                LogData::Lost(_) => {}
            }
        }
    }
    Ok(())
}
