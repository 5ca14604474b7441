//! Hides how an overlay's upper directory, or a whole root, is written as a layer that every engine reads.

use super::{OPAQUE_MARK, WHITEOUT, tree::is_whiteout, xattr};
use crate::{
    CHUNK, Summary, display,
    pack::{PackError, read},
    pax,
    reader::Time,
    walk::{self, Level},
    writer::Writer,
};
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{AtFlags, FileType, SeekFrom, Stat},
    io::Errno,
};
use std::{collections::BTreeMap, ffi::CStr, fs::File, io::Write, ops::Range, os::fd::OwnedFd};
use tar::{EntryType, Header};

/// Whom a layer says its files belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PackOwners {
    /// Root, all of them: what is unpacked with [`super::Owners::Squashed`].
    #[default]
    Squashed,
    /// A sandbox's range of users and one of groups: the first is 0 in the layer, the next 1, and so on up to 65535.
    Range {
        /// Users.
        uids: Range<u32>,
        /// Groups.
        gids: Range<u32>,
    },
}

/// How a layer is packed.
#[derive(Clone, Debug, Default)]
pub struct PackLayerOptions {
    /// Whom the files belong to.
    pub owners: PackOwners,
    /// The latest time of modification, in seconds since 1970. What is later gets this one, so that a build gives the same
    /// bytes whenever it is done.
    pub latest: Option<i64>,
}

/// The longest field of a header.
const NAME: usize = 100;
/// The largest size and time that 11 octal digits tell.
const MAX_OCTAL: u64 = 0o77_777_777_777;
/// Readers take no more of pax records.
const MAX_RECORDS: usize = 1 << 20;
/// A file of more pieces is written without its holes.
const MAX_PIECES: usize = 1 << 18;
/// Holes of so many bytes are written as zeros, which every engine reads and nearly nothing remains of in a compressed
/// layer. Engines read maps of holes as well, but cannot give away what they have read: tar-split, by which they write a layer
/// anew, knows none.
const MAX_ZEROS: u64 = 1 << 30;

/// Packs what is in `upper` as a layer: what an overlay has put there, or a whole root.
///
/// Kept are all kinds of files but sockets and devices, hard links, modes with set-id bits, times with nanoseconds,
/// extended attributes of users and capabilities; holes as zeros, and as a map where they are a GiB. What overlayfs takes for the removal of a name, a character
/// device 0:0 or the attribute `user.overlay.opaque`, becomes a whiteout of the specification. Order is by the bytes of
/// names: the same tree gives the same bytes. The format is pax.
///
/// Left out and counted are sockets, devices, attributes of the system, and files that are named like a whiteout. What
/// vanishes meanwhile is counted too. Of a file system of the kernel's that is mounted below there is the directory only.
///
/// # Errors
/// [`PackError`], naming the entry.
pub fn pack(upper: BorrowedFd<'_>, options: &PackLayerOptions, output: impl Write) -> Result<Summary, PackError> {
    let mut packer = Packer {
        out: Writer::new(output),
        options,
        links: BTreeMap::new(),
        summary: Summary::default(),
        chunk: vec![0; CHUNK].into_boxed_slice(),
    };
    let top = packer.directory(upper, c".", b"", None)?;
    walk::all(top, |level, name, path| packer.entry(level, name, &path))?;
    packer.out.finish()?;
    Ok(packer.summary)
}

struct Packer<'a, W: Write> {
    out: Writer<W>,
    options: &'a PackLayerOptions,
    /// Files with several names that were packed, and under which.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    summary: Summary,
    chunk: Box<[u8]>,
}

