//! Hides the five capability sets of a thread, and the order in which they must be emptied.

use rustix::thread::{self, CapabilitiesSecureBits, CapabilitySet, CapabilitySets};
use std::io;

pub use rustix::thread::CapabilitySet as Cap;

/// What root may in a build: what installers do to files and ids of the sandbox's own.
pub const BUILD: Cap = Cap::CHOWN
    .union(Cap::DAC_OVERRIDE)
    .union(Cap::FOWNER)
    .union(Cap::FSETID)
    .union(Cap::KILL)
    .union(Cap::SETGID)
    .union(Cap::SETUID)
    .union(Cap::SETFCAP)
    .union(Cap::SYS_CHROOT);

/// Gives up every capability for good: bounding, ambient, inheritable, permitted and effective.
///
/// # Errors
/// As capset(2) and prctl(2).
pub fn drop_all() -> io::Result<()> {
    keep_only(Cap::empty())
}

/// Keeps these capabilities, permitted and effective, and gives up all others for good. The bounding set is reduced
/// to the same, the ambient and inheritable sets are emptied.
///
/// So that a process with user id 0 keeps nothing through execve(2) that was dropped, the bounding set goes first
/// (it needs `CAP_SETPCAP`); where that one is missing already, the bounding set is left, because nothing can be
/// gained from it any more once `no_new_privs` is set.
///
/// # Errors
/// As capset(2) and prctl(2).
pub fn keep_only(keep: CapabilitySet) -> io::Result<()> {
    limit_bounding(keep)?;
    let now = thread::capabilities(None)?;
    thread::clear_ambient_capability_set()?;
    thread::set_capabilities(
        None,
        CapabilitySets {
            effective: now.permitted & keep,
            permitted: now.permitted & keep,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Reduces the bounding set to these, for good: no program that is executed later can gain another one. Without
/// `CAP_SETPCAP` it is left as it is.
///
/// # Errors
/// As `prctl(PR_CAPBSET_DROP)`.
pub fn limit_bounding(keep: CapabilitySet) -> io::Result<()> {
    if !thread::capabilities(None)?.effective.contains(Cap::SETPCAP) {
        return Ok(());
    }
    for number in 0..64 {
        let cap = Cap::from_bits_retain(1 << number);
        if keep.contains(cap) {
            continue;
        }
        match thread::remove_capability_from_bounding_set(cap) {
            // The first number that this kernel does not know.
            Err(rustix::io::Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Keeps these capabilities, also through the next execve(2) of a program without file capabilities, and gives up all
/// others for good. The bounding set is reduced to `bounding`: nothing else can be gained again by whoever drops it.
///
/// # Errors
/// As capset(2) and prctl(2).
pub fn keep_through_exec(keep: CapabilitySet, bounding: CapabilitySet) -> io::Result<()> {
    let now = thread::capabilities(None)?;
    // Nothing outside the bounding set can be made inheritable, and only what is inheritable can be ambient; but what
    // is ambient survives without the bounding set. Hence this order.
    thread::set_capabilities(None, CapabilitySets { inheritable: keep, ..now })?;
    thread::clear_ambient_capability_set()?;
    for cap in keep {
        thread::configure_capability_in_ambient_set(cap, true)?;
    }
    limit_bounding(bounding)?;
    let kept = now.permitted & keep;
    thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: keep })?;
    Ok(())
}

/// Makes user id 0 an ordinary id for good: neither execve(2) nor setuid(2) gives or takes capabilities because of
/// it. Needs `CAP_SETPCAP`.
///
/// # Errors
/// As `prctl(PR_SET_SECUREBITS)`.
pub fn lock_root_out() -> io::Result<()> {
    use CapabilitiesSecureBits as Bits;
    thread::set_capabilities_secure_bits(Bits::NO_ROOT | Bits::NO_ROOT_LOCKED)?;
    Ok(())
}

/// The capabilities that the calling thread could use now, or make usable.
///
/// # Errors
/// As capget(2).
pub fn current() -> io::Result<CapabilitySet> {
    Ok(thread::capabilities(None)?.permitted)
}
