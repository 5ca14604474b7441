//! Hides what init does to a machine that others have made, before it raises its walls: the part of a backend's work
//! that can be done from inside only.
//!
//! Init is the machine's root here, and what lies in it was made by an image or, in a kept one, by programs. So no link
//! is followed out of `/`, and nothing is touched in what is mounted somewhere: that may be the host's.

use crate::walls::WallError;
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Uid},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};
use wire::link::{Account, CAPTURE_PORT, Node, Prepare, Seen, Wall};

const NETWORK: &str = "network";
const FILES: &str = "files";
const MOUNTS: &str = "mounts";
/// A file of accounts beyond this is not read.
const MAX: u64 = 4 << 20;

/// Does it, and says which walls that has raised.
///
/// # Errors
/// [`WallError`].
pub fn prepare(prepare: &Prepare) -> Result<Vec<Wall>, WallError> {
    jail::net::loop_everything().map_err(failed(NETWORK, "set up the loopback device"))?;
    jail::nft::catch_all(CAPTURE_PORT).map_err(failed(NETWORK, "catch connections"))?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let root = root.map_err(|error| failed(FILES, "open the root")(error.into()))?;
    prepare.seen.iter().try_for_each(|seen| check(&root, seen))?;
    for node in &prepare.directories {
        directory(&root, node).map_err(failed(FILES, &format!("make {}", node.path)))?;
    }
    for (node, contents) in &prepare.files {
        write(&root, node, contents).map_err(failed(FILES, &format!("write {}", node.path)))?;
    }
    for account in &prepare.accounts {
        complete(&root, account).map_err(failed(FILES, &format!("complete /etc/{}", account.file)))?;
    }
    let detail = "lo only; every address is local".to_owned();
    Ok(vec![Wall { name: "network namespace".into(), holds: true, detail }])
}

fn failed(wall: &'static str, what: &str) -> impl FnOnce(io::Error) -> WallError {
    move |error| WallError { wall, cause: format!("Cannot {what}: {error}") }
}

/// Whether something is what the backend has seen: it was mounted by its name, which may have come to mean another.
fn check(root: &OwnedFd, seen: &Seen) -> Result<(), WallError> {
    let Seen { path, device, inode, read_only } = seen;
    let (found, mount) = open(root, path.as_path(), OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
        .and_then(|fd| Ok((rustix::fs::fstat(&fd)?, rustix::fs::fstatvfs(&fd)?)))
        .map_err(failed(MOUNTS, &format!("open {path}")))?;
    if (found.st_dev, found.st_ino) != (*device, *inode) {
        return Err(WallError { wall: MOUNTS, cause: format!("{path} is another one than on your host") });
    }
    if *read_only && !mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(WallError { wall: MOUNTS, cause: format!("{path} can be written to") });
    }
    Ok(())
}

fn open(root: &OwnedFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Makes a directory and those above it, and gives it to its owner. What is mounted there stays as it is.
fn directory(root: &OwnedFd, node: &Node) -> io::Result<()> {
    let mut above = open(root, Path::new("/"), OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())?;
    let mut path = std::path::PathBuf::from("/");
    for name in node.path.as_path().iter().skip(1) {
        path.push(name);
        let is_last = path == node.path.as_path();
        let mode = if is_last { node.mode } else { 0o755 };
        let made = match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        match open(root, &path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV) {
            Ok(found) => above = found,
            // From here on it is somebody else's, who is as it should be if it is a directory.
            Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                return open(root, node.path.as_path(), OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())
                    .map(drop);
            }
            Err(error) => return Err(error),
        }
        if made && is_last {
            // mkdir(2) heeds the umask, and ignores the sticky bit.
            rustix::fs::chmodat(rustix::fs::CWD, self_path(&above), Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
    }
    give(&above, node.owner)
}

/// A name for an open file, for calls that take no descriptor that was opened with `O_PATH`.
fn self_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd))
}

fn give(fd: &OwnedFd, owner: Option<(u32, u32)>) -> io::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    Ok(rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH)?)
}

/// Puts a new file in the place of whatever is there.
fn write(root: &OwnedFd, node: &Node, contents: &[u8]) -> io::Result<()> {
    let path = node.path.as_path();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = open(root, parent, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
    replace(&dir, name, node.mode, node.owner, contents)
}

fn replace(dir: &OwnedFd, name: &OsStr, mode: u32, owner: Option<(u32, u32)>, contents: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir.as_fd(), name, flags, Mode::from_raw_mode(mode))?;
    give(&fd, owner)?;
    File::from(fd).write_all(contents)
}

fn complete(root: &OwnedFd, account: &Account) -> io::Result<()> {
    let etc = Path::new("/etc");
    let mut text = Vec::new();
    match open(root, &etc.join(&account.file), OFlags::RDONLY | OFlags::NONBLOCK, ResolveFlags::NO_XDEV) {
        Ok(fd) if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::RegularFile => {
            File::from(fd).take(MAX).read_to_end(&mut text)?;
        }
        Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let Some(text) = account.complete(&String::from_utf8_lossy(&text)) else { return Ok(()) };
    let dir = open(root, etc, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
    replace(&dir, OsStr::from_bytes(account.file.as_bytes()), 0o644, None, text.as_bytes())
}
