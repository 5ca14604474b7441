//! Hides how bytes become lines of which none is too long to be kept.

/// A line that was longer, and is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Bytes as they come, to be taken as lines.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The most bytes of one.
    longest: usize,
    buffer: Vec<u8>,
    /// Where the next line begins, and how far there is no end of it.
    begin: usize,
    seen: usize,
    /// What comes is the rest of a line that is not kept.
    skipping: bool,
}

impl Lines {
    /// None yet, and none of more bytes than this.
    pub(crate) fn new(longest: usize) -> Self {
        Self { longest, buffer: Vec::new(), begin: 0, seen: 0, skipping: false }
    }

    /// Takes in what has come. The lines of what came before have been taken.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.begin);
        self.seen -= self.begin;
        self.begin = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line, without its end.
    pub(crate) fn next(&mut self) -> Option<Result<Vec<u8>, TooLong>> {
        let end = self.buffer[self.seen..].iter().position(|&byte| byte == b'\n').map(|at| self.seen + at);
        let length = end.unwrap_or(self.buffer.len()) - self.begin;
        let long = self.skipping || length > self.longest;
        match end {
            Some(end) => {
                let line = self.buffer[self.begin..end].to_vec();
                (self.begin, self.seen) = (end + 1, end + 1);
                self.skipping = false;
                Some(if long { Err(TooLong) } else { Ok(line) })
            }
            None => {
                if long {
                    self.skipping = true;
                    self.buffer.clear();
                    (self.begin, self.seen) = (0, 0);
                }
                self.seen = self.buffer.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"one\n\ntwo\r\nthree";
        for step in 1..text.len() {
            let (mut lines, mut found) = (Lines::new(100), Vec::new());
            for part in text.chunks(step) {
                lines.push(part);
                while let Some(line) = lines.next() {
                    found.push(line.unwrap());
                }
            }
            assert_eq!(found, [&b"one"[..], b"", b"two\r"], "{step}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept() {
        const LONGEST: usize = 32 << 20;
        let mut lines = Lines::new(LONGEST);
        let part = vec![b'x'; 1 << 20];
        let mut most = 0;
        for _ in 0..40 {
            lines.push(&part);
            assert_eq!(lines.next(), None);
            most = most.max(lines.buffer.capacity());
        }
        lines.push(b"x\nnext\n");
        assert_eq!((lines.next(), lines.next(), lines.next()), (Some(Err(TooLong)), Some(Ok(b"next".to_vec())), None));
        assert!(most <= 2 * LONGEST + (2 << 20), "{most}");
    }
}
