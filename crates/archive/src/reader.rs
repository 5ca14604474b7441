//! Hides how the bytes of an archive become entries: blocks, checksums, limits, and the headers that only say
//! something about the next one.

use crate::{
    BLOCK, UnpackError, display, padding,
    pax::{self, Records},
    unpack::{COMPRESSED, Reason},
};
use std::io::{self, Read};
use tar::{EntryType, Header};

/// Bytes read from the input at once.
const BUFFER: usize = 256 * 1024;
/// So much of a file is written at once, if the input gives it.
const PIECE: usize = 64 * 1024;
/// The longest name, and the longest set of pax records.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// Bytes of all headers that say something about one entry.
const MAX_EXTENSIONS: u64 = 4 * MAX_EXTENSION;
/// The longest name of one file (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// The deepest tree.
pub(crate) const MAX_DEPTH: usize = 1024;

/// A time: whole seconds since 1970, rounded down, and nanoseconds from there.
pub(crate) type Time = (i64, u32);

/// A header, and what the ones before it said about it.
pub(crate) struct Entry {
    pub header: Header,
    /// The name as it stands in the archive.
    pub path: Vec<u8>,
    pub records: Records,
    /// The target, if it did not fit the header.
    target: Option<Vec<u8>>,
}

impl Entry {
    pub fn kind(&self) -> EntryType {
        let kind = self.header.entry_type();
        // Old tars mark a directory by a slash at the end of its name.
        if kind.is_file() && self.path.ends_with(b"/") { EntryType::Directory } else { kind }
    }

    pub fn mode(&self) -> Result<u32, Reason> {
        self.header.mode().map_err(|_| Reason::Malformed("mode"))
    }

    /// Bytes in the archive.
    pub fn size(&self) -> Result<u64, Reason> {
        match self.records.size {
            Some(size) => Ok(size),
            None => self.header.entry_size().map_err(|_| Reason::Malformed("size")),
        }
    }

    pub fn mtime(&self) -> Result<Time, Reason> {
        if let Some(mtime) = self.records.mtime {
            return Ok(mtime);
        }
        let seconds = number(&self.header.as_old().mtime).ok_or(Reason::Malformed("mtime"))?;
        Ok((seconds, 0))
    }

    /// The numbers of its user and its group.
    pub fn owner(&self) -> Result<(u64, u64), Reason> {
        let id = |record: &Option<Vec<u8>>, field: &[u8], what| {
            let id = match record {
                Some(text) => str::from_utf8(text).ok().and_then(|text| text.parse().ok()),
                None => number(field).and_then(|id| u64::try_from(id).ok()),
            };
            id.ok_or(Reason::Malformed(what))
        };
        let old = self.header.as_old();
        Ok((id(&self.records.uid, &old.uid, "user")?, id(&self.records.gid, &old.gid, "group")?))
    }

    /// What a link leads to.
    pub fn target(&self) -> Option<Vec<u8>> {
        let target = self.records.target.as_ref().or(self.target.as_ref()).cloned();
        target.or_else(|| self.header.link_name_bytes().map(|name| name.into_owned()))
    }
}

/// The number in a field of a header: octal digits, or binary if it begins with a set bit. An empty field is 0.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        // The first bit says only that it is binary, the next one is the sign.
        let sign = field[0] & 0x40 != 0;
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let fits = |byte: u8, mask: u8| byte | mask == if sign { 0xff } else { mask };
        let extended = high.iter().enumerate().all(|(at, &byte)| fits(byte, if at == 0 { 0x80 } else { 0 }));
        let mut value = if sign { -1i64 } else { 0 };
        for (at, &byte) in low.iter().enumerate() {
            let byte = if at == 0 && high.is_empty() && !sign { byte & 0x7f } else { byte };
            value = (value << 8) | i64::from(byte);
        }
        return (extended && (value < 0) == sign).then_some(value);
    }
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    match str::from_utf8(&field[..end]).ok()?.trim() {
        "" => Some(0),
        text => i64::from_str_radix(text, 8).ok().filter(|value| *value >= 0),
    }
}

