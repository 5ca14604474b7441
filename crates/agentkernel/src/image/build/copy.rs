//! Hides how files come from the context, or from an image, into a tree that becomes a layer. Nothing is executed for it.

use super::{
    super::{
        error::room,
        view::{Found, View, join},
    },
    added::IMPLIED,
};
use archive::LeftOut;
use dockerfile::{Ignore, Pattern, clean};
use oci::{Algorithm, Digest, Hasher};
use rustix::{
    fd::OwnedFd,
    fs::{self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid, XattrFlags},
    io::{self, Errno},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write as _,
    os::unix::fs::FileExt as _,
};

/// The deepest that directories may lie in each other.
const DEEPEST: usize = 1000;

/// Contents pass in pieces of so many bytes.
const PIECE: u64 = 1 << 20;

/// What could not be copied, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CopyFailure {
    /// In one line.
    pub cause: String,
    /// What can be done; empty if nothing is known.
    pub hint: String,
}

impl CopyFailure {
    pub fn new(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), hint: String::new() }
    }
}

fn failed(action: &str, path: &[u8]) -> impl FnOnce(Errno) -> CopyFailure {
    let text = format!("Can't {action} {}", shown(path));
    move |errno| CopyFailure { cause: format!("{text}: {errno}"), hint: room(&errno.into()).to_owned() }
}

/// A path as an error has it.
pub(super) fn shown(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).escape_debug().to_string() }
}

/// Where files come from.
pub(super) struct Origin<'a> {
    pub view: &'a View,
    /// What of it does not belong to it.
    pub ignore: Option<&'a Ignore>,
    /// Whether its owners are those of the files; else they are root's.
    pub owned: bool,
    /// Directories that belong to no context, by device and inode: where layers are made, and what that lies in.
    pub except: Vec<(u64, u64)>,
}

impl<'a> Origin<'a> {
    /// An image's files, or an archive's.
    pub fn image(view: &'a View) -> Self {
        Self { view, ignore: None, owned: true, except: Vec::new() }
    }

    /// Those of a context.
    pub fn context(view: &'a View, ignore: &'a Ignore, except: Vec<(u64, u64)>) -> Self {
        Self { view, ignore: Some(ignore), owned: false, except }
    }
}

/// Whether no layer has a place for it.
fn is_special(kind: FileType) -> bool {
    !matches!(kind, FileType::Directory | FileType::RegularFile | FileType::Symlink | FileType::Fifo)
}

/// How they change on their way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    pub owner: Option<(u32, u32)>,
    pub mode: Option<u32>,
}

