//! Bytes that nobody sees by accident: not printed, not compared, not left in memory.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret's value. It has no `Debug`, no `Display` and no `PartialEq`, and is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that puts them where they belong.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// For the pipe to egress, and nothing else.
impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
