//! Hides how a rule is written: `HOST[:PORT]` with wildcards, networks and ranges, and what of HTTP it restricts.

use crate::{
    address::{self, Class},
    host::{Host, HostError, Target, parse_port, shown, split_port},
};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// The ports of a rule that names none.
pub const WEB: [u16; 2] = [80, 443];

/// Which hosts a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every host that has a public address.
    Any,
    /// One host, by name or by address.
    Host(Host),
    /// `*.example.org`: every name below this one, at any depth, and not this one itself.
    Below(Box<str>),
    /// `10.0.0.0/8`: every address in a network, by the number of its leading bits.
    Network(IpAddr, u8),
}

impl Pattern {
    /// Parses one.
    ///
    /// # Errors
    /// [`RuleError`] if it is none.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        if text.contains("://") {
            return Err(RuleError::Url(shown(text)));
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(parent) = text.strip_prefix("*.") {
            return match Host::parse(parent)? {
                Host::Name(name) => Ok(Self::Below(name)),
                Host::Address(_) => Err(RuleError::Wildcard(shown(text))),
            };
        }
        if text.contains('*') {
            return Err(RuleError::Wildcard(shown(text)));
        }
        let Some((address, length)) = text.split_once('/') else { return Ok(Self::Host(Host::parse(text)?)) };
        // Of a network there is an address before the slash.
        if let (host, _) = split_port(address)
            && Host::parse(host).is_ok_and(|host| host.name().is_some())
        {
            return Err(RuleError::WithPath(shown(text)));
        }
        let wrong = || RuleError::Network(shown(text));
        let address: IpAddr = match address.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')) {
            Some(inside) => inside.parse().map(IpAddr::V6),
            None => address.parse(),
        }
        .map_err(|_| wrong())?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u8 = length.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
        // In IPv6's clothes, `::ffff:10.0.0.0/104` would be another way to write `10.0.0.0/8`.
        let network = first_of(address, length).filter(|_| address.to_canonical() == address).ok_or_else(wrong)?;
        if network != address {
            return Err(RuleError::HostBits { network: format!("{network}/{length}"), written: shown(text) });
        }
        Ok(Self::Network(address, length))
    }

    /// Whether it is about this host. A name is never in a network: what it resolves to may be.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Host(own), host) => own == host,
            (Self::Below(parent), Host::Name(name)) => {
                name.strip_suffix(&**parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Self::Network(..), Host::Address(address)) => self.contains(*address),
            (Self::Below(_), Host::Address(_)) | (Self::Network(..), Host::Name(_)) => false,
        }
    }

    /// Whether it names this address, alone or with others of its network.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Host(Host::Address(own)) => *own == address,
            Self::Network(network, length) => first_of(address, *length) == Some(*network),
            Self::Any | Self::Host(Host::Name(_)) | Self::Below(_) => false,
        }
    }

    /// Whether somebody who allows this means this address, though it is not public.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> bool {
        self.contains(address) && (!matches!(self, Self::Network(..)) || self.class() == Some(address::class(address)))
    }

    /// Whose the addresses are that somebody means who allows this; none: he means no addresses. A network that goes
    /// beyond one kind of address was not meant to name the few in it that are not public: `0.0.0.0/0` is the internet,
    /// and not this machine or its cloud.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Host(Host::Address(address)) => Some(address::class(*address)),
            Self::Network(first, length) => {
                let [first, last] = [*first, last_of(*first, *length)].map(address::class);
                Some(if first == last && *length > 0 { first } else { Class::Public })
            }
            Self::Any | Self::Host(Host::Name(_)) | Self::Below(_) => None,
        }
    }
}

/// The last address of the network of this many bits that begins with an address.
fn last_of(first: IpAddr, length: u8) -> IpAddr {
    match first {
        IpAddr::V4(first) => IpAddr::V4((first.to_bits() | u32::MAX.checked_shr(length.into()).unwrap_or(0)).into()),
        IpAddr::V6(first) => IpAddr::V6((first.to_bits() | u128::MAX.checked_shr(length.into()).unwrap_or(0)).into()),
    }
}

