//! Resources: what is too little to work, and what a sandbox has when nobody says.

use super::{HostFacts, forms::FormError};
use wire::{Rlimit, RlimitKind};

/// Processes of one user, where no number is given.
pub(super) const DEFAULT_NPROC: u64 = 4096;
/// Open files of one process, where no number is given.
const DEFAULT_NOFILE: u64 = 65536;
/// Bytes in a tmpfs without a size.
pub(super) const DEFAULT_TMPFS: u64 = 64 << 20;

fn at_least(value: u64, least: u64, what: &str) -> Result<u64, FormError> {
    if value >= least { Ok(value) } else { Err(FormError::new(format!("{value} is too little: {what}"))) }
}

/// Checks a limit of memory, in bytes.
///
/// # Errors
/// If nothing could run within it.
pub fn memory(bytes: u64) -> Result<u64, FormError> {
    at_least(bytes, 6 << 20, "a sandbox needs 6M of memory")
}

/// Checks a limit of processes.
///
/// # Errors
/// If nothing could run within it.
pub fn pids(count: u64) -> Result<u64, FormError> {
    at_least(count, 4, "a sandbox needs 4 processes")
}

/// Checks a limit of what is written, in bytes.
///
/// # Errors
/// If nothing could run within it.
pub fn disk(bytes: u64) -> Result<u64, FormError> {
    at_least(bytes, 1 << 20, "a sandbox needs 1M of disk")
}

/// Checks a limit of open files.
///
/// # Errors
/// If nothing could run within it.
pub fn nofile(count: u64) -> Result<u64, FormError> {
    at_least(count, 16, "a process needs 16 open files")
}

/// The default of `disk`.
pub(super) fn default_disk(host: &HostFacts) -> u64 {
    (host.ram / 2).max(64 << 20)
}

/// The default of `nofile`.
pub(super) fn default_nofile(host: &HostFacts) -> u64 {
    host.max_nofile.map_or(DEFAULT_NOFILE, |hard| hard.min(DEFAULT_NOFILE))
}

/// The limits of every exec. No hard limit of the caller's can be raised, so none is tried.
pub(super) fn rlimits(host: &HostFacts, pids: Option<u64>, nofile: u64, fsize: Option<u64>) -> Vec<Rlimit> {
    let nproc = pids.unwrap_or(DEFAULT_NPROC);
    let nproc = host.max_nproc.map_or(nproc, |hard| hard.min(nproc));
    let mut rlimits = vec![
        Rlimit { kind: RlimitKind::Core, value: 0 },
        Rlimit { kind: RlimitKind::Nofile, value: nofile },
        Rlimit { kind: RlimitKind::Nproc, value: nproc },
    ];
    rlimits.extend(fsize.map(|value| Rlimit { kind: RlimitKind::Fsize, value }));
    rlimits
}
