//! Hides which walls init raises around itself, and so around every program, and how it tests them.

use crate::spawn::Spawner;
use jail::{
    attempt,
    caps::{BUILD, Cap},
    seccomp::Profile,
};
use rustix::{
    fd::{AsFd, AsRawFd},
    fs::{Dir, Mode, OFlags},
    io::Errno,
    mount::MountFlags,
    net::{AddressFamily, SocketType},
};
use std::io;
use wire::link::{Setup, Wall};

/// A wall could not be raised, or does not hold.
#[derive(Debug, thiserror::Error)]
#[error("{wall}: {cause}")]
pub struct WallError {
    /// Its stable name.
    pub wall: &'static str,
    /// The cause, in one line.
    pub cause: String,
}

/// Names a wall in an error.
pub fn fallen<E: std::error::Error>(wall: &'static str) -> impl FnOnce(E) -> WallError {
    move |error| WallError { wall, cause: wire::cause(&error) }
}

const DESCRIPTORS: &str = "descriptors";
const NO_NEW_PRIVILEGES: &str = "no-new-privileges";
const CAPABILITIES: &str = "capabilities";
const LANDLOCK: &str = "landlock";
const SECCOMP: &str = "seccomp";

/// Makes sure that init was handed this many descriptors, from 0 on, and no other: one more could be a way out
/// (CVE-2024-21626). To be called before any is opened.
pub fn check_descriptors(count: i32) -> Result<(), WallError> {
    let open = || -> io::Result<Vec<i32>> {
        let dir =
            rustix::fs::open("/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let own = dir.as_raw_fd();
        let mut found = Vec::new();
        for entry in Dir::new(dir)? {
            let entry = entry?;
            if let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                found.push(fd);
            }
        }
        found.retain(|&fd| fd != own);
        found.sort_unstable();
        Ok(found)
    };
    let found = open().map_err(fallen(DESCRIPTORS))?;
    if found.iter().copied().eq(0..count) {
        Ok(())
    } else {
        let cause = format!("Init was started with descriptors {found:?}, not 0 to {}", count - 1);
        Err(WallError { wall: DESCRIPTORS, cause })
    }
}

/// Raises the walls on the calling process and tests them. Every program inherits them.
///
/// # Errors
/// [`WallError`]: the process is then in an undefined state and must end.
pub fn raise(setup: &Setup) -> Result<Vec<Wall>, WallError> {
    let mut writable = Vec::new();
    let mut missing = Vec::new();
    for path in &setup.writable {
        match rustix::fs::open(path.as_path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => writable.push(fd),
            // What is not there cannot be written to, nor made: an image need not have every usual directory.
            Err(Errno::NOENT | Errno::NOTDIR) => missing.push(path.to_string()),
            Err(error) => {
                let cause = format!("Cannot open the writable path {path}: {}", io::Error::from(error));
                return Err(WallError { wall: LANDLOCK, cause });
            }
        }
    }
    let own = if Spawner::many_ids(&setup.ids) { Cap::SETUID | Cap::SETGID | Cap::KILL } else { Cap::empty() };
    let programs = if setup.build { BUILD } else { Cap::empty() };
    let keep = own | programs;

    jail::process::set_no_new_privs().map_err(fallen(NO_NEW_PRIVILEGES))?;
    // Init may keep some for itself, no program may get any but in a build: the bounding set is reduced in either case.
    jail::caps::limit_bounding(programs).map_err(fallen(CAPABILITIES))?;
    jail::caps::keep_only(keep).map_err(fallen(CAPABILITIES))?;
    let writable: Vec<_> = writable.iter().map(AsFd::as_fd).collect();
    let landlock = jail::landlock::restrict(&writable).map_err(fallen(LANDLOCK))?;
    let profile = if setup.build { Profile::Build } else { Profile::Default };
    jail::seccomp::install(profile).map_err(fallen(SECCOMP))?;

    let status = Status::read()?;
    Ok(vec![
        Wall { name: DESCRIPTORS.into(), holds: true, detail: "nothing open at the start but what is init's".into() },
        test_no_new_privileges(&status)?,
        test_capabilities(&status, keep, setup.build)?,
        test_landlock(landlock, &missing)?,
        test_seccomp(&status, setup.build)?,
    ])
}

/// What the kernel says about this process: /proc/self/status.
struct Status(String);

impl Status {
    fn read() -> Result<Self, WallError> {
        // One read: each makes the kernel write the whole text anew.
        let read = || -> io::Result<String> {
            let file = rustix::fs::open("/proc/self/status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            let mut text = vec![0; 16 * 1024];
            let length = rustix::io::read(file, &mut text)?;
            text.truncate(length);
            String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into())
        };
        read().map(Self).map_err(fallen("proc"))
    }

    fn line(&self, wall: &'static str, key: &str) -> Result<&str, WallError> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .map(str::trim)
            .ok_or_else(|| WallError { wall, cause: format!("/proc/self/status has no {key}") })
    }

    fn expect(&self, wall: &'static str, key: &str, wanted: &str) -> Result<(), WallError> {
        match self.line(wall, key)? {
            found if found == wanted => Ok(()),
            found => Err(WallError { wall, cause: format!("{key} is {found}, not {wanted}") }),
        }
    }
}

fn test_no_new_privileges(status: &Status) -> Result<Wall, WallError> {
    status.expect(NO_NEW_PRIVILEGES, "NoNewPrivs", "1")?;
    Ok(Wall { name: NO_NEW_PRIVILEGES.into(), holds: true, detail: "NoNewPrivs is 1".into() })
}

