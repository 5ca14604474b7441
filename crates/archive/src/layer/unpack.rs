//! Hides how a layer from anyone becomes files below one directory and nowhere else, with all that the layer says about
//! them.

use super::{
    AUFS, MAX_ID, OPAQUE_MARK, WHITEOUT,
    sparse::{self, Sparse},
    times,
    tree::{Directory, Natural, Tree, finish, is_whiteout, split},
    xattr::{self, Xattrs},
};
use crate::{
    LeftOut, Reason, UnpackError,
    reader::{Entry, MAX_DEPTH, Reader, check_component, components, refused},
    unpack::write_all,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
};
use std::{io::Read, rc::Rc};
use tar::EntryType;

/// Who owns what is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// The users and groups that the layer says, by number, from 0 to 65535. This takes the capabilities `CHOWN`,
    /// `FOWNER`, `FSETID`, `SETFCAP`, and `DAC_OVERRIDE` where directories are given away before they are filled.
    #[default]
    Kept,
    /// The caller owns everything, whatever the layer says.
    Squashed,
}

/// Limits for a layer that is unpacked, and who owns what is in it.
#[derive(Clone, Copy, Debug)]
pub struct LayerOptions {
    /// Who owns what is unpacked.
    pub owners: Owners,
    /// Headers of any kind; and directories, also those that are implied only.
    pub max_entries: u64,
    /// Bytes of contents, names and headers' extensions. No file is larger, holes and all.
    pub max_bytes: u64,
    /// When directories that are implied only were changed last, in seconds since 1970.
    pub implied: i64,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self { owners: Owners::default(), max_entries: 5_000_000, max_bytes: 1 << 38, implied: 0 }
    }
}

/// What a layer was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerSummary {
    /// Files, directories, links and fifos.
    pub entries: u64,
    /// Names that the layer removes from those below, and directories of which it hides what is below.
    pub whiteouts: u64,
    /// Bytes of contents, without holes.
    pub bytes: u64,
    /// Nothing of the layers below is to be seen. Overlayfs does not obey this mark on the top of a layer: whoever
    /// mounts it leaves the layers below out.
    pub opaque: bool,
    /// Devices of /dev, extended attributes, and what aufs keeps for itself.
    pub left_out: LeftOut,
}

/// Unpacks a layer, an archive that is not compressed, into `dest`, an empty directory that nobody else may reach: it
/// may get programs with set-id bits.
///
/// Kept: owners ([`Owners`]), modes with set-id bits, modification times, symbolic links, hard links, fifos, extended
/// attributes of users and (with owners) capabilities, holes. What a layer removes becomes what overlayfs, mounted with
/// `userxattr`, understands: a character device 0:0, or the attribute `user.overlay.opaque`. As the specification says, this
/// concerns layers below only, wherever in the archive it stands. A later entry replaces an earlier one of the same name.
///
/// Absolute names are relative ones. Refused are `..`, names below a symbolic link or a file, hard links to what did not
/// come with the layer, devices but those below `dev/`, attributes of overlayfs, and what exceeds the limits. A directory
/// that is only implied has mode 0755, belongs to root and is of 1970, or what else the options say.
///
/// Nothing behind the end mark is looked at, but some of it may have been read. As other tools do, it takes a layer whose
/// end mark lacks: that it is whole, its digest tells.
///
/// # Errors
/// [`UnpackError`], naming the entry. What was unpacked before stays.
pub fn unpack(dest: BorrowedFd<'_>, options: &LayerOptions, input: impl Read) -> Result<LayerSummary, UnpackError> {
    let root = (options.owners == Owners::Kept).then_some((0, 0));
    let tree = Tree::new(dest, options.max_entries, root, options.implied).map_err(refused(b"the layer"))?;
    let mut unpacker = Unpacker {
        tree,
        reader: Reader::unmarked(input, options.max_entries, options.max_bytes),
        owners: options.owners,
        natural: None,
        summary: LayerSummary::default(),
        path: Vec::new(),
    };
    while let Some(mut entry) = unpacker.reader.next()? {
        // Of a file with holes, the header may have a name that is only for tars that do not know them.
        if let Some((_, name)) = entry.records.sparse.iter().rev().find(|(key, _)| key == b"name") {
            entry.path.clone_from(name);
        }
        unpacker.entry(&entry).map_err(refused(&entry.path))?;
    }
    unpacker.summary.opaque = unpacker.tree.settle()?;
    Ok(unpacker.summary)
}

