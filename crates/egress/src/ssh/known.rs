//! Hides files of known host keys (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

use super::Key;
use crate::Target;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

/// The port of SSH.
const PORT: u16 = 22;

/// The host keys that this file knows of a server, but for those that it has revoked. Authorities that sign host keys are
/// left out.
#[must_use]
pub fn known_keys(text: &str, server: &Target) -> Vec<Key> {
    let name = name(server);
    let (mut known, mut revoked) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (marker, line) = match line.split_once(char::is_whitespace) {
            Some((marker, rest)) if marker.starts_with('@') => (marker, rest.trim_start()),
            _ => ("", line),
        };
        let Some((names, key)) = line.split_once(char::is_whitespace) else { continue };
        let Ok(key) = key.parse::<Key>() else { continue };
        match marker {
            "" if is_meant(names, &name) => known.push(key),
            "@revoked" if is_meant(names, &name) => revoked.push(key),
            _ => {}
        }
    }
    known.retain(|key| key.is_verifiable() && !revoked.contains(key));
    known.sort();
    known.dedup();
    known
}

/// What such files call a server.
pub(super) fn name(server: &Target) -> String {
    let host = server.host.to_string();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if server.port == PORT { host.to_owned() } else { format!("[{host}]:{}", server.port) }
}

/// Whether a list of patterns means a name: one of them fits, and none that is negated.
fn is_meant(names: &str, name: &str) -> bool {
    if let Some(hashed) = names.strip_prefix("|1|") {
        return is_hash(hashed, name).unwrap_or(false);
    }
    let fits = |pattern: &str| fits(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes());
    let negated = names.split(',').filter_map(|pattern| pattern.strip_prefix('!'));
    let plain = names.split(',').filter(|pattern| !pattern.starts_with('!'));
    plain.into_iter().any(fits) && !negated.into_iter().any(fits)
}

fn is_hash(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &STANDARD.decode(salt).ok()?);
    Some(hmac::verify(&key, name.as_bytes(), &STANDARD.decode(hash).ok()?).is_ok())
}

/// `*` is any number of characters, and `?` is one.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from, mut retry) = (0, 0, None);
    while let Some(byte) = name.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                retry = Some((at, from));
                at += 1;
            }
            Some(expected) if *expected == b'?' || expected == byte => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((star, began)) = retry else { return false };
                retry = Some((star, began + 1));
                (at, from) = (star + 1, began + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