impl<W: Write> Packer<'_, W> {
    /// Packs one entry. A directory is given back, for its contents.
    fn entry(&mut self, level: &Level, name: &CStr, path: &[u8]) -> Result<Option<Level>, PackError> {
        let dir = level.dir.as_fd();
        let result = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| read("examine", path)(error.into()))
            .and_then(|stat| {
                if is_whiteout(&stat) {
                    return self.mark(&level.prefix, &[WHITEOUT, name.to_bytes()].concat()).map(|()| None);
                }
                if name.to_bytes().starts_with(WHITEOUT) {
                    self.summary.left_out.add("would-be whiteout", path);
                    return Ok(None);
                }
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => self.directory(dir, name, path, Some(level.device)),
                    FileType::RegularFile => self.file(dir, name, path).map(|()| None),
                    FileType::Symlink => self.symlink(dir, name, path, &stat).map(|()| None),
                    FileType::Fifo => self.fifo(path, &stat).map(|()| None),
                    kind => {
                        self.summary.leave_out(kind, path, &stat);
                        Ok(None)
                    }
                }
            });
        self.summary.unless_gone(result)
    }

    /// Writes an empty file whose name alone says something.
    fn mark(&mut self, prefix: &[u8], name: &[u8]) -> Result<(), PackError> {
        let said = Said { kind: EntryType::Regular, mode: 0, owner: (0, 0), mtime: (0, 0), size: 0 };
        self.header(&said, &[prefix, name].concat(), b"", Vec::new())
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
        let (prefix, shown) = if path.is_empty() {
            (vec![], b"./".to_vec())
        } else {
            let prefix = [path, b"/"].concat();
            (prefix.clone(), prefix)
        };
        let said = self.said(EntryType::Directory, &stat, 0, path)?;
        let (records, opaque) = self.attributes(&dir, &stat, path)?;
        self.header(&said, &shown, b"", records)?;
        if opaque {
            self.mark(&prefix, OPAQUE_MARK)?;
        }
        if names.is_none() {
            self.summary.left_out.add("kernel file system", path);
        }
        Ok(names.map(|names| Level { dir, device: stat.st_dev, prefix, names }))
    }

    fn symlink(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8], stat: &Stat) -> Result<(), PackError> {
        if self.linked(path, stat)? {
            return Ok(());
        }
        let target =
            rustix::fs::readlinkat(dir, name, Vec::new()).map_err(|error| read("read the link", path)(error.into()))?;
        let said = self.said(EntryType::Symlink, stat, 0, path)?;
        self.header(&said, path, target.as_bytes(), Vec::new())
    }

    fn fifo(&mut self, path: &[u8], stat: &Stat) -> Result<(), PackError> {
        if self.linked(path, stat)? {
            return Ok(());
        }
        let said = self.said(EntryType::Fifo, stat, 0, path)?;
        self.header(&said, path, b"", Vec::new())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<(), PackError> {
        let (file, stat) = walk::open(dir, name, path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            self.summary.leave_out(kind, path, &stat);
            return Ok(());
        }
        if self.linked(path, &stat)? {
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let (records, _) = self.attributes(&file, &stat, path)?;
        let pieces = pieces(&file, size).map_err(|error| read("read", path)(error.into()))?;
        match pieces {
            Some(pieces) => self.sparse(file, &stat, path, size, &pieces, records)?,
            None => {
                let said = self.said(EntryType::Regular, &stat, size, path)?;
                self.header(&said, path, b"", records)?;
                self.out.copy(&mut File::from(file), size, &mut self.chunk, path)?;
                self.out.pad(size)?;
                self.summary.bytes += size;
            }
        }
        Ok(())
    }

    /// Packs a file with holes, as GNU's pax format 1.0 has it: where the pieces belong, a number a line, and then these.
    fn sparse(
        &mut self,
        file: OwnedFd,
        stat: &Stat,
        path: &[u8],
        size: u64,
        pieces: &[(u64, u64)],
        mut records: Vec<u8>,
    ) -> Result<(), PackError> {
        let mut map = format!("{}\n", pieces.len());
        for (at, length) in pieces {
            map += &format!("{at}\n{length}\n");
        }
        let whole = map.len().next_multiple_of(crate::BLOCK) as u64;
        let stored: u64 = pieces.iter().map(|(_, length)| length).sum();
        for (key, value) in [("major", "1"), ("minor", "0"), ("realsize", &*size.to_string())] {
            pax::write(format!("GNU.sparse.{key}").as_bytes(), value.as_bytes(), &mut records);
        }
        pax::write(b"GNU.sparse.name", path, &mut records);
        // A reader that knows nothing of holes shows by the name that this is not the file.
        let (parent, name) = super::tree::split(path);
        let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
        let shown = [parent, slash, b"GNUSparseFile.0/", name].concat();
        let said = self.said(EntryType::Regular, stat, whole + stored, path)?;
        self.header(&said, &shown, b"", records)?;
        self.out.write(map.as_bytes())?;
        self.out.pad(map.len() as u64)?;
        let mut file = File::from(file);
        for &(at, length) in pieces {
            rustix::fs::seek(&file, SeekFrom::Start(at)).map_err(|error| read("read", path)(error.into()))?;
            self.out.copy(&mut file, length, &mut self.chunk, path)?;
        }
        self.out.pad(stored)?;
        self.summary.bytes += stored;
        Ok(())
    }

    /// Packs another name of something that was packed already. Says whether it was.
    fn linked(&mut self, path: &[u8], stat: &Stat) -> Result<bool, PackError> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&key).cloned() else {
            self.links.insert(key, path.to_vec());
            return Ok(false);
        };
        let said = self.said(EntryType::Link, stat, 0, path)?;
        self.header(&said, path, &first, Vec::new()).map(|()| true)
    }

    fn said(&self, kind: EntryType, stat: &Stat, size: u64, path: &[u8]) -> Result<Said, PackError> {
        let owner = match &self.options.owners {
            PackOwners::Squashed => (0, 0),
            PackOwners::Range { uids, gids } => {
                let within = |range: &Range<u32>, id: u32| match id.checked_sub(range.start) {
                    Some(inner) if range.contains(&id) && u64::from(inner) <= super::MAX_ID => Ok(inner),
                    _ => Err(PackError::Owner { entry: display(path), id }),
                };
                (within(uids, stat.st_uid)?, within(gids, stat.st_gid)?)
            }
        };
        let mut mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
        if let Some(latest) = self.options.latest {
            mtime = mtime.min((latest, 0));
        }
        Ok(Said { kind, mode: stat.st_mode & 0o7777, owner, mtime, size })
    }

    /// The records of extended attributes, and whether the directory is opaque.
    fn attributes(&mut self, file: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<(Vec<u8>, bool), PackError> {
        let root = match &self.options.owners {
            PackOwners::Squashed => stat.st_uid,
            PackOwners::Range { uids, .. } => uids.start,
        };
        let found = xattr::from(file, root, &mut self.chunk).map_err(|error| read("examine", path)(error.into()))?;
        if found.elsewhere {
            return Err(PackError::Overlay(display(path)));
        }
        for _ in 0..found.left_out {
            self.summary.left_out.add(xattr::LEFT_OUT, path);
        }
        let mut records = Vec::new();
        for (name, value) in &found.xattrs {
            pax::write(&xattr::key(name), value, &mut records);
        }
        Ok((records, found.opaque))
    }

    /// Writes an entry's header, and before it the records that do not fit into one.
    fn header(&mut self, said: &Said, path: &[u8], target: &[u8], mut records: Vec<u8>) -> Result<(), PackError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(said.kind);
        header.set_mode(said.mode);
        header.set_uid(said.owner.0.into());
        header.set_gid(said.owner.1.into());
        header.set_size(said.size);
        if said.size > MAX_OCTAL {
            pax::write(b"size", said.size.to_string().as_bytes(), &mut records);
        }
        // No time before 1970 fits either.
        let (seconds, nanoseconds) = said.mtime;
        let fits = u64::try_from(seconds).ok().filter(|seconds| *seconds <= MAX_OCTAL);
        header.set_mtime(fits.unwrap_or(0));
        if fits.is_none() || nanoseconds > 0 {
            pax::write(b"mtime", pax::time_text(said.mtime).as_bytes(), &mut records);
        }
        let old = header.as_old_mut();
        for (field, value, key) in [(&mut old.name, path, &b"path"[..]), (&mut old.linkname, target, b"linkpath")] {
            let fits = value.len().min(NAME);
            field[..fits].copy_from_slice(&value[..fits]);
            if value.len() > NAME {
                pax::write(key, value, &mut records);
            }
        }
        if records.len() > MAX_RECORDS {
            return Err(read("describe", path)(Errno::TOOBIG.into()));
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            let mut before = Header::new_ustar();
            before.set_entry_type(EntryType::XHeader);
            before.set_mode(0o644);
            before.set_uid(0);
            before.set_gid(0);
            before.set_mtime(0);
            before.set_size(size);
            before.as_old_mut().name[..11].copy_from_slice(b"PaxHeader/x");
            before.set_cksum();
            self.out.write(before.as_bytes())?;
            self.out.write(&records)?;
            self.out.pad(size)?;
        }
        header.set_cksum();
        self.summary.entries += 1;
        self.out.write(header.as_bytes())
    }
}

