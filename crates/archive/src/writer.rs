//! Hides how the blocks of an archive are written.

use crate::{
    BLOCK, CHUNK, fill,
    pack::{PackError, read},
    padding,
};
use std::io::{self, BufWriter, Read, Write};

/// Writes an archive, and ends it.
pub(crate) struct Writer<W: Write>(BufWriter<W>);

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self(BufWriter::with_capacity(CHUNK, out))
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.0.write_all(bytes).map_err(PackError::Write)
    }

    /// Fills up the last block of so many bytes.
    pub fn pad(&mut self, size: u64) -> Result<(), PackError> {
        self.write(&[0; BLOCK][..padding(size)])
    }

    /// Copies so many bytes of the file `path`, by way of `chunk`; zeros for what it has not any more.
    pub fn copy(&mut self, file: &mut impl Read, size: u64, chunk: &mut [u8], path: &[u8]) -> Result<(), PackError> {
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let count = fill(file, &mut chunk[..room]).map_err(read("read", path))?;
            self.write(&chunk[..count])?;
            left -= count as u64;
            if count < room {
                break;
            }
        }
        io::copy(&mut io::repeat(0).take(left), &mut self.0).map_err(PackError::Write)?;
        Ok(())
    }

    /// Writes the end mark.
    pub fn finish(mut self) -> Result<(), PackError> {
        self.write(&[0; 2 * BLOCK])?;
        self.0.flush().map_err(PackError::Write)
    }
}
