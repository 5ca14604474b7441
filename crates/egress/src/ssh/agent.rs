//! Hides how an agent is asked by its user which keys it has.

use super::{
    Key,
    filter::{IDENTITIES_ANSWER, REQUEST_IDENTITIES},
    message::Reader,
    serve::MAX,
};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// How long it may take: it asks nobody for this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The keys that an agent has now: none while it is locked.
///
/// # Errors
/// If it does not answer, or not with that.
pub fn agent_keys(mut agent: UnixStream) -> io::Result<Vec<Key>> {
    agent.set_read_timeout(Some(PATIENCE))?;
    agent.set_write_timeout(Some(PATIENCE))?;
    agent.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES])?;
    let mut length = [0; 4];
    agent.read_exact(&mut length)?;
    let mut answer = Vec::new();
    agent.take(u32::from_be_bytes(length).min(MAX).into()).read_to_end(&mut answer)?;
    let keys = list(&answer).ok_or(io::ErrorKind::InvalidData)?;
    Ok(keys.into_iter().map(Key::new).collect())
}

/// The keys in an agent's answer; `None` if it is another one.
pub(super) fn list(answer: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader(answer);
    if reader.byte()? != IDENTITIES_ANSWER {
        return None;
    }
    let mut keys = Vec::new();
    for _ in 0..reader.number()? {
        let (key, _comment) = (reader.string()?, reader.string()?);
        keys.push(key);
    }
    Some(keys)
}
