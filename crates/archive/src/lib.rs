//! Packs and unpacks file trees as tar, by file descriptor, never outside the directory it was given.
//!
//! Archives travel between a sandbox and its host, so on either side the bytes that arrive, and the tree that is
//! read, may be hostile. Paths are walked one name at a time from the directory that the caller opened, and no
//! symbolic link is ever followed. The format is the GNU one (tar(5)), with long names where they are needed; pax
//! headers are understood too. Only the fields of headers are parsed by a library. Layers of images are archives with
//! rules of their own: [`layer`]. Python's packages are archives of another kind: [`wheel`].
#![forbid(unsafe_code)]

pub mod layer;
mod left_out;
mod pack;
mod pax;
mod reader;
mod unpack;
mod walk;
pub mod wheel;
mod writer;

pub use left_out::{LeftOut, special};
pub use pack::{PackError, pack, pack_bytes, pack_for};
pub use unpack::{Reason, UnpackError, UnpackOptions, only_file, unpack};

use std::io::{self, Read};

/// The unit of a tar archive, in bytes.
const BLOCK: usize = 512;
/// Bytes moved at once.
const CHUNK: usize = 64 * 1024;

/// The time of modification, in seconds, of a socket, an empty directory, a link to [`NOWHERE`], or a file with [`SAYS_NOTHING`], that only holds a place, so that nobody makes anything there: a
/// morning in 1970 that nothing else has. It is left out without a word.
pub const PLACEHOLDER: i64 = 0x616b;

/// What a file says that stands for nothing in a sandbox: nothing, in JSON and in YAML, and to git in a list of names.
pub const SAYS_NOTHING: &str = "{}\n";

/// Where a link leads that stands for nothing in a sandbox: nobody can make anything there.
pub const NOWHERE: &str = "/proc/agentkernel/nothing";

/// What was packed or unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// What an archive has no place for.
    pub left_out: LeftOut,
    /// Entries that vanished, or became something else, while they were packed.
    pub vanished: u64,
}

/// Bytes from the end of `size` bytes to the end of their last block.
fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// Reads until the bytes are full or the input has ended. Says how many came.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match input.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
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
#[path = "handmade_tests.rs"]
mod handmade;
#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
