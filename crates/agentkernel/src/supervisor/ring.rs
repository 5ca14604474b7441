//! Output that nobody has received yet: the newest bytes, up to a limit.

use std::collections::VecDeque;
use wire::Channel;

/// A bounded queue of output, oldest first. When it is full the oldest bytes go.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<(Channel, Vec<u8>)>,
    held: usize,
    lost: u64,
}

impl Ring {
    /// How many bytes it holds at most.
    pub(super) const CAPACITY: usize = 256 * 1024;

    pub(super) fn push(&mut self, channel: Channel, bytes: &[u8]) {
        let keep = bytes.len().min(Self::CAPACITY);
        self.lost += (bytes.len() - keep) as u64;
        let bytes = &bytes[bytes.len() - keep..];
        match self.chunks.back_mut() {
            // Many small writes must not become many small allocations.
            Some((last, chunk)) if *last == channel && chunk.len() + bytes.len() <= 4096 => {
                chunk.extend_from_slice(bytes);
            }
            _ => self.chunks.push_back((channel, bytes.to_vec())),
        }
        self.held += keep;
        while self.held > Self::CAPACITY {
            let excess = self.held - Self::CAPACITY;
            let Some((_, oldest)) = self.chunks.front_mut() else { break };
            let gone = if oldest.len() <= excess {
                let gone = oldest.len();
                self.chunks.pop_front();
                gone
            } else {
                oldest.drain(..excess);
                excess
            };
            self.held -= gone;
            self.lost += gone as u64;
        }
    }

    /// Takes everything: how many older bytes were lost, and the chunks.
    pub(super) fn take(&mut self) -> (u64, VecDeque<(Channel, Vec<u8>)>) {
        self.held = 0;
        (std::mem::take(&mut self.lost), std::mem::take(&mut self.chunks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_bytes_in_order_and_counts_the_lost_ones() {
        let mut ring = Ring::default();
        let mut all = Vec::new();
        for round in 0u32..5000 {
            let channel = if round % 7 == 0 { Channel::Stderr } else { Channel::Stdout };
            let bytes = vec![round as u8; (round % 199) as usize];
            ring.push(channel, &bytes);
            all.extend(bytes.into_iter().map(|byte| (channel, byte)));
        }
        let (lost, chunks) = ring.take();
        let kept: Vec<_> = chunks.into_iter().flat_map(|(c, bytes)| bytes.into_iter().map(move |b| (c, b))).collect();
        assert_eq!(kept.len(), Ring::CAPACITY);
        assert_eq!(lost as usize + kept.len(), all.len());
        assert_eq!(kept, all[all.len() - kept.len()..]);
        assert_eq!(ring.take(), (0, VecDeque::new()));
    }

    #[test]
    fn one_write_larger_than_the_ring_leaves_its_end() {
        let mut ring = Ring::default();
        let bytes: Vec<u8> = (0..Ring::CAPACITY + 10).map(|i| i as u8).collect();
        ring.push(Channel::Stdout, b"old");
        ring.push(Channel::Stdout, &bytes);
        let (lost, chunks) = ring.take();
        assert_eq!(lost, 13);
        assert_eq!(chunks.into_iter().flat_map(|(_, b)| b).collect::<Vec<_>>(), bytes[10..]);
    }
}