/// The first address of the network of this many bits around an address; `None` if it cannot have so many.
fn first_of(address: IpAddr, length: u8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32u32.checked_sub(length.into())?).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128u32.checked_sub(length.into())?).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    })
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Host(host) => host.fmt(f),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Network(IpAddr::V4(network), length) => write!(f, "{network}/{length}"),
            Self::Network(IpAddr::V6(network), length) => write!(f, "[{network}]/{length}"),
        }
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Which ports a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those of the web, 80 and 443, as for a rule that names none.
    Web,
    /// From the first to the last.
    Range(u16, u16),
}

impl Ports {
    /// `*`: every port.
    pub const EVERY: Self = Self::Range(1, u16::MAX);

    fn parse(text: &str) -> Result<Self, RuleError> {
        if text == "*" {
            return Ok(Self::EVERY);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (parse_port(first), parse_port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self::Range(first, last)),
            _ => Err(RuleError::Ports(shown(text))),
        }
    }

    /// Whether this port is one of them.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        match self {
            Self::Web => WEB.contains(&port),
            Self::Range(first, last) => (first..=last).contains(&port),
        }
    }
}

/// As it follows a host: with its colon, or nothing.
impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web => Ok(()),
            &Self::EVERY => f.write_str(":*"),
            Self::Range(first, last) if first == last => write!(f, ":{first}"),
            Self::Range(first, last) => write!(f, ":{first}-{last}"),
        }
    }
}

/// Which HTTP requests a rule allows. It is only about requests that can be read: everything else to the same place is
/// refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Methods in upper case; empty: every one.
    pub methods: Vec<String>,
    /// What the path begins with, such as `/repos/`; empty: every one.
    pub paths: Vec<String>,
}

impl Requests {
    /// Whether some request is one of these and of those.
    #[must_use]
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let nested = |one: &String, two: &String| one.starts_with(&**two) || two.starts_with(&**one);
        let paths = self.paths.is_empty()
            || other.paths.is_empty()
            || self.paths.iter().any(|one| other.paths.iter().any(|two| nested(one, two)));
        methods && paths
    }

    /// Whether it restricts nothing.
    #[must_use]
    pub fn is_every(&self) -> bool {
        self.methods.is_empty() && self.paths.is_empty()
    }

    /// Whether it allows this request, by its method and the path of its target, without query.
    ///
    /// A path that another program could read as a different one (dots, escaped slashes, empty segments) is no path
    /// that a prefix could be compared with. Below `/` are all, however they are read.
    #[must_use]
    pub fn allows(&self, method: &str, path: &str) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|own| own == method);
        let begins = |prefix: &String| {
            path.strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
        };
        let any = self.paths.is_empty() || (path.starts_with('/') && self.paths.iter().any(|prefix| prefix == "/"));
        method && (any || (is_plain(path) && self.paths.iter().any(begins)))
    }
}

/// In a sentence: `GET, HEAD on /v1/`.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |list: &[String], every: &str| if list.is_empty() { every.to_owned() } else { list.join(", ") };
        write!(f, "{} on {}", or(&self.methods, "every method"), or(&self.paths, "every path"))
    }
}

/// Whether every program reads this path alike: printable, without query, empty segments and segments of dots alone
/// (parameters and blanks aside), and with no escapes but of bytes that mean nothing in a path, even to those who decode
/// twice, and of no letters that look like what does.
pub(crate) fn is_plain(path: &str) -> bool {
    plain(path).is_some()
}

/// Whether some program could take this path for that one, which is plain, or for one below it: it begins with it, in
/// whatever case and with whatever escapes, or can be read in several ways.
pub(crate) fn may_mean(path: &str, other: &str) -> bool {
    let [path, other] = [path, other].map(|path| plain(path).map(|read| read.to_lowercase()));
    let (Some(path), Some(other)) = (path, other) else { return true };
    // What is longer by a letter is another name; what follows a name by a mark may be dropped.
    let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || matches!(next, '-' | '_'));
    path.strip_prefix(other.trim_end_matches('/')).is_some_and(ends)
}

