//! Whether layers can lie over what they were not made for.

use super::view::{View, is_opaque, join};
use rustix::{
    fd::BorrowedFd,
    io::{self, Errno},
};
use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// What a layer has where something of another kind lies below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which of the layers.
    pub layer: usize,
    /// Where, from its top.
    pub path: PathBuf,
    /// Whether it has a directory there; else what is below has one.
    pub is_dir: bool,
}

/// What in one of the topmost layers of a stack, given the topmost first, does not fit what lies below: a directory over
/// something else, or the other way round. What a layer takes away by name, or hides as a whole, is meant so.
///
/// # Errors
/// If something cannot be read.
pub fn misfit(stack: &[BorrowedFd<'_>], topmost: usize) -> io::Result<Option<Misfit>> {
    for (index, layer) in stack.iter().enumerate().take(topmost) {
        let own = View::of(&[*layer])?;
        let below = View::of(stack.get(index + 1..).unwrap_or_default())?;
        let mut left = vec![Vec::new()];
        while let Some(dir) = left.pop() {
            // Below what hides everything, nothing is.
            if is_opaque(layer, &dir) {
                continue;
            }
            let Some(found) = own.look(&dir)? else { continue };
            for name in own.list(&dir, &found)? {
                let path = join(&dir, &name);
                let theirs = match below.look(&path) {
                    // Where nobody may look, nobody finds anything.
                    Err(Errno::ACCESS) => None,
                    found => found?,
                };
                let (Some(ours), Some(theirs)) = (own.look(&path)?, theirs) else { continue };
                if ours.is_dir() != theirs.is_dir() {
                    let path = OsString::from_vec(path).into();
                    return Ok(Some(Misfit { layer: index, path, is_dir: ours.is_dir() }));
                }
                if ours.is_dir() {
                    left.push(path);
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
