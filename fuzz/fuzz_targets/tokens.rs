//! What renews logins, and what tokens say of themselves: no panic, and nothing taken that no header could carry.
#![no_main]

use egress::{
    Secret,
    fuzzing::{Refusal, tokens},
    token_expiry,
};
use http::StatusCode;
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_764_200_000_000;
const TEN_YEARS: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

fuzz_target!(|input: &[u8]| {
    let _ = token_expiry(input);
    match tokens(StatusCode::OK, input, NOW) {
        Ok(told) => {
            let good = |token: &Secret| {
                let token = token.expose();
                (1..=16 << 10).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic)
            };
            assert!(good(&told.access) && told.refresh.as_ref().is_none_or(good) && told.id.as_ref().is_none_or(good));
            assert!(told.expires_ms.is_none_or(|end| (NOW..=NOW + TEN_YEARS).contains(&end)));
        }
        Err(refusal) => assert!(matches!(refusal, Refusal::Now(_))),
    }
    // What is said of a refusal fits in a line.
    match tokens(StatusCode::BAD_REQUEST, input, NOW) {
        Err(Refusal::Never(words)) => assert!(words.len() < 128 && !words.contains(char::is_control)),
        _ => panic!("a refusal is none"),
    }
});
