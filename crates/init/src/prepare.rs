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
const MASKS: &str = "masks";
/// statfs(2)
const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
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
    let mut seen: Vec<Base<'_>> = Vec::new();
    for wanted in &prepare.seen {
        let fd = check(&root, &seen, wanted)?;
        seen.push(Base { place: wanted.path.as_path(), fd });
    }
    let proc = open(&root, Path::new("/proc"), OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS);
    let proc = proc.and_then(|proc| Ok(rustix::fs::fstat(proc)?.st_dev)).map_err(failed(MASKS, "examine /proc"))?;
    prepare.hidden.iter().try_for_each(|path| check_hidden(&root, path.as_path(), proc))?;
    let mut memory: Vec<Base<'_>> = Vec::new();
    for node in &prepare.memory {
        let fd = in_memory(&root, node).map_err(failed(FILES, &format!("prepare {}", node.path)))?;
        memory.push(Base { place: node.path.as_path(), fd });
    }
    for node in &prepare.directories {
        let (base, path) = base(&root, &memory, node.path.as_path());
        directory(base, path, node, prepare.maker).map_err(failed(FILES, &format!("make {}", node.path)))?;
    }
    for (node, contents) in &prepare.files {
        let (base, path) = base(&root, &memory, node.path.as_path());
        write(base, path, node, contents).map_err(failed(FILES, &format!("write {}", node.path)))?;
    }
    for account in &prepare.accounts {
        complete(&root, account).map_err(failed(FILES, &format!("complete /etc/{}", account.file)))?;
    }
    if let Some(hosts) = &prepare.hosts {
        write_hosts(&root, &prepare.seen, hosts).map_err(failed(FILES, "write /etc/hosts"))?;
    }
    if let Some(resolver) = &prepare.resolver {
        write_resolver(&root, resolver).map_err(failed(FILES, "write /etc/resolv.conf"))?;
    }
    let wall = |name: &str, detail: String| Wall { name: name.into(), holds: true, detail };
    let mut walls = vec![wall("network namespace", "lo only; every address is local".to_owned())];
    if !prepare.hidden.is_empty() {
        walls.push(wall(MASKS, format!("{} parts of /proc are covered, or not there", prepare.hidden.len())));
    }
    Ok(walls)
}

fn failed(wall: &'static str, what: &str) -> impl FnOnce(io::Error) -> WallError {
    move |error| WallError { wall, cause: format!("Cannot {what}: {error}") }
}

/// Whether something is what the backend has seen: it was mounted by its name, which may have come to mean another. An image
/// may lead there by links, as the engine has followed them; nothing that is mounted may.
fn check(root: &OwnedFd, above: &[Base<'_>], seen: &Seen) -> Result<OwnedFd, WallError> {
    let Seen { path, device, inode, read_only } = seen;
    let below = |base| {
        let (fd, rest) = below(base, path.as_path())?;
        (!rest.as_os_str().is_empty()).then_some((fd, rest))
    };
    let opened = match above.iter().rev().find_map(below) {
        Some((base, rest)) => open(base, rest, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS),
        None => open(root, path.as_path(), OFlags::PATH, ResolveFlags::empty()),
    };
    let (fd, found, mount) = opened
        .and_then(|fd| {
            let (found, mount) = (rustix::fs::fstat(&fd)?, rustix::fs::fstatvfs(&fd)?);
            Ok((fd, found, mount))
        })
        .map_err(failed(MOUNTS, &format!("open {path}")))?;
    if (found.st_dev, found.st_ino) != (*device, *inode) {
        return Err(WallError { wall: MOUNTS, cause: format!("{path} is another one than on your host") });
    }
    if *read_only && !mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(WallError { wall: MOUNTS, cause: format!("{path} can be written to") });
    }
    Ok(fd)
}

/// Whether a part of /proc, whose device this is, is covered: not every engine does what it is told.
fn check_hidden(root: &OwnedFd, path: &Path, proc: u64) -> Result<(), WallError> {
    match open(root, path, OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS) {
        Ok(found) => {
            let found = rustix::fs::fstat(found).map_err(|error| {
                let what = format!("examine {}", path.display());
                failed(MASKS, &what)(error.into())
            })?;
            match found.st_dev == proc {
                true => Err(WallError { wall: MASKS, cause: format!("{} can be seen", path.display()) }),
                false => Ok(()),
            }
        }
        // This kernel has none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(MASKS, &format!("open {}", path.display()))(error)),
    }
}

fn open(root: &OwnedFd, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

/// Something that is mounted, and where.
struct Base<'a> {
    place: &'a Path,
    fd: OwnedFd,
}

