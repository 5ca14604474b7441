//! Messages as bytes: postcard, with the whole payload used up.

use serde::{Serialize, de::DeserializeOwned};

/// A payload that is not the message it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The bytes do not decode as the type.
    #[error("Malformed message")]
    Malformed(#[source] postcard::Error),
    /// Bytes are left after the value.
    #[error("Message is followed by {0} stray bytes")]
    Trailing(usize),
    /// The encoded message is larger than it may be.
    #[error("Message of {0} bytes exceeds the limit of {1} bytes")]
    TooLarge(usize, usize),
}

/// Encodes a message for one frame's payload.
///
/// # Errors
/// [`MessageError::TooLarge`] if it would not fit [`MAX_PAYLOAD`](crate::frame::MAX_PAYLOAD).
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, MessageError> {
    bounded(message, crate::frame::MAX_PAYLOAD)
}

/// Encodes what a stream is opened with by the side that may use several frames for it.
///
/// # Errors
/// [`MessageError::TooLarge`] beyond [`MAX_OPEN`](crate::mux::MAX_OPEN).
pub fn encode_open<T: Serialize>(message: &T) -> Result<Vec<u8>, MessageError> {
    bounded(message, crate::mux::MAX_OPEN)
}

fn bounded<T: Serialize>(message: &T, limit: usize) -> Result<Vec<u8>, MessageError> {
    let bytes = postcard::to_allocvec(message).map_err(MessageError::Malformed)?;
    if bytes.len() > limit { Err(MessageError::TooLarge(bytes.len(), limit)) } else { Ok(bytes) }
}

/// Decodes a frame's payload.
///
/// # Errors
/// [`MessageError`] if the bytes are not exactly one `T`.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, MessageError> {
    let (message, rest) = postcard::take_from_bytes(payload).map_err(MessageError::Malformed)?;
    if rest.is_empty() { Ok(message) } else { Err(MessageError::Trailing(rest.len())) }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