impl Origin<'_> {
    fn leaves_out(&self, path: &[u8]) -> bool {
        // Patterns are text; so is what they fit.
        self.ignore.is_some_and(|ignore| !path.is_empty() && ignore.leaves_out(&String::from_utf8_lossy(path)))
    }

    /// What a pattern fits, which may be nothing: real paths, in their order. Where it is none, what it names must be there.
    pub fn find(&self, pattern: &str) -> Result<Vec<Vec<u8>>, CopyFailure> {
        let parts = Pattern::new(&clean(pattern), false).map_err(CopyFailure::new)?;
        let is_pattern = (0..parts.len()).any(|index| parts.plain(index).is_none());
        // What a pattern fits may be no directory; then there is nothing below it.
        let resolve = |path: &Vec<u8>| match self.view.resolve(path, true) {
            Err(Errno::NOTDIR) if is_pattern => Ok((path.clone(), None)),
            resolved => resolved.map_err(failed("read", path)),
        };
        let mut found = vec![Vec::new()];
        for index in 0..parts.len() {
            let mut next = Vec::new();
            for path in found {
                match parts.plain(index) {
                    Some(name) => next.push(join(&path, name.as_bytes())),
                    None => {
                        let (real, there) = resolve(&path)?;
                        let Some(there) = there.filter(Found::is_dir) else { continue };
                        let names = self.view.list(&real, &there).map_err(failed("read", &real))?;
                        let fits = |name: &Vec<u8>| parts.fits_part(index, &String::from_utf8_lossy(name));
                        next.extend(names.into_iter().filter(fits).map(|name| join(&path, &name)));
                    }
                }
            }
            found = next;
        }
        let mut real = Vec::new();
        for path in found {
            let (resolved, there) = resolve(&path)?;
            let out = self.leaves_out(&resolved) && !self.has_brought_back(&resolved, there.as_ref())?;
            let special = there.as_ref().map(Found::kind).filter(|kind| is_special(*kind));
            match there {
                Some(_) if !out => match special {
                    None => real.push(path),
                    Some(_) if is_pattern => {}
                    Some(kind) => {
                        let cause =
                            format!("{} is a {}, for which no layer has a place", shown(&path), archive::special(kind));
                        return Err(CopyFailure::new(cause));
                    }
                },
                Some(_) if !is_pattern => {
                    let hint = "`.dockerignore` leaves it out: an exception '!PATTERN' brings it back";
                    let cause = format!("There is no {} in the context", shown(&path));
                    return Err(CopyFailure { cause, hint: hint.into() });
                }
                None if !is_pattern => return Err(CopyFailure::new(format!("There is no {}", shown(&path)))),
                _ => {}
            }
        }
        Ok(real)
    }

    /// Whether something below a directory that is left out belongs to the context all the same.
    fn has_brought_back(&self, path: &[u8], found: Option<&Found>) -> Result<bool, CopyFailure> {
        let Some(found) = found.filter(|found| found.is_dir()) else { return Ok(false) };
        if !self.ignore.is_some_and(Ignore::brings_back) {
            return Ok(false);
        }
        for name in self.view.list(path, found).map_err(failed("read", path))? {
            let inner = join(path, &name);
            let there = self.view.look(&inner).map_err(failed("read", &inner))?;
            if !self.leaves_out(&inner) || self.has_brought_back(&inner, there.as_ref())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a source is a directory.
    pub fn is_dir(&self, from: &[u8]) -> Result<bool, CopyFailure> {
        let (_, found) = self.view.resolve(from, true).map_err(failed("read", from))?;
        Ok(found.is_some_and(|found| found.is_dir()))
    }

    /// Opens a source that is a file; `None` if it is none.
    pub fn open_file(&self, from: &[u8]) -> Result<Option<OwnedFd>, CopyFailure> {
        let (real, found) = self.view.resolve(from, true).map_err(failed("read", from))?;
        let found = found.filter(|found| found.kind() == FileType::RegularFile);
        found.map(|found| self.view.open(&real, &found).map_err(failed("open", from))).transpose()
    }

    /// Copies a source: a directory's contents into `to`, anything else as `to`; without a tree, it is only looked at. What
    /// passes goes into the hasher.
    pub fn transfer(
        &self,
        from: &[u8],
        to: &[u8],
        mut tree: Option<&mut Tree<'_>>,
        changes: Changes,
        hasher: &mut Recorder,
    ) -> Result<(), CopyFailure> {
        let (real, found) = self.view.resolve(from, true).map_err(failed("read", from))?;
        let found = found.ok_or_else(|| CopyFailure::new(format!("There is no {}", shown(from))))?;
        self.one(&real, &found, &mut tree, to, changes, hasher, 0)
    }

    #[allow(clippy::too_many_arguments)] // one entry, with all that is known of where it goes
    fn one(
        &self,
        from: &[u8],
        found: &Found,
        tree: &mut Option<&mut Tree<'_>>,
        to: &[u8],
        changes: Changes,
        hasher: &mut Recorder,
        depth: usize,
    ) -> Result<(), CopyFailure> {
        let stat = found.stat;
        let owner = changes.owner.unwrap_or(if self.owned { (stat.st_uid, stat.st_gid) } else { (0, 0) });
        // Of what the context brings nothing gets set-id bits by being copied, as Docker has it.
        let kept = if self.owned || found.is_dir() { 0o7777 } else { 0o1777 };
        let mode = changes.mode.unwrap_or(stat.st_mode & kept);
        let said = Said { mode, owner };
        match found.kind() {
            FileType::Directory if self.except.contains(&(stat.st_dev, stat.st_ino)) => {
                hasher.entry(b'x', to, said);
                hasher.left_out.add("state directory", from);
                Ok(())
            }
            FileType::Directory => {
                // Contents go into a directory: what the source itself is, is not about that; nor what an archive doesn't name.
                if depth == 0 || stat.st_mtime == IMPLIED {
                    hasher.bytes(b"i");
                    hasher.bytes(to);
                    tree.as_mut().map_or(Ok(()), |tree| tree.target(to))?;
                } else {
                    hasher.entry(b'd', to, said);
                    let attributes = match self.owned {
                        true => attributes(&self.view.open(from, found).map_err(failed("open", from))?),
                        false => Attributes::new(),
                    };
                    hasher.attributes(&attributes);
                    if let Some(tree) = tree {
                        give(&attributes, &tree.directory(to, said)?);
                    }
                }
                if depth == DEEPEST {
                    return Err(CopyFailure::new(format!("{} lies too deep", shown(from))));
                }
                for name in self.view.list(from, found).map_err(failed("read", from))? {
                    let inner = join(from, &name);
                    let there = self.view.look(&inner).map_err(failed("read", &inner))?;
                    let Some(there) = there else { continue };
                    if self.leaves_out(&inner) && !self.has_brought_back(&inner, Some(&there))? {
                        continue;
                    }
                    self.one(&inner, &there, tree, &join(to, &name), changes, hasher, depth + 1)?;
                }
                Ok(())
            }
            FileType::RegularFile => self.file(from, found, tree, to, said, hasher),
            FileType::Symlink => {
                let target = self.view.link(from, found).map_err(failed("read", from))?;
                hasher.entry(b'l', to, Said { mode: 0o777, owner });
                hasher.bytes(&target);
                match tree {
                    Some(tree) => tree.link(to, &target, owner),
                    None => Ok(()),
                }
            }
            FileType::Fifo => {
                hasher.entry(b'p', to, said);
                match tree {
                    Some(tree) => tree.fifo(to, said),
                    None => Ok(()),
                }
            }
            kind => {
                // What a sandbox that runs has put there is nobody's.
                if stat.st_mtime != archive::PLACEHOLDER {
                    hasher.left_out.add(archive::special(kind), from);
                }
                Ok(())
            }
        }
    }

    fn file(
        &self,
        from: &[u8],
        found: &Found,
        tree: &mut Option<&mut Tree<'_>>,
        to: &[u8],
        said: Said,
        hasher: &mut Recorder,
    ) -> Result<(), CopyFailure> {
        let fd = self.view.open(from, found).map_err(failed("open", from))?;
        let stat = fs::fstat(&fd).map_err(failed("examine", from))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(CopyFailure::new(format!("{} was replaced meanwhile", shown(from))));
        }
        if let Some(first) = hasher.other_name(to, &stat) {
            hasher.entry(b'h', to, said);
            hasher.bytes(&first);
            return tree.as_mut().map_or(Ok(()), |tree| tree.another_name(&first, to));
        }
        hasher.entry(b'f', to, said);
        hasher.named(to, &stat);
        let attributes = if self.owned { attributes(&fd) } else { Attributes::new() };
        hasher.attributes(&attributes);
        let made = tree.as_mut().map(|tree| tree.file(to)).transpose()?;
        let file = File::from(fd);
        let contents = contents(&file, stat.st_size as u64, made.as_ref()).map_err(|(action, error)| CopyFailure {
            cause: format!("Can't {action} {}: {error}", shown(from)),
            hint: room(&error).to_owned(),
        })?;
        hasher.bytes(contents.hex().as_bytes());
        if let (Some(tree), Some(made)) = (tree, made) {
            let made = OwnedFd::from(made);
            tree.finish(&made, to, said)?;
            give(&attributes, &made);
        }
        Ok(())
    }
}