fn test_capabilities(status: &Status, keep: Cap, build: bool) -> Result<Wall, WallError> {
    let kept = format!("{:016x}", keep.bits());
    status.expect(CAPABILITIES, "CapEff", &kept)?;
    status.expect(CAPABILITIES, "CapPrm", &kept)?;
    status.expect(CAPABILITIES, "CapInh", &format!("{:016x}", 0))?;
    status.expect(CAPABILITIES, "CapAmb", &format!("{:016x}", 0))?;
    let line = status.line(CAPABILITIES, "CapBnd")?;
    let bounding = u64::from_str_radix(line, 16)
        .map_err(|_| WallError { wall: CAPABILITIES, cause: format!("CapBnd is {line}, which is no number") })?;
    if !keep.is_empty() && bounding & !keep.bits() != 0 {
        // Without CAP_SETPCAP it cannot be emptied, and with no_new_privs it gives nothing. But whoever left init the
        // right to change ids could do better.
        return Err(WallError { wall: CAPABILITIES, cause: format!("CapBnd is {line}, more than init may keep") });
    }
    refused(CAPABILITIES, "mount", Errno::PERM, || {
        rustix::mount::mount("none", "/", "tmpfs", MountFlags::empty(), None).map_err(Into::into)
    })?;
    let bounding = match bounding {
        0 => "bounding set empty".to_owned(),
        _ => format!("bounding set {line}, which gives nothing (no_new_privs)"),
    };
    let detail = match (build, keep.is_empty()) {
        (true, _) => format!("for root those over the sandbox's own files and ids, for a build; {bounding}"),
        (false, true) => format!("none; {bounding}"),
        (false, false) => format!("none for programs; {bounding}; init keeps setuid, setgid and kill"),
    };
    Ok(Wall { name: CAPABILITIES.into(), holds: true, detail })
}

fn test_landlock(abi: Option<u32>, missing: &[String]) -> Result<Wall, WallError> {
    // What a program could do worst with a writable /proc: have the host run something. Here the mounts or Landlock
    // must stop it; without either, user id 0 could write it.
    let write = || rustix::fs::open("/proc/sys/kernel/core_pattern", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    if write().is_ok() {
        return Err(WallError {
            wall: "proc",
            cause: "/proc/sys/kernel/core_pattern can be opened for writing".into(),
        });
    }
    Ok(match abi {
        Some(abi) => Wall {
            name: LANDLOCK.into(),
            holds: true,
            detail: match missing {
                [] => format!("ABI {abi}; writes only below the writable paths, core_pattern refused"),
                missing => format!(
                    "ABI {abi}; writes only below the writable paths, core_pattern refused; not there: {}",
                    missing.join(", ")
                ),
            },
        },
        None => Wall {
            name: LANDLOCK.into(),
            holds: false,
            detail: "this kernel has no Landlock that can be used; the read-only mounts stand alone".into(),
        },
    })
}

fn test_seccomp(status: &Status, build: bool) -> Result<Wall, WallError> {
    status.expect(SECCOMP, "Seccomp", "2")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| fallen(SECCOMP)(io::Error::from(error)))?;
    refused(SECCOMP, "unshare(CLONE_NEWUSER)", Errno::PERM, attempt::user_namespace)?;
    refused(SECCOMP, "ioctl(TIOCSTI)", Errno::PERM, || attempt::terminal_input(&null))?;
    refused(SECCOMP, "ioctl(TIOCSTI | 1 << 32)", Errno::PERM, || attempt::terminal_input_high_bits(null.as_fd()))?;
    refused_somehow(SECCOMP, "keyctl", attempt::keyring)?;
    refused_somehow(SECCOMP, "io_uring_setup", attempt::io_uring)?;
    let families = [
        (AddressFamily::VSOCK, "socket(AF_VSOCK)"),
        (AddressFamily::from_raw(38), "socket(AF_ALG)"),
        (AddressFamily::PACKET, "socket(AF_PACKET)"),
    ];
    for (family, what) in families {
        refused_somehow(SECCOMP, what, || {
            rustix::net::socket(family, SocketType::STREAM, None).map(drop).map_err(Into::into)
        })?;
    }
    let refused_calls = "unshare, TIOCSTI, keyctl, io_uring, AF_VSOCK, AF_ALG";
    if build {
        return Ok(Wall {
            name: SECCOMP.into(),
            holds: true,
            detail: format!("{refused_calls} and AF_PACKET refused; set-user-id modes allowed, for a build"),
        });
    }
    refused(SECCOMP, "chmod u+s", Errno::PERM, attempt::set_user_id)?;
    refused(SECCOMP, "chmod g+s", Errno::PERM, attempt::set_group_id)?;
    let detail = format!("{refused_calls}, AF_PACKET and set-user-id modes refused");
    Ok(Wall { name: SECCOMP.into(), holds: true, detail })
}

/// Tries what must fail with this error and no other.
fn refused(
    wall: &'static str,
    what: &str,
    wanted: Errno,
    attempt: impl FnOnce() -> io::Result<()>,
) -> Result<(), WallError> {
    match attempt() {
        Err(error) if error.raw_os_error() == Some(wanted.raw_os_error()) => Ok(()),
        Err(error) => Err(WallError { wall, cause: format!("{what} failed with another error: {error}") }),
        Ok(()) => Err(WallError { wall, cause: format!("{what} succeeded") }),
    }
}

/// Tries what must fail.
fn refused_somehow(wall: &'static str, what: &str, attempt: impl FnOnce() -> io::Result<()>) -> Result<(), WallError> {
    match attempt() {
        Err(_) => Ok(()),
        Ok(()) => Err(WallError { wall, cause: format!("{what} succeeded") }),
    }
}

#[cfg(test)]
#[path = "walls_tests.rs"]
mod tests;
