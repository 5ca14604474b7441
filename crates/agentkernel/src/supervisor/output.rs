//! Output that waits to be passed on: the bytes in order, and which of them are of which channel.

use std::collections::VecDeque;
use wire::Channel;

/// A queue of output, oldest first. Its memory grows with the bytes in it, not with the writes that they came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    bytes: VecDeque<u8>,
    /// How many bytes in a row are of a channel: neighbours are of different ones.
    runs: VecDeque<(Channel, usize)>,
}

impl Output {
    pub(super) fn push(&mut self, channel: Channel, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.runs.back_mut() {
            Some((last, length)) if *last == channel => *length += bytes.len(),
            _ => self.runs.push_back((channel, bytes.len())),
        }
        self.bytes.extend(bytes);
    }

    /// Puts a note before everything else.
    pub(super) fn push_front(&mut self, channel: Channel, bytes: &[u8]) {
        let mut all = Self::default();
        all.push(channel, bytes);
        all.append(std::mem::take(self));
        *self = all;
    }

    pub(super) fn append(&mut self, mut other: Self) {
        if self.is_empty() {
            *self = other;
            return;
        }
        other.pass(|channel, bytes| {
            self.push(channel, bytes);
            bytes.len()
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of output.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory, as nearly as matters: programs that write to their channels in turns have many runs.
    pub(super) fn weight(&self) -> usize {
        self.bytes.len() + self.runs.len() * size_of::<(Channel, usize)>()
    }

    /// Lets go of at most `count` of the oldest bytes, all of one run, and says how many those were.
    pub(super) fn forget(&mut self, count: usize) -> usize {
        let Some((_, length)) = self.runs.front_mut() else { return 0 };
        let count = count.min(*length);
        *length -= count;
        if *length == 0 {
            self.runs.pop_front();
        }
        self.bytes.drain(..count);
        if self.is_empty() {
            // A burst is over: an idle viewer holds no memory.
            *self = Self::default();
        }
        count
    }

    /// Gives what there is to `take`, piece by piece, until it takes less than it is given.
    pub(super) fn pass(&mut self, mut take: impl FnMut(Channel, &[u8]) -> usize) {
        while let Some(&(channel, length)) = self.runs.front() {
            let (piece, _) = self.bytes.as_slices();
            let piece = &piece[..piece.len().min(length)];
            let taken = take(channel, piece);
            let all = taken == piece.len();
            self.forget(taken);
            if !all {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(mut output: Output) -> Vec<(Channel, Vec<u8>)> {
        let mut pieces: Vec<(Channel, Vec<u8>)> = Vec::new();
        output.pass(|channel, bytes| {
            pieces.push((channel, bytes.to_vec()));
            bytes.len()
        });
        assert_eq!(output, Output::default());
        pieces
    }

    #[test]
    fn small_writes_are_one_entry() {
        let mut output = Output::default();
        for round in 0..100_000u32 {
            output.push(Channel::Stdout, &[round as u8]);
        }
        assert_eq!((output.runs.len(), output.len()), (1, 100_000));
        assert!(output.weight() < 100_100 && output.bytes.capacity() < 300_000);
        let expected: Vec<u8> = (0..100_000u32).map(|round| round as u8).collect();
        assert_eq!(pieces(output).into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn channels_in_turns_keep_their_order_and_have_their_weight() {
        let mut output = Output::default();
        output.push(Channel::Stdout, b"a");
        output.push(Channel::Stderr, b"b");
        output.push(Channel::Stderr, b"");
        output.push(Channel::Stdout, b"c");
        output.push_front(Channel::Stdout, b"note ");
        assert_eq!(output.runs.len(), 3);
        assert!(output.weight() > output.len() + 3);
        let text = |channel, bytes: &[u8]| (channel, bytes.to_vec());
        let expected = [text(Channel::Stdout, b"note a"), text(Channel::Stderr, b"b"), text(Channel::Stdout, b"c")];
        assert_eq!(pieces(output), expected);
    }

    #[test]
    fn what_is_not_taken_stays() {
        let mut output = Output::default();
        output.push(Channel::Stdout, b"abc");
        output.push(Channel::Stderr, b"d");
        output.pass(|_, bytes| bytes.len().min(2));
        assert_eq!(output.len(), 2);
        assert_eq!(output.forget(5), 1);
        assert_eq!(pieces(output), [(Channel::Stderr, b"d".to_vec())]);
    }
}
