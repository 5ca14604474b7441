//! Wheels, as Python's packages are distributed (the binary distribution format of PyPA): a zip archive whose files go into
//! a directory where Python looks for modules. Hides how such an archive is read.
//!
//! Nothing of it is run, and no program of it gets a script of its own. What is in `NAME.data` is left out but for modules.

use crate::{
    Reason, UnpackError, UnpackOptions,
    reader::{check_component, components, refused},
};
use flate2::read::DeflateDecoder;
use jail::fd::open_beneath;
use rustix::{
    fd::BorrowedFd,
    fs::{FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

/// The end of the archive: its record, without a comment.
const END: usize = 22;
/// The longest comment.
const COMMENT: usize = u16::MAX as usize;
/// A record of the directory, without what is of any length.
const RECORD: usize = 46;
/// What stands before a file's contents, likewise.
const BEFORE: usize = 30;
/// Where in `NAME.data` modules are.
const MODULES: [&[u8]; 2] = [b"purelib", b"platlib"];

/// A file of the archive.
struct Entry {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    packed: u64,
    size: u64,
    mode: u32,
    at: u64,
}

/// Unpacks a wheel into a directory that nobody else changes; what is there already is replaced. Files are readable for
/// everybody, and executable if they are so in the wheel. What was unpacked so far counts towards the limits.
///
/// # Errors
/// [`UnpackError`]
pub fn unpack(
    wheel: &File,
    dir: BorrowedFd<'_>,
    options: &UnpackOptions,
    so_far: &mut (u64, u64),
) -> Result<(), UnpackError> {
    let directory = directory(wheel).map_err(refused(b"the directory of the archive"))?;
    for entry in entries(&directory) {
        let entry = entry.map_err(refused(b"the directory of the archive"))?;
        let of_it = refused(&entry.name);
        *so_far = (so_far.0 + 1, so_far.1.saturating_add(entry.size));
        if so_far.0 > options.max_entries {
            return Err(of_it(Reason::TooMany(options.max_entries)));
        }
        if so_far.1 > options.max_bytes {
            return Err(of_it(Reason::TooLarge(options.max_bytes)));
        }
        let place = place(&entry).map_err(&of_it)?;
        if let Some(names) = place {
            write(wheel, &entry, &names, dir).map_err(of_it)?;
        }
    }
    Ok(())
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut whole = [0; 8];
    if let Some(part) = bytes.get(at..at + N) {
        whole[..N].copy_from_slice(part);
    }
    u64::from_le_bytes(whole)
}

fn damaged<T>(what: &'static str) -> Result<T, Reason> {
    Err(Reason::Malformed(what))
}

/// Reads so many bytes from there.
fn read(mut file: &File, at: u64, count: usize) -> Result<Vec<u8>, Reason> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at)).map_err(Reason::Input)?;
    file.take(count as u64).read_to_end(&mut bytes).map_err(Reason::Input)?;
    if bytes.len() == count { Ok(bytes) } else { Err(Reason::Truncated) }
}

/// The records of all files, as they stand at the end of the archive.
fn directory(mut file: &File) -> Result<Vec<u8>, Reason> {
    let length = file.seek(SeekFrom::End(0)).map_err(Reason::Input)?;
    let count = usize::try_from(length).unwrap_or(usize::MAX).min(END + COMMENT);
    let last = read(file, length - count as u64, count)?;
    let is_end = |at: &usize| last[*at..].starts_with(b"PK\x05\x06");
    let Some(end) = (0..=last.len().saturating_sub(END)).rev().filter(|at| last.len() >= at + END).find(is_end) else {
        return damaged("it is no zip archive");
    };
    let (size, at) = (number::<4>(&last, end + 12), number::<4>(&last, end + 16));
    if number::<2>(&last, end + 10) == u64::from(u16::MAX) || at == u64::from(u32::MAX) {
        return damaged("it has more than a zip archive of the usual kind can have");
    }
    if size > length {
        return Err(Reason::Truncated);
    }
    read(file, at, usize::try_from(size).unwrap_or(usize::MAX))
}

fn entries(directory: &[u8]) -> impl Iterator<Item = Result<Entry, Reason>> {
    let mut rest = directory;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let entry = entry(&mut rest);
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    })
}

