//! Hides how the parent and stage talk while a sandbox is built: by datagrams of bytes and descriptors. That stage gave
//! up comes over the same pair of sockets ([`failure`]).

use super::{
    super::LaunchError,
    failure::{self, Context as _},
};
use rustix::{
    fd::{BorrowedFd, OwnedFd},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use std::{io::IoSlice, mem::MaybeUninit};

/// Descriptors in one message; the kernel takes at most 253.
pub const BATCH: usize = 64;
/// Bytes in one message.
const LONGEST: usize = 32 * 1024;

/// Sends a message that is not empty to the other side.
pub fn send(report: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), LaunchError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        message.push(SendAncillaryMessage::ScmRights(fds));
    }
    match rustix::net::sendmsg(report, &[IoSlice::new(bytes)], &mut message, SendFlags::NOSIGNAL) {
        Ok(_) => Ok(()),
        // It gave up, and has said why.
        Err(Errno::PIPE | Errno::CONNRESET) => {
            failure::wait(report).and(Err(failure::new("init", "The starting sandbox is gone", "")))
        }
        Err(error) => Err(error).wall("init", "Cannot talk to the starting sandbox", ""),
    }
}

/// Waits for a message of the other side.
pub fn receive(report: &OwnedFd) -> Result<(Vec<u8>, Vec<OwnedFd>), LaunchError> {
    let mut bytes = vec![0; LONGEST];
    let (length, fds) = jail::fd::receive(report, BATCH, &mut bytes).wall("init", "Cannot hear from the parent", "")?;
    bytes.truncate(length);
    Ok((bytes, fds))
}
