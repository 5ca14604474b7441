use super::*;
use proptest::prelude::*;

#[test]
fn hashes_are_those_of_the_standard() {
    // FIPS 180-2, appendices B.1 and C.1.
    let sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                  2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    assert_eq!(Digest::of(b"abc").to_string(), sha256);
    for text in [sha256, sha512] {
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest.to_string(), text);
        assert!(digest.names(b"abc"));
        assert!(!digest.names(b"abd"));
        assert_eq!(format!("{}:{}", digest.algorithm().name(), digest.hex()), text);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }
}

#[test]
fn a_hash_is_the_same_however_bytes_come() {
    let bytes: Vec<u8> = (0..1000_u32).map(|n| n as u8).collect();
    for size in [1, 63, 64, 65, 1000] {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        bytes.chunks(size).for_each(|chunk| hasher.update(chunk));
        assert_eq!(hasher.finish(), Digest::of(&bytes));
    }
}

#[test]
fn what_is_no_digest_is_told_in_words() {
    let digits = "a".repeat(64);
    for (text, words) in [
        (String::new(), "'' is no digest such as sha256:…"),
        ("sha256".into(), "'sha256' is no digest such as sha256:…"),
        ("sha256:".into(), "'sha256:' is no digest such as sha256:…"),
        (format!(":{digits}"), &format!("':{digits}' is no digest such as sha256:…")),
        (format!("md5:{digits}"), "The digest's algorithm 'md5' is neither sha256 nor sha512"),
        (format!("SHA256:{digits}"), "The digest's algorithm 'SHA256' is neither sha256 nor sha512"),
        (format!("sha256:{digits}a"), "A digest of sha256 has 64 hexadecimal digits, not 65"),
        (format!("sha512:{digits}"), "A digest of sha512 has 128 hexadecimal digits, not 64"),
        (format!("sha256:{}", digits.to_uppercase()), "A digest has digits 0 to 9 and a to f only"),
        (format!("sha256:../{}", &digits[3..]), "A digest has digits 0 to 9 and a to f only"),
        (format!("sha256:{digits}\n"), "A digest has digits 0 to 9 and a to f only"),
    ] {
        assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), words);
        assert!(serde_json::from_value::<Digest>(text.into()).is_err());
    }
}

proptest! {
    #[test]
    fn what_is_read_is_written_alike(text in "(sha256|sha512|[a-z0-9]{0,8}):?[0-9a-fA-F]{60,130}") {
        if let Ok(digest) = text.parse::<Digest>() {
            prop_assert_eq!(digest.to_string(), text);
        }
    }
}
