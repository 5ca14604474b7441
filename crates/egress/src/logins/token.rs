//! Hides what an endpoint answers, and what a token says of itself. Nothing of it is believed but texts and times.

use crate::{
    Secret,
    control::{MAX_TOKEN, Tokens},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

/// The longest answer.
pub(crate) const MAX_ANSWER: usize = 64 << 10;
/// The longest lifetime that is believed, in seconds: ten years.
const MAX_LIFETIME: u64 = 10 * 366 * 24 * 60 * 60;

/// Why there are no tokens in an answer, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The refresh token is not taken.
    Never(String),
    /// Something else is wrong, which may pass.
    Now(String),
}

/// What of an answer counts (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Granted {
    access_token: Option<String>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    expires_in: Option<Value>,
}

/// The tokens in an answer that came at this time, in milliseconds since 1970.
///
/// # Errors
/// [`Refusal`].
pub fn tokens(status: StatusCode, answer: &[u8], now_ms: u64) -> Result<Tokens, Refusal> {
    let answer = if answer.len() > MAX_ANSWER { &[] } else { answer };
    match status {
        StatusCode::OK => granted(answer, now_ms).ok_or_else(|| Refusal::Now("its answer has no tokens".to_owned())),
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Refusal::Never(format!(
            "its renewal is refused with {}",
            code(answer).unwrap_or(status.as_str().to_owned())
        ))),
        _ => Err(Refusal::Now(format!("it answers with {}", status.as_str()))),
    }
}

fn granted(answer: &[u8], now_ms: u64) -> Option<Tokens> {
    let Granted { access_token, refresh_token, id_token, expires_in } = serde_json::from_slice(answer).ok()?;
    let optional = |text: Option<String>| match text {
        None => Some(None),
        Some(text) => token(text).map(Some),
    };
    let seconds = expires_in.as_ref().and_then(|value| match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().map(|number| number as u64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    });
    Some(Tokens {
        access: token(access_token?)?,
        refresh: optional(refresh_token.filter(|text| !text.is_empty()))?,
        id: optional(id_token.filter(|text| !text.is_empty()))?,
        expires_ms: seconds.map(|seconds| now_ms.saturating_add(seconds.min(MAX_LIFETIME) * 1000)),
    })
}

fn token(text: String) -> Option<Secret> {
    let secret = Secret::new(text.into_bytes());
    let bytes = secret.expose();
    let good = (1..=MAX_TOKEN).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    good.then_some(secret)
}

/// What an error is called (RFC 6749, 5.2), by those who write it as an object as well.
fn code(answer: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let error = answer.get("error")?;
    let code = [error.as_str(), error.get("code").and_then(Value::as_str), error.get("type").and_then(Value::as_str)];
    let code = code.into_iter().flatten().next()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (code.len() <= 64 && code.bytes().all(plain)).then(|| format!("'{code}'"))
}

/// When a token of three parts (RFC 7519) says that it expires, in milliseconds since 1970.
#[must_use]
pub fn expiry(token: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims).ok()?);
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    (exp >= 0.0).then_some((exp * 1000.0) as u64)
}

/// A text as it stands in a form (application/x-www-form-urlencoded).
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
