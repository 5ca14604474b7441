//! Which projects' files the user has accepted, by their digests.

use super::{
    Store, StoreError,
    record::{self, Durable},
    subdirectory,
};
use crate::config::ProjectFile;
use rustix::{
    fd::AsFd,
    fs::{self, AtFlags},
    io::Errno,
};
use wire::OsBytes;

const TRUST: &str = "trust";

impl Store {
    /// Whether the user has accepted this file, as it is and where it is.
    ///
    /// # Errors
    /// If the state can't be read.
    pub fn is_trusted(&self, file: &ProjectFile) -> Result<bool, StoreError> {
        let dir = subdirectory(self.root.as_fd(), &self.path, TRUST)?;
        let found: Option<OsBytes> = record::read(dir.as_fd(), &self.path.join(TRUST), &file.digest())?;
        Ok(found.is_some())
    }

    /// Accepts this file, as it is and where it is.
    ///
    /// # Errors
    /// If the state can't be written.
    pub fn trust(&self, file: &ProjectFile) -> Result<(), StoreError> {
        let dir = subdirectory(self.root.as_fd(), &self.path, TRUST)?;
        // The digest decides; the path is for people who look.
        let path = OsBytes::from(file.path.as_path());
        record::write(dir.as_fd(), &self.path.join(TRUST), &file.digest(), &path, Durable::Yes)
    }

    /// Takes the acceptance back; whether there was one.
    ///
    /// # Errors
    /// If the state can't be written.
    pub fn distrust(&self, file: &ProjectFile) -> Result<bool, StoreError> {
        let dir = subdirectory(self.root.as_fd(), &self.path, TRUST)?;
        match fs::unlinkat(&dir, file.digest(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(StoreError::io("remove", self.path.join(TRUST).join(file.digest()), errno)),
        }
    }
}
