//! Hides how the parent and stage talk while a sandbox is built: by datagrams of bytes and descriptors. That stage gave
//! up comes over the same pair of sockets ([`failure`]).

use super::{
    super::LaunchError,
    failure::{self, Context as _},
};
use rustix::fd::{BorrowedFd, OwnedFd};
use std::io::ErrorKind;

/// Descriptors in one message.
pub const BATCH: usize = jail::fd::MOST_FDS;
/// Bytes in one message.
const LONGEST: usize = 32 * 1024;

/// Sends a message that is not empty to the other side.
pub fn send(report: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), LaunchError> {
    match jail::fd::send(report, bytes, fds) {
        Ok(_) => Ok(()),
        // It gave up, and has said why.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
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
