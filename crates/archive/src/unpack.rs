//! Hides how an archive from anyone becomes files below one directory and nowhere else.

use crate::{BLOCK, CHUNK, Summary, display, fill, padding, special};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io::{self, BufReader, Read},
    os::unix::ffi::OsStrExt,
};
use tar::{EntryType, Header, PaxExtensions};

/// Limits for what is unpacked, and its owner.
#[derive(Clone, Copy, Debug)]
pub struct UnpackOptions {
    /// Headers of any kind.
    pub max_entries: u64,
    /// Bytes of contents, names and headers' extensions.
    pub max_bytes: u64,
    /// User and group id that everything gets; without, that of the caller.
    pub owner: Option<(u32, u32)>,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self { max_entries: 10_000_000, max_bytes: 1 << 40, owner: None }
    }
}

/// An archive was refused, or could not be unpacked. What was unpacked before stays.
#[derive(Debug, thiserror::Error)]
#[error("Cannot unpack {entry}")]
pub struct UnpackError {
    /// The name of the entry, or which one it is if it has none yet.
    pub entry: String,
    /// Why.
    #[source]
    pub reason: Reason,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The bytes ended before the end mark.
    #[error("The archive is cut off")]
    Truncated,
    /// The bytes could not be read.
    #[error("The archive cannot be read")]
    Input(#[source] io::Error),
    /// The bytes are none.
    #[error("It is not a tar archive")]
    NotTar,
    /// The bytes are an archive's only when another program has gone over them.
    #[error("It is compressed ({0})")]
    Compressed(&'static str),
    /// A header is not one.
    #[error("The archive is damaged ({0})")]
    Malformed(&'static str),
    /// The name leads out of the directory, or is none.
    #[error("The name is refused: {0}")]
    Name(&'static str),
    /// A kind of entry that other tars know.
    #[error("Entries of type {0:?} are not supported")]
    Unsupported(char),
    /// A hard link to something that did not come with the archive.
    #[error("A hard link must point to a file before it in the archive")]
    LinkTarget,
    /// More than one entry at the top, where one gets a new name.
    #[error("The archive has more than one entry at the top, so they cannot all get the given name")]
    ManyTops,
    /// Too many headers.
    #[error("The archive has more than {0} entries")]
    TooMany(u64),
    /// Too much data.
    #[error("The archive has more than {0} bytes")]
    TooLarge(u64),
    /// A directory is where a file should go.
    #[error("A directory is in the way")]
    Directory,
    /// Something is where a file should go that writing does not replace: a device, a fifo, a socket.
    #[error("A {0} is in the way")]
    Special(&'static str),
    /// Something else than a directory is on the way.
    #[error("A part of the path exists and is not a directory")]
    NotDirectory,
    /// The file system refused.
    #[error("Cannot {0}")]
    Io(&'static str, #[source] io::Error),
}

impl UnpackError {
    /// What its user can do; empty if nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        let Reason::Compressed(format) = self.reason else { return String::new() };
        let tool = COMPRESSED.iter().find(|(_, name, _)| *name == format).map_or("", |(_, _, tool)| tool);
        format!("Decompress it first, for example with `{tool} FILE | agentkernel cp - SANDBOX:DIR`")
    }
}

/// How compressed bytes begin, what the format is called, and what decompresses it.
const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
];

/// The longest name, and the longest set of pax records.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// The longest name of one file (`NAME_MAX`).
const MAX_COMPONENT: usize = 255;
/// The deepest tree.
const MAX_DEPTH: usize = 1024;

/// Unpacks an archive into `dest`. With `rename`, its only entry at the top gets that name.
///
/// Names are taken one by one beneath `dest`; `..`, absolute names and symbolic links on the way are refused. A file
/// or link replaces a file or link that is there, a whole file by a whole one; a directory joins an existing one; a
/// device, fifo or socket that is there stays, and is an error. Set-id bits are dropped, devices, fifos and sockets of
/// the archive left out and counted, hard links made to files of the same archive only. Modes (not reduced by the umask)
/// and modification times are kept.
///
/// # Errors
/// [`UnpackError`], naming the entry.
pub fn unpack(
    dest: BorrowedFd<'_>,
    rename: Option<&OsStr>,
    options: &UnpackOptions,
    input: impl Read,
) -> Result<Summary, UnpackError> {
    if let Some(name) = rename
        && let Err(reason) = check_component(name.as_bytes())
    {
        return Err(UnpackError { entry: display(name.as_bytes()), reason });
    }
    let mut unpacker = Unpacker {
        dest,
        rename: rename.map(OsStr::as_bytes),
        options,
        input: BufReader::with_capacity(CHUNK, input),
        summary: Summary::default(),
        headers: 0,
        bytes: 0,
        top: None,
        files: BTreeSet::new(),
        dirs: BTreeMap::new(),
        last: None,
        chunk: vec![0; CHUNK].into_boxed_slice(),
    };
    while unpacker.next()? {}
    unpacker.settle_directories()?;
    Ok(unpacker.summary)
}

/// A path below the destination, as checked names.
type Names = Vec<Vec<u8>>;

/// What extension headers say about the entry that follows.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<i64>,
}

/// Mode and time of a directory, set when nothing more goes into it.
struct DirAttributes {
    mode: u32,
    mtime: i64,
    /// It was there before, and may be somebody else's.
    joined: bool,
}

struct Unpacker<'a, R: Read> {
    dest: BorrowedFd<'a>,
    rename: Option<&'a [u8]>,
    options: &'a UnpackOptions,
    input: BufReader<R>,
    summary: Summary,
    headers: u64,
    bytes: u64,
    /// The first name of every entry, where it is renamed.
    top: Option<Vec<u8>>,
    /// Files that this archive has made: what hard links may point to.
    files: BTreeSet<Names>,
    /// Directories that it has made or joined.
    dirs: BTreeMap<Names, DirAttributes>,
    /// The last directory that something went into: the next entry most likely goes there too.
    last: Option<(Names, OwnedFd)>,
    chunk: Box<[u8]>,
}

impl<R: Read> Unpacker<'_, R> {
    /// Unpacks one entry. `false` at the end.
    fn next(&mut self) -> Result<bool, UnpackError> {
        let mut extensions = Extensions::default();
        loop {
            let number = self.headers + 1;
            let unnamed = |reason| match reason {
                Reason::NotTar | Reason::Compressed(_) => UnpackError { entry: "the archive".into(), reason },
                _ => UnpackError { entry: format!("entry {number}"), reason },
            };
            let Some(header) = self.header().map_err(unnamed)? else {
                return Ok(false);
            };
            let kind = header.entry_type();
            if self.extension(kind, &header, &mut extensions).map_err(unnamed)? {
                continue;
            }
            let path = extensions.path.take().unwrap_or_else(|| header.path_bytes().into_owned());
            return match self.entry(kind, &header, &path, extensions) {
                Ok(()) => Ok(true),
                Err(reason) => Err(UnpackError { entry: display(&path), reason }),
            };
        }
    }

    /// The next header, or `None` at the end mark.
    fn header(&mut self) -> Result<Option<Header>, Reason> {
        let mut header = Header::new_old();
        let count = self.read(header.as_mut_bytes())?;
        let bytes = header.as_bytes();
        if count < BLOCK {
            // Not even one header: it never was an archive.
            return Err(if self.headers == 0 && count > 0 { no_archive(&bytes[..count]) } else { Reason::Truncated });
        }
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        self.headers += 1;
        if self.headers > self.options.max_entries {
            return Err(Reason::TooMany(self.options.max_entries));
        }
        // Bytes 148 to 155 are the checksum itself, and count as spaces.
        let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let expected = sum(&bytes[..148]) + 8 * u32::from(b' ') + sum(&bytes[156..]);
        if header.cksum().ok() != Some(expected) {
            return Err(if self.headers == 1 { no_archive(bytes) } else { Reason::Malformed("checksum") });
        }
        Ok(Some(header))
    }

    /// Takes a header that only says something about the next one.
    fn extension(&mut self, kind: EntryType, header: &Header, found: &mut Extensions) -> Result<bool, Reason> {
        let size = header.entry_size().map_err(|_| Reason::Malformed("size"));
        match kind {
            EntryType::GNULongName => found.path = Some(until_nul(self.take(size?)?)),
            EntryType::GNULongLink => found.target = Some(until_nul(self.take(size?)?)),
            EntryType::XHeader => {
                let records = self.take(size?)?;
                for record in PaxExtensions::new(&records) {
                    let record = record.map_err(|_| Reason::Malformed("pax header"))?;
                    let value = record.value_bytes();
                    let text = str::from_utf8(value).ok();
                    match record.key_bytes() {
                        b"path" => found.path = Some(value.to_vec()),
                        b"linkpath" => found.target = Some(value.to_vec()),
                        b"size" => {
                            let size = text.and_then(|text| text.parse().ok()).ok_or(Reason::Malformed("pax size"))?;
                            found.size = Some(size);
                        }
                        b"mtime" => {
                            // Seconds, with a fraction that is not kept.
                            let whole = text.and_then(|text| text.split('.').next()?.parse().ok());
                            found.mtime = Some(whole.ok_or(Reason::Malformed("pax mtime"))?);
                        }
                        key if key.starts_with(b"GNU.sparse") => return Err(Reason::Unsupported('S')),
                        _ => {}
                    }
                }
            }
            // For all entries that follow: comments and times, nothing that must be obeyed.
            EntryType::XGlobalHeader => drop(self.take(size?)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn entry(&mut self, kind: EntryType, header: &Header, path: &[u8], found: Extensions) -> Result<(), Reason> {
        let mut names = self.names(path)?;
        let mode = header.mode().map_err(|_| Reason::Malformed("mode"))?;
        let mtime = match found.mtime {
            Some(mtime) => mtime,
            None => {
                header.mtime().ok().and_then(|mtime| i64::try_from(mtime).ok()).ok_or(Reason::Malformed("mtime"))?
            }
        };
        let size = match found.size {
            Some(size) => size,
            None => header.entry_size().map_err(|_| Reason::Malformed("size"))?,
        };
        let target = || found.target.clone().or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        // Old tars mark a directory by a slash at the end of its name.
        let kind = if kind.is_file() && path.ends_with(b"/") { EntryType::Directory } else { kind };
        match kind {
            EntryType::Directory => {
                let made = self.directory(&names)?;
                let joined = !made && self.dirs.get(&names).is_none_or(|dir| dir.joined);
                self.dirs.insert(names, DirAttributes { mode: mode & 0o1777, mtime, joined });
                self.skip(size)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                let name = names.pop().ok_or(Reason::Name("it is the directory itself"))?;
                self.file(names, name, size, mode & 0o777, mtime)?;
            }
            EntryType::Symlink => {
                let name = names.pop().ok_or(Reason::Name("it is the directory itself"))?;
                let target = target().filter(|target| !target.is_empty()).ok_or(Reason::Malformed("no link target"))?;
                self.symlink(names, name, &target, mtime)?;
                self.skip(size)?;
            }
            EntryType::Link => {
                let name = names.pop().ok_or(Reason::Name("it is the directory itself"))?;
                let target = target().ok_or(Reason::Malformed("no link target"))?;
                self.hard_link(names, name, &target)?;
                // Pax allows contents here; it is the same file's.
                self.skip(size)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.summary.left_out.add(if kind == EntryType::Fifo { "fifo" } else { "device" }, path);
                return self.skip(size);
            }
            EntryType::GNUSparse => return Err(Reason::Unsupported('S')),
            other => return Err(Reason::Unsupported(char::from(other.as_byte()))),
        }
        self.summary.entries += 1;
        Ok(())
    }

    /// Checks an entry's name and cuts it into names; with a new one for the first, where it is renamed.
    fn names(&mut self, path: &[u8]) -> Result<Names, Reason> {
        if path.first() == Some(&b'/') {
            return Err(Reason::Name("it is absolute"));
        }
        let mut parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).peekable();
        let mut names = Names::new();
        if let Some(rename) = self.rename {
            let top = parts.next().ok_or(Reason::Name("it is empty"))?;
            match &self.top {
                Some(first) if first != top => return Err(Reason::ManyTops),
                Some(_) => {}
                None => self.top = Some(top.to_vec()),
            }
            if top != b"." {
                check_component(top)?;
            }
            names.push(rename.to_vec());
        } else if parts.peek().is_none() {
            return Err(Reason::Name("it is empty"));
        }
        for part in parts.filter(|&part| part != b".") {
            check_component(part)?;
            names.push(part.to_vec());
        }
        if names.len() > MAX_DEPTH {
            return Err(Reason::Name("it is too deep"));
        }
        Ok(names)
    }

    /// Opens a directory below the destination, made where it is missing, without following a link.
    fn open_dir(&mut self, names: &[Vec<u8>], make: bool) -> Result<OwnedFd, Reason> {
        if let Some((last, dir)) = &self.last
            && last == names
        {
            return dir.try_clone().map_err(|error| Reason::Io("open the directory", error));
        }
        let open = |dir: BorrowedFd<'_>, name: &[u8]| {
            jail::fd::open_beneath(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        };
        let mut dir = open(self.dest, b".").map_err(|error| Reason::Io("open the destination", error))?;
        for name in names {
            let next = match open(dir.as_fd(), name) {
                Err(error) if make && error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&dir, name.as_slice(), Mode::from_raw_mode(0o755)) {
                        Ok(()) => self.chown(dir.as_fd(), name)?,
                        // Somebody else made it.
                        Err(Errno::EXIST) => {}
                        Err(error) => return Err(Reason::Io("make the directory", error.into())),
                    }
                    open(dir.as_fd(), name)
                }
                result => result,
            };
            dir = next.map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Reason::NotDirectory,
                _ => Reason::Io("open the directory", error),
            })?;
        }
        let keep = dir.try_clone().map_err(|error| Reason::Io("open the directory", error))?;
        self.last = Some((names.to_vec(), keep));
        Ok(dir)
    }

    /// Makes a directory, or joins one that is there: says which.
    fn directory(&mut self, names: &[Vec<u8>]) -> Result<bool, Reason> {
        let Some((name, parents)) = names.split_last() else {
            return Ok(false); // the destination itself
        };
        let parent = self.open_dir(parents, true)?;
        // The owner may always enter and write until everything is in it.
        for _ in 0..2 {
            match rustix::fs::mkdirat(&parent, name.as_slice(), Mode::from_raw_mode(0o700)) {
                Ok(()) => return self.chown(parent.as_fd(), name).map(|()| true),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Reason::Io("make the directory", error.into())),
            }
            let stat = rustix::fs::statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Reason::Io("examine what is there", error.into()))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Ok(false),
                // Somebody's file is not thrown away for a directory.
                FileType::RegularFile => return Err(Reason::NotDirectory),
                _ => self.remove(parent.as_fd(), names)?,
            }
        }
        Err(Reason::Io("make the directory", Errno::EXIST.into()))
    }

    fn file(&mut self, mut names: Names, name: Vec<u8>, size: u64, mode: u32, mtime: i64) -> Result<(), Reason> {
        self.count(size)?;
        let parent = self.open_dir(&names, true)?;
        names.push(name);
        let name = names.last().map(Vec::as_slice).unwrap_or_default();
        let create = |name: &[u8]| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))
        };
        let failed = |error: Errno| Reason::Io("make the file", error.into());
        match create(name) {
            Ok(file) => self.write(&file, size, mode, mtime)?,
            Err(Errno::EXIST) => {
                replaceable(parent.as_fd(), name)?;
                // Beside it, so that there is the old or the new one whole, whatever goes wrong.
                let (file, beside) = make_beside(create).map_err(failed)?;
                let written = self.write(&file, size, mode, mtime).and_then(|()| {
                    rustix::fs::renameat(&parent, &*beside, &parent, name)
                        .map_err(|error| Reason::Io("replace what is there", error.into()))
                });
                if written.is_err() {
                    let _ = rustix::fs::unlinkat(&parent, &*beside, AtFlags::empty());
                }
                written?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.files.insert(names);
        self.summary.bytes += size;
        Ok(())
    }

    /// Fills a file that was made, and gives it what else the entry says.
    fn write(&mut self, file: &OwnedFd, size: u64, mode: u32, mtime: i64) -> Result<(), Reason> {
        self.contents(file, size)?;
        if let Some((uid, gid)) = self.options.owner {
            rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(|error| Reason::Io("give the file to its owner", error.into()))?;
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
            .map_err(|error| Reason::Io("set the mode", error.into()))?;
        rustix::fs::futimens(file, &times(mtime)).map_err(|error| Reason::Io("set the time", error.into()))
    }

    fn contents(&mut self, file: &OwnedFd, size: u64) -> Result<(), Reason> {
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
            let mut chunk = std::mem::take(&mut self.chunk);
            let filled = self.fill(&mut chunk[..room]);
            self.chunk = chunk;
            filled?;
            let mut bytes = &self.chunk[..room];
            while !bytes.is_empty() {
                match rustix::io::write(file, bytes) {
                    Ok(count) => bytes = &bytes[count..],
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(Reason::Io("write the file", error.into())),
                }
            }
            left -= room as u64;
        }
        self.discard(padding(size) as u64)
    }

    fn symlink(&mut self, mut names: Names, name: Vec<u8>, target: &[u8], mtime: i64) -> Result<(), Reason> {
        let parent = self.open_dir(&names, true)?;
        names.push(name);
        let name = names.last().map(Vec::as_slice).unwrap_or_default();
        self.replacing(parent.as_fd(), &names, "make the link", || rustix::fs::symlinkat(target, &parent, name))?;
        self.chown(parent.as_fd(), name)?;
        rustix::fs::utimensat(&parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Reason::Io("set the time", error.into()))
    }

    fn hard_link(&mut self, mut names: Names, name: Vec<u8>, target: &[u8]) -> Result<(), Reason> {
        let target = self.names(target)?;
        names.push(name);
        if !self.files.contains(&target) || names == target {
            return Err(Reason::LinkTarget);
        }
        let (Some((old, from)), Some((new, to))) = (target.split_last(), names.split_last()) else {
            return Err(Reason::LinkTarget);
        };
        let from = self.open_dir(from, false)?;
        let parent = self.open_dir(to, true)?;
        // No flag: if somebody has put a symbolic link there meanwhile, the link itself is linked.
        self.replacing(parent.as_fd(), &names, "make the hard link", || {
            rustix::fs::linkat(&from, old.as_slice(), &parent, new.as_slice(), AtFlags::empty())
        })?;
        self.files.insert(names);
        Ok(())
    }

    /// Makes something under a name that must be free, and frees the name if it is not.
    fn replacing<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        names: &[Vec<u8>],
        what: &'static str,
        mut make: impl FnMut() -> rustix::io::Result<T>,
    ) -> Result<T, Reason> {
        match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, names)?;
                make()
            }
            result => result,
        }
        .map_err(|error| Reason::Io(what, error.into()))
    }

    /// Removes a file or link that is in the way. `names` is its whole path, of which the last is in `parent`.
    fn remove(&mut self, parent: BorrowedFd<'_>, names: &[Vec<u8>]) -> Result<(), Reason> {
        let name = names.last().map(Vec::as_slice).unwrap_or_default();
        replaceable(parent, name)?;
        self.files.remove(names);
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Err(Reason::Directory),
            Err(error) => Err(Reason::Io("replace what is there", error.into())),
        }
    }

    fn chown(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Reason> {
        let Some((uid, gid)) = self.options.owner else { return Ok(()) };
        rustix::fs::chownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Reason::Io("give it to its owner", error.into()))
    }

    /// Gives directories their modes and times, the deepest first: one that may not be entered comes after what is
    /// in it, and making something in one changes its time.
    fn settle_directories(&mut self) -> Result<(), UnpackError> {
        for (names, attributes) in std::mem::take(&mut self.dirs).into_iter().rev() {
            if names.is_empty() {
                continue; // the destination itself is the caller's
            }
            match self.settle(&names, &attributes) {
                // A later entry has put something else there.
                Ok(()) | Err(Reason::NotDirectory) => {}
                Err(Reason::Io(_, error)) if attributes.joined && error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(reason) => return Err(UnpackError { entry: display(&names.join(&b'/')), reason }),
            }
        }
        Ok(())
    }

    fn settle(&mut self, names: &[Vec<u8>], attributes: &DirAttributes) -> Result<(), Reason> {
        let dir = self.open_dir(names, false)?;
        // Opened once more, since a descriptor that only names it allows nothing else.
        let dir = jail::fd::open_beneath(&dir, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .map_err(|error| Reason::Io("open the directory", error))?;
        rustix::fs::futimens(&dir, &times(attributes.mtime))
            .map_err(|error| Reason::Io("set the time", error.into()))?;
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(attributes.mode))
            .map_err(|error| Reason::Io("set the mode", error.into()))
    }

    /// Counts bytes against the limit, before any of them is taken.
    fn count(&mut self, size: u64) -> Result<(), Reason> {
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.options.max_bytes {
            return Err(Reason::TooLarge(self.options.max_bytes));
        }
        Ok(())
    }

    /// The contents of an extension header.
    fn take(&mut self, size: u64) -> Result<Vec<u8>, Reason> {
        if size > MAX_EXTENSION {
            return Err(Reason::Malformed("a name or header extension is too long"));
        }
        self.count(size)?;
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        self.discard(padding(size) as u64)?;
        Ok(bytes)
    }

    /// Passes over contents that nobody wants.
    fn skip(&mut self, size: u64) -> Result<(), Reason> {
        self.count(size)?;
        self.discard(size)?;
        self.discard(padding(size) as u64)
    }

    fn discard(&mut self, size: u64) -> Result<(), Reason> {
        match io::copy(&mut (&mut self.input).take(size), &mut io::sink()) {
            Ok(count) if count == size => Ok(()),
            Ok(_) => Err(Reason::Truncated),
            Err(error) => Err(Reason::Input(error)),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        if self.read(bytes)? < bytes.len() { Err(Reason::Truncated) } else { Ok(()) }
    }

    /// Reads until the bytes are full or the archive has ended. Says how many came.
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Reason> {
        fill(&mut self.input, bytes).map_err(Reason::Input)
    }
}

