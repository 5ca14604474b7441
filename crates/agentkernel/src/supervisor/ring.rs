//! Output that nobody has received yet: the newest bytes, up to a limit.

use super::output::Output;
use wire::Channel;

/// A bounded queue of output, oldest first. When it is full the oldest bytes go.
#[derive(Debug, Default)]
pub(super) struct Ring {
    output: Output,
    lost: u64,
}

impl Ring {
    /// How many bytes it holds at most.
    pub(super) const CAPACITY: usize = 256 * 1024;

    pub(super) fn push(&mut self, channel: Channel, bytes: &[u8]) {
        let keep = bytes.len().min(Self::CAPACITY);
        self.lost += (bytes.len() - keep) as u64;
        self.output.push(channel, &bytes[bytes.len() - keep..]);
        while self.output.len() > Self::CAPACITY {
            self.lost += self.output.forget(self.output.len() - Self::CAPACITY) as u64;
        }
    }

    /// Takes everything: how many older bytes were lost, and the rest.
    pub(super) fn take(&mut self) -> (u64, Output) {
        (std::mem::take(&mut self.lost), std::mem::take(&mut self.output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(mut output: Output) -> Vec<(Channel, u8)> {
        let mut each = Vec::new();
        output.pass(|channel, bytes| {
            each.extend(bytes.iter().map(|&byte| (channel, byte)));
            bytes.len()
        });
        each
    }

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
        let (lost, output) = ring.take();
        let kept = each(output);
        assert_eq!(kept.len(), Ring::CAPACITY);
        assert_eq!(lost as usize + kept.len(), all.len());
        assert_eq!(kept, all[all.len() - kept.len()..]);
        assert_eq!(ring.take(), (0, Output::default()));
    }

    #[test]
    fn one_write_larger_than_the_ring_leaves_its_end() {
        let mut ring = Ring::default();
        let bytes: Vec<u8> = (0..Ring::CAPACITY + 10).map(|i| i as u8).collect();
        ring.push(Channel::Stdout, b"old");
        ring.push(Channel::Stdout, &bytes);
        let (lost, output) = ring.take();
        assert_eq!(lost, 13);
        assert_eq!(each(output), bytes[10..].iter().map(|&byte| (Channel::Stdout, byte)).collect::<Vec<_>>());
    }
}
