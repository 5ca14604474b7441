//! Hides how images are named: a short name, a full one, a tag and a digest become one value, or a mistake with its
//! place. The grammar is that of the reference implementation of registries (distribution/reference).

use crate::{Digest, DigestError, text::shown};
use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// The registry that is meant where none is named.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";
/// What that registry was once called.
const OLD_DEFAULT_REGISTRY: &str = "index.docker.io";
/// Where that registry answers.
pub(crate) const DEFAULT_ENDPOINT: &str = "registry-1.docker.io";
/// Where its images without an owner are.
const DEFAULT_OWNER: &str = "library";
/// The tag that is meant where neither a tag nor a digest is given.
const DEFAULT_TAG: &str = "latest";
/// The longest repository and the longest name of a host, in bytes.
const MAX_NAME: usize = 255;
/// How many digits of a digest are shown where there is little room.
pub const SHORT_DIGEST: usize = 12;
/// The longest tag.
const MAX_TAG: usize = 128;
/// The longest reference at all: host, port, repository, tag, digest.
const MAX_REFERENCE: usize = 1024;

/// The name of an image: where it is, and which one.
///
/// Parsed from `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`. The first part is a host if it has a dot or a colon, or is
/// `localhost`. Hosts are in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: Box<str>,
    repository: Box<str>,
    tag: Option<Box<str>>,
    digest: Option<Digest>,
}

/// A text that names no image, and where it goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{mistake}, at character {place}")]
pub struct ReferenceError {
    /// What is wrong.
    pub mistake: Mistake,
    /// At which character, from 1 on.
    pub place: usize,
}

/// What can be wrong in a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// Nothing there.
    #[error("The name of an image is missing")]
    Empty,
    /// Too long at all.
    #[error("The name of an image has at most {MAX_REFERENCE} bytes")]
    TooLong,
    /// An address of the web.
    #[error("An image is named without 'http://' or 'https://'")]
    Scheme,
    /// A host with a character that none has, an empty label, or a bad address.
    #[error("'{0}' is not the host of a registry")]
    Host(String),
    /// One word with a capital letter before the first slash: the same name in lower case would be another image.
    #[error("'{0}' is a host or an owner: write a host with its port, an owner in lower case")]
    Ambiguous(String),
    /// No number from 1 to 65535.
    #[error("'{0}' is not a port")]
    Port(String),
    /// Two slashes, or one at the beginning or the end.
    #[error("A part of the repository is missing")]
    EmptyPart,
    /// A capital letter.
    #[error("A repository is in lower case, so without '{0}'")]
    Capital(char),
    /// A character that none has.
    #[error("A repository has letters, digits, '.', '_', '-' and '/', but not '{0}'")]
    Character(String),
    /// A separator at the beginning or the end of a part, or too many in a row.
    #[error("'{0}' stands between letters or digits in a repository, '.' alone and '_' at most twice")]
    Separator(char),
    /// Longer than any registry takes.
    #[error("A repository has at most {MAX_NAME} bytes")]
    RepositoryTooLong,
    /// It would be taken for a digest.
    #[error("64 hexadecimal digits are the name of no repository")]
    Digits,
    /// Empty, with a character that none has, or beginning with `.` or `-`.
    #[error("'{0}' is not a tag: letters, digits and '_', after the first also '.' and '-'")]
    Tag(String),
    /// Longer than any registry takes.
    #[error("A tag has at most {MAX_TAG} characters")]
    TagTooLong,
    /// What is behind `@` is none.
    #[error("{0}")]
    Digest(DigestError),
}

/// One part of a text, and where it begins.
#[derive(Clone, Copy)]
struct Part<'a> {
    whole: &'a str,
    begin: usize,
    text: &'a str,
}

impl<'a> Part<'a> {
    fn new(whole: &'a str) -> Self {
        Self { whole, begin: 0, text: whole }
    }

    /// What is before byte `at`, and what is behind the separator there.
    fn split_at(self, at: usize) -> (Self, Self) {
        let behind = Part { begin: self.begin + at + 1, text: &self.text[at + 1..], ..self };
        (Part { text: &self.text[..at], ..self }, behind)
    }

    /// A mistake at a byte of it.
    fn mistake(self, at: usize, mistake: Mistake) -> ReferenceError {
        let place = self.whole[..self.begin + at].chars().count() + 1;
        ReferenceError { mistake, place }
    }
}

