//! Registries of packages, of whatever kind.

use crate::config;
use oci::credentials::Credentials;
use std::{fs::File, io::Read as _, path::Path};

/// The longest file of configuration that is read.
const LONGEST: u64 = 1 << 20;

/// It is not known where packages are that a program would bring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryUnknown {
    /// Nobody says.
    #[error("It is not known where {0}'s packages are: there is no {0}, and none of its files says")]
    Unsaid(&'static str),
    /// What is said is no address. What logs in there is not told.
    #[error("{0}'s configuration says that its packages are at {found}, which is no address that begins with https://", found = config::quoted(.1.as_ref()))]
    NoAddress(&'static str, String),
}

impl RegistryUnknown {
    /// What its user can do.
    #[must_use]
    pub fn hint(&self) -> String {
        let (Self::Unsaid(program) | Self::NoAddress(program, _)) = self;
        let write = match *program {
            "npm" => "Write `registry=https://...` into ~/.npmrc",
            _ => "Write `index-url = https://...` into pip.conf",
        };
        match self {
            Self::Unsaid(_) => format!("{write}, or install {program}, which knows"),
            Self::NoAddress(..) => write.to_owned(),
        }
    }
}

/// A registry of packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// Its address, ending with a slash.
    pub address: String,
    /// What logs in there, as its program's configuration has it.
    pub credentials: Credentials,
}

impl Registry {
    /// Its `HOST[:PORT]`, without the usual port.
    #[must_use]
    pub fn host(&self) -> String {
        let (scheme, rest) = self.address.split_once("://").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        let usual = if scheme == "https" { ":443" } else { ":80" };
        host.strip_suffix(usual).map(str::to_owned).unwrap_or(host)
    }
}

/// The address of this program's registry as it was found, ending with a slash.
pub(super) fn address(program: &'static str, found: Option<&str>) -> Result<String, RegistryUnknown> {
    let found = found.ok_or(RegistryUnknown::Unsaid(program))?;
    let rest = found.strip_prefix("https://").or_else(|| found.strip_prefix("http://"));
    if rest.is_some_and(|rest| !rest.starts_with('/') && !rest.is_empty()) {
        return Ok(format!("{}/", found.trim_end_matches('/')));
    }
    let shown = found.rsplit('@').next().unwrap_or_default();
    Err(RegistryUnknown::NoAddress(program, shown.to_owned()))
}

/// A file of configuration, if it is there and text.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).ok().map(|_| text)
}