struct Unpacker<R: Read> {
    tree: Tree,
    reader: Reader<R>,
    owners: Owners,
    /// What files are by themselves, once one was made.
    natural: Option<Natural>,
    summary: LayerSummary,
    /// The path of the entry at hand, as the tree wants it. Its memory serves for all.
    path: Vec<u8>,
}

impl<R: Read> Unpacker<R> {
    fn entry(&mut self, entry: &Entry) -> Result<(), Reason> {
        let mut path = std::mem::take(&mut self.path);
        let ours = normal(&entry.path, &mut path)?;
        let result = if ours { self.named(entry, &path) } else { self.leave_out("aufs file", &path, entry) };
        self.path = path;
        result
    }

    fn named(&mut self, entry: &Entry, path: &[u8]) -> Result<(), Reason> {
        let (parent, name) = split(path);
        if name == OPAQUE_MARK {
            self.tree.hide(parent)?;
            self.summary.whiteouts += 1;
            return self.reader.skip(entry.size()?);
        }
        if name.starts_with(AUFS) {
            return self.leave_out("aufs file", path, entry);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            self.whiteout(parent, hidden)?;
            self.summary.whiteouts += 1;
            return self.reader.skip(entry.size()?);
        }
        let kind = entry.kind();
        if matches!(kind, EntryType::Char | EntryType::Block) {
            if !path.starts_with(b"dev/") {
                return Err(Reason::Device);
            }
            return self.leave_out("device", path, entry);
        }
        if path.is_empty() && kind != EntryType::Directory {
            return Err(Reason::Name("it is the directory itself"));
        }
        let mut said = self.said(entry, path)?;
        let size = entry.size()?;
        match kind {
            EntryType::Directory => {
                self.tree.directory(path, said)?;
                self.reader.skip(size)?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(entry, path, size, &said)?;
            }
            EntryType::Symlink => {
                let target = entry.target().filter(|target| !target.is_empty());
                self.symlink(path, &target.ok_or(Reason::Malformed("no link target"))?, &said)?;
                self.reader.skip(size)?;
            }
            EntryType::Fifo => {
                // No file system has these for anything but files and directories.
                said.xattrs.drain(..).for_each(|_| self.summary.left_out.add(xattr::LEFT_OUT, path));
                self.fifo(path, &said)?;
                self.reader.skip(size)?;
            }
            EntryType::Link => {
                self.hard_link(path, &entry.target().ok_or(Reason::Malformed("no link target"))?)?;
                // Pax allows contents here; it is the same file's.
                self.reader.skip(size)?;
            }
            other => return Err(Reason::Unsupported(char::from(other.as_byte()))),
        }
        self.summary.entries += 1;
        Ok(())
    }

    fn leave_out(&mut self, kind: &'static str, path: &[u8], entry: &Entry) -> Result<(), Reason> {
        self.summary.left_out.add(kind, path);
        self.reader.skip(entry.size()?)
    }

    /// What an entry says that concerns every kind.
    fn said(&mut self, entry: &Entry, path: &[u8]) -> Result<Directory, Reason> {
        let kept = self.owners == Owners::Kept;
        let owner = if kept { Some(owner(entry)?) } else { None };
        let xattrs: Xattrs = match &entry.records.xattrs[..] {
            [] => vec![],
            _ => xattr::of(entry, path, kept, &mut self.summary.left_out)?,
        };
        Ok(Directory { mode: entry.mode()? & 0o7777, owner, mtime: entry.mtime()?, xattrs })
    }

    /// Makes something under a name that most likely is free, and frees the name if it is not.
    fn make<T>(
        &mut self,
        path: &[u8],
        what: &'static str,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<T>,
    ) -> Result<(Rc<OwnedFd>, T), Reason> {
        let (parent, name) = split(path);
        let parent = self.tree.open(parent)?;
        let made = match make(parent.as_fd(), name) {
            Err(Errno::EXIST) => {
                self.tree.clear(parent.as_fd(), path)?;
                make(parent.as_fd(), name)
            }
            result => result,
        };
        made.map(|made| (parent, made)).map_err(|error| Reason::Io(what, error.into()))
    }

