//! What a connection begins with: no panic; what is known by its first bytes does not change by the next ones.
#![no_main]

use egress::{
    Host,
    first::{Expected, Speech, classify},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    hear(input, Expected::Web);
    hear(input, Expected::Any);
});

fn hear(input: &[u8], expected: Expected) {
    let whole = classify(input, expected);
    for part in [1, 3, 5, 11, input.len() / 2, input.len().saturating_sub(1)] {
        let Some(part) = input.get(..part) else { continue };
        match classify(part, expected) {
            None => {}
            // In words it may be told otherwise.
            Some(Speech::BadTls(_)) => assert!(matches!(whole, Some(Speech::BadTls(_)))),
            known => assert_eq!(known, whole),
        }
    }
    if let Some(Speech::Tls(hello)) = whole {
        assert_eq!(input[0], 0x16);
        if let Some(host) = hello.server_name {
            assert!(host.name().is_some(), "an address as the name of a server");
            assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }
}
