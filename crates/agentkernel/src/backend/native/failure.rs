//! Hides how a failed wall is told: from an errno to words, and from stage to its parent.

use super::super::LaunchError;
use rustix::{fd::OwnedFd, io::Errno, net::RecvFlags};
use std::{fmt::Display, io};

/// What helps where owners cannot be mapped.
pub const MAP_OWNERS: &str =
    "Use a file system with idmapped mounts (ext4, xfs, btrfs, ...), or run agentkernel as the owner of the files";

/// Turns any error into a [`LaunchError`] with its wall and circumstances.
pub trait Context<T> {
    /// Names the wall, what was tried, and the remedy (empty if none is known).
    fn wall(self, wall: &str, tried: impl Display, hint: &str) -> Result<T, LaunchError>;
}

/// As [`Context::wall`], for what is written to the state directory: the remedy depends on what is wrong with that.
pub fn state<T>(result: io::Result<T>, wall: &str, tried: &str) -> Result<T, LaunchError> {
    let hint = match result.as_ref().err().and_then(Errno::from_io_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            "Free some space in the state directory, or set AGENTKERNEL_STATE_DIR to a directory that has it"
        }
        Some(Errno::FBIG) => "Raise the limit on the size of files: `ulimit -f unlimited`",
        Some(Errno::ROFS | Errno::ACCESS) => {
            "Make the state directory writable for you, or set AGENTKERNEL_STATE_DIR to a directory that is"
        }
        _ => "",
    };
    result.wall(wall, tried, hint)
}

impl<T, E: std::error::Error> Context<T> for Result<T, E> {
    fn wall(self, wall: &str, tried: impl Display, hint: &str) -> Result<T, LaunchError> {
        self.map_err(|error| {
            let cause = format!("{tried}: {}", wire::cause(&error));
            LaunchError { wall: wall.into(), cause, hint: hint.into() }
        })
    }
}

/// A failure that no system call reported.
pub fn new(wall: &str, cause: impl Into<String>, hint: &str) -> LaunchError {
    LaunchError { wall: wall.into(), cause: cause.into(), hint: hint.into() }
}

/// Gives a failure a hint, if it has none.
pub fn or_hint(error: LaunchError, hint: &str) -> LaunchError {
    if error.hint.is_empty() { LaunchError { hint: hint.into(), ..error } } else { error }
}

/// Says why the kernel refused new namespaces. The cause is looked up, not guessed.
pub fn namespaces(error: io::Error) -> LaunchError {
    const WALL: &str = "user namespace";
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let tried = "Cannot make the sandbox's namespaces";
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC) => new(
            WALL,
            format!("{tried}: the limit in /proc/sys/user/max_*_namespaces is reached"),
            "Raise user.max_user_namespaces (and its siblings) with sysctl",
        ),
        Some(Errno::PERM | Errno::ACCESS) => {
            if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
                let cause = format!("{tried}: kernel.unprivileged_userns_clone is 0");
                new(WALL, cause, "As root: sysctl kernel.unprivileged_userns_clone=1")
            } else if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
                new(
                    WALL,
                    format!("{tried}: AppArmor restricts user namespaces to programs with a profile"),
                    "Install an AppArmor profile with 'userns,' for agentkernel, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
                )
            } else {
                new(
                    WALL,
                    format!("{tried}: {error}"),
                    "Inside a container, its runtime must allow user namespaces (Docker: --security-opt seccomp=unconfined)",
                )
            }
        }
        Some(Errno::NOSYS) => new(
            WALL,
            format!("{tried}: this kernel or a seccomp filter refuses clone3"),
            "Use Linux 5.15 or newer, outside of filters that hide clone3",
        ),
        _ => new(WALL, format!("{tried}: {error}"), ""),
    }
}

/// Ubuntu's way to refuse: the namespace is made, and everything in it is denied.
pub fn mounts_denied(error: LaunchError) -> LaunchError {
    let restricted = std::fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    if restricted.is_ok_and(|text| text.trim() == "1") && error.hint.is_empty() {
        return LaunchError {
            hint: "AppArmor restricts user namespaces here: install a profile with 'userns,' for agentkernel, or as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0".into(),
            ..error
        };
    }
    error
}

/// Tells the parent why stage gives up. One datagram; a cause is short by nature, and cut if it is not.
pub fn send(report: &OwnedFd, error: &LaunchError) {
    let mut text = format!("{}\0{}\0{}", error.wall, error.cause, error.hint);
    let mut end = text.len().min(60_000);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    // Nobody is left to tell if this fails; the parent then sees that stage ended.
    let _ = rustix::net::send(report, text.as_bytes(), rustix::net::SendFlags::NOSIGNAL);
}

/// Waits until stage has become init (the end of the stream, because its side closes on exec) or has failed.
pub fn wait(report: &OwnedFd) -> Result<(), LaunchError> {
    let mut buffer = vec![0u8; 64 * 1024];
    let mut hear = || rustix::io::retry_on_intr(|| rustix::net::recv(report, &mut buffer[..], RecvFlags::empty()));
    let (length, _) = match hear() {
        // It left messages unread. That is told first, and once; what it said itself comes after.
        Err(Errno::CONNRESET) => hear(),
        result => result,
    }
    .wall("init", "Cannot hear from the starting sandbox", "")?;
    match &buffer[..length] {
        [] => Ok(()),
        text => {
            let text = String::from_utf8_lossy(text);
            let mut parts = text.splitn(3, '\0').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            Err(LaunchError { wall: part(), cause: part(), hint: part() })
        }
    }
}