/// Passes the contents of a file on, and gives what they are in short. Where a whole piece is zeros there will be a hole:
/// contents alone decide, so that the same files give the same layer however they lie on a disk. Holes are not read.
fn contents(file: &File, size: u64, made: Option<&File>) -> Result<Digest, (&'static str, std::io::Error)> {
    let (mut hasher, mut piece) = (Hasher::new(Algorithm::Sha256), vec![0; size.min(PIECE) as usize]);
    // How many pieces of zeros came last.
    let (mut at, mut zeros) = (0, 0u64);
    while at < size {
        let data = match fs::seek(file, fs::SeekFrom::Data(at)) {
            Ok(data) => data.min(size),
            Err(Errno::NXIO) => size,
            // This file system knows no holes.
            Err(_) => at,
        };
        zeros += (data - at) / PIECE;
        at += (data - at) / PIECE * PIECE;
        if at == size {
            break;
        }
        let length = PIECE.min(size - at) as usize;
        let part = piece.get_mut(..length).unwrap_or_default();
        file.read_exact_at(part, at).map_err(|error| ("read", error))?;
        if part.len() as u64 == PIECE && part.iter().all(|byte| *byte == 0) {
            zeros += 1;
        } else {
            hasher.update(&zeros.to_le_bytes());
            hasher.update(part);
            zeros = 0;
            if let Some(made) = made {
                made.write_all_at(part, at).map_err(|error| ("copy", error))?;
            }
        }
        at += length as u64;
    }
    hasher.update(&zeros.to_le_bytes());
    hasher.update(&size.to_le_bytes());
    made.map_or(Ok(()), |made| made.set_len(size)).map_err(|error| ("copy", error))?;
    Ok(hasher.finish())
}

