//! Hides how an archive from anyone becomes files below one directory and nowhere else.

use crate::{
    Summary, display,
    reader::{Entry, MAX_DEPTH, Reader, check_component, components, refused},
    special,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
};
use tar::EntryType;

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
    /// A layer goes into an empty directory.
    #[error("The directory is not empty")]
    NotEmpty,
    /// A layer brings a device, and not below /dev, which a sandbox has of its own.
    #[error("Devices are not allowed outside of dev/")]
    Device,
    /// A layer brings something that is of nobody in a sandbox.
    #[error("Its owner {0} is above 65535")]
    Owner(u64),
    /// A layer brings an attribute that the overlay would obey.
    #[error("The extended attribute {0} is refused")]
    Attribute(String),
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
pub(crate) const COMPRESSED: [(&[u8], &str, &str); 4] = [
    (b"\x1f\x8b", "gzip", "zcat"),
    (b"BZh", "bzip2", "bzcat"),
    (b"\xfd7zXZ\0", "xz", "xzcat"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstdcat"),
];

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
        reader: Reader::new(input, options.max_entries, options.max_bytes),
        summary: Summary::default(),
        top: None,
        files: BTreeSet::new(),
        dirs: BTreeMap::new(),
        last: None,
    };
    while let Some(entry) = unpacker.reader.next()? {
        unpacker.entry(&entry).map_err(refused(&entry.path))?;
    }
    unpacker.settle_directories()?;
    Ok(unpacker.summary)
}

/// The contents of the first entry, if that is a regular file of at most `limit` bytes; `None` if it is something else.
///
/// # Errors
/// [`UnpackError`]
pub fn only_file(input: impl Read, limit: usize) -> Result<Option<Vec<u8>>, UnpackError> {
    let mut reader = Reader::new(input, 1, limit as u64);
    let Some(entry) = reader.next()? else { return Ok(None) };
    if entry.kind() != EntryType::Regular || !entry.records.sparse.is_empty() {
        return Ok(None);
    }
    let mut contents = Vec::new();
    let taken = entry.size().and_then(|size| {
        reader.count(size)?;
        reader.copy(size, |bytes| {
            contents.extend_from_slice(bytes);
            Ok(())
        })
    });
    taken.map_err(refused(&entry.path))?;
    Ok(Some(contents))
}

/// A path below the destination, as checked names.
type Names = Vec<Vec<u8>>;

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
    reader: Reader<R>,
    summary: Summary,
    /// The first name of every entry, where it is renamed.
    top: Option<Vec<u8>>,
    /// Files that this archive has made: what hard links may point to.
    files: BTreeSet<Names>,
    /// Directories that it has made or joined.
    dirs: BTreeMap<Names, DirAttributes>,
    /// The last directory that something went into: the next entry most likely goes there too.
    last: Option<(Names, OwnedFd)>,
}

impl<R: Read> Unpacker<'_, R> {
    fn entry(&mut self, entry: &Entry) -> Result<(), Reason> {
        if !entry.records.sparse.is_empty() {
            return Err(Reason::Unsupported('S'));
        }
        let mut names = self.names(&entry.path)?;
        let mode = entry.mode()?;
        let mtime = entry.mtime()?.0;
        let size = entry.size()?;
        let kind = entry.kind();
        match kind {
            EntryType::Directory => {
                let made = self.directory(&names)?;
                let joined = !made && self.dirs.get(&names).is_none_or(|dir| dir.joined);
                self.dirs.insert(names, DirAttributes { mode: mode & 0o1777, mtime, joined });
                self.reader.skip(size)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                let name = names.pop().ok_or(Reason::Name("it is the directory itself"))?;
                self.file(names, name, size, mode & 0o777, mtime)?;
            }
            EntryType::Symlink => {
                let name = names.pop().ok_or(Reason::Name("it is the directory itself"))?;
                let target =
                    entry.target().filter(|target| !target.is_empty()).ok_or(Reason::Malformed("no link target"))?;
                self.symlink(names, name, &target, mtime)?;
                self.reader.skip(size)?;
            }
            EntryType::Link => {
                let name = names.pop().ok_or(Reason::Name("it is the directory itself"))?;
                let target = entry.target().ok_or(Reason::Malformed("no link target"))?;
                self.hard_link(names, name, &target)?;
                // Pax allows contents here; it is the same file's.
                self.reader.skip(size)?;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                self.summary.left_out.add(if kind == EntryType::Fifo { "fifo" } else { "device" }, &entry.path);
                return self.reader.skip(size);
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
        let mut parts = components(path).peekable();
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
        self.reader.count(size)?;
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
        self.reader.copy(size, |bytes| write_all(file, bytes))?;
        self.reader.pad(size)
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
}

/// Writes to a file where it stands.
pub(crate) fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Reason> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(Reason::Io("write the file", error.into())),
        }
    }
    Ok(())
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

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 },
    }
}
