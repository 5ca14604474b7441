//! Hides public keys of SSH: how they are written, and whether one has signed something.

use super::message::Reader;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A public key, as SSH sends it. Written as in an `authorized_keys` file: `ssh-ed25519 AAAA...`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Vec<u8>);

/// This is no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Not a public key as SSH writes it")]
pub struct KeyError;

impl Key {
    /// One as SSH has sent it, whatever it is.
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// As SSH sends it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it is called: `ssh-ed25519`.
    #[must_use]
    pub fn kind(&self) -> &str {
        Reader(&self.0).string().and_then(|kind| std::str::from_utf8(kind).ok()).unwrap_or_default()
    }

    /// Whether signatures of such keys can be verified here.
    #[must_use]
    pub fn is_verifiable(&self) -> bool {
        matches!(self.kind(), "ssh-ed25519" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ssh-rsa")
    }

    /// Whether it has signed this; `signature` is as SSH sends it.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify(message, signature).is_some()
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Option<()> {
        let (mut key, mut signature) = (Reader(&self.0), Reader(signature));
        let kind = key.string()?;
        let (form, signature) = (signature.string()?, signature.string()?);
        match (kind, form) {
            // RFC 8709, 6
            (b"ssh-ed25519", b"ssh-ed25519") => {
                UnparsedPublicKey::new(&signature::ED25519, key.string()?).verify(message, signature).ok()
            }
            // RFC 5656, 3.1
            (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256") => {
                let point = key.string().and_then(|_curve| key.string())?;
                let signature = fixed::<32>(signature)?;
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, &signature).ok()
            }
            (b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384") => {
                let point = key.string().and_then(|_curve| key.string())?;
                let signature = fixed::<48>(signature)?;
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, &signature).ok()
            }
            // RFC 8332, 3. The older form with SHA-1 is none any more.
            (b"ssh-rsa", b"rsa-sha2-256" | b"rsa-sha2-512") => {
                let (e, n) = (key.magnitude()?, key.magnitude()?);
                let hash = match form {
                    b"rsa-sha2-256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    _ => &signature::RSA_PKCS1_2048_8192_SHA512,
                };
                RsaPublicKeyComponents { n, e }.verify(hash, message, signature).ok()
            }
            _ => None,
        }
    }
}

/// Two numbers of so many bytes, one after the other.
fn fixed<const SIZE: usize>(signature: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(signature);
    let mut both = Vec::new();
    for number in [reader.magnitude()?, reader.magnitude()?] {
        both.resize(both.len() + SIZE.checked_sub(number.len())?, 0);
        both.extend_from_slice(number);
    }
    reader.is_empty().then_some(both)
}

impl FromStr for Key {
    type Err = KeyError;

    /// From the two words of a line; what follows them is nobody's.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut words = text.split_ascii_whitespace();
        let (kind, key) = words.next().zip(words.next()).ok_or(KeyError)?;
        let key = Self(STANDARD.decode(key).map_err(|_| KeyError)?);
        (key.kind() == kind && !kind.is_empty()).then_some(key).ok_or(KeyError)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