/// Extended attributes: names and values, in the order of names.
type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// The attributes that a layer keeps. What a file system has not, nothing can be done about.
fn attributes(from: &OwnedFd) -> Attributes {
    // Most files have none.
    if fs::flistxattr(from, &mut [0; 8]) == Ok(0) {
        return Attributes::new();
    }
    let mut names = vec![0; 1 << 16];
    let Ok(length) = fs::flistxattr(from, &mut names) else { return Attributes::new() };
    let names = names.get(..length).unwrap_or_default().split(|byte| *byte == 0);
    let kept = names.filter(|name| {
        *name == b"security.capability" || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
    });
    let mut value = vec![0; 1 << 16];
    kept.filter_map(|name| {
        let length = fs::fgetxattr(from, name, &mut value).ok()?;
        Some((name.to_vec(), value.get(..length)?.to_vec()))
    })
    .collect()
}

/// Gives a file attributes, where its file system has a place for them.
fn give(attributes: &Attributes, to: &OwnedFd) {
    for (name, value) in attributes {
        let _ = fs::fsetxattr(to, &name[..], value, XattrFlags::empty());
    }
}

/// What an entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub mode: u32,
    pub owner: (u32, u32),
}

/// What has passed, in short.
pub(super) struct Recorder {
    hasher: Hasher,
    /// Files with several names that have passed, by device and inode, and under which.
    names: BTreeMap<(u64, u64), Vec<u8>>,
    /// The other way round.
    named: BTreeMap<Vec<u8>, (u64, u64)>,
    /// What has not passed.
    pub left_out: LeftOut,
}

impl Recorder {
    pub fn new() -> Self {
        let hasher = Hasher::new(Algorithm::Sha256);
        Self { hasher, names: BTreeMap::new(), named: BTreeMap::new(), left_out: LeftOut::default() }
    }

    /// Bytes, and where they end.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// A file.
    pub fn file(&mut self, path: &[u8], said: Said, contents: &[u8]) {
        self.entry(b'f', path, said);
        self.bytes(Digest::of(contents).hex().as_bytes());
    }

