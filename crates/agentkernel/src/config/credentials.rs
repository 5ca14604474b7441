//! Hides how a user's files of logins are read, and that what is in them is not shown.

use super::{ConfigError, project::read_by_path};
use crate::credentials::Document;
use egress::Secret;
use std::path::Path;

/// Reads one; `None` if there is none.
///
/// # Errors
/// If it can't be read, or is neither JSON nor lines of variables.
pub fn read_document(path: &Path) -> Result<Option<Document>, ConfigError> {
    let Some(text) = read_by_path(path)? else { return Ok(None) };
    let document = Document::of(Secret::new(text.into_bytes())).map_err(|error| ConfigError::File {
        path: path.into(),
        line: error.line(),
        column: error.column(),
        cause: "it is no JSON".into(),
        hint: "Log in again with the program whose file that is".into(),
    })?;
    Ok(Some(document))
}
