//! Hides how untrusted bytes are worked on: by a child of this process that has nothing but what it was given, and ends when
//! it has answered.

use super::ImageError;
use jail::{
    caps::{self, Cap},
    landlock,
    process::{self, Fork},
    seccomp,
};
use rustix::{
    fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    pipe::PipeFlags,
    process::{Pid, Resource, Signal, WaitId, WaitIdOptions},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    marker::PhantomData,
};
use wire::Failure;

/// The most memory that a worker may have, in bytes: the windows of decompressors, and what an answer takes.
const MEMORY: u64 = 512 << 20;
/// The longest answer.
const LONGEST: u64 = 32 << 20;
/// Whoever ends otherwise than by an answer.
const FAILED: i32 = 1;

/// What a worker can reach, beside the descriptors that it is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reach<'a> {
    /// Nothing.
    Nothing,
    /// What lies beneath this directory, where it makes files: for root with whatever owners they have, and with this as its
    /// root directory. An ordinary user's keeps the names of what is elsewhere: Landlock does not let it open, make or
    /// remove any of that, but does not judge who looks at it, or sets the time of what is this user's.
    Files(BorrowedFd<'a>),
    /// The internet.
    Internet,
}

/// A worker that runs. It ends with this value, and with this process.
#[derive(Debug)]
pub(super) struct Worker<T> {
    pidfd: OwnedFd,
    answer: OwnedFd,
    answers: PhantomData<T>,
    ended: bool,
}

/// Starts a worker that has the descriptors `given`.
///
/// # Errors
/// If there can be no process; the caller must have one thread.
pub(super) fn start<T: Serialize + DeserializeOwned>(
    given: &[BorrowedFd<'_>],
    reach: Reach<'_>,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<Worker<T>, ImageError> {
    let (answer, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| ImageError::Worker(e.into()))?;
    let parent = rustix::process::getpid();
    match process::fork().map_err(ImageError::Worker)? {
        Fork::Parent(pid) => {
            let pidfd = process::pidfd(pid).map_err(ImageError::Worker)?;
            Ok(Worker { pidfd, answer, answers: PhantomData, ended: false })
        }
        Fork::Child => {
            let answered = raise_walls(parent, given, &theirs, reach).and_then(|()| {
                let bytes = serde_json::to_vec(&work())?;
                File::from(theirs).write_all(&bytes)
            });
            process::exit_now(if answered.is_ok() { 0 } else { FAILED });
        }
    }
}

impl<T> AsFd for Worker<T> {
    /// Readable when it says something, or has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }
}

impl<T: DeserializeOwned> Worker<T> {
    /// Waits for what it has to say.
    ///
    /// # Errors
    /// What it says; [`ImageError::Died`] if it said nothing.
    pub(super) fn wait(mut self) -> Result<T, ImageError> {
        let mut bytes = Vec::new();
        let answer = self.answer.try_clone().map_err(ImageError::Worker)?;
        let read = File::from(answer).take(LONGEST).read_to_end(&mut bytes);
        if read.is_err() || bytes.len() as u64 == LONGEST {
            // It cannot be told to stop otherwise.
            let _ = process::signal_pidfd(&self.pidfd, Signal::KILL);
        }
        let signal = self.reap();
        match (signal, serde_json::from_slice::<Result<T, Failure>>(&bytes)) {
            (None, Ok(Ok(answer))) => Ok(answer),
            (None, Ok(Err(failure))) => Err(ImageError::Refused(failure)),
            (signal, _) => Err(ImageError::Died { signal }),
        }
    }
}

impl<T> Worker<T> {
    /// Waits for its end: the signal that ended it.
    fn reap(&mut self) -> Option<i32> {
        self.ended = true;
        let ended = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
        });
        ended.ok().flatten().and_then(|status| status.terminating_signal())
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        if !self.ended {
            // It can only fail because it is gone.
            let _ = process::signal_pidfd(&self.pidfd, Signal::KILL);
            let _ = self.reap();
        }
    }
}

fn raise_walls(parent: Pid, given: &[BorrowedFd<'_>], answer: &OwnedFd, reach: Reach<'_>) -> io::Result<()> {
    let mut kept: Vec<_> = given.iter().map(BorrowedFd::as_raw_fd).collect();
    kept.push(answer.as_raw_fd());
    if let Reach::Files(dir) = reach {
        kept.push(dir.as_raw_fd());
    }
    process::close_fds_from(3, &kept)?;
    process::set_stdio_null()?;
    process::set_parent_death_signal(Signal::KILL)?;
    if rustix::process::getppid() != Some(parent) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // What it is called helps only whoever looks.
    let _ = process::forget_arguments("ak[image]");
    let _ = process::set_name("ak-image");
    process::reset_signals()?;
    process::set_dumpable(false)?;
    process::set_rlimit(Resource::Core, 0)?;
    process::set_rlimit(Resource::Data, MEMORY)?;
    process::set_no_new_privs()?;
    let root = rustix::process::geteuid().is_root();
    if let (Reach::Files(dir), true) = (reach, root) {
        process::chroot(dir)?;
    }
    let owners = Cap::CHOWN | Cap::DAC_OVERRIDE | Cap::FOWNER | Cap::FSETID | Cap::SETFCAP;
    let keep = match reach {
        Reach::Files(_) if root => owners,
        _ => Cap::empty(),
    };
    if root {
        caps::limit_bounding(keep)?;
    }
    caps::keep_only(keep)?;
    match reach {
        Reach::Nothing | Reach::Internet => landlock::forbid_files(),
        Reach::Files(dir) => landlock::only(dir),
    }
    .map_err(io::Error::other)?;
    let profile = match reach {
        Reach::Nothing => seccomp::Profile::Parse,
        Reach::Files(_) => seccomp::Profile::Unpack,
        Reach::Internet => seccomp::Profile::Fetch,
    };
    seccomp::install(profile).map_err(io::Error::other)?;
    test_walls(reach)
}

/// Tries what must not be possible any more.
fn test_walls(reach: Reach<'_>) -> io::Result<()> {
    use rustix::{
        fs::{self, Mode, OFlags},
        net::{AddressFamily, SocketType, socket},
    };
    let outside = match (reach, fs::open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())) {
        (Reach::Files(dir), Ok(root)) => {
            let (dir, root) = (fs::fstat(dir)?, fs::fstat(root)?);
            (dir.st_dev, dir.st_ino) != (root.st_dev, root.st_ino)
        }
        (_, opened) => opened.is_ok(),
    };
    let possible = outside
        || fs::chmod("/", Mode::from_raw_mode(0o755)).is_ok()
        || (!matches!(reach, Reach::Internet) && socket(AddressFamily::INET, SocketType::STREAM, None).is_ok())
        || socket(AddressFamily::UNIX, SocketType::STREAM, None).is_ok()
        || rustix::process::test_kill_process(rustix::process::getpid()).is_ok();
    if possible { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
}
