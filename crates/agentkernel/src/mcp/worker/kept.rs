//! What is kept of a program's output: its beginning and its end.

use std::collections::VecDeque;

/// At most so many bytes of it.
#[derive(Debug)]
pub(super) struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    most_head: usize,
    most_tail: usize,
    total: u64,
}

impl Kept {
    /// A quarter of them is for the beginning: what went wrong stands at the end, mostly.
    pub(super) fn new(most: usize) -> Self {
        let most_head = most / 4;
        Self { head: Vec::new(), tail: VecDeque::new(), most_head, most_tail: most - most_head, total: 0 }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let first = bytes.len().min(self.most_head - self.head.len());
        self.head.extend_from_slice(&bytes[..first]);
        bytes = &bytes[first..];
        bytes = &bytes[bytes.len().saturating_sub(self.most_tail)..];
        let over = (self.tail.len() + bytes.len()).saturating_sub(self.most_tail);
        self.tail.drain(..over);
        self.tail.extend(bytes);
    }

    /// How much there was.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How much of it is missing.
    pub(super) fn missing(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// All bytes, if none is missing.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.head.iter().chain(&self.tail).copied().collect()
    }

    /// As text, that says where something is missing.
    pub(super) fn text(&self) -> String {
        match self.missing() {
            0 => String::from_utf8_lossy(&self.bytes()).into_owned(),
            missing => {
                let tail: Vec<u8> = self.tail.iter().copied().collect();
                let (head, tail) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(&tail));
                format!("{head}\n[agentkernel: {missing} bytes are left out here]\n{tail}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kept;

    #[test]
    fn beginning_and_end_are_kept() {
        let mut kept = Kept::new(8);
        kept.push(b"abc");
        kept.push(b"defgh");
        assert_eq!((kept.text().as_str(), kept.missing()), ("abcdefgh", 0));
        kept.push(b"ijk");
        assert_eq!((kept.total(), kept.missing()), (11, 3));
        assert_eq!(kept.text(), "ab\n[agentkernel: 3 bytes are left out here]\nfghijk");
        kept.push(&[b'x'; 1000]);
        assert_eq!(kept.bytes(), b"abxxxxxx");
    }
}