/// What a header says but names.
struct Said {
    kind: EntryType,
    mode: u32,
    owner: (u32, u32),
    mtime: Time,
    /// Bytes in the archive.
    size: u64,
}

/// Where a file has contents, or `None` if it is to be written whole.
fn pieces(file: &OwnedFd, size: u64) -> rustix::io::Result<Option<Vec<(u64, u64)>>> {
    let (mut pieces, mut at) = (Vec::new(), 0);
    // Most have none. Their number of blocks would not tell: some may be there for attributes.
    if size == 0 || rustix::fs::seek(file, SeekFrom::Hole(0))? >= size {
        rustix::fs::seek(file, SeekFrom::Start(0))?;
        return Ok(None);
    }
    while at < size {
        let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            // No more.
            Err(Errno::NXIO) => break,
            begin => begin?,
        };
        if begin >= size {
            break; // it has grown
        }
        at = rustix::fs::seek(file, SeekFrom::Hole(begin))?.min(size);
        pieces.push((begin, at - begin));
        if pieces.len() > MAX_PIECES {
            pieces = vec![(0, size)];
            break;
        }
    }
    let stored: u64 = pieces.iter().map(|(_, length)| length).sum();
    if size - stored <= MAX_ZEROS {
        rustix::fs::seek(file, SeekFrom::Start(0))?;
        return Ok(None);
    }
    // Every reader learns the size from the last piece.
    if pieces.last().is_none_or(|(begin, length)| begin + length < size) {
        pieces.push((size, 0));
    }
    Ok(Some(pieces))
}