impl Reference {
    /// The host of the registry, with a port if one was given: what credentials and settings are filed under.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Where that registry answers, which is elsewhere for the one that is meant where none is named.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        if &*self.registry == DEFAULT_REGISTRY { DEFAULT_ENDPOINT } else { &self.registry }
    }

    /// The repository in it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` if neither a tag nor a digest was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it is pinned to one.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The digits, if it may be the digest of an image that is written without a name: `sha256:HEX`, or HEX alone, of which
    /// there are at least so many as lists show.
    #[must_use]
    pub fn bare_digest(&self) -> Option<&str> {
        let name = self.repository.strip_prefix(DEFAULT_OWNER)?.strip_prefix('/')?;
        let digits = match (name, self.tag()?) {
            ("sha256", digits) => digits,
            (digits, DEFAULT_TAG) => digits,
            _ => return None,
        };
        let good = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let alone = &*self.registry == DEFAULT_REGISTRY && self.digest.is_none();
        (alone && good && (SHORT_DIGEST..=64).contains(&digits.len())).then_some(digits)
    }

    /// The same, pinned to a digest.
    #[must_use]
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// Another image of the same repository, by its tag.
    ///
    /// # Errors
    /// [`ReferenceError`] if that is no tag.
    pub fn tagged(&self, tag: &str) -> Result<Self, ReferenceError> {
        let tag = parse_tag(Part::new(tag))?;
        Ok(Self { tag: Some(tag), digest: None, ..self.clone() })
    }

    /// Registry and repository alone.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// As people write it: without what would be added anyway.
    #[must_use]
    pub fn familiar(&self) -> String {
        let repository = if &*self.registry == DEFAULT_REGISTRY {
            let owned = self.repository.strip_prefix(DEFAULT_OWNER).and_then(|rest| rest.strip_prefix('/'));
            // What is left must be read as the same again.
            let short = owned.filter(|rest| !rest.contains('/')).unwrap_or(&self.repository);
            if short.split_once('/').is_some_and(|(first, _)| is_host(first)) { self.name() } else { short.to_owned() }
        } else {
            self.name()
        };
        let tag = self.tag.as_deref().filter(|tag| *tag != DEFAULT_TAG || self.digest.is_some());
        with_rest(&repository, tag, self.digest.as_ref())
    }
}

/// Appends tag and digest to a name.
fn with_rest(name: &str, tag: Option<&str>, digest: Option<&Digest>) -> String {
    let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{name}{tag}{digest}")
}

/// Whether the first part of a name is a host.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost")
}

/// In full: registry, repository, and tag or digest or both. It is read as the same again.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_rest(&self.name(), self.tag(), self.digest()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let whole = Part::new(text);
        if text.is_empty() {
            return Err(whole.mistake(0, Mistake::Empty));
        }
        if text.len() > MAX_REFERENCE {
            return Err(whole.mistake(0, Mistake::TooLong));
        }
        if text.get(..8).unwrap_or(text).to_ascii_lowercase().starts_with("http") && text.contains("://") {
            return Err(whole.mistake(0, Mistake::Scheme));
        }
        let (rest, digest) = match text.find('@') {
            Some(at) => {
                let (rest, digest) = whole.split_at(at);
                let parsed = digest.text.parse().map_err(|error| digest.mistake(0, Mistake::Digest(error)))?;
                (rest, Some(parsed))
            }
            None => (whole, None),
        };
        let (host, rest) = split_host(rest)?;
        // No repository has a colon, so the first one begins the tag.
        let (repository, tag) = match rest.text.find(':') {
            Some(at) => {
                let (repository, tag) = rest.split_at(at);
                (repository, Some(parse_tag(tag)?))
            }
            None => (rest, None),
        };
        let registry = host.map_or_else(|| Ok(DEFAULT_REGISTRY.into()), parse_registry)?;
        parse_repository(repository)?;
        let is_digits = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        // A digest without its algorithm, as engines print ids and take them.
        if host.is_none() && tag.is_none() && digest.is_none() && is_digits(repository.text) {
            return format!("sha256:{}", repository.text).parse();
        }
        let repository: Box<str> = if &*registry == DEFAULT_REGISTRY && !repository.text.contains('/') {
            if host.is_none() && is_digits(repository.text) {
                return Err(repository.mistake(0, Mistake::Digits));
            }
            format!("{DEFAULT_OWNER}/{}", repository.text).into()
        } else {
            repository.text.into()
        };
        if repository.len() > MAX_NAME {
            return Err(rest.mistake(0, Mistake::RepositoryTooLong));
        }
        let tag = if tag.is_none() && digest.is_none() { Some(DEFAULT_TAG.into()) } else { tag };
        Ok(Self { registry, repository, tag, digest })
    }
}

