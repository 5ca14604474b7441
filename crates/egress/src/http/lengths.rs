//! Hides how the lengths of bodies were written: of that a parsed head tells only what was made of it.
//!
//! What is read here decides over nothing but a refusal. Where a body ends the parser knows, which rewrites every head.

/// As much of a line as is kept.
const KEPT: usize = 128;

/// The start of the line that is being read.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
}

impl Line {
    /// Reads up to the end of a line: how much was read, and whether that was the end.
    fn read(&mut self, bytes: &[u8]) -> (usize, bool) {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let count = end.map_or(bytes.len(), |end| end + 1);
        for &byte in &bytes[..end.unwrap_or(count)] {
            // A number with ever so many zeros before it is the same one.
            if self.bytes == b"0" && byte.is_ascii_hexdigit() {
                self.bytes.clear();
            }
            // The carriage return of a long line does not matter.
            if self.bytes.len() < KEPT {
                self.bytes.push(byte);
            }
        }
        (count, end.is_some())
    }

    /// Gives the line, without its end, and begins another.
    fn take(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.bytes);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        line
    }
}

/// A header that says how long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Counted,
    Coded,
}

/// Which one a line is, if it is one, and whether its name is written as it should be.
fn length(line: &[u8]) -> Option<(Length, bool)> {
    let end = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
    let name = line[..end].trim_ascii();
    let length = match () {
        () if name.eq_ignore_ascii_case(b"content-length") => Length::Counted,
        () if name.eq_ignore_ascii_case(b"transfer-encoding") => Length::Coded,
        () => return None,
    };
    Some((length, name.len() == end && end < line.len()))
}

/// Follows the requests of a connection: which of them tell the length of their body twice.
#[derive(Default)]
pub(super) struct Requests {
    at: At,
    line: Line,
    lengths: usize,
    counted: u64,
    chunked: bool,
}

/// Where in a connection it is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// Before a request: empty lines are nothing.
    #[default]
    Start,
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// In what is no request, or none that the parser would take.
    Lost,
}

impl Requests {
    /// Reads on, and tells of every head that ended: whether it has more than one length.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut tell: impl FnMut(bool)) {
        while !bytes.is_empty() && self.at != At::Lost {
            if let At::Body(left) | At::Chunk(left) = self.at {
                let count = left.min(bytes.len() as u64);
                bytes = &bytes[count as usize..];
                self.at = match (self.at, left - count) {
                    (At::Body(_), 0) => At::Start,
                    (At::Body(_), left) => At::Body(left),
                    (_, 0) => At::ChunkEnd,
                    (_, left) => At::Chunk(left),
                };
                continue;
            }
            let (count, ended) = self.line.read(bytes);
            bytes = &bytes[count..];
            if ended {
                let line = self.line.take();
                let head = self.at == At::Head && line.is_empty();
                if head {
                    tell(self.lengths > 1);
                }
                self.at = self.after(&line);
            }
        }
    }

    /// Where this line leads.
    fn after(&mut self, line: &[u8]) -> At {
        match (self.at, line.is_empty()) {
            (At::Start, true) => At::Start,
            (At::Start, false) => {
                (self.lengths, self.counted, self.chunked) = (0, 0, false);
                At::Head
            }
            (At::Head, true) => match (self.chunked, self.counted) {
                (true, _) => At::ChunkSize,
                (false, 0) => At::Start,
                (false, count) => At::Body(count),
            },
            (At::Head, false) => {
                match length(line) {
                    Some((Length::Counted, true)) => {
                        self.lengths += 1;
                        let value = line.iter().skip_while(|&&byte| byte != b':').skip(1).copied().collect::<Vec<_>>();
                        let value = std::str::from_utf8(value.trim_ascii()).ok().and_then(|value| value.parse().ok());
                        let Some(count) = value else { return At::Lost };
                        self.counted = count;
                    }
                    Some((Length::Coded, true)) => {
                        self.lengths += 1;
                        self.chunked = true;
                    }
                    // The parser takes no such name.
                    Some((_, false)) => return At::Lost,
                    None => {}
                }
                At::Head
            }
            (At::ChunkSize, _) => {
                let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
                let size =
                    std::str::from_utf8(&line[..digits]).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
                match size {
                    Some(0) => At::Trailers,
                    Some(size) => At::Chunk(size),
                    None => At::Lost,
                }
            }
            (At::ChunkEnd, true) => At::ChunkSize,
            (At::Trailers, true) => At::Start,
            (At::Trailers, false) => At::Trailers,
            _ => At::Lost,
        }
    }
}

/// Follows the heads of the answers to one request: whether programs could take another length from them.
///
/// A blank before a colon, a folded line, or a line that is no header changes nothing in most headers. In those that
/// tell of a length, one program would obey it and the next would not.
pub(super) struct Answers {
    at: Reading,
    line: Line,
    /// The last header was one of a length.
    length: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Status,
    Head {
        last: bool,
    },
    /// The body, or what is no answer.
    Rest,
}

impl Answers {
    /// Before the first request there is no answer.
    pub(super) fn new() -> Self {
        Self { at: Reading::Rest, line: Line::default(), length: false }
    }

    /// A request is on its way: an answer is next.
    pub(super) fn expect(&mut self) {
        *self = Self { at: Reading::Status, ..Self::new() };
    }

    /// Reads on: whether all that was read is clear.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() && self.at != Reading::Rest {
            let (count, ended) = self.line.read(bytes);
            bytes = &bytes[count..];
            if !ended {
                continue;
            }
            let line = self.line.take();
            match self.at {
                Reading::Status if line.is_empty() => {}
                Reading::Status => {
                    let code = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
                    let informational = code.first() == Some(&b'1') && code != b"101";
                    self.at = Reading::Head { last: !informational };
                    self.length = false;
                }
                Reading::Head { last } if line.is_empty() => {
                    self.at = if last { Reading::Rest } else { Reading::Status };
                }
                Reading::Head { .. } => {
                    let folded = matches!(line.first(), Some(b' ' | b'\t'));
                    match length(&line) {
                        Some((_, false)) => return false,
                        _ if folded && self.length => return false,
                        found if !folded => self.length = found.is_some(),
                        _ => {}
                    }
                }
                Reading::Rest => {}
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "lengths_tests.rs"]
mod tests;