    fn file(&mut self, entry: &Entry, path: &[u8], size: u64, said: &Directory) -> Result<(), Reason> {
        self.reader.count(size)?;
        let sparse = sparse::read(&mut self.reader, entry, size)?;
        // The first one shows what the others are by themselves, which spares them two calls each.
        let natural = self.natural;
        let mode = match (natural, &said.xattrs[..]) {
            (None, _) => 0o777,
            (Some(_), []) => said.mode & 0o777,
            // Not even its owner may give attributes to what he may not write.
            (Some(_), _) => said.mode & 0o777 | 0o200,
        };
        let (_, file) = self.make(path, "make the file", |parent, name| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(mode))
        })?;
        if natural.is_none() {
            self.natural = Some(Natural::of(&file)?);
        }
        match &sparse {
            Some(sparse) => self.pieces(&file, sparse)?,
            None => self.contents(&file, 0, size)?,
        }
        // The map of a sparse file stands in whole blocks.
        self.reader.pad(size)?;
        self.summary.bytes += sparse.map_or(size, |sparse| sparse.stored);
        finish(&file, said, natural.filter(|_| said.xattrs.is_empty()))
    }

    /// Writes contents from `at`, where the file stands. Many zeros become a hole: most builders have no other way to say that
    /// there was one.
    fn contents(&mut self, file: &OwnedFd, at: u64, size: u64) -> Result<(), Reason> {
        let mut hollow = Hollow { file, at, zeros: 0 };
        self.reader.copy(size, |bytes| hollow.write(bytes))?;
        hollow.end()
    }

    /// Writes the contents of a file with holes.
    fn pieces(&mut self, file: &OwnedFd, sparse: &Sparse) -> Result<(), Reason> {
        for &(at, length) in &sparse.pieces {
            rustix::fs::seek(file, rustix::fs::SeekFrom::Start(at))
                .map_err(|error| Reason::Io("write the file", error.into()))?;
            self.contents(file, at, length)?;
        }
        rustix::fs::ftruncate(file, sparse.size).map_err(|error| Reason::Io("set the size", error.into()))
    }

    fn symlink(&mut self, path: &[u8], target: &[u8], said: &Directory) -> Result<(), Reason> {
        for _ in &said.xattrs {
            self.summary.left_out.add(xattr::LEFT_OUT, path);
        }
        let name = split(path).1;
        let (parent, ()) =
            self.make(path, "make the link", |parent, name| rustix::fs::symlinkat(target, parent, name))?;
        if let Some((uid, gid)) = said.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| Reason::Io("give it to its owner", error.into()))?;
        }
        rustix::fs::utimensat(&parent, name, &times(said.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Reason::Io("set the time", error.into()))
    }

    fn fifo(&mut self, path: &[u8], said: &Directory) -> Result<(), Reason> {
        let name = split(path).1;
        let (parent, ()) = self.make(path, "make the fifo", |parent, name| {
            rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        })?;
        // Opened for its attributes only; so that it does not wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fifo = rustix::fs::openat(&parent, name, flags, Mode::empty())
            .map_err(|error| Reason::Io("open the fifo", error.into()))?;
        finish(&fifo, said, None)
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Reason> {
        let mut from = Vec::new();
        if !normal(target, &mut from)? {
            return Err(Reason::LinkTarget);
        }
        // To itself, or to something below: what it would point to must not be removed first.
        if from.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/') {
            return Err(Reason::LinkTarget);
        }
        let (dir, old) = split(&from);
        if old.is_empty() || old.starts_with(WHITEOUT) || !self.tree.contains(dir) {
            return Err(Reason::LinkTarget);
        }
        let dir = self.tree.open(dir)?;
        // All that is there came with the layer. What was removed is nothing that one could link to.
        match rustix::fs::statat(&*dir, old, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory && !is_whiteout(&stat) => {}
            Ok(_) | Err(Errno::NOENT) => return Err(Reason::LinkTarget),
            Err(error) => return Err(Reason::Io("examine what it links to", error.into())),
        }
        self.make(path, "make the hard link", |parent, name| {
            // No flag: of a symbolic link, the link itself is linked.
            rustix::fs::linkat(&*dir, old, parent, name, AtFlags::empty())
        })
        .map(drop)
    }

    /// Removes a name from layers below. What this layer has under it stays, and hides what is below if it is a directory.
    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<(), Reason> {
        let dir = self.tree.open(parent)?;
        match rustix::fs::mknodat(&*dir, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Err(Errno::EXIST) => {
                let path = if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() };
                if self.tree.contains(&path) { self.tree.hide(&path) } else { Ok(()) }
            }
            result => result.map_err(|error| Reason::Io("make the whiteout", error.into())),
        }
    }
}

