//! Hides an engine behind the user's own ssh: one of it for each connection, which has Docker's command over there carry the
//! bytes, as `docker` does it. It ends with the connection, and with this process.

use super::endpoint::Ssh;
use jail::process::{self, Fork, Program};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::{AsFd as _, OwnedFd},
    fs::MemfdFlags,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, Signal, WaitId, WaitIdOptions},
};
use std::{
    env,
    ffi::{CString, OsStr},
    io,
    os::unix::ffi::OsStrExt as _,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

/// What it gets of the environment: where things are, and what logs in. Nothing else need be remembered by a process that
/// has forgotten its own.
const KEPT: [&str; 12] = [
    "HOME",
    "KRB5CCNAME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "SHELL",
    "SSH_AUTH_SOCK",
    "TZ",
    "USER",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
];
/// It asks nobody: most connections are made where nobody could answer. It brings nothing else of this machine along.
const OPTIONS: [&str; 9] =
    ["-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ClearAllForwardings=yes"];
/// How long it has to end by itself, and when it is told to.
const LEISURE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
const GRACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// The longest end of what it says that is told.
const LONGEST: usize = 4 << 10;

static ENVIRONMENT: OnceLock<Vec<(&str, Vec<u8>)>> = OnceLock::new();

/// Remembers what ssh gets of the environment: for a process that is about to forget its own.
pub fn keep_environment() {
    environment();
}

fn environment() -> &'static [(&'static str, Vec<u8>)] {
    ENVIRONMENT.get_or_init(|| {
        let value = |name: &'static str| Some((name, env::var_os(name)?.as_bytes().to_owned()));
        KEPT.into_iter().filter_map(value).collect()
    })
}

/// A connection by an ssh of its own.
pub(super) struct Stream {
    // Closed first.
    stream: UnixStream,
    _child: Child,
}

/// An ssh that runs.
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Starts one. What it says besides is in the file.
///
/// # Errors
/// If there is none, or it can't be started.
pub(super) fn open(there: &Ssh) -> io::Result<(Stream, OwnedFd)> {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let program = text(find()?.as_bytes())?;
    let mut words = vec![text(b"ssh")?];
    for word in arguments(there) {
        words.push(text(word.as_bytes())?);
    }
    let variables: io::Result<Vec<CString>> =
        environment().iter().map(|(name, value)| text(&[name.as_bytes(), b"=", value].concat())).collect();
    let variables = variables?;
    let said = rustix::fs::memfd_create("ssh", MemfdFlags::CLOEXEC)?;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    rustix::io::ioctl_fionbio(&theirs, false)?;
    let parent = rustix::process::getpid();
    let child = match process::fork()? {
        Fork::Child => {
            let begun = (|| {
                process::set_parent_death_signal(Signal::TERM)?;
                if rustix::process::getppid() != Some(parent) {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                process::reset_signals()?;
                // No terminal is its own, nor are signals of ours.
                process::setsid()?;
                process::set_stdio(theirs.as_fd(), theirs.as_fd(), said.as_fd())?;
                process::close_on_exec_from(3, &[])
            })();
            if begun.is_ok() {
                let _ = process::exec(Program::Path(&program), &words, &variables);
            }
            process::exit_now(127);
        }
        Fork::Parent(pid) => Child { pid, pidfd: process::pidfd(pid)? },
    };
    let stream = UnixStream::from_std(ours.into())?;
    Ok((Stream { stream, _child: child }, said))
}

/// The user's own ssh.
fn find() -> io::Result<std::ffi::OsString> {
    let path = environment().iter().find(|(name, _)| *name == "PATH").map(|(_, value)| value.as_slice());
    let path = OsStr::from_bytes(path.unwrap_or_default());
    let found = env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("ssh"));
    let missing = || io::Error::new(io::ErrorKind::NotFound, "ssh is not installed");
    found.into_iter().find(|place| place.is_file()).map(Into::into).ok_or_else(missing)
}

fn arguments(there: &Ssh) -> Vec<String> {
    let Ssh { user, host, port, path } = there;
    let mut words: Vec<String> = OPTIONS.map(str::to_owned).into();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    if let Some(user) = user {
        add("-l", user.clone());
    }
    if let Some(port) = port {
        add("-p", port.to_string());
    }
    words.extend(["--".to_owned(), host.clone()]);
    // A shell over there reads it.
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let host = path.as_ref().map(|path| format!("--host {} ", quoted(&format!("unix://{path}"))));
    words.push(format!("docker {}system dial-stdio", host.unwrap_or_default()));
    words
}

/// The last line that it has said; `None`: nothing.
pub(super) fn last_words(said: &OwnedFd) -> Option<String> {
    let size = usize::try_from(rustix::fs::fstat(said).ok()?.st_size).ok()?;
    let mut bytes = vec![0; size.min(LONGEST)];
    let count = rustix::io::pread(said, &mut bytes, size.saturating_sub(LONGEST) as u64).ok()?;
    let text = String::from_utf8_lossy(bytes.get(..count)?).into_owned();
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(wire::printable(line))
}

impl Child {
    fn has_ended_within(&self, time: &Timespec) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(time))).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            let time = if signal == Signal::TERM { &LEISURE } else { &GRACE };
            if self.has_ended_within(time) {
                break;
            }
            // It can only fail because it is gone.
            let _ = process::signal_pidfd(&self.pidfd, signal);
        }
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED));
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let Ok(super::super::Endpoint::Ssh(there)) = text.to_owned().try_into() else { panic!("{text}") };
        arguments(&there)[OPTIONS.len()..].join("|")
    }

    #[test]
    fn ssh_is_told_what_the_address_says_and_nothing_else() {
        assert_eq!(words("ssh://far"), "--|far|docker system dial-stdio");
        assert_eq!(words("ssh://me@far:2222"), "-l|me|-p|2222|--|far|docker system dial-stdio");
        assert_eq!(words("ssh://me@[::1]:22"), "-l|me|-p|22|--|::1|docker system dial-stdio");
        let path = words("ssh://far/run/it's/docker.sock");
        assert_eq!(path, r"--|far|docker --host 'unix:///run/it'\''s/docker.sock' system dial-stdio");
    }
}
