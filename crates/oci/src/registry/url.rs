//! Hides the addresses of the web that registries are spoken to by, and lead to.

use crate::text::shown;
use http::Uri;
use std::fmt;

/// The longest address.
const MAX_URL: usize = 16 << 10;

/// Whom a connection is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub https: bool,
    /// In lower case, an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
}

impl Origin {
    fn default_port(https: bool) -> u16 {
        if https { 443 } else { 80 }
    }

    /// From `HOST[:PORT]`.
    pub fn new(https: bool, authority: &str) -> Option<Self> {
        let uri: Uri = authority.parse().ok()?;
        let authority = uri.authority()?;
        let host = authority.host().to_ascii_lowercase();
        // What is left of it is a port, or nothing: no name of a user, no port that is none.
        let port = match authority.as_str().get(host.len()..)? {
            "" => None,
            port => Some(port.strip_prefix(':')?.parse::<u16>().ok()?),
        };
        if host.is_empty() {
            return None;
        }
        Some(Self { https, host, port: port.unwrap_or(Self::default_port(https)) })
    }

    /// `HOST[:PORT]`, without the usual port.
    pub fn authority(&self) -> String {
        if self.port == Self::default_port(self.https) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// An address of the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub origin: Origin,
    /// Path and query, beginning with a slash.
    pub path: String,
}

impl Url {
    pub fn new(origin: &Origin, path: String) -> Self {
        Self { origin: origin.clone(), path }
    }

    /// Parses `https://…` or `http://…`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_URL {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let origin = Origin::new(https, uri.authority()?.as_str())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { origin, path })
    }

    /// Where a `Location` leads from here (RFC 3986, 5.2, without `.` and `..`, which no registry writes).
    pub fn join(&self, location: &str) -> Option<Self> {
        let location = location.trim();
        let scheme = if self.origin.https { "https:" } else { "http:" };
        if location.starts_with("//") {
            Self::parse(&format!("{scheme}{location}"))
        } else if location.contains("://") && !location.starts_with(['/', '?']) {
            Self::parse(location)
        } else {
            let here = self.path.split('?').next().unwrap_or_default();
            let path = match location.chars().next()? {
                '/' => location.to_owned(),
                '?' => format!("{here}{location}"),
                _ => format!("{}/{location}", here.rsplit_once('/').map_or("", |(folder, _)| folder)),
            };
            let root = format!("{scheme}//{}", self.origin.authority());
            Self::parse(&format!("{root}{path}"))
        }
    }

    /// The same with another part of a query.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        Self { path: format!("{}{separator}{name}={}", self.path, encoded(value)), ..self.clone() }
    }

    /// As it stands in a request: whole, since HTTP/2 takes scheme and host from it.
    pub fn uri(&self) -> Option<Uri> {
        self.to_string().parse().ok()
    }

    /// As it may be shown: what is behind `?` may be a key.
    pub fn shown(&self) -> String {
        let scheme = if self.origin.https { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        shown(&format!("{scheme}://{}{path}", self.origin.authority()))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.origin.authority(), self.path)
    }
}

/// A text as it stands in a query or a form.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[path = "url_tests.rs"]
mod tests;
