//! A sandbox's name, changed while it runs or while it does not.

use super::{ClientError, Found, find};
use crate::{
    Name,
    store::{Entry, Store, StoreError},
};
use wire::api;

/// A sandbox was not renamed, or not everywhere.
#[derive(Debug, thiserror::Error)]
pub enum RenameError {
    /// It was not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has its new name, but its supervisor goes on with the old one until it is started anew.
    #[error("The sandbox has its new name, but what it says and records has the old one until it is restarted")]
    Untold(#[source] ClientError),
}

/// Gives a sandbox another name: the denials that it reads, its events and the audit log have it from now on.
///
/// # Errors
/// [`RenameError`]
pub fn rename(store: &Store, entry: &Entry, name: &Name) -> Result<(), RenameError> {
    store.rename(entry, name)?;
    let told = match find(entry) {
        Ok(Found::Running(mut client)) => client.call(api::Call::Renamed).map(drop),
        Ok(Found::Idle(_)) => Ok(()),
        Err(error) => Err(error),
    };
    match told {
        // The next start knows.
        Ok(()) | Err(ClientError::Gone) => Ok(()),
        Err(error) => Err(RenameError::Untold(error)),
    }
}
