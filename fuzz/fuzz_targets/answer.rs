//! What name servers say: no panic, and nothing believed that does not answer the question.
#![no_main]

use egress::fuzzing::{Answer, Family, Query};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for family in [Family::V4, Family::V6] {
        let query = Query { id: 0x1234, name: "a.example".to_owned(), family };
        let answer = query.read(input);
        if answer.is_some() {
            assert_eq!(input[..2], [0x12, 0x34], "an answer to another question");
            assert!(input[2] & 0x80 != 0, "a question as an answer");
            // Whoever asks with another number does not hear it.
            assert_eq!(Query { id: 0x1235, ..query.clone() }.read(input), None);
        }
        if let Some(Answer::Addresses(found, _)) = answer {
            assert!(found.len() <= 64);
            assert!(found.iter().all(|address| address.is_ipv4() == (family == Family::V4)));
            // It holds the question itself, so for another name it is no answer.
            let other = Query { name: "b.example".to_owned(), ..query };
            assert!(matches!(other.read(input), None | Some(Answer::Failed)));
        }
    }
});
