//! Hides the seccomp filters: which system calls a program in a sandbox may make.
//!
//! The policy is data in `policy.rs`; the build script compiles it for the target, so that
//! nothing is parsed at run time and debug builds meet the same filter as releases.

pub mod listener;

use crate::sys;
use listener::Listener;
use std::io;

include!(concat!(env!("OUT_DIR"), "/filters.rs"));

/// A set of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// For init and every program in a sandbox: see `policy.rs`.
    Default,
    /// The same in a build: see `policy.rs`.
    Build,
    /// On top of that, for every program but init.
    Program,
    /// For egress: a list of what is allowed, and `EPERM` for everything else.
    Egress,
    /// For who parses what he was given, and answers: a list without a path or a socket.
    Parse,
    /// For who unpacks a layer of an image: a list as well.
    Unpack,
    /// For who fetches an image: what egress may do, and files that are open.
    Fetch,
}

/// The filters could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("Cannot install the seccomp filter of {what}")]
pub struct Error {
    /// Which of them.
    what: &'static str,
    /// The kernel's answer.
    #[source]
    source: io::Error,
}

/// Filters the system calls of the calling thread and all its descendants, for good.
///
/// Numbers that the table does not know (new calls, the x32 ABI) answer ENOSYS for programs, as in an older kernel; denied ones
/// answer EPERM; a call by another architecture's convention (`int 0x80`) kills the process. Needs `no_new_privs`
/// (or `CAP_SYS_ADMIN`).
///
/// # Errors
/// [`Error`] if the kernel refuses: it has no seccomp filters, or `no_new_privs` is not set.
pub fn install(profile: Profile) -> Result<(), Error> {
    let (program, what): (&[libc::sock_filter], _) = match profile {
        Profile::Default => (&DEFAULT, "every program"),
        Profile::Build => (&BUILD, "a build"),
        Profile::Program => (&PROGRAM, "programs"),
        Profile::Egress => (&EGRESS, "egress"),
        Profile::Parse => (&PARSE, "parsers"),
        Profile::Unpack => (&UNPACK, "unpackers"),
        Profile::Fetch => (&FETCH, "fetchers"),
    };
    sys::seccomp::set_filter(program).map_err(|source| Error { what, source })
}

/// As [`install`] with [`Profile::Program`], and holds every call that would write, make, remove or rename by path until
/// the listener lets it go on. Descendants have the same listener, and none of their own. Nothing is refused by that.
///
/// # Errors
/// [`Error`] if the kernel refuses: it is older than 5.19, or the thread has a listener already.
pub fn install_watched() -> Result<Listener, Error> {
    sys::seccomp::set_filter_with_listener(&WATCHED)
        .map(Listener::new)
        .map_err(|source| Error { what: "watched programs", source })
}

#[cfg(test)]
mod compile;
#[cfg(test)]
mod policy;

#[cfg(test)]
#[path = "compile_tests.rs"]
mod compile_tests;
#[cfg(test)]
#[path = "../seccomp_tests.rs"]
mod tests;
