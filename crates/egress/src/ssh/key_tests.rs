use super::super::message::put;
use super::*;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _,
    },
};

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    parts.iter().for_each(|part| put(&mut all, part));
    all
}

/// A number as SSH has it: positive, and in no more bytes than it needs.
fn number(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let sign: &[u8] = if bytes.get(zeros).is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    [sign, &bytes[zeros..]].concat()
}

fn ecdsa(kind: &str, curve: &str, algorithm: &'static EcdsaSigningAlgorithm, message: &[u8]) -> (Key, Vec<u8>) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    let key = Key::new(&strings(&[kind.as_bytes(), curve.as_bytes(), pair.public_key().as_ref()]));
    let signature = pair.sign(&random, message).unwrap();
    let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
    let numbers = strings(&[&number(r), &number(s)]);
    (key, strings(&[kind.as_bytes(), &numbers]))
}

#[test]
fn signatures_are_of_one_key_and_one_message() {
    let message = b"a session";
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let ed25519 = Key::new(&strings(&[b"ssh-ed25519", pair.public_key().as_ref()]));
    let mut all = vec![(ed25519, strings(&[b"ssh-ed25519", pair.sign(message).as_ref()]))];
    // Numbers of every length come about: one in 256 begins with a zero.
    for _ in 0..300 {
        all.push(ecdsa("ecdsa-sha2-nistp256", "nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING, message));
    }
    all.push(ecdsa("ecdsa-sha2-nistp384", "nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING, message));
    for (key, signature) in &all {
        assert!(key.is_verifiable() && key.has_signed(message, signature), "{key}");
        assert!(!key.has_signed(b"another session", signature));
        assert!(!key.has_signed(message, &signature[..signature.len() - 1]));
        assert_eq!(&key.to_string().parse::<Key>().unwrap(), key);
    }
    let [(first, signature), (second, _), ..] = &all[..] else { panic!() };
    assert!(!second.has_signed(message, signature) && first.has_signed(message, signature));
}

#[test]
fn what_is_no_key() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let text = Key::new(&strings(&[b"ssh-ed25519", pair.public_key().as_ref()])).to_string();
    let (kind, key) = text.split_once(' ').unwrap();
    for wrong in ["", kind, &format!("ssh-rsa {key}"), &format!("{kind} !"), &format!("{kind} AAAA"), " AAAAAA=="] {
        assert_eq!(wrong.parse::<Key>(), Err(KeyError), "{wrong}");
    }
    assert_eq!(format!("{text} me@home").parse::<Key>().unwrap().to_string(), text);
}