/// The host, if there is one, and the rest.
fn split_host(part: Part<'_>) -> Result<(Option<Part<'_>>, Part<'_>), ReferenceError> {
    let Some(at) = part.text.find('/') else { return Ok((None, part)) };
    let (first, rest) = part.split_at(at);
    if is_host(first.text) {
        return Ok((Some(first), rest));
    }
    let capital = first.text.bytes().any(|byte| byte.is_ascii_uppercase());
    if capital && first.text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(first.mistake(0, Mistake::Ambiguous(shown(first.text))));
    }
    Ok((None, part))
}

/// A host in lower case, with its port if there is one.
fn parse_registry(part: Part<'_>) -> Result<Box<str>, ReferenceError> {
    let text = part.text;
    let wrong = || part.mistake(0, Mistake::Host(shown(text)));
    let (host, port) = if let Some(inside) = text.strip_prefix('[') {
        let (address, port) = inside.split_once(']').ok_or_else(wrong)?;
        let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port),
            None if port.is_empty() => None,
            None => return Err(wrong()),
        };
        (format!("[{address}]"), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let good = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if host.len() > MAX_NAME || !host.split('.').all(good) {
            return Err(wrong());
        }
        // Other ways to write an address (inet_aton(3)) mean different hosts to different programs.
        let last = host.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let hex = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if (hex || last.bytes().all(|byte| byte.is_ascii_digit())) && host.parse::<Ipv4Addr>().is_err() {
            return Err(wrong());
        }
        (host.to_ascii_lowercase(), port)
    };
    let Some(port) = port else {
        return Ok(if host == OLD_DEFAULT_REGISTRY { DEFAULT_REGISTRY.into() } else { host.into() });
    };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|number| digits && *number != 0);
    let number = number.ok_or_else(|| part.mistake(text.len() - port.len(), Mistake::Port(shown(port))))?;
    Ok(format!("{host}:{number}").into())
}

fn parse_repository(part: Part<'_>) -> Result<(), ReferenceError> {
    if part.text.is_empty() {
        return Err(part.mistake(0, Mistake::EmptyPart));
    }
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut begin = 0;
    for piece in part.text.split('/') {
        if piece.is_empty() {
            return Err(part.mistake(begin, Mistake::EmptyPart));
        }
        for (at, c) in piece.char_indices() {
            if !alphanumeric(c) && !matches!(c, '.' | '_' | '-') {
                let mistake =
                    if c.is_uppercase() { Mistake::Capital(c) } else { Mistake::Character(shown(&c.to_string())) };
                return Err(part.mistake(begin + at, mistake));
            }
        }
        // Between letters and digits stands one dot, one or two underscores, or any number of hyphens.
        let mut at = 0;
        for run in piece.split_inclusive(alphanumeric) {
            let separator = run.trim_end_matches(alphanumeric);
            let ends = at == 0 || separator.len() == run.len();
            let known = matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
            if let Some(first) = separator.chars().next()
                && (ends || !known)
            {
                return Err(part.mistake(begin + at, Mistake::Separator(first)));
            }
            at += run.len();
        }
        begin += piece.len() + 1;
    }
    Ok(())
}

fn parse_tag(part: Part<'_>) -> Result<Box<str>, ReferenceError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = part.text.as_bytes();
    let wrong = |at| part.mistake(at, Mistake::Tag(shown(part.text)));
    if bytes.is_empty() || !word(bytes[0]) {
        return Err(wrong(0));
    }
    if let Some((at, _)) =
        part.text.char_indices().find(|(_, c)| !matches!(c, '.' | '-' | '_') && !c.is_ascii_alphanumeric())
    {
        return Err(wrong(at));
    }
    if bytes.len() > MAX_TAG {
        return Err(part.mistake(MAX_TAG, Mistake::TagTooLong));
    }
    Ok(part.text.into())
}

impl serde::Serialize for Reference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Reference {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