/// What bytes are that do not begin as an archive does.
fn no_archive(bytes: &[u8]) -> Reason {
    match COMPRESSED.iter().find(|(beginning, ..)| bytes.starts_with(beginning)) {
        Some((_, format, _)) => Reason::Compressed(format),
        None => Reason::NotTar,
    }
}

/// Refuses what must not give way to a file or link. A symbolic link is one itself, whatever it leads to.
fn replaceable(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Reason> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat.map_err(|error| Reason::Io("examine what is there", error.into()))?,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Reason::Directory),
        FileType::RegularFile | FileType::Symlink => Ok(()),
        kind => Err(Reason::Special(special(kind))),
    }
}

/// Makes a file under a name that nobody has.
fn make_beside(create: impl Fn(&[u8]) -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<(OwnedFd, Vec<u8>)> {
    /// Each taken name is one that somebody was killed over.
    const TRIES: u32 = 1000;
    let mut number = 0;
    loop {
        let name = format!(".agentkernel-{number}").into_bytes();
        match create(&name) {
            Err(Errno::EXIST) if number < TRIES => number += 1,
            made => return made.map(|file| (file, name)),
        }
    }
}

fn check_component(name: &[u8]) -> Result<(), Reason> {
    match name {
        b"" => Err(Reason::Name("it is empty")),
        b"." | b".." => Err(Reason::Name("it leads out of the directory")),
        _ if name.contains(&0) => Err(Reason::Name("it has a NUL byte")),
        _ if name.contains(&b'/') => Err(Reason::Name("it has a slash")),
        _ if name.len() > MAX_COMPONENT => Err(Reason::Name("it is too long")),
        _ => Ok(()),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 },
    }
}