/// How every program reads this path; `None` if they could differ.
fn plain(path: &str) -> Option<String> {
    let graphic = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'?' | b'#'));
    if !path.starts_with('/') || path.contains("//") || !graphic {
        return None;
    }
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if digits.starts_with('+') || byte.is_ascii_control() || b"%./;\\".contains(&byte) {
            return None;
        }
        decoded.push(byte);
        decoded.extend_from_slice(rest.as_bytes());
    }
    // Of an overlong sequence some make a dot or a slash.
    let decoded = String::from_utf8(decoded).ok()?;
    let folded: String = decoded.chars().map(fold).collect();
    (!folded.contains('%') && !folded.split('/').any(is_dots)).then_some(folded)
}

/// Whether a segment is read as `.` or `..` by somebody: by who trims blanks, too, or cuts off what follows `;`.
fn is_dots(segment: &str) -> bool {
    let name = segment.split([';', '?', '#']).next().unwrap_or_default();
    name.contains('.') && name.chars().all(|letter| matches!(letter, '.' | ' '))
}

/// What a letter is to those who fold compatibility forms (NFKC) or put what looks alike in the place of letters that
/// their code page lacks; a blank for all that is blank, or may be dropped.
fn fold(letter: char) -> char {
    let letter = match letter {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(letter) - 0xfee0).unwrap_or(letter),
        _ => letter,
    };
    match letter {
        '+' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => ' ',
        blank if blank.is_whitespace() || blank.is_control() => ' ',
        // Leaders and ellipses, which are several of them, and the full stops of East Asia.
        '\u{2024}'..='\u{2026}' | '\u{fe19}' | '\u{fe30}' | '\u{fe52}' | '\u{3002}' | '\u{ff61}' => '.',
        '\u{2044}' | '\u{2215}' | '\u{29f8}' => '/',
        // Backslashes, which for some are the signs of yen and won.
        '\\' | '\u{2216}' | '\u{29f5}' | '\u{29f9}' | '\u{fe68}' | '\u{a5}' | '\u{20a9}' => '/',
        '\u{37e}' | '\u{fe54}' => ';',
        '\u{fe6a}' => '%',
        _ => letter,
    }
}

/// A rule: what may be reached, or may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Rule {
    /// Which hosts.
    pub pattern: Pattern,
    /// Which ports.
    pub ports: Ports,
    /// Which requests.
    pub requests: Requests,
}

/// A text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Its host is none.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A star elsewhere.
    #[error("'{0}' has a star where it means nothing")]
    Wildcard(String),
    /// A slash, and no network.
    #[error("'{0}' is not a network")]
    Network(String),
    /// An address in a network, in place of the network's own.
    #[error("'{written}' is in the network {network}, and not one itself")]
    HostBits {
        /// The network that it is in.
        network: String,
        /// What was written.
        written: String,
    },
    /// What follows the host.
    #[error("'{0}' is not a port: use 1 to 65535, a range such as 8000-8999, or *")]
    Ports(String),
    /// A URL.
    #[error("'{0}' is a URL")]
    Url(String),
    /// A name, and a path.
    #[error("'{0}' has a path")]
    WithPath(String),
    /// A method with letters that none has.
    #[error("'{0}' is not an HTTP method: write it in capitals, such as GET")]
    Method(String),
    /// A path that does not begin at the root, or that programs read differently.
    #[error("'{0}' is not a path that requests can be compared with: begin with '/', without '..', '//' or a query")]
    Path(String),
}

impl RuleError {
    /// What the user can do about it; empty if that is plain.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Host(error) => error.hint(),
            Self::Wildcard(_) => {
                "A star stands for all that is before a dot, as in '*.example.org', or alone for every host"
            }
            Self::Network(_) | Self::HostBits { .. } => {
                "Write its first address and the number of its bits, such as 10.0.0.0/8"
            }
            Self::Url(_) | Self::WithPath(_) => {
                "Write the host alone, or HOST:PORT; requests are restricted by `methods` and `paths` in agentkernel.toml"
            }
            Self::Ports(_) | Self::Method(_) | Self::Path(_) => "",
        }
    }
}

