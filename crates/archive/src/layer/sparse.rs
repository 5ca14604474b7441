//! Hides the four ways in which tars write down where a file has holes: the old GNU one and pax 0.0, 0.1, 1.0.

use crate::{
    BLOCK, pax,
    reader::{Entry, Reader, number},
    unpack::Reason,
};
use std::io::Read;
use tar::EntryType;

/// Pieces of one file. Each is remembered until the file is written.
const MAX_PIECES: usize = 1 << 20;

/// Where the contents that are in the archive belong in a file.
pub(super) struct Sparse {
    /// The size of the file, holes and all.
    pub size: u64,
    /// Bytes of contents in the archive.
    pub stored: u64,
    /// Places and lengths, in order, none over another.
    pub pieces: Vec<(u64, u64)>,
}

/// What an entry says about holes, if it does. `size` is what it has in the archive; what the map takes of that is
/// read, and counted by the caller.
pub(super) fn read<R: Read>(reader: &mut Reader<R>, entry: &Entry, size: u64) -> Result<Option<Sparse>, Reason> {
    if entry.header.entry_type() == EntryType::GNUSparse {
        return old_gnu(reader, entry, size).map(Some);
    }
    if entry.records.sparse.is_empty() {
        return Ok(None);
    }
    let said = |wanted: &[u8]| entry.records.sparse.iter().rev().find(|(key, _)| key == wanted).map(|(_, value)| value);
    let count = |key: &[u8]| said(key).map(|value| pax::number(value).ok_or(DAMAGED)).transpose();
    let (mut map, real) = (Map::default(), count(b"realsize")?.or(count(b"size")?).ok_or(DAMAGED)?);
    let mut stored = size;
    match (count(b"major")?.unwrap_or(0), count(b"minor")?.unwrap_or(0)) {
        (1, 0) => stored -= map.lines(reader, size)?,
        (0, _) => {
            if let Some(list) = said(b"map") {
                for value in list.split(|&byte| byte == b',').filter(|value| !value.is_empty()) {
                    map.add(pax::number(value).ok_or(DAMAGED)?)?;
                }
            } else {
                for (key, value) in &entry.records.sparse {
                    match (&**key, map.half.is_some()) {
                        (b"offset", false) | (b"numbytes", true) => map.add(pax::number(value).ok_or(DAMAGED)?)?,
                        (b"offset" | b"numbytes", _) => return Err(DAMAGED),
                        _ => {}
                    }
                }
            }
            if count(b"numblocks")?.is_some_and(|blocks| blocks != map.pieces.len() as u64) {
                return Err(DAMAGED);
            }
        }
        _ => return Err(Reason::Malformed("a sparse file of a later version")),
    }
    map.check(real, stored, reader.max_bytes()).map(Some)
}

const DAMAGED: Reason = Reason::Malformed("map of a sparse file");

/// A map under construction.
#[derive(Default)]
struct Map {
    /// A place whose length comes next.
    half: Option<u64>,
    pieces: Vec<(u64, u64)>,
}

impl Map {
    fn add(&mut self, number: u64) -> Result<(), Reason> {
        match self.half.take() {
            None => self.half = Some(number),
            Some(_) if self.pieces.len() >= MAX_PIECES => return Err(DAMAGED),
            Some(at) => self.pieces.push((at, number)),
        }
        Ok(())
    }

    /// Reads the map of pax 1.0: how many pieces, their places and lengths, a number a line, in blocks before the
    /// contents. Says how many bytes these blocks are.
    fn lines<R: Read>(&mut self, reader: &mut Reader<R>, size: u64) -> Result<u64, Reason> {
        let (mut numbers, mut line, mut read) = (None, Vec::new(), 0);
        while numbers != Some(0) {
            read += BLOCK as u64;
            if read > size {
                return Err(DAMAGED);
            }
            for byte in reader.block()? {
                if numbers == Some(0) {
                    break;
                }
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = pax::number(&line).ok_or(DAMAGED)?;
                line.clear();
                numbers = match numbers {
                    None if number > MAX_PIECES as u64 => return Err(DAMAGED),
                    None => Some(2 * number),
                    Some(left) => {
                        self.add(number)?;
                        Some(left - 1)
                    }
                };
            }
            // No number is that long.
            if line.len() > BLOCK {
                return Err(DAMAGED);
            }
        }
        Ok(read)
    }

    fn check(self, size: u64, stored: u64, most: u64) -> Result<Sparse, Reason> {
        // No block of it need be there, but whoever copies the file gets them all.
        if size > most || i64::try_from(size).is_err() {
            return Err(Reason::TooLarge(most));
        }
        let (mut end, mut sum) = (0, 0u64);
        for &(at, length) in &self.pieces {
            if at < end {
                return Err(DAMAGED);
            }
            end = at.checked_add(length).filter(|end| *end <= size).ok_or(DAMAGED)?;
            sum += length;
        }
        if sum != stored || self.half.is_some() {
            return Err(DAMAGED);
        }
        Ok(Sparse { size, stored, pieces: self.pieces })
    }
}

/// The old GNU way: four pieces in the header, more in blocks that follow it.
fn old_gnu<R: Read>(reader: &mut Reader<R>, entry: &Entry, size: u64) -> Result<Sparse, Reason> {
    /// Bytes of a piece: two fields of 12.
    const PIECE: usize = 24;
    let header = entry.header.as_gnu().ok_or(DAMAGED)?;
    let real = number(&header.realsize).and_then(|size| u64::try_from(size).ok()).ok_or(DAMAGED)?;
    let mut map = Map::default();
    let mut add = |at: &[u8], length: &[u8]| {
        // An empty field stands for no piece, not for an empty one.
        if length[0] == 0 {
            return Ok(false);
        }
        for field in [at, length] {
            map.add(number(field).and_then(|value| u64::try_from(value).ok()).ok_or(DAMAGED)?)?;
        }
        Ok(true)
    };
    let mut more = true;
    for piece in &header.sparse {
        more = more && add(&piece.offset, &piece.numbytes)?;
    }
    let mut extended = header.isextended[0] != 0;
    while extended {
        if !more {
            return Err(DAMAGED);
        }
        reader.count(BLOCK as u64)?;
        let block = reader.block()?;
        let (pieces, last) = block.split_at(BLOCK / PIECE * PIECE);
        for piece in pieces.chunks_exact(PIECE) {
            let (at, length) = piece.split_at(PIECE / 2);
            more = more && add(at, length)?;
        }
        extended = last[0] != 0;
    }
    map.check(real, size, reader.max_bytes())
}
