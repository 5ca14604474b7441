//! Options of sockets that `rustix` has no name for.

use super::check;
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// `IP_TRANSPARENT` or `IPV6_TRANSPARENT`.
pub fn set_transparent(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::SOL_IPV6, libc::IPV6_TRANSPARENT) } else { (libc::SOL_IP, libc::IP_TRANSPARENT) };
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int from `on`, which outlives the call.
    check(
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                level,
                option,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        }
        .into(),
    )
    .map(drop)
}
