//! Registries of packages, of whatever kind.

use oci::credentials::Credentials;
use std::{fs::File, io::Read as _, path::Path};

/// The longest file of configuration that is read.
const LONGEST: u64 = 1 << 20;

/// Nobody says where packages are that this program would bring.
#[derive(Debug, thiserror::Error)]
#[error("It is not known where {0}'s packages are: there is no {0}, and none of its files says")]
pub struct RegistryUnknown(pub &'static str);

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

/// The address of a registry as it was found, ending with a slash; `None` if it is none.
pub(super) fn address(found: Option<&str>) -> Option<String> {
    let found = found.filter(|found| found.starts_with("https://") || found.starts_with("http://"))?;
    Some(format!("{}/", found.trim_end_matches('/')))
}

/// A file of configuration, if it is there and text.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).ok().map(|_| text)
}
