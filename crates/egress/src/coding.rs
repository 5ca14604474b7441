//! Hides compression: of what passes in a coding, a copy is made that can be read.

use flate2::{Decompress, FlushDecompress, Status};

/// How much more comes out than went in, at most, once this much has come out.
const RATIO: u64 = 256;
const FREE: u64 = 1024 * 1024;
/// The most that comes out.
const MAX: u64 = 256 * 1024 * 1024;
/// How much comes out at once.
const PIECE: usize = 16 * 1024;

/// The codings that can be read, by the names that have been given to them.
const GZIP: [&str; 2] = ["gzip", "x-gzip"];
const DEFLATE: &str = "deflate";

/// Whether a coding can be read.
pub(crate) fn is_known(coding: &str) -> bool {
    [GZIP[0], GZIP[1], DEFLATE, "identity"].iter().any(|known| coding.eq_ignore_ascii_case(known))
}

/// Reads one body.
pub(crate) struct Decoder {
    gzip: bool,
    state: State,
    taken: u64,
    given: u64,
}

enum State {
    /// Nothing was read.
    Fresh,
    Open(Box<Decompress>),
    /// At its end, or where it can't be read on.
    Over,
}

impl Decoder {
    /// One for this coding, if it is known.
    pub(crate) fn new(coding: &str) -> Option<Self> {
        let gzip = GZIP.iter().any(|known| coding.eq_ignore_ascii_case(known));
        let known = gzip || coding.eq_ignore_ascii_case(DEFLATE);
        known.then_some(Self { gzip, state: State::Fresh, taken: 0, given: 0 })
    }

    /// Reads on, and gives what comes out of it, in pieces.
    pub(crate) fn read(&mut self, mut bytes: &[u8], mut give: impl FnMut(&[u8])) {
        let mut piece = [0; PIECE];
        loop {
            let stream = match &mut self.state {
                State::Over => return,
                State::Open(stream) => stream,
                State::Fresh => {
                    let Some(&first) = bytes.first() else { return };
                    let stream = match self.gzip {
                        true => Decompress::new_gzip(15),
                        // Some servers leave the header of zlib out (RFC 9110, 8.4.1.2); no stream without it begins so.
                        false => Decompress::new(first & 0xf == 8),
                    };
                    self.state = State::Open(Box::new(stream));
                    continue;
                }
            };
            let before = (stream.total_in(), stream.total_out());
            let status = stream.decompress(bytes, &mut piece, FlushDecompress::Sync);
            let (taken, given) = (stream.total_in() - before.0, stream.total_out() - before.1);
            (self.taken, self.given) = (self.taken + taken, self.given + given);
            // Never more than there is.
            bytes = bytes.get(taken as usize..).unwrap_or_default();
            let bomb = self.given > MAX || self.given > FREE + RATIO * self.taken;
            self.state = match (status, std::mem::replace(&mut self.state, State::Over)) {
                (Ok(Status::StreamEnd), _) if self.gzip && !bomb => State::Fresh,
                (Ok(Status::Ok | Status::BufError), open) if !bomb => open,
                _ => State::Over,
            };
            give(piece.get(..given as usize).unwrap_or_default());
            // What is full may have more to give.
            if taken == 0 && given == 0 || bytes.is_empty() && (given as usize) < PIECE {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
