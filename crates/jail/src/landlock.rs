//! Hides which access rights the kernel's Landlock knows, and what each of its versions lacks.

use crate::sys;
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use rustix::fd::BorrowedFd;
use std::io;

/// The version from which files can be renamed between directories; below it, Landlock would break most programs.
const FIRST: u32 = 2;

/// Landlock refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory or file could not be examined.
    #[error("Cannot examine a writable path")]
    Stat(#[source] io::Error),
    /// The kernel has Landlock and refused the rules.
    #[error("Cannot restrict")]
    Ruleset(#[from] landlock::RulesetError),
}

/// Restricts the calling thread and its children for good: every file can be read and executed as before, but writes,
/// truncation, making, renaming and removing work only beneath (or on) `writable`. Nobody may make a device node.
/// From ABI 6 on, abstract unix sockets and signals do not leave the restricted processes.
///
/// Returns the kernel's Landlock ABI, or `None` where the kernel has none that can be used: not built in, not
/// switched on, or ABI 1, which forbids every rename between directories. Landlock stands behind the mount walls, so
/// a caller can go on without it, and should say so.
///
/// # Errors
/// If the kernel has Landlock and refuses: the walls are then incomplete.
pub fn restrict(writable: &[BorrowedFd<'_>]) -> Result<Option<u32>, Error> {
    let Some(version) = version() else { return Ok(None) };
    let abi = abi(version);
    let handled = AccessFs::from_write(abi);
    let no_devices: BitFlags<AccessFs> = handled & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(handled)?;
    if version >= 6 {
        rules = rules.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    let mut rules = rules.create()?;
    for fd in writable {
        let kind =
            rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(fd).map_err(|e| Error::Stat(e.into()))?.st_mode);
        let access =
            if kind == rustix::fs::FileType::Directory { no_devices } else { no_devices & AccessFs::from_file(abi) };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    rules.restrict_self()?;
    Ok(Some(version))
}

/// Takes the file system away from the calling thread and its children, for good: no file can be opened, executed,
/// made or removed. Descriptors that are open stay as they are. From ABI 6 on, abstract unix sockets and signals do not
/// leave the restricted processes.
///
/// Returns as [`restrict`].
///
/// # Errors
/// As [`restrict`].
pub fn forbid_files() -> Result<Option<u32>, Error> {
    let Some(version) = version() else { return Ok(None) };
    let handled = AccessFs::from_all(abi(version));
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(handled)?;
    if version >= 6 {
        rules = rules.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    rules.create()?.restrict_self()?;
    Ok(Some(version))
}

/// Takes the file system away from the calling thread and its children, for good, but for what lies beneath `dir`: there
/// files can be read, made and removed, and nothing executed. From ABI 6 on, abstract unix sockets and signals do not leave
/// the restricted processes.
///
/// Returns as [`restrict`].
///
/// # Errors
/// As [`restrict`].
pub fn only(dir: BorrowedFd<'_>) -> Result<Option<u32>, Error> {
    let Some(version) = version() else { return Ok(None) };
    let handled = AccessFs::from_all(abi(version));
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(handled)?;
    if version >= 6 {
        rules = rules.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    // A whiteout of overlayfs is a character device; which others there may be, capabilities and seccomp decide.
    let files = handled & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeSock);
    rules.create()?.add_rule(PathBeneath::new(dir, files))?.restrict_self()?;
    Ok(Some(version))
}

/// The rights that are handled where the kernel has this version.
fn abi(version: u32) -> ABI {
    match version {
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        // Later rights (connecting to a named socket) are not restricted: the mount walls decide which exist.
        _ => ABI::V5,
    }
}

/// The kernel's Landlock ABI, if it can be used (see [`restrict`]).
#[must_use]
pub fn version() -> Option<u32> {
    sys::landlock::abi().filter(|&version| version >= FIRST)
}
