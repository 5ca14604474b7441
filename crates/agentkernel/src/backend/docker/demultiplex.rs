//! Hides how an engine sends the output of a container that has no terminal: in pieces, each behind a header that says
//! which descriptor it came from.
//!
//! ```text
//! | descriptor u8 | 0 u8 x 3 | length u32 be | length bytes |
//! ```

/// The bytes of a header.
const HEADER: usize = 8;
const STDERR: u8 = 2;

/// Takes the stream apart.
#[derive(Debug, Default)]
pub struct Demultiplexer {
    header: Vec<u8>,
    /// Whose bytes come, and how many are left.
    current: Option<(u8, usize)>,
}

impl Demultiplexer {
    /// Takes bytes as they come, and gives those of standard output and of standard error away.
    pub fn take(&mut self, mut bytes: &[u8], mut output: impl FnMut(&[u8]), mut errors: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let Some((descriptor, left)) = self.current else {
                let missing = (HEADER - self.header.len()).min(bytes.len());
                self.header.extend_from_slice(&bytes[..missing]);
                bytes = &bytes[missing..];
                if let [descriptor, _, _, _, length @ ..] = self.header.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.current = Some((*descriptor, u32::from_be_bytes(length) as usize)).filter(|(_, n)| *n > 0);
                    self.header.clear();
                }
                continue;
            };
            let (piece, rest) = bytes.split_at(left.min(bytes.len()));
            if descriptor == STDERR {
                errors(piece)
            } else {
                output(piece)
            }
            self.current = Some((descriptor, left - piece.len())).filter(|(_, left)| *left > 0);
            bytes = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn piece(descriptor: u8, bytes: &[u8]) -> Vec<u8> {
        let mut all = vec![descriptor, 0, 0, 0];
        all.extend((bytes.len() as u32).to_be_bytes());
        all.extend(bytes);
        all
    }

    /// Standard output and standard error of what comes in pieces of this size.
    fn taken(stream: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut output, mut errors) = (Vec::<u8>::new(), Vec::<u8>::new());
        let mut demultiplexer = Demultiplexer::default();
        for chunk in stream.chunks(size) {
            demultiplexer.take(chunk, |bytes| output.extend(bytes), |bytes| errors.extend(bytes));
        }
        assert!(demultiplexer.header.len() < HEADER);
        (output, errors)
    }

    proptest! {
        #[test]
        fn whatever_comes_is_the_same_in_all_pieces(
            mut stream in prop::collection::vec(any::<u8>(), 0..200),
            short in prop::collection::vec(0usize..12, 0..8),
            cut in 1usize..32,
        ) {
            // Lengths that mostly end within it.
            let mut at = 4;
            for length in short {
                if let Some(bytes) = stream.get_mut(at..at + 4) {
                    bytes.copy_from_slice(&(length as u32).to_be_bytes());
                }
                at += HEADER + length;
            }
            prop_assert_eq!(taken(&stream, cut), taken(&stream, stream.len().max(1)));
        }

        #[test]
        fn pieces_arrive_whole_however_they_are_cut(
            pieces in prop::collection::vec((1u8..=2, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..32,
        ) {
            let stream: Vec<u8> = pieces.iter().flat_map(|(from, bytes)| piece(*from, bytes)).collect();
            let of = |wanted: u8| -> Vec<u8> {
                pieces.iter().filter(|(from, _)| *from == wanted).flat_map(|(_, bytes)| bytes.clone()).collect()
            };
            prop_assert_eq!(taken(&stream, cut), (of(1), of(2)));
        }
    }
}
