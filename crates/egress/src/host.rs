//! Hides how hosts are written: a name or an address in any of its spellings becomes one value, or nothing.
//!
//! Whoever compares hosts compares these: there is no second spelling of the same host, and no text that one program
//! takes for a name and another for an address.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    str::FromStr,
};

/// The longest name, in bytes, without the dot at its end (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;
/// The longest label.
const MAX_LABEL: usize = 63;

/// A host: a name, in lower case and without a dot at its end, or an address, of which an IPv4 one in IPv6's clothes is
/// told as what it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name of one label or more: letters, digits, hyphens and underscores.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

/// A text that is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing there.
    #[error("A host is missing")]
    Empty,
    /// Longer than a name can be.
    #[error("A host has at most {MAX_NAME} bytes")]
    TooLong,
    /// A label that is empty, too long, or has a character that no host has; or a hyphen at the beginning.
    #[error("'{0}' is not the name of a host")]
    Label(String),
    /// Letters beyond ASCII.
    #[error("'{0}' has letters beyond ASCII")]
    International(String),
    /// An address in a spelling that not every program reads alike.
    #[error("'{0}' is not an address as it is usually written")]
    Address(String),
    /// A host with one port, and then another.
    #[error("'{0}' has two ports")]
    TwoPorts(String),
}

impl HostError {
    /// What the user can do about it; empty if that is plain.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::International(_) => "Write it as it goes over the wire, beginning with 'xn--'",
            Self::Address(_) => "Write four decimal numbers, such as 192.0.2.1, or an IPv6 address",
            Self::TwoPorts(_) => "Write HOST:PORT",
            Self::Empty | Self::TooLong | Self::Label(_) => "",
        }
    }
}

impl Host {
    /// Parses a name or an address; an IPv6 address may be in brackets. One dot at the end of a name is allowed.
    ///
    /// # Errors
    /// [`HostError`] if it is neither, or written in a way that programs read differently, such as `0x7f.1`.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if let Some(inside) = text.strip_prefix('[') {
            let address = inside.strip_suffix(']').and_then(|inside| inside.parse::<Ipv6Addr>().ok());
            return address.map(|v6| Self::from(IpAddr::V6(v6))).ok_or_else(|| HostError::Address(shown(text)));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::from(address));
        }
        if let Some((host, ports)) = text.split_once(':') {
            let two =
                ports.split_once(':').is_some_and(|(one, other)| parse_port(one).and(parse_port(other)).is_some());
            let error = if two && Self::parse(host).is_ok() { HostError::TwoPorts } else { HostError::Address };
            return Err(error(shown(text)));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > MAX_NAME {
            return Err(HostError::TooLong);
        }
        if !name.is_ascii() {
            return Err(HostError::International(shown(text)));
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let good = |label: &str| !label.is_empty() && label.len() <= MAX_LABEL && label.bytes().all(fits);
        // A name that begins with a hyphen would be an option to whoever pastes it into a command; glibc resolves none.
        if name.starts_with('-') || !name.split('.').all(good) {
            return Err(HostError::Label(shown(text)));
        }
        // inet_aton(3) takes `0177.1`, `0x7f000001` and `2130706433` for addresses: no name ends in such a number.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
        if last.bytes().all(|byte| byte.is_ascii_digit())
            || hex.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(HostError::Address(shown(text)));
        }
        Ok(Self::Name(name.to_ascii_lowercase().into()))
    }

    /// The name, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl From<Ipv4Addr> for Host {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address.into())
    }
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        Self::parse(text)
    }
}

/// As it stands before a port: an IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Host {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Where a connection goes: a host and a TCP port.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The port; never 0.
    #[serde(deserialize_with = "some_port")]
    pub port: u16,
}

fn some_port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    NonZeroU16::deserialize(deserializer).map(NonZeroU16::get)
}

/// A text that is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The part before the port is no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No port follows the host.
    #[error("'{0}' has no port")]
    NoPort(String),
    /// What follows is no port.
    #[error("'{0}' is not a port: use 1 to 65535")]
    Port(String),
    /// A URL.
    #[error("'{0}' is a URL")]
    Url(String),
}

impl TargetError {
    /// What the user can do about it; empty if that is plain.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Host(error) => error.hint(),
            Self::Url(_) => "Write the host alone, or HOST:PORT",
            Self::NoPort(_) | Self::Port(_) => "",
        }
    }
}

impl Target {
    /// Parses `HOST:PORT`, with `default` for the port of a host alone if there is one.
    ///
    /// # Errors
    /// [`TargetError`] if it is not that.
    pub fn parse(text: &str, default: Option<u16>) -> Result<Self, TargetError> {
        if text.contains("://") {
            return Err(TargetError::Url(shown(text)));
        }
        let (host, port) = split_port(text);
        let host = Host::parse(host)?;
        let port = match port {
            Some(port) => parse_port(port).ok_or_else(|| TargetError::Port(shown(port)))?,
            None => default.ok_or_else(|| TargetError::NoPort(shown(text)))?,
        };
        Ok(Self { host, port })
    }

    /// What clients write into a request: without the port that its scheme has anyway.
    pub(crate) fn authority(&self, tls: bool) -> String {
        let usual = if tls { 443 } else { 80 };
        if self.port == usual { self.host.to_string() } else { self.to_string() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Cuts `HOST:PORT` in two. An IPv6 address without brackets has no port.
pub(crate) fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.starts_with('[') {
        return match text.split_once("]:") {
            Some((host, port)) => (&text[..=host.len()], Some(port)),
            None => (text, None),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

/// A port as digits, without a sign.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}

/// A text from anywhere, short and harmless enough for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
#[path = "host_tests.rs"]
pub(crate) mod tests;
