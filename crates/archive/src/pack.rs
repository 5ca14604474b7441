//! Hides how a tree is read while others change it, and how it is written as tar.

use crate::{
    CHUNK, NOWHERE, PLACEHOLDER, SAYS_NOTHING, Summary, display, fill, special,
    walk::{self, Level},
    writer::Writer,
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, FileType, Stat},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, OsStr},
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
};
use tar::{EntryType, Header};

/// A tree could not be packed. The archive so far is incomplete and has no end mark.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something could not be read.
    #[error("Cannot {what} {entry}")]
    Read {
        /// What was tried.
        what: &'static str,
        /// The name of the entry in the archive.
        entry: String,
        /// The cause.
        source: io::Error,
    },
    /// What was to be packed is neither a file, a directory nor a symbolic link.
    #[error("It is a {0}")]
    Special(&'static str),
    /// Something that is to go into a layer is of nobody in the sandbox.
    #[error("The owner {id} of {entry} is outside of the sandbox's range")]
    Owner {
        /// The name of the entry in the archive.
        entry: String,
        /// The number of its user or group.
        id: u32,
    },
    /// Something that is to go into a layer is spread over those below it: the overlay was mounted in another way.
    #[error("{0} is whole only together with the layers below it")]
    Overlay(String),
    /// The archive could not be written.
    #[error("Cannot write the archive")]
    Write(#[source] io::Error),
}

impl PackError {
    /// What its user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Special(_) => "Only files, directories and symbolic links can be copied",
            Self::Read { .. } | Self::Owner { .. } | Self::Overlay(_) | Self::Write(_) => "",
        }
    }
}

/// Names longer than this do not fit a header.
const NAME: usize = 100;
/// A file that does not tell its size, as those of /proc, is held in memory; so much of it at most.
const MAX_UNTOLD: u64 = 64 << 20;

/// Packs `name` in `dir`, a file, a symbolic link or a whole tree, under the name `as_name`.
///
/// Kept: regular files, directories, symbolic links (as they are), hard links within the tree, modes, owners'
/// numbers, modification times in seconds. Other kinds are left out and counted, and so is what vanishes meanwhile. Of a
/// file system of the kernel's that is mounted below `name` there is the directory only. A large file that shrinks
/// while it is read is filled up with zeros, one that grows is cut: the archive stays in step.
///
/// # Errors
/// [`PackError`], naming the entry.
pub fn pack(dir: BorrowedFd<'_>, name: &OsStr, as_name: &OsStr, out: impl Write) -> Result<Summary, PackError> {
    let mut packer = Packer::new(out);
    packer.tree(dir, name, as_name)?;
    packer.finish()
}

/// The same, with everything owned by this user and group.
///
/// # Errors
/// [`PackError`], naming the entry.
pub fn pack_for(
    owner: (u32, u32),
    dir: BorrowedFd<'_>,
    name: &OsStr,
    as_name: &OsStr,
    out: impl Write,
) -> Result<Summary, PackError> {
    let mut packer = Packer { owner: Some(owner), ..Packer::new(out) };
    packer.tree(dir, name, as_name)?;
    packer.finish()
}

/// Packs one file that is nowhere but in memory.
///
/// # Errors
/// [`PackError::Write`]
pub fn pack_bytes(
    contents: &[u8],
    mode: u32,
    owner: (u32, u32),
    as_name: &OsStr,
    out: impl Write,
) -> Result<Summary, PackError> {
    let mut packer = Packer::new(out);
    let size = contents.len() as u64;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(mode);
    header.set_uid(owner.0.into());
    header.set_gid(owner.1.into());
    header.set_mtime(0);
    header.set_size(size);
    packer.header(header, as_name.as_bytes(), b"")?;
    packer.out.write(contents)?;
    packer.out.pad(size)?;
    packer.summary.bytes += size;
    packer.finish()
}

struct Packer<W: Write> {
    out: Writer<W>,
    /// Files with several names that were packed, and under which.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    /// Whose everything is; none: whose it is.
    owner: Option<(u32, u32)>,
    summary: Summary,
    chunk: Box<[u8]>,
}

impl<W: Write> Packer<W> {
    fn new(out: W) -> Self {
        Self {
            out: Writer::new(out),
            links: BTreeMap::new(),
            owner: None,
            summary: Summary::default(),
            chunk: vec![0; CHUNK].into_boxed_slice(),
        }
    }

    fn finish(self) -> Result<Summary, PackError> {
        self.out.finish()?;
        Ok(self.summary)
    }