#[allow(clippy::cast_possible_truncation)] // they have no more bits
fn entry(rest: &mut &[u8]) -> Result<Entry, Reason> {
    if rest.len() < RECORD || !rest.starts_with(b"PK\x01\x02") {
        return damaged("a record of its directory is none");
    }
    let length = |at: usize| number::<2>(rest, at) as usize;
    let name = length(28);
    let whole = RECORD + name + length(30) + length(32);
    if rest.len() < whole {
        return Err(Reason::Truncated);
    }
    let found = Entry {
        name: rest[RECORD..RECORD + name].to_vec(),
        flags: number::<2>(rest, 8) as u16,
        method: number::<2>(rest, 10) as u16,
        packed: number::<4>(rest, 20),
        size: number::<4>(rest, 24),
        // In the upper half, as Unix has it.
        mode: number::<2>(rest, 40) as u32,
        at: number::<4>(rest, 42),
    };
    *rest = &rest[whole..];
    Ok(found)
}

/// Where an entry goes: the names of its path; `None` if nowhere.
fn place(entry: &Entry) -> Result<Option<Vec<&[u8]>>, Reason> {
    let names: Vec<&[u8]> = components(&entry.name).collect();
    names.iter().try_for_each(|name| check_component(name))?;
    if entry.name.starts_with(b"/") || entry.name.contains(&b'\\') {
        return Err(Reason::Name("it is no relative path"));
    }
    if FileType::from_raw_mode(entry.mode) == FileType::Symlink {
        return damaged("it has a symbolic link");
    }
    if entry.flags & 1 != 0 {
        return damaged("it is encrypted");
    }
    let names = match names.split_first() {
        Some((first, within)) if first.ends_with(b".data") => match within.split_first() {
            Some((kind, names)) if MODULES.contains(kind) => names.to_vec(),
            _ => Vec::new(),
        },
        _ => names,
    };
    Ok(Some(names).filter(|names| !names.is_empty() && !entry.name.ends_with(b"/")))
}

fn write(file: &File, entry: &Entry, names: &[&[u8]], dir: BorrowedFd<'_>) -> Result<(), Reason> {
    let begin = read(file, entry.at, BEFORE)?;
    if !begin.starts_with(b"PK\x03\x04") {
        return damaged("a file of it has no beginning");
    }
    let contents = entry.at + BEFORE as u64 + number::<2>(&begin, 26) + number::<2>(&begin, 28);
    let mut input = file;
    input.seek(SeekFrom::Start(contents)).map_err(Reason::Input)?;
    let packed = input.take(entry.packed);
    let mut contents: Box<dyn Read> = match entry.method {
        0 => Box::new(packed),
        8 => Box::new(DeflateDecoder::new(packed)),
        _ => return damaged("it is compressed in another way than wheels are"),
    };
    for depth in 1..names.len() {
        make_directory(dir, &names[..depth].join(&b'/')).map_err(|error| Reason::Io("make a directory", error))?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let mode = if entry.mode & 0o111 == 0 { 0o644 } else { 0o755 };
    let made = open_beneath(dir, names.join(&b'/'), flags, Mode::RUSR | Mode::WUSR).and_then(|made| {
        // The umask is the caller's, and has no say in it.
        rustix::fs::fchmod(&made, Mode::from_raw_mode(mode))?;
        Ok(made)
    });
    let mut made = File::from(made.map_err(|error| Reason::Io("make the file", error))?);
    // One byte more shows that there are more than it says.
    let written = io::copy(&mut (&mut contents).take(entry.size.saturating_add(1)), &mut made);
    match written {
        Ok(count) if count == entry.size => Ok(()),
        Ok(_) => damaged("a file of it is not as long as it says"),
        Err(error) => Err(Reason::Io("write the contents", error)),
    }
}

fn make_directory(dir: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(dir, path, Mode::RWXU) {
        Ok(()) => {
            let made = open_beneath(dir, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            Ok(rustix::fs::fchmod(made, Mode::from_raw_mode(0o755))?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
#[path = "wheel_tests.rs"]
mod tests;