/// Bytes from a reader, some of them ahead.
struct Buffer<R> {
    input: R,
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Buffer<R> {
    /// Reads until so many bytes are there, at most a whole buffer, or the input has ended. Gives all that are there.
    fn have(&mut self, wanted: usize) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start + wanted > self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        while self.end - self.start < wanted {
            match self.input.read(&mut self.bytes[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.bytes[self.start..self.end])
    }
}

/// Reads entries one after the other; between two of them, the contents of the first.
pub(crate) struct Reader<R> {
    buffer: Buffer<R>,
    /// Whether it may end without a mark, or within the rest of a last block: for bytes that are known by their digest.
    unmarked: bool,
    max_entries: u64,
    max_bytes: u64,
    headers: u64,
    bytes: u64,
}

impl<R: Read> Reader<R> {
    pub fn new(input: R, max_entries: u64, max_bytes: u64) -> Self {
        let buffer = Buffer { input, bytes: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 };
        Self { buffer, unmarked: false, max_entries, max_bytes, headers: 0, bytes: 0 }
    }

    /// The same for an archive of which some tool may have left the end out, and nobody can have cut it off.
    pub fn unmarked(input: R, max_entries: u64, max_bytes: u64) -> Self {
        Self { unmarked: true, ..Self::new(input, max_entries, max_bytes) }
    }

    /// The next entry, or `None` at the end. What the one before holds must have been taken.
    pub fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let (mut path, mut target, mut records) = (None, None, Records::default());
        let mut length = 0;
        if self.unmarked && self.buffer.have(1).is_ok_and(<[u8]>::is_empty) {
            return Ok(None);
        }
        loop {
            let number = self.headers + 1;
            let unnamed = |reason| match reason {
                Reason::NotTar | Reason::Compressed(_) => UnpackError { entry: "the archive".into(), reason },
                _ => UnpackError { entry: format!("entry {number}"), reason },
            };
            let Some(header) = self.header().map_err(unnamed)? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            match kind {
                EntryType::GNULongName | EntryType::GNULongLink | EntryType::XHeader | EntryType::XGlobalHeader => {}
                _ => {
                    let path = records.path.take().or(path).unwrap_or_else(|| header.path_bytes().into_owned());
                    return Ok(Some(Entry { header, path, records, target }));
                }
            }
            let bytes = self.take(&header, &mut length).map_err(unnamed)?;
            match kind {
                EntryType::GNULongName => path = Some(until_nul(bytes)),
                EntryType::GNULongLink => target = Some(until_nul(bytes)),
                EntryType::XHeader => pax::read(&bytes, &mut records).map_err(unnamed)?,
                // For all entries that follow: comments and times, nothing that must be obeyed.
                _ => {}
            }
        }
    }

    /// The next header, or `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Reason> {
        let first = self.headers == 0;
        let mut header = Header::new_old();
        let bytes = self.buffer.have(BLOCK).map_err(Reason::Input)?;
        let Some(block) = bytes.first_chunk::<BLOCK>() else {
            // Not even one header: it never was an archive.
            return Err(if first && !bytes.is_empty() { no_archive(bytes) } else { Reason::Truncated });
        };
        header.as_mut_bytes().copy_from_slice(block);
        self.buffer.start += BLOCK;
        let bytes = header.as_bytes();
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        self.headers += 1;
        if self.headers > self.max_entries {
            return Err(Reason::TooMany(self.max_entries));
        }
        // Bytes 148 to 155 are the checksum itself, and count as spaces.
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let expected = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
        if header.cksum().ok() != Some(expected) {
            return Err(if first { no_archive(bytes) } else { Reason::Malformed("checksum") });
        }
        Ok(Some(header))
    }

    /// Counts bytes against the limit, before any of them is taken.
    pub fn count(&mut self, size: u64) -> Result<(), Reason> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.max_bytes {
            return Err(Reason::TooLarge(self.max_bytes));
        }
        Ok(())
    }

    /// The contents of a header that only says something about the next one. `length` is that of all of these.
    fn take(&mut self, header: &Header, length: &mut u64) -> Result<Vec<u8>, Reason> {
        let size = header.entry_size().map_err(|_| Reason::Malformed("size"))?;
        *length = length.saturating_add(size);
        if size > MAX_EXTENSION || *length > MAX_EXTENSIONS {
            return Err(Reason::Malformed("a name or header extension is too long"));
        }
        self.count(size)?;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        self.copy(size, |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        self.pad(size)?;
        Ok(bytes)
    }

    /// One block of an entry's contents.
    pub fn block(&mut self) -> Result<[u8; BLOCK], Reason> {
        let bytes = self.buffer.have(BLOCK).map_err(Reason::Input)?;
        let block = *bytes.first_chunk().ok_or(Reason::Truncated)?;
        self.buffer.start += BLOCK;
        Ok(block)
    }

    /// Gives so many bytes of contents away, in pieces as large as the input allows.
    pub fn copy(&mut self, size: u64, mut to: impl FnMut(&[u8]) -> Result<(), Reason>) -> Result<(), Reason> {
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER);
            // What is there already goes at once if it is much, without being moved about.
            let there = self.buffer.end - self.buffer.start;
            let wanted = if there >= PIECE { there.min(wanted) } else { wanted };
            let bytes = self.buffer.have(wanted).map_err(Reason::Input)?;
            if bytes.len() < wanted {
                return Err(Reason::Truncated);
            }
            to(&bytes[..wanted])?;
            self.buffer.start += wanted;
            left -= wanted as u64;
        }
        Ok(())
    }

    /// Passes over contents that nobody wants.
    pub fn skip(&mut self, size: u64) -> Result<(), Reason> {
        self.count(size)?;
        self.copy(size, |_| Ok(()))?;
        self.pad(size)
    }

    /// Passes over what stands between the end of contents and that of their last block.
    pub fn pad(&mut self, size: u64) -> Result<(), Reason> {
        match self.copy(padding(size) as u64, |_| Ok(())) {
            Err(Reason::Truncated) if self.unmarked => {
                self.buffer.start = self.buffer.end;
                Ok(())
            }
            result => result,
        }
    }

    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }
}

/// What bytes are that do not begin as an archive does.
fn no_archive(bytes: &[u8]) -> Reason {
    match COMPRESSED.iter().find(|(beginning, ..)| bytes.starts_with(beginning)) {
        Some((_, format, _)) => Reason::Compressed(format),
        None => Reason::NotTar,
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// The names that a path is made of, whatever number of slashes is between them.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
}

/// Refuses a name that is not that of one file.
pub(crate) fn check_component(name: &[u8]) -> Result<(), Reason> {
    match name {
        b"" => Err(Reason::Name("it is empty")),
        b"." | b".." => Err(Reason::Name("it leads out of the directory")),
        _ if name.contains(&0) => Err(Reason::Name("it has a NUL byte")),
        _ if name.contains(&b'/') => Err(Reason::Name("it has a slash")),
        _ if name.len() > MAX_COMPONENT => Err(Reason::Name("it is too long")),
        _ => Ok(()),
    }
}

/// An entry's refusal, with its name.
pub(crate) fn refused(path: &[u8]) -> impl Fn(Reason) -> UnpackError {
    move |reason| UnpackError { entry: display(path), reason }
}
