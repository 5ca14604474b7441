//! One sandbox's directory: its records, its lock, its socket.

use super::{
    LOCK, LogReader, LogWriter, NAME, SPEC, STATE, StoreError, Tail, magic_link,
    record::{self, Durable},
};
use crate::{Name, SandboxId, Spec};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use serde::{Deserialize, Serialize};
use std::{
    cell::OnceCell,
    io::ErrorKind,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};
use wire::Exit;

const SOCKET: &str = "sock";
/// The name link while it is being replaced.
pub(super) const TEMPORARY_NAME: &str = ".new-name";

/// One sandbox on disk.
#[derive(Debug)]
pub struct Entry {
    id: SandboxId,
    path: PathBuf,
    dir: OwnedFd,
    keep: OnceCell<bool>,
}

/// The right to run, change or remove a sandbox: an exclusive flock(2), held as long as any process has a copy of
/// this descriptor.
///
/// It passes over fork(2): the child has it too, and the parent may drop its own. A child that must not count as a
/// supervisor (a sandbox's init) has to close it. Dropping never unlocks for the others.
#[derive(Debug)]
pub struct Lock {
    fd: OwnedFd,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It never ran.
    Created,
    /// It runs.
    Running {
        /// Process id of its supervisor on the host.
        supervisor_pid: u32,
        /// When it started, in milliseconds since 1970.
        started_ms: u64,
    },
    /// It ran.
    Exited {
        /// How its last run ended.
        exit: Exit,
        /// When that began, in milliseconds since 1970.
        started_ms: u64,
        /// When it ended, in milliseconds since 1970; `None` if nobody was there to see it.
        ended_ms: Option<u64>,
        /// Processes that the kernel killed meanwhile because the memory limit was reached; 0 if nobody was there to see
        /// them.
        #[serde(default)]
        oom_kills: u64,
    },
}

impl State {
    /// What a record that says "running" means when nobody holds the lock.
    #[must_use]
    pub(super) fn lost(self) -> Self {
        match self {
            Self::Running { started_ms, .. } => {
                Self::Exited { exit: Exit::Lost, started_ms, ended_ms: None, oom_kills: 0 }
            }
            other => other,
        }
    }
}

impl Entry {
    pub(super) fn new(id: SandboxId, path: PathBuf, dir: OwnedFd, keep: Option<bool>) -> Self {
        Self { id, path, dir, keep: keep.map_or_else(OnceCell::new, OnceCell::from) }
    }

    /// Which sandbox.
    #[must_use]
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(super) fn into_dir(self) -> OwnedFd {
        self.dir
    }

