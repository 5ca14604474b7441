//! Removes a directory tree of any depth with a handful of descriptors, without ever following a link or crossing
//! into another mount.
//!
//! Recursion would need a descriptor or a stack frame per level, and a sandbox can make trees as deep as it likes.
//! Instead every directory below the top is emptied into the top: its files are unlinked, its directories move up
//! one level at a time. Whatever the moment of a kill, what is left is a tree that the same function removes.

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::{self, Errno},
};
use std::ffi::{CStr, CString};

/// Begins the name of a directory that was moved up.
const MOVED: &str = ".rm-";

/// What a removal has done, and what it may do still.
struct Work {
    /// How many directories were moved up.
    moved: u64,
    /// How many entries it may look at.
    left: u64,
}

impl Work {
    fn step(&mut self) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or(Errno::TOOBIG)?;
        Ok(())
    }
}

/// Removes everything in `top` but the entry called `spare`, if that is no more than so many entries.
///
/// # Errors
/// The first refusal of the kernel. `XDEV`: something is mounted in the tree. `TOOBIG`: there are more.
pub(super) fn empty(top: BorrowedFd<'_>, spare: &CStr, most: u64) -> io::Result<()> {
    let mut work = Work { moved: 0, left: most };
    loop {
        let mut progress = false;
        for (name, kind) in entries(top)? {
            if name.as_c_str() == spare {
                continue;
            }
            progress = true;
            work.step()?;
            if kind != FileType::Directory {
                match fs::unlinkat(top, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    // The file system doesn't tell kinds in its listing.
                    Err(Errno::ISDIR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            remove_level(top, &name, &mut work)?;
        }
        if !progress {
            return Ok(());
        }
    }
}

/// Removes the directory `name`, after its own directories have moved up to `top`.
fn remove_level(top: BorrowedFd<'_>, name: &CStr, work: &mut Work) -> io::Result<()> {
    let dir = match open(top, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    loop {
        let list = entries(dir.as_fd())?;
        if list.is_empty() {
            break;
        }
        for (child, kind) in list {
            work.step()?;
            if kind != FileType::Directory {
                match fs::unlinkat(&dir, &child, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR) => {}
                    Err(errno) => return Err(errno),
                }
            }
            match fs::unlinkat(&dir, &child, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            // Moving a directory writes its "..", so it must be writable: opening makes it so.
            drop(open(dir.as_fd(), &child)?);
            move_up(dir.as_fd(), &child, top, work)?;
        }
    }
    match fs::unlinkat(top, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn move_up(from: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, work: &mut Work) -> io::Result<()> {
    loop {
        work.moved += 1;
        match fs::renameat(from, name, top, format!("{MOVED}{}", work.moved)) {
            // Left over from a removal that was interrupted.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            other => return other,
        }
    }
}

/// Opens a directory, of whatever mode, so that it can be listed and emptied.
fn open(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let usable = Mode::RWXU;
    match fs::openat2(parent, name, flags | OFlags::RDONLY, Mode::empty(), resolve) {
        Ok(dir) => {
            if !Mode::from_raw_mode(fs::fstat(&dir)?.st_mode).contains(usable) {
                fs::fchmod(&dir, usable)?;
            }
            Ok(dir)
        }
        // Only a path descriptor can be had of a directory that its owner may not read, and fchmod(2) refuses those;
        // its magic link in /proc leads to this very directory and nowhere else.
        Err(Errno::ACCESS) => {
            let path = fs::openat2(parent, name, flags | OFlags::PATH, Mode::empty(), resolve)?;
            fs::chmod(super::magic_link(path.as_fd()), usable)?;
            fs::openat(&path, c".", flags | OFlags::RDONLY, Mode::empty())
        }
        Err(errno) => Err(errno),
    }
}

/// What is in `dir`, without "." and "..". Complete before anything is removed: what readdir(3) returns while a
/// directory changes is unspecified.
fn entries(dir: BorrowedFd<'_>) -> io::Result<Vec<(CString, FileType)>> {
    /// Bounds memory; a directory with more entries takes several rounds.
    const AT_ONCE: usize = 16384;
    let mut list = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            list.push((entry.file_name().to_owned(), entry.file_type()));
            if list.len() == AT_ONCE {
                break;
            }
        }
    }
    Ok(list)
}
