//! Names of images, digests and platforms as users and files write them: no panic, and whatever is read is written in
//! one way, which means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::{Digest, Platform, Reference};

fuzz_target!(|text: &str| {
    match text.parse::<Reference>() {
        Ok(reference) => {
            assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
            assert_eq!(reference.familiar().parse(), Ok(reference.clone()));
            let json = serde_json::to_string(&reference).unwrap();
            assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
            assert!(reference.tag().is_some() || reference.digest().is_some());
            // It goes into an address of the web as it is, and leads nowhere else there.
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
            assert!(reference.repository().bytes().all(fits));
            assert!(reference.repository().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            assert!(!reference.registry().contains(['/', '@', '?', '#']) && !reference.registry().starts_with('-'));
            assert!(!reference.registry().bytes().any(|byte| byte.is_ascii_uppercase()));
        }
        // One line, with a place in the text.
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control));
            assert!((1..=text.chars().count() + 1).contains(&error.place));
        }
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
        assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse(), Ok(platform.clone()));
        assert!(platform.runs(&platform).is_some());
    }
});
