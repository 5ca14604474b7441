//! Hides which kinds of machine there are, how each is spelled, and which runs the programs of which.

use crate::text::shown;
use serde::{Deserialize, Serialize};
use std::{env::consts, fmt, str::FromStr};

/// The longest word in a platform.
const MAX_WORD: usize = 64;

/// What an image's programs run on, in the words of the image specification: those of Go's GOOS and GOARCH.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Platform {
    /// The kind of processor, such as `amd64` or `arm64`.
    pub architecture: String,
    /// The operating system, such as `linux`.
    pub os: String,
    /// Which of its processors at least, such as `v8`; empty if any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that is no platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not one, two or three words.
    #[error("'{0}' is no platform such as linux/amd64 or linux/arm64/v8")]
    Form(String),
    /// A word that is empty or too long, or has other characters than letters, digits, `_`, `.` and `-`.
    #[error("'{0}' is no operating system, architecture or variant")]
    Word(String),
}

/// A platform as JSON has it.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: String,
}

impl TryFrom<Written> for Platform {
    type Error = PlatformError;

    fn try_from(written: Written) -> Result<Self, PlatformError> {
        let known = |text: String| if text.is_empty() { Ok("unknown".to_owned()) } else { word(&text) };
        let variant = if written.variant.is_empty() { String::new() } else { word(&written.variant)? };
        Ok(Self { architecture: known(written.architecture)?, os: known(written.os)?, variant })
    }
}

impl Platform {
    /// The platform of this machine.
    #[must_use]
    pub fn host() -> Self {
        let platform =
            Self { architecture: consts::ARCH.to_owned(), os: consts::OS.to_owned(), variant: String::new() };
        platform.normalized()
    }

    /// The same in the one spelling that names are compared in, as containerd has it: `aarch64` and `arm64/v8` are
    /// `arm64`, `x86_64` and `amd64/v1` are `amd64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = self.variant.to_ascii_lowercase();
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1" | "1") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            ("loongarch64", variant) => ("loong64", variant),
            ("powerpc64", variant) => ("ppc64", variant),
            (architecture, variant) => (architecture, variant),
        };
        Self { architecture: architecture.to_owned(), os, variant: variant.to_owned() }
    }

    /// How well this machine runs what was made for `other`: the higher the better, none if not at all. As in containerd,
    /// a later variant runs what was made for an earlier one. Other than there, one architecture never runs another's
    /// programs (amd64 those of 386): a sandbox's filter of system calls is for one architecture.
    #[must_use]
    pub fn runs(&self, other: &Self) -> Option<u16> {
        let (own, other) = (self.normalized(), other.normalized());
        if own.os != other.os || own.architecture != other.architecture {
            return None;
        }
        if own.variant == other.variant {
            return Some(u16::MAX);
        }
        let (own, other) = (own.level()?, other.level()?);
        (other <= own).then_some(other)
    }

    /// The variant as a number, `v8.2` as 802; none if it is none.
    fn level(&self) -> Option<u16> {
        let least = match self.architecture.as_str() {
            "amd64" => "v1",
            "arm64" => "v8",
            _ => "",
        };
        let variant = if self.variant.is_empty() { least } else { &self.variant };
        let numbers = variant.strip_prefix('v')?;
        let (major, minor) = numbers.split_once('.').unwrap_or((numbers, "0"));
        let (major, minor): (u8, u8) = (major.parse().ok()?, minor.parse().ok()?);
        (minor < 100).then(|| u16::from(major) * 100 + u16::from(minor))
    }
}

/// A word of a platform.
fn word(text: &str) -> Result<String, PlatformError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > MAX_WORD || !text.bytes().all(fits) {
        return Err(PlatformError::Word(shown(text)));
    }
    Ok(text.to_owned())
}

/// `OS/ARCHITECTURE`, `OS/ARCHITECTURE/VARIANT`, or an architecture of Linux alone.
impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let words = text.split('/').map(word).collect::<Result<Vec<_>, _>>()?;
        let platform = |os: &str, architecture: &str, variant: &str| Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.to_owned(),
        };
        // An operating system alone is not one image.
        match words.as_slice() {
            [os] if ["linux", "windows", "darwin", "macos", "freebsd"].contains(&os.as_str()) => {
                Err(PlatformError::Form(shown(text)))
            }
            [architecture] => Ok(platform("linux", architecture, "").normalized()),
            [os, architecture] => Ok(platform(os, architecture, "").normalized()),
            [os, architecture, variant] => Ok(platform(os, architecture, variant).normalized()),
            _ => Err(PlatformError::Form(shown(text))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
