//! Packs and unpacks file trees as tar, by file descriptor, never outside the directory it was given.
//!
//! Archives travel between a sandbox and its host, so on either side the bytes that arrive, and the tree that is
//! read, may be hostile. Paths are walked one name at a time from the directory that the caller opened, and no
//! symbolic link is ever followed. The format is the GNU one (tar(5)), with long names where they are needed; pax
//! headers are understood too. Only headers are parsed by a library.
#![forbid(unsafe_code)]

mod pack;
mod unpack;

pub use pack::{PackError, pack, pack_bytes};
pub use unpack::{Reason, UnpackError, UnpackOptions, unpack};

/// The unit of a tar archive, in bytes.
const BLOCK: usize = 512;
/// Bytes moved at once.
const CHUNK: usize = 64 * 1024;

/// What was packed or unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Entries left out: sockets, fifos, devices, and what vanished while it was packed.
    pub skipped: u64,
}

/// Bytes from the end of `size` bytes to the end of their last block.
fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// A name as an error shows it: cut, and without anything that could disturb a terminal.
fn display(name: &[u8]) -> String {
    const LONGEST: usize = 256;
    let text: String = String::from_utf8_lossy(name)
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .take(LONGEST)
        .collect();
    if text.chars().count() < LONGEST { text } else { format!("{text}...") }
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