    fn entry(&mut self, kind: u8, path: &[u8], said: Said) {
        // Whatever had this name has it no more.
        if let Some(file) = self.named.remove(path) {
            self.names.remove(&file);
        }
        self.bytes(&[kind]);
        self.bytes(path);
        self.bytes(format!("{:o} {} {}", said.mode, said.owner.0, said.owner.1).as_bytes());
    }

    fn attributes(&mut self, attributes: &Attributes) {
        self.bytes(&(attributes.len() as u64).to_le_bytes());
        for (name, value) in attributes {
            self.bytes(name);
            self.bytes(value);
        }
    }

    /// Under which other name a file has passed, if that is still its name.
    fn other_name(&self, path: &[u8], stat: &Stat) -> Option<Vec<u8>> {
        self.names.get(&(stat.st_dev, stat.st_ino)).filter(|name| *name != path).cloned()
    }

    /// A file with several names has passed under this one.
    fn named(&mut self, path: &[u8], stat: &Stat) {
        if stat.st_nlink > 1 {
            self.names.insert((stat.st_dev, stat.st_ino), path.to_vec());
            self.named.insert(path.to_vec(), (stat.st_dev, stat.st_ino));
        }
    }

    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

/// A tree that becomes a layer over others. Who is not root owns all of it.
pub(super) struct Tree<'a> {
    pub root: &'a OwnedFd,
    /// What lies below.
    pub below: &'a View,
    /// Who owns directories that nobody has said anything of.
    pub owner: (u32, u32),
    /// Directories that are made.
    made: BTreeSet<Vec<u8>>,
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl<'a> Tree<'a> {
    /// One whose root is as it is below.
    pub fn new(root: &'a OwnedFd, below: &'a View, owner: (u32, u32)) -> Result<Self, CopyFailure> {
        let tree = Self { root, below, owner, made: BTreeSet::new() };
        let said = match below.look(b"").map_err(failed("read", b""))? {
            Some(found) => Said { mode: found.stat.st_mode & 0o7777, owner: (found.stat.st_uid, found.stat.st_gid) },
            None => Said { mode: 0o755, owner: (0, 0) },
        };
        tree.finish(root, b"", said)?;
        Ok(tree)
    }

    /// The directory that a path is in, and its last name; what is missing of it is made.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), CopyFailure> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        for end in parent.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([parent.len()])
        {
            self.implied(&parent[..end])?;
        }
        Ok((self.open(parent)?, name))
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, CopyFailure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let shown = if path.is_empty() { b"." } else { path };
        fs::openat2(self.root, shown, flags, Mode::empty(), RESOLVE).map_err(failed("open", path))
    }

    /// A directory on the way: as it is below, or a new one.
    fn implied(&mut self, path: &[u8]) -> Result<(), CopyFailure> {
        if path.is_empty() || self.made.contains(path) {
            return Ok(());
        }
        let below = self.below.look(path).map_err(failed("read", path))?;
        let said = match &below {
            Some(found) if found.is_dir() => {
                Said { mode: found.stat.st_mode & 0o7777, owner: (found.stat.st_uid, found.stat.st_gid) }
            }
            Some(_) => return Err(CopyFailure::new(format!("/{} is no directory", shown(path)))),
            None => Said { mode: 0o755, owner: self.owner },
        };
        let made = self.make(path, said)?;
        if let Some(found) = below {
            give(&attributes(&self.below.open(path, &found).map_err(failed("open", path))?), &made);
        }
        Ok(())
    }

