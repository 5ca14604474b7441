//! What an engine sends of a container's output: the same bytes in whatever pieces they come, none lost and none made up.
#![no_main]

#[path = "../../crates/agentkernel/src/backend/docker/demultiplex.rs"]
mod demultiplex;

use demultiplex::Demultiplexer;
use libfuzzer_sys::fuzz_target;

/// Standard output and standard error.
type Both = (Vec<u8>, Vec<u8>);

fn taken(stream: &[u8], piece: usize) -> Both {
    let (mut output, mut errors) = Both::default();
    let mut demultiplexer = Demultiplexer::default();
    for piece in stream.chunks(piece) {
        demultiplexer.take(piece, |bytes| output.extend(bytes), |bytes| errors.extend(bytes));
    }
    (output, errors)
}

/// The same by the format's own words, all at once.
fn meant(mut stream: &[u8]) -> Both {
    let (mut output, mut errors) = Both::default();
    while let [descriptor, _, _, _, a, b, c, d, rest @ ..] = stream {
        let (bytes, rest) = rest.split_at((u32::from_be_bytes([*a, *b, *c, *d]) as usize).min(rest.len()));
        if *descriptor == 2 {
            errors.extend(bytes)
        } else {
            output.extend(bytes)
        }
        stream = rest;
    }
    (output, errors)
}

fuzz_target!(|input: &[u8]| {
    let [piece, stream @ ..] = input else { return };
    assert_eq!(taken(stream, usize::from(*piece).max(1)), meant(stream));
});