    /// The path of its directory, for messages only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When it was made, in milliseconds since 1970; 0 if nobody knows.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        // The lock is made with the sandbox and never written: its modification time is the sandbox's birth.
        fs::statat(&self.dir, LOCK, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| {
            let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
            seconds.saturating_mul(1000).saturating_add(stat.st_mtime_nsec / 1_000_000)
        })
    }

    /// What it is, under its present name.
    ///
    /// # Errors
    /// [`Damaged`](StoreError::Damaged), [`Format`](StoreError::Format), or the system's.
    pub fn spec(&self) -> Result<Spec, StoreError> {
        let damaged = |cause: &str| StoreError::Damaged { path: self.path.join(SPEC), cause: cause.into() };
        let mut spec: Spec = record::read(self.dir(), &self.path, SPEC)?.ok_or_else(|| damaged("it is missing"))?;
        if spec.id != self.id {
            return Err(damaged("it describes another sandbox"));
        }
        spec.name = self.name()?;
        self.keep.get_or_init(|| spec.keep);
        Ok(spec)
    }

    /// Replaces what it is, except for its name: that is [`Store::rename`](super::Store::rename)'s.
    ///
    /// # Errors
    /// The system's; the old record is whole then.
    pub fn write_spec(&self, _lock: &Lock, spec: &Spec) -> Result<(), StoreError> {
        let durable = if spec.keep { Durable::Yes } else { Durable::No };
        record::write(self.dir(), &self.path, SPEC, spec, durable)
    }

    /// Its present name. It lives apart from the spec, as the one thing that changes while a sandbox runs.
    ///
    /// # Errors
    /// The system's.
    pub fn name(&self) -> Result<Option<Name>, StoreError> {
        match fs::readlinkat(&self.dir, NAME, Vec::new()) {
            Ok(name) => Ok(name.into_string().ok().and_then(|name| Name::try_from(name).ok())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(errno) => Err(StoreError::io("read", self.path.join(NAME), errno)),
        }
    }

    pub(super) fn set_name(&self, name: &Name) -> Result<(), StoreError> {
        let failed = |errno| StoreError::io("write", self.path.join(NAME), errno);
        match fs::unlinkat(&self.dir, TEMPORARY_NAME, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
        fs::symlinkat(name.as_str(), &self.dir, TEMPORARY_NAME).map_err(failed)?;
        fs::renameat(&self.dir, TEMPORARY_NAME, &self.dir, NAME).map_err(failed)
    }

    /// Whether its records must survive a power cut. When in doubt they must.
    pub(super) fn durable(&self) -> Durable {
        let keep = self.keep.get().copied().unwrap_or_else(|| self.spec().map_or(true, |spec| spec.keep));
        if keep { Durable::Yes } else { Durable::No }
    }

    /// Takes the exclusive lock; `None` if a supervisor, or someone who removes the sandbox, has it. Never waits for
    /// those; waits out the microseconds of those who only look.
    ///
    /// # Errors
    /// [`NotFound`](StoreError::NotFound) if the sandbox has been removed meanwhile, or the system's.
    pub fn try_lock(&self) -> Result<Option<Lock>, StoreError> {
        let fd = self.open_lock(OFlags::empty())?;
        self.acquire(fd)
    }

    /// As [`try_lock`](Self::try_lock), for a directory that may have no lock yet.
    pub(super) fn make_lock(&self) -> Result<Option<Lock>, StoreError> {
        let fd = self.open_lock(OFlags::CREATE)?;
        self.acquire(fd)
    }

    fn open_lock(&self, flags: OFlags) -> Result<OwnedFd, StoreError> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.dir, LOCK, flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOENT) => Err(StoreError::NotFound { reference: self.id.to_string(), nearest: None }),
            Err(errno) => Err(self.lock_error(errno)),
        }
    }

    fn acquire(&self, fd: OwnedFd) -> Result<Option<Lock>, StoreError> {
        loop {
            if self.flock(&fd, FlockOperation::NonBlockingLockExclusive)? {
                break;
            }
            // A shared lock is to be had unless someone holds the exclusive one. Then only onlookers were in the
            // way; they are gone in a moment.
            if !self.flock(&fd, FlockOperation::NonBlockingLockShared)? {
                return Ok(None);
            }
            self.flock(&fd, FlockOperation::Unlock)?;
            std::thread::sleep(Duration::from_micros(50));
        }
        // Who removed the sandbox between our open and our lock removed the lock's name too.
        if fs::fstat(&fd).map_err(|errno| self.lock_error(errno))?.st_nlink == 0 {
            return Err(StoreError::NotFound { reference: self.id.to_string(), nearest: None });
        }
        Ok(Some(Lock { fd }))
    }

    /// Keeps others from starting or removing it, for a moment; `None` if it runs or is being started or removed.
    ///
    /// # Errors
    /// As [`try_lock`](Self::try_lock).
    pub fn look(&self) -> Result<Option<Lock>, StoreError> {
        let fd = self.open_lock(OFlags::empty())?;
        Ok(self.flock(&fd, FlockOperation::NonBlockingLockShared)?.then_some(Lock { fd }))
    }

    fn flock(&self, fd: &OwnedFd, operation: FlockOperation) -> Result<bool, StoreError> {
        match rustix::io::retry_on_intr(|| fs::flock(fd, operation)) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(self.lock_error(errno)),
        }
    }

    fn lock_error(&self, errno: Errno) -> StoreError {
        StoreError::io("lock", self.path.join(LOCK), errno)
    }

    /// How it is. A record that says "running" is believed only while a supervisor holds the lock; otherwise the
    /// sandbox was [lost](Exit::Lost).
    ///
    /// # Errors
    /// [`Damaged`](StoreError::Damaged), [`Format`](StoreError::Format), or the system's.
    pub fn state(&self) -> Result<State, StoreError> {
        let state = self.recorded()?;
        if !matches!(state, State::Running { .. }) {
            return Ok(state);
        }
        match self.look()? {
            None => Ok(state),
            // It may have ended, in good order, since the record was read.
            Some(_held) => Ok(self.recorded()?.lost()),
        }
    }

    /// How it was before whoever holds the lock has begun anything.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn state_before(&self, _lock: &Lock) -> Result<State, StoreError> {
        Ok(self.recorded()?.lost())
    }

    /// What the record says, true or not.
    pub(super) fn recorded(&self) -> Result<State, StoreError> {
        Ok(record::read(self.dir(), &self.path, STATE)?.unwrap_or(State::Created))
    }

    /// Replaces the record of how it is.
    ///
    /// # Errors
    /// The system's; the old record is whole then.
    pub fn write_state(&self, _lock: &Lock, state: &State) -> Result<(), StoreError> {
        // After a power cut "running" is not believed anyway.
        let durable = if matches!(state, State::Running { .. }) { Durable::No } else { self.durable() };
        match record::write(self.dir(), &self.path, STATE, state, durable) {
            Err(StoreError::Io { source, .. })
                if matches!(state, State::Exited { .. })
                    && matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                record::overwrite(self.dir(), &self.path, STATE, state)
            }
            written => written,
        }
    }

    /// Makes its control socket, which does not block. The lock shows that no other supervisor serves there.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self, _lock: &Lock) -> Result<UnixListener, StoreError> {
        let failed = |error| StoreError::io("listen on", self.path.join(SOCKET), error);
        // By descriptor: a socket's address has 108 bytes, a state directory's path may have 4,000.
        let address = format!("{}/{SOCKET}", magic_link(self.dir()));
        let listener = match UnixListener::bind(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                fs::unlinkat(&self.dir, SOCKET, AtFlags::empty()).map_err(|errno| failed(errno.into()))?;
                UnixListener::bind(&address)
            }
            other => other,
        };
        listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener)).map_err(failed)
    }

    /// Connects to its supervisor. Neither this nor the connection blocks.
    ///
    /// # Errors
    /// [`NotRunning`](StoreError::NotRunning) if nobody takes connections, or the system's.
    pub fn connect(&self) -> Result<UnixStream, StoreError> {
        let connect = || {
            let address = SocketAddrUnix::new(format!("{}/{SOCKET}", magic_link(self.dir())))?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            net::connect(&socket, &address).map(|()| socket.into())
        };
        connect().map_err(|errno| match errno {
            // The last is a queue full of those who have come before: nobody has taken them either.
            Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN => StoreError::NotRunning { id: self.id.clone() },
            _ => StoreError::io("connect to", self.path.join(SOCKET), errno),
        })
    }

    /// Where the output of its programs is kept. Nothing is made before the first byte.
    ///
    /// # Errors
    /// If the directory's descriptor can't be copied.
    pub fn log_writer(&self, _lock: &Lock) -> Result<LogWriter, StoreError> {
        Ok(LogWriter::new(self.duplicate()?))
    }

    /// Reads what [`log_writer`](Self::log_writer) wrote, from the place that `tail` says.
    ///
    /// # Errors
    /// The system's.
    pub fn log_reader(&self, tail: Tail) -> Result<LogReader, StoreError> {
        LogReader::new(self.duplicate()?, self.path.clone(), tail)
    }

    fn duplicate(&self) -> Result<OwnedFd, StoreError> {
        rustix::io::fcntl_dupfd_cloexec(&self.dir, 3).map_err(|errno| StoreError::io("open", &self.path, errno))
    }
}
