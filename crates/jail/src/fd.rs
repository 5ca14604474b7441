//! Hides how files are opened so that no symbolic link and no `..` leads out of a directory, and how memory is
//! turned into a file that nobody can change.

use crate::sys;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags, ResolveFlags, SealFlags},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    path::Arg,
};
use std::{
    ffi::CStr,
    fs::File,
    io::{self, IoSlice, IoSliceMut, Write as _},
    mem::MaybeUninit,
};

/// A file in memory with these contents, sealed: nobody can write, grow, shrink or unseal it. Close-on-exec.
///
/// # Errors
/// As memfd_create(2), write(2), fcntl(2).
pub fn sealed_memfd(name: &CStr, contents: &[u8]) -> io::Result<OwnedFd> {
    // From <linux/memfd.h>; since Linux 6.3 the system can be set up so that memory files without it cannot be executed.
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = match sys::fd::memfd(name, flags | MFD_EXEC) {
        // A kernel that does not know the flag, and always makes them executable.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => sys::fd::memfd(name, flags)?,
        result => result?,
    };
    let mut file = File::from(fd);
    file.write_all(contents)?;
    let fd = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(&fd, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Opens `path` as a process would whose root is `root`: absolute paths, symbolic links and `..` stay inside.
/// Magic links of /proc are refused. Close-on-exec is added.
///
/// # Errors
/// As openat2(2).
pub fn open_in_root(root: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    open(root, path, flags, mode, resolve)
}

/// Opens `path` beneath `dir`, without following any symbolic link, in any place of it. Absolute paths and `..` that
/// leave `dir` are refused. Close-on-exec is added.
///
/// # Errors
/// As openat2(2): `ELOOP` for a link, `EXDEV` for a way out.
pub fn open_beneath(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open(dir, path, flags, mode, resolve)
}

fn open(dir: impl AsFd, path: impl Arg, flags: OFlags, mode: Mode, resolve: ResolveFlags) -> io::Result<OwnedFd> {
    let path = path.into_c_str()?;
    // openat2 fails with EAGAIN when a rename or mount somewhere raced with a `..`; it asks to be tried again.
    for _ in 0..32 {
        match rustix::fs::openat2(dir.as_fd(), &*path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
    Err(rustix::io::Errno::AGAIN.into())
}

/// Descriptors that one message can carry. The kernel takes at most 253.
pub const MOST_FDS: usize = 64;

/// Sends one message on a unix socket: bytes, of which there must be at least one, and descriptors (`SCM_RIGHTS`), at
/// most [`MOST_FDS`]. All of the bytes go, or none, where the socket keeps messages apart.
///
/// # Errors
/// As sendmsg(2): `EPIPE` and no signal if the other side is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = [IoSlice::new(bytes)];
    let sent = rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &bytes, &mut ancillary, SendFlags::NOSIGNAL));
    Ok(sent?)
}

/// Whether it failed for want of descriptors, of memory, or of room for descriptors on their way between processes, which
/// the kernel counts for each user: nobody tells when that is over, and it may go well a little later.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::TOOMANYREFS];
    Errno::from_io_error(error).is_some_and(|errno| exhausted.contains(&errno))
}

/// Receives one message on a unix socket: bytes, of which there is at least one, and the descriptors that came with them
/// (`SCM_RIGHTS`), at most `most`. All are close-on-exec.
///
/// # Errors
/// As recvmsg(2); [`io::ErrorKind::UnexpectedEof`] if the other side is gone.
pub fn receive(socket: impl AsFd, most: usize, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    // Aligned room for the header and the descriptors, as CMSG_SPACE(3) counts it.
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(most))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
#[path = "fd_tests.rs"]
mod tests;
