//! Init's answers to DNS messages: no panic, no answer longer than it may be, and the same address for the same name.
#![no_main]

// Init is a program, not a library; what is fuzzed is a file of it.
#[path = "../../crates/init/src/capture/dns.rs"]
#[allow(dead_code)]
mod dns;
#[path = "../../crates/init/src/capture/names.rs"]
#[allow(dead_code)]
mod names;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut names = names::Names::default();
    let first = dns::answer(input, &mut names);
    if let Some(answer) = &first {
        assert_eq!(answer[..2], input[..2], "an answer to another question");
        assert!(answer[2] & 0x80 != 0, "a question as an answer");
        // An answer is no question: two of us would not talk for ever.
        assert_eq!(dns::answer(answer, &mut names), None);
    }
    assert_eq!(dns::answer(input, &mut names), first);
});
