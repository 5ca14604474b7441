//! `agentkernel.lock`: which image each name meant when it was first asked for, so that a team gets the same bytes.

use super::{ConfigError, Project, project};
use oci::{Digest, Platform, Reference};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs::File, io::Write as _, path::PathBuf};

/// The name of the file, beside the project's own.
pub const FILE_NAME: &str = "agentkernel.lock";
const HEAD: &str = "# Which images the project is made of. `agentkernel run --update-lock` renews it; commit it.\n\n";
const VERSION: u32 = 1;

/// What the file says.
#[derive(Clone, Debug)]
pub struct LockFile {
    path: PathBuf,
    locked: Locked,
    /// What was there is not looked at.
    renewed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Locked {
    version: u32,
    /// By name and platform: the digest of the manifest, or of the index that leads to it.
    #[serde(default)]
    images: BTreeMap<String, BTreeMap<String, Digest>>,
}

impl LockFile {
    /// Reads a project's; none is an empty one. With `renew`, every name is asked for again.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub fn read(project: &Project, renew: bool) -> Result<Self, ConfigError> {
        let path = project.dir.join(FILE_NAME);
        let locked = match project::read(&path)? {
            None => Locked { version: VERSION, images: BTreeMap::new() },
            Some(text) => {
                let broken = |cause: String| {
                    ConfigError::value(
                        format!("{} can't be used: {cause}", path.display()),
                        "`agentkernel run --update-lock` writes it anew once it is removed",
                    )
                };
                let locked: Locked =
                    toml_edit::de::from_str(&text).map_err(|error| broken(error.message().replace('\n', " ")))?;
                if locked.version != VERSION {
                    return Err(broken(format!("version {} is not known here", locked.version)));
                }
                locked
            }
        };
        Ok(Self { path, locked, renewed: renew })
    }

    /// Whether every name is asked for again.
    #[must_use]
    pub fn is_renewed(&self) -> bool {
        self.renewed
    }

    /// What a name means here; none: nothing is said.
    #[must_use]
    pub fn get(&self, reference: &Reference, platform: &Platform) -> Option<&Digest> {
        self.locked.images.get(&reference.familiar())?.get(&platform.to_string()).filter(|_| !self.renewed)
    }

    /// Writes down what a name means, if it says something else.
    ///
    /// # Errors
    /// If it can't be written; the old one is whole then.
    pub fn put(&mut self, reference: &Reference, platform: &Platform, digest: &Digest) -> Result<(), ConfigError> {
        let said = self.locked.images.entry(reference.familiar()).or_default();
        if said.insert(platform.to_string(), digest.clone()).as_ref() == Some(digest) {
            return Ok(());
        }
        let failed = |error: std::io::Error| ConfigError::io(&self.path, error);
        let text =
            toml_edit::ser::to_string_pretty(&self.locked).map_err(|error| failed(std::io::Error::other(error)))?;
        let temporary = self.path.with_extension(format!("lock.{}", rustix::process::getpid().as_raw_nonzero()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            fs::openat(CWD, &temporary, flags, Mode::from_raw_mode(0o644)).map_err(|errno| failed(errno.into()))?;
        let mut file = File::from(file);
        let written = file.write_all(HEAD.as_bytes()).and_then(|()| file.write_all(text.as_bytes()));
        let written = written.and_then(|()| file.sync_all());
        let written = written.and_then(|()| Ok(fs::renameat(CWD, &temporary, CWD, &self.path)?));
        if written.is_err() {
            // The first error is the one that counts.
            let _ = fs::unlinkat(CWD, &temporary, AtFlags::empty());
        }
        written.map_err(failed)
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
