//! Hides how a tree that others change is walked and changed: by descriptors, through no link, and on one file system.

use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::{self, Errno},
};

/// Longer paths the kernel does not take.
const LONGEST: usize = 4000;
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Opens a directory below `root`; empty: the root itself. With `repair`, of whatever mode, so that it can be listed and
/// changed.
pub(super) fn open(root: BorrowedFd<'_>, path: &[u8], repair: bool) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = fs::openat2(root, path, flags | OFlags::RDONLY, Mode::empty(), RESOLVE);
    if !repair {
        return opened;
    }
    match opened {
        Ok(dir) => {
            if !Mode::from_raw_mode(fs::fstat(&dir)?.st_mode).contains(Mode::RWXU) {
                let mode = Mode::from_raw_mode(fs::fstat(&dir)?.st_mode & 0o7777);
                fs::fchmod(&dir, mode | Mode::RWXU)?;
            }
            Ok(dir)
        }
        // Its magic link leads to this very directory and nowhere else.
        Err(Errno::ACCESS) => {
            let found = fs::openat2(root, path, flags | OFlags::PATH, Mode::empty(), RESOLVE)?;
            fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU)?;
            fs::openat(&found, c".", flags | OFlags::RDONLY, Mode::empty())
        }
        Err(errno) => Err(errno),
    }
}

/// What stands in a directory, without "." and "..".
pub(super) fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    Ok(names)
}

/// A step on a walk.
pub(super) struct Step<'a> {
    /// The directory that it is in, and its name there.
    pub dir: BorrowedFd<'a>,
    pub name: &'a [u8],
    /// From the root.
    pub path: &'a [u8],
    pub stat: Stat,
}

impl Step<'_> {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Why a walk has ended early.
pub(super) enum Lost {
    /// There are too many.
    TooMany,
    /// The root can't be read, or whoever was told of a step has failed.
    Failed(Errno),
}

impl From<Errno> for Lost {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

/// Walks a tree of at most so many entries. `visit` says of each directory whether to go into it. Directories that cannot be
/// listed, or not whole because paths in them are too long, are told to `unread`.
pub(super) fn walk<E: From<Lost>>(
    root: BorrowedFd<'_>,
    most: usize,
    repair: bool,
    mut visit: impl FnMut(Step<'_>) -> Result<bool, E>,
    mut unread: impl FnMut(&[u8]),
) -> Result<(), E> {
    let mut waiting: Vec<Vec<u8>> = vec![Vec::new()];
    let mut count = 0;
    let failed = |errno: Errno| E::from(Lost::Failed(errno));
    while let Some(path) = waiting.pop() {
        let listed = open(root, &path, repair).and_then(|dir| Ok((list(dir.as_fd())?, dir)));
        let (names, dir) = match listed {
            Ok(listed) => listed,
            // It is gone, or another.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if !path.is_empty() => continue,
            Err(_) if !path.is_empty() => {
                unread(&path);
                continue;
            }
            Err(errno) => return Err(failed(errno)),
        };
        for name in names {
            count += 1;
            let inner = join(&path, &name);
            if count > most {
                return Err(E::from(Lost::TooMany));
            }
            if inner.len() > LONGEST {
                unread(&path);
                break;
            }
            let stat = match fs::statat(&dir, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed)?,
            };
            let step = Step { dir: dir.as_fd(), name: &name, path: &inner, stat };
            let is_dir = step.kind() == FileType::Directory;
            if visit(step)? && is_dir {
                waiting.push(inner);
            }
        }
    }
    Ok(())
}

/// A path and a name in it.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// A path cut into that of its directory and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Opens a file to read it.
pub(super) fn file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::empty())
}

/// Removes whatever has this name, with all that is in it.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    remove_small(dir, name, u64::MAX)
}

/// The same, if no more than so many entries are in it; else `TOOBIG`.
pub(super) fn remove_small(dir: BorrowedFd<'_>, name: &[u8], most: u64) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    crate::store::empty_small_tree(open(dir, name, true)?.as_fd(), most)?;
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}