/// Brings a path to names with one slash between them. Says whether there is nothing of aufs's on the way.
fn normal(path: &[u8], to: &mut Vec<u8>) -> Result<bool, Reason> {
    to.clear();
    if path.is_empty() {
        return Err(Reason::Name("it is empty"));
    }
    let (mut depth, mut ours) = (0, true);
    let mut parts = components(path).filter(|part| *part != b".").peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part.strip_prefix(WHITEOUT) {
            Some(_) if part.starts_with(AUFS) => ours &= last,
            Some(_) if !last => return Err(Reason::Name("it is below something that the layer removes")),
            // What is removed may have the longest name that there is.
            Some(hidden) => check_component(hidden)?,
            None => check_component(part)?,
        }
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(Reason::Name("it is too deep"));
        }
        if !to.is_empty() {
            to.push(b'/');
        }
        to.extend_from_slice(part);
    }
    Ok(ours)
}

fn owner(entry: &Entry) -> Result<(u32, u32), Reason> {
    let (uid, gid) = entry.owner()?;
    let fits = |id: u64| match u32::try_from(id) {
        Ok(fits) if id <= MAX_ID => Ok(fits),
        _ => Err(Reason::Owner(id)),
    };
    Ok((fits(uid)?, fits(gid)?))
}
/// A file that leaves out runs of zeros.
struct Hollow<'a> {
    file: &'a OwnedFd,
    /// Where what comes belongs.
    at: u64,
    /// How many zeros before that have not been written.
    zeros: u64,
}

/// What is looked at at once: holes are made of whole blocks.
const BLOCK: usize = 4096;
/// Shorter ones are written: a file in many pieces is read more slowly.
const HOLE: u64 = 64 * 1024;
static ZEROS: [u8; HOLE as usize] = [0; HOLE as usize];

impl Hollow<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        // What of it is to be written, from its begin on.
        let mut full = 0;
        while let Some(rest) = bytes.get(full..).filter(|rest| !rest.is_empty()) {
            let block = rest.len().min(BLOCK - (self.at % BLOCK as u64) as usize);
            self.at += block as u64;
            if rest[..block] != ZEROS[..block] {
                full += block;
                continue;
            }
            self.flush(&bytes[..full])?;
            self.zeros += block as u64;
            bytes = &rest[block..];
            full = 0;
        }
        self.flush(bytes)
    }

    /// Writes what is no run of zeros, behind the zeros that came before it.
    fn flush(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if bytes.is_empty() {
            return Ok(());
        }
        match std::mem::take(&mut self.zeros) {
            0 => {}
            run if run < HOLE => write_all(self.file, &ZEROS[..run as usize])?,
            run => drop(self.pass(run)?),
        }
        write_all(self.file, bytes)
    }

    /// Passes over zeros, and gives the place behind them.
    fn pass(&self, run: u64) -> Result<u64, Reason> {
        let run = i64::try_from(run).unwrap_or(i64::MAX);
        let to = rustix::fs::seek(self.file, rustix::fs::SeekFrom::Current(run));
        to.map_err(|error| Reason::Io("write the file", error.into()))
    }

    /// The file has its size also if it ends with zeros.
    fn end(self) -> Result<(), Reason> {
        match self.zeros {
            0 => Ok(()),
            run if run < HOLE => write_all(self.file, &ZEROS[..run as usize]),
            run => {
                let size = self.pass(run)?;
                rustix::fs::ftruncate(self.file, size).map_err(|error| Reason::Io("set the size", error.into()))
            }
        }
    }
}
