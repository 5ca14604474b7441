//! What a server answers: it is counted alike in whatever pieces it comes, and nothing that it says does harm.
#![no_main]

use egress::fuzzing::{told, told_by_socket};
use libfuzzer_sys::fuzz_target;

const KINDS: [&str; 4] =
    ["application/json", "application/x-ndjson", "text/event-stream", "application/vnd.amazon.eventstream"];

fuzz_target!(|input: &[u8]| {
    let [piece, said @ ..] = input else { return };
    let piece = usize::from(*piece).max(1);
    for kind in KINDS {
        assert_eq!(told(kind, "identity", said, piece), told(kind, "identity", said, usize::MAX));
        // Where the reading of what expands too far ends depends on the pieces.
        for coding in ["gzip", "deflate"] {
            let _ = told(kind, coding, said, piece);
        }
    }
    assert_eq!(told_by_socket(said, piece), told_by_socket(said, usize::MAX));
});