/// What a path is in there, if it is below.
fn below<'a>(base: &'a Base<'_>, path: &'a Path) -> Option<(&'a OwnedFd, &'a Path)> {
    path.strip_prefix(base.place).ok().map(|path| (&base.fd, path))
}

/// The file system of the machine's own that a path is on, if nothing of the host's is mounted on the way; and the path in it.
fn base<'a>(root: &'a OwnedFd, memory: &'a [Base<'_>], path: &'a Path) -> (&'a OwnedFd, &'a Path) {
    memory.iter().rev().find_map(|base| below(base, path)).unwrap_or((root, path))
}

/// A file system in memory, once it belongs to whom it is for. Not every engine can make it his.
fn in_memory(root: &OwnedFd, node: &Node) -> io::Result<OwnedFd> {
    let fd = open(root, node.path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY, ResolveFlags::empty())?;
    if rustix::fs::fstatfs(&fd)?.f_type != TMPFS_MAGIC {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(node.mode))?;
    give(&fd, node.owner)?;
    Ok(fd)
}

/// Makes a directory and those above it, which are `maker`'s then, and gives it to its owner. What is mounted there stays as it is.
fn directory(root: &OwnedFd, place: &Path, node: &Node, maker: Option<(u32, u32)>) -> io::Result<()> {
    let mut above = open(root, Path::new("/"), OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())?;
    let mut path = std::path::PathBuf::from("/");
    let place = path.join(place);
    if place == path && rustix::fs::fstat(&above)?.st_mode & 0o200 == 0 {
        // Podman's, where the image says nothing of it; its owner has no other right to write there.
        rustix::fs::chmodat(rustix::fs::CWD, self_path(&above), Mode::from_raw_mode(node.mode), AtFlags::empty())?;
    }
    for name in place.iter().skip(1) {
        path.push(name);
        let is_last = path == place;
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
                return open(root, &place, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty()).map(drop);
            }
            Err(error) => return Err(error),
        }
        if made && is_last {
            // mkdir(2) heeds the umask, and ignores the sticky bit.
            rustix::fs::chmodat(rustix::fs::CWD, self_path(&above), Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if made {
            give(&above, maker)?;
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
fn write(root: &OwnedFd, path: &Path, node: &Node, contents: &[u8]) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = Path::new("/").join(parent);
    let dir = open(root, &parent, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
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

/// Says in the engine's own file which names there are: Podman takes those of its host along. What a user has mounted there,
/// or below, is another one.
fn write_hosts(root: &OwnedFd, seen: &[Seen], contents: &[u8]) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let etc = match open(root, Path::new("/etc"), flags, ResolveFlags::empty()) {
        Ok(etc) => etc,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let find = |resolve| open(&etc, Path::new("hosts"), OFlags::PATH | OFlags::NOFOLLOW, resolve);
    match find(ResolveFlags::NO_XDEV) {
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {}
        // Nothing is mounted there.
        _ => return Ok(()),
    }
    let found = find(ResolveFlags::empty())?;
    let stat = rustix::fs::fstat(&found)?;
    if seen.iter().any(|seen| (seen.device, seen.inode) == (stat.st_dev, stat.st_ino)) {
        return Ok(());
    }
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC;
    File::from(rustix::fs::open(self_path(&found), flags, Mode::empty())?).write_all(contents)
}

/// Says who knows names in the place of what the image says: Podman mounts no file of its own where there is no network.
fn write_resolver(root: &OwnedFd, contents: &[u8]) -> io::Result<()> {
    const NAME: &str = "resolv.conf";
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // If somebody has mounted all of it, what is in it is his.
    let etc = match open(root, Path::new("/etc"), flags, ResolveFlags::NO_XDEV) {
        Ok(etc) => etc,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => return Ok(()),
        Err(error) => return Err(error),
    };
    match open(&etc, Path::new(NAME), OFlags::PATH | OFlags::NOFOLLOW, ResolveFlags::NO_XDEV) {
        Ok(_) => rustix::fs::unlinkat(&etc, NAME, AtFlags::empty())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // The engine's, or the user's.
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => return Ok(()),
        Err(error) => return Err(error),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    File::from(rustix::fs::openat(&etc, NAME, flags, Mode::from_raw_mode(0o644))?).write_all(contents)
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
        // Somebody has mounted it, or all of /etc.
        Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => return Ok(()),
        Err(error) => return Err(error),
    }
    let Some(text) = account.complete(&String::from_utf8_lossy(&text)) else { return Ok(()) };
    let dir = open(root, etc, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_XDEV)?;
    replace(&dir, OsStr::from_bytes(account.file.as_bytes()), 0o644, None, text.as_bytes())
}