impl Rule {
    /// Parses `HOST`, `HOST:PORT`, `HOST:FIRST-LAST` or `HOST:*`.
    ///
    /// # Errors
    /// [`RuleError`] if it is none of them.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        // An IPv6 network may stand without brackets: what follows a slash is no port.
        let (host, ports) = match text.split_once('/') {
            Some(_) if text.contains("://") => (text, None),
            Some((_, length)) if !length.contains(':') => (text, None),
            Some((_, _)) => match text.rsplit_once(':') {
                Some((host, ports)) => (host, Some(ports)),
                None => (text, None),
            },
            None => split_port(text),
        };
        let pattern = Pattern::parse(host)?;
        let ports = ports.map_or(Ok(Ports::Web), Ports::parse)?;
        Ok(Self { pattern, ports, requests: Requests::default() })
    }

    /// The rule for exactly this target.
    #[must_use]
    pub fn exactly(target: &Target) -> Self {
        Self {
            pattern: Pattern::Host(target.host.clone()),
            ports: Ports::Range(target.port, target.port),
            requests: Requests::default(),
        }
    }

    /// The same rule for these requests only.
    ///
    /// # Errors
    /// [`RuleError`] if a method or path can't be one.
    pub fn only(mut self, requests: Requests) -> Result<Self, RuleError> {
        for method in &requests.methods {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                return Err(RuleError::Method(shown(method)));
            }
        }
        for path in &requests.paths {
            if !is_plain(path) {
                return Err(RuleError::Path(shown(path)));
            }
        }
        self.requests = requests;
        Ok(self)
    }

    /// Whether it is about this target.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.ports.contains(target.port) && self.pattern.matches(&target.host)
    }

    /// Whether it denies this target, as a rule that denies: without a port it is about every port. Whoever denies a
    /// host does not mean that it may be reached on port 22.
    #[must_use]
    pub fn denies(&self, target: &Target) -> bool {
        (self.ports == Ports::Web || self.ports.contains(target.port)) && self.pattern.matches(&target.host)
    }

    /// Targets that it is about, like another one: the same host, if it is about that, on its first port and its last.
    #[must_use]
    pub(crate) fn examples(&self, like: &Target) -> Vec<Target> {
        let host = match &self.pattern {
            pattern if pattern.matches(&like.host) => like.host.clone(),
            Pattern::Host(host) => host.clone(),
            Pattern::Below(name) => Host::parse(&format!("www.{name}")).unwrap_or_else(|_| Host::Name(name.clone())),
            Pattern::Network(first, _) => Host::from(*first),
            Pattern::Any => like.host.clone(),
        };
        let ports = match self.ports {
            Ports::Web => WEB.to_vec(),
            Ports::Range(first, last) if first == last => vec![first],
            Ports::Range(first, last) => vec![first, last],
        };
        ports.into_iter().map(|port| Target { host: host.clone(), port }).collect()
    }

    /// Whether it [names](Pattern::names) this address, and is about this port.
    #[must_use]
    pub fn names(&self, address: IpAddr, port: u16) -> bool {
        self.ports.contains(port) && self.pattern.names(address)
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        Self::parse(text)
    }
}

/// As it is parsed. What it restricts of HTTP is not part of it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.pattern, self.ports)
    }
}

/// A rule as it stands in a record.
#[derive(Serialize, Deserialize)]
struct Written {
    to: String,
    methods: Vec<String>,
    paths: Vec<String>,
}

impl From<Rule> for Written {
    fn from(rule: Rule) -> Self {
        let to = rule.to_string();
        let Requests { methods, paths } = rule.requests;
        Self { to, methods, paths }
    }
}

impl TryFrom<Written> for Rule {
    type Error = RuleError;

    fn try_from(Written { to, methods, paths }: Written) -> Result<Self, RuleError> {
        Self::parse(&to)?.only(Requests { methods, paths })
    }
}

#[cfg(test)]
#[path = "rule_tests.rs"]
pub(crate) mod tests;