    fn tree(&mut self, dir: BorrowedFd<'_>, name: &OsStr, as_name: &OsStr) -> Result<(), PackError> {
        let path = as_name.as_bytes().to_vec();
        let name = CString::new(name.as_bytes())
            .map_err(|_| read("open", &path)(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let top = self.entry(dir, &name, path, None)?;
        walk::all(top, |level, name, path| self.entry(level.dir.as_fd(), name, path, Some(level.device)))
    }

    /// Packs one entry, of a directory on the device `above`, or the one that was named. A directory is given back, for
    /// its contents.
    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: Vec<u8>,
        above: Option<u64>,
    ) -> Result<Option<Level>, PackError> {
        let result = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| read("examine", &path)(error.into()))
            .and_then(|stat| match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.directory(dir, name, &path, above),
                FileType::RegularFile => self.file(dir, name, &path).map(|()| None),
                FileType::Symlink => self.symlink(dir, name, &path, &stat).map(|()| None),
                kind if above.is_none() => Err(PackError::Special(special(kind))),
                kind => {
                    self.summary.leave_out(kind, &path, &stat);
                    Ok(None)
                }
            });
        // What was named must be there.
        if above.is_some() { self.summary.unless_gone(result) } else { result }
    }

    fn directory(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        above: Option<u64>,
    ) -> Result<Option<Level>, PackError> {
        let (dir, stat, names) =
            walk::list(dir, name, above).map_err(|error| read("read the directory", path)(error.into()))?;
        let only_holds = |name| {
            let found = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW);
            found.is_ok_and(|stat| is_placeholder(FileType::from_raw_mode(stat.st_mode), &stat))
        };
        if stat.st_mtime == PLACEHOLDER && names.as_ref().is_some_and(|names| names.iter().all(only_holds)) {
            return Ok(None);
        }
        let prefix = [path, b"/"].concat();
        let header = header(EntryType::Directory, &stat, 0);
        self.header(header, &prefix, b"")?;
        if names.is_none() {
            self.summary.left_out.add("kernel file system", path);
        }
        Ok(names.map(|names| Level { dir, device: stat.st_dev, prefix, names }))
    }

    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8], stat: &Stat) -> Result<(), PackError> {
        let target =
            rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|error| read("read the link", path)(error.into()))?;
        if stat.st_mtime == PLACEHOLDER && target.as_bytes() == NOWHERE.as_bytes() {
            return Ok(());
        }
        self.header(header(EntryType::Symlink, stat, 0), path, target.as_bytes())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), PackError> {
        let (file, stat) = walk::open(dir, name, path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            self.summary.leave_out(kind, path, &stat);
            return Ok(());
        }
        if stat.st_mtime == PLACEHOLDER && stat.st_size == SAYS_NOTHING.len() as i64 {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key).cloned() {
                return self.header(header(EntryType::Link, &stat, 0), path, &first);
            }
            self.links.insert(key, path.to_vec());
        }
        self.contents(file.into(), &stat, path)
    }

    /// Packs a regular file. The size that it is said to have is not always true: files of /proc are said to be empty,
    /// those of /sys to be larger than they are. So the first chunk is read before the size is written.
    fn contents(&mut self, mut file: File, stat: &Stat, path: &[u8]) -> Result<(), PackError> {
        let failed = read("read", path);
        let begun = fill(&mut file, &mut self.chunk).map_err(&failed)?;
        let mut rest = Vec::new();
        let size = match u64::try_from(stat.st_size).unwrap_or(0) {
            _ if begun < self.chunk.len() => begun as u64,
            0 => {
                (&mut file).take(MAX_UNTOLD).read_to_end(&mut rest).map_err(&failed)?;
                if rest.len() as u64 == MAX_UNTOLD {
                    return Err(failed(Errno::FBIG.into()));
                }
                (begun + rest.len()) as u64
            }
            said => said,
        };
        self.header(header(EntryType::Regular, stat, size), path, b"")?;
        // It may have grown since its size was asked for.
        let begun = usize::try_from(size).unwrap_or(usize::MAX).min(begun);
        self.out.write(&self.chunk[..begun])?;
        self.out.write(&rest)?;
        self.out.copy(&mut file, size - (begun + rest.len()) as u64, &mut self.chunk, path)?;
        self.summary.bytes += size;
        self.out.pad(size)
    }

    /// Writes an entry's header, and before it the names that do not fit into one.
    fn header(&mut self, mut header: Header, path: &[u8], target: &[u8]) -> Result<(), PackError> {
        self.long(EntryType::GNULongName, path)?;
        self.long(EntryType::GNULongLink, target)?;
        if let Some((uid, gid)) = self.owner {
            header.set_uid(uid.into());
            header.set_gid(gid.into());
        }
        if let Some(header) = header.as_gnu_mut() {
            let (path, target) = (&path[..path.len().min(NAME)], &target[..target.len().min(NAME)]);
            header.name[..path.len()].copy_from_slice(path);
            header.linkname[..target.len()].copy_from_slice(target);
        }
        header.set_cksum();
        self.summary.entries += 1;
        self.out.write(header.as_bytes())
    }

    fn long(&mut self, kind: EntryType, name: &[u8]) -> Result<(), PackError> {
        if name.len() <= NAME {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let size = name.len() as u64 + 1;
        header.set_size(size);
        if let Some(header) = header.as_gnu_mut() {
            header.name[..13].copy_from_slice(b"././@LongLink");
        }
        header.set_cksum();
        self.out.write(header.as_bytes())?;
        self.out.write(name)?;
        self.out.write(&[0])?;
        self.out.pad(size)
    }
}

fn header(kind: EntryType, stat: &Stat, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    // A time before 1970 has no place in a header that every reader understands.
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(size);
    header
}

/// Whether it is a socket that only holds a place.
fn is_placeholder(kind: FileType, stat: &Stat) -> bool {
    kind == FileType::Socket && stat.st_mtime == PLACEHOLDER
}

impl Summary {
    /// Counts what an archive has no place for, but a socket that only holds a place, which nobody misses.
    pub(crate) fn leave_out(&mut self, kind: FileType, path: &[u8], stat: &Stat) {
        if !is_placeholder(kind, stat) {
            self.left_out.add(special(kind), path);
        }
    }

    /// What came of an entry; nothing of one that vanished meanwhile, which is counted.
    pub(crate) fn unless_gone(&mut self, packed: Result<Option<Level>, PackError>) -> Result<Option<Level>, PackError> {
        match packed {
            Err(error) if walk::is_gone(&error) => {
                self.vanished += 1;
                Ok(None)
            }
            packed => packed,
        }
    }
}

pub(crate) fn read(what: &'static str, path: &[u8]) -> impl Fn(io::Error) -> PackError {
    move |source| PackError::Read { what, entry: display(path), source }
}
