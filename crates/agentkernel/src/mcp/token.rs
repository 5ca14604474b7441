//! What lets clients in that come over HTTP.

use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The fewest characters of a token.
const LEAST: usize = 16;

/// What lets a client in. It is not shown.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// One that nobody knows.
    ///
    /// # Errors
    /// If the system has no randomness yet.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// One that somebody has chosen: letters, digits and signs that need no quoting in a header, and enough of them.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        // RFC 6750, 2.1: what a bearer token is made of.
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        (text.len() >= LEAST && text.as_bytes().iter().all(fits)).then(|| Self(text.to_owned()))
    }

    /// For whoever is to know it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a request has it. How long that takes does not depend on how much of it is right.
    pub(super) fn is_in(&self, head: &HeaderMap) -> bool {
        let mut given = head.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else { return false };
        let Some((scheme, token)) = given.to_str().ok().and_then(|text| text.split_once(' ')) else { return false };
        let same = Sha256::digest(token.trim_start_matches(' ')) == Sha256::digest(&self.0);
        scheme.eq_ignore_ascii_case("bearer") && same
    }
}