    fn make(&mut self, path: &[u8], said: Said) -> Result<OwnedFd, CopyFailure> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let parent = self.open(parent)?;
        fs::mkdirat(&parent, name, Mode::RWXU).map_err(failed("make", path))?;
        let dir = self.open(path)?;
        self.finish(&dir, path, said)?;
        self.made.insert(path.to_vec());
        Ok(dir)
    }

    /// A directory that things go into: one that is there stays as it is.
    pub fn target(&mut self, path: &[u8]) -> Result<(), CopyFailure> {
        if path.is_empty() {
            return Ok(());
        }
        self.parent(path)?;
        self.implied(path)
    }

    /// A directory, which is as it is said also if it is there.
    pub fn directory(&mut self, path: &[u8], said: Said) -> Result<OwnedFd, CopyFailure> {
        self.parent(path)?;
        let below = self.below.look(path).map_err(failed("read", path))?;
        if below.is_some_and(|found| found.is_dir()) {
            self.implied(path)?;
        }
        if self.made.contains(path) {
            let dir = self.open(path)?;
            return self.finish(&dir, path, said).map(|()| dir);
        }
        self.clear(path)?;
        self.make(path, said)
    }

    /// Makes room for something that is no directory.
    fn place<'p>(&mut self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), CopyFailure> {
        let (parent, name) = self.parent(path)?;
        let below = self.below.look(path).map_err(failed("read", path))?;
        if path.is_empty() || self.made.contains(path) || below.is_some_and(|found| found.is_dir()) {
            return Err(CopyFailure::new(format!("/{} is a directory, and stays one", shown(path))));
        }
        self.clear(path)?;
        Ok((parent, name))
    }

    /// Removes what an earlier source has put at a path, if it is no directory.
    fn clear(&mut self, path: &[u8]) -> Result<(), CopyFailure> {
        let (parent, name) = self.parent(path)?;
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("replace", path)(errno)),
        }
    }

    fn file(&mut self, path: &[u8]) -> Result<File, CopyFailure> {
        let (parent, name) = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("make", path))?;
        Ok(file.into())
    }

    /// Another name of a file that was copied already.
    fn another_name(&mut self, first: &[u8], path: &[u8]) -> Result<(), CopyFailure> {
        let (parent, name) = self.place(path)?;
        fs::linkat(self.root, first, parent, name, AtFlags::empty()).map_err(failed("link", path))
    }

    pub fn link(&mut self, path: &[u8], target: &[u8], owner: (u32, u32)) -> Result<(), CopyFailure> {
        let (parent, name) = self.place(path)?;
        fs::symlinkat(target, &parent, name).map_err(failed("make", path))?;
        let Some((uid, gid)) = given(owner) else { return Ok(()) };
        fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("give away", path))
    }

    fn fifo(&mut self, path: &[u8], said: Said) -> Result<(), CopyFailure> {
        let (parent, name) = self.place(path)?;
        let made = fs::mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(said.mode), 0);
        made.map_err(failed("make", path))?;
        let Some((uid, gid)) = given(said.owner) else { return Ok(()) };
        fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("give away", path))
    }

    /// A file with this in it.
    pub fn put(&mut self, path: &[u8], contents: &[u8], said: Said) -> Result<(), CopyFailure> {
        let mut file = self.file(path)?;
        let wrote = file.write_all(contents);
        wrote.map_err(|error| CopyFailure::new(format!("Can't write {}: {error}", shown(path))))?;
        self.finish(&file.into(), path, said)
    }

    fn finish(&self, fd: &OwnedFd, path: &[u8], said: Said) -> Result<(), CopyFailure> {
        if let Some((uid, gid)) = given(said.owner) {
            fs::fchown(fd, uid, gid).map_err(failed("give away", path))?;
        }
        // After the owner, which takes set-id bits.
        fs::fchmod(fd, Mode::from_raw_mode(said.mode)).map_err(failed("set the mode of", path))
    }
}

/// Whom something is given to: only root can.
fn given((uid, gid): (u32, u32)) -> Option<(Option<Uid>, Option<Gid>)> {
    rustix::process::geteuid().is_root().then(|| (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
}

/// Opens a directory of the host that is the context.
pub(super) fn context(path: &std::path::Path) -> io::Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
